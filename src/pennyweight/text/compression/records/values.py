"""JSON values kept exactly: numbers as they were written, members in order, and no object with a key twice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import TypeAlias

__all__ = [
    "MAX_CHARS",
    "NotExact",
    "Number",
    "Style",
    "Value",
    "compact",
    "dump",
    "exactly_equal",
    "parse",
    "parse_all",
    "quoted",
    "scan",
    "style_of",
]

MAX_CHARS = 2_500_000
"""Texts beyond this are left alone: about 600,000 tokens, and a second of work."""


class Number(str):
    """A number, `NaN` or `Infinity` as it was written: 1.0 is not 1, and 12345678901234567890 stays that."""

    __slots__ = ()


Value: TypeAlias = "str | bool | list[Value] | dict[str, Value] | None"
"""A Number is a str: ask for it first."""


class NotExact(ValueError):
    """A text that is no JSON, or whose values would not survive: a key twice, half a surrogate pair, too deep."""


def _object(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise NotExact("an object has a key twice")
    return made


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=Number, parse_float=Number, parse_constant=Number)
_SPACE = re.compile(r"[ \t\r\n]*")
_SURROGATE = re.compile("[\ud800-\udfff]")


def scan(text: str, at: int = 0) -> tuple[Value, int]:
    """The value that begins exactly there, and where it ends. Raises NotExact."""
    try:
        value, end = _decoder.raw_decode(text, at)
    except (ValueError, RecursionError) as error:
        raise NotExact(str(error)) from None
    return value, end


def parse(text: str) -> Value:
    """The one value of a text. Raises NotExact."""
    values = parse_all(text)
    if len(values) != 1:
        raise NotExact(f"{len(values)} values")
    return values[0]


def parse_all(text: str) -> list[Value]:
    """The values of a text that holds one or several, one after another or line by line. Raises NotExact."""
    if len(text) > MAX_CHARS:
        raise NotExact(f"{len(text)} characters")
    if _SURROGATE.search(text):
        raise NotExact("half a surrogate pair")
    return list(_values(text))


def _values(text: str) -> Iterator[Value]:
    at = _space(text, 0)
    if at == len(text):
        raise NotExact("nothing there")
    while at < len(text):
        value, end = scan(text, at)
        yield value
        at = _space(text, end)
        if at == end < len(text):
            raise NotExact("values without a space between them")


def _space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def exactly_equal(one: Value, other: Value) -> bool:
    """Equal in kind, in the writing of numbers and in the order of members, which `==` does not look at."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return (
            len(one) == len(other)
            and all(a == b for a, b in zip(one, other, strict=True))
            and all(exactly_equal(a, b) for a, b in zip(one.values(), other.values(), strict=True))
        )
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(exactly_equal(a, b) for a, b in zip(one, other, strict=True))
    return one == other


_plain = json.JSONEncoder(ensure_ascii=False).encode
_ascii = json.JSONEncoder(ensure_ascii=True).encode


def quoted(text: str) -> str:
    """A JSON string; characters beyond ASCII stay, half surrogate pairs are escaped."""
    return _ascii(text) if _SURROGATE.search(text) else _plain(text)


class Style:
    """How a JSON text was laid out: `name` is short enough to stand beside a key."""

    __slots__ = ("ascii", "colon", "comma", "indent", "name")

    def __init__(self, name: str) -> None:
        """A name: "c" is compact, "p" as Python writes by default, a digit an indent; "a" after it: only ASCII."""
        self.name = name
        self.ascii = name.endswith("a")
        kind = name.removesuffix("a")
        self.indent = int(kind) if kind.isdigit() else None
        self.comma, self.colon = {"c": (",", ":"), "p": (", ", ": ")}.get(kind, (",", ": "))


def style_of(text: str) -> str | None:
    """The name of the style that an object or array may have been written in; None: none that is known."""
    if text[:1] not in "{[":
        return None
    if text[1:2] == "\n":
        spaces = len(text) - 2 - len(text[2:].lstrip(" "))
        kind = str(spaces) if 1 <= spaces <= 8 else None
    elif '": ' in text or "], [" in text or '", "' in text or "}, {" in text or re.search(r"\d, -?\d", text):
        kind = "p"
    else:
        kind = "c"
    return kind and kind + ("a" if "\\u" in text else "")


def compact(value: Value) -> str:
    """JSON without a space outside strings."""
    return dump(value, _COMPACT)


def dump(value: Value, style: Style) -> str:
    """JSON in a style. Raises RecursionError for what is nested too deep."""
    made: list[str] = []
    _dump(value, style, "\n", made.append)
    return "".join(made)


def _dump(value: Value, style: Style, newline: str, put: Callable[[str], object]) -> None:
    if value is None or value is True or value is False:
        put("null" if value is None else "true" if value else "false")
    elif isinstance(value, str):
        put(value if isinstance(value, Number) else _ascii(value) if style.ascii else quoted(value))
    elif not value:
        put("{}" if isinstance(value, dict) else "[]")
    else:
        inner = newline + " " * style.indent if style.indent is not None else ""
        comma = style.comma + inner
        if isinstance(value, dict):
            put("{" + inner)
            for number, (key, member) in enumerate(value.items()):
                put((comma if number else "") + (_ascii(key) if style.ascii else quoted(key)) + style.colon)
                _dump(member, style, inner, put)
            put((newline if inner else "") + "}")
        else:
            put("[" + inner)
            for number, member in enumerate(value):
                if number:
                    put(comma)
                _dump(member, style, inner, put)
            put((newline if inner else "") + "]")


_COMPACT = Style("c")
