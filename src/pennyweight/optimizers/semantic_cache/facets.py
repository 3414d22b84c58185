"""What a question hangs on, taken out of its text: figures, dates, names, negation, who asks, what relates to what.

`facets(text)` looks at one text only, so it is done once for a kept question. Two texts are held against each other in
`vetoes`. Nothing here asks a model, and nothing depends on time, locale or state.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import msgspec

from . import grammar
from .lexicon import Lexicon, lexicon, stem
from .tokens import Token, fold, tokens, unframed

__all__ = ["Facets", "Term", "facets"]


class Term(msgspec.Struct, frozen=True, gc=False):
    """One word of weight, in the order of the text."""

    concept: str  # stem, or the name of its group of synonyms
    word: str  # stem as it stood
    kind: str  # light plain name number id code, or the class of the lexicon that it is in
    marker: str  # the preposition that governs it, or ""
    group: int  # terms of one run of words have the same one, also over "and", "or" and commas
    member: int  # which side of "and", "or" and commas within its group


class Facets(msgspec.Struct, frozen=True):
    """Two texts may share an answer only where these agree; see `vetoes.veto`."""

    folded: str  # lower case, one spelling of quotes, spaces and contractions, without polite openings
    language: str  # "en", "other" for other languages in Latin letters, or the name of the script
    facts: frozenset[str]  # "number 5", "date 2024-05-01", "id D7781", "path /etc", "month march", …
    one: bool  # the word "one" stands somewhere, which may be the number or not
    quotes: tuple[str, ...]  # what stands in quotation marks or backticks
    terms: tuple[Term, ...]
    suffered: frozenset[str]  # verbs in the passive: concepts
    participles: frozenset[str]  # verbs in a form that may be passive or past
    active: tuple[Term, ...] | None  # `terms` as an active sentence would have them, where that differs
    voice: str  # why it differs: "agent" ("bitten by"), "fronted" ("which dog did she"), "passive" ("was bitten") or ""
    negations: int
    negated: frozenset[str]  # concepts right behind "not", "no" or "without"
    features: frozenset[str]  # "modal should", "tense past", "quantity all", "person i", "only", "or", …
    question: str  # who when where why how how-many how-much how-long how-often how-far whether what


def facets(text: str) -> Facets:
    """Read one text. Pure; any text will do."""
    folded, quotes = fold(text)
    core = unframed(folded)
    reader = _Reader(lexicon())
    reader.read(list(tokens(core)), asked=core.endswith("?"))
    lower = core.lower()
    features = reader.features
    if reader.counted:
        bounds = _BOUND.findall(lower)
        features.update(f"bound {grammar.BOUNDS[phrase]}" for phrase in bounds)
        if "more than" in bounds or "less than" in bounds or "fewer than" in bounds:
            features.difference_update(("degree more", "degree less"))
    return Facets(
        folded=lower.rstrip(" ?.!"),
        language=_language(text, reader.words),
        facts=frozenset(reader.facts),
        one=reader.one,
        quotes=quotes,
        terms=tuple(reader.terms),
        suffered=frozenset(reader.suffered),
        participles=frozenset(reader.participles),
        active=reader.active(),
        voice=reader.voice,
        negations=reader.negations,
        negated=frozenset(reader.negated),
        features=frozenset(features),
        question=reader.question,
    )


_TIMES = frozenset(("duration", *grammar.TIME_CLASSES))
_CLAUSE = frozenset(
    (
        "the",
        "a",
        "an",
        "there",
        "this",
        "that",
        *grammar.WH,
        *grammar.POSSESSIVES,
        *grammar.SUBJECTS,
        *grammar.AUXILIARIES,
    )
)
_FRONTING = frozenset(("did", "do", "does", "can", "could", "will", "would", "should"))
_PARTICIPLES = frozenset(
    (
        "taught",
        "written",
        "made",
        "given",
        "taken",
        "sold",
        "bought",
        "sent",
        "held",
        "built",
        "won",
        "lost",
        "led",
        "run",
        "drawn",
    )
)
_COUNT = rf"\s+(?:[$€£]\s?)?(?:\d|(?:{'|'.join([*grammar.NUMBERS, *grammar.SCALES])})\b)"
_BOUND = re.compile(
    rf"\b(?:{'|'.join(sorted(grammar.BOUNDS, key=lambda phrase: (-len(phrase), phrase)))})\b"
    rf"(?:(?={_COUNT})|(?<=or \w{{4}})|(?<=or \w{{5}}))"
)


class _Reader:
    """One pass over the tokens. Lives for one text."""

    def __init__(self, words: Lexicon) -> None:
        self.lexicon = words
        self.words: list[str] = []
        self.terms: list[Term] = []
        self.facts: set[str] = set()
        self.features: set[str] = set()
        self.negated: set[str] = set()
        self.suffered: set[str] = set()
        self.participles: set[str] = set()
        self.negations = 0
        self.question = ""
        self.voice = ""
        self.last = ""  # the last word that became a term
        self.one = self.counted = self.passive = self.be = self.clause = False
        self.marker = ""
        self.group = self.member = 0
        self.fronted: int | None = None  # "which films did she make": where "films" begins in the terms,
        self.front_end = 0  # and ends

    def read(self, found: Sequence[Token], *, asked: bool) -> None:
        """`asked`: the text ends in a question mark."""
        self.words = words = [token.text if token.kind == "word" else "" for token in found]
        at, size = 0, len(found)
        while at < size:
            token = found[at]
            if token.kind != "word":
                at = self.figure(found, at)
                continue
            word = token.text
            phrases = self.lexicon.phrases.get(word)
            if phrases is not None:
                for rest in phrases:
                    if tuple(words[at + 1 : at + 1 + len(rest)]) == rest:
                        name = "_".join((word, *rest))
                        if name not in self.lexicon.fillers:
                            self.term(name, token.name)
                        at += len(rest)
                        break
                else:
                    at = self.word(found, at)
                    continue
                at += 1
                continue
            at = self.word(found, at)
        if not self.question:
            self.question = "whether" if asked and self.clause else "what"

    # -- words

    def word(self, found: Sequence[Token], at: int) -> int:
        """Take the word at `at`; gives the place of the next."""
        token, words = found[at], self.words
        word = token.text
        after = words[at + 1] if at + 1 < len(words) else ""
        if word in grammar.WH:
            return self.wh(word, at, after)
        marker = grammar.MARKERS.get(word)
        if marker is not None:
            if word == "by" and at and (self.be or words[at - 1].endswith("ed") or words[at - 1] in _PARTICIPLES):
                self.passive = True
            elif len(after) > 5 and after.endswith("ing") and marker not in ("before", "after", "without", "than"):
                marker = "doing"  # "by loading", "of making": a clause, no role
            self.marker = marker
            self.group += 1
            if word == "without":
                self.negation(words, at)
            feature = grammar.FEATURES.get(word)
            if feature is not None:
                self.features.add(feature)
            return at + 1
        if word == "out" and after == "of":
            self.marker = "from"
            self.group += 1
            return at + 2
        if word in ("required", "necessary", "obliged", "mandatory", "needed") and after == "to":
            self.features.add("modal must")
            return at + 2
        if word == "and" or word == "or":
            if word == "or" and after == "not":
                return at + 2
            self.features.add(word)
            self.member += 1
            return at + 1
        if word in grammar.NEGATIONS:
            if word == "no" and after == "longer":
                self.features.add("anymore")
            if not (word == "no" and at + 1 < len(found) and found[at + 1].kind == "number"):
                self.negation(words, at)
            return at + 1
        role = grammar.AUXILIARIES.get(word)
        if role is not None:
            return self.auxiliary(found, role, at, after)
        if word in grammar.PRONOUNS:
            person = grammar.PRONOUNS[word]
            if person:
                self.features.add(f"person {person}")
            if word in grammar.POSSESSIVES and after:
                return at + 1
            if self.marker and word not in grammar.SUBJECTS:
                self.features.add(f"object {self.marker}")
            if word in grammar.SUBJECTS and self.fronted is not None and self.front_end == 0:
                self.front_end = len(self.terms) if self.fronted < len(self.terms) else 0
            self.run(keep=self.marker in ("before", "after", "since", "until"))
            return at + 1
        feature = grammar.FEATURES.get(word)
        if feature is not None:
            if not (word == "more" and at and found[at - 1].kind == "number"):
                self.features.add(feature)
            return at + 1
        if word == "earliest":
            self.facts.add("ordinal 1")
            return at + 1
        if word in grammar.NUMBERS or word in grammar.SCALES:
            return self.spelled(words, at)
        if word in grammar.ORDINALS:
            if word == "second" and at and words[at - 1] in ("a", "per", "each", ""):
                self.term("second", False)
            elif grammar.ORDINALS[word] < 0:
                self.facts.add(f"times {-grammar.ORDINALS[word]}")
            else:
                self.facts.add(f"ordinal {grammar.ORDINALS[word]}")
            return at + 1
        if word in ("last", "next", "previous", "past", "coming", "upcoming") and after in grammar.TIME_SPANS:
            which = {"previous": "last", "past": "last", "coming": "next", "upcoming": "next"}.get(word, word)
            self.facts.add(f"relative {which}")
            return at + 1
        if word == "ago":
            self.facts.add("relative ago")
            return at + 1
        if (
            word in ("use", "used")
            and after == "to"
            and not self.be
            and (word == "used" or "tense past" in self.features)
        ):
            self.features.add("aspect used to")
            return at + 2
        if word in ("need", "needs") and after == "to":
            self.features.add("modal must")
            return at + 2
        if word in self.lexicon.fillers or word in grammar.SILENT:
            return at + 1
        if "-" in word:
            return self.hyphenated(word, token.name, at)
        if word == "may" or (
            word == "fall" and (token.name or (at and words[at - 1] in ("this", "next", "last", "in", "the")))
        ):
            word = "autumn" if word == "fall" else word
        self.term(word, token.name)
        if word.endswith("ed") or word in _PARTICIPLES:
            (self.suffered if self.be else self.participles).add(self.terms[-1].concept)
        return at + 1

    def wh(self, word: str, at: int, after: str) -> int:
        asks = after in grammar.AUXILIARIES or after in ("to", "")
        near = self.terms[-1] if self.terms and at and self.words[at - 1] == self.last else None
        relative = near is not None and near.kind not in _TIMES and not self.opens(at)  # "the teacher who"
        skip = 2 if after == "to" else 1  # "how to": no direction
        self.run()
        if word == "how" and after in ("many", "much", "long", "often", "far"):
            if self.question in ("", "whether"):
                self.question = f"how-{after}"
            return at + 2
        if word in ("when", "where") and not asks:
            return at + 1  # "when it rains": no question
        if (
            word in ("who", "whom", "which")
            and at > 1
            and after
            and self.words[at - 1] in grammar.MARKERS
            and self.terms
        ):
            relative = not self.opens(at)  # "of whom", "in which"
        if self.question not in ("", "whether") or (relative and word not in ("what", "why")):
            return at + skip
        if self.question and word in ("how", "when", "where"):
            return at + skip
        self.question = {"which": "what", "whom": "who", "whose": "who"}.get(word, word)
        if self.question == "what":
            self.fronted = len(self.terms)
        return at + skip

    def auxiliary(self, found: Sequence[Token], role: str, at: int, after: str) -> int:
        words = self.words
        word = words[at]
        if (
            word == "may"
            and (after == "" or (at and words[at - 1] in ("in", "of", "since", "until", "by", "last", "next")))
            and at
        ):
            self.facts.add("month may")
            return at + 1
        if not self.question and self.opens(at):
            self.question = "whether"
            if after == "there" and (word in ("are", "were") or "any" in words[at + 2 : at + 4]):
                self.question = "exists"
        self.clause = True
        if role == "present":
            if word in ("have", "has") and after == "to":
                self.features.add("modal must")
                return at + 2
            if word in ("is", "are", "am", "do", "does"):
                self.features.add("tense present")
        elif role == "past":
            self.features.add("tense past")
        elif role == "future":
            self.features.add("tense future" if "be" in words[at + 1 : at + 5] else "tense present")
        elif role not in ("would", "future"):
            self.features.add(f"modal {role}")
        if word in ("be", "is", "are", "was", "were", "been", "being"):
            self.be = True
        if (
            self.fronted is not None
            and self.front_end == 0
            and self.fronted < len(self.terms)
            and (word in _FRONTING or (self.be and any(token.name for token in found[at + 1 : at + 3])))
        ):
            self.front_end = len(self.terms)
        self.run()
        return at + 1

    def opens(self, at: int) -> bool:
        """Does the word at `at` open a question: first, or behind nothing but phrases with prepositions?"""
        if self.terms:
            told = self.words[at - 1] in grammar.SUBJECTS or self.words[at - 1] in ("one", "it", "that")
            return not told and self.words[0] in grammar.MARKERS and all(term.marker for term in self.terms)
        return all(word in ("", "and", "so", "but", "or", "also") for word in self.words[:at])

    def negation(self, words: Sequence[str], at: int) -> None:
        self.negations += 1
        after = words[at + 1] if at + 1 < len(words) else ""
        inverted = (
            at > 0
            and words[at - 1] in grammar.AUXILIARIES
            and (
                after in grammar.POSSESSIVES
                or after in grammar.PRONOUNS
                or after in ("the", "a", "an", "this", "that", "these")
            )
        )  # "isn't my card working": what is negated comes later
        if words[at] in ("not", "no", "without") and after and not inverted:
            self.negated.add("?")  # filled by the next term
        self.run(keep=words[at] == "without" or words[at] == "no")

    def run(self, *, keep: bool = False) -> None:
        """A word of grammar ends the run of words, and what a preposition governs."""
        self.group += 1
        self.member = 0
        if not keep:
            self.marker = ""

    def hyphenated(self, word: str, name: bool, at: int) -> int:
        whole = stem(word)
        known = self.lexicon
        if whole in known.synonyms or whole in known.classes or whole in known.axes:
            self.term(word, name)
            return at + 1
        first, _, rest = word.partition("-")
        if first == "non" and rest:
            self.negations += 1
            self.negated.add("?")
            word = rest
        parts = word.split("-")
        if all(part in grammar.NUMBERS for part in parts):
            self.number(str(sum(grammar.NUMBERS[part] for part in parts)))
            return at + 1
        for part in parts:
            if part in grammar.NUMBERS:
                self.number(str(grammar.NUMBERS[part]))
            elif part in grammar.NEGATIONS:
                self.negations += 1
            elif part in known.fillers or part in grammar.SILENT or part in grammar.MARKERS or part in ("and", "or"):
                continue
            else:
                self.term(part, name)
        return at + 1

    def term(self, word: str, name: bool) -> None:
        known = self.lexicon
        base = word if "_" in word else stem(word)
        kind = known.classes.get(base)
        concept = known.synonyms.get(base, base)
        if kind is not None:
            concept = known.members[base]
            if kind in grammar.TIME_CLASSES:
                self.facts.add(f"{kind} {concept}")
        elif name:
            kind = "name"
        elif base in known.light:
            kind = "light"
        else:
            kind = "plain"
        if "?" in self.negated and kind != "light":
            self.negated.discard("?")
            self.negated.add(concept)
        self.terms.append(Term(concept, base, kind, self.marker, self.group, self.member))
        self.last = word

    def owner(self) -> None:
        """ "France's president" as "president of France"."""
        group = self.terms[-1].group if self.terms else -1
        for at in range(len(self.terms) - 1, -1, -1):
            term = self.terms[at]
            if term.group != group or term.marker or term.member != self.member:
                break
            self.terms[at] = msgspec.structs.replace(term, marker="of")
        self.group += 1

    # -- figures and signs

    def figure(self, found: Sequence[Token], at: int) -> int:
        kind, text, _ = found[at]
        if kind == "genitive":
            self.owner()
            return at + 1
        if kind == "comma":
            after = self.words[at + 1] if at + 1 < len(found) else ""
            if after in _CLAUSE:
                self.run()
            self.member += 1
            return at + 1
        if kind == "sign":
            if text == "%":
                self.term("percent", False)
            elif text == "&":
                self.features.add("and")
                self.member += 1
            elif text not in ("-", "--", "/", "$", "€", "£", "*", "**") or (
                text in "*/-"
                and at
                and found[at - 1].kind == "number"
                and at + 1 < len(found)
                and found[at + 1].kind == "number"
            ):
                self.facts.add(f"sign {text}")
            return at + 1
        if kind == "number":
            return self.numeral(text, at)
        if kind == "time":
            self.facts.add(f"time {_clock(text)}")
        elif kind == "id":
            self.identifier(text)
        else:
            plain = text.rstrip(".,;") if kind in ("url", "path") else text
            self.facts.add(f"{kind} {plain if kind in ('code', 'flag', 'path') else plain.lower()}")
            self.terms.append(Term(plain, plain, "code", self.marker, self.group, self.member))
        return at + 1

    def numeral(self, text: str, at: int) -> int:
        sign = text[0] if text[0] in "$€£" else ""
        plain = text.lstrip("$€£ ").replace(",", "")
        if plain[-2:] in ("st", "nd", "rd", "th"):
            self.facts.add(f"ordinal {int(plain[:-2])}" if plain[:-2].isdecimal() else f"id {plain}")
            return at + 1
        if plain.endswith(".00"):
            plain = plain[:-3]
        after = self.words[at + 1] if at + 1 < len(self.words) else ""
        if after in grammar.SCALES and plain.replace(".", "", 1).isdecimal():
            plain = (
                f"{float(plain) * grammar.SCALES[after]:g}" if "." in plain else str(int(plain) * grammar.SCALES[after])
            )
            at += 1
        self.number(plain)
        if sign:
            self.term({"$": "dollar", "€": "euro", "£": "pound"}[sign], False)
        return at + 1

    def spelled(self, words: Sequence[str], at: int) -> int:
        total = current = 0
        start = at
        while at < len(words):
            word = words[at]
            if word in grammar.NUMBERS:
                current += grammar.NUMBERS[word]
            elif word in grammar.SCALES and word != "k":
                scale = grammar.SCALES[word]
                current = max(current, 1) * scale
                if scale >= 1000:
                    total, current = total + current, 0
            elif not (
                word == "and"
                and at > start
                and words[at - 1] == "hundred"
                and at + 1 < len(words)
                and words[at + 1] in grammar.NUMBERS
            ):
                break
            at += 1
        value = total + current
        if at == start + 1 and words[start] == "one":
            self.one = True
        elif at == start:
            return at + 1
        else:
            self.number(str(value))
        return at

    def number(self, value: str) -> None:
        self.counted = True
        self.facts.add(f"number {value}")
        self.terms.append(Term(value, value, "number", self.marker, self.group, self.member))

    def identifier(self, text: str) -> None:
        plain = text.lstrip("#")
        head = plain.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ%")
        unit = plain[len(head) :].lower()
        if unit in grammar.UNITS and head.replace(".", "", 1).replace(",", "").isdecimal():
            if unit == "k":
                head = f"{float(head.replace(',', '')) * 1000:g}"
            else:
                self.term(unit, False)
            self.number(head.replace(",", ""))
            return
        parts = plain.split("-")
        if len(parts) > 1 and parts[0].isdecimal() and all(part.isalpha() for part in parts[1:]):
            self.number(parts[0])
            for part in parts[1:]:
                self.term(part.lower(), False)
            return
        if plain.isdecimal():
            self.number(plain)
            return
        if plain[0] in "vV" and plain[1:].replace(".", "").isdecimal():
            self.number(plain[1:])  # "v2.1" is "version 2.1"
            self.term("version", False)
            return
        value = plain.upper().replace("-", "").replace("_", "")
        self.facts.add(f"id {value}")
        self.terms.append(Term(value, value, "id", self.marker, self.group, self.member))

    # -- order

    def active(self) -> tuple[Term, ...] | None:
        """The terms with who acts in front: "was the boat needed by Adam" as "Adam need the boat"."""
        terms = self.terms
        agents = [term for term in terms if term.marker == "by"] if self.passive else []
        if not agents:
            if self.fronted is not None and 0 < self.front_end < len(terms):
                self.voice = "fronted"
                return (*terms[: self.fronted], *terms[self.front_end :], *terms[self.fronted : self.front_end])
            at = next((at for at, term in enumerate(terms) if term.concept in self.suffered), 0)
            if not at:
                return None
            self.voice = "passive"
            objects = [term for term in terms[:at] if not term.marker]
            return (*(term for term in terms[:at] if term.marker), terms[at], *objects, *terms[at + 1 :])
        first = terms.index(agents[0])
        before = [term for term in terms[:first] if not term.marker]
        if not before:
            return None
        verb = before[-1]
        rest = [term for term in terms if term.marker != "by" and term is not verb]
        self.voice = "agent"
        plain = [msgspec.structs.replace(term, marker="") for term in agents]
        return (*plain, verb, *rest)


def _clock(text: str) -> str:
    """ "5 p.m." as "17:00"; without am or pm as it stands."""
    plain = text.lower().replace(".", "").replace(" ", "")
    half = plain[-2:] if plain.endswith("m") else ""
    hour, _, minute = plain.removesuffix(half).partition(":")
    number = int(hour)
    if half:
        number = number % 12 + (12 if half == "pm" else 0) if number <= 12 else number
    return f"{number}:{minute or '00'}{'' if half else '?' if number < 13 else ''}"


_LATIN = re.compile(r"[a-z]", re.IGNORECASE)


def _language(text: str, words: Sequence[str]) -> str:
    """ "en"; "other" in Latin letters; else the script of the first letter that is not Latin."""
    if not text.isascii():
        letters = [letter for letter in text if letter.isalpha() and letter > "\u024f"]
        if letters and len(letters) * 4 > sum(map(str.isalpha, text)):
            return unicodedata.name(letters[0], "unknown").partition(" ")[0].lower()
    foreign = sum(1 for word in words if word in grammar.FOREIGN)
    if not foreign:
        return "en" if text.isascii() else _accented(text, words)
    english = sum(
        1
        for word in words
        if word in grammar.SILENT
        or word in grammar.WH
        or word in grammar.MARKERS
        or word in grammar.PRONOUNS
        or word in grammar.AUXILIARIES
    )
    return "other" if foreign > english else "en"


def _accented(text: str, words: Sequence[str]) -> str:
    """Accents without one English small word: another language, or too little to tell."""
    if any(word in grammar.SILENT or word in grammar.WH or word in grammar.MARKERS for word in words):
        return "en"
    return "other" if any(letter.isalpha() and letter > "\x7f" for letter in text) else "en"
