"""What changed between two texts, and whether it is the kind of text that changes by itself: a date, a time, an id."""

from __future__ import annotations

import re
from collections import Counter

import msgspec

__all__ = ["Change", "changed", "likeness", "volatile"]


class Change(msgspec.Struct, frozen=True):
    """`at_byte`: of the first difference, in the UTF-8 of the part. `same`: share of the new text, in [0, 1], that the
    old one has too. `what`: "a date", "a time", "an id", "a counter", "a billing line" or ""."""

    at_byte: int
    same: float
    what: str = ""
    before: str = ""  # a little of the old text around the change
    after: str = ""


_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?"
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*\.?"
_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a billing line", re.compile(r"x-anthropic-billing-header:[^\n\"]*")),
    ("an id", re.compile(r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b")),
    ("a time", re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?")),
    ("a date", re.compile(r"\b\d{4}[-/.]\d\d[-/.]\d\d\b|\b\d{1,2}[-/.]\d{1,2}[-/.]\d{4}\b")),
    (
        "a date",
        re.compile(
            rf"\b(?:{_DAY},? )?(?:{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}}|\d{{1,2}}\.? {_MONTH},? \d{{4}})\b"
        ),
    ),
    ("a time", re.compile(r"\b\d{1,2}:\d\d(?::\d\d)?(?: ?[AaPp]\.?[Mm]\.?)?")),
    ("a time", re.compile(r"\b1[5-9]\d{8}(?:\d{3})?(?:\.\d+)?\b")),  # unix seconds or milliseconds, 2017 to 2033
    ("an id", re.compile(r"\b(?=[0-9a-z_-]*\d)(?=[0-9a-z_-]*[a-z])[0-9a-z_-]{12,}\b", re.I)),
    ("a date", re.compile(rf"\b{_DAY}(?=\W)")),
    ("a counter", re.compile(r"\d+(?:[.,]\d+)*")),
)


def volatile(before: str, after: str) -> str:
    """What differs, where nothing but dates, times, ids or numbers does; "" where anything else does too."""
    before, after = _unlike(before, after)
    if len(before) + len(after) > _MOST_CHARS:
        return ""  # a clock or an id is no page of text
    what = ""
    for kind, pattern in _KINDS:
        masked_before, masked_after = pattern.sub("\0", before), pattern.sub("\0", after)
        if not what and pattern.findall(before) != pattern.findall(after):
            what = kind
        before, after = masked_before, masked_after
        if before == after:
            return what
    return ""


_MOST_CHARS = 20_000


def _unlike(before: str, after: str) -> tuple[str, str]:
    """The lines of each that the other has not."""
    old, new = before.splitlines(), after.splitlines()
    kept_old, kept_new = set(old), set(new)
    return "\n".join(line for line in old if line not in kept_new), "\n".join(
        line for line in new if line not in kept_old
    )


def changed(before: str, after: str, *, around: int = 40) -> Change:
    """The difference between two texts. around: characters kept on both sides of it for showing."""
    start = _common(before, after)
    end = _common(before[start:][::-1], after[start:][::-1])
    return Change(
        at_byte=len(after[:start].encode("utf-8", "surrogatepass")),
        same=max((start + end) / max(len(after), 1), likeness(before, after)),
        what=volatile(before, after),
        before=_cut(before, start, len(before) - end, around),
        after=_cut(after, start, len(after) - end, around),
    )


def likeness(before: str, after: str) -> float:
    """The share of the new text, in [0, 1], that is whole lines of the old one."""
    left = Counter(before.splitlines())
    kept = 0
    for line in after.splitlines():
        if left[line]:
            left[line] -= 1
            kept += len(line) + 1
    return min(kept / max(len(after), 1), 1.0)


def _common(a: str, b: str) -> int:
    """How many characters two texts have in common from their start."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _cut(text: str, start: int, stop: int, around: int) -> str:
    stop = min(stop, start + 160)
    head = "…" if start > around else ""
    tail = "…" if stop + around < len(text) else ""
    return head + text[max(start - around, 0) : stop + around] + tail
