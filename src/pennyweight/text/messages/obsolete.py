"""Which messages say nothing any more that a later one does not say anew: results read again, attempts made again.

Rules over the sequence, each of which wants evidence in the later message itself:

- a call is made again, word for word: the earlier one and its result are obsolete, if the call only looks;
- a call failed, and the same tool was called again for the same subject and did not fail: the attempt is obsolete;
- most lines of a result stand in a later result, or the later one shows the same numbered lines of the same file, or
  the same record (a JSON object with the same first identifier) in a later state: the earlier one is stale.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from .deeds import Deed
from .shape import Class
from .texts import bare

__all__ = ["Seen", "obsolete"]

_LINES = 3  # of a result, at least, for its lines to tell that it was shown again
_MOST_LINES = 4_000  # of a result that are compared
_AGAIN = 0.7  # of the lines of a result, in a later one
_NUMBERED = re.compile(r"^\s*(\d+)[:|\t→]", re.MULTILINE)
_FILE = re.compile(r"^\[File: (\S+)", re.MULTILINE)
_RECORD = re.compile(r'\s*\{\s*"(\w*id)"\s*:\s*("[^"]{1,200}"|\d+)', re.IGNORECASE)


class Seen(msgspec.Struct, frozen=True, dict=True):
    """What is known of one message by itself. `asked`: what it wants of its reader. `answers`: ids of calls."""

    kind: Class
    asked: str = ""
    deeds: tuple[Deed, ...] = ()
    result: str = ""
    failed: bool = False
    answers: tuple[str, ...] = ()

    @property
    def shown(self) -> Shown:
        found: Shown | None = self.__dict__.get("_shown")
        if found is None:
            found = self.__dict__["_shown"] = _shown(self.result)
        return found


class Shown(msgspec.Struct, frozen=True):
    """What a result shows: its lines by their hashes, which numbered lines of which file, which record."""

    lines: frozenset[int] = frozenset()
    file: str = ""
    span: tuple[int, int] = (0, 0)
    record: str = ""


class _Pair(msgspec.Struct, frozen=True):
    """One call and the message that has its result."""

    at: int
    deed: Deed
    result_at: int
    result: Seen


def obsolete(seen: Sequence[Seen]) -> frozenset[int]:
    """The places of the messages that are obsolete. A message with several calls or results is so only as a whole."""
    pairs = list(_pairs(seen))
    stale: set[int] = set()  # results, by their place in `pairs`
    spent: set[int] = set()  # attempts: calls that change something, made again
    _repeated(pairs, stale)
    _retried(pairs, stale, spent)
    _shown_again(pairs, stale)
    gone: set[int] = set()
    by_call: dict[int, list[int]] = {}
    by_result: dict[int, list[int]] = {}
    for number, pair in enumerate(pairs):
        by_call.setdefault(pair.at, []).append(number)
        by_result.setdefault(pair.result_at, []).append(number)
    for at, numbers in by_result.items():
        if at >= 0 and all(number in stale for number in numbers) and len(numbers) >= len(seen[at].answers):
            gone.add(at)
    for at, numbers in by_call.items():
        if len(numbers) < len(seen[at].deeds):
            continue
        if all(n in stale and (not pairs[n].deed.changes or n in spent) for n in numbers):
            gone.add(at)
    return frozenset(gone)


def _pairs(seen: Sequence[Seen]) -> Iterator[_Pair]:
    """Calls with their results: by ids where there are any, else the next message that is a result."""
    open_calls: dict[str, tuple[int, Deed]] = {}
    waiting: list[tuple[int, Deed]] = []
    for at, message in enumerate(seen):
        if message.deeds:
            waiting = [(at, deed) for deed in message.deeds if not deed.call_id]
            open_calls.update({deed.call_id: (at, deed) for deed in message.deeds if deed.call_id})
        elif message.answers:
            for call_id in message.answers:
                if (found := open_calls.pop(call_id, None)) is not None:
                    yield _Pair(*found, at, message)
        elif message.result and waiting:
            yield _Pair(*waiting.pop(0), at, message)
    for call, deed in (*open_calls.values(), *waiting):
        yield _Pair(call, deed, -1, Seen("confirmation"))  # made, and not answered yet


def _repeated(pairs: Sequence[_Pair], stale: set[int]) -> None:
    last: dict[str, int] = {}
    for number in range(len(pairs) - 1, -1, -1):
        deed = pairs[number].deed
        if deed.said in last and (not deed.changes or pairs[last[deed.said]].result.failed):
            stale.add(number)
        last.setdefault(deed.said, number)


def _retried(pairs: Sequence[_Pair], stale: set[int], spent: set[int]) -> None:
    """Failed attempts that were made again, the last of them to success or not at all to be seen."""
    for number, pair in enumerate(pairs):
        if not pair.result.failed:
            continue
        for later in range(number + 1, min(number + 9, len(pairs))):
            other = pairs[later]
            alike = other.deed.name == pair.deed.name and _same_subject(pair.deed, other.deed)
            if alike and (other.deed.changes or (other.result_at >= 0 and not other.result.failed)):
                stale.add(number)
                spent.add(number)
                break


def _same_subject(a: Deed, b: Deed) -> bool:
    return not a.subject or not b.subject or a.subject == b.subject


def _shown_again(pairs: Sequence[_Pair], stale: set[int]) -> None:
    """Results whose lines, numbered lines or record a later result shows."""
    by_line: dict[int, list[int]] = {}
    by_file: dict[str, list[int]] = {}
    records: dict[str, int] = {}
    for number in range(len(pairs) - 1, -1, -1):
        pair = pairs[number]
        shown = pair.result.shown
        if pair.result.kind == "confirmation":
            continue
        file = (shown.file or (pair.deed.subject if shown.span[1] else "")).rpartition("/")[2]
        if number not in stale and not pair.result.failed:
            spans = (pairs[later].result.shown.span for later in by_file.get(file, ()))
            newer = bool(shown.record) and shown.record in records
            same = bool(file) and any(_within(shown.span, span) for span in spans)
            if newer or same or (len(shown.lines) >= _LINES and _most_in_one(shown.lines, by_line)):
                stale.add(number)
        if shown.record:
            records.setdefault(shown.record, number)
        if file and not pair.result.failed:
            by_file.setdefault(file, []).append(number)
        for line in shown.lines:
            by_line.setdefault(line, []).append(number)


def _within(span: tuple[int, int], later: tuple[int, int]) -> bool:
    """Whether more than half of the numbered lines are shown again."""
    shared = min(span[1], later[1]) - max(span[0], later[0]) + 1
    return shared * 2 > span[1] - span[0] + 1


def _most_in_one(lines: frozenset[int], by_line: dict[int, list[int]]) -> bool:
    counts: dict[int, int] = {}
    for line in lines:
        for number in by_line.get(line, ())[-64:]:
            counts[number] = counts.get(number, 0) + 1
    return max(counts.values(), default=0) >= _AGAIN * len(lines)


def _shown(text: str) -> Shown:
    if not text:
        return Shown()
    lines = bare(text).split("\n", _MOST_LINES)[:_MOST_LINES]
    hashes = frozenset(hash(line.strip()) for line in lines if len(line.strip()) > 3)
    numbers = [int(found) for found in _NUMBERED.findall(text[:200_000]) if len(found) < 8]
    file = _FILE.search(text)
    span = (numbers[0], numbers[-1]) if numbers and numbers[-1] >= numbers[0] else (0, 0)
    record = _RECORD.match(text)
    return Shown(hashes, file[1] if file else "", span, f"{record[1]}={record[2]}" if record else "")
