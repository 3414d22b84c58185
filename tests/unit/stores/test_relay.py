"""Answers on their way through a real Redis, and through Valkey, which speaks the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest
from tests.engines import Engine
from tests.pace import at_some_pace

from pennyweight.errors import StoreError
from pennyweight.stores.redis import connect
from pennyweight.stores.relay import RedisRelay
from pennyweight.stores.sealed import Codec


@pytest.fixture(params=["redis_server", "valkey_server"])
def server(request: pytest.FixtureRequest) -> Engine:
    found: Engine = request.getfixturevalue(request.param)
    return found


def play(server: Engine, act: Callable[[RedisRelay, RedisRelay], Awaitable[None]], *codecs: Codec) -> None:
    """With two processes' relays."""

    async def run() -> None:
        prefix = f"test-{uuid4().hex}:"
        first, second = codecs or (None, None)
        one = RedisRelay(connect(server.url), codec=first, prefix=prefix)
        other = RedisRelay(connect(server.url), codec=second, prefix=prefix)
        try:
            await act(one, other)
        finally:
            await one.aclose()
            await other.aclose()

    asyncio.run(run())


def test_one_writes_and_others_read_from_the_start(server: Engine) -> None:
    async def act(one: RedisRelay, other: RedisRelay) -> None:
        assert await other.read("k") is None
        writing = await one.write("k", ttl_s=60)
        assert writing is not None
        assert await other.write("k", ttl_s=60) is None
        assert await other.write("another", ttl_s=60) is not None
        assert await writing.append([b"a", b"", bytes(100_000)])
        reading = await other.read("k")
        assert reading is not None
        assert await writing.readers() == 0
        assert await reading.more(timeout_s=60) == [b"a", b"", bytes(100_000)]
        assert await writing.readers() == 1
        assert await reading.more(timeout_s=0.01) == []
        waiting = asyncio.create_task(reading.more(timeout_s=60))
        await asyncio.sleep(0.05)
        assert await writing.append([b"b"])
        assert await waiting == [b"b"]
        await writing.end()
        assert not await reading.alive()
        assert await other.write("k", ttl_s=60) is not None, "whoever comes now begins anew"
        assert await reading.more(timeout_s=0.01) == []

    play(server, act)


def test_a_right_that_lapsed_is_lost_to_its_holder(server: Engine) -> None:
    async def act(one: RedisRelay, other: RedisRelay) -> None:
        writing = await one.write("k", ttl_s=0.05)
        assert writing is not None
        await asyncio.sleep(0.1)
        second = await other.write("k", ttl_s=60)
        assert second is not None
        assert not await writing.append([b"late"])
        await writing.end()  # takes nothing from the new holder
        assert await second.append([b"mine"])
        reading = await one.read("k")
        assert reading is not None
        assert await reading.more(timeout_s=60) == [b"mine"]

    play(server, act)


def test_appending_nothing_keeps_the_right(server: Engine) -> None:
    def test(pace: float) -> None:
        async def act(one: RedisRelay, _other: RedisRelay) -> None:
            writing = await one.write("k", ttl_s=0.3 * pace)
            assert writing is not None
            for _ in range(4):
                await asyncio.sleep(0.1 * pace)
                assert await writing.append()

        play(server, act)

    at_some_pace(test)


def test_what_another_key_has_sealed_is_refused(server: Engine) -> None:
    async def act(one: RedisRelay, other: RedisRelay) -> None:
        writing = await one.write("k", ttl_s=60)
        assert writing is not None
        await writing.append([b"secret words"])
        reading = await other.read("k")
        assert reading is not None
        with pytest.raises(StoreError, match="damaged"):
            await reading.more(timeout_s=60)

    play(server, act, Codec((b"a" * 32,)), Codec((b"b" * 32,)))


def test_nothing_is_in_the_clear_where_there_is_a_key(server: Engine) -> None:
    async def act(one: RedisRelay, _other: RedisRelay) -> None:
        writing = await one.write("k", ttl_s=60)
        assert writing is not None
        await writing.append([b"secret words"])
        (stream,) = [name for name in await one.ask("KEYS", one._prefix + "*") if b":answer:" in name]
        told = await one.ask("XRANGE", stream, "-", "+")
        assert b"secret" not in repr(told).encode()
        assert 0 < int(await one.ask("PTTL", stream)) <= 30_000

    play(server, act, Codec((b"a" * 32,)), Codec((b"a" * 32,)))


def test_a_server_that_is_not_there_is_a_store_error() -> None:
    async def run() -> None:
        relay = RedisRelay(connect("redis://127.0.0.1:1/0"))
        for asked in (relay.write("k", ttl_s=1), relay.read("k")):
            with pytest.raises(StoreError, match="cannot be reached"):
                await asked
        await relay.aclose()

    asyncio.run(run())
