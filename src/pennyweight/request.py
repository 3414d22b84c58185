"""What a caller sent and what an upstream answered: native bytes, with typed views that are computed when asked.

A `Request` is the body as it came, never mutated. An `Edit` is one change to it; `Request.edit` splices the new
values into the bytes, so what an edit does not name keeps its bytes, unknown fields and number formats included.
This module knows JSON, but no protocol: what a message or a tool looks like is told in `pennyweight.wire`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from itertools import accumulate, groupby
from typing import Any

import msgspec

from .errors import BadRequest

__all__ = [
    "Charge",
    "Delta",
    "Done",
    "Edit",
    "Headers",
    "Operation",
    "ReasoningDelta",
    "Reply",
    "Request",
    "Response",
    "TextDelta",
    "ToolCallDelta",
    "Usage",
    "Wire",
    "get_header",
    "splice",
    "too_deep",
]

Headers = tuple[tuple[str, str], ...]
"""Header fields in the order they came, names in lower case. Credentials are never among a Request's."""


class Wire(StrEnum):
    """A protocol that a body is written in; the value is the name of its module in `pennyweight.wire`."""

    OPENAI_CHAT = "openai_chat"
    OPENAI_RESPONSES = "openai_responses"
    ANTHROPIC_MESSAGES = "anthropic_messages"
    OLLAMA = "ollama"


class Operation(StrEnum):
    GENERATE = "generate"  # chat completions, responses, messages, /api/chat, /api/generate
    EMBED = "embed"  # /v1/embeddings, /api/embed
    COUNT = "count_tokens"  # /v1/messages/count_tokens: asked of the provider, costs nothing
    OTHER = "other"  # anything else under /v1: passed on untouched


class Edit(msgspec.Struct, frozen=True):
    """One change to a JSON body: put `value` at `path`, or take the place away with `DELETE`.

    `path`: keys and list indices from the root, e.g. ("messages", 3, "content"). A last key that is absent is added
    at the end of its object; an index equal to the length of its list appends.
    """

    path: tuple[str | int, ...]
    value: Any


DELETE: Any = msgspec.UNSET
"""As the value of an Edit: remove the member or list item."""


# msgspec takes any value as a Raw, but `Raw | None` only null: so None is the default of a field that is a Raw.
_ABSENT: Any = None


class Envelope(msgspec.Struct, frozen=True):
    """The few top-level fields that every call needs, decoded without building the conversation (see bench/LOG.md).

    A Raw field is None when the body lacks it, and `null` as Raw when the body says null.
    """

    model: str | None = None
    stream: bool | None = None
    temperature: float | None = None
    seed: int | float | None = None
    messages: list[msgspec.Raw] | None = None
    input: msgspec.Raw = _ABSENT
    system: msgspec.Raw = _ABSENT
    instructions: msgspec.Raw = _ABSENT
    tools: list[msgspec.Raw] | None = None
    user: Any = None  # a string, where it is what OpenAI says
    cache_key: str | msgspec.UnsetType | None = msgspec.field(default=msgspec.UNSET, name="prompt_cache_key")
    metadata: msgspec.Raw = _ABSENT
    stream_options: msgspec.Raw = _ABSENT
    cache_control: msgspec.Raw = _ABSENT
    tool_choice: msgspec.Raw = _ABSENT
    thinking: msgspec.Raw = _ABSENT

    @property
    def prompt_cache_key(self) -> str | None:
        return None if isinstance(self.cache_key, msgspec.UnsetType) else self.cache_key

    def lacks(self, name: str) -> bool:
        """Whether the body is known to have no member of that name."""
        if name == "prompt_cache_key":
            return self.cache_key is msgspec.UNSET
        return name in _RAW and getattr(self, name) is None


_RAW = frozenset(
    ("input", "system", "instructions", "metadata", "stream_options", "cache_control", "tool_choice", "thinking")
)
_envelope = msgspec.json.Decoder(Envelope)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_array = msgspec.json.Decoder(list[msgspec.Raw])
_any = msgspec.json.Decoder()


class Request(msgspec.Struct, frozen=True, dict=True, eq=False):
    """One request as it came: `raw` bytes of a body in the protocol `wire`, and the headers beside it.

    `path` is the path as called (`/v1/messages`), `query` the query string without its question mark.
    """

    wire: Wire
    raw: bytes
    headers: Headers = ()
    path: str = ""
    query: str = ""
    method: str = "POST"
    operation: Operation = Operation.GENERATE

    @property
    def envelope(self) -> Envelope:
        """Raises BadRequest when the body is not a JSON object or a field we must read has a wrong type."""
        # By hand: functools.cached_property takes a lock until Python 3.12, and every call comes here several times.
        try:
            found: Envelope = self.__dict__["_envelope"]
        except KeyError:
            found = self.__dict__["_envelope"] = self._decoded()
        return found

    def _decoded(self) -> Envelope:
        try:
            return _envelope.decode(self.raw)
        except msgspec.ValidationError as error:
            raise BadRequest(f"The request body is not valid: {error}.") from None
        except msgspec.DecodeError as error:
            raise BadRequest(f"The request body is not valid JSON: {error}.") from None
        except (RecursionError, UnicodeDecodeError):
            raise BadRequest("The request body is nested too deeply or is not UTF-8.") from None

    @cached_property
    def body(self) -> dict[str, Any]:
        """The body as parsed JSON. Treat it as read-only: change it with `edit`. Raises BadRequest."""
        try:
            body = _any.decode(self.raw)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise BadRequest(f"The request body is not valid JSON: {error}.") from None
        if not isinstance(body, dict):
            raise BadRequest("The request body must be a JSON object.")
        return body

    @property
    def model(self) -> str:
        """The model as named in the body; "" when there is none."""
        return self.envelope.model or ""

    @property
    def stream(self) -> bool:
        """Whether the caller asked for a stream; Ollama streams unless told not to."""
        asked = self.envelope.stream
        return asked if asked is not None else self.wire is Wire.OLLAMA and self.operation is Operation.GENERATE

    @property
    def fields(self) -> Mapping[str, str]:
        """The first value of each header, by its name."""
        try:
            found: Mapping[str, str] = self.__dict__["_fields"]
        except KeyError:
            found = self.__dict__["_fields"] = dict(reversed(self.headers))
        return found

    def header(self, name: str) -> str | None:
        """The first header of that lower-case name."""
        return self.fields.get(name)

    def edit(self, edits: Sequence[Edit]) -> Request:
        """A request whose body has these changes, in order. What they do not name keeps its bytes."""
        known: Envelope | None = self.__dict__.get("_envelope")
        if known is not None and all(_adds(change, known) for change in edits):
            raw = _appended(self.raw, {str(change.path[0]): change.value for change in edits})
        else:
            raw = _splice(self.raw, [(change.path, change.value) for change in edits])
        edited = msgspec.structs.replace(self, raw=raw)
        if known is not None and all(_is_plain(change) for change in edits):  # reading it anew costs as much as editing
            told = {_PLAIN[str(change.path[0])]: change.value for change in edits if change.path[0] in _PLAIN}
            edited.__dict__["_envelope"] = msgspec.structs.replace(known, **told)
        return edited


def _is_plain(change: Edit) -> bool:
    """Whether an edit sets a member that no envelope has, or a text in one that it has as text."""
    if len(change.path) != 1 or change.value is DELETE:
        return False
    return change.path[0] not in _READ or (change.path[0] in _PLAIN and isinstance(change.value, str))


_READ = frozenset(Envelope.__struct_encode_fields__)
_PLAIN = {"model": "model", "prompt_cache_key": "cache_key"}  # members to fields


def _adds(change: Edit, known: Envelope) -> bool:
    """Whether an edit adds a member that its body does not have."""
    return len(change.path) == 1 and change.value is not DELETE and known.lacks(str(change.path[0]))


def _appended(raw: bytes, members: Mapping[str, Any]) -> bytes:
    """An object, known to be one, with members at its end that it does not have. Nothing of it is read."""
    end = len(raw.rstrip(_SPACE)) - 1
    if raw[end - 1] in _SPACE:
        end = len(raw[:end].rstrip(_SPACE))
    pieces: list[Any] = [memoryview(raw)[:end]]
    for key, value in members.items():
        text = bytes(value) if isinstance(value, msgspec.Raw) else msgspec.json.encode(value)
        pieces += (b"," if len(pieces) > 1 or raw[end - 1] != _OPEN else b"", msgspec.json.encode(key), b":", text)
    return b"".join((*pieces, b"}"))


_SPACE = b" \t\r\n"
_OPEN = ord("{")


def get_header(headers: Headers, name: str) -> str | None:
    for key, value in headers:
        if key == name:
            return value
    return None


def too_deep(raw: bytes, limit: int) -> bool:
    """Whether JSON is nested deeper than `limit` levels, found without recursion or building anything.

    Exact for valid JSON. Most bodies are told by the number of their brackets alone.
    """
    if len(raw) <= limit or raw.count(b"[") + raw.count(b"{") <= limit:
        return False
    outside = b"".join(raw.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    brackets = outside.translate(_SQUARE, _NO_BRACKETS)
    peeled = 0
    while brackets and peeled < 16:  # the innermost pairs of all branches go at once, which is cheap and mostly enough
        rest = brackets.replace(b"[]", b"")
        if len(rest) == len(brackets):
            break
        brackets = rest
        peeled += 1
    return peeled + max(accumulate(map(_STEP.__getitem__, brackets)), default=0) > limit


_STEP = [0] * 256
_STEP[ord("[")], _STEP[ord("]")] = 1, -1
_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def splice(raw: bytes, path: Sequence[str | int], value: Any) -> bytes:
    """`raw` JSON with `value` put at `path`; members beside the path keep their bytes (white space between may go).

    Raises BadRequest when the path leads through something that is no object or list, or past a list's end.
    """
    return _splice(raw, [(path, value)])


_Changes = list[tuple[Sequence[str | int], Any]]


def _splice(raw: bytes, changes: _Changes) -> bytes:
    """The changes in order. A container on the way is read and written once for all that follow each other in it."""
    at = 0
    while at < len(changes):
        path, value = changes[at]
        if not path:
            raw = value if isinstance(value, msgspec.Raw) else msgspec.json.encode(value)
            at += 1
            continue
        end = at + 1
        while end < len(changes) and changes[end][0] and type(changes[end][0][0]) is type(path[0]):
            end += 1
        try:
            raw = (_splice_object if isinstance(path[0], str) else _splice_list)(raw, changes[at:end])
        except msgspec.DecodeError as error:
            raise BadRequest(f"No place {list(path)!r} in the body: {error}.") from None
        at = end
    return raw


def _splice_object(raw: bytes, changes: _Changes) -> bytes:
    members: dict[str, Any] = dict(_object.decode(raw))
    for key, below in _by_step(changes):
        waiting: _Changes = []
        for change in below:
            if not change[0] and change[1] is DELETE:
                if waiting:
                    _splice(bytes(members.get(key, b"{}")), waiting)  # for its errors: what comes of it goes at once
                members.pop(key, None)
                waiting = []
            else:
                waiting.append(change)
        if waiting:
            members[key] = msgspec.Raw(_splice(bytes(members.get(key, b"{}")), waiting))
    # Joined by hand: the encoder's buffer grows and is copied as it goes, 1 ms for half a megabyte against 0.05.
    pieces: list[Any] = []
    for key, member in members.items():
        pieces += (b",", msgspec.json.encode(key), b":", member)
    return b"".join((b"{", *pieces[1:], b"}"))


def _splice_list(raw: bytes, changes: _Changes) -> bytes:
    items: list[Any] = list(_array.decode(raw))
    for key, below in _by_step(changes):
        waiting: _Changes = []
        for change in below:
            if not change[0] and change[1] is DELETE:
                _put(items, key, waiting)
                waiting = []
                if not 0 <= key < len(items):
                    raise BadRequest(f"No item {key} in a list of {len(items)}.")
                del items[key]
            else:
                waiting.append(change)
        _put(items, key, waiting)
    return b"".join((b"[", b",".join(items), b"]"))


def _put(items: list[Any], key: int, changes: _Changes) -> None:
    if not changes:
        return
    if not 0 <= key <= len(items):
        raise BadRequest(f"No item {key} in a list of {len(items)}.")
    if key == len(items):
        items.append(msgspec.Raw(_splice(b"{}", changes)))
    else:
        items[key] = msgspec.Raw(_splice(bytes(items[key]), changes))


def _by_step(changes: _Changes) -> Iterator[tuple[Any, _Changes]]:
    """(first step, what lies below it) for the changes that follow each other and begin with the same step."""
    for step, run in groupby(changes, key=lambda change: change[0][0]):
        yield step, [(path[1:], value) for path, value in run]


# --- answers ----------------------------------------------------------------------------------------------


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one answer in one convention: `input_tokens` is the whole prompt, cached and written tokens included;
    `output_tokens` includes reasoning. (OpenAI counts so; Anthropic counts cached and written tokens beside input.)

    `counted`: the provider sent no usage and we counted the text ourselves. `suspect`: why what it sent cannot be
    wholly true, such as "900 cached or written of 100 input tokens"; "" when nothing is the matter.
    """

    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    tier: str = "standard"
    counted: bool = False
    suspect: str = ""

    @property
    def uncached_tokens(self) -> int:
        """Prompt tokens billed as plain input."""
        rest = self.input_tokens - self.cache_read_tokens - self.cache_write_5m_tokens - self.cache_write_1h_tokens
        return max(rest, 0)

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class Charge(msgspec.Struct, frozen=True, dict=True):
    """One bill that an answer caused. Replayed from a cache: none; a cascade: several; a fused follower: none."""

    provider: str
    model: str
    usage: Usage
    at: float  # unix seconds, UTC


class TextDelta(msgspec.Struct, frozen=True, tag="text"):
    text: str


class ReasoningDelta(msgspec.Struct, frozen=True, tag="reasoning"):
    text: str
    signature: str | None = None


class ToolCallDelta(msgspec.Struct, frozen=True, tag="tool_call"):
    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The end of an answer: what it amounts to, and what getting it is billed as. `usage` None: nobody told us."""

    usage: Usage | None = None
    finish_reason: str | None = None  # in the words of the wire it came in
    charges: tuple[Charge, ...] = ()
    complete: bool = True  # False: the upstream cut the stream, the caller left, or it ended in an error event


Delta = TextDelta | ReasoningDelta | ToolCallDelta | Done


class Response(msgspec.Struct, frozen=True):
    """A whole answer: `raw` is the JSON body in the protocol `wire`, as the provider wrote it or folded."""

    wire: Wire
    raw: bytes
    done: Done
    status: int = 200
    headers: Headers = ()


class Reply:
    """What a backend opened: status and headers now, the body whole (`content`) or as it arrives (`chunks`).

    Exactly one of `content` and `chunks` is set. Iterate chunks to their end or call `aclose`: whoever opens a reply
    closes it, and closing one whose body is still coming stops the provider. After the end `done` tells usage, finish
    reason and charges. Chunks are the bytes as they came, cut where the network cut them. A stream that the upstream
    cut raises StreamCut at that point.
    """

    __slots__ = (
        "_close",
        "_ended",
        "asked_at",
        "chunks",
        "content",
        "done",
        "headers",
        "notes",
        "on_end",
        "output_text",
        "status",
        "trail",
        "wire",
    )

    def __init__(
        self,
        status: int,
        headers: Headers,
        *,
        wire: Wire,
        content: bytes | None = None,
        chunks: AsyncIterator[bytes] | None = None,
        done: Done | None = None,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.wire = wire
        self.content = content
        self.chunks = chunks
        self.done = done
        self.on_end: list[Callable[[Reply], None]] = []
        # What was streamed so far, for counting where no usage came.
        self.output_text: Callable[[], str] | None = None
        self.asked_at: float | None = None  # when the upstream was asked, on the monotonic clock
        self.notes: list[Any] = []  # call.Step: what wrappers below the pipeline did, for the call's trail
        self.trail: tuple[Any, ...] = ()  # call.Step: the whole trail, once the pipeline has opened it
        self._close = close
        self._ended = False

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    async def read(self) -> bytes:
        """The whole body."""
        if self.content is None:
            assert self.chunks is not None
            self.content = b"".join([chunk async for chunk in self.chunks])
            self.chunks = None
        return self.content

    async def aclose(self) -> None:
        """End the reply: release the connection, then tell `on_end` listeners once. Safe to call again."""
        if self._ended:
            return
        self._ended = True
        close, self._close = (
            self._close,
            None,
        )  # it mostly knows this reply: what was streamed would wait for the collector
        try:
            if close is not None:
                await close()
        finally:
            for listener in self.on_end:
                listener(self)

    async def __aenter__(self) -> Reply:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()
