"""OpenAI Responses: requests and whole answers, to and from the neutral form.

Follows platform.openai.com/docs/api-reference/responses. State that lives at the provider (previous_response_id,
conversation, item references) cannot cross and is refused, because without it the call would mean something else.
"""

from __future__ import annotations

from typing import Any

from ...errors import BackendError, BadRequest
from ...request import Request, Usage, Wire
from ..usage import decode
from . import media
from .fit import digest, open_envelope, reasons, seal
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
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    joined,
)
from .openai_chat import (
    CACHE,
    SHARED,
    error_text,
    fit_user,
    format_fields,
    openai_effort,
    read_choice,
    read_format,
    report_budget,
)

__all__ = ["parse_request", "parse_response", "usage_block", "write_request", "write_response"]

ONLY = "only Responses has this field"
_OWN = ("max_tool_calls", "truncation", "top_logprobs")
_ENCRYPTED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"


# --- requests, read ---------------------------------------------------------------------------------------


def parse_request(request: Request, losses: Losses) -> Ask:
    """Raises BadRequest for wrong types and for state that only the provider has."""
    body = Fields(request.body, "", losses)
    for name in ("previous_response_id", "conversation", "prompt"):
        if body.take(name) is not None:
            raise BadRequest(
                f"{name} names state kept at another provider, which this one does not have: send the whole input."
            )
    params = {name: Param(value, name) for name in SHARED + _OWN if (value := body.take(name)) is not None}
    messages = (
        [Message("system", (Text(text, "instructions"),), "instructions")]
        if (text := body.text("instructions"))
        else []
    )
    given = body.take("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given or []
    if not isinstance(items, list):
        raise BadRequest("input must be a string or a list.")
    for index, raw in enumerate(items):
        _read_item(Fields(raw, f"input[{index}]", losses), messages)
    tools: list[Tool] = []
    for index, raw in enumerate(body.items("tools")):
        _read_tool(Fields(raw, f"tools[{index}]", losses), tools)
    _read_settings(body, params)
    ask = Ask(body.text("model"), bool(body.take("stream")), tuple(messages), tuple(tools), params)
    body.rest(ONLY)
    return ask


def _read_settings(body: Fields, params: dict[str, Param]) -> None:
    if (limit := body.take("max_output_tokens")) is not None:
        params["max_tokens"] = Param(limit, "max_output_tokens")
    if (key := body.take("prompt_cache_key")) is not None:
        params["cache_key"] = Param(key, "prompt_cache_key")
    if (parallel := body.take("parallel_tool_calls")) is not None:
        params["parallel"] = Param(parallel, "parallel_tool_calls")
    told = body.take("tool_choice")
    if (choice := read_choice(told)) is not None:
        params["choice"] = Param(choice, "tool_choice")
    elif told is not None:
        body.losses.add("tool_choice", "a built-in tool: only its own provider has it")
    reasoning = body.inner("reasoning")
    if effort := reasoning.text("effort"):
        params["effort"] = Param(effort, "reasoning.effort")
    if summary := reasoning.text("summary"):
        params["summary"] = Param(summary, "reasoning.summary")
    reasoning.rest(ONLY)
    text = body.inner("text")
    if verbosity := text.text("verbosity"):
        params["verbosity"] = Param(verbosity, "text.verbosity")
    form = text.inner("format")
    kind = form.text("type")
    if kind == "json_schema":
        params["format"] = Param(read_format(form), form.at)
    elif kind == "json_object":
        params["format"] = Param(Format("json_object"), form.at)
    form.rest(ONLY)
    text.rest(ONLY)
    for wanted in body.items("include"):
        if wanted == _LOGPROBS:
            params["logprobs"] = Param(True, "include")
        elif wanted == _ENCRYPTED:
            params["encrypted"] = Param(True, "include.reasoning.encrypted_content")
        else:
            body.losses.add(f"include.{wanted}", ONLY)


def _read_item(item: Fields, out: list[Message]) -> None:
    kind = item.text("type") or "message"
    item.ignore("status")
    match kind:
        case "message":
            _read_message(item, out)
        case "reasoning":
            _assistant(out, item.at, _read_reasoning(item))
        case "function_call" | "custom_tool_call":
            custom = kind == "custom_tool_call"
            arguments = item.text("input" if custom else "arguments")
            call_id = item.text("call_id") or item.text("id")
            call = ToolCall(call_id, item.text("name"), arguments, item.at, custom, item.text("namespace"))
            item.ignore("id")
            _assistant(out, item.at, call)
        case "function_call_output" | "custom_tool_call_output":
            parts = _read_content(item.take("output"), item.place("output"), item.losses)
            content = tuple(part for part in parts if isinstance(part, Text | Image | Document))
            result = Result(item.text("call_id"), content, item.at, custom=kind.startswith("custom"))
            item.ignore("id")
            if out and out[-1].role == "tool":
                out[-1] = Message("tool", (*out[-1].parts, result), out[-1].at)
            else:
                out.append(Message("tool", (result,), item.at))
        case "item_reference":
            raise BadRequest(
                f"{item.at} refers to an item kept at another provider: send the item itself (clients do with store: "
                "false)."
            )
        case _:
            item.losses.add(f"{item.at}({kind})", f"an item of type {kind}: only Responses has it")
            return
    item.rest(ONLY)


def _read_message(item: Fields, out: list[Message]) -> None:
    role = item.text("role")
    parts = _read_content(item.take("content"), item.place("content"), item.losses)
    item.ignore("id")
    if role == "assistant":
        _assistant(out, item.at, *parts)
        return
    known: Role = "developer" if role == "developer" else "system" if role == "system" else "user"
    out.append(Message(known, tuple(parts), item.at))


def _assistant(out: list[Message], at: str, *parts: Part) -> None:
    """Items of one assistant turn stand one after the other; here they are one message."""
    if out and out[-1].role == "assistant":
        out[-1] = Message("assistant", (*out[-1].parts, *parts), out[-1].at)
    else:
        out.append(Message("assistant", parts, at))


def _read_reasoning(item: Fields) -> Thinking:
    texts = [piece.get("text", "") for piece in item.items("summary") if isinstance(piece, dict)]
    texts += [piece.get("text", "") for piece in item.items("content") if isinstance(piece, dict)]
    encrypted = item.text("encrypted_content")
    own = item.text("id")
    opened = open_envelope(encrypted, "anthropic")
    if opened is not None:
        said = opened.get("thinking", "\n".join(texts))
        return Thinking(said, item.at, signature=opened.get("signature", ""), redacted=opened.get("redacted", ""))
    return Thinking("\n".join(texts), item.at, encrypted=encrypted, id=own)


def _read_content(value: Any, at: str, losses: Losses) -> list[Part]:
    if value is None:
        return []
    if isinstance(value, str):
        return [Text(value, at)] if value else []
    if not isinstance(value, list):
        raise BadRequest(f"{at} must be a string or a list.")
    out: list[Part] = []
    for index, raw in enumerate(value):
        part = _read_part(Fields(raw, f"{at}[{index}]", losses))
        if part is not None:
            out.append(part)
    return out


def _read_part(fields: Fields) -> Part | None:
    kind, at = fields.text("type"), fields.at
    part: Part | None
    match kind:
        case "input_text" | "output_text" | "text":
            part = Text(fields.text("text"), at, logprobs=fields.take("logprobs") or None)
        case "refusal":
            part = Refusal(fields.text("refusal"), at)
        case "input_image":
            file_id, detail = fields.text("file_id"), fields.text("detail")
            url = fields.text("image_url")
            part = media.image_of(url, at, detail=detail) if url else Image(at, file_id=file_id, detail=detail)
        case "input_file":
            data, name, file_id = fields.text("file_data"), fields.text("filename"), fields.text("file_id")
            part = media.document_of(data, at, name=name, file_id=file_id, url=fields.text("file_url"))
        case "input_audio":
            inner = fields.inner("input_audio")
            part = Audio(inner.text("data"), inner.text("format"), at)
        case _:
            fields.losses.add(f"{at}({kind})", f"a content part of type {kind or 'unknown'}: only Responses has it")
            return None
    fields.rest(ONLY)
    return part


def _read_tool(fields: Fields, out: list[Tool], namespace: str = "") -> None:
    kind = fields.text("type")
    if kind == "namespace":
        name = fields.text("name")
        for index, raw in enumerate(fields.items("tools")):
            _read_tool(Fields(raw, f"{fields.place('tools')}[{index}]", fields.losses), out, name)
    elif kind in ("function", "custom"):
        custom = kind == "custom"
        strict = None if custom else fields.take("strict")
        out.append(
            Tool(
                fields.text("name"),
                fields.text("description"),
                None if custom else fields.take("parameters"),
                strict if isinstance(strict, bool) else None,
                custom,
                fields.take("format") if custom else None,
                namespace,
                fields.at,
            )
        )
    else:
        fields.losses.add(f"{fields.at}({kind})", f"the built-in tool {kind}: only its own provider has it")
        return
    fields.rest(ONLY)


# --- requests, written ------------------------------------------------------------------------------------


def write_request(ask: Ask, losses: Losses, *, model: str) -> dict[str, Any]:
    params = dict(ask.params)
    body: dict[str, Any] = {"model": model, "input": _write_items(ask, losses)}
    if ask.tools:
        body["tools"] = [_write_tool(tool, losses) for tool in ask.tools]
        _write_choice(body, params, ask)
    else:
        params.pop("choice", None)
        params.pop("parallel", None)
    if limit := params.pop("max_tokens", None):
        body["max_output_tokens"] = limit.value
    for name in (*SHARED, "max_tool_calls", "truncation"):
        if param := params.pop(name, None):
            body[name] = param.value
    if key := params.pop("cache_key", None):
        body["prompt_cache_key"] = key.value
    body.setdefault("store", False)  # a caller of another protocol did not ask the provider to keep its answers
    fit_user(body, losses)
    _write_logprobs(body, params)
    _write_reasoning(body, params, model, losses)
    _write_text(body, params)
    params.pop("include_usage", None)
    if ask.stream:
        body["stream"] = True
    for name, param in params.items():
        media.lose(name, param, losses, "Responses has no such field")
    return body


def _write_logprobs(body: dict[str, Any], params: dict[str, Param]) -> None:
    wanted, top = params.pop("logprobs", None), params.pop("top_logprobs", None)
    if wanted is not None and wanted.value:
        body["include"] = [_LOGPROBS]
    if top is not None:
        body["top_logprobs"] = top.value


def _write_reasoning(body: dict[str, Any], params: dict[str, Param], model: str, losses: Losses) -> None:
    effort, thinking, summary = params.pop("effort", None), params.pop("thinking", None), params.pop("summary", None)
    if effort is None and thinking is None and summary is None:
        return
    at = (effort or thinking or summary or Param("", "")).at
    if not reasons(model):
        losses.add(at, f"{model} takes no reasoning settings")
        return
    level = media.effort(effort, thinking) if effort or thinking else ""
    report_budget(thinking, level, losses)
    reasoning: dict[str, Any] = {}
    if effort is not None or level == "none" or (thinking is not None and thinking.value.budget):
        reasoning["effort"] = openai_effort(level, at, losses)
    shown = thinking is not None and level != "none" and thinking.value.display != "omitted"
    if summary is not None or shown:
        reasoning["summary"] = summary.value if summary is not None else "auto"
    if reasoning:
        body["reasoning"] = reasoning
    if level != "none":
        body["include"] = [*body.get("include", []), _ENCRYPTED]  # or a stateless caller could not send it back


def _write_text(body: dict[str, Any], params: dict[str, Param]) -> None:
    text: dict[str, Any] = {}
    if verbosity := params.pop("verbosity", None):
        text["verbosity"] = verbosity.value
    if asked := params.pop("format", None):
        form: Format = asked.value
        text["format"] = (
            {"type": form.kind} if form.kind == "json_object" else {"type": form.kind, **format_fields(form)}
        )
    if text:
        body["text"] = text


def _write_choice(body: dict[str, Any], params: dict[str, Param], ask: Ask) -> None:
    if choice := params.pop("choice", None):
        told: Choice = choice.value
        custom = {tool.name for tool in ask.tools if tool.custom}
        if told.kind == "tool":
            body["tool_choice"] = {"type": "custom" if told.name in custom else "function", "name": told.name}
        elif told.allowed:
            tools = [{"type": "custom" if name in custom else "function", "name": name} for name in told.allowed]
            body["tool_choice"] = {"type": "allowed_tools", "mode": told.kind, "tools": tools}
        else:
            body["tool_choice"] = told.kind
    if parallel := params.pop("parallel", None):
        body["parallel_tool_calls"] = parallel.value


def _write_tool(tool: Tool, losses: Losses) -> dict[str, Any]:
    if tool.cache:
        losses.add(f"{tool.at}.cache_control", CACHE)
    out: dict[str, Any] = {"type": "custom" if tool.custom else "function", "name": tool.name}
    if tool.description:
        out["description"] = tool.description
    if tool.custom:
        if tool.grammar is not None:
            out["format"] = _flat_grammar(tool.grammar)
        return out
    out["parameters"] = tool.schema if tool.schema is not None else {"type": "object", "properties": {}}
    out["strict"] = bool(tool.strict)  # absent means strict here, and not strict in every other protocol
    return out


def _flat_grammar(grammar: Any) -> Any:
    """Chat puts a grammar's fields one level deeper than Responses."""
    if isinstance(grammar, dict) and isinstance(grammar.get("grammar"), dict):
        return {"type": "grammar", **grammar["grammar"]}
    return grammar


def _write_items(ask: Ask, losses: Losses) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for message in ask.messages:
        if message.name:
            losses.add(f"{message.at}.name", "Responses' messages have no name")
        for part in message.parts:
            if getattr(part, "cache", None):
                losses.add(f"{getattr(part, 'at', '')}.cache_control", CACHE)
        if message.role == "tool":
            items += [_write_result(part, losses) for part in message.parts if isinstance(part, Result)]
        elif message.role == "assistant":
            _write_assistant(message, items, losses)
        else:
            content = [written for part in message.parts if (written := _write_part(part, losses))]
            items.append({"type": "message", "role": message.role, "content": content})
    return items


def _write_assistant(message: Message, items: list[dict[str, Any]], losses: Losses) -> None:
    for part in message.parts:
        match part:
            case Text(text=text) | Refusal(text=text):
                kind = "output_text" if isinstance(part, Text) else "refusal"
                key = "text" if isinstance(part, Text) else "refusal"
                piece: dict[str, Any] = {"type": kind, key: text}
                last = items[-1] if items else {}
                if last.get("role") == "assistant":
                    last["content"].append(piece)
                elif text:
                    items.append({"type": "message", "role": "assistant", "content": [piece]})
            case ToolCall():
                items.append(_write_call(part))
            case Thinking():
                if item := _write_thinking(part, losses):
                    items.append(item)
            case Image(at=at) | Document(at=at) | Audio(at=at):
                losses.add(at, "an assistant message of Responses holds text only")
            case Result():
                items.append(_write_result(part, losses))


def _write_call(call: ToolCall) -> dict[str, Any]:
    if call.custom:
        return {"type": "custom_tool_call", "call_id": call.id, "name": call.name, "input": call.arguments}
    item = {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments or "{}"}
    return {**item, "namespace": call.namespace} if call.namespace else item


def _write_thinking(part: Thinking, losses: Losses) -> dict[str, Any] | None:
    opened = open_envelope(part.signature, "openai")
    encrypted = part.encrypted or (opened or {}).get("encrypted", "")
    own = part.id or (opened or {}).get("id", "") or f"rs_{digest(encrypted)}"
    if not encrypted:
        losses.add(
            f"{part.at}(reasoning)", "reasoning that OpenAI did not encrypt itself: OpenAI takes only its own back"
        )
        return None
    summary = [{"type": "summary_text", "text": part.text}] if part.text else []
    return {"type": "reasoning", "id": own, "summary": summary, "encrypted_content": encrypted}


def _write_result(part: Result, losses: Losses) -> dict[str, Any]:
    kind = "custom_tool_call_output" if part.custom else "function_call_output"
    output: Any = error_text(part, joined(part.content, "\n"), losses)
    if any(not isinstance(piece, Text) for piece in part.content):
        written = [w for piece in part.content if not isinstance(piece, Text) and (w := _write_part(piece, losses))]
        output = [{"type": "input_text", "text": output}, *written] if output else written
    return {"type": kind, "call_id": part.call_id, "output": output}


def _write_part(part: Part, losses: Losses) -> dict[str, Any] | None:
    match part:
        case Text(text=text):
            return {"type": "input_text", "text": text}
        case Image(file_id=file_id) if file_id:
            return {"type": "input_image", "file_id": file_id, "detail": part.detail or "auto"}
        case Image():
            return {"type": "input_image", "image_url": media.data_url(part), "detail": part.detail or "auto"}
        case Document(text=text) if text:
            return {"type": "input_text", "text": f"{part.name}\n{text}" if part.name else text}
        case Document(url=url) if url:
            return {"type": "input_file", "file_url": url}
        case Document(file_id=file_id) if file_id:
            return {"type": "input_file", "file_id": file_id}
        case Document():
            return {"type": "input_file", "filename": part.name or "document.pdf", "file_data": media.data_url(part)}
        case Audio(data=data, format=kind):
            return {"type": "input_audio", "input_audio": {"data": data, "format": kind}}
        case _:
            losses.add(part.at, "an input message of Responses cannot hold it")
    return None


# --- answers ----------------------------------------------------------------------------------------------


def finish_of(status: str, reason: str, calls: bool) -> Finish:
    if status == "incomplete":
        return "content_filter" if reason == "content_filter" else "length"
    return "tool_calls" if calls else "stop"


def parse_response(raw: dict[str, Any], losses: Losses) -> Answer:
    """Raises BackendError for an answer whose status is failed."""
    body = Fields(raw, "", losses)
    status, error = body.text("status"), body.take("error")
    if status in ("failed", "cancelled"):
        raise BackendError(str((error or {}).get("message") or f"The upstream's answer is {status}."))
    body.ignore("object", "output_text", *_ECHOED)
    messages: list[Message] = []
    for index, item in enumerate(body.items("output")):
        _read_item(Fields(item, f"output[{index}]", losses), messages)
    parts = tuple(part for message in messages for part in message.parts)
    usage, created = body.take("usage"), body.take("created_at")
    details = body.inner("incomplete_details")
    answer = Answer(
        body.text("id"),
        body.text("model"),
        parts,
        finish_of(status, details.text("reason"), any(isinstance(part, ToolCall) for part in parts)),
        decode(Wire.OPENAI_RESPONSES, usage) if isinstance(usage, dict) else None,
        created=int(created) if isinstance(created, int | float) else 0,
    )
    body.rest(ONLY)
    return answer


# What a Responses answer repeats of its request: a caller of another protocol expects none of it back.
_ECHOED = (
    "background",
    "completed_at",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
    "frequency_penalty",
    "presence_penalty",
)


def usage_block(usage: Usage) -> dict[str, Any]:
    """OpenAI's convention: cached and written tokens are part of input. Codex needs every details field."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def frame(answer_id: str, model: str, created: int) -> dict[str, Any]:
    """The response object that is still empty, as `response.created` has it."""
    return {
        "id": media.response_id("resp_", answer_id),
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": model,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "store": False,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": None,
    }


def output_item(part: Part, answer_id: str, index: int) -> dict[str, Any] | None:
    """The finished item of a part; its id is made of the answer's id and its place."""
    own = digest(answer_id, str(index))
    match part:
        case Text(text=text):
            piece: dict[str, Any] = {
                "type": "output_text",
                "text": text,
                "annotations": [],
                "logprobs": part.logprobs or [],
            }
        case Refusal(text=text):
            piece = {"type": "refusal", "refusal": text}
        case ToolCall(custom=True):
            return {"id": f"ctc_{own}", "status": "completed", **_write_call(part)}
        case ToolCall():
            return {"id": f"fc_{own}", "status": "completed", **_write_call(part)}
        case Thinking():
            return reasoning_item(part, f"rs_{own}")
        case _:
            return None
    return {"id": f"msg_{own}", "type": "message", "status": "completed", "role": "assistant", "content": [piece]}


def reasoning_item(part: Thinking, own: str) -> dict[str, Any]:
    item: dict[str, Any] = {"id": part.id or own, "type": "reasoning", "summary": []}
    if part.text:
        item["summary"] = [{"type": "summary_text", "text": part.text}]
    if part.encrypted:
        item["encrypted_content"] = part.encrypted
    elif part.redacted:
        item["encrypted_content"] = seal("anthropic", redacted=part.redacted)
    elif part.signature:
        item["encrypted_content"] = seal("anthropic", signature=part.signature, thinking=part.text)
    return item


def finished(base: dict[str, Any], items: list[dict[str, Any]], finish: Finish, usage: Usage | None) -> dict[str, Any]:
    """The response object at its end. A filtered or cut answer is incomplete and says why."""
    why = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(finish)
    return {
        **base,
        "status": "incomplete" if why else "completed",
        "incomplete_details": {"reason": why} if why else None,
        "output": items,
        "usage": usage_block(usage or Usage()),
    }


def write_response(answer: Answer, losses: Losses) -> dict[str, Any]:
    if answer.stop_sequence is not None:
        losses.add("stop_sequence", "Responses does not say which stop sequence it was")
    items = [item for i, part in enumerate(answer.parts) if (item := output_item(part, answer.id, i))]
    return finished(frame(answer.id, answer.model, answer.created), items, answer.finish, answer.usage)
