"""Editing a body is what editing its JSON is, and what an edit does not name keeps its bytes."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.request import DELETE, Edit, Request, Wire

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
