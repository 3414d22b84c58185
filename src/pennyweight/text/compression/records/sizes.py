"""About how many tokens a text has, where two forms of one text are compared; what is charged is counted elsewhere."""

from __future__ import annotations

import re

__all__ = ["about_tokens"]

_PIECE = re.compile(r" ?[^\W\d_]{1,9}|\d{1,3}|[^\w\s]{1,3}\n?|\s+|_")


def about_tokens(text: str) -> int:
    """Within a tenth of o200k_base on JSON and what becomes of it; both forms err alike."""
    return sum(1 for _ in _PIECE.finditer(text))
