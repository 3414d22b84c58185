"""What must agree between two questions whatever experience says: values, names, negation, opposites and order. Pure.

`vetoes` reads two texts that are alike and refuses any difference that might matter. Questions that are worded in quite
other ways, but have had equal answers again and again, would all be refused by it; here only those differences count
that may change an answer in a way that earlier answers cannot show.
"""

from __future__ import annotations

from .facets import Facets
from .lexicon import lexicon
from .roles import order

__all__ = ["conflict"]

_PLAIN = frozenset({"plain", "light"})
_KINDS = frozenset(
    {
        *("number", "ordinal", "percent", "range", "unit", "money", "times", "sign"),
        *("date", "time", "relative", "reltime", "month", "weekday", "year", "duration"),
        *("version", "id", "path", "url", "email", "code", "flag", "hash"),
    }
)
"""Kinds of values that a phrase may name; others might be words of the prompt."""
_NAMES = frozenset({"name", "id", "code", "number", "country", "city", "state", "company", "people", "brand"})
"""Kinds of words of which one that only one side has is enough."""


def conflict(stored: Facets, asked: Facets) -> str:
    """Why the answer to `stored` must not be given to `asked`: "number: 5 / 6"; "" where nothing forbids."""
    if stored.language != asked.language:
        return f"language: {stored.language} / {asked.language}"
    if stored.folded == asked.folded and stored.facts == asked.facts and stored.quotes == asked.quotes:
        return ""
    if stored.facts != asked.facts:
        return _differ("a value", stored.facts, asked.facts)
    if stored.quotes != asked.quotes:
        return _differ("a quote", frozenset(stored.quotes), frozenset(asked.quotes))
    rivals = _rivals(stored, asked)
    if rivals:
        return rivals
    swapped = _opposites(stored, asked)
    if (stored.negations - asked.negations - swapped) % 2:
        return "an opposite" if swapped else "a negation"
    words = [sorted(term.concept for term in one.terms if term.kind != "light") for one in (stored, asked)]
    if words[0] == words[1] and order(stored, asked, reworded=False)[0]:
        return "the order of words"
    return ""


def _rivals(stored: Facets, asked: Facets) -> str:
    """A name that only one has, or two members of one class: "gold" and "platinum"."""
    ours = {(term.kind, term.concept) for term in stored.terms if term.kind not in _PLAIN}
    theirs = {(term.kind, term.concept) for term in asked.terms if term.kind not in _PLAIN}
    left, right = ours - theirs, theirs - ours
    for kind in sorted({kind for kind, _ in left | right}):
        if kind in _NAMES or ({kind} & {one for one, _ in left} and {kind} & {one for one, _ in right}):
            return f"a name differs ({kind})"
    return ""


def _differ(what: str, stored: frozenset[str], asked: frozenset[str]) -> str:
    """The phrase names the kind of what differs, never the value: it goes into receipts."""
    kinds = sorted({value.partition(" ")[0] for value in stored ^ asked} & _KINDS) if what == "a value" else []
    return f"{what} differs" + (f" ({', '.join(kinds)})" if kinds else "")


def _opposites(stored: Facets, asked: Facets) -> int:
    """Pairs of opposite words, one in each text, that neither text has both of."""
    axes = lexicon().axes
    ours, theirs = ({term.word for term in one.terms} | {term.concept for term in one.terms} for one in (stored, asked))
    found = set()
    for one in ours - theirs:
        for other in theirs - ours:
            for axis, pole in axes.get(one, ()):
                if any(axis == there and pole != here for there, here in axes.get(other, ())):
                    found.add(axis)
    return len(found)
