"""A call that crosses protocols: what the upstream is asked, and what the caller gets back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import pytest
from tests.unit.wire.translate.bodies import PAIRS, STREAMS, TEXT, answer, asked

from pennyweight.backends.crossing import Crossing
from pennyweight.call import Call, Identity, Target, Verdict
from pennyweight.errors import StreamCut
from pennyweight.request import Operation, Request, Wire
from pennyweight.testing.backend import Script, ScriptedBackend

UPSTREAM = (
    ("content-type", "application/json"),
    ("content-length", "12"),
    ("request-id", "req_1"),
    ("retry-after", "3"),
)


def run(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """The coroutine function as a plain test."""

    @wraps(test)
    def plain(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))  # type: ignore[arg-type]

    return plain


class Words:
    def count(self, text: str) -> int:
        return len(text.split())


def make_call(request: Request, target: Wire) -> Call:
    return Call("c1", Identity(), request, request, Target("up", "claude-sonnet-4-6", target), at=1_700_000_000.0)


@run
async def test_the_same_protocol_is_handed_on_untouched() -> None:
    inner = ScriptedBackend()
    call = make_call(asked(Wire.OPENAI_CHAT), Wire.OPENAI_CHAT)
    reply = await Crossing(inner, Words()).open(call)
    assert inner.calls == [call]
    assert reply is inner.replies[0]


@pytest.mark.parametrize(("caller", "upstream"), PAIRS)
@run
async def test_a_whole_answer_comes_back_in_the_callers_protocol(caller: Wire, upstream: Wire) -> None:
    inner = ScriptedBackend(Script(headers=UPSTREAM, content=answer(upstream)))
    async with await Crossing(inner, Words()).open(make_call(asked(caller, stream=False), upstream)) as reply:
        assert reply.wire is caller
        assert TEXT in (await reply.read()).decode()
        assert dict(reply.headers) == {"request-id": "req_1", "retry-after": "3", "content-type": "application/json"}
    sent = inner.calls[0].request
    assert sent.wire is upstream
    assert not sent.stream
    assert reply.done == inner.replies[0].done
    assert inner.closed == 1


@pytest.mark.parametrize(("caller", "upstream"), PAIRS)
@run
async def test_a_stream_comes_back_in_the_callers_protocol(caller: Wire, upstream: Wire) -> None:
    inner = ScriptedBackend(Script(headers=UPSTREAM, chunks=tuple(STREAMS[upstream])))
    ended = []
    async with await Crossing(inner, Words()).open(make_call(asked(caller), upstream)) as reply:
        reply.on_end.append(lambda r: ended.append(r.done))
        assert reply.chunks is not None
        chunks = [chunk async for chunk in reply.chunks]
    assert len(chunks) > 5
    kind = "application/x-ndjson" if caller is Wire.OLLAMA else "text/event-stream"
    assert dict(reply.headers)["content-type"].startswith(kind)
    assert inner.calls[0].request.stream
    assert ended == [inner.replies[0].done]
    assert inner.closed == 1


@run
async def test_a_cut_stream_stays_cut() -> None:
    inner = ScriptedBackend(Script(chunks=tuple(STREAMS[Wire.OPENAI_CHAT][:-1])))
    async with await Crossing(inner, Words()).open(
        make_call(asked(Wire.ANTHROPIC_MESSAGES), Wire.OPENAI_CHAT)
    ) as reply:
        assert reply.chunks is not None
        with pytest.raises(StreamCut):
            [chunk async for chunk in reply.chunks]


@run
async def test_an_error_keeps_status_words_and_headers() -> None:
    body = b'{"error":{"message":"Rate limit reached for gpt-5.5","type":"requests","code":"rate_limit_exceeded"}}'
    inner = ScriptedBackend(Script(status=429, headers=UPSTREAM, content=body))
    async with await Crossing(inner, Words()).open(
        make_call(asked(Wire.ANTHROPIC_MESSAGES), Wire.OPENAI_CHAT)
    ) as reply:
        told = json.loads(await reply.read())
    assert reply.status == 429
    assert told == {"type": "error", "error": {"type": "rate_limit_error", "message": "Rate limit reached for gpt-5.5"}}
    assert dict(reply.headers)["retry-after"] == "3"


@run
async def test_what_is_lost_stands_in_the_notes_and_in_the_inner_trail() -> None:
    inner = ScriptedBackend(Script(content=answer(Wire.OPENAI_CHAT)))
    request = asked(Wire.ANTHROPIC_MESSAGES, stream=False)
    async with await Crossing(inner, Words()).open(make_call(request, Wire.OPENAI_CHAT)) as reply:
        lost = [step for step in reply.notes if step.optimizer == "translate"]
    assert lost
    assert all(step.verdict is Verdict.LOST for step in lost)
    assert any(step.why.startswith("system[].cache_control: ") for step in lost)
    assert inner.calls[0].trail[: len(lost)]


@run
async def test_an_answer_that_is_a_page_is_said_in_the_callers_protocol() -> None:
    inner = ScriptedBackend(Script(content=b"<html>secret page</html>"))
    request = asked(Wire.ANTHROPIC_MESSAGES, stream=False)
    async with await Crossing(inner, Words()).open(make_call(request, Wire.OPENAI_CHAT)) as reply:
        body = await reply.read()
    assert reply.status == 502
    assert json.loads(body)["type"] == "error"
    assert b"secret" not in body


@run
async def test_tokens_are_counted_here_for_an_upstream_that_cannot() -> None:
    inner = ScriptedBackend()
    body = {"model": "m", "system": "be brief", "messages": [{"role": "user", "content": "one two three"}]}
    request = Request(Wire.ANTHROPIC_MESSAGES, json.dumps(body).encode(), operation=Operation.COUNT)
    async with await Crossing(inner, Words()).open(make_call(request, Wire.OPENAI_CHAT)) as reply:
        assert json.loads(await reply.read()) == {"input_tokens": 5}
    assert not inner.calls
    assert reply.done is not None
    assert not reply.done.charges
    assert [step.why.startswith("counted here") for step in reply.notes] == [True]
