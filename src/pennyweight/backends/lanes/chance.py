"""Whether a batch would be done in time, and whether waiting for it is cheaper on average. Pure.

A batch that is not done at the deadline is paid for twice: the call is asked in the ordinary way, and what the batch
does in the meantime is billed too. So a call goes to a batch only where the expected bill is the smaller one.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...money import PicoUSD

__all__ = ["likely", "pays"]

_BEFORE_WE_KNOW_S = (900.0, 1_800.0, 3_600.0, 3 * 3_600.0, 24 * 3_600.0)
"""What providers say before we have seen any: Anthropic "most batches finish in less than 1 hour", OpenAI "often more
quickly" than its 24 hours. They weigh as much as five batches."""

_NEWEST = 50


def likely(left_s: float, took_s: Sequence[float]) -> float:
    """The chance that a batch is done within that time. took_s: how long earlier ones of the provider took."""
    if left_s <= 0:
        return 0.0
    known = (*_BEFORE_WE_KNOW_S, *took_s[-_NEWEST:])
    return sum(took <= left_s for took in known) / len(known)


def pays(chance: float, foreseen: tuple[PicoUSD, PicoUSD] | None) -> bool:
    """foreseen: what the call costs at once, with what is in the provider's cache, and as a batch that finds nothing
    there; None: not known, then as all providers have it, a half.

    cheap + (1 - chance) * dear < dear: what is asked too late is paid for in both ways.
    """
    dear, cheap = foreseen if foreseen is not None else (2, 1)
    return cheap < chance * dear
