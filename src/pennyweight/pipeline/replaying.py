"""A stored answer as a reply."""

from __future__ import annotations

import logging

from ..call import Call
from ..flow import Flow, Ready
from ..request import Done, Reply, Response, Usage
from ..wire import codec

log = logging.getLogger(__name__)

__all__ = ["replay", "replayed"]


def replay(call: Call, response: Response) -> Reply:
    """A stored answer as the caller asked for it: whole or as a stream, nothing charged."""
    wire = codec(response.wire)
    # A usage that nobody told is nothing here, and not unknown: who gets a stored answer consumes no tokens.
    done = Done(response.done.usage or Usage(), response.done.finish_reason, charges=())
    headers = tuple(h for h in response.headers if h[0] not in _BODY_HEADERS)
    if not call.request.stream:
        headers += (("content-type", "application/json"),)
        return Reply(response.status, headers, wire=response.wire, content=response.raw, done=done)
    asked = call.original.envelope.stream_options
    include_usage = asked is not None and b'"include_usage"' in bytes(asked) and b"true" in bytes(asked)
    chunks = wire.unfold(response.raw, include_usage=include_usage)
    headers += (("content-type", wire.stream_type()), ("cache-control", "no-cache"))
    return Reply(response.status, headers, wire=response.wire, chunks=Flow(Ready(chunks)), done=done)


def replayed(call: Call, response: Response) -> Reply | None:
    """The same, or None for a stored answer that cannot be replayed: the upstream is asked then."""
    try:
        return replay(call, response)
    except Exception as error:  # noqa: BLE001 - a damaged store must never cost a request
        log.warning("stored answer is unreadable", extra={"wire": response.wire, "error": type(error).__name__})
        return None


_BODY_HEADERS = frozenset({"content-type", "content-length", "content-encoding", "transfer-encoding", "cache-control"})
