"""A conversation as neutral messages made of blocks, each with its place in the body: what edits of texts need.

It reads what is there and judges nothing: what it does not know is a block of kind "other", and what has an unexpected
shape is left out. Messages that were read before are not read again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Literal

import msgspec
from xxhash import xxh3_128_digest

from ..prefix import items
from ..request import Request, Wire

__all__ = ["Block", "BlockKind", "Conversation", "Message", "Place", "Reader", "Role"]

Role = Literal["system", "user", "assistant", "tool"]
BlockKind = Literal["text", "call", "result", "reasoning", "other"]
Place = tuple[str | int, ...]


class Block(msgspec.Struct, frozen=True):
    """One piece of a message. `place`: of its text, from the message on; None: there is no text that could be changed.

    `text`: what is said; of a call its arguments as JSON. `call_id`, `name`: of calls and results (a result names its
    tool in Ollama only: see `Conversation.call_of`). `failed`: the client says that the tool failed. `bound`: signed or
    encrypted by the provider.
    """

    kind: BlockKind
    text: str = ""
    place: Place | None = None
    call_id: str = ""
    name: str = ""
    failed: bool = False
    bound: bool = False


class Message(msgspec.Struct, frozen=True):
    role: Role
    blocks: tuple[Block, ...]

    @property
    def text(self) -> str:
        """What is said in it, calls and reasoning apart."""
        return "\n".join(block.text for block in self.blocks if block.kind in ("text", "result"))


class Conversation(msgspec.Struct, frozen=True, dict=True):
    """`root`: the body's member that holds the messages. `system`: instructions that stand beside them, with places
    from the body's root."""

    root: str
    messages: tuple[Message, ...]
    system: tuple[Block, ...] = ()

    def place(self, message: int, block: Block) -> Place:
        """The place of a block's text in the body. Raises ValueError for one that has none."""
        if block.place is None:
            raise ValueError(f"a block of kind {block.kind} has no text to change")
        return (self.root, message, *block.place) if block.place else (self.root,)

    @cached_property
    def calls(self) -> dict[str, tuple[int, Block]]:
        """The tool calls by their ids, with the message in which each stands."""
        return {
            block.call_id: (index, block)
            for index, message in enumerate(self.messages)
            for block in message.blocks
            if block.kind == "call" and block.call_id
        }

    def call_of(self, result: Block) -> Block | None:
        """The call that a result answers."""
        found = self.calls.get(result.call_id)
        return found[1] if found is not None else None

    def results(self, start: int = 0) -> Iterator[tuple[int, Block]]:
        """The blocks of tool results from that message on, each with its message's index."""
        for index in range(start, len(self.messages)):
            for block in self.messages[index].blocks:
                if block.kind == "result":
                    yield index, block

    @property
    def new(self) -> int:
        """The index of the first message after the model's last turn."""
        for index in range(len(self.messages) - 1, -1, -1):
            if self.messages[index].role == "assistant":
                return index + 1
        return 0

    @property
    def last_user(self) -> str:
        """The newest text of a human, or of the client in a human's place; "" without one."""
        for message in reversed(self.messages):
            if message.role == "user":
                said = "\n".join(block.text for block in message.blocks if block.kind == "text")
                if said:
                    return said
        return ""


class Reader:
    """Reads conversations, and remembers the messages that were read last by a hash of their bytes."""

    def __init__(self, *, messages: int = 8_192, text_chars: int = 32_000_000) -> None:
        """messages, text_chars: at most so many messages and characters of theirs are remembered."""
        self._limit, self._limit_chars = messages, text_chars
        self._known: OrderedDict[bytes, tuple[Message, int]] = OrderedDict()
        self._chars = 0

    def read(self, request: Request) -> Conversation:
        """Raises BadRequest for a body that cannot be read at all."""
        envelope = request.envelope
        root = "messages" if envelope.messages is not None else "input"
        wire, mark = request.wire, request.wire.value[:8].encode()
        messages = tuple(self._message(wire, mark, bytes(raw)) for raw in items(request))
        system = (*_system(envelope.system, "system"), *_system(envelope.instructions, "instructions"))
        return Conversation(root, messages, system)

    def _message(self, wire: Wire, mark: bytes, raw: bytes) -> Message:
        key = xxh3_128_digest(raw) + mark
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known[0]
        message = _message(wire, raw)
        chars = sum(len(block.text) for block in message.blocks)
        self._known[key] = message, chars
        self._chars += chars
        while len(self._known) > self._limit or (self._chars > self._limit_chars and len(self._known) > 1):
            self._chars -= self._known.popitem(last=False)[1][1]
        return message


def _message(wire: Wire, raw: bytes) -> Message:
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return Message("user", (Block("other"),))
    if isinstance(value, str):  # the `input` of a Responses body that is a text
        return Message("user", (Block("text", value, ()),))
    if not isinstance(value, dict):
        return Message("user", (Block("other"),))
    match wire:
        case Wire.ANTHROPIC_MESSAGES:
            blocks = tuple(_anthropic(value.get("content")))
        case Wire.OPENAI_RESPONSES:
            return _responses(value)
        case Wire.OPENAI_CHAT | Wire.OLLAMA:
            blocks = tuple(_chat(value))
    return Message(_role(value.get("role"), blocks), blocks)


def _role(said: Any, blocks: Sequence[Block]) -> Role:
    match said:
        case "assistant" | "model":
            return "assistant"
        case "system" | "developer":
            return "system"
        case "tool" | "function":
            return "tool"
    results = bool(blocks) and all(block.kind == "result" for block in blocks)
    return "tool" if results else "user"


def _texts(content: Any, place: Place, kind: BlockKind = "text", **known: Any) -> Iterator[Block]:
    """The texts of a string or of a list of parts; of a part that is no text, a block without one."""
    if isinstance(content, str):
        yield Block(kind, content, place, **known)
    elif isinstance(content, list):
        for index, part in enumerate(content):
            text = part.get("text") if isinstance(part, dict) else None
            if isinstance(text, str):
                yield Block(kind, text, (*place, index, "text"), **known)
            elif isinstance(part, dict) and isinstance(refusal := part.get("refusal"), str):
                yield Block(kind, refusal, **known)
            else:
                yield Block("other")
    elif content is not None:
        yield Block("other")


def _chat(message: dict[str, Any]) -> Iterator[Block]:
    """Also Ollama's messages, whose arguments are objects and whose results name a tool and no call."""
    role, content = message.get("role"), message.get("content")
    for name in ("reasoning_content", "reasoning", "thinking"):
        if isinstance(thought := message.get(name), str) and thought:
            yield Block("reasoning", thought)
    if role in ("tool", "function"):
        tool = message.get("tool_name") or message.get("name")
        call_id = message.get("tool_call_id")
        yield from _texts(content, ("content",), "result", call_id=_text(call_id), name=_text(tool))
        return
    yield from _texts(content, ("content",))
    calls = message.get("tool_calls")
    for index, call in enumerate(calls if isinstance(calls, list) else ()):
        inner = "function" if isinstance(call, dict) and call.get("function") else "custom"
        called = call.get(inner) if isinstance(call, dict) else None
        if not isinstance(called, dict):
            yield Block("other")
            continue
        member = "arguments" if "arguments" in called else "input"
        arguments = called.get(member)
        place = ("tool_calls", index, inner, member) if isinstance(arguments, str) else None
        yield Block("call", _json(arguments), place, _text(call.get("id")), _text(called.get("name")))


def _anthropic(content: Any) -> Iterator[Block]:
    if not isinstance(content, list):
        yield from _texts(content, ("content",))
        return
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        match kind:
            case "text" if isinstance(part.get("text"), str):
                yield Block("text", part["text"], ("content", index, "text"))
            case "tool_use":
                yield Block("call", _json(part.get("input")), None, _text(part.get("id")), _text(part.get("name")))
            case "tool_result":
                known = {"call_id": _text(part.get("tool_use_id")), "failed": part.get("is_error") is True}
                yield from _texts(part.get("content"), ("content", index, "content"), "result", **known)
            case "thinking":
                yield Block("reasoning", _text(part.get("thinking")), bound=True)
            case "redacted_thinking":
                yield Block("reasoning", bound=True)
            case _:
                yield Block("other")


def _responses(item: dict[str, Any]) -> Message:
    call_id, kind = _text(item.get("call_id")), item.get("type", "message")
    match kind:
        case "message":
            blocks = tuple(_texts(item.get("content"), ("content",)))
            return Message(_role(item.get("role"), blocks), blocks)
        case "function_call" | "custom_tool_call":
            member = "arguments" if kind == "function_call" else "input"
            said = item.get(member)
            place = (member,) if isinstance(said, str) else None
            return Message("assistant", (Block("call", _json(said), place, call_id, _text(item.get("name"))),))
        case "function_call_output" | "custom_tool_call_output":
            return Message("tool", tuple(_texts(item.get("output"), ("output",), "result", call_id=call_id)))
        case "reasoning":
            return Message("assistant", (Block("reasoning", bound=bool(item.get("encrypted_content"))),))
    output = isinstance(kind, str) and kind.endswith("_output")
    return Message("tool" if output else "assistant", (Block("other"),))


def _system(raw: Any, root: str) -> Iterator[Block]:
    if raw is None:
        return
    try:
        content = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return
    yield from _texts(content, (root,))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _json(value: Any) -> str:
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode() if value is not None else ""
