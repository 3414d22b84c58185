"""OpenAI Chat Completions: requests, read into the neutral form.

Follows platform.openai.com/docs/api-reference/chat; `reasoning_content` and `cache_control` are what compatible
servers (DeepSeek, Moonshot, OpenRouter) and their clients add.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ...request import Request
from . import media
from .fit import open_envelope
from .neutral import (
    Ask,
    Audio,
    Choice,
    Document,
    Fields,
    Format,
    Image,
    Losses,
    Message,
    Param,
    Part,
    Refusal,
    Result,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
)

__all__ = ["mark_last", "marked_whole", "parse_request"]


ONLY = "only Chat Completions has this field"
# Fields whose neutral name is their own, shared with Responses.
SHARED = (
    "temperature",
    "top_p",
    "user",
    "safety_identifier",
    "metadata",
    "service_tier",
    "store",
    "prompt_cache_retention",
    "prompt_cache_options",
    "moderation",
)
OWN = (
    "seed",
    "n",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "top_k",
    "min_p",
    "verbosity",
)


def parse_request(request: Request, losses: Losses) -> Ask:
    """Raises BadRequest where a field has a type that cannot be read."""
    body = Fields(request.body, "", losses)
    params = {name: Param(value, name) for name in SHARED + OWN if (value := body.take(name)) is not None}
    _read_settings(body, params)
    tools = [read_tool(Fields(raw, f"tools[{i}]", losses)) for i, raw in enumerate(body.items("tools"))]
    for index, raw in enumerate(body.items("functions")):  # the form before tools
        tools.append(_function(Fields(raw, f"functions[{index}]", losses), None))
    messages: list[Message] = []
    for index, raw in enumerate(body.items("messages")):
        _read_message(Fields(raw, f"messages[{index}]", losses), messages)
    kept = tuple(tool for tool in tools if tool is not None)
    ask = Ask(body.text("model"), bool(body.take("stream")), tuple(messages), kept, params)
    body.rest(ONLY)
    return ask


def _read_settings(body: Fields, params: dict[str, Param]) -> None:
    for name in ("max_completion_tokens", "max_tokens"):
        value = body.take(name)
        if value is not None and "max_tokens" not in params:
            params["max_tokens"] = Param(value, name)
    if (stop := body.take("stop")) is not None:
        params["stop"] = Param([stop] if isinstance(stop, str) else list(stop), "stop")
    if (key := body.take("prompt_cache_key")) is not None:
        params["cache_key"] = Param(key, "prompt_cache_key")
    if effort := body.text("reasoning_effort"):
        params["effort"] = Param(effort, "reasoning_effort")
    if (parallel := body.take("parallel_tool_calls")) is not None:
        params["parallel"] = Param(parallel, "parallel_tool_calls")
    for name in ("tool_choice", "function_call"):
        if (choice := read_choice(body.take(name))) is not None:
            params["choice"] = Param(choice, name)
    options = body.inner("stream_options")
    if (wanted := options.take("include_usage")) is not None:
        params["include_usage"] = Param(wanted, "stream_options.include_usage")
    options.rest(ONLY)
    spec = body.inner("response_format")
    kind = spec.text("type")
    if kind == "json_object":
        params["format"] = Param(Format("json_object"), spec.at)
    elif kind == "json_schema":
        params["format"] = Param(read_format(spec.inner("json_schema")), spec.place("json_schema"))
    spec.rest(ONLY)


def read_format(fields: Fields) -> Format:
    strict = fields.take("strict")
    form = Format(
        "json_schema",
        fields.take("schema"),
        fields.text("name"),
        strict if isinstance(strict, bool) else None,
        fields.text("description"),
    )
    fields.rest("no other protocol has this field")
    return form


def read_choice(value: Any) -> Choice | None:
    """tool_choice of both OpenAI protocols; None for one that means nothing here."""
    if isinstance(value, str):
        return Choice(value) if value in ("auto", "none", "required") else None  # type: ignore[arg-type]
    if not isinstance(value, dict):
        return None
    if value.get("type") == "allowed_tools":
        inner = value.get("allowed_tools", value)
        names = tuple(_named(tool) for tool in inner.get("tools") or [] if isinstance(tool, dict))
        return Choice("required" if inner.get("mode") == "required" else "auto", allowed=names)
    name = _named(value)
    return Choice("tool", name) if name else None


def _named(value: dict[str, Any]) -> str:
    inner = value.get("function") or value.get("custom") or value
    return str(inner.get("name") or "")


def read_tool(fields: Fields) -> Tool | None:
    kind = fields.text("type")
    if kind in ("function", ""):
        tool: Tool | None = _function(fields.inner("function"), fields.take("cache_control"))
    elif kind == "custom":
        inner = fields.inner("custom")
        tool = Tool(
            inner.text("name"),
            inner.text("description"),
            custom=True,
            grammar=inner.take("format"),
            at=inner.at,
            cache=fields.take("cache_control"),
        )
        inner.rest(ONLY)
    else:
        fields.losses.add(f"{fields.at}({kind})", f"the built-in tool {kind}: only its own provider has it")
        return None
    fields.rest(ONLY)
    return tool


def _function(fields: Fields, cache: Any) -> Tool:
    strict = fields.take("strict")
    tool = Tool(
        fields.text("name"),
        fields.text("description"),
        fields.take("parameters"),
        strict if isinstance(strict, bool) else None,
        at=fields.at,
        cache=cache,
    )
    fields.rest(ONLY)
    return tool


def _read_message(fields: Fields, out: list[Message]) -> None:
    role = fields.text("role")
    content = read_content(fields.take("content"), fields.place("content"), fields.losses)
    if cache := fields.take("cache_control"):  # OpenRouter's form puts it on parts; some clients on messages
        content = mark_last(content, cache)
    if role in ("tool", "function"):
        kept, cache = marked_whole(content)
        result = Result(
            fields.text("tool_call_id") or fields.text("name"), kept, fields.at, fields.text("name"), cache=cache
        )
        _append_result(out, result, fields.at)
    elif role == "assistant":
        out.append(
            Message(
                "assistant", (*read_thinking(fields), *content, *read_calls(fields)), fields.at, fields.text("name")
            )
        )
    else:
        known: Role = "developer" if role == "developer" else "system" if role == "system" else "user"
        out.append(Message(known, tuple(content), fields.at, fields.text("name")))
    fields.rest(ONLY)


def marked_whole(parts: Sequence[Part]) -> tuple[tuple[Text | Image | Document, ...], Any]:
    """What a tool's result can hold, and the last of its cache marks: Anthropic takes one on the result, not within."""
    kept = [part for part in parts if isinstance(part, Text | Image | Document)]
    cache = next((part.cache for part in reversed(kept) if part.cache), None)
    return tuple(msgspec.structs.replace(part, cache=None) if part.cache else part for part in kept), cache


def _append_result(out: list[Message], result: Result, at: str) -> None:
    if out and out[-1].role == "tool":
        out[-1] = Message("tool", (*out[-1].parts, result), out[-1].at)
    else:
        out.append(Message("tool", (result,), at))


def mark_last(content: list[Part], cache: Any) -> list[Part]:
    """The parts with a mark on the last one, if it takes one."""
    last = content[-1] if content else None
    if isinstance(last, Text | Image | Document):
        return [*content[:-1], msgspec.structs.replace(last, cache=cache)]
    return content


def read_thinking(fields: Fields) -> list[Part]:
    text = fields.text("reasoning_content") or fields.text("reasoning")
    details = fields.items("reasoning_details")
    parts: list[Part] = []
    for index, raw in enumerate(details):
        detail = Fields(raw, f"{fields.place('reasoning_details')}[{index}]", fields.losses)
        kind = detail.text("type")
        if kind == "reasoning.encrypted":
            parts.append(_sealed(detail.text("data"), "", detail))
        elif kind in ("reasoning.text", "reasoning.summary"):
            said = detail.text("text") or detail.text("summary")
            parts.append(Thinking(said, detail.at, signature=detail.text("signature")))
        detail.ignore("format", "index", "id")
        detail.rest(ONLY)
    if not parts and text:
        parts.append(Thinking(text, fields.place("reasoning_content")))
    return parts


def _sealed(data: str, text: str, fields: Fields) -> Thinking:
    opened = open_envelope(data, "openai")
    if opened is not None:
        said = opened.get("summary", text)
        return Thinking(said, fields.at, encrypted=opened.get("encrypted", ""), id=opened.get("id", ""))
    return Thinking(text, fields.at, redacted=data)


def read_content(value: Any, at: str, losses: Losses) -> list[Part]:
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return [Text(value, at)]
    out: list[Part] = []
    for index, raw in enumerate(value if isinstance(value, list) else [value]):
        if isinstance(raw, str):
            out.append(Text(raw, f"{at}[{index}]"))
            continue
        part = _read_part(Fields(raw, f"{at}[{index}]", losses))
        if part is not None:
            out.append(part)
    return out


def _read_part(fields: Fields) -> Part | None:
    kind, at, cache = fields.text("type"), fields.at, fields.take("cache_control")
    part: Part | None
    match kind:
        case "text":
            part = Text(fields.text("text"), at, cache)
        case "refusal":
            part = Refusal(fields.text("refusal"), at)
        case "image_url":
            url = fields.take("image_url")
            inner = Fields({"url": url} if isinstance(url, str) else url, fields.place("image_url"), fields.losses)
            part = media.image_of(inner.text("url"), at, detail=inner.text("detail"), cache=cache)
            inner.rest(ONLY)
        case "file":
            inner = fields.inner("file")
            part = media.document_of(
                inner.text("file_data"), at, name=inner.text("filename"), file_id=inner.text("file_id"), cache=cache
            )
            inner.rest(ONLY)
        case "input_audio":
            inner = fields.inner("input_audio")
            part = Audio(inner.text("data"), inner.text("format"), at)
            inner.rest(ONLY)
        case _:
            fields.losses.add(
                f"{at}({kind})", f"a content part of type {kind or 'unknown'}: only its own provider has it"
            )
            return None
    fields.rest(ONLY)
    return part


def read_calls(fields: Fields) -> list[Part]:
    parts: list[Part] = []
    if refusal := fields.text("refusal"):
        parts.append(Refusal(refusal, fields.place("refusal")))
    for index, raw in enumerate(fields.items("tool_calls")):
        call = Fields(raw, f"{fields.place('tool_calls')}[{index}]", fields.losses)
        custom = call.text("type") == "custom"
        call.ignore("index")
        inner = call.inner("custom" if custom else "function")
        said = inner.text("input" if custom else "arguments")
        parts.append(ToolCall(call.text("id"), inner.text("name"), said, call.at, custom))
        inner.rest(ONLY)
        call.rest(ONLY)
    legacy = fields.inner("function_call")
    if name := legacy.text("name"):
        parts.append(ToolCall(name, name, legacy.text("arguments"), legacy.at))
    return parts
