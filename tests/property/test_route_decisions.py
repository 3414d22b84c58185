"""What a route decision keeps from one call to the next changes none: routed sessions of all kinds, each call's choice
beside the same one reckoned from the beginning."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.property.route_anew import Anew
from tests.unit.gate_rig import CLAUDE, MARK, count, words
from tests.unit.optimizers.test_routing import Parts
from tests.unit.test_routed_money import Both

from pennyweight.call import Call, Outcome, Proposal, Target
from pennyweight.economy import Economy
from pennyweight.optimizers.routing import Settings, build
from pennyweight.pipeline import Pipeline
from pennyweight.policy import Flag
from pennyweight.prefix import Blocks
from pennyweight.prices.book import PriceBook
from pennyweight.prices.caching import CacheBook
from pennyweight.prices.catalogue import Catalogue
from pennyweight.prices.spec import BandSpec, PriceOverride, TierSpec, TimeOfDaySpec
from pennyweight.request import Wire
from pennyweight.routing.choose import Asked, Chance, Choice
from pennyweight.routing.settings import TargetTable
from pennyweight.routing.virtual import Candidate, Live, Virtual
from pennyweight.testing.backend import make_call
from pennyweight.testing.clock import FakeClock

MESSAGES = Wire.ANTHROPIC_MESSAGES
TARGETS = (
    Target("home", "free", MESSAGES),
    Target("p", "small", MESSAGES),
    Target("q", "middle", MESSAGES),
    Target("p", CLAUDE, MESSAGES),
)


def price(model: str, usd: float, **fields: Any) -> PriceOverride:
    caches = {"cache_read": usd / 10, "cache_write_5m": usd * 5 / 4, "cache_write_1h": usd * 2}
    return PriceOverride(model=model, input=usd, output=usd * 5, **caches, **fields)


# The clock stands at 2027-01-15T08:00 when a session begins.
PRICES = (
    price("free", 0),
    price("small", 0.1, until="2027-01-15T08:04:00Z", bands=[BandSpec(above_input_tokens=2_000, input=0.4)]),
    price("small", 2.5, since="2027-01-15T08:04:00Z"),
    price("middle", 0.15, time_of_day=[TimeOfDaySpec("08:02", "08:20", 3)]),
    price("middle", 0.05, since="2027-01-15T09:00:00Z"),
    price(CLAUDE, 3.0, tiers=[TierSpec(tier="flex", input=1.5)], bands=[BandSpec(above_input_tokens=6_000, input=6)]),
)


NOTHING = Catalogue(1, "", "", {})


class Chances:
    """What a session's next call sets."""

    def __init__(self) -> None:
        self.now: list[Chance] = []

    def of(self, call: Call, asked: Asked, candidates: Sequence[Candidate]) -> Sequence[Chance]:
        return self.now

    async def ready(self, call: Call, asked: Asked) -> None: ...

    def wants_response(self, call: Call) -> bool:
        return False

    async def settle(self, outcome: Outcome, asked: Asked) -> None: ...


class Beside:
    """The optimizer, with each of its choices held against the one that `Anew` comes to."""

    name = "routing"

    def __init__(self, parts: Parts, clock: FakeClock, anew: Anew) -> None:
        self.routing, self.parts, self.clock, self.anew = build(Settings(), parts), parts, clock, anew
        self.compared = 0
        self.others: list[tuple[Choice, Choice | None]] = []

    async def propose(self, call: Call) -> Proposal | None:
        lives = [self.parts.lookout(target) for target in TARGETS]
        expected = self.anew.choice(
            call, self.parts.chances.now, lives, spent=self.parts.spent, at=self.clock.monotonic()
        )
        for facts in (call.facts, {}):  # and once more, as a client asks again
            request = msgspec.structs.replace(call.original) if not facts else call.original
            again = msgspec.structs.replace(call, original=request, request=request, facts=facts)
            found = await self.routing.propose(call if facts is call.facts else again)
            choice: Choice = (call if facts is call.facts else again).facts["routing"]
            self.compared += 1
            if choice != expected:  # told afterwards: a pipeline goes on without an optimizer that raises
                self.others.append((choice, expected))
        return await self.routing.propose(call) if found is not None else None

    async def settle(self, outcome: Outcome) -> None: ...

    def wants_response(self, call: Call) -> bool:
        return False


class Gateway:
    def __init__(self, aim: Any, *, cascade: bool) -> None:
        self.clock = FakeClock()
        virtual = Virtual(
            "auto",
            aim,
            tuple(
                Candidate(target, f"t{rank}", rank, TargetTable(target.name, context_tokens=window))
                for rank, (target, window) in enumerate(zip(TARGETS, (4_000, None, 30_000, None), strict=True))
            ),
            TARGETS[-1],
            cascade=cascade,
        )
        self.parts = Parts(virtual)
        self.parts.clock = self.clock
        self.parts.chances = Chances()  # type: ignore[assignment]
        self.parts.book = PriceBook(NOTHING, overrides=PRICES)  # type: ignore[assignment]
        self.economy = self.parts.economy = Economy(
            blocks=Blocks(count=count),
            caches=CacheBook(),
            prices=self.parts.book.price,  # type: ignore[attr-defined]
        )
        anew = Anew(self.economy, lambda: PriceBook(NOTHING, overrides=PRICES), count, virtual=virtual)
        self.beside = Beside(self.parts, self.clock, anew)
        self.went: list[str] = []
        self.pipeline = Pipeline(
            [(self.beside, Flag())],
            Both(self.clock),
            submit=lambda outcome: self.went.append(outcome.call.target.model),
            clock=self.clock,
            economy=self.economy,
        )

    def ask(self, messages: Sequence[Any], *, session: str, **fields: Any) -> None:
        body = {"model": "auto", "max_tokens": 100, **fields, "messages": list(messages)}
        call = make_call(json.dumps(body).encode(), wire=MESSAGES, session=session, model=CLAUDE)
        call = msgspec.structs.replace(call, at=self.clock.now(), target=TARGETS[-1])

        async def main() -> None:
            async with await self.pipeline.open(call) as reply:
                await reply.read()

        asyncio.run(main())


TURN = st.fixed_dictionaries(
    {
        "session": st.sampled_from(("a", "b")),
        "calls": st.integers(1, 3),
        "tokens": st.sampled_from((3, 300, 1_500, 5_000)),
        "pause_s": st.sampled_from((0.01, 2.0, 40.0, 130.0, 290.0, 301.0, 3_700.0)),
        "chances": st.lists(st.sampled_from((0.2, 0.6, 0.86, 0.86, 0.95)), min_size=4, max_size=4),
        "resting": st.lists(st.sampled_from((False, False, False, True)), min_size=4, max_size=4),
        "spent": st.sampled_from((0.0, 0.0, 0.5, 0.95)),
        "tools": st.booleans(),
    }
)


# Not shrunk: a session is short, and playing it again and again would take minutes.
@settings(
    max_examples=60,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    turns=st.lists(TURN, min_size=1, max_size=7),
    aim=st.sampled_from(("balanced", "balanced", "cheap", "quality", "fast")),
    cascade=st.sampled_from((False, False, True)),
)
def test_what_is_kept_changes_no_decision(turns: list[dict[str, Any]], aim: Any, cascade: bool) -> None:
    gateway = Gateway(aim, cascade=cascade)
    said: dict[str, list[dict[str, Any]]] = {"a": [], "b": []}
    calls = 0
    for number, turn in enumerate(turns):
        gateway.parts.chances.now = [Chance(success) for success in turn["chances"]]  # type: ignore[attr-defined]
        gateway.parts.spent = turn["spent"]
        resting = dict(zip(TARGETS, turn["resting"], strict=True))
        gateway.parts.lookout = lambda target, resting=resting: Live(resting=resting[target])  # type: ignore[method-assign]
        messages = said[turn["session"]]
        messages.append({"role": "user", "content": [{"type": "text", "text": words(turn["tokens"], f"u{number}-")}]})
        gateway.clock.advance(turn["pause_s"])
        fields = {"tools": [{"name": "f", "input_schema": {"type": "object"}}]} if turn["tools"] else {}
        for step in range(turn["calls"]):
            *parts, last = messages[-1]["content"]
            marked = {**messages[-1], "content": [*parts, {**last, "cache_control": MARK}]}
            gateway.ask([*messages[:-1], marked], session=turn["session"], **fields)
            calls += 1
            if step < turn["calls"] - 1:
                used = {"type": "tool_use", "id": f"t{number}-{step}", "name": "f", "input": {}}
                result = {"type": "tool_result", "tool_use_id": used["id"], "content": words(200, f"r{step}-")}
                messages += [{"role": "assistant", "content": [used]}, {"role": "user", "content": [result]}]
                gateway.clock.advance(3.0)
        messages.append({"role": "assistant", "content": f"answer {number}"})
    assert gateway.beside.others == []
    assert gateway.beside.compared == 2 * calls
