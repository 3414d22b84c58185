"""How many tokens a character makes, by who says it: what new text is taken for until somebody has counted it."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["Rates"]

Who = tuple[str, bool]
"""The role, and whether it is the result of a tool."""


class Rates:
    """Of one conversation. Learned from its counted blocks, the newest of which weigh most."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[Who, tuple[float, float]] = {}  # tokens, characters

    def learn(self, who: Who, tokens: int, characters: int) -> None:
        before_tokens, before_characters = self._known.get(who, (0.0, 0.0))
        self._known[who] = before_tokens * _MEMORY + tokens, before_characters * _MEMORY + characters

    def count(self, who: Who) -> Callable[[str], int] | None:
        """Tokens of a text, estimated; None where too little is known of who says it."""
        tokens, characters = self._known.get(who, (0.0, 0.0))
        if characters < _ENOUGH:
            return None
        rate = tokens / characters
        return lambda text: math.ceil(len(text) * rate)


_MEMORY = 0.8
_ENOUGH = 500  # characters, below which a rate is one text's
