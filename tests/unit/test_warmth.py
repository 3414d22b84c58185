"""What is probably in a provider's cache: forecasts by its rules, corrected by what it bills unless that cannot be."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from pennyweight.prefix import Blocks, Segment
from pennyweight.prices.caching import NO_CACHE, CacheBook
from pennyweight.request import Request, Usage, Wire
from pennyweight.warmth import Forecast, Scope, Warmth

BOOK = CacheBook()
EXPLICIT = BOOK.rules("anthropic", "claude-sonnet-4-5", Wire.ANTHROPIC_MESSAGES)
AUTOMATIC = BOOK.rules("openai", "gpt-5.1", Wire.OPENAI_CHAT)
SCOPE: Scope = ("p", "m", "")
Chain = tuple[Segment, ...]


def chain(*sizes: int, marks: dict[int, str] | None = None, salt: str = "") -> Chain:
    """Messages of so many tokens each; marks by their place, with their life."""
    messages: list[dict[str, Any]] = []
    for number, size in enumerate(sizes):
        block: dict[str, Any] = {"type": "text", "text": f"{salt}{number}:".ljust(size, "x")}
        if marks and number in marks:
            block["cache_control"] = {"type": "ephemeral", "ttl": marks[number]}
        messages.append({"role": ("user", "assistant")[number % 2], "content": [block]})
    request = Request(Wire.ANTHROPIC_MESSAGES, json.dumps({"model": "m", "messages": messages}).encode())
    return Blocks(count=len).chain(request)


def learned(warmth: Warmth, asked: Chain, usage: Usage, *, at: float = 0.0, rules: Any = EXPLICIT) -> Forecast:
    """One call through: foreseen, sent, billed."""
    forecast = warmth.forecast(SCOPE, rules, asked, at)
    warmth.sent(SCOPE, rules, asked, at)
    warmth.learn(SCOPE, rules, asked, forecast, usage, at)
    return forecast


def test_nothing_is_warm_before_it_was_sent() -> None:
    forecast = Warmth().forecast(SCOPE, EXPLICIT, chain(2_000, 500, marks={0: "5m"}), 0.0)
    assert (forecast.read_tokens, forecast.write_5m_tokens, forecast.known_to) == (0.0, 2_000.0, 0)
    assert forecast.plain_tokens == 500.0


def test_a_prefix_that_was_marked_is_read_and_what_is_behind_it_written() -> None:
    warmth = Warmth()
    warmth.sent(SCOPE, EXPLICIT, chain(2_000, marks={0: "5m"}), 0.0)
    forecast = warmth.forecast(SCOPE, EXPLICIT, chain(2_000, 500, 300, marks={2: "5m"}), 10.0)
    assert forecast.known_tokens == 2_000
    assert forecast.read_tokens == pytest.approx(2_000, rel=0.05)
    assert forecast.write_5m_tokens == pytest.approx(800, rel=0.05)
    assert (forecast.known_to, forecast.lasting_tokens, forecast.idle_s) == (1, 2_800, 10.0)


def test_an_entry_dies_when_its_life_is_over_and_an_hour_is_longer() -> None:
    warmth = Warmth()
    for life, salt in (("5m", "a"), ("1h", "b")):
        warmth.sent(SCOPE, EXPLICIT, chain(2_000, marks={0: life}, salt=salt), 0.0)
    short, long = (
        warmth.forecast(SCOPE, EXPLICIT, chain(2_000, marks={0: life}, salt=salt), 1_000.0)
        for life, salt in (("5m", "a"), ("1h", "b"))
    )
    assert short.read_tokens < 100
    assert long.read_tokens > 1_900


def test_reading_an_entry_keeps_it_alive() -> None:
    warmth = Warmth()
    asked = chain(2_000, marks={0: "5m"})
    for at in (0.0, 250.0, 500.0):
        warmth.sent(SCOPE, EXPLICIT, asked, at)
    assert warmth.forecast(SCOPE, EXPLICIT, asked, 700.0).warm > 0.9


def test_short_prompts_and_far_marks_find_nothing() -> None:
    warmth = Warmth()
    small = chain(500, marks={0: "5m"})
    warmth.sent(SCOPE, EXPLICIT, small, 0.0)
    assert warmth.forecast(SCOPE, EXPLICIT, small, 1.0).read_tokens == 0
    warmth.sent(SCOPE, EXPLICIT, chain(2_000, marks={0: "5m"}), 0.0)
    far = chain(2_000, *[10] * 30, marks={30: "5m"})
    assert warmth.forecast(SCOPE, EXPLICIT, far, 1.0).known_to == 0


def test_automatic_caches_keep_the_longest_prefix_in_steps() -> None:
    warmth = Warmth()
    warmth.sent(SCOPE, AUTOMATIC, chain(1_500, 700), 0.0)
    forecast = warmth.forecast(SCOPE, AUTOMATIC, chain(1_500, 700, 900), 1.0)
    assert forecast.known_tokens == 2_200 // 128 * 128
    assert (forecast.write_5m_tokens, forecast.write_1h_tokens) == (0.0, 0.0)
    parted = warmth.forecast(SCOPE, AUTOMATIC, (*chain(1_500, 700)[:1], *chain(1_500, 900, salt="z")[1:]), 1.0)
    assert parted.known_tokens == 1_500 // 128 * 128


def test_where_nothing_is_cached_all_is_plain() -> None:
    warmth = Warmth()
    warmth.sent(SCOPE, NO_CACHE, chain(2_000), 0.0)
    forecast = warmth.forecast(SCOPE, NO_CACHE, chain(2_000), 1.0)
    assert (forecast.plain_tokens, forecast.read_tokens) == (2_000.0, 0.0)
    assert warmth.forecast(SCOPE, EXPLICIT, (), 0.0).prompt_tokens == 0


def test_one_account_knows_nothing_of_another() -> None:
    warmth, asked = Warmth(), chain(2_000, marks={0: "5m"})
    warmth.sent(SCOPE, EXPLICIT, asked, 0.0)
    for other in (("p", "m", "their key"), ("p", "other", ""), ("q", "m", "")):
        assert warmth.forecast(other, EXPLICIT, asked, 1.0).known_to == 0


def test_the_providers_own_count_of_tokens_is_learned() -> None:
    warmth, asked = Warmth(), chain(2_000, 500, marks={0: "5m"})
    learned(warmth, asked, Usage(input_tokens=3_000, cache_write_5m_tokens=2_400))
    again = warmth.forecast(SCOPE, EXPLICIT, asked, 1.0)
    assert again.known_tokens == 2_400
    assert again.prompt_tokens == pytest.approx(2_400 + 500 * 1.2)


def test_a_part_of_a_prefix_is_never_longer_than_the_provider_says_the_whole_is() -> None:
    warmth, asked = Warmth(), chain(2_000, 500, marks={0: "5m", 1: "5m"})
    learned(warmth, asked, Usage(input_tokens=200, cache_write_5m_tokens=200))
    again = warmth.forecast(SCOPE, EXPLICIT, asked, 250.0)
    assert again.prompt_tokens == 200
    assert again.read_tokens + again.write_5m_tokens <= 200


def test_a_prefix_that_was_not_found_is_not_expected_again() -> None:
    warmth, asked = Warmth(), chain(2_000, 600, 600, marks={0: "5m"})
    learned(warmth, asked, Usage(input_tokens=3_200, cache_write_5m_tokens=2_000))
    later = chain(2_000, 600, 600, 10, marks={2: "5m"})
    learned(warmth, later, Usage(input_tokens=3_210, cache_write_5m_tokens=3_200), at=1.0)
    assert warmth.forecast(SCOPE, EXPLICIT, asked, 2.0).known_to == 0


def test_misses_lower_the_odds_and_hits_raise_them() -> None:
    def odds(*, read: int) -> float:
        warmth, asked = Warmth(), chain(2_000)
        for number in range(40):
            usage = Usage(input_tokens=2_000, cache_read_tokens=read if number else 0)
            learned(warmth, asked, usage, at=number * 10.0, rules=AUTOMATIC)
        return warmth.forecast(SCOPE, AUTOMATIC, asked, 410.0).warm

    assert odds(read=0) < 0.3 < 0.97 < odds(read=1_920)


LIES = (
    Usage(input_tokens=100, cache_read_tokens=900),
    Usage(input_tokens=2_000, cache_read_tokens=-900),
    Usage(input_tokens=-5),
    Usage(),
    Usage(input_tokens=2_000, counted=True),
    Usage(input_tokens=2_000, suspect="12.5 tokens"),
)


@pytest.mark.parametrize("usage", LIES)
def test_usage_that_contradicts_itself_or_is_our_own_teaches_nothing(usage: Usage) -> None:
    warmth, asked = Warmth(), chain(2_000, marks={0: "5m"})
    learned(warmth, asked, Usage(input_tokens=2_000, cache_write_5m_tokens=2_000))
    before = warmth.forecast(SCOPE, EXPLICIT, asked, 5.0)
    warmth.learn(SCOPE, EXPLICIT, asked, before, usage, 1.0)
    assert warmth.forecast(SCOPE, EXPLICIT, asked, 5.0) == before
    assert warmth.accuracy()[SCOPE].calls == 1


def test_one_absurd_bill_does_not_spoil_the_count_for_others() -> None:
    warmth = Warmth()
    learned(warmth, chain(2_000, marks={0: "5m"}), Usage(input_tokens=2_000, cache_write_5m_tokens=2_000))
    learned(warmth, chain(3_000, salt="z"), Usage(input_tokens=10**9))
    assert warmth.forecast(SCOPE, EXPLICIT, chain(4_000, salt="y"), 1.0).prompt_tokens == 4_000


def test_a_bill_for_what_was_never_sent_is_no_matter() -> None:
    warmth, asked = Warmth(), chain(2_000)
    warmth.learn(SCOPE, EXPLICIT, asked, warmth.forecast(SCOPE, EXPLICIT, asked, 0.0), Usage(input_tokens=2_000), 0.0)
    assert warmth.accuracy() == {}


def test_a_clock_that_goes_back_makes_nothing_older_or_younger_than_new() -> None:
    warmth, asked = Warmth(), chain(2_000, marks={0: "5m"})
    warmth.sent(SCOPE, EXPLICIT, asked, 1_000.0)
    assert warmth.forecast(SCOPE, EXPLICIT, asked, 0.0).idle_s == 0.0


def test_how_good_forecasts_were_is_kept() -> None:
    warmth, asked = Warmth(), chain(2_000)
    learned(warmth, asked, Usage(input_tokens=2_000), rules=AUTOMATIC)
    learned(warmth, asked, Usage(input_tokens=2_000, cache_read_tokens=1_820), at=1.0, rules=AUTOMATIC)
    accuracy = warmth.accuracy()[SCOPE]
    assert (accuracy.calls, accuracy.predictions, accuracy.error_tokens) == (2, 1, 100.0)
    assert accuracy.error_share == 0.025
    assert 0.0 < accuracy.brier < 0.01


def test_what_is_taken_over_from_another_is_not_shared_with_it() -> None:
    ours, theirs, asked = Warmth(), Warmth(), chain(2_000)
    for number in range(2):
        learned(theirs, asked, Usage(input_tokens=3_000, cache_read_tokens=0), at=number * 1.0, rules=AUTOMATIC)
    ours.sent(SCOPE, AUTOMATIC, asked, 1.0)
    ours.adopt(theirs, SCOPE)
    before = theirs.forecast(SCOPE, AUTOMATIC, asked, 2.0)
    assert ours.forecast(SCOPE, AUTOMATIC, asked, 2.0).warm == before.warm
    learned(ours, asked, Usage(input_tokens=3_000, cache_read_tokens=2_900), at=2.0, rules=AUTOMATIC)
    assert theirs.forecast(SCOPE, AUTOMATIC, asked, 2.0) == before


def test_memory_is_bounded_over_all_scopes_together() -> None:
    warmth = Warmth(scopes=4, entries=50)
    for number in range(10):
        scope = ("p", f"model-{number}", "")
        for turn in range(20):
            asked = chain(2_000, salt=f"{number}-{turn}", marks={0: "5m"})
            warmth.sent(scope, EXPLICIT, asked, float(turn))
            usage = Usage(input_tokens=2_000, cache_write_5m_tokens=2_000)
            warmth.learn(scope, EXPLICIT, asked, warmth.forecast(scope, EXPLICIT, asked, turn), usage, turn)
    sizes = [len(table.entries) for table in warmth._tables.values()]
    assert len(sizes) <= 4
    assert sum(sizes) == warmth._entries <= 50
    assert warmth.forecast(("p", "model-9", ""), EXPLICIT, chain(2_000, salt="9-19", marks={0: "5m"}), 20.0).known_to


def test_what_is_used_all_the_time_is_not_forgotten_for_its_age() -> None:
    warmth, shared = Warmth(entries=10), chain(2_000, marks={0: "5m"})
    for number in range(50):
        warmth.sent(SCOPE, EXPLICIT, shared, float(number))
        warmth.sent(SCOPE, EXPLICIT, chain(2_000, salt=str(number), marks={0: "5m"}), float(number))
    assert warmth.forecast(SCOPE, EXPLICIT, shared, 50.0).known_to == 1


def test_forecasts_say_the_likelier_of_two() -> None:
    forecast = Warmth().forecast(SCOPE, EXPLICIT, chain(2_000), 0.0)
    warm = msgspec.structs.replace(forecast, warm=0.6, known_tokens=900.0)
    assert (warm.likely_read_tokens, msgspec.structs.replace(warm, warm=0.4).likely_read_tokens) == (900.0, 0.0)


def test_an_old_conversation_that_began_alike_does_not_hide_a_new_one() -> None:
    """The same prompts again a day later: what counts is how far they were sent today."""
    warmth, whole = Warmth(), chain(2_000, 500, 500, 500, 500, 500, 500, 500)
    for end in (1, 3, 8):
        warmth.sent(SCOPE, AUTOMATIC, type(whole)(whole[:end]), float(end))
    day = 86_400.0
    warmth.sent(SCOPE, AUTOMATIC, type(whole)(whole[:1]), day)
    forecast = warmth.forecast(SCOPE, AUTOMATIC, type(whole)(whole[:3]), day + 10.0)
    assert (forecast.known_tokens, forecast.known_to) == (1_920, 1)
    assert forecast.warm > 0.9
    cold = warmth.forecast(SCOPE, AUTOMATIC, type(whole)(whole[:3]), 3 * day)
    assert (cold.known_to, cold.warm < 0.1) == (3, True)
