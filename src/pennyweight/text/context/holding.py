"""Whether a summary says nothing that its text does not, as far as names, numbers and paths tell. Pure."""

from __future__ import annotations

import re

__all__ = ["holds"]

_STATED = re.compile(r"[\w.:/@#%$+-]*\d[\w.:/@#%$+-]*|[~.\w-]*/[\w./-]+|\b\w+(?:_\w+)+\b|\b[A-Z][\w-]+\b")
_FIRST = re.compile(r"(?:\A|[.!?:\n])\s*[-*•]?\s*\Z")


def holds(summary: str, text: str) -> bool:
    """Whether every number, path, identifier and capitalised name of the summary stands in the text. A word that only
    begins a sentence is no name."""
    source = text.casefold()
    for match in _STATED.finditer(summary):
        word = match[0].strip(".:,;-")
        begins = word.isalpha() and _FIRST.search(summary[: match.start()]) is not None
        if word and not begins and word.casefold() not in source:
            return False
    return True
