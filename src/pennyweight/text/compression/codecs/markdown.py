"""Documents in Markdown: headings and what is asked about stay, fences and tables are whole or left out.

Without a reference only the blanks that align the columns of a table go. With one, badges, comments that are not shown,
definitions of links nobody follows here and lists of contents go first, then sections are cut to their first sentence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import msgspec

from ..asked import Wanted, wanted, words_in
from ..gaps import mark
from ..shape import Ask, Codec, Note, Sample, Shorter

__all__ = ["CODEC", "shortened", "tightened"]

_HEADING = re.compile(r"(#{1,6})\s+\S")
_FENCE = re.compile(r"\s{0,3}(```+|~~~+)")
_TABLE = re.compile(r"\s*\|.*\|\s*$")
_RULE = re.compile(r"\s*\|[\s:|\-]+\|\s*$")
_ITEM = re.compile(r"\s*(?:[-*+]|\d{1,4}[.)])\s+")
_CONTENTS = re.compile(r"\s*(?:[-*+]|\d{1,4}[.)])\s+\[[^\]]*\]\(#[^)]*\)\s*$")
_BADGE = re.compile(
    r"\s{0,8}(?:\[?!\[[^\]]{0,200}\]\([^)\s]{0,300}?(?:badge|shields\.io|/workflows/|\.svg)[^)]{0,300}\)\]?"
    r"(?:\([^)]{0,300}\))?\s{0,8})+$"
)
_DEFINES = re.compile(r"\s{0,3}\[[^\]^][^\]]*\]:\s+\S+")
_LINK = re.compile(r"\[[^\]\n]{1,200}\]\([^)\s]{1,500}\)")
_SENTENCE = re.compile(r".{20,}?[.!?。！？।](?=[\s\"')\]]|$|[^\x00-\x7f])")
_EMPHASIS = re.compile(r"\*\*[^*\n]{1,200}\*\*|`[^`\n]{1,200}`")
_STATEMENT = re.compile(
    r"\s*(?:def \w+\(|class \w+[:(]|import \w+$|from \w\S* import |return\b|self\.|[{}]$|.*;$|/\*|\*/"
    r"|#\s*(?:include|define|undef|if|ifdef|ifndef|endif|else|pragma)\b)"
)
_SPACES = re.compile(r" {2,}")
WORTH = 0.85
TIGHT = 0.9
"""Blanks in tables are taken away only where that is a tenth of the text: an editing tool compares exact text."""


class Block(msgspec.Struct, frozen=True):
    """Lines that are kept or left out together. `first` to `last`: indices, both ends meant."""

    first: int
    last: int
    kind: str  # heading, fence, table, items, text, idle (badges, comments, contents, definitions), blank


def tightened(text: str) -> str | None:
    """Tables without the blanks that align their columns; None where that is little. Other lines are as they were."""
    out: list[str] = []
    fence = ""
    for line in text.split("\n"):
        fence = _fenced(line, fence)
        if fence or not _TABLE.match(line):
            out.append(line)
        else:
            out.append(re.sub(r"-{3,}", "--", _SPACES.sub(" ", line)) if _RULE.match(line) else _SPACES.sub(" ", line))
    form = "\n".join(out)
    return form if len(form) < TIGHT * len(text) else None


def _fenced(line: str, fence: str) -> str:
    """The fence that is open after a line, given the one open before it; "" where there is none."""
    found = _FENCE.match(line)
    if found is None:
        return fence
    if not fence:
        return found[1]
    closes = found[1].startswith(fence) and not line[found.end() :].strip()
    return "" if closes else fence


def blocks(lines: Sequence[str]) -> list[Block]:
    """The lines of a document as blocks, in order, all of them."""
    found: list[Block] = []
    fence, first, kind = "", 0, ""
    comment = False

    def end(last: int) -> None:
        if kind and last >= first:
            found.append(Block(first, last, kind))

    for at, line in enumerate(lines):
        before, fence = fence, _fenced(line, fence) if not comment else ""
        if before or fence:
            now = "fence"
            if not before:
                end(at - 1)
                first, kind = at, now
            elif not fence:
                end(at)
                first, kind = at + 1, ""
            continue
        comment, starts = _comment(line, comment)
        now = "idle" if comment or starts else _kind(line)
        if now != kind or now == "heading":
            end(at - 1)
            first, kind = at, now
    end(len(lines) - 1)
    return found


def _comment(line: str, inside: bool) -> tuple[bool, bool]:
    """Whether a comment goes on after a line, and whether the line is nothing but one."""
    if inside:
        return "-->" not in line, True
    if not line.lstrip().startswith("<!--"):
        return False, False
    return "-->" not in line, True


def _kind(line: str) -> str:
    if not line.strip():
        return "blank"
    if _HEADING.match(line):
        return "heading"
    if _CONTENTS.match(line) or _BADGE.match(line) or _DEFINES.match(line):
        return "idle"
    if _TABLE.match(line):
        return "table"
    return "items" if _ITEM.match(line) else "text"


def shortened(text: str, want: Wanted, room: int) -> tuple[str, str] | None:
    """A document in about so many characters, and what is missing of it; None where nothing needs to be.

    By worth: sections asked about, headings, what holds a telling name, first sentences, tables and fences, the rest.
    """
    lines = text.split("\n")
    found = blocks(lines)
    asked = _asked(lines, found, want)
    keep: dict[int, str] = {}  # a block by its place: "all", or "start"
    room -= 160
    weights = [want.weight("\n".join(lines[block.first : block.last + 1])) for block in found]
    by_words = sorted(range(len(found)), key=lambda at: -weights[at])
    for worth in range(6):
        for at in by_words if worth == 5 else range(len(found)):
            block = found[at]
            if keep.get(at) == "all":
                continue
            part = _part(block, worth, asked=asked[at], telling=weights[at] >= 3, first=_opens(found, at))
            if not part:
                continue
            cost = _cost(lines, block, part) - (_cost(lines, block, keep[at]) if at in keep else 0)
            if cost <= room or (worth == 0 and cost <= room + 0.25 * len(text)):
                keep[at] = part
                room -= cost
    if all(keep.get(at) == "all" or block.kind == "blank" for at, block in enumerate(found)):
        return None
    form, missing = _written(lines, found, keep)
    return form, f"{missing:,} of {len(lines):,} lines"


def _opens(found: Sequence[Block], at: int) -> bool:
    """Whether a block is the first text after a heading, or of the document."""
    before = at - 1
    while before >= 0 and found[before].kind in {"blank", "idle"}:
        before -= 1
    return before < 0 or found[before].kind == "heading"


def _asked(lines: Sequence[str], found: Sequence[Block], want: Wanted) -> list[bool]:
    """For each block whether its section is asked about: its heading has a telling name, or two plain ones, or is one.

    A name that many headings have tells none from the others.
    """
    headings = [lines[block.first] for block in found if block.kind == "heading"]
    seen = Counter(word for line in headings for word in words_in(line))
    common = {word for word, number in seen.items() if number > max(2, len(headings) // 5)}
    want = Wanted(want.telling - common, want.plain - common)
    asked: list[bool] = []
    inside = 0  # how deep the section is that is asked about, 0: none
    for block in found:
        if block.kind == "heading":
            line = lines[block.first]
            depth = len(line) - len(line.lstrip("#"))
            if inside and depth <= inside:
                inside = 0
            weight = want.weight(line)
            if not inside and (weight >= 2 or (weight == 1 and len(line.split()) <= 3)):
                inside = depth
        asked.append(inside > 0)
    return asked


def _part(block: Block, worth: int, *, asked: bool, telling: bool, first: bool) -> str:
    """How much of a block is kept at a level of worth: "all", "start" or ""."""
    if block.kind in {"blank", "idle"}:
        return ""
    if worth == 0:
        return "all" if asked else ""
    if worth == 1:
        return "all" if block.kind == "heading" else ""
    if worth == 2:
        return "all" if telling else ""
    if worth == 3:
        return "start" if first and block.kind in {"text", "items"} else ""
    if worth == 4:
        return "all" if block.kind in {"fence", "table"} else ""
    return "all"


def _cost(lines: Sequence[str], block: Block, part: str) -> int:
    return len(_start(lines, block)) + 24 if part == "start" else sum(map(len, lines[block.first : block.last + 1])) + 1


def _start(lines: Sequence[str], block: Block) -> str:
    """The first sentence of a block, as far as its first line goes."""
    line = lines[block.first]
    found = _SENTENCE.match(line)
    return found[0] if found is not None else line


def _written(lines: Sequence[str], found: Sequence[Block], keep: dict[int, str]) -> tuple[str, int]:
    """What is kept, a mark for each run that is not, one blank line at most between; and how many lines are missing."""
    out: list[str] = []
    missing = 0
    run: list[Block] = []

    def close() -> None:
        nonlocal run, missing
        said = [block for block in run if block.kind != "blank"]
        if said:
            first, last = said[0].first + 1, said[-1].last + 1
            out.append(mark(f"lines {first}-{last}" if last > first else f"line {first}"))
            missing += last - first + 1
        run = []

    for at, block in enumerate(found):
        part = keep.get(at, "")
        if block.kind == "blank":
            if run:
                run.append(block)
            elif out and out[-1]:
                out.append("")
        elif not part:
            run.append(block)
        elif part == "all":
            close()
            out += lines[block.first : block.last + 1]
        else:
            close()
            start = _start(lines, block)
            out.append(start)
            rest = len(lines[block.first]) > len(start)
            if rest or block.last > block.first:
                begins = block.first if rest else block.first + 1
                run.append(Block(begins, block.last, block.kind))
    close()
    while out and not out[-1]:
        out.pop()
    return "\n".join(out), missing


def _sniff(sample: Sample) -> float:
    lines = [line for line in sample.lines[:400] if line.strip()]
    if len(lines) < 5:
        return 0.0
    headings = sum(_HEADING.match(line) is not None for line in lines)
    fences = sum(_FENCE.match(line) is not None for line in lines)
    items = sum(_ITEM.match(line) is not None for line in lines)
    tables = sum(_TABLE.match(line) is not None for line in lines)
    links = len(_LINK.findall(sample.head)) + len(_EMPHASIS.findall(sample.head)) // 2
    spaced = sum(
        _HEADING.match(line) is not None and not after.strip()
        for line, after in zip(sample.lines, sample.lines[1:], strict=False)
    )
    if fences < 2 and sum(_STATEMENT.match(line) is not None for line in lines) > 0.03 * len(lines):
        return 0.0
    kinds = (spaced > 0) + (fences > 1) + (items > 2) + (tables > 1) + (links > 2)
    if not headings or kinds < 2:
        return 0.0
    share = (headings + fences + items + tables + links) / len(lines)
    return min(0.55 + 0.1 * kinds + 0.2 * min(share, 0.5), 0.9) if share >= 0.04 else 0.0


def _reduced(text: str, ask: Ask, room: int, note: Note) -> Shorter | None:
    want = wanted(ask)
    if want.narrow:
        return None
    fewer = shortened(text, want, room)
    if fewer is None:
        return None
    form, missing = fewer
    form = f"{form}\n{note(missing)}"
    return Shorter(form, missing) if len(form) < WORTH * len(text) else None


CODEC = Codec(
    kind="markdown",
    sniff=_sniff,
    lossless=tightened,
    reduced=_reduced,
    guarantees=(
        "Fences and tables are whole or left out.",
        "Lines kept are verbatim, in their order; a sentence may stand for its paragraph.",
        "Sections whose heading names what was asked about are whole where there is room.",
        "Each run left out is named by its lines.",
    ),
)
