"""A prompt cannot imitate the place that is left out of a fingerprint, and its own text never counts."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.testing.backend import make_call
from pennyweight.wire.questions import Question, fingerprint, question

IMITATIONS = ["", "null", "{placeholder}", "<user>", '"}]', "\\u0000", "item5:", "value0:", "\x00", '{"content":null}']
texts = st.one_of(st.sampled_from(IMITATIONS), st.text(max_size=30))
roles = st.sampled_from(["system", "user", "assistant"])
messages = st.lists(st.fixed_dictionaries({"role": roles, "content": texts}), max_size=3)


def print_of(history: list[dict[str, str]], text: str, **more: Any) -> str:
    body = {"model": "m", "messages": [*history, {"role": "user", "content": text}], **more}
    call = make_call(msgspec.json.encode(body))
    found = question(call.original)
    assert isinstance(found, Question)
    return fingerprint(call, found)


@given(messages, texts, texts)
def test_the_newest_text_does_not_count(history: list[dict[str, str]], one: str, two: str) -> None:
    assert print_of(history, one) == print_of(history, two)


@given(messages, messages, texts, texts)
def test_histories_that_differ_never_meet(a: list[dict[str, str]], b: list[dict[str, str]], one: str, two: str) -> None:
    same = msgspec.json.encode(a) == msgspec.json.encode(b)  # members in another order are another kind of call
    assert (print_of(a, one) == print_of(b, two)) == same


@given(texts, texts, texts)
def test_fields_beside_the_text_cannot_be_moved_into_it(text: str, stop: str, other: str) -> None:
    assert (print_of([], text, stop=stop) == print_of([], text, stop=other)) == (stop == other)
    assert print_of([], text) != print_of([], text, stop=stop)
