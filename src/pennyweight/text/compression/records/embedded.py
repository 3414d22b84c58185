"""Strings that are JSON texts themselves, as envelopes of tools carry them: opened where they can be shut again."""

from __future__ import annotations

from .values import MAX_CHARS, NotExact, Style, Value, dump, parse, style_of

__all__ = ["opened", "shut"]

LEAST_CHARS = 24
"""A shorter one is read as easily in quotes."""


def opened(text: str) -> tuple[str, Value] | None:
    """The name of the style and the value of a JSON text that comes out of it letter by letter, else None."""
    if not LEAST_CHARS <= len(text) <= MAX_CHARS or text[-1] not in "}]":
        return None
    name = style_of(text)
    if name is None:
        return None
    try:
        value = parse(text)
        return (name, value) if value and dump(value, Style(name)) == text else None
    except (NotExact, RecursionError):
        return None


def shut(style: str, value: Value) -> str:
    return dump(value, Style(style))
