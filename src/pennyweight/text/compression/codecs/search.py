"""What grep, ripgrep and their kind give: a path on every line becomes a path once, with its lines under it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..asked import Wanted, wanted
from ..gaps import mark
from ..shape import Ask, Codec, Note, Sample, Shorter

__all__ = ["CODEC", "grouped", "ungrouped"]

_FOUND = re.compile(r"((?:[A-Za-z]:[\\/])?[^\s:][^:\n]{0,300}):(\d{1,9}:.*)", re.DOTALL)
_BESIDE = re.compile(r"((?:[A-Za-z]:[\\/])?[^\s:][^:\n]{0,300}?)-(\d{1,9}-.*)", re.DOTALL)
_PLAIN = re.compile(r"((?:[A-Za-z]:[\\/])?[^\s:'\"(){}=<>]{1,300}):(.*)", re.DOTALL)
_CONTEXT = re.compile(r"\.\w{1,8}-\d{1,9}-")
_UNDER = re.compile(r"\d{1,9}[:\-]")
_BARE = re.compile(r"(\d{1,9})([:\-])")
_PATH = re.compile(r"[\w@+~.\-/\\ ]+")
_LETTER = re.compile(r"[^\W\d_]")
_DIGITS = re.compile(r"\d+")
_ALARM = re.compile(r"\b(?:error|fatal|panic|exception)\b", re.IGNORECASE)
LONG_LINE = 400
"""Characters of a match beyond which a shorter form shows only what is around the names asked about."""
SIDE = 120


class Match(NamedTuple):
    """One line of a search. `path` is "" where the search was of one file; `number` is "" where it gives none."""

    path: str
    number: str
    rest: str  # the line without its path: what stands under the path, number and all
    told: bool  # found, and not a line of context around what was found


def grouped(text: str) -> str | None:
    """The path once, then what followed it on each line, as `rg --heading` writes it; None where that is not shorter.

    Lines without a number stand under `path:` with one space before them. `ungrouped` gives the text back exactly, or
    there is no such form.
    """
    lines = text.split("\n")
    out: list[str] = []
    at, total = 0, len(lines)
    while at < total:
        path, sign, rest = _cut(lines[at])
        if not path:
            out.append(lines[at])
            at += 1
            continue
        group = [rest]
        end = at + 1
        while end < total:
            line = lines[end]
            if line.startswith(path) and (tail := _tail(line, path, numbered=bool(sign))) is not None:
                group.append(tail)
            elif sign and line == "--" and end + 1 < total and _tail(lines[end + 1], path, numbered=True) is not None:
                group.append(line)
            else:
                break
            end += 1
        if len(group) == 1:
            out.append(lines[at])
        else:
            out.append(path if sign else f"{path}:")
            out += group if sign else [f" {line}" for line in group]
        at = end
    form = "\n".join(out)
    return form if len(form) < len(text) and ungrouped(form) == text else None


def ungrouped(form: str) -> str:
    """What `grouped` made, as it was."""
    lines = form.split("\n")
    out: list[str] = []
    head, spaced = "", False
    for at, line in enumerate(lines):
        after = lines[at + 1] if at + 1 < len(lines) else ""
        if head and spaced and line.startswith(" "):
            out.append(f"{head}{line[1:]}")
        elif head and not spaced and (under := _UNDER.match(line)) is not None:
            out.append(f"{head}{under[0][-1]}{line}")
        elif head and not spaced and line == "--" and _UNDER.match(after):
            out.append(line)
        elif line and _UNDER.match(after) and not _UNDER.match(line) and _cut(line)[0] == "":
            head, spaced = line, False
        elif line.endswith(":") and after.startswith(" ") and not line.startswith(" "):
            head, spaced = line, True
        else:
            head = ""
            out.append(line)
    return "\n".join(out)


def _cut(line: str) -> tuple[str, str, str]:
    """Path, the sign after it if a number follows, and the rest; a path of "" where the line is no such line."""
    if (found := _FOUND.fullmatch(line)) is not None and _is_path(found[1]) and not _CONTEXT.search(found[1]):
        return found[1], ":", found[2]
    if (found := _BESIDE.fullmatch(line)) is not None and _is_path(found[1]):
        return found[1], "-", found[2]
    # An address goes on with "//", and a test's name with "::".
    if (found := _PLAIN.fullmatch(line)) is not None and _is_path(found[1]) and not found[2].startswith(("//", ":")):
        return found[1], "", found[2]
    return "", "", ""


def _tail(line: str, path: str, *, numbered: bool) -> str | None:
    """What follows the path on a line that may belong under it."""
    rest = line[len(path) :]
    if not numbered:
        return rest[1:] if rest.startswith(":") else None
    under = _UNDER.match(rest, 1)
    return rest[1:] if under is not None and rest[0] == under[0][-1] else None


def _is_path(said: str) -> bool:
    """Whether a tool that searches files could have written this before a line: no time of day, no key of a mapping."""
    said = said[2:] if said[1:2] == ":" else said
    if len(said) < 2 or _PATH.fullmatch(said) is None or _LETTER.search(said) is None:
        return False
    last = said.rpartition(" ")[2]
    return last == said or (not last.isdigit() and ("/" in said or "." in said or "\\" in said))


def _sniff(sample: Sample) -> float:
    lines = [line for line in sample.lines[:400] if line and line != "--"]
    if len(lines) < 3:
        return 0.0
    with_path = bare = told = 0
    last = jumps = 0
    rising = True
    signs: set[str] = set()
    for line in lines:
        path, sign, _ = _cut(line)
        if path:
            with_path += 1 if sign or "/" in path or "." in path else 0
            told += bool(sign)
        elif (number := _BARE.match(line)) is not None:
            bare += 1
            rising = rising and int(number[1]) > last
            jumps += last > 0 and int(number[1]) > last + 1
            last = int(number[1])
            signs.add(number[2])
    share = with_path / len(lines)
    if share >= 0.6 and (told >= 0.5 * with_path or _repeating(lines)):
        return 0.6 + 0.36 * share
    if bare >= 0.9 * len(lines) and rising and (jumps >= 2 or "--" in sample.lines):
        return 0.8 if "--" in sample.lines or len(signs) > 1 else 0.7
    return 0.0


def _repeating(lines: Sequence[str]) -> bool:
    """Whether lines without numbers name few paths: a search in files, and not a list of `key: value`."""
    paths = [path for line in lines if (path := _cut(line)[0])]
    return len(set(paths)) * 2 <= len(paths) and sum("/" in path or "." in path for path in paths) >= 0.9 * len(paths)


def _matches(lines: Sequence[str]) -> list[Match | str]:
    """Each line as a match, or as it is where it is none (a separator, a summary, an error)."""
    read: list[Match | str] = []
    for line in lines:
        path, sign, rest = _cut(line)
        if path and sign:
            read.append(Match(path, rest[: rest.index(sign)], rest, sign == ":"))
        elif path:
            read.append(Match(path, "", rest, True))
        elif (bare := _BARE.match(line)) is not None:
            read.append(Match("", bare[1], line, bare[2] == ":"))
        else:
            read.append(line)
    return read


def _reduced(text: str, ask: Ask, room: int, note: Note) -> Shorter | None:
    read = _matches(text.split("\n"))
    ask.in_time()
    found = [line for line in read if isinstance(line, Match)]
    if len(found) < 4:
        return None
    want = wanted(ask)
    others = [line for line in read if isinstance(line, str) and line not in {"", "--"}]
    files = list(dict.fromkeys(line.path for line in found))
    overhead = sum(len(line) + 1 for line in others) + 160
    overhead += sum(len(path) + 28 for path in files)
    if overhead > room and len(files) > 3:
        return _files_only(found, files, others, want, room, note)
    kept = _chosen(found, want, room - overhead)
    if len(kept) == len(found) and all(len(line.rest) <= LONG_LINE for line in found):
        return None
    left = f"{len(found) - len(kept):,} of {len(found):,} lines in {len(files):,} files" if len(files) > 1 else ""
    left = left or f"{len(found) - len(kept):,} of {len(found):,} lines"
    if len(kept) == len(found):
        left = f"parts of lines longer than {LONG_LINE} characters"
    out = [*_written(found, kept, files, want), *others, note(left)]
    return Shorter("\n".join(out), left)


def _chosen(found: Sequence[Match], want: Wanted, room: int) -> set[int]:
    """Indices of the lines to keep: asked about, then unlike those before (digits aside), then the first of each file,
    then the rest, all files in turn; lines of context after lines found.
    """
    seen_files: set[str] = set()
    seen_texts: set[str] = set()
    nth: dict[str, int] = {}
    ranked: list[tuple[int, int, int]] = []
    for at, line in enumerate(found):
        said = _DIGITS.sub("0", line.rest).strip()
        asked = want.weight(line.rest) >= 3 or (bool(line.number) and want.about(int(line.number), beside=0))
        new_file, new_text = line.path not in seen_files, said not in seen_texts
        seen_files.add(line.path)
        seen_texts.add(said)
        wrong = _ALARM.search(line.rest) is not None
        unlike = 1 if new_text and new_file else 2 if new_text else 3 if new_file else 4
        rank = (0 if asked or (wrong and new_text) else unlike) + 3 * (not line.told)
        nth[line.path] = turn = nth.get(line.path, 0) + 1
        ranked.append((rank, turn, at))
    kept: set[int] = set()
    for _, _, at in sorted(ranked):
        cost = min(len(found[at].rest), LONG_LINE) + 1
        if cost <= room:
            kept.add(at)
            room -= cost
    return kept


def _written(found: Sequence[Match], kept: set[int], files: Sequence[str], want: Wanted) -> Iterable[str]:
    """The lines kept under their path, in the order they were found; each path with the exact number it had."""
    by_file: dict[str, list[int]] = {path: [] for path in files}
    for at, line in enumerate(found):
        by_file[line.path].append(at)
    for path, all_of_it in by_file.items():
        shown = [at for at in all_of_it if at in kept]
        if path:
            yield path
        for at in shown:
            yield _clipped(found[at].rest, want)
        if len(shown) < len(all_of_it):
            yield mark(f"{len(all_of_it) - len(shown):,} more of {len(all_of_it):,} lines")


def _clipped(line: str, want: Wanted) -> str:
    """A line too long to show, cut around the first telling name in it; the cut is marked."""
    if len(line) <= LONG_LINE:
        return line
    low = line.lower()
    spots = [at for name in sorted(want.telling) if (at := low.find(name)) >= 0]
    first = max(min(spots, default=0) - SIDE, 0)
    first = 0 if first < SIDE else first
    last = min(first + LONG_LINE - SIDE, len(line))
    before = mark(f"{first:,} characters") + " " if first else ""
    after = " " + mark(f"{len(line) - last:,} characters") if last < len(line) else ""
    return f"{before}{line[first:last]}{after}"


def _files_only(
    found: Sequence[Match], files: Sequence[str], others: Sequence[str], want: Wanted, room: int, note: Note
) -> Shorter:
    """Each file with its number of lines, those asked about and those with most lines first in line for the room."""
    count: dict[str, int] = dict.fromkeys(files, 0)
    for line in found:
        count[line.path] += line.told
    ranked = sorted(files, key=lambda path: (-want.weight(path), -count[path]))
    kept: set[str] = set()
    left = room - 200
    for path in ranked:
        cost = len(path) + 12
        if cost <= left:
            kept.add(path)
            left -= cost
    said = f"the lines found, {len(found):,} in {len(files):,} files"
    missing = len(files) - len(kept)
    out = [*others, *(f"{path} {mark(f'{count[path]:,} found')}" for path in files if path in kept)]
    if missing:
        out.append(mark(f"{missing:,} more files"))
    return Shorter("\n".join([*out, note(said)]), said)


CODEC = Codec(
    kind="search",
    sniff=_sniff,
    lossless=grouped,
    reduced=_reduced,
    guarantees=(
        "The form without loss gives the text back exactly.",
        "Every line kept is verbatim under its own path and number.",
        "Counts are those of the text.",
        "A line that names what was asked about is kept before any other.",
    ),
)
