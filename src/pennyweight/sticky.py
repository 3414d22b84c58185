"""What was once sent in another form is sent in that form for ever: prefixes stay the same, byte for byte.

A piece is the tool list, the system prompt, or one message. A pin says: behind this sent prefix, that piece of the
caller's is replaced by these. So a pin holds as long as what stands before it does, and falls away by itself where the
caller changes the conversation. Cache marks are not part of a form: a piece is sent with the marks that the caller has
on it now.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, Literal

import msgspec

from .prefix import Blocks, items, marks_of, unmarked, with_marks
from .request import DELETE, Edit, Request

__all__ = ["Pin", "Pins", "Sticky"]

Kind = Literal["tools", "instructions", "system", "message"]


class Pin(msgspec.Struct, frozen=True):
    """`by`: the optimizer that made it. `pieces`: what is sent in its place, without marks; none: nothing is."""

    by: str
    level: Literal["safe", "max"]
    pieces: tuple[bytes, ...]


Pins = dict[bytes, Pin]
"""By a digest of the kind, the sent pieces before it and the caller's piece."""


class _Piece(msgspec.Struct, frozen=True):
    kind: Kind
    raw: bytes
    content: bytes  # digest, marks aside


class Sticky:
    """The pins of sessions; those of the sessions not used for longest are forgotten."""

    def __init__(self, *, sessions: int = 5_000, size_bytes: int = 64 << 20) -> None:
        self._limit = sessions
        self._limit_bytes = size_bytes
        self._sessions: OrderedDict[str, tuple[Pins, int]] = OrderedDict()
        self._bytes = 0
        self._blocks = Blocks(capacity=65_536)

    def of(self, session: str) -> Pins | None:
        """The pins of a session; None without any."""
        found = self._sessions.get(session)
        return found[0] if found is not None else None

    def keep(self, session: str, new: Pins) -> None:
        known, size = self._sessions.pop(session, ({}, 0))
        added = sum(map(_size, new.values())) - sum(_size(known[key]) for key in new if key in known)
        self._sessions[session] = ({**known, **new}, size + added)
        self._bytes += added
        while len(self._sessions) > 1 and (len(self._sessions) > self._limit or self._bytes > self._limit_bytes):
            self._bytes -= self._sessions.popitem(last=False)[1][1]

    def drop(self, session: str) -> None:
        """From now on this session's pieces go out as they come."""
        self._bytes -= self._sessions.pop(session, ({}, 0))[1]

    def resume(self, request: Request, known: Pins, allowed: Collection[str]) -> tuple[Request, tuple[Pin, ...]]:
        """The request with the pins that hold in it, and which those are. allowed: the optimizers whose pins count."""
        used: list[Pin] = []
        sent: list[tuple[Kind, bytes]] = []
        running = b""
        for piece in self._pieces(request):
            pin = known.get(_place(piece, running))
            if pin is None or pin.by not in allowed:
                sent.append((piece.kind, piece.raw))
                running = _after(running, piece.kind, piece.content)
                continue
            used.append(pin)
            marks = marks_of(piece.raw)
            for number, raw in enumerate(pin.pieces, 1):
                running = _after(running, piece.kind, self._content(piece.kind, raw))
                sent.append((piece.kind, with_marks(raw, marks) if number == len(pin.pieces) else raw))
        return (request.edit(tuple(_edits(request, sent))), tuple(used)) if used else (request, ())

    def pins(
        self, original: Request, sent: Request, *, by: str, level: Literal["safe", "max"], known: Pins | None
    ) -> Pins:
        """The pins by which `original` becomes `sent`, without those that are known to be so."""
        ours, theirs = list(self._pieces(original)), list(self._pieces(sent))
        found: Pins = {}
        running = b""
        for piece, replaced in zip(ours, _replacements(ours, theirs), strict=True):
            if [other.content for other in replaced] != [piece.content]:
                key = _place(piece, running)
                pieces = tuple(unmarked(other.raw) for other in replaced)
                before = known.get(key) if known is not None else None
                if before is None or before.pieces != pieces:  # changed once more, as may be when the cache is cold
                    found[key] = Pin(by, level, pieces)
            for other in replaced:
                running = _after(running, other.kind, other.content)
        return found

    def _pieces(self, request: Request) -> Iterator[_Piece]:
        envelope = request.envelope
        raw = msgspec.json.encode(envelope.tools or [])  # also where there are none: some may be added
        yield _Piece("tools", raw, self._content("tools", raw))
        heads: tuple[tuple[Kind, Any], ...] = (("instructions", envelope.instructions), ("system", envelope.system))
        for kind, head in heads:
            if head is not None:
                yield _Piece(kind, bytes(head), self._content(kind, bytes(head)))
        for message in items(request):
            yield _Piece("message", bytes(message), self._content("message", bytes(message)))

    def _content(self, kind: Kind, raw: bytes) -> bytes:
        if kind != "tools":
            return self._blocks.block(raw)[0]
        tools = msgspec.json.decode(raw, type=list[msgspec.Raw])
        return b"".join(self._blocks.block(bytes(tool))[0] for tool in tools)


def _size(pin: Pin) -> int:
    return 64 + sum(map(len, pin.pieces))


def _place(piece: _Piece, running: bytes) -> bytes:
    return hashlib.blake2b(piece.kind.encode() + b"\0" + running + piece.content, digest_size=16).digest()


def _after(running: bytes, kind: Kind, content: bytes) -> bytes:
    return hashlib.blake2b(running + kind.encode() + content, digest_size=16).digest()


def _replacements(ours: Sequence[_Piece], theirs: Sequence[_Piece]) -> list[list[_Piece]]:
    """For each of our pieces, what is sent in its place. What was put in goes with the piece before it."""
    found: list[list[_Piece]] = []
    kinds: tuple[Kind, ...] = ("tools", "instructions", "system")
    for kind in kinds:
        there = [piece for piece in theirs if piece.kind == kind]
        found += [there for piece in ours if piece.kind == kind]
    mine = [piece for piece in ours if piece.kind == "message"]
    other = [piece for piece in theirs if piece.kind == "message"]
    messages: list[list[_Piece]] = [[] for _ in mine]
    matcher = SequenceMatcher(None, [p.content for p in mine], [p.content for p in other], autojunk=False)
    for tag, low, high, start, end in matcher.get_opcodes():
        if tag == "insert":
            if mine:
                messages[max(low - 1, 0)] += other[start:end]
            continue
        for offset in range(high - low):  # the last of ours takes what is left over
            stop = end if offset == high - low - 1 else start + offset + 1
            messages[low + offset] += other[min(start + offset, end) : min(stop, end)]
    return found + messages


def _edits(request: Request, sent: Sequence[tuple[Kind, bytes]]) -> Iterator[Edit]:
    envelope = request.envelope
    for kind, raw in sent:
        if kind == "tools" and msgspec.json.encode(envelope.tools or []) != raw:
            yield Edit(("tools",), msgspec.Raw(raw) if raw != b"[]" else DELETE)
        elif kind in ("instructions", "system"):
            yield Edit((kind,), msgspec.Raw(raw))
    for kind in ("instructions", "system"):
        if getattr(envelope, kind) is not None and all(k != kind for k, _ in sent):
            yield Edit((kind,), DELETE)
    messages = [msgspec.Raw(raw) for kind, raw in sent if kind == "message"]
    yield Edit(("messages" if envelope.messages is not None else "input",), messages)
