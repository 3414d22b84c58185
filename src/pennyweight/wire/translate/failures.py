"""An upstream's error in the shape of the caller's protocol, the upstream's own words kept.

Clients act on these words: a context overflow must be recognisable, because it makes the client compact.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ...request import Wire

__all__ = ["Failure", "body", "read", "read_event"]


class Failure(msgspec.Struct, frozen=True):
    message: str
    kind: str = ""  # the upstream's `type`
    code: str | None = None
    param: str | None = None
    too_long: bool = False  # the prompt is longer than the model's window


_TOO_LONG = re.compile(
    r"maximum context length|prompt is too long|context[ _]length|context window|exceeds? (?:the )?(?:model's )?context"
    r"|input (?:length|is too long)|exceeds the available context",
    re.IGNORECASE,
)
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_ANTHROPIC = frozenset(_KINDS.values()) | {"api_error"}


def read(status: int, raw: bytes) -> Failure:
    """What an error body says. One that is no JSON gives a sentence with the status, and nothing of a page's markup."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        text = raw.decode("utf-8", "replace").strip()
        if not text or text.startswith("<") or "<html" in text[:1000].lower() or len(text) > 2000:
            said = (
                "an empty body"
                if not text
                else "an HTML page, not JSON"
                if "<" in text[:1000]
                else "a long text, not JSON"
            )
            return Failure(f"The upstream answered HTTP {status} with {said}; its status page may say more.")
        return _failure(text, {})
    return read_event(value) or Failure(f"The upstream answered HTTP {status} without a message.")


def read_event(value: Any) -> Failure | None:
    """The error in a decoded JSON value of any of the protocols; None if there is none."""
    if not isinstance(value, dict):
        return _failure(value, {}) if isinstance(value, str) else None
    error = value.get("error")
    if isinstance(error, str):
        return _failure(error, value)
    if isinstance(error, dict):
        return _failure(_said(error), error)
    said = _said(value)
    return _failure(said, value) if said else None


def _said(value: dict[str, Any]) -> str:
    for key in ("message", "detail", "error_message", "msg"):
        told = value.get(key)
        if isinstance(told, str) and told:
            return told
        if told:
            return msgspec.json.encode(told).decode()
    return ""


def _failure(message: str, fields: dict[str, Any]) -> Failure:
    code, kind, param = fields.get("code"), fields.get("type"), fields.get("param")
    said = str(code) if isinstance(code, str | int) else None
    too_long = said == "context_length_exceeded" or (said != "rate_limit_exceeded" and bool(_TOO_LONG.search(message)))
    return Failure(
        message or "The upstream failed without a message.",
        kind if isinstance(kind, str) and kind != "error" else "",
        said,
        param if isinstance(param, str) else None,
        too_long,
    )


def body(failure: Failure, status: int, target: Wire) -> dict[str, Any]:
    """The error in the caller's shape, for a body or, wrapped by the stream writer, for an event."""
    match target:
        case Wire.ANTHROPIC_MESSAGES:
            kind = failure.kind if failure.kind in _ANTHROPIC else _KINDS.get(status, "api_error")
            message = failure.message
            if failure.too_long:
                kind = "invalid_request_error"
                if not message.lower().startswith("prompt is too long"):
                    message = f"prompt is too long: {message}"
            return {"type": "error", "error": {"type": kind, "message": message}}
        case Wire.OLLAMA:
            return {"error": failure.message}
        case _:
            kind = failure.kind or _KINDS.get(status, "api_error")
            code = "context_length_exceeded" if failure.too_long else failure.code
            if failure.too_long:
                kind = "invalid_request_error"
            return {"error": {"message": failure.message, "type": kind, "param": failure.param, "code": code}}
