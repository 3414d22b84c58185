"""The cache doctor of a gateway over HTTP: what it found, and the switch for what the gateway can do itself."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import Awaitable, Callable
from pathlib import Path

from pennyweight.app import App, build
from pennyweight.config import load
from pennyweight.front.auth import Gate
from pennyweight.front.front import Front
from pennyweight.front.http import HttpRequest, HttpResponse
from pennyweight.gateway.metrics import Metrics
from pennyweight.gateway.pages import Pages
from pennyweight.request import Headers
from pennyweight.testing.http import Exchange, LoopbackServer

Ask = Callable[..., Awaitable[HttpResponse]]
SECRET = "the tower is made of elephants"
LONG = f"{SECRET}. " + "All that you need to know of it is here. " * 1_000


async def provider(exchange: Exchange) -> None:
    """Anthropic, as it bills prompts without a mark: all of it as plain input."""
    tokens = len(exchange.body) // 4
    answer = {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "hi"}],
        "usage": {"input_tokens": tokens, "output_tokens": 1, "cache_read_input_tokens": 0},
    }  # fmt: skip
    await exchange.send(200, json.dumps(answer).encode(), headers={"content-type": "application/json"})


def drive(tmp_path: Path, work: Callable[[App, Ask], Awaitable[None]]) -> None:
    config = tmp_path / "pennyweight.toml"
    config.write_text('optimize = "off"\n')

    async def main() -> None:
        async with LoopbackServer(provider) as server:
            env = {"PENNYWEIGHT_DATA": str(tmp_path), "ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": server.url}
            async with asyncio.timeout(60), build(load(config, env)) as app:
                gate = Gate(app.config, app.keys)
                front = Front(app, gate, Pages(app, gate, Metrics()).find)

                async def ask(method: str, path: str, body: bytes = b"", **more: str) -> HttpResponse:
                    given = {"host": "127.0.0.1:1", "content-type": "application/json"}
                    given |= {name.replace("_", "-"): value for name, value in more.items()}
                    headers: Headers = tuple(given.items())
                    return await front.respond(HttpRequest(method, path, "", headers, body, "127.0.0.1"))

                await work(app, ask)

    asyncio.run(main())


async def converse(app: App, ask: Ask) -> None:
    """A conversation of three calls without a cache mark."""
    messages = [{"role": "user", "content": LONG}]
    for turn in range(3):
        body = {"model": "claude-sonnet-4-6", "max_tokens": 10, "messages": messages}
        response = await ask("POST", "/v1/messages", json.dumps(body).encode(), x_pennyweight_session="tower")
        assert response.status == 200
        assert response.close is not None
        await response.close()
        messages = [*messages, {"role": "assistant", "content": "hi"}, {"role": "user", "content": f"And {turn}?"}]
    assert await app.clerk.flush()


def test_findings_are_listed_without_a_word_of_the_prompts(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        await converse(app, ask)
        answer = await ask("GET", "/pennyweight/doctor")
        (finding,) = json.loads(answer.body)
        assert {"id", "code", "severity", "title", "detail", "where", "calls", "cost_pico"} <= finding.keys()
        assert {"fix", "setting", "applicable", "first_at", "last_at"} <= finding.keys()
        assert finding["code"] == "marker_missing"
        assert finding["calls"] == 2
        assert finding["cost_pico"] > 0
        assert finding["applicable"] is True
        assert finding["sessions"] == ["tower"]
        page = await ask("GET", "/pennyweight/doctor.html")
        assert b"No cache breakpoint" in page.body
        for body in (answer.body, page.body):
            assert SECRET.encode() not in body

    drive(tmp_path, work)


def test_a_finding_is_applied_to_the_configuration(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        await converse(app, ask)
        (finding,) = json.loads((await ask("GET", "/pennyweight/doctor")).body)
        answer = await ask("POST", "/pennyweight/doctor/apply", json.dumps({"id": finding["id"]}).encode())
        told = json.loads(answer.body)
        assert told["changed"] is True
        assert told["applied"] == "prompt_cache"
        assert '+optimize = "safe"' in told["diff"]
        assert tomllib.loads((tmp_path / "pennyweight.toml").read_text()) == {"optimize": "safe"}
        assert told["backup"].endswith(".bak")

    drive(tmp_path, work)
    (backup,) = tmp_path.glob("*.bak")
    assert backup.read_text() == 'optimize = "off"\n'


def test_only_the_operator_may_look_and_only_its_own_page_may_apply(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        key = app.keys.add("guest")
        asked = json.dumps({"id": "x"}).encode()
        apply = "/pennyweight/doctor/apply"
        assert (await ask("GET", "/pennyweight/doctor", x_pennyweight_key=key)).status == 403
        assert (await ask("GET", "/pennyweight/doctor.html", x_pennyweight_key=key)).status == 403
        assert (await ask("POST", apply, asked, x_pennyweight_key=key)).status == 403
        assert (await ask("POST", apply, asked, origin="https://evil.example")).status == 403
        assert (await ask("POST", apply, asked, origin="http://127.0.0.1:3000")).status == 403
        assert (await ask("POST", apply, asked, host="evil.example")).status == 403
        assert (await ask("POST", apply, asked, sec_fetch_site="cross-site")).status == 403
        assert (await ask("POST", apply, asked, content_type="text/plain")).status == 400
        assert (await ask("POST", apply, b"[]")).status == 400
        assert (await ask("POST", apply, asked, origin="http://127.0.0.1:1")).status == 404

    drive(tmp_path, work)
