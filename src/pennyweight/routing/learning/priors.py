"""The chance of success before anything was learnt: by task type and class of model, from public outcomes.

Numbers are published answers of 2023 and 2024: RouteLLM's MMLU and GSM8K files (lm-sys/RouteLLM) and ZeroEval's GSM8K,
CRUX and MATH level 5 (WildEval/ZeroEval), both Apache-2.0. How far a class lies below the frontier was measured; that
the frontier gets 95% of what it is asked right is assumed, since nobody's own work is a benchmark. So differences
mean something, levels little, and the mass is that of a few outcomes only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import msgspec

from ...classes import BELOW, Class
from ..reading import TaskType

__all__ = ["Prior", "difficulty", "fall", "prior"]

_FRONTIER = 2.94  # log-odds of 0.95: the assumed anchor

_BELOW: Mapping[TaskType, Mapping[Class, float]] = {
    # log-odds below the frontier. maths: mean over 43 models, GSM8K. question: GPT-4 to Mixtral-8x7B on MMLU (0.806,
    # 0.681); the other classes at maths' proportions. code: 51 models on CRUX (0.78 0.65 0.62 0.43 0.35).
    "maths": {"frontier": 0.0, "large": 0.6, "medium": 1.2, "small": 1.5, "tiny": 2.9},
    "question": {"frontier": 0.0, "large": 0.35, "medium": 0.65, "small": 0.95, "tiny": 1.6},
    "code": {"frontier": 0.0, "large": 0.65, "medium": 0.8, "small": 1.55, "tiny": 1.9},
    # MATH level 5 (0.53 0.43 0.41 0.26 0.15): the nearest to it there is.
    "reasoning": {"frontier": 0.0, "large": 0.45, "medium": 0.7, "small": 1.2, "tiny": 1.9},
}
_MASS, _MASS_ELSEWHERE = 20.0, 10.0  # elsewhere: types of which nothing was measured get the mean of those that were
_SIDE = 0.6  # of the distance, for a client's chores: titles and summaries of what is there. Assumed.

_PER_LENGTH: Mapping[TaskType, tuple[float, float]] = {
    # How the chance falls per 0.7 of log length, at the frontier and elsewhere: about half of what was measured
    # (MMLU -0.004 and -0.035; GSM8K -0.02 and -0.06 to -0.14), as it differs from set to set.
    "question": (0.005, 0.035),
    "maths": (0.005, 0.03),
}
_USUAL_LOG_CHARS: Mapping[TaskType, float] = {"question": 5.6, "maths": 5.4}


_SENTENCE = re.compile(r"[.?!]\s")  # a word problem is told in some; a sum or an equation is not


class Prior(msgspec.Struct, frozen=True):
    """`mass`: how many outcomes it is worth; 0: nothing is known."""

    mean: float
    mass: float


def prior(task: TaskType, kind: Class, *, hard: float = 0.0) -> Prior:
    """hard: as `difficulty` tells."""
    if kind == "unknown":
        return Prior(0.8, 0.0)
    below = _BELOW.get(task)
    mass = _MASS if below is not None else _MASS_ELSEWHERE
    distance = (below or BELOW)[kind] * (_SIDE if task == "side" else 1.0)
    mean = 1.0 / (1.0 + math.exp(distance - _FRONTIER))
    return Prior(min(max(mean - fall(task, kind, hard), 0.02), 0.995), mass)


def fall(task: TaskType, kind: Class, hard: float) -> float:
    """By how much the chance is lower than the type's for a text of that difficulty."""
    per = _PER_LENGTH.get(task)
    if per is None or kind == "unknown":
        return 0.0
    return hard * per[0 if kind == "frontier" else 1]


def difficulty(task: TaskType, text: str) -> float:
    """How much longer than usual a text of prose is, in units of 0.7 of log length; 0 where length tells nothing.

    It tells something of questions and of word problems. Of formulas, of code and of tool calls it was measured to tell
    nothing, or the reverse (APGR 0.47 on MATH, 0.28 on tool calls), so nothing is claimed.
    """
    usual = _USUAL_LOG_CHARS.get(task)
    if usual is None or not text or "\\" in text or (task == "maths" and not _SENTENCE.search(text)):
        return 0.0
    return min(max((math.log1p(len(text)) - usual) / 0.7, -3.0), 3.0)
