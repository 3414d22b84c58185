"""The identifiers of a text in one line: what a later call may name, where the text itself is left out.

Ids, paths, numbers and names, the telling ones first, in the order in which they stand. Measured on agents' sessions,
most of what later calls name of a result is among the first few hundred characters of such a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["identifiers", "missing"]

MOST_CHARS = 600
LONGEST = 80
_LOOKED_AT = 200_000
_WORD = re.compile(r"[A-Za-z0-9_$@#~./\\-][\w$@#%+~./\\:-]*\w|\d")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_PATH = re.compile(r"(?:~|\.{0,2}/)?(?:[\w.@+-]+/)+[\w.@+-]*|[\w-]+\.[a-z]{1,5}")
_ID = re.compile(
    r"(?=.*[A-Za-z])(?=.*\d)[\w#$-]{3,}|[A-Za-z0-9]+(?:_[A-Za-z0-9]+)+|[A-Z]{2,}[A-Z0-9_]*|[\w.+-]+@[\w.-]+"
)
_NUMBER = re.compile(r"[-+]?\d[\d.,]*")
_CAMEL = re.compile(r"[a-z]+[A-Z]\w*|[A-Z][a-z]+[A-Z]\w*")


def identifiers(text: str) -> Iterator[str]:
    """Each one once, those that tell most first; of equal ones the first that stands there."""
    ranked: list[tuple[int, int, str]] = []
    seen: set[str] = set()
    for match in _WORD.finditer(text[:_LOOKED_AT]):
        word = match[0].strip("./:-\\") if not match[0].startswith(("/", "./", "~", "-")) else match[0].rstrip(".:-\\")
        if word in seen or not 2 <= len(word) <= LONGEST:
            continue
        seen.add(word)
        rank = _rank(word)
        if rank:
            ranked.append((rank, len(ranked), word))
    for _, _, word in sorted(ranked):
        yield word


def missing(text: str, shown: str, *, most_chars: int = MOST_CHARS) -> str:
    """The identifiers of a text that are not in what is shown of it, as "a, b, c"; "" where there is none."""
    found: list[str] = []
    room = most_chars
    for word in identifiers(text):
        if word in shown:
            continue
        room -= len(word) + 2
        if room < 0:
            break
        found.append(word)
    return ", ".join(found)


def _rank(word: str) -> int:
    """1 tells most; 0: it is a plain word."""
    if _DATE.fullmatch(word):
        return 3
    if _NUMBER.fullmatch(word):
        return 2 if len(word) >= 4 else 4
    if _ID.fullmatch(word):
        return 1
    if _PATH.fullmatch(word):
        return 2
    return 3 if _CAMEL.fullmatch(word) else 0
