"""What the gate costs: CPU per call of asking the optimizers, judging and learning, on a long session's next turn.

In process, without sockets. A session of about 100,000 tokens is sent once, then turns of at most 2,000 new tokens are
timed. `gate_ms_*` is everything between a read request and the one to send, and the gate's own learning from the
answer; what optimizers learn (`settle_ms_*`) comes later, off the way of the call, and is told apart. Optimizers that
read and shorten texts are off: what that costs is `bench.context_speed`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from collections.abc import Sequence
from statistics import quantiles

import msgspec

from pennyweight.app import App
from pennyweight.call import Call, Identity, Outcome
from pennyweight.capture.format import Recorded
from pennyweight.gateway.memory import keep_freed, stock_up
from pennyweight.replay.offline import TapeClock
from pennyweight.request import Charge, Done, Request
from pennyweight.testing.prefix_cache import PrefixCache
from pennyweight.text.tokenizers import BpeTokenizer

from .cells import Cell, opened
from .never_costs_more import LIST_PRICE
from .result import progress, report
from .sessions import Plan, calls_of

CLIENTS = ("messages_unmarked", "messages_marked", "chat", "responses")
HEAD_TOKENS = 95_000  # before the first timed turn
NEW_TOKENS = (200, 1_600)  # of a tool's result; with the answer and the call at most 2,000 a turn
TURNS = 8
READERS = frozenset(("compression", "context", "prompts", "prompt_rules"))
TARGETS = {"gate_ms_p99": "<= 1.0"}


class Sample(msgspec.Struct, frozen=True):
    """CPU milliseconds of one turn."""

    client: str
    identify_ms: float
    consult_ms: float  # ask the optimizers and judge
    follow_ms: float  # what was sent and what it was billed, while the caller reads the answer
    settle_ms: float  # what optimizers learn, later

    @property
    def gate_ms(self) -> float:
        return self.consult_ms + self.follow_ms


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gate", description=__doc__)
    parser.add_argument("--sessions", type=int, default=12, help="for each kind of client (default 12)")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    keep_freed(os.environ)  # as `pennyweight serve` does
    samples = asyncio.run(measured(asked.sessions, asked.seed))
    return report("gate", seed=asked.seed, figures=figures(samples), targets=TARGETS)


async def measured(sessions: int, seed: int) -> list[Sample]:
    """The timed turns of every session. A first session of each kind warms up and does not count."""
    found: list[Sample] = []
    async with opened(Cell(LIST_PRICE, "max", without=READERS)) as (app, clock):
        for place, client in enumerate(CLIENTS):
            for number in range(sessions + 1):  # seeds of their own: of a text met before, the tokens are known
                samples = await _session(app, clock, client, (seed * 10 + place) * 1_000 + number)
                found += samples if number else []
            progress(f"{client}: p99 {_p99([s.gate_ms for s in found if s.client == client]):.2f} ms")
    return found


async def _session(app: App, clock: TapeClock, client: str, seed: int) -> list[Sample]:
    calls = long_session(client, seed, start=clock.now() + 10)
    cache = PrefixCache(BpeTokenizer().count)
    return [await _turn(app, clock, cache, client, call) for call in calls][1:]


async def _turn(app: App, clock: TapeClock, cache: PrefixCache, client: str, recorded: Recorded) -> Sample:
    clock.wind(recorded.at)
    request = recorded.request
    begun = time.process_time_ns()
    app.read(request, "local")
    identity = app.identify(request, "local")
    identified = time.process_time_ns()
    call = _call(app, request, identity, recorded)
    asked = time.process_time_ns()
    call, _ = await app.pipeline.consult(call)
    consulted = time.process_time_ns()
    usage = cache.account(call.request.wire, msgspec.json.decode(call.request.raw), at=recorded.at)
    charge = Charge(call.target.provider, call.target.model, usage, recorded.at)
    outcome = Outcome(call, Done(usage, "stop", (charge,)), 200, call.target.provider, response=recorded.response)
    answered = time.process_time_ns()
    app.pipeline.follow(call, usage)
    followed = time.process_time_ns()
    await app.pipeline.settle(outcome)
    settled = time.process_time_ns()
    stock_up(2 * len(request.raw))  # as `pennyweight serve` does between calls
    return Sample(
        client,
        identify_ms=(identified - begun) / 1e6,
        consult_ms=(consulted - asked) / 1e6,
        follow_ms=(followed - answered) / 1e6,
        settle_ms=(settled - followed) / 1e6,
    )


def _call(app: App, request: Request, identity: Identity, recorded: Recorded) -> Call:
    identity = msgspec.structs.replace(identity, session=identity.session or recorded.session)
    return Call(
        f"gate-{recorded.at}",
        identity,
        request,
        request,
        app.resolve(request.model, request.wire),
        recorded.at,
        "max",
    )


def long_session(client: str, seed: int, *, start: float) -> list[Recorded]:
    """One call of about HEAD_TOKENS, then turns of at most 2,000 new tokens."""
    rng = random.Random(seed)
    plan = Plan(
        name=f"{client}-{seed}",
        client=client,
        gaps="seconds",
        calls=110,
        seed=rng.getrandbits(32),
        start=start,
        head=6_000,
        tools=12,
        result=NEW_TOKENS,
        loop=10,
    )
    calls = calls_of(plan)
    long = next(index for index, call in enumerate(calls) if _tokens(call) >= HEAD_TOKENS)
    return calls[long : long + 1 + TURNS]


def _tokens(call: Recorded) -> int:
    """About; a word of the made-up sessions is a token."""
    return sum(text.count(b" ") for text in [msgspec.json.encode(call.body)])


def figures(samples: Sequence[Sample]) -> dict[str, float]:
    found = {"turns": float(len(samples))}
    for part in ("gate", "consult", "follow", "settle", "identify"):
        times = [getattr(sample, f"{part}_ms") for sample in samples]
        found[f"{part}_ms_p50"] = sorted(times)[len(times) // 2]
        found[f"{part}_ms_p99"] = _p99(times)
    for client in CLIENTS:
        found[f"gate_ms_p99_{client}"] = _p99([sample.gate_ms for sample in samples if sample.client == client])
    return {name: round(value, 4) for name, value in found.items()}


def _p99(times: Sequence[float]) -> float:
    return quantiles(times, n=100)[98] if len(times) > 1 else sum(times)


if __name__ == "__main__":
    sys.exit(main())
