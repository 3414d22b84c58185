"""What stands where lines are missing: one short mark a run (`[... lines 12-40]`), a line of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["mark", "marked", "render"]

_OPEN = "[... "


def mark(what: str) -> str:
    """A line that says what is missing here. No other line of a shorter form is not one of the text's own."""
    return f"{_OPEN}{what}]"


def marked(line: str) -> bool:
    """Whether a line is such a mark, spaces before it aside."""
    return line.lstrip().startswith(_OPEN) and line.endswith("]")


def render(lines: Sequence[str], keep: Sequence[bool], label: Callable[[int, int], str]) -> tuple[str, int]:
    """The lines kept, each run of others replaced by a mark; and how many lines are missing.

    label(first, last): what a mark says of a run, indices of `lines` counted from 0, both ends meant. A run that is
    hardly longer than its mark, and a run of blank lines only, stays.
    """
    out: list[str] = []
    missing, at, total = 0, 0, len(lines)
    while at < total:
        if keep[at]:
            out.append(lines[at])
            at += 1
            continue
        first = at
        while at < total and not keep[at]:
            at += 1
        run = lines[first:at]
        said = mark(label(first, at - 1))
        if sum(map(len, run)) + len(run) <= len(said) + 8:
            out += run
        else:
            out.append(said)
            missing += len(run)
    return "\n".join(out), missing
