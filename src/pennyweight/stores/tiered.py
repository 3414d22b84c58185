"""Several stores as one: reads ask the fast ones first and fill them, writes go to all."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..errors import StoreError
from ..protocols import KV

__all__ = ["Tiered"]

log = logging.getLogger(__name__)


class Tiered:
    """A KV over `tiers`, fastest first. A tier that fails is skipped; counters live in the last tier alone, so that
    `add` stays atomic. `fill_ttl_s` bounds how long an upper tier keeps what it was filled with from below.
    """

    def __init__(self, tiers: Sequence[KV], *, fill_ttl_s: float = 300.0) -> None:
        if not tiers:
            raise ValueError("no tiers")
        self._tiers = tuple(tiers)
        self._fill_ttl_s = fill_ttl_s

    async def get(self, key: str) -> bytes | None:
        """Raises StoreError only when every tier fails."""
        failed = 0
        for depth, tier in enumerate(self._tiers):
            try:
                value = await tier.get(key)
            except StoreError as error:
                failed += 1
                self._skipped(depth, error)
                continue
            if value is not None:
                if not _may_be_counter(value):  # a copy of one would not see the next `add`
                    await self._fill(depth, key, value)
                return value
        if failed == len(self._tiers):
            raise StoreError("No tier of the store answers.")
        return None

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        failed = 0
        for depth, tier in enumerate(self._tiers):
            try:
                await tier.put(key, value, ttl_s=ttl_s)
            except StoreError as error:
                failed += 1
                self._skipped(depth, error)
        if failed == len(self._tiers):
            raise StoreError("No tier of the store takes writes.")

    async def delete(self, prefix: str) -> int:
        """How many keys the largest tier dropped. Raises StoreError, when all were asked, if one of them failed."""
        dropped, failure = 0, None
        for depth, tier in enumerate(self._tiers):
            try:
                dropped = max(dropped, await tier.delete(prefix))
            except StoreError as error:
                failure = error
                self._skipped(depth, error)
        if failure is not None:
            raise failure
        return dropped

    async def add(self, key: str, amount: int, *, ttl_s: float | None = None) -> int:
        return await self._tiers[-1].add(key, amount, ttl_s=ttl_s)

    async def _fill(self, depth: int, key: str, value: bytes) -> None:
        """Keep what tier `depth` gave in the tiers above it."""
        for number, upper in enumerate(self._tiers[:depth]):
            try:
                await upper.put(key, value, ttl_s=self._fill_ttl_s)
            except StoreError as error:
                self._skipped(number, error)

    def _skipped(self, depth: int, error: StoreError) -> None:
        log.warning("a store tier failed", extra={"tier": depth, "error": type(error).__name__})


def _may_be_counter(value: bytes) -> bool:
    return value.removeprefix(b"-").isdigit()
