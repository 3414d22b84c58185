"""Where cache breakpoints would stand, and the edits that put them there. Pure.

A breakpoint is worth something on the last block that the next call will repeat. What that is, the conversation has
shown: where it only grows, the end (less a transient message that its client drops again); where its client rewrites
an early message each turn, the block before that. The end of the head (tools and system) gets one too: it costs
nothing beside a later one, and other conversations begin with it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from ...call import Call
from ...economy import Foreseen, purse
from ...habits import head
from ...prefix import Segment, shared
from ...request import Edit, Request, Wire

__all__ = ["Placement", "edits", "placements"]

Life = Literal["5m", "1h"]

_TRANSIENT = b"BEGIN_OPENCLAW_INTERNAL_CONTEXT"  # OpenClaw takes this message out again in its next request


class Placement(msgspec.Struct, frozen=True):
    """`marks`: the segments that get a breakpoint of ours. `chain`: the prompt with them."""

    marks: tuple[int, ...]
    ttl: Life
    chain: tuple[Segment, ...]
    again: float = 1.0  # the probability that a next call begins so, in [0, 1]


def placements(call: Call, seen: Foreseen, ttl: Literal["auto", "5m", "1h"]) -> Iterator[Placement]:
    """What may be worth pricing, the caller's own marks counted."""
    chain = seen.chain
    taken = [index for index, segment in enumerate(chain) if segment.mark]
    room = seen.rules.max_marks - len(taken)
    if room <= 0 or call.request.envelope.cache_control is not None:
        return
    repeated, guess = _repeated(seen), _guess(seen)
    for end in sorted({_end(call.request, seen), repeated, guess, _affordable(seen)}, reverse=True):
        wanted = _wanted(seen, end)
        marks = tuple(sorted(set(wanted[:room]) - set(taken)))
        if not marks:
            continue
        for life in _lives(seen, ttl, marks, taken):
            marked = list(chain)
            for index in marks:
                marked[index] = msgspec.structs.replace(chain[index], mark=life)
            yield Placement(marks, life, tuple(marked), _again(seen) if end == guess > repeated else 1.0)


def _end(request: Request, seen: Foreseen) -> int:
    """The last block, less what its client will drop; -1: nothing."""
    conversation = seen.conversation
    assert conversation is not None
    if not conversation.appends(seen.asked):
        return -1
    last = request.envelope.messages[-1] if request.envelope.messages else None
    gone = max(conversation.gone(seen.asked), default=0)
    if not gone and last is not None and _TRANSIENT in bytes(last):
        gone = 1
    return _markable(seen.chain, len(seen.chain) - 1 - gone)


def _repeated(seen: Foreseen) -> int:
    """The last block of what this call repeats of the ones before it."""
    conversation = seen.conversation
    assert conversation is not None
    return _markable(seen.chain, conversation.repeated(seen.asked) - 1)


def _guess(seen: Foreseen) -> int:
    """The last block that stands where it stood in the call before, though one before it has changed: when that one
    changes back, or stays, this comes again. -1: there is none, or the conversation only grows."""
    conversation = seen.conversation
    assert conversation is not None
    if conversation.appends(seen.asked):
        return -1
    before, now = conversation.asked, seen.asked
    place, found, misses = shared(before, now), -1, 0
    while place < min(len(before), len(now)) and misses < 2:
        if before[place].content == now[place].content and before[place].kind == now[place].kind:
            found, misses = place, 0
        else:
            misses += 1
        place += 1
    return _markable(seen.chain, found) if found >= 0 else -1


def _again(seen: Foreseen) -> float:
    """How often such a guess was right: a Beta posterior mean that starts at 0.4."""
    assert seen.conversation is not None
    calls, hits = seen.conversation.guesses
    return (1.0 + hits) / (2.5 + calls)


def _affordable(seen: Foreseen) -> int:
    """The last block of what is repeated that what may be staked pays for; -1: none."""
    if seen.rates is None:
        return -1
    plain, _, write, *_ = seen.rates.of(seen.forecast.prompt_tokens)
    if write <= plain:
        return -1
    tokens = seen.forecast.known_tokens + purse(seen, 300.0) / (write - plain)
    scale = seen.forecast.prompt_tokens / max(seen.chain[-1].upto, 1)
    last = bisect_right(seen.chain, tokens / scale, key=lambda segment: segment.upto) - 1
    return _markable(seen.chain, min(last, _repeated(seen)))


def _wanted(seen: Foreseen, end: int) -> list[int]:
    """The places in the order of their worth: the end, what must be found again, the head."""
    if end < 0:
        return []
    wanted = [end]
    known = seen.forecast.known_to - 1
    if known >= 0 and end - known >= seen.rules.look_back:
        wanted.append(known)  # too far back to be found from the end
    elif known < 0 and seen.conversation is not None:
        repeated = _repeated(seen)
        if 0 <= repeated < end:
            wanted.append(repeated)
    start = _markable(seen.chain, head(seen.chain) - 1)
    if 0 <= start < end:
        wanted.append(start)
    return list(dict.fromkeys(wanted))


def _markable(chain: Sequence[Segment], index: int) -> int:
    """The last block up to `index` that takes a mark: thinking and empty texts do not, the model's turns need none."""
    index = min(index, len(chain) - 1)
    while index >= 0 and (chain[index].role in ("assistant", "model") or chain[index].bound or not chain[index].tokens):
        index -= 1
    return index


def _lives(seen: Foreseen, ttl: Literal["auto", "5m", "1h"], marks: Sequence[int], taken: Sequence[int]) -> list[Life]:
    """The lives to be priced. An hour's marks must stand before those of 5 minutes, the caller's included."""
    lives: list[Life] = ["5m", "1h"] if ttl == "auto" else [ttl]
    if any(seen.chain[index].mark == "5m" and index < marks[-1] for index in taken):
        lives = [life for life in lives if life == "5m"]
    if any(seen.chain[index].mark == "1h" and index > marks[0] for index in taken):
        lives = [life for life in lives if life == "1h"]
    conversation = seen.conversation
    seldom = conversation is None or conversation.in_row_later < 3 or max(conversation.gaps, default=0.0) < 300.0
    return [life for life in lives if life == "5m" or ttl == "1h" or not seldom]


def edits(request: Request, placement: Placement) -> tuple[Edit, ...]:
    """The edits that put the marks on the request's own blocks."""
    control = {"type": "ephemeral"} if placement.ttl == "5m" else {"type": "ephemeral", "ttl": "1h"}
    return tuple(_edit(request, placement.chain[index], control) for index in placement.marks)


def _edit(request: Request, segment: Segment, control: dict[str, str]) -> Edit:
    envelope = request.envelope
    if segment.kind == "tools":
        return Edit(("tools", segment.index, "cache_control"), control)
    if segment.kind == "system":
        key = "instructions" if request.wire is Wire.OPENAI_RESPONSES else "system"
        raw = envelope.instructions if key == "instructions" else envelope.system
        if bytes(memoryview(raw)[:1]) == b'"':
            return Edit((key,), [_text(msgspec.json.decode(raw), control)])
        return Edit((key, segment.index, "cache_control"), control)
    key = "messages" if envelope.messages is not None else "input"
    message: Any = msgspec.json.decode(_message(request, segment.index))
    content = message.get("content")
    if isinstance(content, list) and content:
        part = segment.part if request.wire is Wire.ANTHROPIC_MESSAGES else len(content) - 1
        return Edit((key, segment.index, "content", part, "cache_control"), control)
    return Edit((key, segment.index, "content"), [_text(content if isinstance(content, str) else "", control)])


def _message(request: Request, index: int) -> bytes:
    envelope = request.envelope
    if envelope.messages is not None:
        return bytes(envelope.messages[index])
    return bytes(msgspec.json.decode(envelope.input, type=list[msgspec.Raw])[index])


def _text(text: str, control: dict[str, str]) -> dict[str, Any]:
    return {"type": "text", "text": text, "cache_control": control}
