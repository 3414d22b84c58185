"""What a call cannot do without, and whether a target has it. Pure.

A fact that nobody knows of a target keeps it in: an upstream may refuse, and the next one is asked then.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ..errors import BadRequest
from ..request import Operation, Request, Wire
from ..text.context.windows import window_of
from ..wire.translate.handed_back import is_own, references
from .families import facts_of
from .settings import TargetTable
from .virtual import Candidate

__all__ = ["Needs", "excluded", "known", "needs"]

_LEAST_OUTPUT_TOKENS = 1_024  # room for an answer where the caller names no limit
_BYTES_A_TOKEN = 3.6  # of JSON in English and code; measured on recorded sessions (3.3 to 4.1)
_SURELY_BYTES_A_TOKEN = 2.0  # no usual text has less: what fits by this needs no count
_MOST_IMAGE_TOKENS = 1_600  # of one image, at the providers that tell

_MEDIA = re.compile(
    rb'"type"\s*:\s*"(?:image|image_url|input_image|document|file|input_file|input_audio)"|"images"\s*:\s*\[\s*"'
)
_BASE64 = re.compile(rb"[A-Za-z0-9+/=]{2000,}")


class Needs(msgspec.Struct, frozen=True):
    """What a call asks for. prompt_tokens: about; most_prompt_tokens: surely not more. output_tokens: the most that the
    caller allows, None where that is open. native: why only a target of the caller's own protocol will do, "" if any
    will. wires: the protocols that have what it asks for; () for all."""

    wire: Wire
    prompt_tokens: int
    most_prompt_tokens: int
    output_tokens: int | None = None
    tools: bool = False
    images: bool = False
    json_schema: bool = False
    reasoning: bool = False
    native: str = ""
    wires: tuple[Wire, ...] = ()


class _Asked(msgspec.Struct, frozen=True):
    """The members of a body that a target must be able to serve. Raw where providers differ in their shapes."""

    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    options: Any = None
    response_format: Any = None
    text: Any = None
    format: Any = None
    output_format: Any = None
    output_config: Any = None
    reasoning_effort: Any = None
    reasoning: Any = None
    thinking: Any = None
    think: Any = None
    n: Any = None
    logprobs: Any = None
    previous_response_id: Any = None
    conversation: Any = None


class _Tool(msgspec.Struct, frozen=True):
    type: Any = None


_asked = msgspec.json.Decoder(_Asked)
_tool = msgspec.json.Decoder(_Tool)


def needs(request: Request) -> Needs | None:
    """What the request cannot do without; None for one that generates nothing or cannot be read."""
    if request.operation is not Operation.GENERATE:
        return None
    try:
        envelope = request.envelope
        asked = _asked.decode(request.raw)
    except (BadRequest, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    raw = request.raw
    images = _MEDIA.search(raw) is not None
    size, media = len(raw), 0
    if images:
        blobs = [len(found) for found in _BASE64.findall(raw)]
        size -= sum(blobs)
        media = _MOST_IMAGE_TOKENS * max(len(blobs), 1)
    chat = _number(asked.n) > 1 or asked.logprobs is True
    return Needs(
        request.wire,
        prompt_tokens=int(size / _BYTES_A_TOKEN) + media,
        most_prompt_tokens=int(size / _SURELY_BYTES_A_TOKEN) + media,
        output_tokens=_most_output(asked),
        tools=bool(envelope.tools),
        images=images,
        json_schema=_schema(asked),
        reasoning=_reasons(asked),
        native=_native(request, asked, envelope.tools or ()),
        wires=(Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES) if chat else (),
    )


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _most_output(asked: _Asked) -> int | None:
    options = asked.options if isinstance(asked.options, dict) else {}
    limits = (asked.max_tokens, asked.max_completion_tokens, asked.max_output_tokens, options.get("num_predict"))
    return max((found for limit in limits if (found := _number(limit)) > 0), default=None)


def _schema(asked: _Asked) -> bool:
    for told in (asked.response_format, asked.output_format):
        if isinstance(told, dict) and told.get("type") == "json_schema":
            return True
    for told in (asked.text, asked.output_config):
        inner = told.get("format") if isinstance(told, dict) else None
        if isinstance(inner, dict) and inner.get("type") == "json_schema":
            return True
    return isinstance(asked.format, dict) and bool(asked.format)


def _reasons(asked: _Asked) -> bool:
    """Whether the caller asks for reasoning by name. What is off or the least says nothing of the model."""
    effort = asked.reasoning_effort
    if isinstance(asked.reasoning, dict):
        effort = effort or asked.reasoning.get("effort")
    if isinstance(effort, str) and effort not in ("none", "minimal"):
        return True
    if isinstance(asked.thinking, dict) and asked.thinking.get("type") in ("enabled", "adaptive"):
        return True
    return asked.think is True or (isinstance(asked.think, str) and asked.think != "none")


def _native(request: Request, asked: _Asked, tools: Any) -> str:
    earlier = asked.previous_response_id
    if (earlier and not is_own(earlier)) or asked.conversation or any(not is_own(id) for _, id in references(request)):
        return "it goes on with state that a provider keeps"
    if request.wire in (Wire.OPENAI_RESPONSES, Wire.ANTHROPIC_MESSAGES):
        for raw in tools:
            if b'"type"' not in bytes(raw):
                continue
            try:
                kind = _tool.decode(raw).type
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            if isinstance(kind, str) and kind not in ("function", "custom", "namespace"):
                return f"it offers a provider's own tool ({kind[:40]})"
    return ""


def known(candidate: Candidate) -> TargetTable:
    """What is so of a candidate: as the operator says, else as its family is known to be."""
    facts, family = candidate.facts, facts_of(candidate.target.model)
    window = facts.context_tokens or window_of(candidate.target.model, {})
    return msgspec.structs.replace(
        facts,
        context_tokens=window,
        tools=facts.tools if facts.tools is not None else family.tools,
        images=facts.images if facts.images is not None else family.images,
        json_schema=facts.json_schema if facts.json_schema is not None else family.json_schema,
        reasoning=facts.reasoning if facts.reasoning is not None else family.reasoning,
    )


def excluded(asked: Needs, candidate: Candidate, facts: TargetTable) -> str:
    """Why the candidate cannot take the call, in words for its user; "": it can, as far as is known.

    facts: of the candidate, with what is known of its family (see `known`).
    """
    target = candidate.target
    if asked.native and target.wire is not asked.wire:
        return asked.native
    if asked.wires and target.wire not in asked.wires:
        return "its protocol has neither several answers nor log-probabilities"
    if asked.tools and facts.tools is False:
        return "no tools"
    if asked.images and facts.images is False:
        return "no images"
    if asked.json_schema and facts.json_schema is False:
        return "no JSON schema"
    if asked.reasoning and facts.reasoning is False:
        return "no reasoning"
    output = asked.output_tokens
    if output is not None and facts.output_tokens is not None and output > facts.output_tokens:
        return f"answers of {facts.output_tokens:,} tokens at most, {output:,} are asked for"
    if facts.context_tokens is not None:
        needed = asked.prompt_tokens + (output if output is not None else _LEAST_OUTPUT_TOKENS)
        if needed > facts.context_tokens:
            return f"{facts.context_tokens:,} tokens of context, the call needs {needed:,}"
    return ""
