"""What compaction saves over whole sessions at cached prices, by their pauses, and whether any becomes dearer.

  python -m bench.compaction [--sessions 10] [--seed 1]

Sessions of 20 to 45 calls with results of 400 to 1,200 tokens, of every kind of client, through the gateway to a
provider that bills by a model of its cache: once with the optimizers that keep caches, and once with compaction too.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

import msgspec

from pennyweight.capture.format import Recorded
from pennyweight.config import OptimizerRule
from pennyweight.replay.offline import Replay

from .cells import Cell, PriceClass, Session, opened, played, sessions
from .result import progress, report
from .sessions import Plan, calls_of, plans

__all__ = ["main"]

PRICE = PriceClass(0.1, 1.25)
PAUSES = ("seconds", "steady_20min", "steady_3h", "bursts_10min", "jittered_5min")
CACHING = ("prompt_cache", "billing_header")
SETTINGS = {"session_tokens": 8_000, "turns": 10, "result_tokens": 2_000, "lossy": True}
"""Small, so that sessions of a length that can be played reach them. No client of these offers the recall tool."""

TARGETS = {"worst_ratio": "<= 1.001", "refused": "== 0", "saving": ">= 0.1"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.compaction", description=__doc__)
    parser.add_argument("--sessions", type=int, default=10, help="of each kind of pause")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    found: dict[str, float] = {}
    all_without: list[Session] = []
    all_with: list[Session] = []
    for pauses in PAUSES:
        calls = [call for plan in _plans(asked.sessions, asked.seed, pauses) for call in calls_of(plan)]
        without, done = _play(calls, compacting=False), _play(calls, compacting=True)
        all_without += without
        all_with += done
        found[f"saving_{pauses}"] = _saving(without, done)
        progress(f"{pauses}: {found[f'saving_{pauses}']:.1%} of {len(done)} sessions")
    pairs = [after.input_after / before.input_after for before, after in zip(all_without, all_with, strict=True)]
    found["saving"] = _saving(all_without, all_with)
    found["compacted"] = sum(ratio < 0.99 for ratio in pairs) / len(pairs)
    found["worst_ratio"] = max(session.ratio for session in all_with)
    found["worst_ratio_to_caching"] = max(pairs)
    found["refused"] = sum(session.refused for session in all_with)
    figures = {name: round(value, 4) for name, value in found.items()}
    return report("compaction", seed=asked.seed, figures=figures, targets=TARGETS)


def _plans(count: int, seed: int, pauses: str) -> list[Plan]:
    made = plans(count, seed, calls=(20, 45))
    return [msgspec.structs.replace(plan, gaps=pauses, result=(400, 1_200), loop=10, tools=12) for plan in made]


def _play(calls: Sequence[Recorded], *, compacting: bool) -> list[Session]:
    """The sessions, in the order in which they began."""
    names = (*CACHING, "context") if compacting else CACHING
    rules = tuple(OptimizerRule(name, settings=SETTINGS if name == "context" else {}) for name in names)

    async def main() -> Replay:
        async with opened(Cell(PRICE, "max"), rules=rules) as (app, clock):
            return await played(calls, app, clock, "max")

    return sessions(asyncio.run(main()).lines, PRICE)


def _saving(without: Sequence[Session], done: Sequence[Session]) -> float:
    """Of the cost of input that caching leaves."""
    return 1 - sum(s.input_after for s in done) / sum(s.input_after for s in without)


if __name__ == "__main__":
    sys.exit(main())
