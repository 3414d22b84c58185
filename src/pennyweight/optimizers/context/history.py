"""A conversation as parts that may change alone: a call with its result, or one message; and what must stay."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...prefix import items, role
from ...request import Request
from ...text.messages import Class, Classifier
from ...wire.blocks import Conversation, Message, Reader

__all__ = ["History", "Part", "read"]


class Part(msgspec.Struct, frozen=True):
    """Messages that stay or go together, by their places. kind: of the one that matters most.

    `firm`: not a byte of it may change. `stays`: texts in it may, but it must not be left out. age: turns of the model
    since.
    """

    messages: tuple[int, ...]
    kind: Class
    firm: bool = False
    stays: bool = True
    age: int = 0


class History(msgspec.Struct, frozen=True):
    """`kinds`: of each message. `turns`: of the model. `query`: what the work is about now."""

    conversation: Conversation
    kinds: tuple[Class, ...]
    parts: tuple[Part, ...]
    turns: int
    query: str


_QUERY_CHARS = 4_000
_ORDER: tuple[Class, ...] = (
    "user_intent",
    "decision",
    "action_item",
    "fact",
    "tool_output",
    "reasoning",
    "confirmation",
    "obsolete",
)
_ROLES = frozenset(("user", "assistant", "tool", "function", "model"))
_MAY_GO: frozenset[Class] = frozenset(("confirmation", "obsolete", "reasoning", "tool_output"))


def read(request: Request, reader: Reader, classifier: Classifier, *, keep_turns: int) -> History:
    """keep_turns: the last so many turns of the model stay as they are, with what follows them. Raises BadRequest."""
    conversation = reader.read(request)
    messages = conversation.messages
    raws = items(request)
    kinds = classifier.classify(messages)
    groups = _groups(messages)
    start, end = _bounds(messages, keep_turns)
    ages = _ages(messages)
    newest = _newest_human(messages, raws)
    shaky = any(group.broken and _nameless(messages[at]) for group in groups for at in group.messages)
    parts = []
    for group in groups:
        broken = group.broken or any(_is_odd(raws[at], messages[at]) for at in group.messages)
        firm = broken or group.messages[0] < start or group.messages[-1] >= end or not newest.isdisjoint(group.messages)
        marked = any(b'"cache_control"' in bytes(raws[at]) for at in group.messages)
        kept = marked or shaky or any(_keeps(messages[at], kinds[at]) for at in group.messages)
        kind = min((kinds[at] for at in group.messages), key=_ORDER.index)
        parts.append(Part(group.messages, kind, firm, kept, ages[group.messages[-1]]))
    return History(conversation, kinds, tuple(parts), ages[0] if ages else 0, _query(conversation))


def _query(conversation: Conversation) -> str:
    """The newest human words and the newest arguments of calls."""
    calls = [block.text for message in conversation.messages[-6:] for block in message.blocks if block.kind == "call"]
    return "\n".join((conversation.last_user, *calls[-4:]))[:_QUERY_CHARS]


def _is_odd(raw: bytes | msgspec.Raw, message: Message) -> bool:
    """Instructions, and messages of which not everything was read: without a text, with a result that has none, or said
    by nobody known."""
    if message.role == "system" or not message.blocks:
        return True
    text = bytes(raw)
    results = {block.call_id for block in message.blocks if block.kind == "result"}
    return text.count(b'"tool_result"') > len(results) or (role(text) not in _ROLES and b'"type"' not in text)


def _nameless(message: Message) -> bool:
    """Whether its calls or results find each other by their order alone: where that is broken, no message may go."""
    return any(block.kind in ("call", "result") and not block.call_id for block in message.blocks)


def _keeps(message: Message, kind: Class) -> bool:
    """Whether a message must not be left out: what it is worth, or that it holds more than texts and calls. Thoughts
    belong to what follows them, and some providers want both."""
    return kind not in _MAY_GO or any(block.kind in ("other", "reasoning") or block.bound for block in message.blocks)


def _bounds(messages: Sequence[Message], keep_turns: int) -> tuple[int, int]:
    """Before the first place and from the second on, everything stays: instructions and the first human message, what
    stands before signed reasoning, and the last turns."""
    start = next((at + 1 for at, message in enumerate(messages) if message.role == "user"), len(messages))
    bound = [at for at, message in enumerate(messages) if any(block.bound for block in message.blocks)]
    if bound:
        start = max(start, bound[-1] + 1)
    turns, end = 0, len(messages)
    while end > 0 and turns < keep_turns:
        end -= 1
        if messages[end].role == "assistant" and (end == 0 or messages[end - 1].role != "assistant"):
            turns += 1
    return start, end if turns >= keep_turns else 0


def _ages(messages: Sequence[Message]) -> list[int]:
    ages: list[int] = []
    turns = 0
    for at in range(len(messages) - 1, -1, -1):
        ages.append(turns)
        if messages[at].role == "assistant" and (at == 0 or messages[at - 1].role != "assistant"):
            turns += 1
    return ages[::-1]


def _newest_human(messages: Sequence[Message], raws: Sequence[bytes | msgspec.Raw]) -> frozenset[int]:
    """The newest message in the human's place with a text, and the newest with something else, such as a picture."""
    found: dict[str, int] = {}
    for at, message in enumerate(messages):
        if message.role == "user" and role(raws[at]) == "user":
            found.update({block.kind: at for block in message.blocks if block.kind in ("text", "other")})
    return frozenset(found.values())


class _Group(msgspec.Struct, frozen=True):
    """broken: a call without its result, or the reverse."""

    messages: tuple[int, ...]
    broken: bool = False


def _groups(messages: Sequence[Message]) -> list[_Group]:
    """The messages, with the calls of tools and their results together, in the order of their first ones."""
    joined = list(range(len(messages)))  # to which message each one was joined, itself at first

    def root(at: int) -> int:
        while joined[at] != at:
            joined[at] = joined[joined[at]]
            at = joined[at]
        return at

    broken: set[int] = set()
    for call, result in _pairs(messages):
        if call < 0 or result < 0:
            broken.add(max(call, result))
        else:
            joined[max(root(call), root(result))] = min(root(call), root(result))
    for at in range(len(messages) - 1):  # what is thought belongs to what is said or done next
        if messages[at + 1].role == "assistant" and _only_thought(messages[at]):
            joined[max(root(at), root(at + 1))] = min(root(at), root(at + 1))
    found: dict[int, list[int]] = {}
    for at in range(len(messages)):
        found.setdefault(root(at), []).append(at)
    torn = {root(at) for at in broken}
    return [_Group(tuple(group), first in torn) for first, group in found.items()]


def _only_thought(message: Message) -> bool:
    blocks = message.blocks
    return message.role == "assistant" and bool(blocks) and all(block.kind == "reasoning" for block in blocks)


def _pairs(messages: Sequence[Message]) -> list[tuple[int, int]]:
    """(message of the call, message of its result); -1: there is none. By ids, each call with the next result of its
    id; where a protocol has none, results follow their calls, as many as there are."""
    pairs: list[tuple[int, int]] = []
    open_calls: dict[str, int] = {}
    run = _Run()
    for at, message in enumerate(messages):
        results = {block.call_id for block in message.blocks if block.kind == "result"}
        if "" not in results:
            pairs += run.pairs()
            run = _Run()
        for block in message.blocks:
            if block.kind == "call" and block.call_id:
                if block.call_id in open_calls:
                    pairs.append((open_calls[block.call_id], -1))
                open_calls[block.call_id] = at
            elif block.kind == "call":
                run.calls.append(at)
        pairs += [(open_calls.pop(call_id, -1), at) for call_id in sorted(results) if call_id]
        if "" in results:
            run.results.append(at)
    return [*pairs, *run.pairs(), *((call, -1) for call in open_calls.values())]


class _Run:
    """Calls without ids and the results that follow them."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.results: list[int] = []

    def pairs(self) -> list[tuple[int, int]]:
        if len(self.calls) == len(self.results):
            return list(zip(self.calls, self.results, strict=True))
        return [*((call, -1) for call in self.calls), *((-1, result) for result in self.results)]
