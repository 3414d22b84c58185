"""A semantic cache over real stores, an upstream that knows the answers, and an embedder of words."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pennyweight.call import Call, Outcome
from pennyweight.hits import Audit, CacheRule
from pennyweight.optimizers.semantic_cache.optimizer import SemanticCache, Settings, build
from pennyweight.pipeline import Pipeline
from pennyweight.policy import Flag
from pennyweight.request import Charge, Done, Reply, Usage, Wire
from pennyweight.stores.database import Database
from pennyweight.stores.memory import MemoryKV
from pennyweight.stores.standings import SQLiteStandings
from pennyweight.stores.vectors.memory import MemoryVectors
from pennyweight.testing.backend import make_call
from pennyweight.testing.clock import FakeClock

QUICK = Settings(models=("m",), error_target=0.05)
"""With so much allowed, eighty answers without a fault are evidence enough."""

SUBJECTS = {
    "card": ["card", "debit card", "bank card", "plastic card"],
    "pin": ["pin", "pin code", "secret pin", "pin digits"],
    "loan": ["loan", "house loan", "mortgage loan", "big loan"],
    "app": ["app", "phone app", "mobile app", "new app"],
    "fee": ["fee", "monthly fee", "hidden fee", "account fee"],
    "statement": ["statement", "paper statement", "yearly statement", "bank statement"],
}
FRAMES = [
    "what is the {} for",
    "please explain the {} to me",
    "i do not understand the {} at all",
    "tell me how the {} works",
    "can you describe the {}",
    "why is there a {} in my account",
    "the {} puzzles me somewhat",
    "is the {} something i should care for",
]
OPENINGS = ["", "hello, ", "well, ", "good morning, ", "hi there, ", "sorry, "]
ENDINGS = ["", ", thanks", " in simple words", " again", ", if you can", " for a beginner"]


def question(lots: random.Random) -> tuple[str, str]:
    """A question, and its answer by an upstream that sorts questions."""
    subject = lots.choice(list(SUBJECTS))
    text = lots.choice(FRAMES).format(lots.choice(SUBJECTS[subject]))
    return f"{lots.choice(OPENINGS)}{text}{lots.choice(ENDINGS)}", f"about the {subject}"


class Words:
    """An embedder: hashed words, in a few dimensions."""

    dimensions = 128

    def __init__(self, fingerprint: str = "words-1") -> None:
        self.fingerprint = fingerprint
        self.asked = 0

    async def ask(self, text: str) -> Embedded:
        self.asked += 1
        return Embedded(await self.embed(text))

    async def embed(self, text: str) -> bytes:
        vector = np.zeros(self.dimensions, np.float32)
        for word in re.findall(r"\w+", text.lower()):
            vector[zlib.crc32(word.encode()) % self.dimensions] += 3.0 if len(word) > 2 else 0.3
        return (vector / np.linalg.norm(vector)).astype("<f4").tobytes()


class Embedded(msgspec.Struct):
    vector: bytes
    charges: Sequence[Charge] = ()


class Opened:
    """Embedders as an App hands them over. `missing`: why there is none."""

    def __init__(self, embedder: Words | None, missing: str | None = None) -> None:
        self._embedder = embedder
        self._missing = missing

    async def embedder(self) -> Words | None:
        return self._embedder

    async def retriever(self) -> Words | None:
        return self._embedder

    def reason(self) -> str | None:
        return self._missing


class Book:
    def cost(self, charge: Charge) -> int:
        return charge.usage.total_tokens * 10**6


class Parts:
    def __init__(self, folder: Path, *, embedder: Words | None = None) -> None:
        self.clock = FakeClock()
        self.kv: Any = MemoryKV(clock=self.clock, count=100_000, size_bytes=1 << 28)
        self.vectors: Any = MemoryVectors(clock=self.clock)
        self.book = Book()
        self.hits = self
        self.audits: list[Audit] = []
        self.embeddings = Opened(embedder or Words())
        self.standings: Any = SQLiteStandings(Database(folder / "p.db"))
        self.rules: dict[str, CacheRule] = {}

    def audited(self, audit: Audit) -> None:
        self.audits.append(audit)

    def rule(self, call: Call) -> CacheRule:
        return self.rules.get(call.original.model, CacheRule(""))


class Upstream:
    """A Backend that answers each question by `answer`, and counts."""

    def __init__(self) -> None:
        self.answer: Callable[[str], str] = lambda text: text
        self.calls = 0

    async def open(self, call: Call) -> Reply:
        self.calls += 1
        text = call.request.body["messages"][-1]["content"]
        message = {"role": "assistant", "content": self.answer(text)}
        body = {
            "id": f"x{self.calls}",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
        }
        usage = Usage(input_tokens=9, output_tokens=3)
        done = Done(usage, "stop", (Charge("p", "m", usage, call.at),))
        headers = (("content-type", "application/json"),)
        return Reply(200, headers, wire=Wire.OPENAI_CHAT, content=msgspec.json.encode(body), done=done)


class Rig:
    """Calls, one after the other, through a pipeline that has the semantic cache alone."""

    def __init__(self, parts: Parts, *, mode: Any = "on", settings: Settings = QUICK, judge: Any = None) -> None:
        self.parts = parts
        self.upstream = Upstream()
        self.cache = build(settings, parts) if judge is None else SemanticCache(settings, parts, judge=judge)
        self.outcomes: list[Outcome] = []
        self.pipeline = Pipeline(
            [(self.cache, Flag(mode, level="safe"))],
            self.upstream,
            submit=self.outcomes.append,
            clock=parts.clock,
            propose_s=5.0,
        )
        self._number = 0

    async def ask(self, text: str, *, more: dict[str, Any] | None = None, **call: Any) -> tuple[str, bool]:
        """(the answer's text, whether it was stored)."""
        self._number += 1
        body = {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": text}]} | (more or {})
        made = make_call(msgspec.json.encode(body), call_id=f"c{self._number}", **call)
        async with await self.pipeline.open(made) as reply:
            raw = await reply.read()
        outcome = self.outcomes[-1]
        await self.pipeline.settle(outcome)
        return msgspec.json.decode(raw)["choices"][0]["message"]["content"], outcome.answered_by == "semantic_cache"

    @property
    def why(self) -> str:
        """What the trail of the last call says."""
        step = self.outcomes[-1].call.trail[-1]
        return step.why or step.error

    async def known(self, **more: Any) -> str:
        """A question that the taught cache answers: tried until one is not drawn for an audit."""
        earlier = self.upstream.answer
        self.upstream.answer = lambda text: "about the loan"
        for frame in FRAMES * 3:
            text = f"hi there, {frame.format('house loan')}, thanks"
            said, stored = await self.ask(text, **more)
            if stored:
                self.upstream.answer = earlier
                assert said == "about the loan"
                return text
        raise AssertionError(f"nothing was served: {self.why}")

    async def teach(self, count: int, *, seed: int = 1, say: str = "{}", **more: Any) -> tuple[int, int]:
        """Ask that many questions; gives (stored answers served, of those wrong)."""
        lots = random.Random(seed)
        truth: dict[str, str] = {}
        earlier = self.upstream.answer
        self.upstream.answer = lambda text: truth[text]
        served = wrong = 0
        for _ in range(count):
            text, answer = question(lots)
            truth[text] = answer = say.format(answer)
            said, stored = await self.ask(text, **more)
            served += stored
            wrong += stored and said != answer
        self.upstream.answer = earlier
        return served, wrong
