"""However calls overlap, what is spent and what is reserved never pass the limit, and at the end the sum is exact."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.backends.fakes import BreakableKV, FakeClock

from pennyweight.backends.budget import Budget
from pennyweight.errors import LimitReached, Unreachable
from pennyweight.request import Charge, Reply, Usage
from pennyweight.testing.backend import Script, ScriptedBackend, make_call

LIMIT = 100


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 3)), max_size=20))
def test_the_limit_holds(plan: list[tuple[int, int, int]]) -> None:
    """plan: worst case, what of it is used, and what comes of the call: 0 fails, 1 ends the oldest call, else runs."""

    async def run() -> None:
        kv, clock = BreakableKV(), FakeClock()
        spent, held = 0, 0
        open_replies: list[tuple[Reply, int, int]] = []
        for worst, part, fate in plan:
            used = min(part, worst)
            script = Script(error=Unreachable("x")) if fate == 0 else Script(usage=Usage(input_tokens=used), chunks=())
            wrapper = Budget(
                ScriptedBackend(script),
                kv,
                clock,
                limit=lambda _tenant: LIMIT,
                worst_case=lambda _call, worst=worst: worst,
                cost=_cost,
            )
            fits = spent + held + worst <= LIMIT
            if not fits or fate == 0:
                with pytest.raises(Unreachable if fits else LimitReached):
                    await wrapper.open(make_call(tenant="X"))
                continue
            reply = await wrapper.open(make_call(tenant="X"))
            held += worst
            open_replies.append((reply, worst, used))
            if fate == 1:
                reply, worst, used = open_replies.pop(0)
                await reply.aclose()
                held, spent = held - worst, spent + used
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            assert sum(kv.counters.values()) == spent + held <= LIMIT
        for reply, _worst, used in open_replies:
            await reply.aclose()
            spent += used
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sum(kv.counters.values()) == spent

    asyncio.run(run())


def _cost(charge: Charge) -> int:
    return charge.usage.total_tokens
