"""Upstreams that misbehave: the caller gets an error in its own protocol or a stream that looks cut, and a receipt."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.protocols import ALL, CALLER_KEY, PROMPT, Protocol, protocol_of, stream_end, stream_start, whole
from tests.e2e.rig import LINES_HEAD, STREAM_HEAD, Answered, Asked, Process, Upstream, chunk, gateway, http

HTML = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
NO_RETRY = {"x_should_retry": "false"}


def says(protocol: Protocol, status: int) -> bytes:
    """A provider's own words for a failure."""
    if protocol.name == "ollama":
        return json.dumps({"error": f"upstream says {status}"}).encode()
    return json.dumps({"type": "error", "error": {"type": "x", "message": f"upstream says {status}"}}).encode()


async def answer(asked: Asked) -> None:
    """What goes wrong is told by the model's name."""
    protocol = protocol_of(asked.target)
    case = asked.model.removeprefix(protocol.model)
    good = whole(protocol, asked.model)
    write = asked.writer.write
    match case:
        case "ok" if asked.streams:
            write(LINES_HEAD if protocol.name == "ollama" else STREAM_HEAD)
            write(b"".join(map(chunk, stream_start(protocol, asked.model) + stream_end(protocol, asked.model))))
            write(b"0\r\n\r\n")
        case "ok":
            write(http(200, good))
        case "html-200":
            write(http(200, HTML, "text/html"))
        case "html-502" | "html-403" | "html-529":
            write(http(int(case[5:]), HTML, "text/html", **NO_RETRY))
        case "empty-500":
            write(http(500, b"", "text/plain", **NO_RETRY))
        case "text-503":
            write(http(503, b"upstream connect error", "text/plain", retry_after="7", **NO_RETRY))
        case "json-429" | "json-500" | "json-529" | "json-400":
            write(http(int(case[5:]), says(protocol, int(case[5:])), retry_after="3", **NO_RETRY))
        case "empty-200":
            write(http(200, b""))
        case "half-json":
            write(http(200, good[: len(good) // 2]))
        case "latin-1":
            write(http(200, good.replace(b"hi", b"h\xe9")))
        case "deep":
            write(http(200, b'{"usage":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_001))
        case "redirect":
            write(http(307, b"", location="http://evil.example/v1", **NO_RETRY))
        case "hang":
            await asked.reader.read()
        case "silent-close":
            asked.writer.close()
        case "not-http":
            write(b"SSH-2.0-OpenSSH_9.6\r\n")
            asked.writer.close()
        case "length-long":
            write(http(200, good, content_length=str(len(good) + 50)))
            asked.writer.close()
        case "length-short":
            write(http(200, good, content_length=str(len(good) - 10)))
        case "length-two":
            write(http(200, good).replace(b"\r\n\r\n", b"\r\ncontent-length: 5\r\n\r\n", 1))
        case "length-and-chunked":
            write(http(200, good, transfer_encoding="chunked"))
        case "header-huge":
            write(b"HTTP/1.1 200 OK\r\nx-a: " + b"a" * 1_000_000)
            await asked.reader.read()
        case "two-answers":
            other = whole(protocol, "claude-of-another-caller")
            write(http(200, good) + http(200, other, x_stolen="yes"))
        case "interim":
            write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + http(200, good))
        case "interim-body":
            write(http(100, good))
        case "trailers":
            write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
            write(chunk(good) + b"0\r\nx-stolen: yes\r\n\r\n")
        case "cut" | "stream-hang" | "bad-chunk" | "stream-html" | "bad-gzip":
            head = LINES_HEAD if protocol.name == "ollama" else STREAM_HEAD
            if case == "bad-gzip":
                head = head.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n")
            if case == "stream-hang":  # at once: what is late in a gateway that does not wait would be cut off
                write(head + b"".join(map(chunk, stream_start(protocol, asked.model))))
                await asked.reader.read()
                return
            write(head)
            for event in stream_start(protocol, asked.model):
                write(chunk(event))
                await asked.writer.drain()
                await asyncio.sleep(0.002)
            if case == "bad-chunk":
                write(b"zz\r\n")
            elif case == "stream-html":
                write(chunk(HTML))
                write(b"0\r\n\r\n")
            elif case == "bad-gzip":
                write(b"0\r\n\r\n")
            else:
                asked.writer.transport.abort()
        case _:
            raise AssertionError(case)


_TIMEOUTS = """
[providers.{name}.timeouts]
first_byte_s = {first_byte_s}
between_chunks_s = {between_chunks_s}
"""


def _rig(
    factory: pytest.TempPathFactory, *, first_byte_s: float = 60.0, between_chunks_s: float = 60.0
) -> Iterator[tuple[Process, Upstream]]:
    """A gateway that waits so long: short only where waiting is what a test is about, for on a busy machine everything
    can be late."""
    config = "".join(
        _TIMEOUTS.format(name=name, first_byte_s=first_byte_s, between_chunks_s=between_chunks_s)
        for name in ("openai", "anthropic", "ollama")
    )
    folder = factory.mktemp("upstreams")
    with Upstream(answer) as upstream, gateway(folder, upstream, config=config) as process:
        yield process, upstream
        no_leaks(process)
    no_leaks(process)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Upstream]]:
    yield from _rig(tmp_path_factory)


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Upstream]]:
    """It does not wait for an answer that does not begin."""
    yield from _rig(tmp_path_factory, first_byte_s=0.4)


@pytest.fixture(scope="module")
def restless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Upstream]]:
    """It does not wait for a stream that does not go on."""
    yield from _rig(tmp_path_factory, between_chunks_s=0.4)


def no_leaks(process: Process) -> None:
    secrets = [PROMPT, CALLER_KEY, "sk-gateway-openai-canary", "sk-gateway-anthropic-canary"]
    files = [file for file in Path(process.data).rglob("*") if file.is_file()]
    texts = {"log": process.log.encode(), **{file.name: file.read_bytes() for file in files}}
    for name, text in texts.items():
        for secret in secrets:
            assert secret.encode() not in text, f"{secret} is in {name}"
    assert "Traceback" not in process.log, process.log


def ask(process: Process, protocol: Protocol, case: str, *, stream: bool) -> Answered:
    headers = {"x-pennyweight-session": "attack", "authorization": f"Bearer {CALLER_KEY}"}
    return process.ask(protocol.path, protocol.body(case, stream=stream), headers)


def receipt(process: Process, answered: Answered) -> dict[str, object]:
    told = process.ask(f"/pennyweight/calls/{answered.headers['x-pennyweight-call']}", method="GET")
    assert told.status == 200, told
    found: dict[str, object] = told.json()
    return found


# case -> status the caller gets, and a word of what it is told
REFUSED = {
    "html-200": (502, "HTML"),
    "html-502": (502, "HTML"),
    "html-529": (529, "HTML"),
    "empty-500": (500, "500"),
    "text-503": (503, "upstream connect error"),
    "json-429": (429, "upstream says 429"),
    "json-500": (500, "upstream says 500"),
    "json-529": (529, "upstream says 529"),
    "json-400": (400, "upstream says 400"),
    "empty-200": (502, "not JSON"),
    "half-json": (502, "not JSON"),
    "redirect": (502, "redirect"),
    "silent-close": (502, "closed the connection"),
    "not-http": (502, "not valid HTTP"),
    "length-long": (502, "closed the connection"),
    "length-short": (502, "not JSON"),
    "length-two": (502, "not valid HTTP"),
    "length-and-chunked": (502, "not valid HTTP"),
    "interim-body": (502, "not valid HTTP"),
    "header-huge": (502, "not valid HTTP"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("protocol", ALL, ids=[one.name for one in ALL])
@pytest.mark.parametrize("case", REFUSED)
def test_a_failure_is_told_in_the_callers_protocol(
    rig: tuple[Process, Upstream], case: str, protocol: Protocol, stream: bool
) -> None:
    process, _ = rig
    _is_refused(process, case, protocol, *REFUSED[case], stream=stream)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("protocol", ALL, ids=[one.name for one in ALL])
def test_an_answer_that_does_not_begin_is_waited_for_so_long(
    hasty: tuple[Process, Upstream], protocol: Protocol, stream: bool
) -> None:
    process, _ = hasty
    _is_refused(process, "hang", protocol, 504, "0.4 s", stream=stream)


def _is_refused(process: Process, case: str, protocol: Protocol, status: int, words: str, *, stream: bool) -> None:
    answered = ask(process, protocol, case, stream=stream)
    assert answered.status == status, answered
    assert answered.complete
    told = protocol.error(answered.body)
    assert words.lower() in told.lower(), told
    assert "location" not in answered.headers
    for secret in (PROMPT, CALLER_KEY, "canary", "Traceback"):
        assert secret not in answered.body.decode("utf-8", "replace").replace(case, "")
    if case.startswith("json-4"):
        assert answered.headers["retry-after"] == "3"
    row = receipt(process, answered)
    assert row["status"] == status
    assert row["cost_usd"] in (None, "0.00")


@pytest.mark.parametrize("protocol", ALL, ids=[one.name for one in ALL])
def test_an_odd_but_whole_answer_passes(rig: tuple[Process, Upstream], protocol: Protocol) -> None:
    process, _ = rig
    for case in ("ok", "interim", "trailers", "two-answers"):
        answered = ask(process, protocol, case, stream=False)
        assert answered.status == 200, (case, answered)
        assert answered.body == whole(protocol, f"{protocol.model}{case}"), case
        assert "x-stolen" not in answered.headers, case
        assert receipt(process, answered)["status"] == 200


@pytest.mark.parametrize("protocol", ALL, ids=[one.name for one in ALL])
@pytest.mark.parametrize("case", ["cut", "bad-chunk"])
def test_a_stream_that_dies_looks_cut_and_is_counted(
    rig: tuple[Process, Upstream], case: str, protocol: Protocol
) -> None:
    process, _ = rig
    _looks_cut(process, case, protocol)


@pytest.mark.parametrize("protocol", ALL, ids=[one.name for one in ALL])
def test_a_stream_that_does_not_go_on_looks_cut_too(restless: tuple[Process, Upstream], protocol: Protocol) -> None:
    process, _ = restless
    _looks_cut(process, "stream-hang", protocol)


def _looks_cut(process: Process, case: str, protocol: Protocol) -> None:
    answered = ask(process, protocol, case, stream=True)
    assert answered.status == 200
    assert answered.body.count(b"word ") == 5
    assert not answered.complete
    assert b"[DONE]" not in answered.body
    row = receipt(process, answered)
    assert row["error"] in ("StreamCut", "UpstreamTimeout")
    assert row["usage"]["output_tokens"] > 0  # type: ignore[index]


@pytest.mark.parametrize("protocol", ALL, ids=[one.name for one in ALL])
@pytest.mark.parametrize("case", ["stream-html", "bad-gzip"])
def test_what_the_side_reader_cannot_read_still_passes(
    rig: tuple[Process, Upstream], case: str, protocol: Protocol
) -> None:
    process, _ = rig
    answered = ask(process, protocol, case, stream=True)
    assert answered.status == 200
    assert answered.complete
    assert answered.body.startswith(b"".join(stream_start(protocol, f"{protocol.model}{case}")))
    assert receipt(process, answered)["status"] == 200


@pytest.mark.parametrize("case", ["deep", "latin-1"])
@pytest.mark.parametrize("protocol", ALL, ids=[one.name for one in ALL])
def test_an_answer_that_cannot_be_read_hurts_nobody(
    rig: tuple[Process, Upstream], case: str, protocol: Protocol
) -> None:
    process, _ = rig
    answered = ask(process, protocol, case, stream=False)
    assert answered.status in (200, 502)
    receipt(process, answered)
    assert ask(process, protocol, "ok", stream=False).status == 200
