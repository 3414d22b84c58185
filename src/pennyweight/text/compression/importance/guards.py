"""What of a text may never be cut into: code, markup, quotations, numbers, names, negations, paths, addresses, ids.

`words` splits a text at white space and says of each piece whether it may go. In doubt it may not: only plain words in
lower case may, and those that open a sentence, if they are known not to be names. Pure.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

import msgspec

from .lists import DENYING, ENGLISH, FUNCTION, NEVER

__all__ = ["Span", "Word", "is_english", "protected", "words"]

Span = tuple[int, int]
"""Of characters: start, end."""


class Word(msgspec.Struct, frozen=True):
    """A run of a text without white space. `core`: it without the marks around it. `free`: it may be left out.

    `opens`: it stands where a sentence begins.
    """

    start: int
    end: int
    core: str
    free: bool
    opens: bool = False


DENIED_WORDS = 3
"""So many words after a negation stay: "not very helpful" must not become "not"."""

_REGIONS = re.compile(
    r"""
      ^[ ]{0,3}(?P<fence>`{3,}|~{3,})[^\n]*(?:\n(?:.*?\n)??[ ]{0,3}(?P=fence)[^\n]*$|.*\Z)  # to its end or the text's
    | (?P<tick>`+)(?:(?!\n[ \t]*\n).)+?(?P=tick)
    | <!--(?:.*?-->|.*\Z)
    | </?[A-Za-z][^<>]*>
    | !?\[[^\[\]\n]*\]\([^()\n]*\)
    | “[^”]*(?:”|\Z) | «[^»]*(?:»|\Z) | „[^“”]*(?:[“”]|\Z) | 「[^」]*(?:」|\Z) | 『[^』]*(?:』|\Z)
    | (?<!\w)'(?=\S)[^'\n]{1,300}(?:'(?=\w)[^'\n]{0,300}){0,5}'(?!\w)
    | (?<!\w)‘[^‘’\n]{1,300}(?:’(?=\w)[^‘’\n]{0,300}){0,5}’(?!\w)
    | "(?:(?!\n[ \t]*\n)[^"])*(?:"|(?=\n[ \t]*\n)|\Z)
    """,
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)
_HEADED = ("#", "|", ">")
_CODE_ENDS = ("{", "}", ";", "):", "=>", "->")
_CODE = re.compile(
    r"(?:def|class|import|from|return|function|const|let|var|public|private|static|fn|func|#include|@\w+)\b.*(?:[(;={]|:$)"
)
_PIECE = re.compile(r"\S+")
_CORE = re.compile(r"[^\W_](?:.*[^\W_])?", re.DOTALL)
_PLAIN = re.compile(r"[A-Z]?[a-z]+(?:['’-][a-z]+)*(?:\.{3}|…|[.,;:!?])?\Z|I(?:['’][a-z]+)?,?\Z")
_ENDS = (".", "!", "?", ":", "…")


def protected(text: str) -> list[Span]:
    """Stretches of code, markup and quotation, in order, not overlapping."""
    found = [match.span() for match in _REGIONS.finditer(text)] + _lines(text)
    spans: list[Span] = []
    for start, end in sorted(found):
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    return spans


def _lines(text: str) -> list[Span]:
    """Lines that are headings, rows of tables, quotations, or look like code."""
    spans, start = [], 0
    for line in text.split("\n"):
        bare = line.strip()
        if bare and (
            line.startswith(("    ", "\t"))
            or bare.startswith(_HEADED)
            or bare.endswith(_CODE_ENDS)
            or _CODE.match(bare[:400])
        ):
            spans.append((start, start + len(line)))
        start += len(line) + 1
    return spans


def words(text: str, spans: Sequence[Span] | None = None) -> list[Word]:
    """The pieces of a text between white space, in order. spans: what `protected` gives, where it is known already."""
    spans = protected(text) if spans is None else spans
    starts = [start for start, _ in spans]
    pieces = [(found.start(), found.end(), found[0]) for found in _PIECE.finditer(text)]
    small = {piece.rstrip(".,;:!?") for _, _, piece in pieces if piece.islower()}
    made: list[Word] = []
    opens, after = True, 0
    denied = 0  # so many words from here on are what a negation denies
    known: dict[tuple[str, bool], tuple[str, bool]] = {}
    for at, (start, end, piece) in enumerate(pieces):
        opens = opens or "\n" in text[after:start]
        denied = 0 if opens else max(denied - 1, 0)
        key = (piece, opens)
        told = known.get(key)
        if told is None:
            told = known[key] = (_core(piece), _may_go(piece, opens, small))
        core, free = told
        if not free and _denies(core):
            denied = DENIED_WORDS + 1
        free = free and not denied and not (opens and _heads_name(pieces, at))
        if free and starts:
            at = bisect_right(starts, end - 1) - 1
            free = at < 0 or spans[at][1] <= start
        made.append(Word(start, end, core, free, opens))
        opens, after = piece.endswith(_ENDS), end
    return made


def _core(piece: str) -> str:
    found = _CORE.search(piece)
    return found[0] if found is not None else piece


def _heads_name(pieces: Sequence[tuple[int, int, str]], at: int) -> bool:
    """Whether the first word of a sentence may be that of a name: "Will Smith called." """
    if at + 1 == len(pieces) or not pieces[at][2].isalpha():
        return False
    after = pieces[at + 1][2]
    return after[:1].isupper() and after.rstrip(",") != "I" and not after.startswith(("I'", "I’"))


def _denies(core: str) -> bool:
    lower = core.lower().replace("’", "'")
    return lower in DENYING or lower.endswith("n't")


def _may_go(piece: str, opens: bool, small: set[str]) -> bool:
    if not _PLAIN.match(piece):
        return False
    plain = piece.rstrip(".,;:!?…")
    lower = plain.lower().replace("’", "'")
    if lower in NEVER or lower.endswith("n't"):
        return False
    if plain == lower or plain.replace("’", "'") == lower:
        return True
    # A capital: of a sentence's first word, if that is no name; elsewhere of a name, but for "I".
    return (lower[:1] == "i" and lower[1:2] in ("", "'")) or (opens and (lower in FUNCTION or lower in small))


def is_english(text: str) -> bool:
    """Whether it reads as English prose: Latin letters, and enough of the words that no other language has."""
    sample = text[:4_000]
    letters = sum(map(str.isalpha, sample))
    if not letters or sum(1 for c in sample if c.isalpha() and not c.isascii()) > 0.03 * letters:
        return False
    pieces = [piece.strip(".,;:!?\"'()").lower() for piece in sample.split()]
    told = [piece for piece in pieces if piece.isalpha()]
    return len(told) >= 5 and sum(piece in ENGLISH for piece in told) >= 0.12 * len(told)
