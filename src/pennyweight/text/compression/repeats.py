"""What a result repeats of earlier ones that the reader still has before it: a note in place of the lines.

Works by lines, wherever they stand and whatever wraps them: a re-read after an edit keeps the lines that changed, a
poll of a log its new ones. A note names the earlier result and the lines in it; it stands for lines that are there
verbatim, never for another note. `expanded` is the exact inverse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from .numbering import AS_IT_WAS, NUMBER, PREFIX, Change, bare_of, number_of, prefixes, shifted

__all__ = ["Earlier", "Folded", "Index", "expanded", "folded", "is_note", "leans", "whole"]

LEAST_LINES, LEAST_GAIN_CHARS = 3, 40
INSIDE_GAIN_CHARS = 80
"""What a note that is neither the first nor the last of a text must save: of a text in pieces little can be named."""

LONG_RUN_CHARS = 120
"""Fewer than three lines are worth a note where they are as long as this."""

LEAST_SHARE = 0.04
"""Of a text that must be saved: else it is better read as it is."""

CANDIDATES = 12
"""Places of one line that are tried: of what is everywhere, the newest do."""

SOURCE_CHARS = 4_000_000
"""Of earlier results, the first so many characters are looked at."""

_OPENING, _OWN = "[again: ", "this text"
_NOTE = re.compile(
    r"\[again: (?:lines? (?P<first>\d+)(?:-(?P<last>\d+))?(?:, (?:numbers (?P<shift>[+-]\d+)"
    rf"|(?:numbered|(?P<bare>without numbers)) from (?P<prefix>{PREFIX})),?)?|(?P<whole>all))"
    r"(?: of (?:(?P<own>this text)|(?P<name>[^\[\]\"\\\r\n]{1,240})))?\]"
)
_BREAK = re.compile(r"\r?\n")
_BREAK_OR_ESCAPE = re.compile(r"\r?\n|\\+n")


class Earlier(msgspec.Struct, frozen=True):
    """A result that stands in the request. `name`: what a reader knows it by; no other has it. `text`: as it is sent.
    `whole`: its text as the tool gave it, where all of that can be read from what is sent."""

    name: str
    text: str
    whole: str | None = None


class Folded(msgspec.Struct, frozen=True):
    """A text with notes in it. `notes`: how many. `chars`: of the text that they stand for."""

    text: str
    notes: int
    chars: int


class _Lines(msgspec.Struct, frozen=True):
    """The lines of a text, and what ends each: a line feed, its escape within JSON, or nothing at the end. `inside`:
    they are those of JSON strings, so that the first and the last line hold what stands around them."""

    texts: list[str]
    ends: list[str]
    inside: bool = False

    def run(self, start: int, stop: int) -> str:
        """Lines start to stop - 1, without what ends the last."""
        pieces: list[str] = []
        for at in range(start, stop - 1):
            pieces += (self.texts[at], self.ends[at])
        pieces.append(self.texts[stop - 1])
        return "".join(pieces)


def is_note(line: str) -> bool:
    """Whether something in it reads like a note of ours."""
    return _OPENING in line


def leans(text: str) -> bool:
    """Whether notes stand in it for lines of other texts."""
    return any(not match["own"] for match in _NOTE.finditer(text) if match["own"] or match["name"])


def whole(text: str, earlier: Sequence[Earlier]) -> str | None:
    """The note for a text that is, as a whole, an earlier result; None: it is none. In JSON it stays JSON."""
    for source in reversed(earlier):
        if text in (source.whole, source.text) and text and _nameable(source.name) and not is_note(source.text):
            note = f"{_OPENING}all of {source.name}]"
            return f'"{note}"' if text.lstrip()[:1] in ("{", "[", '"') else note
    return None


def folded(
    text: str, earlier: Sequence[Earlier] | Index, *, within: Sequence[tuple[int, int]] | None = None
) -> Folded | None:
    """The text with notes for what it repeats, of `earlier` and of itself; None where that is not worth it.

    Lines count as repeated, too, where the numbers before them have moved, have come or have gone.

    within: notes stand only for lines in these ranges, first to last but one, in order. Never for a text in which
    something reads like a note: what comes out can always be told apart from what went in.
    """
    if is_note(text) or not LEAST_GAIN_CHARS <= len(text) <= SOURCE_CHARS:
        return None
    index = earlier if isinstance(earlier, Index) else Index(earlier)
    lines = _lines(text)
    json = _was_json(text)
    best: Folded | None = None
    for own in (True, False):
        found = _Folding(lines, index, own=own, within=within).run()
        if found is None or len(found.text) > (1 - LEAST_SHARE) * len(text):
            continue
        if best is not None and len(best.text) <= len(found.text):
            continue
        if (not json or _is_json(found.text)) and _stands_for(found.text, index, text):
            best = found
    return best


def _stands_for(form: str, index: Index, text: str) -> bool:
    """Whether a form gives back its text: with its own lines gone, what ends a line may be told otherwise in it."""
    try:
        return _filled_in(form, index.lines_of) == text
    except ValueError:
        return False


def expanded(form: str, earlier: Sequence[Earlier]) -> str:
    """The text that a form made by `folded` or `whole` stands for. Raises ValueError for a note that names nothing."""
    by_name = {source.name: source for source in earlier}
    bare = form[1:-1] if form[:1] == form[-1:] == '"' else form
    if (match := _NOTE.fullmatch(bare)) and match["whole"]:
        source = by_name.get(match["name"] or "")
        if source is None:
            raise ValueError("a note names a result that is not there")
        return source.text if source.whole is None else source.whole
    return _filled_in(form, lambda name: _lines(by_name[name].text) if name in by_name else None)


def _filled_in(form: str, lines_of: Callable[[str], _Lines | None]) -> str:
    own = _lines(form)
    split: dict[str, _Lines | None] = {}
    last = ""

    def stands_for(match: re.Match[str]) -> str:
        nonlocal last
        last = match["own"] or match["name"] or last
        if last not in split:
            split[last] = own if last == _OWN else lines_of(last)
        lines = split[last]
        if lines is None:
            raise ValueError("a note names a result that is not there")
        first = int(match["first"] or 0)
        final = int(match["last"] or first)
        if match["whole"] or not 0 < first <= final <= len(lines.texts):
            raise ValueError("a note names lines that are not there")
        change = Change(int(match["shift"] or 0), match["prefix"] or "", bool(match["bare"]))
        return _renumbered(lines, first - 1, final, change)

    return _NOTE.sub(stands_for, form)


# --- lines --------------------------------------------------------------------------------------------------


def _lines(text: str) -> _Lines:
    """Where a text is hardly anything but JSON strings, its lines are those in the strings."""
    inside = text.count("\\n") > 4 * text.count("\n")
    pattern = _BREAK_OR_ESCAPE if inside else _BREAK
    texts: list[str] = []
    ends: list[str] = []
    at = 0
    for match in pattern.finditer(text):
        texts.append(text[at : match.start()])
        ends.append(match[0])
        at = match.end()
    texts.append(text[at:])
    ends.append("")
    return _Lines(texts, ends, inside)


def _renumbered(lines: _Lines, start: int, stop: int, change: Change) -> str:
    if not change:
        return lines.run(start, stop)
    moved = [change.of(line, at) for at, line in enumerate(lines.texts[start:stop])]
    if None in moved:
        raise ValueError("a note names numbers that are not there")
    return _Lines([line for line in moved if line is not None], lines.ends[start:stop]).run(0, stop - start)


# --- finding runs -------------------------------------------------------------------------------------------

_Places = dict[str, list[tuple[int, int]]]


class Index:
    """Where the lines of earlier results stand. Grows with a conversation: each result is gone over once.

    base: another one to which this adds, and which must not grow any more.
    """

    def __init__(self, earlier: Iterable[Earlier] = (), *, base: Index | None = None) -> None:
        self.chars = 0
        self._base = base
        self._first: int = base.count if base is not None else 0  # the number of our first source
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._lines: list[_Lines] = []
        self._places: _Places = {}
        for source in earlier:
            self.add(source)

    @property
    def count(self) -> int:
        return self._first + len(self._names)

    def add(self, source: Earlier) -> None:
        """Take up one more; one that could not be named in a note, or for which there is no room, is left out."""
        if not _nameable(source.name) or self.lines_of(source.name) or self.chars + len(source.text) > SOURCE_CHARS:
            return
        number = self._numbers[source.name] = self.count
        lines = _lines(source.text)
        self._names.append(source.name)
        self._lines.append(lines)
        self.chars += len(source.text)
        for at, line in enumerate(lines.texts):
            if line and not is_note(line):
                self._put(line, number, at)
                bare = bare_of(line)
                if bare is not line:
                    self._put(bare, number, at)

    def _put(self, line: str, number: int, at: int) -> None:
        places = self._places.get(line)
        if places is None:
            self._places[line] = [(number, at)]
            return
        places.append((number, at))
        if len(places) > CANDIDATES:
            del places[0]

    def places(self, line: str) -> Iterator[tuple[int, int]]:
        """The newest places of a line, the last first: the number of its source, and which line there."""
        yield from reversed(self._places.get(line, ()))
        if self._base is not None:
            yield from self._base.places(line)

    def name(self, number: int) -> str:
        if self._base is not None and number < self._first:
            return self._base.name(number)
        return self._names[number - self._first]

    def lines(self, number: int) -> _Lines:
        if self._base is not None and number < self._first:
            return self._base.lines(number)
        return self._lines[number - self._first]

    def lines_of(self, name: str) -> _Lines | None:
        number = self._numbers.get(name)
        if number is None:
            return self._base.lines_of(name) if self._base is not None else None
        return self.lines(number)


def _nameable(name: str) -> bool:
    return name != _OWN and 0 < len(name) <= 240 and not re.search(r"[\[\]\"\\\r\n]", name)


class _Run(msgspec.Struct, frozen=True):
    """So many lines of a source from a place on; source -1: the text itself."""

    source: int
    start: int
    count: int
    change: Change = AS_IT_WAS


class _Folding:
    """Goes once over the lines: the longest run that starts here, or the line as it is."""

    def __init__(
        self, lines: _Lines, sources: Index, *, own: bool, within: Sequence[tuple[int, int]] | None = None
    ) -> None:
        """own: also for what the text repeats of itself."""
        self._ends = [len(lines.texts)] * len(lines.texts) if within is None else [0] * len(lines.texts)
        for start, stop in within or ():
            self._ends[start:stop] = [stop] * (stop - start)
        self._lines = lines
        self._sources = sources
        self._of_itself = own
        self._out = _Lines([], [])  # as sent: what the text itself is referred to by
        self._own: _Places = {}
        self._last = -2  # the source of the last note
        self._notes = self._chars = 0

    def run(self) -> Folded | None:
        at, total = 0, len(self._lines.texts)
        while at < total:
            run = self._longest(at)
            note = self._note(run) if run is not None else ""
            if run is None or not self._pays(at, run, note):
                self._emit(self._lines.texts[at], self._lines.ends[at])
                at += 1
                continue
            stop = at + run.count
            self._chars += len(self._lines.run(at, stop))
            self._emit(note, self._lines.ends[stop - 1])
            self._notes += 1
            self._last = run.source
            at = stop
        if not self._notes:
            return None
        return Folded(self._out.run(0, len(self._out.texts)), self._notes, self._chars)

    def _emit(self, line: str, end: str) -> None:
        if self._of_itself and line and not is_note(line):
            bare = bare_of(line)
            for key in (line, bare) if bare is not line else (line,):
                places = self._own.setdefault(key, [])
                if len(places) < CANDIDATES:
                    places.append((-1, len(self._out.texts)))
        self._out.texts.append(line)
        self._out.ends.append(end)

    def _longest(self, at: int) -> _Run | None:
        best: _Run | None = None
        if self._ends[at] <= at:
            return None
        for source, start, change in self._candidates(self._lines.texts[at]):
            count = self._extent(at, source, start, change)
            if count > (best.count if best is not None else 0):
                best = _Run(source, start, count, change)
        return best

    def _candidates(self, line: str) -> Iterator[tuple[int, int, Change]]:
        if not line:
            return
        for source, start in self._places(line):
            yield source, start, AS_IT_WAS
        match = NUMBER.match(line)
        if match is None:
            if not self._lines.inside:
                yield from self._without_numbers(line)
            return
        bare = line[match.end() :]
        if not bare:
            return
        number = int(match[2])
        for source, start in self._places("\0" + bare):
            there = self._line(source, start)
            shift = number - number_of(there)
            if shift and shifted(there, shift) == line:
                yield source, start, Change(shift)
        if not self._lines.inside:
            for prefix in prefixes(match):
                for source, start in self._places(line[len(prefix) :]):
                    yield source, start, Change(prefix=prefix)

    def _without_numbers(self, line: str) -> Iterator[tuple[int, int, Change]]:
        for rest in (line, line[1:]) if line[:1] == " " else (line,):  # the blank may be taken for the number's
            for source, start in self._places("\0" + rest):
                match = NUMBER.match(there := self._line(source, start))
                prefix = there[: len(there) - len(line)]
                if match is not None and prefix in prefixes(match):
                    yield source, start, Change(prefix=prefix, bare=True)

    def _line(self, source: int, at: int) -> str:
        return (self._out if source < 0 else self._sources.lines(source)).texts[at]

    def _places(self, line: str) -> Iterator[tuple[int, int]]:
        yield from self._sources.places(line)
        yield from self._own.get(line, ())

    def _extent(self, at: int, source: int, start: int, change: Change) -> int:
        """How many lines from `at` on are those of the source from `start` on."""
        ours, theirs = self._lines, self._out if source < 0 else self._sources.lines(source)
        most = min(len(ours.texts) - at - ours.inside, self._ends[at] - at, len(theirs.texts) - start)
        if ours.inside and not at:
            return 0
        count = 0
        while count < most:
            line = theirs.texts[start + count]
            if is_note(line) or (change.of(line, count) if change else line) != ours.texts[at + count]:
                break
            if count and ours.ends[at + count - 1] != theirs.ends[start + count - 1]:
                break
            count += 1
        return count

    def _note(self, run: _Run) -> str:
        first, last = run.start + 1, run.start + run.count
        lines = f"line {first}" if run.count == 1 else f"lines {first}-{last}"
        change = run.change.told
        if run.source == self._last:
            return f"{_OPENING}{lines}{change}]"
        name = self._sources.name(run.source) if run.source >= 0 else _OWN
        return f"{_OPENING}{lines}{change}{',' if change else ''} of {name}]"

    def _pays(self, at: int, run: _Run, note: str) -> bool:
        chars = sum(map(len, self._lines.texts[at : at + run.count])) + run.count - 1
        inside = at > 0 and at + run.count < len(self._lines.texts)
        if chars < len(note) + (INSIDE_GAIN_CHARS if inside else LEAST_GAIN_CHARS):
            return False
        return run.count >= LEAST_LINES or chars >= LONG_RUN_CHARS


# --- JSON stays JSON ----------------------------------------------------------------------------------------


def _was_json(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[") and _is_json(text)


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return False
    return True
