"""What the nearest stored answers say of a question: which answer most of them give, and how sure that looks. Pure.

Entries are named `GROUP-ENTRY`: the group is the digest of the answer (see `answers`), so neighbours are counted by
their answers without fetching any of them. Needs numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FEATURES", "LOOK_AT", "Floats", "Ints", "entry_name", "group_in", "look", "look_once"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

LOOK_AT = 32
"""Neighbours that are asked for. More change nothing that was measured; fewer blur how much answers agree."""

FEATURES = ("cosine", "gap", "mass_wide", "mass", "mass_narrow", "rival", "agree_8", "agree_3", "agree_32", "near_8")

_WIDE, _MIDDLE, _NARROW = 12.0, 30.0, 60.0  # how fast a neighbour's voice fades with its cosine
_LEAST = 0.002  # keeps the log-odds of a unanimous vote finite
_ABSENT = -1
_FAR = -1.0  # the cosine of a neighbour that is not there: its voice is nothing


def entry_name(group: str, entry: str) -> str:
    return f"{group}-{entry}"


def group_in(name: str) -> str:
    return name.partition("-")[0]


def look(cosines: Floats, groups: Ints) -> tuple[Ints, Floats]:
    """(place of the nearest entry that gives the chosen answer, features (n, 10)) for n questions at once.

    cosines: (n, LOOK_AT) descending, -1 where there are fewer; groups: (n, LOOK_AT) numbers of answers, -1 likewise.
    Chosen is the answer with the most voices; a voice fades with the cosine. Features: cosine: of its nearest entry;
    gap: how much nearer that is than the nearest of another answer; mass_*: log-odds of its share of voices that fade
    fast, less fast and slowly; rival: log-ratio to the voices for the next best answer; agree_N: its share of the N
    nearest; near_8: mean cosine of the 8 nearest.
    """
    rows = np.arange(len(cosines))
    here = groups != _ABSENT
    behind = (cosines - cosines[:, :1]).astype(np.float64)
    equal = (groups[:, :, None] == groups[:, None, :]) & here[:, :, None] & here[:, None, :]
    voices = np.where(here, np.exp(_MIDDLE * behind), 0.0)
    sums = np.einsum("nij,nj->ni", equal, voices)  # of each neighbour's answer
    chosen = sums.argmax(axis=1)
    same = equal[rows, chosen]
    other = here & ~same
    own = cosines[rows, chosen]
    last = np.where(here, cosines, np.inf).min(axis=1)
    nearest_other = np.where(other.any(axis=1), np.where(other, cosines, _FAR).max(axis=1), last - 0.05)
    rival = np.where(other, sums, 0.0).max(axis=1)
    features = np.stack(
        [
            own,
            own - nearest_other,
            _mass(behind, same, here, _WIDE),
            _mass(behind, same, here, _MIDDLE),
            _mass(behind, same, here, _NARROW),
            np.log((sums[rows, chosen] + 1e-3) / (rival + 1e-3)),
            same[:, :8].mean(axis=1),
            same[:, :3].mean(axis=1),
            same.mean(axis=1),
            np.where(here, cosines, 0.0)[:, :8].mean(axis=1),
        ],
        axis=1,
    )
    return chosen, features


def _mass(behind: Floats, same: NDArray[np.bool_], here: NDArray[np.bool_], fade: float) -> Floats:
    voices = np.where(here, np.exp(fade * behind), 0.0)
    share = np.where(same, voices, 0.0).sum(axis=1) / voices.sum(axis=1)
    odds: Floats = np.log((share + _LEAST) / (1.0 - share + _LEAST))
    return odds


def look_once(cosines: Sequence[float], groups: Sequence[int]) -> tuple[int, tuple[float, ...]]:
    """`look` for one question, while its caller waits: the same in plain Python, five times as fast for so few numbers.

    cosines: at most LOOK_AT, descending; groups: as many.
    """
    nearest = cosines[0]
    behind = [cosine - nearest for cosine in cosines]
    voices = [math.exp(_MIDDLE * far) for far in behind]
    sums: dict[int, float] = {}
    for group, voice in zip(groups, voices, strict=True):
        sums[group] = sums.get(group, 0.0) + voice
    mine = max(sums, key=sums.__getitem__)  # of several, the one whose first neighbour is nearest: dicts keep order
    chosen = groups.index(mine)
    same = [group == mine for group in groups]
    others = [cosine for cosine, is_mine in zip(cosines, same, strict=True) if not is_mine]
    own = cosines[chosen]
    nearest_other = others[0] if others else cosines[-1] - 0.05
    rival = max((voice for group, voice in sums.items() if group != mine), default=0.0)
    features = (
        own,
        own - nearest_other,
        _odds([math.exp(_WIDE * far) for far in behind], same),
        _odds(voices, same),
        _odds([math.exp(_NARROW * far) for far in behind], same),
        math.log((sums[mine] + 1e-3) / (rival + 1e-3)),
        sum(same[:8]) / 8,
        sum(same[:3]) / 3,
        sum(same) / LOOK_AT,
        sum(cosines[:8]) / 8,
    )
    return chosen, features


def _odds(voices: Sequence[float], same: Sequence[bool]) -> float:
    share = sum([voice for voice, is_mine in zip(voices, same, strict=True) if is_mine]) / sum(voices)
    return math.log((share + _LEAST) / (1.0 - share + _LEAST))
