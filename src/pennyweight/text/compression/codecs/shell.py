"""Terminal sessions: what a screen would show of them, and of what scrolls by only what is not progress."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from ..lines import has_marks, lines_of, more
from ..patterns import said_by_pattern
from ..progress import PROGRESS, TROUBLE
from ..shape import Ask, Codec, Note, Sample, Shorter

__all__ = ["CODEC", "lossless", "reduced", "shown", "uncollapsed"]

FEWEST_EQUAL = 3
KEPT_OF_RUN = 1
LONGEST_LINE = 2_000
SNIFFED_LINES = 120

_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]{0,64}[ -/]{0,16}[@-~]|\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)|[()*+][0-9A-Za-z]|[@-Z\\-_=>78])"
)
_ERASES = re.compile(r"\x1b\[[0-2]?K")

_TIMES = re.compile(r"\[× \d+\]$", re.MULTILINE)


def shown(text: str) -> str:
    """The text as a terminal leaves it: colours gone, and of a line rewritten with carriage returns or backspaces what
    is seen."""
    if "\b" in text:
        text = "\n".join(map(_spun, text.split("\n")))
    if "\r" in text:
        text = text.replace("\r\n", "\n")
        if "\r" in text:
            text = "\n".join(map(_last_written, text.split("\n")))
    return _ESCAPE.sub("", text) if "\x1b" in text else text


def _spun(line: str) -> str:
    """What stands on the screen after backspaces, with which spinners turn: the cursor goes back and writes anew. A
    line that does more than that with the cursor is left as it is."""
    if "\b" not in line or "\x1b" in line or len(line) > LONGEST_LINE:
        return line
    body = line.rstrip("\r")
    if "\r" in body:
        return line
    seen: list[str] = []
    at = 0
    for sign in body:
        if sign == "\b":
            at = max(at - 1, 0)
        else:
            seen[at : at + 1] = [sign]
            at += 1
    return "".join(seen) + line[len(body) :]


def _last_written(line: str) -> str:
    """What stands on the screen after carriage returns: a later writing covers an earlier one as far as it reaches,
    or wholly where it erases the line."""
    if "\r" not in line:
        return line
    seen = ""
    for written in reversed(line.rstrip("\r").split("\r")):
        plain = _ESCAPE.sub("", written) if "\x1b" in written else written
        if len(plain) > len(seen):
            seen += plain[len(seen) :]
        if _ERASES.search(written):
            break
    return seen


def collapsed(text: str) -> str:
    """Equal lines one below the other as one line that says how often. `uncollapsed` gives the text back."""
    if _TIMES.search(text):
        return text
    made: list[str] = []
    above, times = None, 0
    for line in [*text.split("\n"), None]:
        if line == above and line is not None:
            times += 1
            continue
        if above is not None:
            made += [f"{above} [× {times}]"] if times >= FEWEST_EQUAL and above else [above] * times
        above, times = line, 1
    return "\n".join(made)


def uncollapsed(form: str) -> str:
    """The text that `collapsed` was given."""
    made: list[str] = []
    for line in form.split("\n"):
        found = _TIMES.search(line)
        if found is None:
            made.append(line)
        else:
            made += [line[: found.start() - 1]] * int(found[0][3:-1])
    return "\n".join(made)


def lossless(text: str) -> str | None:
    form = collapsed(shown(text))
    form = said_by_pattern(form) or form
    return form if len(form) < len(text) else None


def reduced(text: str, ask: Ask, room: int, note: Note) -> Shorter | None:
    """Runs of progress become their last line and a count. Nothing else is left out: not a line that tells of trouble,
    nor one that the reader names."""
    plain = collapsed(shown(text))
    if has_marks(plain):
        return None
    lines = list(lines_of(plain))
    made = list(_without_progress(lines, ask))
    left = len(lines) - sum(not line.startswith("[+") for line in made)
    if left < 2 * FEWEST_EQUAL:
        return None
    said = f"{left:,} of {len(lines):,} lines, progress, [+n] in their places"
    return Shorter("\n".join([*made, note(said)]), said)


def _without_progress(lines: Sequence[str], ask: Ask) -> Iterator[str]:
    run: list[str] = []
    for number, line in enumerate(lines):
        if not number % 4_096:
            ask.in_time()
        if _is_progress(line, ask):
            run.append(line)
            continue
        yield from _ended(run)
        run.clear()
        yield line
    yield from _ended(run)


def _ended(run: Sequence[str]) -> list[str]:
    """What stays of a run of progress."""
    return [more(len(run) - KEPT_OF_RUN), *run[-KEPT_OF_RUN:]] if len(run) > FEWEST_EQUAL else list(run)


def _is_progress(line: str, ask: Ask) -> bool:
    if not line or len(line) > LONGEST_LINE or PROGRESS.match(line) is None:
        return False
    return TROUBLE.search(line) is None and not ask.named_in(line)


def _sniff(sample: Sample) -> float:
    head = sample.head.replace("\r\n", "\n")
    seen = len(_ESCAPE.findall(head)) + head.count("\r")
    if seen >= 3:
        return 0.9
    lines = [line for line in sample.lines[:SNIFFED_LINES] if line]
    if len(lines) < 8:
        return 0.0
    progress = sum(PROGRESS.match(line, 0, LONGEST_LINE) is not None for line in lines) / len(lines)
    equal = sum(a == b for a, b in pairwise(lines)) / len(lines)
    if progress >= 0.4 or (progress >= 0.2 and len(lines) >= 20):
        return 0.8
    return 0.6 if equal >= 0.3 else 0.0


CODEC = Codec(
    kind="shell",
    sniff=_sniff,
    lossless=lossless,
    reduced=reduced,
    guarantees=(
        "Every character that a terminal would still show is there.",
        "What is left out is progress: no line that tells of trouble or that the reader names.",
        "Of a run of progress the last line is there, and how many were before it.",
        "Equal lines one below the other are counted, and can be written out again.",
    ),
    streams=True,
)
