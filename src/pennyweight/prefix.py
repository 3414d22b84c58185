"""The chain of prefix segments of a request: what a provider's prompt cache would see, block by block.

A segment's `digest` covers everything up to and including it, so two requests share a prefix exactly as far as their
digests agree. Cache markers and the form of a text (a string, or a list of one text block) do not count: clients move
the first and switch the second while the model reads the same.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, Literal, TypeVar

import msgspec

from .request import Request

__all__ = ["Blocks", "Segment", "SessionIndex", "canonical", "items", "shared"]

Kind = Literal["tools", "system", "message"]


class Segment(msgspec.Struct, frozen=True):
    """One block of the prompt. `content`: 16 bytes, this block alone; `digest`: 16 bytes, everything up to it."""

    kind: Kind
    index: int  # within its kind
    content: bytes
    digest: bytes
    size_bytes: int
    tokens: int = 0  # 0 where no counter was given


class Blocks:
    """Makes chains, and remembers what it has seen: an old block costs one hash over its bytes and one lookup.

    `count`: tokens of a block's JSON, asked once per new block. Blocks are remembered by the interpreter's keyed
    64-bit hash and their length, the least recently used forgotten beyond `capacity`.
    """

    def __init__(self, *, count: Callable[[bytes], int] | None = None, capacity: int = 65_536) -> None:
        self._count = count
        self._known: _Recent[tuple[int, int], tuple[bytes, int]] = _Recent(capacity)

    def chain(self, request: Request) -> tuple[Segment, ...]:
        """tools, then system, then messages, in the order in which providers cache them. Raises BadRequest."""
        envelope = request.envelope
        parts: list[tuple[Kind, int, bytes]] = [
            ("tools", index, bytes(raw)) for index, raw in enumerate(envelope.tools or ())
        ]
        systems = [raw for raw in (envelope.instructions, envelope.system) if raw is not None]
        parts += [("system", index, bytes(raw)) for index, raw in enumerate(systems)]
        parts += [("message", index, bytes(raw)) for index, raw in enumerate(items(request))]
        running = hashlib.blake2b(request.model.encode(), digest_size=16).digest()
        segments = []
        for kind, index, raw in parts:
            content, tokens = self.block(raw)
            running = hashlib.blake2b(running + kind.encode() + content, digest_size=16).digest()
            segments.append(Segment(kind, index, content, running, len(raw), tokens))
        return tuple(segments)

    def block(self, raw: bytes) -> tuple[bytes, int]:
        """A block's content digest and its tokens."""
        key = (hash(raw), len(raw))
        known = self._known.get(key)
        if known is None:
            text = canonical(raw)
            digest = hashlib.blake2b(text, digest_size=16).digest()
            known = (digest, self._count(text) if self._count is not None else 0)
            self._known.put(key, known)
        return known


def shared(a: Sequence[Segment], b: Sequence[Segment]) -> int:
    """How many segments two chains have in common from their start."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[middle - 1].digest == b[middle - 1].digest:
            low = middle
        else:
            high = middle - 1
    return low


def items(request: Request) -> Sequence[bytes | msgspec.Raw]:
    """The conversation's items as raw JSON: `messages`, or a Responses `input` (a text is one item)."""
    envelope = request.envelope
    if envelope.messages is not None:
        return envelope.messages
    if envelope.input is None:
        return ()
    view = memoryview(envelope.input)
    if bytes(view[:1]) != b"[":
        return (envelope.input,)
    return _list.decode(envelope.input)


def canonical(raw: bytes) -> bytes:
    """A block as compact JSON with sorted keys, without cache markers, a lone text block as a string.

    What cannot be read as JSON is returned as it is.
    """
    try:
        return msgspec.json.encode(_plain(_any.decode(raw)), order="sorted")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw


_any = msgspec.json.Decoder()
_list = msgspec.json.Decoder(list[msgspec.Raw])


def _plain(block: Any) -> Any:
    """Markers sit on messages, on their content blocks and on the blocks inside a tool result, nowhere deeper."""
    if isinstance(block, list):
        blocks = [_plain(item) for item in block]
        if len(blocks) == 1 and isinstance(blocks[0], dict):
            only = blocks[0]
            if only.keys() == {"type", "text"} and isinstance(only["type"], str) and only["type"] in _TEXT_TYPES:
                return only["text"]
        return blocks
    if isinstance(block, dict):
        plain = {key: value for key, value in block.items() if key != "cache_control"}
        if "content" in plain:
            plain["content"] = _plain(plain["content"])
        return plain
    return block


_TEXT_TYPES = frozenset({"text", "input_text", "output_text"})

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Recent(Generic[K, V]):
    """A dict that forgets what was not used for longest."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)

    def __len__(self) -> int:
        return len(self._entries)


# --- sessions of callers that name none --------------------------------------------------------------------


class _Branch:
    """One conversation: the content digests of its items as last seen."""

    __slots__ = ("answered", "contents", "name", "seen_at")

    def __init__(self, name: str, contents: list[bytes], *, answered: bool, seen_at: float) -> None:
        self.name = name
        self.contents = contents
        self.answered = answered  # the model has had a turn in it
        self.seen_at = seen_at


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
        self._starts: _Recent[bytes, list[_Branch]] = _Recent(capacity)
        self._names: _Recent[tuple[int, int], bytes] = _Recent(capacity)
        self._blocks = Blocks(capacity=capacity * 16)
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
        branches = self._starts.get(start)
        if branches is None:
            branches = []
            self._starts.put(start, branches)
        branch = self._find(branches, raws, first, now)
        if branch is None:
            return self._open(branches, start, raws, first, now).name
        self._extend(branch, raws, first, now)
        return branch.name

    def _start(self, scope: str, request: Request, first_user: bytes | msgspec.Raw) -> bytes:
        tools = request.envelope.tools or []
        raws = [bytes(tool) for tool in tools]
        key = (hash(tuple(raws)), len(raws))
        names = self._names.get(key)
        if names is None:
            names = b"\n".join(_tool_name(raw) for raw in raws)
            self._names.put(key, names)
        content = self._content(first_user)
        text = b"\0".join((scope.encode(), request.model.encode(), names, content))
        return hashlib.blake2b(text, digest_size=16).digest()

    def _find(
        self, branches: list[_Branch], raws: Sequence[bytes | msgspec.Raw], first: int, now: float
    ) -> _Branch | None:
        answered = len(raws) > first + 1 and any(_is_answer(raw) for raw in raws[first + 1 : first + 8])
        # The newest first: of two that could both go on, the one just spoken to.
        candidates = sorted(branches, key=lambda branch: (len(branch.contents), branch.seen_at), reverse=True)
        for branch in candidates:
            if branch.answered and self._extends(branch, raws, first):
                return branch
        for branch in candidates:
            if not branch.answered:  # asked again, or the first answer has come
                return branch
        if not answered:
            return None
        for branch in candidates:
            if now - branch.seen_at <= self._linger_s and self._common(branch, raws, first) > first + 1:
                return branch
        return None

    def _extends(self, branch: _Branch, raws: Sequence[bytes | msgspec.Raw], first: int) -> bool:
        """Whether the request begins with all that the branch holds. The first answer and the last three items stand
        for the rest: an answer is hardly ever the same twice, and looking at all would cost the whole length."""
        tip = len(branch.contents)
        if tip > len(raws):
            return False
        places = (tip - 1, max(tip - 2, 0), max(tip - 3, 0), min(first + 1, tip - 1))  # the likeliest to differ first
        return all(self._content(raws[place]) == branch.contents[place] for place in places)

    def _common(self, branch: _Branch, raws: Sequence[bytes | msgspec.Raw], first: int) -> int:
        """How many items at the beginning are the same, at least. Looked for from the end, in growing steps: what
        differs stands near the end, and where the first answer and two items running are equal, so is the rest."""
        shorter = min(len(raws), len(branch.contents))

        def same(place: int) -> bool:
            return self._content(raws[place]) == branch.contents[place]

        if shorter > first + 1 and not same(first + 1):
            return first + 1
        step, place = 1, shorter - 1
        while place > 0:
            if same(place) and same(place - 1):
                return place + 1
            place -= step
            step *= 2
        return int(shorter > 0 and same(0))

    def _open(
        self,
        branches: list[_Branch],
        start: bytes,
        raws: Sequence[bytes | msgspec.Raw],
        first: int,
        now: float,
    ) -> _Branch:
        number = 1 + max((int(b.name.rpartition("-")[2]) if b.name.count("-") == 2 else 1 for b in branches), default=0)
        name = f"d-{start.hex()[:16]}" + (f"-{number}" if number > 1 else "")
        branch = _Branch(name, [], answered=False, seen_at=now)
        self._extend(branch, raws, first, now)
        branches.append(branch)
        if len(branches) > self._branches:
            branches.remove(min(branches, key=lambda b: b.seen_at))
        return branch

    def _extend(self, branch: _Branch, raws: Sequence[bytes | msgspec.Raw], first: int, now: float) -> None:
        known = branch.contents
        keep = len(known)
        if not (known and self._extends(branch, raws, first)):
            keep = self._common(branch, raws, first)
        branch.contents = known[:keep] + [self._content(raw) for raw in raws[keep:]]
        branch.answered = branch.answered or any(_is_answer(raw) for raw in raws[first + 1 :])
        branch.seen_at = now

    def _content(self, raw: bytes | msgspec.Raw) -> bytes:
        return self._blocks.block(bytes(raw))[0]


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


def role(raw: bytes | msgspec.Raw) -> str:
    """The role of a message, read without building it; "" when it has none."""
    try:
        return _role.decode(raw).role or ""
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "user" if bytes(memoryview(raw)[:1]) == b'"' else ""


class _Role(msgspec.Struct):
    role: str | None = None


_role = msgspec.json.Decoder(_Role)
