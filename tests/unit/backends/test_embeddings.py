"""Vectors from a provider on loopback: what is asked, what is made of the answer, and what it costs."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pennyweight.app import App, build
from pennyweight.config import load
from pennyweight.errors import ConfigError, StoreError
from pennyweight.testing.http import Exchange, LoopbackServer
from pennyweight.text.embedders.remembered import Remembered

OPENAI = """
[embeddings]
kind = "openai"
model = "text-embedding-3-small"
dimensions = 3
timeout_s = 0.5
[providers.openai]
base_url = "{url}/v1"
api_key = "sk-test-0123456789abcdef"
"""
OLLAMA = """
[embeddings]
kind = "ollama"
model = "all-minilm"
dimensions = 3
[providers.ollama]
base_url = "{url}"
"""


def openai(*rows: Any) -> bytes:
    data = [{"object": "embedding", "index": n, "embedding": row} for n, row in enumerate(rows)]
    usage = {"prompt_tokens": 1000, "total_tokens": 1000}
    return json.dumps({"object": "list", "data": data, "model": "text-embedding-3-small", "usage": usage}).encode()


class Provider:
    def __init__(self, status: int, body: bytes) -> None:
        self.status, self.body = status, body
        self.seen: list[tuple[str, str, dict[str, Any]]] = []
        self.hangs = False

    async def answer(self, exchange: Exchange) -> None:
        self.seen.append((exchange.path, exchange.header("authorization"), json.loads(exchange.body)))
        if self.hangs:
            await asyncio.sleep(30)
        await exchange.send(self.status, self.body, headers={"content-type": "application/json"})


def asked(tmp_path: Path, text: str, provider: Provider, look: Callable[[App, Remembered], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with LoopbackServer(provider.answer) as server:
            file = tmp_path / "pennyweight.toml"
            file.write_text(text.format(url=server.url))
            config = load(file, {"PENNYWEIGHT_DATA": str(tmp_path / "data")}, {"holdout": 0.0})
            async with build(config) as app:
                embedder = await app.embeddings.embedder()
                assert embedder is not None
                return await look(app, embedder)

    return asyncio.run(main())


def test_a_vector_of_openai_with_what_it_costs(tmp_path: Path) -> None:
    provider = Provider(200, openai([3.0, 0.0, 4.0]))

    async def look(app: App, embedder: Remembered) -> None:
        found = await embedder.ask("How do I pay?")
        assert struct.unpack("<3f", found.vector) == pytest.approx([0.6, 0.0, 0.8])
        assert app.cost(found.charges) == 20_000 * 1000  # $0.02 a million tokens
        assert (await embedder.ask("How do I pay?")).charges == ()

    asked(tmp_path, OPENAI, provider, look)
    body = {"model": "text-embedding-3-small", "input": "How do I pay", "encoding_format": "float"}
    assert provider.seen == [("/v1/embeddings", "Bearer sk-test-0123456789abcdef", body)]


def test_a_vector_of_ollama(tmp_path: Path) -> None:
    body = {"model": "all-minilm", "embeddings": [[0.0, 2.0, 0.0]], "prompt_eval_count": 5}
    provider = Provider(200, json.dumps(body).encode())

    async def look(app: App, embedder: Remembered) -> None:
        found = await embedder.ask("pay")
        assert struct.unpack("<3f", found.vector) == (0.0, 1.0, 0.0)
        assert app.cost(found.charges) == 0
        assert embedder.fingerprint.startswith("ollama/all-minilm/3/")
        assert app.embeddings.reason() is None

    asked(tmp_path, OLLAMA, provider, look)
    assert provider.seen[0][0] == "/api/embed"
    assert provider.seen[0][2] == {"model": "all-minilm", "input": "pay", "truncate": False}


def test_numbers_in_base64_are_read(tmp_path: Path) -> None:
    packed = base64.b64encode(struct.pack("<3f", 0.0, 0.0, 5.0)).decode()

    async def look(app: App, embedder: Remembered) -> bytes:
        return await embedder.embed("x")

    assert struct.unpack("<3f", asked(tmp_path, OPENAI, Provider(200, openai(packed)), look)) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, openai([1.0, 2.0]), "2 dimensions, not 3"),
        (200, openai([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]), "2 vectors for one text"),
        (200, openai(), "0 vectors"),
        (200, openai([0.0, 0.0, 0.0]), "without a direction"),
        (200, openai([1e400, 0.0, 0.0]), "without a direction|no embedding"),
        (200, openai("%%%"), "no embedding"),
        (200, openai("AAA="), "no embedding"),
        (200, openai(["a", "b", "c"]), "no embedding"),
        (200, b'{"data": 3}', "no embedding"),
        (200, b"<html>", "no embedding"),
        (401, b'{"error": {"message": "no"}}', "answered 401"),
        (400, b'{"error": {"message": "too long"}}', "answered 400"),
        (500, b'{"error": {"message": "down"}}', "answered 500|within 0.5 s"),
    ],
)
def test_what_is_no_vector_is_a_store_error(tmp_path: Path, status: int, body: bytes, said: str) -> None:
    async def look(app: App, embedder: Remembered) -> None:
        with pytest.raises(StoreError, match=said):
            await embedder.embed("x")

    asked(tmp_path, OPENAI, Provider(status, body), look)


def test_a_provider_that_hangs_is_left(tmp_path: Path) -> None:
    provider = Provider(200, b"")
    provider.hangs = True

    async def look(app: App, embedder: Remembered) -> None:
        with pytest.raises(StoreError, match=r"within 0\.5 s"):
            await embedder.embed("x")

    asked(tmp_path, OPENAI, provider, look)


def test_a_provider_that_is_not_there_is_a_store_error(tmp_path: Path) -> None:
    text = OPENAI.replace("{url}", "http://127.0.0.1:9").replace("0.5", "5.0")

    async def look(app: App, embedder: Remembered) -> None:
        with pytest.raises(StoreError, match="gave no vector"):
            await embedder.embed("x")

    asked(tmp_path, text, Provider(200, b""), look)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[embeddings]\nkind = "openai"\nprovider = "nobody"\nmodel = "m"\ndimensions = 3\n', "'nobody' is not there"),
        ('[embeddings]\nkind = "openai"\nprovider = "anthropic"\nmodel = "m"\ndimensions = 3\n', "does not speak"),
    ],
)
def test_what_cannot_work_is_told_at_the_start(tmp_path: Path, text: str, said: str) -> None:
    async def main() -> None:
        file = tmp_path / "pennyweight.toml"
        file.write_text(text)
        config = load(file, {"PENNYWEIGHT_DATA": str(tmp_path / "data")}, {"holdout": 0.0})
        async with build(config):
            pass

    with pytest.raises(ConfigError, match=said):
        asyncio.run(main())
