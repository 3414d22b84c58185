"""One bill among several callers: tokens and money shared out so that the parts sum to the whole exactly. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...request import Charge, Part, Usage

__all__ = ["charges", "shares", "usages"]

_COUNTS = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
)


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """`total` in parts as the weights are, to the whole unit; they sum to it. Weights of 0 in all are taken as equal.

    By the differences of what is rounded down, so that no part is more than one unit from its exact share.
    """
    if not sum(weights):
        weights = [1] * len(weights)
    whole, so_far, parts = sum(weights), 0, []
    for weight in weights:
        parts.append(total * (so_far + weight) // whole - total * so_far // whole)
        so_far += weight
    return parts


def usages(whole: Usage, inputs: Sequence[int], outputs: Sequence[int]) -> list[Usage]:
    """The usage of each caller. inputs, outputs: what it had of the prompt and of the answer, in any unit."""
    columns = {
        name: shares(getattr(whole, name), outputs if name in ("output_tokens", "reasoning_tokens") else inputs)
        for name in _COUNTS
    }
    return [
        msgspec.structs.replace(whole, **{name: column[at] for name, column in columns.items()})
        for at in range(len(inputs))
    ]


def charges(whole: Charge, parts: Sequence[Usage]) -> list[Charge]:
    """The bill of each caller, whose cost is its part of the cost of the whole, by its tokens weighted as prices mostly
    are: an output token as five, a cached one as a tenth of one."""
    weights = [
        10 * usage.uncached_tokens
        + usage.cache_read_tokens
        + 12 * (usage.cache_write_5m_tokens + usage.cache_write_1h_tokens)
        + 50 * usage.output_tokens
        for usage in parts
    ]
    if not sum(weights):
        weights = [1] * len(parts)
    made, so_far = [], 0
    for usage, weight in zip(parts, weights, strict=True):
        part = Part(whole.usage, so_far, so_far + weight, sum(weights))
        made.append(msgspec.structs.replace(whole, usage=usage, part=part))
        so_far += weight
    return made
