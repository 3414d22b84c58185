"""Cheap lanes in front of a real llama-server: vectors and answers of several callers, each its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.llama import Llama, own

from pennyweight.app import build
from pennyweight.client.inprocess import entrance
from pennyweight.config import load

Ask = Callable[[str, dict[str, Any]], Awaitable[tuple[dict[str, str], dict[str, Any]]]]

LABELS = ["complaint", "praise", "question"]
SYSTEM = "Say whether the message is a complaint, praise or a question. " * 25


@asynccontextmanager
async def gateway(folder: Path, server: Llama, lanes: str) -> AsyncIterator[Ask]:
    file = folder / "pennyweight.toml"
    provider = f'[providers.here]\nbase_url = "{server.url}/v1"\nauth = "none"\nwires = ["openai_chat"]\n'
    file.write_text(f"{lanes}\n{provider}")
    config = load(file, {"PENNYWEIGHT_DATA": str(folder)}, {"holdout": 0.0})
    async with build(config) as app, entrance(app) as door:

        async def ask(path: str, body: dict[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
            raw = json.dumps({"model": f"here/{server.model}", **body}).encode()
            status, headers, answer = await door.respond("POST", path, "", (("content-type", "application/json"),), raw)
            assert isinstance(answer, bytes)
            assert status == 200, answer
            return dict(headers), json.loads(answer)

        yield ask


@pytest.fixture(scope="module")
def one_slot() -> Iterator[Llama]:
    """With two, this server's vectors depend on what else it does at the time: also when all are asked apart."""
    yield from own("tiny-draft-f16.gguf", model="tiny-embedding", embedding=True, slots=1)


def test_vectors_are_those_that_each_would_get_alone(tmp_path: Path, one_slot: Llama) -> None:
    texts = ["a short one", "a somewhat longer text about flights", "shoes", "hello there", "one more"]

    async def run(lanes: str) -> list[list[float]]:
        async with gateway(tmp_path, one_slot, lanes) as ask:
            answers = await asyncio.gather(*(ask("/v1/embeddings", {"input": text}) for text in texts))
            shares = [body["usage"]["prompt_tokens"] for _, body in answers]
            assert all(share > 0 for share in shares)
            return [body["data"][0]["embedding"] for _, body in answers]

    alone, together = asyncio.run(run("")), asyncio.run(run('[lanes]\nembed = ["here"]\n'))
    for one, other in zip(alone, together, strict=True):
        assert one == pytest.approx(other, abs=1e-3)


def test_combined_answers_are_valid_and_cost_fewer_tokens(tmp_path: Path, llama_server: Llama) -> None:
    schema = {"type": "object", "properties": {"label": {"type": "string", "enum": LABELS}}}
    schema |= {"required": ["label"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "label", "schema": schema}}

    def body(text: str) -> dict[str, Any]:
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
        return {"messages": messages, "temperature": 0, "max_tokens": 30, "response_format": form}

    async def run() -> tuple[list[str], int]:
        lanes = f'[[lanes.combine]]\nmodel = "here/{llama_server.model}"\nsize = 6\n'
        async with gateway(tmp_path, llama_server, lanes) as ask:
            asked = [ask("/v1/chat/completions", body(f"my flight {n} was late")) for n in range(6)]
            answers = await asyncio.gather(*asked)
            labels = [json.loads(told["choices"][0]["message"]["content"])["label"] for _, told in answers]
            return labels, sum(told["usage"]["prompt_tokens"] for _, told in answers)

    labels, tokens = asyncio.run(run())
    assert all(label in LABELS for label in labels)
    assert tokens < 6 * 200  # each alone has 300 tokens of instructions
