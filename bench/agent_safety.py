"""Does a cache ever give an agent an answer that is not its own? Every turn of recorded sessions, with every cache on.

Each assistant turn is a request with a true answer: what the session went on with. Sessions run beside each other
through one gateway under max, with everything switched on that caches can switch on. Exact repeats are planted among
them, half of them at the same moment as the request that they repeat and half later: none may reach the provider. An
answer is wrong when it says something else (text, or the calls by name and arguments) than any answer that was recorded
for that request.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import random
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pennyweight.replay.readers import read
from pennyweight.request import Wire
from pennyweight.testing import shapes

from .caches import Lab, Question, lab, model_of, said
from .recorded import files
from .result import progress, report

TARGETS = {"wrong_answers": "== 0", "planted_hits": "== 1"}
AT_ONCE = 8  # sessions


class Turn(msgspec.Struct, frozen=True):
    """A question, whether it is asked as a stream, and which repeat of it is planted."""

    question: Question
    stream: bool
    plant: str = ""  # "": none, "at once", "later"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.agent_safety", description=__doc__)
    parser.add_argument("--data", nargs="+", type=Path, required=True, metavar="PATH", help="files or folders")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", type=Path, help="folder of the embedding model; default: the gateway's, or fetched")
    parser.add_argument("--planted", type=float, default=0.25, help="repeats, as a share of turns (default 0.25)")
    asked = parser.parse_args()
    sessions = [session for path in files(asked.data) for session in sessions_of(path)]
    planned = plan(sessions, asked.seed, asked.planted)
    model = model_of(asked.model)
    found, by = asyncio.run(play(planned, model))
    return report(
        "agent_safety",
        data=[str(path) for path in asked.data],
        seed=asked.seed,
        figures=found,
        targets=TARGETS,
        answered_by=dict(by),
        model=str(model) if model else "none: caches that need one were off",
    )


# --- what is asked ------------------------------------------------------------------------------------------


def sessions_of(path: Path) -> list[list[Question]]:
    """The questions of each session in a file, in order: a trajectory's, or a recording's. Numbers come later."""
    data = path.read_bytes()
    text = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    rows = [msgspec.json.decode(line) for line in text.splitlines() if line.strip()]
    if rows and all("messages" in row and "body" not in row and "api" not in row for row in rows):
        return [_of_messages(row["messages"], bool(number % 2)) for number, row in enumerate(rows)]
    found: dict[str, list[Question]] = {}
    for call in read(path):
        if call.answer is not None and call.status == 200:
            truth = shapes.turn_of(call.wire, call.answer)
            kept = {name: value for name, value in call.headers.items() if name not in _OURS}
            question = Question(0, call.wire, call.request.path, call.body, truth, kept)
            found.setdefault(call.session, []).append(question)
    return list(found.values())


_OURS = ("content-length", "content-type", "authorization", "x-api-key", "host", "accept-encoding")


def _of_messages(messages: Sequence[dict[str, Any]], steady: bool) -> list[Question]:
    """steady: with temperature 0. The tools are those that the session calls."""
    called = {call["function"]["name"] for m in messages for call in m.get("tool_calls") or ()}
    tools = [{"type": "function", "function": {"name": n, "parameters": {"type": "object"}}} for n in sorted(called)]
    found = []
    for at, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        body: dict[str, Any] = {"model": "gpt-5.5", "messages": messages[:at]}
        if steady:
            body["temperature"] = 0
        if tools:
            body["tools"] = tools
        truth = shapes.turn_of(Wire.OPENAI_CHAT, {"choices": [{"message": message}]})
        found.append(Question(0, Wire.OPENAI_CHAT, "/v1/chat/completions", body, truth))
    return found


def plan(sessions: Iterable[Sequence[Question]], seed: int, planted: float) -> list[list[Turn]]:
    rng = random.Random(seed)
    number, planned = 0, []
    for session in sessions:
        turns = []
        for question in session:
            plant = rng.choice(("at once", "later")) if rng.random() < planted else ""
            streamed = question.body.get("stream")
            stream = rng.random() < 0.5 if streamed is None else bool(streamed)
            turns.append(Turn(msgspec.structs.replace(question, number=number), stream, plant))
            number += 2  # the odd numbers are the repeats'
        planned.append(turns)
    return planned


# --- asking -------------------------------------------------------------------------------------------------


class _Score:
    def __init__(self, truths: dict[bytes, set[Any]]) -> None:
        self.truths = truths
        self.wrong = self.planted = self.found = self.turns = 0
        self.by: Counter[str] = Counter()

    def plant(self, turn: Turn, *, hit: bool) -> None:
        self.planted += 1
        self.found += hit
        self.by[f"planted {turn.plant}, {turn.question.wire.value}: {'answered' if hit else 'asked'}"] += 1

    def take(self, question: Question, told: shapes.Turn) -> None:
        self.wrong += said(told) not in self.truths[_identity(question)]


async def play(planned: Sequence[Sequence[Turn]], model: Path | None = None) -> tuple[dict[str, float], Counter[str]]:
    """The figures, and how many questions were answered without the provider: by repeats and by others."""
    truths: dict[bytes, set[Any]] = {}
    for turn in (turn for session in planned for turn in session):
        truths.setdefault(_identity(turn.question), set()).add(said(turn.question.truth))
    score, total = _Score(truths), sum(map(len, planned))
    gate = asyncio.Semaphore(AT_ONCE)
    async with lab(model=model) as at_work:

        async def one(number: int, session: Sequence[Turn]) -> None:
            async with gate:
                await _session(at_work, session, score, random.Random(number))
            progress(f"session {number + 1}/{len(planned)}: {score.turns} of {total} turns, {score.wrong} wrong")

        await asyncio.gather(*(one(number, session) for number, session in enumerate(planned)))
        alone = [turn.question.number for session in planned for turn in session if not turn.plant]
        score.by["repeats that were recorded"] = sum(number not in at_work.asked for number in alone)
    figures = {
        "wrong_answers": float(score.wrong),
        "planted_hits": score.found / score.planted if score.planted else 1.0,
        "turns": float(score.turns),
        "planted": float(score.planted),
    }
    return figures, score.by


async def _session(at_work: Lab, session: Sequence[Turn], score: _Score, rng: random.Random) -> None:
    waiting: list[Turn] = []
    for turn in session:
        twin = msgspec.structs.replace(turn.question, number=turn.question.number + 1)
        score.turns += 1
        if turn.plant == "at once":
            first, second = await asyncio.gather(
                at_work.ask(turn.question, stream=turn.stream), at_work.ask(twin, stream=turn.stream)
            )
            score.take(turn.question, first[0])
            score.take(twin, second[0])
            asked = at_work.asked.get(turn.question.number, 0) + at_work.asked.get(twin.number, 0)
            score.plant(turn, hit=asked <= 1)
        else:
            told, _ = await at_work.ask(turn.question, stream=turn.stream)
            score.take(turn.question, told)
            if turn.plant:
                waiting.append(turn)
        while waiting and rng.random() < 0.3:
            await _later(at_work, waiting.pop(rng.randrange(len(waiting))), score)
    for turn in waiting:
        await _later(at_work, turn, score)


async def _later(at_work: Lab, turn: Turn, score: _Score) -> None:
    """The same again, as a stream if it was none."""
    twin = msgspec.structs.replace(turn.question, number=turn.question.number + 1)
    told, _ = await at_work.ask(twin, stream=not turn.stream)
    score.take(twin, told)
    score.plant(turn, hit=twin.number not in at_work.asked)


def _identity(question: Question) -> bytes:
    """What makes two questions the same."""
    body = {name: value for name, value in question.body.items() if name != "stream"}
    return msgspec.json.encode((question.wire, question.path, body))


if __name__ == "__main__":
    sys.exit(main())
