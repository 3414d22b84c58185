"""What every store of vectors must do, as checks that need no test runner (see `contracts`).

`open_vectors(clock)` is an async context manager that gives an empty store which tells the time by that clock. Cosines
are compared to within 0.02, as far as eight-bit vectors go.
"""

from __future__ import annotations

import asyncio
import math
import random
import struct
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from ..errors import StoreError
from ..protocols import Clock, Vectors
from .clock import FakeClock

__all__ = ["VECTOR_CHECKS", "OpenVectors", "packed", "unit"]

OpenVectors = Callable[[Clock], AbstractAsyncContextManager[Vectors]]

_TOLERANCE = 0.02


def packed(values: Sequence[float]) -> bytes:
    """Those values scaled to unit length, as the protocol wants them."""
    length = math.sqrt(sum(value * value for value in values))
    return struct.pack(f"<{len(values)}f", *(value / length for value in values))


def unit(seed: int, dimensions: int = 200) -> bytes:
    """A random direction, the same for the same seed."""
    source = random.Random(seed)
    return packed([source.gauss(0, 1) for _ in range(dimensions)])


def _cosine(a: bytes, b: bytes) -> float:
    left, right = struct.unpack(f"<{len(a) // 4}f", a), struct.unpack(f"<{len(b) // 4}f", b)
    return math.fsum(x * y for x, y in zip(left, right, strict=True))


def _same(got: object, want: object, what: str) -> None:
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def _ids(found: Sequence[tuple[str, float]]) -> list[str]:
    return [id for id, _ in found]


async def check_finds_the_nearest_first(open_vectors: OpenVectors) -> None:
    async with open_vectors(FakeClock()) as store:
        vectors = {f"v{n}": unit(n) for n in range(50)}
        for id, vector in vectors.items():
            await store.add("s", id, vector)
        for id, vector in list(vectors.items())[:5]:
            found = await store.nearest("s", vector, limit=5)
            want = sorted(vectors, key=lambda other: -_cosine(vector, vectors[other]))
            _same(found[0][0], id, "the nearest to a vector that is there")
            _same(len(found), 5, "how many were found")
            if not set(_ids(found)) <= set(want[:8]):
                raise AssertionError(f"the five nearest are {want[:5]}, got {_ids(found)}")
            for other, cosine in found:
                if abs(cosine - _cosine(vector, vectors[other])) > _TOLERANCE:
                    raise AssertionError(f"cosine of {other}: {cosine}, want {_cosine(vector, vectors[other])}")
            _same(_ids(found), [o for o, _ in sorted(found, key=lambda pair: -pair[1])], "the order")


async def check_cosines_reach_from_one_to_minus_one(open_vectors: OpenVectors) -> None:
    async with open_vectors(FakeClock()) as store:
        for id, values in (("same", (1, 0, 0, 0)), ("across", (0, 1, 0, 0)), ("opposite", (-1, 0, 0, 0))):
            await store.add("s", id, packed(values))
        found = await store.nearest("s", packed((1, 0, 0, 0)), limit=10)
        _same(_ids(found), ["same", "across", "opposite"], "the order")
        for (_, cosine), want in zip(found, (1.0, 0.0, -1.0), strict=True):
            if abs(cosine - want) > _TOLERANCE:
                raise AssertionError(f"cosines {found}")


async def check_empty_spaces_find_nothing(open_vectors: OpenVectors) -> None:
    async with open_vectors(FakeClock()) as store:
        _same(list(await store.nearest("nowhere", unit(1), limit=3)), [], "in a space that never was")
        await store.remove("nowhere", "nothing")
        await store.add("s", "a", unit(1))
        _same(list(await store.nearest("s", unit(1), limit=0)), [], "none asked for")
        _same(_ids(await store.nearest("s", unit(1), limit=100)), ["a"], "more asked for than there are")


async def check_an_id_holds_one_vector(open_vectors: OpenVectors) -> None:
    async with open_vectors(FakeClock()) as store:
        await store.add("s", "a", unit(1))
        await store.add("s", "a", unit(2))
        found = await store.nearest("s", unit(2), limit=5)
        _same(_ids(found), ["a"], "after it was replaced")
        if abs(found[0][1] - 1) > _TOLERANCE:
            raise AssertionError(f"the older vector was found: {found}")


async def check_removed_is_gone(open_vectors: OpenVectors) -> None:
    async with open_vectors(FakeClock()) as store:
        for n in range(5):
            await store.add("s", f"v{n}", unit(n))
        await store.remove("s", "v2")
        await store.remove("s", "never there")
        _same(sorted(_ids(await store.nearest("s", unit(2), limit=9))), ["v0", "v1", "v3", "v4"], "what is left")
        await store.add("s", "v2", unit(2))
        _same(_ids(await store.nearest("s", unit(2), limit=1)), ["v2"], "after it was added again")


async def check_spaces_are_apart(open_vectors: OpenVectors) -> None:
    """Two tenants with the same text: neither finds the other's."""
    async with open_vectors(FakeClock()) as store:
        names = ("acme/e1", "acme/e2", "acme/e1x", "acm%", "acme/*", "acme/[e]1", "ä/東京", "a b:c{d}", "x" * 300)
        for n, name in enumerate(names):
            await store.add(name, f"of {n}", unit(7))
        for n, name in enumerate(names):
            _same(_ids(await store.nearest(name, unit(7), limit=9)), [f"of {n}"], f"in {name!r}")
        await store.remove(names[0], "of 1")
        _same(_ids(await store.nearest(names[1], unit(7), limit=9)), ["of 1"], "after a removal elsewhere")


async def check_another_length_is_another_space(open_vectors: OpenVectors) -> None:
    """A model was changed: what it finds is its own, and the old vectors break nothing."""
    async with open_vectors(FakeClock()) as store:
        await store.add("s", "old", unit(1, 32))
        _same(list(await store.nearest("s", unit(1, 48), limit=5)), [], "with no vector of that length")
        await store.add("s", "new", unit(1, 48))
        _same(_ids(await store.nearest("s", unit(1, 48), limit=5)), ["new"], "by the new length")
        _same(_ids(await store.nearest("s", unit(1, 32), limit=5)), ["old"], "by the old length")
        await store.add("s", "old", unit(2, 48))
        await store.remove("s", "old")
        _same(list(await store.nearest("s", unit(1, 32), limit=5)), [], "removed in every length")
        await store.add("s", "old", unit(1, 32))
        _same(await store.delete("s"), 2, "vectors of both lengths")


async def check_vectors_lapse(open_vectors: OpenVectors) -> None:
    clock = FakeClock()
    async with open_vectors(clock) as store:
        await store.add("s", "short", unit(1), ttl_s=10)
        await store.add("s", "long", unit(2), ttl_s=1_000)
        await store.add("s", "ever", unit(3))
        clock.advance(9.5)
        _same(_ids(await store.nearest("s", unit(1), limit=1)), ["short"], "before its time")
        clock.advance(1)
        _same(sorted(_ids(await store.nearest("s", unit(1), limit=9))), ["ever", "long"], "after its time")
        await store.add("s", "long", unit(2))
        clock.advance(2_000)
        _same(sorted(_ids(await store.nearest("s", unit(1), limit=9))), ["ever", "long"], "added again without a time")
        await store.add("t", "only", unit(1), ttl_s=5)
        clock.advance(6)
        _same(list(await store.nearest("t", unit(1), limit=9)), [], "the only one of its space")


async def check_deletes_spaces_by_prefix(open_vectors: OpenVectors) -> None:
    async with open_vectors(FakeClock()) as store:
        for name, count in (("t1/a", 3), ("t1/b", 2), ("t1", 1), ("t10/a", 1), ("t1*", 1), ("t2/a", 1)):
            for n in range(count):
                await store.add(name, str(n), unit(n))
        _same(await store.delete("t1/"), 5, "vectors dropped")
        _same(list(await store.nearest("t1/a", unit(1), limit=9)), [], "of a dropped space")
        for name in ("t1", "t10/a", "t1*", "t2/a"):
            _same(_ids(await store.nearest(name, unit(0), limit=9)), ["0"], f"of {name}")
        _same(await store.delete("t1*"), 1, "a name that looks like a pattern")
        _same(await store.delete("nothing"), 0, "vectors under no name")
        _same(await store.delete(""), 3, "all that are left")


async def check_refuses_what_is_no_vector(open_vectors: OpenVectors) -> None:
    nan, zero = struct.pack("<4f", math.nan, 0, 0, 0), struct.pack("<4f", 0, 0, 0, 0)
    async with open_vectors(FakeClock()) as store:
        await store.add("s", "good", packed((1, 0, 0, 0)))
        for broken in (b"", b"abc", b"abcde", nan, zero, struct.pack("<4f", 3, 0, 0, 0)):
            for refused in (store.add("s", "bad", broken), store.nearest("s", broken, limit=1)):
                try:
                    await refused
                except StoreError:
                    continue
                raise AssertionError(f"{broken!r} was taken for a vector")
        _same(_ids(await store.nearest("s", packed((1, 0, 0, 0)), limit=9)), ["good"], "what is there")


async def check_takes_many_at_once(open_vectors: OpenVectors) -> None:
    async with open_vectors(FakeClock()) as store:
        await asyncio.gather(*(store.add("s", f"v{n}", unit(n)) for n in range(100)))
        found = await asyncio.gather(*(store.nearest("s", unit(n), limit=1) for n in range(100)))
        _same([_ids(one) for one in found], [[f"v{n}"] for n in range(100)], "each its own")


VECTOR_CHECKS: tuple[Callable[[OpenVectors], Awaitable[None]], ...] = (
    check_finds_the_nearest_first,
    check_cosines_reach_from_one_to_minus_one,
    check_empty_spaces_find_nothing,
    check_an_id_holds_one_vector,
    check_removed_is_gone,
    check_spaces_are_apart,
    check_another_length_is_another_space,
    check_vectors_lapse,
    check_deletes_spaces_by_prefix,
    check_refuses_what_is_no_vector,
    check_takes_many_at_once,
)
