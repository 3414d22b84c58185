"""When two calls ask the same thing: what tells them apart beside the body, and whether they ask to be repeatable.

Used by whatever may give one answer to two calls (the response cache, sharing in flight).
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from ..call import Call
from ..errors import BadRequest
from ..request import Headers, Request, Wire

__all__ = ["HEADERS", "HEADER_PREFIXES", "members", "origin", "repeatable", "semantic_headers"]

HEADERS = frozenset({"idempotency-key"})
"""Headers by which an upstream tells two equal bodies apart."""

HEADER_PREFIXES = ("anthropic-", "openai-", "x-dashscope-", "x-openrouter-")
"""Families of such headers: versions, betas, organisation, project, provider options. User agent, session and trace
headers (`x-stainless-*`, `x-session-id`, `traceparent`, `x-pennyweight-*`) change no answer and are left out."""


class _Sampling(msgspec.Struct, frozen=True):
    temperature: float | None = None
    seed: int | None = None


class _OllamaBody(msgspec.Struct, frozen=True):
    options: _Sampling | None = None


_ollama = msgspec.json.Decoder(_OllamaBody)


def repeatable(request: Request) -> bool:
    """Whether the caller asks for the same answer each time: temperature 0, or a seed. Silence means sampling."""
    try:
        if request.wire is Wire.OLLAMA:
            options = _ollama.decode(request.raw).options
            return options is not None and (options.temperature == 0 or options.seed is not None)
        envelope = request.envelope
    except (BadRequest, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    return envelope.temperature == 0 or envelope.seed is not None


_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


def members(compact: bytes | msgspec.Raw) -> dict[str, msgspec.Raw] | None:
    """The members of a JSON object that is written without white space; None where a name comes twice.

    Which of the two a reader takes is its own affair (RFC 8259, 4), so nobody knows what was asked. None as well for a
    name with an escape that it does not need, which could hide one. Raises msgspec.DecodeError.
    """
    found = _members.decode(compact)
    # A member that is gone makes it shorter, and nothing makes it longer: a text has no shorter form than encode's.
    return found if len(_encode(found)) == len(compact) else None


def semantic_headers(headers: Headers) -> Headers:
    """The headers that can change an answer, sorted by name; repeated ones keep their order."""
    kept = [h for h in headers if h[0] in HEADERS or h[0].startswith(HEADER_PREFIXES)]
    kept.sort(key=lambda h: h[0])
    return tuple(kept)


def origin(call: Call, request: Request) -> bytes:
    """Everything but the body that an answer depends on: whose call, which door, which upstream, which account.

    A caller's own credential enters as a digest: two people behind one tenant never share an answer.
    """
    credential = call.credential
    account = (
        blake2b(credential.secret.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest() if credential else ""
    )
    target = call.target
    return msgspec.json.encode(
        (
            call.identity.tenant,
            account,
            request.wire,
            request.operation,
            request.method,
            request.path,
            request.query,
            target.provider,
            target.model,
            target.wire,
            semantic_headers(request.headers),
        )
    )
