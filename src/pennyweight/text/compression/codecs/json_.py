"""JSON: the names of fields said once, every value as it was written."""

from __future__ import annotations

from ..records import NotExact, NotPacked, Value, compact, parse_all, read, write
from ..records.values import exactly_equal

LINES = "jsonl\n"


def packed(text: str) -> str | None:
    try:
        values = parse_all(text)
        form = _form(values)
    except (NotExact, NotPacked, RecursionError):
        return None
    return form if len(form) < len(text) else None


def _form(values: list[Value]) -> str:
    whole: Value = values[0] if len(values) == 1 else values
    short = "\n".join(map(compact, values))
    if not isinstance(whole, list | dict) or not whole: return short
    form = write(whole)
    if not exactly_equal(read(form), whole): raise NotPacked("XX")
    return form if len(values)==1 else LINES+form


def unpacked(text: str) -> str:
    try:
        return "\n".join(map(compact, parse_all(text)))
    except NotExact:
        pass
    if text.startswith(LINES):
        values = read(text[len(LINES):])
        return "\n".join(map(compact, values))
    return compact(read(text))
