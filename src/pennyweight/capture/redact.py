"""Takes the prose out of recorded calls and leaves what tokens, prefixes, prices and protocols depend on.

Kept: JSON keys, numbers, ids, roles, models, tool names, the closed vocabulary of the protocols, and the marker lines
of `filler.MARKERS`. Everything else that is a string becomes filler of the same token count; a key that we do not know
counts as prose, so a field that a provider adds tomorrow is filled and not leaked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .filler import Filler
from .format import Recorded

__all__ = ["redact", "redact_body"]

_KEPT = frozenset(
    {
        "type",
        "role",
        "id",
        "name",
        "model",
        "object",
        "status",
        "stop_reason",
        "finish_reason",
        "service_tier",
        "tool_use_id",
        "tool_call_id",
        "call_id",
        "item_id",
        "response_id",
        "previous_response_id",
        "prompt_cache_key",
        "prompt_cache_retention",
        "user",
        "user_id",
        "safety_identifier",
        "session_id",
        "thread_id",
        "media_type",
        "ttl",
        "effort",
        "display",
        "verbosity",
        "truncation",
        "detail",
        "phase",
        "namespace",
        "tool_choice",
        "reasoning_effort",
        "include",
        "betas",
        "container",
        "keep_alive",
        "done_reason",
        "system_fingerprint",
        "caller",
    }
)
"""Members whose string (or list of strings) is an id or a word of the protocol."""

_OPAQUE = frozenset({"signature", "encrypted_content", "data", "thinking_signature", "b64_json"})
"""Members that no model reads as text: same number of characters."""

_SCHEMAS = frozenset({"input_schema", "parameters", "schema"})
_ARGUMENTS = frozenset({"arguments", "input"})
_SCHEMA_KEPT = frozenset({"type", "format", "$ref", "$schema", "required", "name", "contentMediaType"})
_NAMED = frozenset({"properties", "$defs", "definitions", "patternProperties"})  # keys under these are names, not words


def redact(call: Recorded, filler: Filler) -> Recorded:
    """The call with its texts filled. Headers that are not protocol words or ids are dropped."""
    return msgspec.structs.replace(
        call,
        body=redact_body(call.body, filler),
        answer=redact_body(call.answer, filler) if call.answer is not None else None,
        headers={k: v for k, v in call.headers.items() if k in HEADERS},
    )


HEADERS = frozenset(
    {
        "accept",
        "content-type",
        "anthropic-version",
        "anthropic-beta",
        "openai-beta",
        "user-agent",
        "x-app",
        "originator",
        "session-id",
        "thread-id",
        "x-session-id",
        "x-session-affinity",
        "x-claude-code-session-id",
        "x-clawrouter-session-id",
        "x-clawrouter-agent-id",
        "x-clawrouter-client",
        "x-codex-beta-features",
        "x-stainless-retry-count",
        "x-pennyweight-session",
        "x-pennyweight-agent",
        "x-pennyweight-task",
        "x-pennyweight-skill",
        "x-pennyweight-optimize",
        "x-pennyweight-fuse",
    }
)


def redact_body(body: Mapping[str, Any], filler: Filler) -> dict[str, Any]:
    """A request or an answer of any of the protocols, filled."""
    return {key: _member(key, value, filler, top=True) for key, value in body.items()}


def _member(key: str, value: Any, filler: Filler, *, top: bool = False) -> Any:
    if key == "tools" and isinstance(value, list):
        return [_tool(tool, filler) for tool in value]
    if key in _SCHEMAS and isinstance(value, Mapping):
        return _fit_json(value, _schema(value, filler), filler)
    if key in _ARGUMENTS and not (top and key == "input"):  # `input` at the top is a Responses conversation
        return _arguments(value, filler)
    if isinstance(value, str):
        if key in _KEPT:
            return value
        if key in _OPAQUE:
            return filler.opaque(value)
        return _text(value, filler)
    if key in _KEPT and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    return _value(value, filler)


def _value(value: Any, filler: Filler) -> Any:
    if isinstance(value, str):
        return _text(value, filler)
    if isinstance(value, list):
        return [_value(item, filler) for item in value]
    if isinstance(value, Mapping):
        return {key: _member(key, item, filler) for key, item in value.items()}
    return value


def _text(text: str, filler: Filler) -> str:
    if text.startswith("data:") and ";base64," in text[:100]:
        head, _, payload = text.partition(";base64,")
        return f"{head};base64,{filler.opaque(payload)}"
    return filler.text(text)


def _tool(tool: Any, filler: Filler) -> Any:
    """A tool: its names and its schema's keys stay; as many tokens as compact JSON as before."""
    if not isinstance(tool, Mapping):
        return _value(tool, filler)
    filled = {key: _member(key, value, filler) for key, value in tool.items()}
    return _fit_json(tool, filled, filler)


def _schema(value: Any, filler: Filler) -> Any:
    """A JSON Schema: keys, types and names of properties stay; descriptions, enums, defaults and examples are text."""
    if isinstance(value, list):
        return [_schema(item, filler) for item in value]
    if isinstance(value, str):
        return filler.text(value)
    if not isinstance(value, Mapping):
        return value
    out: dict[str, Any] = {}
    for key, item in value.items():
        if key in _NAMED and isinstance(item, Mapping):
            out[key] = {name: _schema(child, filler) for name, child in item.items()}
        elif key in _SCHEMA_KEPT and not isinstance(item, Mapping):
            out[key] = item
        else:
            out[key] = _schema(item, filler)
    return out


def _arguments(value: Any, filler: Filler) -> Any:
    """Arguments of a tool call, parsed or as JSON text: keys and numbers stay, strings are filled."""
    if isinstance(value, str):
        try:
            parsed = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return filler.text(value)
        if not isinstance(parsed, dict | list):
            return filler.text(value)
        write = _writer(value, parsed)
        return write(_fit_json(parsed, _strings(parsed, filler), filler, write))
    return _fit_json(value, _strings(value, filler), filler)


def _compact(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _writer(text: str, parsed: Any) -> Callable[[Any], str]:
    """How `text` was written: the white space and escapes of common JSON libraries; compact where it was none."""
    for write in _WRITERS:
        if write(parsed) == text:
            return write
    return _compact


_WRITERS: tuple[Callable[[Any], str], ...] = (
    _compact,
    lambda value: json.dumps(value, ensure_ascii=False),
    json.dumps,
    lambda value: json.dumps(value, ensure_ascii=False, indent=2),
)


def _strings(value: Any, filler: Filler) -> Any:
    if isinstance(value, str):
        return filler.text(value)
    if isinstance(value, list):
        return [_strings(item, filler) for item in value]
    if isinstance(value, Mapping):
        return {key: _strings(item, filler) for key, item in value.items()}
    return value


def _fit_json(original: Any, filled: Any, filler: Filler, write: Callable[[Any], str] = _compact) -> Any:
    """`filled` with its longest filler lengthened or cut: as many tokens of JSON as `original`, written by `write`."""
    wanted = filler.count(write(original))
    for _ in range(8):
        missing = wanted - filler.count(write(filled))
        if missing == 0:
            break
        path, text = _longest(filled, original, (), (None, ""))
        if path is None:
            break
        shorter = text.rsplit(" ", -missing)[0] if missing < 0 else ""
        filled = _put(filled, path, shorter or text + "".join(filler.words(text, missing)))
    return filled


_Found = tuple[tuple[str | int, ...] | None, str]


def _longest(filled: Any, original: Any, path: tuple[str | int, ...], best: _Found) -> _Found:
    """The place and text of the longest string that was filled with words and no marker."""
    if isinstance(filled, str):
        plain = filled != original and filled.startswith(" ") and filled.replace(" ", "").replace("\n", "").isalpha()
        return (path, filled) if plain and len(filled) > len(best[1]) else best
    if isinstance(filled, Mapping):
        for key, item in filled.items():
            best = _longest(item, original[key], (*path, key), best)
    elif isinstance(filled, list):
        for index, item in enumerate(filled):
            best = _longest(item, original[index], (*path, index), best)
    return best


def _put(value: Any, path: tuple[str | int, ...], text: str) -> Any:
    if not path:
        return text
    key, rest = path[0], path[1:]
    if isinstance(value, list):
        return [_put(item, rest, text) if index == key else item for index, item in enumerate(value)]
    return {name: _put(item, rest, text) if name == key else item for name, item in value.items()}
