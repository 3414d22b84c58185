"""An outline by indentation: Python, and what else is laid out as it is."""

from __future__ import annotations

import re

from .shape import BODY, DETAIL, FACT, HEAD, Outline, Part

__all__ = ["indented"]

_TOKEN = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+"""|\'\'\'(?:[^\'\\]|\\.|\'(?!\'\'))*+\'\'\''
    r'|"""|\'\'\''
    r'|"(?:[^"\\\n]|\\.)*+"|\'(?:[^\'\\\n]|\\.)*+\'|#[^\n]*|[()\[\]{}]|\n',
    re.DOTALL,
)
_FUNCTION = re.compile(r"\s*(?:async\s+|local\s+|private\s+|public\s+)*(?:def|function|sub|fun|proc)\s+([\w.:?!=]+)")
_CLASS = re.compile(r"\s*(?:class|module|object|trait|interface)\s+([\w.:]+)")
_IMPORT = re.compile(r"\s*(?:import\b|from\s+\S+\s+import\b|require\b|include\b|load\b|using\b|use\b)")
_ASSIGNS = re.compile(r"\s*([\w.]+)\s*(?::[^=]*)?=(?!=)|\s*(\w+)\s*:\s*\S")
_STRING = re.compile(r"\s*[rRbBuUfF]{0,2}[\"']")
_DECLARES = re.compile(r"^[ \t]*(?:async )?(?:def|class) \w+.*:[ \t]*$", re.MULTILINE)
_END = frozenset(["end", "end;", "end,", "}", "});", "fi", "done"])
SHOWN_LINES = 4
"""Of a constant that spans more lines than it is worth: the rest is its body."""


def indented(lines: list[str]) -> Outline:
    """The outline of lines whose blocks are told by how far they are indented."""
    text = "\n".join(lines)
    inside = _inside(text, len(lines))
    return _Reader(lines, inside).read()


def _inside(text: str, total: int) -> list[bool]:
    """For each line, whether it begins within a string or a bracket, so that no statement can begin there.

    A view that begins in the middle of a long string is told by its declarations, which would stand in strings.
    """
    inside, closed = _scanned(text, total, begins_in="")
    if closed:
        return inside
    for quotes in ('"""', "'''"):
        other, other_closed = _scanned(text, total, begins_in=quotes)
        if other_closed and _declared(text, other) > _declared(text, inside):
            return other
    return inside


def _declared(text: str, inside: list[bool]) -> int:
    return sum(
        _DECLARES.match(line) is not None for line, within in zip(text.split("\n"), inside, strict=True) if not within
    )


def _scanned(text: str, total: int, *, begins_in: str) -> tuple[list[bool], bool]:
    inside = [False] * total
    line = depth = start = 0
    closed = True
    if begins_in:
        end = text.find(begins_in)
        if end < 0:
            return inside, False
        line = text.count("\n", 0, end)
        inside[: line + 1] = [True] * (line + 1)
        start = end + 3
    for found in _TOKEN.finditer(text, start):
        token = found[0]
        if token == "\n":
            line += 1
            if depth:
                inside[line] = True
        elif token in "([{":
            depth += 1
        elif token in ")]}":
            depth = max(depth - 1, 0)
        elif token in {'"""', "'''"}:
            closed = False
        elif (more := token.count("\n")) and token[0] != "#":
            inside[line + 1 : line + 1 + more] = [True] * more
            line += more
    return inside, closed and not depth


class _Reader:
    """One pass over the lines; a class because the state of the pass has many parts."""

    def __init__(self, lines: list[str], inside: list[bool]) -> None:
        self.lines = lines
        self.inside = inside
        self.ranks = [DETAIL] * len(lines)
        self.parts: list[Part] = []
        self.classes: list[int] = []  # indentation of each class that is open
        self.body: tuple[int, int, int, str] | None = None  # first, head, indentation and name of the open function
        self.decorated = -1  # the first line of decorators not yet followed by what they decorate

    def read(self) -> Outline:
        at, total = 0, len(self.lines)
        while at < total:
            end = at + 1
            while end < total and self.inside[end]:
                end += 1
            self._statement(at, end - 1)
            at = end
        self._close(total - 1)
        return Outline(self.ranks, self.parts)

    def _statement(self, first: int, last: int) -> None:
        line = self.lines[first]
        said = line.strip()
        if not said:
            self._rank(first, last, BODY if self.body else DETAIL)
            return
        indent = len(line) - len(line.lstrip())
        if self.body is not None:
            head, edge = self.body[1:3]
            if indent > edge or (indent == edge and said in _END):
                self._rank(first, last, BODY)
                if _STRING.match(line) and not any(
                    self.lines[at].strip() for at in range(head + 1, min(first, head + 4))
                ):
                    self._first_words(first, last)
                return
            self._close(first - 1)
        while self.classes and indent <= self.classes[-1] and said[0] != "#":
            self.classes.pop()
        self._outside(first, last, line, said, indent)

    def _outside(self, first: int, last: int, line: str, said: str, indent: int) -> None:
        """A statement that is not inside a function."""
        if said[0] == "#":
            before = self.lines[first - 1].strip() if first else ""
            self._rank(first, last, DETAIL if before.startswith("#") else FACT)
        elif said[0] == "@":
            self._rank(first, last, HEAD)
            self.decorated = first if self.decorated < 0 else self.decorated
        elif (found := _FUNCTION.match(line)) is not None:
            self._rank(first, last, HEAD)
            self.body = (first if self.decorated < 0 else self.decorated, last, indent, found[1])
            self.decorated = -1
        elif _CLASS.match(line):
            self._rank(first, last, HEAD)
            self.classes.append(indent)
            self.decorated = -1
        elif _IMPORT.match(line):
            self._rank(first, last, HEAD)
        elif _STRING.match(line):
            self._rank(first, last, DETAIL)
            self._first_words(first, last)
        elif (assigns := _ASSIGNS.match(line)) is not None and len(self.classes) * 4 >= indent:
            shown = min(last, first + SHOWN_LINES - 1) if last - first >= 2 * SHOWN_LINES else last
            self._rank(first, shown, FACT)
            if shown < last:
                self._rank(shown + 1, last, BODY)
                self.parts.append(Part(first, shown, last, assigns[1] or assigns[2], len(self.classes)))
        else:
            self._rank(first, last, DETAIL)

    def _first_words(self, first: int, last: int) -> None:
        """The first line of a docstring that says something is a fact."""
        self.ranks[first if self.lines[first].strip(" \t\"'rRbBuUfF") else min(first + 1, last)] = FACT

    def _rank(self, first: int, last: int, rank: int) -> None:
        self.ranks[first : last + 1] = [rank] * (last - first + 1)

    def _close(self, last: int) -> None:
        """The open function ends: at its last line that is not blank and no comment of what follows."""
        if self.body is None:
            return
        first, head, edge, name = self.body
        self.body = None
        while last > head and self._trails(last, edge):
            self.ranks[last] = DETAIL
            last -= 1
        if last > head:
            self.parts.append(Part(first, head, last, name, len(self.classes)))

    def _trails(self, at: int, edge: int) -> bool:
        line = self.lines[at]
        said = line.lstrip()
        return not said or (said[0] == "#" and len(line) - len(said) <= edge and not self.inside[at])
