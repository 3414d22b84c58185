"""OpenAI Responses: requests, read into the neutral form.

Follows platform.openai.com/docs/api-reference/responses. State that lives at the provider (previous_response_id,
conversation, item references) cannot cross and is refused, because without it the call would mean something else.
"""

from __future__ import annotations

from typing import Any

from ...errors import BadRequest
from ...request import Request
from . import media
from .fit import open_envelope
from .neutral import (
    Ask,
    Audio,
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
from .openai_chat_read import SHARED, mark_last, marked_whole, read_choice, read_format

__all__ = ["parse_request"]


ONLY = "only Responses has this field"
_OWN = ("max_tool_calls", "truncation", "top_logprobs")
ENCRYPTED = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"


def parse_request(request: Request, losses: Losses) -> Ask:
    """Raises BadRequest for wrong types and for state that only the provider has."""
    body = Fields(request.body, "", losses)
    for name in ("previous_response_id", "conversation", "prompt"):
        if body.take(name) is not None:
            raise BadRequest(
                f"{name} names state kept at another provider, which this one does not have: send the whole input."
            )
    params = {name: Param(value, name) for name in SHARED + _OWN if (value := body.take(name)) is not None}
    told = body.take("instructions")
    system = tuple(_read_content(told, "instructions", losses))
    messages = [Message("system", system, "instructions")] if system else []
    given = body.take("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given or []
    if not isinstance(items, list):
        raise BadRequest("input must be a string or a list.")
    for index, raw in enumerate(items):
        read_item(Fields(raw, f"input[{index}]", losses), messages)
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
        if wanted == LOGPROBS:
            params["logprobs"] = Param(True, "include")
        elif wanted == ENCRYPTED:
            params["encrypted"] = Param(True, "include.reasoning.encrypted_content")
        else:
            body.losses.add(f"include.{wanted}", ONLY)


def read_item(item: Fields, out: list[Message]) -> None:
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
            content, cache = marked_whole(parts)
            cache = item.take("cache_control") or cache
            result = Result(item.text("call_id"), content, item.at, custom=kind.startswith("custom"), cache=cache)
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
    if cache := item.take("cache_control"):
        parts = mark_last(parts, cache)
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
    # No field of OpenAI's: a mark that the gateway puts on for a target that takes it.
    kind, at, cache = fields.text("type"), fields.at, fields.take("cache_control")
    part: Part | None
    match kind:
        case "input_text" | "output_text" | "text":
            part = Text(fields.text("text"), at, cache, logprobs=fields.take("logprobs") or None)
        case "refusal":
            part = Refusal(fields.text("refusal"), at)
        case "input_image":
            file_id, detail = fields.text("file_id"), fields.text("detail")
            url = fields.text("image_url")
            part = (
                media.image_of(url, at, detail=detail, cache=cache)
                if url
                else Image(at, file_id=file_id, detail=detail, cache=cache)
            )
        case "input_file":
            data, name, file_id = fields.text("file_data"), fields.text("filename"), fields.text("file_id")
            url = fields.text("file_url")
            part = media.document_of(data, at, name=name, file_id=file_id, url=url, cache=cache)
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
                fields.take("cache_control"),
            )
        )
    else:
        fields.losses.add(f"{fields.at}({kind})", f"the built-in tool {kind}: only its own provider has it")
        return
    fields.rest(ONLY)
