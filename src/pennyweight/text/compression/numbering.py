"""Numbers that tools print before lines: the same line with another number, with one that it had not, or without."""

from __future__ import annotations

import re

import msgspec

__all__ = ["AS_IT_WAS", "NUMBER", "PREFIX", "Change", "bare_of", "number_of", "prefixes", "shifted"]

_PARTED = r"\t|→|: ?|\| ?|-"
NUMBER = re.compile(rf"(\s*)(\d{{1,9}})({_PARTED})")
PREFIX = rf"[ \t]*\d{{1,9}}(?:{_PARTED})"
"""A number and what parts it from the line, as a note may say it."""


class Change(msgspec.Struct, frozen=True):
    """What lines have before them otherwise than where they stood: numbers moved by `shift`, numbers from `prefix` on
    where there were none, or, `bare`, none where there were such."""

    shift: int = 0
    prefix: str = ""
    bare: bool = False

    def __bool__(self) -> bool:
        return bool(self.shift or self.prefix)

    def of(self, line: str, at: int) -> str | None:
        """The line, the `at`-th of its run, as the change makes it; None: it cannot be made to it."""
        if not self.prefix:
            return shifted(line, self.shift)
        mark = shifted(self.prefix, at)
        if not self.bare:
            return mark + line
        return line[len(mark) :] if line.startswith(mark) else None

    @property
    def told(self) -> str:
        if self.prefix:
            return f", {'without numbers' if self.bare else 'numbered'} from {self.prefix}"
        return f", numbers {self.shift:+d}" if self.shift else ""


AS_IT_WAS = Change()


def shifted(line: str, shift: int) -> str:
    """The line with another number before it, as wide as before where it fits."""
    match = NUMBER.match(line)
    if match is None:
        return line
    number = str(int(match[2]) + shift)
    indent = " " * (len(match[1]) + len(match[2]) - len(number)) if match[1] else ""
    return f"{indent}{number}{match[3]}{line[match.end() :]}"


def bare_of(line: str) -> str:
    """A numbered line without its number, told from lines that had none by a zero; any other line as it is."""
    match = NUMBER.match(line)
    return "\0" + line[match.end() :] if match is not None else line


def prefixes(match: re.Match[str]) -> tuple[str, ...]:
    """A line's number with what parts it from the line: a blank may belong to either."""
    return (match[0], match[0][:-1]) if match[3] in (": ", "| ") else (match[0],)


def number_of(line: str) -> int:
    match = NUMBER.match(line)
    return int(match[2]) if match is not None else 0
