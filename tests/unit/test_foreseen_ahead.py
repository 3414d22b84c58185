"""A call is foreseen while its upstream works on it, and noted as sent when its caller has the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.unit.gate_rig import Edits, Provider, Rig, asks, turns

from pennyweight.call import Call, Outcome
from pennyweight.errors import Overloaded
from pennyweight.request import Edit, Reply
from pennyweight.testing.clock import FakeClock


class Waits(Provider):
    """A provider that takes its time: until the call was foreseen, if nothing else is said. `order` notes what happened
    when."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.order: list[str] = []
        self.gates: list[asyncio.Event] = []
        self.foreseen = asyncio.Event()
        self.hurries = False
        self.error: Exception | None = None

    async def open(self, call: Call) -> Reply:
        self.order.append("asked")
        if self.gates:
            await self.gates.pop(0).wait()
        elif self.hurries or "ahead" in call.facts:  # or asked again, in another form
            await asyncio.sleep(0)
        else:
            self.foreseen = asyncio.Event()
            await self.foreseen.wait()
        self.order.append("answered")
        if self.error is not None:
            raise self.error
        return await super().open(call)


def rig(*optimizers: Any) -> tuple[Rig, Waits]:
    clock = FakeClock()
    provider = Waits(clock)
    found = Rig(*optimizers, provider=provider, clock=clock)
    economy, foresee, sent = found.economy, found.economy.foresee, found.economy.sent

    def foreseeing(call: Call, *, at: float) -> Any:
        provider.order.append("foreseen")
        provider.foreseen.set()
        return foresee(call, at=at)

    def sending(seen: Any, *, at: float) -> Any:
        provider.order.append("noted")
        return sent(seen, at=at)

    economy.foresee, economy.sent = foreseeing, sending  # type: ignore[method-assign]
    return found, provider


def test_a_call_is_foreseen_while_it_is_waited_for_and_noted_at_its_end() -> None:
    found, provider = rig()

    async def main() -> None:
        reply = await found.pipeline.open(asks(turns(2)))
        provider.order.append("opened")
        await reply.aclose()

    asyncio.run(main())
    assert provider.order == ["asked", "foreseen", "answered", "opened", "noted"]
    assert found.outcomes[0].foreseen_read_tokens is not None


def test_an_answer_that_comes_at_once_does_not_wait_for_what_is_foreseen() -> None:
    found, provider = rig()
    provider.hurries = True

    async def main() -> None:
        reply = await found.pipeline.open(asks(turns(2)))
        provider.order.append("opened")
        await reply.aclose()
        await asyncio.sleep(0.005)

    asyncio.run(main())
    assert provider.order == ["asked", "answered", "opened", "foreseen", "noted"]
    assert found.outcomes[0].foreseen_read_tokens is not None


def test_a_stream_is_noted_when_it_begins() -> None:
    found, provider = rig()
    whole = provider.open

    async def streamed(call: Call) -> Reply:
        reply = await whole(call)

        async def chunks() -> AsyncIterator[bytes]:
            yield b"{}"

        reply.content, reply.chunks = None, chunks()
        return reply

    provider.open = streamed  # type: ignore[method-assign]

    async def main() -> None:
        reply = await found.pipeline.open(asks(turns(2)))
        provider.order.append("opened")
        await reply.read()
        await reply.aclose()

    asyncio.run(main())
    assert provider.order == ["asked", "foreseen", "answered", "noted", "opened"]


def test_a_call_that_fails_is_not_noted() -> None:
    found, provider = rig()
    provider.error = Overloaded("busy")
    with pytest.raises(Overloaded):
        found.ask(asks(turns(2)))
    assert "noted" not in provider.order


def test_a_call_that_goes_out_again_in_another_form_is_foreseen_anew() -> None:
    def shorten(call: Call) -> list[Edit]:
        return [Edit(("messages", 0, "content"), "short")]

    told = []
    for optimizers in ([Edits(shorten)], []):
        found, provider = rig(*optimizers)
        provider.refuses = lambda request: b"short" in request.raw
        found.ask(asks(turns(2, size=1_500)))
        provider.order.clear()
        outcome = found.ask(asks(turns(3, size=1_500)), after_s=4_000.0)
        assert (outcome.status, outcome.call.request) == (200, outcome.call.original)
        assert provider.order.count("foreseen") == (2 if optimizers else 1)
        told.append((outcome.foreseen_read_tokens, outcome.untouched))
    assert told[0] == told[1]


def test_of_two_at_once_the_second_is_foreseen_as_of_when_it_was_sent() -> None:
    """A provider has nothing in its cache of a prompt that it has not answered yet."""
    found, provider = rig()
    at_once = asyncio.run(_two(found, provider, overlapping=True))
    assert provider.order[:4] == ["asked", "asked", "foreseen", "foreseen"]
    assert [outcome.foreseen_read_tokens for outcome in at_once] == [0, 0]
    found, provider = rig()
    one_by_one = asyncio.run(_two(found, provider, overlapping=False))
    assert one_by_one[0].foreseen_read_tokens == 0
    assert (one_by_one[1].foreseen_read_tokens or 0) > 1_000


async def _two(found: Rig, provider: Waits, *, overlapping: bool) -> list[Outcome]:
    gates = [asyncio.Event(), asyncio.Event()]
    provider.gates = list(gates)

    async def one() -> None:
        async with await found.pipeline.open(asks(turns(3))) as reply:
            await reply.read()

    first = asyncio.create_task(one())
    await asyncio.sleep(0)
    if not overlapping:
        gates[0].set()
        await first
        found.clock.advance(1.0)
    second = asyncio.create_task(one())
    await asyncio.sleep(0)
    gates[0].set()
    await first
    gates[1].set()
    await second
    return found.outcomes
