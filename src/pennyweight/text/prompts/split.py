"""Cuts a system prompt into modules: at headings, at lists of named things, and where a long section breaks in sense.

What is cut is put together again by joining the texts: nothing is added, dropped or moved.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .module import Entry, Module

__all__ = ["entries_of", "split"]

LONG_CHARS = 1_600
"""A section longer than this is cut at its paragraphs."""

_SHORT_CHARS = 400

LIST_OF = 4
"""From so many like items on, a list is a list of named things."""

_HEADING = re.compile(r"(#{1,6})\s+(\S.*?)\s*#*\s*$")
_FENCE = re.compile(r"\s{0,3}(```+|~~~+)")
_MARKER = re.compile(r"\s*(?:<!--.*-->|</?[A-Za-z][\w:-]*>)?\s*$")
_ITEM = re.compile(r"(\s*)[-*] (?:\*\*|`)?([A-Za-z][\w./:-]*)(?:\*\*|`)?(?: \([^)\n]*\))?: (\S.*)$")
_OPEN = re.compile(r"\s*<([a-z][\w-]*)>\s*$")
_NAME = re.compile(r"<name>\s*([^<\n]+?)\s*</name>")
_SAID = re.compile(r"<description>\s*([^<]+?)\s*</description>")
_DATE = re.compile(
    r"\b(?:20\d\d-\d\d-\d\d|(?:current|today|now)\b.{0,40}\b(?:date|time)|(?:date|time)\b.{0,20}\b(?:is|:) )", re.I
)
_FIRM = re.compile(
    r"\b(?:never|must|always|do not|don't|not allowed|required|forbidden|safety|secur|privacy|private|secret|confiden)",
    re.I,
)


def split(prompt: str) -> tuple[Module, ...]:
    """The modules of a prompt; `"".join(m.text for m in split(p)) == p`."""
    modules: list[Module] = []
    for title, text in _sections(prompt):
        for piece, entries in _pieces(text):
            modules.append(_module(title, piece, entries))
    return tuple(modules)


def entries_of(text: str) -> tuple[Entry, ...]:
    """The named things, if the text is a list of them and nothing else."""
    lines = text.splitlines(keepends=True)
    found = _entries(lines, 0) if lines else ()
    return found if "".join(entry.text for entry in found) == text else ()


def _sections(prompt: str) -> Iterator[tuple[str, str]]:
    """(headings from the top, the text under the last of them with its heading line)."""
    path: list[tuple[int, str]] = []
    lines: list[str] = []
    fence = ""
    for line in prompt.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if mark is not None and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        heading = _HEADING.match(line) if not fence else None
        if heading is not None:
            if lines:
                yield _title(path), "".join(lines)
            lines = []
            level = len(heading[1])
            path = [(depth, name) for depth, name in path if depth < level] + [(level, heading[2])]
        lines.append(line)
    if lines:
        yield _title(path), "".join(lines)


def _title(path: Sequence[tuple[int, str]]) -> str:
    return " / ".join(name for _, name in path)


def _pieces(section: str) -> Iterator[tuple[str, tuple[Entry, ...]]]:
    """The section in pieces, lists of named things by themselves."""
    lines = section.splitlines(keepends=True)
    start = at = 0
    while at < len(lines):
        found = _entries(lines, at)
        if not found:
            at += 1
            continue
        if at > start:
            yield from _broken("".join(lines[start:at]))
        text = "".join(entry.text for entry in found)
        yield text, found
        at = start = at + text.count("\n") + (0 if text.endswith("\n") else 1)
    if start < len(lines):
        yield from _broken("".join(lines[start:]))


def _entries(lines: Sequence[str], at: int) -> tuple[Entry, ...]:
    """The named things of which a list stands from that line on; none: there is no such list."""
    found: list[Entry] = []
    first = _ITEM.match(lines[at])
    if first is not None:
        while at < len(lines) and (item := _ITEM.match(lines[at])) is not None and item[1] == first[1]:
            end = at + 1
            while end < len(lines) and lines[end].strip() and _indent(lines[end]) > len(item[1]):
                end += 1
            text = "".join(lines[at:end])
            found.append(Entry(item[2], text, _first_words(item[3])))
            at = end
    elif (opened := _OPEN.match(lines[at])) is not None:
        while at < len(lines) and (again := _OPEN.match(lines[at])) is not None and again[1] == opened[1]:
            closing = re.compile(rf"\s*</{re.escape(opened[1])}>\s*$")
            last = next((n for n in range(at + 1, min(at + 40, len(lines))) if closing.match(lines[n])), None)
            if last is None:
                break
            text = "".join(lines[at : last + 1])
            name, said = _NAME.search(text), _SAID.search(text)
            if name is None:
                break
            found.append(Entry(name[1], text, _first_words(said[1]) if said is not None else ""))
            at = last + 1
    return tuple(found) if len(found) >= LIST_OF else ()


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def _first_words(text: str) -> str:
    """The first sentence or clause of a description."""
    return re.split(r"(?<=[.;:!?])\s", text.strip(), maxsplit=1)[0].rstrip(".;:")


def _broken(text: str) -> Iterator[tuple[str, tuple[Entry, ...]]]:
    """A long piece at its paragraphs, outside of fences; none of them alone with a heading."""
    if len(text) <= LONG_CHARS:
        yield text, ()
        return
    blocks: list[str] = []
    fence = ""
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if mark is not None and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        begins = bool(blocks) and not fence and mark is None and blocks[-1].endswith("\n\n") and bool(line.strip())
        begins = begins and len(blocks[-1]) > LONG_CHARS // 4 and _indent(line) == 0
        if begins or not blocks:
            blocks.append(line)
        else:
            blocks[-1] += line
    for block in blocks:
        yield block, ()


def _module(title: str, text: str, entries: tuple[Entry, ...]) -> Module:
    volatile = bool(_DATE.search(text)) and len(text) < 2 * LONG_CHARS
    return Module(title, text, priority=_priority(title, text), volatile=volatile and not entries, entries=entries)


def _priority(title: str, text: str) -> int:
    """How much a piece is worth keeping whatever the task: markers and openings always, rules rather than hints."""
    if not title or all(_MARKER.match(line) for line in text.splitlines()):
        return 100
    if _DATE.search(text) and len(text) < _SHORT_CHARS:
        return 90
    firm = len(_FIRM.findall(text)) / max(len(text) / 200, 1.0)
    return min(90, 40 + round(25 * firm))
