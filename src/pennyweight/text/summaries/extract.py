"""Summaries made of a text's own sentences: nothing in them is new, and no model is needed.

A sentence is worth what its words are worth (those the text keeps coming back to; once said, they are worth less:
Nenkova and Vanderwende 2005), what it does (decisions, duties), what it names, and, where something is asked, how well
it answers. What is named and did not get in is listed at the end.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec

from ..relevance import Embed, score, sentences
from ..relevance.words import common, words_of
from .checked import Source
from .facts import Fact, facts
from .pins import pinned

__all__ = ["Summary", "extend", "summarize"]

NAMED_SHARE = 0.2
"""Of the budget, for the list of what is named and stands in no sentence kept."""

REMEMBERED_WORDS, REMEMBERED_FACTS = 2_000, 200
"""What is carried from summary to summary, so that a long session's stays small."""

HANDY = 8
"""A sentence longer than this part of the budget is worth less by as much as it is longer: two would be no summary."""

_PIN, _FACT, _FIRST, _ASKED = 1.0, 0.15, 0.3, 2.0


class Summary(msgspec.Struct, frozen=True):
    """`text`: the summary. The rest is what `extend` needs instead of the old text.

    sentences: those kept, in the order of the text. named: paths, identifiers and numbers of all that was read, the
    latest last. counts: how often each telling word was read. tokens: of `text`.
    """

    text: str
    tokens: int
    sentences: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    counts: dict[str, int] = {}


def summarize(
    text: str, *, budget_tokens: int, count: Callable[[str], int], query: str = "", embed: Embed | None = None
) -> Summary:
    """What a text says, in whole sentences of its own and in its order, in at most so many tokens.

    A text that fits comes back whole. query: what the reader is after; "": nothing in particular. embed: as of
    `relevance.select`, used where something is asked.
    """
    return extend(Summary("", 0), text, budget_tokens=budget_tokens, count=count, query=query, embed=embed)


def extend(
    before: Summary,
    text: str,
    *,
    budget_tokens: int,
    count: Callable[[str], int],
    query: str = "",
    embed: Embed | None = None,
) -> Summary:
    """A summary of what `before` is one of, and of `text` after it. Of the old only the sentences kept are read."""
    fresh = [piece for piece in sentences(text) if piece.strip()]
    pieces = [*before.sentences, *fresh]
    counts = _counts(before.counts, fresh)
    named = _named(before.named, text)
    if not before.named and not before.sentences and count(text.strip()) <= budget_tokens:
        whole = text.strip()
        return Summary(whole, count(whole), tuple(fresh), named, counts)
    sizes = [count(piece) for piece in pieces]
    worth = _worth(pieces, query, embed, first=len(before.sentences))
    kept = _best(pieces, sizes, worth, counts, budget_tokens - int(budget_tokens * NAMED_SHARE))
    while True:
        body = _joined([pieces[at] for at in kept])
        room = budget_tokens - count(body)
        if room >= 0 or not kept:
            break
        kept.remove(min(kept, key=worth.__getitem__))  # joining may cost a token more than its parts
    listed = _list(named, body, room, count)
    whole = f"{body}\n{listed}".strip() if listed else body
    return Summary(whole, count(whole), tuple(pieces[at] for at in kept), named, counts)


def _worth(pieces: Sequence[str], query: str, embed: Embed | None, *, first: int) -> list[float]:
    """What each sentence is worth apart from its words."""
    worth = []
    for at, piece in enumerate(pieces):
        named = sum(1 for fact in facts(piece) if fact.kind != "name")
        worth.append(_PIN * pinned(piece) + _FACT * math.sqrt(named) + (_FIRST if at == first or at == 0 else 0.0))
    if query:
        for at, asked in enumerate(score(pieces, query, embed=embed)):
            worth[at] += _ASKED * asked
    return worth


def _best(
    pieces: Sequence[str], sizes: Sequence[int], worth: Sequence[float], counts: Mapping[str, int], budget_tokens: int
) -> list[int]:
    """Places of the sentences chosen, in order. Each word that is said once counts a quarter from then on."""
    most = max(counts.values(), default=1)
    weights = {word: math.log1p(times) / math.log1p(most) for word, times in counts.items()}
    told = [frozenset(word for word in said if not common(word)) for said in words_of(pieces)]

    def gain(at: int) -> float:
        # Divided by a root of the length: a mean favours the shortest sentences, a sum the longest.
        said = sum(weights.get(word, 0.0) for word in told[at])
        long = min(handy / max(sizes[at], 1), 1.0)
        return (said / math.sqrt(len(told[at]) + 4) + worth[at]) * long if told[at] else 0.0

    handy = max(budget_tokens / HANDY, 1.0)
    queue = [(-gain(at), at) for at in range(len(pieces))]
    heapq.heapify(queue)
    kept: list[int] = []
    seen: set[frozenset[str]] = set()
    while queue and budget_tokens > 0:
        before, at = heapq.heappop(queue)
        now = -gain(at)
        if now > before + 1e-9:  # its words have been said since: its turn may come later
            heapq.heappush(queue, (now, at))
            continue
        if sizes[at] > budget_tokens or told[at] in seen or now >= 0:
            continue
        kept.append(at)
        seen.add(told[at])
        budget_tokens -= sizes[at]
        for word in told[at]:
            if word in weights:
                weights[word] *= 0.25
    return sorted(kept)


def _counts(before: Mapping[str, int], fresh: Sequence[str]) -> dict[str, int]:
    counts = Counter(before)
    for said in words_of(fresh):
        counts.update(word for word in said if not common(word))
    return dict(counts.most_common(REMEMBERED_WORDS))


def _named(before: Sequence[str], text: str) -> tuple[str, ...]:
    """What was named, with what the text names: what is named again is new again."""
    named = dict.fromkeys(before)
    for fact in facts(text):
        value = fact.value
        if fact.kind == "path" or _tells(fact):
            named.pop(value, None)
            named[value] = None
    return tuple(named)[-REMEMBERED_FACTS:]


def _tells(fact: Fact) -> bool:
    """Whether a number is long enough to be looked for, or an identifier of letters is more than a word in capitals."""
    if fact.kind == "number":
        return len(fact.value) > 2
    return fact.kind == "identifier" and not fact.value.isupper()


def _list(named: Sequence[str], body: str, room_tokens: int, count: Callable[[str], int]) -> str:
    """A line with the latest of what is named and does not stand in the body; "" where there is no room for any."""
    said = Source(body)
    missing = [value for value in reversed(named) if not said.stands(value)]
    kept: list[str] = []
    room = room_tokens - count("\n[also named: ]")
    for value in missing:
        room -= count(f", {value}")
        if room < 0:
            break
        kept.append(value)
    while kept:
        line = f"[also named: {', '.join(reversed(kept))}]"
        if count(f"\n{line}") <= room_tokens:
            return line
        kept.pop()
    return ""


def _joined(pieces: Sequence[str]) -> str:
    """Sentences as they stood, each set apart from the next by at least a space; CJK ones need none."""
    out = ""
    for piece in pieces:
        apart = out and not out[-1].isspace() and ord(out[-1]) < 0x2E80
        out += f" {piece}" if apart else piece
    return out.strip()
