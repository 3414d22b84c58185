"""Whether a change of a prompt's text may be made, besides paying: what is warm stays, and rounding must not eat it.
Pure."""

from __future__ import annotations

import msgspec

from ..prefix import Chain
from ..warmth import Forecast
from .foreseen import Foreseen, Worth
from .pricing import cost_now, falls_short, rounding, unwritten

__all__ = ["COLD", "rewriting"]

COLD = 0.06
"""A prefix that is warm with at most this probability may be rewritten."""


def rewriting(
    seen: Foreseen,
    chain: Chain,
    same: int,
    before: Forecast,
    after: Forecast,
    worth: Worth,
    *,
    restored: bool,
) -> Worth:
    """What is added to a change of the text: a warm prefix is left alone unless this very call gains by it."""
    assert seen.rates is not None
    start = seen.chain[same - 1].upto if same else 0
    if seen.stranger and not restored and _said(seen.chain) > start:
        return msgspec.structs.replace(
            worth, refused="the conversation went on before the gateway saw it: its cache may be warm", waits=True
        )
    if worth.tokens > 0 and falls_short(seen, before, after):
        return msgspec.structs.replace(worth, refused="the prompt would stay below what a provider caches")
    if before.known_to > same and before.warm > COLD:
        warm = msgspec.structs.replace(before, read_tokens=before.known_tokens, **unwritten(before))
        now = cost_now(warm, seen.rates) - cost_now(after, seen.rates)
        if now < 0:
            lost = f"{before.known_tokens - after.read_tokens:,.0f} tokens in the provider's cache would be lost"
            return msgspec.structs.replace(worth, now=now, refused=lost, waits=worth.tokens > 0)
    short = seen.rules.kind != "none" and before.prompt_tokens < 2 * seen.rules.min_tokens
    if not restored and (short or worth.tokens <= 2 * (seen.rules.step_tokens - 1)):
        return msgspec.structs.replace(worth, refused="less than what the provider's least length and steps may cost")
    if not restored and worth.total < rounding(seen):
        return msgspec.structs.replace(worth, refused="what it saves is less than what rounding may cost")
    return worth


def _said(chain: Chain) -> int:
    """Tokens up to the last turn of the model: what the provider has seen before."""
    for segment in reversed(chain):
        if segment.role in ("assistant", "model"):
            return segment.upto
    return 0
