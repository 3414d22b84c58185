"""What is wasted or wrong in a prompt: said twice, said against itself, never needed, and what each part costs."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Literal

import msgspec

from .module import Module

__all__ = ["Finding", "Used", "lint"]

Rule = Literal["repeated", "alike", "contradiction", "dead", "volatile_early", "long"]


class Finding(msgspec.Struct, frozen=True):
    """`title`: of the module; `other`: of the one that it repeats or contradicts. `tokens`: that would be saved."""

    rule: Rule
    title: str
    told: str
    tokens: int = 0
    other: str = ""


class Used(msgspec.Struct, frozen=True):
    """What calls have used: `names` of tools, files and skills, in lower case, seen over `sessions` sessions."""

    names: Collection[str]
    sessions: int


LEAST_SESSIONS = 20
"""Of fewer sessions nothing is said about what they never used."""

LONG_TOKENS = 1_500
_LIKE = 0.8
_MOST_ORDERS = 2_000  # each is held against all before it
_LEAST_WORDS = 8
_OPPOSED = 0.6


def lint(modules: Sequence[Module], *, count: Callable[[str], int], used: Used | None = None) -> tuple[Finding, ...]:
    """The findings, those that save most first within each rule."""
    found = [*_repeats(modules, count), *_contradictions(modules), *_placed(modules, count)]
    if used is not None and used.sessions >= LEAST_SESSIONS:
        found += _dead(modules, used, count)
    return tuple(sorted(found, key=lambda f: (_ORDER.index(f.rule), -f.tokens)))


_ORDER: tuple[Rule, ...] = ("contradiction", "repeated", "alike", "dead", "volatile_early", "long")


def _repeats(modules: Sequence[Module], count: Callable[[str], int]) -> Iterator[Finding]:
    """Sentences said before, word for word or nearly."""
    seen: list[tuple[frozenset[str], str, str]] = []
    places: dict[str, list[int]] = {}
    for module in modules:
        for sentence in _sentences(module.text):
            words = _words(sentence)
            if len(words) < _LEAST_WORDS:
                continue
            near = {at for word in words for at in places.get(word, ())[-64:]}
            best = max(((_alike(words, seen[at][0]), at) for at in near), default=(0.0, -1))
            if best[0] >= _LIKE:
                other = seen[best[1]]
                if _polarity(sentence) * _polarity(other[2]) < 0:
                    continue  # no repetition, but the contrary
                same = " ".join(sentence.split()) == " ".join(other[2].split())
                rule: Rule = "repeated" if same else "alike"
                yield Finding(rule, module.title, _shown(sentence), count(sentence), other[1])
                continue
            for word in words:
                places.setdefault(word, []).append(len(seen))
            seen.append((words, module.title, sentence))


def _contradictions(modules: Sequence[Module]) -> Iterator[Finding]:
    """Orders about the same that point to opposite sides: always and never."""
    orders = [
        (polarity, words, module.title, sentence)
        for module in modules
        for sentence in _sentences(module.text)
        if (polarity := _polarity(sentence)) and len(words := _words(sentence) - _POLAR_WORDS) >= 3
    ]
    for at, (polarity, words, title, sentence) in enumerate(orders[:_MOST_ORDERS]):
        for other_polarity, other_words, other_title, other in orders[:at]:
            if polarity != other_polarity and _alike(words, other_words) >= _OPPOSED:
                yield Finding("contradiction", title, f"{_shown(sentence)} <> {_shown(other)}", 0, other_title)
                break


def _dead(modules: Sequence[Module], used: Used, count: Callable[[str], int]) -> Iterator[Finding]:
    """Parts that name tools, files or skills of which no session has used one."""
    names = {name.lower() for name in used.names}
    for module in modules:
        if module.entries:
            idle = [entry for entry in module.entries if entry.name.lower() not in names]
            if idle:
                told = f"{len(idle)} of {len(module.entries)} listed things were never used in {used.sessions} sessions"
                yield Finding("dead", module.title, told, sum(count(entry.text) for entry in idle))
        elif module.names and names.isdisjoint(module.names) and module.priority < 85:
            told = f"nothing that it names was used in {used.sessions} sessions"
            yield Finding("dead", module.title, told, count(module.text))


def _placed(modules: Sequence[Module], count: Callable[[str], int]) -> Iterator[Finding]:
    """Parts that change from day to day before parts that do not, and very long ones."""
    for at, module in enumerate(modules):
        behind = sum(count(later.text) for later in modules[at + 1 :] if not later.volatile)
        if module.volatile and behind > count(module.text):
            told = f"it holds a date or the like, and {behind:,} tokens behind it are cached anew when that changes"
            yield Finding("volatile_early", module.title, told, 0)
        if (tokens := count(module.text)) > LONG_TOKENS:
            yield Finding("long", module.title, f"{tokens:,} tokens in one part", 0)


# --- words --------------------------------------------------------------------------------------------------------

_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n+")
_WORD = re.compile(r"[^\W_]+", re.UNICODE)
_AGAINST = re.compile(r"\b(?:never|do not|don't|must not|mustn't|cannot|avoid|without|forbidden|no)\b", re.I)
_FOR = re.compile(r"\b(?:always|must|should|do|use|prefer|only|required|ensure|make sure)\b", re.I)
_POLAR_WORDS = frozenset(
    ["never", "not", "don", "must", "mustn", "cannot", "avoid", "without", "forbidden", "always", "should", "required"]
)
_SHOWN_CHARS = 100


def _sentences(text: str) -> list[str]:
    return [piece for piece in _SENTENCE.split(text) if piece.strip()]


def _words(sentence: str) -> frozenset[str]:
    return frozenset(word for word in _WORD.findall(sentence.lower()) if len(word) > 1 or ord(word) > 0x2E80)


def _alike(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b) if a or b else 0.0


def _polarity(sentence: str) -> int:
    if _AGAINST.search(sentence):
        return -1
    return 1 if _FOR.search(sentence) else 0


def _shown(sentence: str) -> str:
    plain = " ".join(sentence.split())
    return plain if len(plain) <= _SHOWN_CHARS else plain[: _SHOWN_CHARS - 1] + "…"
