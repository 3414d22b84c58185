"""However calls overlap, no budget is ever passed by what is spent and held, and at the end the sums are exact."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.backends.budget.rig import CENT, House

from pennyweight.backends.budget.budgeted import Budgeted
from pennyweight.backends.budget.settings import BudgetRule
from pennyweight.call import Identity
from pennyweight.errors import LimitReached, NotConnected
from pennyweight.request import Charge, Done, Reply, Usage
from pennyweight.testing.backend import Script, ScriptedBackend, make_call

LIMITS = {"all": 150, "agent": 90, "session": 60, "key": 120}
RULES = [BudgetRule(scope, name=scope, usd=limit / 100) for scope, limit in LIMITS.items()]  # type: ignore[arg-type]

plans = st.lists(
    st.tuples(
        st.integers(0, 60),  # worst case
        st.integers(0, 60),  # what of it is used
        st.integers(0, 3),  # 0 fails, 1 ends the oldest call, else runs on
        st.sampled_from("XY"),
        st.sampled_from("ab"),
        st.sampled_from("st"),
    ),
    max_size=25,
)


@settings(max_examples=80, deadline=None)
@given(plans)
def test_no_limit_is_passed(plan: list[tuple[int, int, int, str, str, str]]) -> None:
    async def run() -> None:
        house = House(rules=RULES)
        spent: dict[str, int] = {}
        held: dict[str, int] = {}
        open_replies: list[tuple[Reply, int, int, list[str]]] = []

        def end(index: int) -> Any:
            reply, worst, used, keys = open_replies.pop(index)
            for key in keys:
                held[key] -= worst
                spent[key] = spent.get(key, 0) + used
            return reply.aclose()

        for worst, part, fate, tenant, agent, session in plan:
            used = min(part, worst)
            script = Script(error=NotConnected("x")) if fate == 0 else Script(usage=Usage(input_tokens=used), chunks=())
            house.worst = worst
            backend = Budgeted(ScriptedBackend(script), house.budgets)
            call = msgspec.structs.replace(make_call(), identity=Identity(tenant, session, agent), facts={})
            keys = [f"all//{''}", f"agent/{tenant}/{agent}", f"session/{tenant}/{session}", f"key/{tenant}/{tenant}"]
            fits = all(spent.get(k, 0) + held.get(k, 0) + worst <= LIMITS[k.partition("/")[0]] for k in keys)
            if not fits or fate == 0:
                with pytest.raises(NotConnected if fits else LimitReached):
                    await backend.open(call)
            else:
                open_replies.append((await backend.open(call), worst, used, keys))
                for key in keys:
                    held[key] = held.get(key, 0) + worst
                if fate == 1:
                    await end(0)
            await house.budgets.aclose()
            for name, counter in (await house.counters.inner.read("")).items():
                budget, _, owner, subject = name.split("\n")
                key = f"{budget}/{owner}/{subject}"
                assert counter.spent == spent.get(key, 0) * CENT
                assert counter.held == held.get(key, 0) * CENT
                assert counter.total <= LIMITS[budget] * CENT
        while open_replies:
            await end(0)
        await house.budgets.aclose()
        assert all(counter.held == 0 for counter in (await house.counters.inner.read("")).values())

    asyncio.run(run())


fitted_plans = st.lists(
    st.tuples(
        st.integers(1, 6_000),  # of an answer at most, as its caller asks for
        st.floats(0, 1),  # what of it is written
        st.booleans(),  # it ends before the next call
        st.sampled_from("st"),
    ),
    max_size=20,
)


@settings(max_examples=80, deadline=None)
@given(fitted_plans)
def test_no_limit_is_passed_where_answers_are_fitted_to_it(plan: list[tuple[int, float, bool, str]]) -> None:
    limits = {"day": 9_000, "session": 5_000}

    async def run() -> None:
        rules = [
            BudgetRule("tenant", name="day", per="day", usd=limits["day"] / 100, hold="fit"),
            BudgetRule("session", name="session", usd=limits["session"] / 100, hold="fit"),
        ]
        house = House(rules=rules)
        under_way: list[Reply] = []
        for most, part, ends, session in plan:
            house.worst = most
            usage = Usage(output_tokens=0)
            provider = ScriptedBackend(Script(usage=usage, chunks=()))
            body = json.dumps({"model": "m", "messages": [], "max_tokens": most}).encode()
            call = msgspec.structs.replace(make_call(body), identity=Identity("X", session), facts={})
            try:
                reply = await Budgeted(provider, house.budgets).open(call)
            except LimitReached:
                continue
            asked = provider.calls[-1].request.body["max_tokens"]
            assert asked == most or 1_024 <= asked < most
            written = Usage(output_tokens=int(asked * part))
            reply.done = Done(written, "stop", (Charge("p", "m", written, call.at),))
            under_way.append(reply)
            if ends:
                await under_way.pop(0).aclose()
            await house.budgets.aclose()
            for name, counter in (await house.counters.inner.read("")).items():
                assert counter.total <= limits[name.partition("\n")[0]] * CENT
        for reply in under_way:
            await reply.aclose()
        await house.budgets.aclose()
        for name, counter in (await house.counters.inner.read("")).items():
            assert counter.held == 0
            assert counter.spent <= limits[name.partition("\n")[0]] * CENT

    asyncio.run(run())
