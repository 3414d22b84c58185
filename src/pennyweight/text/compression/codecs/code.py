"""Source code: what it declares stays, what was asked about stays whole, other bodies are left out by their lines.

No line is chosen by relevance alone: a body is there or it is not, a long one by its paragraphs. No character of a line
is changed: an editing tool compares exact text, blanks at the ends of lines included.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from ...relevance.bm25 import Index
from ...relevance.words import asked, words
from ..asked import Wanted, wanted
from ..gaps import mark, render
from ..outlines import BODY, DETAIL, FACT, HEAD, Outline, Part, outline
from ..shape import Ask, Codec, Note, Sample, Shorter

__all__ = ["CODEC", "Source", "narrowed", "source", "widened"]

_NUMBER = re.compile(r"[ \t]*0*(\d{1,7})(\t|→|: |:|\| ?)")
_DECLARES = re.compile(
    r"\s*(?:(?:async )?def \w+\(|class \w+\s*[:({]|class \w+ (?:extends|implements)|from [\w.]+ import "
    r"|import (?:[{*\"'(]|[\w.]+(?:;|,| as |$| from |\.\*))|@\w[\w.]*(?:\(|$)|#include\s*[<\"]|#define \w"
    r"|package [\w.]+;?$|func [\w(]|namespace \w|using [\w:]|template ?<"
    r"|(?:pub(?:\(\w+\))? )?(?:fn|struct|enum|impl|trait|mod) \w|impl<|use [\w:]+|typedef \w|extern "
    r"|(?:export )?(?:default )?(?:declare )?(?:const|let|var|function|interface|type|enum|async function"
    r"|abstract class) [\w${\[]|(?:public|private|protected|static|final|virtual|override|internal) [\w<])"
)
_STATES = re.compile(
    r"\s*(?:(?:if|for|while|switch|catch|else if) ?\(.*\) ?\{?$|(?:if|elif|for|while|with|try|except|else)\b.*:$"
    r"|return\b[^.]*;?$|return\b.*[;)\]}]$|raise \w|throw new |self\.\w+ = |this\.\w+ = |\} else|\}\)?;$|end$"
    r"|(?:void|int|char|bool|double|float|long|size_t|auto|unsigned|std::\w+) [\w*&:]+.*[;({]$)"
)
_ENDS = re.compile(r".*(?:[{};(,)\]]|->.*:|\):|=>|&&|\|\|)$")
_BEGINS = re.compile(r"\s*(?:#|//|/?\*|\"\"\"|'''|[\w.]+(?:\[[^\]]*\])? [-+*/|]?= \S)|\s+[\w.]+\(")
_NAME = re.compile(r"[^\W\d][\w.]*\w")
_CALLED = re.compile(r"([^\W\d]\w+)\(")
_FENCE = re.compile(r"^(?:```|~~~)", re.MULTILINE)
SMALL_LINES = 3
"""A body of no more lines is hardly longer than the words that would say it is missing."""
WORTH = 0.85
"""A shorter form of more than this part of the text is not worth a question that it makes a reader ask."""
DIGEST_CHARS = 600
"""Of the names that stand in lines left out only."""
ABOUT_SHARE = 0.7
"""Of the room that declarations at the top leave, for what the question is about, before those within classes."""
LONG_LINES = 30
QUERY_CHARS = 2_000
MARK_CHARS = 24
NAMES_CHARS = 600
"""Of the names in one mark: a name that is there can be asked for."""


class Source(NamedTuple):
    """The lines of a text; each without its number where a tool had put one before it, "" where it has none."""

    lines: list[str]
    bare: list[str]
    numbers: list[int]

    @property
    def numbered(self) -> bool:
        return self.bare is not self.lines


def source(text: str) -> Source:
    """What a tool that reads files gave, with or without numbers. Lines around it (a head, a prompt) have no number."""
    lines = text.split("\n")
    found = [_NUMBER.match(line) for line in lines]
    numbers = [int(match[1]) if match is not None else 0 for match in found]
    filled = sum(bool(line.strip()) for line in lines)
    steps = sum(after == before + 1 for before, after in pairwise(numbers) if before)
    if steps < 2 or sum(map(bool, numbers)) < 0.7 * filled or steps < 0.9 * (sum(map(bool, numbers)) - 1):
        return Source(lines, lines, list(range(1, len(lines) + 1)))
    bare = [line[match.end() :] if match is not None else "" for line, match in zip(lines, found, strict=True)]
    return Source(lines, bare, numbers)


def narrowed(text: str) -> str | None:
    """Numbers without the blanks and noughts that align them, as `cat -n` writes them; None where there are none.

    The one thing taken away from code without a reference, because it is none of the code's own.
    """
    seen = source(text)
    if not seen.numbered:
        return None
    form = "\n".join(_narrow(line) if number else line for line, number in zip(seen.lines, seen.numbers, strict=True))
    return form if len(form) < len(text) and any(widened(form, *style) == text for style in _STYLES) else None


_STYLES = ((6, " "), (5, "0"), (5, " "), (4, " "), (3, " "), (8, " "), (7, " "), (6, "0"), (4, "0"))
"""How tools align numbers: to how many characters, and with what."""


def widened(form: str, width: int, fill: str) -> str:
    """What `narrowed` made of numbers aligned in that way, as it was."""
    seen = source(form)
    if not seen.numbered:
        return form
    return "\n".join(
        str(number).rjust(width, fill) + line[len(str(number)) :] if number else line
        for line, number in zip(seen.lines, seen.numbers, strict=True)
    )


def _narrow(line: str) -> str:
    found = _NUMBER.match(line)
    return line[found.start(1) :] if found is not None else line


def _sniff(sample: Sample) -> float:
    lines = source("\n".join(sample.lines[:300])).bare
    filled = [line.rstrip()[:300] for line in lines if line.strip()]
    if len(filled) < 5:
        return 0.0
    strong = sum(_DECLARES.match(line) is not None or _STATES.match(line) is not None for line in filled)
    weak = sum(_ENDS.match(line) is not None or _BEGINS.match(line) is not None for line in filled)
    share = max(strong, weak) / len(filled)
    if strong < 2 or share < 0.3 or (strong < 0.06 * len(filled) and weak < 0.6 * len(filled)):
        return 0.0
    if len(_FENCE.findall(sample.head)) > 1:
        return 0.0
    return min(0.55 + 0.5 * share * min(1.0, strong / (0.12 * len(filled))), 0.9)


def _reduced(text: str, ask: Ask, room: int, note: Note) -> Shorter | None:
    seen = source(text)
    want = wanted(ask)
    if want.narrow:
        return None
    plan = outline(seen.bare)
    ask.in_time()
    if not plan.parts:
        return None
    keep = _kept(seen, plan, ask, want, room - 200 - min(DIGEST_CHARS, room // 8))
    form, missing = render(seen.lines, keep, _label(seen, plan))
    ask.in_time()
    if digest := _digest(seen, keep, want):
        form = f"{form}\n{mark(digest)}"
    left = f"{missing:,} of {len(seen.lines):,} lines of code"
    said = note(f"{left}, each run named by its line numbers,")
    if not missing or len(form) + len(said) > WORTH * len(text):
        return None
    if seen.numbered:
        form = "\n".join(_narrow(line) if _NUMBER.match(line) else line for line in form.split("\n"))
    return Shorter(f"{form}\n{said}", left)


def _kept(seen: Source, plan: Outline, ask: Ask, want: Wanted, room: int) -> list[bool]:
    """Which lines stay: what is asked about by name or number, declarations, what the question is about, the rest.

    What the question is about decides which bodies are there, and which paragraphs of one too long for that.
    """
    keep = [_outer(seen, at) or (want.about(number) and number > 0) for at, number in enumerate(seen.numbers)]
    for part in plan.parts:
        if _asked(part, seen, want):
            keep[max(part.first, 0) : part.last + 1] = [True] * (part.last + 1 - max(part.first, 0))
    room -= sum(len(line) + 1 for line, kept in zip(seen.lines, keep, strict=True) if kept)
    about = _about(seen, plan, ask.query)
    room = _heads(seen, plan, keep, room, deep=False)
    share = int(room * ABOUT_SHARE)
    room -= share
    for unit in about:
        share = _add(seen, keep, unit, share)
    room = _heads(seen, plan, keep, room + share, deep=True)
    small = [range(part.head + 1, part.last + 1) for part in plan.parts if part.last - part.head <= SMALL_LINES]
    rest = sorted((range(part.head + 1, part.last + 1) for part in plan.parts), key=len)
    for unit in (*small, *about, *rest, *_details(seen, plan)):
        room = _add(seen, keep, unit, room)
    for at in range(1, len(keep) - 1):
        keep[at] = keep[at] or (keep[at - 1] and not seen.bare[at].strip() and plan.ranks[at] != BODY)
    return keep


def _about(seen: Source, plan: Outline, query: str) -> list[range]:
    """Parts with the comments before them, and runs of other lines, that a question is about; most so first."""
    words_asked = asked(query[-QUERY_CHARS:])
    if not words_asked:
        return []
    units = _units(seen, plan)
    scores = Index([words("\n".join(seen.bare[unit.start : unit.stop])) for unit in units]).scores(words_asked)
    ranked = sorted(range(len(units)), key=lambda at: -scores[at])
    return [units[at] for at in ranked if scores[at] > 0]


def _units(seen: Source, plan: Outline) -> list[range]:
    """The lines as parts, each with what stands right above it, and as runs between blank lines where no part is.

    A body too long to be there or not is cut between its paragraphs.
    """
    units: list[range] = []
    first = 0
    for part in plan.parts:
        begins = max(part.first, 0)
        *runs, above = _runs(seen, first, begins)
        units += runs
        if part.last - part.head <= LONG_LINES:
            units.append(range(above.start, part.last + 1))
        else:
            head, *paragraphs = _runs(seen, part.head + 1, part.last + 1)
            units += [range(above.start, head.stop), *paragraphs]
        first = part.last + 1
    return [unit for unit in (*units, *_runs(seen, first, len(seen.bare))) if unit]


def _runs(seen: Source, first: int, end: int) -> list[range]:
    """The lines from one to another between blank ones; the last run goes up to the end, and may be empty."""
    runs: list[range] = []
    for at in range(first, end):
        if not seen.bare[at].strip():
            runs.append(range(first, at))
            first = at + 1
    return [*(run for run in runs if run), range(first, end)]


def _details(seen: Source, plan: Outline) -> Iterator[range]:
    """Comments and statements outside of parts, those that stand together together."""
    first = -1
    for at, rank in enumerate([*plan.ranks, BODY]):
        if rank == DETAIL and at < len(seen.bare) and seen.bare[at].strip():
            first = at if first < 0 else first
        elif first >= 0:
            yield range(first, at)
            first = -1


def _outer(seen: Source, at: int) -> bool:
    """Whether a line is none of the file: where others have numbers, it has none."""
    return seen.numbered and not seen.numbers[at]


def _asked(part: Part, seen: Source, want: Wanted) -> bool:
    """Whether a part is asked about by its name or by its lines."""
    if (name := part.name.lower().rpartition(".")[2]) and name in want.telling:
        return True
    first, last = seen.numbers[max(part.first, 0)], seen.numbers[min(part.last, len(seen.numbers) - 1)]
    return any(low <= last and high >= first for low, high in want.ranges)


def _heads(seen: Source, plan: Outline, keep: list[bool], room: int, *, deep: bool) -> int:
    """Declarations, each with its mark: at the top, or within classes and then facts; gives the room that is left."""
    heads = [range(max(part.first, 0), part.head + 1) for part in plan.parts]
    inside = {at for head in heads for at in head}
    rank = FACT if deep else HEAD
    lines = [range(at, at + 1) for at, its in enumerate(plan.ranks) if its == rank and at not in inside]
    for line in () if deep else lines:
        room = _add(seen, keep, line, room)
    for part, head in zip(plan.parts, heads, strict=True):
        if (part.level > 0) is deep and head:
            room = _add(seen, keep, head, room - MARK_CHARS) + (0 if keep[head[0]] else MARK_CHARS)
    for line in lines if deep else ():
        room = _add(seen, keep, line, room)
    return room


def _add(seen: Source, keep: list[bool], lines: range, room: int) -> int:
    """Keeps the lines if there is room for all of them; the room that is left."""
    cost = sum(len(seen.lines[at]) + 1 for at in lines if not keep[at])
    if cost > room:
        return room
    for at in lines:
        keep[at] = True
    return room - cost


def _label(seen: Source, plan: Outline) -> Callable[[int, int], str]:
    """Of a run left out: its lines by number, and the names of what is declared in it."""
    heads = {max(part.first, 0): part.name for part in plan.parts if part.name}

    def label(first: int, last: int) -> str:
        low = next((seen.numbers[at] for at in range(first, last + 1) if seen.numbers[at]), 0)
        high = next((seen.numbers[at] for at in range(last, first - 1, -1) if seen.numbers[at]), 0)
        names = [heads[at] for at in range(first, last + 1) if at in heads]
        lines = f"line {low}" if low == high else f"lines {low}-{high}"
        return f"{lines}: {_listed(names)}" if names else lines

    return label


def _digest(seen: Source, keep: Sequence[bool], want: Wanted) -> str:
    """Names that stand in lines left out and nowhere else: those that a later call is likeliest to need.

    Of names with a digit, an underscore, a capital or a dot inside, and of those that are called, at most DIGEST_CHARS:
    plain words of the question first, then by how often they are there. In the order of the text.
    """
    shown = set(_NAME.findall("\n".join(line for line, kept in zip(seen.bare, keep, strict=True) if kept)))
    lost = "\n".join(line for line, kept in zip(seen.bare, keep, strict=True) if not kept)
    number = Counter(name for name in _NAME.findall(lost) if name not in shown and _tells(name))
    number.update(name for name in _CALLED.findall(lost) if name not in shown and len(name) > 3)
    ranked = sorted(number, key=lambda name: (name.lower() not in want.plain, -number[name]))
    room = min(DIGEST_CHARS, len(lost) // 16)
    picked: set[str] = set()
    for name in ranked:
        if (room := room - len(name) - 2) < 0:
            break
        picked.add(name)
    names = [name for name in number if name in picked]
    return f"named there: {', '.join(names)}" if names else ""


def _tells(name: str) -> bool:
    inner = name[1:-1]
    return len(name) > 3 and (
        "_" in inner or "." in inner or not name.isalpha() or inner != inner.lower() != inner.upper()
    )


def _listed(names: Sequence[str]) -> str:
    """As many of the names as NAMES_CHARS hold, the last one always."""
    room = NAMES_CHARS
    for at, name in enumerate(names):
        room -= len(name) + 2
        if room < 0 and at < len(names) - 1:
            return ", ".join([*names[:at], f"… {names[-1]}"])
    return ", ".join(names)


CODEC = Codec(
    kind="code",
    sniff=_sniff,
    lossless=narrowed,
    reduced=_reduced,
    numbers=True,
    guarantees=(
        "Every line kept is verbatim, with its number where it had one.",
        "What was asked about by name or by line is whole.",
        "A call for certain lines gets all of them.",
        "Each run left out is named by its lines.",
    ),
)
