"""A slow look-up with `@pennyweight.cached`: python examples/cached_functions.py, twice to see what is kept."""

from __future__ import annotations

import asyncio
import dataclasses
import time

import pennyweight


@dataclasses.dataclass(frozen=True)
class Place:
    name: str
    country: str = "DE"


@pennyweight.cached(ttl=pennyweight.hours(24), stale=pennyweight.hours(1), cost_usd=0.002)
async def geocode(place: Place) -> tuple[float, float]:
    """Pretends to be a service that takes half a second and a fifth of a cent."""
    await asyncio.sleep(0.5)
    return len(place.name) * 1.5, len(place.country) * 7.25


async def main() -> None:
    began = time.perf_counter()
    places = [Place("Ulm"), Place("Bonn"), Place("Ulm")] * 100
    await asyncio.gather(*(geocode(place) for place in places))
    stats = geocode.stats()
    print(
        f"{len(places)} calls in {time.perf_counter() - began:.2f} s: {stats.misses} ran, {stats.hit_share:.0%} did not"
    )


if __name__ == "__main__":
    asyncio.run(main())
