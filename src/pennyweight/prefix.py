"""The chain of prefix segments of a request: what a provider's prompt cache would see, block by block.

A segment's `digest` covers everything up to and including it, so two requests share a prefix exactly as far as their
digests agree. Cache markers and the form of a text (a string, or a list of one text block) do not count: clients move
the first and switch the second while the model reads the same.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Generic, Literal, TypeVar

import msgspec

from .request import Request, Wire

__all__ = [
    "Blocks",
    "Mark",
    "Segment",
    "SessionIndex",
    "canonical",
    "items",
    "marks_of",
    "shared",
    "unmarked",
    "with_marks",
]

Kind = Literal["tools", "system", "message"]


Mark = Literal["", "5m", "1h"]


class Segment(msgspec.Struct, frozen=True):
    """One block of the prompt. `content`: 16 bytes, this block alone; `digest`: 16 bytes, everything up to it."""

    kind: Kind
    index: int  # within its kind: the tool, the system block or the message
    part: int  # the content block within a message; 0 where there is one
    role: str  # of a message; "" otherwise
    content: bytes
    digest: bytes
    size_bytes: int
    tokens: int = 0  # 0 where no counter was given
    upto: int = 0  # tokens up to this block and with it
    mark: Mark = ""  # the cache breakpoint that stands on it, by its time to live
    bound: bool = False  # reasoning that its provider has signed: what stands before it must not change
    tool: bool = False  # the result of a tool


class _Part(msgspec.Struct, frozen=True):
    """What is remembered of one block: a tool, a system block, or a content block of a message."""

    role: str
    content: bytes
    tokens: int
    size_bytes: int
    mark: Mark
    bound: bool = False
    tool: bool = False


class _Past(msgspec.Struct, frozen=True):
    """The last chain of one conversation. `ends`: how many segments there are up to each raw piece."""

    seed: bytes
    pieces: tuple[int, int]  # tools, systems
    raws: list[Any]
    segments: tuple[Segment, ...]
    ends: list[int]


class Blocks:
    """Makes chains, and remembers what it has seen, so that a turn's work follows what is new in it.

    `count`: tokens of a text, asked once per new block. Blocks are remembered by the interpreter's keyed 64-bit hash
    and their length; of a conversation that is named, the last request's pieces are kept to be compared with (at most
    `kept_bytes` of them in all). The least recently used is forgotten first.
    """

    def __init__(
        self,
        *,
        count: Callable[[str], int] | None = None,
        capacity: int = 65_536,
        kept_bytes: int = 48 << 20,
    ) -> None:
        self._count = count
        self._known: _Recent[tuple[int, int], tuple[bytes, int]] = _Recent(capacity)
        self._parts: _Recent[tuple[int, int, str], tuple[_Part, ...]] = _Recent(capacity)
        self._pasts: OrderedDict[str, tuple[_Past, int]] = OrderedDict()
        self._limit_bytes = kept_bytes
        self.kept_bytes = 0  # of requests that are held to be compared with

    def chain(self, request: Request, *, session: str = "") -> tuple[Segment, ...]:
        """tools, then system, then messages, in the order in which providers cache them. Raises BadRequest.

        session: names the conversation, whose unchanged head is then compared and not read again.
        """
        envelope = request.envelope
        tools: Sequence[Any] = envelope.tools or ()
        systems = [raw for raw in (envelope.instructions, envelope.system) if raw is not None]
        raws: list[Any] = [*tools, *systems, *items(request)]
        seed = b"\0".join((request.model.encode(), *_bound(request)))
        pieces = (len(tools), len(systems))
        past = self._pasts.get(session, (None, 0))[0] if session else None
        segments: list[Segment] = []
        ends: list[int] = []
        if past is not None and past.seed == seed and past.pieces == pieces:
            same = _common(past.raws, raws)
            ends = past.ends[:same]
            segments = list(past.segments[: ends[-1]]) if ends else []
        split = request.wire is Wire.ANTHROPIC_MESSAGES
        self._extend(segments, ends, raws, pieces, seed, split=split)
        found = tuple(segments)
        if session:
            self._keep(session, _Past(seed, pieces, raws, found, ends), len(request.raw))
        if envelope.cache_control is not None and found and split:  # the automatic option: it moves with the end
            mark = _ttl(_any.decode(envelope.cache_control))
            found = (*found[:-1], msgspec.structs.replace(found[-1], mark=mark))
        return found

    def _extend(
        self,
        segments: list[Segment],
        ends: list[int],
        raws: list[Any],
        pieces: tuple[int, int],
        seed: bytes,
        *,
        split: bool,
    ) -> None:
        first_system, first_message = pieces[0], sum(pieces)
        running = (
            segments[-1].digest if segments else hashlib.blake2b(seed[: seed.find(b"\0")], digest_size=16).digest()
        )
        upto = segments[-1].upto if segments else 0
        for place in range(len(ends), len(raws)):
            kind: Kind = "tools" if place < first_system else "system" if place < first_message else "message"
            index = place - (0 if place < first_system else first_system if place < first_message else first_message)
            if place == first_message:
                running = hashlib.blake2b(running + seed, digest_size=16).digest()
            for number, part in enumerate(self._split(bytes(raws[place]), kind, split=split)):
                running = hashlib.blake2b(running + part.role.encode() + part.content, digest_size=16).digest()
                upto += part.tokens
                spread = kind == "system" and split
                segments.append(
                    Segment(
                        kind,
                        number if spread else index,
                        0 if spread else number,
                        part.role,
                        part.content,
                        running,
                        part.size_bytes,
                        part.tokens,
                        upto,
                        part.mark,
                        part.bound,
                        part.tool,
                    )
                )
            ends.append(len(segments))

    def _keep(self, session: str, past: _Past, size: int) -> None:
        gone = self._pasts.pop(session, None)
        self.kept_bytes += size - (gone[1] if gone is not None else 0)
        self._pasts[session] = (past, size)
        while self.kept_bytes > self._limit_bytes and len(self._pasts) > 1:
            self.kept_bytes -= self._pasts.popitem(last=False)[1][1]

    def _split(self, raw: bytes, kind: Kind, *, split: bool) -> tuple[_Part, ...]:
        key = (hash(raw), len(raw), kind if split else kind[:1])
        known = self._parts.get(key)
        if known is None:
            known = tuple(self._read(raw, kind, split=split))
            self._parts.put(key, known)
        return known

    def _read(self, raw: bytes, kind: Kind, *, split: bool) -> Iterator[_Part]:
        try:
            value = _any.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            yield _Part("", hashlib.blake2b(raw, digest_size=16).digest(), len(raw) // 4, len(raw), "")
            return
        if kind == "tools" or not split:
            who = value.get("role") if isinstance(value, dict) else None
            yield self._part(value, who if isinstance(who, str) else "", len(raw), whole=kind == "tools")
            return
        content, who = value, ""
        if kind == "message" and isinstance(value, dict):
            content, who = value.get("content"), str(value.get("role"))
        if not isinstance(content, list):
            yield self._part(content, who, len(raw), whole=False)
            return
        for block in content:
            yield self._part(block, who, len(msgspec.json.encode(block)), whole=False)

    def _part(self, value: Any, who: str, size: int, *, whole: bool) -> _Part:
        plain = _plain([value])  # a list, so that a lone text block is its text, whichever way it came
        plain = plain[0] if isinstance(plain, list) and len(plain) == 1 else plain
        text = msgspec.json.encode(plain, order="sorted")
        tokens = 0
        if self._count is not None:
            tokens = self._count(text.decode()) if whole else sum(map(self._count, _texts(plain)))
            tokens += IMAGE_TOKENS * _images(plain)
        mark = _mark(value)
        return _Part(
            who, hashlib.blake2b(text, digest_size=16).digest(), tokens, size, mark, _is_bound(value), _is_result(value)
        )

    def block(self, raw: bytes) -> tuple[bytes, int]:
        """A block's content digest and its size in bytes, canonical."""
        key = (hash(raw), len(raw))
        known = self._known.get(key)
        if known is None:
            text = canonical(raw)
            known = (hashlib.blake2b(text, digest_size=16).digest(), len(text))
            self._known.put(key, known)
        return known


def _is_bound(value: Any) -> bool:
    """Anthropic's signed thinking, Responses' encrypted reasoning."""
    if not isinstance(value, dict):
        return False
    kind = value.get("type")
    if kind in ("thinking", "redacted_thinking"):
        return bool(value.get("signature") or value.get("data"))
    return kind == "reasoning" and bool(value.get("encrypted_content"))


def _is_result(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    kind = value.get("type")
    return value.get("role") == "tool" or kind == "tool_result" or (isinstance(kind, str) and kind.endswith("_output"))


IMAGE_TOKENS = 1_100
"""What providers charge for a picture of a screen, roughly; what they then bill corrects it (see `warmth`)."""


def _bound(request: Request) -> Iterator[bytes]:
    """What else a provider's cached messages hang on. Anthropic: a change of these invalidates messages, but neither
    tools nor system (docs.claude.com, "Prompt caching", What invalidates the cache)."""
    if request.wire is Wire.ANTHROPIC_MESSAGES:
        for raw in (request.envelope.tool_choice, request.envelope.thinking):
            yield b"" if raw is None else bytes(raw)
    else:
        yield b""


def _common(a: list[Any], b: list[Any]) -> int:
    """How many items two lists have in common from their start. Compared in pieces, as memory is."""
    high = min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    low = 0
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _texts(value: Any) -> Iterator[str]:
    """What a model reads of a block: its texts, the names and arguments of calls."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        kind = value.get("type")
        if isinstance(kind, str) and "image" in kind and "call" not in kind:
            return
        for key, inner in value.items():
            if key in ("input", "arguments", "parameters", "action") and not isinstance(inner, str):
                yield msgspec.json.encode(inner).decode()
            elif key not in _UNREAD:
                yield from _texts(inner)


def _images(value: Any) -> int:
    if isinstance(value, list):
        return sum(map(_images, value))
    if isinstance(value, dict):
        kind = value.get("type")
        if isinstance(kind, str) and "image" in kind and "call" not in kind:
            return 1
        return sum(_images(inner) for inner in value.values() if isinstance(inner, dict | list))
    return 0


_UNREAD = frozenset(
    ("type", "id", "role", "call_id", "tool_use_id", "tool_call_id", "signature", "encrypted_content", "status", "data")
)


def _mark(value: Any) -> Mark:
    """The breakpoint on a block, or on the last of its parts that has one."""
    if isinstance(value, list):
        return next((mark for block in reversed(value) if (mark := _mark(block))), "")
    if not isinstance(value, dict):
        return ""
    own = next((value[key] for key in MARKS if value.get(key) is not None), None)
    if own is not None:
        return _ttl(own)
    for holder in _HOLDERS:
        content = value.get(holder)
        for block in reversed(content) if isinstance(content, list) else ():
            marks = [block[key] for key in MARKS if block.get(key) is not None] if isinstance(block, dict) else []
            if marks:
                return _ttl(marks[0])
    return ""


MARKS = ("cache_control", "prompt_cache_breakpoint")
"""The fields by which blocks are marked: Anthropic's, and OpenAI's from GPT-5.6 on."""

_HOLDERS = ("content", "output")


def marks_of(raw: bytes) -> tuple[Any, ...]:
    """The cache marks in a piece of a prompt, in order."""
    if not _may_be_marked(raw):
        return ()
    return tuple(_marks(_any.decode(raw)))


def unmarked(raw: bytes) -> bytes:
    """The piece without its cache marks; its other bytes stay where there are none."""
    if not _may_be_marked(raw):
        return raw
    return msgspec.json.encode(_bare(_any.decode(raw)))


def _may_be_marked(raw: bytes) -> bool:
    return any(mark.encode() in raw for mark in MARKS)


def with_marks(raw: bytes, marks: Sequence[Any]) -> bytes:
    """A message or system prompt without marks, with the last of `marks` on its last block. A text becomes a block.

    Thinking and empty texts take no mark: the provider refuses them there.
    """
    if not marks:
        return raw
    value = _any.decode(raw)
    holder = (
        next((key for key in _HOLDERS if isinstance(value.get(key), str | list)), "") if isinstance(value, dict) else ""
    )
    if holder:
        value = {**value, holder: _with_mark(value[holder], marks[-1])}
    elif isinstance(value, str | list):
        value = _with_mark(value, marks[-1])
    return msgspec.json.encode(value)


def _with_mark(content: Any, mark: Any) -> Any:
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    last = blocks[-1] if blocks else None
    if not isinstance(last, dict) or last.get("text") == "" or last.get("type") in ("thinking", "redacted_thinking"):
        return content
    return [*blocks[:-1], {**last, MARKS["mode" in mark]: mark}]


def _marks(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _marks(item)
    elif isinstance(value, dict):
        for holder in _HOLDERS:
            yield from _marks(value.get(holder))
        for key in MARKS:
            if value.get(key) is not None:
                yield value[key]


def _bare(value: Any) -> Any:
    """Without marks where marks can stand: on blocks, and on the blocks in a result."""
    if isinstance(value, list):
        return [_bare(item) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {key: inner for key, inner in value.items() if key not in MARKS}
    for holder in _HOLDERS:
        if holder in plain:
            plain[holder] = _bare(plain[holder])
    return plain


def _ttl(mark: Any) -> Mark:
    if not isinstance(mark, dict):
        return ""
    return "1h" if mark.get("ttl") == "1h" else "5m"


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
        return _encode(_said.decode(raw))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return msgspec.json.encode(_plain(_any.decode(raw)), order="sorted")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return raw


class _Said(msgspec.Struct, forbid_unknown_fields=True):
    """A message that is a text and nothing else, as most are: nothing in it but the order of its keys to bring in line,
    which is that of the fields. Read so, it costs a third."""

    content: str
    role: str


_encode = msgspec.json.Encoder().encode
_said = msgspec.json.Decoder(_Said)
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
        plain = {key: value for key, value in block.items() if key not in MARKS}
        for holder in _HOLDERS:
            if holder in plain:
                plain[holder] = _plain(plain[holder])
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
    """One conversation: the content digests of what followed its first user message, as last seen."""

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
        self._contents: _Recent[tuple[int, int], bytes] = _Recent(capacity * 16)
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
        branch = self._find(branches, rest, now) or self._open(branches, start, now)
        self._extend(branch, rest, now)
        return branch.name

    def _start(self, scope: str, request: Request, first_user: bytes | msgspec.Raw) -> bytes:
        names = b""
        if request.envelope.tools:
            raws = [bytes(tool) for tool in request.envelope.tools]
            key = (hash(tuple(raws)), len(raws))
            known = self._names.get(key)
            names = known if known is not None else b"\n".join([_tool_name(raw) for raw in raws])
            if known is None:
                self._names.put(key, names)
        text = b"\0".join((scope.encode(), request.model.encode(), names, self._content(first_user)))
        return hashlib.blake2b(text, digest_size=16).digest()

    def _find(self, branches: list[_Branch], rest: Sequence[bytes | msgspec.Raw], now: float) -> _Branch | None:
        if not branches:
            return None
        # The newest first: of two that could both go on, the one just spoken to.
        candidates = sorted(branches, key=lambda branch: (len(branch.contents), branch.seen_at), reverse=True)
        for branch in candidates:
            if branch.answered and self._extends(branch, rest):
                return branch
        for branch in candidates:
            if not branch.answered:  # asked again, or the first answer has come
                return branch
        if not any(_is_answer(raw) for raw in rest[:7]):
            return None
        for branch in candidates:
            if now - branch.seen_at <= self._linger_s and self._common(branch, rest):
                return branch
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
        number = 1 + max((int(b.name.rpartition("-")[2]) if b.name.count("-") == 2 else 1 for b in branches), default=0)
        name = f"d-{start.hex()[:16]}" + (f"-{number}" if number > 1 else "")
        branch = _Branch(name, [], answered=False, seen_at=now)
        branches.append(branch)
        if len(branches) > self._branches:
            branches.remove(min(branches, key=lambda b: b.seen_at))
        return branch

    def _extend(self, branch: _Branch, rest: Sequence[bytes | msgspec.Raw], now: float) -> None:
        contents = branch.contents
        if contents and not self._extends(branch, rest):
            del contents[self._common(branch, rest) :]
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
