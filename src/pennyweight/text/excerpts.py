"""What to show of a long text: certain lines of it, or those in which words stand, within a budget of tokens.

Lines are numbered from 1, as editors do. Texts with very long lines (minified files) are counted in pieces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

__all__ = ["excerpt"]

_WORD = re.compile(r"[^\W_]\w+")
_CHARS_PER_TOKEN = 8  # no text that is read has more
_SMALL = 4  # a text of a quarter of the budget is shown whole, whatever is asked of it
_LONG_LINE = 4_000  # characters
_PIECE = 1_000
_BEFORE, _AFTER = 2, 4  # lines shown around one that matches
_WORDS = 32


def excerpt(
    text: str, *, count: Callable[[str], int], most_tokens: int, first: int = 0, last: int = 0, query: str = ""
) -> str:
    """A text that fits into `most_tokens`, a line or two that say how to ask on aside. count: tokens of a text.

    first, last: lines, both included; 0 for "from the start" and "to the end". query: words of which each line shown
    has some. Without either, or for a short text: all of it, or its beginning.
    """
    if len(text) <= most_tokens * _CHARS_PER_TOKEN:
        tokens = count(text)
        if tokens * _SMALL <= most_tokens or (tokens <= most_tokens and not (first or last or query.strip())):
            return text
    lines, note = _lines(text)
    if first or last:
        start, end = max(first, 1), min(last or len(lines), len(lines))
        if start > len(lines):
            return f"[There are {len(lines)} lines.{note}]"
        return _shown(lines, range(start - 1, end), most_tokens, count, note)
    if query.strip():
        return _matching(lines, query, most_tokens, count, note)
    return _shown(lines, range(len(lines)), most_tokens, count, note)


def _lines(text: str) -> tuple[list[str], str]:
    lines = text.split("\n")
    if len(lines) > 1 and not lines[-1]:
        lines.pop()
    if all(len(line) <= _LONG_LINE for line in lines):
        return lines, ""
    pieces = [line[at : at + _PIECE] for line in lines for at in range(0, max(len(line), 1), _PIECE)]
    return pieces, f" Lines over {_PIECE} characters are counted in pieces of {_PIECE}."


def _shown(lines: Sequence[str], wanted: range, most_tokens: int, count: Callable[[str], int], note: str) -> str:
    """Lines one after the other, as many as the budget allows."""
    shown: list[str] = []
    left = most_tokens
    for index in wanted:
        numbered = f"{index + 1}\t{lines[index]}"
        left -= count(numbered) + 1
        if left < 0 and shown:
            asks = f'lines "{index + 1}-{wanted.stop}"'
            return "\n".join((*shown, f"[{len(lines)} lines in all. Go on with {asks}, or a query.{note}]"))
        shown.append(numbered)
    if len(shown) < len(lines) or note:
        shown.append(f"[{len(lines)} lines in all.{note}]")
    return "\n".join(shown)


def _matching(lines: Sequence[str], query: str, most_tokens: int, count: Callable[[str], int], note: str) -> str:
    words = list(dict.fromkeys(_WORD.findall(query.lower())))[:_WORDS] or [query.strip().lower()]
    scored = [(sum(word in low for word in words), index) for index, low in enumerate(map(str.lower, lines))]
    hits = sorted(((score, index) for score, index in scored if score), key=lambda hit: (-hit[0], hit[1]))
    if not hits:
        return f'[None of the {len(lines)} lines matches. Ask for lines "1-200", or with other words.{note}]'
    chosen: set[int] = set()
    left = most_tokens
    for _, index in hits:
        around = [n for n in range(max(index - _BEFORE, 0), min(index + _AFTER + 1, len(lines))) if n not in chosen]
        cost = sum(count(lines[n]) + 4 for n in around)
        if cost > left:
            if chosen:
                break
            around = [index]
        chosen.update(around)
        left -= cost
    shown: list[str] = []
    before = -1
    for index in sorted(chosen):
        if index != before + 1:
            shown.append("…")
        shown.append(f"{index + 1}\t{lines[index]}")
        before = index
    more = len(hits) - sum(1 for _, index in hits if index in chosen)
    rest = f" {more} more lines match: ask with fewer words, or for lines." if more else ""
    return "\n".join((*shown, f"[{len(lines)} lines in all.{rest}{note}]"))
