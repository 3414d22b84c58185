"""A text of several kinds in its parts: what stands between fences, after prompts, under `==> name <==`."""

from __future__ import annotations

import re

import msgspec

__all__ = ["Part", "parts_of"]

MOST_PARTS = 200

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_FENCE = re.compile(r"(`{3,8}|~{3,8})[ ]?[\w+.#-]{0,30}[ \t]*\Z")
_PROMPT = re.compile(
    r"(?:\([\w.-]{1,40}\) )?(?:[\w.-]{1,40}@[\w.-]{1,60}[: ][^\n$#]{0,200}[$#] |\[[^\]\n]{1,80}\][$#] "
    r"|[$❯➜] |\+ |>>> |PS [A-Z]:[^\n>]{0,200}> )\S"
)
_FILE = re.compile(r"==> .{1,300} <==\Z|-{3,} .{1,200} -{3,}\Z|={3,} .{1,200} ={3,}\Z")


class Part(msgspec.Struct, frozen=True):
    """`own`: whether it is a text by itself; otherwise it is what stands between. `fenced`: between two fences."""

    text: str
    own: bool
    fenced: bool = False


def parts_of(text: str) -> list[Part]:
    """The parts in order; together they are the text. One part: nothing in it parts it."""
    lines = _LINE.findall(text)
    parts = _fenced(lines) or _headed(lines)
    return parts if 1 < len(parts) <= MOST_PARTS else [Part(text, own=False)]


def _fenced(lines: list[str]) -> list[Part]:
    parts: list[Part] = []
    gathered: list[str] = []
    fence = ""

    def close(own: bool) -> None:
        if gathered:
            parts.append(Part("".join(gathered), own, fenced=own))
            gathered.clear()

    for line in lines:
        bare = line.rstrip("\n")
        if fence:
            if bare.rstrip() == fence:
                close(own=True)
                fence = ""
            gathered.append(line)
            continue
        gathered.append(line)
        found = _FENCE.match(bare) if bare[:3] in ("```", "~~~") else None
        if found is not None:
            close(own=False)
            fence = found[1]
    close(own=False)
    return parts if any(part.own for part in parts) else []


def _headed(lines: list[str]) -> list[Part]:
    """Prompts and names of files, each a part that is kept, and what follows each."""
    parts: list[Part] = []
    gathered: list[str] = []
    for line in lines:
        if _PROMPT.match(line) or _FILE.match(line.rstrip("\n")):
            if gathered:
                parts.append(Part("".join(gathered), own=True))
                gathered = []
            parts.append(Part(line, own=False))
        else:
            gathered.append(line)
    if gathered:
        parts.append(Part("".join(gathered), own=True))
    return parts if any(not part.own for part in parts) else []
