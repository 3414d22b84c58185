"""Where cache breakpoints would stand, and the edits that put them there. Pure.

A breakpoint is worth something on the last block that the next call will repeat. What that is, the conversation has
shown: where it only grows, the end (less a transient message that its client drops again); where its client rewrites
an early message each turn, the block before that. The end of the head (tools and system) gets one too: it costs
nothing beside a later one, and other conversations begin with it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any, Literal

import msgspec

from ...call import Call
from ...economy import Foreseen, purse, reading, smallest, standing, takes_mark
from ...habits import LATER_S, SOON_S
from ...prefix import Chain, Segment, items
from ...request import Edit, Request, Wire

__all__ = ["Placement", "edits", "placements"]

Life = Literal["5m", "1h"]

_TRANSIENT = b"BEGIN_OPENCLAW_INTERNAL_CONTEXT"  # OpenClaw takes this message out again in its next request


class Placement(msgspec.Struct, frozen=True):
    """`marks`: the segments that get a breakpoint of ours."""

    marks: tuple[int, ...]
    ttl: Life
    again: float = 1.0  # the probability that a next call begins so, in [0, 1]


def placements(call: Call, seen: Foreseen, ttl: Literal["auto", "5m", "1h"]) -> Iterator[Placement]:
    """What may be worth pricing, the caller's own marks counted."""
    chain = seen.chain
    taken = chain.marks
    implicit = seen.rules.kind == "marked"  # one of the four stands at the newest message by itself
    room = seen.rules.max_marks - len(taken) - implicit
    if room <= 0 or call.request.envelope.cache_control is not None or not _takes_marks(call, implicit=implicit):
        return
    repeated, guess = _repeated(seen), _guess(seen)
    warm, start = _markable(seen, standing(seen)), _markable(seen, chain.head - 1)
    staked = {_first(seen, repeated), *(_affordable(seen, repeated, hour=hour) for hour in {ttl == "1h", ttl != "5m"})}
    allowed = _allowed(seen, ttl)
    for end in sorted({_end(call.request, seen), repeated, guess, warm, *staked}, reverse=True):
        wanted = _wanted(seen, end, warm=warm, repeated=repeated, start=start)
        marks = tuple(sorted(set(wanted[:room]) - set(taken)))
        if not marks:
            continue
        for life in _lives(seen, allowed, marks, taken) if taken else allowed:
            yield Placement(marks, life, _again(seen) if end == guess > repeated else 1.0)


def _takes_marks(call: Call, *, implicit: bool) -> bool:
    """Messages and Chat Completions have a place for them, and what crosses into Messages may carry them there.

    implicit: OpenAI's, from GPT-5.6 on: nobody else knows them, and a caller who chooses the mode chooses the places.
    """
    if implicit:
        openai = call.request.wire in (Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES) and call.target.provider == "openai"
        return openai and call.request.wire is call.target.wire and b'"prompt_cache_options"' not in call.request.raw
    if call.request.wire in (Wire.ANTHROPIC_MESSAGES, Wire.OPENAI_CHAT):
        return call.target.wire in (Wire.ANTHROPIC_MESSAGES, Wire.OPENAI_CHAT)
    return call.request.wire is Wire.OPENAI_RESPONSES and call.target.wire is Wire.ANTHROPIC_MESSAGES


def _end(request: Request, seen: Foreseen) -> int:
    """The last block, less what its client will drop; -1: nothing."""
    if not seen.appends:
        return -1
    last = request.envelope.messages[-1] if request.envelope.messages else None
    gone = seen.gone
    if not gone and last is not None and _TRANSIENT in bytes(last):
        gone = 1
    return _markable(seen, len(seen.chain) - 1 - gone)


def _repeated(seen: Foreseen) -> int:
    """The last block of what this call repeats of the ones before it."""
    return _markable(seen, seen.repeated - 1)


def _guess(seen: Foreseen) -> int:
    """The last block that stands where it stood in the call before, though one before it has changed: when that one
    changes back, or stays, this comes again. -1: there is none, or the conversation only grows."""
    conversation = seen.conversation
    assert conversation is not None
    if seen.appends:
        return -1
    before, now = conversation.asked, seen.asked
    place, found, misses = seen.kept, -1, 0
    while place < min(len(before), len(now)) and misses < 2:
        if before[place].content == now[place].content and before[place].kind == now[place].kind:
            found, misses = place, 0
        else:
            misses += 1
        place += 1
    return _markable(seen, found) if found >= 0 else -1


def _again(seen: Foreseen) -> float:
    """How often such a guess was right: a Beta posterior mean that starts at 0.4."""
    assert seen.conversation is not None
    calls, hits = seen.conversation.guesses
    return (1.0 + hits) / (2.5 + calls)


def _first(seen: Foreseen, repeated: int) -> int:
    """The smallest prefix that is worth a mark, if it has come again; -1: none."""
    place = smallest(seen)
    return place if 0 <= place <= repeated and _markable(seen, place) == place else -1


def _affordable(seen: Foreseen, repeated: int, *, hour: bool) -> int:
    """The last block of what is repeated that what may be staked pays for, by a mark of that life; -1: none."""
    if seen.rates is None:
        return -1
    plain, _, soon, later, _ = seen.rates.of(seen.forecast.prompt_tokens)
    write = later if hour else soon
    if write <= plain:
        return -1
    scale = seen.forecast.prompt_tokens / max(seen.chain[-1].upto, 1)
    warm = standing(seen)
    staked = purse(seen, LATER_S if hour else SOON_S) + reading(seen)
    tokens = (seen.chain[warm].upto * scale if warm >= 0 else 0.0) + staked / (write - plain)
    last = bisect_right(seen.chain, tokens / scale, key=_UPTO) - 1
    return _markable(seen, min(last, repeated))


_UPTO = attrgetter("upto")


def _wanted(seen: Foreseen, end: int, *, warm: int, repeated: int, start: int) -> list[int]:
    """The places in the order of their worth: the end, what must be found again, the head. warm: what stands in the
    cache; repeated: the last block that has come again; start: the head's last."""
    if end < 0:
        return []
    wanted = [end]
    if seen.rules.kind == "marked":
        return [end, start] if 0 <= start < end else [end]
    known = max(seen.forecast.known_to - 1, warm)
    if known >= end:
        known = -1
    if known >= 0 and end - known >= seen.rules.look_back:
        wanted.append(known)  # too far back to be found from the end
    elif known < 0 <= repeated < end and seen.conversation is not None:
        wanted.append(repeated)
    if 0 <= start < end:
        wanted.append(start)
    return list(dict.fromkeys(wanted))


def _markable(seen: Foreseen, index: int) -> int:
    """The last block up to `index` that takes a mark: thinking and empty texts do not, the model's turns need none."""
    chain = seen.chain
    index = min(index, len(chain) - 1)
    while index >= 0 and not _takes_one(chain[index], inputs_only=seen.rules.kind == "marked"):
        index -= 1
    return index


def _takes_one(segment: Segment, *, inputs_only: bool) -> bool:
    """inputs_only: OpenAI's stand on what a message or a tool's result says, not on tools and instructions."""
    if not takes_mark(segment):
        return False
    if segment.kind != "message":
        return not inputs_only
    return bool(segment.role or segment.tool)  # else it is a call of the model's, as Responses has them


def _allowed(seen: Foreseen, ttl: Literal["auto", "5m", "1h"]) -> list[Life]:
    """The lives to be priced, the caller's own marks aside."""
    if seen.rules.kind == "marked":
        return ["5m"]  # they live for half an hour, whatever is asked for
    if ttl != "auto":
        return [ttl]
    conversation = seen.conversation
    seldom = conversation is None or conversation.in_row_later < 3 or max(conversation.gaps, default=0.0) < 300.0
    return ["5m"] if seldom else ["5m", "1h"]


def _lives(seen: Foreseen, allowed: list[Life], marks: Sequence[int], taken: Sequence[int]) -> list[Life]:
    """Of these lives, those to be priced: an hour's marks must stand before those of 5 minutes, the caller's
    included."""
    lives = allowed
    if seen.rules.kind == "marked":
        return lives
    if any(seen.chain[index].mark == "5m" and index < marks[-1] for index in taken):
        lives = [life for life in lives if life == "5m"]
    if any(seen.chain[index].mark == "1h" and index > marks[0] for index in taken):
        lives = [life for life in lives if life == "1h"]
    return lives


def edits(request: Request, chain: Chain, placement: Placement, *, openai: bool = False) -> tuple[Edit, ...]:
    """The edits that put the marks on the request's own blocks. openai: GPT-5.6's, and not Anthropic's."""
    if openai:
        return tuple(_breakpoint(request, chain[index]) for index in placement.marks)
    control = {"type": "ephemeral"} if placement.ttl == "5m" else {"type": "ephemeral", "ttl": "1h"}
    marked = [chain[index] for index in placement.marks]
    apart = len({(segment.kind, segment.index) for segment in marked}) == len(marked)  # else two in one message
    quick = [_quick(request, segment, control) if apart else None for segment in marked]
    return tuple(
        [
            _edit(request, segment, control) if edit is None else edit
            for edit, segment in zip(quick, marked, strict=True)
        ]
    )


def _quick(request: Request, segment: Segment, control: dict[str, str]) -> Edit | None:
    """`_edit` for a system prompt that is a text, and for a message of a role and a content that it ends with, as most
    are: written into their own bytes, which are read once and not three times. None for others."""
    messages = request.envelope.messages
    if segment.kind == "system" and request.wire is Wire.ANTHROPIC_MESSAGES:
        raw = bytes(request.envelope.system)
        return Edit(("system",), _text_marked(raw, control)) if raw[:1] == b'"' else None
    if segment.kind != "message" or messages is None:
        return None
    raw = bytes(messages[segment.index])
    opened = _OPENED.match(raw)
    if opened is None:
        return None
    try:
        if opened[1] == b'"':
            content, start = _said.decode(raw).content, opened.end() - 1
            if start + len(memoryview(content)) + 1 != len(raw):
                return None
            value = b"".join((raw[:start], _text_marked(content, control), b"}"))
            return Edit(("messages", segment.index), msgspec.Raw(value))
        blocks = _held.decode(raw).content
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    last = segment.part if request.wire is Wire.ANTHROPIC_MESSAGES else len(blocks) - 1
    if last != len(blocks) - 1 or not blocks[last] or "cache_control" in blocks[last] or raw[-3:] != b"}]}":
        return None
    value = b"".join((raw[:-3], b',"cache_control":', msgspec.json.encode(control), b"}]}"))
    return Edit(("messages", segment.index), msgspec.Raw(value))


class _Said(msgspec.Struct, forbid_unknown_fields=True):
    content: msgspec.Raw
    role: str


class _Held(msgspec.Struct, forbid_unknown_fields=True):
    """What ends in a list ends in its content."""

    content: list[dict[str, msgspec.Raw]]
    role: str


_OPENED = re.compile(rb'\{"role": ?"[a-z]+", ?"content": ?(["\[])')
_said = msgspec.json.Decoder(_Said)
_held = msgspec.json.Decoder(_Held)


def _text_marked(text: bytes | msgspec.Raw, control: dict[str, str]) -> msgspec.Raw:
    """text: as JSON."""
    pieces = (b'[{"type":"text","text":', text, b',"cache_control":', msgspec.json.encode(control), b"}]")
    return msgspec.Raw(b"".join(pieces))


def _breakpoint(request: Request, segment: Segment) -> Edit:
    """On the last part of a message or of a tool's result; a text becomes a part."""
    chat = request.wire is Wire.OPENAI_CHAT
    key, kind = ("messages", "text") if chat else ("input", "input_text")
    item: Any = msgspec.json.decode(items(request)[segment.index])
    holder = "output" if segment.tool and not chat else "content"
    content = item.get(holder)
    if isinstance(content, list) and content:
        return Edit((key, segment.index, holder, len(content) - 1, "prompt_cache_breakpoint"), _EXPLICIT)
    text = content if isinstance(content, str) else ""
    return Edit((key, segment.index, holder), [{"type": kind, "text": text, "prompt_cache_breakpoint": _EXPLICIT}])


_EXPLICIT = {"mode": "explicit"}


def _edit(request: Request, segment: Segment, control: dict[str, str]) -> Edit:
    envelope = request.envelope
    if segment.kind == "tools":
        return Edit(("tools", segment.index, "cache_control"), control)
    if segment.kind == "system":
        key = "instructions" if request.wire is Wire.OPENAI_RESPONSES else "system"
        raw = envelope.instructions if key == "instructions" else envelope.system
        if bytes(memoryview(raw)[:1]) == b'"':
            kind = "input_text" if key == "instructions" else "text"
            return Edit((key,), [{**_text(msgspec.json.decode(raw), control), "type": kind}])
        return Edit((key, segment.index, "cache_control"), control)
    if request.wire is Wire.OPENAI_RESPONSES:
        return Edit(("input", segment.index, "cache_control"), control)  # taken off again when it crosses
    message: Any = msgspec.json.decode(items(request)[segment.index])
    content = message.get("content")
    if isinstance(content, list) and content:
        part = segment.part if request.wire is Wire.ANTHROPIC_MESSAGES else len(content) - 1
        return Edit(("messages", segment.index, "content", part, "cache_control"), control)
    return Edit(("messages", segment.index, "content"), [_text(content if isinstance(content, str) else "", control)])


def _text(text: str, control: dict[str, str]) -> dict[str, Any]:
    return {"type": "text", "text": text, "cache_control": control}
