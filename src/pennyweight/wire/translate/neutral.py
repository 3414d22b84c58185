"""What a conversation and an answer are, whatever the protocol: the small form in the middle of every crossing.

A reader takes a body apart field by field (`Fields`), so a field that nobody took is known by name and ends in
`Losses`. Parts remember the place they came from (`at`), so a writer can name what it could not carry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from ...errors import BadRequest
from ...request import Usage

__all__ = [
    "Answer",
    "Ask",
    "Audio",
    "Choice",
    "Document",
    "Fields",
    "Finish",
    "Format",
    "Image",
    "Lost",
    "Losses",
    "Memo",
    "Message",
    "Param",
    "Part",
    "Refusal",
    "Result",
    "Role",
    "Text",
    "Think",
    "Thinking",
    "Tool",
    "ToolCall",
]

Role = Literal["system", "developer", "user", "assistant", "tool"]
Finish = Literal["stop", "length", "tool_calls", "content_filter", "stop_sequence", "pause"]


class Lost(msgspec.Struct, frozen=True):
    """A field the target did not get. `path`: its place in the source body without list indices; `count`: how often."""

    path: str
    reason: str
    count: int = 1


class Losses:
    """Collects losses; the same field lost for the same reason is one entry with a count."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}

    def add(self, path: str, reason: str) -> None:
        key = (_INDEX.sub("[]", path), reason)
        self._counts[key] = self._counts.get(key, 0) + 1

    def all(self) -> tuple[Lost, ...]:
        return tuple(Lost(path, reason, count) for (path, reason), count in self._counts.items())


_INDEX = re.compile(r"\[\d+\]")


class Fields:
    """A JSON object read field by field. What is still there at `rest` had no reader, and is lost by name."""

    __slots__ = ("_left", "at", "losses")

    def __init__(self, value: object, at: str, losses: Losses) -> None:
        if not isinstance(value, Mapping):
            raise BadRequest(f"{at or 'The body'} must be an object, not {type(value).__name__}.")
        self._left: dict[str, Any] = dict(value)
        self.at = at
        self.losses = losses

    def place(self, key: str) -> str:
        return f"{self.at}.{key}" if self.at else key

    def take(self, key: str) -> Any:
        return self._left.pop(key, None)

    def text(self, key: str) -> str:
        """A string; "" when absent or null. Raises BadRequest for another type."""
        value = self._left.pop(key, None)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise BadRequest(f"{self.place(key)} must be a string, not {type(value).__name__}.")
        return value

    def items(self, key: str) -> list[Any]:
        """A list; empty when absent or null. Raises BadRequest for another type."""
        value = self._left.pop(key, None)
        if value is None:
            return []
        if not isinstance(value, list):
            raise BadRequest(f"{self.place(key)} must be a list, not {type(value).__name__}.")
        return value

    def inner(self, key: str) -> Fields:
        """The object at `key`, empty when absent or null."""
        value = self._left.pop(key, None)
        return Fields({} if value is None else value, self.place(key), self.losses)

    def ignore(self, *keys: str) -> None:
        """Fields whose meaning is carried otherwise."""
        for key in keys:
            self._left.pop(key, None)

    def rest(self, reason: str) -> None:
        for key, value in self._left.items():
            if value is not None and value != [] and value != {}:
                self.losses.add(self.place(key), reason)
        self._left.clear()


# --- parts of a message -----------------------------------------------------------------------------------


class Text(msgspec.Struct, frozen=True):
    text: str
    at: str = ""
    cache: Any = None  # Anthropic's cache_control, as it came
    logprobs: Any = None  # of an answer: OpenAI's list of tokens


class Image(msgspec.Struct, frozen=True):
    """Base64 `data` with its media type, or a `url`, or a provider's `file_id`."""

    at: str = ""
    media_type: str = ""
    data: str = ""
    url: str = ""
    file_id: str = ""
    detail: str = ""
    cache: Any = None


class Document(msgspec.Struct, frozen=True):
    """A file: base64 `data`, or plain `text`, or a `url`, or a provider's `file_id`."""

    at: str = ""
    media_type: str = ""
    data: str = ""
    text: str = ""
    url: str = ""
    file_id: str = ""
    name: str = ""
    cache: Any = None


class Audio(msgspec.Struct, frozen=True):
    data: str
    format: str
    at: str = ""


class Refusal(msgspec.Struct, frozen=True):
    text: str
    at: str = ""


class Thinking(msgspec.Struct, frozen=True):
    """Reasoning. `signature`: Anthropic's; `redacted`: its opaque data; `encrypted`: what OpenAI wants back."""

    text: str = ""
    at: str = ""
    signature: str = ""
    redacted: str = ""
    encrypted: str = ""
    id: str = ""

    @property
    def proof(self) -> str:
        """The name of the opaque field that it came with; "" when it is plain text."""
        return (
            "signature"
            if self.signature
            else "data"
            if self.redacted
            else "encrypted_content"
            if self.encrypted
            else ""
        )


class ToolCall(msgspec.Struct, frozen=True):
    """`arguments`: JSON text of an object; of a custom tool any text."""

    id: str
    name: str
    arguments: str
    at: str = ""
    custom: bool = False
    namespace: str = ""
    cache: Any = None


class Result(msgspec.Struct, frozen=True):
    call_id: str
    content: tuple[Text | Image | Document, ...]
    at: str = ""
    name: str = ""
    is_error: bool = False
    custom: bool = False
    cache: Any = None


Part = Text | Image | Document | Audio | Refusal | Thinking | ToolCall | Result


class Message(msgspec.Struct, frozen=True):
    """A turn. A "tool" message holds Results only, and no other role does."""

    role: Role
    parts: tuple[Part, ...]
    at: str = ""
    name: str = ""


class Tool(msgspec.Struct, frozen=True):
    name: str
    description: str = ""
    schema: Any = None
    strict: bool | None = None
    custom: bool = False
    grammar: Any = None  # a custom tool's format
    namespace: str = ""
    at: str = ""
    cache: Any = None


class Choice(msgspec.Struct, frozen=True):
    """`kind` "tool": the one called `name`; `allowed`: only these may be called (kind auto or required)."""

    kind: Literal["auto", "none", "required", "tool"]
    name: str = ""
    allowed: tuple[str, ...] = ()


class Think(msgspec.Struct, frozen=True):
    """Anthropic's thinking: `mode` enabled (with `budget` tokens), adaptive, between_tools or disabled."""

    mode: str
    budget: int = 0
    display: str = ""


class Format(msgspec.Struct, frozen=True):
    """What the answer must look like: any JSON object, or one that fits `schema`."""

    kind: Literal["json_object", "json_schema"]
    schema: Any = None
    name: str = ""
    strict: bool | None = None
    description: str = ""


class Param(msgspec.Struct, frozen=True):
    value: Any
    at: str


class Ask(msgspec.Struct, frozen=True):
    """A request. `params`: by neutral name (max_tokens, temperature, stop, effort, thinking, format, choice, …);
    a writer takes those it has words for, and the rest is lost."""

    model: str
    stream: bool
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    params: dict[str, Param]


class Memo(msgspec.Struct, frozen=True):
    """What the way back must know of the request: see Translated.memo."""

    custom: frozenset[str] = frozenset()  # custom tools that went out as functions
    namespaces: dict[str, str] = {}  # tool name: the namespace it stood in
    renamed: dict[str, str] = {}  # name sent: the caller's name
    generate: bool = False  # an Ollama caller of /api/generate, not /api/chat
    call: str = ""  # whose answer it is: enters the ids that are made here, as some servers give every answer the same


class Answer(msgspec.Struct, frozen=True):
    """A whole answer. `created`: unix seconds; `usage` None: nobody told."""

    id: str
    model: str
    parts: tuple[Part, ...]
    finish: Finish
    usage: Usage | None = None
    stop_sequence: str | None = None
    created: int = 0

    def calls(self) -> list[ToolCall]:
        return [part for part in self.parts if isinstance(part, ToolCall)]


def joined(parts: Iterable[Part], separator: str) -> str:
    """The texts among the parts."""
    return separator.join(part.text for part in parts if isinstance(part, Text) and part.text)
