"""What the nearest stored answers say of a question: which answer most of them give, and how sure that looks. Pure.

Entries are named `GROUP-ENTRY`: the group is the digest of the answer (see `answers`), so neighbours can be counted by
their answers without fetching any of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

__all__ = ["FEATURES", "LOOK_AT", "Neighbourhood", "group", "look", "name"]

LOOK_AT = 32
"""Neighbours that are asked for. More change nothing that was measured; fewer blur how much answers agree."""

FEATURES = ("cosine", "gap", "mass_wide", "mass", "mass_narrow", "rival", "agree_8", "agree_3", "agree_32", "near_8")
"""The names of a neighbourhood's features, in order. See `look`."""

_WIDE, _MIDDLE, _NARROW = 12.0, 30.0, 60.0  # how fast a neighbour's voice fades with its cosine
_LEAST = 0.002  # keeps the log-odds of a unanimous vote finite


class Neighbourhood(msgspec.Struct, frozen=True):
    """The answer that the neighbours speak for (`group`), who of them give it (`entries`, nearest first), and how sure
    that looks (`features`, see FEATURES)."""

    group: str
    entries: tuple[str, ...]
    cosine: float  # of the nearest entry of the group
    features: tuple[float, ...]


def name(group: str, entry: str) -> str:
    return f"{group}-{entry}"


def group(name: str) -> str:
    return name.partition("-")[0]


def look(nearest: Sequence[tuple[str, float]]) -> Neighbourhood | None:
    """The answer with the most voices among the nearest (name, cosine), nearest first; None where there are none.

    cosine: of the nearest entry that gives it; gap: how much nearer that is than the nearest that gives another;
    mass_*: log-odds of its share of the voices, which fade fast, less fast or slowly; rival: log-ratio to the voices
    for the next best answer; agree_N: its share of the N nearest; near_8: mean cosine of the 8 nearest.
    """
    if not nearest:
        return None
    best = nearest[0][1]
    groups = [group(name) for name, _ in nearest]
    voices: dict[str, float] = {}
    for of, (_, cosine) in zip(groups, nearest, strict=True):
        voices[of] = voices.get(of, 0.0) + math.exp(_MIDDLE * (cosine - best))
    chosen = max(voices, key=voices.__getitem__)
    same = [of == chosen for of in groups]
    cosines = [cosine for _, cosine in nearest]
    own = next(c for c, mine in zip(cosines, same, strict=True) if mine)
    other = next((c for c, mine in zip(cosines, same, strict=True) if not mine), cosines[-1] - 0.05)
    second = max((voice for of, voice in voices.items() if of != chosen), default=0.0)
    features = (
        own,
        own - other,
        _mass(cosines, same, _WIDE),
        _mass(cosines, same, _MIDDLE),
        _mass(cosines, same, _NARROW),
        math.log((voices[chosen] + 1e-3) / (second + 1e-3)),
        sum(same[:8]) / 8,
        sum(same[:3]) / 3,
        sum(same) / LOOK_AT,
        sum(cosines[:8]) / max(len(cosines[:8]), 1),
    )
    entries = tuple(name for (name, _), mine in zip(nearest, same, strict=True) if mine)
    return Neighbourhood(chosen, entries, own, features)


def _mass(cosines: Sequence[float], same: Sequence[bool], fade: float) -> float:
    best = cosines[0]
    total = mine = 0.0
    for cosine, is_mine in zip(cosines, same, strict=True):
        voice = math.exp(fade * (cosine - best))
        total += voice
        if is_mine:
            mine += voice
    share = mine / total
    return math.log((share + _LEAST) / (1.0 - share + _LEAST))
