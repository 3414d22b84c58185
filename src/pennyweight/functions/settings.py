"""What `cached` was told about a function, and what it tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ..money import PicoUSD, parse_usd

__all__ = ["FunctionStats", "Settings"]


class Settings(msgspec.Struct, frozen=True):
    """What `cached` was told. Times in seconds."""

    ttl_s: float | None
    stale_s: float
    negative_ttl_s: float
    key: Callable[..., object] | None
    ignore: tuple[str, ...]
    version: str | None
    cost: Callable[[Any], PicoUSD]
    memory: int

    @classmethod
    def of(
        cls,
        ttl: float | None,
        stale: float,
        negative_ttl: float,
        key: Callable[..., object] | None,
        ignore: Sequence[str],
        version: str | int | None,
        cost_usd: float | Callable[[Any], float],
        memory: int,
    ) -> Settings:
        """Raises ValueError for what cannot be meant."""
        for name, seconds in (("ttl", ttl), ("stale", stale), ("negative_ttl", negative_ttl)):
            if seconds is not None and not 0 <= seconds < float("inf"):
                raise ValueError(f"cached: {name}={seconds!r} must be seconds, 0 or more.")
        if ttl == 0:
            raise ValueError("cached: ttl=0 would keep nothing; leave out @cached, or give seconds such as hours(1).")
        if isinstance(ignore, str):
            raise ValueError(f"cached: ignore={ignore!r} must be names in a tuple: ignore=({ignore!r},).")
        flat = None if callable(cost_usd) else int(parse_usd(repr(float(cost_usd))))

        def cost(value: Any) -> PicoUSD:
            return flat if flat is not None else int(parse_usd(repr(float(cost_usd(value)))))  # type: ignore[operator]

        told = None if version is None else str(version)
        return cls(ttl, stale, negative_ttl, key, tuple(ignore), told, cost, memory)


class FunctionStats(msgspec.Struct, frozen=True):
    """What happened to one function in this process. `stale` are among the hits, `failures` among the misses.

    `shared`: calls that waited for another one's result. `unstorable`: results that could not be kept. `saved_s`: the
    seconds that the results had taken to make; `saved`: pico-dollars, as far as `cost_usd` tells.
    """

    hits: int = 0
    stale: int = 0
    shared: int = 0
    misses: int = 0
    failures: int = 0
    unstorable: int = 0
    saved_s: float = 0.0
    saved: PicoUSD = 0

    @property
    def hit_share(self) -> float:
        """Of all calls, in [0, 1]; shared calls count as answered."""
        calls = self.hits + self.shared + self.misses
        return (self.hits + self.shared) / calls if calls else 0.0
