"""The odds of tokens: asked for where a cascade wants them, never shown to who did not ask, harmless where odd."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from tests.unit.backends.cascade.rig import body, on_loop, said

from pennyweight.backends.cascade import AskLogprobs
from pennyweight.backends.cascade.logprobs import WANTED
from pennyweight.call import Call
from pennyweight.request import Operation, Wire
from pennyweight.routing.confidence.entropy import Tokens
from pennyweight.testing.backend import Script, ScriptedBackend, make_call

ODDS = {"content": [{"token": "4", "logprob": -0.1, "top_logprobs": [{"logprob": -0.1}, {"logprob": -3.0}]}]}


def wanting(raw: bytes, **fields: Any) -> tuple[Call, Tokens]:
    tokens = Tokens()
    call = make_call(raw, **fields)
    return msgspec.structs.replace(call, facts={WANTED: tokens}), tokens


def event(odds: Any, *, space: str = " ", nl: str = "\n") -> bytes:
    choice = {"index": 0, "delta": {"content": "é"}, "logprobs": odds, "finish_reason": None}
    return f"data:{space}{json.dumps({'x': 1.50, 'choices': [choice]})}{nl}{nl}".encode()


@on_loop
async def test_a_call_that_nobody_wants_to_know_about_is_untouched() -> None:
    inner = ScriptedBackend(Script(content=said("4")))
    call = make_call(body())
    assert AskLogprobs(inner).open(call).__qualname__ == "ScriptedBackend.open"


@on_loop
async def test_a_whole_answer_tells_them_and_hides_them() -> None:
    inner = ScriptedBackend(Script(content=said("4", logprobs=ODDS)))
    call, tokens = wanting(body())
    reply = await AskLogprobs(inner).open(call)
    asked = json.loads(inner.calls[0].request.raw)
    assert (asked["logprobs"], asked["top_logprobs"]) == (True, 5)
    assert reply.content == said("4", logprobs=None), "nothing else has changed"
    assert len(tokens) == 1


@pytest.mark.parametrize("size", [1, 7, 50, 10_000])
@pytest.mark.parametrize("nl", ["\n", "\r\n"])
@on_loop
async def test_a_stream_cut_anywhere_loses_them_and_nothing_else(size: int, nl: str) -> None:
    whole = event(ODDS, nl=nl) + event(ODDS, space="", nl=nl) + f': "logprobs"{nl}{nl}data: [DONE]{nl}{nl}'.encode()
    chunks = tuple(whole[i : i + size] for i in range(0, len(whole), size))
    call, tokens = wanting(body(stream=True))
    reply = await AskLogprobs(ScriptedBackend(Script(chunks=chunks))).open(call)
    assert reply.chunks is not None
    got = b"".join([chunk async for chunk in reply.chunks])
    assert got == whole.replace(json.dumps(ODDS).encode(), b"null")
    assert len(tokens) == 2


@on_loop
async def test_who_asks_for_them_gets_them() -> None:
    raw = body(logprobs=True, top_logprobs=2)
    inner = ScriptedBackend(Script(content=said("4", logprobs=ODDS)), Script(chunks=(event(ODDS), event(None))))
    call, tokens = wanting(raw)
    reply = await AskLogprobs(inner).open(call)
    assert inner.calls[0].request.raw == raw
    assert reply.content == said("4", logprobs=ODDS)
    again = await AskLogprobs(inner).open(call)
    assert again.chunks is not None
    assert [chunk async for chunk in again.chunks] == [event(ODDS), event(None)]
    assert len(tokens) == 2


@on_loop
async def test_a_target_that_refuses_is_asked_again_without_and_then_no_more() -> None:
    inner = ScriptedBackend(Script(status=400), Script(content=said("4")), Script(content=said("5")))
    backend = AskLogprobs(inner)
    for text in ("4", "5"):
        call, tokens = wanting(body())
        reply = await backend.open(call)
        assert reply.content == said(text)
        assert tokens.sureness() is None
    assert [b"logprobs" in call.request.raw for call in inner.calls] == [True, False, False]
    assert inner.closed == 1


@on_loop
async def test_a_refusal_that_was_not_about_them_is_passed_on_and_not_remembered() -> None:
    inner = ScriptedBackend(Script(status=400), Script(status=400), Script(content=said("4")))
    backend = AskLogprobs(inner)
    assert (await backend.open(wanting(body())[0])).status == 400
    await backend.open(wanting(body())[0])
    assert b"logprobs" in inner.calls[2].request.raw


@pytest.mark.parametrize("fields", [{"wire": Wire.ANTHROPIC_MESSAGES}, {"operation": Operation.COUNT}])
@on_loop
async def test_other_protocols_are_not_asked(fields: dict[str, Any]) -> None:
    inner = ScriptedBackend(Script(content=b"{}"))
    await AskLogprobs(inner).open(wanting(body(), **fields)[0])
    assert b"logprobs" not in inner.calls[0].request.raw


@pytest.mark.parametrize("odds", [7, [], {"content": 7}, {"content": [7, None, {}]}, {"refusal": []}, "x"])
@on_loop
async def test_what_is_no_odds_is_hidden_too_and_teaches_nothing(odds: Any) -> None:
    call, tokens = wanting(body())
    reply = await AskLogprobs(ScriptedBackend(Script(content=said("4", logprobs=odds)))).open(call)
    assert reply.content == said("4", logprobs=None)
    assert tokens.sureness() is None


@pytest.mark.parametrize("content", [b'{"logprobs"', b'["logprobs"]', b'{"choices":{"logprobs":1}}'])
@on_loop
async def test_what_is_no_answer_is_passed_on(content: bytes) -> None:
    reply = await AskLogprobs(ScriptedBackend(Script(content=content))).open(wanting(body())[0])
    assert reply.content == content
