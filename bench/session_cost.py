"""What routing saves in sessions whose every call is priced in the state of its prompt cache, and that none costs more.

Every session is played with one strong model, its cache on, and routed to a cheap one where that can do the work: a
seeded half of the user turns, of which an oracle tells the router, so that success is the same. Both are billed by the
model of a provider's prompt cache in `pennyweight.testing`, which shares nothing with what the gateway believes.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from pennyweight.app import App, build
from pennyweight.call import Call, Identity, Outcome, Target, Verdict
from pennyweight.capture.format import PATHS
from pennyweight.config import OptimizerRule, load
from pennyweight.replay.offline import TapeClock
from pennyweight.request import Charge, Request, Usage, Wire
from pennyweight.routing.choose import Asked, Chance
from pennyweight.routing.virtual import Candidate
from pennyweight.testing.prefix_cache import PrefixCache
from pennyweight.text.tokenizers import BpeTokenizer
from pennyweight.wire import translate

from .result import progress, report
from .session_plays import PACES, Play, easy_turns, kept_for_a_day, paced, plays, thoughtless

_count = BpeTokenizer().count
TARGETS = {"worst_ratio": "<= 1.0", "saving": ">= 0.40", "switches_in_tool_loops": "== 0", "beyond_reach": "== 0"}
FAR = (
    "openai/gpt-5.5>openai/gpt-5-mini@24h",
    "openai/gpt-5.5>openai/gpt-5-nano@24h",
    "openai/gpt-5>openai/gpt-5-nano@24h",
    "anthropic/claude-opus-4-6>minimax/MiniMax-M2",
    "anthropic/claude-sonnet-4-6>minimax/MiniMax-M2",
)
"""Pairs whose cheap model costs a tenth or less: `saving` is over these. GPT-5.5 keeps prompts for a day whatever it is
asked; GPT-5 does where it is."""
NEAR = (
    "openai/gpt-5>openai/gpt-5-nano",
    "openai/gpt-5>openai/gpt-5-mini@24h",
    "anthropic/claude-opus-4-6>anthropic/claude-haiku-4-5",
    "anthropic/claude-sonnet-4-6>anthropic/claude-haiku-4-5",
)
"""Pairs of a fifth and a third, of which no routing of a half can save 40 %, and one whose prompts lapse sooner."""
STRESS = ("recorded", "jittered_100s", "jittered_5min", "bursts_10min", "steady_299s")
WIRES = {"anthropic": Wire.ANTHROPIC_MESSAGES}


class Pair(msgspec.Struct, frozen=True):
    """kept: the prompts of the strong model are kept for a day, as its provider offers for the same price."""

    strong: Target
    cheap: Target
    kept: bool = False

    @property
    def name(self) -> str:
        return f"{self.strong.model}>{self.cheap.model}"


def pair(text: str) -> Pair:
    """ "PROVIDER/STRONG>PROVIDER/CHEAP", with "@24h" where prompts are kept for a day."""
    text, _, kept = text.partition("@")
    strong, _, cheap = text.partition(">")
    targets = []
    for name in (strong, cheap):
        provider, _, model = name.partition("/")
        targets.append(Target(provider, model, WIRES.get(provider, Wire.OPENAI_CHAT)))
    return Pair(*targets, kept == "24h")


class Session(msgspec.Struct, frozen=True):
    """What one session came to, in pico-dollars: with the strong model alone, and routed."""

    name: str
    corpus: str
    before: int
    after: int
    calls: int
    routed: int
    reachable: int  # calls of turns that are within the cheap model's reach
    failed: int  # calls that were beyond it and went there all the same
    switches: int
    in_loops: int

    @property
    def ratio(self) -> float:
        return self.after / self.before if self.before else 1.0


class Oracle:
    """Chances of one turn: the cheap model does it, or it does not."""

    def __init__(self) -> None:
        self.easy = False

    async def ready(self, _call: Call, _asked: Asked) -> None: ...

    async def settle(self, _outcome: Outcome, _asked: Asked) -> None: ...

    def wants_response(self, _call: Call) -> bool:
        return False

    def of(self, call: Call, asked: Asked, candidates: Sequence[Candidate]) -> Sequence[Chance]:
        return [Chance(1.0 if candidate.rank or self.easy else 0.0) for candidate in candidates]


@asynccontextmanager
async def opened(one: Pair, oracle: Oracle) -> AsyncIterator[tuple[App, TapeClock]]:
    """An App whose model `auto` is the cheap or the strong one, with the optimizer `routing` and an oracle in it."""
    with TemporaryDirectory(prefix="pennyweight-bench-") as folder:
        file = Path(folder) / "pennyweight.toml"
        file.write_text(_CONFIG.format(cheap=_named(one.cheap), strong=_named(one.strong)), encoding="utf-8")
        keys = {f"{name}_API_KEY": "replay-no-key" for name in ("OPENAI", "ANTHROPIC", "MINIMAX")}
        base = load(file, keys, {"data_dir": Path(folder), "holdout": 0.0})
        config = msgspec.structs.replace(
            base,
            optimizers=(OptimizerRule("routing"),),
            pipeline=msgspec.structs.replace(base.pipeline, propose_s=5.0),  # a busy machine must not skip one
        )
        clock = TapeClock()
        async with build(config, clock=clock) as app:
            routing: Any = next(optimizer for optimizer, _ in app.pipeline._optimizers if optimizer.name == "routing")
            routing._parts = msgspec.structs.replace(routing._parts, chances=oracle)
            yield app, clock


def _named(target: Target) -> str:
    return f"{target.provider}/{target.model}"


_CONFIG = """
[providers.openai]
[providers.anthropic]
[providers.minimax]
wires = ["openai_chat"]
[[tiers]]
name = "cheap"
targets = ["{cheap}"]
[[tiers]]
name = "frontier"
targets = ["{strong}"]
[[targets]]
target = "{cheap}"
context_tokens = 10000000
tools = true
images = true
json_schema = true
reasoning = true
[[virtual]]
name = "auto"
bar = 0.5
"""


class Task(msgspec.Struct, frozen=True):
    pair: str
    pace: str
    seed: int
    other: bool
    data: tuple[str, ...]


def perform(task: Task) -> list[Session]:
    one = pair(task.pair)
    sessions = _read(task.data, one.strong.wire)
    if one.kept:
        sessions = [kept_for_a_day(play) for play in sessions]
    easy = easy_turns(sessions, task.seed, other=task.other)
    return asyncio.run(_played(sessions, easy, one, task))


@lru_cache(maxsize=2)
def _read(data: tuple[str, ...], wire: Wire) -> list[Play]:
    return plays([Path(path) for path in data], wire)


async def _played(sessions: Sequence[Play], easy: set[tuple[str, str]], one: Pair, task: Task) -> list[Session]:
    oracle = Oracle()
    async with opened(one, oracle) as (app, clock):
        return [
            await _session(play, number, easy, one, task, app, clock, oracle) for number, play in enumerate(sessions)
        ]


async def _session(
    play: Play,
    number: int,
    easy: set[tuple[str, str]],
    one: Pair,
    task: Task,
    app: App,
    clock: TapeClock,
    oracle: Oracle,
) -> Session:
    before, after = PrefixCache(_count), PrefixCache(_count)
    sums, routed, reachable, failed, switches, in_loops = [0, 0], 0, 0, 0, 0, 0
    last: dict[str, str] = {}  # where each turn went, the newest last
    light: set[str] = set()  # turns that a model answered which left no signed thoughts behind
    for said, t in zip(play.calls, paced(play, task.pace, task.seed), strict=True):
        at = t + number * 86_400.0
        clock.wind(at)
        oracle.easy = (play.name, said.turn) in easy
        body = thoughtless(said.body, light) if light and play.wire is Wire.ANTHROPIC_MESSAGES else said.body
        asked = Request(play.wire, msgspec.json.encode(said.body), path=PATHS[play.wire])
        request = Request(play.wire, msgspec.json.encode(body), path=PATHS[play.wire])
        identity = Identity("local", play.name, agent=play.corpus, housekeeping=said.chore)
        call = Call(f"c{number}", identity, request, request, app.resolve("auto", play.wire), at, "max")
        alone = _usage(before, asked, one.strong, at, said.output_tokens)
        call, _ = await app.pipeline.consult(call)
        if any(step.verdict is Verdict.FAILED for step in call.trail):
            raise RuntimeError(f"{play.name}: the optimizer failed, so nothing is measured")
        usage = _usage(after, call.request, call.target, at, said.output_tokens)
        app.pipeline.follow(call, usage)
        for side, (target, billed) in enumerate(((one.strong, alone), (call.target, usage))):
            sums[side] += _cost(app, target, billed, at)
        away = call.target.model != one.strong.model
        routed, reachable, failed = routed + away, reachable + oracle.easy, failed + (away and not oracle.easy)
        if away:
            light.add(said.turn)
        switches += bool(last) and next(reversed(last.values())) != call.target.model
        in_loops += said.inside and last.get(said.turn, call.target.model) != call.target.model
        last.pop(said.turn, None)
        last[said.turn] = call.target.model
    calls = len(play.calls)
    return Session(play.name, play.corpus, *sums, calls, routed, reachable, failed, switches, in_loops)


def _usage(cache: PrefixCache, request: Request, target: Target, at: float, output: int) -> Usage:
    """As the provider bills it, in the protocol that it speaks."""
    if request.wire is not target.wire:
        request = translate.request(request, target.wire, model=target.model).request
    usage = cache.account(target.wire, {**request.body, "model": target.model}, at=at)
    return msgspec.structs.replace(usage, output_tokens=output)


def _cost(app: App, target: Target, usage: Usage, at: float) -> int:
    found = app.accounts.cost(Charge(target.provider, target.model, usage, at))
    if found is None:
        raise ValueError(f"no price is known for {_named(target)}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.session_cost", description=__doc__)
    parser.add_argument("--data", nargs="+", type=Path, metavar="PATH", required=True)
    parser.add_argument("--pairs", nargs="+", default=[*FAR, *NEAR], metavar="STRONG>CHEAP")
    parser.add_argument("--paces", nargs="+", default=list(STRESS), choices=list(PACES))
    parser.add_argument("--seeds", type=int, default=1, help="halves that are drawn; of each, the other is played, too")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    data = tuple(str(path) for path in asked.data)
    todo = [
        Task(name, pace, seed, other, data)
        for name in asked.pairs
        for pace in asked.paces
        for seed in range(1, asked.seeds + 1)
        for other in (False, True)
    ]
    started, results = time.monotonic(), []
    with ProcessPoolExecutor(max_workers=asked.jobs) as pool:
        for task, sessions in zip(todo, pool.map(perform, todo), strict=True):
            results.append((task, sessions))
            if len(results) % max(len(todo) // 10, 1) == 0:
                progress(f"{len(results)}/{len(todo)} runs, {time.monotonic() - started:.0f} s")
    return tell(results, data)


def tell(results: Sequence[tuple[Task, Sequence[Session]]], data: Sequence[str]) -> int:
    every = [session for _, sessions in results for session in sessions]
    at_their_pace = [(task, sessions) for task, sessions in results if task.pace == "recorded"] or list(results)
    far = [s for task, sessions in at_their_pace if task.pair not in NEAR for s in sessions]
    near = [s for task, sessions in at_their_pace if task.pair in NEAR for s in sessions]
    figures = {
        "worst_ratio": round(max(session.ratio for session in every), 6),
        "saving": round(_saving(far or near), 4),
        "switches_in_tool_loops": sum(session.in_loops for session in every),
        "beyond_reach": sum(session.failed for session in every),
        "sessions": len(every),
        "sessions_over": sum(session.ratio > 1.0 for session in every),
        **({"saving_near": round(_saving(near), 4)} if near else {}),
        "saving_every_pace": round(_saving(every), 4),
        "switches": sum(session.switches for session in every),
    }
    over = sorted((s for s in every if s.ratio > 1.0), key=lambda s: -s.ratio)[:10]
    return report(
        "session_cost",
        data=list(data),
        figures=figures,
        targets=TARGETS,
        pairs=_rows(results),
        corpora=_rows(at_their_pace, by_corpus=True),
        worst=[msgspec.to_builtins(session) for session in over],
    )


def _rows(results: Sequence[tuple[Task, Sequence[Session]]], *, by_corpus: bool = False) -> dict[str, dict[str, float]]:
    """By pair the saving at each pace, or in each corpus, and the dearest session."""
    rows: dict[str, dict[str, list[Session]]] = {}
    for task, sessions in results:
        for session in sessions:
            place = session.corpus if by_corpus else task.pace
            rows.setdefault(task.pair, {}).setdefault(place, []).append(session)
    found = {}
    for name, places in rows.items():
        worst = max(session.ratio for sessions in places.values() for session in sessions)
        found[name] = {place: round(_saving(own), 3) for place, own in places.items()} | {"worst": round(worst, 4)}
        if not by_corpus:
            progress(f"{name:58} {found[name]}")
    return found


def _saving(sessions: Sequence[Session]) -> float:
    return 1 - sum(s.after for s in sessions) / max(sum(s.before for s in sessions), 1)


if __name__ == "__main__":
    sys.exit(main())
