"""How a scalar or a key stands in a packed form: bare where nothing else could be meant, else as JSON."""

from __future__ import annotations

import re

from .values import Value, compact, quoted

__all__ = [
    "ABSENT",
    "BARE_CELL",
    "BARE_KEY",
    "BLOCK",
    "GONE",
    "IN_HEADING",
    "cell",
    "fits_line",
    "key_word",
    "line_word",
    "said_word",
    "separator_of",
]

ABSENT = "-"
"""In a cell: the row has no such member."""

GONE = "--"
"""With a dash more for each thing that begins at the same cell before it. In the place of the cells of an
object, list or map: the row has no such member."""

_LITERAL = r"(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null|NaN|-?Infinity|-+)"
_CONTROL = "\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff"

BARE_KEY = re.compile(rf'(?!-$)[^\s"\[\]{{}}()=:,;|{_CONTROL}]+')
IN_HEADING = "="
"""In the place of a separator: a cell that a heading says."""

BARE_CELL = {
    IN_HEADING: re.compile(rf'(?!{_LITERAL}\Z)[^\s"\[\]{{}}();=,|{_CONTROL}][^\s"\[\]{{}}();,{_CONTROL}]*\Z'),
    "=": re.compile(rf'[^\s"\[\]{{}}();=,|{_CONTROL}][^\s"\[\]{{}}();,{_CONTROL}]*'),
    " ": re.compile(rf'[^\s"\[\]{{}}();=,|{_CONTROL}][^\s"\[\]{{}}();{_CONTROL}]*'),
    ",": re.compile(rf'[^\s"\[\]{{}}();=,|{_CONTROL}][^"\[\]{{}};,{_CONTROL}]*'),
}
_KEY = re.compile(rf'(?!-\Z)[^\s"\[\]{{}}()=:,;|{_CONTROL}]+\Z')
_CELL = {
    IN_HEADING: re.compile(rf'(?!{_LITERAL}\Z)[^\s"\[\]{{}}();=,|{_CONTROL}][^\s"\[\]{{}}();,{_CONTROL}]*\Z'),
    " ": re.compile(rf'(?!{_LITERAL}\Z)[^\s"\[\]{{}}();=,|{_CONTROL}][^\s"\[\]{{}}();{_CONTROL}]*\Z'),
    ",": re.compile(
        rf'(?!{_LITERAL}\Z)[^\s"\[\]{{}}();=,|{_CONTROL}](?:[^"\[\]{{}};,{_CONTROL}]*[^\s"\[\]{{}};,{_CONTROL}])?\Z'
    ),
}
_LINE = re.compile(rf'(?!{_LITERAL}\Z)[^\s"\[{{|{_CONTROL}](?:[^{_CONTROL}]*[^\s{_CONTROL}])?\Z')
BLOCK = re.compile(r"\|(\d+)\Z")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_IN_BLOCK = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")


def key_word(name: str) -> str:
    return name if _KEY.match(name) else quoted(name)


def cell(value: Value, sep: str) -> str:
    """A scalar in a row; a list or an object as JSON."""
    if type(value) is str:
        return value if _CELL[sep].match(value) else quoted(value)
    return compact(value)


def line_word(value: Value) -> str:
    """A value at the end of a line of its own."""
    if type(value) is str:
        return value if _LINE.match(value) else quoted(value)
    return compact(value)


def fits_line(text: str) -> bool:
    """Whether a string must not be written as lines: it has one only, or characters that lines do not survive."""
    return "\n" not in text or _IN_BLOCK.search(text) is not None


def said_word(value: Value) -> str:
    """A scalar in a heading, after `=`."""
    return '"key"' if value == "key" else cell(value, IN_HEADING)


def separator_of(heading: str) -> str:
    """What divides the cells under a heading: a space where one divides its names and no comma does."""
    bare = _QUOTED.sub("", heading)
    return " " if " " in bare and "," not in bare else ","
