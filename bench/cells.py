"""Runs sessions through an App at one price class, before and after, with or without adversaries and the gate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from pennyweight.app import OPTIMIZERS, App, build
from pennyweight.call import Optimize
from pennyweight.capture.format import Recorded
from pennyweight.config import Config, OptimizerRule, load
from pennyweight.replay.offline import Billing, Engine, Line, Replay, TapeClock, run
from pennyweight.testing.prefix_cache import PrefixCache
from pennyweight.testing.provider import provider_keys
from pennyweight.text.tokenizers import BpeTokenizer

from .adversaries import ADVERSARIES, Adversary

__all__ = ["CLASSES", "Cell", "PriceClass", "Session", "by_class", "opened", "play", "played", "sessions"]

INPUT_USD, OUTPUT_USD = 3.0, 15.0  # a million tokens


class PriceClass(msgspec.Struct, frozen=True):
    """Prices relative to plain input: `r` of reading from the cache, `w` of writing to it for five minutes."""

    r: float
    w: float

    @property
    def name(self) -> str:
        return f"r{self.r:.2f}".replace(".", "")

    def overrides(self) -> tuple[dict[str, Any], ...]:
        """`[[prices]]` entries for every model of both providers. OpenAI bills writes from GPT-5.6 on."""
        price = {"model": "*", "input": INPUT_USD, "output": OUTPUT_USD, "cache_read": INPUT_USD * self.r}
        written = {"cache_write_5m": INPUT_USD * self.w, "cache_write_1h": INPUT_USD * max(self.w, 2.0)}
        marked = {**price, **written, "provider": "openai", "model": "gpt-5.6*"}
        return ({**price, **written, "provider": "anthropic"}, marked, {**price, "provider": "openai"})


CLASSES = tuple(PriceClass(r, w) for r in (0.02, 0.05, 0.1, 0.25, 0.5) for w in (1.0, 1.25, 2.0))


class Cell(msgspec.Struct, frozen=True):
    """One run of many sessions: everything that is the same for all of them. `adversary` "": none; `without`: built-in
    optimizers that are off."""

    price: PriceClass
    optimize: Optimize
    adversary: str = ""
    gate: bool = True
    without: frozenset[str] = frozenset()


class Session(msgspec.Struct, frozen=True):
    """What one session came to. Money in PicoUSD, input and output; `refused`: calls that a provider would not take."""

    name: str
    calls: int
    before: int
    after: int
    input_before: int
    input_after: int
    refused: int = 0
    accepted: int = 0

    @property
    def ratio(self) -> float:
        return self.after / self.before if self.before else 1.0


@asynccontextmanager
async def opened(cell: Cell, *, rules: tuple[OptimizerRule, ...] | None = None) -> AsyncIterator[tuple[App, TapeClock]]:
    """An App with every built-in optimizer on, or those of the rules, nothing learned, nobody held out."""
    with TemporaryDirectory(prefix="pennyweight-bench-") as folder:
        base = load(
            None,
            provider_keys("http://127.0.0.1:9"),
            {"data_dir": Path(folder), "optimize": cell.optimize, "holdout": 0.0},
        )
        config: Config = msgspec.structs.replace(
            base,
            prices=cell.price.overrides(),
            optimizers=tuple(rule for rule in rules or _all_on(base) if rule.use not in cell.without),
            pipeline=msgspec.structs.replace(base.pipeline, propose_s=5.0),  # a busy machine must not skip one
        )
        clock = TapeClock()
        extra = [Adversary(cell.adversary, ADVERSARIES[cell.adversary])] if cell.adversary else []
        async with build(config, clock=clock, extra=extra, gate=cell.gate) as app:
            yield app, clock


def _all_on(config: Config) -> tuple[OptimizerRule, ...]:
    """Every built-in optimizer, first those of the default configuration in its order."""
    usual = [rule.use for rule in config.optimizers]
    names = (*usual, *(name for name in OPTIMIZERS if name not in usual))
    return tuple(OptimizerRule(name, settings=_NEEDED.get(name, {})) for name in names)


_NEEDED = {"semantic_cache": {"models": ["*"]}}  # settings without which one cannot be switched on


async def played(
    calls: Sequence[Recorded],
    app: App,
    clock: TapeClock,
    optimize: Optimize,
    *,
    progress: Callable[[int], None] = lambda _done: None,
    cache: Callable[[Callable[[str], int]], Billing] = PrefixCache,
    count: Callable[[str], int] | None = None,
) -> Replay:
    """The calls in the order of their times. `count` and `cache` are the provider's."""
    engine = Engine(
        consult=app.pipeline.consult,
        follow=app.pipeline.follow,
        settle=app.pipeline.settle,
        resolve=app.resolve,
        identify=lambda request: app.identify(request, "local"),
        cost=app.accounts.cost,
        count=count or BpeTokenizer().count,
        advance=clock.wind,
    )
    ordered = sorted(calls, key=lambda call: call.at)
    return await run(ordered, engine, optimize=optimize, progress=progress, cache=cache)


def sessions(lines: Iterable[Line], price: PriceClass) -> list[Session]:
    """What each session came to, in the order in which they began."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(line.session, []).append(line)
    return [_session(name, own) for name, own in found.items()]


def _session(name: str, lines: Sequence[Line]) -> Session:
    if any(line.before is None or line.after is None for line in lines):
        raise ValueError(f"{name}: a call has no price")
    refused = [line for line in lines if line.usage.input_tokens == 0 and not line.answered_by]
    output = sum(_output(line) for line in lines if not line.answered_by)
    before = sum(line.before or 0 for line in lines)
    # A call that the provider refuses has to be made again as it was.
    after = sum(line.after or 0 for line in lines) + sum(line.before or 0 for line in refused)
    return Session(
        name=name,
        calls=len(lines),
        before=before,
        after=after,
        input_before=before - sum(map(_output, lines)),
        input_after=after - output,
        refused=len(refused),
        accepted=sum(step.verdict == "accepted" for line in lines for step in line.steps),
    )


def _output(line: Line) -> int:
    return line.usage.output_tokens * int(OUTPUT_USD * 10**6)


def play(cell: Cell, calls: Sequence[Recorded], progress: Callable[[int], None] = lambda _done: None) -> list[Session]:
    """The sessions of these calls, played in one App."""

    async def main() -> Replay:
        async with opened(cell) as (app, clock):
            return await played(calls, app, clock, cell.optimize, progress=progress)

    return sessions(asyncio.run(main()).lines, cell.price)


def by_class(sums: Mapping[PriceClass, tuple[int, int]]) -> dict[str, float]:
    """The saving per class of reads, whatever writes cost: 1 - after / before."""
    before: dict[str, int] = {}
    after: dict[str, int] = {}
    for price, (was, now) in sums.items():
        before[price.name] = before.get(price.name, 0) + was
        after[price.name] = after.get(price.name, 0) + now
    return {name: 1 - after[name] / before[name] for name in before}
