"""A text as sentences, in any script: put together again they are the text, to the character.

A boundary that is missed costs a few tokens, one that is invented costs a meaning: in doubt there is none.
"""

from __future__ import annotations

import re

__all__ = ["LONGEST_CHARS", "sentences"]

LONGEST_CHARS = 1_200
"""What has no boundary for longer is cut at a space, or where there is none after so many characters."""

WRAPPED_CHARS = 50
"""A line at least so long, whose end is no sentence's, goes on in the next one; a shorter one was ended on purpose."""

_FENCE = re.compile(r"^[ \t]*(```|~~~)[^\n]*\n.*?^[ \t]*\1[^\n]*(?:\n|\Z)", re.MULTILINE | re.DOTALL)
FENCE_LINES = 40  # a longer block of code is taken line by line

_CLOSING = "\"'\u00bb\u201d\u2019\u203a)\\]}\u300d\u300f\u3011\uff09\u300b*_`"
# No part of it may be tried twice on the same characters: texts are anybody's, and megabytes long.
_STOP = re.compile(
    f"(?:[\u3002\uff01\uff1f\uff61\u203c\u2047-\u2049]++[{_CLOSING}]*+[^\\S\\n]*+)"  # CJK: no space needed
    f"|(?:[\u0964\u0965\u06d4\u061f\u1362]++[{_CLOSING}]*+[^\\S\\n]*+)"  # danda, Arabic and Ethiopic marks
    f"|(?:(?<![.!?\u2026])[.!?\u2026]++[{_CLOSING}]*+(?:\\[\\d{{1,3}}\\])*+[^\\S\\n]++)"
    "|(?:\\n(?:[^\\S\\n]*+\\n)*+)"
)
_LINE_BEGINS = re.compile(r"[ \t]*(?:[-*+•·>|#{}()\[\]<]|\d{1,3}[.):]\s|[A-Za-z][.)]\s|\S{1,60}[:=])")

_ABBREVIATIONS = """
mr mrs ms dr prof sr jr st vs etc eg ie e.g i.e cf al fig figs no nos vol pp p ch sec eq ed eds inc ltd co
corp dept gen col lt sgt capt rev hon gov sen rep pres approx est min max jan feb mar apr jun jul aug sep sept
oct nov dec u.s u.k a.m p.m ph.d bzw ca usw z.b d.h u.a o.ä s.o vgl nr str hr fr dipl ing inkl exkl evtl ggf
bspw bes abs art jh jhd mio mrd tel zzgl geb gest sog u.u i.d.r z.t z.zt dgl
डॉ प्रो कु पं रु
"""
_SHORT = frozenset(_ABBREVIATIONS.split())
_LAST_WORD = re.compile(r"([^\s(\[{\"'\u201c\u201e\u00ab]+)\Z")


def sentences(text: str) -> list[str]:
    """The sentences of a text with the white space that follows each; `"".join(...)` is the text."""
    out: list[str] = []
    at = 0
    for block in _FENCE.finditer(text):
        out += _prose(text[at : block.start()])
        lines = block[0].splitlines(keepends=True)
        out += [block[0]] if len(lines) <= FENCE_LINES else lines
        at = block.end()
    out += _prose(text[at:])
    return out


def _prose(text: str) -> list[str]:
    out: list[str] = []
    start = 0
    for stop in _STOP.finditer(text):
        if stop.end() < len(text) and _ends(text, start, stop) and text[start : stop.end()].strip():
            out += _cut(text[start : stop.end()])
            start = stop.end()
    if start < len(text):
        if text[start:].strip() or not out:
            out += _cut(text[start:])
        else:
            out[-1] += text[start:]
    return out


def _ends(text: str, start: int, stop: re.Match[str]) -> bool:
    mark = text[stop.start()]
    if mark == "\n":
        return stop[0].count("\n") > 1 or _line_ends(text, start, stop)
    if mark not in ".!?\u2026":
        return True
    follows = text[stop.end()]
    if follows == "\n":
        return False  # the line feed decides
    if mark == "." and stop[0].startswith(".") and not stop[0].startswith(".."):
        before = _LAST_WORD.search(text, max(start, stop.start() - 40), stop.start())
        if before and _shortened(before[1]):
            return False
    return not follows.islower()


def _shortened(word: str) -> bool:
    """Whether a full stop after that word is part of it: "Dr.", "z. B.", "J. Smith", "am 3. Mai"."""
    bare = word.lower().rstrip(".")
    if bare in _SHORT:
        return True
    return (len(bare) == 1 and bare.isalpha() and bare.isascii() and word != "I") or (bare.isdigit() and len(bare) <= 2)


def _line_ends(text: str, start: int, stop: re.Match[str]) -> bool:
    """Whether a single line feed ends a sentence rather than a line of it."""
    line_start = max(text.rfind("\n", 0, stop.start()) + 1, 0)
    line = text[line_start : stop.start()]
    if len(line) < WRAPPED_CHARS or line.rstrip()[-1:] in ".!?:;\u2026\u3002\u0964{}":
        return True
    return _LINE_BEGINS.match(text, stop.end()) is not None or text[stop.end()] in " \t"


def _cut(piece: str) -> list[str]:
    if len(piece) <= LONGEST_CHARS:
        return [piece]
    out = []
    while len(piece) > LONGEST_CHARS:
        cut = piece.rfind(" ", LONGEST_CHARS // 2, LONGEST_CHARS) + 1 or LONGEST_CHARS
        out.append(piece[:cut])
        piece = piece[cut:]
    out.append(piece)
    return out
