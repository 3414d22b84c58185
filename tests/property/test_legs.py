"""Legs joined as a stream are the same as legs joined whole, wherever the network cuts them."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.request import Usage, Wire
from pennyweight.testing import shapes
from pennyweight.wire import codec, sse
from pennyweight.wire.legs import legs

WIRES = list(Wire)

texts = st.sampled_from(["", "Let me look.", 'He said "recall", twice.\n\nThen left. ünï', "x" * 200])
arguments = st.sampled_from(["{}", '{"path": "a.py"}', '{"ref": "rabcdefghij", "lines": "1-9"}'])


@st.composite
def turns(draw: st.DrawFn, *, last: bool) -> shapes.Turn:
    """An answer; all but the last ask us, and nobody else."""
    ours = [shapes.ToolCall(f"ours{n}", "recall", draw(arguments)) for n in range(draw(st.integers(not last, 2)))]
    theirs = [shapes.ToolCall(f"theirs{n}", "read", draw(arguments)) for n in range(draw(st.integers(0, 2)))]
    if not last:
        theirs = []
    elif ours and not theirs:
        ours = []
    calls = draw(st.permutations([*ours, *theirs]))
    reasoning = draw(st.sampled_from(["", "Hm. I think."]))
    return shapes.Turn(draw(texts), tuple(calls), reasoning, "c2ln" if reasoning else "")


def body(wire: Wire, turn: shapes.Turn, number: int) -> dict[str, Any]:
    usage = Usage(input_tokens=1000 + number, cache_read_tokens=100 * number, output_tokens=10 + number)
    if wire is Wire.OLLAMA:
        return _ollama(turn, usage)
    return shapes.finish(wire, shapes.body_of(wire, turn, model="m", number=number), usage, model="m")


def _ollama(turn: shapes.Turn, usage: Usage) -> dict[str, Any]:
    calls = [{"function": {"name": c.name, "arguments": msgspec.json.decode(c.arguments)}} for c in turn.calls]
    message: dict[str, Any] = {"role": "assistant", "content": turn.text}
    message |= {"thinking": turn.reasoning} if turn.reasoning else {}
    message |= {"tool_calls": calls} if calls else {}
    counts = {"prompt_eval_count": usage.input_tokens, "eval_count": usage.output_tokens}
    return {"model": "m", "created_at": "now", "message": message, "done": True, "done_reason": "stop", **counts}


def stream_of(wire: Wire, answer: dict[str, Any]) -> bytes:
    if wire is Wire.OLLAMA:
        return b"".join(codec(wire).unfold(msgspec.json.encode(answer)))
    return b"".join(shapes.stream(wire, answer, include_usage=True))


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    at = sorted({min(place, len(stream)) for place in places} | {0, len(stream)})
    return [stream[a:b] for a, b in itertools.pairwise(at)]


def woven(wire: Wire, answers: list[dict[str, Any]], places: list[int], *, crlf: bool = False) -> list[bytes]:
    """What the caller gets of each leg."""
    weaver = legs(wire).weaver()
    out = []
    for number, answer in enumerate(answers):
        if number:
            assert weaver.asks
            before = answers[number - 1]
            weaver.next(codec(wire).read(msgspec.json.encode(before)).usage)
        stream = stream_of(wire, answer)
        stream = stream.replace(b"\n", b"\r\n") if crlf else stream
        out.append(b"".join(weaver.feed(chunk) for chunk in cut(stream, places)) + weaver.close())
    assert not weaver.asks
    return out


def _plain(answer: dict[str, Any]) -> dict[str, Any]:
    """No text and an empty text are told alike in a stream of Chat Completions."""
    for choice in answer.get("choices", ()):
        choice["message"]["content"] = choice["message"].get("content") or ""
    return answer


@pytest.mark.parametrize("wire", WIRES)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_stream_of_legs_folds_to_what_they_are_whole(wire: Wire, data: st.DataObject) -> None:
    said = data.draw(st.lists(turns(last=False), max_size=2))
    said.append(data.draw(turns(last=True)))
    answers = [body(wire, turn, number) for number, turn in enumerate(said)]
    whole = legs(wire).joined(answers)
    crlf = data.draw(st.booleans())
    places = data.draw(st.lists(st.integers(0, 6_000), max_size=12))
    parts = woven(wire, answers, places, crlf=crlf)
    assert b"".join(parts) == b"".join(woven(wire, answers, [], crlf=crlf)), "any cut gives the same bytes"
    told = msgspec.json.decode(codec(wire).fold(b"".join(parts)))
    assert _plain(told) == _plain(msgspec.json.decode(msgspec.json.encode(whole)))
    assert b'"name":"recall"' not in b"".join(parts)
    if wire is Wire.OPENAI_RESPONSES:
        numbers = [msgspec.json.decode(event.data)["sequence_number"] for event in sse.events(b"".join(parts))]
        assert numbers == list(range(len(numbers)))
    assert codec(wire).read(msgspec.json.encode(whole)).usage == codec(wire).read(msgspec.json.encode(told)).usage


@pytest.mark.parametrize("wire", WIRES)
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_stream_without_our_calls_keeps_its_bytes(wire: Wire, data: st.DataObject) -> None:
    theirs = [shapes.ToolCall(f"theirs{n}", "read", data.draw(arguments)) for n in range(data.draw(st.integers(0, 2)))]
    answer = body(wire, shapes.Turn(data.draw(texts), tuple(theirs), "Hm."), 1)
    stream = stream_of(wire, answer)
    places = data.draw(st.lists(st.integers(0, 6_000), max_size=12))
    weaver = legs(wire).weaver()
    assert b"".join(weaver.feed(chunk) for chunk in cut(stream, places)) + weaver.close() == stream


@pytest.mark.parametrize("wire", WIRES)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_broken_streams_and_noise_pass_without_an_error(wire: Wire, data: st.DataObject) -> None:
    answer = body(wire, shapes.Turn("text", (shapes.ToolCall("o", "recall", "{}"),)), 1)
    stream = stream_of(wire, answer)
    at = data.draw(st.integers(0, len(stream)))
    noise = data.draw(
        st.sampled_from([b"", b"data: {\n\n", b'data: {"choices":[null]}\n\n', b": x\n\n", b"\xff\xfe\n\n"])
    )
    weaver = legs(wire).weaver()
    weaver.feed(noise)
    weaver.feed(stream[:at])
    weaver.feed(noise)
    weaver.close()
    weaver.next(None)
    weaver.feed(noise)
    weaver.feed(stream[at:])
    weaver.close()
