"""The money of routed calls: held against the reference, in the state that its cache would have had."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from tests.unit.gate_rig import CLAUDE, MARK, PRICE, Edits, Provider, count, turns, words

from pennyweight.call import Answer, Call, Outcome, Proposal, Rewrite, Route, Rungs, Step, Target, Verdict
from pennyweight.economy import Economy
from pennyweight.ledger.receipts import make
from pennyweight.money import Price, Rates, cost
from pennyweight.pipeline import Pipeline
from pennyweight.policy import Flag
from pennyweight.prefix import Blocks
from pennyweight.prices.caching import CacheBook
from pennyweight.request import Charge, Done, Edit, Request, Response, Usage, Wire
from pennyweight.testing.backend import make_call
from pennyweight.testing.clock import FakeClock
from pennyweight.testing.prefix_cache import PrefixCache

STRONG = Target("p", CLAUDE, Wire.ANTHROPIC_MESSAGES)
CHEAP = Target("p", "claude-3-5-sonnet", Wire.ANTHROPIC_MESSAGES)  # caches from 1,024 tokens on, too
OTHER = Target("minimax", "minimax-m2", Wire.ANTHROPIC_MESSAGES)
TWENTIETH = Rates(150_000, 750_000, cache_read=15_000, cache_write_5m=187_500, cache_write_1h=300_000)
PRICES = {CLAUDE: PRICE, CHEAP.model: Price(TWENTIETH), OTHER.model: Price(TWENTIETH)}


class Book:
    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._prices = prices

    def cost(self, charge: Charge) -> int | None:
        return cost(charge.usage, self._prices[charge.model], at=charge.at)

    def priced(self, charge: Charge) -> tuple[int | None, str]:
        return self.cost(charge), "priced"


class Routes:
    """An optimizer that sends calls where its function says."""

    name = "routing"

    def __init__(
        self, economy: Economy, clock: FakeClock, where: Callable[[Call], Target | None], **fields: Any
    ) -> None:
        self.economy, self.clock, self.where, self.fields = economy, clock, where, fields

    async def propose(self, call: Call) -> Proposal | None:
        self.held = self.economy.held(call, at=self.clock.monotonic())
        target = self.where(call)
        if target is None or target == call.target:
            return None
        return Proposal(Route(target), **{"level": "safe", "forced": True, **self.fields})

    async def settle(self, outcome: Outcome) -> None: ...

    def wants_response(self, call: Call) -> bool:
        return False


class Both(Provider):
    """Each model has a cache of its own: the provider bills by the model that a call is sent to."""

    async def open(self, call: Call) -> Any:
        sent = call.sending(call.request.edit([Edit(("model",), call.target.model)]))
        return await super().open(sent)


class Gateway:
    """A pipeline before such a provider, and beside it what the reference would have billed for every call."""

    def __init__(
        self,
        where: Callable[[Call], Target | None],
        *beside: Any,
        prices: Mapping[str, Price] = PRICES,
        **fields: Any,
    ) -> None:
        self.clock = FakeClock()
        self.book = Book(prices)
        self.provider = Both(self.clock)
        self.economy = Economy(
            blocks=Blocks(count=count), caches=CacheBook(), prices=lambda provider, model, at: prices.get(model)
        )
        self.routes = Routes(self.economy, self.clock, where, **fields)
        self.outcomes: list[Outcome] = []
        self.pipeline = Pipeline(
            [(self.routes, Flag()), *((optimizer, Flag()) for optimizer in beside)],
            self.provider,
            submit=self.outcomes.append,
            clock=self.clock,
            economy=self.economy,
        )
        self._alone = PrefixCache(count)

    def ask(self, messages: Sequence[Any], *, after_s: float = 10.0, session: str = "s", **fields: Any) -> Any:
        """(receipt, what it would have cost at the reference alone)."""
        self.clock.advance(after_s)
        body = {"model": "auto", "max_tokens": 100, **fields, "messages": list(messages)}
        call = make_call(json.dumps(body).encode(), wire=Wire.ANTHROPIC_MESSAGES, session=session, model=CLAUDE)
        alone = self._alone.account(Wire.ANTHROPIC_MESSAGES, {**body, "model": CLAUDE}, at=self.clock.now())

        async def main() -> None:
            async with await self.pipeline.open(call) as reply:
                await reply.read()

        asyncio.run(main())
        alone = msgspec.structs.replace(alone, output_tokens=50)
        return make(self.outcomes[-1], self.book), cost(alone, PRICE, at=0.0)


def by_turn(*targets: Target | None) -> Callable[[Call], Target | None]:
    """Where each user turn goes, by its number."""
    return lambda call: targets[sum(m["role"] == "user" for m in call.request.body["messages"]) - 1]


def test_a_routed_call_is_held_against_its_reference() -> None:
    gateway = Gateway(lambda call: CHEAP)
    for number in (1, 2, 3):
        receipt, alone = gateway.ask(turns(number, size=1_500))
        assert (receipt.target_model, receipt.basis) == (CHEAP.model, "computed")
        assert receipt.baseline == pytest.approx(alone, rel=0.001)
        assert receipt.cost == pytest.approx(alone / 20, rel=0.001)


def test_a_conversation_that_comes_back_is_held_against_one_that_never_left() -> None:
    """The turn at the reference costs more than it would have: that is on its receipt."""
    gateway = Gateway(by_turn(None, CHEAP, None, CHEAP, None))
    lost = []
    for number in (1, 2, 3, 4, 5):
        receipt, alone = gateway.ask(turns(number, size=1_500), after_s=200.0)
        assert receipt.baseline == pytest.approx(alone, rel=0.001), number
        lost.append(receipt.cost - receipt.baseline)
    assert lost[0] == 0
    assert lost[2] > 0, "it wrote anew what had lapsed meanwhile"
    assert lost[4] > 0
    assert gateway.outcomes[0].untouched is None


def test_what_was_really_sent_is_learned_apart_from_what_would_have_been() -> None:
    gateway = Gateway(by_turn(CHEAP, CHEAP, None, None))
    for number in (1, 2):
        gateway.ask(turns(number, size=1_500))
    receipt, alone = gateway.ask(turns(3, size=1_500))
    assert gateway.provider.bills[-1].cache_read_tokens == 0
    assert gateway.outcomes[-1].foreseen_read_tokens == 0
    assert receipt.baseline == pytest.approx(alone, rel=0.001)
    receipt, alone = gateway.ask(turns(4, size=1_500))
    assert (receipt.baseline, receipt.cost) == (pytest.approx(alone, rel=0.001), pytest.approx(alone, rel=0.001))


def test_other_tokens_make_it_an_estimate() -> None:
    receipt, _ = Gateway(lambda call: OTHER).ask(turns(1, size=1_500))
    assert receipt.basis == "estimated"


def test_another_session_that_is_not_routed_is_not_disturbed() -> None:
    gateway = Gateway(lambda call: CHEAP if call.identity.session == "s" else None)
    for number in (1, 2, 3):
        gateway.ask(turns(number, size=1_500))
        receipt, alone = gateway.ask(turns(number, size=1_500, salt="x"), session="t")
        assert (receipt.cost, receipt.basis) == (receipt.baseline, "")
        assert receipt.cost == alone


def test_small_calls_are_held_against_it_too() -> None:
    receipt, alone = Gateway(lambda call: CHEAP).ask([{"role": "user", "content": "hi"}])
    assert (receipt.baseline, receipt.basis) == (alone, "computed")


@pytest.mark.parametrize("notes", [[], [Step("escalated", Verdict.ACCEPTED, why="doubtful")]])
def test_a_cascade_has_several_charges_and_one_baseline(notes: list[Step]) -> None:
    gateway = Gateway(lambda call: CHEAP)
    gateway.provider.notes = notes

    class Rises(Routes):
        async def propose(self, call: Call) -> Proposal | None:
            self.economy.held(call, at=self.clock.monotonic())
            return Proposal(Route(CHEAP, rungs=Rungs(strong=(STRONG,))), level="safe", forced=True)

    gateway.routes.__class__ = Rises
    whole = Usage(input_tokens=1_500, cache_write_5m_tokens=1_500, output_tokens=50)
    gateway.provider.done = Done(
        whole, "end_turn", (Charge("p", CHEAP.model, whole, 0.0), Charge("p", CLAUDE, whole, 0.0))
    )
    receipt, alone = gateway.ask(turns(1, size=1_500))
    assert receipt.baseline == pytest.approx(alone, rel=0.001)
    assert receipt.cost == pytest.approx(1.05 * alone, rel=0.001)
    gateway.provider.done, gateway.provider.notes = None, []
    gateway.routes.__class__ = Routes
    gateway.routes.where = lambda call: None
    gateway.ask(turns(2, size=1_500))
    assert gateway.routes.held is not None
    assert gateway.routes.held.target == STRONG, "the answer came from there"
    assert gateway.outcomes[-1].foreseen_read_tokens == 1_500, "and so its prompt is known to be in that cache"


def test_a_fallback_is_held_against_the_reference_too() -> None:
    gateway = Gateway(lambda call: CHEAP)
    gateway.provider.notes = [Step("fallback", Verdict.ACCEPTED, why="answered instead")]
    usage = Usage(input_tokens=1_500, cache_write_5m_tokens=1_500, output_tokens=50)
    gateway.provider.done = Done(usage, "end_turn", (Charge("p", CLAUDE, usage, 0.0),))
    receipt, alone = gateway.ask(turns(1, size=1_500))
    assert (receipt.cost, receipt.baseline) == (alone, pytest.approx(alone, rel=0.001))


def test_marks_of_ours_on_a_routed_call_earn_only_what_they_save_there() -> None:
    def mark(call: Call) -> list[Edit]:
        content = call.request.body["messages"][-1]["content"]
        return (
            [Edit(("messages", len(call.request.body["messages"]) - 1, "content", 0, "cache_control"), MARK)]
            if content
            else []
        )

    gateway = Gateway(lambda call: CHEAP, Edits(mark))
    for number in range(1, 8):
        receipt, alone = gateway.ask(turns(number, size=1_500, mark=False))
        assert receipt.baseline == pytest.approx(alone, rel=0.001)
    seen = gateway.economy.look(gateway.outcomes[-1].call, at=gateway.clock.monotonic())
    assert seen is not None
    assert seen.conversation is not None
    assert seen.conversation.balance < 0.1 * receipt.baseline * 7, "the saving of the route is not theirs"


def test_the_session_knows_where_it_is_and_stays_inside_a_tool_loop() -> None:
    gateway = Gateway(lambda call: CHEAP)
    asked = [{"role": "user", "content": [{"type": "text", "text": words(1_500), "cache_control": MARK}]}]
    gateway.ask(asked)
    assert gateway.routes.held is None
    gateway.routes.where = lambda call: None
    called = [*asked, {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]}]
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "r"}
    looping = [*called, {"role": "user", "content": [result, {"type": "text", "text": "<reminder>"}]}]
    gateway.ask(looping)
    assert gateway.routes.held is not None
    assert (gateway.routes.held.target, gateway.routes.held.locked) == (CHEAP, True)
    over = [*looping, {"role": "assistant", "content": "done"}, {"role": "user", "content": "next"}]
    gateway.ask(over)
    assert (gateway.routes.held.target, gateway.routes.held.locked) == (STRONG, False)
    gateway.ask(looping, session="after a restart")
    assert (gateway.routes.held.target, gateway.routes.held.locked) == (STRONG, True)


def test_nothing_but_force_moves_it_out_of_a_loop() -> None:
    gateway = Gateway(lambda call: None, forced=False)
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "r"}
    looping = [
        {"role": "user", "content": words(300)},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
        {"role": "user", "content": [result]},
    ]
    gateway.ask(looping[:1])
    gateway.routes.where = lambda call: CHEAP
    receipt, _ = gateway.ask(looping)
    assert (receipt.target_model, receipt.trail[0].verdict) == (CLAUDE, Verdict.NOT_WORTH_IT)
    assert "inside a tool loop" in receipt.trail[0].why
    gateway.routes.fields["forced"] = True
    assert gateway.ask(looping)[0].target_model == CHEAP.model


def test_signed_reasoning_holds_a_conversation_where_it_is() -> None:
    gateway = Gateway(lambda call: None)
    thinking = [{"type": "thinking", "thinking": "t", "signature": "x"}, {"type": "text", "text": "a"}]
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": thinking}]
    gateway.ask(messages[:1])
    gateway.ask([*messages, {"role": "user", "content": "on"}])
    assert gateway.routes.held is not None
    assert (gateway.routes.held.target, gateway.routes.held.locked) == (STRONG, True)


def test_elsewhere_it_thinks_nothing_that_would_hold_it_there() -> None:
    gateway = Gateway(by_turn(CHEAP, None), forced=False)
    fields = {
        "thinking": {"type": "enabled", "budget_tokens": 1_024},
        "output_config": {"effort": "high", "format": {"type": "json_schema"}},
        "context_management": {"edits": [{"type": "clear_thinking_20251015"}]},
    }
    receipt, alone = gateway.ask(turns(1, size=1_500), **fields)
    assert (receipt.target_model, receipt.baseline) == (CHEAP.model, pytest.approx(alone, rel=0.001))
    sent = gateway.provider.sent[-1].body
    assert ("thinking" in sent, "context_management" in sent, sent["output_config"]) == (
        False,
        False,
        {"format": {"type": "json_schema"}},
    )
    receipt, alone = gateway.ask(turns(2, size=1_500), **fields)
    assert gateway.provider.sent[-1].body["thinking"] == fields["thinking"]
    assert receipt.baseline == pytest.approx(alone, rel=0.001)


def test_a_responses_session_that_carries_its_reasoning_along_does_not_begin_elsewhere() -> None:
    gateway = Gateway(lambda call: CHEAP)
    body = {"model": "auto", "input": words(1_500), "include": ["reasoning.encrypted_content"]}
    call = make_call(json.dumps(body).encode(), wire=Wire.OPENAI_RESPONSES, session="s", model=CLAUDE)
    worth = gateway.economy.reroute(call, CHEAP, at=0.0)
    assert worth is not None
    assert "sign its reasoning" in worth.refused
    worth = gateway.economy.reroute(call, CHEAP, at=0.0, forced=True)
    assert worth is not None
    assert worth.refused == ""


def test_what_the_way_back_may_cost_must_be_covered() -> None:
    """A conversation that began at its reference has saved nothing; one that began elsewhere has."""
    gateway = Gateway(by_turn(None, CHEAP), forced=False)
    gateway.ask(turns(1, size=1_500))
    receipt, _ = gateway.ask(turns(2, size=1_500))
    assert (receipt.target_model, "does not cover" in receipt.trail[0].why) == (CLAUDE, True)
    gateway = Gateway(by_turn(CHEAP, None, CHEAP), forced=False)
    for number, model in ((1, CHEAP.model), (2, CLAUDE)):
        assert gateway.ask(turns(number, size=1_500))[0].target_model == model
    cold = Gateway(by_turn(None, CHEAP), forced=False)
    cold.ask(turns(1, size=1_500))
    assert cold.ask(turns(2, size=1_500), after_s=4_000.0)[0].target_model == CHEAP.model, "cold in any case"


def test_a_conversation_that_comes_back_gets_an_entry_where_it_would_have_had_one() -> None:
    """A client drops the end of its history: what stands before it is read, as it would have been."""
    gateway = Gateway(by_turn(CHEAP, CHEAP, None, None))
    for number in (1, 2):
        gateway.ask(turns(number, size=1_500))
    added = gateway.economy.returning(gateway.outcomes[-1].call, at=gateway.clock.monotonic())
    assert added == (), "it is not at its reference"
    call = msgspec.structs.replace(gateway.outcomes[-1].call, target=STRONG, trail=(), facts={})
    messages = turns(3, size=1_500)
    raw = json.dumps({"model": "auto", "max_tokens": 100, "messages": messages}).encode()
    asked = Request(Wire.ANTHROPIC_MESSAGES, raw)
    back = msgspec.structs.replace(call, original=asked, request=asked)
    added = gateway.economy.returning(back, at=gateway.clock.monotonic())
    assert added == (Edit(("messages", 2, "content", 0, "cache_control"), MARK),)
    gateway.routes.__class__ = Returns
    gateway.ask(messages)
    assert gateway.provider.sent[-1].body["messages"][2]["content"][0]["cache_control"] == MARK
    other = [*messages[:3], {"role": "assistant", "content": "other"}, *turns(1, size=900, salt="z")]
    gateway.provider.bill = None
    receipt, alone = gateway.ask(other)
    assert gateway.provider.bills[-1].cache_read_tokens == 3_002
    assert receipt.cost == pytest.approx(alone, rel=0.001)


class Returns(Routes):
    """Stays at the reference, as the optimizer `routing` does where a turn is hard."""

    async def propose(self, call: Call) -> Proposal | None:
        self.economy.held(call, at=self.clock.monotonic())
        edits = self.economy.returning(call, at=self.clock.monotonic())
        return Proposal(Rewrite(edits), level="safe", forced=True) if edits else None


class Kept:
    """A cache that has the answer, and names a saving of its own that nobody should believe."""

    name = "exact_cache"

    def __init__(self, usage: Usage) -> None:
        answer = {"id": "m", "type": "message", "role": "assistant", "content": [{"type": "text", "text": "yes"}]}
        raw = msgspec.json.encode({**answer, "model": "m", "stop_reason": "end_turn", "usage": {}})
        self.answer = Answer(Response(Wire.ANTHROPIC_MESSAGES, raw, Done(usage, "end_turn")))

    async def propose(self, call: Call) -> Proposal | None:
        return Proposal(self.answer, saving=9 * 10**12, level="safe")

    async def settle(self, outcome: Outcome) -> None: ...

    def wants_response(self, call: Call) -> bool:
        return False


@pytest.mark.parametrize(("where", "basis"), [(CHEAP, "computed"), (OTHER, "estimated")])
def test_a_kept_answer_saved_what_it_would_have_cost_at_the_reference(where: Target, basis: str) -> None:
    usage = Usage(input_tokens=1_000, output_tokens=50)
    gateway = Gateway(lambda _call: where, Kept(usage), saving=10**12)  # foreseen of a far longer answer
    receipt, _ = gateway.ask(turns(1))
    assert receipt.replayed
    assert (receipt.cost, receipt.baseline) == (0, cost(usage, PRICE, at=0.0))
    assert receipt.basis == basis
    assert sum(step.saving for step in receipt.trail) == receipt.baseline


def test_a_batch_is_held_against_a_call_of_its_own() -> None:
    gateway = Gateway(lambda call: CHEAP)
    usage = Usage(input_tokens=1_500, output_tokens=50, tier="batch")
    gateway.provider.done = Done(usage, "end_turn", (Charge("p", CHEAP.model, usage, 0.0),))
    receipt, alone = gateway.ask(turns(1, size=1_500))
    assert receipt.baseline == pytest.approx(alone, rel=0.001)
    assert receipt.cost < alone / 40
