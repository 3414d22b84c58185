"""A stream that was asked for its usage on the quiet looks to its caller like one that was not, however it is cut."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.backends.ask_usage import AskUsage, withhold
from pennyweight.call import Optimize
from pennyweight.request import Operation, Wire
from pennyweight.testing.backend import Script, ScriptedBackend, make_call

USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}
SPACINGS = ((",", ":"), (", ", ": "), (",", ": "))
NEEDLES = [
    '"usage":null',
    ',"usage":null',
    '"choices":[]',
    '{"choices":[],"usage":{"a":1}}',
    "data: x\n\ndata: y",
    "é🙂",
]
ENDINGS = ("\n", "\r\n")


def chunk(text: str, finish: str | None = None) -> dict[str, Any]:
    delta = {
        "content": text,
        "tool_calls": [{"index": 0, "function": {"arguments": json.dumps({"usage": None, "t": text})}}],
    }
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


def written(events: Sequence[dict[str, Any]], spacing: tuple[str, str], newline: str) -> bytes:
    lines = [f": ping{newline}{newline}"]
    lines += [f"data: {json.dumps(e, separators=spacing, ensure_ascii=False)}{newline}{newline}" for e in events]
    return "".join((*lines, f"data: [DONE]{newline}{newline}")).encode()


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A stream with `usage` as OpenAI sends it when asked, and the same without having been asked."""
    texts = draw(st.lists(st.sampled_from(NEEDLES) | st.text(max_size=12), max_size=5))
    spacing, newline = draw(st.sampled_from(SPACINGS)), draw(st.sampled_from(ENDINGS))
    first = draw(st.booleans())  # some servers put it before the choices
    plain = [chunk(text) for text in texts] + [chunk("", "stop")]
    asked = [{"usage": None, **event} if first else {**event, "usage": None} for event in plain]
    end = {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [], "usage": USAGE}
    return written([*asked, end], spacing, newline), written(plain, spacing, newline)


def cut(data: bytes, at: Sequence[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


async def relayed(chunks: Sequence[bytes]) -> list[bytes]:
    async def each() -> AsyncIterator[bytes]:
        for part in chunks:
            yield part

    return [part async for part in withhold(each())]


@given(streams(), st.lists(st.integers(0, 10_000), max_size=12))
def test_what_is_left_is_the_stream_that_nobody_asked_for_usage(pair: tuple[bytes, bytes], at: list[int]) -> None:
    asked, plain = pair
    assert b"".join(asyncio.run(relayed(cut(asked, at)))) == plain


@pytest.mark.parametrize("newline", ENDINGS)
def test_every_single_cut(newline: str) -> None:
    plain = [chunk("é🙂"), chunk("", "stop")]
    asked = [{**event, "usage": None} for event in plain]
    stream = written([*asked, {"choices": [], "usage": USAGE}], (",", ":"), newline)
    expected = written(plain, (",", ":"), newline)

    async def main() -> None:
        for place in range(len(stream)):
            assert b"".join(await relayed([stream[:place], stream[place:]])) == expected

    asyncio.run(main())


def test_an_event_leaves_as_soon_as_it_is_whole() -> None:
    events = [b'data: {"choices":[{"delta":{"content":"%d"}}],"usage":null}\n\n' % n for n in range(3)]
    left = asyncio.run(relayed([events[0], events[1][:9], events[1][9:] + events[2][:5], events[2][5:]]))
    assert len(left) == 3
    assert all(part.endswith(b"\n\n") for part in left)


def test_a_last_event_without_its_blank_line_is_not_lost_and_shows_no_usage() -> None:
    assert asyncio.run(relayed([b"data: [DO", b"NE]\n"])) == [b"data: [DONE]\n"]
    assert asyncio.run(relayed([b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n'])) == []


def test_a_chunk_without_choices_that_is_not_about_usage_stays() -> None:
    azure = b'data: {"choices":[],"prompt_filter_results":[],"usage":null}\n\n'
    assert asyncio.run(relayed([azure])) == [b'data: {"choices":[],"prompt_filter_results":[]}\n\n']


ASKS = b'{"model":"m","stream":true,"messages":[]}'


@pytest.mark.parametrize(
    ("body", "optimize", "wire", "operation", "asked"),
    [
        (ASKS, "safe", Wire.OPENAI_CHAT, Operation.GENERATE, True),
        (ASKS, "max", Wire.OPENAI_CHAT, Operation.GENERATE, True),
        (ASKS, "off", Wire.OPENAI_CHAT, Operation.GENERATE, False),
        (ASKS, "safe", Wire.OPENAI_RESPONSES, Operation.GENERATE, False),
        (ASKS, "safe", Wire.OPENAI_CHAT, Operation.OTHER, False),
        (b'{"model":"m","messages":[]}', "safe", Wire.OPENAI_CHAT, Operation.GENERATE, False),
        (ASKS[:-1] + b',"stream_options":{"include_usage":true}}', "safe", Wire.OPENAI_CHAT, Operation.GENERATE, False),
        (
            ASKS[:-1] + b',"stream_options":{"include_usage":false}}',
            "safe",
            Wire.OPENAI_CHAT,
            Operation.GENERATE,
            False,
        ),
    ],
)
def test_who_is_asked_and_who_is_left_alone(
    body: bytes, optimize: Optimize, wire: Wire, operation: Operation, asked: bool
) -> None:
    stream = b'data: {"choices":[{"delta":{}}],"usage":null}\n\ndata: {"choices":[],"usage":{"prompt_tokens":1}}\n\n'

    async def main() -> None:
        inner = ScriptedBackend(Script(chunks=(stream,)))
        call = make_call(body, optimize=optimize, wire=wire, operation=operation)
        async with await AskUsage(inner).open(call) as reply:
            seen = await reply.read()
        (at_provider,) = inner.calls
        if asked:
            assert at_provider.request.raw == body[:-1] + b',"stream_options":{"include_usage":true}}'
            assert seen == b'data: {"choices":[{"delta":{}}]}\n\n'
            assert [note.optimizer for note in reply.notes] == ["ask_usage"]
        else:
            assert at_provider.request.raw is body
            assert seen == stream  # the caller who asked sees its usage untouched
            assert not reply.notes

    asyncio.run(main())


def test_a_refusal_passes_untouched() -> None:
    refusal = b'{"error":{"message":"x"},"usage":null}'

    async def main() -> None:
        inner = ScriptedBackend(Script(status=400, content=refusal))
        async with await AskUsage(inner).open(make_call(ASKS)) as reply:
            assert await reply.read() == refusal

    asyncio.run(main())


def test_an_event_without_end_is_not_held_for_ever() -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b'data: {"choices":[{"delta":{"content":"'
        while True:
            yield b"a" * 65_536

    async def first() -> bytes:
        stream = withhold(endless())
        return await anext(stream)

    assert len(asyncio.run(first())) < 2 << 20


def test_a_long_event_passes_as_it_came() -> None:
    long = b'data: {"choices":[{"delta":{"content":"' + b"a" * (3 << 20) + b'"}}]}\n\n'
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n'
    stream = long + usage + b"data: [DONE]\n\n"

    async def each() -> AsyncIterator[bytes]:
        for start in range(0, len(stream), 9_999):
            yield stream[start : start + 9_999]

    async def shown() -> bytes:
        return b"".join([part async for part in withhold(each())])

    assert asyncio.run(shown()) == long + b"data: [DONE]\n\n"
