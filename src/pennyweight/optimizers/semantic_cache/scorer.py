"""May this kept answer be served for this question? Vetoes first, then a small trained scorer.

`decide` is pure and takes about 0.1 ms: it is what the semantic cache asks, and what `bench.semantic_pairs` measures.
"""

from __future__ import annotations

import functools
import json
import math
from importlib import resources

import msgspec

from .facets import Facets
from .features import FEATURES, features
from .vetoes import compare

__all__ = ["Decision", "Weights", "decide", "weights"]


class Weights(msgspec.Struct, frozen=True):
    """What `train.py` learnt; see `weights.json` for what it was trained on."""

    names: tuple[str, ...]
    values: tuple[float, ...]
    threshold: float  # score from which a pair is a hit, where nothing was calibrated
    floor: float  # cosine below which nothing is a hit
    close_floor: float  # the same where words differ that are not of general use
    strict_floor: float  # the same where the vetoes cannot read the language


class Decision(msgspec.Struct, frozen=True):
    """`score` in [0, 1] rises with the chance that the answer fits; 0 under a veto. `reason` says why not, or why."""

    hit: bool
    score: float
    reason: str


@functools.cache
def weights() -> Weights:
    """The shipped weights. Raises ValueError when they are of another set of features."""
    text = resources.files(__package__).joinpath("weights.json").read_bytes()
    found = msgspec.convert(json.loads(text)["weights"], Weights)
    if found.names != FEATURES:
        raise ValueError(f"weights.json is for {found.names}, this code reckons {FEATURES}; train it anew")
    return found


def decide(
    a: Facets,
    b: Facets,
    *,
    cosine: float,
    static_cosine: float,
    threshold: float | None = None,
    given: Weights | None = None,
) -> Decision:
    """May the answer to `a` be served for `b`? Cosines are of the whole texts. `threshold`: in place of the shipped."""
    by = given or weights()
    compared = compare(a, b)
    if compared.veto:
        return Decision(False, 0.0, compared.veto)
    if compared.same:
        return Decision(True, 1.0, "the same words")
    if a.language != "en":
        if cosine < by.strict_floor:
            return Decision(False, 0.0, f"cosine {cosine:.3f} under {by.strict_floor} for a language without vetoes")
        return Decision(True, cosine, f"cosine {cosine:.3f}")
    floor = by.close_floor if compared.close else by.floor
    if cosine < floor:
        return Decision(False, 0.0, f"cosine {cosine:.3f} under {floor}")
    row = features(a, b, compared, cosine=cosine, static_cosine=static_cosine)
    score = 1.0 / (1.0 + math.exp(-sum(value * weight for value, weight in zip(row, by.values, strict=True))))
    least = by.threshold if threshold is None else threshold
    if score < least:
        return Decision(False, score, f"score {score:.2f} under {least:.2f}")
    return Decision(True, score, f"score {score:.2f}")
