"""How well do we know what a provider will read from its cache? Predictions against what it then bills.

The sessions are those of `bench.never_costs_more`. The provider keeps its documented rules, or has a tokenizer of its
own, loses entries early, and forgets sooner or later than it says: from that a forecast can only learn.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from pennyweight.call import Optimize
from pennyweight.capture.format import Recorded
from pennyweight.replay.offline import Line
from pennyweight.request import Usage, Wire
from pennyweight.testing.prefix_cache import PrefixCache
from pennyweight.text.tokenizers import BpeTokenizer

from .cells import Cell, opened, played
from .material import default_data, files_in, label, recorded
from .never_costs_more import LIST_PRICE
from .result import progress, report
from .sessions import START, calls_of, plans

LEARNING_CALLS = 20  # of each provider and model, that do not count
TARGETS = {"error_share_after_20": "<= 0.02"}


class Luck(msgspec.Struct, frozen=True):
    """How a provider differs from what is documented. tokens: its count for one of ours; lost: share of calls before
    which a conversation's entries are gone; life: how long entries live, as a multiple of what is documented."""

    name: str
    tokens: float = 1.0
    lost: float = 0.0
    life: float = 1.0


DOCUMENTED = Luck("documented")
LUCKS = (
    DOCUMENTED,
    Luck("tokenizer", tokens=1.17),
    Luck("evicting", lost=0.03),
    Luck("short_life", life=0.6),
    Luck("long_life", life=2.5),
    Luck("all", tokens=1.3, lost=0.01, life=1.5),
)


class Pair(msgspec.Struct, frozen=True):
    """One call: what was foreseen and what was billed, in the provider's tokens. warm: None without a known prefix."""

    model: str
    predicted: float
    known: float
    warm: float | None
    usage: Usage


class Unlucky:
    """A provider's prompt cache with that luck. Before and after meet the same luck: it depends on the time only."""

    def __init__(self, count: Callable[[str], int], luck: Luck, seed: int) -> None:
        self._count = count
        self._luck = luck
        self._seed = seed
        self._caches: dict[bytes, PrefixCache] = {}  # for each conversation, told by how it begins

    def account(self, wire: Wire, body: Mapping[str, Any], *, at: float) -> Usage:
        conversation = msgspec.json.encode([wire, body.get("model"), _first_text(body)])
        if random.Random(f"{self._seed} {at:.3f}").random() < self._luck.lost:
            self._caches.pop(conversation, None)
        cache = self._caches.setdefault(conversation, PrefixCache(self._count))
        return cache.account(wire, body, at=START + (at - START) / self._luck.life)


def _first_text(body: Mapping[str, Any]) -> str:
    """What a conversation begins with, in whatever form: clients turn a text into a block when they mark it."""
    messages = body.get("messages") or body.get("input") or [""]
    content = messages[0].get("content") if isinstance(messages[0], Mapping) else messages[0]
    return "".join(str(part.get("text")) for part in content) if isinstance(content, list) else str(content)


class Task(msgspec.Struct, frozen=True):
    luck: Luck
    optimize: Optimize
    seed: int
    count: int
    paths: tuple[str, ...] = ()


def predicted(line: Line) -> Pair | None:
    """What was foreseen of a call; None where nothing was."""
    forecast = line.forecast
    if forecast is None:
        return None
    warm = forecast.warm if forecast.known_to else None
    return Pair(line.model, forecast.likely_read_tokens, forecast.known_tokens, warm, line.usage)


def perform(task: Task) -> list[Pair]:
    """The predictions of one run, in the order of the calls."""
    calls = [call for plan in plans(task.count, task.seed) for call in calls_of(plan)]
    for path in map(Path, task.paths):
        calls += [msgspec.structs.replace(call, session=label(path)) for call in recorded(path)]
    return asyncio.run(_pairs(task, calls))


async def _pairs(task: Task, calls: Sequence[Recorded]) -> list[Pair]:
    ours = BpeTokenizer().count
    async with opened(Cell(LIST_PRICE, task.optimize)) as (app, clock):
        replayed = await played(
            calls,
            app,
            clock,
            task.optimize,
            cache=lambda count: Unlucky(count, task.luck, task.seed),
            count=lambda text: round(ours(text) * task.luck.tokens),
        )
    return [pair for line in replayed.lines if (pair := predicted(line)) is not None]


def figures(runs: Sequence[tuple[Task, Sequence[Pair]]]) -> dict[str, float]:
    """Errors after the first calls of each model in each run, as a share of prompt tokens, and Brier scores."""
    found: dict[str, float] = {"calls": sum(len(pairs) for _, pairs in runs)}
    for luck in LUCKS:
        own = [pair for task, pairs in runs if task.luck == luck for pair in _learned(pairs)]
        if not own:
            continue
        name = "" if luck == DOCUMENTED else f"_{luck.name}"
        found[f"error_share_after_20{name}"] = _error(own)
        found[f"brier{name}"] = _brier(own)
    every = [pair for _, pairs in runs for pair in _learned(pairs)]
    for low in (0.0, 0.1, 0.5, 0.9, 0.97):  # of those given about this chance, so many were warm
        high = {0.0: 0.1, 0.1: 0.5, 0.5: 0.9, 0.9: 0.97}.get(low, 1.01)
        bucket = [pair for pair in every if pair.warm is not None and low <= pair.warm < high]
        if bucket:
            found[f"warm_at_{low}"] = sum(_hit(pair) for pair in bucket) / len(bucket)
    return {name: round(value, 5) for name, value in found.items()}


def _learned(pairs: Sequence[Pair]) -> list[Pair]:
    seen: dict[str, int] = {}
    found = []
    for pair in pairs:
        seen[pair.model] = seen.get(pair.model, 0) + 1
        if seen[pair.model] > LEARNING_CALLS:
            found.append(pair)
    return found


def _error(pairs: Sequence[Pair]) -> float:
    wrong = sum(abs(pair.predicted - pair.usage.cache_read_tokens) for pair in pairs)
    return wrong / max(sum(pair.usage.input_tokens for pair in pairs), 1)


def _brier(pairs: Sequence[Pair]) -> float:
    told = [(pair.warm - _hit(pair)) ** 2 for pair in pairs if pair.warm is not None]
    return sum(told) / max(len(told), 1)


def _hit(pair: Pair) -> bool:
    return pair.usage.cache_read_tokens >= 0.5 * pair.known


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.warmth", description=__doc__)
    parser.add_argument("--data", nargs="+", type=Path, metavar="PATH", help="recordings: files or folders")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sessions", type=int, default=45, help="made-up sessions a run (default 45)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    asked = parser.parse_args()
    paths = asked.data or default_data()
    recordings = tuple(str(path) for path in files_in(paths))
    levels: tuple[Optimize, ...] = ("safe", "max")
    todo = [Task(luck, level, asked.seed, asked.sessions, recordings) for luck in LUCKS for level in levels]
    runs: list[tuple[Task, list[Pair]]] = []
    with ProcessPoolExecutor(max_workers=asked.jobs) as pool:
        for task, pairs in zip(todo, pool.map(perform, todo), strict=True):
            progress(f"{task.luck.name}, {task.optimize}: {len(pairs)} calls, error {_error(_learned(pairs)):.3%}")
            runs.append((task, pairs))
    return report("warmth", data=[str(path) for path in paths], seed=asked.seed, figures=figures(runs), targets=TARGETS)


if __name__ == "__main__":
    sys.exit(main())
