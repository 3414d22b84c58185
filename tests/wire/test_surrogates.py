"""Halves of characters in JSON become what stands for no character, and nothing else changes."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from pennyweight.request import Wire
from pennyweight.surrogates import sound
from pennyweight.wire import translate

pieces = st.lists(
    st.sampled_from(["a", "\\", "\\ud83d", "\ud83d", "\ude00", "😀", "u", '"', "\n", "\ud83d\ud83d", "é"]), max_size=8
)


@given(pieces)
def test_it_reads_as_python_reads_it_but_for_halves(texts: list[str]) -> None:
    raw = json.dumps({"x": "".join(texts)}).encode()
    whole = json.loads(raw)["x"]  # where Python has put halves that meet together
    read = json.loads(sound(raw))["x"]
    assert read == "".join("\ufffd" if "\ud800" <= one <= "\udfff" else one for one in whole)


def test_what_is_sound_is_the_same_bytes() -> None:
    for raw in (b"{}", rb'{"a":"\\ud83d"}', rb'{"a":"\ud83d\ude00"}', rb'{"a":"\u00e9"}'):
        assert sound(raw) is raw


def test_an_answer_that_crosses_protocols_is_translated() -> None:
    body = rb'{"id":"c","model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"content":"hi \ud83d"}}]}'
    told, _ = translate.response(body, Wire.OPENAI_CHAT, Wire.ANTHROPIC_MESSAGES, model="m")
    assert json.loads(told)["content"][0]["text"] == "hi \ufffd"
    stream = translate.StreamTranslator(Wire.OPENAI_CHAT, Wire.ANTHROPIC_MESSAGES, model="m")
    event = rb'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"hi \ud83d"}}]}'
    assert "hi \ufffd" in stream.feed(event + b"\n\n").decode()
