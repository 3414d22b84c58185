"""Prompt rules act for the models that are named, on what is neither new nor somebody's task."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pennyweight.app import build as build_app
from pennyweight.call import Call, Rewrite
from pennyweight.config import load
from pennyweight.errors import ConfigError
from pennyweight.optimizers.prompt_rules import RISK_LEFT_OUT, PromptRules, Settings, build
from pennyweight.protocols import Optimizer
from pennyweight.request import Request, Wire
from pennyweight.testing.backend import make_call
from pennyweight.testing.http import Exchange, LoopbackServer
from pennyweight.testing.optimizer_contract import ContractParts, OptimizerContract, flaws, odd_calls
from pennyweight.text.tokenizers import BpeTokenizer

RULE = "- You must always check the order id before you change an order.\n"
SYSTEM = f"You are an agent of the shop.\n\n{RULE}- Never tell an address.\n{RULE}"
FACTS = "".join(f"The warehouse number {n} lies in the east of town {n}. It has {n} doors.\n" for n in range(120))
DOCUMENT = f"<document name='w'>\n{FACTS}</document>"
SMALL = Settings(targets={"llama-3.2-*": "small"})


count = BpeTokenizer().count


class Parts(ContractParts):
    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = BpeTokenizer()  # type: ignore[assignment]


def call_of(body: dict[str, Any], wire: Wire = Wire.OPENAI_CHAT, model: str = "llama-3.2-3b") -> Call:
    raw = json.dumps({"model": model, **body}).encode()
    made = make_call(raw, model=model, optimize="max")
    request = Request(wire, raw, path="/v1/x")
    target = msgspec.structs.replace(made.target, wire=wire)
    return msgspec.structs.replace(made, original=request, request=request, target=target)


def after(call: Call, settings: Settings = SMALL) -> Any:
    """The body as it is proposed; None where nothing is."""
    proposal = asyncio.run(build(settings, Parts()).propose(call))
    if proposal is None:
        return None
    assert isinstance(proposal.action, Rewrite)
    assert flaws(call, proposal) == []
    assert proposal.level == "max"
    assert proposal.tokens > 0
    return call.apply(proposal.action).request.body


class TestContract(OptimizerContract):
    def build(self, parts: ContractParts) -> Optimizer:
        return PromptRules(Settings(targets={"*": "small"}), parts)

    def calls(self) -> Sequence[Call]:
        return [*odd_calls(), call_of({"messages": [{"role": "system", "content": SYSTEM}]})]


@pytest.mark.parametrize(
    ("wire", "body", "place"),
    [
        (Wire.OPENAI_CHAT, {"messages": [{"role": "system", "content": SYSTEM}]}, ("messages", 0, "content")),
        (Wire.OPENAI_CHAT, {"messages": [{"role": "developer", "content": SYSTEM}]}, ("messages", 0, "content")),
        (Wire.OPENAI_RESPONSES, {"instructions": SYSTEM, "input": "hi"}, ("instructions",)),
        (Wire.ANTHROPIC_MESSAGES, {"system": SYSTEM, "messages": []}, ("system",)),
        (
            Wire.ANTHROPIC_MESSAGES,
            {"system": [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}], "messages": []},
            ("system", 0, "text"),
        ),
        (Wire.OLLAMA, {"messages": [{"role": "system", "content": SYSTEM}]}, ("messages", 0, "content")),
    ],
)
def test_a_system_prompt_is_shortened_in_every_protocol(
    wire: Wire, body: dict[str, Any], place: tuple[str | int, ...]
) -> None:
    call = call_of(body, wire)
    changed = after(call)
    kept: Any = changed
    for key in place:
        kept = kept[key]
    assert kept == f"You are an agent of the shop.\n\n{RULE}- Never tell an address.\n"
    expected = json.loads(call.original.raw)
    inner = expected
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = kept
    assert changed == expected


@pytest.mark.parametrize("targets", [{}, {"gpt-*": "small"}, {"other/llama-*": "small"}])
def test_models_that_nobody_named_are_left_alone(targets: dict[str, Any]) -> None:
    assert after(call_of({"messages": [{"role": "system", "content": SYSTEM}]}), Settings(targets=targets)) is None


def test_a_provider_can_be_named_too() -> None:
    call = call_of({"messages": [{"role": "system", "content": SYSTEM}]})
    settings = Settings(targets={f"{call.target.provider}/*": "middle"})
    assert after(call, settings) is not None


def test_a_length_leaves_out_and_says_so() -> None:
    call = call_of({"messages": [{"role": "system", "content": SYSTEM + FACTS}]})
    proposal = asyncio.run(build(SMALL, Parts()).propose(call))
    assert proposal is not None
    assert proposal.risk == RISK_LEFT_OUT
    assert "length" in proposal.why
    content = after(call)["messages"][0]["content"]
    assert count(content) <= 500
    assert count(after(call, Settings(targets={"*": "large"}))["messages"][0]["content"]) > 500
    whole = after(call, Settings(targets={"*": "small"}, shorten=False))["messages"][0]["content"]
    assert whole.endswith(FACTS)
    own = after(call, Settings(targets={"*": "small"}, lengths={"small": 200}))["messages"][0]["content"]
    assert count(own) <= 200


def test_documents_of_earlier_messages_keep_what_is_asked() -> None:
    asked = f"Please read this:\n{DOCUMENT}\nHow many doors has warehouse number 87?"
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": "87"}]
    body = {"messages": [*turns, {"role": "user", "content": asked}]}
    changed = after(call_of(body))["messages"]
    assert changed[0]["content"].startswith("Please read this:\n<document name='w'>\n")
    assert changed[0]["content"].endswith("</document>\nHow many doors has warehouse number 87?")
    assert "It has 87 doors." in changed[0]["content"]
    assert count(changed[0]["content"]) < 560
    assert changed[1:] == body["messages"][1:]
    assert after(call_of(body), Settings(targets={"*": "small"}, documents=False)) is None


def test_the_newest_message_and_messages_without_documents_stay() -> None:
    body = {"messages": [{"role": "user", "content": FACTS}, {"role": "user", "content": f"{DOCUMENT} Why?"}]}
    assert after(call_of(body)) is None


@pytest.mark.parametrize(
    "text", ["<document>" * 5_000, "<document></context>" * 5_000, "<context><document></context>"]
)
def test_tags_that_do_not_fit_take_no_time(text: str) -> None:
    assert after(call_of({"messages": [{"role": "user", "content": text}, {"role": "user", "content": "x"}]})) is None


def test_what_was_shortened_is_not_shortened_again() -> None:
    call = call_of({"messages": [{"role": "system", "content": SYSTEM + FACTS}]})
    assert after(call_of({"messages": after(call)["messages"]})) is None


@pytest.mark.parametrize(
    "settings",
    [
        'targets = { "x" = "tiny" }',
        "lengths = { small = 10 }",
        'abbreviations = { "In Capitals" = "x" }',
        "most = 3",
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: str, tmp_path: Path) -> None:
    file = tmp_path / "pennyweight.toml"
    file.write_text(f'[[optimizers]]\nuse = "prompt_rules"\n[optimizers.settings]\n{settings}\n')

    async def start() -> None:
        async with build_app(load(file, {"PENNYWEIGHT_DATA": str(tmp_path)})):
            pass

    with pytest.raises(ConfigError, match="prompt_rules"):
        asyncio.run(start())


async def _sent(folder: Path, optimize: str) -> list[str]:
    seen: list[str] = []

    async def answer(exchange: Exchange) -> None:
        seen.append(json.loads(exchange.body)["messages"][0]["content"])
        body = {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 900, "completion_tokens": 1, "total_tokens": 901},
        }
        await exchange.send(200, json.dumps(body).encode(), headers={"content-type": "application/json"})

    file = folder / "pennyweight.toml"
    async with LoopbackServer(answer) as server:
        file.write_text(
            f'[providers.lab]\nbase_url = "{server.url}/v1"\nauth = "none"\nwires = ["openai_chat"]\n'
            '[[routes]]\nmodel = "*"\nprovider = "lab"\n'
            '[[optimizers]]\nuse = "prompt_rules"\n[optimizers.settings]\ntargets = { "lab/llama-*" = "small" }\n'
        )
        async with build_app(load(file, {"PENNYWEIGHT_DATA": str(folder)}, {"holdout": 0.0})) as app:
            messages: list[dict[str, str]] = [{"role": "system", "content": SYSTEM + FACTS}]
            for turn in range(2):
                messages.append({"role": "user", "content": f"turn {turn}"})
                raw = json.dumps({"model": "llama-3", "messages": messages}).encode()
                call = make_call(raw, provider="lab", model="llama-3", optimize=optimize, call_id=f"c{turn}")  # type: ignore[arg-type]
                reply = await app.pipeline.open(call)
                await reply.read()
                await reply.aclose()
                messages.append({"role": "assistant", "content": "ok"})
                await app.clerk.flush(10)
    return seen


@pytest.mark.parametrize(("optimize", "shorter"), [("max", True), ("safe", False)])
def test_a_session_is_sent_the_same_short_prompt_each_time(tmp_path: Path, optimize: str, shorter: bool) -> None:
    first, second = asyncio.run(_sent(tmp_path, optimize))
    assert first == second
    assert (first != SYSTEM + FACTS) is shorter
