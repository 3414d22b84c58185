"""A clock that moves when told, and a store that can break, for the tests of backends."""

from __future__ import annotations

from pennyweight.errors import StoreError
from pennyweight.testing.optimizer_contract import ContractKV


class FakeClock:
    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.time = now
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


class BreakableKV(ContractKV):
    def __init__(self) -> None:
        super().__init__()
        self.down = False

    async def add(self, key: str, amount: int, *, ttl_s: float | None = None) -> int:
        if self.down:
            raise StoreError("The store is down.")
        return await super().add(key, amount, ttl_s=ttl_s)
