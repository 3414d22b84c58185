"""JSON that breaks off, as tools give it that limit their output: what came whole, and the rest as it is."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Cut", "cut"]

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{},]', re.DOTALL)
MOST_DEPTH = 64
_SHUT = {"[": "]", "{": "}"}


class Cut(NamedTuple):
    """`whole` is JSON: the text up to a comma between two members or items, and `shut`, the brackets that were missing.

    `whole` without `shut`, and `rest` after it, is the text.
    """

    whole: str
    shut: str
    rest: str


def cut(text: str) -> Cut | None:
    """At the last comma of a list that is followed by at most a tenth of the text, else at the last of all.

    None for what ends where it began or has no comma; whether `whole` is JSON must be tried.
    """
    stack: list[str] = []
    last: tuple[int, str] | None = None
    last_in_list: tuple[int, str] | None = None
    for token in _TOKEN.finditer(text):
        sign = token[0]
        if sign in "[{":
            stack.append(_SHUT[sign])
        elif sign in "]}":
            if not stack or stack.pop() != sign or not stack:
                break
        elif sign == "," and len(stack) <= MOST_DEPTH:
            last = token.start(), "".join(reversed(stack))
            if stack and stack[-1] == "]":
                last_in_list = last
    if last is None or not stack:
        return None
    at, shut = last_in_list if last_in_list is not None and (len(text) - last_in_list[0]) * 10 < len(text) else last
    return Cut(text[:at] + shut, shut, text[at:])
