"""However two streams of one answer are cut, and wherever the first breaks off: the caller has it once, and whole."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.backends.fusing.resume import Resume, whole_events
from pennyweight.errors import StreamCut
from pennyweight.request import Wire
from pennyweight.wire import codec
from pennyweight.wire.answers import only_text


def answer(wire: Wire, text: str, tag: str) -> bytes:
    match wire:
        case Wire.OPENAI_CHAT:
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            made: dict[str, object] = {"id": tag, "object": "chat.completion", "created": 1, "choices": [choice]}
        case Wire.ANTHROPIC_MESSAGES:
            usage = {"input_tokens": 20, "output_tokens": 9}
            made = {"id": tag, "type": "message", "role": "assistant", "content": [{"type": "text", "text": text}]}
            made |= {"stop_reason": "end_turn", "stop_sequence": None, "usage": usage}
        case Wire.OPENAI_RESPONSES:
            part = {"type": "output_text", "text": text, "annotations": []}
            item = {"type": "message", "id": "i" + tag, "role": "assistant", "status": "completed", "content": [part]}
            made = {"id": tag, "object": "response", "created_at": 1, "status": "completed", "output": [item]}
        case Wire.OLLAMA:
            message = {"role": "assistant", "content": text}
            made = {"created_at": f"2026-01-01T00:00:0{len(tag)}Z", "message": message, "done": True}
            made |= {"done_reason": "stop"}
    return json.dumps({"model": "m"} | made).encode()


def stream(wire: Wire, text: str, tag: str, step: int) -> list[bytes]:
    """Events with `step` characters each. The marks at both ends keep empty texts and other strings apart."""
    whole = answer(wire, text, tag)
    quoted = json.dumps(text)[1:-1].encode()
    out: list[bytes] = []
    for event in codec(wire).unfold(whole, include_usage=False):
        delta = wire is not Wire.OPENAI_RESPONSES or b"output_text.delta" in event
        if quoted not in event or not delta:
            out.append(event)
            continue
        cuts = [text[at : at + step] for at in range(0, len(text), step)]
        out += [event.replace(quoted, json.dumps(piece)[1:-1].encode()) for piece in cuts]
    return out


texts = st.text('abc é"\\\n', max_size=20).map(lambda text: f"<<{text}>>")


@pytest.mark.parametrize("wire", list(Wire))
@settings(max_examples=40, deadline=None)
@given(texts, st.integers(1, 6), st.integers(1, 6), st.integers(0, 30), st.integers(1, 40), st.booleans())
def test_the_answer_comes_once_and_whole(
    wire: Wire, text: str, step: int, other_step: int, broken_at: int, cut: int, same: bool
) -> None:
    first = b"".join(stream(wire, text, "a", step)[:broken_at])
    sent, rest = whole_events(wire, first)
    assert rest == b""
    second = b"".join(stream(wire, text, "a" if same else "bb", step if same else other_step))
    resume = Resume(wire, sent, model="m")
    out = [resume.feed(second[at : at + cut]) for at in range(0, len(second), cut)]
    found = only_text(wire, codec(wire).fold(b"".join((sent, *out, resume.end()))))
    assert found is not None
    assert found[0] == text


@pytest.mark.parametrize("wire", list(Wire))
@settings(max_examples=20, deadline=None)
@given(texts, st.integers(1, 4), st.integers(3, 12))
def test_another_answer_is_never_mixed_in(wire: Wire, text: str, step: int, broken_at: int) -> None:
    sent = b"".join(stream(wire, text, "a", step)[:broken_at])
    second = b"".join(stream(wire, "[other] " + text, "bb", step))
    resume = Resume(wire, sent, model="m")
    try:
        out = resume.feed(second) + resume.end()
    except StreamCut:
        return
    found = only_text(wire, codec(wire).fold(sent + out))
    assert found is not None
    assert found[0] == "[other] " + text, "nothing of the first was said yet"
