"""What is sent and answered: recorded requests with answers in their protocol's shape, and odd bodies and answers.

A case is one request and what the upstream says to it; nothing here knows the gateway.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pennyweight.request import Usage, Wire
from pennyweight.testing import shapes

from .rawhttp import Answer, Headers

__all__ = ["Case", "cut_oddly", "PATHS", "odd_cases", "recorded_cases", "same_answer"]

WIRES = {"chat": Wire.OPENAI_CHAT, "responses": Wire.OPENAI_RESPONSES, "anthropic": Wire.ANTHROPIC_MESSAGES}
PATHS = {
    Wire.OPENAI_CHAT: "/v1/chat/completions",
    Wire.OPENAI_RESPONSES: "/v1/responses",
    Wire.ANTHROPIC_MESSAGES: "/v1/messages",
}

_LIMITS: Headers = (
    ("x-ratelimit-limit-requests", "5000"),
    ("x-ratelimit-remaining-tokens", "1999000"),
    ("x-ratelimit-reset-tokens", "6ms"),
    ("openai-processing-ms", "512"),
    ("x-odd-Header", 'a, "b"; c=d'),
    ("set-cookie", "a=1; path=/"),
    ("set-cookie", "b=2; path=/"),
)


class Case(NamedTuple):
    name: str
    wire: Wire
    target: str  # path and query
    headers: Headers
    body: bytes
    answer: Answer
    turn: shapes.Turn | None = None  # what the answer says, where it is a proper one
    usage: Mapping[str, int] = {}

    @property
    def recorded(self) -> bool:
        return self.turn is not None


def recorded_cases(records: Sequence[Mapping[str, Any]], name: str, chance: random.Random) -> Iterator[Case]:
    for record in records:
        wire, body = WIRES[record["api"]], record["body"]
        headers = tuple((key.lower(), value) for key, value in record["headers"].items())
        raw = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        turn, usage = _turn(record["scripted_reply"]), record["simulated_usage"]
        answer = _answer(wire, turn, body, usage, record["n"], chance)
        yield Case(f"{name}:{record['n']}", wire, record["path"], headers, raw, answer, turn, usage)


def same_answer(case: Case, wire: Wire) -> Answer:
    """What the case's upstream says, said in another protocol. Only for recorded cases."""
    value = json.loads(case.body)
    asked = {"model": value["model"], "stream": value.get("stream"), "stream_options": {"include_usage": True}}
    return _answer(wire, case.turn or shapes.Turn(), asked, case.usage, 0, random.Random(0))


def cut_oddly(data: bytes, chance: random.Random) -> list[bytes]:
    """Pieces of 1 to about 200 bytes that fall where they may: in lines, in numbers, in characters."""
    pieces, at = [], 0
    while at < len(data):
        size = chance.choice([1, 2, 3, 7, 40, 111, 200])
        pieces.append(data[at : at + size])
        at += size
    return pieces


def odd_cases(chance: random.Random) -> Iterator[Case]:
    """Bodies, answers and headers that real traffic seldom has and that parsers and relays get wrong."""
    for wire, path in PATHS.items():
        for name, raw in _odd_bodies(wire):
            for streamed in (False, True):
                body = raw.replace(b'"STREAM"', b"true" if streamed else b"false")
                value = {"model": "fake-model", "stream": streamed, "stream_options": {"include_usage": True}}
                answer = _answer(wire, _ODD_TURN, value, {"in": 9, "read": 0, "write": 0, "out": 9}, 0, chance)
                yield Case(f"odd {wire.value} {name}", wire, path + "?beta=true&a=%2Fb", _ODD_HEADERS, body, answer)
        plain = next(raw for name, raw in _odd_bodies(wire) if name == "plain")
        for streamed in (False, True):
            asked = plain.replace(b'"STREAM"', b"true" if streamed else b"false")
            for name, answer in _odd_answers(wire, streamed, chance):
                yield Case(f"answer {wire.value} {name} stream={streamed}", wire, path, _ODD_HEADERS, asked, answer)


_ODD_TURN = shapes.Turn(
    "Grüße, 世界 👩‍👩‍👧‍👦 \u2028 \x7f \\u00e9 " * 6,
    (shapes.ToolCall("call_1", "leer", ""), shapes.ToolCall("call_2", "werkzeug_ü", '{"a": 1e400}')),
)

_ODD_HEADERS: Headers = (
    ("content-type", "application/json"),
    ("user-agent", "odd/1.0 (x; y)"),
    ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ("x-session-id", "ses_odd"),
    ("anthropic-beta", "b-2026-01-01,a-2025-05-14"),
    ("anthropic-version", "2023-06-01"),
    ("openai-organization", "org-x"),
    ("x-custom", "kept as it is"),
)


def _odd_bodies(wire: Wire) -> Iterator[tuple[str, bytes]]:
    text = '[{"role":"user","content":"hallo"}]'
    first = '"input"' if wire is Wire.OPENAI_RESPONSES else '"messages"'
    limit = ',"max_tokens":99' if wire is Wire.ANTHROPIC_MESSAGES else ""
    usage = ',"stream_options":{"include_usage":true}' if wire is Wire.OPENAI_CHAT else ""
    head = f'{{"model":"fake-model","stream":"STREAM"{limit}{usage},{first}:'
    yield "plain", f"{head}{text}}}".encode()
    yield "unknown fields", f'{head}{text},"x_new":{{"a":[1,{{"b":null}}]}},"zz":"","aa":[]}}'.encode()
    yield "duplicate-looking keys", f'{head}{text},"x":1,"X":2,"x ":3,"metadata":{{"k":"1","K":"2"}}}}'.encode()
    yield "duplicate keys", f'{head}{text},"x":1,"x":2}}'.encode()
    yield "unicode escapes", (head + '[{"role":"user","content":"\\u00e9\\ud83d\\ude00\\/\\u2028 \\u0041"}]}').encode()
    yield (
        "big integers",
        f'{head}{text},"seed":{2**70},"x_e":1e400,"x_f":1.0,"x_g":-0,"x_h":1E+2,"x_big":{10**40}}}'.encode(),
    )
    yield (
        "null content",
        (head + '[{"role":"assistant","content":null},{"role":"user","content":"x"}],"stop":null}').encode(),
    )
    yield "empty tool arguments", (head + _EMPTY_CALL[wire] + "}").encode()
    yield "multi-byte characters", (head + '[{"role":"user","content":"Grüße 世界 👩‍👩‍👧‍👦 \u2028\x7f"}]}').encode()
    yield (
        "white space",
        (f' {{\n\t"model" : "fake-model" ,\r\n "stream":"STREAM"{limit}{usage},\n  {first} :  {text}\n}}\n ').encode(),
    )
    yield "key order", f'{{{first}:{text},"zz":1{limit}{usage},"stream":"STREAM","model":"fake-model"}}'.encode()
    yield "nested", (head + text + ',"metadata":' + '{"a":' * 60 + "1" + "}" * 60 + "}").encode()
    yield "long", (head + '[{"role":"user","content":"' + "lang ü " * 40_000 + '"}]}').encode()


_EMPTY_CALL = {
    Wire.OPENAI_CHAT: '[{"role":"user","content":"x"},{"role":"assistant","content":"","tool_calls":[{"id":"c","type":'
    '"function","function":{"name":"f","arguments":""}}]},{"role":"tool","tool_call_id":"c","content":""}]',
    Wire.OPENAI_RESPONSES: '[{"role":"user","content":"x"},{"type":"function_call","call_id":"c","name":"f",'
    '"arguments":""},'
    '{"type":"function_call_output","call_id":"c","output":""}]',
    Wire.ANTHROPIC_MESSAGES: '[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use",'
    '"id":"c","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":""}]}]',
}


def _odd_answers(wire: Wire, streamed: bool, chance: random.Random) -> Iterator[tuple[str, Answer]]:
    def json_answer(status: int, value: Any, *headers: tuple[str, str]) -> Answer:
        raw = json.dumps(value).encode()  # with spaces, as some providers send it
        return Answer(status, (("content-type", "application/json"), ("x-request-id", "req_9"), *headers), [raw])

    long = "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens."
    yield "400", json_answer(400, {"error": {"message": long, "type": "x", "code": "context_length_exceeded"}})
    yield "401", json_answer(401, {"error": {"message": "Incorrect API key", "type": "authentication_error"}})
    yield "404 empty", Answer(404, (("x-request-id", "req_8"),), [])
    yield "422 html", Answer(422, (("content-type", "text/html"),), [b"<h1>Unprocessable</h1>"])
    yield (
        "429",
        json_answer(429, {"error": {"message": "slow down"}}, ("retry-after", "7"), ("x-should-retry", "false")),
    )
    yield "500 html", Answer(500, (("content-type", "text/html; charset=utf-8"),), ["<html>kaputt ü</html>".encode()])
    yield "529", json_answer(529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    yield "400 odd bytes", Answer(400, (("content-type", "text/plain"),), [b"\xff\xfe\x00 not UTF-8"])
    if not streamed:
        yield "200 odd json", json_answer(200, {"odd": [1e300, "ü\\u2028", None], "usage": None})
        return
    events = (("content-type", "text/event-stream"), ("x-request-id", "req_7"))
    usage = {"in": 9, "read": 0, "write": 0, "out": 9}
    whole = _answer(wire, _ODD_TURN, {"model": "fake-model", "stream": True}, usage, 0, chance)
    yield "cut", Answer(200, events, whole.pieces[: len(whole.pieces) // 2], chunked=True, cut=True)
    yield (
        "error event",
        Answer(200, events, [*whole.pieces[:9], b'\n\nevent: error\ndata: {"type":"error","error":{}}\n\n'], True),
    )
    yield "comments", Answer(200, events, [b": ping\n\n", b"retry: 10\nid: 1\n", *whole.pieces, b": end\n\n"], True)
    crlf = b"".join(whole.pieces).replace(b"\n", b"\r\n")
    yield "CRLF", Answer(200, events, cut_oddly(crlf, chance), True)
    yield "no stream", Answer(200, (("content-type", "application/json"),), [b'{"not":"a stream"}'])


def _answer(
    wire: Wire,
    turn: shapes.Turn,
    asked: Mapping[str, Any],
    usage: Mapping[str, int],
    number: int,
    chance: random.Random,
) -> Answer:
    """The turn in this protocol's shape, with usage, as a stream cut oddly where the request streams."""
    counted = _usage(usage)
    model = str(asked.get("model", "fake-model"))
    body = {**_body(wire, turn, model, number), "model": model, "usage": shapes.usage_block(wire, counted)}
    extra = (("x-request-id", f"req_{number}"), *_LIMITS)
    if asked.get("stream"):
        include = bool((asked.get("stream_options") or {}).get("include_usage"))
        raw = b"".join(shapes.stream(wire, body, include_usage=include))
        kind = ("content-type", "text/event-stream; charset=utf-8")
        return Answer(200, (kind, *extra), cut_oddly(raw, chance), chunked=True)
    raw = json.dumps(body, ensure_ascii=bool(number % 2)).encode()
    return Answer(200, (("content-type", "application/json"), *extra), cut_oddly(raw, chance))


def _body(wire: Wire, turn: shapes.Turn, model: str, number: int) -> dict[str, Any]:
    if wire is Wire.ANTHROPIC_MESSAGES:  # its arguments are JSON values, which 1e400 and "" are not
        calls = tuple(
            shapes.ToolCall(c.id, c.name, "{}" if "1e400" in c.arguments else c.arguments) for c in turn.calls
        )
        turn = shapes.Turn(turn.text, calls, turn.reasoning, turn.signature)
    return shapes.body_of(wire, turn, model=model, number=number)


def _turn(reply: Mapping[str, Any]) -> shapes.Turn:
    calls = tuple(
        shapes.ToolCall(call["id"], call["tool"], json.dumps(call["args"], ensure_ascii=False))
        for call in reply["calls"]
    )
    return shapes.Turn(reply["text"], calls)


def _usage(simulated: Mapping[str, int]) -> Usage:
    return Usage(
        input_tokens=simulated["in"],
        output_tokens=simulated["out"],
        cache_read_tokens=simulated["read"],
        cache_write_5m_tokens=simulated["write"],
    )
