"""What was once sent in another form is sent in that form for ever: prefixes stay the same, byte for byte.

A piece is the tool list, the system prompt, or one message. A pin says: behind this sent prefix, that piece of the
caller's is replaced by these. So a pin holds as long as what stands before it does, and falls away by itself where the
caller changes the conversation. Cache marks are not part of a form: a piece is sent with the marks that the caller has
on it now.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, Literal

import msgspec

from .prefix import Blocks, items, marks_of, unmarked, with_marks
from .request import DELETE, Edit, Request

__all__ = ["Pin", "Pins", "Sticky"]

Kind = Literal["tools", "instructions", "system", "message"]
Level = Literal["safe", "max"]


class Pin(msgspec.Struct, frozen=True):
    """`by`: the optimizer that made it. `pieces`: what is sent in its place, without marks; none: nothing is."""

    by: str
    level: Level
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
        """sessions: with pins, and as many that are left alone. size_bytes: of what is sent in the place of pieces."""
        self._limit = sessions
        self._limit_bytes = size_bytes
        self._sessions: OrderedDict[str, tuple[Pins, int]] = OrderedDict()
        self._left: OrderedDict[str, None] = OrderedDict()
        self._bytes = 0
        self._blocks = Blocks(capacity=65_536)

    def of(self, session: str) -> Pins | None:
        """The pins of a session; None without any."""
        found = self._sessions.get(session)
        return found[0] if found is not None else None

    def keep(self, session: str, new: Pins) -> None:
        """Add to the pins of a session, or put new ones in the place of old; one that is left alone gets none."""
        if session in self._left:
            return
        known, size = self._sessions.pop(session, ({}, 0))
        merged = {**{key: pin for key, pin in known.items() if key not in new}, **new}  # the newest last
        added = sum(map(_size, new.values())) - sum(_size(known[key]) for key in new if key in known)
        self._sessions[session] = (merged, size + added)
        self._bytes += added
        while len(self._sessions) > 1 and (len(self._sessions) > self._limit or self._bytes > self._limit_bytes):
            self._bytes -= self._sessions.popitem(last=False)[1][1]
        if self._bytes > self._limit_bytes:
            self._shorten(session)

    def _shorten(self, session: str) -> None:
        """Of one session that fills all there is, forget the oldest half."""
        known, _ = self._sessions[session]
        kept: Pins = {}
        size = 0
        for key, pin in reversed(known.items()):
            size += _size(pin)
            if size > self._limit_bytes // 2:
                break
            kept[key] = pin
        self._bytes = sum(map(_size, kept.values()))
        self._sessions[session] = (dict(reversed(kept.items())), self._bytes)

    def leave(self, session: str) -> None:
        """From now on this session's pieces go out as they come."""
        self._bytes -= self._sessions.pop(session, ({}, 0))[1]
        self._left[session] = None
        if len(self._left) > self._limit:
            self._left.popitem(last=False)

    def knows(self, session: str) -> bool:
        """Whether it has pins, or is left alone."""
        return session in self._sessions or session in self._left

    def left(self, session: str) -> bool:
        """Whether this session is left alone."""
        return session in self._left

    def resume(
        self, request: Request, known: Pins, allowed: Collection[str], *, level: Level = "max"
    ) -> tuple[Request, tuple[Pin, ...]]:
        """The request with the pins that hold in it, and which those are; with none where they would part a tool's
        call from its result, because the caller has changed one of the two since.

        allowed: the optimizers whose pins count. level: under "safe", pins of level "max" do not.
        """
        used: list[Pin] = []
        sent: list[tuple[Kind, bytes]] = []
        changed: set[Kind] = set()
        gone: set[bytes] = set()
        running, skipped = b"", 0
        for piece in self._pieces(request):
            pin = known.get(_place(piece, running, skipped))
            if pin is None or pin.by not in allowed or (level == "safe" and pin.level == "max"):
                sent.append((piece.kind, piece.raw))
                running, skipped = _after(running, piece.kind, piece.content), 0
                continue
            used.append(pin)
            changed.add(piece.kind)
            gone.update(_ids(piece.raw))
            marks = marks_of(piece.raw)
            skipped = 0 if pin.pieces else skipped + 1
            for number, raw in enumerate(pin.pieces, 1):
                running = _after(running, piece.kind, self._content(piece.kind, raw))
                sent.append((piece.kind, with_marks(raw, marks) if number == len(pin.pieces) else raw))
        gone.difference_update(*(_ids(raw) for pin in used for raw in pin.pieces))
        if not used or _torn(gone, sent):
            return request, ()
        return request.edit(tuple(_edits(request, sent, changed))), tuple(used)

    def pins(self, original: Request, sent: Request, *, by: str, level: Level, known: Pins | None) -> Pins:
        """The pins by which `original` becomes `sent`, without those that are known."""
        ours, theirs = list(self._pieces(original)), list(self._pieces(sent))
        found: Pins = {}
        running, skipped = b"", 0
        for piece, replaced in zip(ours, _replacements(ours, theirs), strict=True):
            key = _place(piece, running, skipped)
            pieces = tuple(unmarked(other.raw) for other in replaced)
            before = known.get(key) if known is not None else None
            same = [other.content for other in replaced] == [piece.content]
            if (before is not None or not same) and (before is None or before.pieces != pieces):
                found[key] = Pin(by, level, pieces)
            skipped = 0 if replaced else skipped + 1
            for other in replaced:
                running = _after(running, other.kind, other.content)
        return found

    def _pieces(self, request: Request) -> Iterator[_Piece]:
        """The request's pieces, in the order in which they are cached; heads also where there are none: some may be
        added."""
        envelope = request.envelope
        tools = msgspec.json.encode(envelope.tools or [])
        heads: tuple[tuple[Kind, Any], ...] = (("instructions", envelope.instructions), ("system", envelope.system))
        yield _Piece("tools", tools, self._content("tools", tools))
        for kind, head in heads:
            raw = b"" if head is None else bytes(head)
            yield _Piece(kind, raw, self._content(kind, raw))
        for message in items(request):
            yield _Piece("message", bytes(message), self._content("message", bytes(message)))

    def _content(self, kind: Kind, raw: bytes) -> bytes:
        if kind != "tools":
            return self._blocks.block(raw)[0]
        tools = msgspec.json.decode(raw, type=list[msgspec.Raw])
        return b"".join(self._blocks.block(bytes(tool))[0] for tool in tools)


def _ids(raw: bytes) -> list[bytes]:
    """By which tools' calls and results find each other."""
    return _ID.findall(raw)


_ID = re.compile(rb'"(?:id|call_id|tool_use_id|tool_call_id)"\s*:\s*("(?:[^"\\]|\\.)*")')


def _torn(gone: Collection[bytes], sent: Sequence[tuple[Kind, bytes]]) -> bool:
    """Whether of a call and its result that are `gone` one half is still there."""
    return any(id in raw for id in gone for kind, raw in sent if kind == "message")


def _size(pin: Pin) -> int:
    return 64 + sum(map(len, pin.pieces))


def _place(piece: _Piece, running: bytes, skipped: int) -> bytes:
    """skipped: how many pieces before this one were left out since the last that was sent; equal ones differ by it."""
    text = b"%b\0%d\0%b%b" % (piece.kind.encode(), skipped, running, piece.content)
    return hashlib.blake2b(text, digest_size=16).digest()


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


def _edits(request: Request, sent: Sequence[tuple[Kind, bytes]], changed: Collection[Kind]) -> Iterator[Edit]:
    """What brings the pieces of the `changed` kinds into the request."""
    absent: dict[Kind, bytes] = {"tools": b"[]", "instructions": b"", "system": b""}
    for kind, raw in sent:
        if kind in changed and kind in absent:
            yield Edit((kind,), DELETE if raw == absent[kind] else msgspec.Raw(raw))
    if "message" in changed:
        messages = [msgspec.Raw(raw) for kind, raw in sent if kind == "message"]
        text = len(messages) == 1 and bytes(messages[0]).startswith(b'"')  # an `input` may be a text
        yield Edit(
            ("messages" if request.envelope.messages is not None else "input",), messages[0] if text else messages
        )
