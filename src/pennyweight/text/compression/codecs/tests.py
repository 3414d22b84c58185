"""Output of test runs: failures whole, passes counted, the summary as it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..again import said_once
from ..lines import has_marks, lines_of, more
from ..shape import Ask, Codec, Note, Sample, Shorter

__all__ = ["CODEC", "reduced"]

FEWEST_PASSES = 3
LONGEST_LINE = 1_000

_PASSED = re.compile(
    r"(?P<unittest>[\w.]{1,200} \([\w.<>]{1,300}\)(?: \.\.\. |\.\.\.)ok)"
    r"|(?P<pytest>(?=[^\n]{1,900}?::)\S[^\n]{0,900} PASSED(?: +\[ *\d+%\])?|PASSED \S[^\n]{0,400}::[^\n]{1,400})"
    r"|(?P<dots>[\w./\\-]{1,300}\.py \.{1,200}(?: +\[ *\d+%\])?|\.{5,200}(?: *\[ *\d+%\]| +\d+ / \d+ \( *\d+%\))?)"
    r"|(?P<jest>\s{0,40}[✓✔√] \S[^\n]{0,400}|PASS \S[^\n]{0,400})"
    r"|\s{0,40}--- PASS: (?P<go>\S{1,300}) \([\d.]+s\)|ok  \t\S{1,300}\t(?:[\d.]+s|\(cached\))[^\n]{0,100}"
    r"|\?   \t\S{1,300}\t\[no test files\]"
    r"|(?P<cargo>test [^\n]{1,300} \.\.\. ok(?: <[\d.]+s>)?)"
    r"|(?P<tap>\s{0,40}ok \d{1,9}(?: - [^\n]{0,400})?)"
    r"|\[       OK \] (?P<gtest>\S{1,300}) \(\d+ ms(?: total)?\)"
    r"|(?P<ctest>\s{0,8}\d+/\d+ Test +#\d+: \S{1,300} \.{1,200} +Passed +[\d.]+ sec)"
    r"|(?P<maven>\[INFO\] Tests run: \d+, Failures: 0, Errors: 0, Skipped: 0, Time elapsed: [^\n]{1,300})"
    r"|(?P<dotnet>\s{0,8}Passed \S[^\n]{0,300} \[[^\]\n]{1,30}\])"
    r"|(?P<xml>\s{0,40}<testcase [^\n<>]{1,1000}/>)"
)
_BEGUN = re.compile(r"\s{0,40}=== (?:RUN|PAUSE|CONT|NAME) +(?P<go>\S{1,300})|\[ RUN      \] (?P<gtest>\S{1,300})")
_NO_PASS = re.compile(r"(?i)# (?:todo|skip)")
_SUMMARY = re.compile(
    r"Ran \d+ tests? in |=+ .{0,200}\d+ (?:passed|failed|error|skipped).{0,200} =+"
    r"|\d+ (?:passed|failed)(?:, \d+ \w+)* in "
    r"|test result: (?:ok|FAILED)\.|Tests?: +(?:\d+ \w+, ){0,4}\d+ total|Tests run: \d+|(?:FAIL|ok)  ?\t\S+\t"
    r"|\[==========\] \d+ tests?|\d+% tests passed|# tests \d+|\d+ examples?, \d+ failures?|\d+ passing"
    r"|<testsuites?[ >]|OK \(\d+ tests|Total tests: \d+|Test Suites: "
)
_FAILED = re.compile(
    r"(?:FAIL|ERROR): \S+ \(|FAILED \S+::|_{5,80} .{1,200} _{5,80}|--- FAIL: |test .{1,300} \.\.\. FAILED|not ok \d+"
    r"|\[  FAILED  \]|\s{0,40}[✕✗×] \S|\s{0,8}● .{1,300} ›|\S+ \([\w.]+\)(?: \.\.\. |\.\.\.)(?:FAIL|ERROR)"
)


def reduced(text: str, ask: Ask, room: int, note: Note) -> Shorter | None:
    """Runs of passed tests become a count; everything else stays as it is, whatever the room."""
    if has_marks(text):
        return None
    lines = list(lines_of(text))
    passed = [_passed(line) for line in lines]
    names = {found for line, ok in zip(lines, passed, strict=True) if ok for found in _names(line)}
    made: list[str] = []
    counted = dropped = 0
    run: list[tuple[str, bool]] = []
    for number, line in enumerate(lines):
        if not number % 1_024:
            ask.in_time()
        begun = _BEGUN.match(line) if not passed[number] and len(line) <= LONGEST_LINE else None
        gone = passed[number] or (begun is not None and (begun["go"] or begun["gtest"]) in names)
        if gone and not ask.named_in(line):
            run.append((line, passed[number]))
            continue
        made += _ended(run)
        counted, dropped = _sums(run, counted, dropped)
        run.clear()
        made.append(line)
    made += _ended(run)
    counted, dropped = _sums(run, counted, dropped)
    if dropped < FEWEST_PASSES:
        return None
    said = f"{counted:,} passed tests, {dropped:,} of {len(lines):,} lines"
    return Shorter("\n".join([note(said), *made]), said)


def _sums(run: Sequence[tuple[str, bool]], counted: int, dropped: int) -> tuple[int, int]:
    if len(run) < FEWEST_PASSES:
        return counted, dropped
    return counted + sum(ok for _, ok in run), dropped + len(run)


def _ended(run: Sequence[tuple[str, bool]]) -> list[str]:
    if len(run) < FEWEST_PASSES:
        return [line for line, _ in run]
    passes = sum(ok for _, ok in run)
    return [more(len(run), "lines" if passes < len(run) else "passed")]


def _passed(line: str) -> bool:
    if not line or len(line) > LONGEST_LINE:
        return False
    return _PASSED.fullmatch(line.rstrip()) is not None and _NO_PASS.search(line) is None


def _names(line: str) -> Iterator[str]:
    found = _PASSED.fullmatch(line.rstrip())
    if found is not None:
        yield from (name for name in (found["go"], found["gtest"]) if name)


def _sniff(sample: Sample) -> float:
    lines = [line for line in sample.lines if line and not line.isspace()][:160]
    tail = [line for line in sample.tail.split("\n")[-20:] if line]
    if not lines:
        return 0.0
    passes = sum(map(_passed, lines))
    short = [line for line in lines if len(line) <= LONGEST_LINE]
    failures = sum(_FAILED.match(line) is not None for line in short)
    summed = any(_SUMMARY.match(line) for line in (*lines[-30:], *tail) if len(line) <= LONGEST_LINE)
    if summed and (passes >= 1 or failures >= 1):
        return 0.93
    if failures >= 2 and len(lines) >= 10:
        return 0.9
    return 0.9 if passes >= FEWEST_PASSES and passes >= 0.3 * len(lines) else 0.0


CODEC = Codec(
    kind="tests",
    sniff=_sniff,
    lossless=said_once,
    reduced=reduced,
    guarantees=(
        "Where nothing is left out, lines that are not there again are named, and can be written out again.",
        "Every line that is not of a passed test is there, verbatim and in order.",
        "Passed tests are counted, and the counts add up.",
        "What the reader names is there, passed or not.",
    ),
    streams=True,
)
