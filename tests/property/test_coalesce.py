"""However callers come, read and leave: those who stay see one stream whole, and the upstream is charged once."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.backends.coalesce import Coalesce
from pennyweight.request import Reply
from pennyweight.testing.backend import Script, ScriptedBackend, make_call

STEADY = b'{"model":"m","temperature":0,"messages":[]}'
CALLERS = 4
act = st.one_of(
    st.tuples(st.just("come"), st.integers(0, CALLERS - 1)),
    st.tuples(st.just("read"), st.integers(0, CALLERS - 1)),
    st.tuples(st.just("leave"), st.integers(0, CALLERS - 1)),
    st.tuples(st.just("cancel"), st.integers(0, CALLERS - 1)),
    st.tuples(st.just("send"), st.just(0)),
)


class Caller:
    def __init__(self) -> None:
        self.opening: asyncio.Task[Reply] | None = None
        self.reply: Reply | None = None
        self.seen = b""
        self.reading: asyncio.Task[None] | None = None
        self.left = False

    async def read_all(self) -> None:
        assert self.reply is not None
        assert self.reply.chunks is not None
        async for chunk in self.reply.chunks:
            self.seen += chunk


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def _play(acts: list[tuple[str, int]], chunks: tuple[bytes, ...], buffer_bytes: int) -> None:
    gates = [asyncio.Event() for _ in range(len(chunks) + 1)]
    inner = ScriptedBackend(Script(chunks=chunks, before_open=gates[0], before_chunks=tuple(gates[1:])))
    coalesce = Coalesce(inner, buffer_bytes=buffer_bytes)
    callers = [Caller() for _ in range(CALLERS)]
    sent = 0
    for name, index in acts:
        caller = callers[index]
        match name:
            case "come" if caller.opening is None:
                caller.opening = asyncio.create_task(coalesce.open(make_call(STEADY, call_id=f"c{index}")))
            case "cancel" if caller.opening is not None and caller.reply is None:
                caller.opening.cancel()
                caller.left = True
            case "read" if caller.reply is not None and caller.reading is None and not caller.left:
                caller.reading = asyncio.create_task(caller.read_all())
            case "leave" if caller.reply is not None and not caller.left:
                if caller.reading is not None:
                    caller.reading.cancel()
                await caller.reply.aclose()
                caller.left = True
            case "send" if sent < len(gates):
                gates[sent].set()
                sent += 1
        await _settle()
        for one in callers:
            if one.reply is None and one.opening is not None and one.opening.done() and not one.opening.cancelled():
                one.reply = one.opening.result()
    for gate in gates:
        gate.set()
    for caller in callers:
        if caller.opening is not None and not caller.left:
            caller.reply = caller.reply or await caller.opening
            caller.reading = caller.reading or asyncio.create_task(caller.read_all())
    for caller in callers:
        if caller.reading is not None and not caller.left:
            await caller.reading
            assert caller.seen == b"".join(chunks)
    for caller in callers:
        if caller.reply is not None:
            await caller.reply.aclose()
            assert b"".join(chunks).startswith(caller.seen)
    charges = sum(len(c.reply.done.charges) for c in callers if c.reply is not None and c.reply.done is not None)
    assert charges == len(inner.replies), "every upstream answer is charged to exactly one caller"
    assert inner.closed == len(inner.replies)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(act, max_size=25),
    st.lists(st.binary(min_size=1, max_size=8), max_size=5).map(tuple),
)
def test_one_stream_one_charge(acts: list[tuple[str, int]], chunks: tuple[bytes, ...]) -> None:
    asyncio.run(_play(acts, chunks, 2**20))
