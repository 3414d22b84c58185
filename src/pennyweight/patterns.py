"""Names with `*` for any run of characters, as rules of the configuration have them. Nothing else in one is special."""

from __future__ import annotations

import re

__all__ = ["starred"]


def starred(pattern: str) -> re.Pattern[str]:
    """What a name must match as a whole (`fullmatch`)."""
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL)
