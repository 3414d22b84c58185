"""Chains: what appending, editing and marking do to them, for any conversation."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.prefix import Blocks, canonical, shared
from pennyweight.request import Request, Wire

texts = st.text(max_size=20)
messages = st.lists(
    st.builds(lambda role, text: {"role": role, "content": text}, st.sampled_from(["user", "assistant"]), texts),
    min_size=1,
    max_size=8,
)


def request(history: list[dict[str, Any]], *, ascii_only: bool = True) -> Request:
    body = {"model": "m", "messages": history}
    return Request(Wire.ANTHROPIC_MESSAGES, json.dumps(body, ensure_ascii=ascii_only).encode("utf-8", "replace"))


@settings(max_examples=60)
@given(messages, messages)
def test_a_history_that_grows_keeps_its_chain(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
    blocks = Blocks()
    a, b = blocks.chain(request(old)), blocks.chain(request(old + new))
    assert shared(a, b) == len(old)
    assert b[: len(a)] == a


@settings(max_examples=60)
@given(messages, st.data())
def test_marking_and_listing_change_nothing(history: list[dict[str, Any]], data: st.DataObject) -> None:
    marked = [
        {"content": [{"type": "text", "text": m["content"], "cache_control": {"type": "ephemeral"}}], "role": m["role"]}
        if data.draw(st.booleans())
        else m
        for m in history
    ]
    blocks = Blocks()
    a, b = blocks.chain(request(history)), blocks.chain(request(marked))
    assert [segment.digest for segment in a] == [segment.digest for segment in b]


@settings(max_examples=60)
@given(messages, st.data())
def test_an_edit_moves_the_chain_from_there_on(history: list[dict[str, Any]], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(history) - 1))
    edited = [dict(m) for m in history]
    edited[place]["content"] += "!"
    blocks = Blocks()
    assert shared(blocks.chain(request(history)), blocks.chain(request(edited))) == place


@settings(max_examples=60)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=10,
    )
)
def test_canonical_is_stable(value: Any) -> None:
    once = canonical(json.dumps(value).encode())
    assert canonical(once) == once


@settings(max_examples=60)
@given(messages, st.booleans(), st.booleans())
def test_how_a_message_is_written_does_not_count(history: list[dict[str, Any]], turned: bool, spaced: bool) -> None:
    """A message that is read in one pass, and the same with a marker, which is not, come to the same."""
    for message in history:
        written = dict(reversed(message.items())) if turned else message
        text = json.dumps(written, indent=1 if spaced else None).encode()
        marked = json.dumps({**message, "cache_control": {"type": "ephemeral"}}).encode()
        assert canonical(text) == canonical(marked)


@settings(max_examples=150)
@given(st.lists(st.integers(0, 2), max_size=12), st.lists(st.integers(0, 2), max_size=12))
def test_shared_is_the_common_start(a: list[int], b: list[int]) -> None:
    def said(numbers: list[int]) -> list[dict[str, Any]]:
        return [{"role": "user", "content": str(number)} for number in numbers]

    common = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    blocks = Blocks()
    assert shared(blocks.chain(request(said(a))), blocks.chain(request(said(b)))) == common


changes = st.lists(
    st.tuples(st.sampled_from(["grow", "edit", "mark", "shrink", "system", "other"]), st.integers(0, 30)),
    min_size=1,
    max_size=12,
)


@settings(max_examples=80)
@given(changes, st.booleans(), st.booleans())
def test_a_remembered_conversation_has_the_chain_that_it_has_anew(
    steps: list[tuple[str, int]], rough: bool, settled: bool
) -> None:
    """However it grows, is edited, marked or cut short, and whoever speaks in between."""

    def count(text: str) -> int:  # so many that little text is a long prompt
        return 100 * len(text) + 7 * text.count("e")

    blocks = Blocks(count=count)
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "begin " * 100},
        {"role": "assistant", "content": "well begun " * 100},
        {"role": "user", "content": "go on"},
    ]
    system: list[dict[str, Any]] = [{"type": "text", "text": "You are terse."}]
    for kind, number in steps:
        place = number % len(messages)
        if kind == "grow":
            messages += [{"role": "assistant", "content": f"a{number}"}]
            messages.append({"role": "user", "content": f"u{number} " * (5 * number)})
        elif kind == "edit":
            messages[place] = {**messages[place], "content": f"other {number}"}
        elif kind == "mark":
            text = f"marked {number}"
            block = {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}
            messages[place] = {**messages[place], "content": [block]}
        elif kind == "shrink":
            del messages[place + 1 :]
        elif kind == "system":
            system = [*system, {"type": "text", "text": f"s{number}", "cache_control": {"type": "ephemeral"}}]
        else:
            blocks.chain(request([{"role": "user", "content": f"by the way {number}"}]), session="other")
        body = {"model": "m", "system": system, "messages": messages}
        asked = Request(Wire.ANTHROPIC_MESSAGES, json.dumps(body).encode())
        again = Request(Wire.ANTHROPIC_MESSAGES, asked.raw)
        known, anew = blocks.chain(asked, session="one", rough=rough), Blocks(count=count).chain(again)
        assert known == anew
        assert (known.marks, known.head, known.bound) == (anew.marks, anew.head, anew.bound)
        assert [segment.digest for segment in known] == [segment.digest for segment in anew]
        assert 0.95 * anew[-1].upto <= known[-1].upto <= 1.05 * anew[-1].upto
        if not known.rough:
            assert tuple(known) == tuple(anew)
        if settled:
            blocks.settle("one")
            known = blocks.chain(again, session="one", rough=rough)
            assert not known.rough
            assert tuple(known) == tuple(anew)
            assert (known.marks, known.head, known.bound) == (anew.marks, anew.head, anew.bound)
    assert tuple(blocks.chain(again, session="one")) == tuple(anew)
