"""The tap that all protocols share: it keeps the chunks as they pass and reads them only when somebody asks.

Nothing is searched or decoded while a stream runs. At its end the few events that matter are found by their
names in what was kept, a few microseconds for a usual answer; feeding a chunk is an append and a subtraction.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec

from ..request import Done, Usage
from . import usage as usage_blocks

__all__ = ["Facts", "StreamTap", "loads", "shaped", "tiered"]

KEEP_BYTES = 1 << 20
"""A tap holds at most this many bytes of a stream (or twice its largest event), and the text read out of the rest.

The chunks are the objects that were sent on, so keeping them copies nothing."""

MOST_TEXT = 1 << 26
"""Characters read out of one stream, and bytes of one event: more is no answer, and has been counted enough."""

_any = msgspec.json.Decoder()


class Facts(Protocol):
    """What the ends of a protocol's streams say. One object per stream; `absorb` gets whole events, in order."""

    failed: bool

    def absorb(self, stream: bytes) -> None: ...

    def done(self) -> Done: ...

    def texts(self, stream: bytes) -> list[str]: ...


class StreamTap:
    """A Tap over the Facts of one protocol."""

    __slots__ = ("_chunks", "_facts", "_left", "_room", "_texts")

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._chunks: list[bytes] = []
        self._texts: list[str] = []  # read out of chunks that were let go
        self._room = KEEP_BYTES
        self._left = MOST_TEXT

    def feed(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._room -= len(chunk)
        if self._room < 0:
            self._let_go()

    def done(self) -> Done:
        facts = copy.copy(self._facts)
        facts.absorb(b"".join(self._chunks))
        return facts.done()

    @property
    def finished(self) -> bool:
        """Whether the model came to its end: a finish reason was told and no error, the end marker seen or not.

        A backend that sees a clean end of transport after this may take the answer as whole, for upstreams that
        leave the end marker out.
        """
        facts = copy.copy(self._facts)
        facts.absorb(b"".join(self._chunks))
        return facts.done().finish_reason is not None and not facts.failed

    def output_text(self) -> str:
        return "".join((*self._texts, *self._facts.texts(b"".join(self._chunks))))

    def _let_go(self) -> None:
        """Read what is whole and keep the rest; one event larger than the limit raises it."""
        stream = b"".join(self._chunks)
        cut = max(stream.rfind(end) + len(end) if end in stream else 0 for end in (b"\n\n", b"\r\n\r\n", b"\r\r"))
        if cut == 0 and b"\n" in stream and stream[:1] == b"{":  # lines of JSON
            cut = stream.rfind(b"\n") + 1
        whole, rest = stream[:cut], stream[cut:]
        self._facts.absorb(whole)
        if self._left > 0:
            texts = self._facts.texts(whole)
            self._texts += texts
            self._left -= sum(map(len, texts))
        if len(rest) > MOST_TEXT:
            rest = b""  # an event without end
        self._chunks = [rest]
        self._room = max(KEEP_BYTES - len(rest), len(rest))


def loads(body: bytes) -> dict[str, Any]:
    """A JSON object; raises ValueError for anything else."""
    try:
        value = _any.decode(body)
    except RecursionError:
        raise ValueError("The answer is nested too deeply.") from None
    if not isinstance(value, dict):
        raise ValueError(f"The answer must be a JSON object, not {type(value).__name__}.")
    return value


@contextmanager
def shaped() -> Iterator[None]:
    """Makes a ValueError of what goes wrong inside when an answer does not have its protocol's shape."""
    try:
        yield
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"The answer does not have the shape of its protocol: {error}.") from error


def tiered(wire: Any, block: Any, told: Any = None) -> Usage | None:
    """The usage in a provider's block, at the service tier `told` beside it; None when the block is none.

    "default" and "auto" are OpenAI's names for the standard tier, "on_demand" is Groq's.
    """
    if not isinstance(block, dict) or not block:
        return None
    usage = usage_blocks.decode(wire, block)
    tier = told if isinstance(told, str) and told else usage.tier
    if tier in ("default", "auto", "on_demand"):
        tier = "standard"
    return usage if tier == usage.tier else msgspec.structs.replace(usage, tier=tier)
