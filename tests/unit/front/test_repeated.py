"""A request that comes again byte for byte is answered at once with what the cache would say, or not at all."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from pennyweight.app import App, build
from pennyweight.call import Receipt
from pennyweight.capture.rule import Rule, write_rule
from pennyweight.config import load
from pennyweight.front.auth import Gate
from pennyweight.front.front import Front
from pennyweight.front.http import HttpRequest
from pennyweight.front.repeated import Repeated
from pennyweight.ledger.reading import receipt
from pennyweight.request import Headers
from pennyweight.stores.purge import Wanted
from pennyweight.testing.clock import FakeClock
from pennyweight.testing.http import Exchange, LoopbackServer

CHAT = "/v1/chat/completions"
HEADERS: Headers = (("host", "127.0.0.1:8787"), ("authorization", "Bearer sk-one"), ("user-agent", "test"))
HOUR_S = 3600.0


def body(text: str = "hi", **more: object) -> bytes:
    messages = [{"role": "user", "content": text}]
    return msgspec.json.encode({"model": "gpt-4o", "messages": messages, "temperature": 0, **more})


def request(
    raw: bytes = b"", *, headers: Headers = HEADERS, path: str = CHAT, query: str = "", peer: str = "127.0.0.1"
) -> HttpRequest:
    return HttpRequest("POST", path, query, headers, raw or body(), peer)


class Provider:
    """Answers with how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, exchange: Exchange) -> None:
        self.asked += 1
        message = {"role": "assistant", "content": f"answer {self.asked}"}
        answer = {
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10},
        }
        await exchange.send(200, json.dumps(answer).encode(), headers={"content-type": "application/json"})


class House:
    def __init__(self, app: App, provider: Provider, clock: FakeClock) -> None:
        self.app, self.provider, self.clock = app, provider, clock
        self.front = Front(app, Gate(app.config, app.keys))

    @property
    def repeated(self) -> Repeated:
        return self.front.repeated

    async def ask(self, asked: HttpRequest) -> tuple[Headers, bytes]:
        """The long way."""
        response = await self.front.respond(asked)
        assert response.status == 200
        assert isinstance(response.body, bytes)
        if response.close is not None:
            await response.close()
        return response.headers, response.body

    async def hit(self, asked: HttpRequest) -> tuple[Headers, bytes]:
        """Asked until a stored answer came, which is remembered."""
        await self.ask(asked)
        headers, content = await self.ask(asked)
        assert dict(headers)["x-pennyweight-cache"] == "hit"
        return headers, content

    def again(self, asked: HttpRequest) -> bytes | None:
        return self.repeated.again(asked)

    async def receipt(self, call_id: str) -> Receipt:
        await self.app.clerk.flush()
        found = await asyncio.to_thread(receipt, self.app.config.data_dir / "pennyweight.db", call_id)
        assert found is not None
        return found


@asynccontextmanager
async def house(tmp_path: Path, file: str = "") -> AsyncIterator[House]:
    provider, clock = Provider(), FakeClock()
    path = tmp_path / "pennyweight.toml"
    path.write_text(file)
    async with asyncio.timeout(60), LoopbackServer(provider) as server:
        env = {"PENNYWEIGHT_DATA": str(tmp_path), "OPENAI_API_KEY": "ours", "OPENAI_BASE_URL": f"{server.url}/v1"}
        async with build(load(path, env, {"holdout": 0.0}), clock=clock) as app:
            yield House(app, provider, clock)


def drive(tmp_path: Path, work: Callable[[House], Awaitable[None]], file: str = "") -> None:
    async def main() -> None:
        async with house(tmp_path, file) as made:
            await work(made)

    asyncio.run(main())


def parts(told: bytes | None) -> tuple[Headers, bytes]:
    """The headers without the framing, and the body."""
    assert told is not None
    head, _, content = told.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    assert first == "HTTP/1.1 200 OK"
    headers = tuple((name, value) for name, _, value in (line.partition(": ") for line in lines))
    assert headers[-1] == ("content-length", str(len(content)))
    return headers[:-1], content


def test_it_says_what_the_long_way_says(tmp_path: Path) -> None:
    async def work(h: House) -> None:
        assert h.again(request()) is None
        await h.ask(request())
        assert h.again(request()) is None  # asked once: nothing was answered by the cache yet
        long, content = await h.ask(request())
        h.clock.advance(7)
        short, same = parts(h.again(request()))
        assert same == content
        assert [name for name, _ in short] == [name for name, _ in long]
        told, before = dict(short), dict(long)
        assert (told.pop("age"), before.pop("age")) == ("7", "0")
        assert told.pop("x-pennyweight-call") != before.pop("x-pennyweight-call")
        assert told == before
        assert h.provider.asked == 1

    drive(tmp_path, work)


def unchunked(content: bytes) -> list[bytes]:
    chunks = []
    while content:
        size, _, rest = content.partition(b"\r\n")
        chunk, content = rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        chunks.append(chunk)
    assert chunks[-1] == b""
    return chunks[:-1]


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}], ids=["plain", "usage"])
def test_a_stream_comes_in_the_same_chunks(tmp_path: Path, options: dict[str, object]) -> None:
    async def work(h: House) -> None:
        await h.ask(request())  # answered whole, and replayed as a stream
        asked = request(body(stream=True, **options))
        for _ in range(2):
            response = await h.front.respond(asked)
            assert response.close is not None
            assert isinstance(response.body, AsyncIterator)
            chunks = [chunk async for chunk in response.body]
            await response.close()
        told = h.again(asked)
        assert told is not None
        head, _, content = told.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        assert lines[-1] == "transfer-encoding: chunked"
        headers = tuple((name, value) for name, _, value in (line.partition(": ") for line in lines[1:-1]))
        assert [name for name, _ in headers] == [name for name, _ in response.headers]
        assert unchunked(content) == chunks
        made = await h.receipt(dict(headers)["x-pennyweight-call"])
        like = await h.receipt(dict(response.headers)["x-pennyweight-call"])
        assert made == msgspec.structs.replace(like, call_id=made.call_id)
        assert made.ttft_s is not None
        assert h.provider.asked == 1

    drive(tmp_path, work)


def test_it_leaves_the_same_receipt_and_figures(tmp_path: Path) -> None:
    async def work(h: House) -> None:
        long, _ = await h.hit(request())
        short = [parts(h.again(request()))[0] for _ in range(3)]
        like = await h.receipt(dict(long)["x-pennyweight-call"])
        for headers in short:
            made = await h.receipt(dict(headers)["x-pennyweight-call"])
            assert made == msgspec.structs.replace(like, call_id=made.call_id)
            assert (made.cost, made.baseline, made.replayed, made.basis) == (0, 350_000_000, True, "computed")
            assert h.app.hits.served(made.call_id) is not None  # so that who got it can say that it was wrong

    drive(tmp_path, work)


@pytest.mark.parametrize(
    "other",
    [
        request(body("hi!")),
        request(body("ho")),
        request(body("hi").replace(b'"temperature":0', b'"temperature":1')),
        request(headers=(("host", "127.0.0.1:8787"), ("authorization", "Bearer sk-two"), ("user-agent", "test"))),
        request(headers=(*HEADERS, ("x-pennyweight-optimize", "off"))),
        request(headers=(*HEADERS, ("x-pennyweight-optimize", "max"))),
        request(headers=(*HEADERS, ("x-pennyweight-session", "s"))),
        request(headers=(*HEADERS, ("cache-control", "no-cache"))),
        request(headers=(*HEADERS, ("openai-organization", "o"))),
        request(headers=(*HEADERS, ("origin", "http://evil.example"))),
        request(headers=HEADERS[::-1]),
        request(path="/chat/completions"),
        request(query="v=2"),
        request(peer="10.0.0.1"),
        request(peer=""),
        HttpRequest("PUT", CHAT, "", HEADERS, body(), "127.0.0.1"),
    ],
)
def test_nothing_that_differs_is_taken_for_it(tmp_path: Path, other: HttpRequest) -> None:
    async def work(h: House) -> None:
        await h.hit(request())
        assert h.again(other) is None
        assert h.again(request()) is not None

    drive(tmp_path, work)


def test_bodies_of_one_length_and_one_end_are_told_apart(tmp_path: Path) -> None:
    async def work(h: House) -> None:
        one, two = (request(body(f"{text} {'x' * 100}")) for text in ("one", "two"))
        _, first = await h.hit(one)
        assert h.again(two) is None
        _, second = await h.hit(two)
        assert first != second
        assert parts(h.again(two))[1] == second
        assert h.again(one) is None or parts(h.again(one))[1] == first

    drive(tmp_path, work)


def test_it_lapses_with_the_answer(tmp_path: Path) -> None:
    async def work(h: House) -> None:
        _, content = await h.hit(request())
        h.clock.advance(HOUR_S - 1)
        assert parts(h.again(request()))[1] == content
        h.clock.advance(1)
        assert h.again(request()) is None
        _, fresh = await h.hit(request())
        assert fresh != content
        assert parts(h.again(request()))[1] == fresh

    drive(tmp_path, work)


def test_a_caller_s_own_limit_of_age_holds(tmp_path: Path) -> None:
    async def work(h: House) -> None:
        asked = request(headers=(*HEADERS, ("cache-control", "max-age=10")))
        await h.hit(asked)
        h.clock.advance(9)
        assert h.again(asked) is not None
        h.clock.advance(1)
        assert h.again(asked) is None

    drive(tmp_path, work)


def test_what_is_purged_is_forgotten_here_too(tmp_path: Path) -> None:
    async def work(h: House) -> None:
        await h.hit(request())
        await h.app.purge(Wanted())
        assert not h.repeated._memory.by_name
        assert h.again(request()) is None
        await h.ask(request())
        assert h.provider.asked == 2

    drive(tmp_path, work)


def test_an_answer_that_was_replaced_is_not_given(tmp_path: Path) -> None:
    async def work(h: House) -> None:
        await h.hit(request())
        _, fresh = await h.ask(request(headers=(*HEADERS, ("cache-control", "no-cache"))))
        assert h.again(request()) is None
        await h.ask(request())
        assert parts(h.again(request()))[1] == fresh

    drive(tmp_path, work)


def test_an_optimizer_that_was_switched_off_or_changed_is_asked_first(tmp_path: Path) -> None:
    async def work(h: House) -> None:
        await h.hit(request())
        await h.app.policy.set("exact_cache", by="operator", mode="off")
        assert h.again(request()) is None
        await h.ask(request())
        assert h.provider.asked == 2
        assert h.again(request()) is None
        await h.app.policy.set("exact_cache", by="operator", mode="on")
        await h.hit(request())
        assert h.again(request()) is not None

    drive(tmp_path, work)


def test_a_price_that_changes_is_seen(tmp_path: Path) -> None:
    until = "2027-01-15T08:00:10Z"  # ten seconds after the clock's beginning
    file = f"""
[[prices]]
model = "gpt-4o"
input = 1
output = 1
until = "{until}"
[[prices]]
model = "gpt-4o"
input = 2
output = 2
from = "{until}"
"""

    async def work(h: House) -> None:
        long, _ = await h.hit(request())
        assert dict(parts(h.again(request()))[0])["x-pennyweight-saved"] == dict(long)["x-pennyweight-saved"]
        h.clock.advance(10)
        assert h.again(request()) is None
        after, _ = await h.ask(request())
        assert dict(after)["x-pennyweight-saved"] != dict(long)["x-pennyweight-saved"]
        short, _ = parts(h.again(request()))
        assert dict(short)["x-pennyweight-saved"] == dict(after)["x-pennyweight-saved"]
        made = await h.receipt(dict(short)["x-pennyweight-call"])
        assert made.baseline == 110 * 2 * 10**6

    drive(tmp_path, work, file)


def test_a_key_s_own_calls_are_answered_while_it_holds(tmp_path: Path) -> None:
    async def work(h: House) -> None:
        h.app.keys._now = h.clock.now
        ann, ben = h.app.keys.add("ann"), h.app.keys.add("ben", expires_at=h.clock.now() + 100)
        of_ann, of_ben = (
            request(headers=(("host", "127.0.0.1"), ("authorization", f"Bearer {key}"))) for key in (ann, ben)
        )
        _, content = await h.hit(of_ann)
        assert h.again(of_ben) is None
        short, same = parts(h.again(of_ann))
        assert same == content
        assert (await h.receipt(dict(short)["x-pennyweight-call"])).tenant == "ann"
        _, other = await h.hit(of_ben)
        assert other != content
        assert parts(h.again(of_ben))[1] == other
        h.app.keys._now = lambda: h.clock.now() + 100
        assert h.again(of_ben) is None  # it has expired
        assert h.again(of_ann) is not None
        h.app.keys.revoke("ann")
        assert h.again(of_ann) is None
        response = await h.front.respond(of_ann)
        assert response.status == 401

    drive(tmp_path, work)


def test_a_key_that_is_made_closes_the_door_for_those_without(tmp_path: Path) -> None:
    async def work(h: House) -> None:
        await h.hit(request())
        assert h.again(request()) is not None
        h.app.keys.add("ann")
        assert h.again(request()) is None

    drive(tmp_path, work, "[server]\nloopback_open = false\n")


def test_whoever_records_sees_every_call(tmp_path: Path) -> None:
    async def work(h: House) -> None:
        await h.hit(request())
        write_rule(tmp_path, Rule(sessions=("*",)))
        h.clock.advance(2)  # the rule is looked at once a second
        assert h.again(request()) is None

    drive(tmp_path, work)


def test_a_conversation_that_went_on_is_a_new_session_when_asked_from_its_start(tmp_path: Path) -> None:
    async def work(h: House) -> None:
        _, content = await h.hit(request())
        first = dict(parts(h.again(request()))[0])["x-pennyweight-call"]
        said = {"role": "assistant", "content": json.loads(content)["choices"][0]["message"]["content"]}
        asked = [{"role": "user", "content": "hi"}, said, {"role": "user", "content": "and then?"}]
        await h.ask(request(body(messages=asked)))
        assert h.again(request()) is None
        after, _ = await h.ask(request())
        sessions = [(await h.receipt(call)).session for call in (first, dict(after)["x-pennyweight-call"])]
        assert sessions[0] != sessions[1]

    drive(tmp_path, work)


@pytest.mark.parametrize("file", ["[[optimizers]]\nuse = 'exact_cache'\n[optimizers.settings]\naudit = 1.0\n"])
def test_hits_that_are_audited_are_never_answered_at_once(tmp_path: Path, file: str) -> None:
    async def work(h: House) -> None:
        await h.ask(request())
        await h.ask(request())
        assert not h.repeated._memory.by_name

    drive(tmp_path, work, file)


@pytest.mark.parametrize(
    "headers", [(("x-pennyweight-include-cost", "true"),), (("expect", "100-continue"),)], ids=["cost", "expect"]
)
def test_what_is_answered_in_a_way_of_its_own_is_not_remembered(tmp_path: Path, headers: Headers) -> None:
    async def work(h: House) -> None:
        await h.hit(request(headers=(*HEADERS, *headers)))
        told = h.again(request(headers=(*HEADERS, *headers)))
        assert told is None or headers[0][0] == "x-pennyweight-include-cost"

    drive(tmp_path, work)


def test_it_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(h: House) -> None:
        monkeypatch.setattr("pennyweight.front.remembered._MOST", 3)
        asked = [request(body(f"question {number}")) for number in range(6)]
        for one in asked:
            await h.hit(one)
        assert [h.again(one) is not None for one in asked] == [False] * 3 + [True] * 3
        assert len(h.repeated._memory.by_name) == sum(h.repeated._memory._sketches.values()) == 3
        h.repeated._memory.clear()
        assert h.repeated._memory._bytes == 0

    drive(tmp_path, work)


def test_no_key_of_a_caller_is_kept(tmp_path: Path) -> None:
    async def work(h: House) -> None:
        packet = b"POST / HTTP/1.1\r\nauthorization: Bearer sk-one\r\n\r\n"
        asked = request()
        asked.came_in(packet)
        await h.ask(asked)
        await h.ask(asked)
        assert h.repeated.packet(packet, "127.0.0.1") is not None
        assert h.repeated.packet(packet, "127.0.0.2") is None
        kept = next(iter(h.repeated._memory.by_name.values()))
        assert kept.call.credential is None
        assert not re.search(
            "sk-one", repr(kept) + repr(h.repeated._memory.by_packet) + repr(h.repeated._memory._packet_sketches)
        )

    drive(tmp_path, work)


def test_what_breaks_here_costs_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> bool:
        raise RuntimeError("broken")

    async def work(h: House) -> None:
        asked = request()
        asked.came_in(b"POST")
        await h.ask(asked)
        await h.ask(asked)
        monkeypatch.setattr(h.app.pipeline, "again", broken)
        assert h.repeated.packet(b"POST", "127.0.0.1") is None
        await h.ask(asked)
        assert h.again(asked) is None
        assert not h.repeated._memory.by_name
        monkeypatch.setattr(h.repeated._memory, "keep", broken)
        await h.ask(asked)  # answered although it cannot be remembered
        assert h.provider.asked == 1

    drive(tmp_path, work)
