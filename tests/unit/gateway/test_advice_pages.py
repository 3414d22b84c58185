"""Advice over HTTP: for the operator, and not computed anew for each who asks."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pennyweight.adaptive import Change
from pennyweight.app import App, build
from pennyweight.config import load
from pennyweight.front.auth import Gate
from pennyweight.front.front import Front
from pennyweight.front.http import HttpRequest, HttpResponse
from pennyweight.gateway.metrics import Metrics
from pennyweight.gateway.pages import Pages
from pennyweight.ledger.advice.window import DAY_S
from pennyweight.request import Usage
from pennyweight.stores.changes import SQLiteChanges
from pennyweight.testing.clock import FakeClock
from pennyweight.testing.contracts import sample_receipt

Ask = Callable[..., Awaitable[HttpResponse]]


def drive(tmp_path: Path, work: Callable[[App, Ask, FakeClock], Awaitable[None]]) -> None:
    async def main() -> None:
        clock = FakeClock()
        env = {"PENNYWEIGHT_DATA": str(tmp_path), "OPENAI_API_KEY": "k"}
        async with asyncio.timeout(60), build(load(None, env), clock=clock) as app:
            gate, metrics = Gate(app.config, app.keys), Metrics()
            front = Front(app, gate, Pages(app, gate, metrics).find)

            async def ask(path: str, key: str = "", query: str = "") -> HttpResponse:
                headers = (("host", "127.0.0.1:1"),) + ((("x-pennyweight-key", key),) if key else ())
                return await front.respond(HttpRequest("GET", path, query, headers, b"", "127.0.0.1"))

            await work(app, ask, clock)

    asyncio.run(main())


def told(response: HttpResponse) -> Any:
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


async def slow(app: App, count: int, *, age_s: float = 60.0, model: str = "gpt-4o") -> None:
    usage = Usage(1000, 900, 0, 0, 700)
    at = app.clock.now() - age_s
    same = {"at": at, "latency_s": 9.0, "usage": usage, "trail": (), "target_model": model, "provider": "openai"}
    await app.ledger.append([sample_receipt(f"{model}{n}", cost=5, baseline=5, **same) for n in range(count)])


def test_a_list_of_findings(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask, clock: FakeClock) -> None:
        assert told(await ask("/pennyweight/advice")) == []
        await slow(app, 30)
        clock.advance(20)
        (finding,) = told(await ask("/pennyweight/advice"))
        assert (finding["id"], finding["severity"]) == ("slow_model:openai/gpt-4o", "warning")
        assert (finding["cost_pico_per_day"], finding["basis"]) == (None, "")

    drive(tmp_path, work)


def test_it_is_computed_once_in_fifteen_seconds_for_each_window(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask, clock: FakeClock) -> None:
        await slow(app, 30)
        assert len(told(await ask("/pennyweight/advice"))) == 1
        await slow(app, 30, model="gpt-5")
        assert len(told(await ask("/pennyweight/advice"))) == 1
        assert len(told(await ask("/pennyweight/advice", query="window=1h"))) == 2
        clock.advance(15)
        assert len(told(await ask("/pennyweight/advice"))) == 2

    drive(tmp_path, work)


def test_a_window_is_looked_back_and_an_odd_one_is_refused(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask, clock: FakeClock) -> None:
        await slow(app, 30, age_s=2 * DAY_S)
        assert told(await ask("/pennyweight/advice")) == []
        assert len(told(await ask("/pennyweight/advice", query="window=7d"))) == 1
        for odd in ("window=7", "window=99999999d", "window=%F0%9F%92%A9d"):
            assert (await ask("/pennyweight/advice", query=odd)).status == 400

    drive(tmp_path, work)


def test_what_the_loop_did(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask, clock: FakeClock) -> None:
        assert told(await ask("/pennyweight/advice/changes")) == []
        change = Change(1.0, "output_limit[x]", math.inf, 4096.0, math.inf, "ran away")
        await SQLiteChanges(app.database).add(change)
        (found,) = told(await ask("/pennyweight/advice/changes"))
        assert (found["knob"], found["old"], found["new"]) == ("output_limit[x]", None, 4096.0)

    drive(tmp_path, work)


def test_holders_of_a_key_do_not_see_what_is_everybodys(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask, clock: FakeClock) -> None:
        key = app.keys.add("alice")
        for path in ("/pennyweight/advice", "/pennyweight/advice/changes"):
            assert (await ask(path, key)).status == 403
            assert (await ask(path)).status == 200

    drive(tmp_path, work)
