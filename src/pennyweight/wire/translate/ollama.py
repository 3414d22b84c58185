"""Ollama's /api/chat and /api/generate: requests and whole answers, to and from the neutral form.

Follows github.com/ollama/ollama docs/api.md: arguments are objects, images are bare base64, settings are `options`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from ...request import Request, Usage, Wire
from ..usage import decode
from . import media
from .fit import digest, json_object
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
from .openai_chat_write import CACHE, error_text

__all__ = ["parse_request", "parse_response", "timestamp", "write_request", "write_response"]

ONLY = "only Ollama has this field"
_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "seed": "seed",
    "stop": "stop",
    "num_predict": "max_tokens",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}


# --- requests, read ---------------------------------------------------------------------------------------


def parse_request(request: Request, losses: Losses) -> Ask:
    """Raises BadRequest where a field has a type that cannot be read."""
    body = Fields(request.body, "", losses)
    params: dict[str, Param] = {}
    _read_settings(body, params)
    messages: list[Message] = []
    if request.path.endswith("/generate"):
        _read_generate(body, messages)
    waiting: list[tuple[str, str]] = []  # (name, id) of calls that have no result yet
    for index, raw in enumerate(body.items("messages")):
        _read_message(Fields(raw, f"messages[{index}]", losses), messages, waiting)
    tools = [_read_tool(Fields(raw, f"tools[{i}]", losses)) for i, raw in enumerate(body.items("tools"))]
    stream = body.take("stream")
    ask = Ask(body.text("model"), stream is not False, tuple(messages), tuple(tools), params)
    body.rest(ONLY)
    return ask


def _read_settings(body: Fields, params: dict[str, Param]) -> None:
    options = body.inner("options")
    for name, to in _OPTIONS.items():
        value = options.take(name)
        if value is None:
            continue
        if name == "num_predict" and isinstance(value, int) and value < 0:
            continue  # -1: no limit, which is what saying nothing means elsewhere
        if name == "stop" and isinstance(value, str):
            value = [value]
        params[to] = Param(value, options.place(name))
    options.rest(ONLY)
    for name in ("logprobs", "top_logprobs"):
        if (value := body.take(name)) is not None:
            params[name] = Param(value, name)
    think = body.take("think")
    if isinstance(think, str):
        params["effort"] = Param(think, "think")
    elif think is not None:
        params["thinking"] = Param(Think("adaptive" if think else "disabled"), "think")
    form = body.take("format")
    if form == "json":
        params["format"] = Param(Format("json_object"), "format")
    elif isinstance(form, dict):
        params["format"] = Param(Format("json_schema", form), "format")


def _read_generate(body: Fields, messages: list[Message]) -> None:
    if system := body.text("system"):
        messages.append(Message("system", (Text(system, "system"),), "system"))
    images = [_image(data, f"images[{i}]") for i, data in enumerate(body.items("images"))]
    messages.append(Message("user", (Text(body.text("prompt"), "prompt"), *images), "prompt"))


def _image(data: Any, at: str) -> Image:
    text = str(data)
    return Image(at, _sniff(text), text)


def _sniff(data: str) -> str:
    """The media type that base64 data begins like; Ollama does not say it."""
    heads = {"/9j/": "image/jpeg", "R0lG": "image/gif", "UklG": "image/webp"}
    return heads.get(data[:4], "image/png")


def _read_message(fields: Fields, out: list[Message], waiting: list[tuple[str, str]]) -> None:
    role, content = fields.text("role"), fields.text("content")
    parts: list[Part] = []
    if thinking := fields.text("thinking"):
        parts.append(Thinking(thinking, fields.place("thinking")))
    if content:
        parts.append(Text(content, fields.place("content")))
    parts += [_image(data, f"{fields.place('images')}[{i}]") for i, data in enumerate(fields.items("images"))]
    if role == "tool":
        _read_result(fields, parts, out, waiting)
    elif role == "assistant":
        calls = [
            _read_call(Fields(raw, f"{fields.at}.tool_calls[{i}]", fields.losses))
            for i, raw in enumerate(fields.items("tool_calls"))
        ]
        waiting += [(call.name, call.id) for call in calls]
        out.append(Message("assistant", (*parts, *calls), fields.at))
    else:
        known: Role = "system" if role == "system" else "user"
        out.append(Message(known, tuple(parts), fields.at))
    fields.rest(ONLY)


def _read_call(fields: Fields) -> ToolCall:
    inner = fields.inner("function")
    name, arguments = inner.text("name"), inner.take("arguments")
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments or {}).decode()
    own = fields.text("id") or f"call_{digest(fields.at, name, text)}"
    inner.ignore("index")
    inner.rest(ONLY)
    fields.ignore("type")
    fields.rest(ONLY)
    return ToolCall(own, name, text, fields.at)


def _read_result(fields: Fields, parts: list[Part], out: list[Message], waiting: list[tuple[str, str]]) -> None:
    """Older clients name the tool, not the call: then it answers the first open call of that name, or the first."""
    name, own = fields.text("tool_name") or fields.text("name"), fields.text("tool_call_id")
    match = next((w for w in waiting if w[1] == own), None) if own else next((w for w in waiting if w[0] == name), None)
    if match is None and not own and waiting:
        match = waiting[0]
    if match is not None:
        waiting.remove(match)
    content = tuple(part for part in parts if isinstance(part, Text | Image))
    result = Result(own or (match[1] if match else name), content, fields.at, name)
    if out and out[-1].role == "tool":
        out[-1] = Message("tool", (*out[-1].parts, result), out[-1].at)
    else:
        out.append(Message("tool", (result,), fields.at))


def _read_tool(fields: Fields) -> Tool:
    inner = fields.inner("function")
    tool = Tool(inner.text("name"), inner.text("description"), inner.take("parameters"), at=inner.at)
    inner.rest(ONLY)
    fields.ignore("type")
    fields.rest(ONLY)
    return tool


# --- requests, written ------------------------------------------------------------------------------------


def write_request(ask: Ask, losses: Losses, *, model: str) -> dict[str, Any]:
    """`stream` is always said, because Ollama streams unless told not to. `num_ctx` is the operator's: left alone."""
    params = dict(ask.params)
    body: dict[str, Any] = {"model": model, "messages": _write_messages(ask, losses)}
    choice, parallel = params.pop("choice", None), params.pop("parallel", None)
    told: Choice = choice.value if choice is not None else Choice("auto")
    tools = [tool for tool in ask.tools if not told.allowed or tool.name in told.allowed]
    if tools and told.kind != "none":
        body["tools"] = [_write_tool(tool, losses) for tool in tools]
        if choice is not None and told.kind in ("required", "tool"):
            losses.add(choice.at, "Ollama cannot force a tool call")
        if parallel is not None:
            media.lose("parallel", parallel, losses, "Ollama cannot limit parallel tool calls")
    if asked := params.pop("format", None):
        form: Format = asked.value
        body["format"] = "json" if form.kind == "json_object" else form.schema
        for field, value in (("name", form.name), ("description", form.description)):
            if value:
                losses.add(f"{asked.at}.{field}", "Ollama's format has only a schema")
    _write_think(body, params, model, losses)
    for name in ("logprobs", "top_logprobs"):
        if param := params.pop(name, None):
            body[name] = param.value
    options = {name: params.pop(to).value for name, to in _OPTIONS.items() if to in params}
    if options:
        body["options"] = options
    body["stream"] = ask.stream
    params.pop("include_usage", None)
    for name, param in params.items():
        media.lose(name, param, losses, "Ollama has no such field")
    return body


def _write_think(body: dict[str, Any], params: dict[str, Param], model: str, losses: Losses) -> None:
    effort, thinking, summary = params.pop("effort", None), params.pop("thinking", None), params.pop("summary", None)
    if summary is not None:
        losses.add(summary.at, "Ollama shows the whole reasoning, no summary")
    if effort is None and thinking is None:
        return
    level = media.effort(effort, thinking)
    if level == "none":
        body["think"] = False
    elif effort is not None and "gpt-oss" in model:  # the only family whose `think` has levels
        body["think"] = {"minimal": "low", "xhigh": "high", "max": "high"}.get(level, level)
    else:
        body["think"] = True
        if effort is not None:
            losses.add(effort.at, "this model of Ollama thinks or does not: the level was left out")
    if thinking is not None and thinking.value.budget:
        losses.add(f"{thinking.at}.budget_tokens", "Ollama has no token budget for thinking")


def _write_tool(tool: Tool, losses: Losses) -> dict[str, Any]:
    if tool.cache:
        losses.add(f"{tool.at}.cache_control", CACHE)
    if tool.strict:
        losses.add(f"{tool.at}.strict", "Ollama does not enforce tool schemas")
    schema = tool.schema if isinstance(tool.schema, dict) else {"type": "object", "properties": {}}
    return {"type": "function", "function": {"name": tool.name, "description": tool.description, "parameters": schema}}


def _write_messages(ask: Ask, losses: Losses) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    names = {part.id: part.name for m in ask.messages for part in m.parts if isinstance(part, ToolCall)}
    for message in ask.messages:
        if message.name:
            losses.add(f"{message.at}.name", "Ollama's messages have no name")
        if message.role == "tool":
            out += [_write_result(part, names, losses) for part in message.parts if isinstance(part, Result)]
            continue
        role = "system" if message.role == "developer" else message.role
        separator = "" if role == "assistant" else "\n\n"
        out.append(_fill({"role": role, "content": joined(message.parts, separator)}, message.parts, losses))
    return out


def _fill(written: dict[str, Any], parts: tuple[Part, ...], losses: Losses) -> dict[str, Any]:
    """Puts into a message what stands beside its text."""
    for part in parts:
        if getattr(part, "cache", None):
            losses.add(f"{getattr(part, 'at', '')}.cache_control", CACHE)
        match part:
            case Image(data=data) if data:
                written.setdefault("images", []).append(data)
                if part.detail and part.detail != "auto":
                    losses.add(f"{part.at}.detail", "Ollama's images have no detail setting")
            case Image(at=at):
                losses.add(at, "Ollama takes images as base64 data only")
            case Document(text=text) if text:
                written["content"] = "\n\n".join(
                    filter(None, (written["content"], f"{part.name}\n{text}" if part.name else text))
                )
            case Document(at=at) | Audio(at=at):
                losses.add(at, "Ollama takes text and images only")
            case Refusal(text=text):
                written["content"] += text
            case Thinking():
                if part.proof:
                    losses.add(f"{part.at}.{part.proof}", "this target cannot check it; the reasoning's text was sent")
                if part.text:
                    written["thinking"] = written.get("thinking", "") + part.text
            case ToolCall():
                written.setdefault("tool_calls", []).append(write_call(part, losses))
            case _:
                pass
    return written


def write_call(call: ToolCall, losses: Losses) -> dict[str, Any]:
    arguments = json_object(call.arguments)
    if arguments is None:
        losses.add(f"{call.at}.arguments", "not a JSON object: sent as its field `input`")
        arguments = {"input": call.arguments}
    return {"id": call.id, "function": {"name": call.name, "arguments": arguments}}


def _write_result(part: Result, names: dict[str, str], losses: Losses) -> dict[str, Any]:
    text = error_text(part, joined(part.content, "\n"), losses)
    message = {
        "role": "tool",
        "content": text,
        "tool_name": part.name or names.get(part.call_id, ""),
        "tool_call_id": part.call_id,
    }
    if part.cache:
        losses.add(f"{part.at}.cache_control", CACHE)
    others = tuple(piece for piece in part.content if not isinstance(piece, Text))
    return _fill(message, others, losses)


# --- answers ----------------------------------------------------------------------------------------------

FINISH: dict[str, Finish] = {"stop": "stop", "length": "length"}


def done_reason(finish: Finish) -> str:
    return "length" if finish == "length" else "stop"


def timestamp(created: float) -> str:
    return datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")


def unix(text: str) -> int:
    """Seconds of an RFC 3339 time with any number of decimals; 0 for something else."""
    try:
        return int(datetime.fromisoformat(text[:19] + "+00:00").timestamp())
    except ValueError:
        return 0


def read_answer_call(raw: Any, place: str, created: str, index: int) -> ToolCall:
    """A call of an answer. Ollama's ids are young: without one it is made of the answer's time, place and content."""
    inner = raw.get("function") or {} if isinstance(raw, dict) else {}
    arguments = inner.get("arguments")
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments or {}).decode()
    name = str(inner.get("name") or "")
    own = str(raw.get("id") or "") if isinstance(raw, dict) else ""
    return ToolCall(own or f"call_{digest(created, str(index), name, text)}", name, text, place)


def parse_response(raw: dict[str, Any], losses: Losses) -> Answer:
    body = Fields(raw, "", losses)
    usage = decode(Wire.OLLAMA, raw)
    created = body.text("created_at")
    message = body.inner("message")
    text = message.text("content") or body.text("response")
    thinking = message.text("thinking") or body.text("thinking")
    logprobs = body.take("logprobs")
    parts: list[Part] = [Thinking(thinking, "message.thinking")] if thinking else []
    if text:
        parts.append(Text(text, "message.content", logprobs=logprobs))
    for index, call in enumerate(message.items("tool_calls")):
        parts.append(read_answer_call(call, f"message.tool_calls[{index}]", created, index))
    message.ignore("role")
    message.rest(ONLY)
    body.ignore("done", "prompt_eval_count", "eval_count")
    answer = Answer(
        digest(created, text),
        body.text("model"),
        tuple(parts),
        FINISH.get(body.text("done_reason"), "stop"),
        usage,
        created=unix(created),
    )
    body.rest(ONLY)
    return answer


def ending(answer_model: str, created: float, finish: Finish, usage: Usage | None) -> dict[str, Any]:
    """The fields of the last message. Durations are not known, so they are 0."""
    told = usage or Usage()
    return {
        "model": answer_model,
        "created_at": timestamp(created),
        "done": True,
        "done_reason": done_reason(finish),
        "total_duration": 0,
        "load_duration": 0,
        "prompt_eval_count": told.input_tokens,
        "prompt_eval_duration": 0,
        "eval_count": told.output_tokens,
        "eval_duration": 0,
    }


def write_response(answer: Answer, losses: Losses, memo: Memo) -> dict[str, Any]:
    message = _fill({"role": "assistant", "content": joined(answer.parts, "")}, answer.parts, losses)
    tail = ending(answer.model, answer.created, answer.finish, answer.usage)
    if logprobs := [t for part in answer.parts if isinstance(part, Text) and part.logprobs for t in part.logprobs]:
        tail["logprobs"] = logprobs
    if answer.stop_sequence is not None:
        losses.add("stop_sequence", "Ollama does not say which stop sequence it was")
    if memo.generate:
        if "tool_calls" in message:
            losses.add("tool_calls", "/api/generate has no tool calls: ask /api/chat")
        shown = {"thinking": message["thinking"]} if "thinking" in message else {}
        return {**tail, "response": message["content"], **shown}
    return {**tail, "message": message}
