"""Both raw ends against each other on loopback: what one says to the byte, the other records."""

from __future__ import annotations

import asyncio

from bench.rawhttp import Answer, Arrived, Caller, Came, upstream

HEADERS = (("x-a", "1"), ("x-a", "2"))


def _exchange(answer: Answer) -> tuple[Came, list[Arrived]]:
    async def run() -> tuple[Came, list[Arrived]]:
        async with upstream() as provider:
            provider.next = answer
            caller = Caller(provider.port)
            came = await caller.send("POST", "/v1/x?q=%2F", HEADERS, "ü".encode())
            caller.close()
            return came, provider.take()

    return asyncio.run(run())


def test_a_request_arrives_as_it_was_sent() -> None:
    _, (arrived,) = _exchange(Answer(200, (), [b""]))
    assert (arrived.method, arrived.target, arrived.body) == ("POST", "/v1/x?q=%2F", "ü".encode())
    assert [pair for pair in arrived.headers if pair[0] == "x-a"] == list(HEADERS)


def test_whole_and_chunked_answers_end_cleanly() -> None:
    for chunked in (False, True):
        came, _ = _exchange(Answer(201, (("set-cookie", "a"), ("set-cookie", "b")), [b"a\xc3", b"\xbcb"], chunked))
        assert (came.status, came.body, came.clean) == (201, "aüb".encode(), True)
        assert [value for name, value in came.headers if name == "set-cookie"] == ["a", "b"]


def test_a_cut_answer_is_seen_as_cut() -> None:
    for chunked in (False, True):
        came, _ = _exchange(Answer(200, (), [b"begun"], chunked, cut=True))
        assert not came.clean
        assert came.body in (b"", b"begun")  # a reset may overtake the bytes
