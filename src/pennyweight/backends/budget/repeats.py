"""Sessions that go round in circles: the same asked again and again, or one heartbeat after another and nothing else.

It looks at what is new in a request, and remembers of a session only a hash and a count.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

import msgspec

from ...call import Call
from ...errors import BadRequest
from ...request import Operation
from ...wire.blocks import Conversation, Message, Reader

__all__ = ["Repeats", "Seen", "fingerprint", "in_tool_loop"]

_REMEMBERED = 10_000
_SHORT = 40  # characters: people say "continue" many times in a row


class Seen(msgspec.Struct, frozen=True):
    """What a session repeats, and how often in a row. kind: "call" of a tool, "text" of a user, or "heartbeat"."""

    kind: str
    times: int


class Repeats:
    """Asked before a call is sent, told after it was answered: what an upstream refused, clients send again."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._last: OrderedDict[tuple[str, str], tuple[bytes, int]] = OrderedDict()
        self._beats: OrderedDict[tuple[str, str], int] = OrderedDict()

    def look(self, call: Call) -> tuple[Seen | None, bytes]:
        """What this call would repeat, and its fingerprint, which `answered` wants."""
        place = _place(call)
        if call.request.operation is not Operation.GENERATE or not place[1]:
            return None, b""
        try:
            conversation = self._reader.read(call.original)
        except BadRequest:
            return None, b""
        if call.identity.housekeeping == "heartbeat":
            wakes = bool(conversation.messages) and conversation.messages[-1].role == "user"
            return (Seen("heartbeat", self._beats.get(place, 0) + 1), _BEAT) if wakes else (None, b"")
        if call.identity.housekeeping is not None:
            return None, b""
        kind, found = fingerprint(conversation)
        if not found:
            return None, _OTHER
        last, times = self._last.get(place, (b"", 0))
        return Seen(kind, times + 1 if last == found else 1), found

    def answered(self, call: Call, found: bytes) -> None:
        place = _place(call)
        if not found or not place[1]:
            return
        if found == _BEAT:
            self._beats[place] = self._beats.get(place, 0) + 1
            self._beats.move_to_end(place)
        else:
            self._beats.pop(place, None)
            last, times = self._last.get(place, (b"", 0))
            self._last[place] = (found, times + 1 if last == found else 1)
            self._last.move_to_end(place)
        for known in (self._beats, self._last):
            while len(known) > _REMEMBERED:
                known.popitem(last=False)


_BEAT, _OTHER = b"heartbeat", b"other"


def fingerprint(conversation: Conversation) -> tuple[str, bytes]:
    """What is new in a conversation: the tools that were called last with their arguments, else what the user said.

    b"" for what is too short to be told from a person's habit.
    """
    new = conversation.messages[conversation.new :]
    if any(message.role == "tool" or any(b.kind == "result" for b in message.blocks) for message in new):
        calls = [
            f"{block.name}\0{block.text}"
            for message in _last_turn(conversation)
            for block in message.blocks
            if block.kind == "call"
        ]
        return ("call", _hash("\0\0".join(sorted(calls)))) if calls else ("call", b"")
    said = "\n".join(message.text for message in new)
    return "text", _hash(said) if len(said) >= _SHORT else b""


def _last_turn(conversation: Conversation) -> list[Message]:
    """The model's newest messages in a row: in Responses each call is an item of its own."""
    found: list[Message] = []
    for message in reversed(conversation.messages[: conversation.new]):
        if message.role != "assistant":
            break
        found.append(message)
    return found


def in_tool_loop(conversation: Conversation) -> bool:
    """Whether the newest message is what a tool gave."""
    messages = conversation.messages
    return bool(messages) and any(block.kind == "result" for block in messages[-1].blocks)


def _hash(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _place(call: Call) -> tuple[str, str]:
    return call.identity.tenant, call.identity.session
