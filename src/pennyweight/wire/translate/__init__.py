"""Crossing protocols: a call in one protocol for an upstream of another, and its answer on the way back.

One neutral form in the middle, so four modules give every pair. What a target cannot carry is never dropped
silently: it is named, field by field, in `lost`. Pure functions between bytes; no I/O.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ...errors import BadRequest, NotFound, Unreachable
from ...request import Headers, Operation, Request, Wire
from ...surrogates import sound
from . import (
    anthropic_messages,
    anthropic_messages_read,
    anthropic_messages_write,
    embeddings,
    failures,
    ollama,
    openai_chat,
    openai_chat_read,
    openai_chat_write,
    openai_responses,
    openai_responses_read,
    openai_responses_write,
)
from .fit import adjacent, as_custom, fit_ids, fit_names, without_custom
from .neutral import Answer, Ask, Losses, Lost, Memo, ToolCall
from .stream import StreamTranslator

__all__ = [
    "Lost",
    "Memo",
    "StreamTranslator",
    "Translated",
    "error",
    "read_answer",
    "read_request",
    "request",
    "response",
]


class Translated(msgspec.Struct, frozen=True):
    """A request for another upstream. Hand `memo` to `response` or StreamTranslator, which undo renamings by it."""

    request: Request
    lost: tuple[Lost, ...]
    memo: Memo = Memo()


_PATHS = {
    Wire.OPENAI_CHAT: "/v1/chat/completions",
    Wire.OPENAI_RESPONSES: "/v1/responses",
    Wire.ANTHROPIC_MESSAGES: "/v1/messages",
    Wire.OLLAMA: "/api/chat",
}
# The longest tool name and call id that a protocol's providers accept.
_NAME_LIMIT = {Wire.OPENAI_CHAT: 64, Wire.OPENAI_RESPONSES: 64, Wire.ANTHROPIC_MESSAGES: 128, Wire.OLLAMA: 128}
_ID_LIMIT = {Wire.OPENAI_CHAT: 40, Wire.OPENAI_RESPONSES: 64, Wire.ANTHROPIC_MESSAGES: 128, Wire.OLLAMA: 128}
_VERSION = "2023-06-01"


def request(request: Request, target: Wire, *, model: str, anthropic_version: str | None = None) -> Translated:
    """The call as an upstream of `target` takes it, under the name `model` there.

    anthropic_version: what an Anthropic upstream is asked with; from 2026-10-21 on it refuses sampling fields.
    Raises BadRequest for a body that cannot be read or that refers to state kept at another provider, NotFound for an
    operation that the target does not have.
    """
    losses = Losses()
    if request.operation is Operation.EMBED:
        return _embed_request(request, target, model, losses)
    if request.operation is not Operation.GENERATE:
        raise NotFound(
            f"{request.path or request.operation} cannot be asked of an upstream that speaks {target.value}."
        )
    version = anthropic_version or _VERSION
    try:
        body, memo = _cross(request, target, losses, model, version)
    except _MISSHAPEN as wrong:
        what = f"The request body is not of its protocol, {request.wire.value}"
        raise BadRequest(f"{what}: a field has a wrong type ({type(wrong).__name__}).") from None
    sent = _sent(request, target, body, _PATHS[target], version, losses)
    return Translated(sent, losses.all(), memo)


# What reading a field of a wrong type raises, where no reader named the field before.
_MISSHAPEN = (TypeError, AttributeError, ValueError, KeyError, IndexError, RecursionError)


def _cross(request: Request, target: Wire, losses: Losses, model: str, version: str) -> tuple[dict[str, Any], Memo]:
    ask = _parse(request, losses)
    memo = Memo()
    if target is not Wire.OPENAI_RESPONSES:
        ask, memo = without_custom(ask, losses)
    ask = fit_ids(msgspec.structs.replace(ask, messages=tuple(adjacent(ask.messages))), _ID_LIMIT[target])
    ask, renamed = fit_names(ask, _NAME_LIMIT[target])
    generate = request.wire is Wire.OLLAMA and request.path.endswith("/generate")
    memo = msgspec.structs.replace(memo, renamed=renamed, generate=generate)
    return _write(ask, target, losses, model, version), memo


def response(
    body: bytes,
    source: Wire,
    target: Wire,
    *,
    model: str,
    memo: Memo | None = None,
    at: float = 0.0,
    operation: Operation = Operation.GENERATE,
    base64_asked: bool = False,
) -> tuple[bytes, tuple[Lost, ...]]:
    """A whole answer of `source` as the caller's `target` has it, and what did not fit.

    model: named in the answer when the upstream names none. at: unix seconds, when the upstream tells no time.
    base64_asked: of embeddings, whether the caller wants them packed. Raises Unreachable for a body that is no
    answer, BackendError for one that says it failed.
    """
    losses, memo = Losses(), memo or Memo()
    try:
        raw = msgspec.json.decode(sound(body))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Unreachable("The upstream's answer is not JSON.") from None
    if not isinstance(raw, dict):
        raise Unreachable("The upstream's answer is not a JSON object.")
    try:
        if operation is Operation.EMBED:
            out = embeddings.response(raw, target, model, losses, base64_asked=base64_asked)
            return msgspec.json.encode(out), losses.all()
        answer = _parse_answer(raw, source, losses)
    except BadRequest as wrong:
        raise Unreachable(f"The upstream's answer is not of its protocol: {wrong.message}") from None
    except _MISSHAPEN:
        raise Unreachable(f"The upstream's answer is not of its protocol, {source.value}.") from None
    parts = tuple(as_custom(part, memo) if isinstance(part, ToolCall) else part for part in answer.parts)
    answer = msgspec.structs.replace(
        answer, parts=parts, model=answer.model or model, created=answer.created or int(at)
    )
    return msgspec.json.encode(_write_answer(answer, target, losses, memo)), losses.all()


def read_request(request: Request) -> Ask:
    """What a request asks for, whatever its protocol. Raises BadRequest for a body that cannot be read."""
    try:
        return _parse(request, Losses())
    except _MISSHAPEN as wrong:
        raise BadRequest(f"A field of the body has a wrong type ({type(wrong).__name__}).") from None


def read_answer(body: bytes, wire: Wire) -> Answer:
    """What a whole answer says, whatever its protocol. Raises BackendError for a body that is none."""
    try:
        raw = msgspec.json.decode(body)
        if not isinstance(raw, dict):
            raise TypeError("no object")
        return _parse_answer(raw, wire, Losses())
    except (BadRequest, msgspec.DecodeError, *_MISSHAPEN):
        raise Unreachable(f"The upstream's answer is not of its protocol, {wire.value}.") from None


def error(status: int, body: bytes, source: Wire, target: Wire) -> bytes:
    """An upstream's error in the caller's shape, with the upstream's own words and, for a context overflow, what makes
    the caller's client recognise it. A page of HTML becomes a sentence."""
    return msgspec.json.encode(failures.body(failures.read(status, body), status, target))


def _parse(request: Request, losses: Losses) -> Ask:
    match request.wire:
        case Wire.OPENAI_CHAT:
            return openai_chat_read.parse_request(request, losses)
        case Wire.OPENAI_RESPONSES:
            return openai_responses_read.parse_request(request, losses)
        case Wire.ANTHROPIC_MESSAGES:
            return anthropic_messages_read.parse_request(request, losses)
        case Wire.OLLAMA:
            return ollama.parse_request(request, losses)


def _write(ask: Ask, target: Wire, losses: Losses, model: str, version: str) -> dict[str, Any]:
    match target:
        case Wire.OPENAI_CHAT:
            return openai_chat_write.write_request(ask, losses, model=model)
        case Wire.OPENAI_RESPONSES:
            return openai_responses_write.write_request(ask, losses, model=model)
        case Wire.ANTHROPIC_MESSAGES:
            return anthropic_messages_write.write_request(ask, losses, model=model, version=version)
        case Wire.OLLAMA:
            return ollama.write_request(ask, losses, model=model)


def _parse_answer(raw: dict[str, Any], source: Wire, losses: Losses) -> Answer:
    match source:
        case Wire.OPENAI_CHAT:
            return openai_chat.parse_response(raw, losses)
        case Wire.OPENAI_RESPONSES:
            return openai_responses.parse_response(raw, losses)
        case Wire.ANTHROPIC_MESSAGES:
            return anthropic_messages.parse_response(raw, losses)
        case Wire.OLLAMA:
            return ollama.parse_response(raw, losses)


def _write_answer(answer: Answer, target: Wire, losses: Losses, memo: Memo) -> dict[str, Any]:
    match target:
        case Wire.OPENAI_CHAT:
            return openai_chat.write_response(answer, losses, memo)
        case Wire.OPENAI_RESPONSES:
            return openai_responses.write_response(answer, losses, memo)
        case Wire.ANTHROPIC_MESSAGES:
            return anthropic_messages.write_response(answer, losses)
        case Wire.OLLAMA:
            return ollama.write_response(answer, losses, memo)


def _embed_request(request: Request, target: Wire, model: str, losses: Losses) -> Translated:
    if target is Wire.ANTHROPIC_MESSAGES:
        raise NotFound("Anthropic has no embeddings: choose a model of another provider.")
    body = embeddings.request(request.body, request.wire, target, model, losses)
    path = "/api/embed" if target is Wire.OLLAMA else "/v1/embeddings"
    return Translated(_sent(request, target, body, path, _VERSION, losses), losses.all())


def _sent(request: Request, target: Wire, body: dict[str, Any], path: str, version: str, losses: Losses) -> Request:
    if request.query:
        losses.add("query", "the query string belongs to the caller's protocol")
    raw = msgspec.json.encode(body)
    headers = _headers(request.headers, target, version, losses)
    return msgspec.structs.replace(request, wire=target, raw=raw, headers=headers, path=path, query="")


def _headers(headers: Headers, target: Wire, version: str, losses: Losses) -> Headers:
    """The caller's headers without those that speak of its protocol or of the body's length."""
    kept: list[tuple[str, str]] = []
    for name, value in headers:
        if name in ("content-length", "content-type", "content-encoding", "transfer-encoding", "anthropic-version"):
            continue
        if name.startswith("anthropic-") or name == "openai-beta":
            losses.add(f"headers.{name}", "it speaks of the caller's protocol")
            continue
        kept.append((name, value))
    kept.append(("content-type", "application/json"))
    if target is Wire.ANTHROPIC_MESSAGES:
        kept.append(("anthropic-version", version))
    return tuple(kept)
