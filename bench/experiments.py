"""Experiments that look all the time: how often they cry wolf, and how soon they find harm.

    python -m bench.experiments                     all of it, about ten minutes
    python -m bench.experiments --runs 100          a quick look
    python -m bench.experiments --only rollback     one of aa, errors, rollback

Every run drives the code that the gateway runs: arms by `Policy.exposure`, evidence by `Trials`, and for the rollback
the whole loop over receipts in a real SQLite file, which then switches the optimizer in the policy.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.result import progress, report
from pennyweight.call import Call, Identity, Receipt, Target
from pennyweight.ledger.experiment import TOTAL, Row
from pennyweight.ledger.loop import Loop, LoopSettings
from pennyweight.ledger.trials import Trials
from pennyweight.policy import Flag, Policy
from pennyweight.request import Operation, Request, Wire
from pennyweight.stores.flags import SQLiteFlags
from pennyweight.stores.sqlite import FILE, Database, SQLiteLedger
from pennyweight.testing.clock import FakeClock

ALPHA = 0.05
AA_SESSIONS = 1_000
ERRORS_CALLS = 400_000
OPTIMIZER = "optimizer"


class Traffic(msgspec.Struct, frozen=True):
    """Agents at work. Sessions differ from each other by more than the calls of one do: that is what makes it hard.

    latency_between and latency_within: standard deviations of the logarithm. error_spread: beta-binomial, the
    intra-session correlation of errors.
    """

    mean_calls: float = 8.0
    latency_s: float = 3.0
    latency_between: float = 0.25
    latency_within: float = 0.4
    error_rate: float = 0.05
    error_spread: float = 0.05
    drift: float = 0.0  # of the logarithm of latency, over the run: a provider that slows down in both arms


NOISY = Traffic(latency_between=0.5, latency_within=0.7)
"""Models, prompts and answers of all sizes in one heap."""


def session_calls(rng: random.Random, traffic: Traffic) -> int:
    """Geometric, at least 1."""
    return 1 + int(math.log(1 - rng.random()) / math.log(1 - 1 / traffic.mean_calls))


class Drawn:
    """One session: its own level of latency and errors."""

    def __init__(self, rng: random.Random, traffic: Traffic, *, slower: float = 1.0, errors: float = 1.0) -> None:
        self._rng = rng
        self._traffic = traffic
        self._level = math.log(traffic.latency_s * slower) + rng.gauss(0, traffic.latency_between)
        rate = traffic.error_rate * errors
        weight = 1 / traffic.error_spread - 1
        self._rate = rng.betavariate(rate * weight, (1 - rate) * weight) if traffic.error_spread else rate
        self.left = session_calls(rng, traffic)

    def latency(self, at: float = 0.0) -> float:
        return math.exp(self._level + at * self._traffic.drift + self._rng.gauss(0, self._traffic.latency_within))

    def fails(self) -> bool:
        return self._rng.random() < self._rate


def policy_of(share: float, holdout: float = 0.0) -> Policy:
    return Policy({OPTIMIZER: Flag("on", share)}, holdout=holdout)


def call_of(session: str, call_id: str) -> Call:
    request = Request(Wire.OPENAI_CHAT, b"{}")
    return Call(call_id, Identity(session=session), request, request, Target("openai", "m", Wire.OPENAI_CHAT), 0.0)


def whole_session(
    rng: random.Random, traffic: Traffic, arm: str, name: str, number: int, at: float, **harm: float
) -> Row:
    """A session as the ledger adds it up, all of it in one look."""
    drawn = Drawn(rng, traffic, **harm)
    failed = sum(drawn.fails() for _ in range(drawn.left))
    answered = drawn.left - failed
    latency = sum(drawn.latency(at) for _ in range(answered))
    cost = sum(int(1e9 * math.exp(rng.gauss(0, 1))) for _ in range(answered))
    return Row(
        "local", name, False, arm, "m", "stop", number + 1, number + 1, drawn.left, failed, answered, latency, cost,
        answered, 0,
    )  # fmt: skip


def stream(seed: int, traffic: Traffic, policy: Policy, sessions: int, *, errors: float = 1.0) -> Iterator[Row]:
    rng = random.Random(seed)
    for number in range(sessions):
        name = f"{seed}-{number}"
        exposure = policy.exposure(call_of(name, name))
        harmed = exposure.modes.get(OPTIMIZER) == "on"
        at = number / sessions
        yield whole_session(rng, traffic, exposure.arm, name, number, at, errors=errors if harmed else 1.0)


def never(_row: Row, _after: int) -> bool:
    return False


# --- no harm: how often is there an alarm? ------------------------------------------------------------------


def false_alarm(seed: int) -> tuple[bool, bool]:
    """(of the optimizer's own experiment, of all against the holdout) in one run, looked at after every session.

    Latency drifts, errors come in clumps and cost is heavy-tailed, and all of it has nothing to do with the arms.
    """
    traffic = Traffic(latency_between=0.5, error_spread=0.2, drift=1.0)
    policy = policy_of(random.Random(seed).choice((0.05, 0.25, 0.5, 0.75)), holdout=0.05)
    trials = Trials()
    trials.align(policy)
    alarms = {OPTIMIZER: False, TOTAL: False}
    for row in stream(seed, traffic, policy, AA_SESSIONS):
        trials.take(row, never)
        trials.pass_time(1_000.0)
        for name, trial in trials.trials.items():
            if not alarms[name] and any(b.peak > 3.5 for b in trial.bets.values()):  # else no alarm is near
                alarms[name] = trial.harm(alpha=ALPHA) is not None
    return alarms[OPTIMIZER], alarms[TOTAL]


# --- a tenth more errors: how long until it is found? -------------------------------------------------------


def detection(seed: int, rise: float) -> float:
    """Calls, of both arms, until the rise of the error rate is an alarm; infinite if it is none within the run."""
    traffic = Traffic(error_spread=0.02)
    policy = policy_of(0.5)
    trials = Trials()
    trials.align(policy)
    calls = 0
    trial = trials.trials[OPTIMIZER]
    for row in stream(seed, traffic, policy, int(ERRORS_CALLS / traffic.mean_calls), errors=1 + rise):
        trials.take(row, never)
        trials.pass_time(1_000.0)
        calls += row.calls
        errors = [trial.bets[key].peak for key in ("errors early", "errors whole") if key in trial.bets]
        if max(errors, default=0.0) > 4.0 and trial.harm(alpha=ALPHA) is not None:
            return calls
    return math.inf


# --- twice as slow: how many calls until it is taken back? --------------------------------------------------


async def rollback(seed: int, folder: Path, slower: float, traffic: Traffic, *, agents: int = 20) -> tuple[int, int]:
    """(calls of both arms, calls that were slowed) until the loop has switched the optimizer to shadow.

    `agents` work at once in a ledger that has their last 400 calls without it; then it is switched on for half of the
    sessions. The loop looks after every 10 calls. Gives a large number for a run in which 2,000 calls were not enough.
    """
    rng, clock = random.Random(seed), FakeClock()
    database = Database(folder / str(seed) / FILE)
    ledger, changes = SQLiteLedger(database), SQLiteFlags(database, clock)
    policy = Policy({OPTIMIZER: Flag("off")}, changes=changes)
    loop = Loop(
        database.path, database, policy, history=changes.history, clock=clock, settings=LoopSettings(alpha=ALPHA)
    )
    working = [Drawn(rng, traffic) for _ in range(agents)]
    names = [f"{seed}-{agent}" for agent in range(agents)]
    started, seen, slowed = False, 0, 0
    try:
        while seen < 2_000:
            batch = []
            for _ in range(10):
                agent = rng.randrange(agents)
                if working[agent].left <= 0:
                    working[agent], names[agent] = Drawn(rng, traffic), f"{seed}-{rng.getrandbits(40)}"
                working[agent].left -= 1
                clock.advance(rng.expovariate(1.0))
                call_id = f"{seed}-{len(batch)}-{clock.now()}"
                exposure = policy.exposure(call_of(names[agent], call_id))
                harmed = exposure.modes.get(OPTIMIZER) == "on"
                latency = working[agent].latency() * (slower if harmed else 1.0)
                batch.append(receipt(call_id, names[agent], exposure.arm, clock.now(), latency, working[agent].fails()))
                slowed += harmed
            await ledger.append(batch)
            seen += len(batch)
            while await loop.step():
                pass
            if not started and seen >= 400:
                await policy.set(OPTIMIZER, by="config", mode="on", share=0.5)
                started, seen, slowed = True, 0, 0
            elif started and policy.in_force(OPTIMIZER).mode == "shadow":
                return seen, slowed
        return 10**9, 10**9
    finally:
        await database.close()


def receipt(call_id: str, session: str, arm: str, at: float, latency_s: float, failed: bool) -> Receipt:
    return Receipt(
        call_id=call_id, at=at, tenant="local", session=session, agent="", task="", skill="", housekeeping="",
        wire="openai_chat", operation=Operation.GENERATE, provider="openai", model="m", target_model="m", usage=None,
        cost=10**9, baseline=10**9, spent=0, pricing="priced", trail=(), status=500 if failed else 200,
        finish_reason="" if failed else "stop", arm=arm, latency_s=latency_s,
    )  # fmt: skip


def quantile(values: list[float], share: float) -> float:
    """By nearest rank."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


# --- the whole ----------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1_000, help="of the A/A simulation; the others have fewer")
    parser.add_argument("--only", choices=("aa", "errors", "rollback"))
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    figures: dict[str, float] = {}
    targets: dict[str, str] = {}
    if asked.only in (None, "aa"):
        found = [false_alarm(asked.seed * 10_000_000 + run) for run in counted("A/A", asked.runs)]
        figures["aa_false_alarms"] = sum(own or total for own, total in found) / len(found)
        figures["aa_false_alarms_own"] = sum(own for own, _ in found) / len(found)
        figures["aa_false_alarms_holdout"] = sum(total for _, total in found) / len(found)
        targets |= {"aa_false_alarms_own": "<= 0.05", "aa_false_alarms_holdout": "<= 0.05"}
    if asked.only in (None, "rollback"):
        for name, traffic in (("rollback", Traffic()), ("rollback_noisy", NOISY)):
            found_at = asyncio.run(rollbacks(asked.seed, max(asked.runs // 5, 20), traffic))
            for share in (50, 95):
                figures[f"{name}_calls_p{share}"] = quantile([calls for calls, _ in found_at], share / 100)
                figures[f"{name}_slowed_calls_p{share}"] = quantile([slowed for _, slowed in found_at], share / 100)
        targets |= {"rollback_calls_p95": "<= 200"}
    if asked.only in (None, "errors"):
        for rise in (0.1, 1.0):
            runs = max(asked.runs // 20, 10) if rise < 1 else max(asked.runs // 5, 20)
            calls = [detection(asked.seed * 1_000_000 + run, rise) for run in counted(f"+{rise:.0%} errors", runs)]
            name = f"errors_plus_{round(rise * 100)}_percent"
            figures[f"{name}_power"] = sum(math.isfinite(count) for count in calls) / len(calls)
            figures[f"{name}_calls_p50"] = min(statistics.median(calls), 1e9)
        targets |= {"errors_plus_10_percent_power": ">= 0.8"}
    return report(
        "experiments",
        figures=figures,
        targets=targets,
        seed=asked.seed,
        nominal_alpha=ALPHA,
        aa_run=f"{AA_SESSIONS} sessions of {Traffic().mean_calls:g} calls on average, looked at after each",
        errors_run=f"error rate 5%, half of the sessions harmed, at most {ERRORS_CALLS:,} calls",
        rollback_run="20 agents, half of the sessions slowed from one moment on, looked at after every 10 calls",
        traffic=msgspec.to_builtins(Traffic()),
        noisy=msgspec.to_builtins(NOISY),
    )


async def rollbacks(seed: int, runs: int, traffic: Traffic) -> list[tuple[int, int]]:
    with tempfile.TemporaryDirectory(prefix="bench-experiments-") as folder:
        return [
            await rollback(seed * 1_000_000 + run, Path(folder), 2.0, traffic) for run in counted("2x latency", runs)
        ]


def counted(name: str, runs: int) -> Iterator[int]:
    for run in range(runs):
        if run % max(runs // 10, 1) == 0:
            progress(f"{name}: {run} of {runs}")
        yield run


if __name__ == "__main__":
    raise SystemExit(main())
