"""What the word scorer sees of each word: three numbers to look up, and a dozen that are measured. Pure, no numpy.

Nothing depends on what came before this call or on hashes that differ between processes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from zlib import crc32

import msgspec

from .guards import Word
from .lists import FUNCTION

__all__ = ["MEASURES", "SHAPES", "SUFFIXES", "VOCABULARY", "Seen", "features", "key_of", "keys_of"]

VOCABULARY, SUFFIXES, SHAPES = 8192, 512, 10
"""How many values each looked-up number has."""

MEASURES = (
    "length",
    "free",
    "function",
    "opens",
    "said_before",
    "times_said",
    "asked",
    "sentence_asked",
    "neighbours_asked",
    "place_in_sentence",
    "sentence_length",
    "place",
)


class Seen(msgspec.Struct, frozen=True):
    """Of n words. `looked_up`: n rows of word, suffix and shape; `measures`: n rows in the order of MEASURES."""

    looked_up: list[tuple[int, int, int]]
    measures: list[tuple[float, ...]]


def key_of(core: str) -> str:
    """By what two forms of a word are taken for one: small letters, and an English plural or ending left off."""
    lower = core.lower()
    for ending in ("ing", "ed", "es", "s"):
        if len(lower) > len(ending) + 3 and lower.endswith(ending):
            return lower[: -len(ending)]
    return lower


def keys_of(text: str) -> frozenset[str]:
    """The keys of a question's words that tell something."""
    cores = (piece.strip(".,;:!?\"'()[]{}<>`“”") for piece in text.split())
    return frozenset(key_of(core) for core in cores if core and core.lower() not in FUNCTION)


def features(words: Sequence[Word], asked: frozenset[str] = frozenset()) -> Seen:
    """asked: `keys_of` what the reader wants to know; empty: nobody said."""
    known: dict[str, tuple[tuple[int, int, int], str, bool]] = {}
    for word in words:
        if word.core not in known:
            known[word.core] = _looked_up(word.core), key_of(word.core), word.core.lower() in FUNCTION
    totals = Counter(known[word.core][1] for word in words)
    before: Counter[str] = Counter()
    sentences = _sentences(words)
    shares = [_share(words[a:b], asked, known) for a, b in sentences]
    looked_up: list[tuple[int, int, int]] = []
    measures: list[tuple[float, ...]] = []
    count = max(len(words), 1)
    for number, (start, end) in enumerate(sentences):
        around = max(shares[max(number - 2, 0) : number + 3])
        for at in range(start, end):
            word = words[at]
            ids, key, function = known[word.core]
            if word.opens and ids[2] == _CAPITAL:
                ids = (ids[0], ids[1], _OPENING)
            looked_up.append(ids)
            measures.append(
                (
                    min(len(word.core), 24) / 12,
                    float(word.free),
                    float(function),
                    float(word.opens),
                    min(before[key], 4) / 4,
                    min(math.log(totals[key]), 4.0) / 2,
                    float(key in asked),
                    shares[number],
                    around,
                    min(at - start, 40) / 20,
                    min(end - start, 60) / 30,
                    at / count,
                )
            )
            before[key] += 1
    return Seen(looked_up, measures)


def _sentences(words: Sequence[Word]) -> list[tuple[int, int]]:
    starts = [at for at, word in enumerate(words) if word.opens or at == 0]
    return list(zip(starts, [*starts[1:], len(words)], strict=True))


def _share(
    words: Sequence[Word], asked: frozenset[str], known: dict[str, tuple[tuple[int, int, int], str, bool]]
) -> float:
    """Of what is asked, the part that a sentence names; 1 from a half on."""
    if not asked:
        return 0.0
    return min(2 * len({known[word.core][1] for word in words} & asked) / len(asked), 1.0)


_LOWER, _CAPITAL, _OPENING, _CAPITALS, _NUMBER, _MIXED, _SYMBOLS, _COMPOUND, _FOREIGN, _MARKS = range(SHAPES)


def _looked_up(core: str) -> tuple[int, int, int]:
    lower = core.lower()
    plain = "".join("0" if c.isdigit() else c for c in lower)
    data = plain.encode("utf-8", "surrogatepass")
    suffix = plain[-3:].encode("utf-8", "surrogatepass")
    # 0 stands for a word that is not known.
    return crc32(data) % (VOCABULARY - 1) + 1, crc32(suffix) % SUFFIXES, _shape(core)


def _shape(core: str) -> int:
    if core.isascii() and core.isalpha():
        if core.islower():
            return _LOWER
        if core[0].isupper() and (core[1:].islower() or len(core) == 1):
            return _CAPITAL
        return _CAPITALS if core.isupper() else _MIXED
    if any(map(str.isdigit, core)):
        return _NUMBER if not any(map(str.isalpha, core)) else _MIXED
    if not any(map(str.isalpha, core)):
        return _MARKS
    if not core.isascii():
        return _FOREIGN
    return _COMPOUND if core.replace("-", "").replace("'", "").isalpha() else _SYMBOLS
