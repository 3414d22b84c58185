"""Why an answer given to one question must not be served for another: the first reason found, or none.

Deterministic and free of any model: whatever an embedding says, a veto stands. Written from what changes the meaning of
English questions, class by class, and not from any list of examples. `compare` also counts what is left over when
neither side is refused; the scorer weighs that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from . import grammar
from .facets import Facets, Term
from .lexicon import lexicon

__all__ = ["Comparison", "compare"]


class Comparison(msgspec.Struct, frozen=True):
    """Two texts held against each other. `veto` is a phrase for the trace, "" where nothing forbids."""

    veto: str = ""
    same: bool = False  # equal but for case, spaces, punctuation and polite openings
    matched: int = 0  # terms found in both
    swapped: int = 0  # pairs of opposites made good by a negation: "not patient" for "impatient"
    left: tuple[str, ...] = ()  # plain terms of the first that the second lacks
    right: tuple[str, ...] = ()  # and the reverse
    light: int = 0  # light terms that only one has
    moved: int = 0  # terms in another place of the sentence, or behind another preposition
    soft: int = 0  # differences of grammar that are allowed: tense, "all", kind of question


# Of `grammar.FEATURES`, those that both must have or neither; the others are weighed by the kind of question.
_STRICT = frozenset(
    (
        *("only", "except", "other", "instead", "alone", "again", "still", "already", "yet", "anymore", "even", "also"),
        *("together", "aspect used to", "if", "respectively", "degree more", "degree less"),
        *("quantity few", "quantity most", "quantity half", "quantity either"),
        *("relation before", "relation after", "relation since", "relation until"),
    )
)
_NEEDS_EQUAL = ("bound ", "person he", "person she")


def compare(a: Facets, b: Facets) -> Comparison:
    """May the answer to `a` be served for `b`, as far as words can tell? Symmetric but for the phrase."""
    if a.language != b.language:
        return Comparison(veto=f"language: {a.language} / {b.language}")
    if a.folded == b.folded and a.quotes == b.quotes and a.facts == b.facts:
        return Comparison(same=True, matched=len(a.terms))
    reason = _facts(a, b) or _quotes(a, b)
    if reason:
        return Comparison(veto=reason)
    if a.language != "en":
        return _other_language(a, b)
    reason = _question(a, b) or _features(a, b)
    if reason:
        return Comparison(veto=reason)
    return _terms(a, b)


# -- what must be equal


def _facts(a: Facets, b: Facets) -> str:
    if a.facts == b.facts:
        return ""
    left, right = a.facts - b.facts, b.facts - a.facts
    if (not left or left == {"number 1"}) and (not right or right == {"number 1"}) and (a.one if right else b.one):
        return ""
    only = [sorted(side)[0] if side else "none" for side in (left, right)]
    kind = (only[0] if left else only[1]).partition(" ")[0]
    return f"{kind}: {only[0].removeprefix(kind + ' ')} / {only[1].removeprefix(kind + ' ')}"


def _quotes(a: Facets, b: Facets) -> str:
    if a.quotes == b.quotes:
        return ""
    for quote in a.quotes:
        if quote not in b.quotes and quote.lower() not in b.folded:
            return f"quote: {quote} / {b.quotes[0] if b.quotes else 'none'}"
    for quote in b.quotes:
        if quote not in a.quotes and quote.lower() not in a.folded:
            return f"quote: {a.quotes[0] if a.quotes else 'none'} / {quote}"
    return ""


_CLOSE = {
    frozenset(pair)
    for pair in (
        ("what", "who"), ("what", "whether"), ("what", "how-many"), ("what", "how-much"), ("how-many", "how-much"),
        ("what", "how-far"), ("what", "how-long"), ("who", "whether"), ("what", "where"), ("what", "how"),
    )
}  # fmt: skip


def _question(a: Facets, b: Facets) -> str:
    if a.question == b.question or frozenset((a.question, b.question)) in _CLOSE:
        return ""
    return f"question: {a.question} / {b.question}"


def _features(a: Facets, b: Facets) -> str:
    if a.features == b.features:
        return ""
    differ = a.features ^ b.features
    for feature in differ:
        if feature in _STRICT or feature.startswith(_NEEDS_EQUAL):
            return f"{feature} on one side only"
    both = a.features, b.features
    for family in ("modal", "tense", "quantity", "person"):
        reason = _family(family, *both, a.question, b.question)
        if reason:
            return reason
    if "or" in differ and "and" in differ:
        return "and / or"
    if "or" in differ and (a.question == "whether" or b.question == "whether"):
        return "or on one side only"
    return ""


def _family(family: str, a: frozenset[str], b: frozenset[str], asks_a: str, asks_b: str) -> str:
    left = {feature for feature in a if feature.startswith(family)}
    right = {feature for feature in b if feature.startswith(family)}
    if left == right:
        return ""
    if family == "modal":
        left.discard("modal may")
        right.discard("modal may")
        duty = {"modal should", "modal must"}
        if (left & duty) == (right & duty) or (asks_a == "how" and asks_b == "how"):
            return ""
    elif family == "tense":
        if not ({"tense past"} <= (left ^ right)) or asks_a != asks_b:
            return ""
    elif family == "quantity":
        if not left or not right or asks_a != "whether":
            return ""
    elif family == "person":
        plain = {"person i", "person you"}
        if not (left & plain) or not (right & plain) or left & right & plain or asks_a in ("how", "why", "what"):
            return ""
    return f"{family}: {_names(left, family)} / {_names(right, family)}"


def _names(features: Iterable[str], family: str) -> str:
    return " ".join(sorted(feature.removeprefix(family + " ") for feature in features)) or "none"


# -- words


def _terms(a: Facets, b: Facets) -> Comparison:
    pairs, left, right = _match(a.terms, b.terms)
    known = lexicon()
    swapped = 0
    for one in list(left):
        for other in right:
            if _opposite(one.word, other.word, known.axes):
                swapped += 1
                left.remove(one)
                right.remove(other)
                pairs.append((one, other))
                break
    flips = abs(a.negations - b.negations)
    if flips != swapped or swapped > 1:
        if swapped:
            one, other = pairs[-1]
            return Comparison(veto=f"antonym: {one.word} / {other.word}")
        return Comparison(veto=f"negation: {a.negations} / {b.negations}")
    if a.negations and a.negations == b.negations and a.negated != b.negated:
        concepts = {one.concept for one, _ in pairs}
        if a.negated & concepts and b.negated & concepts:
            return Comparison(veto=f"negation of another word: {_first(a.negated)} / {_first(b.negated)}")
    reason = _hard(left, right)
    if reason:
        return Comparison(veto=reason)
    reason, moved = _order(a, b, pairs)
    if reason:
        return Comparison(veto=reason)
    plain_left = [term.word for term in left if term.kind != "light"]
    plain_right = [term.word for term in right if term.kind != "light"]
    if bool(plain_left) != bool(plain_right):
        return Comparison(
            veto=f"added: {(plain_left or plain_right)[0]}", left=tuple(plain_left), right=tuple(plain_right)
        )
    if len(plain_left) == 1 == len(plain_right) and not moved:
        return Comparison(
            veto=f"word: {plain_left[0]} / {plain_right[0]}", left=tuple(plain_left), right=tuple(plain_right)
        )
    return Comparison(
        matched=len(pairs),
        swapped=swapped,
        left=tuple(plain_left),
        right=tuple(plain_right),
        light=len(left) + len(right) - len(plain_left) - len(plain_right),
        moved=moved,
        soft=len(a.features ^ b.features) + (a.question != b.question),
    )


def _first(names: Iterable[str]) -> str:
    return min(names, default="none")


def _match(a: Sequence[Term], b: Sequence[Term]) -> tuple[list[tuple[Term, Term]], list[Term], list[Term]]:
    """Terms paired by concept in order, and what is left of each."""
    free: dict[str, list[Term]] = {}
    for term in b:
        free.setdefault(term.concept, []).append(term)
    pairs, left = [], []
    for term in a:
        found = free.get(term.concept)
        if found:
            pairs.append((term, found.pop(0)))
        else:
            left.append(term)
    concepts = {term.concept for term in a}
    right = [term for rest in free.values() for term in rest if term.concept not in concepts]
    paired = {one.concept for one, _ in pairs}
    return pairs, [term for term in left if term.concept not in paired], right


_PREFIXES = ("un", "in", "im", "ir", "il", "dis", "non", "mis", "de", "anti", "a")


def _opposite(one: str, other: str, axes: dict[str, tuple[tuple[int, int], ...]]) -> bool:
    poles = axes.get(one)
    if poles:
        others = axes.get(other)
        if others and any(axis == there and pole != here for axis, pole in poles for there, here in others):
            return True
    short, long = (one, other) if len(one) < len(other) else (other, one)
    if len(short) < 3:
        return False
    if long.endswith(short) and long[: len(long) - len(short)] in _PREFIXES:
        return True
    root = long.removesuffix("less")
    if root != long and (short == root or short == root + "ful"):
        return True
    return long.endswith("free") and long.removesuffix("free").rstrip("-") == short


def _hard(left: Sequence[Term], right: Sequence[Term]) -> str:
    """Names and members of a class that only one side has."""
    for here, there in ((left, right), (right, left)):
        for term in here:
            if term.kind in ("name", "id", "code", "number"):
                return f"name: {term.word} / {there[0].word if there else 'none'}"
            if term.kind not in ("plain", "light"):
                rivals = [other.word for other in there if other.kind == term.kind]
                if rivals:
                    return f"{term.kind}: {term.word} / {rivals[0]}"
    return ""


# -- who does what to whom


_CONTRARY = frozenset(
    frozenset(pair.split("/"))
    for pair in (
        *("from/to", "before/after", "over/under", "by/to", "by/for", "from/for", "with/without", "for/against"),
        *("than/", "since/until"),
    )
)


def _order(a: Facets, b: Facets, pairs: Sequence[tuple[Term, Term]]) -> tuple[str, int]:
    """A reason where the parts changed places, and how many moved without harm."""
    if a.active is not None and b.active is None:
        return _places(a.active, b.terms)
    if b.active is not None and a.active is None:
        return _places(a.terms, b.active)
    return _places(a.terms, b.terms)


def _places(a: Sequence[Term], b: Sequence[Term]) -> tuple[str, int]:
    pairs, _, _ = _match(a, b)
    if len(pairs) < 2:
        return "", 0
    moved = 0
    taken: dict[tuple[str, str], Term] = {}
    place = {id(term): at for at, term in enumerate(b)}
    for one, other in pairs:
        if one.marker != other.marker:
            if frozenset((one.marker, other.marker)) in _CONTRARY:
                return f"role: {one.marker or 'bare'} {one.word} / {other.marker or 'bare'} {other.word}", 0
            back = taken.get((other.marker, one.marker))
            if back is not None:
                return f"order: {back.word} and {one.word} changed places", 0
            taken[one.marker, other.marker] = one
            moved += 1
    rows = [
        (one, other, place[id(other)]) for one, other in pairs if one.marker == other.marker and one.kind != "light"
    ]
    symmetric = any(term.concept in grammar.SYMMETRIC for term in a) and any(
        term.concept in grammar.SYMMETRIC for term in b
    )
    for at, (one, other, here) in enumerate(rows):
        for two, second, there in rows[at + 1 :]:
            if there > here:
                continue
            if one.marker and one.group != two.group:
                moved += 1
                continue
            if (
                one.group == two.group
                and other.group == second.group
                and one.member != two.member
                and other.member != second.member
            ):
                moved += 1
                continue
            if symmetric and one.kind == two.kind:
                moved += 1
                continue
            return f"order: {one.word} and {two.word} changed places", 0
    return "", moved


# -- other languages


def _other_language(a: Facets, b: Facets) -> Comparison:
    """What can be counted without a grammar for the language; a high cosine must do the rest."""
    left = tuple(term.word for term in a.terms if term.concept not in {other.concept for other in b.terms})
    right = tuple(term.word for term in b.terms if term.concept not in {other.concept for other in a.terms})
    return Comparison(matched=len(a.terms) - len(left), left=left, right=right)
