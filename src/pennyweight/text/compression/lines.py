"""Lines of a text too long to be split at once, and the markers that stand for lines left out."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["has_marks", "lines_of", "more"]

WINDOW_CHARS = 1_000_000

_MARK = re.compile(r"(?m)^\[(?:\+\d|… )")


def lines_of(text: str) -> Iterator[str]:
    """`text.split("\\n")`, a window at a time, so that a text of 50 MB is not held twice."""
    start, end = 0, len(text)
    while end - start > WINDOW_CHARS:
        cut = text.rfind("\n", start, start + WINDOW_CHARS)
        if cut < 0:
            cut = text.find("\n", start + WINDOW_CHARS)
            if cut < 0:
                break
        yield from text[start:cut].split("\n")
        start = cut + 1
    yield from text[start:].split("\n")


def has_marks(text: str) -> bool:
    """Whether a line looks like one of our markers. Such a text gets no form with markers: they must not lie."""
    return _MARK.search(text) is not None


def more(count: int, of: str = "") -> str:
    """The marker for lines left out after the line above; `of`: what they are, in a reader's words."""
    return f"[+{count}{' ' + of if of else ''}]"
