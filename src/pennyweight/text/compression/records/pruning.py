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
from .embedded import opened, shut
from .values import Number, Value, compact

__all__ = ["Limits", "Pruned", "Pruner", "look"]

DIGEST_CHARS = 600
"""Room for identifiers of what was left out, in the whole value."""

RARE = 0.05
"""The share of rows up to which what they have in common with no other is odd."""

MOST_KINDS = 12
"""Forms of rows, or values of a field, among which a rare one is odd; where there are more, being rare is common."""

LEAST_TO_COMPARE = 12
MOST_WORDS = 64

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


class Pruner:
    """Cuts one value, to one limit after another; what is odd in a list is looked for once."""

    def __init__(self, value: Value, ask: Ask) -> None:
        self.value, self.ask = value, ask
        self.limits = Limits(1, 1)
        self.found: dict[int, _Looked] = {}
        self.opened: dict[str, tuple[str, Value] | None] = {}
        self.rows_gone = self.rows_seen = self.chars_gone = self.digest_room = 0

    def prune(self, limits: Limits) -> Pruned:
        """The value with its long lists, maps of similar things and strings cut to the limits."""
        self.ask.in_time()
        self.limits = limits
        self.rows_gone = self.rows_seen = self.chars_gone = 0
        self.digest_room = DIGEST_CHARS
        kept = self._kept(self.value)
        said = [f"{self.rows_gone:,} of {self.rows_seen:,} items"] if self.rows_gone else []
        said += [f"{self.chars_gone:,} characters of strings"] if self.chars_gone else []
        return Pruned(kept, " and ".join(said))

    def _kept(self, value: Value) -> Value:
        if isinstance(value, dict):
            if len(value) > self.limits.rows and _is_map(value):
                return self._map(value)
            return {name: self._kept(member) for name, member in value.items()}
        if isinstance(value, list):
            return self._list(value) if len(value) > self.limits.rows else [self._kept(item) for item in value]
        if type(value) is str and len(value) > self.limits.chars:
            if value not in self.opened:  # kept alive, so that what was found in it is known by its identity
                self.opened[value] = opened(value)
            inner = self.opened[value]
            return self._cut(value) if inner is None else shut(inner[0], self._kept(inner[1]))
        return value

    def _list(self, items: list[Value]) -> Value:
        looked = self._looked(items, items, None)
        keep = looked.chosen(self.limits.rows)
        made = [self._kept(items[number]) for number in keep]
        if len(keep) == len(items):
            return made
        return [*made, self._counted(looked, keep)]

    def _map(self, members: dict[str, Value]) -> Value:
        names = list(members)
        looked = self._looked(members, list(members.values()), names)
        keep = looked.chosen(self.limits.rows)
        made = {names[number]: self._kept(members[names[number]]) for number in keep}
        if len(keep) == len(members):
            return made
        mark = "…"
        while mark in members:
            mark += "…"
        made[mark] = self._counted(looked, keep)
        return made

    def _looked(self, whole: Value, items: list[Value], names: list[str] | None) -> _Looked:
        looked = self.found.get(id(whole))
        if looked is None:
            texts = [compact(item) for item in items]
            if names is not None:
                texts = [f"{name} {text}" for name, text in zip(names, texts, strict=True)]
            looked = self.found[id(whole)] = look(items, texts, self.ask, names)
        return looked

    def _counted(self, looked: _Looked, keep: Sequence[int]) -> str:
        self.rows_gone += looked.count - len(keep)
        self.rows_seen += looked.count
        said = looked.counted(keep, self.digest_room)
        self.digest_room -= len(said)
        return said

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


class _Looked(msgspec.Struct, frozen=True):
    """What was found in a list: numbers of its telling rows, the most telling first, and what its rows are called."""

    count: int
    telling: tuple[int, ...]
    names: tuple[str, ...]

    def chosen(self, rows: int) -> list[int]:
        """Numbers of the rows that stay, in order: so many at both ends, and at most twice as many telling ones."""
        first = min(self.count, (rows + 1) * 2 // 3)
        keep = {*range(first), *range(max(first, self.count - (rows - first)), self.count)}
        keep.update(islice((number for number in self.telling if number not in keep), 2 * rows))
        return sorted(keep)

    def counted(self, keep: Sequence[int], room: int = DIGEST_CHARS) -> str:
        """How many rows are missing, and as many of their names as there is room for."""
        kept = set(keep)
        gone = self.count - len(kept)
        said: list[str] = []
        for number, name in enumerate(self.names):
            if number in kept or not name:
                continue
            room -= len(name) + 2
            if room < 0:
                break
            said.append(name)
        more = f" and {gone - len(said):,} others" if 0 < len(said) < gone else ""
        return f"[{gone:,} of {self.count:,} left out{': ' if said else ''}{', '.join(said)}{more}]"


def look(items: Sequence[Value], texts: Sequence[str], ask: Ask, names: Sequence[str] | None = None) -> _Looked:
    """What tells rows of a list apart. texts: a row as it can be searched. names: the keys of a map."""
    telling: dict[int, None] = {}
    for found in (_asked(texts, ask), _failed(texts), _odd(items)):
        telling.update(dict.fromkeys(found))
    return _Looked(len(items), tuple(telling), tuple(_names(items) if names is None else names))


def _asked(texts: Sequence[str], ask: Ask) -> Iterator[int]:
    """Rows that hold what the reader names, unless so many do that the name tells nothing; rare names first."""
    words = sorted((word for word in ask.words if len(word) > 2), key=len, reverse=True)[:MOST_WORDS]
    if not words:
        return
    search = re.compile("|".join(map(re.escape, words))).findall
    found: dict[str, list[int]] = {}
    for number, text in enumerate(texts):
        for word in set(search(text.lower())):
            found.setdefault(word, []).append(number)
    for numbers in sorted(found.values(), key=len):
        if len(numbers) <= max(3, len(texts) // 10):
            yield from numbers


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


def _odd(items: Sequence[Value]) -> Iterator[int]:
    """Rows of a form, with a value in a field of few values, or with a number, that hardly any other row has."""
    most = max(1, int(len(items) * RARE))
    forms = [tuple(item) if isinstance(item, dict) else (type(item).__name__,) for item in items]
    seen = Counter(forms)
    if len(seen) <= MOST_KINDS:
        yield from (number for number, form in enumerate(forms) if seen[form] <= most)
    if len(items) < LEAST_TO_COMPARE:
        return
    for column in _columns(items).values():
        values = Counter(value for _, value in column)
        if 1 < len(values) <= MOST_KINDS:
            yield from (number for number, value in column if values[value] <= most)
        yield from _outliers([(float(value), number) for number, value in column if isinstance(value, Number)])


def _outliers(found: list[tuple[float, int]]) -> Iterator[int]:
    """Rows with a number far from the field's others: more than six times the middle half's width away."""
    if len(found) < LEAST_TO_COMPARE:
        return
    found.sort()
    low, high = found[len(found) // 4][0], found[len(found) * 3 // 4][0]
    width = max(high - low, abs(high) * 0.1, 1e-9)
    yield from (number for value, number in found if value < low - 6 * width or value > high + 6 * width)


def _columns(items: Sequence[Value]) -> dict[str, list[tuple[int, str | bool | None]]]:
    """The scalars of each field, with their rows' numbers; of a list of scalars under an empty name."""
    columns: dict[str, list[tuple[int, str | bool | None]]] = {}
    for number, item in enumerate(items):
        if isinstance(item, dict):
            for name, value in item.items():
                if not isinstance(value, dict | list):
                    columns.setdefault(name, []).append((number, value))
        elif not isinstance(item, list):
            columns.setdefault("", []).append((number, item))
    return columns


def _names(items: Sequence[Value]) -> list[str]:
    """What rows are called: the field whose values are most their own, look most like names, and whose name says so."""
    best: list[tuple[int, str]] = []
    most = 0.0
    for name, column in _columns(items).items():
        texts = [(n, text) for n, text in column if isinstance(text, str) and 0 < len(text) <= 80 and "\n" not in text]
        own = len({text for _, text in texts}) / len(items)
        words = sum(1 for _, text in texts if _IDENTIFIER.match(text)) / max(1, len(texts))
        worth = own + words + 2 * _names_a_row(name)
        if own > 0.5 and worth > most and (words > 0.5 or _names_a_row(name)):
            best, most = texts, worth
    called = dict(best)
    return [called.get(number, "") for number in range(len(items))] if called else []


def _names_a_row(name: str) -> bool:
    return _ID_NAME.search(name) is not None or _CAMEL_ID.search(name) is not None
