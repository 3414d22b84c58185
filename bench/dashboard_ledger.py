"""A large ledger for `bench.dashboard`: 90 days of 200 agents, 40 models and 20,000 sessions.

Sessions are bursts: each has an agent, a model and a place in time, lasts minutes to hours, and its prompts grow.
Working hours and weekdays have more of them, a few agents and models most of the traffic, as fleets have.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from pennyweight.call import Receipt, Step, Verdict
from pennyweight.request import Operation, Usage

__all__ = ["DAYS", "generate"]

DAYS = 90
_AGENTS, _MODELS, _SESSIONS, _TASKS, _SKILLS = 200, 40, 20_000, 60, 25
_PICO_PER_TOKEN = (150_000, 800_000, 3_000_000, 5_000_000)  # of input; output is five times that, a cache read a tenth


class _Model(NamedTuple):
    name: str
    provider: str
    input_pico: int


class _Session(NamedTuple):
    name: str
    tenant: str
    began: float  # seconds into the span
    lasts_s: float
    agent: str
    task: str
    skill: str
    model: _Model


def generate(count: int, *, end: float, seed: int) -> Iterator[Receipt]:
    """Receipts in the order of time, all before `end` (unix seconds)."""
    rng = random.Random(seed)
    sessions = _sessions(rng)
    moments = []
    for at in range(count):
        index = at if at < len(sessions) else rng.randrange(len(sessions))  # each session has a call
        session = sessions[index]
        moments.append((min(session.began + rng.random() * session.lasts_s, DAYS * 86_400 - 1.0), index))
    moments.sort()
    turns = [0] * len(sessions)
    for number, (at, index) in enumerate(moments):
        turns[index] += 1
        yield _receipt(rng, number, end - DAYS * 86_400 + at, sessions[index], turns[index])


def _sessions(rng: random.Random) -> list[_Session]:
    agents = [f"agent-{n:03d}" for n in range(_AGENTS)]
    models = [
        _Model(f"model-{n:02d}", rng.choice(("anthropic", "openai", "openrouter")), rng.choice(_PICO_PER_TOKEN))
        for n in range(_MODELS)
    ]
    agent_shares = [1 / (n + 3) for n in range(_AGENTS)]
    model_shares = [1 / (n + 2) for n in range(_MODELS)]
    return [
        _Session(
            f"ses_{n:05d}",
            rng.choices(("local", "team-0", "team-1", "team-2"), (7, 1, 1, 1))[0],
            _working_time(rng),
            rng.expovariate(1 / 5_400) + 60,
            rng.choices(agents, agent_shares)[0],
            f"task-{rng.randrange(_TASKS):02d}",
            f"skill-{rng.randrange(_SKILLS):02d}" if rng.random() < 0.4 else "",
            rng.choices(models, model_shares)[0],
        )
        for n in range(_SESSIONS)
    ]


def _working_time(rng: random.Random) -> float:
    while True:
        at = rng.random() * DAYS * 86_400
        day, hour = int(at // 86_400) % 7, int(at // 3_600) % 24
        if rng.random() < (1.0 if day < 5 else 0.3) * (1.0 if 8 <= hour < 19 else 0.25):
            return at


def _receipt(rng: random.Random, number: int, at: float, session: _Session, turn: int) -> Receipt:
    failed = rng.random() < 0.01
    replayed = not failed and rng.random() < 0.03
    unpriced = rng.random() < 0.002
    tokens = min(4_000 + 900 * turn, 180_000)
    cached = int(tokens * rng.choice((0.0, 0.85, 0.95))) if turn > 1 else 0
    usage = None if failed else Usage(input_tokens=tokens, cache_read_tokens=cached, output_tokens=rng.randrange(900))
    cost = baseline = 0
    if usage is not None:
        rate = session.model.input_pico
        baseline = (tokens - cached) * rate + cached * rate // 10 + usage.output_tokens * rate * 5
        cost = 0 if replayed else baseline
    saving = baseline * 3 // 100 if usage is not None and not replayed and rng.random() < 0.2 else 0
    steps = (
        Step("exact_cache", Verdict.ACCEPTED if replayed else Verdict.ABSTAINED, why="seen before" if replayed else ""),
        Step("prompt_cache", Verdict.ACCEPTED if saving else Verdict.NOT_WORTH_IT, saving=saving, why="a marker"),
    )
    return Receipt(
        call_id=f"call_{number:012d}",
        at=at,
        tenant=session.tenant,
        session=session.name,
        agent=session.agent,
        task=session.task,
        skill=session.skill,
        housekeeping="",
        wire="openai_chat",
        operation=Operation.GENERATE,
        provider=session.model.provider,
        model=session.model.name,
        target_model=session.model.name,
        usage=usage,
        cost=None if unpriced else cost,
        baseline=None if unpriced else baseline + saving,
        spent=0,
        pricing="unpriced" if unpriced else "priced",
        trail=steps,
        status=529 if failed else 200,
        finish_reason="" if failed else "stop",
        ttft_s=0.4 + rng.random(),
        latency_s=1 + rng.expovariate(1 / 4),
        added_s=0.0003 + rng.random() / 1000,
        answered_by="exact_cache" if replayed else session.model.provider,
        replayed=replayed,
        basis="" if unpriced else "computed" if replayed else "estimated" if saving else "",
    )
