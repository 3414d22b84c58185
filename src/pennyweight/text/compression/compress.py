"""One text in, the best of its shorter forms out, never a longer one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

import msgspec

from .codecs import CODECS
from .detect import detect
from .shape import Ask, Kind

__all__ = ["Compressed", "compress"]

log = logging.getLogger(__name__)

CHARS_PER_TOKEN = 4


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


def compress(
    text: str,
    *,
    count: Callable[[str], int],
    kind: Kind | Literal["auto"] = "auto",
    ask: Ask = Ask(),  # noqa: B008 - frozen
    room_tokens: int | None = None,
    reference: str | None = None,
) -> Compressed:
    """The shortest form of a text that keeps what `ask` is about.

    count: tokens of a text. room_tokens: what a form may take in which something is left out; None: nothing is left
    out. reference: the name by which the caller can have the whole text again; without one nothing is left out either.
    Whatever goes wrong, the text comes back as it was.
    """
    before = count(text)
    found = detect(text) if kind == "auto" else kind
    codec = CODECS.get(found)
    same = Compressed(text, found, before, before)
    if codec is None or not text:
        return same
    best = same
    try:
        form = codec.lossless(text)
        if form is not None and (after := count(form)) < before:
            best = Compressed(form, found, before, after, guarantees=codec.guarantees)
        if reference is None or room_tokens is None or best.tokens_after <= room_tokens:
            return best
        shorter = codec.reduced(text, ask, room_tokens * CHARS_PER_TOKEN, lambda what: note(reference, what))
        if shorter is not None and (after := count(shorter.text)) < best.tokens_after:
            kept = not shorter.left_out
            names = () if kept else (reference,)
            best = Compressed(shorter.text, found, before, after, kept, names, shorter.left_out, codec.guarantees)
    except Exception as error:  # noqa: BLE001 - a text may be anything, and must never cost a request
        log.warning("a text could not be compressed", extra={"kind": found, "error": type(error).__name__})
    return best


def note(reference: str, left_out: str) -> str:
    """The words by which a reader learns what is missing and how to have it."""
    return f'[{left_out} left out: recall("{reference}") gives the whole text]'
