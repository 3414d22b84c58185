"""OpenAI Chat Completions: requests, written from the neutral form.

Follows platform.openai.com/docs/api-reference/chat; `reasoning_content` and `cache_control` are what compatible
servers (DeepSeek, Moonshot, OpenRouter) and their clients add.
"""

from __future__ import annotations

from typing import Any

from . import media
from .fit import digest, is_openai, json_object, reasons, strictable
from .neutral import (
    Ask,
    Audio,
    Choice,
    Document,
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
    joined,
)
from .openai_chat_read import OWN, SHARED

__all__ = ["write_request"]


def write_request(ask: Ask, losses: Losses, *, model: str) -> dict[str, Any]:
    params = dict(ask.params)
    body: dict[str, Any] = {"model": model, "messages": _write_messages(ask, model, losses)}
    if ask.tools:
        body["tools"] = [_write_tool(tool, losses) for tool in ask.tools]
        _write_choice(body, params)
    else:
        params.pop("choice", None)
        params.pop("parallel", None)
    if limit := params.pop("max_tokens", None):
        body["max_completion_tokens" if is_openai(model) else "max_tokens"] = limit.value
    for name in (*SHARED, *OWN):
        if name == "top_k" and is_openai(model):
            continue
        if param := params.pop(name, None):
            body[name] = param.value
    if key := params.pop("cache_key", None):
        body["prompt_cache_key"] = key.value
    if stop := params.pop("stop", None):
        if is_openai(model) and len(stop.value) > 4:
            losses.add(stop.at, "Chat Completions takes four stop sequences: the first four were sent")
        body["stop"] = stop.value[:4] if is_openai(model) else stop.value
    fit_user(body, losses)
    _write_effort(body, params, model, losses)
    _write_format(body, params)
    params.pop("include_usage", None)
    if ask.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    for name, param in params.items():
        media.lose(name, param, losses, "Chat Completions has no such field")
    return body


def fit_user(body: dict[str, Any], losses: Losses) -> None:
    """`user` in OpenAI's 64 characters. Claude Code's is JSON with a session id, which makes a cache key."""
    user = body.get("user")
    if not isinstance(user, str) or len(user) <= 64:
        return
    told = json_object(user) or {}
    session = told.get("session_id")
    if isinstance(session, str) and session:
        body.setdefault("prompt_cache_key", session[:64])
    body["user"] = digest(user, size=16)
    losses.add("metadata.user_id", "longer than OpenAI's 64 characters: a hash of it was sent")


def _write_effort(body: dict[str, Any], params: dict[str, Param], model: str, losses: Losses) -> None:
    effort, thinking = params.pop("effort", None), params.pop("thinking", None)
    if effort is None and thinking is None:
        return
    level = media.effort(effort, thinking)
    at = (effort or thinking or Param("", "")).at
    if not reasons(model):
        losses.add(at, f"{model} takes no reasoning effort")
        return
    report_budget(thinking, level, losses)
    told = openai_effort(level, at, losses)
    if effort is not None or level == "none" or (thinking is not None and thinking.value.budget):
        body["reasoning_effort"] = told


def report_budget(thinking: Param | None, level: str, losses: Losses) -> None:
    think: Think | None = thinking.value if thinking is not None else None
    if think is not None and think.budget:
        losses.add("thinking.budget_tokens", f"OpenAI has no token budget for reasoning: said as effort {level}")


def openai_effort(level: str, at: str, losses: Losses) -> str:
    if level == "max":
        losses.add(at, "OpenAI's highest effort is xhigh: sent instead of max")
        return "xhigh"
    return level


def _write_choice(body: dict[str, Any], params: dict[str, Param]) -> None:
    if choice := params.pop("choice", None):
        told: Choice = choice.value
        if told.kind == "tool":
            body["tool_choice"] = {"type": "function", "function": {"name": told.name}}
        elif told.allowed:
            tools = [{"type": "function", "function": {"name": name}} for name in told.allowed]
            body["tool_choice"] = {"type": "allowed_tools", "allowed_tools": {"mode": told.kind, "tools": tools}}
        else:
            body["tool_choice"] = told.kind
    if parallel := params.pop("parallel", None):
        body["parallel_tool_calls"] = parallel.value


def _write_format(body: dict[str, Any], params: dict[str, Param]) -> None:
    if asked := params.pop("format", None):
        form: Format = asked.value
        if form.kind == "json_object":
            body["response_format"] = {"type": "json_object"}
        else:
            body["response_format"] = {"type": "json_schema", "json_schema": format_fields(form)}


def format_fields(form: Format) -> dict[str, Any]:
    """name, schema, strict: as both OpenAI protocols want them. Strict where the schema allows it."""
    strict = form.strict if form.strict is not None else strictable(form.schema)
    fields: dict[str, Any] = {"name": form.name or "answer", "schema": form.schema, "strict": strict}
    if form.description:
        fields["description"] = form.description
    return fields


def _write_tool(tool: Tool, losses: Losses) -> dict[str, Any]:
    if tool.cache:
        losses.add(f"{tool.at}.cache_control", "cache breakpoints are Anthropic's; this target caches by itself")
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.schema is not None:
        function["parameters"] = tool.schema
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _write_messages(ask: Ask, model: str, losses: Losses) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for message in ask.messages:
        for part in message.parts:
            if getattr(part, "cache", None):
                losses.add(f"{getattr(part, 'at', '')}.cache_control", CACHE)
        match message.role:
            case "tool":
                _write_results(message, out, losses)
            case "assistant":
                out.append(_write_assistant(message, losses))
            case role:
                said = "system" if role == "developer" and not is_openai(model) else role
                content = _write_content(message.parts, plain=role != "user", losses=losses)
                if content or role == "user":
                    out.append(
                        {"role": said, "content": content or "", **({"name": message.name} if message.name else {})}
                    )
    return out


CACHE = "cache breakpoints are Anthropic's; this target caches by itself"


def _write_results(message: Message, out: list[dict[str, Any]], losses: Losses) -> None:
    """One tool message for each result. Its media go into a user message behind them: tool messages hold text only."""
    media_parts: list[dict[str, Any]] = []
    for part in message.parts:
        if not isinstance(part, Result):
            continue
        text = error_text(part, joined(part.content, "\n"), losses)
        pieces = [p for piece in part.content if not isinstance(piece, Text) and (p := _write_part(piece, losses))]
        if pieces:
            media_parts += [{"type": "text", "text": f"Attached to the result of {part.call_id}:"}, *pieces]
            text = text or "The result is attached in the next message."
        out.append({"role": "tool", "tool_call_id": part.call_id, "content": text})
    if media_parts:
        out.append({"role": "user", "content": media_parts})


def error_text(part: Result, text: str, losses: Losses) -> str:
    """A failed result where the protocol has no flag for it: its text says so."""
    if not part.is_error:
        return text
    losses.add(f"{part.at}.is_error", "this target has no error flag: the text begins with Error")
    return text if text[:5].lower() == "error" else f"Error: {text}"


def _write_assistant(message: Message, losses: Losses) -> dict[str, Any]:
    out: dict[str, Any] = {"role": "assistant", "content": joined(message.parts, "") or None}
    thoughts = [part for part in message.parts if isinstance(part, Thinking)]
    for thought in thoughts:
        if thought.proof:
            losses.add(f"{thought.at}.{thought.proof}", "this target cannot check it; the reasoning's text was sent")
    if text := "\n".join(thought.text for thought in thoughts if thought.text):
        out["reasoning_content"] = text
    if refusal := "".join(part.text for part in message.parts if isinstance(part, Refusal)):
        out["refusal"] = refusal
    for part in message.parts:
        if isinstance(part, Image | Document | Audio):
            losses.add(part.at, "an assistant message of Chat Completions holds text only")
    calls = [part for part in message.parts if isinstance(part, ToolCall)]
    if calls:
        out["tool_calls"] = [write_call(call) for call in calls]
    elif out["content"] is None and "refusal" not in out:
        out["content"] = ""
    return out


def write_call(call: ToolCall) -> dict[str, Any]:
    if call.custom:
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}


def _write_content(parts: tuple[Part, ...], *, plain: bool, losses: Losses) -> str | list[dict[str, Any]]:
    """A string where it is one text, or where parts would not be taken (`plain`); a list otherwise."""
    if plain or (len(parts) == 1 and isinstance(parts[0], Text)):
        for part in parts:
            if not isinstance(part, Text):
                losses.add(part.at, "this kind of message holds text only")
        return joined(parts, "\n\n")
    return [written for part in parts if (written := _write_part(part, losses))]


def _write_part(part: Part, losses: Losses) -> dict[str, Any] | None:
    match part:
        case Text(text=text):
            return {"type": "text", "text": text}
        case Image(file_id=file_id) if file_id:
            losses.add(part.at, "an image by file id: Chat Completions takes data or a URL")
        case Image():
            image = {"url": media.data_url(part), **({"detail": part.detail} if part.detail else {})}
            return {"type": "image_url", "image_url": image}
        case Document(text=text) if text:
            return {"type": "text", "text": f"{part.name}\n{text}" if part.name else text}
        case Document(url=url) if url:
            losses.add(part.at, "a document by URL: Chat Completions takes data or a file id")
        case Document():
            data = {"file_data": media.data_url(part)} if part.data else {"file_id": part.file_id}
            return {"type": "file", "file": {"filename": part.name or "document.pdf", **data} if part.data else data}
        case Audio(data=data, format=kind):
            return {"type": "input_audio", "input_audio": {"data": data, "format": kind}}
        case _:
            losses.add(part.at, "a user message of Chat Completions cannot hold it")
    return None
