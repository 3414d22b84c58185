"""Caches over HTTP: what they did, dropping what they keep, and callers who say that an answer was wrong."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pennyweight.app import App, build
from pennyweight.config import load
from pennyweight.front.auth import Gate
from pennyweight.front.front import Front
from pennyweight.front.http import HttpRequest
from pennyweight.gateway.metrics import Metrics
from pennyweight.gateway.pages import Pages
from pennyweight.testing.http import Exchange, LoopbackServer

JSON = ("content-type", "application/json")
PURGE = "/pennyweight/caches/purge"


class Driven:
    """A gateway before a provider that counts, and ways to ask it."""

    def __init__(self, app: App, asked: list[bytes]) -> None:
        self.app = app
        self.asked = asked
        gate = Gate(app.config, app.keys)
        self._front = Front(app, gate, Pages(app, gate, Metrics()).find)

    async def ask(
        self, path: str, body: Any = None, *headers: tuple[str, str], key: str = ""
    ) -> tuple[int, dict[str, str], Any]:
        named = (("host", "127.0.0.1:1"), *headers) + ((("x-pennyweight-key", key),) if key else ())
        if body is not None and not any(name == "content-type" for name, _ in headers):
            named += (JSON,)
        raw = b"" if body is None else json.dumps(body).encode()
        method = "GET" if body is None else "POST"
        response = await self._front.respond(HttpRequest(method, path, "", named, raw, "127.0.0.1"))
        content = response.body if isinstance(response.body, bytes) else b"".join([c async for c in response.body])
        if response.close is not None:
            await response.close()
        await self.app.clerk.flush()
        return response.status, dict(response.headers), json.loads(content)

    async def call(self, text: str = "hi", *, key: str = "", model: str = "gpt-4o") -> dict[str, str]:
        body = {"model": model, "temperature": 0, "messages": [{"role": "user", "content": text}]}
        status, headers, _ = await self.ask("/v1/chat/completions", body, key=key)
        assert status == 200
        return headers


def drive(folder: Path, work: Callable[[Driven], Awaitable[None]], text: str = "") -> None:
    asked: list[bytes] = []

    async def provider(exchange: Exchange) -> None:
        asked.append(exchange.body)
        answer = {
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11},
        }
        await exchange.send(200, json.dumps(answer).encode(), headers={"content-type": "application/json"})

    async def main() -> None:
        file = folder / "pennyweight.toml"
        file.write_text(f"{text}\n[pipeline]\npropose_s = 60.0\n")  # this machine may be busy
        async with LoopbackServer(provider) as server:
            env = {"PENNYWEIGHT_DATA": str(folder), "OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{server.url}/v1"}
            async with asyncio.timeout(60), build(load(file, env, {"holdout": 0.0})) as app:
                await work(Driven(app, asked))

    asyncio.run(main())


def test_looks_hits_and_money_are_told(tmp_path: Path) -> None:
    async def work(gateway: Driven) -> None:
        for _ in range(4):
            await gateway.call()
        await gateway.call("something else")
        _, _, told = await gateway.ask("/pennyweight/caches")
        (cache,) = told["caches"]
        assert (cache["cache"], cache["looks"], cache["hits"], cache["hit_rate"]) == ("exact_cache", 5, 3, 0.6)
        assert cache["saved_usd"] > 0
        assert cache["valid_hit_rate"] is None, "nobody looked at a hit yet"
        assert [route["route"] for route in told["routes"]] == ["openai/gpt-4o"]
        assert [(tier["tier"], tier["hits"]) for tier in told["tiers"]] == [("memory", 3)]
        assert {store["name"] for store in told["stores"]} >= {"memory"}
        assert len(gateway.asked) == 2

    drive(tmp_path, work)


@pytest.mark.parametrize(
    ("wanted", "purged"),
    [
        ({"all": True}, 2),
        ({"model": "gpt-4o"}, 1),
        ({"model": "gpt*"}, 2),
        ({"tenant": "local"}, 2),
        ({"tenant": "other"}, 0),
        ({"older_than_s": 3600}, 0),
        ({"cache": "semantic"}, 0),
    ],
)
def test_an_operator_drops_entries(wanted: dict[str, Any], purged: int, tmp_path: Path) -> None:
    async def work(gateway: Driven) -> None:
        await gateway.call()
        await gateway.call(model="gpt-4o-mini")
        status, _, told = await gateway.ask(PURGE, wanted)
        assert (status, told) == (200, {"purged": purged})
        await gateway.call()
        await gateway.call(model="gpt-4o-mini")
        assert len(gateway.asked) == 2 + purged

    drive(tmp_path, work)


def test_nothing_is_dropped_by_an_order_that_names_nothing(tmp_path: Path) -> None:
    async def work(gateway: Driven) -> None:
        await gateway.call()
        assert (await gateway.ask(PURGE, {}))[0] == 400
        assert (await gateway.ask(PURGE, {"tennant": "a"}))[0] == 400
        await gateway.call()
        assert len(gateway.asked) == 1

    drive(tmp_path, work)


def test_only_the_operator_and_its_own_page_may_drop(tmp_path: Path) -> None:
    async def work(gateway: Driven) -> None:
        key = gateway.app.keys.add("alice")
        everything = {"all": True}
        assert (await gateway.ask(PURGE, everything, key=key))[0] == 403
        assert (await gateway.ask("/pennyweight/caches", key=key))[0] == 403
        assert (await gateway.ask(PURGE, everything, ("origin", "http://evil.example")))[0] == 403
        assert (await gateway.ask(PURGE, everything, ("sec-fetch-site", "cross-site")))[0] == 403
        assert (await gateway.ask(PURGE, everything, ("content-type", "text/plain")))[0] == 400
        assert (await gateway.ask(PURGE, everything, ("origin", "http://127.0.0.1:1")))[0] == 200

    drive(tmp_path, work)


def test_an_answer_that_a_caller_calls_wrong_is_dropped_and_counted(tmp_path: Path) -> None:
    async def work(gateway: Driven) -> None:
        await gateway.call()
        hit = await gateway.call()
        assert hit["x-pennyweight-cache"] == "hit"
        status, _, _ = await gateway.ask("/v1/feedback", {"call_id": hit["x-pennyweight-call"], "score": -1})
        assert status == 200
        assert "x-pennyweight-cache" not in await gateway.call()
        assert len(gateway.asked) == 2
        _, _, told = await gateway.ask("/pennyweight/caches")
        (cache,) = told["caches"]
        assert (cache["rated"], cache["reported"], cache["valid_hit_rate"]) == (1, 1, 0.0)

    drive(tmp_path, work)


def test_a_hit_before_a_restart_can_still_be_rated(tmp_path: Path) -> None:
    rated: list[str] = []

    async def before(gateway: Driven) -> None:
        paid = await gateway.call()
        hit = await gateway.call()
        rated.extend((paid["x-pennyweight-call"], hit["x-pennyweight-call"]))

    async def after(gateway: Driven) -> None:
        for call_id in rated:
            assert (await gateway.ask("/v1/feedback", {"call_id": call_id, "score": -1}))[0] == 200
        _, _, told = await gateway.ask("/pennyweight/caches")
        (cache,) = told["caches"]
        assert (cache["rated"], cache["reported"], cache["hits"]) == (1, 1, 1), "the paid one is no hit"

    drive(tmp_path, before)
    drive(tmp_path, after)


def test_praise_keeps_an_answer(tmp_path: Path) -> None:
    async def work(gateway: Driven) -> None:
        await gateway.call()
        hit = await gateway.call()
        await gateway.ask("/v1/feedback", {"call_id": hit["x-pennyweight-call"], "thumbs": "up"})
        assert (await gateway.call())["x-pennyweight-cache"] == "hit"
        _, _, told = await gateway.ask("/pennyweight/caches")
        assert (told["caches"][0]["rated"], told["caches"][0]["reported"]) == (1, 0)

    drive(tmp_path, work)


def test_one_tenant_cannot_drop_what_another_got(tmp_path: Path) -> None:
    async def work(gateway: Driven) -> None:
        alice, bob = gateway.app.keys.add("alice"), gateway.app.keys.add("bob")
        await gateway.call(key=alice)
        hit = await gateway.call(key=alice)
        await gateway.ask("/v1/feedback", {"call_id": hit["x-pennyweight-call"], "score": -1}, key=bob)
        assert (await gateway.call(key=alice))["x-pennyweight-cache"] == "hit"
        await gateway.call(key=bob)
        assert len(gateway.asked) == 2, "and the same prompt of another tenant is another question"

    drive(tmp_path, work)


AUDITED = """
[[optimizers]]
use = "exact_cache"
settings = { audit = 1.0 }
"""


def test_the_dashboard_shows_what_caches_did_and_the_last_audits_to_whom_they_belong(tmp_path: Path) -> None:
    async def work(gateway: Driven) -> None:
        alice = gateway.app.keys.add("alice")
        for key in ("", "", alice, alice):
            await gateway.call("what is new?", key=key)
        _, _, told = await gateway.ask("/pennyweight/dashboard/caches")
        (line,) = told["answers"]["caches"]
        assert (line["audited"], line["wrong"], line["valid_hit_rate"], line["saved"]) == (2, 0, 0.0, "0")
        assert line["wrong_at_most"] == pytest.approx(1 - 0.05**0.5)
        (pair,) = told["pairs"]
        assert (pair["asked"], pair["answer"], pair["kept_answer"]) == ("what is new?", "yes", "yes")
        assert told["pairs_of"] == "local"
        _, _, hers = await gateway.ask("/pennyweight/dashboard/caches", key=alice)
        assert [line["audited"] for line in hers["answers"]["caches"]] == [1]
        assert hers["pairs_of"] == "alice"
        assert len(hers["pairs"]) == 1
        _, _, about = await gateway.ask("/pennyweight/dashboard/about", key=alice)
        assert "caches" not in about["offers"]

    drive(tmp_path, work, AUDITED)


def test_pairs_that_the_semantic_cache_keeps_are_shown_too(tmp_path: Path) -> None:
    columns = "at, tenant, route, call_id, asked, stored, served, fresh, equal, source"

    async def work(gateway: Driven) -> None:
        def add(connection: sqlite3.Connection) -> None:
            connection.execute(f"CREATE TABLE IF NOT EXISTS semantic_pairs (id INTEGER PRIMARY KEY, {columns})")
            for tenant, asked in (("local", "mine"), ("alice", "hers")):
                values = (1.0, tenant, "r", "c", asked, "stored", "served", "fresh", 0, "audit")
                given = [row[1] for row in connection.execute("PRAGMA table_info(semantic_pairs)")]
                rest = {"partition": "p", "cosine": 0.9}
                row = dict(zip(columns.split(", "), values, strict=True)) | {
                    k: v for k, v in rest.items() if k in given
                }
                marks = ", ".join("?" * len(row))
                connection.execute(
                    f"INSERT INTO semantic_pairs ({', '.join(row)}) VALUES ({marks})", tuple(row.values())
                )

        await gateway.app.database.write(add)
        _, _, told = await gateway.ask("/pennyweight/dashboard/caches")
        (pair,) = told["pairs"]
        assert (pair["asked"], pair["kept_asked"], pair["answer"], pair["kept_answer"]) == (
            "mine",
            "stored",
            "fresh",
            "served",
        )
        assert pair["valid"] is False

    drive(tmp_path, work)


ROUTES = """
[[routes]]
model = "news-*"
provider = "openai"
volatile = true

[[routes]]
model = "gpt-4o"
provider = "openai"
ttl_s = 60
"""


def test_routes_say_what_is_kept(tmp_path: Path) -> None:
    async def work(gateway: Driven) -> None:
        for model in ("news-today", "gpt-4o"):
            for _ in range(2):
                await gateway.call(model=model)
        assert len(gateway.asked) == 3, "the volatile one was asked twice"
        _, _, told = await gateway.ask("/pennyweight/caches")
        assert [(route["route"], route["looks"]) for route in told["routes"]] == [("gpt-4o", 2)]

    drive(tmp_path, work, ROUTES)
