"""Does the cache find every repeat in a trace of real traffic? And what share of its input tokens is that?

Each line of a trace is asked through a gateway at its own time: its prompt is made of its `hash_ids`, and the
provider's answer of them too. A repeat is a request with the `hash_ids` of one that was answered less than the TTL
before.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pennyweight.config import OptimizerRule, load
from pennyweight.replay.offline import TapeClock
from pennyweight.request import Usage, Wire
from pennyweight.testing import shapes
from pennyweight.testing.provider import provider_keys

from .caches import Question, lab, said
from .result import progress, report

START = 1_790_000_000.0
TARGETS = {"repeats_found": "== 1", "wrong_answers": "== 0", "asked_twice": "== 0"}


class Line(msgspec.Struct, frozen=True):
    """One request of a trace. `timestamp` in ms; `hash_ids` of blocks of the prompt."""

    timestamp: float
    input_length: int
    output_length: int
    hash_ids: tuple[int, ...]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.cache_trace", description=__doc__)
    parser.add_argument("--data", nargs="+", type=Path, required=True, metavar="FILE", help="traces, JSON lines")
    parser.add_argument("--ttl-s", type=float, default=3600.0, help="for how long answers may be replayed")
    asked = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    for path in asked.data:
        found[path.name] = asyncio.run(run(read(path), asked.ttl_s, path.name))
    total = _total(found)
    return report("cache_trace", data=[str(p) for p in asked.data], figures=total, targets=TARGETS, by_file=found)


def read(path: Path) -> list[Line]:
    data = path.read_bytes()
    text = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    lines = [msgspec.json.decode(line, type=Line) for line in text.splitlines() if line.strip()]
    return sorted(lines, key=lambda line: line.timestamp)


async def run(lines: Sequence[Line], ttl_s: float, name: str = "") -> dict[str, float]:
    """Counts of one trace: requests, repeats, hits and tokens."""
    clock = TapeClock(START)
    base = load(None, provider_keys("http://127.0.0.1:9"), {"holdout": 0.0})
    config = msgspec.structs.replace(
        base,
        optimizers=(OptimizerRule("exact_cache", settings={"ttl_s": ttl_s}),),
        pipeline=msgspec.structs.replace(base.pipeline, propose_s=5.0),
    )
    counts = dict.fromkeys(("requests", "repeats", "found", "tokens", "hit_tokens", "wrong_answers", "asked_twice"), 0)
    answered: dict[tuple[int, ...], float] = {}
    async with lab(config, clock=clock) as at_work:
        for number, line in enumerate(lines):
            now = START + line.timestamp / 1000
            clock.wind(now)
            question = _question(number, line)
            told, headers = await at_work.ask(question, stream=number % 2 == 0)
            hit = headers.get("x-pennyweight-cache") == "hit"
            repeat = line.hash_ids in answered and now - answered[line.hash_ids] < ttl_s
            counts["requests"] += 1
            counts["repeats"] += repeat
            counts["found"] += repeat and hit
            counts["tokens"] += line.input_length
            counts["hit_tokens"] += line.input_length if hit else 0
            counts["wrong_answers"] += said(told) != said(question.truth) or (hit and not repeat)
            counts["asked_twice"] += hit and number in at_work.asked
            if not hit:
                answered[line.hash_ids] = now
            if (number + 1) % 1000 == 0 or number + 1 == len(lines):
                progress(
                    f"{name}: {number + 1}/{len(lines)} requests, {counts['found']} of {counts['repeats']} repeats"
                )
    return {key: float(value) for key, value in counts.items()}


def _question(number: int, line: Line) -> Question:
    prompt = " ".join(f"{block:x}" for block in line.hash_ids)
    body = {"model": "gpt-5.5", "temperature": 0, "messages": [{"role": "user", "content": prompt}]}
    usage = Usage(input_tokens=line.input_length, output_tokens=line.output_length)
    truth = shapes.Turn(f"The answer to {hash(line.hash_ids):x} of {len(line.hash_ids)} blocks.")
    return Question(number, Wire.OPENAI_CHAT, "/v1/chat/completions", body, truth, usage=usage)


def _total(found: dict[str, dict[str, float]]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for counts in found.values():
        for name, value in counts.items():
            sums[name] = sums.get(name, 0.0) + value
    return {
        "repeats_found": sums["found"] / sums["repeats"] if sums["repeats"] else 1.0,
        "token_hit_rate": sums["hit_tokens"] / sums["tokens"] if sums["tokens"] else 0.0,
        "request_hit_rate": sums["found"] / sums["requests"] if sums["requests"] else 0.0,
        "wrong_answers": sums["wrong_answers"],
        "asked_twice": sums["asked_twice"],
        "requests": sums["requests"],
        "repeats": sums["repeats"],
    }


if __name__ == "__main__":
    sys.exit(main())
