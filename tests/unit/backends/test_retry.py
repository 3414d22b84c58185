from __future__ import annotations

import asyncio
from email.utils import formatdate

import pytest
from tests.unit.backends.fakes import FakeClock

from pennyweight.backends.retry import Retry
from pennyweight.errors import NotConnected, Unreachable
from pennyweight.request import Reply
from pennyweight.testing.backend import Script, ScriptedBackend, make_call


def ask(backend: ScriptedBackend, *, clock: FakeClock | None = None, behind: bool = False) -> tuple[Reply, FakeClock]:
    clock = clock or FakeClock()
    retry = Retry(
        backend, clock, sleep=clock.sleep, uniform=lambda low, high: low, fallback_behind=lambda _call: behind
    )
    return asyncio.run(retry.open(make_call())), clock


@pytest.mark.parametrize("status", [429, 500, 502, 503, 529])
def test_a_refusal_is_retried_once_and_the_first_reply_closed(status: int) -> None:
    backend = ScriptedBackend(Script(status=status), Script(content=b"yes"))
    reply, clock = ask(backend)
    assert reply.content == b"yes"
    assert len(backend.calls) == 2
    assert backend.closed == 1
    assert len(clock.slept) == 1
    assert [step.optimizer for step in reply.notes] == ["retry"]


def test_the_same_target_is_asked_at_most_twice() -> None:
    backend = ScriptedBackend(Script(status=503, content=b"one"), Script(status=503, content=b"two"), Script())
    reply, _ = ask(backend)
    assert (reply.status, reply.content, len(backend.calls)) == (503, b"two", 2)


@pytest.mark.parametrize("status", [200, 400, 401, 402, 404, 413, 422, 504])
def test_other_answers_go_back_at_once(status: int) -> None:
    backend = ScriptedBackend(Script(status=status))
    reply, clock = ask(backend)
    assert (reply.status, len(backend.calls), clock.slept) == (status, 1, [])


def test_retry_after_of_more_than_two_seconds_goes_back_verbatim() -> None:
    headers = (("retry-after", "7"), ("request-id", "r"))
    backend = ScriptedBackend(Script(status=429, headers=headers, content=b'{"error": "slow"}'))
    reply, clock = ask(backend)
    assert (reply.status, reply.headers, reply.content) == (429, headers, b'{"error": "slow"}')
    assert (len(backend.calls), backend.closed, clock.slept) == (1, 0, [])


@pytest.mark.parametrize(
    ("header", "waited"),
    [(("retry-after", "1"), 1.0), (("retry-after-ms", "300"), 0.3), (("retry-after", "later"), 0.1)],
)
def test_a_short_retry_after_is_waited_for(header: tuple[str, str], waited: float) -> None:
    _, clock = ask(ScriptedBackend(Script(status=429, headers=(header,)), Script()))
    assert clock.slept == [pytest.approx(waited)]


def test_retry_after_may_be_a_date() -> None:
    clock = FakeClock()
    backend = ScriptedBackend(Script(status=503, headers=(("retry-after", formatdate(clock.now() + 30, usegmt=True)),)))
    reply, _ = ask(backend, clock=clock)
    assert (reply.status, clock.slept) == (503, [])


def test_a_first_try_that_took_two_seconds_is_the_last() -> None:
    clock = FakeClock()

    class Slow(ScriptedBackend):
        async def open(self, call):  # type: ignore[no-untyped-def]
            clock.advance(2.0)
            return await super().open(call)

    backend = Slow(Script(status=500))
    ask(backend, clock=clock)
    assert len(backend.calls) == 1


def test_jitter_stays_within_two_seconds() -> None:
    ranges: list[tuple[float, float]] = []

    def widest(low: float, high: float) -> float:
        ranges.append((low, high))
        return high

    clock = FakeClock()
    backend = ScriptedBackend(Script(status=429, headers=(("retry-after", "1.8"),)), Script())
    asyncio.run(Retry(backend, clock, sleep=clock.sleep, uniform=widest).open(make_call()))
    assert ranges == [(1.8, 2.0)]


def test_a_connection_that_was_not_made_is_retried() -> None:
    backend = ScriptedBackend(Script(error=NotConnected("refused")), Script(content=b"yes"))
    assert ask(backend)[0].content == b"yes"


def test_a_connection_that_broke_after_sending_is_not() -> None:
    backend = ScriptedBackend(Script(error=Unreachable("reset")), Script())
    with pytest.raises(Unreachable):
        ask(backend)
    assert len(backend.calls) == 1


def test_with_a_fallback_behind_nothing_is_retried() -> None:
    backend = ScriptedBackend(Script(status=503), Script())
    reply, _ = ask(backend, behind=True)
    assert (reply.status, len(backend.calls)) == (503, 1)
    backend = ScriptedBackend(Script(error=NotConnected("refused")), Script())
    with pytest.raises(NotConnected):
        ask(backend, behind=True)
    assert len(backend.calls) == 1


def test_the_upstream_can_forbid_it() -> None:
    backend = ScriptedBackend(Script(status=500, headers=(("x-should-retry", "false"),)), Script())
    assert ask(backend)[0].status == 500
