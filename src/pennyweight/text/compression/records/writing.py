"""The packed form: a member a line, `key value`; lists and maps of similar objects as rows under their fields.

    reservation_id JG7FMM               an object's members; a string that could be taken for something else is quoted
    address                             an object's members are one space deeper
     city Austin
    tags ["a","b"]                      any JSON may stand for a value
    note |2                             a string of two lines, as they are, at the margin
    first line
    second line
    flights[] origin date price         a list of objects: their fields, then a row each
     MCO 2024-05-21 1859
    variants{} key id=key color=red     a map: every row begins with its key; `=`: the same in every row, or the key
     8310926033 12
    text:p                              a string that is a JSON text, laid out as Python does (values.Style)
    [] a b                              without a name: the list is the whole

In a row `-` is a member that is not there and `--` an object, list or map that is not; `(…)` in a heading are the
members of an object, whose cells follow each other in the row; `[…]` and `{…}` hold rows of their own, divided by `;`
or line feeds; `=` before JSON: this one is of another shape. Cells are divided by what divides the heading, a space or
a comma.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from .embedded import opened
from .shapes import Const, Fields, Map, Plain, Rows, SameAsKey, Shape, table_of, takes_cells
from .values import Value, compact
from .words import ABSENT, GONE, cell, fits_line, key_word, line_word, said_word, separator_of

__all__ = ["write"]

SAMPLED_ROWS = 64

_SPACED = re.compile(r'[ \[;]"[^" ]+ [^"]*"')
_WORD = re.compile(r"[ \[;][^\W\d_]")

INLINE_ROWS_CHARS = 120
"""Rows within a row stand on lines of their own when they are longer than this."""


def write(value: Value) -> str:
    """The packed form of an object or a list, which is JSON where nothing else is shorter.

    Raises RecursionError for what is nested too deep.
    """
    made: list[str] = []
    if isinstance(value, dict) and value and table_of(value) is None:
        _members(value, 0, made)
    else:
        _named("", value, 0, made)
    return "\n".join(made).removeprefix(" ")


def _members(members: dict[str, Value], depth: int, made: list[str]) -> None:
    for name, value in members.items():
        _named(key_word(name), value, depth, made)


def _named(name: str, value: Value, depth: int, made: list[str]) -> None:
    """The lines of one member, `depth` spaces deep. `name`: as it is written."""
    head = " " * depth + name
    if type(value) is str:
        inner = opened(value)
        if inner is not None:
            _named(f"{name}:{inner[0]}", inner[1], depth, made)
        elif fits_line(value):
            made.append(f"{head} {line_word(value)}")
        else:
            lines = value.split("\n")
            made.append(f"{head} |{len(lines)}")
            made.extend(lines)
    elif not isinstance(value, dict | list) or not value:
        made.append(f"{head} {compact(value)}")
    elif (table := table_of(value)) is not None:
        _table(head, table, value, depth, made)
    elif isinstance(value, dict):
        made.append(head)
        _members(value, depth + 1, made)
    elif any(_worth_a_line(item) for item in value):
        made.append(head + "[]")
        for item in value:
            _named("-", item, depth + 1, made)
    else:
        made.append(f"{head} {compact(value)}")


def _worth_a_line(item: Value) -> bool:
    if isinstance(item, dict):
        return bool(item)
    if isinstance(item, list):
        return any(_worth_a_line(inner) for inner in item)
    return type(item) is str and (not fits_line(item) or opened(item) is not None)


def _table(head: str, table: Rows | Map, value: Value, depth: int, made: list[str]) -> None:
    sep = _separator(table.item, value)
    names = sep.join(_heading(table.item, sep))
    margin = " " * (depth + 1)
    if isinstance(value, dict):
        made.append(f"{head}{{}} key{sep}{names}")
        made.extend(
            margin + sep.join([cell(key, sep), *_cells(table.item, member, key, sep)]) for key, member in value.items()
        )
    elif isinstance(value, list):
        made.append(f"{head}[] {names}")
        made.extend(margin + sep.join(_cells(table.item, item, "", sep)) for item in value)


def _heading(shape: Shape, sep: str) -> Iterator[str]:
    """The columns of a row of that shape."""
    match shape:
        case Fields(names, shapes):
            for name, inner in zip(names, shapes, strict=True):
                yield _column_name(name) + _kind(inner, sep)
        case _:
            yield _kind(shape, sep)


def _column_name(name: str) -> str:
    return '"key"' if name == "key" else key_word(name)


def _kind(shape: Shape, sep: str) -> str:
    match shape:
        case Plain():
            return ""
        case Const(value):
            return "=" + said_word(value)
        case SameAsKey():
            return "=key"
        case Fields():
            return f"({sep.join(_heading(shape, sep))})"
        case Rows(item):
            return f"[{sep.join(_heading(item, sep))}]"
        case Map(item):
            return f"{{{sep.join(['key', *_heading(item, sep)])}}}"


def _cells(shape: Shape, value: Value, key: str, sep: str, level: int = 0) -> Iterator[str]:
    """The cells of one thing that is there. `key`: of the row. `level`: how many begin at this cell before it."""
    match shape:
        case Fields(names, shapes) if isinstance(value, dict) and _is_like(value, names, shapes, key):
            inner_level = level + 1
            for name, inner in zip(names, shapes, strict=True):
                if not takes_cells(inner):
                    continue
                if name in value:
                    yield from _cells(inner, value[name], "", sep, inner_level)
                else:
                    yield ABSENT if isinstance(inner, Plain) else GONE + ABSENT * inner_level
                inner_level = 0
        case Rows(item) if isinstance(value, list):
            yield _rows([sep.join(_cells(item, one, "", sep)) for one in value], "[", "]")
        case Map(item) if isinstance(value, dict):
            rows = [sep.join([cell(key, sep), *_cells(item, one, key, sep)]) for key, one in value.items()]
            yield _rows(rows, "{", "}")
        case Plain():
            yield cell(value, sep)
        case _:
            yield "=" * (level + 1) + compact(value)


def _is_like(value: dict[str, Value], names: tuple[str, ...], shapes: tuple[Shape, ...], key: str) -> bool:
    """Whether the object can be had from its row: members in that order, and the said ones as said."""
    if not value:
        return False
    at = iter(names)
    if not all(name in at for name in value):
        return False
    for name, shape in zip(names, shapes, strict=True):
        match shape:
            case Const(said):
                if name not in value or type(value[name]) is not type(said) or value[name] != said:
                    return False
            case SameAsKey():
                if name not in value or type(value[name]) is not str or value[name] != key:
                    return False
    return True


def _rows(rows: list[str], begin: str, end: str) -> str:
    joined = ";".join(rows)
    if (len(joined) > INLINE_ROWS_CHARS and len(rows) > 1) or "\n" in joined:
        return begin + "\n" + "\n".join(rows) + "\n" + end
    return begin + joined + end


def _separator(shape: Shape, value: Value) -> str:
    """A comma where more strings have a space inside than begin with a letter: those words a space is free before."""
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    weight = 0
    for one in islice(members, SAMPLED_ROWS):
        row = " ".join(["", *_cells(shape, one, "", " ")])
        spaced = len(_SPACED.findall(row))
        weight += spaced - len(_WORD.findall(_SPACED.sub("", row))) if spaced else -1
    heading = " ".join(["key", *_heading(shape, " ")] if isinstance(value, dict) else _heading(shape, " "))
    return "," if weight > 0 else separator_of(heading)
