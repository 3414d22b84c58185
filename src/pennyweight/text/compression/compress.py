"""One text in, the best of its shorter forms out, never a longer one.

What clients put around a text, the numbers of its lines and an envelope of JSON are taken off first and put back
exactly; a text of several kinds is shortened part by part.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from .codecs import CODECS
from .detect import Found, look
from .parts import Part, parts_of
from .shape import Ask, Codec, Kind, Note
from .wrappers import Enveloped, Numbered, Wrapped, enveloped, numbered, renumbered, unwrapped

__all__ = ["Compressed", "compress"]

log = logging.getLogger(__name__)

CHARS_PER_TOKEN = 4
_WORDY: tuple[Kind, ...] = ("prose", "markdown", "html")
_LEAST_PER_TOKEN = 3.0  # of prose in Latin letters. Chinese has one to two characters a token, Hindi two to three
LONG_CHARS = 4_000_000
"""Longer texts are given to codecs that stream, and are not opened or parted: what a JSON parser or a syntax tree
makes of 50 MB is ten times that."""
SHORT_CHARS = 16
DEEPEST = 3
PART_CHARS = 600

Asked = Kind | Literal["auto"]

_FENCED_KINDS = ("code", "diff", "markdown", "search")
"""Kinds whose own texts hold fences, or lines like them."""

_FENCE = re.compile(r"^(?:```|~~~)", re.MULTILINE)
_OURS = re.compile(r"left out: recall\(\"")


class Compressed(msgspec.Struct, frozen=True):
    """What came of a text. `references`: names under which what is left out must be had. `left_out`: what that is."""

    text: str
    kind: Kind
    tokens_before: int
    tokens_after: int
    lossless: bool = True
    references: tuple[str, ...] = ()
    left_out: str = ""
    guarantees: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        return self.tokens_after < self.tokens_before


class _Form(msgspec.Struct, frozen=True):
    text: str
    left_out: str = ""


class _Work(msgspec.Struct, frozen=True):
    """What all steps of one call need. `note`: None where nothing may be left out."""

    count: Callable[[str], int]
    ask: Ask
    note: Note | None
    codecs: Mapping[Kind, Codec]


def compress(
    text: str,
    *,
    count: Callable[[str], int],
    kind: Asked = "auto",
    ask: Ask = Ask(),  # noqa: B008 - frozen
    room_tokens: int | None = None,
    reference: str | None = None,
    late: Callable[[], bool] | None = None,
    codecs: Mapping[Kind, Codec] = CODECS,
) -> Compressed:
    """The shortest form of a text that keeps what `ask` is about.

    count: tokens of a text. room_tokens: what a form may take in which something is left out; None: nothing is left
    out. reference: the name by which the caller can have the whole text again; without one nothing is left out either.
    late: whether the time for this is over. codecs: others in place of the built-in ones, by kind. Whatever goes
    wrong, and when it is late, the text comes back as it was; so does one that already holds a note of ours, whoever
    wrote it: two notes could not be told apart.
    """
    before = count(text)
    if len(text) < SHORT_CHARS:
        return Compressed(text, "prose" if kind == "auto" else kind, before, before)
    if late is not None:
        ask = msgspec.structs.replace(ask, late=late)
    lossy = reference is not None and room_tokens is not None and _OURS.search(text) is None
    work = _Work(count, ask, (lambda what: note(reference or "", what)) if lossy else None, codecs)
    found = Found("prose", 0.0) if kind == "auto" else Found(kind, 1.0)
    try:
        around = unwrapped(text)
        found = look(around.body) if kind == "auto" else found
        best = _within(around, found, kind, before, room_tokens or 0, work, DEEPEST)
    except TimeoutError:
        best = None
        log.info("a text was left as it is: no time", extra={"kind": found.kind, "length": len(text)})
    except Exception as error:  # noqa: BLE001 - a text may be anything, and must never cost a request
        best = None
        log.warning("a text could not be compressed", extra={"kind": found.kind, "error": type(error).__name__})
    after = before if best is None else count(best.text)
    if best is None or after >= before:
        return Compressed(text, found.kind, before, before)
    codec = codecs.get(found.kind)
    names = (reference,) if best.left_out and reference is not None else ()
    guarantees = codec.guarantees if codec is not None else ()
    return Compressed(best.text, found.kind, before, after, not best.left_out, names, best.left_out, guarantees)


def note(reference: str, left_out: str) -> str:
    """The words by which a reader learns what is missing and how to have it."""
    return f'[{left_out} left out: recall("{reference}") gives the whole text]'


def _best(text: str, tokens: int, room: int, work: _Work, deeper: int) -> _Form | None:
    """The shortest form of a text inside another one; None where none is shorter."""
    around = unwrapped(text)
    return _within(around, look(around.body), "auto", tokens, room, work, deeper)


def _within(
    around: Wrapped, found: Found, kind: Asked, tokens: int, room: int, work: _Work, deeper: int
) -> _Form | None:
    """The shortest form of a text that is of this kind, with all that is around it. `kind`: what the caller said."""
    work.ask.in_time()
    body = around.body
    if len(body) > LONG_CHARS:
        form = _by_codec(body, found.kind, tokens, room, work)
    else:
        form = _opened(body, found, kind, tokens, room, work, deeper)
    return None if form is None else _Form(around.head + form.text + around.tail, form.left_out)


def _opened(body: str, found: Found, kind: Asked, tokens: int, room: int, work: _Work, deeper: int) -> _Form | None:
    envelope = enveloped(body) if kind == "auto" and deeper else None
    within = _in_envelope(envelope, tokens, room, work, deeper) if envelope is not None else None
    if within is not None:
        return within
    lines = numbered(body.split("\n"))
    if lines is not None:
        codec = work.codecs.get(found.kind)
        if codec is not None and codec.numbers:
            return _by_codec(body, found.kind, tokens, room, work)
        return _between_numbers(lines, found.kind, room, work)
    parts = parts_of(body) if kind == "auto" and deeper and (found.mixed or _FENCE.search(body)) else []
    fenced = any(part.fenced for part in parts) and found.kind not in _FENCED_KINDS
    form = _by_parts(parts, tokens, room, work, deeper) if fenced else None
    form = form or _by_codec(body, found.kind, tokens, room, work)
    return form or (_by_parts(parts, tokens, room, work, deeper) if found.mixed and not fenced else None)


def _by_codec(body: str, kind: Kind, tokens: int, room: int, work: _Work) -> _Form | None:
    codec = work.codecs.get(kind)
    if codec is None or (len(body) > LONG_CHARS and not codec.streams):
        return None
    best = _lossless(codec, body, work)
    best_tokens = tokens
    if best is not None:
        best_tokens = work.count(best.text)
        best = best if best_tokens < tokens else None
    work.ask.in_time()
    if work.note is None or best_tokens <= room:
        return best
    shorter = codec.reduced(body, work.ask, _room_chars(body, kind, tokens, room), work.note)
    if shorter is not None and work.count(shorter.text) < min(best_tokens, tokens):
        return _Form(shorter.text, shorter.left_out)
    return best


def _room_chars(body: str, kind: Kind, tokens: int, room: int) -> int:
    """The room in characters. Of prose in scripts that have few to a token, as many as this text has."""
    own = len(body) / max(tokens, 1)
    return int(room * (own if kind in _WORDY and own < _LEAST_PER_TOKEN else CHARS_PER_TOKEN))


def _lossless(codec: Codec, body: str, work: _Work) -> _Form | None:
    work.ask.in_time()
    form = codec.lossless(body)
    return _Form(form) if form is not None and form != body else None


def _in_envelope(envelope: Enveloped, tokens: int, room: int, work: _Work, deeper: int) -> _Form | None:
    form = _best(envelope.body, tokens, room, work, deeper - 1)
    return None if form is None else _Form(envelope.sealed(form.text), form.left_out)


def _between_numbers(lines: Numbered, kind: Kind, room: int, work: _Work) -> _Form | None:
    """Numbered lines are shortened without their numbers, and the lines that are kept get theirs back."""
    plain = "\n".join(lines.lines)
    codec = work.codecs.get(kind)
    if codec is None or work.note is None or work.count(plain) <= room:
        return None
    shorter = codec.reduced(plain, work.ask, room * CHARS_PER_TOKEN, work.note)
    form = renumbered(shorter.text, lines) if shorter is not None else None
    return None if form is None or shorter is None else _Form(form, shorter.left_out)


def _by_parts(parts: list[Part], tokens: int, room: int, work: _Work, deeper: int) -> _Form | None:
    """Each part that is one text of its own in its own form; room as its share of the whole."""
    if len(parts) < 2:
        return None
    made: list[str] = []
    left: list[str] = []
    for part in parts:
        form = None
        if part.own and len(part.text) >= PART_CHARS:
            size = work.count(part.text)
            form = _best(part.text, size, max(room * size // max(tokens, 1), 1), work, deeper - 1)
            if form is not None and work.count(form.text) >= size:
                form = None
        made.append(part.text if form is None else form.text)
        if form is not None and form.left_out:
            left.append(form.left_out)
    text = "".join(made)
    return _Form(text, "; ".join(left)) if text != "".join(part.text for part in parts) else None
