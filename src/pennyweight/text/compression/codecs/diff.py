"""Diffs: a hunk is whole or it is left out, and what is left out is counted.

Files asked about stay whole. Of the others the hunks of generated and lock files go first, then the longest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from ..asked import Wanted, wanted
from ..gaps import mark
from ..shape import Ask, Codec, Note, Sample, Shorter

__all__ = ["CODEC", "headed", "unheaded"]

_FILE = re.compile(r"diff --(?:git|cc|combined) |Index: |diff -\S+ |diff \S+ \S+$|Only in |Binary files ")
_OLD = re.compile(r"(?:---|\*\*\*) (?!\d+(?:,\d+)? \*{4}$)\S")
_NEW = re.compile(r"(?:\+\+\+|---) (?!\d+(?:,\d+)? -{4}$)\S")
_UNIFIED = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_PLAIN = re.compile(r"\d+(?:,\d+)?[acd]\d+(?:,\d+)?$")
_HUNK = re.compile(r"@@@* -\d+(?:,\d+)? .*@@|\*{15}|\d+(?:,\d+)?[acd]\d+(?:,\d+)?$")
_GENERATED = re.compile(
    r"(?:^|/)(?:package-lock\.json|npm-shrinkwrap\.json|yarn\.lock|pnpm-lock\.yaml|bun\.lockb?|go\.sum|[\w.\-]+\.lock|flake\.lock)$"
    r"|\.min\.(?:js|css)$|\.(?:map|snap|svg|pb\.go|g\.dart)$|_pb2(?:_grpc)?\.py$|(?:^|/)(?:dist|build|vendor|node_modules|generated)/"
)
_EXTENDED = (
    "diff --git ",
    "new file mode",
    "deleted file mode",
    "similarity",
    "rename",
    "copy",
    "old mode",
    "new mode",
)
_GIT = re.compile(r"diff --git a/(.+) b/(.+)")
_PATH = re.compile(r"(?:\+\+\+|---|\*\*\*|Index:) (?:[ab]/)?([^\t\n]+?)(?:\s+\d{4}-\d\d-\d\d.*|\t.*)?$")


INTRO_CHARS = 800
"""Of a commit's message that a list of files keeps."""


class Hunk(msgspec.Struct, frozen=True):
    """`first` to `last`: indices of its lines, both ends meant."""

    first: int
    last: int
    added: int
    removed: int


class File(msgspec.Struct):
    """One file of a diff. `head`: of how many lines what stands before its first hunk is, from `first` on."""

    first: int
    head: int
    path: str
    hunks: list[Hunk]

    @property
    def generated(self) -> bool:
        return _GENERATED.search(self.path) is not None

    @property
    def changed(self) -> tuple[int, int]:
        return sum(hunk.added for hunk in self.hunks), sum(hunk.removed for hunk in self.hunks)


def unheaded(text: str) -> str | None:
    """A git diff without the line `diff --git a/P b/P` where the two lines below say the same; None if not shorter."""
    lines = text.split("\n")
    out = [line for at, line in enumerate(lines) if not _said_below(lines, at)]
    form = "\n".join(out)
    return form if len(form) < len(text) and headed(form) == text else None


def headed(form: str) -> str:
    """What `unheaded` made, as it was."""
    lines = form.split("\n")
    out: list[str] = []
    for at, line in enumerate(lines):
        below = at + 1 if line.startswith("index ") else at
        after_index = below == at and at > 0 and lines[at - 1].startswith("index ")
        if (path := _pair(lines, below)) and not after_index and not _says_more(lines, at - 1):
            out.append(f"diff --git a/{path} b/{path}")
        out.append(line)
    return "\n".join(out)


def _says_more(lines: Sequence[str], at: int) -> bool:
    """Whether a line is one of those that git puts between the first line of a file and its paths."""
    return at >= 0 and lines[at].startswith(_EXTENDED)


def _said_below(lines: Sequence[str], at: int) -> bool:
    found = _GIT.fullmatch(lines[at])
    if found is None or found[1] != found[2] or at + 1 >= len(lines) or _says_more(lines, at - 1):
        return False
    below = at + 2 if lines[at + 1].startswith("index ") else at + 1
    return _pair(lines, below) == found[1]


def _pair(lines: Sequence[str], at: int) -> str:
    """The path of `--- a/P` and `+++ b/P` at these lines; "" where they are not such a pair."""
    if at + 1 < len(lines) and lines[at].startswith("--- a/") and lines[at + 1].startswith("+++ b/"):
        path = lines[at][6:]
        return path if lines[at + 1][6:] == path else ""
    return ""


def _sniff(sample: Sample) -> float:
    hunks = starts = changes = filled = 0
    lines = sample.lines
    for at, line in enumerate(lines):
        filled += bool(line)
        hunks += _HUNK.match(line) is not None
        changes += line[:1] in {"+", "-", " ", "!", "<", ">"}
        starts += _FILE.match(line) is not None or (
            _OLD.match(line) is not None and at + 1 < len(lines) and _NEW.match(lines[at + 1]) is not None
        )
    if not hunks or changes < 0.3 * filled:
        return 0.0
    if starts:
        return 0.97
    plain = sum(_PLAIN.match(line) is not None for line in lines)
    return 0.7 if hunks > plain or (plain >= 2 and changes > 0.6 * filled) else 0.0


def _files(lines: Sequence[str]) -> list[File]:
    """The files of a diff; what stands before the first, or between two (a commit's message), heads the next one."""
    reader = _Reader(lines)
    for at in range(len(lines)):
        reader.take(at)
    return reader.files


class _Reader:
    """One pass over the lines. A unified hunk says how many lines it has, so nothing in it is taken for a head."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines
        self.files = [File(0, 0, "", [])]
        self.inside = False  # in a hunk
        self.old = self.new = 0  # lines of a unified hunk still to come
        self.counted = False  # whether the hunk said how many lines it has

    def take(self, at: int) -> None:
        line, file = self.lines[at], self.files[-1]
        if self.old > 0 or self.new > 0:
            self._hunk_line(file, line, at)
        elif _HUNK.match(line):
            file.hunks.append(Hunk(at, at, 0, 0))
            self.inside = True
            unified = _UNIFIED.match(line)
            self.counted = unified is not None
            self.old, self.new = (int(part or 1) for part in unified.groups()) if unified is not None else (0, 0)
        elif self.inside and not self._heads(at) and (not self.counted or not line or line[0] == "\\"):
            self._hunk_line(file, line, at)
        else:
            if self.inside:
                self.inside = False
                file = File(at, 0, "", [])
                self.files.append(file)
            file.head = at + 1 - file.first
            if (path := _PATH.match(line)) is not None and path[1] != "/dev/null":
                file.path = path[1]
            elif (git := _GIT.fullmatch(line)) is not None:
                if file.path:  # a file without hunks: renamed, or binary
                    file.head -= 1
                    file = File(at, 1, "", [])
                    self.files.append(file)
                file.path = git[2]

    def _heads(self, at: int) -> bool:
        """Whether a file begins at a line."""
        line = self.lines[at]
        if _FILE.match(line):
            return True
        return _OLD.match(line) is not None and at + 1 < len(self.lines) and _NEW.match(self.lines[at + 1]) is not None

    def _hunk_line(self, file: File, line: str, at: int) -> None:
        hunk = file.hunks[-1]
        sign = line[:1]
        added, removed = sign in {"+", ">", "!"}, sign in {"-", "<", "!"}
        if self.counted:
            self.old -= sign in {"-", " ", ""}
            self.new -= sign in {"+", " ", ""}
        elif line == "---" or (sign in {"-", "*"} and line.endswith((" ----", " ****"))):
            added = removed = False
        file.hunks[-1] = Hunk(hunk.first, at, hunk.added + added, hunk.removed + removed)


def _reduced(text: str, ask: Ask, room: int, note: Note) -> Shorter | None:
    lines = text.split("\n")
    files = _files(lines)
    ask.in_time()
    hunks = [(file, hunk) for file in files for hunk in file.hunks]
    if len(hunks) < 2:
        return None
    want = wanted(ask)
    heads = sum(len(line) + 1 for file in files for line in lines[file.first : file.first + file.head])
    if heads + 40 * len(files) > room:
        return _list(lines, files, want, room, note)
    kept = _chosen(lines, files, want, room - heads - 160)
    missing = [hunk for _, hunk in hunks if hunk.first not in kept]
    if not missing:
        return None
    said = f"{len(missing):,} of {len(hunks):,} hunks ({_counts(missing)})"
    out: list[str] = []
    for file in files:
        out += _written(lines, file, kept)
    return Shorter("\n".join([*out, note(said)]), said)


def _chosen(lines: Sequence[str], files: Sequence[File], want: Wanted, room: int) -> set[int]:
    """The first lines of the hunks to keep: of files asked about, that name what is asked about, then by length."""
    ranked: list[tuple[int, int, int]] = []
    for file in files:
        asked = bool(want.telling & _names(file.path))
        for hunk in file.hunks:
            text = "\n".join(lines[hunk.first : hunk.last + 1])
            rank = 0 if asked else 3 if file.generated else 1 if want.weight(text) >= 3 else 2
            ranked.append((rank, len(text) + 1, hunk.first))
    kept: set[int] = set()
    for rank, size, first in sorted(ranked):
        if size <= room or rank == 0:
            kept.add(first)
            room -= size
    return kept


def _names(path: str) -> set[str]:
    low = path.lower()
    return {low, low.rpartition("/")[2], low.rpartition("/")[2].partition(".")[0]}


def _written(lines: Sequence[str], file: File, kept: set[int]) -> Iterable[str]:
    """A file's head, the hunks kept, and a mark for each run of hunks that is not."""
    yield from lines[file.first : file.first + file.head]
    run: list[Hunk] = []
    for hunk in file.hunks:
        if hunk.first not in kept:
            run.append(hunk)
            continue
        if run:
            yield _mark(run)
        run = []
        yield from lines[hunk.first : hunk.last + 1]
    if run:
        yield _mark(run)


def _mark(run: Sequence[Hunk]) -> str:
    return mark(f"{len(run):,} {'hunk' if len(run) == 1 else 'hunks'}: {_counts(run)}")


def _counts(hunks: Iterable[Hunk]) -> str:
    added = removed = 0
    for hunk in hunks:
        added += hunk.added
        removed += hunk.removed
    return f"+{added:,} -{removed:,} lines"


def _list(lines: Sequence[str], files: Sequence[File], want: Wanted, room: int, note: Note) -> Shorter:
    """Files with their counts, and the whole of those that are asked about."""
    ranked = sorted(
        range(len(files)),
        key=lambda at: (not want.telling & _names(files[at].path), files[at].generated, -sum(files[at].changed)),
    )
    shown: dict[int, list[str]] = {}
    entire: set[int] = set()
    left = room - 200
    for at in ranked:
        file = files[at]
        end = files[at + 1].first if at + 1 < len(files) else len(lines)
        whole = list(lines[file.first : end])
        asked = bool(want.telling & _names(file.path))
        line = [f"{file.path} {_mark(file.hunks)}"] if file.hunks else whole[:1]
        if (said_before := _before(whole)) and sum(map(len, said_before)) <= INTRO_CHARS:
            line = [*said_before, *line]
        said = whole if asked and sum(map(len, whole)) + len(whole) <= left else line
        cost = sum(len(part) + 1 for part in said)
        if cost <= left:
            shown[at] = said
            left -= cost
            if said is whole:
                entire.add(at)
    gone = [file for at, file in enumerate(files) if at not in entire and file.hunks]
    out = [line for at in sorted(shown) for line in shown[at]]
    if len(shown) < len(files):
        rest = [hunk for at, file in enumerate(files) if at not in shown for hunk in file.hunks]
        out.append(mark(f"{len(files) - len(shown):,} more files: {_counts(rest)}"))
    missing = f"the hunks of {len(gone):,} files ({_counts(hunk for file in gone for hunk in file.hunks)})"
    return Shorter("\n".join([*out, note(missing)]), missing)


def _before(whole: Sequence[str]) -> list[str]:
    """What stands before the diff of a file itself: the commit and its message."""
    end = next((at for at, line in enumerate(whole) if _FILE.match(line) or _OLD.match(line)), 0)
    return list(whole[:end])


CODEC = Codec(
    kind="diff",
    sniff=_sniff,
    lossless=unheaded,
    reduced=_reduced,
    guarantees=(
        "The form without loss gives the text back exactly.",
        "A hunk is whole or left out.",
        "Counts of lines added and removed are those of the text.",
        "Files asked about are whole.",
    ),
)
