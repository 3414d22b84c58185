"""Lines that a text says several times, said once: blocks that always stand together get a number at their first place.

    [#1: 2 lines]
      File "/w/tests/test_text.py", line 31, in check
        self.assertEqual(result, expect,

and wherever they stand again, `[#1]`. Nothing is left out; `written_out` gives the text back. Linear in the text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

__all__ = ["HEAD", "said_once", "written_out"]

LEAST_CHARS = 40
"""Of a block; shorter ones cost more to name than to say."""
MARK_CHARS = 24
"""What naming a block costs, about, counted in characters of text: marks have more tokens for their length."""
LONGEST_CHARS = 4_000_000
"""Of a text: lines and their pairs are counted, which takes a multiple of its memory."""
HEAD = "[… lines named like [#1: 2 lines] stand again wherever it says [#1]]"

_OURS = re.compile(r"^\[(?:#|… lines named)", re.MULTILINE)
_NAMED = re.compile(r"\[#(\d+): (\d+) lines?\]")
_AGAIN = re.compile(r"\[#\d+(?: #\d+)*\]")


def said_once(text: str) -> str | None:
    """The shorter form; None where none is, or where the text has lines that look like its marks."""
    if len(text) > LONGEST_CHARS or _OURS.search(text):
        return None
    lines = text.split("\n")
    blocks = list(_blocks(lines))
    seen = Counter(blocks)
    worth = {block for block, count in seen.items() if _gain(block, count) > 0}
    if sum(_gain(block, seen[block]) for block in worth) <= 2 * len(HEAD):
        return None
    made = [HEAD]
    numbers: dict[tuple[str, ...], int] = {}
    again: list[int] = []
    for block in blocks:
        if block in numbers:
            again.append(numbers[block])
            continue
        made += _marks(again)
        again.clear()
        if block in worth:
            numbers[block] = len(numbers) + 1
            made.append(f"[#{numbers[block]}: {len(block)} line{'s' if len(block) > 1 else ''}]")
        made += block
    made += _marks(again)
    return "\n".join(made)


def written_out(form: str) -> str:
    """The text that `said_once` was given."""
    lines = iter(form.split("\n")[1:])
    named: dict[str, list[str]] = {}
    made: list[str] = []
    for line in lines:
        if (found := _NAMED.fullmatch(line)) is not None:
            named[f"#{found[1]}"] = [next(lines) for _ in range(int(found[2]))]
            made += named[f"#{found[1]}"]
        elif _AGAIN.fullmatch(line):
            for number in line[1:-1].split(" "):
                made += named[number]
        else:
            made.append(line)
    return "\n".join(made)


def _marks(again: Sequence[int]) -> list[str]:
    return [f"[{' '.join(f'#{number}' for number in again)}]"] if again else []


def _gain(block: tuple[str, ...], count: int) -> int:
    """Characters that naming a block saves, marks counted dear."""
    size = sum(map(_size, block))
    return (count - 1) * (size - MARK_CHARS // 2) - MARK_CHARS if size >= LEAST_CHARS and count > 1 else 0


def _size(line: str) -> int:
    """Characters; a rule of one sign is a token or two however long it is."""
    return len(line) + 1 if len(line) <= 8 or len(set(line)) > 2 else 8


def _blocks(lines: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The lines in runs: two that follow each other are in one run if each stands nowhere without the other."""
    seen = Counter(lines)
    pairs = Counter(pairwise(lines))
    run = [lines[0]]
    for above, line in pairwise(lines):
        if above != line and seen[above] > 1 and seen[above] == seen[line] == pairs[above, line]:
            run.append(line)
        else:
            yield tuple(run)
            run = [line]
    yield tuple(run)
