"""Callers that send nonsense: an error in their own protocol, a receipt, the gateway unharmed, and nothing leaked."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
from tests.e2e.protocols import ALL, CALLER_KEY, CHAT, MESSAGES, OLLAMA, PROMPT, Protocol, protocol_of, whole
from tests.e2e.rig import Asked, Process, Upstream, gateway, http, read_answer
from tests.e2e.test_bad_upstreams import no_leaks

ANY = pytest.mark.parametrize("protocol", ALL, ids=[one.name for one in ALL])


async def answer(asked: Asked) -> None:
    if asked.method != "POST":
        asked.writer.write(http(200, b'{"object": "list", "data": []}'))
        return
    try:
        protocol = protocol_of(asked.target)
    except StopIteration:
        asked.writer.write(http(200, b"{}"))
        return
    asked.writer.write(http(200, whole(protocol, asked.model), x_target=asked.target))


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Upstream]]:
    folder = tmp_path_factory.mktemp("input")
    with Upstream(answer) as upstream, gateway(folder, upstream, config="[server]\nbody_timeout_s = 1.0\n") as process:
        yield process, upstream
        no_leaks(process)
    no_leaks(process)


def deep(protocol: Protocol, inner: str) -> bytes:
    body = protocol.body("ok")
    body["input" if protocol.name == "responses" else "messages"] = "DEEP"
    return json.dumps(body).replace('"DEEP"', inner).encode()


def nested(levels: int) -> dict[str, str]:
    lists, objects = "[" * levels + "]" * levels, '{"content":' * levels + "1" + "}" * levels
    return {
        "lists": lists,
        "objects": f"[{objects}]",
        "content": f'[{{"role": "user", "content": {lists}}}]',
        "arguments": f'[{{"role": "user", "content": "x"}}, {{"role": "assistant", "input": {objects}}}]',
    }


BODIES = {
    "empty": b"",
    "not JSON": b"the-canary-prompt sings",
    "half": b'{"model": "gpt-5", "messages": [{"role": "user", "content": "the-canary-prompt sings',
    "two": b"{}{}",
    "a list": b"[]",
    "null": b"null",
    "NaN": b'{"model": NaN}',
    "not UTF-8": b'{"model": "gpt-5", "messages": [{"role": "user", "content": "the-canary-prompt \xff sings"}]}',
    "half a surrogate": b'{"model": "\\ud800"}',
    "UTF-16": '{"model": "gpt-5"}'.encode("utf-16"),
    "NULs": b"\0" * 1000,
    "model is a number": b'{"model": 5}',
    "model is a list": b'{"model": ["gpt-5"]}',
    "stream is a word": b'{"model": "gpt-5", "stream": "the-canary-prompt sings"}',
    "messages is a word": b'{"model": "gpt-5", "messages": "the-canary-prompt sings"}',
    "tools is an object": b'{"model": "gpt-5", "messages": [], "tools": {"a": "the-canary-prompt sings"}}',
}


@ANY
@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_makes_no_sense(rig: tuple[Process, Upstream], name: str, protocol: Protocol) -> None:
    process, upstream = rig
    asked = len(upstream.seen)
    answered = process.ask(protocol.path, BODIES[name], {"authorization": f"Bearer {CALLER_KEY}"})
    assert answered.status == 400, answered
    told = protocol.error(answered.body)
    assert "the-canary" not in told
    assert len(upstream.seen) == asked
    row = process.ask(f"/pennyweight/calls/{answered.headers['x-pennyweight-call']}", method="GET")
    assert row.json()["status"] == 400
    assert row.json()["error"] == "BadRequest"
    assert row.json()["cost_usd"] == "0.00"


@ANY
def test_half_a_surrogate_pair_is_told_with_its_place(rig: tuple[Process, Upstream], protocol: Protocol) -> None:
    """Providers refuse it as well, with a position in the body at most. Where no body is read, it is passed on."""
    process, upstream = rig
    name = "input" if protocol.name == "responses" else "messages"
    body = protocol.body("ok") | {name: [{"role": "user", "content": f"{PROMPT} \ud83d"}]}
    answered = process.ask(protocol.path, body)
    assert answered.status == 400
    told = protocol.error(answered.body)
    assert r"half a surrogate pair, \ud83d, at byte" in told
    assert f"in {name}[0].content" in told
    assert "canary" not in told
    other = "/api/show" if protocol.name == "ollama" else "/v1/other"
    assert process.ask(other, body).status == 200
    assert upstream.seen[-1].body == json.dumps(body).encode()


@ANY
@pytest.mark.parametrize("where", nested(1))
def test_ten_thousand_levels_are_refused(rig: tuple[Process, Upstream], where: str, protocol: Protocol) -> None:
    process, upstream = rig
    asked = len(upstream.seen)
    answered = process.ask(protocol.path, deep(protocol, nested(10_000)[where]))
    assert answered.status == 400
    assert "nested too deeply. Flatten it" in protocol.error(answered.body)
    assert len(upstream.seen) == asked


@ANY
@pytest.mark.parametrize("target", ["gpt-5-ok", "claude-ok", "ollama/llama-ok"])
@pytest.mark.parametrize("where", nested(1))
def test_nesting_below_the_limit_makes_nothing_fall_over(
    rig: tuple[Process, Upstream], where: str, target: str, protocol: Protocol
) -> None:
    """Whatever comes of it, across protocols too: an answer or a refusal, never a failure of ours."""
    process, _ = rig
    for levels in (300, 900):
        body = json.loads(deep(protocol, nested(levels)[where])) | {"model": target}
        answered = process.ask(protocol.path, body, {"x-pennyweight-optimize": "max"})
        assert answered.status in (200, 400), (levels, answered)
        if answered.status == 400:
            protocol.error(answered.body)


@ANY
def test_odd_values_deep_in_a_body_are_no_failure_of_ours(rig: tuple[Process, Upstream], protocol: Protocol) -> None:
    process, _ = rig
    odd = [None, 5, "text", [], {}, [[]], [None], [5], {"role": None}, [{"role": 5, "content": {}}], True, 10**30, -1.5]
    for target in ("gpt-5-ok", "claude-ok", "ollama/llama-ok"):
        for name in ("messages", "input", "tools", "system", "metadata", "stream_options", "max_tokens", "user", "n"):
            for value in odd:
                body = protocol.body("ok") | {"model": target, name: value}
                answered = process.ask(protocol.path, body, {"x-pennyweight-optimize": "max"})
                assert answered.status in (200, 400), (target, name, value, answered)


@ANY
def test_a_body_of_300_mb(rig: tuple[Process, Upstream], protocol: Protocol) -> None:
    process, _ = rig
    with process.connect() as sock:
        sock.sendall(f"POST {protocol.path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 300000000\r\n\r\n".encode())
        chunk = b"a" * 1_000_000
        for _ in range(30):  # it is read, and thrown away, so that the refusal is not lost in a reset
            sock.sendall(chunk)
        answered = read_answer(sock)
    assert answered.status == 413
    assert "server.max_body_bytes" in protocol.error(answered.body)
    row = process.ask(f"/pennyweight/calls/{answered.headers['x-pennyweight-call']}", method="GET").json()
    assert (row["status"], row["error"]) == (413, "TooLarge")


@ANY
def test_refusals_of_the_server_have_the_shape_of_the_protocol(
    rig: tuple[Process, Upstream], protocol: Protocol
) -> None:
    process, _ = rig
    start = f"POST {protocol.path} HTTP/1.1\r\nhost: localhost\r\n".encode()
    cases = {
        b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n": 400,
        b"x: " + b"a" * 100_000 + b"\r\n\r\n": 431,
        b"content-length: 10\r\n\r\nabc": 408,
        b"transfer-encoding: chunked\r\n\r\nzz\r\n": 400,
    }
    for data, status in cases.items():
        answered = process.raw(start + data)
        assert answered.status == status, answered
        protocol.error(answered.body)
        assert answered.headers["x-pennyweight-call"]


def test_nobody_chooses_the_upstream(rig: tuple[Process, Upstream]) -> None:
    process, upstream = rig
    good = json.dumps(CHAT.body("ok")).encode()
    length = f"content-length: {len(good)}\r\n\r\n".encode() + good
    forwarded = b"x-forwarded-host: evil.example\r\nx-forwarded-for: 9.9.9.9\r\nforwarded: host=evil.example\r\n"
    answered = process.raw(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-pennyweight-base-url: http://evil.example\r\n"
        + forwarded
        + length
    )
    assert answered.status == 200
    assert upstream.seen[-1].headers["host"] == upstream.url.removeprefix("http://")
    seen = len(upstream.seen)
    for target in (
        b"//evil.example/v1/chat/completions",
        b"/v1@evil.example/chat/completions",
        b"/v1/native/http:%2f%2fevil.example/v1/chat/completions",
    ):
        answered = process.raw(b"POST " + target + b" HTTP/1.1\r\nhost: localhost\r\n" + length)
        assert answered.status in (400, 404), (target, answered)
    for target in (
        b"/v1/../admin", b"/v1/files/..%2f..%2fadmin", b"/v1/%2e%2e/admin", b"/v1/%252e%252e/admin", b"/v1/.%2e/x",
        b"/v1/..\\admin", b"/v1/..%5cadmin", b"/v1/native/openai/../../admin", b"/api/../admin", b"/v1/./x",
    ):  # fmt: skip
        answered = process.raw(b"GET " + target + b" HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert answered.status in (400, 404), (target, answered)
    answered = process.raw(b"CONNECT evil.example:443 HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert answered.status in (400, 403, 404), answered
    assert len(upstream.seen) == seen


def test_a_target_in_absolute_form_is_served_as_its_path_if_it_names_us(rig: tuple[Process, Upstream]) -> None:
    """RFC 9112, 3.2.2: accepted, and the Host beside it ignored, so that it opens no door to a rebound name."""
    process, upstream = rig
    good = json.dumps(CHAT.body("ok")).encode()
    tail = f"content-length: {len(good)}\r\n\r\n".encode() + good
    for authority, host, status in (
        (f"127.0.0.1:{process.port}", "localhost", 200),
        (f"localhost:{process.port}", "evil.example", 200),
        ("evil.example", "localhost", 403),
        (f"evil.example:{process.port}", f"127.0.0.1:{process.port}", 403),
        (f"127.0.0.1@evil.example:{process.port}", "localhost", 404),
    ):
        seen = len(upstream.seen)
        start = f"POST http://{authority}{CHAT.path} HTTP/1.1\r\nhost: {host}\r\n".encode()
        answered = process.raw(start + tail)
        assert answered.status == status, (authority, answered)
        assert len(upstream.seen) - seen == (status == 200)
        if status == 200:
            assert upstream.seen[-1].headers["host"] == upstream.url.removeprefix("http://")
        else:
            CHAT.error(answered.body)
    page = f"GET http://127.0.0.1:{process.port}/v1/models?limit=3 HTTP/1.1\r\nhost: x\r\n"
    assert process.raw(page.encode() + b"\r\n").status == 200
    assert process.raw(page.encode() + b"origin: https://evil.example\r\n\r\n").status == 403


def test_web_pages_are_kept_out(rig: tuple[Process, Upstream]) -> None:
    process, upstream = rig
    seen = len(upstream.seen)
    for path, method in (("/v1/chat/completions", "POST"), ("/", "GET"), ("/metrics", "GET"), ("/healthz", "GET")):
        for headers in (
            {"host": "evil.example"},
            {"host": f"evil.example:{process.port}"},
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"origin": "http://["},
            {"sec-fetch-site": "cross-site"},
        ):
            answered = process.ask(path, CHAT.body("ok") if method == "POST" else b"", headers, method=method)
            assert answered.status == 403, (path, headers, answered)
            assert "access-control-allow-origin" not in answered.headers
    answered = process.ask("/v1/chat/completions", b"", {"origin": "https://evil.example"}, method="OPTIONS")
    assert answered.status == 403
    assert len(upstream.seen) == seen


def test_methods_and_versions(rig: tuple[Process, Upstream]) -> None:
    process, _ = rig
    for method in ("HEAD", "OPTIONS"):
        for path in ("/healthz", "/v1/models", "/v1/chat/completions", "/nothing"):
            answered = process.ask(path, method=method)
            assert answered.status < 500, (method, path, answered)
            assert method != "HEAD" or answered.body == b""
    answered = process.raw(b"GET /healthz HTTP/1.0\r\nhost: localhost\r\n\r\n")
    assert answered.status == 200
    assert answered.headers["connection"] == "close"
    assert process.raw(b"GET /healthz HTTP/1.1\r\n\r\n").status in (400, 403)  # no Host


def test_many_requests_in_one_packet_and_then_a_half_close(rig: tuple[Process, Upstream]) -> None:
    process, _ = rig
    with process.connect() as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n" * 20)
        got = b""
        while got.count(b"HTTP/1.1 200 OK") < 20:
            got += sock.recv(65_536)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(10) == b""


def test_a_header_cannot_be_injected_through_the_trail(rig: tuple[Process, Upstream]) -> None:
    """A field's name stands in the trail when a translation loses it."""
    process, _ = rig
    for name in ("x\r\nset-cookie: a=b\r\n\r\n", "x\u0000\u0007\u001b[31m", "x\u2028é\ud83d\ude00", "y" * 10_000):
        body = MESSAGES.body("ok") | {"model": "gpt-5-ok", name: "the-canary-prompt sings", "top_k": 5}
        answered = process.ask(MESSAGES.path, body)
        assert answered.status == 200, answered
        assert "set-cookie" not in answered.headers
        trail = answered.headers["x-pennyweight-trail"]
        assert trail.isprintable()
        assert len(trail) <= 2000
        assert "canary" not in trail
    names = {"x-pennyweight-session": "a\tb", "x-pennyweight-agent": "\x80\xff", "x-pennyweight-optimize": "\xff<x>"}
    answered = process.ask(CHAT.path, CHAT.body("ok"), names)
    assert answered.status == 400
    assert "off, safe or max" in CHAT.error(answered.body)


@pytest.mark.parametrize("protocol", [CHAT, MESSAGES, OLLAMA], ids=lambda one: one.name)
def test_an_unknown_model_is_loud_and_never_free(rig: tuple[Process, Upstream], protocol: Protocol) -> None:
    process, _ = rig
    answered = process.ask(protocol.path, protocol.body("nobody-knows-this"))
    assert answered.status == 200
    row = process.ask(f"/pennyweight/calls/{answered.headers['x-pennyweight-call']}", method="GET").json()
    if protocol is OLLAMA:
        assert row["pricing"] == "local"
    else:
        assert answered.headers["x-pennyweight-cost"] == "unpriced"
        assert row["pricing"] == "unpriced"
        assert row["cost_usd"] is None


def test_a_missing_key_names_its_remedy(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("keyless")
    with Process(folder, {}) as process:
        for protocol in (CHAT, MESSAGES):
            answered = process.ask(protocol.path, protocol.body("x"))
            assert answered.status == 401
            assert "_API_KEY" in protocol.error(answered.body)
            row = process.ask(f"/pennyweight/calls/{answered.headers['x-pennyweight-call']}", method="GET").json()
            assert row["error"] == "AuthFailed"


def test_the_prompt_is_sent_and_nothing_but(rig: tuple[Process, Upstream]) -> None:
    process, upstream = rig
    raw = json.dumps(CHAT.body("ok")).encode()
    assert process.ask(CHAT.path, raw, {"x-pennyweight-optimize": "off"}).status == 200
    assert upstream.seen[-1].body == raw
    assert PROMPT.encode() in raw
