"""How conversations go on: gaps, ends, what comes again, and what one agent's past says of its next conversation."""

from __future__ import annotations

import json

from pennyweight.habits import Habits
from pennyweight.prefix import Blocks, Chain, shared
from pennyweight.request import Request, Wire


def chain(*texts: str, system: str = "s") -> Chain:
    messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]
    body = {"model": "m", "system": system, "messages": messages}
    return Blocks(count=len).chain(Request(Wire.OPENAI_CHAT, json.dumps(body).encode()))


def say(habits: Habits, *gaps_s: float, key: bytes = b"k", agent: str = "a", looping: bool = False) -> None:
    """A conversation that grows by a turn after each of these gaps."""
    at, texts = 0.0, ["q"]
    for gap_s in (0.0, *gaps_s):
        at += gap_s
        asked = chain(*texts)
        habits.sent(key, agent, asked, asked, session=key.decode(), looping=looping, at=at)
        texts += ["answer", "q"]


def test_before_anything_was_seen_a_loop_goes_on_and_housekeeping_does_not() -> None:
    habits = Habits()
    loop, turn = (habits.outlook(b"k", "a", looping=looping) for looping in (True, False))
    chore = habits.outlook(b"k", "a", looping=False, chore=True)
    assert loop.soon > turn.soon > chore.soon
    assert loop.remaining > turn.remaining > chore.remaining


def test_quick_turns_promise_more_of_them_and_slow_ones_fewer() -> None:
    quick, slow = Habits(), Habits()
    say(quick, *[10.0] * 8)
    say(slow, *[1_000.0] * 8)
    assert quick.outlook(b"k", "a", looping=False).soon > 0.8
    outlook = slow.outlook(b"k", "a", looping=False)
    assert outlook.soon < 0.3
    assert outlook.later > 0.8
    assert outlook.soon <= outlook.later
    assert outlook.remaining <= outlook.remaining_later


def test_an_agents_other_conversations_are_the_prior_of_its_next() -> None:
    habits = Habits()
    for number in range(20):
        say(habits, key=f"one-{number}".encode())
    habits.sent(b"z", "a", chain("q"), chain("q"), session="z", looping=False, at=10_000.0)
    assert habits.outlook(b"new", "a", looping=False).soon < 0.2
    assert habits.outlook(b"new", "another", looping=False).soon == Habits().outlook(b"new", "x", looping=False).soon


def test_gaps_are_counted_only_without_a_break_and_never_negative() -> None:
    habits = Habits()
    say(habits, 10.0, 10.0, 1_000.0, 10.0)
    found = habits.conversation(b"k")
    assert found is not None
    assert (found.in_row, found.in_row_later, found.calls) == (1, 4, 5)
    habits.sent(b"k", "a", chain("q"), chain("q"), session="k", looping=False, at=-500.0)  # calls overtake each other
    assert min(found.gaps) >= 0.0
    assert found.at == 1_030.0


def test_what_prompts_keep_of_the_one_before() -> None:
    habits = Habits()
    say(habits, 10.0, 10.0)
    found = habits.conversation(b"k")
    assert found is not None
    grown, parted, changed, other = (
        chain("q", "answer", "q", "answer", "q", "answer", "q"),
        chain("q", "other", "q"),
        chain("q", "answer", "q", "changed"),
        chain("q", system="other"),
    )
    assert found.appends(shared(found.asked, grown))
    assert not found.appends(shared(found.asked, parted))
    assert found.repeated(changed, shared(found.asked, changed)) == 4
    assert found.repeated(other, shared(found.asked, other)) == 0


def test_a_session_counts_the_calls_of_all_its_conversations() -> None:
    habits = Habits()
    for key in (b"a", b"b", b"a"):
        habits.sent(key, "a", chain("q"), chain("q"), session="s", looping=False, at=0.0)
    assert habits.calls("s") == 3
    assert habits.calls("other") == 0


def test_a_forgotten_conversation_is_as_if_it_had_never_been() -> None:
    habits = Habits()
    say(habits, 10.0)
    habits.forget(b"k")
    habits.forget(b"never seen")
    assert habits.conversation(b"k") is None


def test_the_least_recently_used_are_forgotten() -> None:
    habits = Habits(conversations=2, agents=2)
    for name in ("a", "b", "a", "c"):
        say(habits, key=name.encode(), agent=name)
    assert [habits.conversation(key) is not None for key in (b"a", b"b", b"c")] == [True, False, True]
    assert [habits.agent(name) is not None for name in "abc"] == [True, False, True]
    assert habits.calls("b") == 0
    assert len(habits._calls) <= 2


def test_long_conversations_count_for_many_short_ones() -> None:
    habits = Habits(segments=20)
    for name in (b"a", b"b", b"c"):
        say(habits, *[10.0] * 4, key=name)  # ends with ten segments
    assert [habits.conversation(name) is not None for name in (b"a", b"b", b"c")] == [False, True, True]
    habits.forget(b"b")
    say(habits, *[10.0] * 40, key=b"d")
    assert habits.conversation(b"d") is not None
    assert habits._segments == sum(len(found.asked) for found in habits._conversations.values()) == 82


def test_what_is_kept_of_a_long_conversation_is_bounded() -> None:
    habits = Habits()
    for number in range(600):
        habits.sent(b"k", "a", chain("q"), chain("q"), session="s", looping=True, at=float(number))
        habits.sent(str(number).encode(), "a", chain("q"), chain("q"), session="t", looping=True, at=float(number))
    found, agent = habits.conversation(b"k"), habits.agent("a")
    assert found is not None
    assert agent is not None
    assert max(len(found.gaps), len(found.past), len(found.dropped), len(found.guessed)) <= 32
    assert len(agent.open) <= 256


def test_the_head_ends_where_the_conversation_begins() -> None:
    assert chain("q", "a").head == 1
    assert Chain().head == 0
    only = chain()
    assert only.head == len(only) == 1
