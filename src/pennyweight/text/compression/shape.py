"""What a codec is given and what it gives: the words that every kind of text is shortened with."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import Literal

import msgspec

__all__ = ["KINDS", "Ask", "Codec", "Kind", "Note", "Sample", "Shorter"]

Kind = Literal[
    "blob",
    "code",
    "diff",
    "html",
    "json",
    "listing",
    "log",
    "markdown",
    "prose",
    "search",
    "shell",
    "table",
    "tests",
    "trace",
]
KINDS: tuple[Kind, ...] = (
    "blob",
    "code",
    "diff",
    "html",
    "json",
    "listing",
    "log",
    "markdown",
    "prose",
    "search",
    "shell",
    "table",
    "tests",
    "trace",
)

Note = Callable[[str], str]
"""Says what is missing and where it can be had: `note("1,204 of 1,260 lines")`. A codec places what it gives as a line
of its own, or, in JSON, as a string, so that the text stays what it is."""

_WORD = re.compile(r"[\w./:@#$%+-]*\w", re.UNICODE)


class Ask(msgspec.Struct, frozen=True, dict=True):
    """What the reader is after. `query`: the newest human text. `arguments`: of the tool's call, as JSON or text."""

    query: str = ""
    arguments: str = ""

    @cached_property
    def words(self) -> frozenset[str]:
        """What the two name, in lower case: words, paths, identifiers. Words of one letter are left out."""
        said = f"{self.query}\n{self.arguments}".lower()
        return frozenset(word for word in _WORD.findall(said) if len(word) > 1)

    def named_in(self, text: str) -> bool:
        """Whether a line is asked about: it holds a word of the arguments or the query that is no plain one."""
        return any(word in text for word in self._telling)

    @cached_property
    def _telling(self) -> frozenset[str]:
        return frozenset(word for word in self.words if len(word) > 3 and not word.isalpha())


class Sample(msgspec.Struct, frozen=True, dict=True):
    """The parts of a text by which its kind is told: its beginning and its end, and how long it is, in characters."""

    head: str
    tail: str
    length: int

    @cached_property
    def lines(self) -> list[str]:
        """Of the head; the last one may be cut."""
        return self.head.split("\n")


class Shorter(msgspec.Struct, frozen=True):
    """A shorter form. `left_out`: what is not in it, in a reader's words ("1,204 of 1,260 lines"); "": nothing."""

    text: str
    left_out: str = ""


class Codec(msgspec.Struct, frozen=True):
    """How one kind of text is told and shortened. All pure; any of them may raise, and the text then stays as it is.

    sniff: how sure it is that a text is of this kind, in [0, 1]. lossless: a form from which everything can be read,
    None where there is none that is shorter. reduced(text, ask, room, note): a form of about `room` characters in which
    something is left out and a note says so; None where nothing should be. `guarantees`: what both forms promise, each
    a sentence that a test of this codec is named after.
    """

    kind: Kind
    sniff: Callable[[Sample], float]
    lossless: Callable[[str], str | None]
    reduced: Callable[[str, Ask, int, Note], Shorter | None]
    guarantees: tuple[str, ...] = ()
