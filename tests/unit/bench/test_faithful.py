"""The comparison of bytes: what it must notice, and what it must not mind."""

from __future__ import annotations

import random

import pytest
from bench.faithful import _compare
from bench.faithful_cases import Case, cut_oddly, odd_cases, recorded_cases
from bench.rawhttp import Answer, Arrived, Came

from pennyweight.request import Wire

HEADERS = (("content-type", "application/json"), ("x-session-id", "s"))
KEY = ("authorization", "Bearer sk-bench")
ANSWER = Answer(200, (("x-request-id", "r"), ("x-ratelimit-limit", "5")), [b"ab", b"cd"])
CASE = Case("one", Wire.OPENAI_CHAT, "/v1/chat/completions?a=b", HEADERS, b'{"a": 1}', ANSWER)
ARRIVED = Arrived("POST", CASE.target, (("host", "elsewhere"), *HEADERS, KEY), CASE.body)
CAME = Came(200, (("x-pennyweight-call", "c"), *ANSWER.headers), b"abcd", True)


def _found(arrived: Arrived = ARRIVED, came: Came = CAME, edited: str = "") -> list[str]:
    return list(_compare(CASE, [arrived], came, edited))


def test_same_bytes_are_no_difference() -> None:
    assert _found() == []


@pytest.mark.parametrize(
    ("arrived", "what"),
    [
        (ARRIVED._replace(body=b'{"a":1}'), "request body"),
        (ARRIVED._replace(target="/v1/chat/completions"), "target"),
        (ARRIVED._replace(headers=ARRIVED.headers[:-2]), "request header"),
        (ARRIVED._replace(headers=(*ARRIVED.headers, ("x-added", "1"))), "request header x-added"),
    ],
)
def test_a_change_on_the_way_there_is_noticed(arrived: Arrived, what: str) -> None:
    assert any(one.startswith(what) for one in _found(arrived))


@pytest.mark.parametrize(
    ("came", "what"),
    [
        (CAME._replace(body=b"abc"), "answer body"),
        (CAME._replace(status=502), "status"),
        (CAME._replace(clean=False), "end"),
        (CAME._replace(headers=CAME.headers[:-1]), "answer header x-ratelimit-limit"),
        (CAME._replace(headers=(*CAME.headers, ("server", "x"))), "answer header server"),
    ],
)
def test_a_change_on_the_way_back_is_noticed(came: Came, what: str) -> None:
    assert [one.partition(":")[0] for one in _found(came=came)] == [what]


def test_a_request_that_never_left_is_noticed() -> None:
    assert list(_compare(CASE, [], CAME, ""))
    assert not list(_compare(CASE, [], CAME, "answered"))


def test_an_accepted_edit_may_change_bodies_but_no_header() -> None:
    edited = ARRIVED._replace(body=b'{"a":1,"stream_options":{}}')
    assert _found(edited, edited="edited") == []
    assert _found(edited._replace(headers=ARRIVED.headers[:-2]), edited="edited")


def test_odd_pieces_are_the_whole() -> None:
    data = "Grüße 世界\r\n\r\n".encode() * 50
    pieces = cut_oddly(data, random.Random(1))
    assert b"".join(pieces) == data
    assert any(_broken(piece) for piece in pieces), "no character was cut in two"


def _broken(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return True
    return False


def test_recorded_bodies_go_out_as_the_client_wrote_them() -> None:
    record = {
        "n": 3, "api": "anthropic", "path": "/v1/messages?beta=true", "headers": {"Accept": "*/*"},
        "body": {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Grüße"}]},
        "scripted_reply": {"text": "ja", "calls": [{"id": "t", "tool": "ls", "args": {"p": "ü"}}]},
        "simulated_usage": {"in": 5, "read": 2, "write": 1, "out": 3},
    }  # fmt: skip
    (case,) = recorded_cases([record], "file", random.Random(0))
    assert case.body.decode() == '{"model":"m","stream":true,"messages":[{"role":"user","content":"Grüße"}]}'
    assert case.headers == (("accept", "*/*"),)
    told = b"".join(case.answer.pieces).decode()
    assert case.answer.chunked
    assert '"name":"ls"' in told
    assert '"cache_read_input_tokens":2' in told


def test_every_protocol_has_odd_cases_streamed_and_whole() -> None:
    cases = list(odd_cases(random.Random(0)))
    for wire in (Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES, Wire.ANTHROPIC_MESSAGES):
        mine = [case for case in cases if case.wire is wire]
        assert {b'"stream":true' in case.body for case in mine} == {True, False}
        assert any(b"1e400" in case.body for case in mine)
        assert any(case.answer.cut for case in mine)
        assert {400, 429, 500, 529} <= {case.answer.status for case in mine}
