"""OpenAI Responses: requests, written from the neutral form.

Follows platform.openai.com/docs/api-reference/responses.
"""

from __future__ import annotations

from typing import Any

from . import media
from .fit import digest, open_envelope, reasons
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
    Thinking,
    Tool,
    ToolCall,
    joined,
)
from .openai_chat_read import SHARED
from .openai_chat_write import CACHE, error_text, fit_user, format_fields, openai_effort, report_budget
from .openai_responses_read import ENCRYPTED, LOGPROBS

__all__ = ["write_request"]


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
        body["include"] = [LOGPROBS]
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
        body["include"] = [*body.get("include", []), ENCRYPTED]  # or a stateless caller could not send it back


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
                items.append(write_call(part))
            case Thinking():
                if item := _write_thinking(part, losses):
                    items.append(item)
            case Image(at=at) | Document(at=at) | Audio(at=at):
                losses.add(at, "an assistant message of Responses holds text only")
            case Result():
                items.append(_write_result(part, losses))


def write_call(call: ToolCall) -> dict[str, Any]:
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
