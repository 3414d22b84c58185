"""What holds of any edits, any session and any bill: many edits are as one by one, forms last, judge keeps its bounds,
forecasts and baselines are usages that can be."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pennyweight.call import Optimize, Proposal, Rewrite, Verdict
from pennyweight.economy import Worth, baseline
from pennyweight.errors import BadRequest
from pennyweight.pipeline import judge
from pennyweight.prefix import Blocks, Chain, Segment
from pennyweight.prices.caching import CacheBook, CacheRules
from pennyweight.request import DELETE, Edit, Request, Usage, Wire
from pennyweight.sticky import Sticky
from pennyweight.warmth import Forecast, Warmth

# --- many edits are as one by one -------------------------------------------------------------------------------

KEYS = st.sampled_from(["a", "b", "c", "d"])
STEPS = KEYS | st.integers(-1, 4)
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.text("xyz", max_size=2)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=10
)
EDITS = st.builds(Edit, st.lists(STEPS, max_size=3).map(tuple), st.just(DELETE) | VALUES)


def applied(request: Request, edits: list[Edit]) -> Any:
    """The body after these; "no place" where one does not fit."""
    try:
        return msgspec.json.decode(request.edit(edits).raw)
    except BadRequest:
        return "no place"


@settings(max_examples=300)
@example(body={}, edits=[Edit(("c", 0), DELETE), Edit(("c",), DELETE)])
@given(body=VALUES, edits=st.lists(EDITS.filter(lambda e: e.path or e.value is not DELETE), max_size=6))
def test_many_edits_at_once_are_as_one_by_one(body: Any, edits: list[Edit]) -> None:
    request = Request(Wire.OPENAI_CHAT, json.dumps(body).encode())
    at_once: Any = applied(request, edits)
    for edit in edits:
        try:
            request = request.edit([edit])
        except BadRequest:
            assert at_once == "no place"
            return
    assert at_once == msgspec.json.decode(request.raw)


# --- forms last ---------------------------------------------------------------------------------------------------

MESSAGES = st.sampled_from(
    [
        {"role": "user", "content": "q"},
        {"role": "user", "content": [{"type": "text", "text": "q", "cache_control": {"type": "ephemeral"}}]},
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "content": [{"type": "tool_use", "name": "t", "input": {"x": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "content": "long"}]},
        {"role": "user", "content": [{"type": "tool_result", "content": "short"}]},
    ]
)
HEADS = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES, max_size=6)},
    optional={
        "system": st.sampled_from(["s", "other", [{"type": "text", "text": "s"}]]),
        "tools": st.lists(st.sampled_from([{"name": "t1"}, {"name": "t2"}]), max_size=2),
    },
)


def request(body: dict[str, Any]) -> Request:
    return Request(Wire.ANTHROPIC_MESSAGES, json.dumps({"model": "m", **body}).encode())


def read(sent: Request) -> tuple[Any, ...]:
    """What a model reads of it."""
    return tuple((s.kind, s.role, s.content) for s in Blocks().chain(sent))


@settings(max_examples=200)
@given(original=HEADS, sent=HEADS, more=st.lists(MESSAGES, max_size=3))
def test_what_was_sent_is_sent_again_and_stays_the_beginning_of_what_follows(
    original: dict[str, Any], sent: dict[str, Any], more: list[Any]
) -> None:
    if not original["messages"]:
        sent = {**sent, "messages": []}  # no message, none to hang a form on
    sticky = Sticky()
    known = sticky.pins(request(original), request(sent), by="x", level="safe", known=None)
    again, _ = sticky.resume(request(original), known, {"x"})
    assert read(again) == read(request(sent))
    grown = {**original, "messages": [*original["messages"], *more]}
    first, _ = sticky.resume(request(grown), known, {"x"})
    count = len(again.body["messages"])
    assert first.raw.startswith(again.raw.rstrip(b"]}")) or first.body["messages"][:count] == again.body["messages"]
    assert first.body["messages"][count:] == more


@settings(max_examples=100)
@given(original=HEADS, first=HEADS, second=HEADS)
def test_of_two_forms_the_last_one_counts(
    original: dict[str, Any], first: dict[str, Any], second: dict[str, Any]
) -> None:
    if not original["messages"]:
        first, second = {**first, "messages": []}, {**second, "messages": []}
    sticky = Sticky()
    for sent in (first, second):
        new = sticky.pins(request(original), request(sent), by="x", level="safe", known=sticky.of("s"))
        sticky.keep("s", new)
    again, _ = sticky.resume(request(original), sticky.of("s") or {}, {"x"})
    assert read(again) == read(request(second))


# --- judge --------------------------------------------------------------------------------------------------------

AMOUNTS = st.floats(-10, 10) | st.just(float("nan"))


@given(
    risk=st.floats(-1, 1) | st.just(float("nan")),
    left=st.floats(0, 1),
    worth=st.none() | st.builds(Worth, AMOUNTS, AMOUNTS, AMOUNTS, st.sampled_from(["", "warm"]), st.booleans()),
    saving=st.integers(-5, 5),
    spent=st.integers(0, 5),
    optimize=st.sampled_from(["off", "safe", "max"]),
    level=st.sampled_from(["safe", "max"]),
)
def test_judge_accepts_nothing_too_risky_refused_or_not_worth_what_it_cost(
    risk: float, left: float, worth: Worth | None, saving: int, spent: int, optimize: Optimize, level: Any
) -> None:
    proposal = Proposal(Rewrite((Edit(("x",), 1),)), saving, spent, risk, level=level)
    if judge(proposal, mode="on", optimize=optimize, risk_left=left, worth=worth) is not Verdict.ACCEPTED:
        return
    assert 0 <= risk <= left
    assert optimize == "max" or (optimize, level) == ("safe", "safe")
    assert saving > spent if worth is None else not worth.refused and worth.total > spent


# --- forecasts and baselines ----------------------------------------------------------------------------------------

BOOK = CacheBook()
RULES = [
    BOOK.rules("p", model, wire)
    for model, wire in (
        ("claude-sonnet-4-5", Wire.ANTHROPIC_MESSAGES),
        ("gpt-5.1", Wire.OPENAI_CHAT),
        ("gpt-5.6", Wire.OPENAI_CHAT),
        ("llama", Wire.OLLAMA),
    )
]
MARKS = st.sampled_from(["", "", "5m", "1h"])
SIZES = st.lists(st.tuples(st.integers(0, 3_000), MARKS), min_size=1, max_size=6)
USAGES = st.builds(
    lambda plain, read, w5, w1, out: Usage(plain + read + w5 + w1, read, w5, w1, out),
    *[st.integers(0, 20_000)] * 5,
)
ODD = st.builds(Usage, *[st.integers(-5, 10**9)] * 5)


def chain(sizes: list[tuple[int, str]]) -> Chain:
    found: list[Segment] = []
    digest, upto = b"", 0
    for number, (tokens, mark) in enumerate(sizes):
        upto += tokens
        digest = digest + b"%d," % tokens
        role = ("user", "assistant")[number % 2]
        found.append(Segment("message", number, 0, role, digest, digest, tokens, tokens, upto, mark))  # type: ignore[arg-type]
    return Chain(found)


def believable(forecast: Forecast) -> None:
    parts = (forecast.read_tokens, forecast.write_5m_tokens, forecast.write_1h_tokens)
    assert all(part >= 0 for part in (*parts, forecast.prompt_tokens, forecast.known_tokens, forecast.lasting_tokens))
    assert sum(parts) <= forecast.prompt_tokens + 1e-6
    assert 0 <= forecast.warm <= 1


@settings(max_examples=200)
@example(rules=RULES[0], calls=[([(901, ""), (901, "5m"), (0, "")], Usage(0, -1), 0.0)] * 3)
@given(
    rules=st.sampled_from(RULES),
    calls=st.lists(st.tuples(SIZES, USAGES | ODD, st.floats(0, 5_000)), min_size=1, max_size=5),
)
def test_forecasts_are_usages_that_can_be_and_so_are_baselines(
    rules: CacheRules, calls: list[tuple[list[tuple[int, str]], Usage, float]]
) -> None:
    actual, untouched = Warmth(), Warmth()
    scope, at = ("p", "m", ""), 0.0
    for sizes, usage, gap_s in calls:
        at += gap_s
        asked = chain(sizes)
        sent = Chain(asked[: max(len(asked) - 1, 1)])
        foreseen, would_be = actual.forecast(scope, rules, sent, at), untouched.forecast(scope, rules, asked, at)
        believable(foreseen)
        believable(would_be)
        actual.sent(scope, rules, sent, at)
        untouched.sent(scope, rules, asked, at)
        actual.learn(scope, rules, sent, foreseen, usage, at)
        untouched.adopt(actual, scope)
        found = baseline(usage, foreseen, would_be)
        parts = (found.cache_read_tokens, found.cache_write_5m_tokens, found.cache_write_1h_tokens)
        assert min(parts) >= 0
        assert sum(parts) <= found.input_tokens
        assert found.output_tokens == usage.output_tokens


@given(usage=USAGES, sizes=SIZES)
def test_a_call_that_was_not_changed_is_its_own_baseline_in_length(usage: Usage, sizes: list[tuple[int, str]]) -> None:
    warmth = Warmth()
    forecast = warmth.forecast(("p", "m", ""), RULES[0], chain(sizes), 0.0)
    assert baseline(usage, forecast, forecast).input_tokens == usage.input_tokens


# --- tool calls and their results --------------------------------------------------------------------------------


def paired(messages: list[Any]) -> bool:
    """Whether each call has its result and each result its call."""
    ids: dict[str, list[str]] = {"id": [], "tool_use_id": []}
    for message in messages:
        for block in message["content"] if isinstance(message["content"], list) else ():
            for kind, found in ids.items():
                if kind in block:
                    found.append(block[kind])
    return sorted(ids["id"]) == sorted(ids["tool_use_id"])


@settings(max_examples=200)
@given(pairs=st.integers(1, 4), dropped=st.sets(st.integers(0, 3)), changed=st.integers(0, 12), how=st.booleans())
def test_no_call_loses_its_result_nor_a_result_its_call(pairs: int, dropped: set[int], changed: int, how: bool) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "q"}]
    for number in range(pairs):
        name = f"toolu_{number}"
        messages.append({"role": "assistant", "content": [{"type": "tool_use", "id": name, "name": "t", "input": {}}]})
        result = {"type": "tool_result", "tool_use_id": name, "content": "long"}
        messages.append({"role": "user", "content": [result]})
    shorter = [m for n, m in enumerate(messages) if not n or (n - 1) // 2 not in dropped]
    sticky = Sticky()
    known = sticky.pins(
        request({"messages": messages}), request({"messages": shorter}), by="x", level="safe", known=None
    )
    place = changed % len(messages)
    altered = json.loads(json.dumps(messages))
    if isinstance(altered[place]["content"], str) or how:
        altered[place]["note"] = "another message now"
    else:
        altered[place]["content"].append({"type": "text", "text": "and more"})
    again, _ = sticky.resume(request({"messages": altered}), known, {"x"})
    assert paired(again.body["messages"])
