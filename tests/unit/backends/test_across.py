"""Two replicas that share a Redis: one asks, both answer, and nothing that happens to either or to Redis is seen."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import uuid4

import pytest
from tests.engines import Engine
from tests.pace import at_some_pace

from pennyweight.backends.coalesce import Coalesce
from pennyweight.backends.fusing.across import Across
from pennyweight.errors import StoreError, StreamCut, Unreachable
from pennyweight.request import Reply
from pennyweight.stores.redis import connect
from pennyweight.stores.relay import RedisRelay
from pennyweight.stores.sealed import Codec
from pennyweight.testing.backend import Script, ScriptedBackend, make_call

STEADY = b'{"model":"m","temperature":0,"messages":[{"role":"user","content":"hi"}]}'


def event(text: str, number: int = 1, **choice: object) -> bytes:
    delta = {"index": 0, "delta": {"content": text}, "finish_reason": None} | choice
    body = {"id": f"r{number}", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [delta]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def answer(words: str, number: int = 1) -> tuple[bytes, ...]:
    last = event("", number, delta={}, finish_reason="stop") + b"data: [DONE]\n\n"
    return (*(event(word + " ", number) for word in words.split()), last)


class Replica:
    """What stands over one upstream in one gateway."""

    def __init__(self, url: str, prefix: str, upstream: ScriptedBackend, *, keys: tuple[bytes, ...] = (), **settings):  # type: ignore[no-untyped-def]
        self.relay = RedisRelay(connect(url), codec=Codec(keys), prefix=prefix)
        self.across = Across(upstream, self.relay, **{"lease_s": 0.6, "store_s": 2.0, **settings})
        self.coalesce = Coalesce(self.across)


Two = Callable[[Replica, Replica], Awaitable[None]]


def play(server: Engine, first: ScriptedBackend, second: ScriptedBackend, act: Two, **settings) -> None:  # type: ignore[no-untyped-def]
    async def run() -> None:
        prefix = f"test-{uuid4().hex}:"
        replicas = [Replica(server.url, prefix, upstream, **settings) for upstream in (first, second)]
        try:
            async with asyncio.timeout(60):
                await act(*replicas)
        finally:
            for replica in replicas:
                await replica.across.aclose()
                await replica.coalesce.aclose()
                with contextlib.suppress(Exception):
                    await replica.relay.aclose()

    asyncio.run(run())


async def end(reply: Reply) -> bytes:
    try:
        return await reply.read()
    finally:
        await reply.aclose()


def charges(*replies: Reply) -> list[int]:
    return [len(reply.done.charges) if reply.done is not None else -1 for reply in replies]


def said(raw: bytes) -> str:
    events = [line.removeprefix(b"data: ") for line in raw.split(b"\n\n") if line.startswith(b"data: {")]
    return "".join(json.loads(e)["choices"][0]["delta"].get("content") or "" for e in events)


async def pieces(reply: Reply) -> AsyncIterator[bytes]:
    assert reply.chunks is not None
    async for chunk in reply.chunks:
        yield chunk


def test_a_stream_goes_to_both_live_and_is_charged_once(redis_server: Engine) -> None:
    gate = asyncio.Event()
    chunks = answer("one two three")
    first = ScriptedBackend(Script(chunks=chunks, before_chunks=(None, None, gate)))
    second = ScriptedBackend(Script(error=Unreachable("never asked")))

    async def act(a: Replica, b: Replica) -> None:
        leader = await a.coalesce.open(make_call(STEADY))
        follower = await b.coalesce.open(make_call(STEADY))
        stream = pieces(follower)
        assert said(await anext(stream) + await anext(stream)) == "one two ", "before the leader's end"
        gate.set()
        rest = b"".join([chunk async for chunk in stream])
        assert await end(leader) == b"".join(chunks)
        assert said(rest) == "three "
        assert rest.endswith(b"[DONE]\n\n")
        await follower.aclose()
        assert charges(leader, follower) == [1, 0]
        assert follower.done is not None
        assert follower.done.usage is not None
        assert follower.done.usage.input_tokens == 10
        assert follower.notes[0].optimizer == "coalesce"

    play(redis_server, first, second, act)
    assert (len(first.calls), len(second.calls)) == (1, 0)


@pytest.mark.parametrize("keys", [(), (b"k" * 32,)])
def test_a_whole_answer_goes_to_both(redis_server: Engine, keys: tuple[bytes, ...]) -> None:
    def test(pace: float) -> None:
        gate = asyncio.Event()
        first = ScriptedBackend(Script(content=b'{"a": 1}', before_open=gate))
        second = ScriptedBackend(Script(error=Unreachable("never asked")))

        async def act(a: Replica, b: Replica) -> None:
            leading = asyncio.create_task(a.coalesce.open(make_call(STEADY)))
            while not first.calls:  # noqa: ASYNC110 - the backend has no event for it
                await asyncio.sleep(0.01)
            following = asyncio.create_task(b.coalesce.open(make_call(STEADY)))
            await asyncio.sleep(0.1 * pace)
            gate.set()
            leader, follower = await asyncio.gather(leading, following)
            assert leader.content == follower.content == b'{"a": 1}'
            assert charges(leader, follower) == [1, 0]

        play(redis_server, first, second, act, keys=keys)

    at_some_pace(test)


def test_after_the_end_the_next_call_asks_anew(redis_server: Engine) -> None:
    first, second = ScriptedBackend(Script(chunks=(b"a\n\n",))), ScriptedBackend(Script(chunks=(b"b\n\n",)))

    async def act(a: Replica, b: Replica) -> None:
        assert await end(await a.coalesce.open(make_call(STEADY))) == b"a\n\n"
        assert await end(await b.coalesce.open(make_call(STEADY))) == b"b\n\n"

    play(redis_server, first, second, act)


def test_other_tenants_share_nothing(redis_server: Engine) -> None:
    first = ScriptedBackend(Script(chunks=(b"a\n\n", b"b\n\n"), before_chunks=(None, asyncio.Event())))
    second = ScriptedBackend(Script(content=b"own"))

    async def act(a: Replica, b: Replica) -> None:
        await a.coalesce.open(make_call(STEADY))
        assert (await b.coalesce.open(make_call(STEADY, tenant="other"))).content == b"own"

    play(redis_server, first, second, act)


@pytest.mark.parametrize("status", [400, 429])
def test_a_refusal_goes_to_both(redis_server: Engine, status: int) -> None:
    def test(pace: float) -> None:
        gate = asyncio.Event()
        first = ScriptedBackend(Script(status=status, content=b"no", before_open=gate))
        second = ScriptedBackend(Script(error=Unreachable("never asked")))

        async def act(a: Replica, b: Replica) -> None:
            leading = asyncio.create_task(a.coalesce.open(make_call(STEADY)))
            while not first.calls:  # noqa: ASYNC110 - see above
                await asyncio.sleep(0.01)
            following = asyncio.create_task(b.coalesce.open(make_call(STEADY)))
            await asyncio.sleep(0.1 * pace)
            gate.set()
            assert [(r.status, r.content) for r in await asyncio.gather(leading, following)] == [(status, b"no")] * 2

        play(redis_server, first, second, act)

    at_some_pace(test)


@pytest.mark.parametrize("script", [Script(error=Unreachable("x")), Script(status=503, content=b"oh")])
def test_the_failure_of_one_is_not_that_of_the_other(redis_server: Engine, script: Script) -> None:
    def test(pace: float) -> None:
        gate = asyncio.Event()
        first = ScriptedBackend(
            Script(error=script.error, status=script.status, content=script.content, before_open=gate)
        )
        second = ScriptedBackend(Script(content=b"yes"))

        async def act(a: Replica, b: Replica) -> None:
            leading = asyncio.create_task(a.across.open(make_call(STEADY)))
            while not first.calls:  # noqa: ASYNC110 - see above
                await asyncio.sleep(0.01)
            following = asyncio.create_task(b.coalesce.open(make_call(STEADY)))
            await asyncio.sleep(0.1 * pace)
            gate.set()
            failed, reply = await asyncio.gather(leading, following, return_exceptions=True)
            assert isinstance(failed, Unreachable) or (isinstance(failed, Reply) and failed.status == 503)
            assert isinstance(reply, Reply)
            assert reply.content == b"yes"
            assert charges(reply) == [1]

        play(redis_server, first, second, act)

    at_some_pace(test)


def test_the_first_caller_leaving_does_not_stop_the_other_replica(redis_server: Engine) -> None:
    gate = asyncio.Event()
    chunks = answer("one two three")
    first = ScriptedBackend(Script(chunks=chunks, before_chunks=(None, gate)))
    second = ScriptedBackend(Script(error=Unreachable("never asked")))

    async def act(a: Replica, b: Replica) -> None:
        leader = await a.coalesce.open(make_call(STEADY))
        follower = await b.coalesce.open(make_call(STEADY))
        stream = pieces(follower)
        assert said(await anext(stream)) == "one "
        leaving = asyncio.create_task(leader.aclose())
        await asyncio.sleep(0.2)
        assert first.closed == 0
        gate.set()
        assert said(b"".join([chunk async for chunk in stream])) == "two three "
        await follower.aclose()
        await leaving
        assert charges(leader, follower) == [1, 0], "the one who asked is charged, and nobody else"

    play(redis_server, first, second, act)
    assert (len(first.calls), first.closed) == (1, 1)


def test_without_readers_elsewhere_leaving_stops_the_upstream(redis_server: Engine) -> None:
    first = ScriptedBackend(Script(chunks=answer("one two"), before_chunks=(None, asyncio.Event())))

    async def act(a: Replica, _b: Replica) -> None:
        leader = await a.coalesce.open(make_call(STEADY))
        await leader.aclose()
        assert first.closed == 1

    play(redis_server, first, first, act)


@pytest.mark.parametrize("same_bytes", [True, False])
def test_when_the_one_who_asked_dies_the_other_goes_on_where_it_was(redis_server: Engine, same_bytes: bool) -> None:
    first = ScriptedBackend(Script(chunks=answer("one two three"), before_chunks=(None, None, asyncio.Event())))
    other = answer("one two three four", 1 if same_bytes else 2)
    if not same_bytes:  # cut elsewhere, too
        other = (event("one tw", 2), event("o three ", 2), *other[3:])
    second = ScriptedBackend(Script(chunks=other))

    async def act(a: Replica, b: Replica) -> None:
        await a.coalesce.open(make_call(STEADY))
        follower = await b.coalesce.open(make_call(STEADY))
        stream = pieces(follower)
        got = await anext(stream) + await anext(stream)
        await a.relay.aclose()  # as if it had been killed: it says nothing any more
        a.relay.ask = _dead  # type: ignore[method-assign]
        got += b"".join([chunk async for chunk in stream])
        assert said(got).split() == ["one", "two", "three", "four"]
        assert got.count(b"[DONE]") == 1
        await follower.aclose()
        assert charges(follower) == [1], "it asked, so it is charged"

    play(redis_server, first, second, act)


async def _dead(*_command: object) -> None:
    raise StoreError("dead")


def test_an_answer_that_says_something_else_is_not_gone_on_with(redis_server: Engine) -> None:
    first = ScriptedBackend(Script(chunks=answer("one two three"), before_chunks=(None, None, asyncio.Event())))
    second = ScriptedBackend(Script(chunks=answer("two one three", 2)))

    async def act(a: Replica, b: Replica) -> None:
        await a.coalesce.open(make_call(STEADY))
        follower = await b.coalesce.open(make_call(STEADY))
        stream = pieces(follower)
        await anext(stream)
        a.relay.ask = _dead  # type: ignore[method-assign]
        with pytest.raises(StreamCut, match="something else"):
            async for _ in stream:
                pass

    play(redis_server, first, second, act)


def test_an_answer_too_long_to_share_is_asked_for_twice_and_whole(redis_server: Engine) -> None:
    chunks = (*(event("x" * 1000, n) for n in range(50)), b"data: [DONE]\n\n")
    first, second = ScriptedBackend(Script(chunks=chunks)), ScriptedBackend(Script(chunks=chunks))

    async def act(a: Replica, b: Replica) -> None:
        replies = await asyncio.gather(a.coalesce.open(make_call(STEADY)), b.coalesce.open(make_call(STEADY)))
        assert await asyncio.gather(*map(end, replies)) == [b"".join(chunks)] * 2

    play(redis_server, first, second, act, most_bytes=20_000)


@pytest.mark.parametrize("chunks", [None, answer("one two")])
def test_a_redis_that_is_not_there_is_not_noticed(chunks: tuple[bytes, ...] | None) -> None:
    async def run() -> None:
        upstream = ScriptedBackend(Script(content=b"yes", chunks=chunks))
        replica = Replica("redis://127.0.0.1:1/0", "p:", upstream, store_s=0.5)
        assert await end(await replica.coalesce.open(make_call(STEADY))) == b"".join(chunks or (b"yes",))

    asyncio.run(run())


def test_a_redis_that_dies_midway_cuts_nobody(redis_server: Engine) -> None:
    if not redis_server.ours:
        pytest.skip("a server named in the environment is not killed")
    gate = asyncio.Event()
    chunks = answer("one two three")
    first = ScriptedBackend(Script(chunks=chunks, before_chunks=(None, gate)))
    second = ScriptedBackend(Script(chunks=answer("one two three", 2)))

    async def act(a: Replica, b: Replica) -> None:
        leader = await a.coalesce.open(make_call(STEADY))
        follower = await b.coalesce.open(make_call(STEADY))
        stream = pieces(follower)
        got = await anext(stream)
        redis_server.kill()
        gate.set()
        got += b"".join([chunk async for chunk in stream])
        assert said(got) == said(await end(leader)) == "one two three "
        await follower.aclose()
        assert charges(leader, follower) == [1, 1], "two upstream calls, a charge for each"

    try:
        play(redis_server, first, second, act)
    finally:
        redis_server.start()


def test_a_redis_that_hangs_holds_up_nobody_for_long(redis_server: Engine) -> None:
    if not redis_server.ours:
        pytest.skip("a server named in the environment is not stopped")
    upstream = ScriptedBackend(Script(content=b"yes"))

    async def act(a: Replica, b: Replica) -> None:
        redis_server.pause()
        async with asyncio.timeout(60):
            assert (await a.coalesce.open(make_call(STEADY))).content == b"yes"

    try:
        play(redis_server, upstream, upstream, act, store_s=0.2)
    finally:
        redis_server.resume()


def test_entries_that_were_tampered_with_are_not_taken(redis_server: Engine) -> None:
    first = ScriptedBackend(Script(chunks=answer("one two"), before_chunks=(None, asyncio.Event())))
    second = ScriptedBackend(Script(chunks=answer("own own", 2)))

    async def act(a: Replica, b: Replica) -> None:
        await a.coalesce.open(make_call(STEADY))
        b.relay._codec = Codec((b"x" * 32,))  # it takes only what its key has sealed
        assert said(await end(await b.coalesce.open(make_call(STEADY)))) == "own own "

    play(redis_server, first, second, act)


def test_a_store_that_fails_is_left_alone_and_asked_again_later() -> None:
    class Failing:
        def __init__(self) -> None:
            self.asked = 0

        async def write(self, key: str, *, ttl_s: float) -> None:
            self.asked += 1
            raise StoreError("down")

        async def read(self, key: str) -> None:
            return None

    async def run() -> None:
        relay = Failing()
        across = Across(ScriptedBackend(Script(content=b"yes")), relay)
        for _ in range(20):
            assert (await across.open(make_call(STEADY))).content == b"yes"
        assert relay.asked == 1
        across._rests_until = 0.0
        await across.open(make_call(STEADY))
        assert relay.asked == 2

    asyncio.run(run())


def test_a_caller_does_not_wait_until_the_others_were_told() -> None:
    class Slow:
        async def append(self, entries: object = ()) -> bool:
            await asyncio.sleep(3_600)
            return True

        async def readers(self) -> int:
            return 0

        async def end(self) -> None:
            return None

        async def write(self, key: str, *, ttl_s: float) -> Slow:
            return self

        async def read(self, key: str) -> None:
            return None

    async def run() -> None:
        across = Across(ScriptedBackend(Script(content=b"yes")), Slow(), store_s=3_600.0)
        async with asyncio.timeout(60):
            assert (await across.open(make_call(STEADY))).content == b"yes"
        across.store_s = 0.01
        await across.aclose()
        await asyncio.sleep(0)
        assert not [task for task in across.posting if not task.cancelling()]

    asyncio.run(run())
