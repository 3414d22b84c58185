"""What is known of one tenant: its table, the texts of its outcomes, and the kernel that was last fitted to them."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from ...errors import ConfigError
from ..reading import TaskType
from .outcomes import Told
from .priors import Prior
from .table import Posterior, Table

if TYPE_CHECKING:
    from .kernel import Kernel, Said

__all__ = ["Estimate", "State", "learnt"]

_TEXTS = 4_000
_LEAST_TEXTS = 40  # as in `kernel`, which is not loaded to ask
_LOCAL_MASS = 20.0  # what the table is worth for one text in particular, beside texts like it
_SURE = 1.28  # standard deviations: one in ten is below


class Estimate(msgspec.Struct, frozen=True):
    """A chance of success. `low`, `high`: bounds that it is outside of one time in five. `n`: outcomes that it is
    worth, shipped priors included; 0: nothing is known. `seen`: the user's own among them. `similar`: of those, the
    ones of texts like this one."""

    mean: float
    low: float
    high: float
    n: float
    seen: float = 0.0
    similar: float = 0.0


class _Text:
    __slots__ = ("declared", "features", "hard", "said", "task", "vector")

    def __init__(self, told: Told) -> None:
        self.task = told.task
        self.hard = told.hard
        self.features = told.features
        self.vector = told.vector
        self.declared = told.declared
        self.said: dict[str, float] = {}


class State:
    """`version` changes whenever what it says may have changed."""

    def __init__(self) -> None:
        self.table = Table()
        self.kernel: Kernel | None = None
        self.version = 0
        self.since_fit = 0
        self._texts: OrderedDict[str, _Text] = OrderedDict()

    def learn(self, told: Iterable[Told]) -> None:
        for one in told:
            self.table.learn(one)
            self.version += 1
            if one.text and one.vector and one.features:
                self._keep(one)

    def _keep(self, told: Told) -> None:
        text = self._texts.get(told.text)
        if text is None:
            text = self._texts[told.text] = _Text(told)
            if len(self._texts) > _TEXTS:
                self._texts.popitem(last=False)
        else:
            self._texts.move_to_end(told.text)
        text.said[told.model] = told.success
        self.since_fit += 1

    @property
    def fittable(self) -> bool:
        """Whether there are enough texts for a kernel."""
        return len(self._texts) >= _LEAST_TEXTS

    def snapshot(self) -> State:
        """A copy that a thread may read while this one goes on learning."""
        copy = State()
        copy.table = self.table.copy()
        for key, text in self._texts.items():
            copied = copy._texts[key] = _Text.__new__(_Text)
            copied.task, copied.hard, copied.features = text.task, text.hard, text.features
            copied.vector, copied.declared, copied.said = text.vector, text.declared, dict(text.said)
        return copy

    @property
    def texts(self) -> int:
        return len(self._texts)

    def fitted(self, *, progress: Callable[[float], None] = lambda _share: None) -> Kernel | None:
        """A kernel for the outcomes so far. Up to some seconds of CPU; may run in a thread while nothing is learnt.

        Raises ConfigError where numpy is not installed.
        """
        try:
            import numpy as np

            from .kernel import fit
        except ImportError:
            raise ConfigError("Learning from similar texts needs numpy: install pennyweight[semantic].") from None
        texts = list(self._texts.values())
        sizes = {len(text.vector) for text in texts}
        if len(sizes) > 1:  # vectors of two embedders: those of the newest
            size = len(texts[-1].vector)
            texts = [text for text in texts if len(text.vector) == size]
        if not texts:
            return None
        vectors = np.stack([np.frombuffer(text.vector, "<f2") for text in texts]).astype(np.float32)
        features = np.asarray([text.features for text in texts], np.float32)
        models = sorted({model for text in texts for model in text.said})
        nothing = float("nan")
        said = {model: np.asarray([text.said.get(model, nothing) for text in texts], np.float32) for model in models}
        chances = {model: np.asarray([self._usual(text, model) for text in texts], np.float32) for model in models}
        return fit(vectors, features, said, chances, [text.declared for text in texts], progress=progress)

    def _usual(self, text: _Text, model: str) -> float:
        return self.table.of(text.task, model, hard=text.hard).mean

    def take(self, kernel: Kernel | None) -> None:
        self.kernel = kernel
        self.since_fit = 0
        self.version += 1

    def ask(self, vector: bytes, features: tuple[float, ...], declared: str = "") -> Said | None:
        if self.kernel is None or len(vector) != 2 * self.kernel.dimensions:
            return None
        return self.kernel.ask(vector, features, declared)

    def estimate(
        self,
        task: TaskType,
        model: str,
        *,
        agent: str = "",
        hard: float = 0.0,
        told: Prior | None = None,
        said: Said | None = None,
    ) -> Estimate:
        name = self._named(model)
        posterior = self.table.of(task, name, agent=agent, hard=hard, told=told)
        if said is None or name not in said.shift:
            return _bounded(posterior, posterior.mean, 0.0)
        usual = min(max(posterior.mean, 0.01), 0.99)
        mean = 1.0 / (1.0 + (1.0 - usual) / usual * math.exp(-said.shift[name]))
        return _bounded(posterior, mean, said.near)

    def _named(self, model: str) -> str:
        """Outcomes of a file that names no provider are those of the model wherever it runs."""
        if self.table.knows(model):
            return model
        bare = model.partition("/")[2]
        return bare if bare and self.table.knows(bare) else model


def _bounded(posterior: Posterior, mean: float, similar: float) -> Estimate:
    mass = posterior.mass if similar == 0 else min(posterior.mass, _LOCAL_MASS + similar)
    wide = _SURE * msgspec.structs.replace(posterior, mean=mean, mass=mass).sd
    return Estimate(
        mean, max(mean - wide, 0.0), min(mean + wide, 1.0), posterior.mass, posterior.seen, min(similar, posterior.seen)
    )


def learnt(told: Sequence[Told]) -> State:
    state = State()
    state.learn(told)
    return state
