"""What an outline is made of."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["BODY", "DETAIL", "FACT", "HEAD", "Outline", "Part"]

HEAD, FACT, DETAIL, BODY = range(4)
"""Of a line: a signature or an import; a constant, a field, the first line of a comment; a statement or the rest of a
comment outside of any part; the inside of a part."""


class Part(NamedTuple):
    """A function or another body with a name. Indices of lines, counted from 0, both ends meant.

    `first` to `head`: how it is declared, decorators included. After that, to `last`: how it works.
    """

    first: int
    head: int
    last: int
    name: str
    level: int  # of how many classes, namespaces and the like it is inside


class Outline(NamedTuple):
    """`ranks`: for each line one of HEAD, FACT, DETAIL, BODY. `parts` in the order of their first lines, disjoint."""

    ranks: list[int]
    parts: list[Part]
