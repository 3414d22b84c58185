"""Requests that change something: only the operator's own programs and the gateway's own page may send them."""

from __future__ import annotations

from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from ..errors import BadRequest, Forbidden
from ..front.auth import Gate
from ..front.http import HttpRequest, HttpResponse

__all__ = ["body_as", "json_answer", "operator", "order"]

T = TypeVar("T")


def operator(gate: Gate, request: HttpRequest) -> None:
    """Raises Forbidden for a holder of a virtual key, Unauthenticated for a stranger."""
    if gate.viewer(request) is not None:
        raise Forbidden("This is for the operator: ask for it on the gateway's own machine, without a virtual key.")


def order(gate: Gate, request: HttpRequest, kind: type[T]) -> T:
    """What an operator orders: the JSON body as that kind.

    Raises Forbidden for other callers and for web pages that the gateway did not serve, BadRequest for a body that is
    none. A form or plain text, which a foreign page could send without being asked, is refused.
    """
    operator(gate, request)
    origin, host = request.fields.get("origin"), request.fields.get("host", "")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        raise Forbidden(f"Pages of {origin[:100]!r} may not change anything here. Use the gateway's own page.")
    if request.fields.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Forbidden("Pages of other sites may not change anything here. Use the gateway's own page.")
    return body_as(request, kind)


def body_as(request: HttpRequest, kind: type[T]) -> T:
    """The JSON body as that kind. Raises BadRequest; a form or plain text is refused, see `order`."""
    content_type = request.fields.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise BadRequest(f"The content-type {content_type[:80]!r} is not taken here. Send application/json.")
    try:
        return msgspec.json.decode(request.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"The body is not what is taken here: {error}.") from None


def json_answer(value: Any, *, status: int = 200) -> HttpResponse:
    headers = (("content-type", "application/json"), ("cache-control", "no-store"))
    return HttpResponse(status, headers, msgspec.json.encode(value))
