"""Which form of each part of a conversation is kept, so that under a budget of tokens most value stays.

A multiple-choice knapsack, solved greedily: every part begins in its smallest form, and the step up that gains most
value for a token is taken as long as one fits (Sinha and Zoltners, 1979: on the upper hull of each part's forms this is
at most the value of one step below the best). Deterministic: of equal steps the later part's is taken first.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Literal

import msgspec

__all__ = ["LEVELS", "Form", "Level", "Plan", "plan"]

Level = Literal["verbatim", "compressed", "summarised", "reference", "dropped"]
LEVELS: tuple[Level, ...] = ("verbatim", "compressed", "summarised", "reference", "dropped")


class Form(msgspec.Struct, frozen=True):
    """One way to send a part. `value`: of what a reader has in this form, at least 0."""

    level: Level
    tokens: int
    value: float


class Plan(msgspec.Struct, frozen=True):
    """`chosen`: for each part the place of its form. `tokens` and `value` of all together; `fits`: into the budget."""

    chosen: tuple[int, ...]
    tokens: int
    value: float
    fits: bool


def plan(parts: Sequence[Sequence[Form]], budget_tokens: int) -> Plan:
    """The forms to keep. Each part has at least one form; its first is taken where all first forms fit together.

    Where not even the smallest forms fit, those are chosen, and the plan says so.
    """
    if sum(forms[0].tokens for forms in parts) <= budget_tokens:
        return _told(parts, [0] * len(parts), budget_tokens)
    hulls = [_hull(forms) for forms in parts]
    at = [0] * len(parts)  # how far up its hull each part stands
    left = budget_tokens - sum(forms[hull[0]].tokens for forms, hull in zip(parts, hulls, strict=True))
    steps = [
        step for number in range(len(parts)) if (step := _step(parts[number], hulls[number], 0, number)) is not None
    ]
    heapq.heapify(steps)
    while steps:
        _, number, cost = heapq.heappop(steps)
        if cost > left:
            continue  # nor would a larger form of this part fit
        left -= cost
        at[-number] += 1
        step = _step(parts[-number], hulls[-number], at[-number], -number)
        if step is not None:
            heapq.heappush(steps, step)
    return _told(parts, [hull[place] for hull, place in zip(hulls, at, strict=True)], budget_tokens)


def _hull(forms: Sequence[Form]) -> list[int]:
    """Places of the forms on the upper hull of value over tokens, from the smallest up."""
    ordered = sorted(range(len(forms)), key=lambda at: (forms[at].tokens, -forms[at].value, at))
    hull: list[int] = []
    for at in ordered:
        if hull and forms[at].value <= forms[hull[-1]].value:
            continue  # larger, and worth no more
        while len(hull) > 1 and _density(forms, hull[-2], hull[-1]) <= _density(forms, hull[-1], at):
            hull.pop()
        hull.append(at)
    return hull


def _density(forms: Sequence[Form], low: int, high: int) -> float:
    return (forms[high].value - forms[low].value) / (forms[high].tokens - forms[low].tokens)


def _step(forms: Sequence[Form], hull: list[int], place: int, number: int) -> tuple[float, int, int] | None:
    """(minus the value it gains for a token, minus the part's number, what it costs)."""
    if place + 1 >= len(hull):
        return None
    low, high = hull[place], hull[place + 1]
    return -_density(forms, low, high), -number, forms[high].tokens - forms[low].tokens


def _told(parts: Sequence[Sequence[Form]], chosen: Sequence[int], budget_tokens: int) -> Plan:
    forms = [part[place] for part, place in zip(parts, chosen, strict=True)]
    tokens = sum(form.tokens for form in forms)
    return Plan(tuple(chosen), tokens, sum(form.value for form in forms), tokens <= budget_tokens)
