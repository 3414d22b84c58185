"""`usage.cost` lands beside the provider's usage and nowhere else, on three wires, however a stream is cut."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.call import Call
from pennyweight.front.usage_cost import wants_cost, with_cost
from pennyweight.ledger.accounts import Account, Accounts
from pennyweight.prices import open_book
from pennyweight.request import Charge, Done, Headers, Reply, Usage, Wire
from pennyweight.testing.backend import make_call

MODELS = {
    Wire.OPENAI_CHAT: ("openai", "gpt-4o-mini"),
    Wire.OPENAI_RESPONSES: ("openai", "gpt-4o-mini"),
    Wire.ANTHROPIC_MESSAGES: ("anthropic", "claude-sonnet-4-5"),
}
USAGE = Usage(input_tokens=1_000, output_tokens=200)
NEEDLE = '"usage":{"x":1} "message_delta" "response.completed" é🙂'


class Words:
    def count(self, text: str) -> int:
        return len(text.split())


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Accounts:
    return Accounts(open_book(tmp_path_factory.mktemp("data")), {"local": Account(local=True)}, Words())


def call(wire: Wire, provider: str = "", model: str = "") -> Call:
    known = MODELS[wire]
    return make_call(wire=wire, provider=provider or known[0], model=model or known[1], at=1_760_000_000.0)


def chat(text: str) -> list[dict[str, Any]]:
    return [
        {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], "usage": None},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 1_000, "completion_tokens": 200}},
    ]


def messages(text: str) -> list[dict[str, Any]]:
    return [
        {"type": "message_start", "message": {"usage": {"input_tokens": 1_000, "output_tokens": 1}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 200}},
        {"type": "message_stop"},
    ]


def responses(text: str) -> list[dict[str, Any]]:
    usage = {"input_tokens": 1_000, "output_tokens": 200, "total_tokens": 1_200}
    return [
        {"type": "response.output_text.delta", "delta": text},
        {"type": "response.completed", "response": {"status": "completed", "output": [], "usage": usage}},
    ]


EVENTS = {Wire.OPENAI_CHAT: chat, Wire.ANTHROPIC_MESSAGES: messages, Wire.OPENAI_RESPONSES: responses}


def written(wire: Wire, events: Sequence[dict[str, Any]], newline: str) -> bytes:
    text = ""
    for event in events:
        name = f"event: {event['type']}{newline}" if "type" in event else ""
        data = json.dumps(event, separators=(",", ":"), ensure_ascii=False)
        text += f"{name}data: {data}{newline}{newline}"
    return (text + (f"data: [DONE]{newline}{newline}" if wire is Wire.OPENAI_CHAT else "")).encode()


def told(wire: Wire, events: list[dict[str, Any]], cost: str) -> list[dict[str, Any]]:
    """The events with the cost where it belongs."""
    events = json.loads(json.dumps(events))
    last = events[-2] if wire is Wire.ANTHROPIC_MESSAGES else events[-1]
    usage = last["response"]["usage"] if wire is Wire.OPENAI_RESPONSES else last["usage"]
    usage["cost"] = json.loads(cost)
    return events


async def streamed(chunks: Sequence[bytes], asked: Call, book: Accounts, headers: Headers = ()) -> bytes:
    async def each() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return await with_cost(Reply(200, headers, wire=asked.request.wire, chunks=each()), asked, book).read()


def cut(data: bytes, at: Sequence[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


def usd(book: Accounts, asked: Call) -> str:
    pico = book.cost(Charge(asked.target.provider, asked.target.model, USAGE, asked.at))
    assert pico
    return str(pico / 1e12)


WIRES = st.sampled_from(sorted(EVENTS))


@given(
    wire=WIRES,
    text=st.text(max_size=20) | st.just(NEEDLE),
    newline=st.sampled_from(["\n", "\r\n"]),
    at=st.lists(st.integers(0, 9_999), max_size=10),
)
def test_streams_cut_anywhere(book: Accounts, wire: Wire, text: str, newline: str, at: list[int]) -> None:
    asked, events = call(wire), EVENTS[wire](text)
    seen = asyncio.run(streamed(cut(written(wire, events, newline), at), asked, book))
    assert seen == written(wire, told(wire, events, usd(book, asked)), newline)


def whole(wire: Wire) -> dict[str, Any]:
    names = ("prompt_tokens", "completion_tokens") if wire is Wire.OPENAI_CHAT else ("input_tokens", "output_tokens")
    return {"z": 1e300, "usage": dict(zip(names, (1_000, 200), strict=True)), "text": NEEDLE}


@pytest.mark.parametrize("wire", list(EVENTS))
def test_whole_answers(book: Accounts, wire: Wire) -> None:
    asked = call(wire)
    content = json.dumps(whole(wire), separators=(",", ":")).encode()
    done = Done(USAGE, "stop", (Charge(asked.target.provider, asked.target.model, USAGE, asked.at),))
    seen = with_cost(Reply(200, (), wire=wire, content=content, done=done), asked, book).content
    assert json.loads(seen or b"")["usage"].pop("cost") == float(usd(book, asked))
    replayed = with_cost(Reply(200, (), wire=wire, content=content, done=Done(USAGE, "stop")), asked, book).content
    assert json.loads(replayed or b"")["usage"]["cost"] == 0


@pytest.mark.parametrize("wire", list(EVENTS))
def test_without_a_price_nothing_is_told(book: Accounts, wire: Wire) -> None:
    asked = call(wire, "nobody", "unheard-of")
    stream = written(wire, EVENTS[wire]("x"), "\n")
    assert asyncio.run(streamed([stream], asked, book)) == stream


@pytest.mark.parametrize(("tokens", "cost"), [(1, "0.00000015"), (20_000_000_000, "3000.00")])
def test_any_amount_is_a_number_of_json(book: Accounts, tokens: int, cost: str) -> None:
    usage = Usage(input_tokens=tokens)
    charge = Charge("openai", "gpt-4o-mini", usage, 1_760_000_000.0)
    reply = Reply(200, (), wire=Wire.OPENAI_CHAT, content=b'{"usage":{}}', done=Done(usage, "stop", (charge,)))
    told = with_cost(reply, call(Wire.OPENAI_CHAT), book).content
    assert told == b'{"usage":{"cost":' + cost.encode() + b"}}"
    json.loads(told)


def test_a_local_answer_costs_nothing_and_says_so(book: Accounts) -> None:
    asked = call(Wire.OPENAI_CHAT, "local", "m")
    seen = asyncio.run(streamed([written(Wire.OPENAI_CHAT, chat("x"), "\n")], asked, book))
    assert b'"cost":0' in seen


def test_a_compressed_answer_passes_untouched(book: Accounts) -> None:
    asked, coded = call(Wire.OPENAI_CHAT), (("content-encoding", "gzip"),)
    content = gzip.compress(json.dumps(whole(Wire.OPENAI_CHAT)).encode())
    done = Done(USAGE, "stop", (Charge(asked.target.provider, asked.target.model, USAGE, asked.at),))
    reply = with_cost(Reply(200, coded, wire=Wire.OPENAI_CHAT, content=content, done=done), asked, book)
    assert reply.content == content
    stream = gzip.compress(written(Wire.OPENAI_CHAT, chat("x"), "\n"))
    assert asyncio.run(streamed([stream], asked, book, coded)) == stream


def test_what_is_not_json_passes_untouched(book: Accounts) -> None:
    asked = call(Wire.OPENAI_CHAT)
    broken = b'data: {"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\ndata: {"usage":{oops\n\n'
    assert asyncio.run(streamed([broken], asked, book)).endswith(b'data: {"usage":{oops\n\n')


def test_a_short_comment_is_not_held_back(book: Accounts) -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def each() -> AsyncIterator[bytes]:
            yield b":\n\n"
            await gate.wait()

        reply = with_cost(Reply(200, (), wire=Wire.OPENAI_CHAT, chunks=each()), call(Wire.OPENAI_CHAT), book)
        assert reply.chunks is not None
        async with asyncio.timeout(60):
            assert await anext(reply.chunks) == b":\n\n"

    asyncio.run(main())


def test_who_is_told() -> None:
    assert wants_cost({}, native=True)
    assert wants_cost({"x-clawrouter-client": "1"}, native=False)
    assert wants_cost({"x-pennyweight-usage-cost": "True"}, native=False)
    assert not wants_cost({"x-pennyweight-usage-cost": "0"}, native=False)
    assert not wants_cost({}, native=False)


def test_ollama_has_no_place_for_it(book: Accounts, tmp_path: Path) -> None:
    reply = Reply(200, (), wire=Wire.OLLAMA, content=b"{}")
    assert with_cost(reply, make_call(wire=Wire.OLLAMA), book).content == b"{}"
