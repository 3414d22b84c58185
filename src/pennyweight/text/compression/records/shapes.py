"""What values at one place have in common: fields said once, for lists of objects and for maps of similar objects."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise

import msgspec

from .values import Value

__all__ = ["SAME_AS_KEY", "Const", "Fields", "Map", "Plain", "Rows", "SameAsKey", "Shape", "table_of", "takes_cells"]

MAX_CELLS = 48
"""Cells of one row; a reader loses count of more."""

MAX_CELLS_ALONE = 12
"""The same where there is one row only, which names beside the values would tell more plainly."""

LEAST_SAID_ONCE = 8
"""Tokens that saying a value in the heading must save: rows are easier to read when no column is missing."""

LEAST_BLOCK_CHARS = 60
"""A shorter string with line feeds is a cell like any other."""

MAX_FORMS = 256
"""Orders of keys that are brought into one; lists with more forms than this are no table."""


class Plain(msgspec.Struct, frozen=True):
    """A cell: a scalar, or anything else as JSON."""


class Const(msgspec.Struct, frozen=True):
    """The same scalar in every row: said in the heading."""

    value: str | bool | None


class SameAsKey(msgspec.Struct, frozen=True):
    """In every row what the row's key in the map is."""


class Fields(msgspec.Struct, frozen=True):
    """An object: its members in an order that agrees with every row's."""

    names: tuple[str, ...]
    shapes: tuple[Shape, ...]


class Rows(msgspec.Struct, frozen=True):
    """A list of things of one shape."""

    item: Shape


class Map(msgspec.Struct, frozen=True):
    """An object whose keys are data: its members are of one shape."""

    item: Shape


Shape = Plain | Const | SameAsKey | Fields | Rows | Map
PLAIN, SAME_AS_KEY = Plain(), SameAsKey()


class _Found(msgspec.Struct, frozen=True):
    """A shape, how many tokens it is thought to save over JSON, and the cells that a row takes."""

    shape: Shape
    gain: int = 0
    cells: int = 1


_NONE = _Found(PLAIN)


def table_of(value: Value) -> Rows | Map | None:
    """The shape in which a list or an object is shorter as a table; None: in none."""
    if isinstance(value, list):
        found = _rows([value], 0)
    elif isinstance(value, dict) and len(value) > 1:
        found = _map([value], 0)
    else:
        return None
    shape = found.shape
    return shape if found.gain > 0 and isinstance(shape, Rows | Map) else None


def _found(values: Sequence[Value], depth: int) -> _Found:
    objects = sum(1 for value in values if isinstance(value, dict))
    lists = sum(1 for value in values if isinstance(value, list))
    nulls = sum(1 for value in values if value is None)
    if depth > 32 or not objects + lists or (objects + lists) * 5 < (len(values) - nulls) * 4:
        return _NONE
    if objects >= lists:
        dicts = [value for value in values if isinstance(value, dict) and value]
        fields, mapped = _fields(dicts, depth), _map(dicts, depth)
        best = mapped if mapped.gain > fields.gain else fields
        return _less(best, 2 * (len(values) - len(dicts)))
    return _less(_rows([value for value in values if isinstance(value, list)], depth), len(values) - lists)


def _less(found: _Found, cost: int) -> _Found:
    return _Found(found.shape, found.gain - cost, found.cells) if found.gain > cost else _NONE


def _rows(lists: Sequence[list[Value]], depth: int) -> _Found:
    items = list(chain.from_iterable(lists))
    found = _found(items, depth + 1) if items else _NONE
    if isinstance(found.shape, Plain):
        return _NONE
    return _Found(Rows(found.shape), found.gain - 1)


def _map(dicts: Sequence[dict[str, Value]], depth: int) -> _Found:
    """Of objects whose members are, but for a few, objects or lists of them, all alike."""
    members = list(chain.from_iterable(map(dict.items, dicts)))
    inner = [(key, member) for key, member in members if isinstance(member, dict) and member]
    if len(inner) < 2:
        lists: list[Value] = [member for _, member in members if isinstance(member, list) and member]
        found = _found(lists, depth + 1) if len(lists) > 1 else _NONE
        others = len(members) - len(lists)
    else:
        keys = [key for key, _ in inner]
        found = _fields([member for _, member in inner], depth + 1, keys)
        others = len(members) - len(inner)
    if isinstance(found.shape, Plain) or others * 5 > len(members):
        return _NONE
    return _less(_Found(Map(found.shape), found.gain), 3 * others)


def _fields(dicts: Sequence[dict[str, Value]], depth: int, keys: Sequence[str] | None = None) -> _Found:
    """`keys`: of the map that the objects are members of, one for each."""
    forms = Counter(map(tuple, dicts))
    names = _merged(forms) if dicts and len(forms) <= MAX_FORMS else None
    if names is None or len(names) > 4 * MAX_CELLS:
        return _NONE
    shapes: list[Shape] = []
    gain = cells = awkward = 0
    for name in names:
        column = [one[name] for one in dicts if name in one]
        found = _column(column, len(dicts), depth, keys)
        length = _tokens(name)
        gain += (len(column) - 1) * (length + 1) - (len(dicts) - len(column)) + found.gain
        awkward += sum(8 + len(value) // 16 for value in column if type(value) is str and not is_cell(value))
        shapes.append(found.shape)
        cells += found.cells
    if not cells:  # a row must be there to be seen
        shapes[0], cells = PLAIN, 1
    if len(dicts) == 1:
        whole = not any(
            isinstance(shape, Plain) and _is_deep(dicts[0][name]) for name, shape in zip(names, shapes, strict=True)
        )
        gain = cells if whole and cells <= MAX_CELLS_ALONE else 0
    gain -= awkward
    if cells > MAX_CELLS or gain <= 0:
        return _NONE
    return _Found(Fields(names, tuple(shapes)), gain, cells)


def is_cell(text: str) -> bool:
    """Whether a string is no better read as lines or as the JSON that it is."""
    return len(text) < LEAST_BLOCK_CHARS or ("\n" not in text and (text[0] not in "[{" or text[-1] not in "]}"))


def takes_cells(shape: Shape) -> bool:
    """Whether a thing of that shape, where it is there, stands in a row and not in the heading."""
    if isinstance(shape, Fields):
        return any(map(takes_cells, shape.shapes))
    return not isinstance(shape, Const | SameAsKey)


def _is_deep(value: Value) -> bool:
    return isinstance(value, dict | list) and bool(value)


def _column(column: list[Value], rows: int, depth: int, keys: Sequence[str] | None) -> _Found:
    first = column[0]
    if isinstance(first, dict | list):
        return _found(column, depth + 1)
    if len(column) == rows and rows > 1:
        if keys is not None and type(first) is str and column == keys:
            return _Found(SAME_AS_KEY, rows, 0)
        gain = (rows - 1) * _tokens(first)
        if gain >= LEAST_SAID_ONCE and all(value == first and type(value) is type(first) for value in column):
            return _Found(Const(first), gain, 0)
    if any(isinstance(value, dict | list) for value in column):
        return _found(column, depth + 1)
    return _NONE


def _merged(forms: Iterable[tuple[str, ...]]) -> tuple[str, ...] | None:
    """One order of all keys that every form agrees with; None where two forms contradict each other."""
    forms = sorted(forms, key=len, reverse=True)
    merged = list(forms[0])
    for form in forms[1:]:
        at = 0
        for number, name in enumerate(form):
            if name in merged:
                found = merged.index(name)
                if found < at:
                    return _sorted(forms)
                at = found + 1
            else:
                later = next((merged.index(other) for other in form[number + 1 :] if other in merged), None)
                at = at if later is None else later
                merged.insert(at, name)
                at += 1
    return tuple(merged) if all(_agrees(form, merged) for form in forms) else _sorted(forms)


def _agrees(form: tuple[str, ...], merged: Sequence[str]) -> bool:
    left = iter(merged)
    return all(name in left for name in form)


def _sorted(forms: Sequence[tuple[str, ...]]) -> tuple[str, ...] | None:
    """Topologically, by which key stands directly before which."""
    after: dict[str, dict[str, None]] = {}
    before: Counter[str] = Counter()
    for form in forms:
        for name in form:
            after.setdefault(name, {})
        for name, following in pairwise(form):
            if following not in after[name]:
                after[name][following] = None
                before[following] += 1
    made: list[str] = []
    free = [name for name in after if not before[name]]
    while free:
        name = free.pop(0)
        made.append(name)
        for following in after[name]:
            before[following] -= 1
            if not before[following]:
                free.append(following)
    return tuple(made) if len(made) == len(after) else None


_WORD = re.compile(r"[a-zA-Z]{1,10}|\d{1,3}|[^a-zA-Z\d]")


def _tokens(value: str | bool | None) -> int:
    """About how many tokens a key or a scalar is."""
    return len(_WORD.findall(value.replace("_", ""))) if isinstance(value, str) else 1
