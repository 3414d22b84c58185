"""Vectors in memory against a plain list of them, whatever is added, replaced, removed, lapses and is asked."""

from __future__ import annotations

import asyncio
import math
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.stores.vectors.memory import MemoryVectors
from pennyweight.testing.clock import FakeClock
from pennyweight.testing.vector_contract import unit

DIMENSIONS = 130  # more than two words of bits, and not a whole number of them

ids = st.integers(0, 30).map(str)
seeds = st.integers(0, 40)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), ids, seeds, st.sampled_from([None, 5.0, 50.0])),
        st.tuples(st.just("remove"), ids),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 4.0, 30.0])),
        st.tuples(st.just("ask"), seeds, st.integers(1, 40)),
    ),
    max_size=80,
)


def cosine(a: bytes, b: bytes) -> float:
    left, right = struct.unpack(f"<{DIMENSIONS}f", a), struct.unpack(f"<{DIMENSIONS}f", b)
    return sum(x * y for x, y in zip(left, right, strict=True))


@settings(max_examples=60, deadline=None)
@given(steps, st.sampled_from([3, 10_000]))
def test_it_finds_what_a_plain_list_would(done: list[tuple], flat: int) -> None:
    """With so few entries all are compared in the end, by sketches too, so that what is found is exact."""

    async def run() -> None:
        clock = FakeClock()
        store = MemoryVectors(clock=clock, flat=flat)
        plain: dict[str, tuple[bytes, float]] = {}
        for step in done:
            match step:
                case ("add", id, seed, ttl_s):
                    vector = unit(seed, DIMENSIONS)
                    await store.add("s", id, vector, ttl_s=ttl_s)
                    plain[id] = vector, math.inf if ttl_s is None else clock.now() + ttl_s
                case ("remove", id):
                    await store.remove("s", id)
                    plain.pop(id, None)
                case ("wait", seconds):
                    clock.advance(seconds)
                case ("ask", seed, limit):
                    query = unit(seed, DIMENSIONS)
                    plain = {id: kept for id, kept in plain.items() if kept[1] > clock.now()}
                    wanted = sorted((cosine(query, vector) for vector, _ in plain.values()), reverse=True)[:limit]
                    found = await store.nearest("s", query, limit=limit)
                    assert len(found) == len(wanted) == len({id for id, _ in found})
                    for (id, told), want in zip(found, wanted, strict=True):
                        assert abs(told - want) < 1e-3
                        assert abs(told - cosine(query, plain[id][0])) < 1e-3
        assert sorted(await store.ids("s", limit=100)) == sorted(id for id, v in plain.items() if v[1] > clock.now())

    asyncio.run(run())
