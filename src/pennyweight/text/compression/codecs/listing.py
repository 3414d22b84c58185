"""Lists of files (find, ls, tree, git ls-files, globs): what every line repeats is said once.

Three shapes, each with a form that gives the text back exactly: paths (the folder once, names under it with one space
before them), `ls -l` (columns that are the same on every line said once), `tree` (depth as spaces instead of lines).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from ..asked import Wanted, wanted
from ..gaps import mark
from ..shape import Ask, Codec, Note, Sample, Shorter

__all__ = ["CODEC", "columns_once", "columns_restored", "drawn", "foldered", "undrawn", "unfoldered"]

_PATH = re.compile(r"(?:[A-Za-z]:)?[\w@+~.,#%&=()\[\]$\-/\\ {}']{1,400}")
_LONG = re.compile(
    r"([bcdlpsD\-][rwxsStT\-]{9}[.+@]?) +(\d+) +(\S+) +(\S+) +([\d,.]+[KMGTP]?|\d+, *\d+)"
    r" +([A-Z][a-z]{2} [ \d]\d|\d{4}-\d\d-\d\d) +(\d\d:\d\d(?::\d\d\.\d+ [+\-]\d{4})?|\d{4}) (.+)"
)
_COLUMNS = ("mode", "links", "owner", "group", "size", "day", "clock")
_DOS = re.compile(
    r"(?:\d\d[/.\-]\d\d[/.\-]\d{4}|\d{4}-\d\d-\d\d) +\d\d:\d\d(?: [AP]M)? +"
    r"(<(?:DIR|JUNCTION|SYMLINKD?)>|[\d,.\xa0]+) +(\S[^\r]*)\r?"
)
_DOS_FOLDER = re.compile(r" Directory of (\S[^\r]*)\r?")
_TREE = re.compile("(?P<drawn>(?:│\\s{3}|\\s{4}|\\|   )*)(?:├──|└──|\\|--|`--)[ \xa0](?P<name>.*)")
_TOTAL = re.compile(r"total [\d.,]+[KMGTP]?")
_HEAD = re.compile(r"\[every entry: (.*)\]")
_STATUS = re.compile(r"(?:(?:[MADRCU?!][ MADRCU?!]| [MADRCU?!]) |\t(?:modified|new file|deleted|renamed): +)\S")
_NAME = re.compile(r"[\w@+~.\-]{1,255}")
_EXTENSION = re.compile(r"\.([A-Za-z][\w+\-]{0,11})$")
_LETTER = re.compile(r"[^\W\d_]")
BARE_NAMES = 12
"""Lines of one name each, with neither folder nor extension, from which they are taken for a list of files."""
RARE = 3
"""Files of one extension in a folder, at or below which each is named however little room there is."""


def foldered(text: str) -> str | None:
    """The folder once, ending in `/`, and the names in it under it; None where that is not shorter."""
    lines = text.split("\n")
    out: list[str] = []
    at, total = 0, len(lines)
    while at < total:
        folder = _folder(lines[at])
        end = at + 1
        while folder and end < total and _folder(lines[end]) == folder:
            end += 1
        if end - at > 1:
            out.append(folder)
            out += [f" {line[len(folder) :]}" for line in lines[at:end]]
        else:
            out.append(lines[at])
        at = end
    form = "\n".join(out)
    return form if len(form) < len(text) and unfoldered(form) == text else None


def unfoldered(form: str) -> str:
    lines = form.split("\n")
    out: list[str] = []
    folder = ""
    for at, line in enumerate(lines):
        if folder and line.startswith(" "):
            out.append(folder + line[1:])
        elif line.endswith(("/", "\\")) and at + 1 < len(lines) and lines[at + 1].startswith(" "):
            folder = line
        else:
            folder = ""
            out.append(line)
    return "\n".join(out)


def _folder(line: str) -> str:
    """The folder of a path with a name in it, its last separator included; "" where the line is no such path."""
    cut = max(line.rfind("/", 0, -1), line.rfind("\\", 0, -1))
    return line[: cut + 1] if cut >= 2 and line[0] not in " \t" and _PATH.fullmatch(line) else ""


def columns_once(text: str) -> str | None:
    """`ls -l` without the columns that are the same in all entries, which a line above says; None if not shorter."""
    lines = text.split("\n")
    rows = [(at, found.groups()) for at, line in enumerate(lines) if (found := _LONG.fullmatch(line)) is not None]
    if len(rows) < 2:
        return None
    first = rows[0][1]
    same = [all(row[column] == first[column] for _, row in rows) for column in range(len(_COLUMNS))]
    out = list(lines)
    for at, row in rows:
        out[at] = " ".join([*(row[column] for column in range(len(_COLUMNS)) if not same[column]), row[-1]])
    said = ", ".join(f"{name} {first[at]}" for at, name in enumerate(_COLUMNS) if same[at])
    out.insert(rows[0][0], f"[every entry: {said}]")
    form = "\n".join(out)
    return form if len(form) < len(text) and columns_restored(form) == text else None


def columns_restored(form: str) -> str:
    """What `columns_once` made, as it was: columns said once are put back, and aligned as `ls` does in each block."""
    out: list[str] = []
    block: list[list[str]] = []
    same: dict[str, str] = {}
    for line in form.split("\n"):
        if not same and (head := _HEAD.fullmatch(line)) is not None:
            parts = (part.partition(" ") for part in head[1].split(", "))
            same = {name: value for name, _, value in parts if name in _COLUMNS}
            continue
        if same and (row := _row(line, same)) is not None:
            block.append(row)
            continue
        out += _aligned(block)
        block = []
        out.append(line)
    return "\n".join([*out, *_aligned(block)])


def _row(line: str, same: dict[str, str]) -> list[str] | None:
    """The columns of an entry with those said once put back, its name last; None where the line is no entry."""
    row: list[str] = []
    rest = line
    for name in _COLUMNS:
        if name in same:
            row.append(same[name])
            continue
        two_words = rest[:1].isalpha() if name == "day" else name == "clock" and rest[5:6] == ":"
        value = ""
        for nth in range(1 + two_words):
            pad = rest[: len(rest) - len(rest.lstrip(" "))]
            word, sign, rest = rest[len(pad) :].partition(" ")
            if not sign:
                return None
            value += f" {pad}{word}" if nth else word
        row.append(value)
    return [*row, rest] if _LONG.fullmatch(" ".join([*row, rest])) else None


def _aligned(block: Sequence[Sequence[str]]) -> Iterable[str]:
    """The entries of one block as `ls` writes them: names to the left, numbers to the right."""
    widths = [max(len(row[at]) for row in block) for at in range(len(_COLUMNS))] if block else []
    for row in block:
        mode, links, owner, group, size, day, clock = (
            row[at].rjust(widths[at]) if at in (1, 4, 6) else row[at].ljust(widths[at]) for at in range(len(_COLUMNS))
        )
        yield f"{mode} {links} {owner} {group} {size} {day} {clock} {row[-1]}"


def undrawn(text: str) -> str | None:
    """A tree's lines of box characters as one space a level; None where that is not shorter or cannot be undone."""
    out: list[str] = []
    for line in text.split("\n"):
        found = _TREE.fullmatch(line)
        out.append(" " * (len(found["drawn"]) // 4 + 1) + found["name"] if found is not None else line)
    form = "\n".join(out)
    return form if len(form) < len(text) and any(drawn(form, style) == text for style in _STYLES) else None


_STYLES = (("│\xa0\xa0 ", "├── ", "└── "), ("│   ", "├── ", "└── "), ("|   ", "|-- ", "`-- "))
"""How `tree` draws: the way past an entry with more to come, an entry, the last entry."""


def drawn(form: str, style: tuple[str, str, str]) -> str:
    """What `undrawn` made of a tree drawn in that style, as it was."""
    lines = form.split("\n")
    depths = [len(line) - len(line.lstrip(" ")) for line in lines]
    out = list(lines)
    more: set[int] = set()
    for at in range(len(lines) - 1, -1, -1):
        depth = depths[at]
        more = {level for level in more if level <= depth}
        if not depth:
            continue
        way = "".join(style[0] if level in more else "    " for level in range(1, depth))
        out[at] = way + (style[1] if depth in more else style[2]) + lines[at][depth:]
        more.add(depth)
    return "\n".join(out)


def _lossless(text: str) -> str | None:
    forms = [form for form in (foldered(text), columns_once(text), undrawn(text)) if form is not None]
    return min(forms, key=len, default=None)


def _sniff(sample: Sample) -> float:
    lines = [line for line in sample.lines[:400] if line.strip()]
    if len(lines) < 4:
        return 0.0
    if len(sample.head) < sample.length:
        lines = lines[:-1]
    total = len(lines)
    long = sum(_LONG.fullmatch(line) is not None for line in lines)
    tree = sum(_TREE.fullmatch(line) is not None for line in lines)
    status = sum(_STATUS.match(line) is not None for line in lines)
    paths = sum(_is_path(line) for line in lines)
    dos = sum(_DOS.fullmatch(line) is not None for line in lines)
    share = max(long, tree, status, paths, dos) / total
    if share >= 0.7:
        return 0.6 + 0.36 * share
    names = sum(
        len(line) <= 48 and _NAME.fullmatch(line) is not None and _LETTER.search(line) is not None for line in lines
    )
    return 0.6 if total >= BARE_NAMES and names >= 0.95 * total and len(set(lines)) > 0.9 * total else 0.0


def _is_path(line: str) -> bool:
    """A path and nothing else on the line: with a separator, without the spaces of a sentence."""
    if "/" not in line and "\\" not in line:
        return _NAME.fullmatch(line) is not None and _EXTENSION.search(line) is not None
    if "://" in line or line.count(" ") > 2 or line[0] in " \t#*<{[\"'" or line.endswith((";", ",", "{", ")")):
        return False
    return _PATH.fullmatch(line[:-1] if line.endswith(":") else line) is not None


def _reduced(text: str, ask: Ask, room: int, note: Note) -> Shorter | None:
    entries, others = _entries(text.split("\n"))
    ask.in_time()
    if len(entries) < 12:
        return None
    want = wanted(ask)
    folders: dict[str, dict[str, list[int]]] = {}
    for at, (folder, name) in enumerate(entries):
        folders.setdefault(folder, {}).setdefault(_extension(name), []).append(at)
    shown = _shown(entries, folders, want, room - 160 - sum(len(line) + 1 for line in others))
    if len(shown) == len(entries):
        return None
    out = list(others)
    for folder, kinds in folders.items():
        out += _folder_lines(folder, kinds, entries, shown)
    said = f"{len(entries) - len(shown):,} of {len(entries):,} names"
    form = "\n".join([*out, note(said)])
    if len(form) > max(room, 400) * 2:
        asked = [folder + name for folder, name in (entries[at] for at in sorted(shown)) if want.weight(name)]
        said = f"{len(entries) - len(asked):,} of {len(entries):,} names"
        form = "\n".join([*others, *asked, *_top(entries, room), note(said)])
    return Shorter(form, said)


def _entries(lines: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """(folder, name) of every line that is an entry, and the lines that are not (totals, errors)."""
    entries: list[tuple[str, str]] = []
    others: list[str] = []
    stack: list[str] = []
    inside = ""
    for line in lines:
        if not line.strip() or _TOTAL.fullmatch(line):
            continue
        if (long := _LONG.fullmatch(line)) is not None:
            if long[8] not in {".", ".."}:
                entries.append((inside, long[8] + ("/" if long[1][0] == "d" else "")))
        elif (dos := _DOS.fullmatch(line)) is not None:
            if (name := dos[2].rstrip()) not in {".", ".."}:
                entries.append((inside, name + ("\\" if dos[1].startswith("<") else "")))
        elif (folder_of := _DOS_FOLDER.fullmatch(line)) is not None:
            inside = folder_of[1].rstrip(" \\") + "\\"
        elif (tree := _TREE.fullmatch(line)) is not None:
            depth = len(tree["drawn"]) // 4
            stack[depth:] = [tree["name"]]
            entries.append(("".join(f"{part.rstrip('/')}/" for part in stack[:depth]), tree["name"]))
        elif line.endswith(":") and _is_path(line):
            inside = line[:-1].rstrip("/") + "/"
        elif folder := _folder(line):
            entries.append((folder, line[len(folder) :]))
        elif _is_path(line) or (inside and line[0] != " "):
            entries.append((inside, line))
        else:
            others.append(line)
    return entries, others


def _extension(name: str) -> str:
    if name.endswith(("/", "\\")):
        return "/"
    found = _EXTENSION.search(name)
    return found[1].lower() if found is not None else ""


def _shown(
    entries: Sequence[tuple[str, str]], folders: dict[str, dict[str, list[int]]], want: Wanted, room: int
) -> set[int]:
    """Which are kept: asked about, of rare extensions, the first of each kind, then as many as there is room for."""
    seen = Counter(_extension(name) for _, name in entries)
    for_asked = room // 2
    ranked: list[tuple[int, int, int]] = []
    for folder, kinds in folders.items():
        folder_asked = want.weight(folder) >= 3
        room -= len(folder) + 24 * len(kinds)
        for extension, members in kinds.items():
            rare = seen[extension] <= RARE
            for nth, at in enumerate(members):
                asked = folder_asked or want.weight(entries[at][1]) >= 1
                ranked.append((0 if asked else 1 if rare else 2 if nth < RARE else 3, nth, at))
    shown: set[int] = set()
    for rank, _, at in sorted(ranked):
        cost = len(entries[at][1]) + 2
        if cost <= (max(room, for_asked) if rank == 0 else room):
            shown.add(at)
            room -= cost
            for_asked -= cost
    return shown


def _folder_lines(
    folder: str, kinds: dict[str, list[int]], entries: Sequence[tuple[str, str]], shown: set[int]
) -> Iterable[str]:
    """A folder, the names kept in it in their order, and per extension how many are not."""
    if folder:
        yield folder
    for at in sorted(at for members in kinds.values() for at in members):
        if at in shown:
            yield f" {entries[at][1]}" if folder else entries[at][1]
    rest: list[str] = []
    for extension, members in kinds.items():
        if missing := sum(at not in shown for at in members):
            rest.append(f"{missing:,} more {_kind(extension)}")
    if rest:
        yield mark(", ".join(rest))


def _top(entries: Sequence[tuple[str, str]], room: int) -> Iterable[str]:
    """Counts by extension of the folders, as deep as there is room for, when even their names are too many."""
    inside: dict[str, Counter[str]] = {}
    for depth in range(8, 0, -1):
        inside = {}
        for folder, name in entries:
            parts = folder.split("/")
            inside.setdefault("/".join(parts[:depth]), Counter())[_extension(name)] += 1
        if len(inside) * 60 <= room:
            break
    for folder, kinds in list(inside.items())[: max(room // 60, 8)]:
        counts = ", ".join(f"{number:,} {_kind(extension)}" for extension, number in kinds.most_common(4))
        yield f"{folder} {mark(f'{kinds.total():,} names: {counts}')}"
    if (missing := len(inside) - max(room // 60, 8)) > 0:
        yield mark(f"{missing:,} more folders")


def _kind(extension: str) -> str:
    return "folders" if extension == "/" else f".{extension}" if extension else "without extension"


CODEC = Codec(
    kind="listing",
    sniff=_sniff,
    lossless=_lossless,
    reduced=_reduced,
    guarantees=(
        "The form without loss gives the text back exactly.",
        "Every name kept is verbatim under its own folder.",
        "Counts are those of the text.",
        "Names asked about and names of rare extensions are kept before any other.",
    ),
)
