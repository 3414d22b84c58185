"""Sessions for callers that name none."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ..request import Request
from .canonical import canonical
from .items import items, role
from .recent import Recent

__all__ = ["Place", "SessionIndex"]


class _Branch:
    """One conversation: the content digests of what followed its first user message, as last seen."""

    __slots__ = ("answered", "contents", "name", "seen_at")

    def __init__(self, name: str, contents: list[bytes], *, answered: bool, seen_at: float) -> None:
        self.name = name
        self.contents = contents
        self.answered = answered  # the model has had a turn in it
        self.seen_at = seen_at


class Place(NamedTuple):
    """What `SessionIndex.session` told of a request was told by this."""

    start: bytes
    branch: _Branch
    contents: tuple[bytes, ...]
    answered: bool


class SessionIndex:
    """Gives a conversation that names no session one, by its start and by what it continues.

    The start is the caller's scope, model, tool names and items up to the first user message. Of conversations with
    one start, a request belongs to the one whose last request it extends; asked anew from the start, after the
    conversation has moved on, it is a new one. A request that shares only part of a conversation (its client rewrote
    or dropped something) joins it if that was active in the last `linger_s`. Work per request is the start, one
    block to compare, and the new blocks. Bounded: the starts not used for longest are forgotten, and their
    conversations get the same names again only if they were the first with their start.
    """

    def __init__(self, *, capacity: int = 4096, branches: int = 32, linger_s: float = 1800.0) -> None:
        self._starts: Recent[bytes, list[_Branch]] = Recent(capacity)
        self._names: Recent[tuple[int, bytes, bytes], tuple[list[msgspec.Raw], bytes]] = Recent(_TOOL_LISTS)
        self._contents: Recent[tuple[int, int], bytes] = Recent(capacity * 16)
        self._branches = branches
        self._linger_s = linger_s

    def session(self, scope: str, request: Request, *, now: float) -> str:
        """The session's name: "d-" and 16 hex digits, from the second conversation with one start on "d-…-2".

        scope: whose sessions these are (the tenant). now: seconds on any clock. "" when there is no conversation.
        Raises BadRequest.
        """
        raws = items(request)
        first = _first_user(raws)
        if first is None:
            return ""
        start = self._start(scope, request, raws[first])
        rest = raws[first + 1 :]
        branches = self._starts.get(start)
        if branches is None:
            branches = []
            self._starts.put(start, branches)
        found = self._find(branches, rest, now)
        branch, extends = found or (self._open(branches, start, now), True)
        self._extend(branch, rest, now, extends=extends)
        return branch.name

    def place(self, scope: str, request: Request) -> Place | None:
        """Where a request stands of which `session` has just told; None where several conversations began like it, so
        that it depends on them which one its next like belongs to. Raises BadRequest."""
        raws = items(request)
        first = _first_user(raws)
        if first is None:
            return None
        start = self._start(scope, request, raws[first])
        branches = self._starts.get(start)
        if branches is None or len(branches) != 1:
            return None
        branch = branches[0]
        return Place(start, branch, tuple(branch.contents), branch.answered)

    def stays(self, place: Place, *, now: float) -> bool:
        """Whether `session` would tell the same of the same request as before, without reading it again; if so, it is
        noted as active. now: as in `session`."""
        branches = self._starts.get(place.start)
        branch = place.branch
        if branches is None or len(branches) != 1 or branches[0] is not branch:
            return False
        if branch.answered is not place.answered or tuple(branch.contents) != place.contents:
            return False
        branch.seen_at = now
        return True

    def _start(self, scope: str, request: Request, first_user: bytes | msgspec.Raw) -> bytes:
        names = self._tool_names(request.envelope.tools) if request.envelope.tools else b""
        text = b"\0".join((scope.encode(), request.model.encode(), names, self._content(first_user)))
        return hashlib.blake2b(text, digest_size=16).digest()

    def _tool_names(self, tools: list[msgspec.Raw]) -> bytes:
        """Read once for each list of tools: comparing one with the last like it costs less than any digest of it."""
        key = (len(tools), bytes(tools[0]), bytes(tools[-1]))
        known = self._names.get(key)
        if known is None or known[0] != tools:
            kept = [msgspec.Raw(bytes(tool)) for tool in tools]  # not as a part of its body, which would be kept whole
            known = kept, b"\n".join([_tool_name(bytes(tool)) for tool in tools])
            self._names.put(key, known)
        return known[1]

    def _find(
        self, branches: list[_Branch], rest: Sequence[bytes | msgspec.Raw], now: float
    ) -> tuple[_Branch, bool] | None:
        """The conversation that a request goes on with, and whether it holds all of it."""
        if not branches:
            return None
        # The newest first: of two that could both go on, the one just spoken to.
        candidates = sorted(branches, key=lambda branch: (len(branch.contents), branch.seen_at), reverse=True)
        for branch in candidates:
            if branch.answered and self._extends(branch, rest):
                return branch, True
        for branch in candidates:
            if not branch.answered:  # asked again, or the first answer has come
                return branch, self._extends(branch, rest)
        if not any(_is_answer(raw) for raw in rest[:7]):
            return None
        for branch in candidates:
            if now - branch.seen_at <= self._linger_s and self._common(branch, rest):
                return branch, False
        return None

    def _extends(self, branch: _Branch, rest: Sequence[bytes | msgspec.Raw]) -> bool:
        """Whether the request begins with all that the branch holds. The first answer and the last three items stand
        for the rest: an answer is hardly ever the same twice, and looking at all would cost the whole length."""
        tip = len(branch.contents)
        if tip > len(rest):
            return False
        return all(  # the likeliest to differ first
            self._content(rest[place]) == branch.contents[place]
            for place in (tip - 1, tip - 2, tip - 3, 0)
            if 0 <= place < tip
        )

    def _common(self, branch: _Branch, rest: Sequence[bytes | msgspec.Raw]) -> int:
        """How many items at the beginning are the same, at least. Looked for from the end, in growing steps: what
        differs stands near the end, and where the first answer and two items running are equal, so is the rest."""

        def same(place: int) -> bool:
            return self._content(rest[place]) == branch.contents[place]

        shorter = min(len(rest), len(branch.contents))
        if not shorter or not same(0):
            return 0
        step, place = 1, shorter - 1
        while place >= 0:
            if same(place) and (place == 0 or same(place - 1)):
                return place + 1
            place -= step
            step *= 2
        return 0

    def _open(self, branches: list[_Branch], start: bytes, now: float) -> _Branch:
        number = 1
        if branches:
            number += max([int(b.name.rpartition("-")[2]) if b.name.count("-") == 2 else 1 for b in branches])
        name = f"d-{start.hex()[:16]}" + (f"-{number}" if number > 1 else "")
        branch = _Branch(name, [], answered=False, seen_at=now)
        branches.append(branch)
        if len(branches) > self._branches:
            branches.remove(min(branches, key=lambda b: b.seen_at))
        return branch

    def _extend(self, branch: _Branch, rest: Sequence[bytes | msgspec.Raw], now: float, *, extends: bool) -> None:
        contents = branch.contents
        if not extends:
            del contents[self._common(branch, rest) :]
        if rest:
            contents += [self._content(raw) for raw in rest[len(contents) :]]
            branch.answered = branch.answered or any(_is_answer(raw) for raw in rest)
        branch.seen_at = now

    def _content(self, raw: bytes | msgspec.Raw) -> bytes:
        piece = bytes(raw)
        key = (hash(piece), len(piece))
        known = self._contents.get(key)
        if known is None:
            known = hashlib.blake2b(canonical(piece), digest_size=16).digest()
            self._contents.put(key, known)
        return known


_TOOL_LISTS = 128


class _ToolName(msgspec.Struct):
    name: str | None = None
    type: str | None = None
    function: _Function | None = None


class _Function(msgspec.Struct):
    name: str | None = None


_tool = msgspec.json.Decoder(_ToolName)


def _tool_name(raw: bytes) -> bytes:
    try:
        tool = _tool.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return raw
    return (tool.name or (tool.function and tool.function.name) or tool.type or "").encode()


def _first_user(raws: Sequence[bytes | msgspec.Raw]) -> int | None:
    for index, raw in enumerate(raws):
        if role(raw) == "user":
            return index
    return 0 if raws else None


def _is_answer(raw: bytes | msgspec.Raw) -> bool:
    """Whether an item came from the model. Responses items without a role are tool calls, results or reasoning."""
    return role(raw) not in ("user", "system", "developer")
