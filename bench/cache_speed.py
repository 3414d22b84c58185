"""What caches cost: CPU of hits and misses, a search among 100,000, hits over HTTP, 10,000 equal calls at once.

Lookups are timed with the thread's own CPU clock, on the stores that a gateway has by default, and figures are medians.
Over HTTP the whole process is counted, beside LiteLLM with its cache in memory and nginx as a plain proxy, in one run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from pennyweight.app import OPTIMIZERS, App, build
from pennyweight.call import Call, Identity, Optimize, Outcome, Target
from pennyweight.client.inprocess import entrance
from pennyweight.clock import SystemClock
from pennyweight.config import load
from pennyweight.protocols import Optimizer
from pennyweight.request import Charge, Done, Request, Response, Usage, Wire
from pennyweight.stores.vectors.memory import MemoryVectors
from pennyweight.testing import shapes
from pennyweight.testing.http import Exchange, LoopbackServer
from pennyweight.testing.provider import provider_keys

from .caches import everything_on, model_of
from .gateway.peers import Running, caching_litellm, start
from .gateway.tools import upstream
from .gateway.visits import PLAN, measure
from .process import memory_mb
from .result import progress, report

TARGETS = {
    "exact_hit_ms_8k": "<= 0.05",
    "miss_ms": "<= 0.3",
    "semantic_hit_ms": "<= 3",
    "search_ms_100k": "<= 0.3",
    "hit_x_litellm": ">= 100",
    "hit_x_nginx": "<= 5",
    "burst_upstream_calls": "== 1",
    "burst_unanswered": "== 0",
    "burst_mb": "<= 500",
}
PARTS = ("exact", "semantic", "search", "burst", "http")
HEADERS = (
    ("host", "127.0.0.1:8787"),
    ("accept", "application/json"),
    ("content-type", "application/json"),
    ("user-agent", "OpenAI/Python 2.20.0"),
    ("x-stainless-lang", "python"),
    ("x-stainless-retry-count", "0"),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.cache_speed", description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    parser.add_argument("--rounds", type=int, default=3, help="of the load over HTTP (default 3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="share of each visit's usual time (default 1.0)")
    parser.add_argument("--model", type=Path, help="folder of the embedding model; default: the gateway's, or fetched")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    figures: dict[str, float] = {}
    skipped: dict[str, str] = {}
    more: dict[str, Any] = {}
    for part in (part for part in PARTS if part in asked.parts):
        progress(f"{part} …")
        match part:
            case "exact":
                figures |= asyncio.run(exact())
            case "semantic":
                found, why = asyncio.run(semantic(model_of(asked.model)))
                figures |= found
                skipped |= dict.fromkeys(("miss_ms", "semantic_hit_ms"), why) if why else {}
            case "search":
                figures |= asyncio.run(search(asked.seed))
            case "burst":
                figures |= asyncio.run(burst())
            case "http":
                found, more["cpu_us"], why = http(asked.rounds, asked.seconds)
                figures |= found
                skipped |= dict.fromkeys(("hit_x_litellm", "hit_x_nginx") - found.keys(), why) if why else {}
        progress(", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    targets = {name: target for name, target in TARGETS.items() if _PART_OF.get(name, name) in asked.parts}
    return report("cache_speed", seed=asked.seed, figures=figures, targets=targets, skipped=skipped, **more)


_PART_OF = {
    "exact_hit_ms_8k": "exact",
    "miss_ms": "semantic",
    "semantic_hit_ms": "semantic",
    "search_ms_100k": "search",
    "hit_x_litellm": "http",
    "hit_x_nginx": "http",
    "burst_upstream_calls": "burst",
    "burst_unanswered": "burst",
    "burst_mb": "burst",
}


# --- lookups ------------------------------------------------------------------------------------------------


async def cpu_ms(work: Sequence[Callable[[], Coroutine[Any, Any, Any]]]) -> float:
    """The median CPU of this thread, in ms, for each piece of work that never has to wait."""
    spent = []
    for one in work:
        coroutine = one()
        began = time.thread_time_ns()
        await coroutine
        spent.append(time.thread_time_ns() - began)
    return statistics.median(spent) / 1e6


async def exact(count: int = 5_000) -> dict[str, float]:
    """Key and hit of the exact cache, by size of the request; and a miss."""
    found = {}
    async with _Opened() as app:
        cache = _optimizer(app, "exact_cache")
        for name, size in (("1k", 1_000), ("8k", 8_000), ("80k", 80_000)):
            raw = _body(size)
            await cache.settle(_answered(_call(raw)))
            calls = [_call(raw) for _ in range(count)]
            found[f"exact_hit_ms_{name}"] = await cpu_ms([lambda call=call: cache.propose(call) for call in calls])
            if (hit := await cache.propose(_call(raw))) is None:
                raise RuntimeError(f"the answer to {size} bytes was not kept")
            del hit
        misses = [_call(_body(8_000, f" {n}")) for n in range(1_000)]
        found["exact_miss_ms_8k"] = await cpu_ms([lambda call=call: cache.propose(call) for call in misses])
    return found


SUBJECTS = ("card", "pin code", "house loan", "phone app", "monthly fee", "bank statement", "cash machine", "overdraft")
FRAMES = (
    "could you explain in a few words what the {} is for",
    "i do not understand the {} and how it works",
    "please tell me what i should know about the {}",
    "what is the {} good for and why do i have one",
    "what exactly is the {} and how does it work",
    "can somebody describe the {} to a beginner like me",
)
OPENINGS = ("", "well, ", "hi, ", "hello, ", "excuse me, ", "good day, ", "dear team, ")
ENDINGS = ("", " please", ", thank you", ", many thanks", ", in short")
OTHERS = (
    "volcanoes on jupiter's moons",
    "baroque organ music",
    "hens in winter",
    "knots for sailors",
    "roman emperors",
    "sourdough bread",
    "mountain bikes",
    "the tides",
)
OTHER_FRAMES = (
    "who invented {}",
    "{} in the middle ages",
    "name three facts on {}",
    "compare {} with algebra",
    "write a limerick on {}",
)


async def semantic(model: Path | None, count: int = 200) -> tuple[dict[str, float], str]:
    """Of the semantic cache, once it has learnt that it may answer: questions of about 16 tokens that it answers, and
    questions unlike all that are kept. All threads count, the embedder has its own. And why there are no figures."""
    if "semantic_cache" not in OPTIMIZERS:
        return {}, "this version has no semantic cache"
    if model is None:
        return {}, "there is no embedding model, and none could be fetched"
    lots = random.Random(1)
    texts = [o + f.format(s) + e for o in OPENINGS for f in FRAMES for s in SUBJECTS for e in ENDINGS]
    lots.shuffle(texts)
    async with _Opened(model=model) as app:
        cache = _optimizer(app, "semantic_cache")
        await _opened_embedder(app)
        taught = iter(texts)
        hits = 0
        for number, text in enumerate(taught):
            call = _asking(text)
            found = await cache.propose(call)
            hits += found is not None
            if found is None:
                await cache.settle(_answered(call, f"This is all about the {_subject(text)}."))
            if hits >= 20 or number >= len(texts) * 3 // 4:
                break
            if (number + 1) % 100 == 0:
                progress(f"semantic: {number + 1} questions taught, {hits} hits")
        spent = []
        for text in taught:
            call = _asking(text)
            began = time.process_time_ns()
            found = await cache.propose(call)
            if found is not None:
                spent.append((time.process_time_ns() - began) / 1e6)
            if len(spent) >= count:
                break
        misses = [_asking(frame.format(other)) for frame in OTHER_FRAMES for other in OTHERS]
        missed = []
        for call in misses:
            began = time.process_time_ns()
            if await cache.propose(call) is None:
                missed.append((time.process_time_ns() - began) / 1e6)
    if not spent:
        return {}, f"it did not open within {number + 1} questions"
    progress(f"semantic: {len(spent)} hits and {len(missed)} misses timed")
    return {"semantic_hit_ms": statistics.median(spent), "miss_ms": statistics.median(missed)}, ""


async def _opened_embedder(app: App) -> None:
    """Models are opened when first asked for, which takes longer than a caller waits."""
    await app.embeddings.embedder()
    await app.embeddings.retriever()


def _subject(text: str) -> str:
    return next(subject for subject in SUBJECTS if subject in text)


def _asking(text: str) -> Call:
    return _call(
        msgspec.json.encode({"model": "gpt-5.5", "temperature": 0, "messages": [{"role": "user", "content": text}]}),
        optimize="max",
    )


async def search(seed: int, entries: int = 100_000, dimensions: int = 384) -> dict[str, float]:
    """The 20 nearest of 100,000 vectors; queries are kept vectors with noise. Vectors spread as those of sentences do:
    a few directions hold most of the variance."""
    rng = np.random.default_rng(seed)
    vectors = MemoryVectors(clock=SystemClock(), size_bytes=1 << 30)
    turned = np.linalg.qr(rng.standard_normal((dimensions, dimensions)))[0].astype(np.float32)
    spread = (np.arange(1, dimensions + 1, dtype=np.float32) ** -0.5)[:, None] * turned
    kept = rng.standard_normal((entries, dimensions), dtype=np.float32) @ spread
    kept /= np.linalg.norm(kept, axis=1, keepdims=True)
    for number, vector in enumerate(kept):
        await vectors.add("bench", str(number), vector.tobytes())
        if (number + 1) % 10_000 == 0:
            progress(f"search: {number + 1}/{entries} vectors")
    progress("search: building the graph")
    await vectors.settled()
    chosen = rng.integers(entries, size=500)
    noise = rng.standard_normal((500, dimensions), dtype=np.float32) * 0.02
    queries = kept[chosen] + noise
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    raw = [query.tobytes() for query in queries]
    spent = await cpu_ms([lambda query=query: vectors.nearest("bench", query, limit=20) for query in raw])
    first = [(await vectors.nearest("bench", query, limit=20))[0][0] for query in raw]
    await vectors.aclose()
    right = sum(id == str(number) for id, number in zip(first, chosen, strict=True)) / len(raw)
    return {"search_ms_100k": spent, "search_recall_100k": right}


class _Opened:
    """An App on its defaults, without a network."""

    def __init__(self, *, model: Path | None = None) -> None:
        """model: with every cache on, over that embedding model."""
        self._stack = ExitStack()
        self._model = model

    async def __aenter__(self) -> App:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="pennyweight-bench-")))
        config = load(None, provider_keys("http://127.0.0.1:9"), {"data_dir": folder, "holdout": 0.0})
        self._opened = build(everything_on(config, self._model) if self._model else config)
        return await self._opened.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        await self._opened.__aexit__(*error)
        self._stack.close()


def _optimizer(app: App, name: str) -> Optimizer:
    return next(one for one, _ in app.pipeline._optimizers if one.name == name)


def _body(size: int, tail: str = "") -> bytes:
    """A chat request of about that many bytes."""
    text = "The quick brown fox jumps over the lazy dog. " * (size // 45)
    system, rest = text[: size // 2], text[size // 2 : size - 200]
    messages = [{"role": "system", "content": system}]
    for at in range(0, len(rest), max(len(rest) // 4, 1)):
        role = "user" if len(messages) % 2 else "assistant"
        messages.append({"role": role, "content": rest[at : at + len(rest) // 4] + tail})
    return msgspec.json.encode({"model": "gpt-5.5", "temperature": 0, "max_tokens": 500, "messages": messages})


def _call(raw: bytes, optimize: Optimize = "safe") -> Call:
    request = Request(Wire.OPENAI_CHAT, raw, HEADERS, "/v1/chat/completions")
    target = Target("openai", "gpt-5.5", Wire.OPENAI_CHAT)
    return Call(f"call_{random.getrandbits(64):x}", Identity(), request, request, target, time.time(), optimize)


def _answered(call: Call, text: str = "It is a pangram. " * 50) -> Outcome:
    usage = Usage(input_tokens=2_000, output_tokens=200)
    whole = shapes.body_of(Wire.OPENAI_CHAT, shapes.Turn(text), model="gpt-5.5")
    raw = msgspec.json.encode(shapes.finish(Wire.OPENAI_CHAT, whole, usage, model="gpt-5.5"))
    done = Done(usage, "stop", (Charge("openai", "gpt-5.5", usage, call.at),))
    return Outcome(call, done, 200, "openai", response=Response(Wire.OPENAI_CHAT, raw, done))


# --- many at once -------------------------------------------------------------------------------------------


async def burst(callers: int = 10_000) -> dict[str, float]:
    """Equal calls at once, streamed: how often the provider was asked, who got no answer, memory that it took."""
    asked = 0
    truth = shapes.Turn("One answer for everybody. " * 40)
    usage = Usage(input_tokens=2_000, output_tokens=200)

    async def answer(exchange: Exchange) -> None:
        nonlocal asked
        asked += 1
        whole = shapes.finish(
            Wire.OPENAI_CHAT, shapes.body_of(Wire.OPENAI_CHAT, truth, model="gpt-5.5"), usage, model="gpt-5.5"
        )
        await asyncio.sleep(1.0)  # until all have come
        await exchange.start(200, {"content-type": "text/event-stream"})
        for piece in shapes.stream(Wire.OPENAI_CHAT, whole, include_usage=False):
            await exchange.write(piece)
        await exchange.end()

    body = msgspec.json.encode({**msgspec.json.decode(_body(1_000)), "stream": True})
    headers = (("content-type", "application/json"), ("authorization", "Bearer sk-bench"))
    async with LoopbackServer(answer) as server:
        with tempfile.TemporaryDirectory(prefix="pennyweight-bench-") as folder:
            config = load(None, provider_keys(server.url), {"data_dir": Path(folder), "holdout": 0.0})
            async with build(config) as app, entrance(app) as gateway:

                async def one() -> bool:
                    status, _, told = await gateway.respond("POST", "/v1/chat/completions", "", headers, body)
                    size = len(told) if isinstance(told, bytes) else 0
                    ended = isinstance(told, bytes)
                    if not isinstance(told, bytes):
                        async for chunk in told:
                            size += len(chunk)
                            ended = b"[DONE]" in chunk
                    return status == 200 and ended and size > 1_000

                pid = os.getpid()
                before, began = memory_mb(pid), time.monotonic()
                tasks = [asyncio.create_task(one()) for _ in range(callers)]
                peak = before
                while not all(task.done() for task in tasks):
                    await asyncio.sleep(0.2)
                    peak = max(peak, memory_mb(pid))
                answered = sum(task.result() for task in tasks)
                spent_s = time.monotonic() - began
    return {
        "burst_upstream_calls": float(asked),
        "burst_unanswered": float(callers - answered),
        "burst_mb": peak - before,
        "burst_s": spent_s,
    }


# --- over HTTP ----------------------------------------------------------------------------------------------


def http(rounds: int, seconds: float) -> tuple[dict[str, float], dict[str, float], str]:
    """(figures, CPU of a request in microseconds by target, why something is missing)."""
    missing = []
    with ExitStack() as stack:
        provider = stack.enter_context(upstream())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pennyweight-bench-")))
        running: dict[str, tuple[Running, str]] = {}
        plan = {
            "pennyweight": ("hit_small", lambda: start("pennyweight", provider.port, folder / "ours")),
            "nginx": ("small", lambda: start("nginx", provider.port, folder / "nginx")),
            "litellm": ("hit_small", lambda: caching_litellm(provider.port, folder / "litellm")),
        }
        for name, (visit, opened) in plan.items():
            try:
                running[name] = stack.enter_context(opened()), visit
            except RuntimeError as error:
                missing.append(str(error))
                progress(f"SKIPPED {name}: {error}")
        spent: dict[str, list[float]] = {name: [] for name in running}
        first = 0
        for number in range(rounds):
            for name, (target, visit) in running.items():
                found = measure(target, PLAN[visit], provider, seconds=seconds, first=first)
                first += 500_000
                if "cpu_us" in found:
                    spent[name].append(found["cpu_us"])
                else:
                    missing.append(f"{name}: {found.get('failure', 'no answer')}")
                progress(f"round {number + 1}/{rounds} {name}: {found}")
    medians = {name: statistics.median(values) for name, values in spent.items() if values}
    figures = {}
    if "pennyweight" in medians and "litellm" in medians:
        figures["hit_x_litellm"] = medians["litellm"] / medians["pennyweight"]
    if "pennyweight" in medians and "nginx" in medians:
        figures["hit_x_nginx"] = medians["pennyweight"] / medians["nginx"]
    return figures, {name: round(value, 1) for name, value in medians.items()}, "; ".join(missing)


if __name__ == "__main__":
    sys.exit(main())
