"""What an `Ask` is after, in the words of a text with lines: names, and the lines whose numbers it gives.

A name tells if it is no plain word (`parse_args`, `TextWrapper`, `fill(`, `textwrap.py`, `v2`); plain words of a
sentence (`width`) count less. Names are compared in lower case; scripts without spaces by pairs of characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from .shape import Ask

__all__ = ["Wanted", "wanted", "words_in"]

READ_CHARS = 8_192
"""Of the arguments and of the query: a call that writes a file carries the file."""
NARROW_LINES = 400
"""A range of more lines than these is how a tool says "the whole file"."""

_NAME = re.compile(r"\w+")
_JOINED = re.compile(r"\w+(?:[.\-]\w+)+")
_UNSPACED = re.compile("[぀-ヿ㐀-䶿一-鿿가-힯]{2,}")
_CALLED = re.compile(r"(\w+)\(|[`'\"]([\w.]+)[`'\"]|\.(\w+)")
_SOUGHT_KEYS = frozenset(
    [
        "class",
        "function",
        "identifier",
        "keyword",
        "method",
        "name",
        "pattern",
        "q",
        "query",
        "regex",
        "search",
        "symbol",
    ]
)
_FIRST_KEYS = frozenset(["line", "line_number", "line_start", "lineno", "offset", "start", "start_line", "startline"])
_LAST_KEYS = frozenset(["end", "end_line", "endline", "line_end"])
_COUNT_KEYS = frozenset(["count", "limit", "lines", "num_lines"])
_RANGES = re.compile(
    r"sed\s+-n\s+['\"]?(\d{1,7}),(\d{1,7})p"
    r"|\blines?[\s:#]{1,3}(\d{1,7})(?:\s?(?:-|–|to|bis|and)\s?(\d{1,7}))?"
    r"|\bL(\d{1,7})(?:-L?(\d{1,7}))?\b"
    r"|\.\w{1,5}(?::|\s{1,2})(\d{1,7})(?![\w>])(?:-(\d{1,7}))?"
    r"|\b(?:edit|goto|set_cursors|view)\s(\d{1,7})(?:[:\s](\d{1,7}))?\b",
    re.IGNORECASE,
)
_PLAIN_WORDS = """
all and any are but can did for get got had has her him his how its let may new not now off one our out own per put run
say see set she the too try two use via was way who why yes yet you
about after also because been before code could does done each else file files find first fix from have help
here  how into json just like line lines list look make more most must need only open other over path please
print  project python read return self should show some string test tests text than that their them then there
these  they this those through type under user using want were what when where which while will with work
would write  your workspace home true false null none command def class func function import export const let
var public  private static void int str bool async await struct enum interface package include
"""
_PLAIN = frozenset(_PLAIN_WORDS.split())


class Wanted(msgspec.Struct, frozen=True):
    """`telling` and `plain`: names in lower case. `ranges`: pairs of line numbers, both ends meant.

    `narrow`: the call itself asked for these lines and no others, so nothing of what it gave is beside the point.
    """

    telling: frozenset[str] = frozenset()
    plain: frozenset[str] = frozenset()
    ranges: tuple[tuple[int, int], ...] = ()
    narrow: bool = False

    def weight(self, text: str) -> int:
        """How much a line is asked about: 3 for each telling name in it, 1 for each plain one."""
        if not self.telling and not self.plain:
            return 0
        seen = words_in(text)
        return 3 * len(seen & self.telling) + len(seen & self.plain)

    def about(self, number: int, *, beside: int = 3) -> bool:
        """Whether the line of that number is within a range, or at most `beside` lines away from one."""
        return any(first - beside <= number <= last + beside for first, last in self.ranges)


def words_in(text: str) -> set[str]:
    """The names in a text, in lower case: words, words joined by dots or hyphens, pairs of unspaced characters."""
    low = text.lower()
    seen = set(_NAME.findall(low))
    if "." in low or "-" in low:
        seen.update(_JOINED.findall(low))
    if not low.isascii():
        seen.update(_pairs(low))
    return seen


def wanted(ask: Ask) -> Wanted:
    """What the newest human text and the arguments of the tool's call name."""
    query, arguments = ask.query[-READ_CHARS:], ask.arguments[:READ_CHARS]
    telling = set(_told(query)) | set(_told(arguments, quoted=False))
    ranges = list(_ranges(f"{query}\n{arguments}"))
    reads = not arguments.lstrip().startswith("edit")
    narrow = reads and any(0 < last - first < NARROW_LINES for first, last in _ranges(arguments))
    fields = _fields(arguments)
    values = "\n".join(value for value in fields.values() if isinstance(value, str)) if fields else arguments
    plain = {word for word in words_in(f"{query}\n{values}") if _counts(word)}
    if fields:
        telling.update(_sought(fields))
        if (span := _span(fields)) is not None:
            ranges.append(span)
            narrow = narrow or 0 < span[1] - span[0] < NARROW_LINES
    ranges = [(first, last) for first, last in ranges if 0 <= last - first < NARROW_LINES]
    telling -= _PLAIN
    return Wanted(frozenset(telling), frozenset(plain - telling - _PLAIN), tuple(ranges), narrow)


def _counts(word: str) -> bool:
    return len(word) > 2 or not word.isascii() or (len(word) > 1 and word.isdigit())


def _told(said: str, *, quoted: bool = True) -> Iterable[str]:
    """Names that are no plain words: with digits, underscores, capitals within, dots; called, quoted or after a dot."""
    for word in _NAME.findall(said):
        if len(word) > 2 and not word.isdigit():
            inner = word[1:]
            if "_" in inner or (word.isascii() and (not word.isalpha() or inner != inner.lower() != inner.upper())):
                yield word.lower()
    for name in _JOINED.findall(said):
        if "." in name or name.count("-") > 1 or any(sign.isdigit() for sign in name):
            yield name.lower()
    if quoted:
        for called, cited, part in _CALLED.findall(said):
            name = (called or cited or part).lower()
            if len(name) > 2 and not name.isdigit():
                yield name.rpartition(".")[2]


def _pairs(low: str) -> Iterable[str]:
    for run in _UNSPACED.findall(low):
        for at in range(len(run) - 1):
            yield run[at : at + 2]


def _fields(arguments: str) -> dict[str, object]:
    if not arguments.startswith("{"):
        return {}
    try:
        read = msgspec.json.decode(arguments.encode())
    except (msgspec.DecodeError, UnicodeEncodeError):
        return {}
    return read if isinstance(read, dict) else {}


def _sought(fields: dict[str, object]) -> Iterable[str]:
    for key, value in fields.items():
        if key.lower() in _SOUGHT_KEYS and isinstance(value, str):
            yield from (word for word in words_in(value) if len(word) > 2)


def _span(fields: dict[str, object]) -> tuple[int, int] | None:
    """The lines that the arguments of a reading tool give by number."""
    first = last = count = None
    for key, value in fields.items():
        low = key.lower()
        if isinstance(value, int):
            first = value if low in _FIRST_KEYS else first
            last = value if low in _LAST_KEYS else last
            count = value if low in _COUNT_KEYS else count
        elif low in {"view_range", "range", "lines"} and isinstance(value, list) and len(value) == 2:
            first, last = (part if isinstance(part, int) else None for part in value)
    if first is None:
        return None
    if last is None or last < 0:
        last = first + count - 1 if count is not None else (first if last is None else first + NARROW_LINES)
    return first, last


def _ranges(said: str) -> Iterable[tuple[int, int]]:
    for found in _RANGES.findall(said):
        numbers = [int(part) for part in found if part]
        yield numbers[0], numbers[-1]
