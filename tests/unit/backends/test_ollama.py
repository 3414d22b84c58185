from __future__ import annotations

import asyncio
import json

import pytest

from pennyweight.backends.ollama import Ollama, Settings
from pennyweight.call import Call, Optimize
from pennyweight.errors import ContextTooLong, Unreachable
from pennyweight.request import Operation, Wire
from pennyweight.testing.backend import Script, ScriptedBackend, make_call

SHORT = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'


class Words:
    def count(self, text: str) -> int:
        return len(text.split())


def sent(
    body: bytes, settings: Settings, *, optimize: Optimize = "safe", operation: Operation = Operation.GENERATE
) -> bytes:
    inner = ScriptedBackend()
    call = make_call(body, wire=Wire.OLLAMA, path="/api/chat", optimize=optimize, operation=operation)
    asyncio.run(Ollama(inner, settings, Words()).open(call))
    return inner.calls[0].request.raw


def test_settings_are_added_where_the_caller_set_nothing() -> None:
    body = json.loads(sent(SHORT, Settings(num_ctx=8192, keep_alive="5m")))
    assert (body["options"], body["keep_alive"]) == ({"num_ctx": 8192}, "5m")
    body = json.loads(sent(b'{"model":"m","options":{"seed":1}}', Settings(num_ctx=8192, models={"m": 100})))
    assert body["options"] == {"seed": 1, "num_ctx": 100}
    assert json.loads(sent(b'{"model":"m","options":null}', Settings(num_ctx=9)))["options"] == {"num_ctx": 9}


def test_a_model_that_is_kept_stays_for_ever() -> None:
    kept = Settings(keep_alive="5m", keep=frozenset({"m:latest"}))
    assert json.loads(sent(SHORT, kept))["keep_alive"] == -1
    assert json.loads(sent(SHORT, Settings(keep_alive="5m", keep=frozenset({"other:latest"}))))["keep_alive"] == "5m"


def test_what_the_caller_set_is_kept() -> None:
    body = b'{"model":"m", "keep_alive": 0, "options": {"num_ctx": 99}}'
    assert sent(body, Settings(num_ctx=8192, keep_alive="5m")) == body


@pytest.mark.parametrize(
    ("settings", "optimize", "operation"),
    [
        (Settings(), "safe", Operation.GENERATE),
        (Settings(num_ctx=8192, keep_alive="5m"), "off", Operation.GENERATE),
        (Settings(num_ctx=8192, keep_alive="5m"), "safe", Operation.EMBED),
    ],
)
def test_bytes_are_untouched(settings: Settings, optimize: Optimize, operation: Operation) -> None:
    assert sent(SHORT, settings, optimize=optimize, operation=operation) == SHORT


def long(num_ctx: int | None, words: int = 200) -> Call:
    body = {
        "model": "m",
        "messages": [
            {"role": "system", "content": "w " * (words // 2)},
            {"role": "user", "content": "w " * (words // 2)},
        ],
        **({"options": {"num_ctx": num_ctx}} if num_ctx is not None else {}),
    }
    return make_call(json.dumps(body).encode(), wire=Wire.OLLAMA, path="/api/chat")


def test_a_prompt_that_does_not_fit_is_refused_with_both_numbers_and_a_remedy() -> None:
    inner = ScriptedBackend()
    with pytest.raises(ContextTooLong) as refused:
        asyncio.run(Ollama(inner, Settings(), Words()).open(long(100)))
    message = refused.value.message
    assert "maximum context length is 100 tokens" in message
    assert "resulted in 200 tokens" in message
    assert "raise num_ctx for 'm'" in message
    assert inner.calls == []


def test_what_fits_exactly_is_sent() -> None:
    inner = ScriptedBackend()
    asyncio.run(Ollama(inner, Settings(), Words()).open(long(200)))
    assert len(inner.calls) == 1


@pytest.mark.parametrize("settings", [Settings(num_ctx=150), Settings(models={"m": 150})])
def test_the_context_comes_from_the_settings_when_the_caller_says_none(settings: Settings) -> None:
    with pytest.raises(ContextTooLong, match="150 tokens"):
        asyncio.run(Ollama(ScriptedBackend(), settings, Words()).open(long(None)))


def running(context_length: int, name: str = "m:latest") -> Script:
    return Script(content=json.dumps({"models": [{"name": name, "context_length": context_length}]}).encode())


def test_the_server_is_asked_for_the_context_that_nobody_set() -> None:
    inner = ScriptedBackend(running(1500))
    backend = Ollama(inner, Settings(), Words())
    for _ in range(2):
        with pytest.raises(ContextTooLong, match="1500 tokens"):
            asyncio.run(backend.open(long(None, 2000)))
    (asked,) = inner.calls
    assert (asked.request.method, asked.request.path, asked.target) == ("GET", "/api/ps", long(None).target)


@pytest.mark.parametrize(
    "told",
    [
        running(4000),
        running(1500, "another:latest"),
        Script(status=404),
        Script(content=b"<html>"),
        Script(error=Unreachable("no connection")),
    ],
)
def test_a_call_is_not_refused_on_a_guess(told: Script) -> None:
    inner = ScriptedBackend(told, Script())
    call = long(None, 2000)
    reply = asyncio.run(Ollama(inner, Settings(), Words()).open(call))
    assert inner.calls[1] is call
    assert bool(reply.notes) is (told.content != running(4000).content)


def test_a_short_prompt_asks_nothing() -> None:
    inner = ScriptedBackend()
    asyncio.run(Ollama(inner, Settings(), Words()).open(long(None, 20)))
    assert len(inner.calls) == 1


def test_tools_and_thinking_count_too() -> None:
    body = {
        "model": "m",
        "options": {"num_ctx": 20},
        "messages": [
            {"role": "assistant", "content": "", "thinking": "t " * 15, "tool_calls": [{"function": {"name": "f"}}]}
        ],
        "tools": [{"function": {"description": "d " * 15}}],
    }
    with pytest.raises(ContextTooLong):
        asyncio.run(
            Ollama(ScriptedBackend(), Settings(), Words()).open(make_call(json.dumps(body).encode(), wire=Wire.OLLAMA))
        )


def test_odd_bodies_are_left_to_ollama() -> None:
    for body in (b'{"options":3,"messages":[null,3,{"content":7}]}', b'{"messages":"x","prompt":7}', b"{}"):
        assert sent(body, Settings(num_ctx=5)).startswith(b"{")


def test_other_wires_pass() -> None:
    inner = ScriptedBackend()
    call = make_call(SHORT)
    asyncio.run(Ollama(inner, Settings(num_ctx=1), Words()).open(call))
    assert inner.calls == [call]
