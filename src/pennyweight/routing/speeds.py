"""How long targets take to answer, learned from the answers that came. In memory: a restart learns it anew."""

from __future__ import annotations

import msgspec

from ..call import Target

__all__ = ["Speeds"]

_FIRST_S, _TOKEN_S = 1.0, 0.02  # of a target that nothing is known of: a second to the first token, then 50 a second
_WEIGHT = 0.2  # of the newest answer
_MOST_TARGETS = 1_000


class _Speed(msgspec.Struct):
    first_s: float
    token_s: float


class Speeds:
    """One for a gateway: what holds for a target holds for all who ask it."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Speed] = {}

    def seconds(self, target: Target, output_tokens: float) -> float:
        """From the request to the end of an answer of that length."""
        speed = self._known.get((target.provider, target.model))
        if speed is None:
            return _FIRST_S + _TOKEN_S * output_tokens
        return speed.first_s + speed.token_s * output_tokens

    def answered(self, provider: str, model: str, *, ttft_s: float, latency_s: float, output_tokens: int) -> None:
        """An answer came whole. Where it did not stream, its first byte is its last: the time counts as per token."""
        if latency_s <= 0.0 or output_tokens <= 0:
            return
        first_s = ttft_s if ttft_s < 0.9 * latency_s else min(_FIRST_S, latency_s / 2)
        token_s = (latency_s - first_s) / output_tokens
        known = self._known.get((provider, model))
        if known is None:
            if len(self._known) >= _MOST_TARGETS:
                self._known.clear()
            self._known[provider, model] = _Speed(first_s, token_s)
            return
        known.first_s += _WEIGHT * (first_s - known.first_s)
        known.token_s += _WEIGHT * (token_s - known.token_s)
