"""What the words of a text tell of the task it asks for: scores by type, how hard it looks, its trade, its length.

The weights are in docs/learned-router.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import islice
from typing import Literal, cast, get_args

import msgspec

from .lexicon import COMMANDS, CONSTRAINTS, DOMAINS, SHAPES, TOPICS, URGENT, words_of

__all__ = ["TYPES", "Reading", "TaskType", "best", "read"]

TaskType = Literal[
    "general",
    "code",
    "maths",
    "reasoning",
    "extraction",
    "classification",
    "summary",
    "translation",
    "creative",
    "question",
    "tools",
    "side",
]
"""tools: an agent's tool loop, or a call that offers tools for something to do. side: what a client does for itself."""

TYPES: tuple[TaskType, ...] = get_args(TaskType)


class Reading(msgspec.Struct, frozen=True):
    """What a text alone tells: a score by type, and the rest of a Task that comes from words."""

    scores: Mapping[TaskType, float]
    complexity: float
    depth: float
    output_tokens: int | None
    expertise: str
    urgent: bool


_WORDS = re.compile(r"[^\W\d_][\w'’;-]*", re.UNICODE)
_RUN = re.compile(r"\w+")
_NUMBER = re.compile(
    r"[$€£\d](?<![\w.].)(?:(?<=\d)|\d)[\d,]*(?:\.\d+)?%?"
)  # begins as it does so that it is found fast
_SENTENCE = re.compile(r"[.!?。？！:\n]\s*")
_STEP = re.compile(r"^\s*(?:\d+[.)]|[-*•])\s", re.MULTILINE)
_SMALL_TALK = re.compile(
    r"\A\W*(?:hello|hi|hey|hallo|hola|salut|bonjour|good (?:morning|evening)|thanks?|olá|привет|你好)\b[^?]{0,24}\Z",
    re.I,
)
_OPENING_CHARS = 600
_COMMAND_WORDS = 12  # a command stands within so many words of where a sentence starts
_POLITE = words_of("please can could would you i we want need to let's lets now then so kindly help me bitte por favor")


def read(text: str) -> Reading:
    """What a text tells by itself."""
    if not text or _SMALL_TALK.search(text):
        return Reading({}, 0.0, 0.0, 40 if text else None, "", urgent=False)
    lower = text.lower()
    plain = text.isascii()
    words = _WORDS.findall(lower) if plain else _lowered(text)
    folded = lower if plain else _folded(lower)
    runs = frozenset(_RUN.findall(folded))
    asks = text.rstrip().endswith("?")
    scores: dict[str, float] = {}
    _add_commands(text, words, scores)
    unique = set(words)
    for word in unique & TOPICS.keys():
        for kind, weight in TOPICS[word]:
            scores[kind] = scores.get(kind, 0.0) + 0.5 * weight
    for shape in SHAPES:
        if shape.holds(text, runs, asks=asks):
            scores[shape.kind] = scores.get(shape.kind, 0.0) + shape.weight
    numbers = len(_NUMBER.findall(text))
    if numbers >= 3 and asks:
        scores["maths"] = scores.get("maths", 0.0) + 1.5
    depth = min((scores.get("reasoning", 0.0) + 0.6 * scores.get("maths", 0.0)) / 10, 1.0)
    narrowed = len(CONSTRAINTS.pattern.findall(text)) if CONSTRAINTS.may(text, runs, asks=asks) else 0
    return Reading(
        cast("Mapping[TaskType, float]", scores),
        _complexity(text, words, numbers, narrowed, depth),
        depth,
        _said_length(text) if any(unit in folded for unit in _TOKENS_PER) else None,
        _expertise(unique),
        URGENT.holds(text, runs, asks=asks),
    )


def _folded(lower: str) -> str:
    """Of a text in lower case, with the letters that a search without case takes for plain ones."""
    return lower.replace("\u0130", "i").replace("i\u0307", "i").replace("\u0131", "i").replace("\u017f", "s")


def _add_commands(text: str, words: list[str], scores: dict[str, float]) -> None:
    """The command of the text's beginning, and with less weight those of the sentences after it and of the last one."""
    _command(words, 1.0, scores)
    sentences = [part for part in _SENTENCE.split(text[:_OPENING_CHARS].strip()) if part.strip()]
    for part in sentences[1:4]:
        _command(_first(part), 0.6, scores)
    if len(sentences) > 4 or len(text) > _OPENING_CHARS:
        ends = [part for part in _SENTENCE.split(text[-_OPENING_CHARS:].strip()) if part.strip()]
        _command(_first(ends[-1]) if ends else [], 0.6, scores)
    if any(part in text for part in ("总结", "翻译", "要約", "翻訳")):
        kind = "summary" if "总结" in text or "要約" in text else "translation"
        scores[kind] = scores.get(kind, 0.0) + 4.0


def _lowered(text: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(text)]


def _first(text: str) -> list[str]:
    """As many words as a command is looked for in."""
    return [found[0].lower() for found in islice(_WORDS.finditer(text), _COMMAND_WORDS)]


def _command(words: list[str], weight: float, scores: dict[str, float]) -> None:
    for word in words[:_COMMAND_WORDS]:
        if word in _POLITE:
            continue
        for kind, speaks in COMMANDS.get(word, ()):
            scores[kind] = scores.get(kind, 0.0) + weight * speaks
        weight *= 0.7  # the further from the start, the less it is the command


def _complexity(text: str, words: list[str], numbers: int, narrowed: int, depth: float) -> float:
    """How hard a text looks: the weights of docs/learned-router.md. Length counts most, as nothing tells more."""
    length = min(math.log1p(len(text)) / math.log1p(4_000), 1.0)
    steps = min((len(_STEP.findall(text)) + narrowed) / 8, 1.0)
    code = 1.0 if "```" in text or "diff --git" in text else 0.0
    long_words = sum(len(word) >= 9 for word in words) / max(len(words), 1)
    return (
        0.45 * length
        + 0.15 * min(numbers / 12, 1.0)
        + 0.15 * steps
        + 0.15 * depth
        + 0.05 * code
        + 0.05 * min(long_words * 4, 1.0)
    )


def _expertise(words: set[str]) -> str:
    found: dict[str, int] = {}
    for word in words & DOMAINS.keys():
        found[DOMAINS[word]] = found.get(DOMAINS[word], 0) + 1
    name = max(found, key=lambda one: found[one], default="")
    return name if found.get(name, 0) >= 2 else ""


_BEST_SCORE = 2.0  # less than this is no evidence


def best(scores: Mapping[TaskType, float]) -> tuple[TaskType, float]:
    """The type that most speaks for, and its share of all that speaks, shrunk where little does."""
    if not scores:
        return "general", 0.5
    kind = max(TYPES, key=lambda one: scores.get(one, 0.0))
    top = scores.get(kind, 0.0)
    if top < _BEST_SCORE:
        return "general", 0.5
    certainty = top / (sum(scores.values()) + 1.0)
    return (kind, certainty) if certainty >= _LEAST_SHARE else ("general", 0.5)


_LEAST_SHARE = 0.34

_LENGTH = re.compile(
    r"\b(one|two|three|four|five|six|seven|eight|nine|ten|a|an|\d{1,5})[- ]"
    r"(?:short |single |brief )?(word|sentence|paragraph|line|page|bullet)s?\b",
    re.I,
)
_NUMBERS = {
    name: n for n, name in enumerate(("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), 1)
} | {"a": 1, "an": 1}
_TOKENS_PER = {"word": 1.4, "sentence": 28, "paragraph": 120, "line": 15, "page": 600, "bullet": 25}


def _said_length(text: str) -> int | None:
    """Tokens of the answer's length where the text says it."""
    found = _LENGTH.search(text[-400:]) or _LENGTH.search(text[:400])
    if found is None:
        return None
    number = _NUMBERS.get(found[1].lower()) or (int(found[1]) if found[1].isdecimal() else 1)
    return max(int(number * _TOKENS_PER[found[2].lower()]), 4)
