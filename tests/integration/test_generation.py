"""Parameters and forms of answers on a real llama-server, through the whole App, in each protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.llama import Llama

from pennyweight.app import App, build
from pennyweight.call import Call, Identity, Step
from pennyweight.config import load
from pennyweight.request import Request, Wire
from pennyweight.wire import codec

CONFIG = """
[providers.llama]
base_url = "{url}/v1"
usd_per_hour = 0.0
[[optimizers]]
use = "parameters"
{settings}
"""
LABEL = """
[optimizers.settings.templates.label.schema]
type = "object"
properties = { label = { enum = ["bug", "wish", "question"] } }
required = ["label"]
additionalProperties = false
"""
PATHS = {
    Wire.OPENAI_CHAT: "/v1/chat/completions",
    Wire.OPENAI_RESPONSES: "/v1/responses",
    Wire.ANTHROPIC_MESSAGES: "/v1/messages",
    Wire.OLLAMA: "/api/chat",
}


@asynccontextmanager
async def gateway(tmp: Path, server: Llama, settings: str) -> AsyncIterator[App]:
    file = tmp / "pennyweight.toml"
    file.write_text(CONFIG.replace("{url}", server.url).replace("{settings}", settings))
    async with build(load(file, {"PENNYWEIGHT_DATA": str(tmp / "data")}, {"holdout": 0.0})) as app:
        yield app


async def ask(
    app: App, wire: Wire, body: dict[str, Any], *, template: str = "", optimize: Any = "safe"
) -> tuple[bytes, tuple[Step, ...]]:
    model = "llama/tiny-target"
    said = "Please find my reservation."
    asked = {"input": said} if wire is Wire.OPENAI_RESPONSES else {"messages": [{"role": "user", "content": said}]}
    headers = (("x-pennyweight-template", template),) if template else ()
    request = Request(wire, json.dumps({"model": model, **asked, **body}).encode(), headers, PATHS[wire])
    target = app.resolve(model, wire)
    call = Call("c1", Identity(), request, request, target, app.clock.now(), optimize=optimize)
    async with await app.pipeline.open(call) as reply:
        answer = await reply.read()
        assert reply.status == 200, answer
        return answer, reply.trail


def text(wire: Wire, answer: bytes) -> str:
    """What the model said, of a whole answer."""
    body = json.loads(answer)
    match wire:
        case Wire.OPENAI_CHAT:
            return str(body["choices"][0]["message"]["content"])
        case Wire.OPENAI_RESPONSES:
            return "".join(p["text"] for o in body["output"] if o["type"] == "message" for p in o["content"])
        case Wire.ANTHROPIC_MESSAGES:
            return "".join(block["text"] for block in body["content"] if block["type"] == "text")
        case Wire.OLLAMA:
            return str(body["message"]["content"])


LIMIT = {
    Wire.OPENAI_CHAT: {"max_tokens": 300},
    Wire.OPENAI_RESPONSES: {"max_output_tokens": 300},
    Wire.ANTHROPIC_MESSAGES: {"max_tokens": 300},
    Wire.OLLAMA: {"options": {"num_predict": 300, "temperature": 0}, "stream": False},
}


@pytest.mark.parametrize("wire", [Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES, Wire.OLLAMA])
def test_a_form_by_name_holds_in_every_protocol(llama_server: Llama, tmp_path: Path, wire: Wire) -> None:
    async def run() -> None:
        async with gateway(tmp_path, llama_server, LABEL) as app:
            body = LIMIT[wire] if wire is Wire.OLLAMA else {**LIMIT[wire], "temperature": 0}
            answer, trail = await ask(app, wire, body, template="label")
            assert json.loads(text(wire, answer))["label"] in {"bug", "wish", "question"}
            assert [step.why for step in trail if step.optimizer == "parameters"] == ["template label"]

    asyncio.run(run())


@pytest.mark.parametrize("wire", [Wire.OPENAI_CHAT, Wire.OLLAMA])
def test_a_form_holds_in_a_stream(llama_server: Llama, tmp_path: Path, wire: Wire) -> None:
    async def run() -> None:
        async with gateway(tmp_path, llama_server, LABEL) as app:
            body = {**LIMIT[wire], "stream": True}
            answer, _ = await ask(app, wire, body, template="label")
            folded = codec(wire).fold(answer)
            assert json.loads(text(wire, folded))["label"] in {"bug", "wish", "question"}

    asyncio.run(run())


def test_the_built_in_forms_hold(llama_server: Llama, tmp_path: Path) -> None:
    async def run() -> None:
        rule = '[[optimizers.settings.rules]]\nmodel = "llama/*"\ntemplate = "list"'
        async with gateway(tmp_path, llama_server, rule) as app:
            for seed in range(5):  # a string may run on until the limit: its beginning has the form nevertheless
                body = {"max_tokens": 200, "seed": seed}
                listed, _ = await ask(app, Wire.OPENAI_CHAT, body)
                code, _ = await ask(app, Wire.OPENAI_CHAT, body, template="code")
                assert "".join(text(Wire.OPENAI_CHAT, listed).split()).startswith('{"items":[')
                assert "".join(text(Wire.OPENAI_CHAT, code).split()).startswith('{"language":"')

    asyncio.run(run())


def test_the_limit_holds_where_the_caller_set_none(llama_server: Llama, tmp_path: Path) -> None:
    rule = "[[optimizers.settings.rules]]\nmax_tokens = 20\ntemperature = 0.0\nrepeat_penalty = 1.3\n"
    settings = f"[optimizers.settings]\nleast_tokens = 8\n{rule}"

    async def run() -> None:
        async with gateway(tmp_path, llama_server, settings) as app:
            for wire in (Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES):
                answer, _ = await ask(app, wire, {})
                usage = json.loads(answer)["usage"]
                assert usage.get("completion_tokens", usage.get("output_tokens")) <= 20
            first, _ = await ask(app, Wire.OPENAI_CHAT, {})
            second, _ = await ask(app, Wire.OPENAI_CHAT, {})
            assert text(Wire.OPENAI_CHAT, first) == text(Wire.OPENAI_CHAT, second)  # cold
            longer, _ = await ask(app, Wire.OPENAI_CHAT, {"max_tokens": 40, "temperature": 0})
            assert json.loads(longer)["usage"]["completion_tokens"] > 20
            plain, trail = await ask(app, Wire.OPENAI_CHAT, {"max_tokens": 5}, optimize="off")
            assert json.loads(plain)["usage"]["completion_tokens"] <= 5
            assert not [step for step in trail if step.optimizer == "parameters"]

    asyncio.run(run())
