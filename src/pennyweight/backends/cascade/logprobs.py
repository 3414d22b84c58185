"""Asks a Chat Completions target for the odds of its tokens where a cascade wants them, and hides what came of it."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import msgspec

from ...call import Call, Target
from ...protocols import Backend
from ...request import Edit, Operation, Reply, Wire
from ...routing.confidence.entropy import Tokens
from ...wire.sse import Splitter
from ..direct import beneath

__all__ = ["WANTED", "AskLogprobs"]

WANTED = "logprobs_wanted"
"""The key of `Call.facts` under which a cascade leaves the `Tokens` that it wants filled."""

_TOP = 5  # how many of the likeliest: all that the providers who have this at all give
_REFUSED = frozenset({400, 404, 422, 501})
_MOST_TARGETS = 1_000


class AskLogprobs:
    """A Backend over `inner`. A target that refuses to tell is asked again without, once, and then no more.

    What the caller did not ask for is null in what it gets, as it is where nobody asks; the rest keeps its bytes.
    """

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self._refusing: OrderedDict[Target, None] = OrderedDict()

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        tokens = call.facts.get(WANTED)
        if tokens is None or call.request.operation is not Operation.GENERATE:
            return self._inner.open(call)
        if call.request.wire is not Wire.OPENAI_CHAT or call.target in self._refusing:
            return self._inner.open(call)
        return self._asking(call, tokens)

    def beneath(self, call: Call) -> Backend:
        return beneath(self._inner, call)  # only a cascade wants them

    async def _asking(self, call: Call, tokens: Tokens) -> Reply:
        if b'"logprobs"' in call.request.raw and call.request.body.get("logprobs") is not None:
            return _heard(await self._inner.open(call), tokens, hide=False)
        asked = call.request.edit([Edit(("logprobs",), True), Edit(("top_logprobs",), _TOP)])
        reply = await self._inner.open(call.sending(asked))
        if reply.status not in _REFUSED:
            return _heard(reply, tokens, hide=True)
        await reply.aclose()
        second = await self._inner.open(call)
        if second.ok:  # so it was our asking
            self._refusing[call.target] = None
            if len(self._refusing) > _MOST_TARGETS:
                self._refusing.popitem(last=False)
        return second


def _heard(reply: Reply, tokens: Tokens, *, hide: bool) -> Reply:
    if not reply.ok:
        return reply
    if reply.content is not None:
        reply.content = _taken(reply.content, tokens, hide=hide)
    elif reply.chunks is not None:
        reply.chunks = _events(reply.chunks, tokens, hide=hide)
    return reply


async def _events(chunks: AsyncIterator[bytes], tokens: Tokens, *, hide: bool) -> AsyncIterator[bytes]:
    """The stream, event by event where there are odds in it."""
    rest = b""
    splitter = Splitter()
    async for chunk in chunks:
        if not hide:
            for event in splitter.feed(chunk):
                _taken(event.data, tokens, hide=False)
            yield chunk
            continue
        data = rest + chunk
        end = max(data.rfind(b"\n\n") + 2, data.rfind(b"\r\n\r\n") + 4)
        if end < 4:
            rest = data
            continue
        whole, rest = data[:end], data[end:]
        yield b"".join(_hidden(line, tokens) for line in whole.splitlines(keepends=True))
    if rest:
        yield b"".join(_hidden(line, tokens) for line in rest.splitlines(keepends=True))


def _hidden(line: bytes, tokens: Tokens) -> bytes:
    if not line.startswith(b"data:") or b'"logprobs"' not in line:
        return line
    data = line[5:].strip()
    at = line.index(data)
    return line[:at] + _taken(data, tokens, hide=True) + line[at + len(data) :]


def _taken(body: bytes, tokens: Tokens, *, hide: bool) -> bytes:
    """Feed `tokens` with what a body or an event tells of its odds; the body, without them if they are to be hidden."""
    if b'"logprobs"' not in body:
        return body
    try:
        answer = _answer.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return body
    for index, choice in enumerate(answer.choices):
        odds = bytes(choice.logprobs)
        if odds in (b"", b"null"):
            continue
        if index == 0:
            told = msgspec.json.decode(odds)
            tokens.feed(told.get("content") if isinstance(told, dict) else None)
        if hide:
            body = _without(body, odds)
    return body


class _Choice(msgspec.Struct):
    logprobs: msgspec.Raw = msgspec.Raw(b"")


class _Answer(msgspec.Struct):
    choices: list[_Choice] = []


_answer = msgspec.json.Decoder(_Answer)
_KEY = re.compile(rb'"logprobs"\s*:\s*')  # within a text its last quote would have a backslash before it


def _without(body: bytes, odds: bytes) -> bytes:
    """The body with null in place of the first odds that read so, every other byte as it was."""
    for key in _KEY.finditer(body):
        if body.startswith(odds, key.end()):
            return body[: key.end()] + b"null" + body[key.end() + len(odds) :]
    return body
