"""Slots that no form tells: words in lower case in which two questions differ, and nothing else does.

A difference of two questions is a weak sign ("the cheapest" and "the fastest" differ, too), so only words that name
something are taken, in one place, and those who use it ask for one witness more than for slots of a known form.
"""

from __future__ import annotations

import re

import msgspec

from .slots import FUNCTION_WORDS, Masked

__all__ = ["Gap", "gap", "through"]

_MOST_WORDS = 6
_LEAST_AROUND = 3  # words that must be left of the question


class Gap(msgspec.Struct, frozen=True, array_like=True):
    """What stands before and after the words that vary."""

    before: str
    after: str


def gap(one: str, other: str) -> Gap | None:
    """Around the words in which two texts differ; None where they differ in anything else, or too much."""
    a, b = _WORDS.findall(one), _WORDS.findall(other)
    most = min(len(a), len(b))
    first = 0
    while first < most and a[first] == b[first]:
        first += 1
    last = 0
    while last < most - first and a[-1 - last] == b[-1 - last]:
        last += 1
    found = Gap("".join(a[:first]), "".join(a[len(a) - last :]))
    around = len(re.findall(r"\w+", found.before)) + len(re.findall(r"\w+", found.after))
    if around < _LEAST_AROUND or through(found, one) is None or through(found, other) is None:
        return None
    return found


def through(around: Gap, text: str) -> Masked | None:
    """The text as what is around and the words between; None when it does not fit, or what is between names nothing."""
    end = len(text) - len(around.after)
    if end <= len(around.before) or not text.startswith(around.before) or not text.endswith(around.after):
        return None
    words = text[len(around.before) : end]
    named = [word for position, word in enumerate(words.split(" ")) if not (position and word in _JOINTS)]
    if _NAMING.fullmatch(words) is None or words.split(" ")[-1] in _JOINTS or any(map(_says_more, named)):
        return None
    return Masked((around.before, around.after), ("words",), (words,))


_WORDS = re.compile(r"\s+|[^\W_]+(?:['’&-][^\W_]+)*|.", re.DOTALL)
_NAMING = re.compile(rf"[^\W\d_A-Z][^\W\d_A-Z'’&-]+(?: [^\W\d_A-Z][^\W\d_A-Z'’&-]+){{0,{_MOST_WORDS - 1}}}")


def _says_more(word: str) -> bool:
    """Whether the word says how much, which, whether or when, in place of naming something."""
    return word in FUNCTION_WORDS or word in _SAYING or (len(word) > 4 and word.endswith(("est", "n't")))


_JOINTS = frozenset(("of", "and", "the", "for", "in", "to", "de", "la"))
"""What may stand within a name, but neither begin nor end it."""

_SAYING_WORDS = """
above again always average below best better big both cheap common current currently different double early either
else enough ever few fewer former good half high higher important kind large later latter least less little long low
lower main maximum mean minimum minus near never new now number often old once only open other others over own plus
previous rather same second short similar single small sometimes sort soon still sum third times today tomorrow total
triple twice under usually various without worse worst yesterday young
"""

_SAYING = frozenset(_SAYING_WORDS.split())
