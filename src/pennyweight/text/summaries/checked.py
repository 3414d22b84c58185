"""Whether a summary says only what its source says, as far as names, numbers, paths and identifiers can tell."""

from __future__ import annotations

import unicodedata
from functools import cached_property

import msgspec

from ..relevance import sentences
from ..relevance.words import common, words
from .facts import Fact, Kind, facts, number

__all__ = ["Problem", "Source", "checked", "kept_true"]

_OPENERS = """
accordingly according additionally afterwards although another both certainly consequently currently despite each
earlier either eventually everyone everything finally first following further furthermore given hence however instead
last later lastly likewise main mainly many meanwhile moreover most mostly neither nevertheless next nobody none note
nothing notably once otherwise overall participants people please previously rather second several similarly since
someone something sometimes soon still subsequently summary team thereafter therefore third though thus together today
tomorrow two three users whenever whereas whether while within without yesterday yet key points decision decisions
action actions items item open question questions
außerdem anschließend beide dabei dadurch dafür dagegen daher danach daraufhin darüber davor dazu dennoch derzeit
deshalb ebenso einige ferner folglich heute hierbei hierfür hinzu insgesamt jedoch jetzt kurz laut mehrere meist morgen
nachdem nun obwohl offen schließlich seit seitdem somit später stattdessen trotz trotzdem viele vorher während weil
weiter weiterhin weitere zudem zuerst zuletzt zusammen zusätzlich zunächst zwar zwei drei
"""
_OPENING_WORDS = frozenset(_OPENERS.casefold().split())


class Problem(msgspec.Struct, frozen=True):
    """A fact of a summary that does not stand in the source. `sentence`: the place of the first sentence with it."""

    kind: Kind
    value: str
    sentence: int


class Source(msgspec.Struct, frozen=True, dict=True):
    """A text that summaries are checked against: read once, whatever is checked."""

    text: str

    @cached_property
    def numbers(self) -> frozenset[str]:
        found = set()
        for fact in self._facts:
            if fact.kind == "number":
                value = number(fact.value)
                found |= {value, value.rstrip("%"), value.lstrip("-")}
        return frozenset(found)

    def holds(self, fact: Fact) -> bool:
        """Whether the source says it. Numbers by value, paths and identifiers to the letter, names by their words."""
        match fact.kind:
            case "number":
                return number(fact.value) in self.numbers or self.stands(fact.value)
            case "name":
                return self._named(fact)
        return self.stands(fact.value)

    @cached_property
    def _facts(self) -> list[Fact]:
        return facts(self.text)

    @cached_property
    def _folded(self) -> str:
        return unicodedata.normalize("NFKC", self.text).casefold()

    @cached_property
    def _words(self) -> frozenset[str]:
        return frozenset(words(self.text))

    def stands(self, value: str) -> bool:
        """Whether it stands in the source and is not a part of something longer."""
        at = self.text.find(value)
        while at >= 0:
            end = at + len(value)
            before, after = self.text[at - 1 : at], self.text[end : end + 1]
            if not (_joins(before) and _joins(value[:1])) and not (_joins(after) and _joins(value[-1:])):
                return True
            at = self.text.find(value, at + 1)
        return False

    def _named(self, fact: Fact) -> bool:
        folded = unicodedata.normalize("NFKC", fact.value).casefold()
        if not fact.value[0].isupper():  # a script without capitals: as it stands, for nothing marks a word's end
            return folded in self._folded
        if fact.opens and folded in _OPENING_WORDS:
            return True
        parts = words(fact.value)
        return all(part in self._words or common(part) for part in parts)


def checked(summary: str, source: str | Source) -> tuple[Problem, ...]:
    """Every name, number, path and identifier of the summary that the source does not have; () when there is none.

    A summary that passes may still be wrong: what is said of them is not judged. One that fails may be right: German
    nouns and words that open a sentence look like names, and count as such unless the source has them in some form.
    """
    known = Source(source) if isinstance(source, str) else source
    problems: dict[tuple[Kind, str], Problem] = {}
    for at, sentence in enumerate(sentences(summary)):
        for fact in facts(sentence):
            if not known.holds(fact):
                problems.setdefault((fact.kind, fact.value), Problem(fact.kind, fact.value, at))
    return tuple(problems.values())


def kept_true(summary: str, source: str | Source) -> str:
    """The summary without the sentences that fail."""
    known = Source(source) if isinstance(source, str) else source
    pieces = sentences(summary)
    return "".join(piece for piece in pieces if all(map(known.holds, facts(piece)))).strip()


def _joins(character: str) -> bool:
    """Whether a character beside a value would make it part of a longer one; scripts without spaces join nothing."""
    return bool(character) and (character == "_" or (character.isalnum() and ord(character) < 0x2E80))
