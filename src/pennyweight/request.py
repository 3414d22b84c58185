"""What a caller sent and what an upstream answered: native bytes, with typed views that are computed when asked.

A `Request` is the body as it came, never mutated. An `Edit` is one change to it; `Request.edit` splices the new
values into the bytes, so what an edit does not name keeps its bytes, unknown fields and number formats included.
This module knows JSON, but no protocol: what a message or a tool looks like is told in `pennyweight.wire`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from itertools import accumulate
from typing import Any, cast

import msgspec

from .errors import BadRequest
from .once import once
from .splicing import DELETE, Changes, Told, append, splice, splice_all, splice_known
from .surrogates import lone_surrogate

__all__ = [
    "DELETE",
    "Charge",
    "Delta",
    "Done",
    "Edit",
    "Headers",
    "Operation",
    "Part",
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
    prompt_cache_retention: Any = None  # a string, where it is what OpenAI says
    include: Any = None  # a list of strings, the same

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

    @once
    def envelope(self) -> Envelope:
        """Raises BadRequest when the body is not a JSON object or a field we must read has a wrong type."""
        try:
            found = _envelope.decode(self.raw)
            self.__dict__["model"] = found.model or ""  # which everybody asks for
            return found
        except msgspec.ValidationError as error:
            raise BadRequest(f"The request body is not valid: {error}.") from None
        except msgspec.DecodeError as error:
            raise _malformed(self.raw, error) from None
        except RecursionError:  # where the interpreter's limit comes before server.max_depth
            raise BadRequest("The request body is nested too deeply. Flatten it.") from None
        except UnicodeDecodeError:
            raise BadRequest("The request body is not UTF-8.") from None

    @once
    def body(self) -> dict[str, Any]:
        """The body as parsed JSON. Treat it as read-only: change it with `edit`. Raises BadRequest."""
        try:
            body = _any.decode(self.raw)
        except RecursionError:
            raise BadRequest("The request body is nested too deeply. Flatten it.") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _malformed(self.raw, error) from None
        if not isinstance(body, dict):
            raise BadRequest("The request body must be a JSON object.")
        return body

    @once
    def model(self) -> str:
        """The model as named in the body; "" when there is none."""
        return self.envelope.model or ""

    @property
    def stream(self) -> bool:
        """Whether the caller asked for a stream; Ollama streams unless told not to."""
        asked = self.envelope.stream
        return asked if asked is not None else self.wire is Wire.OLLAMA and self.operation is Operation.GENERATE

    @once
    def fields(self) -> Mapping[str, str]:
        """The first value of each header, by its name."""
        return dict(reversed(self.headers))

    def told(self, fields: Mapping[str, str], room: dict[Any, Any] | None) -> None:
        """By who made it, before anybody has seen it: `fields`, and the room that its head has."""
        self.__dict__.update(fields=fields, room=room)

    @once
    def room(self) -> dict[Any, Any] | None:
        """Room for what is worked out of path and headers alone, shared by all requests of a connection that have the
        same; each who keeps something there does so under itself. None: there is none."""
        return None

    def header(self, name: str) -> str | None:
        """The first header of that lower-case name."""
        return self.fields.get(name)

    def items(self, name: str) -> Sequence[msgspec.Raw] | None:
        """The items of `messages`, `tools` or `input`, where that is a list. Raises BadRequest."""
        found: Any = getattr(self.envelope, name)
        if isinstance(found, msgspec.Raw):
            kept: dict[str, list[msgspec.Raw]] = self.__dict__.setdefault("_items", {})
            if name not in kept and bytes(memoryview(found)[:1]) == b"[":
                kept[name] = _array.decode(found)
            return kept.get(name)
        return cast("list[msgspec.Raw] | None", found)

    def edit(self, edits: Sequence[Edit]) -> Request:
        """A request whose body has these changes, in order. What they do not name keeps its bytes."""
        known: Envelope | None = self.__dict__.get("envelope")
        changes: Changes = [(change.path, change.value) for change in edits]
        done = self._edited(known, changes) if known is not None else None
        raw, told = done or (splice_all(self.raw, changes), {})
        edited = msgspec.structs.replace(self, raw=raw)
        edited.told(self.fields, self.room)
        if known is not None and done is not None:
            envelope = _retold(known, told)
            if envelope is not None:
                edited.__dict__["envelope"] = envelope
                edited.__dict__["_items"] = {name: items for name, items in told.items() if isinstance(items, list)}
        return edited

    def _edited(self, known: Envelope, changes: Changes) -> tuple[bytes, Told] | None:
        """The body after the changes, from what was read of it before, and its members that are new."""
        tops = {path[0] for path, _ in changes if len(path) == 1}
        whole = len(tops) == len(changes) and all(value is not DELETE for _, value in changes)
        if whole and all(known.lacks(str(name)) for name in tops):
            return append(self.raw, {str(path[0]): value for path, value in changes})
        if len(self.raw) < _LARGE_BYTES:
            return None
        return splice_known(self.raw, self.long(), changes, self.__dict__.get("_layout"))

    def long(self) -> Mapping[str, msgspec.Raw | Sequence[msgspec.Raw]]:
        """The body's long members: lists as their items, others whole. Raises BadRequest."""
        read: dict[str, msgspec.Raw | Sequence[msgspec.Raw]] = {}
        for name in _LONG:
            value = self.items(name) or getattr(self.envelope, name)
            if value is not None:
                read[name] = value
        return read


def _malformed(raw: bytes, error: Exception) -> BadRequest:
    half = lone_surrogate(raw)
    if half is None:
        return BadRequest(f"The request body is not valid JSON: {error}.")
    return BadRequest(f"The request body is not valid JSON: {half}. Send the whole character, or \\ufffd in its place.")


_LARGE_BYTES = 4_096  # smaller bodies are read as fast as they are gone over
_LONG = ("messages", "input", "tools", "system", "instructions")


def _retold(known: Envelope, told: Told) -> Envelope | None:
    """The envelope of a body in which these members are new; None where one of them does not fit."""
    lists: dict[str, Any] = {}
    pieces: list[Any] = []
    for name, value in told.items():
        if name in _RAW:  # which is not read: as it was written
            lists[name] = msgspec.Raw(b"".join((b"[", b",".join(value), b"]"))) if isinstance(value, list) else value
        elif isinstance(value, list) and name in _FIELDS:
            lists[name] = value
        elif name in _FIELDS:
            pieces += (b",", msgspec.json.encode(name), b":", value)
    if not pieces:
        return msgspec.structs.replace(known, **lists)
    try:
        new = _envelope.decode(b"".join((b"{", *pieces[1:], b"}")))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    fields = {_FIELDS[name]: getattr(new, _FIELDS[name]) for name in told if name in _FIELDS}
    return msgspec.structs.replace(known, **fields | lists)


_FIELDS = dict(zip(Envelope.__struct_encode_fields__, Envelope.__struct_fields__, strict=True))


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


class Part(msgspec.Struct, frozen=True):
    """Of a bill that several callers share: from `start` to `end` of `of` equal parts of what `usage` costs."""

    usage: Usage
    start: int
    end: int
    of: int

    def cost(self, whole: int) -> int:
        """What of the whole is this part's, so that all parts sum to it exactly."""
        return whole * self.end // self.of - whole * self.start // self.of


class Charge(msgspec.Struct, frozen=True, dict=True):
    """One bill that an answer caused. Replayed from a cache: none; a cascade: several; a fused follower: none.

    part: of a bill shared by several callers, of which `usage` is this one's.
    """

    provider: str
    model: str
    usage: Usage
    at: float  # unix seconds, UTC
    part: Part | None = None


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


class Reply(msgspec.Struct, eq=False):
    """What a backend opened: status and headers now, the body whole (`content`) or as it arrives (`chunks`).

    Exactly one of `content` and `chunks` is set. Iterate chunks to their end or call `aclose`: whoever opens a reply
    closes it, and closing one whose body is still coming stops the provider. After the end `done` tells usage, finish
    reason and charges. Chunks are the bytes as they came, cut where the network cut them. A stream that the upstream
    cut raises StreamCut at that point. close: what `aclose` waits for, once.
    """

    status: int
    headers: Headers
    wire: Wire
    content: bytes | None = None
    chunks: AsyncIterator[bytes] | None = None
    done: Done | None = None
    close: Callable[[], Awaitable[None]] | None = None
    on_end: list[Callable[[Reply], None]] = []  # msgspec makes each its own
    output_text: Callable[[], str] | None = None  # what was streamed so far, for counting where no usage came
    asked_at: float | None = None  # when the upstream was asked, on the monotonic clock
    notes: list[Any] = []  # call.Step: what wrappers below the pipeline did, for the call's trail
    trail: tuple[Any, ...] = ()  # call.Step: the whole trail, once the pipeline has opened it
    _ended: bool = False

    def __repr__(self) -> str:
        return f"Reply({self.status})"  # and not what it says

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

    @property
    def end(self) -> Callable[[], None] | None:
        """What `aclose` does, where nothing has to be waited for, as of an answer that is whole; else None."""
        return self._end if self.close is None else None

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            for listener in self.on_end:
                listener(self)

    async def aclose(self) -> None:
        """End the reply: release the connection, then tell `on_end` listeners once. Safe to call again."""
        if self._ended:
            return
        self._ended = True
        # It mostly knows this reply: what was streamed would wait for the collector.
        close, self.close = self.close, None
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
