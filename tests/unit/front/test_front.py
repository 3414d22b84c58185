"""Requests to calls and replies to answers, through a whole App to an upstream on loopback."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pennyweight.app import App, build
from pennyweight.config import load
from pennyweight.front.auth import Gate
from pennyweight.front.front import Front
from pennyweight.front.http import HttpRequest, HttpResponse
from pennyweight.ledger.reading import receipt
from pennyweight.request import Headers
from pennyweight.testing.http import Exchange, LoopbackServer

ANSWER = {
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 100, "completion_tokens": 10},
}
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"temperature":0}'


class Provider:
    def __init__(self) -> None:
        self.got: list[Exchange] = []

    async def __call__(self, exchange: Exchange) -> None:
        self.got.append(exchange)
        if b'"stream":true' in exchange.body:
            await exchange.start(200, {"content-type": "text/event-stream"})
            for text in ("a", "b"):
                delta = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
                await exchange.write(b"data: " + json.dumps(delta).encode() + b"\n\n")
            await asyncio.sleep(0)
            if b"cut" in exchange.body:
                return exchange.cut()
            await exchange.write(b"data: [DONE]\n\n")
            return await exchange.end()
        return await exchange.send(200, json.dumps(ANSWER).encode(), headers={"content-type": "application/json"})


Ask = Callable[..., Awaitable[HttpResponse]]


@asynccontextmanager
async def front(tmp_path: Path, **env: str) -> AsyncIterator[tuple[App, Provider, Ask]]:
    provider = Provider()
    async with LoopbackServer(provider) as server:
        settings = {"PENNYWEIGHT_DATA": str(tmp_path), "OPENAI_API_KEY": "ours", "OPENAI_BASE_URL": f"{server.url}/v1"}
        config = tmp_path / "pennyweight.toml"
        where = config if config.exists() else None
        async with build(load(where, {**settings, **env}, {"holdout": 0.0})) as app:
            entrance = Front(app, Gate(app.config, app.keys))

            async def ask(
                path: str = CHAT, body: bytes = BODY, headers: Headers = (), method: str = "POST", peer: str = ""
            ) -> HttpResponse:
                return await entrance.respond(HttpRequest(method, path, "", headers, body, peer))

            yield app, provider, ask


def drive(tmp_path: Path, work: Callable[[App, Provider, Ask], Awaitable[None]], **env: str) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), front(tmp_path, **env) as (app, provider, ask):
            await work(app, provider, ask)

    asyncio.run(main())


OWN = "/v1/responses/resp_pennyweight_1f"


def error(response: HttpResponse) -> tuple[int, str]:
    assert isinstance(response.body, bytes)
    body = json.loads(response.body)
    return response.status, str(body["error"]["message"] if isinstance(body["error"], dict) else body["error"])


def test_a_whole_answer_tells_its_call_its_cost_and_its_trail(tmp_path: Path) -> None:
    async def work(app: App, provider: Provider, ask: Ask) -> None:
        first = await ask()
        told = dict(first.headers)
        # $2.50 and $10 per million tokens
        assert told["x-pennyweight-cost"] == "$0.00035"
        assert told["x-pennyweight-trail"].startswith("exact_cache=")
        assert told["x-pennyweight-call"].startswith("call_")
        assert first.close is not None
        await first.close()
        await app.clerk.flush()
        found = await asyncio.to_thread(receipt, app.config.data_dir / "pennyweight.db", told["x-pennyweight-call"])
        assert found is not None
        assert found.cost == 350_000_000
        second = await ask()
        assert dict(second.headers)["x-pennyweight-cost"] == "$0.00"
        assert dict(second.headers)["x-pennyweight-saved"] == "$0.00035 computed"
        assert len(provider.got) == 1

    drive(tmp_path, work)


def test_credentials_are_never_part_of_a_request(tmp_path: Path) -> None:
    async def work(app: App, provider: Provider, ask: Ask) -> None:
        headers = (("authorization", "Bearer theirs"), ("x-api-key", "other"), ("cookie", "c"), ("x-kept", "1"))
        response = await ask(headers=headers)
        assert response.status == 200
        (exchange,) = provider.got
        sent = dict(exchange.headers)
        assert (sent["authorization"], sent["x-kept"]) == ("Bearer ours", "1")
        assert not {"x-api-key", "cookie"} & set(sent)

    drive(tmp_path, work)


@pytest.mark.parametrize("shared", [False, True])  # True is what holds by itself
def test_tenants_may_have_no_part_in_what_is_kept_for_the_operators_account(tmp_path: Path, shared: bool) -> None:
    async def work(app: App, provider: Provider, ask: Ask) -> None:
        named: Headers = (("x-pennyweight-key", app.keys.add("ann")),)
        own: Headers = (*named, ("authorization", "Bearer sk-or-v1-of-her-own"))
        for method, path in (("GET", "/v1/files"), ("POST", "/v1/batches"), ("DELETE", "/v1/responses/resp_1")):
            response = await ask(path, b"", named, method)
            assert response.status == (200 if shared else 403)
            if not shared:
                assert "server.tenants_share_account is false" in error(response)[1]
                assert "x-pennyweight-call" in dict(response.headers), "it leaves a receipt"
            assert (await ask(path, b"", own, method)).status == response.status, "her key is not what is asked with"
            assert (await ask(path, b"", (), method)).status == 200, "the operator's own use"
        assert (await ask("/v1/moderations", b"{}", named)).status == 200
        assert (await ask(CHAT, BODY, named)).status == 200
        assert len(provider.got) == (11 if shared else 5)

    config = "" if shared else "[server]\ntenants_share_account = false\n"
    (tmp_path / "pennyweight.toml").write_text(config)
    drive(tmp_path, work)


def test_a_tenant_uses_an_account_of_its_own_as_it_likes(tmp_path: Path) -> None:
    (tmp_path / "pennyweight.toml").write_text("[server]\ntenants_share_account = false\n")

    async def work(app: App, provider: Provider, ask: Ask) -> None:
        headers: Headers = (("x-pennyweight-key", app.keys.add("ann")), ("authorization", "Bearer sk-hers"))
        assert (await ask("/v1/files", b"", headers, "GET")).status == 200
        assert dict(provider.got[0].headers)["authorization"] == "Bearer sk-hers"

    drive(tmp_path, work, OPENAI_API_KEY="")


@pytest.mark.parametrize("path", ["/v1/responses/resp_1", "/v1/responses/resp_1/input_items", "/v1/files/pennyweight_"])
def test_what_a_provider_keeps_is_asked_of_it(tmp_path: Path, path: str) -> None:
    async def work(app: App, provider: Provider, ask: Ask) -> None:
        assert (await ask(path, b"", method="GET")).status == 200
        assert [exchange.path for exchange in provider.got] == [path]

    drive(tmp_path, work)


@pytest.mark.parametrize(
    ("path", "body", "headers", "method", "status", "message"),
    [
        (CHAT, b"{", (), "POST", 400, "not valid JSON"),
        (CHAT, b"[]", (), "POST", 400, "not valid"),
        (CHAT, b'{"model":1}', (), "POST", 400, r"`\$\.model`"),
        (CHAT, b'{"model":"\xff"}', (), "POST", 400, "not UTF-8 .byte 10"),
        (MESSAGES, b"{", (), "POST", 400, "not valid JSON"),
        ("/api/chat", b"{", (), "POST", 400, "not valid JSON"),
        (CHAT, BODY, (("x-pennyweight-optimize", "loads"),), "POST", 400, "Use off, safe or max"),
        ("/nowhere", b"", (), "GET", 404, "nothing at GET /nowhere"),
        ("/v1/native/nobody/v1/messages", BODY, (), "POST", 404, "no provider 'nobody'"),
        (
            OWN,
            b"",
            (),
            "GET",
            404,
            "'resp_pennyweight_1f' was translated.*previous_response_id, or send the whole input",
        ),
        (OWN.replace("_", "%5F"), b"", (), "GET", 404, "'resp_pennyweight_1f' was translated"),
        (OWN.removeprefix("/v1"), b"", (), "GET", 404, "nothing at GET"),
        (f"/v1/native/openai{OWN}", b"", (), "GET", 404, "was translated"),
        (OWN, b"", (), "DELETE", 404, "was translated"),
        (f"{OWN}/cancel", b"{}", (), "POST", 404, "was translated"),
        (f"{OWN}/input_items", b"", (("anthropic-version", "1"),), "GET", 404, "was translated"),
        ("/v1/conversations/c/items/msg_pennyweight_2", b"", (), "GET", 404, "'msg_pennyweight_2' was translated"),
        ("/v1/responses", b"", (("upgrade", "websocket"),), "GET", 426, "Use HTTP"),
    ],
)
def test_what_cannot_be_a_call_is_refused_in_its_protocol(
    tmp_path: Path, path: str, body: bytes, headers: Headers, method: str, status: int, message: str
) -> None:
    async def work(app: App, provider: Provider, ask: Ask) -> None:
        response = await ask(path, body, headers, method)
        found, text = error(response)
        assert found == status
        with pytest.raises(AssertionError, match=message):
            raise AssertionError(text)
        assert not provider.got
        assert isinstance(response.body, bytes)
        if path == MESSAGES or ("anthropic-version", "1") in headers:
            assert json.loads(response.body)["type"] == "error"

    drive(tmp_path, work)


def test_a_key_that_is_missing_is_named_in_the_answer(tmp_path: Path) -> None:
    async def work(app: App, provider: Provider, ask: Ask) -> None:
        response = await ask(MESSAGES, b'{"model":"claude-sonnet-4-6","max_tokens":1,"messages":[]}')
        status, text = error(response)
        assert status == 401
        assert "ANTHROPIC_API_KEY" in text
        assert dict(response.headers)["x-pennyweight-call"]

    drive(tmp_path, work)


def test_a_foreign_page_is_kept_out_and_a_stranger_needs_a_key(tmp_path: Path) -> None:
    async def work(app: App, provider: Provider, ask: Ask) -> None:
        rebound = await ask(headers=(("host", "evil.example"),), peer="127.0.0.1")
        assert rebound.status == 403
        stranger = await ask(headers=(("host", "127.0.0.1:8787"),), peer="192.0.2.7")
        assert stranger.status == 401
        assert not provider.got

    drive(tmp_path, work)


@pytest.mark.parametrize("cut", [False, True])
def test_a_stream_left_or_cut_leaves_a_receipt_that_counts_what_came(tmp_path: Path, cut: bool) -> None:
    async def work(app: App, provider: Provider, ask: Ask) -> None:
        word = "cut" if cut else "hi"
        asked: dict[str, Any] = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": word}]}
        response = await ask(body=json.dumps(asked, separators=(",", ":")).encode())
        assert not isinstance(response.body, bytes)
        assert "x-pennyweight-cost" not in dict(response.headers)
        assert response.close is not None
        if cut:
            with pytest.raises(Exception, match="broke off"):
                async for _ in response.body:
                    pass
        else:
            await anext(response.body)
        await response.close()
        await app.clerk.flush()
        call_id = dict(response.headers)["x-pennyweight-call"]
        found = await asyncio.to_thread(receipt, app.config.data_dir / "pennyweight.db", call_id)
        assert found is not None
        assert found.usage is not None
        assert found.usage.counted
        assert found.usage.output_tokens >= 1
        assert found.abandoned is not cut
        assert (found.error == "StreamCut") is cut

    drive(tmp_path, work)


def test_a_bug_of_ours_is_a_500_without_its_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(request: HttpRequest) -> HttpResponse:
        raise RuntimeError("secret")

    async def main() -> None:
        async with front(tmp_path) as (app, _, _ask):
            entrance = Front(app, Gate(app.config, app.keys), lambda request: broken)
            response = await entrance.respond(HttpRequest("GET", MESSAGES, "", (), b"", ""))
            assert response.status == 500
            assert isinstance(response.body, bytes)
            assert b"secret" not in response.body
            assert json.loads(response.body)["type"] == "error"

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert "request failed" in caplog.text
