"""What cheap lanes save and cost: batches, embeddings put together, classifications combined, calls held back.

Batches and embeddings go through a whole gateway, in this process, to a provider of batches on loopback that behaves as
OpenAI and Anthropic document theirs and counts what it bills by itself, so that its bill can be held against the
receipts. A tenth of the items of a batch go wrong in one of five ways, and every tenth caller has a deadline that comes
before the batch ends. Combining and letting calls go together are measured on a real llama-server with the tiny models
of the tests, which know nothing: they show what is saved and how many answers are valid, not whether they are right.

  python -m bench.lanes [--calls 200] [--seed 1] [--data texts.txt]

--data: texts to classify, one a line; default: made ones.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tests import llama

from pennyweight.app import App, build
from pennyweight.client.inprocess import entrance
from pennyweight.config import load
from pennyweight.testing.batches import BatchProvider

from .result import progress, report

TARGETS = {
    "batch_cost_share": "<= 0.51",
    "lost_answers": "== 0",
    "batches_made_twice": "== 0",
    "unaccounted_tokens": "== 0",
    "embed_calls_per_upstream": ">= 4",
    "embed_unaccounted_pico_usd": "== 0",
    "combine_prompt_tokens_saved": ">= 0.5",
    "combine_valid": ">= 0.9",
}
FAULTS = ("[fault]", "[expire]", "[drop]", "[refuse]")
LABELS = ("complaint", "praise", "question", "order", "other")
SYSTEM = (
    "You sort messages of customers of an airline and of a shop. Give one label for each message. A complaint says "
    "that something went wrong or was late, broken or rude. Praise says that something went well. A question asks for "
    "something to be told: opening hours, rules, the state of an order. An order asks for something to be done: a "
    "flight to be booked, changed or cancelled, an item to be sent back or exchanged. Everything else is other. Where "
    "a message is of two kinds, take the one that its writer would be angrier about if nobody answered. Ignore "
    "greetings, names and signatures. Do not explain."
)

Ask = Callable[[str, dict[str, Any], dict[str, str]], Any]


async def batches(calls: int, seed: int) -> dict[str, float]:
    """Calls of three protocols, most of which can wait."""
    rng = random.Random(seed)
    config = (
        '[lanes]\nmarked = true\nbatch = ["openai", "anthropic"]\nwindow_s = 0.3\npoll_s = 0.05\nmost_poll_s = 0.1\n'
        "margin_s = 0.5\n"
    )
    async with BatchProvider(takes_s=0.6) as provider:
        async with _gateway(config, provider.url) as (app, ask, folder):
            await ask("/v1/chat/completions", _chat("before"), _MARK)  # from which it is known how long a batch takes
            for _ in range(6):
                await asyncio.gather(*(ask("/v1/chat/completions", _chat(f"before {n}"), _MARK) for n in range(3)))
            made, billed = len(provider.jobs), len(provider.billed)
            provider.lose_answer, provider.takes_s = 1, 2.0
            texts = [f"{rng.choice(FAULTS) if rng.random() < 0.1 else ''} question {n}" for n in range(calls)]
            began = time.monotonic()

            async def one(number: int, text: str) -> tuple[str, str, float]:
                started = time.monotonic()
                hasty = {"x-pennyweight-deadline-s": "2.2"} if number % 10 == 0 else {}
                path = ("/v1/chat/completions", "/v1/messages", "/v1/responses")[number % 3]
                body = (_chat, _messages, _responses)[number % 3](text)
                told = await ask(path, body, _MARK | hasty)
                return text, told, time.monotonic() - started

            answers = await asyncio.gather(*(one(number, text) for number, text in enumerate(texts)))
            progress(f"{calls} calls in {time.monotonic() - began:.1f} s, {len(provider.jobs) - made} batches")
            await asyncio.sleep(2.5)  # batches whose callers were asked otherwise end, and are billed
            await app.clerk.flush(10)
            rows = _receipts(folder)
        lost = sum(f"answer to: {text}" not in told for text, told, _ in answers if "[refuse]" not in text)
        served = [text for kind, text, _ in provider.billed[billed:] if kind == "batch"]
        by_batch = [row for row in rows if row["tier"] == "batch" and row["cost_pico"] and not row["abandoned"]]
        share = sum(row["cost_pico"] for row in by_batch) / sum(row["baseline_pico"] for row in by_batch)
        counted = sum(row["input_tokens"] or 0 for row in rows)
        return {
            "batch_cost_share": share,
            "batch_served": len(by_batch) / len(rows),
            "lost_answers": lost,
            "batches_made_twice": len(served) - len(set(served)),
            "unaccounted_tokens": abs(counted - sum(tokens for *_, tokens in provider.billed)),
            "late_receipts": sum(row["call_id"].endswith("-batch") for row in rows),
        }


async def embeddings(calls: int, seed: int) -> dict[str, float]:
    """A crowd, and callers one after the other."""
    rng = random.Random(seed)
    config = '[lanes]\nembed = ["openai"]\n'
    async with BatchProvider() as provider:
        async with _gateway(config, provider.url) as (app, ask, folder):
            texts = ["w " * rng.randint(1, 200) for _ in range(calls)]
            await asyncio.gather(*(ask("/v1/embeddings", _embed(text), {}) for text in texts))
            crowd = len(provider.singles)
            alone = []
            for text in texts[:20]:
                started = time.monotonic()
                await ask("/v1/embeddings", _embed(text), {})
                alone.append(time.monotonic() - started)
            await app.clerk.flush(10)
            rows = _receipts(folder)
            costs = [app.accounts.cost(charge) for charge in _whole(provider, rows[0])]
        told = sum(row["cost_pico"] for row in rows)
    return {
        "embed_calls_per_upstream": calls / crowd,
        "embed_alone_ms": statistics.median(alone) * 1000,
        "embed_unaccounted_pico_usd": abs(told - sum(cost or 0 for cost in costs)),
    }


def _whole(provider: BatchProvider, row: dict[str, Any]) -> list[Any]:
    from pennyweight.request import Charge, Usage

    usages = [Usage(input_tokens=tokens) for *_, tokens in provider.billed]
    return [Charge("openai", "text-embedding-3-small", usage, row["at"]) for usage in usages]


async def combining(server: llama.Llama, texts: Sequence[str]) -> dict[str, float]:
    """Each text alone, then combined, by the same model under the same schema."""
    schema = {"type": "object", "properties": {"label": {"type": "string", "enum": list(LABELS)}}}
    schema |= {"required": ["label"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "label", "strict": True, "schema": schema}}

    def body(text: str) -> dict[str, Any]:
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
        fields = {"temperature": 0, "max_tokens": 40, "response_format": form}
        return {"model": f"local/{server.model}", "messages": messages, **fields}

    provider = f'[providers.local]\nbase_url = "{server.url}/v1"\nauth = "none"\nwires = ["openai_chat"]\n'
    combine = f'[[lanes.combine]]\nmodel = "local/{server.model}"\nsize = 10\n'
    figures: dict[str, float] = {}
    took: dict[str, float] = {}
    tokens: dict[str, tuple[int, int]] = {}
    for name, config in (("alone", provider), ("combined", combine + provider)):
        async with _gateway(config, server.url) as (app, ask, folder):
            started = time.monotonic()
            answers = await asyncio.gather(*(ask("/v1/chat/completions", body(text), {}) for text in texts))
            took[name] = time.monotonic() - started
            await app.clerk.flush(10)
            rows = _receipts(folder)
        tokens[name] = (sum(row["input_tokens"] for row in rows), sum(row["output_tokens"] for row in rows))
        figures[f"{name}_valid_in_the_end"] = sum(_label(answer) in LABELS for answer in answers) / len(texts)
        if name == "combined":
            steps = [step for row in rows for step in json.loads(row["trail"]) if step["optimizer"] == "combine"]
            failed = sum(step["verdict"] == "failed" for step in steps)
            figures["combine_valid"] = 1 - failed / len(texts)
        progress(f"{name}: {tokens[name]} tokens in and out, {took[name]:.1f} s")
    figures["combine_prompt_tokens_saved"] = 1 - tokens["combined"][0] / tokens["alone"][0]
    figures["combine_output_tokens_more"] = tokens["combined"][1] / tokens["alone"][1] - 1
    figures["combine_time_ratio"] = took["combined"] / took["alone"]
    return figures


async def together(server: llama.Llama, rounds: int, seed: int) -> dict[str, float]:
    """Eight calls that come within 50 ms, let go as they come or at once, by turns. No text comes twice: the server
    would have it in its cache."""
    provider = f'[providers.local]\nbase_url = "{server.url}/v1"\nauth = "none"\nwires = ["openai_chat"]\n'
    held = '[lanes]\ntogether = ["local"]\nmicro_size = 8\n'
    walls: dict[str, list[float]] = {"apart": [], "together": []}
    waits: dict[str, list[float]] = {"apart": [], "together": []}
    async with (
        _gateway(provider, server.url) as (_, apart, _),
        _gateway(held + provider, server.url) as (_, at_once, _),
    ):
        for number in range(rounds):
            for name, ask in (("apart", apart), ("together", at_once)):
                began = time.monotonic()
                asked = [_one_of_eight(ask, server.model, f"{name}, {number}, {at}", seed) for at in range(8)]
                waits[name] += await asyncio.gather(*asked)
                walls[name].append(time.monotonic() - began)
    figures = {f"{name}_wall_s": statistics.median(found) for name, found in walls.items()}
    figures |= {f"{name}_p50_s": statistics.median(found) for name, found in waits.items()}
    progress(str(figures))
    return figures


async def _one_of_eight(ask: Ask, model: str, name: str, seed: int) -> float:
    """Seconds from its coming to its answer."""
    await asyncio.sleep(random.Random(f"{name.partition(',')[2]} {seed}").random() * 0.05)  # the same in both arms
    started = time.monotonic()
    text = f"{name}: " + "tell me about my flight " * 30
    body = {"model": f"local/{model}", "messages": [{"role": "user", "content": text}], "max_tokens": 24}
    await ask("/v1/chat/completions", body | {"temperature": 0}, {})
    return time.monotonic() - started


class _gateway:  # noqa: N801 - used as a function
    """A whole gateway in this process: (app, ask, its folder)."""

    def __init__(self, config: str, url: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name) / "pennyweight.toml"
        file.write_text(config)
        env = {"PENNYWEIGHT_DATA": self._folder.name, "OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "none"}
        env |= {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "none"}
        self._app = build(load(file, env, {"holdout": 0.0}))

    async def __aenter__(self) -> tuple[App, Ask, Path]:
        app = await self._app.__aenter__()
        self._entrance = entrance(app)
        door = await self._entrance.__aenter__()

        async def ask(path: str, body: dict[str, Any], headers: dict[str, str]) -> str:
            told = (("content-type", "application/json"), *headers.items())
            _status, _headers, answer = await door.respond("POST", path, "", told, json.dumps(body).encode())
            assert isinstance(answer, bytes)
            return answer.decode()

        return app, ask, Path(self._folder.name)

    async def __aexit__(self, *exc: Any) -> None:
        await self._entrance.__aexit__(*exc)
        await self._app.__aexit__(*exc)
        self._folder.cleanup()


_MARK = {"x-pennyweight-lane": "background"}


def _chat(text: str) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}


def _messages(text: str) -> dict[str, Any]:
    return {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": [{"role": "user", "content": text}]}


def _responses(text: str) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "input": text}


def _embed(text: str) -> dict[str, Any]:
    return {"model": "text-embedding-3-small", "input": text}


def _label(answer: str) -> str:
    try:
        content = json.loads(answer)["choices"][0]["message"]["content"]
        return str(json.loads(content)["label"])
    except (ValueError, KeyError, TypeError):
        return ""


def _receipts(folder: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(folder / "pennyweight.db")) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM receipts")]


def made(count: int, seed: int) -> list[str]:
    """Messages of customers, made of parts."""
    rng = random.Random(seed)
    begin = ["Hello,", "Hi there.", "Good morning.", "", "To whom it may concern:"]
    middle = [
        "my flight {n} was cancelled and nobody told me",
        "thank you for the quick help with order {n}",
        "can you tell me when order {n} will arrive",
        "please change my seat on flight {n} to the aisle",
        "the blue mug of order {n} came in two pieces",
        "I moved to another town, number {n}",
    ]
    return [f"{rng.choice(begin)} {rng.choice(middle)}.".format(n=rng.randint(100, 9999)).strip() for _ in range(count)]


async def _measured(options: argparse.Namespace) -> dict[str, float]:
    figures = await batches(options.calls, options.seed)
    figures |= await embeddings(options.calls, options.seed)
    texts = made(60, options.seed)
    if options.data:
        lines = [line for path in options.data for line in path.read_text("utf-8").splitlines() if line.strip()]
        texts = random.Random(options.seed).sample(lines, min(60, len(lines)))
    for server in llama.own("tiny-target-f16.gguf", model="tiny-target", slots=4):
        figures |= await combining(server, texts)
        figures |= await together(server, 15, options.seed)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.lanes", description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", nargs="+", type=Path, default=[], metavar="FILE", help="texts, one a line")
    options = parser.parse_args()
    figures = asyncio.run(_measured(options))
    data = [str(path) for path in options.data]
    return report("lanes", figures=figures, targets=TARGETS, data=data, seed=options.seed)


if __name__ == "__main__":
    sys.exit(main())
