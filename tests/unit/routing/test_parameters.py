"""Parameters: where each protocol has them, whose word counts, and what models refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pennyweight.call import Target
from pennyweight.request import Request, Wire
from pennyweight.routing.parameters import Wanted, claude_version, fitting, given, refused, setting

ALL = Wanted(temperature=0.2, top_p=0.9, top_k=40, repeat_penalty=1.1, max_tokens=1024)


def body(wire: Wire = Wire.OPENAI_CHAT, **more: Any) -> Request:
    whole = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **more}
    return Request(wire, json.dumps(whole).encode())


def target(name: str, wire: Wire = Wire.OPENAI_CHAT) -> Target:
    provider, _, model = name.partition("/")
    return Target(provider, model, wire)


def after(request: Request, name: str, wanted: Wanted = ALL, *, wire: Wire | None = None) -> dict[str, Any]:
    """The members that are new or changed."""
    told = given(request)
    assert told is not None
    edits, words = setting(told, target(name, wire or request.wire), wanted, request.wire)
    edited = request.edit(edits).body
    changed = {key: value for key, value in edited.items() if request.body.get(key) != value}
    assert bool(words) is bool(changed)
    return changed


@pytest.mark.parametrize(
    ("wire", "name", "expected"),
    [
        (
            Wire.OPENAI_CHAT,
            "llama/tiny",
            {"temperature": 0.2, "top_p": 0.9, "top_k": 40, "repeat_penalty": 1.1, "max_tokens": 1024},
        ),
        (Wire.OPENAI_CHAT, "openai/gpt-4o", {"temperature": 0.2, "top_p": 0.9, "max_completion_tokens": 1024}),
        (
            Wire.OPENAI_CHAT,
            "openrouter/qwen/qwen3-8b",
            {"temperature": 0.2, "top_p": 0.9, "top_k": 40, "repetition_penalty": 1.1, "max_tokens": 1024},
        ),
        (Wire.OPENAI_CHAT, "mistral/mistral-small", {"temperature": 0.2, "top_p": 0.9, "max_tokens": 1024}),
        (Wire.OPENAI_RESPONSES, "openai/gpt-4o", {"temperature": 0.2, "top_p": 0.9, "max_output_tokens": 1024}),
        (
            Wire.OLLAMA,
            "ollama/qwen3:4b",
            {"options": {"temperature": 0.2, "top_p": 0.9, "top_k": 40, "repeat_penalty": 1.1, "num_predict": 1024}},
        ),
        (Wire.ANTHROPIC_MESSAGES, "anthropic/claude-3-haiku-20240307", {"temperature": 0.2, "top_p": 0.9, "top_k": 40}),
        (Wire.ANTHROPIC_MESSAGES, "anthropic/claude-sonnet-4-6", {"temperature": 0.2, "top_k": 40}),
        (Wire.ANTHROPIC_MESSAGES, "anthropic/claude-opus-4-7", {}),
        (Wire.OPENAI_CHAT, "openai/o3-mini", {"max_completion_tokens": 1024}),
        (Wire.OPENAI_CHAT, "openai/gpt-5-mini", {"max_completion_tokens": 1024}),
        (Wire.OPENAI_CHAT, "moonshot/kimi-k2.6", {"max_tokens": 1024}),
    ],
)
def test_each_protocol_has_its_own_places(wire: Wire, name: str, expected: dict[str, Any]) -> None:
    assert after(body(wire), name) == expected


@pytest.mark.parametrize(
    ("wire", "given_", "left"),
    [
        (Wire.OPENAI_CHAT, {"temperature": 1}, "temperature"),
        (Wire.OPENAI_CHAT, {"temperature": "hot"}, "temperature"),
        (Wire.OPENAI_CHAT, {"max_tokens": 10}, "max_tokens"),
        (Wire.OPENAI_CHAT, {"max_completion_tokens": 10}, "max_tokens"),
        (Wire.OPENAI_CHAT, {"repetition_penalty": 1.0}, "repeat_penalty"),
        (Wire.OPENAI_RESPONSES, {"max_output_tokens": 10}, "max_output_tokens"),
    ],
)
def test_the_callers_word_stays(wire: Wire, given_: dict[str, Any], left: str) -> None:
    assert left not in after(body(wire, **given_), "llama/tiny")


def test_null_is_no_word() -> None:
    assert after(body(temperature=None), "llama/tiny", Wanted(temperature=0.2)) == {"temperature": 0.2}


def test_options_of_ollama_keep_what_is_there() -> None:
    request = body(Wire.OLLAMA, options={"num_ctx": 8192, "temperature": 0.9})
    assert after(request, "ollama/qwen3:4b", Wanted(temperature=0.1, max_tokens=500)) == {
        "options": {"num_ctx": 8192, "temperature": 0.9, "num_predict": 500}
    }
    assert after(body(Wire.OLLAMA, options=None), "ollama/a", Wanted(top_p=0.5)) == {"options": {"top_p": 0.5}}
    assert after(body(Wire.OLLAMA, options=[1]), "ollama/a") == {}


def test_one_of_temperature_and_top_p_for_claude() -> None:
    wire = Wire.ANTHROPIC_MESSAGES
    assert after(body(wire, top_p=0.5), "anthropic/claude-opus-4-1", Wanted(temperature=0.3)) == {}
    assert after(body(wire, temperature=0.5), "anthropic/claude-opus-4-1", Wanted(top_p=0.3)) == {}
    hot = Wanted(temperature=1.5)
    assert after(body(wire), "anthropic/claude-opus-4-1", hot) == {"temperature": 1.0}


def test_nothing_beside_thinking() -> None:
    thinking = {"type": "enabled", "budget_tokens": 2048}
    assert after(body(Wire.ANTHROPIC_MESSAGES, thinking=thinking), "anthropic/claude-sonnet-4-5") == {}


def test_a_model_that_is_asked_not_to_reason_takes_them_again() -> None:
    found = after(body(reasoning_effort="none"), "openai/gpt-5.1", Wanted(temperature=0.2))
    assert found == {"temperature": 0.2}


@pytest.mark.parametrize(
    ("model", "version"),
    [
        ("claude-opus-4-7", (4, 7)),
        ("anthropic/claude-4.7-opus", (4, 7)),
        ("claude-sonnet-4-20250514", (4, 0)),
        ("claude-3-5-haiku-20241022", (3, 5)),
        ("us.anthropic.claude-opus-5-v1:0", (5, 0)),
        ("claude-next", (99, 0)),
        ("gpt-4o", (0, 0)),
    ],
)
def test_the_version_is_read_off_the_name(model: str, version: tuple[int, int]) -> None:
    assert claude_version(model) == version


@pytest.mark.parametrize(
    ("name", "refuses"),
    [
        ("openai/o1", True),
        ("openai/o4-mini", True),
        ("openai/gpt-5", True),
        ("openai/gpt-5.2-pro", True),
        ("openai/gpt-5-chat-latest", False),
        ("openai/gpt-4o", False),
        ("openai/gpt-oss-20b", False),
        ("openrouter/openai/gpt-5-nano", True),
        ("moonshot/kimi-k2-0905-preview", False),
        ("moonshot/kimi-k2-thinking", True),
        ("ollama/kimi-k2-thinking", False),
        ("anthropic/claude-haiku-4-5", False),
        ("anthropic/claude-fable-5", True),
        ("ollama/qwen3:8b", False),
    ],
)
def test_who_refuses_a_temperature(name: str, refuses: bool) -> None:
    told = given(body())
    assert told is not None
    assert ("temperature" in refused(target(name), told)) is refuses


def fitted(request: Request, name: str) -> dict[str, Any]:
    edits, _ = fitting(request, target(name, request.wire))
    return request.edit(edits).body


def test_what_a_chosen_model_refuses_is_taken_out() -> None:
    request = body(temperature=0.2, top_p=0.5, logprobs=True, max_tokens=100, seed=7)
    found = fitted(request, "openai/o3-mini")
    assert {"temperature", "top_p", "logprobs", "max_tokens"}.isdisjoint(found)
    assert (found["max_completion_tokens"], found["seed"]) == (100, 7)
    assert fitted(request, "openai/gpt-4o") == request.body
    assert fitted(body(temperature=1), "openai/o3-mini")["temperature"] == 1
    both = body(Wire.ANTHROPIC_MESSAGES, temperature=0.2, top_p=0.5, max_tokens=100)
    assert "top_p" not in fitted(both, "anthropic/claude-sonnet-4-5")
    assert fitted(both, "anthropic/claude-sonnet-4-5")["temperature"] == 0.2
    assert {"temperature", "top_p"}.isdisjoint(fitted(both, "anthropic/claude-opus-4-8"))


def test_a_body_that_is_none_is_left_alone() -> None:
    assert given(Request(Wire.OPENAI_CHAT, b"[")) is None
    assert fitting(Request(Wire.OPENAI_CHAT, b"\xff"), target("openai/o3")) == ((), ())
