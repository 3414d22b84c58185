"""How long it takes to choose a target: the optimizer `routing` in a whole App with three tiers and six targets.

  python -m bench.routing_speed [--decisions 2000]

Agent sessions of 80 kB (30 tools, 100 messages) and bare prompts of 1 kB. `cold`: the newest message was never seen,
so its task is read anew and no answer is remembered; what stands before it in the session was. `warm`: the same call
again. `first`: a session never seen, whose whole prompt is split and counted, as every optimizer that prices needs it
and does once for all; it has no target. `real`: what a call for a real model
pays for the optimizer's being there. Times are CPU of the one thread; each is the median of
three alike, as a shared machine disturbs single ones.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from pennyweight.app import App, build
from pennyweight.call import Call, Identity
from pennyweight.config import load
from pennyweight.optimizers.routing import Routing
from pennyweight.request import Request, Wire

from .result import progress, report

TARGETS = {"cold_p99_ms": "<= 2", "warm_p99_ms": "<= 0.2"}
CONFIG = """
[[tiers]]
name = "cheap"
targets = ["openai/gpt-5-nano", "openai/gpt-4o-mini"]
share = 0.8
[[tiers]]
name = "middle"
targets = ["openai/gpt-5-mini", "anthropic/claude-haiku-4-5"]
[[tiers]]
name = "frontier"
targets = ["openai/gpt-5", "anthropic/claude-opus-4-6"]
[[targets]]
target = "openai/gpt-5-nano"
per_day = 1000000
"""
_SAID = "the parser fails on nested lists because its stack is reset when a comment ends so write a test and fix it"
_WORDS = _SAID.split()


def body(rng: random.Random, model: str, *, agent: bool) -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    if agent:
        messages.append({"role": "system", "content": "You are a coding agent. " + text(rng, 4_000)})
        for turn in range(50):
            messages.append({"role": "user", "content": f"{turn}: {text(rng, 500)}"})
            messages.append({"role": "assistant", "content": text(rng, 700)})
    messages.append({"role": "user", "content": text(rng, 900)})
    tools = [
        {"type": "function", "function": {"name": f"tool_{n}", "description": text(rng, 300), "parameters": {}}}
        for n in range(30)
    ]
    return {"model": model, "messages": messages, **({"tools": tools} if agent else {})}


def text(rng: random.Random, size: int) -> str:
    words = [rng.choice(_WORDS) for _ in range(size // 5)]
    return " ".join([*words, f"{rng.getrandbits(64):x}"])


def call(app: App, sent: dict[str, Any], session: str) -> Call:
    request = Request(Wire.OPENAI_CHAT, json.dumps(sent).encode(), path="/v1/chat/completions")
    target = app.resolve(request.model, request.wire)
    return Call("c", Identity(session=session), request, request, target, app.clock.now())


async def timed(routing: Routing, asked: Call) -> float:
    assert asked.original.envelope is not None  # whoever makes a call has read its envelope
    started = time.thread_time()
    await routing.propose(asked)
    return (time.thread_time() - started) * 1e3


def again(asked: Call) -> Call:
    """The same bytes in a request of their own, as a client sends them anew."""
    request = msgspec.structs.replace(asked.request)
    return msgspec.structs.replace(asked, original=request, request=request, facts={})


async def measured(app: App, routing: Routing, decisions: int) -> dict[str, list[float]]:
    rng = random.Random(7)
    found: dict[str, list[float]] = {"first": [], "cold": [], "warm": [], "real": [], "warm_agent": [], "warm_bare": []}
    sessions = [body(rng, "auto", agent=number % 2 == 0) for number in range(20)]
    for number, sent in enumerate(sessions):
        found["first"].append(await timed(routing, call(app, sent, f"s{number}")))
    gc.collect()
    for number in range(decisions):
        place = number % len(sessions)
        tries: dict[str, list[float]] = {name: [] for name in ("cold", "warm", "real")}
        for _ in range(3):
            sent = sessions[place]
            sent = sent | {"messages": [*sent["messages"][:-1], {"role": "user", "content": text(rng, 900)}]}
            asked = call(app, sent, f"s{place}")
            tries["cold"].append(await timed(routing, asked))
            tries["warm"].append(await timed(routing, again(asked)))
            tries["real"].append(await timed(routing, call(app, sent | {"model": "gpt-5"}, f"s{place}")))
        for name, values in tries.items():
            found[name].append(statistics.median(values))
        found[f"warm_{'agent' if place % 2 == 0 else 'bare'}"].append(found["warm"][-1])
        if number % 500 == 499:
            progress(f"{number + 1} decisions")
    return found


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


async def run(decisions: int) -> dict[str, float]:
    env = {"OPENAI_API_KEY": "sk-none-0123456789abcdef", "ANTHROPIC_API_KEY": "sk-none-0123456789abcdef"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pennyweight.toml"
        path.write_text(CONFIG)
        async with build(load(path, env, {"data_dir": folder, "holdout": 0.0})) as app:
            optimizer = next(one for one, _ in app.pipeline._optimizers if one.name == "routing")
            assert isinstance(optimizer, Routing)
            found = await measured(app, optimizer, decisions)
    figures = {}
    for name, values in found.items():
        figures[f"{name}_p50_ms"] = round(percentile(values, 0.5), 4)
        figures[f"{name}_p99_ms"] = round(percentile(values, 0.99), 4)
    return figures


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=2_000)
    chosen = parser.parse_args(arguments)
    figures = asyncio.run(run(chosen.decisions))
    return report("routing_speed", figures=figures, targets=TARGETS, seed=7)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
