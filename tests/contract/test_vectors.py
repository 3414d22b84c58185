"""The contract suite of `pennyweight.testing.vector_contract` against every store of vectors we ship."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pennyweight.protocols import Clock, Vectors
from pennyweight.stores.database import FILE, Database
from pennyweight.stores.vectors.kept import Kept
from pennyweight.stores.vectors.memory import MemoryVectors
from pennyweight.testing.vector_contract import VECTOR_CHECKS


@asynccontextmanager
async def in_memory(clock: Clock) -> AsyncIterator[Vectors]:
    store = MemoryVectors(clock=clock)
    yield store
    await store.aclose()


@asynccontextmanager
async def sketched(clock: Clock) -> AsyncIterator[Vectors]:
    """By sketches from the third entry on."""
    store = MemoryVectors(clock=clock, flat=2)
    yield store
    await store.aclose()


@asynccontextmanager
async def kept(clock: Clock) -> AsyncIterator[Vectors]:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / FILE)
        store = MemoryVectors(clock=clock, kept=Kept(database))
        try:
            yield store
        finally:
            await store.aclose()
            await database.close()


@pytest.mark.parametrize("check", VECTOR_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("open_vectors", [in_memory, sketched, kept])
def test_vectors(check, open_vectors) -> None:
    asyncio.run(check(open_vectors))
