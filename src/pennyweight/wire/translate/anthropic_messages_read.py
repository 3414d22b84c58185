"""Anthropic Messages: requests, read into the neutral form.

Follows platform.claude.com/docs, "Messages" (versions 2023-06-01 and 2026-10-21).
"""

from __future__ import annotations

from typing import Any

import msgspec

from ...request import Request
from .fit import UNSIGNED, flat
from .neutral import (
    Ask,
    Choice,
    Document,
    Fields,
    Format,
    Image,
    Losses,
    Message,
    Param,
    Part,
    Result,
    Text,
    Think,
    Thinking,
    Tool,
    ToolCall,
)

__all__ = ["parse_request"]

_PLAIN = {
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop_sequences": "stop",
}
_BILLING = "x-anthropic-billing-header"


def parse_request(request: Request, losses: Losses) -> Ask:
    """Raises BadRequest where a field has a type that cannot be read."""
    body = Fields(request.body, "", losses)
    params = {to: Param(value, name) for name, to in _PLAIN.items() if (value := body.take(name)) is not None}
    messages = _read_system(body.take("system"), losses)
    for index, raw in enumerate(body.items("messages")):
        messages += _read_message(Fields(raw, f"messages[{index}]", losses))
    tools = [tool for index, raw in enumerate(body.items("tools")) if (tool := _read_tool(raw, index, losses))]
    _read_settings(body, params)
    ask = Ask(body.text("model"), bool(body.take("stream")), tuple(messages), tuple(tools), params)
    body.rest("only Anthropic has this field")
    return ask


def _read_settings(body: Fields, params: dict[str, Param]) -> None:
    choice = body.inner("tool_choice")
    kind = choice.text("type")
    known: dict[str, Any] = {"auto": "auto", "any": "required", "tool": "tool", "none": "none"}
    if kind in known:
        params["choice"] = Param(Choice(known[kind], choice.text("name")), "tool_choice")
    disable = choice.take("disable_parallel_tool_use")
    if disable is not None:
        params["parallel"] = Param(not disable, "tool_choice.disable_parallel_tool_use")
    choice.rest("only Anthropic has this field")
    metadata = body.inner("metadata")
    if user := metadata.text("user_id"):
        params["user"] = Param(user, "metadata.user_id")
    metadata.rest("only Anthropic has this field")
    thinking = body.inner("thinking")
    if mode := thinking.text("type"):
        budget = thinking.take("budget_tokens")
        think = Think(mode, budget if isinstance(budget, int) else 0, thinking.text("display"))
        params["thinking"] = Param(think, "thinking")
    thinking.rest("only Anthropic has this field")
    config = body.inner("output_config")
    if effort := config.text("effort"):
        params["effort"] = Param(effort, "output_config.effort")
    old, new = body.inner("output_format"), config.inner("format")
    for spec in (old, new):
        if spec.text("type") == "json_schema":
            params["format"] = Param(Format("json_schema", spec.take("schema")), spec.at)
        spec.rest("only Anthropic has this field")
    config.rest("only Anthropic has this field")
    tier = body.text("service_tier")
    if tier:
        params["service_tier"] = Param("default" if tier == "standard_only" else tier, "service_tier")


def _read_system(value: object, losses: Losses) -> list[Message]:
    if value is None or value == "":
        return []
    blocks = [{"type": "text", "text": value}] if isinstance(value, str) else value
    parts: list[Part] = []
    for part in _read_blocks(blocks, "system", losses):
        if isinstance(part, Text) and part.text.startswith(_BILLING):
            losses.add(f"{part.at}({_BILLING})", "a billing line for Anthropic alone, no model reads it")
        else:
            parts.append(part)
    return [Message("system", tuple(parts), at="system")] if parts else []


def _read_message(fields: Fields) -> list[Message]:
    """A user turn with tool results becomes two messages, the results first."""
    role, content = fields.text("role"), fields.take("content")
    parts = _read_blocks(
        [{"type": "text", "text": content}] if isinstance(content, str) else content, "", fields.losses, fields
    )
    fields.rest("only Anthropic has this field")
    if role == "assistant":
        return [Message("assistant", tuple(parts), at=fields.at)]
    if role == "system":
        return [Message("system", tuple(parts), at=fields.at)] if parts else []
    results = tuple(part for part in parts if isinstance(part, Result))
    others = tuple(part for part in parts if not isinstance(part, Result))
    out = [Message("tool", results, at=fields.at)] if results else []
    if others or not results:
        out.append(Message("user", others, at=fields.at))
    return out


def _read_blocks(blocks: object, at: str, losses: Losses, owner: Fields | None = None) -> list[Part]:
    place = owner.place("content") if owner is not None else at
    if not isinstance(blocks, list):
        blocks = [] if blocks is None else [blocks]
    parts: list[Part] = []
    for index, raw in enumerate(blocks):
        block = Fields(raw, f"{place}[{index}]", losses)
        part = read_block(block)
        if part is not None:
            parts.append(part)
    return parts


def read_block(block: Fields) -> Part | None:
    kind, at = block.text("type"), block.at
    cache = block.take("cache_control")
    part: Part | None
    match kind:
        case "text":
            part = Text(block.text("text"), at, cache)
        case "image":
            part = _read_image(block.inner("source"), at, cache)
        case "document":
            part = _read_document(block, cache)
        case "thinking":
            signature = block.text("signature")
            part = Thinking(block.text("thinking"), at, signature="" if signature == UNSIGNED else signature)
        case "redacted_thinking":
            part = Thinking(at=at, redacted=block.text("data"))
        case "tool_use":
            arguments = msgspec.json.encode(block.take("input") or {}).decode()
            part = ToolCall(block.text("id"), block.text("name"), arguments, at, cache=cache)
        case "tool_result":
            part = _read_result(block, cache)
        case "search_result":
            source = f"{block.text('title')} ({block.text('source')})\n"
            texts = flat(p for p in _read_blocks(block.take("content"), "", block.losses, block) if isinstance(p, Text))
            part = Text(source + texts, at, cache)
        case _:
            block.losses.add(f"{at}({kind})", f"a block of type {kind or 'unknown'}: only Anthropic has it")
            return None
    block.rest("only Anthropic has this field")
    return part


def _read_image(source: Fields, at: str, cache: Any) -> Image:
    kind = source.text("type")
    image = Image(
        at,
        source.text("media_type"),
        source.text("data") if kind == "base64" else "",
        source.text("url"),
        source.text("file_id"),
        cache=cache,
    )
    source.rest("only Anthropic has this field")
    return image


def _read_document(block: Fields, cache: Any) -> Document:
    source = block.inner("source")
    kind, content = source.text("type"), source.take("content")
    data = source.text("data")
    text = data if kind == "text" else content if isinstance(content, str) else ""
    if isinstance(content, list):
        text = flat(
            part for part in _read_blocks(content, f"{source.at}.content", block.losses) if isinstance(part, Text)
        )
    document = Document(
        block.at,
        source.text("media_type"),
        data if kind == "base64" else "",
        text,
        source.text("url"),
        source.text("file_id"),
        block.text("title"),
        cache,
    )
    source.rest("only Anthropic has this field")
    return document


def _read_result(block: Fields, cache: Any) -> Result:
    raw = block.take("content")
    content = _read_blocks([{"type": "text", "text": raw}] if isinstance(raw, str) else raw, "", block.losses, block)
    kept = tuple(part for part in content if isinstance(part, Text | Image | Document))
    return Result(block.text("tool_use_id"), kept, block.at, is_error=bool(block.take("is_error")), cache=cache)


def _read_tool(raw: object, index: int, losses: Losses) -> Tool | None:
    fields = Fields(raw, f"tools[{index}]", losses)
    kind, name = fields.text("type"), fields.text("name")
    if kind not in ("", "custom"):
        losses.add(f"{fields.at}({kind})", f"the built-in tool {kind}: only Anthropic has it")
        return None
    strict = fields.take("strict")
    tool = Tool(
        name,
        fields.text("description"),
        fields.take("input_schema"),
        strict if isinstance(strict, bool) else None,
        at=fields.at,
        cache=fields.take("cache_control"),
    )
    fields.rest("only Anthropic has this field")
    return tool
