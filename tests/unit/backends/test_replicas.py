"""Identical calls in two replicas: one asks, the others get its answer, and whatever goes wrong, each asks itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest

from pennyweight.backends.coalesce import Coalesce, share_key
from pennyweight.backends.replicas import Replicas
from pennyweight.call import Verdict
from pennyweight.clock import SystemClock
from pennyweight.errors import Overloaded, StoreError, Unreachable
from pennyweight.protocols import Lease
from pennyweight.request import Reply, Usage
from pennyweight.stores.leases import MemoryLeases
from pennyweight.testing.backend import Script, ScriptedBackend, make_call

STEADY = b'{"model":"m","temperature":0,"messages":[{"role":"user","content":"hi"}]}'
SAMPLED = b'{"model":"m","temperature":1,"messages":[]}'


class Hall:
    """A meeting place in memory; what is named in `broken` raises."""

    def __init__(self) -> None:
        self.leases = MemoryLeases(SystemClock())
        self.kept: dict[str, bytes] = {}
        self.broken: set[str] = set()
        self.spoil: Callable[[bytes], bytes] = lambda answer: answer

    def _check(self, what: str) -> None:
        if what in self.broken:
            raise StoreError("down")

    async def acquire(self, key: str, *, ttl_s: float) -> Lease | None:
        self._check("acquire")
        return await self.leases.acquire(key, ttl_s=ttl_s)

    async def wait(self, key: str, *, timeout_s: float) -> bytes | None:
        self._check("wait")
        return await self.leases.wait(key, timeout_s=timeout_s)

    async def answer(self, key: str) -> bytes | None:
        self._check("answer")
        return self.kept.get(key)

    async def keep(self, key: str, answer: bytes) -> None:
        self._check("keep")
        self.kept[key] = self.spoil(answer)


class Fleet:
    """Two replicas over one upstream."""

    def __init__(self, *scripts: Script, hall: Hall | None = None, **settings: float) -> None:
        self.hall = hall or Hall()
        self.upstream = ScriptedBackend(*scripts)
        limits: dict[str, int] = {k: int(v) for k, v in settings.items() if k == "limit_bytes"}
        wait_s = settings.get("wait_s", 5.0)
        self.met = [Replicas(self.upstream, self.hall, share_key, wait_s=wait_s, **limits) for _ in range(2)]
        self.replicas = [Coalesce(met) for met in self.met]

    async def close(self) -> None:
        for backend in (*self.replicas, *self.met):
            await backend.aclose()


async def whole(reply: Reply) -> bytes:
    body = reply.content if reply.content is not None else b"".join([chunk async for chunk in reply.chunks or ()])
    await reply.aclose()
    return body


@pytest.mark.parametrize("chunks", [None, (b"data: 1\n\n", b"data: 2\n\n")])
def test_one_call_upstream_for_all_replicas(chunks: tuple[bytes, ...] | None) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        fleet = Fleet(Script(content=b'{"answer":42}', chunks=chunks, headers=(("x-id", "7"),), before_open=gate))

        async def ask(number: int) -> tuple[bytes, Reply]:
            reply = await fleet.replicas[number % 2].open(make_call(STEADY, call_id=f"c{number}"))
            return await whole(reply), reply

        asking = [asyncio.create_task(ask(number)) for number in range(20)]
        await asyncio.sleep(0.05)
        gate.set()
        answers = await asyncio.gather(*asking)
        assert len(fleet.upstream.calls) == 1
        assert {body for body, _ in answers} == {b"".join(chunks) if chunks else b'{"answer":42}'}
        replies = [reply for _, reply in answers]
        assert all(reply.headers == (("x-id", "7"),) for reply in replies)
        assert sum(len(reply.done.charges) for reply in replies if reply.done) == 1
        assert all(
            reply.done and reply.done.complete and reply.done.usage == Usage(10, output_tokens=5) for reply in replies
        )
        notes = [step for reply in replies for step in reply.notes]
        assert all((step.optimizer, step.verdict) == ("coalesce", Verdict.ACCEPTED) for step in notes)
        assert any("another replica" in step.why for step in notes)
        await fleet.close()

    asyncio.run(main())


def test_sampled_calls_and_other_keys_do_not_meet() -> None:
    async def main() -> None:
        fleet = Fleet(Script(content=b"x"))
        fleet.hall.broken = {"acquire"}  # never asked for these
        for replica in fleet.replicas:
            await whole(await replica.open(make_call(SAMPLED)))
        fleet.hall.broken = set()
        gate = asyncio.Event()
        held = Fleet(Script(content=b"x", before_open=gate), hall=fleet.hall)
        asking = [
            asyncio.create_task(held.replicas[n].open(make_call(STEADY, tenant=tenant)))
            for n, tenant in enumerate(("acme", "other"))
        ]
        await asyncio.sleep(0.02)
        assert len(held.upstream.calls) == 2  # two tenants never share
        gate.set()
        for reply in await asyncio.gather(*asking):
            await whole(reply)
        await held.close()
        await fleet.close()

    asyncio.run(main())


@pytest.mark.parametrize("broken", ["acquire", "wait", "answer", "keep"])
def test_where_replicas_cannot_meet_each_asks(broken: str) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        fleet = Fleet(Script(content=b"x", before_open=gate))
        fleet.hall.broken = {broken}
        asking = [asyncio.create_task(replica.open(make_call(STEADY))) for replica in fleet.replicas]
        await asyncio.sleep(0.02)
        gate.set()
        for reply in await asyncio.gather(*asking):
            assert await whole(reply) == b"x"
        assert len(fleet.upstream.calls) == 2
        await fleet.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "first",
    [
        Script(error=Unreachable("no")),
        Script(error=Overloaded("full")),
        Script(status=500, content=b"{}"),
        Script(chunks=(b"half",), cut=Unreachable("gone")),
        Script(content=b"x" * 2000),
    ],
    ids=["unreachable", "overloaded", "500", "cut", "too long"],
)
def test_an_answer_that_is_no_good_is_nobody_elses(first: Script) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        late = Script(
            first.status, first.headers, first.content, first.chunks, error=first.error, cut=first.cut, before_open=gate
        )
        fleet = Fleet(late, Script(content=b"good"), limit_bytes=1000)
        leading = asyncio.create_task(fleet.replicas[0].open(make_call(STEADY)))
        await asyncio.sleep(0.02)
        following = asyncio.create_task(fleet.replicas[1].open(make_call(STEADY)))
        await asyncio.sleep(0.02)
        gate.set()
        with contextlib.suppress(Unreachable, Overloaded):  # the first caller's own trouble
            await whole(await leading)
        assert await whole(await following) == b"good"
        assert len(fleet.upstream.calls) == 2
        await fleet.close()

    asyncio.run(main())


def test_a_caller_who_leaves_lets_the_others_ask() -> None:
    async def main() -> None:
        gate = asyncio.Event()
        fleet = Fleet(Script(chunks=(b"a", b"b"), before_chunks=(None, gate)), Script(content=b"good"))
        leader = await fleet.replicas[0].open(make_call(STEADY))
        following = asyncio.create_task(fleet.replicas[1].open(make_call(STEADY)))
        await asyncio.sleep(0.02)
        assert not following.done()
        await leader.aclose()
        assert await whole(await following) == b"good"
        await fleet.close()

    asyncio.run(main())


def test_nobody_waits_longer_than_they_should() -> None:
    async def main() -> None:
        gate = asyncio.Event()
        fleet = Fleet(Script(content=b"late", before_open=gate), Script(content=b"own"), wait_s=0.05)
        leading = asyncio.create_task(fleet.replicas[0].open(make_call(STEADY)))
        await asyncio.sleep(0.02)
        assert await whole(await fleet.replicas[1].open(make_call(STEADY))) == b"own"
        gate.set()
        assert await whole(await leading) == b"late"
        await fleet.close()

    asyncio.run(main())


def test_an_answer_of_another_release_is_not_read() -> None:
    async def main() -> None:
        gate = asyncio.Event()
        hall = Hall()
        hall.spoil = lambda answer: b"\xc0" + answer
        fleet = Fleet(Script(content=b"one", before_open=gate), Script(content=b"two"), hall=hall)
        leading = asyncio.create_task(fleet.replicas[0].open(make_call(STEADY)))
        await asyncio.sleep(0.02)
        following = asyncio.create_task(fleet.replicas[1].open(make_call(STEADY)))
        await asyncio.sleep(0.02)
        gate.set()
        assert [await whole(await leading), await whole(await following)] == [b"one", b"two"]
        await fleet.close()

    asyncio.run(main())
