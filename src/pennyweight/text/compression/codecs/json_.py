"""JSON: fields named once and every value as it was written; in long lists the ends, the odd and what is asked for.

What stands before and after a JSON text (an exit code, a reminder) stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice

from ..records import NotExact, NotPacked, Value, compact, named, parse, parse_all, read, spelled, write
from ..records.pruning import Limits, Pruner
from ..records.sizes import about_tokens
from ..records.truncated import cut
from ..records.values import MAX_CHARS, exactly_equal, scan
from ..shape import Ask, Codec, Note, Sample, Shorter

__all__ = ["CODEC", "packed", "unpacked"]

LINES = "jsonl"
"""The first line of what was several values, one after another."""

LEAST_GAIN = 0.05
"""What the packed form must save over JSON without spaces, which every reader knows."""

_MEMBER = re.compile(r'"\s*:\s*["\d\[{tfn-]')
MEMBER_CHARS = 200
"""A text that breaks off is JSON where members come as close as this."""

LEAST_BROKEN_CHARS = 400

SURE_SHARE = 0.7
"""A form with so few of the characters is not counted: it has fewer tokens."""

_INSIDE = re.compile(r"^\[json (\d+)( [\]}]+)?\]\n", re.MULTILINE)
"""Before a packed form with something around it: its lines, and the brackets that the text broke off without."""

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
        before, body, shut, after = _parts(text)
        form = _form(_values(body))
    except (NotExact, NotPacked, RecursionError):
        return None
    whole = form if not before and not shut and not after.strip() else _inside(before, form, shut, after)
    return whole if whole is not None and len(whole) < len(text) else None


def unpacked(text: str) -> str:
    """What `packed` was given, as JSON without spaces. Raises NotPacked."""
    found = _INSIDE.search(text)
    if found is not None:
        lines = text[found.end() :].split("\n")
        size, shut = int(found[1]), (found[2] or "").strip()
        whole = unpacked("\n".join(lines[:size])).removesuffix(shut)
        after = "\n".join(["", *lines[size:]])
        return text[: found.start()] + whole + (after.removeprefix("\n") if shut else after)
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


def _parts(text: str) -> tuple[str, str, str, str]:
    """What stands before a JSON text, the text, the brackets that it broke off without, and what stands after it.

    Raises NotExact.
    """
    if len(text) > MAX_CHARS:
        raise NotExact(f"{len(text)} characters")
    try:
        parse_all(text)
        return "", text, "", ""
    except NotExact as error:
        broken_off = error
    for found in _bodies(text):
        try:
            value, end = scan(text, found)
        except NotExact:
            continue
        most = text[end : end + 1] in ("", "\n") and (end - found) * 2 > len(text)
        if most and value and isinstance(value, dict | list):
            return text[:found], text[found:end], "", text[end:]
    part = cut(text) if len(text) >= LEAST_BROKEN_CHARS and _BEGIN.match(text) else None
    if part is None or len(part.rest) > len(part.whole):
        raise broken_off
    return "", part.whole, part.shut, part.rest


def _bodies(text: str) -> Iterator[int]:
    """Where a JSON text may begin."""
    return (found.start() for found in islice(_BODY.finditer(text, 0, WRAPPER_CHARS), 4))


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


def _inside(before: str, form: str, shut: str, after: str) -> str | None:
    if _INSIDE.search(before):
        return None
    size = form.count("\n") + 1
    if shut:
        return f"{before}[json {size} {shut}]\n{form}\n{after}"
    return f"{before}[json {size}]\n{form}{after}" if not after or after.startswith("\n") else None


def reduced(text: str, ask: Ask, room: int, note: Note) -> Shorter | None:
    """The gentlest cut that fits the room; the hardest where none does."""
    try:
        before, body, shut, after = _parts(text)
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
            rest = f"\n{after}" if shut else after
            made = Shorter(f"{before}{form}{rest}", pruned.left_out)
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
                return 0.95 if _values(_parts(head)[1]) else 0.0
            except (NotExact, RecursionError):
                return 0.0
        if sample.tail.rstrip()[-1:] in ("}", "]"):
            return 0.9
        return 0.7 if len(_MEMBER.findall(head)) * MEMBER_CHARS > len(head) else 0.0
    for at in _bodies(head):
        if at and _BEGIN.match(head, at) and re.search(r"[}\]]\s*$", sample.tail, re.MULTILINE):
            if sample.length > len(head):
                return 0.6
            try:
                return 0.8 if _parts(head)[0] else 0.0
            except (NotExact, RecursionError):
                return 0.0
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
