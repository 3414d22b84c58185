"""A prompt or document as blocks that are never cut into: paragraphs, list items, code blocks, tables, tags."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

__all__ = ["Part", "parts"]

PartKind = Literal["heading", "item", "code", "table", "tag", "paragraph", "blank"]


class Part(msgspec.Struct, frozen=True):
    """`text` with its line feeds; all parts one after the other are the text."""

    kind: PartKind
    text: str


_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})")
_ITEM = re.compile(r"[ \t]*(?:[-*+•]|\d{1,3}[.)]|[a-z][.)])[ \t]+\S")
_TAG = re.compile(r"[ \t]*</?[A-Za-z][\w:.-]*(?:[ \t][^<>]*)?>\s*\Z")
_HEADING = re.compile(r"#{1,6}[ \t]|.{1,80}:\s*\Z")


def parts(text: str) -> list[Part]:
    made: list[Part] = []
    lines = text.splitlines(keepends=True)
    at = 0
    while at < len(lines):
        kind, end = _part(lines, at)
        made.append(Part(kind, "".join(lines[at:end])))
        at = end
    return made


def _part(lines: list[str], at: int) -> tuple[PartKind, int]:
    """The kind of the part that begins with a line, and the line after it."""
    line = lines[at]
    if not line.strip():
        return "blank", at + 1
    if fence := _FENCE.match(line):
        return "code", _closing(lines, at, fence[1])
    if line.startswith(("    ", "\t")):
        return "code", _while(lines, at, lambda one: one.startswith(("    ", "\t")))
    if line.lstrip().startswith("|"):
        return "table", _while(lines, at, lambda one: one.lstrip().startswith("|"))
    if _TAG.match(line):
        return "tag", at + 1
    if _ITEM.match(line):
        return "item", _item(lines, at)
    if _HEADING.match(line) and (line.startswith("#") or at + 1 == len(lines) or not _runs_on(lines[at + 1])):
        return "heading", at + 1
    return "paragraph", _while(lines, at, _runs_on)


def _runs_on(line: str) -> bool:
    """Whether a line may go on with the paragraph before it."""
    return bool(line.strip()) and not (
        _FENCE.match(line) or _TAG.match(line) or _ITEM.match(line) or line.startswith("#") or line.lstrip()[:1] == "|"
    )


def _while(lines: list[str], at: int, holds: object) -> int:
    end = at + 1
    while end < len(lines) and holds(lines[end]):  # type: ignore[operator]
        end += 1
    return end


def _closing(lines: list[str], at: int, fence: str) -> int:
    for end in range(at + 1, len(lines)):
        if lines[end].strip().startswith(fence) and not lines[end].strip().strip(fence[0]):
            return end + 1
    return len(lines)


def _item(lines: list[str], at: int) -> int:
    """A list item goes on with lines that stand further in, code blocks of its own among them."""
    indent = len(lines[at]) - len(lines[at].lstrip())
    end = at + 1
    while end < len(lines):
        line = lines[end]
        if not line.strip():
            deeper = end + 1 < len(lines) and _indent(lines[end + 1]) > indent + 1 and lines[end + 1].strip()
            if not deeper or _ITEM.match(lines[end + 1]):
                break
            end += 1
        elif fence := _FENCE.match(line):
            if _indent(line) <= indent:
                break
            end = _closing(lines, end, fence[1])
        elif _indent(line) > indent or _lazy(line):
            if _ITEM.match(line):
                break
            end += 1
        else:
            break
    return end


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _lazy(line: str) -> bool:
    """A line of an item that was wrapped without standing further in: it begins in small letters."""
    return line[:1].islower() and _runs_on(line)
