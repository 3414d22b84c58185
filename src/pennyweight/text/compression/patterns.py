"""Lines that are alike but for some words, said once: the line with a sign for each word that changes, and below it
only these words.

    [3 lines, below only what stands for each *: Requirement already satisfied: * in /usr/lib/python3/dist-packages (*)]
    attrs>=19.2 23.2.0
    idna 3.6
    toml 0.10.2

Nothing is left out; `filled_in` gives the text back. Linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .repeats import is_note

__all__ = ["filled_in", "said_by_pattern"]

FEWEST_LINES = 4
LEAST_SAME_CHARS = 16
"""Of words that all lines of a run share."""
LEAST_GAIN_CHARS = 80
LONGEST_LINE, LONGEST_CHARS = 1_000, 4_000_000

_SIGNS = ("*", "…", "¤")
_HEAD = re.compile(r"\[(\d{1,7}) lines, below only what stands for each ([*…¤]): (.*)\]")
_OURS = re.compile(r"^\[\d+ lines, below only ", re.MULTILINE)
_OPENS, _CLOSES = re.compile(r".*[(\[{<\"'=]", re.DOTALL), re.compile(r"[)\]}>\"',;:].*", re.DOTALL)


def said_by_pattern(text: str) -> str | None:
    """The shorter form; None where none is, or where the text has lines that look like its heads."""
    if len(text) > LONGEST_CHARS or _OURS.search(text):
        return None
    made: list[str] = []
    found = False
    for run in _runs(text.split("\n")):
        form = _form(run) if len(run) >= FEWEST_LINES else None
        found = found or form is not None
        made += run if form is None else form
    said = "\n".join(made)
    return said if found and (is_note(text) or not is_note(said)) else None


def filled_in(form: str) -> str:
    """The text that `said_by_pattern` was given. Raises ValueError for a head whose rows are not there."""
    lines = iter(form.split("\n"))
    made: list[str] = []
    for line in lines:
        head = _HEAD.fullmatch(line)
        if head is None:
            made.append(line)
            continue
        pieces = head[3].split(head[2])
        if len(pieces) < 2:
            raise ValueError("a pattern has no place for what changes")
        for _ in range(int(head[1])):
            row = next(lines, None)
            if row is None:
                raise ValueError("a pattern says of more lines than there are")
            words = row.split(" ")
            made.append("".join(piece + word for piece, word in zip(pieces, [*words, ""], strict=True)))
    return "\n".join(made)


def _runs(lines: Sequence[str]) -> Iterator[list[str]]:
    """The lines in runs of as many words, most of which they share. A line more is taken as long as the run saves more
    with it than without."""
    run: list[str] = []
    same: list[str | None] = []
    size = 0
    for line in lines:
        words = line.split(" ") if len(line) <= LONGEST_LINE else []
        if run and words and len(words) == len(same):
            both = [word if word == other else None for word, other in zip(same, words, strict=True)]
            left = sum(len(word) + 1 for word in both if word)
            if left >= LEAST_SAME_CHARS and len(run) * left >= (len(run) - 1) * size:
                run.append(line)
                same, size = both, left
                continue
        if run:
            yield run
        run, same = [line], list(words)
        size = sum(len(word) + 1 for word in words if word)
    yield run


def _form(run: Sequence[str]) -> list[str] | None:
    """A head and a row for each line; None where that is not shorter."""
    sign = next((sign for sign in _SIGNS if not any(sign in line for line in run)), None)
    if sign is None:
        return None
    pattern: list[str] = []
    columns: list[list[str]] = []
    for words in zip(*(line.split(" ") for line in run), strict=True):
        if all(word == words[0] for word in words):
            pattern.append(words[0])
            continue
        before, after = _around(words)
        pattern.append(f"{before}{sign}{after}")
        columns.append([word[len(before) : len(word) - len(after)] for word in words])
    if not columns:
        return None  # equal lines are others' business
    head = f"[{len(run)} lines, below only what stands for each {sign}: {' '.join(pattern)}]"
    form = [head, *(" ".join(row) for row in zip(*columns, strict=True))]
    return form if sum(map(len, run)) - sum(map(len, form)) - 1 >= LEAST_GAIN_CHARS else None


def _around(words: Sequence[str]) -> tuple[str, str]:
    """What all words begin and end with, up to a bracket, a quote and the like: a number or a path is never cut."""
    first, last = min(words), max(words)
    least = min(map(len, words)) - 1
    same = next((at for at in range(least) if first[at] != last[at]), max(least, 0))
    opens = _OPENS.match(first[:same])
    before = opens[0] if opens is not None else ""
    room = max(least - len(before), 0)
    end = next((at for at in range(room) if len({word[-1 - at] for word in words}) > 1), room)
    closes = _CLOSES.search(first[len(first) - end :]) if end else None
    return before, closes[0] if closes is not None else ""
