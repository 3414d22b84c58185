"""Texts as they are embedded: an embedder reads 256 tokens, so of a longer text the beginning and the end are taken."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["shortenings"]

_CHARS = (1_000, 700, 450, 250)  # dense text has two characters to a token


def shortenings(text: str) -> Iterator[str]:
    """The text if it is short, then ever shorter excerpts: three quarters of the beginning, a quarter of the end."""
    if len(text) <= _CHARS[0]:
        yield text
    for chars in _CHARS:
        if len(text) > chars:
            head = chars * 3 // 4
            yield f"{text[:head]} {text[head - chars :]}"
