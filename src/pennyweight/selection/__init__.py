"""Which of several, learnt from outcomes: agents or targets per task type, behind one protocol.

`Posterior` is the default; `Pheromone`, `Ucb` and `Thompson` stand beside it. `Selection` shares what they learn
between processes through a store.
"""

from .choosing import Candidate, Choice, Selector, Standing, Told, Utility
from .posterior import Posterior
from .rules import NAMES, Rule, selector
from .shared import Selection

__all__ = [
    "NAMES",
    "Candidate",
    "Choice",
    "Posterior",
    "Rule",
    "Selection",
    "Selector",
    "Standing",
    "Told",
    "Utility",
    "selector",
]
