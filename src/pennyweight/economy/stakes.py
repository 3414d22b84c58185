"""What may be staked on calls that nobody has made yet, and on which part of a prompt. Pure.

The rule: what earlier changes have earned in a conversation, and a thousandth of what it has cost. It holds whatever
follows; the exceptions are habits of agents that go on by themselves, and are named where they stand.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import inf
from operator import attrgetter

import msgspec

from ..habits import LATER_S, SOON_S, WELL
from ..prefix import Segment, shared
from .foreseen import Foreseen, Worth
from .pricing import cost_now

__all__ = ["invested", "purse", "reading", "smallest", "stake_refused", "standing", "takes_mark"]

_ADDED_TIMES = 1.5
_AT_ONCE = 0.2
_SHOWN, _STEADY, _ONCE_BITTEN = 2, 5, 6  # gaps well in time, without a break
_SHARE = 0.0005  # of what a conversation has cost; twice as much with every further gap in time
_STEPS = 12  # after which no stake is still bounded by them
_SHARE_HOUR = 0.0008  # a conversation of long pauses comes back on another day, with another date in its head
_YOUNG_PROMPTS = 20  # a conversation that has cost less than so many of the shortest cached prompts has just begun
_SHARE_REPEATED = 0.05  # where an early part comes again although what follows has changed
_SHARE_LOOPING = 0.2  # where an agent goes on by itself, call upon call


def stake_refused(seen: Foreseen, marks: Sequence[int], worth: Worth, ttl_s: float) -> str:
    """Why a change that costs more now and pays later must not be made; "": it may. marks: where they stand after it;
    ttl_s: the life of what it writes.

    Its cost is a stake that is lost if no call follows in time, or with another head. What has not come again before
    is only bet on out of earnings.
    """
    conversation = seen.conversation
    if worth.total <= 0:
        return "what it costs now would not come back"
    if conversation is None:
        return "not known yet whether the conversation goes on"
    last = marks[-1] if marks else -1
    if -worth.now > purse(seen, ttl_s, first=last <= smallest(seen)):
        return "more than has been earned, for a conversation that may end or pause"
    guessed = not seen.appends and last >= seen.repeated
    if guessed and -worth.now > conversation.balance:
        return "what has not come again before is only bet on out of earnings"
    return ""


def invested(seen: Foreseen, worth: Worth, saving: float) -> Worth:
    """What a change is worth that costs a little now and makes other savings possible, in pico-dollars, later on.

    Nobody has earned anything yet where it is proposed, at the beginning of a conversation, so it is not paid from a
    purse: whoever proposes it answers for the saving by what its agent's conversations came to, or an operator does.
    It must cost no more now than what it adds: where it would disturb what is warm, it waits.
    """
    assert seen.rates is not None
    plain, _, write_5m, write_1h, _ = seen.rates.of(seen.forecast.prompt_tokens)
    if worth.waits or -worth.now > _ADDED_TIMES * -worth.tokens * max(plain, write_5m, write_1h):
        return msgspec.structs.replace(worth, refused=worth.refused or "it would disturb what is warm", waits=True)
    return Worth(worth.now, worth.ahead + saving, worth.tokens)


def purse(seen: Foreseen, ttl_s: float, *, first: bool = False) -> float:
    """What may be staked on the calls to come, in pico-dollars: what earlier changes have earned in this conversation,
    and at most `stake` of what it has cost (a thousandth, unless the operator allows more), if it has gone on well
    within that life, oftener where a stake was lost. So whatever follows, it costs no more than that above what it
    would have.

    first: for the smallest prefix that can be cached at all. Where a young agent goes on by itself, that may cost more.
    """
    hour = ttl_s >= LATER_S
    known: dict[tuple[bool, bool], float] = seen.__dict__.setdefault("_purses", {})
    found = known.get((hour, first))
    if found is None:
        found = known[hour, first] = _purse(seen, hour=hour, first=first)
    return found


def _purse(seen: Foreseen, *, hour: bool, first: bool) -> float:
    conversation = seen.conversation
    if conversation is None or seen.rates is None:
        return 0.0
    life_s = LATER_S if hour else SOON_S
    if seen.gap_s >= life_s:
        return 0.0
    cost = conversation.spent + conversation.answers + cost_now(seen.forecast, seen.rates)
    in_row = 1 + (conversation.in_row_later if hour else conversation.in_row) if seen.gap_s < WELL * life_s else 0
    if conversation.balance + reading(seen) < 0:
        return min(_SHARE, seen.stake) * cost + conversation.balance if in_row >= _ONCE_BITTEN else 0.0
    steps = min(in_row - _SHOWN, _STEPS)
    share = min(_SHARE * 2.0**steps, _SHARE_HOUR if hour else seen.stake, seen.stake) if steps >= 0 else 0.0
    if seen.gap_s < _AT_ONCE * life_s and not hour and seen.stake > 0:
        if first and seen.looping and in_row >= _STEADY and conversation.spent < _YOUNG_PROMPTS * _least(seen):
            share = _SHARE_LOOPING
        elif seen.gap_s < _AT_ONCE / 2 * life_s and not seen.appends and _known(seen):
            share = _SHARE_REPEATED
    return conversation.balance + share * cost


def _least(seen: Foreseen) -> float:
    """What the shortest prompt that its provider caches costs, in pico-dollars."""
    return seen.rates.of(seen.forecast.prompt_tokens)[0] * seen.rules.min_tokens if seen.rates is not None else 0.0


def _known(seen: Foreseen) -> bool:
    """Whether the session has gone on, or its agent, and nothing was lost on it by taking its word."""
    if seen.session_calls >= 2:
        return True
    return seen.history is not None and seen.history.calls >= 2 and seen.history.balance >= 0


def smallest(seen: Foreseen) -> int:
    """The last block of the smallest prefix that the provider caches; -1: the prompt is too short."""
    found: int | None = seen.__dict__.get("_smallest")
    if found is None:
        scale = seen.forecast.prompt_tokens / max(seen.chain[-1].upto, 1)
        least = bisect_left(seen.chain, seen.rules.min_tokens / scale if scale else inf, key=_UPTO)
        places = (index for index in range(least, len(seen.chain)) if takes_mark(seen.chain[index]))
        found = seen.__dict__["_smallest"] = next(places, -1)
    return found


_UPTO = attrgetter("upto")


def takes_mark(segment: Segment) -> bool:
    """Whether a breakpoint may stand on a block: not on thinking and empty texts; the model's turns need none."""
    return segment.role not in ("assistant", "model") and not segment.bound and segment.tokens > 0


def standing(seen: Foreseen) -> int:
    """The last block of what the conversation's last call wrote or read at a mark, if this prompt still begins so and
    it is probably still there; -1: nothing. It is read only if a mark stands on it, or soon behind it."""
    found: int | None = seen.__dict__.get("_standing")
    if found is None:
        found = seen.__dict__["_standing"] = _standing(seen)
    return found


def _standing(seen: Foreseen) -> int:
    conversation = seen.conversation
    if conversation is None:
        return -1
    common = shared(conversation.chain, seen.chain)
    marks = conversation.chain.marks
    place = bisect_left(marks, common) - 1
    if place < 0:
        return -1
    life_s = LATER_S if conversation.chain[marks[place]].mark == "1h" else SOON_S
    return marks[place] if seen.gap_s < life_s else -1


def reading(seen: Foreseen) -> float:
    """What this very call can earn by reading what marks of ours wrote, in pico-dollars."""
    found: float | None = seen.__dict__.get("_reading")
    if found is None:
        found = seen.__dict__["_reading"] = _reading(seen)
    return found


def _reading(seen: Foreseen) -> float:
    assert seen.conversation is not None
    if not seen.conversation.rewritten or seen.rates is None:
        return 0.0
    place = standing(seen)
    if place < 0 or seen.forecast.prompt_tokens <= 0:
        return 0.0
    plain, read, *_ = seen.rates.of(seen.forecast.prompt_tokens)
    share = seen.chain[place].upto / max(seen.chain[-1].upto, 1)
    return share * seen.forecast.prompt_tokens * (plain - read)
