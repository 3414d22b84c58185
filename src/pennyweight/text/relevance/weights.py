"""What the features of talk count: a handful of numbers learnt by `python -m bench.relevance_training`."""

from __future__ import annotations

import functools
from importlib import resources

import msgspec

__all__ = ["Weights", "weights"]


class Weights(msgspec.Struct, frozen=True):
    """By name of the feature: without vectors, and with them. `trained_on`: the data and its licence."""

    trained_on: str
    words: dict[str, float]
    vectors: dict[str, float]


@functools.cache
def weights() -> Weights:
    return msgspec.json.decode(resources.files(__package__).joinpath("weights.json").read_bytes(), type=Weights)
