"""A mark that is written into a message's own bytes stands where it stands by reading the message."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.optimizers.prompt_cache import marks
from pennyweight.optimizers.prompt_cache.marks import Placement, edits
from pennyweight.prefix import Blocks
from pennyweight.request import Request, Wire

TEXTS = st.sampled_from(["a", 'über "x"', "}]}", ']}]}"}', "\\", "long " * 1_200])
CONTROL = {"type": "ephemeral"}
EXTRA = st.sampled_from([{}, {}, {}, {}, {"citations": [{}]}, {"cache_control": None}, {"cache_control": CONTROL}])
BLOCKS = st.one_of(
    st.builds(lambda text, extra: {"type": "text", "text": text, **extra}, TEXTS, EXTRA),
    st.builds(lambda text, extra: {"type": "tool_result", "tool_use_id": "t", "content": text, **extra}, TEXTS, EXTRA),
    st.builds(lambda text: {"type": "tool_use", "id": "t", "name": "n", "input": {"content": [{"a": text}]}}, TEXTS),
)
MORE = st.sampled_from([*[{}] * 6, {"name": "n"}, {"x": [{}]}, {"x": [{"text": "}]}"}]}])
MESSAGES = st.builds(
    lambda role, content, more, turned: dict(
        reversed([("role", role), ("content", content)]) if turned else [("role", role), ("content", content)], **more
    ),
    st.sampled_from(["user", "assistant"]),
    TEXTS | st.lists(BLOCKS, min_size=1, max_size=2) | st.lists(BLOCKS, min_size=2, max_size=3),
    MORE,
    st.sampled_from([*[False] * 6, True]),
)
SYSTEMS = st.none() | TEXTS | st.lists(st.builds(lambda text: {"type": "text", "text": text}, TEXTS), min_size=1)


def request(wire: Wire, system: Any, messages: list[dict[str, Any]], how: dict[str, Any], *, loose: bool) -> Request:
    body = {"model": "m", "messages": "HERE", "pad": "x" * 4_096}
    if system is not None and wire is Wire.ANTHROPIC_MESSAGES:
        body["system"] = system
    written = [json.dumps(message, **how)[:-1] + (" }" if loose else "}") for message in messages]
    return Request(wire, json.dumps(body, **how).replace('"HERE"', f"[{', '.join(written)}]").encode())


@settings(max_examples=400, deadline=None)
@given(
    wire=st.sampled_from([Wire.ANTHROPIC_MESSAGES, Wire.ANTHROPIC_MESSAGES, Wire.OPENAI_CHAT]),
    system=SYSTEMS,
    messages=st.lists(MESSAGES, min_size=1, max_size=3),
    how=st.sampled_from([{}, {}, {"separators": (",", ":")}, {"separators": (",", ":")}, {"indent": 1}]),
    loose=st.sampled_from([False, False, False, True]),
    data=st.data(),
)
def test_it_stands_where_it_stands_by_reading(
    wire: Wire, system: Any, messages: list[dict[str, Any]], how: dict[str, Any], loose: bool, data: st.DataObject
) -> None:
    asked = request(wire, system, messages, how, loose=loose)
    chain = Blocks(count=len).chain(asked)
    last = data.draw(st.integers(0, len(chain) - 1))
    places = {last, data.draw(st.sampled_from([last, max(last - 1, 0), 0]))}
    placement = Placement(tuple(sorted(places)), data.draw(st.sampled_from(["5m", "1h"])))
    ours = asked.edit(edits(asked, chain, placement))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(marks, "_quick", lambda *_: None)
        theirs = request(wire, system, messages, how, loose=loose).edit(edits(asked, chain, placement))
    assert _once(ours.raw) == _once(theirs.raw)
    anew = Request(wire, ours.raw)
    for name in ("messages", "system"):
        told = getattr(ours.envelope, name)
        assert _read(told) == _read(getattr(anew.envelope, name))


def _read(told: Any) -> Any:
    if told is None:
        return None
    return [json.loads(bytes(item)) for item in told] if isinstance(told, list) else json.loads(bytes(told))


def _once(raw: bytes) -> Any:
    """No member twice."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        assert len(found) == len(pairs)
        return found

    return json.loads(raw, object_pairs_hook=members)
