"""Logs: one line of every template with how many more there were, and the lines a reader asks for or must not miss."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from ..again import HEAD, said_once, written_out
from ..lines import has_marks, lines_of, more
from ..masks import columns, masked, merged
from ..patterns import filled_in, said_by_pattern
from ..shape import Ask, Codec, Note, Sample, Shorter

__all__ = ["CODEC", "lossless", "reduced", "restored"]

FEWEST_LINES = 8
SAMPLED_LINES = 200
MOST_TEMPLATES = 50_000
"""A text with more of them is no log that templates shorten; the bound is also one on memory (about 60 MB)."""
LONGEST_LINE = 4_000
"""Of longer lines only the beginning is masked; the rest counts as it is."""
MORE_SHARE, FEWEST_MORE = 0.01, 400
"""Of the text, in characters: what lines may take that are neither a template's first nor asked for."""
ASKED_SHARE = 0.2
"""What the reader names stands out only if it is in fewer of the lines."""

_TIME = re.compile(
    r"\d{4}[-/.]\d\d?[-/.]\d\d?|\d\d?[-/.]\d\d?[-/.]\d{2,4}\b|\d\d:\d\d:\d\d"
    r"|(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d\b|\d\d?/[A-Z][a-z]{2}/\d{4}"
    r"|(?<!\d)1\d{9}(?:\d{3}|\.\d{1,9})?(?!\d)|\b\d{6} \d{6}\b|^\[ *\d{1,9}\.\d{3,9}\]|^[IWEF]\d{4} \d\d:\d\d"
)
_LEVEL = re.compile(
    r"(?<![\w.])(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERR(?:OR)?|FATAL|CRIT(?:ICAL)?|ALERT|SEVERE|PANIC|"
    r"trace|debug|info|notice|warn(?:ing)?|error|fatal|critical)(?![\w.])"
)
_JSON_LINE = re.compile(r'\{"(?:[\w@.]{1,40})":')
_JSON_TIME = re.compile(r'"(?:[\w@.]{0,20}(?:[tT]ime|[tT]imestamp|[dD]ate|_at)|ts|t|asctime)":')
_JSON_EVENT = re.compile(r'"(?:level|lvl|severity|msg|message|event\w{0,20}|logger|log|action|type|status|stream)":')
_BAD = re.compile(
    r"(?<![a-z])(?:err(?:or)?|fatal|crit(?:ical)?|alert|emerg|severe|panic|exception|traceback|warn(?:ing)?|fail(?:ed|ure)?|"
    r"denied|refused|timed out|timeout|abort(?:ed)?|killed|corrupt(?:ed)?|unreachable|crash(?:ed)?)(?![a-z])"
    r"|[a-z]exception\b|(?<=[a-z])error\b|[ \]]5\d\d [\d-]",
    re.IGNORECASE,
)
_LISTED = re.compile(r"[bcdlps-](?:[r-][w-][xsStT-]){3}|[MADRCU?!]{1,2} |(?!\d)[^\s:]+:\d+:")
_WORDS = re.compile(r"[^\W\d_]{2,}")


class _Template(msgspec.Struct):
    """What is known of a template: its lines by number."""

    first: int
    last: int
    count: int = 1
    bad: bool = False


def reduced(text: str, ask: Ask, room: int, note: Note) -> Shorter | None:
    """The first line of every template; then, as room allows, what else should be seen.

    In this order: lines that the reader names, the last line of all, of templates that tell of trouble the last line
    and then more of them, of others the last line. `room` never costs a template its line.
    """
    if has_marks(text):
        return None
    lines = list(_whole_lines(text, ask))
    if len(lines) < FEWEST_LINES:
        return None
    places = columns([line for line in lines[:SAMPLED_LINES] if line])
    of_line, found = _templates(lines, places, ask)
    if not found or len(found) > len(lines) // 2 or len(found) > MOST_TEMPLATES:
        return None
    kept = {template.first for template in found}
    spent = sum(len(lines[number]) + 8 for number in kept)
    asked = _asked(lines, ask)
    spent = _fill(kept, asked, lines, spent, room)
    _fill(
        kept,
        _by_worth(lines, of_line, found),
        lines,
        spent,
        min(room, spent + FEWEST_MORE + int(MORE_SHARE * len(text))),
    )
    left = len(lines) - len(kept)
    if left < FEWEST_LINES // 2:
        return None
    said = f"{left:,} of {len(lines):,} lines ([+n] under a line: n more like it but for its values)"
    return Shorter("\n".join([note(said), *_with_counts(lines, of_line, found, kept)]), said)


def _fill(kept: set[int], numbers: Iterable[int], lines: Sequence[str], spent: int, room: int) -> int:
    """Keep these lines too as long as there is room, in characters; gives what is then spent of it."""
    for number in numbers:
        size = len(lines[number]) + 1
        if number not in kept and spent + size <= room:
            kept.add(number)
            spent += size
    return spent


def _whole_lines(text: str, ask: Ask) -> Iterator[str]:
    for number, line in enumerate(lines_of(text)):
        if not number % 4_096:
            ask.in_time()
        yield line


def _templates(lines: Sequence[str], places: Sequence[int], ask: Ask) -> tuple[list[int], list[_Template]]:
    """Of each line the index of its template, and the templates in the order of their first lines. No template for
    an empty line: -1."""
    known: dict[str, int] = {}
    of_line: list[int] = []
    for number, line in enumerate(lines):
        if not number % 1_024:
            ask.in_time()
        if not line or line.isspace():
            of_line.append(-1)
            continue
        mask = masked(line[:LONGEST_LINE], places) + line[LONGEST_LINE:]
        of_line.append(known.setdefault(mask, len(known)))
        if len(known) > MOST_TEMPLATES:
            return [], []
    under = merged(known)
    numbers: dict[str, int] = {}
    moved = [numbers.setdefault(under[mask], len(numbers)) for mask in known]
    found: list[_Template] = []
    for number, index in enumerate(of_line):
        if index < 0:
            continue
        index = of_line[number] = moved[index]
        if index == len(found):
            found.append(_Template(number, number, bad=_BAD.search(lines[number], 0, LONGEST_LINE) is not None))
        else:
            template = found[index]
            template.last = number
            template.count += 1
    return of_line, found


def _by_worth(lines: Sequence[str], of_line: Sequence[int], found: Sequence[_Template]) -> Iterator[int]:
    yield next(number for number in range(len(lines) - 1, -1, -1) if of_line[number] >= 0)
    trouble = [template for template in found if template.bad]
    yield from (template.last for template in sorted(trouble, key=lambda template: template.count))
    bad = {index for index, template in enumerate(found) if template.bad}
    if bad:
        yield from (number for number, index in enumerate(of_line) if index in bad and found[index].count <= 8)
    yield from (template.last for template in sorted(found, key=lambda template: template.count))


def _asked(lines: Sequence[str], ask: Ask) -> list[int]:
    """The lines that hold what the reader names, but for names that are in every fifth line."""
    named = [number for number, line in enumerate(lines) if ask.named_in(line)]
    if len(named) <= ASKED_SHARE * len(lines):
        return named
    by_word = Counter(word for number in named for word in ask.named(lines[number]))
    rare = {word for word, count in by_word.items() if count <= ASKED_SHARE * len(lines)}
    return [number for number in named if any(word in rare for word in ask.named(lines[number]))]


def _with_counts(
    lines: Sequence[str], of_line: Sequence[int], found: Sequence[_Template], kept: Iterable[int]
) -> Iterator[str]:
    kept = sorted(kept)
    shown = Counter(of_line[number] for number in kept)
    told: set[int] = set()
    for number in kept:
        yield lines[number]
        index = of_line[number]
        if index not in told:
            told.add(index)
            hidden = found[index].count - shown[index]
            if hidden:
                yield more(hidden)


# The lossless form: a line whose time is that of the line above begins with a ditto mark, and what all lines begin
# with is said once.

_STAMP = re.compile(
    r"\[?(?:\d{4}[-/.]\d\d[-/.]\d\d[T ,_-]?|\d\d[-/.]\d\d(?:[-/.]\d{2,4})? |(?:[A-Z][a-z]{2} )?[A-Z][a-z]{2} [ \d]\d )?"
    r"\d\d:\d\d:\d\d(?:[.,:]\d{1,9})?(?: ?(?:Z|[+-]\d\d:?\d\d))?(?: \d{4})?\]?[ \t]+"
)
_DITTO = '" '
_DITTO_HEAD = '[… a line beginning with " has the time of the line above]'
FEWEST_SPARED = 100  # characters


def lossless(text: str) -> str | None:
    """The shortest of three forms: equal times one below the other written once, what is said several times said
    once, or lines that are alike said by a pattern. `restored` gives the text back."""
    forms = [form for form in (_dittoed(text), said_once(text), said_by_pattern(text)) if form is not None]
    return min(forms, key=len, default=None)


def restored(form: str) -> str:
    """The text that `lossless` was given."""
    if form.startswith(HEAD):
        return written_out(form)
    if not form.startswith(_DITTO_HEAD):
        return filled_in(form)
    stamp = ""
    made: list[str] = []
    for line in form.split("\n")[1:]:
        if line.startswith(_DITTO):
            made.append(stamp + line[len(_DITTO) :])
            continue
        found = _STAMP.match(line)
        stamp = found[0] if found is not None else ""
        made.append(line)
    return "\n".join(made)


def _dittoed(text: str) -> str | None:
    if has_marks(text) or text.startswith(_DITTO) or "\n" + _DITTO in text:
        return None
    made = [_DITTO_HEAD]
    above = ""
    spared = 0
    for line in lines_of(text):
        found = _STAMP.match(line)
        stamp = found[0] if found is not None else ""
        if stamp and stamp == above and len(stamp) < len(line):
            made.append(_DITTO + line[len(stamp) :])
            spared += len(stamp) - len(_DITTO)
        else:
            made.append(line)
        above = stamp
    return "\n".join(made) if spared > FEWEST_SPARED else None


def _sniff(sample: Sample) -> float:
    """How many lines look like an event: a time or a level near the beginning, words after it."""
    lines = [line for line in sample.lines[:-1] or sample.lines if line and not line.isspace()][:200]
    if len(lines) < FEWEST_LINES:
        return 0.0
    indent = min(len(line) - len(line.lstrip()) for line in lines)
    heads = [line[indent:] for line in lines if not line[indent].isspace()]
    if len(heads) < 0.3 * len(lines):
        return 0.0
    if sum(line.startswith("{") for line in heads) > 0.8 * len(heads):
        like = sum(map(_is_json_event, heads))
        return 0.95 if like >= 0.8 * len(heads) else 0.0
    timed = sum(_TIME.search(line, 0, 90) is not None for line in heads) / len(heads)
    levelled = sum(_LEVEL.search(line, 0, 120) is not None for line in heads) / len(heads)
    listed = sum(_LISTED.match(line) is not None for line in heads) / len(heads)
    if listed > 0.5 and levelled < 0.5:
        return 0.0
    if _tabular(heads):
        return 0.4
    if timed >= 0.5:
        return 0.97 if timed * levelled >= 0.9 else 0.7 + 0.25 * max(timed * levelled, timed * (timed >= 0.9))
    if levelled >= 0.6:
        return 0.75
    return 0.55 if timed + levelled < 0.1 and _repeating(heads) else 0.0


def _is_json_event(line: str) -> bool:
    head = line[:1_000]
    return bool(_JSON_LINE.match(head) and _JSON_TIME.search(head) and _JSON_EVENT.search(head))


def _tabular(lines: Sequence[str]) -> bool:
    """Whether all lines have the same number of commas, tabs or semicolons, several of them, as tables have."""
    for sign in ",\t;":
        counts = {line.count(sign) for line in lines}
        if len(counts) == 1 and min(counts) >= 2 and not any(_LEVEL.search(line, 0, 120) for line in lines[1:8]):
            return True
    return False


def _repeating(lines: Sequence[str]) -> bool:
    """Whether many lines of words are few kinds of line, told by the words that are in many of them."""
    wordy = [line for line in lines if line[0] not in "<#-*|+@" and len(_WORDS.findall(line, 0, 400)) >= 3]
    if len(wordy) < 40 or len(wordy) < 0.9 * len(lines):
        return False
    words = [_WORDS.findall(line, 0, 400) for line in wordy]
    seen = Counter(word for line in words for word in set(line))
    common = {word for word, count in seen.items() if count >= 0.05 * len(wordy)}
    shapes = Counter(tuple(word if word in common else "" for word in line) for line in words)
    told = sum(count for shape, count in shapes.items() if any(shape))
    return len(shapes) <= 0.15 * len(wordy) and told >= 0.9 * len(wordy)


GUARANTEES = (
    "Every template of line stands there with one line of it at least, verbatim.",
    "Every line is one of the text's, in the text's order, or a note in square brackets.",
    "The counts in the notes and the lines add up to the lines of the text that are not empty.",
    "The first and the last line are there where there is room for the last.",
    "The lossless form gives back the text exactly.",
)

CODEC = Codec(kind="log", sniff=_sniff, lossless=lossless, reduced=reduced, guarantees=GUARANTEES, streams=True)
