"""Asks Chat Completions streams for their usage when the caller did not, and withholds what it then did not ask for."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from ..call import Call, Step, Verdict
from ..protocols import Backend
from ..request import Edit, Operation, Reply, Wire
from .direct import beneath

__all__ = ["AskUsage", "withhold"]

_STEP = Step("ask_usage", Verdict.ACCEPTED, why="asked the stream for its usage; the caller does not see it")
_NULL = re.compile(rb',\s*"usage":\s*null|"usage":\s*null\s*,\s*')
_NO_CHOICES = re.compile(rb'"choices":\s*\[\s*\]')


class AskUsage:
    """A wrapper for OpenAI-compatible upstreams. Under `--optimize off` nothing is touched, and usage is counted."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        request = call.request
        if (
            request.wire is not Wire.OPENAI_CHAT
            or request.operation is not Operation.GENERATE
            or not request.envelope.stream
            or call.optimize == "off"
            or request.envelope.stream_options is not None
        ):
            return self._inner.open(call)
        return self._asking(call)

    def beneath(self, call: Call) -> Backend:
        return beneath(self._inner, call)  # a stream asks for it by itself

    async def _asking(self, call: Call) -> Reply:
        asked = call.request.edit([Edit(("stream_options",), {"include_usage": True})])
        reply = await self._inner.open(call.sending(asked))
        reply.notes.append(_STEP)
        if reply.chunks is not None and reply.ok:
            reply.chunks = withhold(reply.chunks)
        return reply


async def withhold(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The stream without its usage chunk and without the `"usage":null` that comes with asking.

    Events leave as soon as they are whole; one that is too long to be about usage leaves as it comes. The needles hold
    unescaped quotes, so no text of an answer can match them.
    """
    rest: list[bytes] = []  # of an event that has not ended, joined once: it may come in a thousand pieces
    rest_bytes, seen = 0, b""
    async for chunk in chunks:
        data = seen + chunk  # a blank line may begin in what came before
        end = max(data.rfind(b"\n\n"), data.rfind(b"\r\n\r\n"))
        if end < 0:
            rest.append(chunk)
            rest_bytes, seen = rest_bytes + len(chunk), data[-3:]
            if rest_bytes > _LONGEST_BYTES:
                yield b"".join(rest)
                rest, rest_bytes = [], 0
            continue
        end += (4 if data.startswith(b"\r\n\r\n", end) else 2) - len(seen)
        whole, left = b"".join((*rest, chunk[:end])), chunk[end:]
        rest, rest_bytes, seen = [left], len(left), left[-3:]
        if b'"usage"' in whole:
            whole = b"".join(_shown(event) for event in _events(whole))
        if whole:
            yield whole
    last = b"".join(rest)  # an event that was not ended by a blank line
    if last:
        shown = _shown(last) if b'"usage"' in last else last
        if shown:
            yield shown


_LONGEST_BYTES = 1 << 20


def _events(data: bytes) -> list[bytes]:
    """Complete events, each with its blank line."""
    gap = b"\r\n\r\n" if b"\r\n\r\n" in data else b"\n\n"
    return [part + gap for part in data.split(gap) if part]


def _shown(event: bytes) -> bytes:
    shown = event.replace(b',"usage":null', b"")  # as nearly all providers write it
    if b'"usage"' in shown:
        shown = _NULL.sub(b"", shown)
    return b"" if b'"usage"' in shown and _NO_CHOICES.search(shown) else shown
