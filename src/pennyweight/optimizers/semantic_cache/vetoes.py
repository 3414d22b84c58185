"""Why an answer given to one question must not be served for another: the first reason found, or none.

Deterministic and free of any model: whatever an embedding says, a veto stands. Written from what changes the meaning of
English questions, class by class, and not from any list of examples. `compare` also counts what is left over when
neither side is refused; the scorer weighs that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from . import grammar
from .facets import Facets, Term
from .lexicon import lexicon, stem
from .roles import TYPES, match, order

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
    added: int = 0  # words of general use that one has more, where else nothing differs
    replaced: int = 0  # and words of general use that stand in the place of others
    close: bool = False  # only the embeddings can tell: they must be close
    moved: int = 0  # terms in another place of the sentence, or behind another preposition
    soft: int = 0  # differences of grammar that are allowed: tense, "all", kind of question


# Of `grammar.FEATURES`, those that both must have or neither; the others are weighed by the kind of question.
_STRICT = frozenset(
    (
        *("only", "except", "other", "instead", "alone", "again", "still", "already", "yet", "anymore", "even", "also"),
        *("together", "aspect used to", "unless", "respectively", "degree more", "degree less"),
        *("quantity few", "quantity most", "quantity half"),
        *("relation before", "relation after", "relation since", "relation until"),
    )
)
_NEEDS_EQUAL = ("bound ",)
_HE_SHE = frozenset(("person he", "person she"))


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
    left, right = _clocks(left, right)
    if not left and not right:
        return ""
    if (not left or left == {"number 1"}) and (not right or right == {"number 1"}) and (a.one if right else b.one):
        return ""
    only = [sorted(side)[0] if side else "none" for side in (left, right)]
    kind = (only[0] if left else only[1]).partition(" ")[0]
    return f"{kind}: {only[0].removeprefix(kind + ' ')} / {only[1].removeprefix(kind + ' ')}"


def _clocks(left: frozenset[str], right: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Without a time that one side gives with "am" or "pm" and the other without: "5:00" and "17:00"."""
    for mine, theirs in ((left, right), (right, left)):
        for fact in mine:
            if fact.startswith("time ") and fact.endswith("?"):
                hour, _, minute = fact[5:-1].partition(":")
                full = {f"time {int(hour) % 12}:{minute}", f"time {int(hour) % 12 + 12}:{minute}"} & theirs
                if full:
                    return left - full - {fact}, right - full - {fact}
    return left, right


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


_LONG = 6  # terms in common
_STORY = 10  # terms from which a text tells of its people by name and pronoun as it likes
_CLOSE = {
    frozenset(pair)
    for pair in (
        ("exists", "what"), ("exists", "whether"), ("exists", "who"),
        ("what", "who"), ("what", "how-much"), ("how-many", "how-much"),
        ("what", "how-far"), ("what", "how-long"), ("what", "where"), ("what", "how"),
    )
}  # fmt: skip


_PERSONS = frozenset(
    stem(word)
    for word in (
        *(
            "person",
            "people",
            "name",
            "author",
            "teacher",
            "instructor",
            "professor",
            "team",
            "player",
            "actor",
            "actress",
        ),
        *(
            "director",
            "singer",
            "artist",
            "president",
            "student",
            "employee",
            "customer",
            "user",
            "winner",
            "owner",
            "someone",
        ),
        *(
            "writer",
            "producer",
            "leader",
            "manager",
            "coach",
            "company",
            "organization",
            "group",
            "man",
            "woman",
            "member",
        ),
    )
)


def _question(a: Facets, b: Facets) -> str:
    if a.question == b.question:
        return ""
    asks = frozenset((a.question, b.question))
    if asks in _CLOSE and ("who" not in asks or any(term.word in _PERSONS for term in (*a.terms, *b.terms))):
        return ""
    return f"question: {a.question} / {b.question}"


def _features(a: Facets, b: Facets) -> str:
    if a.features == b.features:
        return ""
    differ = a.features ^ b.features
    for feature in differ:
        if feature in _STRICT or feature.startswith(_NEEDS_EQUAL):
            return f"{feature} on one side only"
    if differ & _HE_SHE:
        he, she = a.features & _HE_SHE, b.features & _HE_SHE
        names = {term.concept for facets in (a, b) for term in facets.terms if term.kind not in _NO_NAME}
        if (he and she) or (len(names) > 1 and len(a.terms) < _STORY):
            return f"person: {_names(he, 'person')} / {_names(she, 'person')}"
    both = a.features, b.features
    times = any(not fact.startswith(("number ", "id ")) for fact in a.facts)
    for family in ("modal", "tense", "quantity", "person", "object"):
        reason = _family(family, *both, a.question, b.question, times)
        if reason:
            return reason
    if "or" in differ and "and" in differ:
        return "and / or"
    if "or" in differ and (a.question == "whether" or b.question == "whether"):
        return "or on one side only"
    return ""


def _family(family: str, a: frozenset[str], b: frozenset[str], asks_a: str, asks_b: str, times: bool) -> str:
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
        if asks_a == asks_b != "whether" and not (left and right):
            return ""
    elif family == "tense":
        for side, found in ((left, a), (right, b)):
            if any(feature.startswith("modal ") for feature in found):
                side.add("tense present")
        if not left or not right or left & right:
            return ""
        if "tense past" not in left | right and times:
            return ""  # "does she teach next winter" and "will she"
    elif family == "quantity":
        whole, part = {"quantity all", "quantity both"}, {"quantity some", "quantity several"}
        if not ((left & whole and right & part) or (left & part and right & whole)):
            left, right = left & whole, right & whole
            if asks_a != "whether" or bool(left) == bool(right):
                return ""
    elif family == "object":
        if not left or not right or left & right:
            return ""
    elif family == "person":
        plain = {"person i", "person you"}
        if not (left & plain) or not (right & plain) or left & right & plain:
            return ""
    return f"{family}: {_names(left, family)} / {_names(right, family)}"


def _names(features: Iterable[str], family: str) -> str:
    return " ".join(sorted(feature.removeprefix(family + " ") for feature in features)) or "none"


# -- words


def _terms(a: Facets, b: Facets) -> Comparison:
    pairs, left, right = match(a.terms, b.terms)
    known = lexicon()
    swapped = 0
    for one in list(left):
        for other in right:
            if _opposite(one.word, other.word, known.axes) or _opposite(one.concept, other.concept, known.axes):
                swapped += 1
                left.remove(one)
                right.remove(other)
                pairs.append((one, other))
                break
    for one in list(left):
        for other in right:
            if one.kind == other.kind == "plain" and _related(one.word, other.word, known.axes):
                left.remove(one)
                right.remove(other)
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
    both = any(term.kind != "light" for term in left) and any(term.kind != "light" for term in right)
    left, right = (
        [term for term in left if not _implied(term, a.terms, b, apposed=not both)],
        [term for term in right if not _implied(term, b.terms, a, apposed=not both)],
    )
    reason = _hard(left, right, known.common, few=len(pairs) < _LONG)
    if reason:
        return Comparison(veto=reason)
    plain_left = tuple(term.word for term in left if term.kind != "light")
    plain_right = tuple(term.word for term in right if term.kind != "light")
    reason, moved = order(a, b, reworded=min(len(plain_left), len(plain_right)) > 1)
    if reason:
        return Comparison(veto=reason)
    terms = [term for term in (*left, *right) if term.kind != "light"]
    plain = all(term.kind == "plain" and term.word in known.wording for term in terms)
    added = bool(plain_left) != bool(plain_right)
    if not added and len(terms) == 2 and terms[0].marker and terms[0].marker == terms[1].marker:
        plain = False  # one stands where the other stood: "without a degree", "without experience"
    replaced = not added and bool(terms) and (len(terms) == 2 or _replaced(a.terms, b.terms))
    # In a long text a word that is not of general use may be wording too; then the embeddings must be close.
    free = all(term.kind == "plain" and term.word not in known.axes for term in terms)
    free = free and (len(pairs) > _LONG + 2 or any(term.word in known.common for term in terms))
    spare = len(pairs) // _LONG
    if added and (
        len(terms) > 1 + spare
        or not (plain or (free and len(pairs) >= _LONG))
        or _narrows(terms[0], a.terms if plain_left else b.terms)
    ):
        return Comparison(veto=f"added: {terms[0].word}", left=plain_left, right=plain_right)
    if replaced and (len(terms) > 2 + spare or not (plain or (free and len(pairs) >= _LONG))):
        return Comparison(veto=f"word: {plain_left[0]} / {plain_right[0]}", left=plain_left, right=plain_right)
    if not left and not right and not moved:
        again = _repeated(a.terms, b.terms)
        if again:
            return Comparison(veto=f"repeated: {again}")
    rival = _other_of_class(a.terms, b.terms)
    if rival:
        return Comparison(veto=rival)
    return Comparison(
        matched=len(pairs),
        swapped=swapped,
        left=plain_left,
        right=plain_right,
        light=len(left) + len(right) - len(plain_left) - len(plain_right),
        moved=moved,
        added=len(terms) if added else 0,
        replaced=len(terms) // 2 if replaced else 0,
        close=not plain,
        soft=len(a.features ^ b.features) + (a.question != b.question),
    )


def _implied(term: Term, own: Sequence[Term], other: Facets, *, apposed: bool) -> bool:
    """A noun that a neighbour brings along ("Fall term"), or that the other's question word stands for.

    apposed: also one that says what kind of thing the name beside it is ("course 568").
    """
    asked = _ASKED.get(other.question, ())
    if term.concept in asked or term.word in asked:
        return True
    at = own.index(term)
    for near in (*own[max(0, at - 1) : at], *own[at + 1 : at + 2]):
        if near.group != term.group and near.marker != "of":
            continue
        if term.word in _KIND_NOUNS.get(near.kind, ()) or (apposed and near.kind in _PROPER and term.word in TYPES):
            return True
    return False


_NAMING = frozenset(("name", "id", "code", "number"))
_NO_NAME = frozenset(("plain", "light", "number", "duration", "unit", "money"))
_PROPER = frozenset(
    (
        *_NAMING,
        *("country", "continent", "city", "state", "people", "company", "airline", "computing", "system", "database"),
        *("browser", "language", "brand", "planet", "religion", "animal", "disease", "relative"),
    )
)
_KIND_NOUNS = {kind: frozenset(stem(word) for word in words) for kind, words in grammar.KIND_NOUNS.items()}
_ASKED_NOUNS = {
    "who": ("person", "name", "team", "author", "player"),
    "when": ("time", "date"),
    "where": ("place", "location", "city", "stat", "country", "region"),
    "why": ("reason",),
    "how": ("way", "method", "step"),
    "how-many": ("number",),
    "how-much": ("cost", "amount"),
    "how-long": ("time", "length", "duration"),
    "how-far": ("distance",),
    "how-often": ("frequency",),
}
_ASKED = {question: frozenset(stem(word) for word in nouns) for question, nouns in _ASKED_NOUNS.items()}


_ASPECTS = frozenset(
    stem(word)
    for word in (
        *(
            "become",
            "turn",
            "stop",
            "start",
            "quit",
            "try",
            "attempt",
            "keep",
            "remain",
            "avoid",
            "prevent",
            "fail",
            "refuse",
        ),
        *(
            "pretend",
            "plan",
            "intend",
            "continue",
            "cease",
            "seem",
            "want",
            "like",
            "deny",
            "false",
            "former",
            "future",
            "past",
        ),
        *(
            "wrong",
            "average",
            "limit",
            "extra",
            "additional",
            "further",
            "alternative",
            "different",
            "same",
            "each",
            "single",
        ),
    )
)


def _narrows(term: Term, own: Sequence[Term]) -> bool:
    """Stands before another word of weight ("an experienced nurse"), or says that something begins, ends, seems."""
    at = own.index(term)
    if term.word in _ASPECTS:
        return True
    return any(after.group == term.group and after.kind != "light" for after in own[at + 1 : at + 2])


def _repeated(a: Sequence[Term], b: Sequence[Term]) -> str:
    """A word of weight that one text has once more: "a state that borders a state bordering Ohio"."""
    one = [term.word for term in a if term.kind == "plain" and term.word not in TYPES]
    other = [term.word for term in b if term.kind == "plain" and term.word not in TYPES]
    return next((word for word in one if word in other and one.count(word) != other.count(word)), "")


def _other_of_class(a: Sequence[Term], b: Sequence[Term]) -> str:
    """Both know two names of one class, but use them unequally often: "… a day, how much per week" and "… per day"."""
    more: dict[str, str] = {}
    for one, other, sign in ((a, b, "more"), (b, a, "less")):
        words = [term.concept for term in other]
        seen = [term.concept for term in one]
        for term in one:
            if term.kind not in ("plain", "light", "number") and 0 < words.count(term.concept) < seen.count(
                term.concept
            ):
                if sign == "less" and term.kind in more:
                    return f"{term.kind}: {more[term.kind]} / {term.concept}"
                if sign == "more":
                    more[term.kind] = term.concept
    return ""


def _replaced(a: Sequence[Term], b: Sequence[Term]) -> bool:
    """Do the two differ in one place only, by other words there? So a name looks that is written small."""
    one = [term.concept for term in a if term.kind != "light"]
    other = [term.concept for term in b if term.kind != "light"]
    while one and other and one[0] == other[0]:
        del one[0], other[0]
    while one and other and one[-1] == other[-1]:
        del one[-1], other[-1]
    return not set(one) & set(other)


def _first(names: Iterable[str]) -> str:
    return min(names, default="none")


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


_ENDINGS = (
    "ation",
    "ement",
    "ment",
    "tion",
    "ing",
    "able",
    "ance",
    "ence",
    "ity",
    "ness",
    "er",
    "or",
    "al",
    "ly",
    "ion",
    "ed",
    "e",
    "y",
)


def _related(one: str, other: str, axes: Mapping[str, object]) -> bool:
    root, base = _root(one, axes), _root(other, axes)
    return root in (base, other) or one == base


def _root(word: str, axes: Mapping[str, object]) -> str:
    """Without the ending that makes a noun of a verb and the like: "teacher" and "teach" have one root."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            base = word[: -len(ending)]
            if ending == "er" and base in axes:
                return word  # "faster" is no derivation of "fast", but a comparison
            return base[:-1] if len(base) > 3 and base[-1] == base[-2] else base
    return word


def _rare(term: Term, common: frozenset[str]) -> bool:
    """Not a word of general use: a thing, a term of art, perhaps a name."""
    return term.kind != "light" and (term.kind != "plain" or term.word not in common)


def _hard(left: Sequence[Term], right: Sequence[Term], common: frozenset[str], *, few: bool) -> str:
    """Names, terms of art and members of a class that only one side has.

    A word that is not in general use passes for a name where each side has its own and little else differs.
    """
    few = few and min(len(left), len(right)) <= 2
    rare = few and all(any(_rare(term, common) for term in side) for side in (left, right))
    for here, there in ((left, right), (right, left)):
        for term in here:
            if term.kind in _PROPER or (rare and _rare(term, common)):
                return f"name: {term.word} / {there[0].word if there else 'none'}"
            if term.kind not in ("plain", "light"):
                rivals = [other.word for other in there if other.kind == term.kind]
                if rivals:
                    return f"{term.kind}: {term.word} / {rivals[0]}"
    return ""


# -- other languages


def _other_language(a: Facets, b: Facets) -> Comparison:
    """What can be counted without a grammar for the language; a high cosine must do the rest."""
    left = tuple(term.word for term in a.terms if term.concept not in {other.concept for other in b.terms})
    right = tuple(term.word for term in b.terms if term.concept not in {other.concept for other in a.terms})
    return Comparison(matched=len(a.terms) - len(left), left=left, right=right)
