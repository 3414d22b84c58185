"""Embedders are opened when somebody asks, once, and looked for again after a while."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.unit.text.embedders import tiny

from pennyweight.errors import StoreError
from pennyweight.testing.clock import FakeClock
from pennyweight.text.embedders import Settings, folder_of
from pennyweight.text.embedders.lazy import RETRY_S, Embeddings
from pennyweight.text.embedders.static import Static


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory.mktemp("tiny"))


def test_both_embedders_are_there_when_the_model_is(model: Path) -> None:
    async def main() -> None:
        embeddings = Embeddings(Settings(), model, clock=FakeClock())
        assert embeddings.reason() is None
        several = await asyncio.gather(*(embeddings.embedder() for _ in range(5)))
        assert len({id(one) for one in several}) == 1
        assert several[0] is not None
        assert len(await several[0].embed("red")) == 4 * several[0].dimensions
        retriever = await embeddings.retriever()
        assert isinstance(retriever, Static)
        assert retriever.fingerprint != several[0].fingerprint
        await embeddings.close()

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["minilm-int8", "minilm-fp32", "static"])
def test_the_kind_is_as_configured(model: Path, kind: str) -> None:
    async def main() -> None:
        embeddings = Embeddings(Settings(kind=kind), model, clock=FakeClock())  # type: ignore[arg-type]
        embedder = await embeddings.embedder()
        assert embedder is not None
        assert f"/{kind.removeprefix('minilm-')}" in embedder.fingerprint
        await embeddings.close()

    asyncio.run(main())


def test_a_model_that_comes_later_is_found(model: Path, tmp_path: Path) -> None:
    async def main() -> None:
        clock, folder = FakeClock(), tmp_path / "model"
        embeddings = Embeddings(Settings(), folder, clock=clock)
        assert "pennyweight models pull" in (embeddings.reason() or "")
        assert await embeddings.embedder() is None
        assert await embeddings.retriever() is None
        shutil.copytree(model, folder)
        assert await embeddings.embedder() is None  # it is not looked for at every call
        clock.advance(RETRY_S)
        assert await embeddings.embedder() is not None
        assert embeddings.reason() is None
        await embeddings.close()

    asyncio.run(main())


def test_closing_ends_the_thread(model: Path) -> None:
    async def main() -> None:
        embeddings = Embeddings(Settings(), model, clock=FakeClock())
        embedder = await embeddings.embedder()
        assert embedder is not None
        await embedder.embed("red")
        assert any(thread.name.startswith("minilm") for thread in threading.enumerate())
        await embeddings.close()

    asyncio.run(main())
    for thread in threading.enumerate():
        if thread.name.startswith("minilm"):
            thread.join(5)
            assert not thread.is_alive()


def test_a_caller_whose_time_is_up_leaves_the_opening_to_the_next(model: Path) -> None:
    async def main() -> None:
        embeddings = Embeddings(Settings(), model, clock=FakeClock())
        first = asyncio.create_task(embeddings.embedder())
        await asyncio.sleep(0)
        first.cancel()
        assert await embeddings.embedder() is not None
        await embeddings.close()

    asyncio.run(main())


def test_closing_while_it_opens(model: Path) -> None:
    async def main() -> None:
        embeddings = Embeddings(Settings(), model, clock=FakeClock())
        first = asyncio.create_task(embeddings.embedder())
        await asyncio.sleep(0)
        await embeddings.close()
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(main())


def test_an_embedder_elsewhere_is_made_by_who_knows_how(tmp_path: Path) -> None:
    class Elsewhere:
        fingerprint = "x"
        dimensions = 1

        async def embed(self, text: str) -> bytes:
            raise StoreError("down")

    async def main() -> None:
        settings = Settings(kind="openai", model="m", dimensions=1)
        embeddings = Embeddings(settings, tmp_path, clock=FakeClock(), remote=Elsewhere)
        assert embeddings.reason() is None  # no model on this machine is needed
        embedder = await embeddings.embedder()
        assert embedder is not None
        with pytest.raises(StoreError, match="down"):
            await embedder.embed("red")
        assert await embeddings.retriever() is None
        await embeddings.close()

    asyncio.run(main())


def test_the_folder_is_the_one_named_or_in_the_data_directory() -> None:
    assert folder_of(Settings(), Path("/data")) == Path("/data/models/all-MiniLM-L6-v2")
    assert folder_of(Settings(folder="~/m"), Path("/data")) == Path.home() / "m"


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "openai"},
        {"kind": "ollama", "model": "m"},
        {"kind": "openai", "model": "m", "dimensions": 0},
        {"model": "m"},
        {"provider": "openai"},
        {"remembered": 0},
        {"timeout_s": 0.0},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Settings(**wrong)  # type: ignore[arg-type]


def test_nothing_optional_is_loaded_before_it_is_used() -> None:
    source = (
        "import sys, pennyweight.app, pennyweight.cli.serve, pennyweight.cli.check\n"
        "print([n for n in ('numpy', 'onnxruntime', 'tokenizers', 'onnx', 'usearch') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_runtime_reports_nothing_and_keeps_no_device_id(model: Path, tmp_path: Path) -> None:
    source = (
        "import os, sys, pathlib\n"
        "from pennyweight.text.embedders import open_embedder\n"
        "open_embedder(pathlib.Path(sys.argv[1])).embed_now('red')\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    env = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    env |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", source, str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == "1"
    assert not list(tmp_path.iterdir())
