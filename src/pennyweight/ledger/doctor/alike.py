"""Two prompts side by side: what they share, what stands in their heads, where their marks are. Pure."""

from __future__ import annotations

from collections import Counter

import msgspec

from ...prefix import shared
from .sent import Sent, name_of

__all__ = [
    "Overlap", "head_size", "is_head", "last_mark", "marked", "marks_unseen", "one_thread", "only", "overlap",
    "same_kind", "tool_contents", "tools_differ", "where",
]  # fmt: skip


class Overlap(msgspec.Struct, frozen=True):
    """What two prompts have in common. `same`: leading segments; tokens in the later call's count."""

    same: int
    tokens: float
    behind: float  # tokens after the first difference that both have
    in_head_tokens: float  # of them, those of the head: tools and system

    @property
    def attainable(self) -> float:
        return self.tokens + self.behind


def overlap(earlier: Sent, later: Sent) -> Overlap:
    """Compared by content, so that another model or parameter does not hide it."""
    a, b = earlier.chain, later.chain
    same, most = shared(a, b), min(len(a), len(b))
    while same < most and a[same].content == b[same].content and a[same].role == b[same].role:
        same += 1
    ends = later.ends
    tokens = ends[same]
    if same == len(a):  # the earlier prompt whole: its own bill is exact
        tokens = min(float(earlier.usage.input_tokens), ends[-1])
    behind = head = 0.0
    if same < len(a):
        left = Counter((segment.kind, segment.role, segment.content) for segment in a[same:])
        for place in range(same, len(b)):
            segment = b[place]
            key = (segment.kind, segment.role, segment.content)
            if left[key]:
                left[key] -= 1
                size = ends[place + 1] - ends[place]
                behind += size
                head += size if is_head(later, place) else 0.0
    return Overlap(same, tokens, behind, head)


def one_thread(earlier: Sent, later: Sent) -> bool:
    """Whether one goes on with the other's messages. Agents that work for one session may not: they have nothing to
    read from each other but a head, and theirs differ for good reason."""
    said = {segment.content for segment in earlier.chain[head_size(earlier) :]}
    return any(segment.content in said for segment in later.chain[head_size(later) :])


def head_size(of: Sent) -> int:
    """How many leading segments are tools and instructions."""
    known: int | None = of.__dict__.get("_head")
    if known is None:
        known = next(
            (i for i, s in enumerate(of.chain) if s.kind == "message" and s.role not in ("system", "developer")),
            len(of.chain),
        )
        of.__dict__["_head"] = known
    return known


def is_head(of: Sent, place: int) -> bool:
    return place < head_size(of)


def where(of: Sent, place: int) -> str:
    """The place without a running number where the place moves with the conversation."""
    if is_head(of, place):
        return name_of(of, place)
    role = of.chain[place].role if place < len(of.chain) else ""
    return f"{role} message" if role else "history"


def last_mark(of: Sent) -> str:
    """Where the last cache mark stands; "" without one."""
    for place in range(len(of.chain) - 1, -1, -1):
        if of.chain[place].mark:
            return name_of(of, place)
    return ""


def marked(of: Sent) -> bool:
    return any(segment.mark for segment in of.chain)


def only(of: Sent, other: Sent, start: int) -> list[int]:
    """The places from `start` on whose content the other prompt has not."""
    theirs = {segment.content for segment in other.chain[start:]}
    return [index for index in range(start, len(of.chain)) if of.chain[index].content not in theirs]


def same_kind(a: Sent, i: int, b: Sent, j: int) -> bool:
    """Whether one can be the edited form of the other: the tool of that name, or a block of that kind and role."""
    one, two = a.chain[i], b.chain[j]
    if (one.kind, one.role) != (two.kind, two.role):
        return False
    if one.kind == "tools":
        return name_of(a, i) == name_of(b, j)
    return True


def marks_unseen(of: Sent) -> bool:
    """Whether the bill tells of a cache and the body of no mark: transcripts keep the conversation, not the request."""
    usage = of.usage
    return not marked(of) and usage.cache_read_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens > 0


def tool_contents(of: Sent) -> list[bytes]:
    return [segment.content for segment in of.chain if segment.kind == "tools"]


def tools_differ(earlier: Sent, later: Sent) -> tuple[str, ...]:
    """Names of tools that came ("+name") and went ("-name")."""
    old, new = Counter(earlier.tools), Counter(later.tools)
    return (*(f"+{name}" for name in new - old), *(f"-{name}" for name in old - new))
