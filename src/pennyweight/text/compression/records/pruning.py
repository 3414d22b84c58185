"""What is kept of a JSON value that must be shorter: both ends of lists, what is odd in them, what is asked for.

Rows are kept whole or not at all, in order; strings are cut between words. What is left out is counted where it was,
with the identifiers of rows that went, so that later calls can name them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec

from ..shape import Ask
from .values import Number, Value, compact

__all__ = ["Limits", "Pruned", "choose", "counted", "identifiers", "prune"]

DIGEST_CHARS = 600
"""Room for identifiers of what was left out, in the whole value."""

RARE = 0.05
"""The share of rows up to which what they have in common with no other is odd."""

_ERROR = re.compile(
    r"error|exception|traceback|fail(?:ed|ure|s)?\b|fatal|critical|panic|denied|refused|timed?[ _-]?out|invalid",
    re.IGNORECASE,
)
_ID_NAME = re.compile(
    r"(?:^|[_\-. ])(?:id|ids|key|uuid|guid|sha|hash|sku|code|ref|number|slug|path|url|email|name)$", re.I
)
_IDENTIFIER = re.compile(r"(?=\S*\d)(?!-?\d{1,5}(?:\.\d*)?\Z)(?![\d.eE+-]+\Z(?<=\.\d))[\w#@./:+-]{3,64}\Z")
"""Letters and digits in one word, or a number too long for a quantity."""

_CAMEL_ID = re.compile(r"[a-z](?:Id|ID|Key|Uuid|Sha|Sku|Code|Ref|Number|Path|Url|Email|Name)$")


class Limits(msgspec.Struct, frozen=True):
    """`rows`: kept of a list beside what is odd or asked for. `chars`: of a string."""

    rows: int
    chars: int


class Pruned(msgspec.Struct, frozen=True):
    """`left_out`: in a reader's words; "" where nothing was."""

    value: Value
    left_out: str


def prune(value: Value, ask: Ask, limits: Limits) -> Pruned:
    """The value with its long lists, maps of similar things and strings cut to the limits."""
    pruner = _Pruner(ask, limits)
    kept = pruner.kept(value)
    return Pruned(kept, pruner.left_out())


class _Pruner:
    def __init__(self, ask: Ask, limits: Limits) -> None:
        self.ask, self.limits = ask, limits
        self.rows_gone = self.rows_seen = self.chars_gone = 0
        self.digest_room = DIGEST_CHARS

    def left_out(self) -> str:
        said = [f"{self.rows_gone:,} of {self.rows_seen:,} items"] if self.rows_gone else []
        said += [f"{self.chars_gone:,} characters of strings"] if self.chars_gone else []
        return " and ".join(said)

    def kept(self, value: Value) -> Value:
        if isinstance(value, dict):
            if len(value) > self.limits.rows and _is_map(value):
                return self._map(value)
            return {name: self.kept(member) for name, member in value.items()}
        if isinstance(value, list):
            return self._list(value) if len(value) > self.limits.rows else [self.kept(item) for item in value]
        if type(value) is str and len(value) > self.limits.chars:
            return self._cut(value)
        return value

    def _list(self, items: list[Value]) -> Value:
        keep = self._chosen(items, [""] * len(items))
        if len(keep) >= len(items):
            return [self.kept(item) for item in items]
        gone = [item for number, item in enumerate(items) if number not in keep]
        made = [self.kept(item) for number, item in enumerate(items) if number in keep]
        return [*made, self._counted(len(gone), len(items), identifiers(gone))]

    def _map(self, members: dict[str, Value]) -> Value:
        keep = self._chosen(list(members.values()), list(members))
        if len(keep) >= len(members):
            return {name: self.kept(member) for name, member in members.items()}
        made: dict[str, Value] = {}
        gone: list[str] = []
        for number, (name, member) in enumerate(members.items()):
            if number in keep:
                made[name] = self.kept(member)
            else:
                gone.append(name)
        mark = "…"
        while mark in members:
            mark += "…"
        made[mark] = self._counted(len(gone), len(members), gone)
        return made

    def _counted(self, gone: int, all_of_them: int, names: Sequence[str]) -> str:
        self.rows_gone += gone
        self.rows_seen += all_of_them
        said = counted(gone, all_of_them, names, self.digest_room)
        self.digest_room -= len(said)
        return said

    def _chosen(self, items: Sequence[Value], keys: Sequence[str]) -> set[int]:
        return choose(
            items, [f"{key} {compact(item)}" for key, item in zip(keys, items, strict=True)], self.ask, self.limits
        )

    def _cut(self, text: str) -> str:
        """Both ends, and the lines between them that are asked for."""
        room = self.limits.chars
        begin = _at_space(text, room * 2 // 3, -1)
        end = _at_space(text, len(text) - room // 3, 1)
        middle = [line for line in text[begin:end].split("\n") if self.ask.named_in(line.lower()) and len(line) < room]
        asked = "".join(f" … {line.strip()}" for line in middle[:8])
        gone = end - begin - sum(map(len, middle[:8]))
        if gone < room // 4:
            return text
        self.chars_gone += gone
        return f"{text[:begin]} [{gone:,} characters left out{asked}] {text[end:]}"


def choose(items: Sequence[Value], texts: Sequence[str], ask: Ask, limits: Limits) -> set[int]:
    """Numbers of the rows that stay: both ends, and of each kind of odd or named ones at most twice as many.

    texts: a row as it can be searched.
    """
    count, rows = len(items), limits.rows
    first = (rows + 1) * 2 // 3
    keep = set(range(first)) | set(range(count - (rows - first), count))
    for rare in (_asked(texts, ask), _failed(texts), _odd_forms(items), _outliers(items)):
        keep.update(islice(rare, 2 * rows))
    return keep


def counted(gone: int, all_of_them: int, names: Sequence[str], room: int = DIGEST_CHARS) -> str:
    """How many rows are missing, and as many of their names as there is room for."""
    said: list[str] = []
    for name in names:
        room -= len(name) + 2
        if room < 0:
            break
        said.append(name)
    more = f" and {gone - len(said):,} others" if 0 < len(said) < gone else ""
    return f"[{gone:,} of {all_of_them:,} left out{': ' if said else ''}{', '.join(said)}{more}]"


def _asked(texts: Sequence[str], ask: Ask) -> Iterator[int]:
    """Rows that hold what the reader names, unless so many do that the name tells nothing."""
    lower = [text.lower() for text in texts]
    for word in sorted(ask.words, key=len, reverse=True):
        found = [number for number, text in enumerate(lower) if word in text] if len(word) > 2 else []
        if len(found) <= max(3, len(texts) // 10):
            yield from found


def _at_space(text: str, at: int, step: int) -> int:
    """The nearest place in that direction, within 80 characters, where a word ends."""
    for distance in range(80):
        here = at + distance * step
        if 0 < here < len(text) and text[here].isspace():
            return here
    return at


def _is_map(value: dict[str, Value]) -> bool:
    """Whether keys are data: many members of one kind, objects of similar fields or scalars."""
    members = list(value.values())
    if all(isinstance(member, dict) for member in members):
        fields = Counter(name for member in members if isinstance(member, dict) for name in member)
        return bool(fields) and fields.most_common(1)[0][1] * 2 >= len(members)
    return len(members) > 40 and len({type(member) for member in members}) == 1


def _failed(texts: Sequence[str]) -> Iterator[int]:
    found = [number for number, text in enumerate(texts) if _ERROR.search(text)]
    return iter(found if len(found) * 5 <= len(texts) else ())


def _odd_forms(items: Sequence[Value]) -> Iterator[int]:
    """Rows of a form, or with a value in a field of few values, that hardly any other row has."""
    most = max(1, int(len(items) * RARE))
    forms = [tuple(item) if isinstance(item, dict) else type(item) for item in items]
    seen = Counter(forms)
    yield from (number for number, form in enumerate(forms) if seen[form] <= most and len(seen) <= 12)
    if len(items) < 12:
        return
    columns: dict[str, Counter[str]] = {}
    for name, _, value in _scalars(items):
        columns.setdefault(name, Counter())[str(value)] += 1
    telling = {name: values for name, values in columns.items() if 1 < len(values) <= 8}
    for name, number, value in _scalars(items):
        if name in telling and telling[name][str(value)] <= most:
            yield number


def _outliers(items: Sequence[Value]) -> Iterator[int]:
    """Rows with a number far from the field's others: more than six times the middle half's width away."""
    columns: dict[str, list[tuple[float, int]]] = {}
    for name, number, value in _scalars(items):
        if isinstance(value, Number):
            columns.setdefault(name, []).append((float(value), number))
    for found in columns.values():
        if len(found) < 12:
            continue
        found.sort()
        low, high = found[len(found) // 4][0], found[len(found) * 3 // 4][0]
        width = max(high - low, abs(high) * 0.1, 1e-9)
        yield from (number for value, number in found if value < low - 6 * width or value > high + 6 * width)


def _scalars(items: Sequence[Value]) -> Iterator[tuple[str, int, str | bool | None]]:
    """Field, number of the row, value."""
    for number, item in enumerate(items):
        if isinstance(item, dict):
            for name, value in item.items():
                if not isinstance(value, dict | list):
                    yield name, number, value
        elif not isinstance(item, list):
            yield "", number, item


def identifiers(items: Sequence[Value]) -> list[str]:
    """What rows are called: the field whose values are most their own, look most like names, and whose name says so."""
    columns: dict[str, list[str]] = {}
    for name, _, value in _scalars(items):
        if isinstance(value, str) and 0 < len(value) <= 80 and "\n" not in value:
            columns.setdefault(name, []).append(value)
    best: list[str] = []
    most = 0.0
    for name, column in columns.items():
        own = len(set(column)) / len(items)
        words = sum(1 for value in column if _IDENTIFIER.match(value)) / len(column)
        worth = own + words + 2 * _names_a_row(name)
        if own > 0.5 and worth > most and (words > 0.5 or _names_a_row(name)):
            best, most = column, worth
    return list(dict.fromkeys(best))


def _names_a_row(name: str) -> bool:
    return _ID_NAME.search(name) is not None or _CAMEL_ID.search(name) is not None
