"""What is taken before a call, what it comes to afterwards, and what is said when nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from tests.unit.backends.budget.rig import CENT, DOLLAR, NOON, House, costing
from tests.unit.backends.fakes import FakeClock

from pennyweight.backends.budget.amounts import TOKEN
from pennyweight.backends.budget.settings import BudgetRule
from pennyweight.call import Call, Credential, Identity
from pennyweight.counters import Counter, Counters, Move, Take, Taken
from pennyweight.errors import (
    BadRequest,
    LimitReached,
    NotConnected,
    PennyweightError,
    RateLimited,
    StoreError,
    StreamCut,
    Unreachable,
    UpstreamTimeout,
)
from pennyweight.request import Operation, Usage, Wire
from pennyweight.stores.counters.memory import MemoryCounters
from pennyweight.testing.backend import Script, make_call


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def call(tenant: str = "X", session: str = "s", agent: str = "", **more: Any) -> Call:
    made = make_call(tenant=tenant, session=session, **more)
    return msgspec.structs.replace(made, identity=Identity(tenant, session, agent), facts={})


# --- a virtual key's day --------------------------------------------------------------------------------------


def test_the_real_cost_is_counted_and_the_reservation_returned() -> None:
    async def work() -> None:
        house = House(costing(20), daily=DOLLAR)
        for total in (20, 40):
            await house.spend(call())
            assert await house.budgets.spent("X") == total * CENT
        assert await house.counted() == {"daily/X": (40, 0)}

    run(work())


def test_a_spent_limit_refuses_in_the_words_that_clients_know() -> None:
    async def work() -> None:
        house = House(costing(100), daily=DOLLAR)
        await house.spend(call())
        with pytest.raises(LimitReached) as refused:
            await house.spend(call())
        assert refused.value.status == 402
        assert (
            refused.value.message == "Daily limit reached for key X: $1.00 of $1.00 spent, resets tomorrow 00:00 UTC."
        )
        assert refused.value.retry_after_s is None, "a client that is told when to retry sleeps, instead of saying why"
        assert len(house.provider.calls) == 1

    run(work())


def test_it_resets_at_midnight_and_a_call_counts_where_it_began() -> None:
    async def work() -> None:
        clock = FakeClock(NOON)
        house = House(costing(100), daily=DOLLAR, clock=clock)
        reply = await house.backend.open(call())
        clock.advance(12 * 3600 - 1)
        house.worst = 51
        with pytest.raises(LimitReached, match=r"\$0\.00 of \$1\.00"):
            await house.backend.open(call())
        clock.advance(1)
        await reply.aclose()
        await house.budgets.aclose()
        assert await house.budgets.spent("X") == 0
        await house.spend(call())
        clock.advance(-12 * 3600)
        assert await house.budgets.spent("X") == DOLLAR, "a clock that is set back finds the day as it was"

    run(work())


def test_a_call_in_flight_holds_its_worst_case() -> None:
    async def work() -> None:
        house = House(Script(chunks=(b"a",), usage=Usage()), daily=DOLLAR)
        first, _second = [await house.backend.open(call()) for _ in range(2)]
        with pytest.raises(LimitReached, match=r"\$0\.00 of \$1\.00"):
            await house.backend.open(call())
        await first.aclose()  # the next caller sees it settled, without waiting for a turn of the loop
        await house.backend.open(call())

    run(work())


def test_a_hundred_at_once_cannot_each_see_room_for_one() -> None:
    async def work() -> None:
        house = House(Script(before_open=asyncio.Event()), daily=DOLLAR)
        tasks = [asyncio.create_task(house.backend.open(call())) for _ in range(100)]
        for _ in range(300):
            await asyncio.sleep(0)
        refused = [task for task in tasks if task.done()]
        assert (len(house.provider.calls), len(refused)) == (2, 98)
        assert {type(task.exception()) for task in refused} == {LimitReached}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await house.budgets.aclose()
        assert await house.budgets.spent("X") == DOLLAR, "what was cancelled half-way may have been billed"

    run(work())


def test_no_limit_costs_no_store() -> None:
    async def work() -> None:
        house = House(daily=DOLLAR)
        house.counters.down = True
        await house.spend(call("free"))
        with pytest.raises(StoreError):
            await house.spend(call())

    run(work())


@pytest.mark.parametrize(
    ("error", "spent"),
    [
        (NotConnected("x"), 0),
        (RateLimited("x"), 0),
        (Unreachable("x"), 50),
        (UpstreamTimeout("x"), 50),
        (StreamCut("x"), 50),
        (PennyweightError("x"), 50),
        (RuntimeError("x"), 50),
    ],
)
def test_a_failure_costs_nothing_only_where_nothing_was_sent(error: Exception, spent: int) -> None:
    async def work() -> None:
        house = House(Script(error=error), daily=DOLLAR)
        with pytest.raises(type(error)):
            await house.backend.open(call())
        assert await house.counted() == {"daily/X": (spent, 0)}

    run(work())


@pytest.mark.parametrize(("status", "spent"), [(400, 0), (429, 0), (500, 0), (504, 50)])
def test_a_refusal_is_not_billed(status: int, spent: int) -> None:
    async def work() -> None:
        house = House(Script(status=status), daily=DOLLAR)
        await house.spend(call())
        assert await house.counted() == {"daily/X": (spent, 0)}

    run(work())


def test_usage_that_nobody_told_counts_at_worst() -> None:
    async def work() -> None:
        house = House(Script(usage=None), daily=DOLLAR)
        await house.spend(call())
        assert await house.budgets.spent("X") == 50 * CENT

    run(work())


@pytest.mark.parametrize(("told", "spent"), [(10, 30), (70, 70)])
def test_a_provider_that_contradicts_itself_is_counted(told: int, spent: int) -> None:
    async def work() -> None:
        suspect = Script(usage=Usage(input_tokens=told, suspect="more cached than there is"))

        def count(asked: Call, _reply: Any) -> Any:
            from pennyweight.request import Charge

            return (Charge(asked.target.provider, asked.target.model, Usage(input_tokens=30), asked.at),)

        house = House(suspect, daily=DOLLAR, count=count)
        await house.spend(call())
        assert await house.budgets.spent("X") == spent * CENT

    run(work())


@pytest.mark.parametrize("billed", [10**40, 150])
def test_a_provider_that_bills_more_than_could_be_stops_the_key(billed: int) -> None:
    async def work() -> None:
        house = House(costing(billed), daily=DOLLAR)
        await house.spend(call())
        with pytest.raises(LimitReached):
            await house.spend(call())

    run(work())


def test_a_model_without_a_price_is_refused() -> None:
    async def work() -> None:
        house = House(daily=DOLLAR)
        with pytest.raises(BadRequest, match=r"Key X has a limit in dollars, and p/free-lunch has no known price"):
            await house.backend.open(call(model="free-lunch"))
        await house.spend(call("free", model="free-lunch"))

    run(work())


def test_what_goes_on_in_the_background_counts_at_worst() -> None:
    async def work() -> None:
        house = House(Script(usage=None), daily=DOLLAR, count=lambda _call, _reply: ())
        body = b'{"model":"m","input":"x","background":true}'
        await house.spend(call(body=body, wire=Wire.OPENAI_RESPONSES))
        assert await house.budgets.spent("X") == 50 * CENT

    run(work())


def test_what_is_no_model_call_is_refused_under_a_budget_in_dollars() -> None:
    async def work() -> None:
        house = House(daily=DOLLAR, worst=None)
        image = call(operation=Operation.OTHER, path="/v1/images/generations")
        with pytest.raises(BadRequest, match=r"what is asked at /v1/images/generations has no known price"):
            await house.backend.open(image)
        listed = msgspec.structs.replace(image.request, method="GET")
        await house.spend(msgspec.structs.replace(image, request=listed))

    run(work())


def test_counting_tokens_is_free_and_a_plan_is_no_dollars() -> None:
    async def work() -> None:
        house = House(costing(100), daily=DOLLAR)
        await house.spend(call(operation=Operation.COUNT))
        plan = Credential("authorization", "Bearer sk-ant-oat-1", subscription=True)
        for _ in range(3):
            await house.spend(call(credential=plan))
        assert await house.budgets.spent("X") == 0

    run(work())


def test_who_leaves_while_the_store_is_asked_holds_nothing() -> None:
    async def work() -> None:
        house = House(daily=DOLLAR)
        gate = asyncio.Event()
        take = house.counters.take

        async def slow(wanted: Any) -> Any:
            await gate.wait()
            return await take(wanted)

        house.counters.take = slow  # type: ignore[method-assign]
        task = asyncio.create_task(house.backend.open(call()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        gate.set()
        await asyncio.sleep(0.01)
        await house.budgets.aclose()
        assert await house.counted() == {"daily/X": (0, 0)}
        assert not house.provider.calls

    run(work())


def test_a_store_that_is_down_at_the_end_leaves_the_reservation() -> None:
    async def work() -> None:
        house = House(costing(1), daily=DOLLAR)
        reply = await house.backend.open(call())
        house.counters.down = True
        await reply.aclose()
        await house.budgets.aclose()
        assert await house.counted() == {"daily/X": (0, 50)}

    run(work())


# --- all scopes -----------------------------------------------------------------------------------------------


def test_every_budget_of_a_call_is_taken_or_none() -> None:
    async def work() -> None:
        rules = [
            BudgetRule("all", name="all", usd="10", per="month"),
            BudgetRule("agent", name="agent", usd="2", per="day"),
            BudgetRule("session", name="session", usd="1"),
        ]
        house = House(costing(30), rules=rules, daily=5 * DOLLAR)
        await house.spend(call(agent="a"))
        await house.spend(call(agent="a", session="t"))
        assert await house.counted() == {
            "all/": (60, 0),
            "agent/a": (60, 0),
            "session/s": (30, 0),
            "session/t": (30, 0),
            "daily/X": (60, 0),
        }
        house.worst = 80
        before = await house.counted()
        with pytest.raises(LimitReached, match=r"^Session usage limit reached for session s: \$0\.30 of \$1\.00 spent"):
            await house.spend(call(agent="a"))
        assert await house.counted() == before
        await house.spend(call(agent="a", session="u"))

    run(work())


def test_a_call_without_an_agent_or_a_session_is_nobodys() -> None:
    async def work() -> None:
        house = House(rules=[BudgetRule("agent", usd="0.01", per="day"), BudgetRule("session", usd="0.01")])
        await house.spend(call(session=""))
        assert await house.counted() == {}

    run(work())


def test_patterns_and_types_choose() -> None:
    async def work() -> None:
        rules = [
            BudgetRule("agent", name="deploy", usd="1", per="day", agent="deploy-*", tenant="team"),
            BudgetRule("session", name="cron", tokens=1_000, type="cron"),
        ]
        house = House(costing(1), rules=rules, type_of=lambda c: "cron" if c.identity.session == "n" else "direct")
        await house.spend(call("team", agent="deploy-1"))
        await house.spend(call("other", agent="deploy-1"))
        await house.spend(call("team", agent="build"))
        await house.spend(call("other", session="n"))
        assert set(await house.counted()) == {"deploy/deploy-1", "cron/n"}

    run(work())


def test_one_call_has_a_budget_of_its_own_that_its_retries_share() -> None:
    async def work() -> None:
        house = House(costing(30), rules=[BudgetRule("call", usd="0.75")])
        one = call()
        await house.spend(one)
        with pytest.raises(LimitReached, match=r"^Usage limit reached for one call: \$0\.80 of \$0\.75 is what it can"):
            await house.spend(one)
        await house.spend(call())

    run(work())


def test_tokens_count_by_their_price() -> None:
    """Read from the cache a tenth, written five quarters, plain and answered one each."""

    async def work() -> None:
        usage = Usage(input_tokens=1_000, cache_read_tokens=800, cache_write_5m_tokens=100, output_tokens=50)
        house = House(Script(usage=usage), rules=[BudgetRule("session", tokens=1_000), BudgetRule("all", tokens=10**6)])
        await house.spend(call())
        states = {state.scope: state for state in await house.budgets.states()}
        assert states["session"].spent == (80 + 125 + 100 + 50) * 1_000
        assert states["session"].share == 0.355
        plain = House(Script(usage=usage), rules=[BudgetRule("session", tokens=2_000, plain=True)])
        await plain.spend(call())
        assert (await plain.budgets.states())[0].spent == 1_050 * 1_000

    run(work())


def test_tokens_are_held_at_least_and_money_at_worst() -> None:
    async def work() -> None:
        rules = [BudgetRule("session", name="tokens", tokens=40), BudgetRule("all", name="usd", usd="1")]
        house = House(costing(45), rules=rules)
        await house.spend(call())  # its worst case is 50 tokens: above the limit, but that is not what stops it
        with pytest.raises(LimitReached, match=r"^Session usage limit reached for session s: 45 of 40 tokens spent"):
            await house.spend(call())
        strict = House(costing(1), rules=[msgspec.structs.replace(rules[0], hold="worst")])
        with pytest.raises(LimitReached):
            await strict.spend(call())

    run(work())


def test_a_call_that_is_stopped_unanswered_ends_no_session_whose_tokens_are_held_at_least() -> None:
    async def work() -> None:
        rules = [
            BudgetRule("session", name="tokens", tokens=40),
            BudgetRule("agent", name="strict", tokens=400, hold="worst"),
            BudgetRule("all", name="usd", usd="100"),
        ]
        house = House(Script(before_open=asyncio.Event()), costing(3), rules=rules, least=2)
        task = asyncio.create_task(house.backend.open(call(agent="a")))
        for _ in range(20):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await house.budgets.aclose()
        states = {state.budget: state.spent for state in await house.budgets.states()}
        assert states == {"tokens": 2 * TOKEN, "strict": 50 * TOKEN, "usd": 50 * CENT}
        await house.spend(call(agent="a"))

    run(work())


def test_hours_and_months_say_when_they_end() -> None:
    async def work() -> None:
        for per, words in (
            ("hour", "Hourly usage limit reached for key X: $1.00 of $1.00 spent, resets today 13:00 UTC; try again"),
            ("month", "Monthly limit reached for key X: $1.00 of $1.00 spent, resets 2026-04-01 00:00 UTC."),
        ):
            house = House(costing(100), rules=[BudgetRule("key", per=per, usd=1)])  # type: ignore[arg-type]
            await house.spend(call())
            with pytest.raises(LimitReached) as refused:
                await house.spend(call())
            assert refused.value.message.startswith(words)

    run(work())


def test_a_day_ends_by_the_users_clock() -> None:
    async def work() -> None:
        clock = FakeClock(NOON)
        house = House(
            costing(100), clock=clock, rules=[BudgetRule("key", per="day", usd=1, time_zone="America/New_York")]
        )
        await house.spend(call())
        with pytest.raises(LimitReached, match=r"resets tomorrow 00:00 EST\.$"):
            await house.spend(call())
        clock.advance(17 * 3600)  # 05:00 UTC is midnight there
        await house.spend(call())

    run(work())


# --- shares ---------------------------------------------------------------------------------------------------


def test_each_share_is_told_once() -> None:
    async def work() -> None:
        house = House(costing(10), rules=[BudgetRule("session", usd=1)], worst=10)
        seen = []
        for _ in range(10):
            one = call()
            await house.spend(one)
            seen.append((round(house.budgets.pressure(one), 2), house.budgets.forced(one)))
        assert seen == [(n / 10, n >= 9) for n in range(1, 11)]
        assert house.budgets.headers(one) == (("x-pennyweight-budget", "halt; 100% of $1.00 spent by session s"),)
        for _ in range(3):
            with pytest.raises(LimitReached):
                await house.spend(call())
        assert [(event.level, round(event.share, 2)) for event in house.events] == [
            ("warn", 0.8),
            ("force", 0.9),
            ("halt", 1.0),
        ]
        assert house.budgets.pressure(call(session="other")) == 0.0

    run(work())


def test_a_share_that_is_passed_at_once_is_told_as_what_it_is() -> None:
    async def work() -> None:
        house = House(costing(250), rules=[BudgetRule("session", usd=1)], worst=10)
        await house.spend(call())
        with pytest.raises(LimitReached):
            await house.spend(call())
        told = "halt; 250% of $1.00 spent by session s"
        assert [(event.level, event.text) for event in house.events] == [("halt", told)]

    run(work())


def test_a_call_too_large_for_what_is_left_is_told_so_and_hides_nothing() -> None:
    async def work() -> None:
        house = House(costing(10), rules=[BudgetRule("session", usd=1)], worst=10)
        await house.spend(call())
        house.worst = 95
        for _ in range(2):
            with pytest.raises(LimitReached) as refused:
                await house.spend(call())
        assert refused.value.message == (
            "Session usage limit reached for session s: $0.10 of $1.00 spent. Try again in a new session. "
            "This call can come to $0.95. A smaller output limit may fit."
        )
        house.worst = 10
        for _ in range(8):
            await house.spend(call())
        assert [(event.level, round(event.share, 2)) for event in house.events] == [
            ("halt", 0.1),
            ("warn", 0.8),
            ("force", 0.9),
        ]
        assert house.events[0].text.startswith("refused a call for which too little is left; halt; 10% of")

    run(work())


def test_what_others_hold_is_not_for_a_smaller_call_to_fit() -> None:
    async def work() -> None:
        house = House(costing(10), rules=[BudgetRule("session", usd=1)], worst=60)
        async with await house.backend.open(call()):
            with pytest.raises(LimitReached, match=r"Try again in a new session\.$"):
                await house.spend(call())

    run(work())


@pytest.mark.parametrize(("usd", "told"), [("0.05", "$0.030000 of $0.050000 spent"), ("0.10", "$0.03 of $0.10 spent")])
def test_small_limits_are_told_to_the_micro_dollar(usd: str, told: str) -> None:
    async def work() -> None:
        house = House(costing(3), rules=[BudgetRule("session", usd=usd)], worst=3)
        await house.spend(call())
        house.worst = 300
        with pytest.raises(LimitReached) as refused:
            await house.spend(call())
        assert told in refused.value.message

    run(work())


def test_a_refusal_below_the_whole_is_told_as_a_halt() -> None:
    async def work() -> None:
        house = House(costing(95), rules=[BudgetRule("session", usd=1), BudgetRule("all", usd=1_000)], worst=10)
        await house.spend(call())
        with pytest.raises(LimitReached):
            await house.spend(one := call())
        told = "halt; 95% of $1.00 spent by session s"
        assert house.budgets.headers(one) == (("x-pennyweight-budget", told),)
        assert [(event.level, event.text) for event in house.events][-1] == ("halt", told)

    run(work())


def test_the_pressure_is_known_as_soon_as_an_answer_ends() -> None:
    async def work() -> None:
        house = House(costing(95), rules=[BudgetRule("session", usd=1)])
        reply = await house.backend.open(call())
        await reply.aclose()
        assert house.budgets.pressure(call()) == 0.95, "before the store has heard of it"
        assert house.budgets.forced(call())
        await house.budgets.aclose()
        assert house.budgets.pressure(call()) == 0.95

    run(work())


def test_a_header_is_ascii_whatever_the_session_is_called() -> None:
    async def work() -> None:
        house = House(costing(1), rules=[BudgetRule("session", usd=1)])
        one = call(session="größe\u2028😀")
        await house.spend(one)
        ((_, value),) = house.budgets.headers(one)
        assert value.isascii()
        assert value.isprintable()

    run(work())


def test_an_amount_that_is_changed_counts_on() -> None:
    async def work() -> None:
        first = House(costing(80), rules=[BudgetRule("session", usd=1)])
        under_way = await first.backend.open(call())
        wider = House(costing(80), rules=[BudgetRule("session", usd=2)], counters=first.counters.inner)
        await wider.spend(call())
        await under_way.aclose()
        await first.budgets.aclose()
        assert await wider.counted() == {"session usd/s": (160, 0)}
        narrower = House(costing(80), rules=[BudgetRule("session", usd=1)], counters=first.counters.inner)
        with pytest.raises(LimitReached, match=r"\$1\.60 of \$1\.00 spent"):
            await narrower.spend(call())

    run(work())


def test_a_session_in_a_tool_loop_may_finish_within_bounds() -> None:
    async def work() -> None:
        rules = [BudgetRule("session", usd=1)]
        house = House(costing(60), rules=rules, finish_loop=2, in_loop=lambda c: c.identity.agent == "looping")
        await house.spend(call())
        with pytest.raises(LimitReached):
            await house.spend(call())
        for _ in range(2):
            await house.spend(call(agent="looping"))
        with pytest.raises(LimitReached):
            await house.spend(call(agent="looping"))
        capped = House(costing(60), rules=[BudgetRule("key", usd=1, per="day")], finish_loop=2, in_loop=lambda _: True)
        await capped.spend(call())
        with pytest.raises(LimitReached):
            await capped.spend(call())

    run(work())


def test_an_operator_may_begin_anew() -> None:
    async def work() -> None:
        house = House(costing(100), rules=[BudgetRule("session", name="s", usd=1)])
        for session in ("a", "b"):
            await house.spend(call(session=session))
        assert await house.budgets.reset("s", subject="a") == 1
        await house.spend(call(session="a"))
        with pytest.raises(LimitReached):
            await house.spend(call(session="b"))
        assert await house.budgets.reset("s") == 2
        assert await house.budgets.reset("nothing") == 0

    run(work())


def test_states_are_of_windows_that_have_not_ended() -> None:
    async def work() -> None:
        clock = FakeClock(NOON)
        house = House(costing(50), clock=clock, rules=[BudgetRule("key", name="day", usd=1, per="day")], daily=DOLLAR)
        await house.spend(call())
        clock.advance(86_400)
        await house.spend(call())
        await house.spend(call("free"))
        states = await house.budgets.states()
        assert [(s.budget, s.tenant, s.share) for s in states] == [
            ("daily", "X", 0.5),
            ("day", "X", 0.5),
            ("day", "free", 0.5),
        ]
        assert states[0].ends == NOON + 86_400 * 1.5
        assert {s.tenant for s in await house.budgets.states(tenant="free")} == {"free"}

    run(work())


class Slow:
    """Counters whose moves take until `go` is set."""

    def __init__(self, inner: Counters) -> None:
        self.inner = inner
        self.go = asyncio.Event()
        self.moving = asyncio.Event()

    async def take(self, wanted: Sequence[Take]) -> Taken:
        return await self.inner.take(wanted)

    async def move(self, moves: Sequence[Move]) -> Sequence[Counter]:
        self.moving.set()
        await self.go.wait()
        return await self.inner.move(moves)

    async def read(self, prefix: str, *, limit: int = 1_000) -> Mapping[str, Counter]:
        return await self.inner.read(prefix, limit=limit)

    async def reset(self, key: str) -> bool:
        return await self.inner.reset(key)


def test_a_caller_that_leaves_while_it_waits_for_room_stops_nobody_elses_bill() -> None:
    async def work() -> None:
        clock = FakeClock(NOON)
        slow = Slow(MemoryCounters(now=clock.now))
        house = House(costing(20), daily=DOLLAR, worst=100, clock=clock)
        house.counters.inner = slow
        reply = await house.backend.open(call())
        await reply.read()
        await reply.aclose()
        await slow.moving.wait()
        waiting = asyncio.create_task(house.backend.open(call()))  # only the first one's bill can make room for it
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        slow.go.set()
        await house.budgets.aclose()
        assert await house.counted() == {"daily/X": (20, 0)}, "what was held is settled by what was billed"

    run(work())
