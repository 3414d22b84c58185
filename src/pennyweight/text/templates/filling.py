"""Puts other values in the place of a text's own, all at once, also while the text arrives in pieces.

A value is replaced where it stands by itself; inside a longer word or number it is a doubt, as what stands there may be
made from it. In JSON, values are looked for and written as a JSON string has them. Ends do not depend on how the
text was cut: `Filler` gives the same for every split.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

__all__ = ["Doubt", "Filler", "Swap", "fill", "is_json"]


class Swap(msgspec.Struct, frozen=True):
    old: str
    new: str


class Doubt(Exception):
    """Why a text cannot be filled for sure: a phrase without any of the text."""


class Filler:
    """`feed` pieces of a text, `end` once; each gives what can be said for sure so far. Raises Doubt.

    json: None finds out by the text's first character. `counts`: how often each value was replaced.
    """

    def __init__(self, swaps: Sequence[Swap], *, json: bool | None = None) -> None:
        self._swaps = [swap for swap in swaps if swap.old != swap.new]
        if any(not swap.old.strip() or not swap.new.strip() for swap in self._swaps):
            raise Doubt("an empty value")
        self.counts = [0] * len(self._swaps)
        self._json = json
        self._pattern: re.Pattern[str] | None = None
        self._forms: dict[str, tuple[int, str]] = {}  # as it may stand in the text: (which swap, what to write)
        self._longest = 0
        self._held = ""  # text that may be part of a value
        self._before = ""  # the last characters that were let go, for what stands to the left
        self._in_string = False
        self._text = ""  # before it is known whether this is JSON
        if json is not None:
            self._prepare(json)

    def feed(self, piece: str) -> str:
        if self._json is None:
            self._text += piece
            start = self._text.lstrip()
            if not start:
                return ""
            self._prepare(start[0] in "{[")
            piece, self._text = self._text, ""
        self._held += piece
        return self._let_go(final=False)

    def end(self) -> str:
        """What is left. Afterwards every value was found, or Doubt is raised."""
        if self._json is None:
            self._prepare(False)
            self._held, self._text = self._text, ""
        rest = self._let_go(final=True)
        if not all(self.counts):
            raise Doubt("a value does not occur in the answer")
        return rest

    def _prepare(self, json: bool) -> None:
        self._json = json
        for number, swap in enumerate(self._swaps):
            if json:
                forms = [(_escaped(swap.old), _escaped(swap.new)), (_ascii(swap.old), _ascii(swap.new))]
            else:
                forms = [(swap.old, swap.new)]
            for old, new in forms:
                if self._forms.setdefault(old, (number, new))[0] != number:
                    raise Doubt("two slots of one value")
        olds = sorted(self._forms, key=len, reverse=True)
        self._longest = max(map(len, olds), default=0)
        self._pattern = re.compile("|".join(map(re.escape, olds))) if olds else None

    def _let_go(self, *, final: bool) -> str:
        """Everything before the first place at which a value may still begin or go on."""
        out: list[str] = []
        text = self._held
        at = 0
        while self._pattern is not None:
            found = self._pattern.search(text, at)
            if found is None or (found.start() + self._longest + _LOOK_AHEAD > len(text) and not final):
                break  # a longer value may begin here too
            out += [text[at : found.start()], self._replaced(text, found)]
            at = found.end()
        upto = len(text) if final else max(at, self._safe(text, at))
        out.append(text[at:upto])
        passed = self._before + text[:upto]
        if self._json:
            self._in_string = _in_string(text[:upto], self._in_string, _odd(self._before))
        self._before, self._held = passed[-_LOOK_BACK:], text[upto:]
        return "".join(out)

    def _safe(self, text: str, at: int) -> int:
        """Up to where no value begins, whatever comes next."""
        found = self._pattern.search(text, at) if self._pattern is not None else None
        end = found.start() if found is not None else len(text)
        for start in range(max(at, len(text) - self._longest + 1), end):  # a longer one may have begun before it
            tail = text[start:]
            if any(form.startswith(tail) for form in self._forms):
                return start
        return end

    def _replaced(self, text: str, found: re.Match[str]) -> str:
        old = found[0]
        left, right = self._before + text[: found.start()], text[found.end() : found.end() + _LOOK_AHEAD]
        if _goes_on(left, old, right, json=bool(self._json)):
            raise Doubt("a value within a longer word")
        number, new = self._forms[old]
        if self._json:
            inside = _in_string(text[: found.start()], self._in_string, _odd(self._before))
            if not inside and not (_JSON_NUMBER.fullmatch(old) and _JSON_NUMBER.fullmatch(new)):
                raise Doubt("a value outside the strings of JSON")
        self.counts[number] += 1
        return new


def fill(text: str, swaps: Sequence[Swap]) -> str:
    """The text with every swap made. Raises Doubt.

    In a text that has JSON or code in it but is none itself, nobody can say how a quote or a line break is written.
    """
    json = is_json(text)
    if not json and any(_escaped(v) != v for swap in swaps for v in (swap.old, swap.new)) and _MIXED.search(text):
        raise Doubt("quotes or line breaks in a value, and JSON or code in the answer")
    filler = Filler(swaps, json=json)
    return filler.feed(text) + filler.end()


def is_json(text: str) -> bool:
    """Whether the whole text is a JSON object or list."""
    start = text.lstrip()[:1]
    if start not in ("{", "["):
        return False
    try:
        msgspec.json.decode(text.encode("utf-8", "surrogatepass"))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    return True


_LOOK_AHEAD = 2  # characters to the right that decide whether a word or a number goes on
_LOOK_BACK = 12  # and to the left: an escape sequence, a backslash before it
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_MIXED = re.compile(r"```|[{\[]\s*\"|\":")
_ESCAPE = re.compile(r"\\(?:[bfnrt]|u([0-9a-fA-F]{4}))$")


def _escaped(value: str) -> str:
    return msgspec.json.encode(value).decode()[1:-1]


def _ascii(value: str) -> str:
    """As JSON encoders write it that keep to ASCII."""
    escaped = _escaped(value)
    if escaped.isascii():
        return escaped
    units = "".join(escaped).encode("utf-16-be", "surrogatepass")
    pairs = [int.from_bytes(units[i : i + 2], "big") for i in range(0, len(units), 2)]
    return "".join(chr(unit) if unit < 128 else f"\\u{unit:04x}" for unit in pairs)


def _goes_on(left: str, old: str, right: str, *, json: bool) -> bool:
    """Whether the value is a part of a longer word or number."""
    before, after = left[-1:], right[:1]
    if json and (escape := _ESCAPE.search(left)) and _odd(left[: escape.start() + 1]):
        before = chr(int(escape[1], 16)) if escape[1] else " "
    if _is_word(old[0]) and _is_word(before):
        return True
    if _is_word(old[-1]) and _is_word(after):
        return True
    if old[0].isdigit() and before in ".,:/-" and left[-2:-1].isdigit():
        return True
    return old[-1].isdigit() and after in ".,:/-" and right[1:2].isdigit()


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _odd(text: str) -> bool:
    """Whether the text ends in an odd number of backslashes: what follows is escaped."""
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1


def _in_string(text: str, inside: bool, escaped: bool) -> bool:
    """Whether the end of `text` is inside a JSON string, when its start was `inside`, and behind a lone backslash."""
    if escaped:
        text = text[1:]
    quotes = text.replace("\\\\", "").replace('\\"', "").count('"')
    return inside ^ (quotes % 2 == 1)
