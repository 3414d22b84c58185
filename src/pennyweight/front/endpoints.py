"""Which path is what: protocol, operation and, for a provider's native routes, the provider. A table, no I/O."""

from __future__ import annotations

import msgspec

from ..request import Operation, Wire
from .http import HttpRequest

__all__ = ["Endpoint", "find", "keeps_nothing", "wire_of"]


class Endpoint(msgspec.Struct, frozen=True):
    """`path` is the path under the provider's address; `provider` is set where the path names one."""

    wire: Wire
    operation: Operation
    path: str
    provider: str | None = None
    native: bool = False  # a /v1/native/<provider>/… route: answers carry usage.cost


_TABLE: dict[str, Endpoint] = {
    endpoint.path: endpoint
    for endpoint in (
        Endpoint(Wire.OPENAI_CHAT, Operation.GENERATE, "/v1/chat/completions"),
        Endpoint(Wire.OPENAI_RESPONSES, Operation.GENERATE, "/v1/responses"),
        Endpoint(Wire.ANTHROPIC_MESSAGES, Operation.GENERATE, "/v1/messages"),
        Endpoint(Wire.ANTHROPIC_MESSAGES, Operation.COUNT, "/v1/messages/count_tokens"),
        Endpoint(Wire.OPENAI_CHAT, Operation.EMBED, "/v1/embeddings"),
        Endpoint(Wire.OLLAMA, Operation.GENERATE, "/api/chat"),
        Endpoint(Wire.OLLAMA, Operation.GENERATE, "/api/generate"),
        Endpoint(Wire.OLLAMA, Operation.EMBED, "/api/embed"),
        Endpoint(Wire.OLLAMA, Operation.EMBED, "/api/embeddings"),
    )
}
# Clients differ in whether their base URL ends in /v1.
_TABLE |= {path.removeprefix("/v1"): endpoint for path, endpoint in _TABLE.items() if path.startswith("/v1/")}

_NATIVE = "/v1/native/"
_ECHOED = frozenset({"TRACE", "CONNECT"})
"""Never passed on: the answer to a TRACE is the request as the provider got it, our key included."""


def find(request: HttpRequest) -> Endpoint | None:
    """The endpoint of a request that is for a provider; None for a path that is none of theirs."""
    path = request.path
    if request.method in _ECHOED:
        return None
    if request.method == "POST":
        known = _TABLE.get(path)
        if known is not None:
            return known
    if path.startswith(_NATIVE):
        return _native(request)
    if path == "/models" or path.startswith("/models/"):
        path = f"/v1{path}"
    if path.startswith("/v1/"):
        wire = Wire.ANTHROPIC_MESSAGES if _speaks_anthropic(request) else Wire.OPENAI_CHAT
        return Endpoint(wire, Operation.OTHER, path)
    if path.startswith("/api/"):
        return Endpoint(Wire.OLLAMA, Operation.OTHER, path)
    return None


_ANSWERS = frozenset(
    {
        "/audio/speech",
        "/audio/transcriptions",
        "/audio/translations",
        "/classify",
        "/completions",
        "/detokenize",
        "/fim/completions",
        "/images/edits",
        "/images/generations",
        "/images/variations",
        "/moderations",
        "/ocr",
        "/rerank",
        "/responses/compact",
        "/responses/input_tokens",
        "/score",
        "/tokenize",
        "/api/show",
    }
)
_TELLS = frozenset({"/models", "/api/tags", "/api/ps", "/api/version"})


def keeps_nothing(endpoint: Endpoint, method: str) -> bool:
    """Whether a path that is passed on untouched is known to leave nothing at the provider, and to show nothing that
    was left there: files, batches, conversations, stored answers and the like are one room for a whole account."""
    if endpoint.operation is not Operation.OTHER:
        return True
    path = endpoint.path.removeprefix("/v1")
    if method == "POST":
        return path in _ANSWERS
    return method in ("GET", "HEAD") and (path in _TELLS or path.startswith("/models/"))


def wire_of(path: str) -> Wire:
    """The protocol whose clients call this path, for errors that come before anything else is known."""
    known = _TABLE.get(path)
    if known is not None:
        return known.wire
    if path.startswith("/api/"):
        return Wire.OLLAMA
    return Wire.ANTHROPIC_MESSAGES if "/messages" in path else Wire.OPENAI_CHAT


def _native(request: HttpRequest) -> Endpoint | None:
    provider, slash, rest = request.path[len(_NATIVE) :].partition("/")
    if not provider or not slash:
        return None
    path = f"/{rest}"
    known = _TABLE.get(path) if request.method == "POST" else None
    if known is None:
        wire = Wire.ANTHROPIC_MESSAGES if _speaks_anthropic(request) else Wire.OPENAI_CHAT
        return Endpoint(wire, Operation.OTHER, path, provider, native=True)
    return msgspec.structs.replace(known, provider=provider, native=True)


def _speaks_anthropic(request: HttpRequest) -> bool:
    return "anthropic-version" in request.fields
