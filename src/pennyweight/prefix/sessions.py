"""Sessions for callers that name none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from ..request import Request
from .canonical import canonical
from .items import Worked, items, role, says_user
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
        told = self._start(scope, request, raws)
        if told is None:
            return ""
        start, first = told
        branches = self._starts.get(start)
        if branches is None:
            branches = []
            self._starts.put(start, branches)
            if first + 1 == len(raws):  # the first word of a new conversation: as below, with nothing to look for
                branch = _Branch(_named(start), [], answered=False, seen_at=now)
                branches.append(branch)
                return branch.name
        rest = _Rest(raws, first + 1, self._content, _worked(request, raws).contents)
        found = self._find(branches, rest, now) if branches else None
        branch, kept = found or (self._open(branches, start, now), 0)
        contents = branch.contents
        del contents[kept:]
        if rest.size:
            contents += [rest.content(place) for place in range(kept, rest.size)]
            branch.answered = branch.answered or rest.answers(rest.size)
        branch.seen_at = now
        return branch.name

    def place(self, scope: str, request: Request) -> Place | None:
        """Where a request stands of which `session` has just told; None where several conversations began like it, so
        that it depends on them which one its next like belongs to. Raises BadRequest."""
        told = self._start(scope, request, items(request))
        if told is None:
            return None
        start, _ = told
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

    def _start(self, scope: str, request: Request, raws: Sequence[bytes | msgspec.Raw]) -> tuple[bytes, int] | None:
        """What its conversation begins with, and where the first item of a user is; None: there are no items."""
        worked = _worked(request, raws) if len(request.raw) >= _LONG_BYTES else None  # else found anew as fast
        known = worked.start if worked is not None else None
        if known is not None and known[0] == scope:
            return known[2], known[1]
        first = _first_user(raws)
        if first is None:
            return None
        names = self._tool_names(request.envelope.tools) if request.envelope.tools else b""
        text = b"\0".join((scope.encode(), request.model.encode(), names, self._content(bytes(raws[first]))))
        start = hashlib.blake2b(text, digest_size=16).digest()
        if worked is not None and says_user(raws[first]):  # else the next turn may bring the first
            worked.start = scope, first, start
        return start, first

    def _tool_names(self, tools: list[msgspec.Raw]) -> bytes:
        """Read once for each list of tools: comparing one with the last like it costs less than any digest of it."""
        key = (len(tools), bytes(tools[0]), bytes(tools[-1]))
        known = self._names.get(key)
        if known is None or known[0] != tools:
            kept = [msgspec.Raw(bytes(tool)) for tool in tools]  # not as a part of its body, which would be kept whole
            known = kept, b"\n".join([_tool_name(bytes(tool)) for tool in tools])
            self._names.put(key, known)
        return known[1]

    def _find(self, branches: list[_Branch], rest: _Rest, now: float) -> tuple[_Branch, int] | None:
        """The conversation that a request goes on with, and how many of its items it goes on with."""
        # The newest first: of two that could both go on, the one just spoken to.
        candidates = branches
        if len(branches) > 1:
            candidates = sorted(branches, key=lambda branch: (len(branch.contents), branch.seen_at), reverse=True)
        for branch in candidates:
            if branch.answered and rest.extends(branch.contents):
                return branch, len(branch.contents)
        for branch in candidates:
            if not branch.answered:  # asked again, or the first answer has come
                extends = rest.extends(branch.contents)
                return branch, len(branch.contents) if extends else rest.common(branch.contents)
        if not rest.answers(7):
            return None
        for branch in candidates:
            if now - branch.seen_at <= self._linger_s and (common := rest.common(branch.contents)):
                return branch, common
        return None

    def _open(self, branches: list[_Branch], start: bytes, now: float) -> _Branch:
        number = 1
        if branches:
            number += max([int(b.name.rpartition("-")[2]) if b.name.count("-") == 2 else 1 for b in branches])
        name = _named(start) + (f"-{number}" if number > 1 else "")
        branch = _Branch(name, [], answered=False, seen_at=now)
        branches.append(branch)
        if len(branches) > self._branches:
            branches.remove(min(branches, key=lambda b: b.seen_at))
        return branch

    def _content(self, piece: bytes) -> bytes:
        if len(piece) < _SHORT_BYTES:  # found anew as fast as it is looked up
            return hashlib.blake2b(canonical(piece), digest_size=16).digest()
        key = (hash(piece), len(piece))
        known = self._contents.get(key)
        if known is None:
            known = hashlib.blake2b(canonical(piece), digest_size=16).digest()
            self._contents.put(key, known)
        return known


class _Rest:
    """The items of a request behind its first user message. The content of each is found at most once, and only of
    those that somebody asks for."""

    __slots__ = ("_content", "_first", "_known", "_raws", "size")

    def __init__(
        self,
        raws: Sequence[bytes | msgspec.Raw],
        first: int,
        content: Callable[[bytes], bytes],
        known: list[bytes | None],
    ) -> None:
        """known: of each of `raws`, the content as far as it was asked for."""
        self._raws = raws
        self._first = first
        self._content = content
        self._known = known
        self.size = len(raws) - first

    def content(self, place: int) -> bytes:
        at = self._first + place
        known = self._known[at]
        if known is None:
            known = self._known[at] = self._content(bytes(self._raws[at]))
        return known

    def answers(self, most: int) -> bool:
        """Whether one of the first `most` items came from the model."""
        for raw in self._raws[self._first : self._first + most]:  # noqa: SIM110 - a generator that is left costs an exception
            if _is_answer(raw):
                return True
        return False

    def extends(self, contents: Sequence[bytes]) -> bool:
        """Whether the request begins with all these contents. The first answer and the last three items stand for the
        rest: an answer is hardly ever the same twice, and looking at all would cost the whole length."""
        tip = len(contents)
        if tip > self.size:
            return False
        at, known = self._first, self._known
        if tip >= 3 and known[at + tip - 3 : at + tip] == contents[tip - 3 :] and known[at] == contents[0]:
            return True  # as of a turn that goes on with a body that was read: all four are known, in one look
        for place in (tip - 1, tip - 2, tip - 3, 0):  # the likeliest to differ first
            if 0 <= place < tip and self.content(place) != contents[place]:
                return False
        return True

    def common(self, contents: Sequence[bytes]) -> int:
        """How many items at the beginning are the same, at least. Looked for from the end, in growing steps: what
        differs stands near the end, and where the first answer and two items running are equal, so is the rest."""
        shorter = min(self.size, len(contents))
        if not shorter or self.content(0) != contents[0]:
            return 0
        step, place = 1, shorter - 1
        while place >= 0:
            if self.content(place) == contents[place] and (
                place == 0 or self.content(place - 1) == contents[place - 1]
            ):
                return place + 1
            place -= step
            step *= 2
        return 0


def _named(start: bytes) -> str:
    return f"d-{start.hex()[:16]}"


_TOOL_LISTS = 128
_SHORT_BYTES, _LONG_BYTES = 1_024, 8_192  # of a piece; of a request


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


def _worked(request: Request, raws: Sequence[bytes | msgspec.Raw]) -> Worked:
    """What was worked out of the request's items so far."""
    found: Worked | None = request.__dict__.get("_worked")
    if found is None or len(found.contents) != len(raws):
        found = request.__dict__["_worked"] = Worked([None] * len(raws))
    return found


def _first_user(raws: Sequence[bytes | msgspec.Raw]) -> int | None:
    for index, raw in enumerate(raws):
        if says_user(raw):
            return index
    return 0 if raws else None


def _is_answer(raw: bytes | msgspec.Raw) -> bool:
    """Whether an item came from the model. Responses items without a role are tool calls, results or reasoning."""
    return role(raw) not in ("user", "system", "developer")
