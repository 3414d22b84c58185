"""Calls that are answered later, through the real gateway: fetched by their own tenant, or sent to a webhook."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.e2e.batch_rig import CONFIG, Threaded, chat, gateway, messages, until
from tests.e2e.rig import Process

from pennyweight.stores.virtual_keys import KeyStore
from pennyweight.testing.http import Exchange, LoopbackServer

LATER = {"x-pennyweight-deliver": "later"}


def fetched(process: Process, name: str, headers: dict[str, str] | None = None) -> tuple[int, dict[str, object]]:
    told = process.ask(f"/pennyweight/lanes/{name}", headers=headers, method="GET")
    return told.status, told.json()


def test_an_answer_is_fetched_when_it_is_there_and_by_its_own_tenant_alone(tmp_path: Path) -> None:
    with Threaded(60.0) as provider, gateway(tmp_path, provider) as process:
        keys = KeyStore(process.data)
        ours, theirs = ({"authorization": f"Bearer {keys.add(name)}"} for name in ("ours", "theirs"))
        told = process.ask("/v1/chat/completions", chat("slow", stream=True), {**LATER, **ours})
        assert told.status == 202
        name = told.json()["id"]
        assert told.headers["location"] == f"/pennyweight/lanes/{name}"
        until(lambda: len(provider.jobs) == 1)
        assert fetched(process, name, ours)[0] == 202
        provider.finish()
        until(lambda: fetched(process, name, ours)[0] == 200)
        answered = process.ask(f"/pennyweight/lanes/{name}", headers=ours, method="GET")
        assert answered.json()["choices"][0]["message"]["content"] == "answer to: slow"
        assert answered.headers["x-pennyweight-call"] == name
        assert answered.headers["x-pennyweight-cost"].startswith("$0.0")
        for nobody in (theirs, None):
            assert fetched(process, name, nobody)[0] == 404
            assert process.ask("/pennyweight/lanes", headers=nobody, method="GET").json() == []
            assert process.ask(f"/pennyweight/lanes/{name}", headers=nobody, method="DELETE").status == 404
        (listed,) = process.ask("/pennyweight/lanes", headers=ours, method="GET").json()
        assert (listed["id"], listed["status"], listed["http_status"]) == (name, "done", 200)
        (row,) = process.receipts(1)
        assert (row["call_id"], row["tenant"], row["tier"]) == (name, "ours", "batch")
        assert process.ask(f"/pennyweight/lanes/{name}", headers=ours, method="DELETE").status == 200
        assert fetched(process, name, ours)[0] == 404


def test_a_refusal_is_fetched_too(tmp_path: Path) -> None:
    with Threaded(0.1) as provider, gateway(tmp_path, provider) as process:
        name = process.ask("/v1/messages", messages("[refuse]"), LATER).json()["id"]
        until(lambda: fetched(process, name)[0] != 202)
        status, body = fetched(process, name)
        assert status == 400
        assert body["type"] == "error"


@pytest.mark.parametrize(
    ("headers", "config", "said"),
    [
        (LATER, CONFIG.replace("marked = true", "marked = false"), "lanes.marked"),
        ({"x-pennyweight-deliver": "webhook:https://evil.example/"}, CONFIG, "addresses are not taken from callers"),
        ({"x-pennyweight-deliver": "webhook:none"}, CONFIG, "is not known"),
        ({"x-pennyweight-deliver": "tomorrow"}, CONFIG, "is not known"),
        ({**LATER, "x-pennyweight-deadline-s": "soon"}, CONFIG, "cannot be read"),
    ],
)
def test_what_cannot_be_answered_later_is_refused(
    headers: dict[str, str], config: str, said: str, tmp_path: Path
) -> None:
    with Threaded(0.1) as provider, gateway(tmp_path, provider, config) as process:
        told = process.ask("/v1/chat/completions", chat("x"), headers)
        if "false" in config:
            assert told.status == 200  # the header means nothing where nothing is answered later
            return
        assert told.status == 400
        assert said in told.json()["error"]["message"]
        assert provider.asked == []


def test_a_callers_own_key_is_never_kept(tmp_path: Path) -> None:
    config = (
        CONFIG
        + '\n[[routes]]\nmodel = "theirs"\nprovider = "groq"\n[providers.groq]\nbase_url = "http://127.0.0.1:9"\n'
    )
    with Threaded(0.1) as provider, gateway(tmp_path, provider, config) as process:
        told = process.ask(
            "/v1/chat/completions", chat("x", model="theirs"), {**LATER, "authorization": "Bearer sk-own"}
        )
        assert told.status == 400
        assert "keys are not stored" in told.json()["error"]["message"]
    for file in process.data.rglob("*"):
        assert not file.is_file() or b"sk-own" not in file.read_bytes()


def test_killed_and_gone_on_with(tmp_path: Path) -> None:
    with Threaded(60.0) as provider:
        with gateway(tmp_path, provider) as process:
            names = [process.ask("/v1/chat/completions", chat(f"q{n}"), LATER).json()["id"] for n in range(3)]
            until(lambda: len(provider.jobs) == 1)
            last = process.ask("/v1/chat/completions", chat("just now"), LATER).json()["id"]  # not sent yet
            process.process.kill()
        with gateway(tmp_path, provider) as process:
            until(lambda: len(provider.jobs) == 2)
            provider.finish()
            for name, text in zip([*names, last], ["q0", "q1", "q2", "just now"], strict=True):
                until(lambda name=name: fetched(process, name)[0] == 200)  # type: ignore[misc]
                assert text in json.dumps(fetched(process, name)[1])
            assert sorted(row["call_id"] for row in process.receipts(4)) == sorted([*names, last])
            assert len(provider.billed) == 4


@contextmanager
def hook(port_of: list[str], got: list[Exchange], refusals: int) -> Iterator[None]:
    """A webhook of the operator's, in a thread, which refuses the first deliveries."""
    loop = asyncio.new_event_loop()
    done, ready = asyncio.Event(), threading.Event()

    async def answer(exchange: Exchange) -> None:
        got.append(exchange)
        await exchange.send(503 if len(got) <= refusals else 204, b"")

    async def serve() -> None:
        async with LoopbackServer(answer) as server:
            port_of.append(server.url)
            ready.set()
            await done.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(60)
        loop.close()


def test_a_webhook_of_the_configuration_gets_the_answer_signed(tmp_path: Path) -> None:
    urls: list[str] = []
    got: list[Exchange] = []
    with Threaded(0.1) as provider, hook(urls, got, refusals=1):
        config = f'{CONFIG}\n[lanes.webhooks]\nnightly = "{urls[0]}/in?from=pennyweight"\n'
        with gateway(tmp_path, provider, config, secret="s3cret") as process:
            told = process.ask("/v1/chat/completions", chat("hello"), {"x-pennyweight-deliver": "webhook:nightly"})
            until(lambda: len(got) == 2)
            until(lambda: process.ask("/pennyweight/lanes", method="GET").json()[0]["delivered"])
        delivery = got[1]
        assert (delivery.path, delivery.query) == ("/in", "from=pennyweight")
        body = json.loads(delivery.body)
        assert (body["id"], body["status"]) == (told.json()["id"], 200)
        assert body["body"]["choices"][0]["message"]["content"] == "answer to: hello"
        assert body["cost_pico_usd"] > 0
        signed = hmac.new(b"s3cret", delivery.body, hashlib.sha256).hexdigest()
        assert delivery.header("x-pennyweight-signature") == f"sha256={signed}"
