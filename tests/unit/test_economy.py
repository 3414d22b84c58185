"""What a call will cost and a change of it be worth: priced as it will be billed, staked only out of earnings."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.unit.gate_rig import CLAUDE, MARK, PRICE, RATES, Edits, Rig, asks, count, economy, turns, words

from pennyweight.call import Call, Proposal, Rewrite, Route, Target
from pennyweight.economy import Economy, Foreseen, Worth, baseline, purse
from pennyweight.money import Band, Price, Rates
from pennyweight.prefix import Blocks
from pennyweight.prices.caching import CacheBook
from pennyweight.request import Edit, Usage, Wire
from pennyweight.warmth import Forecast


def seen_of(found: Economy, call: Call, at: float = 0.0) -> Foreseen:
    seen = found.look(call, at=at)
    assert seen is not None
    return seen


def sent(found: Economy, call: Call, usage: Usage | None = None, *, at: float) -> Foreseen:
    """One call through, billed as foreseen unless told."""
    seen = seen_of(found, call, at)
    would_be = found.would_be(seen, at=at)
    after = found.sent(seen, at=at)
    f = seen.forecast
    found.billed(
        after,
        would_be,
        usage
        or Usage(round(f.prompt_tokens), round(f.read_tokens), round(f.write_5m_tokens), round(f.write_1h_tokens), 50),
        at=at,
    )
    return after


def weighed(found: Economy, call: Call, *edits: Edit, at: float, **fields: Any) -> Worth | None:
    return found.weigh(call, Proposal(Rewrite(edits), **fields), at=at)


def test_small_bodies_and_other_operations_are_not_looked_at() -> None:
    assert economy().look(asks([{"role": "user", "content": "hi"}]), at=0.0) is None
    assert economy().look(asks([], system="x" * 2_000), at=0.0) is not None


def test_a_first_call_is_cold_and_no_stranger_and_a_second_one_knows_it() -> None:
    found = economy()
    first = sent(found, asks(turns(1, size=1_500)), at=0.0)
    assert (first.stranger, first.gap_s, first.session_calls, first.forecast.known_to) == (False, 0.0, 0, 0)
    second = seen_of(found, asks(turns(2, size=1_500)), 20.0)
    assert (second.stranger, second.gap_s, second.session_calls, second.forecast.known_tokens) == (
        False,
        20.0,
        1,
        1_500,
    )
    assert seen_of(found, asks(turns(2, size=1_500), session="other"), 20.0).stranger


def test_cold_text_is_removed_and_warm_text_is_not() -> None:
    found = economy()
    for number in (1, 2):
        sent(found, asks(turns(number, size=1_500)), at=number * 10.0)
    call = asks(turns(3, size=1_500))
    edit = Edit(("messages", 0, "content", 0, "text"), "short")
    warm = weighed(found, call, edit, at=30.0)
    assert warm is not None
    assert (warm.waits, "would be lost" in warm.refused) == (True, True)
    cold = weighed(found, call, edit, at=5_000.0)
    assert cold is not None
    assert cold.refused == ""
    assert cold.total > 0
    assert cold.now == pytest.approx((1_499 * RATES.write_5m), rel=0.01)


def test_new_text_is_always_free_to_change() -> None:
    found = economy()
    for number in (1, 2):
        sent(found, asks(turns(number, size=1_500)), at=number * 10.0)
    worth = weighed(found, asks(turns(3, size=1_500)), Edit(("messages", 4, "content", 0, "text"), words(500)), at=30.0)
    assert worth is not None
    assert (worth.refused, worth.now > 0, round(worth.tokens)) == ("", True, 1_000)


def test_what_a_provider_has_signed_is_not_pulled_from_under() -> None:
    thinking = [{"type": "thinking", "thinking": "t", "signature": "x"}, {"type": "text", "text": "a"}]
    messages = [*turns(1, size=1_500), {"role": "assistant", "content": thinking}, {"role": "user", "content": "on"}]
    worth = weighed(economy(), asks(messages), Edit(("messages", 0, "content", 0, "text"), "short"), at=0.0)
    assert worth is not None
    assert "signed reasoning" in worth.refused


def test_the_callers_marks_stay() -> None:
    call = asks(turns(1, size=1_500))
    worth = weighed(economy(), call, Edit(("messages", 0, "content", 0), {"type": "text", "text": words(10)}), at=0.0)
    assert worth is not None
    assert worth.refused == "the caller's own cache breakpoints stay"


def test_what_is_beside_the_prompt_is_not_priced() -> None:
    call = asks(turns(1, size=1_500))
    assert weighed(economy(), call, Edit(("max_tokens",), 5), at=0.0) is None


def test_a_mark_is_not_bet_on_a_first_call() -> None:
    call = asks(turns(1, size=1_500, mark=False))
    worth = weighed(economy(), call, Edit(("messages", 0, "content", 0, "cache_control"), MARK), at=0.0)
    assert worth is not None
    assert worth.refused == "not known yet whether the conversation goes on"


def grown(found: Economy, *, gap_s: float, calls: int) -> Foreseen:
    for number in range(1, calls + 1):
        sent(found, asks(turns(number, size=1_500, mark=False)), at=number * gap_s)
    return seen_of(found, asks(turns(calls + 1, size=1_500, mark=False)), (calls + 1) * gap_s)


def test_the_purse_grows_with_gaps_in_time_and_is_empty_without() -> None:
    assert purse(seen_of(economy(), asks(turns(1, size=1_500))), 300.0) == 0.0
    few, many = (purse(grown(economy(), gap_s=20.0, calls=calls), 300.0) for calls in (3, 6))
    assert 0.0 < few < many
    assert purse(grown(economy(), gap_s=400.0, calls=6), 300.0) == 0.0
    assert purse(grown(economy(), gap_s=400.0, calls=6), 3_600.0) > 0.0


def test_the_purse_of_a_conversation_that_never_ends_is_still_a_number() -> None:
    seen = grown(economy(), gap_s=20.0, calls=4)
    assert seen.conversation is not None
    before = purse(seen, 300.0)
    seen.conversation.in_row = 5_000
    assert before <= purse(seen, 300.0) <= 2 * before


def test_what_a_forecast_was_off_for_an_unchanged_call_earns_nothing() -> None:
    found = economy()
    conversation = sent(found, asks(turns(1, size=1_500)), at=0.0).conversation
    assert conversation is not None
    conversation.rewritten = True
    f = seen_of(found, asks(turns(2, size=1_500)), 20.0).forecast
    read, written = round(f.known_tokens) + 9, round(f.write_5m_tokens) - 9
    sent(found, asks(turns(2, size=1_500)), Usage(round(f.prompt_tokens), read, written, 0, 50), at=20.0)
    assert conversation.calls == 2
    assert conversation.balance == 0.0


LIES = (
    Usage(input_tokens=10**9, output_tokens=10**9),
    Usage(input_tokens=2_000, counted=True),
    Usage(input_tokens=2_000, suspect="900 cached or written of 100 input tokens"),
)


@pytest.mark.parametrize("usage", LIES)
def test_a_bill_that_lies_earns_nothing_to_stake(usage: Usage) -> None:
    found = economy()
    seen = sent(found, asks(turns(1, size=1_500)), usage, at=0.0)
    assert seen.conversation is not None
    assert (seen.conversation.spent, seen.conversation.balance, seen.conversation.output_tokens) == (0.0, 0.0, 0.0)


def test_a_price_band_counts_from_its_bound_on() -> None:
    dear = Rates(6_000_000, 30_000_000, cache_read=600_000, cache_write_5m=7_500_000)
    price = Price(RATES, bands=(Band(2_000, dear),))
    found = economy(price)
    call = asks(turns(2, size=1_200, mark=False))
    worth = weighed(found, call, Edit(("messages", 0, "content", 0, "text"), words(400)), at=0.0)
    flat = weighed(economy(), call, Edit(("messages", 0, "content", 0, "text"), words(400)), at=0.0)
    assert worth is not None
    assert flat is not None
    assert worth.now > 3 * flat.now


def priced(price: Callable[[str], Price | None]) -> Economy:
    return Economy(blocks=Blocks(count=count), caches=CacheBook(), prices=lambda _provider, model, _at: price(model))


def test_another_model_must_be_so_much_cheaper_that_its_cold_cache_pays() -> None:
    cheap = Price(Rates(1_000_000, 5_000_000, cache_read=100_000, cache_write_5m=1_250_000))
    near = Price(Rates(2_900_000, 14_900_000, cache_read=290_000, cache_write_5m=3_625_000))

    def worth(other: Price) -> Worth:
        found = priced(lambda model: PRICE if model == CLAUDE else other)
        for number in (1, 2, 3):
            sent(found, asks(turns(number, size=4_000)), at=number * 10.0)
        route = Route(Target("p", "claude-haiku-3", Wire.ANTHROPIC_MESSAGES))
        got = found.weigh(asks(turns(4, size=4_000)), Proposal(route), at=40.0)
        assert got is not None
        return got

    assert worth(near).now < 0 < worth(cheap).total
    assert worth(near).total < worth(cheap).total


def test_a_route_to_a_model_without_a_price_is_taken_at_its_word() -> None:
    found = priced(lambda model: PRICE if model == CLAUDE else None)
    route = Route(Target("p", "unheard-of", Wire.ANTHROPIC_MESSAGES))
    assert found.weigh(asks(turns(1, size=1_500)), Proposal(route), at=0.0) is None


def forecast(prompt: float, **fields: float) -> Forecast:
    plain = Forecast(prompt, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0.0, 300.0)
    return msgspec.structs.replace(plain, **fields)


def test_a_baseline_moves_the_bill_by_the_difference_of_two_forecasts() -> None:
    without = forecast(5_000, write_5m_tokens=5_000, lasting_tokens=5_000)
    found = baseline(Usage(2_100, 0, 2_100, 0, 7), forecast(2_000, write_5m_tokens=2_000), without)
    assert found == Usage(5_100, 0, 5_100, 0, 7)


def test_how_far_a_forecast_is_off_is_no_saving() -> None:
    """Eight tokens fewer were written than foreseen, where a mark of ours wrote 60 more than the caller's."""
    warm = forecast(3_600, read_tokens=3_000, known_tokens=3_000, warm=1.0, known_to=1)
    ours = msgspec.structs.replace(warm, write_5m_tokens=494, lasting_tokens=3_494)
    theirs = msgspec.structs.replace(warm, write_5m_tokens=434, lasting_tokens=3_434)
    assert baseline(Usage(3_600, 3_000, 486), ours, theirs) == Usage(3_600, 3_000, 426)


def test_a_miss_that_was_not_foreseen_would_have_been_one_without_us() -> None:
    warm = forecast(3_000, read_tokens=2_000.0, warm=1.0, known_tokens=2_000.0, known_to=2)
    without = forecast(4_000, read_tokens=3_500.0, warm=1.0, known_tokens=3_500.0, known_to=2, lasting_tokens=4_000)
    assert baseline(Usage(3_000, 0), warm, without).cache_read_tokens == 0
    assert baseline(Usage(3_000, 1_000), warm, without).cache_read_tokens == 1_750
    assert baseline(Usage(3_000, 2_000), warm, without).cache_read_tokens == 3_500


def test_what_was_read_unforeseen_would_have_been_read_without_us_at_marks_alone() -> None:
    unknown = forecast(9_000)
    marked, bare = forecast(9_000, lasting_tokens=8_000.0), forecast(9_000)
    assert baseline(Usage(9_000, 8_500), unknown, marked).cache_read_tokens == 8_000
    assert baseline(Usage(9_000, 8_500), unknown, bare).cache_read_tokens == 0


def test_many_sessions_fill_no_memory() -> None:
    found = economy()
    found.habits._limit = found.habits._agent_limit = 20
    for number in range(60):
        call = asks(turns(1, size=1_500, salt=str(number)), session=f"s{number}", tenant=f"t{number}")
        sent(found, call, at=float(number))
    habits = found.habits
    assert max(len(habits._conversations), len(habits._calls), len(habits._agents)) <= 20


def test_a_session_of_many_turns_stays_quick_and_small() -> None:
    found = economy()
    messages = turns(400, size=20)
    for number in range(40, 400, 40):
        sent(found, asks(messages[: 2 * number - 1]), at=float(number))
    assert len(found.actual._tables[("p", CLAUDE, "")].entries) <= 800


def test_a_chain_that_only_gained_marks_is_not_made_anew() -> None:
    rig = Rig(Edits(lambda call: [Edit(("metadata",), {"user_id": "u"})]))
    outcome = rig.ask(asks(turns(1, size=1_500)))
    assert outcome.call.rewritten
    assert rig.economy.reads_alike(outcome.call)
    assert outcome.untouched == outcome.done.usage
    assert json.loads(rig.provider.sent[-1].raw)["metadata"] == {"user_id": "u"}


def test_new_tokens_are_estimated_until_the_call_is_over_or_a_text_is_weighed() -> None:
    found = economy()
    history = turns(2, size=10_000)
    sent(found, asks(history), at=0.0)
    new = [{"role": "assistant", "content": "well"}, {"role": "user", "content": words(400) + " x" * 100}]
    call = asks([*history, *new])
    seen = seen_of(found, call, 10.0)
    exact = sum(segment.tokens for segment in Blocks(count=count).chain(call.original))
    assert seen.asked.rough
    assert seen.asked[-1].upto == pytest.approx(exact, rel=0.02)
    assert weighed(found, call, Edit(("user",), "somebody"), at=10.0) is None
    assert seen_of(found, call, 10.0) is seen

    weighed(found, call, Edit(("messages", len(history) + 1, "content"), words(300)), at=10.0)
    told = seen_of(found, call, 10.0)
    assert not told.asked.rough
    assert told.asked[-1].upto == exact
    assert told.asked == seen.asked

    assert not seen_of(found, asks([*history, *new]), 12.0).asked.rough  # what was counted once stays so


def test_what_was_estimated_is_counted_when_nobody_waits() -> None:
    counted: list[str] = []

    def watched(text: str) -> int:
        counted.append(text)
        return count(text)

    found = Economy(blocks=Blocks(count=watched), caches=CacheBook(), prices=lambda *_: PRICE)
    history = turns(2, size=10_000)
    sent(found, asks(history), at=0.0)
    new = words(400)
    call = asks([*history, {"role": "assistant", "content": "well"}, {"role": "user", "content": new}])
    sent(found, call, at=10.0)
    assert new not in counted
    found.settle([call])
    assert counted.count(new) == 1
    again = seen_of(found, asks([*history, *json.loads(call.original.raw)["messages"][-2:]]))
    assert not again.asked.rough
    assert counted.count(new) == 1
