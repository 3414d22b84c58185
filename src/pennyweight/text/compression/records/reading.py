"""Reads the packed form back: what `writing` was given, exactly."""

from __future__ import annotations

import re

from .embedded import shut
from .shapes import PLAIN, SAME_AS_KEY, Const, Fields, Map, Plain, Rows, SameAsKey, Shape, takes_cells
from .values import NotExact, Number, Value, parse, scan
from .words import ABSENT, BARE_CELL, BARE_KEY, BLOCK, GONE, IN_HEADING, separator_of

__all__ = ["NotPacked", "read"]

_NUMBER = re.compile(r"(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|NaN|-?Infinity)\Z")
_LITERALS: dict[str, Value] = {"true": True, "false": False, "null": None}
_MARGIN = re.compile(" *")
_STYLE = re.compile(r":(\w{1,3})")


class NotPacked(ValueError):
    """A text that `writing` did not write."""


class _Gone:
    """What a row says of a member that it has not."""


_GONE = _Gone()


def read(text: str) -> Value:
    """The value of a packed form. Raises NotPacked, or RecursionError for what is nested too deep."""
    try:
        return _Reader(text).whole()
    except (NotExact, IndexError) as error:
        raise NotPacked(str(error)) from None


class _Reader:
    """A place in a text, moved on by each of its methods."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def whole(self) -> Value:
        if not self.text:
            raise NotPacked("nothing there")
        if self.text.startswith(("[", "{")):
            value = self._value(0) if self.text.startswith(("[] ", "{} ", "[]\n")) else parse(self._rest())
        else:
            value = self._members(0)
        if self.at < len(self.text):
            raise NotPacked(f"nothing that begins so is known: {self.text[self.at : self.at + 40]!r}")
        return value

    # Lines

    def _depth(self) -> int:
        """How deep the next line stands; -1 at the end."""
        if self.at >= len(self.text):
            return -1
        found = _MARGIN.match(self.text, self.at)
        return found.end() - self.at if found else 0

    def _rest(self) -> str:
        """What is left of the line; the place is then the next one's beginning."""
        if self.at > len(self.text):
            raise NotPacked("a block has fewer lines than it says")
        end = self.text.find("\n", self.at)
        end = len(self.text) if end < 0 else end
        rest = self.text[self.at : end]
        self.at = end + 1
        return rest

    def _members(self, depth: int) -> dict[str, Value]:
        made: dict[str, Value] = {}
        while self._depth() == depth:
            self.at += depth
            name = self._key()
            if name in made:
                raise NotPacked(f"{name!r} is there twice")
            made[name] = self._value(depth)
        return made

    def _items(self, depth: int) -> list[Value]:
        made: list[Value] = []
        while self._depth() == depth:
            self.at += depth
            self._take("-")
            made.append(self._value(depth))
        return made

    def _key(self) -> str:
        if self.text[self.at] == '"':
            return self._json_string()
        found = BARE_KEY.match(self.text, self.at)
        if not found:
            raise NotPacked(f"no name: {self.text[self.at : self.at + 40]!r}")
        self.at = found.end()
        return found[0]

    def _value(self, depth: int) -> Value:
        """What stands after a name, and the lines below that belong to it."""
        style = _STYLE.match(self.text, self.at)
        if style:
            self.at = style.end()
            return shut(style[1], self._value(depth))
        if self.text.startswith(("[]", "{}"), self.at):
            is_map = self.text[self.at] == "{"
            self.at += 2
            heading = self._rest()
            if heading:
                return self._table(heading[1:], depth + 1, is_map)
            return self._items(depth + 1)
        rest = self._rest()
        return self._members(depth + 1) if not rest else self._word(rest[1:])

    def _word(self, word: str) -> Value:
        if word[0] in '"[{':
            value, end = scan(word)
            if end != len(word):
                raise NotPacked(f"more after a value: {word[end : end + 40]!r}")
            return value
        block = BLOCK.match(word)
        return "\n".join(self._rest() for _ in range(int(block[1]))) if block else _scalar(word)

    # Tables

    def _table(self, heading: str, depth: int, is_map: bool) -> Value:
        sep = separator_of(heading)
        columns = _Heading(heading, sep)
        item = columns.map_item() if is_map else columns.item()
        columns.end()
        rows: list[Value] = []
        mapped: dict[str, Value] = {}
        while self._depth() == depth:
            self.at += depth
            if is_map:
                key = self._map_key(sep)
                mapped[key] = self._there(item, key, sep)
            else:
                rows.append(self._there(item, "", sep))
            if self.at < len(self.text):
                self._take("\n")
        return mapped if is_map else rows

    def _map_key(self, sep: str) -> str:
        key = self._cell(sep)
        if type(key) is not str:
            raise NotPacked(f"a row begins with {key!r}")
        self._take(sep)
        return key

    def _there(self, shape: Shape, key: str, sep: str) -> Value:
        value = self._thing(shape, key, sep)
        if isinstance(value, _Gone):
            raise NotPacked("a row is not there")
        return value

    def _thing(self, shape: Shape, key: str, sep: str, level: int = 0) -> Value | _Gone:
        """The cells of a thing of that shape."""
        if isinstance(shape, Plain):
            return self._cell(sep)
        if isinstance(shape, Const):
            return shape.value
        if isinstance(shape, SameAsKey):
            return key
        mark = "=" * (level + 1)
        if self.text.startswith(mark, self.at) and not self.text.startswith("=", self.at + level + 1):
            value, self.at = scan(self.text, self.at + level + 1)
            return value
        if self._is_word(GONE + ABSENT * level, sep):
            self.at += len(GONE) + level
            return _GONE
        if isinstance(shape, Fields):
            return self._fields(shape, key, sep, level)
        return self._inner(shape, sep)

    def _fields(self, shape: Fields, key: str, sep: str, level: int) -> dict[str, Value]:
        made: dict[str, Value] = {}
        begun = False
        for name, inner in zip(shape.names, shape.shapes, strict=True):
            if isinstance(inner, Const | SameAsKey):
                made[name] = key if isinstance(inner, SameAsKey) else inner.value
                continue
            if not takes_cells(inner):
                made[name] = _said(inner)
                continue
            if begun:
                self._take(sep)
            value = self._thing(inner, "", sep, 0 if begun else level + 1)
            begun = True
            if not isinstance(value, _Gone):
                made[name] = value
        return made

    def _inner(self, shape: Rows | Map, sep: str) -> Value:
        """Rows within a row."""
        self._take("{" if isinstance(shape, Map) else "[")
        end = "}" if isinstance(shape, Map) else "]"
        lines = self._skip("\n")
        rows: list[Value] = []
        mapped: dict[str, Value] = {}
        if not lines and self._skip(end):
            return mapped if isinstance(shape, Map) else rows
        while True:
            if isinstance(shape, Map):
                key = self._map_key(sep)
                mapped[key] = self._there(shape.item, key, sep)
            else:
                rows.append(self._there(shape.item, "", sep))
            if lines:
                self._take("\n")
            if self._skip(end):
                return mapped if isinstance(shape, Map) else rows
            if not lines:
                self._take(";")

    def _cell(self, sep: str) -> Value | _Gone:
        """A scalar, or anything else as JSON."""
        if self.text[self.at] in '"[{':
            value, self.at = scan(self.text, self.at)
            return value
        found = BARE_CELL[sep].match(self.text, self.at)
        if not found:
            raise NotPacked(f"no cell: {self.text[self.at : self.at + 40]!r}")
        self.at = found.end()
        return _GONE if found[0] == ABSENT else _scalar(found[0])

    def _is_word(self, word: str, sep: str) -> bool:
        if not self.text.startswith(word, self.at):
            return False
        found = BARE_CELL[sep].match(self.text, self.at)
        return found is not None and found[0] == word

    # Characters

    def _take(self, expected: str) -> None:
        if not self.text.startswith(expected, self.at):
            raise NotPacked(f"{expected!r} expected: {self.text[self.at : self.at + 40]!r}")
        self.at += len(expected)

    def _skip(self, wanted: str) -> bool:
        found = self.text.startswith(wanted, self.at)
        self.at += len(wanted) * found
        return found

    def _json_string(self) -> str:
        value, self.at = scan(self.text, self.at)
        if type(value) is not str:
            raise NotPacked(f"no string: {value!r}")
        return value


def _said(shape: Shape) -> Value:
    """What a thing is of which the heading says everything."""
    match shape:
        case Const(value):
            return value
        case Fields(names, shapes):
            return {name: _said(inner) for name, inner in zip(names, shapes, strict=True)}
    raise NotPacked("a heading says what no row could hold")


def _scalar(word: str) -> Value:
    if word in _LITERALS:
        return _LITERALS[word]
    return Number(word) if _NUMBER.match(word) else word


class _Heading:
    """The names of columns, and what stands under them."""

    def __init__(self, text: str, sep: str) -> None:
        self.reader, self.sep = _Reader(text), sep

    def end(self) -> None:
        if self.reader.at != len(self.reader.text):
            raise NotPacked(f"no heading: {self.reader.text!r}")

    def item(self) -> Shape:
        """What a row holds: members of an object, or one thing without a name."""
        return self._nested() or self._fields()

    def map_item(self) -> Shape:
        self.reader._take(f"key{self.sep}")
        return self.item()

    def _nested(self) -> Shape | None:
        if self.reader._skip("["):
            shape: Shape = Rows(self.item())
            self.reader._take("]")
            return shape
        if self.reader._skip("{"):
            shape = Map(self.map_item())
            self.reader._take("}")
            return shape
        return None

    def _fields(self) -> Fields:
        names, shapes = [], []
        while True:
            names.append(self.reader._key())
            shapes.append(self._kind())
            if not self.reader._skip(self.sep):
                return Fields(tuple(names), tuple(shapes))

    def _kind(self) -> Shape:
        if self.reader._skip("="):
            quoted = self.reader.text.startswith('"', self.reader.at)
            word = self.reader._cell(IN_HEADING)
            return SAME_AS_KEY if word == "key" and not quoted else self._said(word)
        if self.reader._skip("("):
            shape = self._fields()
            self.reader._take(")")
            return shape
        return self._nested() or PLAIN

    def _said(self, word: Value | _Gone) -> Const:
        if isinstance(word, _Gone | dict | list):
            raise NotPacked("a heading says what no row could hold")
        return Const(word)
