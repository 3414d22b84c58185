"""What in an answer may have been computed from a slot's value, and what a few examples cannot show.

A sum, an upper-case form or a length seldom comes out the same for two values, so a second example gives it away. What
has few outcomes (odd or even, yes or no, a length) may: it is looked for here, in words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .slots import FUNCTION_WORDS

__all__ = ["as_number", "derived", "features", "marks", "places", "rest_of", "unexplained"]

_WORDS = re.compile(r"[^\W_]+(?:[.,:/-](?=\d)[^\W_]+)*")
_SMALL_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
_SMALL = tuple(_SMALL_NUMBERS.split())

_TELLING_WORDS = """
true false yes no null none nil odd even unknown high medium low left right male female positive negative pass fail
monday tuesday wednesday thursday friday saturday sunday mon tue tues wed thu thur thurs fri sat sun
january february march april may june july august september october november december
jan feb mar apr jun jul aug sep sept oct nov dec spring summer autumn fall winter am pm weekday weekend
"""

_TELLING = frozenset((*_TELLING_WORDS.split(), *_SMALL))
"""Words with few alternatives: an answer that has one may have another for the next value."""


def marks(text: str) -> set[str]:
    """The words and numbers of a text, as they are written."""
    return set(_WORDS.findall(text))


def places(value: str, text: str) -> list[int]:
    """Where the value stands by itself: no letter or digit goes on before or after it."""
    found: list[int] = []
    at = text.find(value) if value else -1
    while at >= 0:
        end = at + len(value)
        if not (at and _goes_on(text[at - 1], value[0])) and not (end < len(text) and _goes_on(text[end], value[-1])):
            found.append(at)
        at = text.find(value, max(end, at + 1))
    return found


def _goes_on(neighbour: str, edge: str) -> bool:
    return (neighbour.isalnum() or neighbour == "_") and (edge.isalnum() or edge == "_")


def rest_of(answer: str, values: Sequence[str]) -> str:
    """The answer without these values where they stand by themselves."""
    for value in sorted(values, key=len, reverse=True):
        pieces, at = [], 0
        for place in places(value, answer):
            pieces.append(answer[at:place])
            at = place + len(value)
        answer = "\0".join((*pieces, answer[at:]))
    return answer


def derived(value: str, rest: str, prompt: set[str]) -> bool:
    """Whether something in the answer's rest looks as if it was made from the value.

    rest: `rest_of` the answer. prompt: marks of the prompt without its slots, which explain themselves.
    """
    folded = value.casefold()
    words = [word for word in marks(rest) if word not in prompt and word.casefold() not in FUNCTION_WORDS]
    forms = set(_forms(value))
    if any(word.casefold() in forms for word in words):
        return True
    return len(folded) > 2 and any(form in rest.casefold() for form in _long_forms(value))


def unexplained(rest: str, prompt: set[str]) -> bool:
    """Whether the answer's rest has numbers, names, letters or telling words that the prompt has not.

    A value in JSON that shares no word with the prompt is one too: it may be one of a few.
    """
    for found in _WORDS.finditer(rest):
        word = found[0]
        if word in prompt:
            continue
        if any(char.isdigit() for char in word) and not word[0].isalpha():
            return True
        folded = word.casefold()
        if folded in _TELLING or (len(word) <= 2 and folded not in FUNCTION_WORDS):
            return True
        if word[0].isupper() and folded not in FUNCTION_WORDS and not _BEGINS.search(rest[: found.start()][-20:]):
            return True
    return any(not _explained(leaf, prompt) for leaf in _LEAVES.findall(rest))


_BEGINS = re.compile(r"(?:^|[.!?:]\s+|\n\s*(?:[-*#>]+\s*)?|\n\d+[.)]\s+)$")
"""What stands before the first word of a sentence."""

_LEAVES = re.compile(r':\s*"((?:[^"\\\n]|\\.){1,60})"')
"""Short texts that are values of JSON."""


def _explained(leaf: str, prompt: set[str]) -> bool:
    words = marks(leaf)
    return "\0" in leaf or not words or not prompt.isdisjoint(words)


def features(value: str) -> tuple[str, ...]:
    """By what an answer could tell values apart: each must have been seen before, or been shown not to matter."""
    digits = [char for char in value if char.isdigit()]
    number = int("".join(digits)[:18]) if digits else None
    return (
        str(len(value)),
        str(len(value.split())),
        value[0].casefold(),
        value[-1].casefold(),
        "same backwards" if value == value[::-1] else "",
        "upper" if value.isupper() else "title" if value[0].isupper() else "lower",
        "" if number is None else str(number % 2),
        "" if number is None else str(number % 3),
        "" if number is None else str(len(str(number))),
        "" if number is None else str(sum(map(int, digits)) % 9),
        str(sum(char.casefold() in "aeiou" for char in value)),
    )


def as_number(value: str) -> float | None:
    """The number that the digits of a value make; None without any. For comparing values of one slot."""
    digits = "".join(char for char in value if char.isdecimal() or char == ".")
    try:
        return float(digits[:15])
    except ValueError:
        return None


def _forms(value: str) -> Iterator[str]:
    """Words that could stand for something reckoned from the value, in lower case. The value's own are among them."""
    parts = [word.casefold() for word in _WORDS.findall(value)]
    letters = [char for char in value if char.isalpha()]
    digits = [char for char in value if char.isdigit()]
    for part in parts:
        if len(part) > 1 and part not in FUNCTION_WORDS:
            yield from (part, f"{part}s", part[::-1])
    yield "".join(part[0] for part in parts)  # initials
    joined = "".join(parts)
    yield from (joined, joined[::-1])
    for count in {len(value), len(value.split()), len(joined), len(letters), len(digits)}:
        yield from (str(count), _SMALL[count] if count < len(_SMALL) else "")
    if joined:
        yield from (joined[0], joined[-1])
    if digits and len(digits) <= 15:
        number = int("".join(digits))
        small = [number - 1, number + 1, number * 2, number // 2, sum(map(int, digits)), number // 100, number // 10]
        yield from (str(n) for n in (*small, number // 100 * 100, number // 10 * 10, number % 10, number % 100, number))
        yield from (f"{number}{end}" for end in ("st", "nd", "rd", "th"))
        yield from ("odd", "even")
        if number < len(_SMALL):
            yield _SMALL[number]


def _long_forms(value: str) -> Iterator[str]:
    """The value written together, with dashes or with underscores, and backwards."""
    parts = [word.casefold() for word in _WORDS.findall(value)]
    if len(parts) > 1:
        yield from (between.join(parts) for between in ("", "-", "_", ".", "+", "%20"))
    if len(value) > 2:
        yield value.casefold()
        if value[::-1] != value:
            yield value.casefold()[::-1]
