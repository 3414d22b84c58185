"""What can be counted of a text that has to do with how hard it is: lengths, numbers, comparisons, conditions.

About 0.1 ms; no library. What each count is worth is learnt from outcomes; alone they tell next to nothing.
"""

from __future__ import annotations

import math
import re

__all__ = ["FEATURES", "features"]

_CHARS = 4_000
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_SENTENCE = re.compile(r"(?<=[.?!])\s+")
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+")


def _any(*words: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(words)})\b", re.IGNORECASE)


_COUNTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("each", _any("each", "every", "per", "apiece")),
    (
        "comparisons",
        _any(
            "(?:more|less|fewer|older|younger|longer|shorter|taller|heavier|other|rather) than",
            "than",
            "as many",
            "as much",
        ),
    ),
    ("multiples", _any("twice", "double", "triple", "times", "thrice")),
    ("fractions", re.compile(r"\b(?:half|halves|thirds?|quarters?|fourths?|fifths?|eighths?)\b|\d/\d", re.I)),
    ("percents", re.compile(r"%|percent", re.I)),
    ("rests", _any("left", "remaining", "remains?", "rest", "still", "leftover")),
    ("totals", _any("total", "altogether", "combined", "in all", "sum", "all", "together")),
    ("times", _any("hours?", "minutes?", "days?", "weeks?", "months?", "years?", "seconds?")),
    ("conditions", _any("if", "assuming", "suppose", "when", "unless")),
    ("rates", _any("average", "mean", "rate", "speed", "ratio", "probability")),
    ("orders", _any("then", "after", "before", "first", "second", "next", "later", "finally", "until", "while")),
    ("money", re.compile(r"[$€£]|dollars?|cents?|cost|price|pay|paid|sell|sold|profit", re.I)),
    ("exceptions", _any("other", "another", "different", "same", "both", "only", "except", "without", "not")),
    ("decimals", re.compile(r"\d\.\d")),
    ("ands", _any("and")),
    ("number_words", _any("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "dozen")),
)

_NAMED = (
    "log_chars log_words numbers digit_share commas full_stops lines word_length longest_number distinct_words "
    "capitals questions quotes sentences distinct_numbers log_last_sentence names numbers_at_the_end log_sentence"
)
FEATURES: tuple[str, ...] = (*_NAMED.split(), *(name for name, _ in _COUNTS))


def features(text: str) -> tuple[float, ...]:
    """One number for each of FEATURES; counts as square roots, so that one more matters less and less."""
    text = text[:_CHARS]
    words = text.split()
    numbers = _NUMBER.findall(text)
    sentences = [part for part in _SENTENCE.split(text.strip()) if part]
    last = sentences[-1] if sentences else ""
    chars, count = max(len(text), 1), max(len(words), 1)
    root = math.sqrt
    return (
        math.log1p(len(text)),
        math.log1p(len(words)),
        root(len(numbers)),
        sum(map(len, numbers)) / chars,
        root(text.count(",")),
        root(text.count(".")),
        root(text.count("\n")),
        sum(map(len, words)) / count,
        float(max((len(number.replace(",", "").split(".")[0]) for number in numbers), default=0)),
        len(set(words)) / count,
        sum(map(str.isupper, text)) / chars,
        root(text.count("?")),
        float('"' in text),
        root(len(sentences)),
        root(len(set(numbers))),
        math.log1p(len(last)),
        root(len(set(_NAME.findall(text)))),
        float(len(_NUMBER.findall(last))),
        math.log1p(len(text) / max(len(sentences), 1)),
        *(root(sum(1 for _ in pattern.finditer(text))) for _, pattern in _COUNTS),
    )
