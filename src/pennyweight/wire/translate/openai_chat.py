"""OpenAI Chat Completions: requests and whole answers, to and from the neutral form.

Follows platform.openai.com/docs/api-reference/chat; `reasoning_content` and `cache_control` are what compatible
servers (DeepSeek, Moonshot, OpenRouter) and their clients add.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ...request import Request, Usage, Wire
from ..usage import decode
from . import media
from .fit import digest, is_openai, json_object, open_envelope, reasons, seal, strictable
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
    Memo,
    Message,
    Param,
    Part,
    Refusal,
    Result,
    Role,
    Text,
    Think,
    Thinking,
    Tool,
    ToolCall,
    joined,
)

__all__ = ["parse_request", "parse_response", "usage_block", "write_request", "write_response"]

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
_OWN = (
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


# --- requests, read ---------------------------------------------------------------------------------------


def parse_request(request: Request, losses: Losses) -> Ask:
    """Raises BadRequest where a field has a type that cannot be read."""
    body = Fields(request.body, "", losses)
    params = {name: Param(value, name) for name in SHARED + _OWN if (value := body.take(name)) is not None}
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
            inner.text("name"), inner.text("description"), custom=True, grammar=inner.take("format"), at=inner.at
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
        content = _mark_last(content, cache)
    if role in ("tool", "function"):
        result = Result(
            fields.text("tool_call_id") or fields.text("name"),
            tuple(part for part in content if isinstance(part, Text | Image | Document)),
            fields.at,
            fields.text("name"),
        )
        _append_result(out, result, fields.at)
    elif role == "assistant":
        out.append(
            Message("assistant", (*_thinking(fields), *content, *_calls(fields)), fields.at, fields.text("name"))
        )
    else:
        known: Role = "developer" if role == "developer" else "system" if role == "system" else "user"
        out.append(Message(known, tuple(content), fields.at, fields.text("name")))
    fields.rest(ONLY)


def _append_result(out: list[Message], result: Result, at: str) -> None:
    if out and out[-1].role == "tool":
        out[-1] = Message("tool", (*out[-1].parts, result), out[-1].at)
    else:
        out.append(Message("tool", (result,), at))


def _mark_last(content: list[Part], cache: Any) -> list[Part]:

    last = content[-1] if content else None
    if isinstance(last, Text | Image | Document):
        return [*content[:-1], msgspec.structs.replace(last, cache=cache)]
    return content


def _thinking(fields: Fields) -> list[Part]:
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


def _calls(fields: Fields) -> list[Part]:
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


# --- requests, written ------------------------------------------------------------------------------------


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
    for name in (*SHARED, *_OWN):
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
        out["tool_calls"] = [_write_call(call) for call in calls]
    elif out["content"] is None and "refusal" not in out:
        out["content"] = ""
    return out


def _write_call(call: ToolCall) -> dict[str, Any]:
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


# --- answers ----------------------------------------------------------------------------------------------

FINISH: dict[str, Finish] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
_STOP = {"stop_sequence": "stop", "pause": "stop"}


def finish_reason(finish: Finish, calls: bool) -> str:
    """Chat's word; a plain stop with calls is tool_calls."""
    said = _STOP.get(finish, finish)
    return "tool_calls" if calls and said == "stop" else said


def parse_response(raw: dict[str, Any], losses: Losses) -> Answer:
    body = Fields(raw, "", losses)
    body.ignore("object")
    choices = body.items("choices")
    choice = Fields(choices[0] if choices else {}, "choices[0]", losses)
    for index in range(1, len(choices)):
        losses.add(f"choices[{index}]", "the caller's protocol has one answer only")
    message, logprobs = choice.inner("message"), choice.inner("logprobs")
    said = read_content(message.take("content"), message.place("content"), losses)
    tokens = logprobs.take("content")
    if tokens and said and isinstance(said[0], Text):
        said[0] = Text(said[0].text, said[0].at, logprobs=tokens)
    thoughts, calls = _thinking(message), _calls(message)
    choice.ignore("index")
    message.ignore("role")
    usage, created = body.take("usage"), body.take("created")
    answer = Answer(
        body.text("id"),
        body.text("model"),
        (*thoughts, *said, *calls),
        FINISH.get(choice.text("finish_reason"), "stop"),
        decode(Wire.OPENAI_CHAT, usage) if isinstance(usage, dict) else None,
        created=created if isinstance(created, int) else 0,
    )
    for fields in (message, logprobs, choice, body):
        fields.rest(ONLY)
    return answer


def usage_block(usage: Usage) -> dict[str, Any]:
    """OpenAI's convention: cached and written tokens are part of the prompt. Every details field is filled."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def write_response(answer: Answer, losses: Losses, memo: Memo) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": joined(answer.parts, "") or None, "refusal": None}
    if refusal := "".join(part.text for part in answer.parts if isinstance(part, Refusal)):
        message["refusal"] = refusal
    thoughts = [part for part in answer.parts if isinstance(part, Thinking)]
    if text := "\n".join(part.text for part in thoughts if part.text):
        message["reasoning_content"] = text
    if details := [detail for part in thoughts if (detail := reasoning_detail(part))]:
        message["reasoning_details"] = details
    if calls := answer.calls():
        message["tool_calls"] = [_write_call(call) for call in calls]
    logprobs = [token for part in answer.parts if isinstance(part, Text) and part.logprobs for token in part.logprobs]
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": finish_reason(answer.finish, bool(calls)),
        "logprobs": {"content": logprobs, "refusal": None} if logprobs else None,
    }
    if answer.stop_sequence is not None:
        losses.add("stop_sequence", "Chat Completions does not say which stop sequence it was")
    return {
        "id": media.response_id("chatcmpl-", answer.id),
        "object": "chat.completion",
        "created": answer.created,
        "model": answer.model,
        "choices": [choice],
        "usage": usage_block(answer.usage or Usage()),
    }


def reasoning_detail(part: Thinking) -> dict[str, Any] | None:
    """What a caller must send back for the upstream to know its own reasoning (OpenRouter's reasoning_details)."""

    if part.redacted:
        return {"type": "reasoning.encrypted", "data": part.redacted}
    if part.encrypted:
        data = seal("openai", id=part.id, encrypted=part.encrypted, summary=part.text)
        return {"type": "reasoning.encrypted", "data": data}
    if part.signature:
        return {"type": "reasoning.text", "text": part.text, "signature": part.signature}
    return None
