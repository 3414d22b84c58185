"""The rules by name, and their settings."""

from __future__ import annotations

from random import Random
from typing import Literal, get_args

import msgspec

from .choosing import Selector, Utility
from .pheromone import Pheromone
from .posterior import Posterior
from .thompson import Thompson
from .ucb import Ucb

__all__ = ["NAMES", "Name", "Rule", "Store", "selector"]

Name = Literal["posterior", "pheromone", "ucb", "thompson"]

NAMES: tuple[str, ...] = get_args(Name)


Store = Literal["sqlite", "memory", "redis", "postgres"]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[selection]: which rule chooses, what an outcome is worth to it (see `Utility`), and where that is kept.

    store: "sqlite" is this machine's, for all its processes; "redis" and "postgres" are those of [cache], for all
    machines; "memory" is forgotten when the process ends.
    """

    rule: Name = "posterior"
    store: Store = "sqlite"
    token_weight: float = 0.0
    half_tokens: float = 10_000.0
    latency_weight: float = 0.0
    half_latency_s: float = 30.0

    @property
    def utility(self) -> Utility:
        """Raises BadRequest for weights that make no sense."""
        return Utility(self.token_weight, self.half_tokens, self.latency_weight, self.half_latency_s)


def selector(rule: Rule, random: Random) -> Selector:
    """A new one that has learnt nothing."""
    match rule.rule:
        case "posterior":
            return Posterior(random=random, utility=rule.utility)
        case "pheromone":
            return Pheromone(random=random, utility=rule.utility)
        case "ucb":
            return Ucb(random=random, utility=rule.utility)
        case "thompson":
            return Thompson(random=random, utility=rule.utility)
