"""Editing a body is what editing its JSON is, and what an edit does not name keeps its bytes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.errors import BadRequest
from pennyweight.request import DELETE, Edit, Envelope, Request, Wire
from pennyweight.splicing import splice_all

SPACES = st.text(" \t\r\n", max_size=2)
VALUES = st.sampled_from((None, 1.5, "", "\\u00e9{", [], {}, [{"a": [{}]}], {"model": "n", "x": "}"}))
ADDED = ("prompt_cache_key", "metadata", "stream_options", "x", "model")


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """An object with some of the members that are added later, white space and escapes where JSON allows them."""
    names = draw(st.lists(st.sampled_from(("messages", "other", *ADDED)), unique=True))
    members = []
    for name in names:
        value: Any = draw(st.text(max_size=5) if name in ("model", "prompt_cache_key") else VALUES)
        if name == "prompt_cache_key" and draw(st.booleans()):
            value = None
        value = [] if name == "messages" else value
        key = json.dumps(name) if draw(st.booleans()) else '"' + "".join(f"\\u{ord(c):04x}" for c in name) + '"'
        members.append(f"{draw(SPACES)}{key}{draw(SPACES)}:{draw(SPACES)}{json.dumps(value)}{draw(SPACES)}")
    inside = ",".join(members) if members else draw(SPACES)
    return f"{draw(SPACES)}{{{inside}}}{draw(SPACES)}".encode()


def _pairs(pairs: list[tuple[str, Any]]) -> Any:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@settings(max_examples=150)
@given(bodies(), st.dictionaries(st.sampled_from(ADDED), st.just("new"), min_size=1), st.booleans())
def test_members_are_added_or_replaced_and_the_rest_stays(raw: bytes, members: dict[str, str], read: bool) -> None:
    request = Request(Wire.OPENAI_CHAT, raw)
    if read:
        assert request.envelope is not None
    edited = request.edit([Edit((name,), value) for name, value in members.items()])
    assert json.loads(edited.raw, object_pairs_hook=_pairs) == json.loads(raw) | members
    assert edited.envelope == Request(Wire.OPENAI_CHAT, edited.raw).envelope


def test_a_member_that_is_not_there_is_appended_and_no_byte_is_touched() -> None:
    raw = b'{"model":"m" , "n": 1.00,"deep":{"a":[1e5]}}\n'
    request = Request(Wire.OPENAI_CHAT, raw)
    assert request.model == "m"
    edited = request.edit([Edit(("prompt_cache_key",), "k"), Edit(("metadata",), {"a": 1})])
    assert edited.raw == raw[:-2] + b',"prompt_cache_key":"k","metadata":{"a":1}}'
    assert edited.envelope.prompt_cache_key == "k"


def test_a_key_that_is_null_is_replaced() -> None:
    request = Request(Wire.OPENAI_CHAT, b'{"prompt_cache_key":null,"model":"m"}')
    assert request.envelope.prompt_cache_key is None
    edited = request.edit([Edit(("prompt_cache_key",), "k")])
    assert edited.raw == b'{"prompt_cache_key":"k","model":"m"}'
    assert request.edit([Edit(("prompt_cache_key",), "k"), Edit(("prompt_cache_key",), DELETE)]).raw == b'{"model":"m"}'


# --- long bodies: found by the bytes of what was read ---------------------------------------------------------

SOME = st.sampled_from(
    (
        {"role": "user", "content": "q"},
        {"role": "user", "content": [{"type": "text", "text": 'a "],{ \\" b'}, {"n": 1.50}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "]"}]},
        "text",
        1,
        12,
        None,
        [],
    )
)
SEPARATORS = st.sampled_from(((",", ":"), (", ", ": "), (" ,\n ", " : ")))


@st.composite
def long_bodies(draw: st.DrawFn) -> bytes:
    """Bodies of 5 kB, in any order, in which keys may come twice and separators differ from list to list."""
    pad = ("pad", "x" * 4_200) if draw(st.booleans()) else ("pad", [["[", {"a": "}"}]] * 250)
    chosen: list[tuple[str, Any]] = [pad, ("model", "m")]
    named = draw(st.lists(st.sampled_from(("messages", "tools", "input", "system")), unique=True))
    chosen += [(name, draw(st.lists(SOME, max_size=4)) * draw(st.sampled_from((1, 12)))) for name in named]
    if draw(st.booleans()):
        chosen.append(("system", "text"))
    if draw(st.integers(0, 9)) == 0:
        chosen.append(("messages", draw(st.lists(SOME, max_size=2))))
    chosen = draw(st.permutations(chosen))
    members = [f"{json.dumps(key)}:{json.dumps(value, separators=draw(SEPARATORS))}" for key, value in chosen]
    return ("{" + draw(SPACES) + f"{draw(SPACES)},{draw(SPACES)}".join(members) + "}" + draw(SPACES)).encode()


PLACES = st.integers(0, 4) | st.integers(30, 37)
PATHS = st.tuples(st.sampled_from(("messages", "tools", "input", "system", "new", "model")), PLACES) | (
    st.tuples(st.sampled_from(("messages", "input", "system", "model", "prompt_cache_key", "stream", "new")))
)
MORE = st.sampled_from(((), ("cache_control",), ("content",), ("content", 0, "cache_control")))
PUT = st.sampled_from((DELETE, "m", True, {"type": "ephemeral"}, [{"role": "user", "content": "n"}]))
CHANGES = st.builds(lambda path, more, value: Edit((*path, *more), value), PATHS, MORE, PUT)


def _said(envelope: Envelope) -> Any:
    """What an envelope holds, white space aside."""
    return json.loads(msgspec.json.encode(envelope))


@settings(max_examples=300)
@given(long_bodies(), st.lists(CHANGES, max_size=4))
def test_a_long_body_is_changed_as_a_short_one(raw: bytes, edits: list[Edit]) -> None:
    request = Request(Wire.OPENAI_CHAT, raw)
    try:
        request.envelope  # noqa: B018 - it is read, as any call's is
    except BadRequest:
        return
    try:
        expected = splice_all(raw, [(edit.path, edit.value) for edit in edits])
    except BadRequest:
        with pytest.raises(BadRequest):
            request.edit(edits)
        return
    edited = request.edit(edits)
    assert json.loads(edited.raw) == json.loads(expected)
    try:
        envelope = Request(Wire.OPENAI_CHAT, edited.raw).envelope
    except BadRequest:
        with pytest.raises(BadRequest):
            edited.envelope  # noqa: B018
        return
    assert _said(edited.envelope) == _said(envelope)
    for name in ("messages", "tools", "input"):
        assert edited.items(name) == Request(Wire.OPENAI_CHAT, edited.raw).items(name)


def test_a_mark_in_a_long_body_touches_no_other_byte() -> None:
    raw = b'{"model":"m", "messages" : [{"content":"%b"} , {"content":[{"text":"q"}],"n":1.00}],"x":{"y":[1e5]} }' % (
        b"x" * 9_000
    )
    request = Request(Wire.ANTHROPIC_MESSAGES, raw)
    assert request.model == "m"
    edited = request.edit([Edit(("messages", 1, "content", 0, "cache_control"), {"type": "ephemeral"})])
    assert edited.raw == raw.replace(b'"q"', b'"q","cache_control":{"type":"ephemeral"}')
