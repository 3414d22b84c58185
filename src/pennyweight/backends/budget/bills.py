"""What an answer is billed as, where what is told of it is not the whole truth."""

from __future__ import annotations

from collections.abc import Sequence

from ...call import Call
from ...request import Charge, Operation

__all__ = ["greater", "in_background"]


def greater(told: Sequence[Charge], counted: Sequence[Charge]) -> Sequence[Charge]:
    """Of two accounts of one answer the one with more tokens."""

    def sizes(charges: Sequence[Charge]) -> int:
        return sum(charge.usage.total_tokens for charge in charges)

    return counted if sizes(counted) > sizes(told) else told


def in_background(call: Call) -> bool:
    """Whether the provider goes on with it after its answer: Responses with `background`, by callers' own wish."""
    request = call.request
    if request.operation is not Operation.GENERATE or b'"background"' not in request.raw:
        return False
    return request.body.get("background") is True
