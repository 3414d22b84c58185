"""The books of local models over a real llama-server, through the whole App."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.llama import Llama, own

from pennyweight.app import App, build
from pennyweight.backends.local.process import resident_bytes
from pennyweight.call import Call, Identity, Target
from pennyweight.config import Config, load
from pennyweight.request import Operation, Reply, Request, Wire
from pennyweight.routing.resources import MB
from pennyweight.routing.virtual import Live


def config(tmp: Path, url: str, memory_mb: int) -> Config:
    file = tmp / "pennyweight.toml"
    file.write_text(
        f'[providers.llama]\nbase_url = "{url}/v1"\nusd_per_hour = 0.0\n'
        f'[resources]\nmemory_mb = {memory_mb}\nservers = ["llama"]\nevery_s = 0.05\n'
    )
    return load(file, {"PENNYWEIGHT_DATA": str(tmp / "data")}, {"holdout": 0.0})


async def seen(app: App) -> None:
    async with asyncio.timeout(60):
        while not all(place.asked for place in app.machine.places.values()):  # noqa: ASYNC110 - asked in the background
            await asyncio.sleep(0.01)


def chat(model: str, *, stream: bool) -> Call:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 32, "stream": stream}
    request = Request(Wire.OPENAI_CHAT, json.dumps(body).encode(), (), "/v1/chat/completions")
    target = Target("llama", model, Wire.OPENAI_CHAT)
    return Call("c1", Identity(), request, request, target, 1_800_000_000.0, optimize="off")


def test_a_real_server_tells_its_size_and_slots_and_teaches_its_speed(llama_server: Llama, tmp_path: Path) -> None:
    async def run() -> None:
        async with build(config(tmp_path, llama_server.url, 4096)) as app:
            await seen(app)
            (state,) = app.machine.states()
            assert state.key == ("llama", "tiny-target")
            assert state.seen.slots == 2
            assert not state.seen.movable
            assert state.known == "process"
            assert 22 * MB < (state.size_bytes or 0) < 1024 * MB  # the weights, and what the process takes beside them
            target = Target("llama", "whatever", Wire.OPENAI_CHAT)  # it answers for any name
            assert app.machine.live(target) == Live()
            for stream in (True, False):
                reply: Reply = await app.backend.open(chat("tiny-target", stream=stream))
                await reply.read()
                await reply.aclose()
            assert state.running == 0
            assert (state.figures.tokens_per_s or 0) > 1

    asyncio.run(run())


def test_a_server_larger_than_the_memory_does_not_fit_nor_stop(llama_server: Llama, tmp_path: Path) -> None:
    async def run() -> None:
        async with build(config(tmp_path, llama_server.url, 5)) as app:
            await seen(app)
            (state,) = app.machine.states()
            assert app.machine.live(
                Target("llama", "tiny-target", Wire.OPENAI_CHAT)
            ).fits  # it is loaded: asking is free
            await app.machine.look()
            assert state.seen.loaded

    asyncio.run(run())


@pytest.fixture
def other() -> Iterator[Llama]:
    yield from own()


def test_a_server_that_dies_rests_and_comes_back(other: Llama, tmp_path: Path) -> None:
    target = Target("llama", "tiny-draft", Wire.OPENAI_CHAT)

    async def is_(app: App, resting: bool) -> None:
        async with asyncio.timeout(60):
            while app.machine.live(target).resting is not resting:
                app.machine.places["llama"].ask_at = 0.0  # at once, not after its rest
                await asyncio.sleep(0.02)

    async def run() -> None:
        async with build(config(tmp_path, other.url, 4096)) as app:
            await seen(app)
            other.kill()
            await is_(app, True)
            assert not app.machine.live(target).fits
            await asyncio.to_thread(other.start)
            await is_(app, False)
            assert app.machine.live(target) == Live()

    asyncio.run(run())


def test_other_paths_of_a_local_server_are_passed_on(llama_server: Llama, tmp_path: Path) -> None:
    async def run() -> None:
        async with build(config(tmp_path, llama_server.url, 4096)) as app:
            await seen(app)
            request = Request(Wire.OPENAI_CHAT, b"", (), "/v1/models", "", "GET", Operation.OTHER)
            call = chat("tiny-target", stream=False).sending(request)
            async with await app.backend.open(call) as reply:
                assert json.loads(await reply.read())["data"][0]["id"] == "tiny-target"

    asyncio.run(run())


def test_the_memory_of_a_process_is_told_by_its_port(llama_server: Llama) -> None:
    assert (resident_bytes(llama_server.port) or 0) > 22 * MB
    assert resident_bytes(1) is None
