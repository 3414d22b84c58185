"""The library's clients and `wrap` over the providers' own SDKs, against an App that answers from a script."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import openai
import pytest

import pennyweight
from pennyweight.client import Answer, AsyncClient, Client, Events
from pennyweight.client.inprocess import LoopThread
from pennyweight.errors import ConfigError, ContextTooLong, LimitReached, RateLimited, StreamCut

CHAT = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "four"}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "four"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 1},
}
WORDS = ["one ", "two ", "thrée ", "four"]


def sse(data: dict[str, Any], name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(data).encode() + b"\n\n"


def chat_chunks() -> list[bytes]:
    def piece(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return sse({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})

    return [*(piece({"content": word}) for word in WORDS), piece({}, "stop"), b"data: [DONE]\n\n"]


def message_chunks() -> list[bytes]:
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": MESSAGE | {"content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in WORDS),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    ]
    return [sse(event, event["type"]) for event in events]


class ScriptedApp:
    """Answers by what the last user message says; notes what it was asked and what became of its streams."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, dict[str, str], Any]] = []
        self.sent = 0
        self.stopped = 0
        self.opened = 0
        self.open = False
        self.loop: asyncio.AbstractEventLoop | None = None
        self.two_sent = asyncio.Event()
        self.gate: asyncio.Event | None = None  # a stream sends two chunks, then waits for it

    @asynccontextmanager
    async def build(self) -> AsyncIterator[ScriptedApp]:
        self.loop = asyncio.get_running_loop()
        self.opened += 1
        self.open = True
        try:
            yield self
        finally:
            self.open = False

    async def receipt(self, call_id: str) -> Any:
        return f"receipt of {call_id}" if call_id == "call-1" else None

    async def respond(
        self, method: str, path: str, query: str, headers: tuple[tuple[str, str], ...], body: bytes
    ) -> tuple[int, tuple[tuple[str, str], ...], bytes | AsyncIterator[bytes]]:
        assert self.open
        asked = json.loads(body) if body else {}
        self.asked.append((method, path, query, dict(headers), asked))
        own = (("content-type", "application/json"), ("x-pennyweight-call", "call-1"), ("request-id", "req_1"))
        script = str(asked.get("messages", asked.get("input", ""))) if asked else ""
        claude = path.endswith("/messages")
        if "refuse" in script:
            status = int(script.split("refuse ")[1][:3])
            error = {"type": "some_error", "message": "Daily limit reached", "code": None}
            if "context" in script:
                error["code"] = "context_length_exceeded"
            return status, (*own, ("retry-after", "7")), json.dumps({"type": "error", "error": error}).encode()
        if "hang" in script:
            await asyncio.sleep(60)
        if asked.get("stream"):
            kind = "application/x-ndjson" if path == "/api/chat" else "text/event-stream"
            chunks = message_chunks() if claude else chat_chunks()
            if path == "/api/chat":
                chunks = [b'{"a": 1}\n{"a"', b": 2}\n", b'{"a": 3}']
            return 200, (("content-type", kind), *own[1:]), self._stream(chunks, "cut" in script)
        if path == "/v1/embeddings":
            data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
            return 200, own, json.dumps({"object": "list", "model": "m", "data": data}).encode()
        if path == "/v1/html":
            return 200, own, b"<html>"
        return 200, own, json.dumps(MESSAGE if claude else CHAT).encode()

    async def _stream(self, chunks: list[bytes], cut: bool) -> AsyncIterator[bytes]:
        ended = False
        try:
            for number, chunk in enumerate(chunks):
                if number == 2:
                    if cut:
                        raise StreamCut("The upstream ended the stream half-way.")
                    self.two_sent.set()
                    if self.gate is not None:
                        await self.gate.wait()
                self.sent += 1
                yield chunk
            ended = True
        finally:
            self.stopped += not ended


@pytest.fixture
def app() -> ScriptedApp:
    return ScriptedApp()


def ask(text: str) -> Any:
    return {"model": "m", "messages": [{"role": "user", "content": text}]}


# --- wrap: synchronous ------------------------------------------------------------------------------------


def test_openai_goes_through_the_app_with_its_own_key_and_path(app: ScriptedApp) -> None:
    original = openai.OpenAI(
        api_key="sk-mine", base_url="http://127.0.0.1:1/elsewhere/v1", default_headers={"x-a": "b"}
    )
    with pennyweight.wrap(original, app.build) as client:
        assert isinstance(client, openai.OpenAI)
        raw = client.chat.completions.with_raw_response.create(**ask("2+2?"))
        assert raw.parse().choices[0].message.content == "four"
        assert raw.headers["x-pennyweight-call"] == "call-1"
    method, path, query, headers, body = app.asked[0]
    assert (method, path, query) == ("POST", "/v1/chat/completions", "")
    assert headers["authorization"] == "Bearer sk-mine"
    assert headers["x-a"] == "b"
    assert "host" not in headers
    assert "accept-encoding" not in headers
    assert body == ask("2+2?")
    assert not app.open


def test_anthropic_goes_through_the_app_with_its_version_and_query(app: ScriptedApp) -> None:
    with pennyweight.wrap(anthropic.Anthropic(api_key="sk-ant"), app.build) as client:
        message = client.messages.create(max_tokens=9, extra_query={"beta": "true"}, **ask("2+2?"))
        assert message.content[0].text == "four"  # type: ignore[union-attr]
    _, path, query, headers, _ = app.asked[0]
    assert (path, query) == ("/v1/messages", "beta=true")
    assert "anthropic-version" in headers


def test_a_sync_stream_arrives_chunk_by_chunk(app: ScriptedApp) -> None:
    app.gate = asyncio.Event()
    with pennyweight.wrap(openai.OpenAI(api_key="k"), app.build) as client:
        stream = iter(client.chat.completions.create(stream=True, **ask("count")))
        assert [next(stream).choices[0].delta.content for _ in range(2)] == WORDS[:2]
        assert app.sent == 2  # the rest is not even made yet
        assert app.loop is not None
        app.loop.call_soon_threadsafe(app.gate.set)
        assert [c.choices[0].delta.content for c in stream] == [*WORDS[2:], None]
    assert app.stopped == 0


def test_closing_a_sync_stream_stops_the_upstream(app: ScriptedApp) -> None:
    with pennyweight.wrap(openai.OpenAI(api_key="k"), app.build) as client:
        with client.chat.completions.create(stream=True, **ask("count")) as stream:
            next(iter(stream))
        assert app.stopped == 1
        assert app.sent == 1


def test_the_sdks_stream_helper_accumulates(app: ScriptedApp) -> None:
    wrapped = pennyweight.wrap(anthropic.Anthropic(api_key="k"), app.build)
    with wrapped as client, client.messages.stream(max_tokens=9, **ask("count")) as stream:
        assert list(stream.text_stream) == WORDS
        assert stream.get_final_message().usage.output_tokens == 4


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, "BadRequestError"), (401, "AuthenticationError"), (429, "RateLimitError"), (500, "InternalServerError")],
)
def test_errors_are_the_sdks_own(status: int, error: str, app: ScriptedApp) -> None:
    with pennyweight.wrap(openai.OpenAI(api_key="k", max_retries=0), app.build) as client:
        with pytest.raises(getattr(openai, error), match="Daily limit") as caught:
            client.chat.completions.create(**ask(f"refuse {status}"))
        assert caught.value.response.headers["retry-after"] == "7"
    wrapped = pennyweight.wrap(anthropic.Anthropic(api_key="k", max_retries=0), app.build)
    with wrapped as claude, pytest.raises(getattr(anthropic, error), match="Daily limit"):
        claude.messages.create(max_tokens=9, **ask(f"refuse {status}"))


def test_a_cut_stream_is_an_error_not_an_end(app: ScriptedApp) -> None:
    with pennyweight.wrap(openai.OpenAI(api_key="k"), app.build) as client:
        stream = iter(client.chat.completions.create(stream=True, **ask("cut")))
        assert [next(stream).choices[0].delta.content for _ in range(2)] == WORDS[:2]
        with pytest.raises(openai.APIConnectionError) as caught:
            next(stream)
        assert "half-way" in str(caught.value.__cause__)


def test_the_sdks_timeout_holds(app: ScriptedApp) -> None:
    wrapped = pennyweight.wrap(openai.OpenAI(api_key="k", max_retries=0, timeout=0.05), app.build)
    with wrapped as client, pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(**ask("hang"))


def test_a_configuration_that_cannot_open_is_told_at_once() -> None:
    @asynccontextmanager
    async def broken() -> AsyncIterator[ScriptedApp]:
        raise ConfigError("no such file")
        yield

    with pytest.raises(ConfigError, match="no such file"):
        pennyweight.wrap(openai.OpenAI(api_key="k"), broken)
    with pytest.raises(ConfigError, match="no such file"):
        Client(broken)


@pytest.mark.parametrize(
    "other", [object(), openai.AzureOpenAI(api_key="k", azure_endpoint="http://x", api_version="1")]
)
def test_what_cannot_be_wrapped_is_refused(other: object, app: ScriptedApp) -> None:
    with pytest.raises(ConfigError, match=type(other).__name__):
        pennyweight.wrap(other, app.build)
    assert app.opened == 0


def test_a_subclass_can_be_wrapped(app: ScriptedApp) -> None:
    class Mine(openai.OpenAI):
        pass

    with pennyweight.wrap(Mine(api_key="k"), app.build) as client:
        assert isinstance(client, Mine)
        assert client.models.with_raw_response.list().http_response.status_code == 200


def test_many_threads_share_one_wrapped_client(app: ScriptedApp) -> None:
    with pennyweight.wrap(openai.OpenAI(api_key="k"), app.build) as client:
        texts: list[str] = []

        def work() -> None:
            stream = client.chat.completions.create(stream=True, **ask("count"))
            texts.append("".join(c.choices[0].delta.content or "" for c in stream))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert texts == ["".join(WORDS)] * 8
    assert app.opened == 1


# --- wrap: asynchronous -----------------------------------------------------------------------------------


def test_async_openai_streams_and_closes(app: ScriptedApp) -> None:
    async def main() -> None:
        app.gate = asyncio.Event()
        async with pennyweight.wrap(openai.AsyncOpenAI(api_key="k"), app.build) as client:
            stream = aiter(await client.chat.completions.create(stream=True, **ask("count")))
            assert [(await anext(stream)).choices[0].delta.content for _ in range(2)] == WORDS[:2]
            assert app.sent == 2
            app.gate.set()
            assert [c.choices[0].delta.content async for c in stream] == [*WORDS[2:], None]
        assert app.stopped == 0
        assert not app.open

    asyncio.run(main())


def test_async_anthropic_left_early_stops_the_upstream(app: ScriptedApp) -> None:
    async def main() -> None:
        async with pennyweight.wrap(anthropic.AsyncAnthropic(api_key="k"), app.build) as client:
            async with client.messages.stream(max_tokens=9, **ask("count")) as stream:
                await anext(aiter(stream))
            assert app.stopped == 1

    asyncio.run(main())


def test_a_cancelled_task_stops_the_upstream(app: ScriptedApp) -> None:
    async def main() -> None:
        app.gate = asyncio.Event()
        async with pennyweight.wrap(openai.AsyncOpenAI(api_key="k"), app.build) as client:

            async def read() -> None:
                async for _ in await client.chat.completions.create(stream=True, **ask("count")):
                    pass

            task = asyncio.create_task(read())
            await app.two_sent.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert app.stopped == 1

    asyncio.run(main())


def test_async_errors_and_timeouts_are_the_sdks_own(app: ScriptedApp) -> None:
    async def main() -> None:
        client = pennyweight.wrap(openai.AsyncOpenAI(api_key="k", max_retries=0, timeout=0.05), app.build)
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(**ask("refuse 429"))
        with pytest.raises(openai.APITimeoutError):
            await client.chat.completions.create(**ask("hang"))
        await client.close()
        with pytest.raises(ConfigError, match="closed"):
            await client.with_options(max_retries=0)._client._transport.handle_async_request(
                client._client.build_request("GET", "http://pennyweight.invalid/v1/models")
            )

    asyncio.run(main())


def test_an_async_client_survives_a_change_of_loops(app: ScriptedApp) -> None:
    client = pennyweight.wrap(openai.AsyncOpenAI(api_key="k"), app.build)

    async def main() -> None:
        assert (await client.chat.completions.create(**ask("2+2?"))).choices[0].message.content == "four"

    asyncio.run(main())
    assert not app.open  # asyncio.run closed it in order
    asyncio.run(main())
    assert app.opened == 2


# --- AsyncClient and Client -------------------------------------------------------------------------------


def test_async_client_answers_streams_and_receipts(app: ScriptedApp) -> None:
    async def main() -> None:
        async with AsyncClient(app.build, headers={"X-Pennyweight-Agent": "a"}) as client:
            answer = await client.chat(**ask("2+2?"))
            assert isinstance(answer, Answer)
            assert answer["choices"][0]["message"]["content"] == "four"
            assert await client.receipt(answer.call_id) == "receipt of call-1"
            assert await client.receipt("other") is None
            assert (await client.messages(max_tokens=9, **ask("x")))["stop_reason"] == "end_turn"
            assert (await client.responses(model="m", input="x"))["id"] == "c1"
            assert (await client.embeddings(model="m", input="x"))["data"][0]["embedding"] == [0.5]
            stream = await client.chat(stream=True, **ask("count"))
            assert stream.call_id == "call-1"
            pieces = [event["choices"][0]["delta"].get("content", "") async for event in stream]
            assert pieces == [*WORDS, ""]
            lines = await client.request("POST", "/api/chat?x=1", {"stream": True})
            assert isinstance(lines, Events)
            assert [event async for event in lines] == [{"a": 1}, {"a": 2}, {"a": 3}]
        assert app.asked[0][3]["x-pennyweight-agent"] == "a"
        assert app.asked[-1][2] == "x=1"
        assert not app.open

    asyncio.run(main())


def test_refusals_are_our_own_errors_with_the_upstreams_words(app: ScriptedApp) -> None:
    async def main() -> None:
        async with AsyncClient(app.build) as client:
            with pytest.raises(LimitReached, match="Daily limit reached"):
                await client.chat(**ask("refuse 402"))
            with pytest.raises(RateLimited) as caught:
                await client.chat(**ask("refuse 429"))
            assert caught.value.retry_after_s == 7.0
            with pytest.raises(ContextTooLong):
                await client.chat(**ask("refuse 400 context"))
            with pytest.raises(StreamCut):
                async for _ in await client.chat(stream=True, **ask("cut")):
                    pass
            with pytest.raises(Exception, match="not a JSON object"):
                await client.request("GET", "/v1/html")

    asyncio.run(main())


def test_leaving_events_early_stops_the_upstream(app: ScriptedApp) -> None:
    async def main() -> None:
        async with AsyncClient(app.build) as client:
            async with await client.chat(stream=True, **ask("count")) as events:
                await anext(aiter(events))
            assert app.stopped == 1

    asyncio.run(main())
    with Client(app.build) as client:
        with client.chat(stream=True, **ask("count")) as events:
            next(iter(events))
        assert app.stopped == 2


def test_client_does_the_same_without_async(app: ScriptedApp) -> None:
    with Client(app.build) as client:
        answer = client.chat(**ask("2+2?"))
        assert client.receipt(answer.call_id) == "receipt of call-1"
        assert client.embeddings(model="m", input="x")["data"]
        events = client.messages(stream=True, max_tokens=9, **ask("count"))
        assert [event["type"] for event in events][-1] == "message_stop"
        with pytest.raises(LimitReached):
            client.chat(**ask("refuse 402"))
    with pytest.raises(ConfigError, match="closed"):
        client.chat(**ask("2+2?"))
    client.close()


def test_an_async_client_that_is_not_open_says_so(app: ScriptedApp) -> None:
    with pytest.raises(ConfigError, match="async with"):
        asyncio.run(AsyncClient(app.build).chat(**ask("x")))


def test_a_thread_ends_with_its_client(app: ScriptedApp) -> None:
    before = set(threading.enumerate())
    loop = LoopThread(app.build)
    (ours,) = set(threading.enumerate()) - before  # others may end meanwhile: an earlier test's
    loop.close()
    gc.collect()
    assert not ours.is_alive()


# --- importing --------------------------------------------------------------------------------------------


def test_importing_pennyweight_is_quick_and_loads_nothing_optional() -> None:
    program = """
import sys
before = len(sys.modules)
import pennyweight
print(len(sys.modules) - before)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
assert pennyweight.__all__
"""
    lines = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert int(lines[0]) < 100, "modules to load"
    optional = {"openai", "anthropic", "httpx", "httpx2", "opentelemetry", "click", "rich", "pyreqwest", "genai_prices"}
    assert optional.isdisjoint(lines[1].split())


def test_the_public_names_are_there() -> None:
    assert pennyweight.wrap is not None
    assert pennyweight.AsyncClient is AsyncClient
    assert pennyweight.Client is Client
    assert callable(pennyweight.open)
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = pennyweight.nothing_such
