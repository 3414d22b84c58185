"""Answers that are limited to what is left of a budget."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest
from tests.unit.backends.budget.rig import House, costing

from pennyweight.backends.budget.fitting import limited, room
from pennyweight.backends.budget.settings import BudgetRule
from pennyweight.call import Call, Identity
from pennyweight.errors import LimitReached
from pennyweight.request import Edit, Usage, Wire
from pennyweight.testing.backend import Script, make_call

RULE = BudgetRule("tenant", name="day", per="day", usd="20", hold="fit")  # two thousand tokens of a cent


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def call(wire: Wire = Wire.OPENAI_CHAT, *, provider: str = "p", **body: Any) -> Call:
    raw = json.dumps({"model": "m", "messages": [], **body}).encode()
    made = make_call(raw, wire=wire, provider=provider, tenant="X")
    return msgspec.structs.replace(made, identity=Identity("X", "s"), facts={})


def test_an_answer_is_limited_to_what_is_left() -> None:
    async def work() -> None:
        house = House(costing(700), rules=[RULE], worst=1_500)
        await house.spend(call(max_tokens=1_500))
        assert house.provider.calls[-1].request.body["max_tokens"] == 1_500, "there is room"
        reply = await house.backend.open(call(max_tokens=1_500))
        asked = house.provider.calls[-1].request.body["max_tokens"]
        assert 1_290 <= asked <= 1_300
        assert await house.counted() == {"day/X": (700, asked)}, "what is held is all that it can come to"
        assert [(step.optimizer, step.why) for step in reply.notes] == [
            ("budget", f"no more than {asked:,} tokens of answer were left")
        ]
        await reply.read()
        await reply.aclose()
        await house.budgets.aclose()
        assert await house.counted() == {"day/X": (1_400, 0)}
        with pytest.raises(LimitReached):  # 600 tokens are of no use
            await house.spend(call(max_tokens=1_500))
        assert len(house.provider.calls) == 2

    run(work())


def test_calls_at_once_are_never_given_more_than_there_is() -> None:
    async def work() -> None:
        house = House(Script(before_open=asyncio.Event()), rules=[RULE], worst=1_100)
        tasks = [asyncio.create_task(house.backend.open(call(max_tokens=1_100))) for _ in range(20)]
        for _ in range(100):
            await asyncio.sleep(0)
        spent, held = (await house.counted())["day/X"]
        assert spent + held <= 2_000
        assert len(house.provider.calls) == 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(work())


def test_another_budget_that_holds_the_worst_refuses_as_ever() -> None:
    async def work() -> None:
        strict = BudgetRule("session", name="strict", usd="14")
        house = House(costing(1), rules=[RULE, strict], worst=1_500)
        with pytest.raises(LimitReached, match=r"\$14"):
            await house.spend(call(max_tokens=1_500))

    run(work())


def test_tokens_are_fitted_too() -> None:
    async def work() -> None:
        rule = BudgetRule("session", name="s", tokens=1_200, hold="fit")
        house = House(Script(usage=Usage(output_tokens=5)), rules=[rule], worst=9_000)
        await house.spend(call(max_tokens=9_000))
        assert 1_190 <= house.provider.calls[-1].request.body["max_tokens"] < 1_200

    run(work())


@pytest.mark.parametrize(
    ("wire", "provider", "body", "expected"),
    [
        (Wire.OPENAI_CHAT, "p", {}, [Edit(("max_tokens",), 2_000)]),
        (Wire.OPENAI_CHAT, "openai", {}, [Edit(("max_completion_tokens",), 2_000)]),
        (Wire.OPENAI_CHAT, "openai", {"max_tokens": 9_000}, [Edit(("max_tokens",), 2_000)]),
        (
            Wire.OPENAI_CHAT,
            "p",
            {"max_tokens": 9_000, "max_completion_tokens": 1_500},
            [Edit(("max_tokens",), 2_000), Edit(("max_completion_tokens",), 1_500)],
        ),
        (Wire.OPENAI_CHAT, "p", {"n": 2, "max_tokens": None}, None),
        (Wire.OPENAI_CHAT, "p", {"max_tokens": "many"}, None),
        (Wire.OPENAI_RESPONSES, "p", {}, [Edit(("max_output_tokens",), 2_000)]),
        (Wire.ANTHROPIC_MESSAGES, "p", {"max_tokens": 32_000}, [Edit(("max_tokens",), 2_000)]),
        (
            Wire.ANTHROPIC_MESSAGES,
            "p",
            {"max_tokens": 32_000, "thinking": {"type": "enabled", "budget_tokens": 1_500}},
            None,
        ),
        (Wire.OLLAMA, "p", {"options": {"num_predict": 5_000}}, [Edit(("options", "num_predict"), 2_000)]),
        (Wire.OLLAMA, "p", {"options": {"seed": 1}}, [Edit(("options", "num_predict"), 2_000)]),
    ],
)
def test_a_limit_stands_where_its_protocol_has_it(
    wire: Wire, provider: str, body: dict[str, Any], expected: list[Edit] | None
) -> None:
    found = limited(call(wire, provider=provider, **body), 2_000)
    assert (None if found is None else list(found)) == expected


def test_room_is_never_more_than_is_left() -> None:
    for left in (0, 10, 99, 100, 101, 1_234, 10**6):
        tokens = room(100 + 7 * 5_000, 100, left, 5_000)
        assert 0 <= tokens <= 5_000
        assert tokens == 0 or 100 + 7 * tokens <= left
    assert room(100, 100, 1_000, 5_000) == 0, "where answers cost nothing, nothing is gained by shorter ones"
