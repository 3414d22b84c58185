"""JSON: fields named once and every value as it was written; in long lists the ends, the odd and what is asked for.

What stands before and after a JSON text (an exit code, a reminder) stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..records import NotExact, NotPacked, Value, compact, named, parse, parse_all, read, spelled, write
from ..records.pruning import Limits, Pruner
from ..records.sizes import about_tokens
from ..records.values import MAX_CHARS, exactly_equal, scan
from ..shape import Ask, Codec, Note, Sample, Shorter

__all__ = ["CODEC", "packed", "unpacked"]

LINES = "jsonl"
"""The first line of what was several values, one after another."""

LEAST_GAIN = 0.05
"""What the packed form must save over JSON without spaces, which every reader knows."""

SURE_SHARE = 0.7
"""A form with so few of the characters is not counted: it has fewer tokens."""

_INSIDE = re.compile(r"^\[json (\d+)\]\n", re.MULTILINE)
_BEGIN = re.compile(
    r'\s*(?:[\[{]\s*)++(?:"(?:[^"\\]|\\.)*"\s*[:,\]]|[\]}]|-?\d[\d.eE+-]*\s*[,\]]|(?:true|false|null)\s*[,\]])'
)
_BODY = re.compile(r'^[\[{](?=["\[{\]}\n-]|\d+[,.\]]| *$)', re.MULTILINE)
WRAPPER_CHARS = 4_000
"""How far into a text a JSON body is looked for."""

LIMITS = tuple(
    Limits(rows, chars) for rows, chars in ((60, 2_000), (30, 1_000), (16, 600), (10, 300), (6, 160), (3, 80))
)


def packed(text: str) -> str | None:
    """A form with fewer tokens from which every value can be read as it was; None where there is none.

    JSON without spaces where that is as short. Left alone: texts over MAX_CHARS, objects with a key twice, and what is
    nested deeper than Python can follow.
    """
    try:
        parts = _parts(text)
        if parts is None:
            return None
        before, body, after = parts
        form = _form(_values(body))
    except (NotExact, NotPacked, RecursionError):
        return None
    whole = form if not before and not after.strip() else _inside(before, form, after)
    return whole if whole is not None and len(whole) < len(text) else None


def unpacked(text: str) -> str:
    """What `packed` was given, as JSON without spaces. Raises NotPacked."""
    found = _INSIDE.search(text)
    if found is not None:
        lines = text[found.end() :].split("\n")
        size = int(found[1])
        whole = unpacked("\n".join(lines[:size])) + "\n" + "\n".join(lines[size:])
        return text[: found.start()] + (whole if len(lines) > size else whole[:-1])
    values = _as_json(text)
    return "\n".join(map(compact, values if values is not None else _read(text)))


def _read(text: str) -> list[Value]:
    """The values of a packed form, or of JSON texts of several lines each, one after another. Raises NotPacked."""
    several = text.startswith(f"{LINES}\n")
    try:
        value = read(spelled(text.removeprefix(f"{LINES}\n")))
    except NotPacked:
        try:
            return parse_all(text)
        except NotExact:
            pass
        raise
    if not several:
        return [value]
    if not isinstance(value, list):
        raise NotPacked("several values are a list")
    return value


def _as_json(text: str) -> list[Value] | None:
    """The values of a text that is JSON, or of which each line is: no packed form is."""
    try:
        return [parse(text)]
    except NotExact:
        pass
    try:
        return [parse(line) for line in text.split("\n")] if not text.startswith(("[] ", "{} ")) else None
    except NotExact:
        return None


def _parts(text: str) -> tuple[str, str, str] | None:
    """What stands before a JSON text, the text, and what stands after it."""
    if len(text) > MAX_CHARS:
        return None
    if text.lstrip()[:1] in ("{", "["):
        try:
            _, end = scan(text, len(text) - len(text.lstrip()))
        except NotExact:
            end = 0
        if end and not text[end:].strip():
            return "", text, ""
    for found in _bodies(text):
        try:
            value, end = scan(text, found)
        except NotExact:
            continue
        most = text[end : end + 1] in ("", "\n") and (end - found) * 2 > len(text)
        if most and value and isinstance(value, dict | list):
            return text[:found], text[found:end], text[end:]
    return ("", text, "") if text.lstrip()[:1] in ("{", "[") else None


def _bodies(text: str) -> Iterator[int]:
    for number, found in enumerate(_BODY.finditer(text, 0, WRAPPER_CHARS)):
        if number < 4 and found.start():
            yield found.start()


def _values(text: str) -> list[Value]:
    values = parse_all(text)
    if not any(isinstance(value, dict | list) and value for value in values):
        raise NotExact("scalars only")
    return values


def _form(values: Sequence[Value]) -> str:
    """The shorter of JSON without spaces and the packed form, which is read back before it is believed."""
    short = "\n".join(map(compact, values))
    whole: Value = values[0] if len(values) == 1 else list(values)
    form = named(write(whole))
    if _INSIDE.search(form) or not _pays(form, short):
        return short
    if not exactly_equal(read(spelled(form)), whole):
        return short
    return form if len(values) == 1 else f"{LINES}\n{form}"


def _pays(form: str, short: str) -> bool:
    if len(form) < SURE_SHARE * len(short):
        return True
    return about_tokens(form) <= about_tokens(short) * (1 - LEAST_GAIN)


def _inside(before: str, form: str, after: str) -> str | None:
    if _INSIDE.search(before) or (after and not after.startswith("\n")):
        return None
    return f"{before}[json {form.count(chr(10)) + 1}]\n{form}{after}"


def reduced(text: str, ask: Ask, room: int, note: Note) -> Shorter | None:
    """The gentlest cut that fits the room; the hardest where none does."""
    try:
        parts = _parts(text)
        if parts is None:
            return None
        before, body, after = parts
        values = _values(body)
        whole: Value = values[0] if len(values) == 1 else list(values)
        pruner = Pruner(whole, ask)
        made = None
        for limits in LIMITS:
            pruned = pruner.prune(limits)
            if not pruned.left_out:
                continue
            short = compact(pruned.value)
            if len(short) > 2 * room and limits is not LIMITS[-1]:  # the packed form is at best half as long
                continue
            form = _form([_noted(pruned.value, note(pruned.left_out))])
            made = Shorter(f"{before}{form}{after}", pruned.left_out)
            if len(made.text) <= room:
                break
    except (NotExact, RecursionError):
        return None
    return made if made is not None and len(made.text) < len(text) else None


def _noted(value: Value, note: str) -> Value:
    """The note as the last item or member."""
    if isinstance(value, list):
        return [*value, note]
    if isinstance(value, dict):
        name = "left_out"
        while name in value:
            name += "_"
        return {**value, name: note}
    return value


def _sniff(sample: Sample) -> float:
    head = sample.head
    if _BEGIN.match(head):
        if sample.length <= len(head):
            try:
                return 0.95 if _values(head) else 0.0
            except (NotExact, RecursionError):
                return 0.0
        return 0.9 if sample.tail.rstrip()[-1:] in ("}", "]") else 0.0
    for at in _bodies(head):
        if _BEGIN.match(head, at) and re.search(r"[}\]]\s*$", sample.tail, re.MULTILINE):
            if sample.length > len(head):
                return 0.6
            return 0.8 if _parts(head) is not None else 0.0
    return 0.0


CODEC = Codec(
    kind="json",
    sniff=_sniff,
    lossless=packed,
    reduced=reduced,
    guarantees=(
        "Every value comes back as it was written: numbers digit by digit, keys in their order, no null added or lost.",
        "What is kept is verbatim, and what is left out of lists and strings is counted where it was.",
        "Rows that are named, odd or about errors are kept, with both ends.",
        "JSON stays JSON, or is a form that can be read back.",
    ),
)
