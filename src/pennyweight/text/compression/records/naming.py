"""Long pieces that a packed form says several times are said once, above it: `&1 the piece`, and `&1` where it was."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import partial

from .sizes import about_tokens

__all__ = ["named", "spelled"]

LEAST_TOKENS = 10
"""Of a piece; a shorter one is read more easily where it stands."""

LEAST_CHARS = 24

LEAST_GAIN = 0.1
"""What names must save of the whole form: they make a reader look up."""

MOST_NAMES = 32

_ROW = re.compile(r"[^\n;\[\]{}]{24,}")
_STRING = re.compile(r'"(?:[^"\\\n]|\\.)*+"')
_AROUND = " ,"
_NAME = re.compile(r"&\d")
_BLOCK = re.compile(r" \|\d+$", re.MULTILINE)
_SAID = re.compile(r"&(\d+) (.*)\n")
_USED = re.compile(r"&(\d+)")


def named(form: str) -> str:
    """The form with names, or as it is where they save little or could be mistaken."""
    if _NAME.search(form) or _BLOCK.search(form):
        return form
    said: dict[str, str] = {}
    short = form
    gained = 0
    for pattern in (_ROW, _STRING):  # strings that are left when whole rows are gone
        gains = {piece: gain for piece, gain in _gains(pattern, short).items() if piece not in said}
        best = sorted(gains, key=lambda piece: -gains[piece])[: MOST_NAMES - len(said)]
        gained += sum(gains[piece] for piece in best)
        said |= {piece: f"&{number}" for number, piece in enumerate(best, len(said) + 1)}
        short = pattern.sub(partial(_renamed, said), short) if best else short
    if not said or gained < LEAST_GAIN * about_tokens(form):
        return form
    return "".join(f"{name} {piece}\n" for piece, name in said.items()) + short


def _renamed(names: Mapping[str, str], found: re.Match[str]) -> str:
    piece = found[0].strip(_AROUND)
    if piece not in names or found.string[found.end() : found.end() + 1].isdigit():
        return found[0]
    return found[0].replace(piece, names[piece], 1)


def _gains(pattern: re.Pattern[str], form: str) -> dict[str, int]:
    """Pieces that are there more than once, and the tokens that a name for each saves."""
    seen = Counter(pattern.findall(form))
    if len(seen) == seen.total():
        return {}
    times: Counter[str] = Counter()
    for piece, number in seen.items():
        times[piece.strip(_AROUND)] += number
    often = (piece for piece, number in times.items() if number > 1 and len(piece) >= LEAST_CHARS)
    sizes = {piece: about_tokens(piece) for piece in often if not _NAME.search(piece)}
    gains = {p: (times[p] - 1) * size - 2 * times[p] - 3 for p, size in sizes.items() if size >= LEAST_TOKENS}
    return {piece: gain for piece, gain in gains.items() if gain > 0}


def spelled(form: str) -> str:
    """The form without names: what `named` was given."""
    said: dict[str, str] = {}
    at = 0
    while found := _SAID.match(form, at):
        said[found[1]] = found[2]
        at = found.end()
    return _USED.sub(lambda used: said.get(used[1], used[0]), form[at:]) if said else form
