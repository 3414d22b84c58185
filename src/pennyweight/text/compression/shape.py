"""What a codec is given and what it gives: the words that every kind of text is shortened with."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import Literal, get_args

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
KINDS: tuple[Kind, ...] = get_args(Kind)

Note = Callable[[str], str]
"""Says what is missing and where it can be had: `note("1,204 of 1,260 lines")`. A codec places what it gives as a line
of its own, or, in JSON, as a string, so that the text stays what it is."""

TELLING_WORDS = 32
TELLING_CHARS = 8_192

# Runs of signs are bounded and begin once only, so that a line of dashes costs its length, not its square.
_WORD = re.compile(r"(?:(?<![./:@#$%+-])[./:@#$%+-]{1,16})?\w++(?:[./:@#$%+-]{1,16}\w++)*+")
_SAID = re.compile(r"[\"'`\u201c\u2018]([^\"'`\u201c\u201d\u2018\u2019\n]{3,80})[\"'`\u201d\u2019]")


class Ask(msgspec.Struct, frozen=True, dict=True):
    """What the reader is after, and how long there is to find it.

    query: the newest human text. arguments: of the tool's call, as JSON or text. late: whether no time is left; asked
    by codecs now and then through `in_time`.
    """

    query: str = ""
    arguments: str = ""
    late: Callable[[], bool] | None = None

    @cached_property
    def words(self) -> frozenset[str]:
        """What the two name, in lower case: words, paths, identifiers. Words of one letter are left out."""
        said = f"{self.query}\n{self.arguments}".lower()
        return frozenset(word for word in _WORD.findall(said) if len(word) > 1)

    def named_in(self, text: str) -> bool:
        """Whether a line is asked about: it holds, in any case, a telling word of the arguments or the query."""
        if not self.telling:
            return False
        low = text.lower()
        return any(word in low for word in self.telling)

    def named(self, text: str) -> list[str]:
        """The telling words in a line, in lower case."""
        low = text.lower()
        return [word for word in self.telling if word in low]

    @cached_property
    def telling(self) -> tuple[str, ...]:
        """The words that point at something, in lower case: with a digit, a sign or a capital inside, or in quotes.

        Plain words of a sentence point at everything. TELLING_WORDS at most, those of the query first: a call that
        writes a file has the whole file in its arguments.
        """
        told: dict[str, None] = {}
        for said in (self.query, self.arguments):
            for word in _WORD.findall(said[:TELLING_CHARS]):
                plain = word.isalpha() and (word.islower() or word.istitle() or not word.isascii())
                if len(word) > 3 and not plain:
                    told[word.lower()] = None
            if said is self.query:
                told.update((found[1].lower(), None) for found in _SAID.finditer(said[:TELLING_CHARS]))
        return tuple(told)[:TELLING_WORDS]

    def in_time(self) -> None:
        """Raises TimeoutError when no time is left: the text then stays as it is."""
        if self.late is not None and self.late():
            raise TimeoutError("no time is left to shorten this text")


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
    a sentence that a test of this codec is named after. streams: time and memory grow with the text so
    slowly that tens of megabytes may be given to it. numbers: it reads the numbers that reading tools put before lines.
    """

    kind: Kind
    sniff: Callable[[Sample], float]
    lossless: Callable[[str], str | None]
    reduced: Callable[[str, Ask, int, Note], Shorter | None]
    guarantees: tuple[str, ...] = ()
    streams: bool = False
    numbers: bool = False
