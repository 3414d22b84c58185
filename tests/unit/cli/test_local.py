"""`pennyweight local` over servers that speak as Ollama and llama-swap do."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.local_servers import OllamaServer, SwapServer

from pennyweight.cli.local import command
from pennyweight.errors import ConfigError, Unreachable
from pennyweight.routing.resources import MB


async def run(tmp: Path, text: str, *arguments: str) -> Result:
    file = tmp / "pennyweight.toml"
    file.write_text(text)
    options = ["--config", str(file), "--data", str(tmp / "data")]
    places = [*arguments[:1], *options, *arguments[1:]] if arguments[:1] == ("perplexity",) else [*options, *arguments]
    return await asyncio.to_thread(CliRunner().invoke, command, places)


def ollama(url: str, memory: str = "memory_mb = 4096") -> str:
    return f'[providers.ollama]\nbase_url = "{url}"\n[resources]\n{memory}\n'


SIZES = {"small:1b": 300 * MB, "chat:4b": 2500 * MB, "code:7b": 8000 * MB}


def test_it_shows_what_is_loaded_and_what_would_be(tmp_path: Path) -> None:
    async def main() -> None:
        server = OllamaServer(SIZES)
        server.loaded = ["chat:4b"]
        async with server.server() as http:
            shown = await run(tmp_path, ollama(http.url))
            told = await run(tmp_path, ollama(http.url), "--json")
        assert shown.exit_code == 0, shown.output
        assert "2,500 of 4,096 MB, unloading from 90%" in shown.output
        rows = {line.split()[0]: " ".join(line.split()[1:]) for line in shown.output.splitlines()}
        assert rows["ollama/chat:4b"] == "2,500 told by its server loaded"
        assert rows["ollama/small:1b"] == "150 at least, by its file fits"
        assert rows["ollama/code:7b"] == "4,000 at least, by its file unloads ollama/chat:4b"
        value: dict[str, Any] = json.loads(told.stdout)
        assert (value["memory_mb"], value["used_mb"]) == (4096, 2500.0)
        assert value["servers"] == [{"provider": "ollama", "kind": "ollama", "answers": True}]
        chat = next(row for row in value["models"] if row["model"] == "ollama/chat:4b")
        assert (chat["loaded"], chat["gpu_mb"], chat["known"]) == (True, 1875.0, "told")
        assert server.unloaded == []  # looking changes nothing

    asyncio.run(main())


def test_without_a_budget_it_says_what_is_there(tmp_path: Path) -> None:
    async def main() -> None:
        server = OllamaServer(SIZES)
        server.loaded = ["small:1b"]
        async with server.server() as http:
            shown = await run(tmp_path, ollama(http.url, ""))
        assert "300 MB loaded; no budget is set (resources.memory_mb)" in shown.output

    asyncio.run(main())


def test_a_server_that_is_dead_is_told(tmp_path: Path) -> None:
    shown = asyncio.run(run(tmp_path, ollama("http://127.0.0.1:9")))
    assert shown.exit_code == 0
    assert "ollama at 127.0.0.1:9: does not answer" in shown.output


def test_llama_swap_and_its_sizes(tmp_path: Path) -> None:
    async def main() -> None:
        swap = SwapServer({"a": 1, "b": 1})
        swap.loaded = ["a"]
        async with swap.server() as http:
            text = f'[providers.swap]\nbase_url = "{http.url}/v1"\n[resources]\nservers = ["swap"]\n'
            shown = await run(tmp_path, text)
        rows = {line.split()[0]: " ".join(line.split()[1:]) for line in shown.output.splitlines()}
        assert rows["swap"].endswith("llama-swap")
        assert rows["swap/a"] == "not known yet loaded"
        assert rows["swap/b"] == "not known yet fits"

    asyncio.run(main())


def test_perplexity_needs_a_server_that_tells_it(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("some words to read")

    async def main() -> None:
        server = OllamaServer(SIZES)
        async with server.server() as http:
            asked = await run(tmp_path, ollama(http.url), "perplexity", "--text", str(text), "ollama/chat:4b")
            assert isinstance(asked.exception, ConfigError)
            assert "Serve the model by llama-server" in str(asked.exception)
        gone = await run(tmp_path, ollama("http://127.0.0.1:9"), "perplexity", "--text", str(text), "ollama/a")
        assert isinstance(gone.exception, Unreachable)
        nobody = await run(tmp_path, "", "perplexity", "--text", str(text), "lama/a")
        assert isinstance(nobody.exception, ConfigError)
        assert "There is no provider 'lama'" in str(nobody.exception)

    asyncio.run(main())


@pytest.mark.parametrize("option", ["--tokens", "--window"])
def test_too_few_tokens_are_refused(tmp_path: Path, option: str) -> None:
    text = tmp_path / "text.txt"
    text.write_text("some words")
    result = asyncio.run(run(tmp_path, "", "perplexity", "--text", str(text), option, "1", "ollama/a"))
    assert result.exit_code == 2
