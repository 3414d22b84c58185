"""Whatever a caller set stays, whatever was configured; and what was fitted once needs no second fitting."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from pennyweight.call import Target
from pennyweight.request import Request, Wire
from pennyweight.routing.parameters import Wanted, fitting, given, refused, setting

FIELDS = ("temperature", "top_p", "top_k", "repeat_penalty", "max_tokens", "max_completion_tokens", "max_output_tokens")
values = st.one_of(st.none(), st.floats(0, 2), st.integers(-5, 5000), st.text(max_size=3), st.booleans())
fields = st.dictionaries(st.sampled_from(FIELDS), values, max_size=5)
options = st.one_of(
    st.none(), st.dictionaries(st.sampled_from((*FIELDS, "num_predict")), values, max_size=4), st.just(7)
)
targets = st.builds(
    Target,
    st.sampled_from(["openai", "anthropic", "ollama", "lab", "openrouter", "moonshot"]),
    st.sampled_from(["o3", "gpt-5", "gpt-4o", "claude-opus-4-7", "claude-sonnet-4-5", "qwen3:4b", "kimi-k2.6", ""]),
    st.sampled_from(list(Wire)),
)
wanteds = st.builds(
    Wanted,
    st.none() | st.floats(0, 2),
    st.none() | st.floats(0, 1),
    st.none() | st.integers(1, 100),
    st.none() | st.floats(0.5, 2),
    st.none() | st.integers(1, 10_000),
)


def request(wire: Wire, body: dict[str, Any], inner: Any) -> Request:
    whole = {"model": "m", "messages": [], **body}
    if wire is Wire.OLLAMA:
        whole["options"] = inner
    return Request(wire, json.dumps(whole).encode())


@drawn(st.sampled_from(list(Wire)), fields, options, targets, wanteds)
@settings(max_examples=300, deadline=None)
def test_what_the_caller_set_stays(wire: Wire, body: dict[str, Any], inner: Any, to: Target, wanted: Wanted) -> None:
    before = request(wire, body, inner)
    told = given(before)
    assert told is not None
    edits, words = setting(told, to, wanted, wire)
    after = before.edit(edits).body
    for name, value in before.body.items():
        if value is not None and name != "options":
            assert after[name] == value
    if isinstance(inner, dict) and wire is Wire.OLLAMA:
        for name, value in inner.items():
            assert value is None or after["options"][name] == value
    assert bool(edits) is bool(words)
    flat = {**after, **(after.get("options") or {})} if isinstance(after.get("options"), dict | None) else after
    for name in refused(to, told) - set(body) - set(inner if isinstance(inner, dict) else ()):
        assert name not in flat


@drawn(st.sampled_from([Wire.OPENAI_CHAT, Wire.ANTHROPIC_MESSAGES, Wire.OPENAI_RESPONSES]), fields, targets)
@settings(max_examples=300, deadline=None)
def test_fitting_twice_is_fitting_once(wire: Wire, body: dict[str, Any], to: Target) -> None:
    before = request(wire, body, None)
    once = before.edit(fitting(before, to)[0])
    assert fitting(once, to) == ((), ())
    left = {name: value for name, value in before.body.items() if name not in FIELDS}
    assert {name: value for name, value in once.body.items() if name not in FIELDS} == left
