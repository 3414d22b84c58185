"""Experiments over HTTP: who may look, who may switch, and who may say what of an answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pennyweight.app import App, build
from pennyweight.config import load
from pennyweight.front.auth import Gate
from pennyweight.front.front import Front
from pennyweight.front.http import HttpRequest, HttpResponse
from pennyweight.gateway.metrics import Metrics
from pennyweight.gateway.pages import Pages
from pennyweight.testing.http import Exchange, LoopbackServer

ANSWER = {
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 1},
}
JSON = ("content-type", "application/json")
SWITCH = "/pennyweight/optimizers/exact_cache"

Ask = Callable[..., Awaitable[tuple[int, Any]]]


async def provider(exchange: Exchange) -> None:
    await exchange.send(200, json.dumps(ANSWER).encode(), headers={"content-type": "application/json"})


def drive(tmp_path: Path, work: Callable[[App, Ask], Awaitable[None]], text: str = "", holdout: float = 0.0) -> None:
    async def main() -> None:
        file = tmp_path / "pennyweight.toml"
        file.write_text(text)
        async with LoopbackServer(provider) as server:
            env = {"PENNYWEIGHT_DATA": str(tmp_path), "OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{server.url}/v1"}
            async with asyncio.timeout(60), build(load(file, env, {"holdout": holdout})) as app:
                gate = Gate(app.config, app.keys)
                front = Front(app, gate, Pages(app, gate, Metrics()).find)

                async def ask(
                    path: str, body: Any = None, *headers: tuple[str, str], key: str = "", host: str = "127.0.0.1:1"
                ) -> tuple[int, Any]:
                    named = (("host", host), *headers) + ((("x-pennyweight-key", key),) if key else ())
                    if body is not None and not any(name == "content-type" for name, _ in headers):
                        named += (JSON,)
                    raw = b"" if body is None else json.dumps(body).encode()
                    method = "GET" if body is None else "POST"
                    response = await front.respond(HttpRequest(method, path, "", named, raw, "127.0.0.1"))
                    if response.close is not None:
                        await response.close()
                    return response.status, answer(response)

                await work(app, ask)

    asyncio.run(main())


def answer(response: HttpResponse) -> Any:
    assert isinstance(response.body, bytes)
    return {"headers": dict(response.headers), **json.loads(response.body)}


async def called(ask: Ask, key: str = "", session: str = "s1") -> dict[str, str]:
    body = {"model": "gpt-4o", "messages": [], "temperature": 0}
    status, told = await ask("/v1/chat/completions", body, ("x-pennyweight-session", session), key=key)
    assert status == 200
    headers: dict[str, str] = told["headers"]
    return headers


def test_the_operator_sees_how_everything_stands(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        await called(ask)
        await app.clerk.flush()
        status, found = await ask("/pennyweight/experiments")
        assert status == 200
        assert {one["name"]: one["mode"] for one in found["optimizers"]}["exact_cache"] == "on"
        experiment = next(one for one in found["optimizers"] if one["name"] == "exact_cache")["experiment"]
        assert experiment["arms"]["on"]["calls"] + experiment["arms"]["off"]["calls"] == 1

    drive(tmp_path, work, '[[optimizers]]\nuse = "exact_cache"\nshare = 0.5\n')


def test_the_operator_switches_an_optimizer_and_puts_it_back(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        status, now = await ask(SWITCH, {"mode": "shadow", "share": 0.25, "reason": "trying"})
        assert (status, now["mode"], now["share"], now["by"]) == (200, "shadow", 0.25, "operator")
        assert app.policy.in_force("exact_cache").mode == "shadow"
        _, found = await ask("/pennyweight/experiments")
        assert found["changes"][0]["reason"] == "trying"
        assert (await ask(SWITCH, {"reset": True}))[1]["by"] == "config"
        assert app.policy.in_force("exact_cache").mode == "on"

    drive(tmp_path, work)


@pytest.mark.parametrize(
    ("body", "headers", "host", "status"),
    [
        ({"mode": "off"}, [("origin", "http://evil.example")], "127.0.0.1:1", 403),
        ({"mode": "off"}, [("origin", "http://127.0.0.1:3000")], "127.0.0.1:1", 403),  # another page of this machine
        ({"mode": "off"}, [("origin", "null")], "127.0.0.1:1", 403),
        ({"mode": "off"}, [("sec-fetch-site", "same-site")], "127.0.0.1:1", 403),
        ({"mode": "off"}, [], "evil.example", 403),
        ({"mode": "off"}, [("content-type", "text/plain")], "127.0.0.1:1", 400),
        ({"mode": "off"}, [("content-type", "application/x-www-form-urlencoded")], "127.0.0.1:1", 400),
        ({"mode": "of"}, [], "127.0.0.1:1", 400),
        ({"share": 1.5}, [], "127.0.0.1:1", 400),
        ({"shar": 0.5}, [], "127.0.0.1:1", 400),
        ({}, [], "127.0.0.1:1", 400),
        ([], [], "127.0.0.1:1", 400),
        ({"mode": "off"}, [("origin", "http://127.0.0.1:1"), ("sec-fetch-site", "same-origin")], "127.0.0.1:1", 200),
    ],
)
def test_switching_is_for_the_gateways_own_page_and_for_programs(
    tmp_path: Path, body: Any, headers: list[tuple[str, str]], host: str, status: int
) -> None:
    async def work(app: App, ask: Ask) -> None:
        assert (await ask(SWITCH, body, *headers, host=host))[0] == status
        assert app.policy.in_force("exact_cache").mode == ("off" if status == 200 else "on")

    drive(tmp_path, work)


def test_who_holds_a_key_neither_sees_nor_switches(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        key = app.keys.add("alice")
        assert (await ask("/pennyweight/experiments", key=key))[0] == 403
        assert (await ask(SWITCH, {"mode": "off"}, key=key))[0] == 403
        assert (await ask("/pennyweight/optimizers/nothing", {"mode": "off"}))[0] == 404

    drive(tmp_path, work)


def test_a_caller_rates_its_own_answer_and_nobody_elses(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        alice, bob = app.keys.add("alice"), app.keys.add("bob")
        call_id = (await called(ask, alice))["x-pennyweight-call"]
        status, said = await ask("/v1/feedback", {"call_id": call_id, "thumbs": "down", "comment": "no"}, key=alice)
        assert (status, said["score"], said["session"]) == (200, -1.0, "s1")
        assert said["comment"].startswith("not kept")
        assert (await ask("/v1/feedback", {"call_id": call_id, "score": 1}, key=bob))[0] == 404
        assert (await ask("/v1/feedback", {"session": "s1", "score": 0.5}, key=alice))[0] == 200
        assert (await ask("/v1/feedback", {"session": "s1", "score": 0.5}, key=bob))[0] == 404
        assert (await ask("/v1/feedback", {"call_id": call_id, "thumbs": "up"}))[0] == 200  # the operator

        sql = "SELECT tenant, value, comment FROM signals ORDER BY id"
        rows = await app.database.read(lambda connection: connection.execute(sql).fetchall())
        assert rows == [("alice", 1.0, ""), ("alice", 0.5, "")]
        for body in ({"call_id": call_id}, {"call_id": call_id, "score": 1, "thumbs": "up"}, {"score": 9}):
            assert (await ask("/v1/feedback", body, key=alice))[0] == 400

    drive(tmp_path, work)


def test_a_comment_is_kept_where_the_operator_asked_for_it(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        call_id = (await called(ask))["x-pennyweight-call"]
        word = {"call_id": call_id, "score": 1, "comment": "just right"}
        assert (await ask("/v1/feedback", word))[1]["comment"] == "kept"
        sql = "SELECT comment FROM signals"
        assert await app.database.read(lambda connection: connection.execute(sql).fetchall()) == [("just right",)]

    drive(tmp_path, work, "[experiments]\nkeep_comments = true\n")


def test_an_answer_in_the_holdout_says_so_and_its_receipt_too(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        seen = {}
        for number in range(40):
            headers = await called(ask, session=f"s{number}")
            seen[headers.get("x-pennyweight-arm", "")] = headers
        assert "x-pennyweight-trail" not in seen["holdout"]
        assert "x-pennyweight-trail" in seen[""]
        await app.clerk.flush()
        receipt = (await ask(f"/pennyweight/calls/{seen['holdout']['x-pennyweight-call']}"))[1]
        assert receipt["arm"] == "holdout"
        receipt = (await ask(f"/pennyweight/calls/{seen['']['x-pennyweight-call']}"))[1]
        assert receipt["arm"].startswith("exact_cache+ billing_header+")

    drive(tmp_path, work, holdout=0.4)


def test_the_loop_of_a_running_app_takes_up_what_was_switched_elsewhere(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask) -> None:
        from pennyweight.policy import Policy
        from pennyweight.stores.flags import SQLiteFlags

        elsewhere = Policy(app.policy.flags, changes=SQLiteFlags(app.database, app.clock))
        await elsewhere.set("exact_cache", by="operator", mode="off")
        async with asyncio.timeout(60):
            while app.policy.in_force("exact_cache").mode != "off":  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)

    drive(tmp_path, work, "[experiments]\nevery_s = 0.01\n")
