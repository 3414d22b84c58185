"""Do the parts of two sentences stand in the same relations? Tells a harmless change of order from a swap.

Harmless: a phrase with its own preposition in another place ("on Friday …"), the sides of "and", who and whom of a
relation that holds both ways, times, active for passive. A swap: two parts that take each other's place or preposition.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import grammar
from .facets import Facets, Term
from .lexicon import lexicon, stem

__all__ = ["TYPES", "match", "order"]

_CONTRARY = frozenset(
    frozenset(pair.split("/"))
    for pair in (
        *(
            "from/to",
            "before/after",
            "over/under",
            "by/to",
            "by/for",
            "from/for",
            "with/without",
            "for/against",
            "into/from",
        ),
        *("than/", "since/until"),
    )
)
TYPES = frozenset(stem(word) for word in grammar.TYPE_NOUNS)
_TIMES = frozenset(("month", "weekday", "season", "daytime", "reltime", "duration"))
_TRAITS = frozenset(("people", "descent", "religion", "colour"))  # "an Ethiopian poet", "a poet and Ethiopian"


def match(a: Sequence[Term], b: Sequence[Term]) -> tuple[list[tuple[Term, Term]], list[Term], list[Term]]:
    """Terms paired by concept in order, and what each has that the other lacks altogether."""
    free: dict[str, list[Term]] = {}
    for term in b:
        free.setdefault(term.concept, []).append(term)
    pairs, left = [], []
    for term in a:
        found = free.get(term.concept)
        if found is None:
            left.append(term)
        elif found:
            pairs.append((term, found.pop(0)))
    concepts = {term.concept for term in a}
    return pairs, left, [term for term in b if term.concept not in concepts]


def order(a: Facets, b: Facets, *, reworded: bool) -> tuple[str, int]:
    """A reason where parts changed places, else "" and how many moved without harm.

    `reworded`: much else differs too; then only names, numbers and the like must keep their order.
    """
    reason = _voice(a, b) or _voice(b, a)
    if reason:
        return reason, 0
    anagram = _words(a.folded) == _words(b.folded)  # the very same words: only their order can tell
    if a.active is None and b.active is None:
        return _places(a.terms, b.terms, reworded, strict=anagram)
    reason, moved = _places(a.active or a.terms, b.active or b.terms, reworded, strict=anagram)
    if not reason:
        return reason, moved
    if {a.voice, b.voice} == {"", "passive"} or (a.voice and b.voice):
        plain, moved = _places(a.terms, b.terms, reworded, strict=anagram or not (a.voice and b.voice))
        return (reason if plain else ""), moved
    return reason, moved


def _words(text: str) -> list[str]:
    return sorted(text.replace(",", " ").replace("?", " ").replace(".", " ").split())


def _voice(passive: Facets, other: Facets) -> str:
    """ "Was the dog bitten" against "did the dog bite": who suffers in the one acts in the other."""
    for verb in passive.suffered - other.suffered - other.participles:
        subject = None
        for term in passive.terms:
            if term.concept == verb:
                break
            if not term.marker and term.kind != "light":
                subject = term.concept
        if subject is None:
            continue
        seen = [term.concept for term in other.active or other.terms if not term.marker]
        if verb in seen and subject in seen and seen.index(subject) < seen.index(verb):
            return f"voice: {subject} {verb}"
    return ""


def _places(a: Sequence[Term], b: Sequence[Term], reworded: bool, *, strict: bool = False) -> tuple[str, int]:
    pairs, _, _ = match(a, b)
    if len(pairs) < 2:
        return "", 0
    known = lexicon().symmetric
    mutual = any(term.concept in known for term in a) and any(term.concept in known for term in b)
    counts_a, counts_b = _counts(a), _counts(b)
    place_a = {id(term): at for at, term in enumerate(a)}
    place_b = {id(term): at for at, term in enumerate(b)}
    moved = 0
    taken: dict[tuple[str, str], Term] = {}
    partner: dict[int, Term] = {}
    rows: list[tuple[Term, Term]] = []
    loose: list[tuple[int, int, Term]] = []
    for one, other in pairs:
        if counts_a[one.concept] != counts_b[one.concept]:
            continue
        if one.marker == other.marker:
            if one.kind != "light" or one.word in ("people", "person"):
                rows.append((one, other))
            continue
        if "of" not in (one.marker, other.marker):
            loose.append((place_a[id(one)], place_b[id(other)], one))
        back = taken.get((other.marker, one.marker))
        if strict and one.kind in ("plain", "name") and not mutual and one.word not in TYPES:
            return f"order: {one.word} behind {one.marker or 'no preposition'} / {other.marker or 'none'}", 0
        timed = back is not None and (back.kind in _TIMES) != (one.kind in _TIMES)
        if back is not None and not timed and not (mutual and back.kind == one.kind):
            return f"order: {back.word} and {one.word} changed places", 0
        if frozenset((one.marker, other.marker)) in _CONTRARY and not (
            one.kind in ("plain", "light") and "by" in (one.marker, other.marker)
        ):
            return f"role: {one.marker or 'bare'} {one.word} / {other.marker or 'bare'} {other.word}", 0
        for (was, became), two in taken.items():
            bare = (not was and not other.marker) or (not became and not one.marker)
            crossed = place_b[id(other)] < place_b[id(partner[id(two)])]
            if bare and crossed and two.kind == one.kind and not timed and not mutual:
                return f"order: {two.word} and {one.word} changed places", 0
        taken[one.marker, other.marker] = one
        partner[id(one)] = other
        moved += 1

    ends = {id(term): at for terms in (a, b) for at, term in enumerate(terms)}

    def bound(one: Term, other: Term) -> bool:
        """A number before the same noun in both, or that noun: "11 credits"."""
        here, there = _beside(a, ends[id(one)]), _beside(b, ends[id(other)])
        return here is not None and there is not None and here.concept == there.concept

    reason = _counted(a, b)
    if reason:
        return reason, 0
    counted = {term.group for term in a if term.kind == "number"}
    compares = any(term.marker == "than" for term in a) and any(term.marker == "than" for term in b)
    if compares:
        ranked = [(ends[id(other)], one) for one, other in pairs if one.kind not in ("plain", "light", "number")]
        for at, (here, one) in enumerate(ranked):
            for there, two in ranked[at + 1 :]:
                if there < here and one.concept != two.concept and one.group != two.group:
                    return f"order: {one.word} and {two.word} changed places", 0
    loose.extend((place_a[id(one)], place_b[id(other)], one) for one, other in rows if not one.marker)
    if len(pairs) == len(a) == len(b) and not mutual:
        turned = _turned(sorted(loose, key=lambda row: row[0]))
        if turned:
            return turned, 0
    if not strict and _rotated([place_b[id(other)] for _, other in rows]):
        return "", moved + 1
    rank_a = {id(one): at for at, (one, _) in enumerate(rows)}
    rank_b = {id(other): at for at, (_, other) in enumerate(sorted(rows, key=lambda row: place_b[id(row[1])]))}
    for at, (one, other) in enumerate(rows):
        here = place_b[id(other)]
        for two, second in rows[at + 1 :]:
            if place_b[id(second)] > here:
                continue
            if one.kind == two.kind == "number":
                free = bound(one, other) and bound(two, second)
            else:
                free = bound(one, other) or bound(two, second)
            if not free and not _free(one, other, two, second, mutual, counted):
                apart = rank_a[id(two)] - rank_a[id(one)], rank_b[id(other)] - rank_b[id(second)]
                plain = one.kind == "plain" == two.kind and (one.group != two.group or other.group != second.group)
                general = reworded and ("plain" in (one.kind, two.kind) or "light" in (one.kind, two.kind))
                if not general and (strict or not (plain and max(apart) == 1)):
                    return f"order: {one.word} and {two.word} changed places", 0
            moved += 1
    return "", moved


def _counted(a: Sequence[Term], b: Sequence[Term]) -> str:
    """A noun that both texts count, by other numbers."""
    amounts: list[dict[str, set[str]]] = []
    for terms in (a, b):
        found: dict[str, set[str]] = {}
        for at, term in enumerate(terms):
            noun = _beside(terms, at) if term.kind == "number" else None
            if noun is not None:
                found.setdefault(noun.concept, set()).add(term.concept)
        amounts.append(found)
    for noun_counted, numbers in amounts[0].items():
        others = amounts[1].get(noun_counted)
        if others and not numbers & others:
            return f"number of {noun_counted}: {min(numbers)} / {min(others)}"
    return ""


def _beside(terms: Sequence[Term], at: int) -> Term | None:
    """The noun that a number counts, or the number that counts a noun."""
    term = terms[at]
    if term.kind == "number":
        after = terms[at + 1] if at + 1 < len(terms) else None
        return after if after is not None and after.group == term.group and after.kind != "number" else None
    before = terms[at - 1] if at else None
    return before if before is not None and before.group == term.group and before.kind == "number" else None


def _rotated(places: Sequence[int]) -> bool:
    """A long sentence whose second half came first, each half in its own order: "by doing this you get that"."""
    if len(places) < 6:
        return False
    breaks = [at for at in range(1, len(places)) if places[at] < places[at - 1]]
    return len(breaks) == 1 and 2 <= breaks[0] <= len(places) - 2 and places[-1] < places[0]


def _turned(rows: Sequence[tuple[int, int, Term]]) -> str:
    """Two that changed places around a third that stayed: "a bad person becomes good"."""
    for at, (_, here, one) in enumerate(rows):
        for by, (_, pivot, _) in enumerate(rows[at + 1 :], at + 1):
            if pivot < here:
                for _, there, two in rows[by + 1 :]:
                    if there < pivot and not (one.group == two.group and one.member != two.member):
                        return f"order: {one.word} and {two.word} changed places"
    return ""


def _free(one: Term, other: Term, two: Term, second: Term, mutual: bool, counted: set[int]) -> bool:
    """May `one` and `two` of the first text stand the other way round, as `other` and `second` do in the second?"""
    if one.marker != two.marker:
        return True  # a phrase with its own preposition stands elsewhere
    if (one.kind in _TIMES) != (two.kind in _TIMES):
        return True
    if one.group == two.group and other.group == second.group:
        if (one.word in TYPES and two.kind != "plain") or (two.word in TYPES and one.kind != "plain"):
            return True
        if one.member != two.member and other.member != second.member and one.group not in counted:
            return True
        if (one.member != two.member or other.member != second.member) and (one.kind in _TRAITS or two.kind in _TRAITS):
            return True
    if one.word.endswith("est") != two.word.endswith("est") and "plain" in (one.kind, two.kind):
        return True  # "which flight is the earliest"
    return mutual and one.kind == two.kind


def _counts(terms: Sequence[Term]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for term in terms:
        counts[term.concept] = counts.get(term.concept, 0) + 1
    return counts
