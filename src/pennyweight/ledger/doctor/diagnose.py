"""Why a call was billed for tokens that the provider's prompt cache could have served. Pure.

A call is laid beside the earlier calls of its conversation. The one that shares most with it says what could have been
read: the prefix they share, and, where something in the middle changed, what stands behind the change in both. What of
that was not read is missed, and the rules of the provider's cache say why. A prompt sent for the first time, the new
tail of a conversation, and history that was compacted are nobody's miss.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...money import Rates
from ...prices.caching import CacheRules
from .alike import (
    Overlap,
    is_head,
    last_mark,
    marked,
    marks_unseen,
    one_thread,
    only,
    overlap,
    same_kind,
    tool_contents,
    tools_differ,
    where,
)
from .change import Change, changed
from .miss import BETWEEN, FLOOR_TOKENS, Code, Miss, extra_cost
from .sent import Sent, name_of, text_of

__all__ = ["misses"]

_COMPARED = 8  # edited segments of one prompt whose texts are compared
_SMALL_TOKENS = 256


_CHORES = frozenset(("compaction", "title", "commit_message", "count"))

FLOOR_SHARE = 0.1  # of what could have been read: the same, for long prompts


def misses(
    later: Sent, earlier: Sequence[Sent], others: Sequence[Sent], rules: CacheRules, rates: Rates | None
) -> tuple[Miss, ...]:
    """What `later` missed, most often nothing or one thing.

    earlier: calls of its conversation, in order; others: the last calls of other conversations of the same provider and
    model, whose heads it may share. rates: as the call was billed; None where no price is known.
    """
    usage = later.usage
    if rules.kind == "none" or not later.chain or usage.input_tokens - usage.cache_read_tokens < FLOOR_TOKENS:
        return ()
    if later.housekeeping in _CHORES:
        return ()  # the client's own work, with a prompt of its own by design
    past = [call for call in earlier if call.chain and one_thread(call, later)]
    if not past:
        return _against_others(later, [*others, *earlier], rules, rates)
    pairs = [(call, overlap(call, later)) for call in past]
    mates = [pair for pair in pairs if pair[0].model == later.model and pair[0].provider == later.provider]
    far = max(pairs, key=_most)
    near = max(mates, key=_most, default=None)
    read = usage.cache_read_tokens
    if (near is None or far[1].tokens > near[1].tokens + FLOOR_TOKENS) and _matters(far[1].tokens - read, far[1]):
        return _switched(later, far[0], far[1], rules, rates)
    if near is None:
        return ()
    return _Case(later, near[0], near[1], earlier, rules, rates).misses()


def _most(pair: tuple[Sent, Overlap]) -> tuple[int, int, float]:
    call, seen = pair
    return round(seen.attainable), round(seen.tokens), call.at


def _matters(lost: float, seen: Overlap) -> bool:
    return lost >= max(FLOOR_TOKENS, FLOOR_SHARE * seen.attainable)


def _switched(later: Sent, other: Sent, seen: Overlap, rules: CacheRules, rates: Rates | None) -> tuple[Miss, ...]:
    gap_s = later.at - other.at
    if gap_s > _ttl_s(other, rules, len(other.chain)):
        return ()  # it would have been gone in any case
    code: Code = "model_switched" if other.model != later.model else "provider_switched"
    names = (other.model, later.model) if code == "model_switched" else (other.provider, later.provider)
    lost = seen.tokens - later.usage.cache_read_tokens
    where = " → ".join(names)
    return (Miss(code=code, tokens=round(lost), cost=extra_cost(later.usage, lost, rates), names=names, where=where),)


def _against_others(later: Sent, others: Sequence[Sent], rules: CacheRules, rates: Rates | None) -> tuple[Miss, ...]:
    """The first call of a conversation can read the head that others have written, if that is the same and recent.

    Another agent's head is another's business: only what differs by itself, or by order, is anybody's miss.
    """
    best: tuple[Sent, Overlap] | None = None
    for other in others:
        same_cache = other.model == later.model and other.provider == later.provider
        if same_cache and other.chain and later.at - other.at <= _ttl_s(other, rules, len(other.chain)):
            seen = overlap(other, later)
            if best is None or seen.tokens + seen.in_head_tokens >= best[1].tokens + best[1].in_head_tokens:
                best = (other, seen)
    if best is None:
        return ()
    other, seen = best
    in_head = seen.same < len(later.chain) and is_head(later, seen.same)
    seen = Overlap(
        seen.same, seen.tokens, seen.in_head_tokens if in_head else 0.0, seen.in_head_tokens if in_head else 0.0
    )
    case = _Case(later, other, seen, (), rules, rates, heads_only=True)
    return tuple(_between(miss) for miss in case.misses() if miss.code in _OF_HEADS)


def _between(miss: Miss) -> Miss:
    return msgspec.structs.replace(miss, names=(BETWEEN,)) if miss.code == "volatile_head" else miss


_OF_HEADS = frozenset(("volatile_head", "billing_header", "tools_reordered", "marker_missing", "below_minimum"))


class _Case:
    """One call beside the earlier one that it shares most with."""

    def __init__(
        self,
        later: Sent,
        earlier: Sent,
        seen: Overlap,
        past: Sequence[Sent],
        rules: CacheRules,
        rates: Rates | None,
        *,
        heads_only: bool = False,
    ) -> None:
        self.later, self.earlier, self.seen, self.past = later, earlier, seen, past
        self.rules, self.rates = rules, rates
        self.read = later.usage.cache_read_tokens
        self.change: Change | None = None
        self.heads_only = heads_only

    def misses(self) -> tuple[Miss, ...]:
        found = self._found()
        if self.later.housekeeping in ("heartbeat", "memory_flush"):  # whichever rule it was, the chore is the cause
            return tuple(self._as_chore(miss) for miss in found)
        return found

    def _as_chore(self, miss: Miss) -> Miss:
        chore: Code = "heartbeat" if self.later.housekeeping == "heartbeat" else "memory_flush"
        names = tools_differ(self.earlier, self.later)
        return msgspec.structs.replace(miss, code=chore, where="wakes", names=names)

    def _found(self) -> tuple[Miss, ...]:
        behind = self._behind()
        seen = self.seen
        if not _matters(seen.tokens + behind - self.read, seen):
            return ()
        if seen.tokens + behind < self.rules.min_tokens:
            return self._below_minimum(seen.tokens + behind)
        gap_s = max(self.later.at - self.earlier.at, 0.0)
        ttl_s = _ttl_s(self.earlier, self.rules, seen.same)
        if gap_s > ttl_s and self.read < seen.tokens - FLOOR_TOKENS:
            return self._lapsed(gap_s, ttl_s)
        if gap_s < self.earlier.took_s and self.read < seen.tokens - FLOOR_TOKENS:
            return (self._miss("parallel", seen.tokens - self.read, gap_s=gap_s),)
        by_itself = self.rules.kind == "automatic" or marks_unseen(self.earlier)
        return self._automatic(behind) if by_itself else self._at_marks(behind)

    # --- the rules of the caches ----------------------------------------------------------------------------

    def _automatic(self, behind: float) -> tuple[Miss, ...]:
        step = self.rules.step_tokens
        found = []
        expected = self.seen.tokens // step * step
        if self.seen.tokens >= self.rules.min_tokens and _matters(expected - self.read, self.seen):
            found.append(self._unread(expected))
        if behind:
            found.append(self._changed(self.seen.tokens + behind - max(self.read, expected)))
        return tuple(found)

    def _at_marks(self, behind: float) -> tuple[Miss, ...]:
        """What a mark wrote is read where a mark of the later call stands behind it, and not too far."""
        seen, ends = self.seen, self.later.ends
        if self.earlier.bound != self.later.bound and seen.same and not is_head(self.later, seen.same - 1):
            head = next((i for i in range(len(self.later.chain)) if not is_head(self.later, i)), 0)
            if _matters(seen.tokens - max(self.read, ends[head]), seen):
                lost = seen.tokens - max(self.read, ends[head])
                return (self._miss("parameter_changed", lost, names=self._parameters(), token=ends[head]),)
        written = self._marks(self.earlier)
        marks = self._marks(self.later)
        usable = [w for w in written if w < seen.same]
        reach = max(self.rules.look_back, 1) if self.rules.kind == "explicit" else len(self.later.chain)
        reached = max((w for w in usable if any(w <= m < w + reach for m in marks)), default=-1)
        expected = min(ends[reached + 1], seen.tokens) if reached >= 0 else 0.0
        found = []
        if _matters(expected - self.read, seen):
            found.append(self._unread(expected))
        lost = seen.tokens - max(self.read, expected)
        if behind:
            found.append(self._changed(lost + behind))
        elif _matters(lost, seen):
            found.append(self._about_marks(lost, written, marks, usable, reached))
        return tuple(found)

    def _about_marks(
        self, lost: float, written: Sequence[int], marks: Sequence[int], usable: Sequence[int], reached: int
    ) -> Miss:
        earlier, later, same = self.earlier, self.later, self.seen.same
        fresh = max(self.seen.tokens - earlier.story.shared_tokens, 0.0)
        if not marked(later):
            if not earlier.story.marked:
                return self._miss("marker_missing", lost, fresh=fresh)
            return self._miss("marker_dropped", lost, place=earlier.story.marked, where="later calls")
        if usable and reached < max(usable):
            return self._miss("marker_out_of_reach", lost, place=name_of(later, marks[-1]), where="history")
        if written and max(written) >= same:
            place = max(written)
            return self._miss("marker_transient", lost, place=name_of(earlier, place), where=where(earlier, place))
        return self._miss("marker_misplaced", lost, place=last_mark(later), fresh=fresh)

    def _unread(self, expected: float) -> Miss:
        """The prefix stands as it was and in time, and still was not read."""
        lost = expected - self.read
        earlier, later = self.earlier, self.later
        if earlier.betas != later.betas:
            names = tuple(sorted(set(earlier.betas.split(",")) ^ set(later.betas.split(","))))
            return self._miss(
                "header_changed", lost, place="anthropic-beta", names=tuple(n.strip() for n in names if n)
            )
        if earlier.cache_key != later.cache_key:
            return self._miss("cache_key_changed", lost, place="prompt_cache_key")
        if self.rules.takes_key and not later.cache_key:
            return self._miss("cache_key_missing", lost, place="prompt_cache_key")
        return self._miss("evicted", lost)

    def _lapsed(self, gap_s: float, ttl_s: float) -> tuple[Miss, ...]:
        """Reported where a longer life can be asked for and would have been enough."""
        longest = max(self.rules.ttl_s)
        never = self.rules.kind == "explicit" and not marked(self.earlier) and not marks_unseen(self.earlier)
        if gap_s > longest or never:  # without a mark nothing was there to lapse, and the usual one would have
            return ()
        lost = self.seen.tokens - self.read
        return (self._miss("ttl_lapsed", lost, gap_s=gap_s, ttl_s=ttl_s),) if _matters(lost, self.seen) else ()

    def _below_minimum(self, attainable: float) -> tuple[Miss, ...]:
        return (self._miss("below_minimum", attainable - self.read, token=self.rules.min_tokens),)

    # --- changes --------------------------------------------------------------------------------------------

    def _behind(self) -> float:
        """Tokens behind the first difference that could have been read had it not been there; 0 where nothing in
        the head changed, or the client compacted its history."""
        seen, later, earlier = self.seen, self.later, self.earlier
        if seen.same >= len(earlier.chain) or seen.same >= len(later.chain):
            return 0.0
        if not (is_head(later, seen.same) or is_head(earlier, seen.same)):
            compacted = any(call.housekeeping == "compaction" and call.at >= earlier.at for call in self.past)
            if compacted or later.usage.input_tokens < 0.7 * earlier.usage.input_tokens:
                return 0.0
        behind = seen.behind + self._alike()
        return behind if behind >= FLOOR_TOKENS else 0.0

    def _alike(self) -> float:
        """Tokens of the segments behind the first difference that were edited: what their old form had of them.

        A few large ones are compared, the place of the first difference among them.
        """
        old_call, new_call = self.earlier, self.later
        if old_call.request is None or new_call.request is None:
            return 0.0
        place, ends = self.seen.same, new_call.ends
        old, new = only(old_call, new_call, place), only(new_call, old_call, place)
        if self.heads_only:
            new = [index for index in new if is_head(new_call, index)]
        new = sorted(new, key=lambda index: ends[index] - ends[index + 1])[:_COMPARED]
        found = 0.0
        for index in sorted(new):
            segment = new_call.chain[index]
            mates = [i for i in old if same_kind(old_call, i, new_call, index)]
            if not mates or (ends[index + 1] - ends[index] < _SMALL_TOKENS and index != place):
                continue
            mate = min(mates, key=lambda i: abs(old_call.chain[i].size_bytes - segment.size_bytes))
            before = text_of(old_call.request, old_call.chain[mate])
            after = text_of(new_call.request, segment)
            if not before or not after:
                continue
            change = changed(before, after)
            if change.what or change.same >= 0.3:
                found += (ends[index + 1] - ends[index]) * (1.0 if change.what else min(change.same, 1.0))
                old.remove(mate)
                if index == place:
                    self.change = change
        return found

    def _changed(self, lost: float) -> Miss:
        place, later = self.seen.same, self.later
        code, names = self._why_changed()
        listed = code in ("tools_reordered", "tools_changed")
        return self._miss(
            code,
            lost,
            place="tools" if listed else name_of(later, place),
            where="tools" if listed else "wakes" if code == "heartbeat" else where(later, place),
            names=names,
            change=None if listed else self.change,
            token=later.ends[place],
        )

    def _why_changed(self) -> tuple[Code, tuple[str, ...]]:
        place, later, earlier = self.seen.same, self.later, self.earlier
        segment = later.chain[place]
        if segment.kind == "tools" or earlier.chain[place].kind == "tools":
            old, new = tool_contents(earlier), tool_contents(later)
            if sorted(old) == sorted(new):
                return "tools_reordered", ()
            if sorted(earlier.tools) == sorted(later.tools):
                return self._volatile_or("tool_changed"), ()
            return "tools_changed", tools_differ(earlier, later)
        if is_head(later, place):
            return self._volatile_or("system_changed"), ()
        if later.client == "openclaw" and any(call.housekeeping == "heartbeat" for call in self.past):
            return "heartbeat", ()  # a wake before this turn: OpenClaw then writes the poll's mark into a message
        return "history_changed", ()

    def _volatile_or(self, code: Code) -> Code:
        what = self.change.what if self.change is not None else ""
        if what == "a billing line":
            return "billing_header"
        return "volatile_head" if what else code

    def _parameters(self) -> tuple[str, ...]:
        old, new = self.earlier.bound.split(b"\0"), self.later.bound.split(b"\0")
        return tuple(n for n, a, b in zip(("tool_choice", "thinking"), old, new, strict=False) if a != b)

    # --- the money ------------------------------------------------------------------------------------------

    def _marks(self, of: Sent) -> list[int]:
        ends = of.ends
        marks = [i for i, s in enumerate(of.chain) if s.mark]
        if self.rules.kind == "marked" and (not marks or marks[-1] != len(of.chain) - 1):
            marks.append(len(of.chain) - 1)
        return [i for i in marks if ends[i + 1] >= self.rules.min_tokens * 0.9]

    def _miss(
        self,
        code: Code,
        lost: float,
        *,
        place: str = "",
        where: str = "",
        names: tuple[str, ...] = (),
        change: Change | None = None,
        token: float = 0.0,
        gap_s: float = 0.0,
        ttl_s: float = 0.0,
        fresh: float = 0.0,
    ) -> Miss:
        lost = min(lost, float(self.later.usage.input_tokens - self.read))
        return Miss(
            code=code,
            tokens=round(lost),
            cost=extra_cost(self.later.usage, lost, self.rates, fresh=fresh),
            place=place,
            where=where or place,
            at_byte=change.at_byte if change is not None else None,
            at_token=round(token),
            what=change.what if change is not None else "",
            names=names,
            gap_s=gap_s,
            ttl_s=ttl_s,
            before=change.before if change is not None else "",
            after=change.after if change is not None else "",
        )


def _ttl_s(of: Sent, rules: CacheRules, same: int) -> float:
    """How long what `of` left in the cache lives unused."""
    if rules.kind == "automatic":
        return max(rules.ttl_s) if of.retention == "24h" else rules.ttl_s[0]
    if marks_unseen(of):
        return (rules.long_ttl_s or rules.ttl_s[0]) if of.usage.cache_write_1h_tokens else rules.ttl_s[0]
    marks = [segment.mark for segment in of.chain[:same] if segment.mark]
    return rules.long_ttl_s or rules.ttl_s[0] if marks and marks[-1] == "1h" else rules.ttl_s[0]
