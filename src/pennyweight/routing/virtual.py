"""A virtual model as one call finds it: its candidates in order of tier, and what is so of each."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ..call import Target
from .settings import Aim, TargetTable

__all__ = ["Candidate", "Live", "Lookout", "Virtual"]


class Candidate(msgspec.Struct, frozen=True):
    """One target that may answer. `rank`: of its tier among the virtual model's own, 0 the cheapest. keyed: the gateway
    can ask it with a key of its own, or it needs none."""

    target: Target
    tier: str
    rank: int
    facts: TargetTable
    keyed: bool = True


class Virtual(msgspec.Struct, frozen=True):
    """A virtual model in the protocol of a caller. `reference`: where a call goes that nobody routes."""

    name: str
    aim: Aim
    candidates: tuple[Candidate, ...]
    reference: Target
    bar: float | None = None
    task: str = ""
    cascade: bool = False
    peer: Target | None = None
    shares: tuple[tuple[str, float], ...] = ()  # the soft goal of each tier that has one


class Live(msgspec.Struct, frozen=True):
    """What is so of a target at this moment."""

    resting: bool = False  # it failed lately, and is left alone
    quota_left: int | None = None  # requests that its quota still gives now; None: it has none
    fits: bool = True  # its model is loaded, or there is memory for it
    load_s: float = 0.0  # until it is loaded
    wait_s: float = 0.0  # for a slot


Lookout = Callable[[Target], Live]
"""How a target is now. Never waits, and never raises."""
