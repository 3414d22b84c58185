"""Response templates: the form of an answer by name, in the words of each protocol's structured output.

Pure. platform.openai.com/docs/guides/structured-outputs, Anthropic's structured outputs (output_config.format),
docs.ollama.com (structured outputs).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ..call import Target
from ..request import Edit, Request, Wire
from .parameters import Given, claude_version

__all__ = ["TEMPLATES", "Template", "forming", "has_form", "problem"]


class Template(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """schema: a JSON Schema; None: any JSON object. In the strict form that all providers take: every object names all
    its properties as required and allows no others."""

    schema: dict[str, Any] | None = None


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_STRING = {"type": "string"}
TEMPLATES: Mapping[str, Template] = {
    "json": Template(),
    "list": Template(_object(items={"type": "array", "items": _STRING})),
    "code": Template(_object(language=_STRING, code=_STRING)),
}


def has_form(body: Given) -> bool:
    """Whether the caller has said itself what form the answer must have."""
    text = body.text if isinstance(body.text, dict) else {}
    config = body.output_config if isinstance(body.output_config, dict) else {}
    forms = (body.response_format, body.format, body.output_format, text.get("format"), config.get("format"))
    return any(form is not None for form in forms)


def forming(request: Request, body: Given, target: Target, name: str, template: Template) -> tuple[Edit, ...] | str:
    """What to write into the request so that the answer has that form; or why it cannot be asked for."""
    if has_form(body):
        return "the caller has said what form it wants"
    if refusal := _refusal(request, target, template):
        return refusal
    schema = template.schema
    match request.wire:
        case Wire.OPENAI_CHAT:
            plain = {"type": "json_object"}
            named = {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}
            return (Edit(("response_format",), plain if schema is None else named),)
        case Wire.OPENAI_RESPONSES:
            form = {"type": "json_object"}
            if schema is not None:
                form = {"type": "json_schema", "name": name, "schema": schema, "strict": True}  # type: ignore[dict-item]
            return (_inner("text", "format", form, body.text),)
        case Wire.ANTHROPIC_MESSAGES:
            return (_inner("output_config", "format", {"type": "json_schema", "schema": schema}, body.output_config),)
        case Wire.OLLAMA:
            return (Edit(("format",), "json" if schema is None else schema),)


def _inner(name: str, key: str, value: Any, there: Any) -> Edit:
    return Edit((name, key), value) if isinstance(there, dict) else Edit((name,), {key: value})


def _refusal(request: Request, target: Target, template: Template) -> str:
    from_claude = Wire.ANTHROPIC_MESSAGES in (request.wire, target.wire)
    if template.schema is None and from_claude:
        return "Anthropic has no form without a schema"
    if template.schema is None and b"json" not in request.raw.lower():
        return "the prompt does not speak of JSON, which this form needs"  # OpenAI refuses it, others write blanks
    if template.schema is not None and target.provider in _NO_SCHEMA:
        return f"{target.provider} has no schemas for answers"
    if from_claude and not _formed_by_schema(target.model):
        return f"{target.model} has no structured output"
    return ""


_NO_SCHEMA = frozenset(("deepseek", "minimax"))
"""Providers that know json_object alone, by their own pages."""


def _formed_by_schema(model: str) -> bool:
    """Structured outputs came with Claude 4.5; Opus 4.1 was given them too."""
    version = claude_version(model)
    return version >= (4, 5) or (version >= (4, 1) and "opus" in model.lower())


# --- schemas of one's own -----------------------------------------------------------------------------------------

_TYPES = frozenset(("object", "array", "string", "number", "integer", "boolean", "null"))


def problem(schema: Mapping[str, Any]) -> str:
    """What is wrong with a schema, "" when nothing is: some servers take no notice of one that is not valid."""
    return next(_problems(schema, "schema"), "")


def _problems(schema: Any, at: str) -> Iterator[str]:
    if not isinstance(schema, Mapping):
        yield f"{at} is no table"
        return
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    if kind is not None and not all(isinstance(each, str) and each in _TYPES for each in kinds):
        yield f"{at}.type is {kind!r}, which is no type of JSON Schema"
    if kind is None and not {"enum", "const", "anyOf", "$ref"} & schema.keys():
        yield f"{at} has no type"
    if kind == "object":
        properties = schema.get("properties")
        if not isinstance(properties, Mapping) or not properties:
            yield f"{at}.properties is missing"
        else:
            if set(schema.get("required") or ()) != set(properties) or schema.get("additionalProperties") is not False:
                yield f"{at} must require all its properties, and have additionalProperties = false"
            for name, inner in properties.items():
                yield from _problems(inner, f"{at}.properties.{name}")
    if kind == "array":
        yield from _problems(schema.get("items"), f"{at}.items")
    for index, inner in enumerate(schema.get("anyOf") or ()):
        yield from _problems(inner, f"{at}.anyOf[{index}]")
