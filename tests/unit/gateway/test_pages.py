"""The gateway's own pages, over HTTP, by who asks."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from pennyweight import __version__
from pennyweight.app import App, build
from pennyweight.config import load
from pennyweight.front.auth import Gate
from pennyweight.front.front import Front
from pennyweight.front.http import HttpRequest, HttpResponse
from pennyweight.gateway.metrics import Metrics
from pennyweight.gateway.pages import Pages
from pennyweight.request import Headers
from pennyweight.testing.contracts import sample_receipt
from pennyweight.testing.http import Exchange, LoopbackServer

ANSWER = {
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 1_000_000, "completion_tokens": 0},
}

Ask = Callable[..., Awaitable[HttpResponse]]


async def provider(exchange: Exchange) -> None:
    await exchange.send(200, json.dumps(ANSWER).encode(), headers={"content-type": "application/json"})


def drive(tmp_path: Path, work: Callable[[App, Ask], Awaitable[None]]) -> None:
    async def main() -> None:
        async with LoopbackServer(provider) as server:
            env = {"PENNYWEIGHT_DATA": str(tmp_path), "OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{server.url}/v1"}
            async with asyncio.timeout(60), build(load(None, env)) as app:
                gate, metrics = Gate(app.config, app.keys), Metrics()
                app.batch_watchers.append(lambda receipts, _: metrics.watch(receipts))
                front = Front(app, gate, Pages(app, gate, metrics).find)

                async def ask(
                    path: str, key: str = "", method: str = "GET", body: bytes = b"", host: str = "127.0.0.1:1"
                ) -> HttpResponse:
                    headers: Headers = (("host", host),) + ((("x-pennyweight-key", key),) if key else ())
                    return await front.respond(HttpRequest(method, path, "", headers, body, "127.0.0.1"))

                await work(app, ask)

    asyncio.run(main())


async def called(ask: Ask, key: str = "", model: str = "gpt-4o") -> str:
    body = json.dumps({"model": model, "messages": []}).encode()
    response = await ask("/v1/chat/completions", key, "POST", body)
    assert response.close is not None
    await response.close()
    return dict(response.headers)["x-pennyweight-call"]


def body(response: HttpResponse) -> Any:
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


def rename(folder: Path, table: str, name: str) -> None:
    with closing(sqlite3.connect(folder / "pennyweight.db")) as database:
        database.execute(f"ALTER TABLE {table} RENAME TO {name}")


def test_health_and_readiness(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        assert body(await ask("/healthz")) == {"status": "ok", "version": __version__}
        ready = await ask("/readyz")
        assert (ready.status, body(ready)["status"]) == (200, "ok")
        await called(ask)
        await app.clerk.flush()
        rename(tmp_path, "receipts", "gone")
        assert (await called(ask)).startswith("call_")  # an answer all the same
        while (degraded := await ask("/readyz")).status == 200:
            await app.clerk.flush(0.3)
        assert (degraded.status, body(degraded)["status"]) == (503, "degraded")
        rename(tmp_path, "gone", "receipts")
        await app.clerk.flush()
        assert (await ask("/readyz")).status == 200
        assert (await ask("/healthz", host="evil.example")).status == 403
        assert (await ask("/healthz", method="POST")).status == 404

    drive(tmp_path, work)


def test_a_receipt_by_its_call_at_once_and_in_dollars(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        found = body(await ask(f"/pennyweight/calls/{await called(ask)}"))
        assert (found["cost_usd"], found["baseline_usd"], found["saved_usd"]) == ("2.50", "2.50", "0.00")
        assert (found["model"], found["pricing"]) == ("gpt-4o", "priced")
        unpriced = body(await ask(f"/pennyweight/calls/{await called(ask, model='no-such-model')}"))
        assert (unpriced["cost_usd"], unpriced["pricing"]) == (None, "unpriced")
        assert (await ask("/pennyweight/calls/call_none")).status == 404

    drive(tmp_path, work)


def test_a_key_sees_its_own_calls_and_no_others(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        secrets = [app.keys.add(name) for name in ("ann", "bob")]
        calls = [await called(ask, secret) for secret in secrets]
        local = await called(ask)
        await app.clerk.flush()
        assert (await ask(f"/pennyweight/calls/{calls[0]}", secrets[0])).status == 200
        for other in (calls[1], local):
            assert (await ask(f"/pennyweight/calls/{other}", secrets[0])).status == 404
        assert body(await ask("/pennyweight/summary", secrets[0]))["total"]["calls"] == 1
        assert body(await ask("/pennyweight/summary"))["total"]["calls"] == 3
        assert (await ask("/metrics", secrets[0])).status == 403  # sums of all tenants
        assert (await ask("/metrics")).status == 200

    drive(tmp_path, work)


def test_a_loss_is_told_in_dollars_too(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        await app.ledger.append([sample_receipt("lost", cost=2_500, baseline=0)])
        assert body(await ask("/pennyweight/calls/lost"))["saved_usd"] == "-0.0000000025"

    drive(tmp_path, work)


def test_metrics_count_calls(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        await called(ask)
        await app.clerk.flush()
        page = await ask("/metrics")
        assert dict(page.headers)["content-type"].startswith("text/plain; version=0.0.4")
        assert isinstance(page.body, bytes)
        assert b'pennyweight_usd_total{provider="openai",kind="cost"} 2.5\n' in page.body
        assert b"pennyweight_receipts_lost 0" in page.body

    drive(tmp_path, work)


def test_the_books_of_local_models_are_the_operators(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        told = json.loads((await ask("/pennyweight/local")).body or b"")
        assert told == {"memory_mb": None, "used_mb": 0.0, "servers": [], "models": []}
        key = app.keys.add("somebody")
        assert (await ask("/pennyweight/local", key)).status == 403

    drive(tmp_path, work)
