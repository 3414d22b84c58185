"""Tables: CSV and TSV, Markdown's, and the columns that command-line programs line up with spaces.

Every cell stays as it is; what goes is padding, and of a CSV the columns that say the same in every row.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

import msgspec

from ..records import MAX_CHARS, Number, Value
from ..records.pruning import look
from ..shape import Ask, Codec, Note, Sample, Shorter

__all__ = ["CODEC", "packed", "unpacked"]

MARK = re.compile(r"\[csv([,\t;|])\] ")
"""Begins the heading of a CSV whose constant columns stand there, as `name=value`, and says what divides its cells."""

DELIMITERS = (",", "\t", ";", "|")
LEAST_ROWS = 3
KEPT_ROWS = (120, 60, 30, 16, 10, 6, 3)

_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,12})?\Z")
_RULE = re.compile(r"\|? *:?-+:? *(?:\| *:?-+:? *)*\|?\Z")
_GAP = re.compile(r"(?<=\S) {2,}(?=\S)")
_PADDING = re.compile(r" {2,}")


class _Grid(msgspec.Struct, frozen=True):
    """`rows` are cells; `lines` the same as text, heading first. `delimiter`: "" where it is no CSV."""

    rows: list[list[str]]
    lines: list[str]
    delimiter: str = ""


def packed(text: str) -> str | None:
    """A form with fewer tokens that has every cell; None where there is none."""
    grid = _grid(text)
    if grid is None:
        return None
    form = _without_constants(grid) if grid.delimiter else "\n".join(map(_unpadded, grid.lines))
    return form if form is not None and len(form) < len(text) else None


def unpacked(text: str) -> str:
    """The CSV that `packed` was given, its cells quoted only where they must be; any other text as it is."""
    mark = MARK.match(text)
    if mark is None:
        return text
    delimiter = mark[1]
    rows = _cells(text[mark.end() :], delimiter)
    names = [name.partition("=") for name in rows[0]]
    made = [[name for name, _, _ in names]]
    for row in rows[1:]:
        left = iter(row)
        made.append([value if said else next(left) for _, said, value in names])
    return _written(made, delimiter)


def _without_constants(grid: _Grid) -> str | None:
    names, rows = grid.rows[0], grid.rows[1:]
    same = [len(set(column)) == 1 for column in zip(*rows, strict=True)]
    if not any(same):
        return None
    if all(same):
        same[0] = False
    heading = [f"{name}={value}" if said else name for name, value, said in zip(names, rows[0], same, strict=True)]
    kept = [[cell for cell, said in zip(row, same, strict=True) if not said] for row in rows]
    if any(row == [""] for row in kept):
        return None
    return f"[csv{grid.delimiter}] {_written([heading, *kept], grid.delimiter)}"


def _written(rows: Sequence[Sequence[str]], delimiter: str) -> str:
    made = io.StringIO()
    csv.writer(made, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return made.getvalue().removesuffix("\n")


def _cells(text: str, delimiter: str) -> list[list[str]]:
    """Raises csv.Error."""
    return [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row]


def _grid(text: str) -> _Grid | None:
    if len(text) > MAX_CHARS:
        return None
    lines = [line.rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    lines = [line for line in lines if line]
    if len(lines) < LEAST_ROWS:
        return None
    if lines[0].startswith("|") and _RULE.match(lines[1]):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        return _Grid(rows, lines) if all(line.startswith("|") for line in lines) else None
    delimiter = _delimiter(text if len(lines) < 40 else "\n".join(lines[:40]), whole=len(lines) < 40)
    if delimiter:
        try:
            rows = _cells(text, delimiter)
        except csv.Error:
            return None
        even = len({len(row) for row in rows}) == 1
        return _Grid(rows, [_written([row], delimiter) for row in rows], delimiter) if even else None
    if _is_aligned(lines[:40]):
        return _Grid([re.split(r" +", line.strip()) for line in lines], lines)
    return None


def _delimiter(text: str, *, whole: bool) -> str:
    """By which every row has as many cells as the heading, whose cells are names; "" by none."""
    for delimiter in DELIMITERS:
        try:
            rows = _cells(text, delimiter)
        except csv.Error:
            if whole:
                continue
            try:  # the sample may end within quotes
                rows = _cells(text.rsplit("\n", 8)[0], delimiter)
            except csv.Error:
                continue
        width = len(rows[0]) if rows else 0
        if len(rows) < LEAST_ROWS or width < 2 or {len(row) for row in rows} != {width}:
            continue
        names = rows[0]
        if len(set(names)) == width and all(map(_is_name, names)):
            return delimiter
    return ""


def _is_name(cell: str) -> bool:
    """Whether a column may be called so; code and prose have commas too."""
    plain = cell == cell.strip() and "=" not in cell and cell.count("(") == cell.count(")")
    return 0 < len(cell) < 64 and plain and not _NUMBER.match(cell)


def _is_aligned(lines: Sequence[str]) -> bool:
    """A heading in capitals, and rows of as many words."""
    names = lines[0].split()
    if len(names) < 3 or lines[0] != lines[0].upper() or not any(char.isalpha() for char in lines[0]):
        return False
    return len(_GAP.findall(lines[0])) * 2 >= len(names) - 1 and all(len(line.split()) == len(names) for line in lines)


def _unpadded(line: str) -> str:
    if _RULE.match(line):
        return re.sub("-+", "---", line).replace(" ", "")
    return _PADDING.sub(" ", line.strip())


def reduced(text: str, ask: Ask, room: int, note: Note) -> Shorter | None:
    """The heading, both ends, and the rows that are odd or asked for; the note and the count are the last lines."""
    try:
        grid = _grid(text)
    except csv.Error:
        return None
    if grid is None:
        return None
    first = 1 if grid.delimiter or not _RULE.match(grid.lines[1]) else 2
    names, rows = grid.rows[0], grid.rows[first:]
    items: list[Value] = [_item(names, row) for row in rows]
    lines = [line if grid.delimiter else _unpadded(line) for line in grid.lines]
    looked = look(items, lines[first:], ask)
    made = None
    for count in KEPT_ROWS:
        keep = looked.chosen(count)
        if len(keep) == len(items):
            continue
        left_out = f"{len(items) - len(keep):,} of {len(items):,} rows"
        kept = [lines[first + number] for number in keep]
        form = "\n".join([*lines[:first], *kept, looked.counted(keep), note(left_out)])
        made = Shorter(form, left_out)
        if len(form) <= room:
            break
    return made if made is not None and len(made.text) < len(text) else None


def _item(names: Sequence[str], row: Sequence[str]) -> Value:
    """A row as an object, for what looks for odd ones."""
    return {name: Number(cell) if _NUMBER.match(cell) else cell for name, cell in zip(names, row, strict=False)}


def _sniff(sample: Sample) -> float:
    whole = sample.length <= len(sample.head)
    text = sample.head if whole else sample.head.rsplit("\n", 1)[0]
    try:
        grid = _grid(text) if whole else _grid("\n".join(text.split("\n")[:60])) or _grid(text)
    except csv.Error:
        return 0.0
    if grid is None:
        return 0.0
    return 0.75 if grid.delimiter and len(grid.rows[0]) < 3 else 0.85


CODEC = Codec(
    kind="table",
    sniff=_sniff,
    lossless=packed,
    reduced=reduced,
    guarantees=(
        "Every cell of a row that is kept is there as it was.",
        "Rows that are named, odd or about errors are kept, with both ends, and the rest is counted.",
    ),
)
