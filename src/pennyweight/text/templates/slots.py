"""Finds what may vary in a text: names, numbers, dates, times, amounts, ids, paths, addresses and quoted strings.

What is left is the text's template. It is kept as the pieces between the slots, not as a text with placeholders in it:
no prompt can imitate a slot. Whether a slot's value means anything is for others to find out; here only form counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import blake2b

import msgspec

__all__ = ["FUNCTION_WORDS", "Masked", "Slot", "mask"]


class Slot(msgspec.Struct, frozen=True):
    """Characters `start` to `end` of a text. `kind`: one of the names in `_KINDS`, or "name"."""

    kind: str
    start: int
    end: int


class Masked(msgspec.Struct, frozen=True):
    """A text as its template and what stands in it: `literals[0] values[0] literals[1] … literals[-1]`."""

    literals: tuple[str, ...]
    kinds: tuple[str, ...]
    values: tuple[str, ...]

    @property
    def key(self) -> str:
        """The template's name in hexadecimal digits: equal for texts that differ in the values alone.

        Ids and numbers stand for each other: of one kind of thing some have letters ("M80") and some have none ("747").
        """
        digest = blake2b(digest_size=16)
        for piece in (*("number" if kind == "id" else kind for kind in self.kinds), "", *self.literals):
            raw = piece.encode("utf-8", "surrogatepass")
            digest.update(b"%d:" % len(raw))
            digest.update(raw)
        return digest.hexdigest()


def mask(text: str) -> Masked:
    """The text's template. Without any slot there is one literal: the text."""
    literals: list[str] = []
    kinds: list[str] = []
    values: list[str] = []
    at = 0
    for slot in _slots(text):
        literals.append(text[at : slot.start])
        kinds.append(slot.kind)
        values.append(text[slot.start : slot.end])
        at = slot.end
    return Masked((*literals, text[at:]), tuple(kinds), tuple(values))


_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)\b\.?"
)
_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"
_PLAIN = r"[a-z]+(?=[\s,;!?]|\.(?:\s|$)|$)"
_KINDS = {
    "plain": rf"(?<![^\s]){_PLAIN}(?:[ ]{_PLAIN})*",  # most of a text, and none of it a slot: passed over at once
    "quote": r'"[^"\n]{1,400}"|“[^”\n]{1,400}”|«[^»\n]{1,400}»|`[^`\n]{1,400}`',
    "url": r"\b[a-z][a-z0-9+.-]*://[^\s<>\"]*[^\s<>\".,;:!?)\]}']",
    "email": r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
    "timestamp": r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?",
    "date": (
        r"\b\d{4}-\d\d-\d\d\b|\b\d{1,2}(?P<mark>[/.])\d{1,2}(?P=mark)\d{2,4}\b"
        rf"|\b{_MONTH}\s\d{{1,2}}(?:st|nd|rd|th)?\b(?:,?\s\d{{4}}\b)?|\b\d{{1,2}}(?:st|nd|rd|th)?\s{_MONTH}(?:\s\d{{4}}\b)?"
    ),
    "time": r"\b\d{1,2}:\d\d(?::\d\d)?(?:\s?[AaPp]\.?[Mm]\b\.?)?|\b\d{1,2}\s?[ap]\.?m\b\.?",
    "path": r"(?<![\w/.])(?:~|\.{1,2})?/(?:[\w.@+-]+/)*[\w.@+-]*\w/?|\b[A-Za-z]:\\[^\s\"<>|]*[^\s\"<>|.,;:]",
    "amount": (
        rf"[$€£¥]\s?{_NUMBER}(?:\s?(?:k|m|bn|million|billion)\b)?"
        rf"|\b{_NUMBER}\s?(?:%|percent\b|USD\b|EUR\b|GBP\b|dollars?\b|euros?\b)"
    ),
    "id": r"#\w+|(?<![\w-])(?=[\w-]*\d)(?=[\w-]*[^\W\d])[^\W_]+(?:[-_][^\W_]+)*(?![\w-])",
    "number": rf"(?<![\w.])[-+]?{_NUMBER}(?!\w)",
    "word": r"[^\W\d_]+(?:['’&-][^\W\d_]+)*",
}
_TOKEN = re.compile("|".join(f"(?P<{kind}>{form})" for kind, form in _KINDS.items()))
"""Kinds in the order of trying: a time is tried before the number that it begins with."""

_JOINTS = re.compile(r"[ ](?:(?:of|and|the|de|la|le|van|von|du|der|&)[ ])*")
"""What may stand between two words of one name."""


def _slots(text: str) -> Iterator[Slot]:
    name: Slot | None = None  # a name that may go on
    for found in _TOKEN.finditer(text):
        kind, start, end = str(found.lastgroup), found.start(), found.end()
        if kind == "plain":
            continue
        if kind == "word":
            if not _is_name(found[0], text, start):
                continue
            if name is not None and _joined(text, name, start):
                name = Slot("name", name.start, end)
                continue
            if name is not None:
                yield name
            name = Slot("name", start, end)
            continue
        if name is not None:
            yield name
            name = None
        yield Slot(kind, start + 1, end - 1) if kind == "quote" else Slot(kind, start, end)
    if name is not None:
        yield name


def _joined(text: str, name: Slot, start: int) -> bool:
    """Whether a word that begins at `start` belongs to the name before it."""
    if _JOINTS.fullmatch(text, name.end, start):
        return True
    return text[name.end : start] == ". " and _ABBREVIATED.search(text, name.start, name.end) is not None


_ABBREVIATED = re.compile(r"(?<!\w)(?:st|mt|ft|dr|prof|mr|mrs|ms)$", re.IGNORECASE)
_TITLE = re.compile(r"(?:^|[^\w])(?:Dr|Prof|Mr|Mrs|Ms|St)\.$")


def _is_name(word: str, text: str, start: int) -> bool:
    """Whether its first letter tells a name: any does, but where a sentence begins or the word is always written so."""
    if not word[0].isupper() or word == "I" or word.startswith("I'"):
        return False
    begins = text[max(start - 8, 0) : start].rstrip(" \t\"'(“*_-")
    if start > 0 and begins and (begins[-1] not in ".!?:;\n" or _TITLE.search(begins)):
        return True
    return (len(word) > 1 and word.isupper()) or word.casefold() not in FUNCTION_WORDS


_FUNCTION_WORDS = """
a about after all also am an and any are aren't as at be been before between but by can can't compare could count
create describe did do does doesn't don't during each every explain find first for from get give had has hasn't have
he her here his how how's i i'd i'll i'm i've if in into is isn't it it's its just last let let's list looking make
many may me might more most much must my name need next no nor not of on only or our per please return shall she
should show since so some such summarise summarize tell than that that's the their then there there's these they
this those through to too translate until us very want was we were what what's when where which who who's whom
whose why will with without would write yes you your
"""

FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Words that begin sentences and are no names, whatever their first letter."""
