"""Gateways, each a process of its own, over one Redis or Postgres: what one learnt another knows."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
from tests.e2e.rig import STREAM_HEAD, Asked, Upstream, chunk, gateway, http
from tests.engines import Engine, schema_url
from tests.pace import at_some_pace

ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-5-nano",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "42"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11},
}
EVENT = {
    "id": "chatcmpl-1",
    "object": "chat.completion.chunk",
    "model": "gpt-5-nano",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": "42"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11},
}


def slowly(pace: float) -> Callable[[Asked], Awaitable[None]]:
    async def answer(asked: Asked) -> None:
        await asyncio.sleep(0.5 * pace)
        if asked.streams:
            asked.writer.write(STREAM_HEAD + chunk(b"data: " + json.dumps(EVENT).encode() + b"\n\n"))
            await asyncio.sleep(0.2 * pace)
            asked.writer.write(chunk(b"data: [DONE]\n\n") + chunk(b""))
        else:
            asked.writer.write(http(200, json.dumps(ANSWER).encode()))

    return answer


def settings(engine: Engine) -> str:
    tier = "postgres" if engine.name == "Postgres" else "redis"
    url = schema_url(engine) if tier == "postgres" else engine.url
    return f'[cache]\ntiers = ["memory", "{tier}"]\n[cache.{tier}]\nurl = "{url}"\ntimeout_s = 1.0\n'


def question(**more: object) -> dict[str, object]:
    content = f"What is six times seven? {secrets.token_hex(8)}"
    return {"model": "gpt-5-nano", "temperature": 0, "messages": [{"role": "user", "content": content}], **more}


def test_a_cold_key_asks_upstream_once(redis_server: Engine, tmp_path: Path) -> None:
    def test(pace: float) -> None:
        config = settings(redis_server)
        with (
            Upstream(slowly(pace)) as upstream,
            gateway(tmp_path / f"a{pace}", upstream, config=config) as one,
            gateway(tmp_path / f"b{pace}", upstream, config=config) as two,
            ThreadPoolExecutor(12) as callers,
        ):
            one.wait_log("a cache tier answers")
            two.wait_log("a cache tier answers")
            for number, body in enumerate((question(), question(stream=True)), start=1):
                asking = [callers.submit((one, two)[n % 2].ask, "/v1/chat/completions", body) for n in range(12)]
                answers = [asked.result() for asked in asking]
                assert {answer.status for answer in answers} == {200}
                assert len({answer.body for answer in answers}) == 1
                assert b'"42"' in answers[0].body
                assert len(upstream.seen) == number

                receipts = one.receipts(6 * number) + two.receipts(6 * number)
                assert len(receipts) == 12 * number
                assert sum(bool(receipt["cost_pico"]) for receipt in receipts) == number  # one each was charged

            later = two.ask("/v1/chat/completions", body)  # from the cache now, on whichever replica
            assert later.status == 200
            assert later.headers.get("x-pennyweight-cache") == "hit"
            assert len(upstream.seen) == 2

    at_some_pace(test)


def test_what_one_replica_learnt_another_knows(postgres_server: Engine, tmp_path: Path) -> None:
    url = schema_url(postgres_server)
    config = f'[cache]\ntiers = ["memory", "postgres"]\n[cache.postgres]\nurl = "{url}"\nkeep_prompts = true\n'
    body = question()
    with Upstream(slowly(1.0)) as upstream:
        with gateway(tmp_path / "a", upstream, config=config) as one:
            one.wait_log("a cache tier answers")
            assert one.ask("/v1/chat/completions", body).status == 200
        with gateway(tmp_path / "b", upstream, config=config) as two:  # started when the first has gone
            two.wait_log("a cache tier answers")
            again = two.ask("/v1/chat/completions", body)
            assert again.headers.get("x-pennyweight-cache") == "hit"
        assert len(upstream.seen) == 1
    with psycopg.connect(url) as connection:
        kept = connection.execute("SELECT tenant, length(hash), prompt, expires_at > now() FROM llm_cache").fetchall()
    assert kept == [("local", 64, body["messages"][0]["content"], True)]  # type: ignore[index]


def test_servers_that_die_are_not_the_callers_business(valkey_server: Engine, tmp_path: Path) -> None:
    config = settings(valkey_server)

    async def at_once(asked: Asked) -> None:
        asked.writer.write(http(200, json.dumps(ANSWER).encode()))

    with Upstream(at_once) as upstream, gateway(tmp_path, upstream, config=config) as process:
        process.wait_log("a cache tier answers")
        known = question()
        assert process.ask("/v1/chat/completions", known).status == 200
        valkey_server.kill()
        for _ in range(10):
            assert process.ask("/v1/chat/completions", question()).status == 200
        assert process.ask("/v1/chat/completions", known).headers.get("x-pennyweight-cache") == "hit"
        valkey_server.start()
        process.wait_log("a cache tier is down")
        deadline = time.monotonic() + 60
        while process.log.count("a cache tier answers") < 2 and time.monotonic() < deadline:
            assert process.ask("/v1/chat/completions", question()).status == 200
            time.sleep(0.05)
        assert process.log.count("a cache tier answers") >= 2
        assert "canary" not in process.log
