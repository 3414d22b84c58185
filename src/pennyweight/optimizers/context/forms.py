"""The shorter forms of a text of a conversation: compressed, summarised, or what is left in its place.

What was JSON stays JSON. Every form but a lossless one says that something is missing and how to have it, begins or
ends with words by which it is known again, and is never shortened a second time.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ...text.compression import Ask, compress
from ...text.compression.codecs.json_ import packed, unpacked
from ...text.compression.digest import missing
from ...text.compression.patterns import filled_in, said_by_pattern
from ...text.context import Level
from ...text.relevance import select, sentences

__all__ = ["Count", "Shape", "is_json", "is_ours", "shapes", "unfolded"]

Count = Callable[[str], int]

_OURS = "[compacted: "
_ROOM = 0.45  # of a text that its compressed form may take
_SUMMARY = 0.12  # and its summary
_LEAST_TOKENS = 48


class Shape(msgspec.Struct, frozen=True):
    """One form of one text. `lossless`: nothing is missing."""

    level: Level
    text: str
    tokens: int
    lossless: bool = False


def is_ours(text: str) -> bool:
    """Whether a text is one of our shorter forms already, of this or of an earlier compaction."""
    return _OURS in text[:200] or _OURS in text[-400:] or "left out: recall(" in text


def shapes(
    text: str,
    *,
    count: Count,
    ask: Ask,
    reference: str,
    reversible: bool,
    lossy: bool,
    summary: str = "",
    instead_of: str | None = None,
    again: bool = False,
) -> list[Shape]:
    """The forms of a text that are shorter than it, longest first. The text itself is none of them.

    reference: the name of the text, told to the reader where `reversible`. lossy: also forms in which something is
    missing. summary: made ahead by somebody else, in place of our own. instead_of: what is sent of the text now, than
    which forms must be shorter. again: also where that is a form of ours already.
    """
    now = text if instead_of is None else instead_of
    if (is_ours(now) and not again) or (sent := count(now)) < _LEAST_TOKENS:
        return []
    text = _compact(text)
    tokens = count(text)
    found: list[Shape] = []

    def offer(level: Level, form: str, *, lossless: bool = False) -> None:
        if len(form) < len(now) and (size := count(form)) < min((shape.tokens for shape in found), default=sent):
            found.append(Shape(level, form, size, lossless))

    name = reference if reversible else None
    room = max(int(tokens * _ROOM), _LEAST_TOKENS)
    form = compress(text, count=count, ask=ask, reference=name if lossy else None, room_tokens=room)
    if form.changed:
        offer("compressed", form.text, lossless=form.lossless)
    if not lossy:
        return found
    note = _note(tokens, name)
    kept = summary or _summary(text, ask, max(int(tokens * _SUMMARY), _LEAST_TOKENS), count)
    if kept:
        offer("summarised", _written(text, note, kept, missing(text, kept)))
    offer("reference", _written(text, note, "", missing(text, "")))
    return found


def _note(tokens: int, reference: str | None) -> str:
    back = f'; recall("{reference}") gives it back' if reference is not None else ""
    return f"{_OURS}{tokens:,} tokens{back}]"


def _written(text: str, note: str, kept: str, told: str) -> str:
    """The parts of a form, as JSON where the text was JSON."""
    if is_json(text):
        parts = {"note": note, "kept": kept, "names": told}
        return msgspec.json.encode({key: value for key, value in parts.items() if value}).decode()
    names = f"names: {told}" if told else ""
    return "\n".join(part for part in (note, kept, names) if part)


def is_json(text: str) -> bool:
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, UnicodeEncodeError):
        return False
    return True


def _compact(text: str) -> str:
    """JSON without spaces, as it is read back from the shorter notation, so that both have the same forms."""
    try:
        form = packed(text) if is_json(text) else None
        return unpacked(form) if form is not None else text
    except (ValueError, RecursionError):
        return text


def unfolded(text: str) -> str:
    """JSON that stands in the shorter notation, as JSON; lines said by a pattern, line by line; any other text as it
    is."""
    if text[:1] in ("{", "[") and is_json(text):
        return text
    try:
        if "lines, below only what stands for each" in text:
            whole = filled_in(text)
            return whole if said_by_pattern(whole) == text else text
        whole = unpacked(text)
        return whole if is_json(whole) and packed(whole) == text else text
    except (ValueError, RecursionError):
        return text


def _summary(text: str, ask: Ask, room: int, count: Count) -> str:
    """The sentences and lines that matter most for what is asked, in their order."""
    pieces = sentences(text)
    if len(pieces) < 2 or is_json(text):
        return ""
    fenced = [at for at, piece in enumerate(pieces) if piece.startswith("```")]  # an agent's command, most often
    chosen = select(pieces, f"{ask.query}\n{ask.arguments}", budget_tokens=room, count=count, always=fenced)
    out, last = [], -1
    for at in chosen.kept:
        if last >= 0 and at != last + 1:
            out.append("… ")
        out.append(pieces[at])
        last = at
    return "".join(out).strip()
