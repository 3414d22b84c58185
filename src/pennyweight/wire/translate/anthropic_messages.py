"""Anthropic Messages: requests and whole answers, to and from the neutral form.

Follows platform.claude.com/docs, "Messages" (versions 2023-06-01 and 2026-10-21).
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ...request import Request, Usage, Wire
from ..usage import decode
from . import media
from .fit import flat, json_object, open_envelope, seal
from .neutral import (
    Answer,
    Ask,
    Audio,
    Choice,
    Document,
    Fields,
    Finish,
    Format,
    Image,
    Losses,
    Message,
    Param,
    Part,
    Refusal,
    Result,
    Text,
    Think,
    Thinking,
    Tool,
    ToolCall,
)

__all__ = ["parse_request", "parse_response", "stop_reason", "usage_block", "write_request", "write_response"]

NO_SAMPLING = "2026-10-21"  # from this version on temperature, top_p and top_k are refused (migration guide)
_PLAIN = {
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stop_sequences": "stop",
}
_BILLING = "x-anthropic-billing-header"


# --- requests, read ---------------------------------------------------------------------------------------


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
        part = _read_block(block)
        if part is not None:
            parts.append(part)
    return parts


def _read_block(block: Fields) -> Part | None:
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
            part = Thinking(block.text("thinking"), at, signature=block.text("signature"))
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


# --- requests, written ------------------------------------------------------------------------------------


def write_request(ask: Ask, losses: Losses, *, model: str, version: str = "2023-06-01") -> dict[str, Any]:
    """The body; `params` that it has no field for are lost by name."""
    params = dict(ask.params)
    body: dict[str, Any] = {"model": model, "max_tokens": _max_tokens(params, model, losses)}
    system, messages = _write_messages(ask, losses, own_system=version >= NO_SAMPLING)
    if system:
        body["system"] = system
    body["messages"] = messages
    _write_tools(body, ask, params, losses)
    _write_settings(body, params, losses)
    _write_thinking(body, ask, params, model, losses)
    _write_sampling(body, params, version, losses)
    if ask.stream:
        body["stream"] = True
    _limit_breakpoints(body, losses)
    for name, param in params.items():
        media.lose(name, param, losses, "Anthropic has no such field")
    return body


def _max_tokens(params: dict[str, Param], model: str, losses: Losses) -> Any:
    param = params.pop("max_tokens", None)
    if param is not None and isinstance(param.value, int) and param.value > 0:
        return param.value
    if param is not None:
        losses.add(param.at, "Anthropic takes a positive number only")
    default = 4096 if re.match(r"claude-3-(opus|sonnet|haiku)", model) else 8192
    losses.add("max_tokens", f"not given, and Anthropic requires it: {default} was put")
    return default


def _write_messages(ask: Ask, losses: Losses, *, own_system: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for message in ask.messages:
        if message.role in ("system", "developer"):
            blocks = [block for part in message.parts if (block := _block(part, losses))]
            if not turns:
                system += blocks
            elif own_system:
                _add_turn(turns, "system", blocks)
            elif blocks:
                losses.add(
                    f"{message.at}.role", f"a {message.role} message amid the conversation: sent as a marked user text"
                )
                marked = [
                    {**b, "text": f"<system-reminder>\n{b['text']}\n</system-reminder>"} for b in blocks if "text" in b
                ]
                _add_turn(turns, "user", marked)
            continue
        if message.name:
            losses.add(f"{message.at}.name", "Anthropic's messages have no name")
        blocks = [block for part in message.parts if (block := _block(part, losses))]
        _add_turn(turns, "assistant" if message.role == "assistant" else "user", blocks)
    if not turns or turns[0]["role"] != "user":
        losses.add("messages", "Anthropic's first message is the user's: one was put before it")
        turns.insert(0, {"role": "user", "content": [{"type": "text", "text": "Continue."}]})
    if turns[-1]["role"] == "assistant" and turns[-1]["content"][-1]["type"] == "text":
        last = turns[-1]["content"][-1]
        last["text"] = last["text"].rstrip()  # "final assistant content cannot end with trailing whitespace"
    return system, turns


def _add_turn(turns: list[dict[str, Any]], role: str, blocks: list[dict[str, Any]]) -> None:
    """Consecutive turns of one role are one; results stand before anything else in theirs."""
    if not blocks:
        return
    if turns and turns[-1]["role"] == role:
        both = turns[-1]["content"] + blocks
        turns[-1]["content"] = (
            sorted(both, key=lambda block: block["type"] != "tool_result") if role == "user" else both
        )
    else:
        turns.append({"role": role, "content": blocks})


def _block(part: Part, losses: Losses) -> dict[str, Any] | None:
    block: dict[str, Any] | None
    match part:
        case Text(text=text) | Refusal(text=text):
            block = {"type": "text", "text": text} if text.strip() else None  # empty text blocks are refused
        case Image():
            block = _write_image(part, losses)
        case Document():
            block = _write_document(part, losses)
        case Audio(at=at):
            losses.add(at, "Anthropic takes no audio")
            block = None
        case Thinking():
            block = _write_thinking_block(part, losses)
        case ToolCall():
            value = json_object(part.arguments)
            if value is None:
                losses.add(f"{part.at}.arguments", "not a JSON object: sent as its field `arguments`")
                value = {"arguments": part.arguments}
            block = {"type": "tool_use", "id": part.id, "name": part.name, "input": value}
        case Result():
            block = _write_result(part, losses)
    if block is not None and getattr(part, "cache", None):
        block["cache_control"] = part.cache  # type: ignore[union-attr]
    return block


def _write_image(part: Image, losses: Losses) -> dict[str, Any] | None:
    if part.detail and part.detail != "auto":
        losses.add(f"{part.at}.detail", "Anthropic's images have no detail setting")
    source = _source(part)
    if source is None:
        losses.add(part.at, "an image without data or URL")
        return None
    return {"type": "image", "source": source}


def _source(part: Image | Document) -> dict[str, Any] | None:
    if part.data:
        return {"type": "base64", "media_type": part.media_type, "data": part.data}
    if part.url:
        return {"type": "url", "url": part.url}
    return {"type": "file", "file_id": part.file_id} if part.file_id else None


def _write_document(part: Document, losses: Losses) -> dict[str, Any] | None:
    source = _source(part)
    if part.text:
        source = {"type": "text", "media_type": "text/plain", "data": part.text}
    if source is None:
        losses.add(part.at, "a document without data, text or URL")
        return None
    block: dict[str, Any] = {"type": "document", "source": source}
    if part.name:
        block["title"] = part.name
    return block


def _write_thinking_block(part: Thinking, losses: Losses) -> dict[str, Any] | None:
    sealed = open_envelope(part.encrypted, "anthropic")
    redacted = part.redacted or (sealed or {}).get("redacted", "")
    signature = part.signature or (sealed or {}).get("signature", "")
    if redacted:
        return {"type": "redacted_thinking", "data": redacted}
    if signature and not open_envelope(signature, "openai"):
        text = (sealed or {}).get("thinking", part.text)
        return {"type": "thinking", "thinking": text, "signature": signature}
    losses.add(f"{part.at}(reasoning)", "reasoning without Anthropic's signature: Anthropic refuses it")
    return None


def _write_result(part: Result, losses: Losses) -> dict[str, Any]:
    blocks = [block for piece in part.content if (block := _block(piece, losses))]
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": part.call_id}
    if len(blocks) == 1 and set(blocks[0]) == {"type", "text"}:
        result["content"] = blocks[0]["text"]
    elif blocks:
        result["content"] = blocks
    if part.is_error:
        result["is_error"] = True
    return result


def _write_tools(body: dict[str, Any], ask: Ask, params: dict[str, Param], losses: Losses) -> None:
    tools = [_tool(tool, losses) for tool in ask.tools]
    choice, parallel = params.pop("choice", None), params.pop("parallel", None)
    if not tools:
        names = dict.fromkeys(p.name for m in ask.messages for p in m.parts if isinstance(p, ToolCall))
        if names:
            losses.add(
                "tools",
                "the history holds tool calls, so Anthropic requires tools: bare ones were put, none to be called",
            )
            body["tools"] = [{"name": name, "input_schema": {"type": "object"}} for name in names]
            body["tool_choice"] = {"type": "none"}
        return
    told: Choice = choice.value if choice is not None else Choice("auto")
    if told.allowed:
        tools = [tool for tool in tools if tool["name"] in told.allowed]
    body["tools"] = tools
    kinds = {"auto": "auto", "required": "any", "none": "none", "tool": "tool"}
    written: dict[str, Any] = {"type": kinds[told.kind]}
    if told.kind == "tool":
        written["name"] = told.name
    if parallel is not None and parallel.value is False and told.kind != "none":
        written["disable_parallel_tool_use"] = True
    if choice is not None or len(written) > 1:
        body["tool_choice"] = written


def _tool(tool: Tool, losses: Losses) -> dict[str, Any]:
    out: dict[str, Any] = {"name": tool.name}
    if tool.description:
        out["description"] = tool.description
    schema = dict(tool.schema) if isinstance(tool.schema, dict) else {}
    out["input_schema"] = schema if schema.get("type") == "object" else {"type": "object", **schema}
    if tool.strict:
        out["strict"] = True
    if tool.cache:
        out["cache_control"] = tool.cache
    return out


def _write_settings(body: dict[str, Any], params: dict[str, Param], losses: Losses) -> None:
    if stop := params.pop("stop", None):
        kept = [text for text in stop.value if isinstance(text, str) and text.strip()]
        if len(kept) != len(stop.value):
            losses.add(stop.at, "Anthropic refuses stop sequences of white space")
        if kept:
            body["stop_sequences"] = kept
    for name in ("safety_identifier", "user", "cache_key"):
        if name in params and "metadata" not in body:
            body["metadata"] = {"user_id": params.pop(name).value}
    if tier := params.pop("service_tier", None):
        known = {"auto": "auto", "default": "standard_only", "standard": "standard_only"}
        if tier.value in known:
            body["service_tier"] = known[tier.value]
        else:
            losses.add(tier.at, f"Anthropic has no service tier {tier.value!r}")
    if asked := params.pop("format", None):
        form: Format = asked.value
        if form.kind == "json_schema":
            body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": form.schema}
            for field, value in (("name", form.name), ("description", form.description)):
                if value:
                    losses.add(f"{asked.at}.{field}", "Anthropic's output format has only a schema")
        else:
            losses.add(asked.at, "Anthropic has no JSON mode without a schema")


def _write_thinking(body: dict[str, Any], ask: Ask, params: dict[str, Param], model: str, losses: Losses) -> None:
    effort, own = params.pop("effort", None), params.pop("thinking", None)
    summary = params.pop("summary", None)
    params.pop("encrypted", None)  # Anthropic's thinking is always signed, and goes back inside that field
    if effort is None and own is None:
        if summary is not None:
            losses.add(summary.at, "no reasoning was asked for")
        return
    at = (effort or own or Param("", "")).at
    level = media.effort(effort, own)
    if level == "none":
        body["thinking"] = {"type": "disabled"}
        return
    if body.get("tool_choice", {}).get("type") in ("any", "tool"):
        losses.add(at, "Anthropic does not think when a tool call is forced")
        return
    level = {"minimal": "low"}.get(level, level)
    if media.adaptive(model):
        body["thinking"] = {"type": "adaptive"}
        if summary is not None:
            body["thinking"]["display"] = "summarized"
        body.setdefault("output_config", {})["effort"] = level
        return
    if _unsigned_tail(body["messages"]):
        losses.add(at, "the last tool calls came without their signed thinking, so Anthropic would refuse thinking now")
        return
    budget = {"low": 2048, "medium": 8192}.get(level, 16384)
    if body["max_tokens"] <= 1024:
        losses.add(at, "Anthropic's thinking needs more than 1024 max_tokens")
        return
    body["thinking"] = {"type": "enabled", "budget_tokens": max(1024, min(budget, body["max_tokens"] // 2))}


def _unsigned_tail(messages: list[dict[str, Any]]) -> bool:
    """Whether the turn in progress is a tool loop whose assistant message does not begin with thinking."""
    last = next((m["content"] for m in reversed(messages) if m["role"] == "assistant"), None)
    in_loop = messages[-1]["role"] == "user" and messages[-1]["content"][0]["type"] == "tool_result"
    return bool(in_loop and last and last[0]["type"] not in ("thinking", "redacted_thinking"))


def _write_sampling(body: dict[str, Any], params: dict[str, Param], version: str, losses: Losses) -> None:
    thinks = body.get("thinking", {}).get("type") in ("enabled", "adaptive")
    for name in ("temperature", "top_p", "top_k"):
        param = params.pop(name, None)
        if param is None or param.value is None:
            continue
        value = param.value
        if version >= NO_SAMPLING:
            losses.add(param.at, f"anthropic-version {version} refuses it")
        elif thinks and (name != "temperature" or value != 1):
            losses.add(param.at, "Anthropic refuses it beside thinking")
        elif name == "top_p" and "temperature" in body:
            losses.add(param.at, "Anthropic takes temperature or top_p, not both")
        elif name == "temperature" and isinstance(value, int | float) and value > 1:
            losses.add(param.at, "Anthropic's temperature ends at 1: 1 was sent")
            body[name] = 1
        else:
            body[name] = value


def _limit_breakpoints(body: dict[str, Any], losses: Losses) -> None:
    """Anthropic refuses a fifth cache breakpoint: the first and the last three stay."""
    marked: list[dict[str, Any]] = [x for x in body.get("tools", []) + body.get("system", []) if "cache_control" in x]
    for message in body["messages"]:
        for block in message["content"]:
            inner = block["content"] if isinstance(block.get("content"), list) else []
            marked += [x for x in (*inner, block) if "cache_control" in x]
    for extra in marked[1:-3] if len(marked) > 4 else ():
        del extra["cache_control"]
        losses.add("cache_control", "Anthropic takes four cache breakpoints: the first and the last three stay")


# --- answers ----------------------------------------------------------------------------------------------

FINISH: dict[str, Finish] = {
    "end_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "pause",
}
_STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "stop_sequence": "stop_sequence",
    "pause": "pause_turn",
}


def stop_reason(finish: Finish, calls: bool) -> str:
    """Anthropic's word; a plain stop with calls is tool_use."""
    return "tool_use" if calls and finish == "stop" else _STOP[finish]


def parse_response(raw: dict[str, Any], losses: Losses) -> Answer:
    body = Fields(raw, "", losses)
    body.ignore("type", "role")
    parts: list[Part] = []
    for index, block in enumerate(body.items("content")):
        fields = Fields(block, f"content[{index}]", losses)
        part = _read_block(fields)
        if part is not None:
            parts.append(part)
    usage = body.take("usage")
    answer = Answer(
        body.text("id"),
        body.text("model"),
        tuple(parts),
        FINISH.get(body.text("stop_reason"), "stop"),
        read_usage(usage) if isinstance(usage, dict) else None,
        body.take("stop_sequence"),
    )
    body.rest("only Anthropic has this field")
    return answer


def read_usage(block: dict[str, Any]) -> Usage:
    usage = decode(Wire.ANTHROPIC_MESSAGES, block)
    details = block.get("output_tokens_details")
    thought = details.get("thinking_tokens") if isinstance(details, dict) else None
    return msgspec.structs.replace(usage, reasoning_tokens=thought) if isinstance(thought, int) else usage


def usage_block(usage: Usage) -> dict[str, Any]:
    """Anthropic's convention: cached and written tokens stand beside input."""
    return {
        "input_tokens": usage.uncached_tokens,
        "cache_creation_input_tokens": usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m_tokens,
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        "service_tier": usage.tier if usage.tier in ("standard", "priority", "batch") else "standard",
    }


def write_response(answer: Answer, losses: Losses) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = []
    for part in answer.parts:
        match part:
            case Thinking():
                block: dict[str, Any] | None = thinking_block(part)
            case Text(logprobs=logprobs) if logprobs:
                losses.add(f"{part.at}.logprobs", "Anthropic's answers have no logprobs")
                block = _block(part, losses)
            case _:
                block = _block(part, losses)
        if block is not None:
            blocks.append(block)
    return {
        "id": media.response_id("msg_", answer.id),
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": blocks,
        "stop_reason": stop_reason(answer.finish, bool(answer.calls())),
        "stop_sequence": answer.stop_sequence,
        "usage": usage_block(answer.usage or Usage()),
    }


def thinking_block(part: Thinking) -> dict[str, Any]:
    """Reasoning for an Anthropic caller; another maker's opaque part goes where a signature would."""
    if part.redacted:
        return {"type": "redacted_thinking", "data": part.redacted}
    signature = part.signature or (seal("openai", id=part.id, encrypted=part.encrypted) if part.encrypted else "")
    return {"type": "thinking", "thinking": part.text, "signature": signature}
