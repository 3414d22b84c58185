"""The table: Beta posteriors of success by task type and model, shrunk towards what is known of the model's class.

From the class (shipped priors), to the model over all types, to the type over all models, to the cell, to the agent:
each level is pulled to the one above by so many outcomes as that is worth. So 131 agents on three models are not
131 times 12 cells to be learnt, but three models, and the agents differ from them when they have shown it.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import msgspec

from ...classes import class_of
from ..reading import TaskType
from .outcomes import Told
from .priors import Prior, fall, prior

__all__ = ["Cell", "Posterior", "Table"]

_MODEL_MASS = 20.0  # outcomes that a model must have against its class before half of the difference is believed
_TYPE_MASS = 40.0
_AGENT_MASS = 20.0
_AGENTS = 20_000  # cells of agents that are kept, the ones last seen


class Cell(msgspec.Struct):
    """`good`, `seen`: weights of outcomes. `excess`: of successes above what was expected of them."""

    seen: float = 0.0
    good: float = 0.0
    excess: float = 0.0

    def add(self, success: float, weight: float, expected: float) -> None:
        self.seen += weight
        self.good += weight * success
        self.excess += weight * (success - expected)


class Posterior(msgspec.Struct, frozen=True):
    """`mean`: the chance of success. `mass`: outcomes it is worth, the prior's included. `seen`: own outcomes of the
    type and model behind it; `related`: own outcomes of the model with other types."""

    mean: float
    mass: float
    seen: float
    related: float = 0.0

    @property
    def sd(self) -> float:
        return math.sqrt(max(self.mean * (1.0 - self.mean), 0.01) / (self.mass + 1.0))


class Table:
    """What one tenant's outcomes say."""

    def __init__(self) -> None:
        self._cells: dict[tuple[TaskType, str], Cell] = {}
        self._models: dict[str, Cell] = {}
        self._types: dict[TaskType, Cell] = {}
        self._agents: OrderedDict[tuple[str, str], Cell] = OrderedDict()
        self.seen = 0

    def learn(self, told: Told) -> None:
        # What is expected is the class's prior with the difficulty told out: a model that is only given hard texts is
        # not taken to be worse for it.
        known = prior(told.task, class_of(told.model), hard=told.hard)
        for cell in (
            self._cells.setdefault((told.task, told.model), Cell()),
            self._models.setdefault(told.model, Cell()),
            self._types.setdefault(told.task, Cell()),
        ):
            cell.add(told.success, told.weight, known.mean)
        if told.agent:
            key = (told.agent, told.model)
            agent = self._agents.setdefault(key, Cell())
            agent.add(told.success, told.weight, self.of(told.task, told.model, hard=told.hard).mean)
            self._agents.move_to_end(key)
            if len(self._agents) > _AGENTS:
                self._agents.popitem(last=False)
        self.seen += 1

    def of(
        self, task: TaskType, model: str, *, agent: str = "", hard: float = 0.0, told: Prior | None = None
    ) -> Posterior:
        """The chance that the model's answer to such a task is good. told: what the operator says of the model."""
        base = told or prior(task, class_of(model), hard=hard)
        whole = self._models.get(model) or _NOTHING
        kind = self._types.get(task) or _NOTHING
        cell = self._cells.get((task, model)) or _NOTHING
        elsewhere = whole.seen - cell.seen  # outcomes of the model with other types
        mean = base.mean + (whole.excess - cell.excess) / (elsewhere + _MODEL_MASS)
        others = kind.seen - cell.seen
        if others > 0:  # the type is harder or easier for this user than the prior says, as other models show
            # Half of it, and less for a chance near 0 or 1, as a step in log-odds is.
            mean += 2.0 * base.mean * (1.0 - base.mean) * (kind.excess - cell.excess) / (others + _TYPE_MASS)
        mean = min(max(mean, 0.02), 0.98)
        mass = base.mass + min(elsewhere, 10.0) * 0.5
        expected = cell.seen * fall_of(task, model, hard)
        mean = (mean * max(mass, 1.0) + cell.good - expected) / (max(mass, 1.0) + cell.seen)
        mass += cell.seen
        if agent and (own := self._agents.get((agent, model))) is not None:
            mean += own.excess / (own.seen + _AGENT_MASS)
        return Posterior(min(max(mean, 0.01), 0.99), mass, cell.seen, elsewhere)

    def copy(self) -> Table:
        made = Table()
        made._cells = {key: Cell(cell.seen, cell.good, cell.excess) for key, cell in self._cells.items()}
        made._models = {key: Cell(cell.seen, cell.good, cell.excess) for key, cell in self._models.items()}
        made._types = {key: Cell(cell.seen, cell.good, cell.excess) for key, cell in self._types.items()}
        made.seen = self.seen
        return made

    def knows(self, model: str) -> bool:
        return model in self._models

    def rows(self) -> list[tuple[TaskType, str, Posterior]]:
        """Every cell with outcomes, most seen first."""
        cells = sorted(self._cells.items(), key=lambda item: -item[1].seen)
        return [(task, model, self.of(task, model)) for (task, model), _ in cells]

    def agents(self) -> list[tuple[str, str, float, float]]:
        """Agent, model, outcomes, and by how much it differs from its model."""
        return [
            (agent, model, cell.seen, cell.excess / (cell.seen + _AGENT_MASS))
            for (agent, model), cell in self._agents.items()
        ]


_NOTHING = Cell()


def fall_of(task: TaskType, model: str, hard: float) -> float:
    return fall(task, class_of(model), hard)
