from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime

import pytest
from tests.unit.backends.fakes import BreakableKV, FakeClock

from pennyweight.backends.budget import Budget
from pennyweight.call import Call
from pennyweight.errors import BadRequest, LimitReached, StoreError, Unreachable, UpstreamTimeout
from pennyweight.money import PicoUSD
from pennyweight.request import Charge, Done, Reply, Usage
from pennyweight.testing.backend import Script, ScriptedBackend, make_call

DOLLAR = 10**12
CENT = DOLLAR // 100
NOON = datetime(2026, 3, 5, 12, tzinfo=UTC).timestamp()


def cost(charge: Charge) -> PicoUSD | None:
    return charge.usage.total_tokens * CENT if charge.model != "free-lunch" else None


def budget(
    inner: ScriptedBackend,
    *,
    kv: BreakableKV | None = None,
    clock: FakeClock | None = None,
    worst: int | None = 50 * CENT,
) -> Budget:
    return Budget(
        inner,
        kv or BreakableKV(),
        clock or FakeClock(NOON),
        limit=lambda tenant: None if tenant == "free" else DOLLAR,
        worst_case=lambda _call: worst,
        cost=cost,
    )


async def spend(wrapper: Budget, call: Call | None = None) -> Reply:
    reply = await wrapper.open(call or make_call(tenant="X"))
    await reply.read()
    await reply.aclose()
    await wrapper.aclose()
    return reply


def costing(cents: int) -> Script:
    return Script(usage=Usage(input_tokens=cents, output_tokens=0))


def test_the_real_cost_is_counted_and_the_reservation_returned() -> None:
    async def run() -> None:
        wrapper = budget(ScriptedBackend(costing(20)))
        await spend(wrapper)
        assert await wrapper.spent("X") == 20 * CENT
        await spend(wrapper)
        assert await wrapper.spent("X") == 40 * CENT

    asyncio.run(run())


def test_a_spent_limit_refuses_in_the_words_that_clients_know() -> None:
    async def run() -> None:
        inner = ScriptedBackend(costing(100))
        wrapper = budget(inner)
        await spend(wrapper)
        with pytest.raises(LimitReached) as refused:
            await spend(wrapper)
        assert refused.value.status == 402
        assert (
            refused.value.message == "Daily limit reached for key X: $1.00 of $1.00 spent, resets tomorrow 00:00 UTC."
        )
        assert refused.value.retry_after_s is None, "a client that is told when to retry sleeps, instead of saying why"
        assert len(inner.calls) == 1

    asyncio.run(run())


def test_it_resets_at_midnight_utc() -> None:
    async def run() -> None:
        clock = FakeClock(NOON)
        wrapper = budget(ScriptedBackend(costing(100)), clock=clock)
        await spend(wrapper)
        clock.advance(12 * 3600 - 1)
        with pytest.raises(LimitReached):
            await spend(wrapper)
        clock.advance(1)
        await spend(wrapper)

    asyncio.run(run())


def test_a_call_over_midnight_counts_for_the_day_it_began() -> None:
    async def run() -> None:
        clock = FakeClock(NOON)
        wrapper = budget(ScriptedBackend(costing(30)), clock=clock)
        reply = await wrapper.open(make_call(tenant="X"))
        clock.advance(13 * 3600)
        await reply.aclose()
        await wrapper.aclose()
        assert await wrapper.spent("X") == 0
        clock.advance(-13 * 3600)
        assert await wrapper.spent("X") == 30 * CENT

    asyncio.run(run())


def test_a_restart_restores_what_was_spent() -> None:
    async def run() -> None:
        kv = BreakableKV()
        await spend(budget(ScriptedBackend(costing(80)), kv=kv))
        again = budget(ScriptedBackend(costing(1)), kv=kv)
        assert await again.spent("X") == 80 * CENT
        with pytest.raises(LimitReached, match=r"\$0\.80 of \$1\.00 spent"):
            await spend(again)

    asyncio.run(run())


def test_a_call_in_flight_holds_its_worst_case() -> None:
    async def run() -> None:
        inner = ScriptedBackend(Script(chunks=(b"a",), usage=Usage()))
        wrapper = budget(inner)
        first, _second = [await wrapper.open(make_call(tenant="X")) for _ in range(2)]
        with pytest.raises(LimitReached, match=r"\$0\.00 of \$1\.00"):
            await wrapper.open(make_call(tenant="X"))
        await first.aclose()  # the next caller sees it settled, without waiting for a turn of the loop
        await wrapper.open(make_call(tenant="X"))

    asyncio.run(run())


def test_a_hundred_at_once_cannot_each_see_room_for_one() -> None:
    async def run() -> None:
        inner = ScriptedBackend(Script(before_open=asyncio.Event()))
        wrapper = budget(inner)
        tasks = [asyncio.create_task(wrapper.open(make_call(tenant="X"))) for _ in range(100)]
        for _ in range(300):
            await asyncio.sleep(0)
        refused = [task for task in tasks if task.done()]
        assert (len(inner.calls), len(refused)) == (2, 98)
        assert {type(task.exception()) for task in refused} == {LimitReached}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())


def test_tenants_have_their_own_limits_and_some_have_none() -> None:
    async def run() -> None:
        kv = BreakableKV()
        wrapper = budget(ScriptedBackend(costing(100)), kv=kv)
        await spend(wrapper)
        await spend(wrapper, make_call(tenant="Y"))
        for _ in range(3):
            await spend(wrapper, make_call(tenant="free"))
        assert not any("free" in key for key in kv.counters)

    asyncio.run(run())


def test_a_model_without_a_price_is_refused() -> None:
    inner = ScriptedBackend()
    with pytest.raises(BadRequest, match="p/m has no known price"):
        asyncio.run(spend(budget(inner, worst=None)))
    assert inner.calls == []


def test_a_store_that_is_down_refuses() -> None:
    kv = BreakableKV()
    kv.down = True
    inner = ScriptedBackend()
    with pytest.raises(StoreError):
        asyncio.run(spend(budget(inner, kv=kv)))
    assert inner.calls == []


def test_a_store_that_breaks_before_the_end_keeps_the_reservation() -> None:
    async def run() -> None:
        kv = BreakableKV()
        wrapper = budget(ScriptedBackend(costing(1)), kv=kv)
        reply = await wrapper.open(make_call(tenant="X"))
        kv.down = True
        await reply.aclose()
        await wrapper.aclose()
        kv.down = False
        assert await wrapper.spent("X") == 50 * CENT

    asyncio.run(run())


@pytest.mark.parametrize(
    ("script", "counted"),
    [
        (Script(error=Unreachable("x")), 0),
        (Script(error=UpstreamTimeout("x")), 50),
        (Script(status=429), 0),
        (Script(usage=Usage(input_tokens=7), chunks=(b"a",)), 7),
    ],
)
def test_what_failures_count(script: Script, counted: int) -> None:
    async def run() -> None:
        wrapper = budget(ScriptedBackend(script))
        with contextlib.suppress(Unreachable, UpstreamTimeout):
            await spend(wrapper)
        assert await wrapper.spent("X") == counted * CENT

    asyncio.run(run())


def test_a_stream_left_without_usage_counts_by_its_text_or_in_full() -> None:
    async def run() -> None:
        script = Script(usage=None, chunks=(b"a",))
        wrapper = budget(ScriptedBackend(script))
        await (await wrapper.open(make_call(tenant="X"))).aclose()
        await wrapper.aclose()
        assert await wrapper.spent("X") == 50 * CENT
        counting = Budget(
            ScriptedBackend(script),
            BreakableKV(),
            FakeClock(NOON),
            limit=lambda _tenant: DOLLAR,
            worst_case=lambda _call: 50 * CENT,
            cost=cost,
            count=lambda _call, _reply: 3 * CENT,
        )
        await (await counting.open(make_call(tenant="X"))).aclose()
        await counting.aclose()
        assert await counting.spent("X") == 3 * CENT

    asyncio.run(run())


def test_a_shared_or_replayed_answer_costs_nothing() -> None:
    class Replayed(ScriptedBackend):
        async def open(self, call: Call) -> Reply:
            return Reply(200, (), wire=call.target.wire, content=b"{}", done=Done(Usage(10), "stop"))

    async def run() -> None:
        wrapper = budget(Replayed())
        await spend(wrapper)
        assert await wrapper.spent("X") == 0

    asyncio.run(run())


def test_a_charge_without_a_price_counts_as_the_worst_case() -> None:
    async def run() -> None:
        wrapper = budget(ScriptedBackend(costing(1)))
        await spend(wrapper, make_call(tenant="X", model="free-lunch"))
        assert await wrapper.spent("X") == 50 * CENT

    asyncio.run(run())
