"""Names of texts, and who can have them back."""

from __future__ import annotations

import asyncio
import re

import pytest

from pennyweight.errors import StoreError
from pennyweight.kept import named
from pennyweight.references import FACT, NAME_PATTERN, References, leave_out, reference_id
from pennyweight.stores.memory import MemoryKV
from pennyweight.stores.purge import Wanted, purge
from pennyweight.testing.clock import FakeClock


def test_a_name_is_of_the_text_the_session_and_the_tenant() -> None:
    name = reference_id("a", "s", "text")
    assert re.fullmatch(NAME_PATTERN, name)
    assert reference_id("a", "s", "text") == name
    others = [("a", "s", "texT"), ("a", "t", "text"), ("b", "s", "text"), ("as", "", "text"), ("", "as", "text")]
    assert len({name, *(reference_id(*other) for other in others)}) == 6
    assert re.fullmatch(NAME_PATTERN, reference_id("a", "s", "broken \ud800 text"))


def test_a_text_comes_back_to_its_own_session_until_it_lapses() -> None:
    async def run() -> None:
        clock = FakeClock()
        store = References(MemoryKV(clock=clock), clock, ttl_s=100.0)
        await store.put("a", "s", "rname", "grüße \ud800 text")
        await store.note("a", "s", "rname", b"other")
        assert await store.get("a", "s", "rname") == "grüße \ud800 text"
        assert await store.noted("a", "s", "rname") == b"other"
        assert await store.get("a", "t", "rname") is None
        assert await store.get("b", "s", "rname") is None
        assert await store.get("a", "s", "rother") is None
        clock.advance(101.0)
        assert await store.get("a", "s", "rname") is None

    asyncio.run(run())


def test_a_text_that_is_too_long_is_not_kept() -> None:
    async def run() -> None:
        clock = FakeClock()
        store = References(MemoryKV(clock=clock), clock, max_bytes=4)
        with pytest.raises(StoreError, match=r"references\.max_bytes is 4"):
            await store.put("a", "s", "rname", "12345")

    asyncio.run(run())


def test_a_purge_of_a_tenant_takes_its_texts_and_no_other() -> None:
    async def run() -> None:
        clock = FakeClock()
        kv = MemoryKV(clock=clock)
        store = References(kv, clock)
        for tenant in ("a", "b/c"):
            await store.put(tenant, "s", "rname", "text")
        keys = await kv.keys("references/", limit=10)
        assert {told.tenant for key in keys if (told := named(key)) is not None} == {"a", "b/c"}
        await purge(kv, Wanted(tenant="a"), now=clock.now())
        assert await store.get("a", "s", "rname") is None
        assert await store.get("b/c", "s", "rname") == "text"

    asyncio.run(run())


def test_what_optimizers_leave_out_adds_up() -> None:
    facts: dict[str, object] = {}
    leave_out(facts, {"ra": "1"})
    first = facts[FACT]
    leave_out(facts, {"rb": "2"})
    assert facts[FACT] == {"ra": "1", "rb": "2"}
    assert first == {"ra": "1"}


def test_a_text_that_is_not_written_is_not_kept() -> None:
    async def run() -> None:
        clock = FakeClock()

        async def written(key: str) -> bool:
            return False

        store = References(MemoryKV(clock=clock), clock, written=written)
        with pytest.raises(StoreError, match="could not be written"):
            await store.put("a", "s", "rname", "text")

    asyncio.run(run())
