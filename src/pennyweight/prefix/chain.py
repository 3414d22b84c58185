"""The chain of prefix segments of a request: what a provider's prompt cache would see, block by block.

A segment's `digest` covers everything up to and including it, so two requests share a prefix exactly as far as their
digests agree. Cache markers and the form of a text (a string, or a list of one text block) do not count: clients move
the first and switch the second while the model reads the same.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import compress, count
from operator import is_not, ne
from typing import Any, Literal

import msgspec

from ..once import once
from ..request import Request, Wire
from .canonical import canonical, digest, plain
from .items import Worked, items
from .marks import Mark, mark_of, ttl_of
from .rates import Rates
from .recent import Recent
from .shapes import Shaped, shaped

__all__ = ["Blocks", "Chain", "Segment", "shared"]

Kind = Literal["tools", "system", "message"]
_any = msgspec.json.Decoder()


class Segment(msgspec.Struct, frozen=True, gc=False):
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


class Chain(tuple[Segment, ...]):
    """A request's segments in the order in which providers cache them; what every price asks of them is found once.

    Two are equal where a provider would see the same: the same blocks with the same breakpoints, whoever counted their
    tokens.
    """

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Chain):
            return tuple.__eq__(self, other)
        if len(self) != len(other) or self.marks != other.marks:
            return False
        same = not self or self[-1].digest == other[-1].digest
        return same and all(self[place].mark == other[place].mark for place in self.marks)

    def __ne__(self, other: object) -> bool:  # a tuple has its own
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    rough = False
    """Whether the tokens of its last blocks are an estimate."""

    @once
    def marks(self) -> tuple[int, ...]:
        """Which segments have a breakpoint on them."""
        return tuple([index for index, segment in enumerate(self) if segment.mark])

    @once
    def bound(self) -> bool:
        """Whether reasoning that its provider has signed stands in it."""
        return any(segment.bound for segment in self)

    @once
    def head(self) -> int:
        """How many segments stand before the conversation: tools, system, and system messages at its beginning."""
        found = bisect_left(self, True, key=_in_message)
        while found < len(self) and self[found].role in ("system", "developer"):
            found += 1
        return found

    def goes_on(self, before: Chain, kept: int) -> None:
        """The first `kept` segments are those of `before`: what was found of them need not be looked for again."""
        marks = before.marks
        new = [index for index in range(kept, len(self)) if self[index].mark]
        self.__dict__["marks"] = (*marks[: bisect_left(marks, kept)], *new)
        if before.head < kept:
            self.__dict__["head"] = before.head
        if before.__dict__.get("bound") is False:
            self.__dict__["bound"] = any(self[index].bound for index in range(kept, len(self)))

    def marked(self, places: Collection[int], mark: Mark) -> Chain:
        """The same with breakpoints on these segments too."""
        segments = list(self)
        for place in places:
            segments[place] = msgspec.structs.replace(segments[place], mark=mark)
        found = Chain(segments)
        found.__dict__["marks"] = tuple(sorted({*self.marks, *places}))
        found.__dict__["head"] = self.head
        found.__dict__["rough"] = self.rough
        return found


def _in_message(segment: Segment) -> bool:
    return segment.kind == "message"


class _Part(msgspec.Struct, frozen=True, gc=False):
    """What is remembered of one block: a tool, a system block, or a content block of a message."""

    role: str
    content: bytes
    tokens: int
    size_bytes: int
    mark: Mark
    bound: bool = False
    tool: bool = False
    characters: int = 0  # of the texts that make the tokens


class _Past(msgspec.Struct, frozen=True):
    """The last chain of one conversation. `ends`: how many segments there are up to each raw piece; `counted`: of how
    many the tokens were counted and not estimated."""

    seed: bytes
    pieces: tuple[int, int]  # tools, systems
    split: bool
    raws: list[Any]
    segments: Chain
    ends: list[int]
    counted: int
    rates: Rates
    token: object  # of what was worked out of its items; None: nothing was

    def upto(self, most: int) -> tuple[tuple[Segment, ...], list[int]]:
        """The segments of the pieces that end within the first `most`, and those ends."""
        ends = self.ends[: bisect_right(self.ends, most)]
        return self.segments[: ends[-1] if ends else 0], ends


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
        self._known: Recent[tuple[int, int], tuple[bytes, int]] = Recent(capacity)
        self._parts: Recent[tuple[int, int, str], tuple[_Part, ...]] = Recent(capacity)
        self._rough: Recent[tuple[int, int, str], tuple[_Part, ...]] = Recent(_ROUGH)  # their tokens estimated
        self._pasts: OrderedDict[str, tuple[_Past, int]] = OrderedDict()
        self._limit_bytes = kept_bytes
        self.kept_bytes = 0  # of requests that are held to be compared with

    def chain(self, request: Request, *, session: str = "", rough: bool = False) -> Chain:
        """tools, then system, then messages, in the order in which providers cache them. Raises BadRequest.

        session: names the conversation, whose unchanged head is then compared and not read again. rough: the tokens of
        what is new behind a head of many times its length may be an estimate, until `settle`: a hundredth of the
        prompt hangs on it, and counting costs more than all else that is done for a new turn.
        """
        envelope = request.envelope
        tools: Sequence[Any] = envelope.tools or ()
        systems = [raw for raw in (envelope.instructions, envelope.system) if raw is not None]
        raws: list[Any] = [*tools, *systems, *items(request)]
        seed = request.model.encode() + b"\0" + _bound(request)
        pieces = (len(tools), len(systems))
        past = self._pasts.get(session, (None, 0))[0] if session else None
        segments: tuple[Segment, ...] = ()
        ends: list[int] = []
        counted, estimates, rates = 0, False, Rates()
        split = request.wire is Wire.ANTHROPIC_MESSAGES
        worked: Worked | None = request.__dict__.get("_worked")
        if past is not None and past.seed == seed and past.pieces == pieces:
            shared = worked.shared(past.token) if worked is not None and past.token is not None else None
            same = sum(pieces) + shared if shared is not None else _common(past.raws, raws)
            if same == len(raws) == len(past.raws) and (rough or not past.segments.rough):  # asked once more
                self._keep(session, past, len(request.raw))
                return self._automatic(request, past.segments)
            most = past.ends[same - 1] if same else 0
            counted, rates = min(past.counted, most), past.rates
            estimates = rough and self._may_be_rough(past, counted, raws)
            segments, ends = past.upto(most if estimates else counted)
        kept = len(segments)
        found = self._extended(segments, ends, raws, pieces, seed, rates, split=split, rough=estimates)
        if past is not None and kept:
            found.goes_on(past.segments, kept)
        if estimates and counted < len(found):
            found.__dict__["rough"] = True
        else:
            counted = len(found)
        if session:
            token = worked.token if worked is not None else None
            self._keep(session, _Past(seed, pieces, split, raws, found, ends, counted, rates, token), len(request.raw))
        return self._automatic(request, found)

    @staticmethod
    def _automatic(request: Request, found: Chain) -> Chain:
        """With the breakpoint of Anthropic's automatic option, which moves with the end."""
        control = request.envelope.cache_control
        if control is None or not found or request.wire is not Wire.ANTHROPIC_MESSAGES:
            return found
        mark = ttl_of(_any.decode(control))
        return found.marked((len(found) - 1,), mark) if mark else found

    def settle(self, session: str) -> None:
        """Count what was only estimated of the conversation's last request."""
        past, size = self._pasts.get(session, (None, 0))
        if past is None or past.counted >= len(past.segments):
            return
        segments, ends = past.upto(past.counted)
        found = self._extended(segments, ends, past.raws, past.pieces, past.seed, past.rates, split=past.split)
        found.goes_on(past.segments, len(segments))
        settled = msgspec.structs.replace(past, segments=found, ends=ends, counted=len(found))
        self._pasts[session] = settled, size

    def _may_be_rough(self, past: _Past, counted: int, raws: list[Any]) -> bool:
        """Whether what comes behind the counted blocks is so little beside them that an estimate of it will do."""
        known = past.segments[counted - 1].upto if counted else 0
        if self._count is None or known < _LONG_TOKENS:
            return False
        new = raws[bisect_right(past.ends, counted) :]
        if len(new) > _MOST_ROUGH:
            return False
        return _LEAST_ROUGH_BYTES <= sum([len(memoryview(raw)) for raw in new]) <= known // 4

    def _extended(
        self,
        known: tuple[Segment, ...],
        ends: list[int],
        raws: list[Any],
        pieces: tuple[int, int],
        seed: bytes,
        rates: Rates,
        *,
        split: bool,
        rough: bool = False,
    ) -> Chain:
        """The known segments, which are those of the pieces that have `ends`, and those of the others, whose ends are
        appended."""
        first_system, first_message = pieces[0], sum(pieces)
        running = known[-1].digest if known else digest(seed[: seed.find(b"\0")])
        upto = known[-1].upto if known else 0
        before, segments = len(known), list[Segment]()
        for place in range(len(ends), len(raws)):
            kind: Kind = "tools" if place < first_system else "system" if place < first_message else "message"
            index = place - (0 if place < first_system else first_system if place < first_message else first_message)
            if place == first_message:
                running = digest(running + seed)
            for number, part in enumerate(self._split(bytes(raws[place]), kind, rates, split=split, rough=rough)):
                running = digest(running + part.role.encode() + part.content)
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
            ends.append(before + len(segments))
        return Chain(known + tuple(segments))

    def _keep(self, session: str, past: _Past, size: int) -> None:
        gone = self._pasts.pop(session, None)
        self.kept_bytes -= gone[1] if gone is not None else 0
        if size > self._limit_bytes // _HUGE:
            return
        self.kept_bytes += size
        self._pasts[session] = (past, size)
        while self.kept_bytes > self._limit_bytes and len(self._pasts) > 1:
            self.kept_bytes -= self._pasts.popitem(last=False)[1][1]

    def _split(self, raw: bytes, kind: Kind, rates: Rates, *, split: bool, rough: bool) -> tuple[_Part, ...]:
        key = (hash(raw), len(raw), kind if split else kind[:1])
        known = self._parts.get(key)
        if known is None and rough and kind == "message":
            known = self._rough.get(key)
            if known is None:
                known = self._read(raw, kind, split=split, rates=rates)
                self._rough.put(key, known)
            return known
        if known is None:
            known = self._read(raw, kind, split=split)
            self._parts.put(key, known)
        if kind == "message":
            for part in known:
                if part.characters:
                    rates.learn((part.role, part.tool), part.tokens, part.characters)
        return known

    def _read(self, raw: bytes, kind: Kind, *, split: bool, rates: Rates | None = None) -> tuple[_Part, ...]:
        """rates: by which tokens are estimated, where they know who speaks."""
        found = shaped(raw, split=split) if kind == "message" else None
        if found is not None:
            return tuple([self._told(one, rates) for one in found])
        return tuple(self._carefully(raw, kind, split=split, rates=rates))

    def _carefully(self, raw: bytes, kind: Kind, *, split: bool, rates: Rates | None) -> Iterator[_Part]:
        try:
            value = _any.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            yield _Part("", digest(raw), len(raw) // 4, len(raw), "")
            return
        if kind == "tools" or not split:
            who = value.get("role") if isinstance(value, dict) else None
            yield self._part(value, who if isinstance(who, str) else "", len(raw), rates, whole=kind == "tools")
            return
        content, who = value, ""
        if kind == "message" and isinstance(value, dict):
            content, who = value.get("content"), str(value.get("role"))
        if not isinstance(content, list):
            yield self._part(content, who, len(raw), rates, whole=False)
            return
        for block in content:
            yield self._part(block, who, len(msgspec.json.encode(block)), rates, whole=False)

    def _told(self, shape: Shaped, rates: Rates | None) -> _Part:
        """What `_part` makes of a block of a shape that most have."""
        who, text, texts, size, mark, is_result = shape
        count = (rates.count((who, is_result)) if rates is not None else None) or self._count
        tokens = characters = 0
        if count is not None:
            tokens, characters = sum(map(count, texts)), sum(map(len, texts))
        return _Part(who, digest(text), tokens, size, mark, False, is_result, characters)

    def _part(self, value: Any, who: str, size: int, rates: Rates | None, *, whole: bool) -> _Part:
        bare = plain([value])  # a list, so that a lone text block is its text, whichever way it came
        bare = bare[0] if isinstance(bare, list) and len(bare) == 1 else bare
        text = msgspec.json.encode(bare, order="sorted")
        tokens = characters = 0
        is_result = _is_result(value)
        if self._count is not None:
            count = (rates.count((who, is_result)) if rates is not None else None) or self._count
            texts = [text.decode()] if whole else list(_texts(bare))
            images = _images(bare)
            tokens = sum(map(count, texts)) + IMAGE_TOKENS * images
            characters = 0 if images else sum(map(len, texts))
        mark, bound = mark_of(value), _is_bound(value)
        return _Part(who, digest(text), tokens, size, mark, bound, is_result, characters)

    def block(self, raw: bytes) -> tuple[bytes, int]:
        """A block's content digest and its size in bytes, canonical."""
        key = (hash(raw), len(raw))
        known = self._known.get(key)
        if known is None:
            text = canonical(raw)
            known = (digest(text), len(text))
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


_HUGE = 8  # so many of the largest requests that are held fill what may be held
_ROUGH = 1_024  # blocks whose tokens are estimates are remembered, until somebody counts them
_LONG_TOKENS = 8_000  # below, what a provider's least length and price bands ask for hangs on every token
_MOST_ROUGH = 32  # pieces
_LEAST_ROUGH_BYTES = 1_000  # below, counting at once costs less than going over it twice

IMAGE_TOKENS = 1_100
"""What providers charge for a picture of a screen, roughly; what they then bill corrects it (see `warmth`)."""


def _bound(request: Request) -> bytes:
    """What else a provider's cached messages hang on. Anthropic: a change of these invalidates messages, but neither
    tools nor system (docs.claude.com, "Prompt caching", What invalidates the cache)."""
    if request.wire is not Wire.ANTHROPIC_MESSAGES:
        return b""
    choice, thinking = request.envelope.tool_choice, request.envelope.thinking
    return b"\0".join((b"" if choice is None else bytes(choice), b"" if thinking is None else bytes(thinking)))


def _common(a: Sequence[Any], b: Sequence[Any]) -> int:
    """How many items two lists have in common from their start. Compared as memory is, each once, if they are not one
    and the same already."""
    most = min(len(a), len(b))
    same = max(most - _NEAR_END, 0)
    if a[:same] != b[:same]:  # the whole lists at once, for a third of what a step for each item costs
        same = 0
    same += next(compress(count(), map(is_not, a[same:], b[same:])), most - same)
    return same + next(compress(count(), map(ne, a[same:], b[same:])), most - same) if same < most else most


_NEAR_END = 8  # items from the end, before which hardly anything of a conversation changes


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


def shared(a: Sequence[Segment], b: Sequence[Segment]) -> int:
    """How many segments two chains have in common from their start."""
    low = high = min(len(a), len(b))
    step = 1
    # From the end, in growing steps: nearly always one goes on where the other ended, or a few blocks before that.
    while low and a[low - 1].digest != b[low - 1].digest:
        high = low - 1
        low = max(low - step, 0)
        step *= 2
    while low < high:
        middle = (low + high + 1) // 2
        if a[middle - 1].digest == b[middle - 1].digest:
            low = middle
        else:
            high = middle - 1
    return low
