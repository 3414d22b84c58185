"""What a piece of a prompt names: tools, files and skills, told by how they are written."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["names_in", "path_names"]

_WORD = r"[A-Za-z][\w.-]*\w"
_NAMED = re.compile(
    r"`([^`\n]{1,120})`"  # set as code
    rf"|^\s*[-*] ({_WORD})(?: \([^)\n]*\))?(?::|$)"  # the head of an item in a list
    r"|<(?:name|location)>([^<\n]{1,200})<"
    rf"|\b({_WORD})\("  # a call
    r"|((?<![\w/])(?:~|\.{1,2})?/[\w.-][\w./-]*|(?:[\w.-]+/)*[\w-]+\.[A-Za-z]\w{0,5}\b)"  # a path, a file
    r"|\b([A-Za-z]+(?:[_-][A-Za-z0-9]+)+)\b",  # snake and kebab case
    re.MULTILINE,
)
_INNER = re.compile(r"[\w./~-]*\w")


def names_in(text: str) -> frozenset[str]:
    """Names in lower case; of paths also their last part, of a skill's file also the folder that names it."""
    found: set[str] = set()
    for match in _NAMED.finditer(text):
        said = next(group for group in match.groups() if group)
        for word in _INNER.findall(said):
            found.update(path_names(word))
    return frozenset(found)


def path_names(word: str) -> Iterable[str]:
    """A name and, if it is a path, by what else it is known."""
    word = word.lower().rstrip("/")
    yield word
    parts = [part for part in word.split("/") if part not in ("", ".", "..", "~")]
    if len(parts) > 1 or "/" in word:
        if parts:
            yield parts[-1]
        if len(parts) > 1 and parts[-1] == "skill.md":
            yield parts[-2]
