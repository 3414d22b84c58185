"""Anthropic Messages: requests, written from the neutral form.

Follows platform.claude.com/docs, "Messages" (versions 2023-06-01 and 2026-10-21).
"""

from __future__ import annotations

import re
from typing import Any

from . import media
from .fit import json_object, open_envelope
from .neutral import (
    Ask,
    Audio,
    Choice,
    Document,
    Format,
    Image,
    Losses,
    Param,
    Part,
    Refusal,
    Result,
    Text,
    Thinking,
    Tool,
    ToolCall,
)

__all__ = ["write_request"]

NO_SAMPLING = "2026-10-21"  # from this version on temperature, top_p and top_k are refused (migration guide)


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
            blocks = [block for part in message.parts if (block := write_block(part, losses))]
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
        blocks = [block for part in message.parts if (block := write_block(part, losses))]
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


def write_block(part: Part, losses: Losses) -> dict[str, Any] | None:
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
    blocks = [block for piece in part.content if (block := write_block(piece, losses))]
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
