"""What agents and SDKs need of a server, held against a running gateway: refusals, framing, headers, side routes.

Each need was found by running real clients (docs/conformance.md); what breaks without it stands beside the test.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from pennyweight.config import load
from pennyweight.gateway.run import Gateway, open_gateway
from pennyweight.testing.http import Exchange, LoopbackServer, ask, post

JSON = {"content-type": "application/json"}
MESSAGES_VERSION = {"anthropic-version": "2023-06-01"}
CALLS = {
    "/v1/chat/completions": {"model": "gpt-5.5", "messages": [{"role": "user", "content": "hi"}]},
    "/v1/responses": {"model": "gpt-5.5", "input": "hi", "store": False},
    "/v1/messages": {
        "model": "claude-sonnet-4-6",
        "max_tokens": 8,
        "messages": [{"role": "user", "content": "hi"}],
    },
    "/api/chat": {"model": "llama3", "messages": [{"role": "user", "content": "hi"}], "stream": False},
}
PATHS = list(CALLS)
Answer = Callable[[Exchange], Coroutine[Any, Any, None]]


@asynccontextmanager
async def gateway(
    folder: Path, answer: Answer, *, optimize: str = "safe", env: dict[str, str] | None = None
) -> AsyncIterator[tuple[Gateway, list[Exchange]]]:
    """A gateway before one server that stands for every provider, and what that server was asked."""
    seen: list[Exchange] = []

    async def upstream(exchange: Exchange) -> None:
        seen.append(exchange)
        await answer(exchange)

    async with LoopbackServer(upstream) as server:
        settings = {
            "OPENAI_BASE_URL": f"{server.url}/v1",
            "ANTHROPIC_BASE_URL": server.url,
            "OLLAMA_HOST": server.url,
            "OPENROUTER_BASE_URL": f"{server.url}/v1",
            **(env or {}),
        }
        config = load(None, settings, {"data_dir": folder, "port": 0, "optimize": optimize, "holdout": 0.0})
        async with open_gateway(lambda: config) as running:
            yield running, seen


def run(
    folder: Path,
    answer: Answer,
    test: Callable[[Gateway, list[Exchange]], Awaitable[None]],
    *,
    optimize: str = "safe",
    env: dict[str, str] | None = None,
) -> None:
    async def main() -> None:
        async with gateway(folder, answer, optimize=optimize, env=env) as (running, seen):
            await test(running, seen)

    asyncio.run(main())


def says(status: int, body: bytes, headers: dict[str, str] | None = None) -> Answer:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(status, body, headers=JSON | (headers or {}))

    return answer


def streams(events: bytes, *, piece: int = 7) -> Answer:
    """A stream whose chunks end anywhere."""

    async def answer(exchange: Exchange) -> None:
        await exchange.start(200, {"content-type": "text/event-stream; charset=utf-8"})
        for start in range(0, len(events), piece):
            await exchange.write(events[start : start + piece])
        await exchange.end()

    return answer


def call(path: str, **fields: Any) -> bytes:
    return json.dumps(CALLS[path] | fields).encode()


# --- refusals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
def test_a_spent_budget_is_402_in_words_that_clients_show(tmp_path: Path, path: str) -> None:
    """OpenClaw shows this text as it is; in other words it says that the key has no credit, and disables it."""

    async def test(running: Gateway, seen: list[Exchange]) -> None:
        key = running.app.keys.add("team", daily_usd="0.000001")
        body = call(path, model="gpt-5.5")
        status, headers, told = await post(running.url, path, {"authorization": f"Bearer {key}"}, body)
        assert status == 402
        error = json.loads(told)["error"]
        message = error if isinstance(error, str) else error["message"]
        told = (
            "Daily limit reached for key team: $0.000000 of $0.000001 spent, resets tomorrow 00:00 UTC. This call can "
        )
        assert message.startswith(told)
        assert message.endswith("A smaller output limit may fit.")
        if isinstance(error, dict):
            assert error["type"] == "billing_error"  # "insufficient_quota" disables a key, or is retried for minutes
        assert "retry-after" not in headers  # Codex would sleep until midnight, OpenClaw would hide the text
        assert not seen

    run(tmp_path, says(200, b"{}"), test)


REFUSALS = [
    (400, b'{"error":{"message":"This model\'s maximum context length is 8 tokens.","type":"invalid_request_error",'
     b'"param":"messages","code":"context_length_exceeded"} }'),
    (400, b'{"type":"error","error":{"type":"invalid_request_error","message":"messages.1.role: system"},  "x":1}'),
    (401, b'{"error":"no"}'),
    (404, b'{"error":{"message":"The model does not exist"}}'),
    (413, b'{"type":"error","error":{"type":"request_too_large","message":"too large"}}'),
    (422, b"[]"),
    (429, b'{"error":{"code":"insufficient_quota","message":"You exceeded your current quota"}}'),
    (500, b"{}"),
    (503, b'{"error":{"message":"busy"}}'),
    (529, b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}'),
]  # fmt: skip


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_a_providers_refusal_comes_back_byte_for_byte(tmp_path: Path, path: str, stream: bool) -> None:
    """An overflow in other words starts no compaction; Claude Code reads the wording to resend what is accepted."""
    left = list(REFUSALS)

    async def answer(exchange: Exchange) -> None:
        # The wait is too long for a retry of the gateway's own, so that the test need not wait either.
        await says(*left[0], {"request-id": "req_7", "retry-after": "30"})(exchange)

    async def test(running: Gateway, _seen: list[Exchange]) -> None:
        while left:
            told = await post(running.url, path, {}, call(path, stream=stream, seed=len(left)))
            assert (told[0], told[2]) == left.pop(0)
            assert told[1]["request-id"] == "req_7"
            assert told[1]["content-type"] == "application/json"
            assert told[1]["retry-after"] == "30"

    run(tmp_path, answer, test)


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions"])
def test_a_websocket_is_refused_with_426(tmp_path: Path, path: str) -> None:
    """Codex falls back to HTTP after one probe; after 404 or 405 it probes seven times, and 400 ends its session."""

    async def test(running: Gateway, seen: list[Exchange]) -> None:
        upgrade = {
            "upgrade": "websocket",
            "sec-websocket-version": "13",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        host, _, port = running.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        lines = [
            f"GET {path} HTTP/1.1",
            f"host: {host}",
            "connection: Upgrade",
            *(f"{k}: {v}" for k, v in upgrade.items()),
        ]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
        writer.close()
        assert head.startswith(b"HTTP/1.1 426 ")
        assert not seen

    run(tmp_path, says(200, b"{}"), test)


# --- framing --------------------------------------------------------------------------------------------------


def event(name: str, **fields: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name} | fields, ensure_ascii=False)}\n\n".encode()


MESSAGES_STREAM = (
    event("message_start", message={"id": "msg_1", "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}})
    + b": a comment\n\n"
    + event("ping")
    + event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    + event("content_block_delta", index=0, delta={"type": "text_delta", "text": "é"})
    + event("content_block_stop", index=0)
    + event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2})
    + event("message_stop")
)
_CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","choices":['
CHAT_EVENTS = [
    _CHUNK + b'{"index":0,"delta":{"content":"a"}}],"usage":null}\n\n',
    _CHUNK + b'{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}\n\n',
    _CHUNK + b'],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}\n\n',
    b"data: [DONE]\n\n",
]


@pytest.mark.parametrize("optimize", ["off", "safe"])
@pytest.mark.parametrize("crlf", [False, True])
def test_a_stream_keeps_its_event_lines_and_its_framing(tmp_path: Path, optimize: str, crlf: bool) -> None:
    """Without `event:` lines the Anthropic SDK reads nothing."""
    events = MESSAGES_STREAM.replace(b"\n", b"\r\n") if crlf else MESSAGES_STREAM

    async def test(running: Gateway, _seen: list[Exchange]) -> None:
        status, headers, told = await post(running.url, "/v1/messages", {}, call("/v1/messages", stream=True))
        assert (status, told) == (200, events)
        assert headers["content-type"] == "text/event-stream; charset=utf-8"

    run(tmp_path, streams(events), test, optimize=optimize)


@pytest.mark.parametrize("piece", [7, 10_000])
@pytest.mark.parametrize("optimize", ["off", "safe"])
@pytest.mark.parametrize("wanted", [None, True, False])
def test_usage_that_was_not_asked_for_is_counted_and_withheld(
    tmp_path: Path, piece: int, optimize: str, wanted: bool | None
) -> None:
    """aider and others ask for no usage; a chunk without choices can surprise them."""
    options = {} if wanted is None else {"stream_options": {"include_usage": wanted}}

    async def answer(exchange: Exchange) -> None:
        asked = json.loads(exchange.body).get("stream_options") == {"include_usage": True}
        bare = [part.replace(b',"usage":null', b"") for part in (*CHAT_EVENTS[:2], CHAT_EVENTS[3])]
        await streams(b"".join(CHAT_EVENTS if asked else bare), piece=piece)(exchange)

    async def test(running: Gateway, _seen: list[Exchange]) -> None:
        path = "/v1/chat/completions"
        _, headers, told = await post(running.url, path, {}, call(path, stream=True, **options))
        assert (b'"usage"' in told) is (wanted is True)
        assert told.endswith(b"data: [DONE]\n\n")
        assert told.count(b"data: ") == (4 if wanted else 3)
        _, _, receipt = await ask("GET", running.url, f"/pennyweight/calls/{headers['x-pennyweight-call']}", {})
        assert json.loads(receipt)["usage"]["input_tokens"] > 0

    run(tmp_path, answer, test, optimize=optimize)


@pytest.mark.parametrize("accepts", [None, "gzip, deflate, br"])
def test_no_answer_is_compressed_unasked(tmp_path: Path, accepts: str | None) -> None:
    """Codex cannot read a compressed stream that it did not ask for."""

    async def test(running: Gateway, seen: list[Exchange]) -> None:
        headers = {} if accepts is None else {"accept-encoding": accepts}
        _, told, body = await post(running.url, "/v1/messages", headers, call("/v1/messages", stream=True))
        assert "content-encoding" not in told
        assert body == MESSAGES_STREAM
        assert seen[0].header("accept-encoding") in ("", "identity")

    run(tmp_path, streams(MESSAGES_STREAM), test)


@pytest.mark.parametrize("optimize", ["off", "safe"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
def test_a_stream_that_the_provider_cut_is_cut(tmp_path: Path, path: str, optimize: str) -> None:
    """A clean end would make half an answer look whole; clients resume or retry what was cut."""

    async def answer(exchange: Exchange) -> None:
        await exchange.start(200, {"content-type": "text/event-stream"})
        await exchange.write(MESSAGES_STREAM[:200])
        exchange.cut()

    async def test(running: Gateway, _seen: list[Exchange]) -> None:
        with pytest.raises(ConnectionError):
            await post(running.url, path, {}, call(path, stream=True))

    run(tmp_path, answer, test, optimize=optimize)


def test_a_caller_who_leaves_stops_the_provider(tmp_path: Path) -> None:
    left = asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        await exchange.start(200, {"content-type": "text/event-stream"})
        await exchange.write(event("message_start"))
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    async def test(running: Gateway, seen: list[Exchange]) -> None:
        host, _, port = running.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        body = call("/v1/messages", stream=True)
        head = f"POST /v1/messages HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await reader.readuntil(b"message_start")
        writer.close()
        await asyncio.wait_for(left.wait(), 60)
        assert seen[0].caller_left

    run(tmp_path, answer, test)


# --- headers and queries --------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimize", ["off", "safe"])
def test_headers_and_query_strings_reach_the_provider(tmp_path: Path, optimize: str) -> None:
    """Betas decide which fields are valid; sessions and traces are read by routers and tracing further on."""
    kept = {
        "anthropic-beta": "context-management-2025-06-27,advanced-tool-use-2025-11-20",
        "anthropic-version": "2026-10-21",
        "x-claude-code-session-id": "s-1",
        "session-id": "s-2",
        "thread-id": "t-1",
        "x-codex-turn-metadata": '{"turn_id":"1"}',
        "x-session-affinity": "s-3",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "x-stainless-lang": "python",
        "openai-organization": "org-1",
        "user-agent": "OpenAI/JS 6.1",
    }

    async def test(running: Gateway, seen: list[Exchange]) -> None:
        body = call("/v1/messages")
        await post(running.url, "/v1/messages?beta=true&x=%20y", {**kept, "x-api-key": "sk-caller"}, body)
        (got,) = seen
        assert (got.path, got.query, got.body) == ("/v1/messages", "beta=true&x=%20y", body)
        assert {name: got.header(name) for name in kept} == kept
        assert got.header("x-api-key") == "sk-caller"

    run(tmp_path, says(200, b"{}"), test, optimize=optimize)


@pytest.mark.parametrize(
    ("ours", "sent", "got"),
    [
        ("", {"authorization": "Bearer sk-own"}, ("Bearer sk-own", "")),
        ("", {"x-api-key": "sk-own"}, ("", "sk-own")),
        ("", {"authorization": "Bearer sk-ant-oat01-x"}, ("Bearer sk-ant-oat01-x", "")),
        ("sk-gateway", {"authorization": "Bearer sk-own"}, ("", "sk-gateway")),
        ("sk-gateway", {"x-api-key": "pennyweight"}, ("", "sk-gateway")),
        ("sk-gateway", {}, ("", "sk-gateway")),
    ],
)
def test_both_ways_of_bringing_a_key(tmp_path: Path, ours: str, sent: dict[str, str], got: tuple[str, str]) -> None:
    """The Anthropic SDK 2.x sends Bearer, older ones x-api-key; a placeholder is none. Ours, if there is one, wins."""

    async def test(running: Gateway, seen: list[Exchange]) -> None:
        await post(running.url, "/v1/messages", sent, call("/v1/messages"))
        assert (seen[0].header("authorization"), seen[0].header("x-api-key")) == got

    run(tmp_path, says(200, b"{}"), test, env={"ANTHROPIC_API_KEY": ours} if ours else {})


def test_a_virtual_key_never_leaves(tmp_path: Path) -> None:
    async def test(running: Gateway, seen: list[Exchange]) -> None:
        key = running.app.keys.add("team")
        for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}, {"x-pennyweight-key": key}):
            await post(running.url, "/v1/messages", headers, call("/v1/messages"))
        assert len(seen) == 3
        assert not [value for got in seen for _, value in got.headers if key in value]

    run(tmp_path, says(200, b"{}"), test)


# --- Claude Code's billing line ---------------------------------------------------------------------------------

BILLING = "x-anthropic-billing-header: cc_version=2.1.329.a1f; cc_entrypoint=cli"


@pytest.mark.parametrize("optimize", ["off", "safe"])
@pytest.mark.parametrize(
    ("model", "kept"),
    [("claude-sonnet-4-6", {"off": True, "safe": True}), ("openrouter/x/y", {"off": True, "safe": False})],
)
def test_the_billing_line_is_for_anthropic_alone(
    tmp_path: Path, model: str, kept: dict[str, bool], optimize: str
) -> None:
    """It differs from session to session at the very start of the prompt, so no two would share a cached prefix."""
    system = [
        {"type": "text", "text": BILLING},
        {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}},
    ]

    async def test(running: Gateway, seen: list[Exchange]) -> None:
        body = call("/v1/messages", model=model, system=system)
        await post(running.url, "/v1/messages", {}, body)
        sent = json.loads(seen[0].body)
        assert sent["system"] == (system if kept[optimize] else system[1:])
        assert sent["messages"] == CALLS["/v1/messages"]["messages"]

    run(tmp_path, says(200, b"{}"), test, optimize=optimize)


# --- side routes ------------------------------------------------------------------------------------------------

LIST = b'{"object": "list", "data": [{"id":"m","object":"model","created":1,"owned_by":"x"}]}'


@pytest.mark.parametrize("headers", [{}, MESSAGES_VERSION])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models?limit=20", "/v1/models/m", "/v1/models/a%2Fb"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_callers_own_key_gets_its_providers_list(
    tmp_path: Path, method: str, path: str, headers: dict[str, str]
) -> None:
    async def test(running: Gateway, seen: list[Exchange]) -> None:
        status, told, body = await ask(method, running.url, path, {**headers, "authorization": "Bearer sk-own"})
        assert (status, body) == (200, LIST if method == "GET" else b"")
        assert told["content-length"] == str(len(LIST))
        (got,) = seen
        assert got.method == method
        assert got.path + (f"?{got.query}" if got.query else "") == path.replace("%2F", "/")

    run(tmp_path, says(200, LIST), test)


def test_the_list_of_all_providers(tmp_path: Path) -> None:
    async def test(running: Gateway, _seen: list[Exchange]) -> None:
        status, told, body = await ask("GET", running.url, "/v1/models", {})
        assert status == 200
        assert [row["id"] for row in json.loads(body)["data"]] == ["m", "anthropic/m", "ollama/m", "openrouter/m"]
        status, told, empty = await ask("HEAD", running.url, "/v1/models", {})
        assert (status, empty, told["content-length"]) == (200, b"", str(len(body)))
        assert (await ask("GET", running.url, "/v1/models/ollama/m", {}))[0] == 200
        async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="pennyweight") as client:
            listed = [model.id async for model in client.models.list()]
            assert (await client.models.retrieve("anthropic/m")).owned_by == "x"
        assert listed == ["m", "anthropic/m", "ollama/m", "openrouter/m"]
        async with anthropic.AsyncAnthropic(base_url=running.url, api_key="pennyweight") as sdk:
            listed = [model.id async for model in sdk.models.list(limit=2)]
            assert (await sdk.models.retrieve("m")).display_name == "m"
            with pytest.raises(anthropic.NotFoundError, match="no model 'none'"):
                await sdk.models.retrieve("none")
        assert listed == ["openai/m", "m", "ollama/m", "openrouter/m"]

    async def answer(exchange: Exchange) -> None:
        await exchange.send(200, b'{"models":[{"name":"m"}]}' if exchange.path == "/api/tags" else LIST, headers=JSON)

    run(tmp_path, answer, test)


@pytest.mark.parametrize("path", ["/v1/messages/count_tokens", "/v1/messages/count_tokens?beta=true"])
def test_tokens_are_counted_by_the_provider_and_cost_nothing(tmp_path: Path, path: str) -> None:
    async def test(running: Gateway, seen: list[Exchange]) -> None:
        body = call("/v1/messages")
        status, headers, told = await post(running.url, path, MESSAGES_VERSION, body)
        assert (status, told) == (200, b'{"input_tokens": 14 }')
        assert (seen[0].path, seen[0].body) == ("/v1/messages/count_tokens", body)
        _, _, receipt = await ask("GET", running.url, f"/pennyweight/calls/{headers['x-pennyweight-call']}", {})
        assert json.loads(receipt)["cost_usd"] == "0.00"

    run(tmp_path, says(200, b'{"input_tokens": 14 }'), test)


def test_tokens_are_counted_for_models_of_others_too(tmp_path: Path) -> None:
    async def test(running: Gateway, seen: list[Exchange]) -> None:
        body = call("/v1/messages", model="gpt-5.5")
        status, _, told = await post(running.url, "/v1/messages/count_tokens", MESSAGES_VERSION, body)
        assert (status, seen) == (200, [])
        assert 0 < json.loads(told)["input_tokens"] < 10

    run(tmp_path, says(500, b""), test)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/tags", b""),
        ("GET", "/api/version", b""),
        ("GET", "/api/ps", b""),
        ("HEAD", "/api/tags", b""),
        ("POST", "/api/show", b'{"model": "llama3"}'),
        ("POST", "/api/generate", b'{"model":"llama3","prompt":""}'),
    ],
)
def test_ollamas_own_routes(tmp_path: Path, method: str, path: str, body: bytes) -> None:
    async def test(running: Gateway, seen: list[Exchange]) -> None:
        status, _, told = await ask(method, running.url, path, {}, body)
        assert (status, told) == (200, b"" if method == "HEAD" else b'{"version": "0.13" }')
        assert (seen[0].method, seen[0].path, seen[0].body) == (method, path, body)

    run(tmp_path, says(200, b'{"version": "0.13" }'), test)


def test_an_ollama_stream_is_passed_on_line_by_line(tmp_path: Path) -> None:
    lines = (
        b'{"model":"llama3","message":{"role":"assistant","content":"a"},"done":false}\n'
        b'{"model":"llama3","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop",'
        b'"prompt_eval_count":5,"eval_count":1}\n'
    )

    async def answer(exchange: Exchange) -> None:
        await exchange.start(200, {"content-type": "application/x-ndjson"})
        for start in range(0, len(lines), 9):
            await exchange.write(lines[start : start + 9])
        await exchange.end()

    async def test(running: Gateway, _seen: list[Exchange]) -> None:
        status, headers, told = await post(running.url, "/api/chat", {}, call("/api/chat", stream=True))
        assert (status, told, headers["content-type"]) == (200, lines, "application/x-ndjson")

    run(tmp_path, answer, test)


@pytest.mark.parametrize("path", ["/chat/completions", "/responses", "/messages", "/models"])
def test_a_base_url_without_v1_works_too(tmp_path: Path, path: str) -> None:
    async def test(running: Gateway, seen: list[Exchange]) -> None:
        method, body = ("GET", b"") if path == "/models" else ("POST", call(f"/v1{path}"))
        status, _, _ = await ask(method, running.url, path, {"authorization": "Bearer sk-own"}, body)
        assert (status, seen[0].path) == (200, f"/v1{path}")

    run(tmp_path, says(200, b"{}"), test)
