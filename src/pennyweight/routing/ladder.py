"""Where a call of a cascade may go, and what came of its first target's answer."""

from __future__ import annotations

from typing import Literal

import msgspec

from ..call import Call, Target

__all__ = ["JUDGED", "Judged", "climb", "ladder"]

JUDGED = "judged"
"""The key of `Call.facts` under which a cascade leaves what it found of its first target's answer: a `Judged`."""


class Judged(msgspec.Struct, frozen=True):
    """Whether the answer of `target` was good, as far as a cascade can tell. source: "comparison" with the strongest
    one's, on calls drawn by chance; "agreement" of a second model; "validity" as verifiers see it. An answer that a
    peer contradicts is not judged, so only comparisons tell how often a target is right."""

    target: Target
    good: bool
    source: Literal["comparison", "agreement", "validity"]


def climb(call: Call) -> tuple[Target, ...]:
    """Where a call of a cascade goes when its first answer is not kept: the strongest first, the others where that
    fails. What is lost is reckoned against the strongest, so a rung between is no place to stop at unjudged."""
    return tuple(reversed(call.rungs.strong)) if call.rungs is not None else ()


def ladder(call: Call) -> tuple[Target, ...]:
    """Every target that may bill this call, once each: its own, and of a cascade the peer and the stronger ones.

    The worst case of the call is the sum of its worst cases there: a comparison asks them all.
    """
    rungs = call.rungs
    if rungs is None:
        return (call.target,)
    peer = (rungs.peer,) if rungs.peer is not None else ()
    return tuple(dict.fromkeys((call.target, *peer, *rungs.strong)))
