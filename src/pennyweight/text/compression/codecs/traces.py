"""Stack traces: the exception and the caller's own frames verbatim, frames of libraries counted, equal traces once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from ..again import said_once
from ..lines import has_marks, lines_of, more
from ..shape import Ask, Codec, Note, Sample, Shorter

__all__ = ["CODEC", "reduced"]

FEWEST_FRAMES = 3
LONGEST_LINE = 2_000

_FRAME = re.compile(
    r"(?P<python>\s{0,80}File \"[^\"\n]{1,500}\", line \d+)"
    r"|(?P<at>\s{1,80}at (?!line |least |most |the )\S)"
    r"|(?P<rust>\s{1,12}\d{1,4}: (?:0x[0-9a-f]+ - )?[\w<\[{&*(][^\n]{0,1000}::[^\n]{1,1000})"
    r"|(?P<ruby>\s{1,12}(?:\d{1,4}: )?from \S{1,400}:\d+:in )"
    r"|(?P<gofile>\t\S{1,500}\.(?:go|s):\d+(?: \+0x[0-9a-f]+)?\Z)"
    r"|(?P<php>#\d{1,4} (?:\S{1,400}\(\d+\): |\{main\}))"
    r"|(?P<gdb>#\d{1,4} +(?:0x[0-9a-f]+ in )?\S)"
)
_GO_CALL = re.compile(
    r"(?:created by )?[^\s()]{1,400}+(?:\(\*?[^\s()]{1,200}\)[^\s()]{0,200})?"
    r"(?:\([^\n]{0,1000}\)| in goroutine \d+)?\Z"
)
_LIBRARY = re.compile(
    r"[/\\](?:site-packages|dist-packages|node_modules|gems|vendor)[/\\]|[/\\]lib[/\\]python\d|<frozen |<string>"
    r"|[/\\]Python\d{2,3}[/\\]lib[/\\]|/usr/lib/|node:|\(internal/|/go/pkg/mod/|/usr/local/go/src/|/go/src/runtime/"
    r"|/rustc/|/\.cargo/registry/"
    r"|\bat (?:[\w.]{1,40}//?)?(?:java|javax|jdk|sun|com\.sun|kotlin|kotlinx|scala|groovy|akka|clojure|android|androidx"
    r"|io\.netty|reactor|com\.google\.common|com\.fasterxml|org\.(?:apache|springframework|hibernate|junit|eclipse"
    r"|jboss|gradle|mockito|codehaus))\.|\bat (?:async )?(?:System|Microsoft|Newtonsoft)\."
    r"|\d: (?:0x[0-9a-f]+ - )?<?(?:core|std|alloc|tokio|futures\w*|hyper|backtrace|rayon|__rust\w*|rust_begin\w*"
    r"|\w+::rt)(?:::| as )"
)
_HEAD = re.compile(
    r"\s{0,80}(?:Traceback \(most recent call last\)|goroutine \d+ \[|stack backtrace:|Caused by: |Exception in thread"
    r"|panic: |thread '|Unhandled |Uncaught |Stack trace:|During handling of"
    r"|[\w.$]{1,200}(?:Error|Exception|Fault|Panic)\b)"
)


class _Unit(msgspec.Struct, frozen=True):
    """A frame with the lines that belong to it, or a line that is none. `number`: of its first line, from 0."""

    number: int
    lines: tuple[str, ...]
    frame: bool = False
    library: bool = False


def reduced(text: str, ask: Ask, room: int, note: Note) -> Shorter | None:
    """Runs of library frames shrink to their first and last; frames seen before are named by their lines."""
    if has_marks(text):
        return None
    lines = list(lines_of(text))
    units = list(_units(lines, ask))
    made: list[str] = []
    seen: dict[tuple[tuple[str, ...], ...], _Unit] = {}
    for block in _blocks(units):
        if not block[0].frame:
            made += [line for unit in block for line in unit.lines]
            continue
        key = tuple(unit.lines for unit in block)
        first = seen.setdefault(key, block[0])
        if first is not block[0] and len(block) > 1:
            made.append(more(len(block), f"frames, as in lines {first.number + 1}-{first.number + sum(map(len, key))}"))
        else:
            made += _own_frames(block, ask)
    left = len(lines) - sum(not line.startswith("[+") for line in made)
    if left < FEWEST_FRAMES:
        return None
    said = f"{left:,} of {len(lines):,} lines of stack frames"
    return Shorter("\n".join([*made, note(said)]), said)


def _blocks(units: Sequence[_Unit]) -> Iterator[list[_Unit]]:
    """Frames one after the other, and what stands between them."""
    block: list[_Unit] = []
    for unit in units:
        if block and block[-1].frame is not unit.frame:
            yield block
            block = []
        block.append(unit)
    if block:
        yield block


def _own_frames(block: Sequence[_Unit], ask: Ask) -> list[str]:
    made: list[str] = []
    run: list[_Unit] = []
    for unit in block:
        if unit.library and not any(map(ask.named_in, unit.lines)):
            run.append(unit)
            continue
        made += _ended(run)
        run.clear()
        made += unit.lines
    return made + _ended(run)


def _ended(run: Sequence[_Unit]) -> list[str]:
    if len(run) < FEWEST_FRAMES + 1:
        return [line for unit in run for line in unit.lines]
    return [*run[0].lines, more(len(run) - 2, "frames of libraries"), *run[-1].lines]


def _units(lines: Sequence[str], ask: Ask) -> Iterator[_Unit]:
    at = 0
    while at < len(lines):
        if not at % 512:
            ask.in_time()
        end = _frame_end(lines, at)
        if end == at:
            yield _Unit(at, (lines[at],))
            at += 1
            continue
        held = tuple(lines[at:end])
        yield _Unit(at, held, frame=True, library=any(_LIBRARY.search(line) for line in held))
        at = end


def _frame_end(lines: Sequence[str], at: int) -> int:
    """Where the frame that begins here ends; `at` where none does."""
    line = lines[at]
    if len(line) > LONGEST_LINE:
        return at
    following = lines[at + 1] if at + 1 < len(lines) else ""
    if following.startswith("\t") and _GO_CALL.match(line) and _FRAME.match(following, 0, LONGEST_LINE):
        return at + 2
    found = _FRAME.match(line)
    if found is None:
        return at
    end = at + 1
    if found["python"]:
        # Its source line, and from Python 3.11 on a line of marks under it; both further in than the frame itself.
        indent = len(line) - len(line.lstrip())
        while end < min(len(lines), at + 8):
            below = lines[end]
            if not below.strip() or len(below) - len(below.lstrip()) <= indent or _FRAME.match(below, 0, LONGEST_LINE):
                break
            end += 1
    elif found["rust"] and following.lstrip().startswith("at "):
        end += 1
    return end


def _sniff(sample: Sample) -> float:
    lines = sample.lines[:-1] if sample.length > len(sample.head) else sample.lines
    if not any(_HEAD.match(line, 0, LONGEST_LINE) for line in lines[:400]):
        return 0.0
    filled = sum(bool(line.strip()) for line in lines)
    held = sum(len(unit.lines) for unit in _units(lines, Ask()) if unit.frame)
    share = held / max(filled, 1)
    return 0.97 if held >= FEWEST_FRAMES and share >= 0.6 else 0.8 if held >= 4 and share >= 0.35 else 0.0


CODEC = Codec(
    kind="trace",
    sniff=_sniff,
    lossless=said_once,
    reduced=reduced,
    guarantees=(
        "Where nothing is left out, lines that are not there again are named, and can be written out again.",
        "Every line that is no frame of a library is there, verbatim: exceptions, messages, own frames.",
        "A run of library frames has its first and its last, and how many stood between.",
        "Frames that stood there before are told by the lines where they stand.",
        "What the reader names is there.",
    ),
    streams=True,
)
