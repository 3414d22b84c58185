"""Alerts reach a log, a webhook and a program; few, in the background, and without a word of a prompt."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path

import pytest
from tests.unit.backends.fakes import FakeClock

from pennyweight.backends.budget.alerts import Alerts
from pennyweight.backends.budget.settings import Alerting
from pennyweight.backends.budget.state import Event
from pennyweight.backends.transport import Http1
from pennyweight.testing.http import Exchange, LoopbackServer

EVENT = Event("warn", "day", "key", "X", "X", 0.83, "warn; 83% of $5.00 a day spent by key X", 1.0)


def test_a_webhook_gets_json_and_its_query() -> None:
    async def work() -> None:
        seen: list[tuple[str, str, object]] = []

        async def answer(exchange: Exchange) -> None:
            seen.append((exchange.path, exchange.query, json.loads(exchange.body)))
            await exchange.send(204, b"")

        async with LoopbackServer(answer) as server:
            alerts = Alerts(Alerting(webhook=f"{server.url}/hook?token=1"), FakeClock(), transport=Http1())
            alerts.tell(EVENT)
            await alerts.aclose()
        ((path, query, body),) = seen
        assert (path, query) == ("/hook", "token=1")
        assert isinstance(body, dict)
        assert body["text"] == EVENT.text
        assert body["level"] == "warn"
        assert alerts.failed == 0

    asyncio.run(work())


@pytest.mark.parametrize("status", [500, 302])
def test_a_webhook_that_refuses_is_counted_and_its_address_not_logged(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        async def answer(exchange: Exchange) -> None:
            await exchange.send(status, b"", headers={"location": "http://127.0.0.1:1/elsewhere"})

        async with LoopbackServer(answer) as server:
            alerts = Alerts(Alerting(webhook=f"{server.url}/secret-path"), FakeClock(), transport=Http1())
            alerts.tell(EVENT)
            await alerts.aclose()
        assert alerts.failed == 1

    with caplog.at_level(logging.INFO):
        asyncio.run(work())
    assert "secret-path" not in caplog.text
    assert "could not be delivered" in caplog.text


def test_a_webhook_that_nobody_answers_holds_up_nobody() -> None:
    async def work() -> None:
        alerts = Alerts(Alerting(webhook="http://127.0.0.1:1/", timeout_s=0.2), FakeClock(), transport=Http1())
        alerts.tell(EVENT)
        await alerts.aclose()
        assert alerts.failed == 1

    asyncio.run(work())


def test_a_program_gets_the_alert_on_its_input(tmp_path: Path) -> None:
    async def work() -> None:
        out = tmp_path / "out"
        script = "import sys; open(sys.argv[1], 'wb').write(sys.stdin.buffer.read())"
        alerts = Alerts(Alerting(command=(sys.executable, "-c", script, str(out))), FakeClock(), transport=None)
        odd = Event("halt", "s", "session", "$(touch /tmp/no); `id`", "X", 1.0, "halt", 2.0)
        alerts.tell(odd)
        await alerts.aclose()
        assert json.loads(out.read_text())["subject"] == odd.subject

    asyncio.run(work())


def test_a_program_that_fails_or_hangs_is_counted() -> None:
    async def work() -> None:
        for command in (("/nowhere/mail",), (sys.executable, "-c", "raise SystemExit(3)")):
            alerts = Alerts(Alerting(command=command), FakeClock(), transport=None)
            alerts.tell(EVENT)
            await alerts.aclose()
            assert alerts.failed == 1
        hangs = Alerts(Alerting(command=("sleep", "60"), timeout_s=0.1), FakeClock(), transport=None)
        hangs.tell(EVENT)
        await asyncio.wait_for(hangs.aclose(), 60)
        assert hangs.failed == 1

    asyncio.run(work())


def test_few_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        clock = FakeClock()
        alerts = Alerts(Alerting(per_minute=3), clock, transport=None)
        for _ in range(10):
            alerts.tell(EVENT)
        assert (alerts.dropped, len(alerts.events)) == (7, 10)
        clock.advance(61)
        alerts.tell(EVENT)
        assert alerts.dropped == 7
        await alerts.aclose()

    with caplog.at_level(logging.WARNING):
        asyncio.run(work())
    assert caplog.text.count("83% of $5.00 a day spent by key X") == 4
