"""What templates answer by themselves, and how much of that is wrong: questions that differ in one value.

Takes files of pairs `{kind, a, b, slot, va, vb, tmpl}` of the kind `slot_swap`. For every pair a whole gateway, in this
process, is asked `a`, then the same question with other values of that slot found in the files (the witnesses), then
`b`. Upstream is an oracle over HTTP that answers JSON text with the template and the value, and for a tenth of the
templates something computed from the value too, at times with two or three outcomes only. `branched` is the share of
all `b` that were answered without the oracle; `wrong` the share of those that differ from what the oracle would say.

  python -m bench.templates --data pairs.jsonl.gz [--witnesses 1] [--seeds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import random
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pennyweight.app import App, build
from pennyweight.config import load
from pennyweight.testing.backend import make_call
from pennyweight.testing.http import Exchange, LoopbackServer

from .oracle_templates import computes, oracle
from .result import progress, report

TARGETS = {"branched": ">= 0.70", "wrong": "<= 0.001"}
CONFIG = """
[[optimizers]]
use = "templates"
"""


class Question(NamedTuple):
    text: str
    template: str
    slot: str
    value: str


class Played(NamedTuple):
    questions: int
    branched: int
    wrong: int
    computed: int  # questions of templates whose answer computes
    computed_branched: int
    by_slot: Counter[str]
    branched_by_slot: Counter[str]


def read(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The pairs of the kind slot_swap."""
    rows = []
    for path in paths:
        raw = path.read_bytes()
        lines = (gzip.decompress(raw) if path.suffix == ".gz" else raw).splitlines()
        rows += [row for line in lines if "slot_swap" in (row := json.loads(line))["kind"]]
    return rows


def rounds(rows: Sequence[Mapping[str, Any]], witnesses: int, rng: random.Random) -> Iterator[list[Question]]:
    """For each pair its questions in the order of asking: `a`, the witnesses, `b`."""
    pool: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        pool[row["slot"].rstrip("0123456789")] += [row["va"], row["vb"]]
    for row in rows:
        pieces = _pieces(row)
        if pieces is None:
            continue

        def put(value: str, row: Mapping[str, Any] = row, pieces: Sequence[str] = pieces) -> Question:
            return Question(value.join(pieces), row["tmpl"], row["slot"], value)

        others = sorted({*pool[row["slot"].rstrip("0123456789")]} - {row["va"], row["vb"]})
        drawn = rng.sample(others, min(witnesses, len(others)))
        yield [put(row["va"]), *map(put, drawn), put(row["vb"])]


def _pieces(row: Mapping[str, Any]) -> Sequence[str] | None:
    """What stands around the value in `a`; None if putting the other one there does not give `b`."""
    a, b, va, vb = row["a"], row["b"], row["va"], row["vb"]
    at = a.find(va)
    while at >= 0:
        pieces = (a[:at], a[at + len(va) :])
        if vb.join(pieces) == b:
            return pieces
        at = a.find(va, at + 1)
    everywhere = a.split(va)
    return everywhere if vb.join(everywhere) == b else None


async def play(rows: Sequence[Mapping[str, Any]], witnesses: int, share: float, seed: int) -> Played:
    asked = list(rounds(rows, witnesses, random.Random(seed)))
    known = {(str(number), q.text): q for number, questions in enumerate(asked) for q in questions}

    async def answer(exchange: Exchange) -> None:
        system, user = json.loads(exchange.body)["messages"]
        question = known[system["content"].split()[1], user["content"]]
        text = oracle(question.template, question.slot, question.value, share=share, seed=seed)
        body = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 20, "total_tokens": 40},
        }
        await exchange.send(200, json.dumps(body).encode(), headers={"content-type": "application/json"})

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pennyweight.toml"
        file.write_text(CONFIG)
        async with LoopbackServer(answer) as server:
            env = {"PENNYWEIGHT_DATA": folder, "OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": "none"}
            async with build(load(file, env, {"holdout": 0.0})) as app:
                for step in range(witnesses + 1):
                    for number, questions in enumerate(asked):
                        if step < len(questions) - 1:
                            await _ask(app, questions[step], f"{step}-{number}", run=str(seed))
                    await app.clerk.flush(60)
                    progress(f"seed {seed}: {step + 1} of {witnesses + 2} rounds asked")
                return await _judge(app, asked, share, seed)


async def _judge(app: App, asked: Sequence[Sequence[Question]], share: float, seed: int) -> Played:
    branched = wrong = computed = computed_branched = 0
    by_slot: Counter[str] = Counter()
    branched_by_slot: Counter[str] = Counter()
    for number, questions in enumerate(asked):
        question = questions[-1]
        slot = question.slot.rstrip("0123456789")
        by_slot[slot] += 1
        computed += bool(computes(question.template, share, seed))
        text, served = await _ask(app, question, f"b-{number}", run=str(seed))
        if not served:
            continue
        branched += 1
        branched_by_slot[slot] += 1
        computed_branched += bool(computes(question.template, share, seed))
        right = oracle(question.template, question.slot, question.value, share=share, seed=seed)
        if text != right:
            wrong += 1
            progress(f"wrong: {question.text!r} got {text!r}, not {right!r}")
    return Played(len(asked), branched, wrong, computed, computed_branched, by_slot, branched_by_slot)


async def _ask(app: App, question: Question, call_id: str, *, run: str) -> tuple[str, bool]:
    """The answer's text, and whether it came without asking the oracle.

    Two pairs of a file may hold the same question; each is a conversation with a system prompt of its own, so that
    no pair profits from another.
    """
    system = {"role": "system", "content": f"Conversation {call_id.rpartition('-')[2]} : answer in JSON."}
    messages = [system, {"role": "user", "content": question.text}]
    body = {"model": "gpt-5-nano", "temperature": 0, "messages": messages}
    call = make_call(
        json.dumps(body).encode(), provider="openai", model="gpt-5-nano", optimize="max", call_id=f"{run}-{call_id}"
    )
    reply = await app.pipeline.open(call)
    raw = await reply.read()
    await reply.aclose()
    answered = json.loads(raw)["choices"][0]["message"]["content"]
    return answered, ("x-pennyweight-cache", "template") in reply.headers


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.templates", description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", type=Path, required=True, metavar="FILE")
    parser.add_argument("--witnesses", type=int, default=1, help="questions between a and b (default 1)")
    parser.add_argument("--computed", type=float, default=0.1, help="share of templates whose answer computes")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    rows = read(options.data)
    if not rows:
        sys.exit("no pairs of the kind slot_swap in these files")
    played = [asyncio.run(play(rows, options.witnesses, options.computed, seed)) for seed in range(options.seeds)]
    questions, branched = sum(p.questions for p in played), sum(p.branched for p in played)
    wrong, computed = sum(p.wrong for p in played), sum(p.computed for p in played)
    by_slot = sum((p.by_slot for p in played), Counter[str]())
    branched_by_slot = sum((p.branched_by_slot for p in played), Counter[str]())
    return report(
        "templates",
        figures={
            "branched": round(branched / questions, 4),
            "wrong": round(wrong / max(branched, 1), 5),
            "computed_asked_anew": round(1 - sum(p.computed_branched for p in played) / max(computed, 1), 4),
        },
        targets=TARGETS,
        data=[str(path) for path in options.data],
        seed=options.seeds,
        counts={"questions": questions, "branched": branched, "wrong": wrong, "computed": computed},
        by_slot={slot: [branched_by_slot[slot], asked] for slot, asked in sorted(by_slot.items())},
    )


if __name__ == "__main__":
    sys.exit(main())
