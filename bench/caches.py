"""A gateway in this process with every cache switched on, over a loopback provider that knows the true answers.

The provider finds an answer by a header that the gateway hands on and no cache looks at, so it knows which question it
was asked whatever the gateway made of the body, and tells which questions it was never asked.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from pennyweight.app import OPTIMIZERS, build
from pennyweight.client.inprocess import Entrance, entrance
from pennyweight.config import Config, OptimizerRule, load
from pennyweight.errors import PennyweightError
from pennyweight.protocols import Clock
from pennyweight.request import Usage, Wire
from pennyweight.testing import shapes
from pennyweight.testing.http import Exchange, LoopbackServer
from pennyweight.testing.provider import provider_keys
from pennyweight.wire import codec

from .minilm import model_folder
from .result import progress

__all__ = ["Lab", "Question", "everything_on", "lab", "model_of", "said"]

NUMBER = "x-bench-question"

ON: Mapping[str, Any] = {
    "sampled": True,
    "tool_calls": True,
    "identical": "all",
    "templates": True,
    "models": ("*",),
}
"""What settings of caches are set to, wherever one has a setting of that name and of that kind."""


class Question(msgspec.Struct, frozen=True):
    """A request, and what the provider answers. `number`: of the answer, also in the provider's books."""

    number: int
    wire: Wire
    path: str
    body: Mapping[str, Any]
    truth: shapes.Turn
    headers: Mapping[str, str] = {}
    usage: Usage = Usage(input_tokens=100, output_tokens=20)

    def as_sent(self, *, stream: bool) -> bytes:
        return msgspec.json.encode({**self.body, "stream": stream})


class Lab:
    """`ask` puts a question to the gateway; `asked` counts how often the provider was asked each."""

    def __init__(self, gateway: Entrance, questions: dict[int, Question], asked: dict[int, int]) -> None:
        self._gateway = gateway
        self._questions = questions
        self.asked = asked

    async def ask(self, question: Question, *, stream: bool = False) -> tuple[shapes.Turn, dict[str, str]]:
        """What the caller is told, and the answer's headers. Raises RuntimeError for an answer that is none."""
        self._questions[question.number] = question
        headers = {
            "content-type": "application/json",
            "authorization": "Bearer sk-bench",
            **question.headers,
            NUMBER: str(question.number),
        }
        status, told, body = await self._gateway.respond(
            "POST", question.path, "", tuple(headers.items()), question.as_sent(stream=stream)
        )
        raw = body if isinstance(body, bytes) else b"".join([chunk async for chunk in body])
        if status != 200:
            raise RuntimeError(f"question {question.number} was answered with {status}: {raw[:200]!r}")
        await asyncio.sleep(0)  # over a network, the cache would have the answer before the caller has it all
        if stream:
            raw = codec(question.wire).fold(raw)
        return shapes.turn_of(question.wire, msgspec.json.decode(raw)), dict(told)


@asynccontextmanager
async def lab(
    config: Config | None = None, *, clock: Clock | None = None, model: Path | None = None
) -> AsyncIterator[Lab]:
    """config: of the gateway, with any address as its providers'; None: every cache on, under max, with that model."""
    questions: dict[int, Question] = {}
    asked: dict[int, int] = {}

    async def answer(exchange: Exchange) -> None:
        question = questions[int(exchange.header(NUMBER))]
        asked[question.number] = asked.get(question.number, 0) + 1
        body = msgspec.json.decode(exchange.body)
        whole = shapes.body_of(question.wire, question.truth, model=body["model"], number=question.number)
        done = shapes.finish(question.wire, whole, question.usage, model=body["model"])
        if not body.get("stream"):
            await exchange.send(200, msgspec.json.encode(done), headers={"content-type": "application/json"})
            return
        await exchange.start(200, {"content-type": "text/event-stream"})
        usage = bool((body.get("stream_options") or {}).get("include_usage"))
        await exchange.write(b"".join(shapes.stream(question.wire, done, include_usage=usage)))
        await exchange.end()

    async with LoopbackServer(answer) as server:
        with TemporaryDirectory(prefix="pennyweight-bench-") as folder:
            base = load(None, provider_keys(server.url), {"data_dir": Path(folder), "holdout": 0.0})
            if config is not None:
                base = msgspec.structs.replace(config, providers=base.providers, data_dir=base.data_dir)
            else:
                base = everything_on(base, model)
            async with build(base, clock=clock) as app, entrance(app) as gateway:
                yield Lab(gateway, questions, asked)


def model_of(named: Path | None) -> Path | None:
    """The embedding model that a bench runs on; None, and a word why, where none is to be had."""
    try:
        return model_folder(named)
    except PennyweightError as error:
        progress(f"no embedding model, so the caches that need one stay off: {error}")
        return None


def everything_on(config: Config, model: Path | None = None) -> Config:
    """The configuration with every built-in optimizer, all that caches can switch on, under max, nobody held out.

    model: the folder of the embedding model; without one the caches that need it say so and stay off.
    """
    usual = [rule.use for rule in config.optimizers]
    names = (*usual, *(name for name in OPTIMIZERS if name not in usual))
    return msgspec.structs.replace(
        config,
        optimize="max",
        optimizers=tuple(OptimizerRule(name, mode="on", settings=_settings(name)) for name in names),
        fusing=msgspec.structs.replace(config.fusing, **_on(config.fusing)),
        embeddings=msgspec.structs.replace(config.embeddings, folder=str(model or "")),
        pipeline=msgspec.structs.replace(config.pipeline, propose_s=5.0, risk=1.0),  # a busy machine must not skip one
    )


def _settings(name: str) -> dict[str, Any]:
    module = importlib.import_module(OPTIMIZERS[name].partition(":")[0])
    return _on(module.Settings()) if name not in _NO_CACHES else {}


_NO_CACHES = ("billing_header", "heartbeat", "output_limit", "prompt_cache")


def _on(settings: msgspec.Struct) -> dict[str, Any]:
    return {name: value for name, value in ON.items() if isinstance(getattr(settings, name, None), type(value))}


def said(turn: shapes.Turn) -> tuple[Any, ...]:
    """What an answer says, normalised: text without white space around it, calls by name and arguments as JSON. Ids
    are the provider's own."""
    calls = tuple((call.name, _arguments(call.arguments)) for call in turn.calls)
    return turn.text.strip(), calls


def _arguments(text: str) -> str:
    try:
        return msgspec.json.encode(msgspec.json.decode(text or "{}"), order="deterministic").decode()
    except msgspec.DecodeError:
        return text
