"""What clients put around a tool's own text: chunk ids, wall times, exit codes, reminders, fences, line numbers.

A wrapper is told by its exact words at the very beginning or end of a text; what looks like one in the middle is text.
Sources are the clients' own requests: Codex (`Chunk ID`, `Wall time`), Claude Code (`<system-reminder>`, `12→` and
`12<tab>` before lines), opencode (`<path>`, `<content>`, `12: ` before lines), OpenClaw (`[… more lines in file …]`, a
JSON envelope with the text inside), mini-swe-agent (`<returncode>`, `<output>`), Gemini CLI (`Exit Code: 0`).
Pure, and linear in the text.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Enveloped", "Numbered", "Wrapped", "enveloped", "numbered", "renumbered", "unwrapped"]


class Wrapped(NamedTuple):
    """`head + body + tail` is the text, always."""

    head: str
    body: str
    tail: str


class Enveloped(NamedTuple):
    """A JSON text that is little more than one long string: `head + json(body) + tail` is the text, always."""

    head: str
    body: str
    tail: str
    ascii: bool  # whether the string was written with \\u escapes for all that is not ASCII

    def sealed(self, body: str) -> str:
        """The envelope around another body: JSON still."""
        return f"{self.head}{json.dumps(body, ensure_ascii=self.ascii)}{self.tail}"


class Numbered(NamedTuple):
    """A text whose lines all carry a number in front. `marks[i] + lines[i]` is line i as it stood."""

    marks: tuple[str, ...]
    lines: tuple[str, ...]


REACH_CHARS = 16_384
"""How far from either end a wrapper is looked for."""
DEEPEST = 6
"""Wrappers inside each other that are taken off at one end."""

_FACT = (
    r"(?:Chunk ID|Wall time|Original token count|Total output lines|Exit code|Exit Code|Command|Directory|"
    r"Working directory|Duration|Process Group PGID|Session ID|Status): [^\n]{0,400}\n"
    r"|Process (?:exited with code|running with session ID) [^\n]{0,80}\n"
)
_HEADS = (
    re.compile(rf"(?:{_FACT}|\n){{1,12}}Output:[ ]?\n?"),
    re.compile(r"(?:Exit code|Exit Code|Return code): -?\d{1,4}\n"),
    re.compile(r"Output:\n"),
    re.compile(r"(?:OBSERVATION|STDOUT|stdout):\n"),
    re.compile(r"(?:<(?:path|type|returncode|exit_code|command)>[^\n<]{0,400}</[a-z_]{1,20}>\n?){1,4}"),
    re.compile(
        r"<(?:content|output|stdout|file|result|tool_result|function_results|bash-stdout)(?: [^<>\n]{0,200})?>\n?"
    ),
    re.compile(r"Here's the result of running `[^`\n]{1,200}` on [^\n]{1,300}:\n"),
)
_REMINDER = ("<system-reminder>", "</system-reminder>")
_FENCE_OPENS = re.compile(r"(?:[^\n`]{0,200}\n{1,2}){0,2}(`{3,8}|~{3,8})[ ]?[\w+.#-]{0,30}\n")
_TAIL_LINE = re.compile(
    r"\[exit(?: code|ed)?:? ?-?\d{1,4}\]"
    r"|\(?(?:[Ee]xit(?: [Cc]ode|ed with code)?|Exit Code|Return code)[: ]{1,2}-?\d{1,4}\)?"
    r"|Command exited with code -?\d{1,4}|Process exited with code -?\d{1,4}|(?:Error|Signal): \(none\)"
    r"|(?:Background PIDs|Process Group PGID|Signal): [^\n]{0,80}"
    r"|\(End of file - total \d{1,9} lines\)|\(Showing lines \d{1,9}-\d{1,9} of \d{1,9}\.[^\n()]{0,80}\)"
    r"|\(File has more lines\.[^\n()]{0,80}\)"
    r"|\[\d{1,9} more lines in file\.[^\n\[\]]{0,80}\]|\[Read output capped at [^\n\[\]]{1,120}\]"
    r"|\[Showing lines \d{1,9}-\d{1,9} of \d{1,9}[^\n\[\]]{0,120}\]"
    r"|\(Open file: [^\n()]{1,300}\)|\(Current directory: [^\n()]{1,300}\)|bash-\$"
    r"|</(?:content|output|stdout|file|result|tool_result|function_results|bash-stdout)>"
)
_TAIL_CUT = re.compile(r"\[\.\.\. \d{1,12} more characters truncated;[^\n\[\]]{0,120}\]\Z")
_TAG = re.compile(r"<bash_metadata>[^<]{0,2000}</bash_metadata>\s*\Z|<bash-stderr>\s{0,20}</bash-stderr>\s*\Z")


def unwrapped(text: str) -> Wrapped:
    """The text a tool gave, and what a client put before and after it. Where nothing is known, all is body."""
    start, end = 0, len(text)
    fence = ""
    for _ in range(DEEPEST):
        step = _head_end(text, start, end)
        if step == start:
            fenced = _FENCE_OPENS.match(text, start, min(end, start + REACH_CHARS)) if not fence else None
            if fenced is None or not _closes(text, fenced.end(), end, fenced[1]):
                break
            fence, step = fenced[1], fenced.end()
        start = step
        if fence:
            end = text.rindex(fence, start, end)
            end -= text[end - 1 : end] == "\n" and end > start
            fence = ""
        end = _tails(text, start, end)
    end = _tails(text, start, end)
    return Wrapped(text[:start], text[start:end], text[end:])


def enveloped(text: str) -> Enveloped | None:
    """The one long string of a JSON object or array, decoded; None where there is none that is most of the text.

    Only a string that holds several lines counts: an array of values is JSON to be shortened as such.
    """
    if len(text) < 64 or text[:1] not in "{[" or "\\n" not in text:
        return None
    longest = max(_strings(text), key=lambda span: span[1] - span[0], default=None)
    if longest is None or 2 * (longest[1] - longest[0]) < len(text):
        return None
    raw = text[longest[0] : longest[1]]
    try:
        json.loads(text)
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    for escaped in (False, True):
        if json.dumps(body, ensure_ascii=escaped) == raw:
            return Enveloped(text[: longest[0]], body, text[longest[1] :], escaped)
    return None


_MARK = re.compile(r"[ ]{0,8}(\d{1,9})(?:\t|→|: |\| |:\|)")
_MARK_EMPTY = re.compile(r"[ ]{0,8}(\d{1,9})(?:\t|→|:|\|)?\Z")


def numbered(lines: Sequence[str]) -> Numbered | None:
    """The lines without the numbers that a reading tool put before them; None unless all have one and they count up.

    One mark for all lines (`12→`, `12<tab>`, `12: `, `12| `), numbers that rise by one; `grep -n` prints others.
    """
    kept = list(lines)
    trailing = kept and not kept[-1]
    if trailing:
        kept.pop()
    if len(kept) < 2:
        return None
    marks: list[str] = []
    rest: list[str] = []
    number = -1
    sign = ""
    for line in kept:
        found = _MARK.match(line) or _MARK_EMPTY.match(line)
        if found is None or (marks and int(found[1]) != number + 1):
            return None
        number = int(found[1])
        said = found[0].lstrip(" 0123456789").rstrip()
        if marks and said and sign and said != sign:
            return None
        sign = sign or said
        marks.append(found[0])
        rest.append(line[found.end() :])
    if not sign and not any("\t" in mark for mark in marks):
        return None
    if trailing:
        marks.append("")
        rest.append("")
    return Numbered(tuple(marks), tuple(rest))


def _head_end(text: str, start: int, end: int) -> int:
    """Where the body begins after one more wrapper; `start` where there is none."""
    reach = min(end, start + REACH_CHARS)
    if text.startswith(_REMINDER[0], start):
        closed = text.find(_REMINDER[1], start, reach)
        if closed >= 0:
            return _past_breaks(text, closed + len(_REMINDER[1]), end)
    for pattern in _HEADS:
        found = pattern.match(text, start, reach)
        if found is not None:
            return found.end()
    return start


def _past_breaks(text: str, at: int, end: int) -> int:
    while at < end and text[at] == "\n":
        at += 1
    return at


def _closes(text: str, start: int, end: int, fence: str) -> bool:
    """Whether the fence opened before `start` is closed by the last line, and by none before it."""
    last = text.rfind(fence, start, end)
    if last < 0 or text[last + len(fence) : end].strip() or (last > start and text[last - 1] != "\n"):
        return False
    return last == start or text.find("\n" + fence, start - 1, last - 1) < 0


def _tails(text: str, start: int, end: int) -> int:
    """Where the body ends before the wrappers at the end. White space goes with the wrapper that it parts from it."""
    for _ in range(DEEPEST):
        last = _text_end(text, start, end)
        floor = max(start, last - REACH_CHARS)
        cut = last
        if text.endswith(_REMINDER[1], start, last):
            opened = text.rfind(_REMINDER[0], floor, last)
            cut = opened if opened >= 0 else last
        if cut == last:
            line = text.rfind("\n", floor, last) + 1
            line = max(line, start)
            if last - line <= 512 and _TAIL_LINE.fullmatch(text, line, last):
                cut = line
            else:
                near = max(start, last - 2_200)
                found = _TAIL_CUT.search(text, near, last) or _TAG.search(text, near, last)
                cut = found.start() if found is not None else last
        if cut == last:
            return end
        body = _text_end(text, start, cut)
        end = body if body < cut else cut
    return end


def _text_end(text: str, start: int, end: int) -> int:
    while end > start and text[end - 1] in " \n\t\r":
        end -= 1
    return end


# One that is never closed reaches to the end, so that the search does not begin again at every quote inside it.
_QUOTED = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)


def _strings(text: str) -> list[tuple[int, int]]:
    return [found.span() for found in _QUOTED.finditer(text)]


def renumbered(form: str, given: Numbered) -> str | None:
    """A form made of the lines of a numbered text, with the number of each before it again.

    A number is put only where there is no doubt which line it was: of equal lines where the earliest and the latest
    place that the order allows are one. Lines that are not the text's (notes) get none. None where the order of the
    lines is not that of the text.
    """
    places: dict[str, list[int]] = {}
    for number, line in enumerate(given.lines):
        places.setdefault(line, []).append(number)
    lines = form.split("\n")
    earliest = _walk(lines, places, forward=True)
    latest = _walk(lines, places, forward=False)
    if earliest is None or latest is None:
        return None
    return "\n".join(
        given.marks[first] + line if first is not None and first == last else line
        for line, first, last in zip(lines, earliest, latest, strict=True)
    )


def _walk(lines: Sequence[str], places: dict[str, list[int]], *, forward: bool) -> list[int | None] | None:
    """Of each line the first place after the line before it (or, backwards, the last before the line after it)."""
    made: list[int | None] = []
    at = -1 if forward else sum(map(len, places.values()))
    for line in lines if forward else reversed(lines):
        among = places.get(line)
        if among is None:
            made.append(None)
            continue
        index = bisect_right(among, at) if forward else bisect_left(among, at) - 1
        if not 0 <= index < len(among):
            return None
        at = among[index]
        made.append(at)
    return made if forward else made[::-1]
