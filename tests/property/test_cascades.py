"""Whatever targets and callers do, a cascade mixes no answers, forgets no bill, and leaves nothing open or running."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.backends.cascade.rig import body, said, streamed, target

from pennyweight.backends.cascade import Cascade
from pennyweight.backends.upstream import Dispatch
from pennyweight.call import CHARGED, Call, Rungs
from pennyweight.errors import PennyweightError, StreamCut, Unreachable
from pennyweight.request import Charge, Done, Reply, Usage
from pennyweight.routing.settings import CascadeTable
from pennyweight.testing.backend import make_call
from pennyweight.testing.clock import FakeClock

TEXTS = ["42", "41", "", "```python\ndef(\n```", "some words that are not short at all and say one thing or another"]


class Acts(msgspec.Struct, frozen=True):
    """What a target does: `ticks` of the loop before it opens and before each chunk."""

    kind: str  # whole stream cut refuse raise
    text: str
    ticks: int


class Target:
    """A backend that keeps its own books."""

    def __init__(self, name: str, acts: Acts) -> None:
        self.name = name
        self.acts = acts
        self.opened: list[Reply] = []
        self.ended: list[Reply] = []

    async def open(self, call: Call) -> Reply:
        await self._tick()
        acts = self.acts
        if acts.kind == "raise":
            raise Unreachable(self.name)
        charge = Charge(self.name, call.target.model, Usage(input_tokens=1, output_tokens=1), call.at)
        refuses = acts.kind == "refuse"
        done = Done() if refuses else Done(charge.usage, "stop", (charge,))

        async def close() -> None:
            self.ended.append(reply)
            reply.done = done

        if refuses:
            reply = Reply(503, (), wire=call.target.wire, content=b'{"error":{}}', done=done, close=close)
        elif call.request.stream and acts.kind != "whole":
            reply = Reply(200, (), wire=call.target.wire, chunks=self._chunks(), close=close)
        else:
            reply = Reply(200, (), wire=call.target.wire, content=self.body, done=done, close=close)
        self.opened.append(reply)
        return reply

    @property
    def body(self) -> bytes:
        return said(f"{self.acts.text}")

    @property
    def stream(self) -> bytes:
        return b"".join(streamed(*(self.acts.text or " ")))

    async def _chunks(self) -> AsyncIterator[bytes]:
        chunks = streamed(*(self.acts.text or " "))
        for chunk in chunks[: 2 if self.acts.kind == "cut" else None]:
            await self._tick()
            yield chunk
        if self.acts.kind == "cut":
            raise StreamCut(self.name)

    async def _tick(self) -> None:
        for _ in range(self.acts.ticks):
            await asyncio.sleep(0)


ACTS = st.builds(
    Acts, st.sampled_from(["whole", "stream", "cut", "refuse", "raise"]), st.sampled_from(TEXTS), st.integers(0, 6)
)
RULES = st.builds(
    CascadeTable,
    mode=st.sampled_from(["bound", "verify"]),
    ask_peer=st.sampled_from(["at_once", "in_doubt"]),
    peer_wait_s=st.sampled_from([0.0001, 5.0]),
    hold_bytes=st.sampled_from([200, 1 << 20]),
    pulse_s=st.sampled_from([0.0001, 5.0]),
)


@settings(max_examples=200, deadline=None)
@given(
    cheap=ACTS,
    peer=st.none() | ACTS,
    strong=ACTS,
    rule=RULES,
    stream=st.booleans(),
    compare=st.booleans(),
    leaves=st.none() | st.integers(0, 12),
)
def test_no_mixture_no_forgotten_bill_nothing_left(
    cheap: Acts, peer: Acts | None, strong: Acts, rule: CascadeTable, stream: bool, compare: bool, leaves: int | None
) -> None:
    asyncio.run(_play(cheap, peer, strong, rule, stream=stream, compare=compare, leaves=leaves))


async def _play(
    cheap: Acts, peer: Acts | None, strong: Acts, rule: CascadeTable, *, stream: bool, compare: bool, leaves: int | None
) -> None:
    targets = {"cheap": Target("cheap", cheap), "strong": Target("strong", strong)}
    if peer is not None:
        targets["peer"] = Target("peer", peer)
    cascade = Cascade(Dispatch(targets), FakeClock(), settings=rule, uniform=lambda: 0.0 if compare else 0.99)
    rungs = Rungs((target("strong"),), target("peer") if peer is not None else None)
    made = make_call(body(stream=stream), provider="cheap", model="cheap-1")
    call = msgspec.structs.replace(made, rungs=rungs)
    charges: tuple[Charge, ...] = ()
    got: bytes | None = None
    status = 0
    opening = asyncio.create_task(cascade.open(call))
    if leaves is not None:
        for _ in range(leaves):
            await asyncio.sleep(0)
        if not opening.done():
            opening.cancel()
    try:
        reply = await opening
    except (asyncio.CancelledError, PennyweightError):
        charges = call.facts.get(CHARGED, ())
    else:
        status = reply.status
        try:
            got = await _read(reply, leaves)
        except StreamCut:
            got = None
        await reply.aclose()
        charges = reply.done.charges if reply.done is not None else ()
    _check(targets, charges, got, status, stayed=leaves is None)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def _read(reply: Reply, leaves: int | None) -> bytes | None:
    if leaves is None:
        return await reply.read()
    if reply.chunks is not None:
        async for _chunk in reply.chunks:
            break
    return None


def _check(
    targets: dict[str, Any], charges: tuple[Charge, ...], got: bytes | None, status: int, *, stayed: bool
) -> None:
    for name, one in targets.items():
        assert len(one.opened) <= 1
        assert len(one.ended) == len(one.opened), f"{name} was left open"
        billed = [charge for charge in charges if charge.provider == name]
        owed = [reply for reply in one.opened if reply.ok]
        assert len(billed) == len(owed), f"{name} billed {len(owed)}, told {len(billed)}"
    if got is not None and status == 200:
        bare = got.replace(b": \n\n", b"")
        cheap, strong = targets["cheap"], targets["strong"]
        known = [cheap.body, strong.body, cheap.stream, strong.stream]
        unfolded = b'"object":"chat.completion.chunk"' in bare.replace(b" ", b"")
        assert bare in known or unfolded, "neither the one nor the other"
        if bare in (cheap.body, cheap.stream) and cheap.acts.text != strong.acts.text:
            assert cheap.opened
    if stayed:
        sure = [one for name, one in targets.items() if name != "peer" and one.acts.kind in ("whole", "stream")]
        if any(one.name == "strong" for one in sure):
            assert status == 200, "the strong target would have answered"
            assert got is not None
