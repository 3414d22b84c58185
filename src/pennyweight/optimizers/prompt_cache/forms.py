"""In which form a session first sent its tools and its system prompt, so that they can be sent in that form again.

Where tools come in another order, they are sent in the first one. Where a system prompt differs from the first only in
dates, times, ids and counters, the first one is sent, and what is different now stands at the end of the prompt.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import msgspec

from ...call import Call
from ...prefix import canonical, marks_of, unmarked
from ...request import Edit, Request, Wire, splice

__all__ = ["Forms", "volatile"]


class _First(msgspec.Struct):
    """Of one session: tools by the set of what they are, system prompts by what is constant in them."""

    tools: dict[frozenset[bytes], tuple[bytes, ...]] = {}
    systems: dict[str, bytes] = {}
    seen_tools: int = 0  # the last ones, as hashes: most calls have them again, and looking anew costs
    seen_system: int = 0
    seen_text: int = 0  # of the system prompt, which is the same with other breakpoints


class Forms:
    """The first forms of `sessions` sessions, the least recently used forgotten."""

    def __init__(self, *, sessions: int = 2_000) -> None:
        self._limit = sessions
        self._sessions: OrderedDict[str, _First] = OrderedDict()

    def again(self, call: Call) -> tuple[Edit, ...]:
        """Edits by which the call's head becomes one that its session sent before; () where it is one, or new."""
        first = self._sessions.get(_session(call)) if call.identity.session else None
        if first is None:
            return ()
        request = call.request
        return (*_tools(request, first), *_system(request, first))

    def learn(self, call: Call) -> None:
        if not call.identity.session or call.optimize != "max":
            return
        name = _session(call)
        first = self._sessions.setdefault(name, _First())
        self._sessions.move_to_end(name)
        if len(self._sessions) > self._limit:
            self._sessions.popitem(last=False)
        envelope = call.request.envelope
        tools = tuple(bytes(tool) for tool in envelope.tools or ())
        if tools and hash(tools) != first.seen_tools and len(first.tools) < _MOST:
            first.tools.setdefault(frozenset(map(canonical, tools)), tools)
        first.seen_tools = hash(tools)
        if call.request.wire is Wire.ANTHROPIC_MESSAGES and envelope.system is not None:
            _learn_system(bytes(envelope.system), first)


def _learn_system(system: bytes, first: _First) -> None:
    seen, first.seen_system = first.seen_system, hash(system)
    text = _text(system) if first.seen_system != seen else None
    if text is None or hash(text) == first.seen_text:
        return
    first.seen_text = hash(text)
    if len(first.systems) < _MOST:
        first.systems.setdefault(_constant(text), system)


_MOST = 16  # heads that one session may have


def _session(call: Call) -> str:
    return f"{call.identity.tenant}\0{call.identity.session}"


def _tools(request: Request, first: _First) -> Sequence[Edit]:
    if not request.envelope.tools:
        return ()
    raws = tuple(bytes(tool) for tool in request.envelope.tools)
    known = first.tools.get(frozenset(map(canonical, raws)))
    if known is None or len(known) != len(raws):
        return ()
    ordered = [_marked_as(then, now) for then, now in zip(known, raws, strict=True)]
    if ordered == list(raws):
        return ()
    return (Edit(("tools",), [msgspec.Raw(raw) for raw in ordered]),)


def _marked_as(then: bytes, now: bytes) -> bytes:
    """A tool in the place of another one: the caller's breakpoints stand where they stand now."""
    marks = marks_of(now)
    if marks == marks_of(then):
        return then
    plain = unmarked(then)
    return splice(plain, ("cache_control",), marks[-1]) if marks else plain


def _system(request: Request, first: _First) -> Sequence[Edit]:
    """The first form of a system prompt, and the lines that are different now behind the newest user message."""
    if request.wire is not Wire.ANTHROPIC_MESSAGES:
        return ()
    raw = request.envelope.system
    text = _text(raw)
    known = first.systems.get(_constant(text)) if text is not None else None
    if text is None or known is None or _text(known) == text:
        return ()
    before = _text(known)
    messages = request.envelope.messages
    form = _blocks_as(known, bytes(raw))
    if before is None or form is None or not messages:
        return ()
    last: Any = msgspec.json.decode(messages[-1])
    if last.get("role") != "user":
        return ()
    news = [now for then, now in zip(before.splitlines(), text.splitlines(), strict=False) if then != now]
    content = last.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content or [])
    note = "These lines of the system prompt now read:\n" + "\n".join(news)
    parts.append({"type": "text", "text": f"<system-reminder>\n{note}\n</system-reminder>"})
    return (
        Edit(("system",), msgspec.Raw(form)),
        Edit(("messages", len(messages) - 1, "content"), parts),
    )


def _blocks_as(then: bytes, now: bytes) -> bytes | None:
    """The system prompt of `then` with the breakpoints of `now`; None where its blocks are others."""
    old, new = msgspec.json.decode(then), msgspec.json.decode(now)
    if isinstance(old, str) and isinstance(new, str):
        return then
    old, new = (value if isinstance(value, list) else [{"type": "text", "text": value}] for value in (old, new))
    if len(old) != len(new):
        return None
    return msgspec.json.encode([{**block, "text": first["text"]} for first, block in zip(old, new, strict=True)])


def _text(system: Any) -> str | None:
    """A system prompt's text; None for none, or one that is not plain text."""
    if system is None:
        return None
    value: Any = msgspec.json.decode(system)
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not all(isinstance(b, dict) and isinstance(b.get("text"), str) for b in value):
        return None
    return "\x1e".join(block["text"] for block in value)


_VOLATILE = re.compile(
    r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?"
    r"|\b\d{1,2}:\d{2}(?::\d{2})?(?:\s?[AaPp]\.?[Mm]\.?)?"
    r"|\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b,?"
    r"|\b(?:Jan|Febr)uary\b|\b(?:March|April|May|June|July|August)\b|\b(?:Septem|Octo|Novem|Decem)ber\b"
    r"|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"
    r"|\b\d+(?:st|nd|rd|th)?\b"
)


def volatile(text: str) -> list[str]:
    """The dates, times, ids and counters in a text."""
    return _VOLATILE.findall(text)


def _constant(text: str) -> str:
    return _VOLATILE.sub("\x00", text)
