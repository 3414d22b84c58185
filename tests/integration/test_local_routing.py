"""Routing under the memory plan, through the whole App: what does not fit, is dead or not there is not asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.local_servers import OllamaServer, SwapServer

from pennyweight.app import App, build
from pennyweight.call import Call, Identity, Verdict
from pennyweight.config import load
from pennyweight.request import Request, Wire
from pennyweight.routing.resources import MB

CONFIG = """
[providers.ollama]
base_url = "{ollama}"
[providers.openai]
base_url = "{far}/v1"
api_key = "sk-test"
[resources]
memory_mb = 4096
every_s = 0.02
keep = ["ollama/small:1b"]
servers = ["ollama"]
[[tiers]]
name = "local"
targets = ["ollama/chat:4b"]
[[tiers]]
name = "far"
targets = ["openai/gpt-4o"]
[[targets]]
target = "ollama/chat:4b"
success = 0.99
{more}
"""


@asynccontextmanager
async def serving(
    tmp: Path, ollama: OllamaServer, *, other: SwapServer | None = None, dead: bool = False, more: str = ""
) -> AsyncIterator[App]:
    other = other or SwapServer({"gpt-4o": 1})
    async with ollama.server() as near, other.server() as far:
        file = tmp / "pennyweight.toml"
        url = "http://127.0.0.1:9" if dead else near.url
        file.write_text(CONFIG.format(ollama=url, far=far.url, more=more))
        async with build(load(file, {"PENNYWEIGHT_DATA": str(tmp / "data")}, {"holdout": 0.0})) as app:
            async with asyncio.timeout(60):
                while not app.machine.places["ollama"].asked:  # noqa: ASYNC110 - it is asked in the background
                    await asyncio.sleep(0.01)
            yield app


async def ask(app: App, **more: Any) -> tuple[dict[str, Any], Call]:
    body = {"model": "auto", "messages": [{"role": "user", "content": "What is a tree?"}], "stream": False, **more}
    request = Request(Wire.OLLAMA, json.dumps(body).encode(), (), "/api/chat")
    target = app.resolve(body["model"], Wire.OLLAMA)
    call = Call("c1", Identity(), request, request, target, app.clock.now())
    consulted, _ = await app.pipeline.consult(call)
    async with await app.pipeline.open(call) as reply:
        return json.loads(await reply.read()), consulted


SIZES = {"small:1b": 300 * MB, "chat:4b": 2500 * MB}


def test_what_fits_is_asked_on_this_machine(tmp_path: Path) -> None:
    async def run() -> None:
        ollama = OllamaServer(SIZES)
        async with serving(tmp_path, ollama) as app:
            answer, _ = await ask(app)
            assert answer["model"] == "chat:4b"
            assert ollama.loaded == ["chat:4b"]

    asyncio.run(run())


def test_what_does_not_fit_beside_what_is_kept_is_asked_elsewhere(tmp_path: Path) -> None:
    async def run() -> None:
        ollama = OllamaServer({"small:1b": 3000 * MB, "chat:4b": 2500 * MB})
        ollama.loaded = ["small:1b"]
        async with serving(tmp_path, ollama) as app:
            answer, call = await ask(app)
            assert answer["model"] == "gpt-4o"
            assert (call.target.provider, ollama.loaded, ollama.unloaded) == ("openai", ["small:1b"], [])

    asyncio.run(run())


def test_a_model_that_was_never_pulled_and_a_dead_server_are_not_asked(tmp_path: Path) -> None:
    async def run() -> None:
        for sizes, dead in (({"small:1b": 300 * MB}, False), (SIZES, True)):
            ollama = OllamaServer(sizes)
            async with serving(tmp_path, ollama, dead=dead) as app:
                answer, call = await ask(app)
                assert (answer["model"], call.target.provider) == ("gpt-4o", "openai")
                assert "/api/chat" not in ollama.asked

    asyncio.run(run())


def test_parameters_see_the_target_that_was_chosen(tmp_path: Path) -> None:
    rules = """
[[optimizers]]
use = "routing"
[[optimizers]]
use = "parameters"
[[optimizers.settings.rules]]
model = "ollama/*"
temperature = 0.25
[[optimizers.settings.rules]]
model = "openai/*"
max_tokens = 700
"""

    async def run() -> None:
        async with serving(tmp_path, OllamaServer(SIZES), more=rules) as app:
            _, call = await ask(app)
            assert call.request.body["options"] == {"temperature": 0.25}
            (step,) = [step for step in call.trail if step.optimizer == "parameters"]
            assert (step.verdict, step.why) == (Verdict.ACCEPTED, "temperature 0.25")
            _, call = await ask(app, options={"temperature": 0.9})
            assert call.request.body["options"] == {"temperature": 0.9}
        async with serving(tmp_path, OllamaServer(SIZES), dead=True, more=rules) as app:
            _, call = await ask(app)
            assert call.request.body["options"] == {"num_predict": 700}

    asyncio.run(run())


def test_calls_that_wait_for_a_slot_are_counted_and_elsewhere_is_quicker(tmp_path: Path) -> None:
    async def run() -> None:
        ollama = OllamaServer(SIZES)
        ollama.hold = True
        async with serving(tmp_path, ollama) as app:
            near = app.resolve("ollama/chat:4b", Wire.OLLAMA)
            waiting = [asyncio.create_task(ask(app, model="ollama/chat:4b")) for _ in range(9)]
            async with asyncio.timeout(60):
                while app.machine.waiting("ollama") < 7:  # noqa: ASYNC110 - two are answered, the others in line
                    await asyncio.sleep(0.005)
            assert app.machine.live(near).wait_s == 40.0  # eight before it, over two slots, ten seconds each
            answer, call = await ask(app)
            assert (answer["model"], call.target.provider) == ("gpt-4o", "openai")
            ollama.release()
            answers = await asyncio.gather(*waiting)
            assert {answer["model"] for answer, _ in answers} == {"chat:4b"}
            assert app.machine.live(near).wait_s == 0.0

    asyncio.run(run())


def test_what_the_chosen_model_refuses_does_not_reach_it(tmp_path: Path) -> None:
    more = """
[[virtual]]
name = "thinker"
tiers = ["far"]
reference = "openai/o3-mini"
"""

    async def run() -> None:
        other = SwapServer({"gpt-4o": 1, "o3-mini": 1})
        async with serving(tmp_path, OllamaServer(SIZES), other=other, more=more) as app:
            for model in ("thinker", "openai/o3-mini"):
                body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "temperature": 0.2}
                request = Request(Wire.OPENAI_CHAT, json.dumps(body).encode(), (), "/v1/chat/completions")
                target = app.resolve(model, Wire.OPENAI_CHAT)
                call = Call("c1", Identity(), request, request, target, app.clock.now(), optimize="off")
                async with await app.pipeline.open(call) as reply:
                    await reply.read()
            chosen, named = other.bodies
            assert (chosen["model"], "temperature" in chosen) == ("o3-mini", False)
            assert (named["model"], named["temperature"]) == ("o3-mini", 0.2)  # who names it hears it from the model

    asyncio.run(run())
