"""Forms of answers by name, in each protocol's words, and schemas that would not hold."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pennyweight.call import Target
from pennyweight.request import Request, Wire
from pennyweight.routing.parameters import given
from pennyweight.routing.templates import TEMPLATES, forming, problem

LIST = TEMPLATES["list"].schema


def form(wire: Wire, name: str = "list", target: str = "llama/tiny", *, to: Wire | None = None, **more: Any) -> Any:
    request = Request(wire, json.dumps({"model": "m", "messages": [], **more}).encode())
    provider, _, model = target.partition("/")
    body = given(request)
    assert body is not None
    found = forming(request, body, Target(provider, model, to or wire), name, TEMPLATES[name])
    return found if isinstance(found, str) else request.edit(found).body


def test_each_protocol_has_its_own_words() -> None:
    named = {"name": "list", "schema": LIST, "strict": True}
    assert form(Wire.OPENAI_CHAT)["response_format"] == {"type": "json_schema", "json_schema": named}
    assert form(Wire.OPENAI_RESPONSES)["text"] == {"format": {"type": "json_schema", **named}}
    assert form(Wire.OPENAI_RESPONSES, text={"verbosity": "low"})["text"]["verbosity"] == "low"
    claude = form(Wire.ANTHROPIC_MESSAGES, target="anthropic/claude-sonnet-4-6")
    assert claude["output_config"] == {"format": {"type": "json_schema", "schema": LIST}}
    assert form(Wire.OLLAMA)["format"] == LIST
    assert form(Wire.OLLAMA, "json", x="json")["format"] == "json"
    assert form(Wire.OPENAI_CHAT, "json", x="Answer in JSON.")["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    ("wire", "given_form"),
    [
        (Wire.OPENAI_CHAT, {"response_format": {"type": "text"}}),
        (Wire.OPENAI_RESPONSES, {"text": {"format": {"type": "text"}}}),
        (Wire.ANTHROPIC_MESSAGES, {"output_config": {"format": {"type": "json_schema", "schema": {}}}}),
        (Wire.ANTHROPIC_MESSAGES, {"output_format": {"type": "json_schema"}}),
        (Wire.OLLAMA, {"format": "json"}),
    ],
)
def test_a_form_that_the_caller_gave_stays(wire: Wire, given_form: dict[str, Any]) -> None:
    assert form(wire, target="anthropic/claude-sonnet-4-6", **given_form) == "the caller has said what form it wants"


def test_why_a_form_cannot_be_had() -> None:
    assert form(Wire.OPENAI_CHAT, target="deepseek/deepseek-chat") == "deepseek has no schemas for answers"
    assert "has no structured output" in form(Wire.ANTHROPIC_MESSAGES, target="anthropic/claude-3-5-haiku-20241022")
    crossed = form(Wire.OPENAI_CHAT, target="anthropic/claude-3-5-haiku-20241022", to=Wire.ANTHROPIC_MESSAGES)
    assert "has no structured output" in crossed
    assert "without a schema" in form(Wire.ANTHROPIC_MESSAGES, "json", "anthropic/claude-sonnet-4-6", x="json")
    assert "does not speak of JSON" in form(Wire.OPENAI_CHAT, "json")


@pytest.mark.parametrize("name", ["list", "code"])
def test_the_built_in_schemas_are_strict(name: str) -> None:
    assert problem(TEMPLATES[name].schema or {}) == ""


@pytest.mark.parametrize(
    ("schema", "what"),
    [
        ({"type": "nope"}, "schema.type is 'nope'"),
        ({}, "schema has no type"),
        ({"type": "object"}, "schema.properties is missing"),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, "must require all its properties"),
        ({"type": "array"}, "schema.items is no table"),
        ({"type": "array", "items": {"type": "strnig"}}, "schema.items.type is 'strnig'"),
        ({"anyOf": [{"type": "string"}, {"type": 1}]}, "schema.anyOf[1].type is 1"),
        ({"enum": ["a", "b"]}, ""),
        ({"type": ["string", "null"]}, ""),
    ],
)
def test_a_schema_that_would_not_hold_is_told(schema: dict[str, Any], what: str) -> None:
    assert problem(schema).startswith(what) if what.startswith("schema.") or not what else what in problem(schema)
