"""Keys, limits and tenants against the real gateway: who may ask, for how much, and who may see what."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
from tests.e2e.protocols import ALL, CALLER_KEY, CHAT, MESSAGES, PROMPT, Protocol, protocol_of, whole
from tests.e2e.rig import Asked, Process, Upstream, gateway, http

from pennyweight.stores.virtual_keys import KeyStore


async def answer(asked: Asked) -> None:
    protocol = protocol_of(asked.target)
    await asyncio.sleep(0.05)
    body = json.loads(whole(protocol, asked.model))
    if "usage" in body:  # expensive: a dollar's worth of output
        body["usage"] |= {"prompt_tokens": 10, "completion_tokens": 900, "output_tokens": 900, "total_tokens": 910}
    asked.writer.write(http(200, json.dumps(body).encode()))


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(answer) as upstream:
        yield upstream


def add(process: Process, name: str, daily_usd: str | None = None) -> str:
    return KeyStore(process.data).add(name, daily_usd=daily_usd)


def everything_written(process: Process) -> bytes:
    files = [file for file in Path(process.data).rglob("*") if file.is_file()]
    return process.log.encode() + b"".join(file.read_bytes() for file in files)


def test_a_hundred_calls_at_once_do_not_overspend(tmp_path: Path, upstream: Upstream) -> None:
    with gateway(tmp_path, upstream) as process:
        key = add(process, "team a", "0.10")
        body = MESSAGES.body("sonnet-4-6", max_tokens=1000)

        def one(number: int) -> tuple[int, bytes]:
            answered = process.ask(MESSAGES.path, body | {"top_k": number + 1}, {"x-api-key": key})
            return answered.status, answered.body

        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(one, range(100)))
        statuses = [status for status, _ in answers]
        assert set(statuses) == {200, 402}
        rows = process.receipts(100)
        spent = sum(row["cost_pico"] or 0 for row in rows)
        assert 0 < spent <= 10**11
        refused = next(told for status, told in answers if status == 402)
        words = r"Daily limit reached for key team a: \$\d+\.\d\d of \$0\.10 spent, resets tomorrow 00:00 UTC\."
        words += r"( This call can come to .* may fit\.)?"
        assert re.fullmatch(words, MESSAGES.error(refused)), refused
        for protocol in ALL:
            model = "ollama/llama" if protocol.name == "ollama" else "claude-sonnet-4-6"
            # Of two limits the larger counts; where a crossing passes on one of them, that one.
            other = {} if protocol is CHAT else {"max_completion_tokens": 1}
            big = protocol.body("x", max_tokens=100_000) | {"model": model} | other
            answered = process.ask(protocol.path, big, {"authorization": f"Bearer {key}"})
            if protocol.name == "ollama":
                assert answered.status == 200  # a local model costs nothing
                continue
            assert answered.status == 402
            assert re.fullmatch(words, protocol.error(answered.body))
        assert key.encode() not in everything_written(process)


def test_abandoned_streams_count_against_the_limit(tmp_path: Path) -> None:
    """Else a caller could leave each stream just before the usage comes, and pay nothing."""

    async def streams(asked: Asked) -> None:
        begun = {"type": "message_start", "message": json.loads(whole(MESSAGES, asked.model)) | {"content": []}}
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "word " * 2000}}
        asked.writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        for event in (begun, delta):
            asked.writer.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        await asked.reader.read()

    with Upstream(streams) as upstream, gateway(tmp_path, upstream) as process:
        key = add(process, "b", "0.20")
        raw = json.dumps(MESSAGES.body("sonnet-4-6", stream=True, max_tokens=4000)).encode()
        head = f"POST {MESSAGES.path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\n"
        head += f"content-length: {len(raw)}\r\n\r\n"
        for number in range(12):
            with process.connect() as sock:
                sock.sendall(head.encode() + raw)
                got = b""
                while len(got) < 8_000 and b"402" not in got[:20]:
                    got += sock.recv(65_536)
            if b"402" in got[:20]:
                break
            process.receipts(number + 1)
        else:
            pytest.fail("twelve abandoned streams of 2,000 tokens cost less than $0.20")
        assert number >= 4


def test_a_revoked_key_is_refused_soon(tmp_path: Path, upstream: Upstream) -> None:
    with gateway(tmp_path, upstream) as process:
        key = add(process, "gone")
        for protocol in (CHAT, MESSAGES):
            assert process.ask(protocol.path, protocol.body("x"), {"authorization": f"Bearer {key}"}).status == 200
        KeyStore(process.data).revoke("gone")
        deadline = time.monotonic() + 60
        while process.ask(CHAT.path, CHAT.body("x"), {"x-api-key": key}).status == 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        seen = len(upstream.seen)
        for protocol in ALL:
            for header in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}, {"x-pennyweight-key": key}):
                answered = process.ask(protocol.path, protocol.body("x"), header)
                assert answered.status == 401
                assert "pennyweight keys add" in protocol.error(answered.body)
        assert process.ask(CHAT.path, CHAT.body("x"), {"x-api-key": "pw-made-up"}).status == 401
        assert len(upstream.seen) == seen


def test_a_revoked_key_is_refused_on_a_kept_connection_with_the_same_head(tmp_path: Path, upstream: Upstream) -> None:
    body = json.dumps(CHAT.body("x")).encode()
    with gateway(tmp_path, upstream) as process, closing(HTTPConnection("127.0.0.1", process.port)) as connection:

        def ask(headers: dict[str, str]) -> int:
            connection.request("POST", CHAT.path, body, headers)
            answered = connection.getresponse()
            answered.read()
            return answered.status

        for headers in ({"x-api-key": add(process, "gone")}, {"x-pennyweight-key": add(process, "gone too")}):
            assert [ask(headers) for _ in range(3)] == [200, 200, 200]
            KeyStore(process.data).revoke("gone" if "x-api-key" in headers else "gone too")
            deadline = time.monotonic() + 60
            while (status := ask(headers)) == 200 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert status == 401
        assert ask({}) == 200  # another head, on the same connection


@pytest.mark.parametrize("protocol", ALL, ids=[one.name for one in ALL])
def test_a_virtual_key_never_reaches_the_upstream(tmp_path: Path, upstream: Upstream, protocol: Protocol) -> None:
    with gateway(tmp_path, upstream) as process:
        key = add(process, "v")
        for headers in (
            {"authorization": f"Bearer {key}"},
            {"x-api-key": key},
            {"api-key": key},
            {"x-pennyweight-key": key},
            {"authorization": f"Bearer {key}", "x-api-key": key, "cookie": f"k={key}"},
        ):
            assert process.ask(protocol.path, protocol.body("x"), headers).status == 200
            sent = upstream.seen[-1]
            assert key not in str(sent.headers) + sent.target + sent.body.decode()
            if protocol.name != "ollama":
                assert "sk-gateway" in str(sent.headers)
        assert key.encode() not in everything_written(process)


def test_a_callers_own_key_passes_untouched_and_is_kept_nowhere(tmp_path: Path, upstream: Upstream) -> None:
    env = {name: value for name, value in upstream.env.items() if not name.endswith("_API_KEY")}
    with Process(tmp_path, env) as process:
        for protocol, headers in (
            (CHAT, {"authorization": f"Bearer {CALLER_KEY}"}),
            (MESSAGES, {"x-api-key": CALLER_KEY}),
            (MESSAGES, {"authorization": "Bearer sk-ant-oat01-canary-token", "anthropic-beta": "oauth-2025-04-20"}),
        ):
            answered = process.ask(protocol.path, protocol.body("x"), headers)
            assert answered.status == 200
            sent = upstream.seen[-1].headers
            assert headers.items() <= sent.items()
            assert not {"authorization", "x-api-key"} & (sent.keys() - headers.keys())
        told = process.ask(f"/pennyweight/calls/{answered.headers['x-pennyweight-call']}", method="GET")
        assert told.status == 200, told
        row = told.json()
        assert row["pricing"] == "subscription"
        assert row["cost_usd"] is None
        assert row["usage"]["output_tokens"] == 900
        written = everything_written(process)
    for secret in (CALLER_KEY, "sk-ant-oat01-canary-token", PROMPT):
        assert secret.encode() not in written + everything_written(process)


def test_a_callers_key_is_not_used_where_the_gateway_has_one(tmp_path: Path, upstream: Upstream) -> None:
    with gateway(tmp_path, upstream) as process:
        for protocol, header in ((CHAT, "authorization"), (MESSAGES, "x-api-key")):
            for own in ({"authorization": f"Bearer {CALLER_KEY}"}, {"x-api-key": CALLER_KEY}):
                assert process.ask(protocol.path, protocol.body("x"), own).status == 200
                sent = upstream.seen[-1].headers
                assert sent[header].removeprefix("Bearer ").startswith("sk-gateway-")
                assert CALLER_KEY not in str(sent)


def test_tenants_see_nothing_of_each_other(tmp_path: Path, upstream: Upstream) -> None:
    with gateway(tmp_path, upstream, config="[server]\nloopback_open = false\n") as process:
        one, two = add(process, "one"), add(process, "two")
        body = CHAT.body("x", temperature=0)
        first = process.ask(CHAT.path, body, {"x-api-key": one})
        call = first.headers["x-pennyweight-call"]
        process.receipts(1)
        time.sleep(0.1)  # the cache learns after the answer
        again = process.ask(CHAT.path, body, {"x-api-key": one})
        assert "exact_cache=accepted" in again.headers["x-pennyweight-trail"]
        asked = len(upstream.seen)
        other = process.ask(CHAT.path, body, {"x-api-key": two})
        assert "exact_cache=accepted" not in other.headers["x-pennyweight-trail"]
        assert len(upstream.seen) == asked + 1

        path = f"/pennyweight/calls/{call}"
        assert process.ask(path, method="GET", headers={"x-api-key": one}).status == 200
        assert process.ask(path, method="GET", headers={"x-api-key": two}).status == 404
        assert process.ask(path, method="GET").status == 401
        assert process.ask("/metrics", method="GET", headers={"x-api-key": two}).status == 403
        shell = process.ask("/", method="GET")  # the page itself holds no figures: it asks for them with a key
        assert shell.status == 200
        assert shell.body == process.ask("/", method="GET", headers={"x-api-key": one}).body
        for page in ("/pennyweight/dashboard/overview", "/pennyweight/summary", "/v1/usage", "/metrics"):
            assert process.ask(page, method="GET").status == 401, page
        process.receipts(3)
        summary = process.ask("/pennyweight/summary", method="GET", headers={"x-api-key": two})
        assert summary.status == 200, summary
        seen = summary.json()
        assert seen["total"]["calls"] == 1, seen
        assert process.ask(CHAT.path, body).status == 401
        assert process.ask(CHAT.path, body, {"x-pennyweight-tenant": "one"}).status == 401
        with closing(sqlite3.connect(process.data / "pennyweight.db")) as connection:
            tenants = {row[0] for row in connection.execute("SELECT DISTINCT tenant FROM receipts")}
        assert tenants <= {"one", "two"}
