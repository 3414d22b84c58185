"""The default: the candidate that might well be the best, by what is known of it, of its model and of the type of task.

Every candidate has a posterior of its rate in every type of task, and is chosen by a high quantile of it (Bayes-UCB:
Kaufmann, Cappé and Garivier 2012), so that who is little known gets a fair try, and who was poor a while ago another
one. The rate may jump at any time (see `rates`): that is the detection of change, and no threshold is to be set for it.

Where little is known of a candidate in a type, the rest is told by its kin, as pseudo-observations that count less the
further away they come from: the same candidate in other types, others of the same model, all candidates. How hard a
type is for everybody is learnt beside it, and so is whether kin tells anything there: who is good at calling tools need
not be good at knowing when to call none. So a prior is a mixture of what kin says and of what the type alone says.

Who is tried first among many decides most of what trying costs. A model's name mostly tells how large it is, and what
the name tells is a head start of some points, which counts as much as what all others tell of one more.

With many candidates the highest of their quantiles is a matter of luck, and trying all costs more than it finds
(Bayati, Hamidi, Johari and Khosravi 2020): the quantile is lower the more there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from operator import mul
from random import Random

import msgspec

from ..classes import BELOW, class_of
from ..errors import BadRequest
from .breaker import Breaker
from .choosing import Candidate, Choice, Standing, Utility
from .rates import BINS, FLAT, aged, beta, counts, mean, observed, quantile

__all__ = ["Posterior"]

_VERSION = 2  # of the state


class _Cell(msgspec.Struct):
    """One candidate in one type. `at`: the type's tasks when it was last told of."""

    likelihood: list[float] = msgspec.field(default_factory=lambda: list(FLAT))
    former: list[float] = []  # what it was before it began to fail all the time
    failures: int = 0  # in a row
    at: int = 0
    tried: int = 0
    success: float = 0.0  # sums
    tokens: float = 0.0
    latency_s: float = 0.0
    rate: float = 0.5  # what the likelihood amounts to
    level: float = 0.5  # the same, less how easy the type is
    weight: float = 0.0  # how much it says of the candidate elsewhere
    share: float = 0.0  # and of all candidates in this type


class _Sum(msgspec.Struct):
    """Pseudo-observations. What is known of all candidates is summed up less the head starts of their classes."""

    total: float = 0.0
    weight: float = 0.0

    def add(self, rate: float, weight: float) -> None:
        self.total += rate * weight
        self.weight += weight


class _Agent(msgspec.Struct):
    model: str
    sum: _Sum = msgspec.field(default_factory=_Sum)
    rate: float = 0.5  # as its model was told
    weight: float = 0.0


class _Type(msgspec.Struct):
    """`ease`: by how much everybody's rate is higher here than elsewhere. `akin`: the logarithm of the odds that what
    candidates do elsewhere tells what they do here."""

    tasks: int = 0
    ease: float = 0.0
    akin: float = 1.0
    all: _Sum = msgspec.field(default_factory=_Sum)
    cells: dict[str, _Cell] = {}


class _State(msgspec.Struct):
    version: int = _VERSION
    rule: str = "posterior"
    types: dict[str, _Type] = {}
    agents: dict[str, _Agent] = {}
    models: dict[str, _Sum] = {}
    pool: _Sum = msgspec.field(default_factory=_Sum)
    breaker: Breaker = msgspec.field(default_factory=Breaker)


class _View(msgspec.Struct):
    """What a cell was reckoned to be worth, by which quantile, and until which task of its type that holds."""

    score: float = 0.0
    expected: float = 0.5
    until: int = -1
    optimism: float = 0.0


class Posterior:
    """A Selector. `change`: how probable it is, from one task of a type to the next, that a candidate's rate is another
    one now. `optimism`: the quantile by which up to ten candidates are compared. Randomness only breaks ties."""

    def __init__(
        self,
        *,
        random: Random,
        utility: Utility | None = None,
        change: float = 5e-4,
        optimism: float = 0.92,
        breaker: Breaker | None = None,
    ) -> None:
        self._random = random
        self._utility = utility or Utility()
        self._change = change
        self._optimism = optimism
        self._breaker = breaker or Breaker()
        self._state = _State(breaker=msgspec.structs.replace(self._breaker, broken={}))
        self._views: dict[str, dict[str, _View]] = {}  # type, candidate
        self._kin: dict[str, set[str]] = {}  # candidates told of, by model
        self._priors: dict[tuple[int, int], list[float]] = {}

    def select(self, task_type: str, candidates: Sequence[Candidate]) -> Choice:
        if not candidates:
            raise BadRequest("There is nobody to choose from: give at least one candidate.")
        state = self._state
        admitted = state.breaker.admitted(candidates)
        kind = state.types.get(task_type) or _Type()
        views = self._views.setdefault(task_type, {})
        optimism = self._optimism_among(len(candidates))
        tasks, best, score, equals = kind.tasks, admitted[0], -1.0, 1
        for candidate in admitted:
            view = views.get(candidate.name)
            if view is None or view.until <= tasks or view.optimism != optimism:
                view = views[candidate.name] = self._reckoned(kind, candidate, optimism, len(candidates))
            worth = view.score
            if worth > score:
                best, score, equals = candidate, worth, 1
            elif worth == score:
                equals += 1
                if self._random.random() * equals < 1.0:
                    best = candidate
        if state.breaker.broken and (probe := self._probe(kind, admitted, views[best.name].expected)) is not None:
            best, score = probe, views[probe.name].score
        cell = kind.cells.get(best.name)
        tried = cell.tried if cell is not None else 0
        why = f"tried {tried} times here" if tried else "never tried here"
        return Choice(task_type, best.name, best.model, score, views[best.name].expected, why)

    def feedback(self, choice: Choice, success: float, *, tokens: float = 0.0, latency_s: float = 0.0) -> None:
        value = self._utility.value(success, tokens, latency_s)
        state = self._state
        kind = state.types.setdefault(choice.task_type, _Type())
        candidate = Candidate(choice.name, choice.model)
        cell = kind.cells.get(choice.name)
        if cell is None:
            cell = kind.cells[choice.name] = _Cell(at=kind.tasks)
        kin, alone = self._priors_of(kind, candidate, cell, 0)
        kind.tasks += 1
        kept = math.exp(-self._change * (kind.tasks - cell.at))
        before = aged(cell.likelihood, _mixed(kind, kin, alone), kept)
        if kin is not None:
            by_kin, by_type = mean(list(map(mul, kin, before))), mean(list(map(mul, alone, before)))
            told = value * math.log(by_kin / by_type) + (1.0 - value) * math.log((1.0 - by_kin) / (1.0 - by_type))
            kind.akin = min(max(kind.akin + told, -_AKIN), _AKIN)
        cell.likelihood = observed(self._recalled(cell, before, success), value)
        cell.at = kind.tasks
        cell.tried += 1
        cell.success += success
        cell.tokens += tokens
        cell.latency_s += latency_s
        state.breaker.tell(choice.name, success)
        self._pass_on(kind, candidate, cell, value)

    # --- breaking down and coming back ----------------------------------------------------------------------

    def _probe(self, kind: _Type, admitted: Sequence[Candidate], expected: float) -> Candidate | None:
        """One that broke down, has rested, and was better than what is expected now: worth one try."""
        for candidate in admitted:
            cell = kind.cells.get(candidate.name)
            if cell is None or not cell.former or not self._state.breaker.may_try(candidate.name):
                continue
            if mean(cell.former) > expected:
                return candidate
        return None

    def _recalled(self, cell: _Cell, before: list[float], success: float) -> list[float]:
        """The likelihood of a cell, where a success after a breakdown may mean that it is what it was."""
        if success < 0.5:
            if not cell.failures:
                cell.former = before
            cell.failures += 1
            return before
        former, failures = cell.former, cell.failures
        cell.former, cell.failures = [], 0
        if failures < self._breaker.failures:
            return before
        return [(was + now) / 2.0 for was, now in zip(former, before, strict=True)]

    # --- what kin know --------------------------------------------------------------------------------------

    def _pass_on(self, kind: _Type, candidate: Candidate, cell: _Cell, value: float) -> None:
        """Tell the candidate, its model and everybody what became of a cell."""
        state = self._state
        agent = state.agents.get(candidate.name)
        if agent is None or agent.model != candidate.kind:
            agent = self._moved(candidate, agent)
        own, model = agent.sum, state.models.setdefault(agent.model, _Sum())
        start = _start(agent.model)
        usual = (own.total + _AGENT * (self._pool_rate() + start)) / (own.weight + _AGENT)
        kind.ease += (value - usual - kind.ease) / (min(kind.tasks, 500) + 20.0)
        own.add(cell.level, -cell.weight)
        kind.all.add(cell.rate - start, -cell.share)
        cell.rate, n = counts(cell.likelihood)
        cell.level = cell.rate - kind.ease
        cell.weight, cell.share = _in_series(n, _CELL), _in_series(n, _SAY)
        own.add(cell.level, cell.weight)
        kind.all.add(cell.rate - start, cell.share)
        model.add(agent.rate, -agent.weight)
        before = agent.rate, min(agent.weight, _SAY)
        agent.rate = own.total / own.weight if own.weight > 1e-9 else 0.5
        agent.weight = _in_series(own.weight, _AGENT)
        model.add(agent.rate, agent.weight)
        state.pool.add(before[0] - start, -before[1])
        state.pool.add(agent.rate - start, min(agent.weight, _SAY))
        self._outdate(agent.model)

    def _outdate(self, model: str) -> None:
        """What candidates of that model are worth has changed; others follow the pool in their own time."""
        kin = self._kin.get(model, ())
        for views in self._views.values():
            for name in kin:
                view = views.get(name)
                if view is not None:
                    view.until = -1

    def _moved(self, candidate: Candidate, agent: _Agent | None) -> _Agent:
        """A candidate that is new, or runs on another model now: then it has its own record, and new kin."""
        if agent is None:
            agent = self._state.agents[candidate.name] = _Agent(candidate.kind)
            self._kin.setdefault(candidate.kind, set()).add(candidate.name)
            return agent
        model = self._state.models[agent.model]
        model.add(agent.rate, -agent.weight)
        lower = _start(agent.model) - _start(candidate.kind)
        self._state.pool.total += lower * min(agent.weight, _SAY)
        for kind in self._state.types.values():
            if (cell := kind.cells.get(candidate.name)) is not None:
                kind.all.total += lower * cell.share
        self._state.models.setdefault(candidate.kind, _Sum()).add(agent.rate, agent.weight)
        self._kin[agent.model].discard(candidate.name)
        self._kin.setdefault(candidate.kind, set()).add(candidate.name)
        self._outdate(agent.model)
        agent.model = candidate.kind
        return agent

    def _pool_rate(self) -> float:
        pool = self._state.pool
        return (pool.total + _POOL * 0.5) / (pool.weight + _POOL)

    def _prior(self, kind: _Type, candidate: Candidate, cell: _Cell | None, offered: int) -> list[float]:
        kin, alone = self._priors_of(kind, candidate, cell, offered)
        return _mixed(kind, kin, alone)

    def _priors_of(
        self, kind: _Type, candidate: Candidate, cell: _Cell | None, offered: int
    ) -> tuple[list[float] | None, list[float]]:
        """(by kin without the cell itself, None where there is none; by the type alone).

        Kin is the model without the candidate, and the candidate without this type.
        """
        start = _start(candidate.kind)
        usual = (kind.all.total + _POOL * 0.5) / (kind.all.weight + _POOL)
        alone = self._beta(usual + start, self._said(_TYPE_SAYS, offered))
        agent, model = self._state.agents.get(candidate.name), self._state.models.get(candidate.kind)
        siblings, elsewhere = _Sum(), _Sum()
        if model is not None:
            siblings = _Sum(model.total, model.weight)
            if agent is not None and agent.model == candidate.kind:
                siblings.add(agent.rate, -agent.weight)
        if agent is not None:
            elsewhere = _Sum(agent.sum.total, agent.sum.weight)
            if cell is not None:
                elsewhere.add(cell.level, -cell.weight)
        if siblings.weight < 0.1 and elsewhere.weight < 0.1 and len(self._state.types) < 2:
            return None, alone
        siblings.add(self._pool_rate() + start, self._said(_POOL_SAYS, offered))
        weight = _in_series(siblings.weight, _AGENT)
        elsewhere.add(siblings.total / siblings.weight, weight)
        rate = elsewhere.total / elsewhere.weight + kind.ease
        return self._beta(rate, _in_series(elsewhere.weight, _CELL)), alone

    def _said(self, most: float, offered: int) -> float:
        """What all candidates tell of one more, in observations: of few it is not known how much they differ, and among
        many those that nothing is known of are better taken for middling."""
        return min(2.0 + max(len(self._state.agents), offered) / _PER, most)

    def _beta(self, centre: float, weight: float) -> list[float]:
        """In steps of half a percent and of a sixteenth of the weight: priors are many, and few that differ."""
        key = round(centre * 200.0), round(math.log(weight) * 16.0)
        found = self._priors.get(key)
        if found is None:
            found = self._priors[key] = beta(key[0] / 200.0, math.exp(key[1] / 16.0))
        return found

    # --- what a candidate is worth --------------------------------------------------------------------------

    def _reckoned(self, kind: _Type, candidate: Candidate, optimism: float, offered: int) -> _View:
        """Its worth moves slowly with the tasks that pass, so it is reckoned anew after an eighth more of them."""
        cell = kind.cells.get(candidate.name)
        posterior = self._posterior(kind, cell, self._prior(kind, candidate, cell, offered))
        passed = kind.tasks - cell.at if cell is not None else kind.tasks
        return _View(quantile(posterior, optimism), mean(posterior), kind.tasks + 1 + passed // 8, optimism)

    def _posterior(self, kind: _Type, cell: _Cell | None, prior: list[float]) -> list[float]:
        if cell is None:
            return prior
        kept = math.exp(-self._change * (kind.tasks - cell.at))
        return list(map(mul, prior, aged(cell.likelihood, prior, kept)))

    def _optimism_among(self, candidates: int) -> float:
        if candidates <= 10:
            return self._optimism
        return float(max(1.0 - (1.0 - self._optimism) * (candidates / 10.0) ** 0.6, 0.5))

    # --- for people and stores ------------------------------------------------------------------------------

    def standings(self) -> Sequence[Standing]:
        found = []
        for task_type, kind in self._state.types.items():
            optimism = self._optimism_among(len(kind.cells))
            for name, cell in kind.cells.items():
                candidate = Candidate(name, self._state.agents[name].model)
                posterior = self._posterior(kind, cell, self._prior(kind, candidate, cell, len(kind.cells)))
                found.append(
                    Standing(
                        task_type,
                        name,
                        candidate.model,
                        cell.tried,
                        cell.success / cell.tried,
                        cell.tokens / cell.tried,
                        cell.latency_s / cell.tried,
                        mean(posterior),
                        quantile(posterior, optimism),
                        self._state.breaker.resting(name),
                    )
                )
        return found

    def dumped(self) -> bytes:
        return msgspec.json.encode(self._state)

    def restore(self, state: bytes) -> None:
        try:
            found = msgspec.json.decode(state, type=_State)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ValueError(f"this is no state of a posterior: {error}") from None
        cells = [cell for kind in found.types.values() for cell in kind.cells.values()]
        if (found.version, found.rule) != (_VERSION, "posterior") or any(
            len(cell.likelihood) != BINS for cell in cells
        ):
            raise ValueError(f"this is a state of {found.rule!r}, version {found.version}, not of this posterior")
        found.breaker.failures, found.breaker.rest = self._breaker.failures, self._breaker.rest
        self._state = found
        self._views = {}
        self._kin = {}
        for name, agent in found.agents.items():
            self._kin.setdefault(agent.model, set()).add(name)


_CELL = 60.0  # how many observations of a type at most a candidate's record elsewhere is worth
_AGENT = 20.0  # and the record of others of its model
_SAY = 8.0  # and what any one says of all
_POOL = 30.0  # observations of a half that stand before the first
_POOL_SAYS = 10.0  # what is known of many is worth to one more at most, by kin
_TYPE_SAYS = 8.0  # and by the type alone
_PER = 16.0  # candidates seen, for each observation of these
_AKIN = 1.5  # the logarithm of the odds, at most, that kin tells something, or that it does not

_PER_STEP = 0.1  # points of a rate for each step of log-odds between classes: half of what it is at a rate of 0.75


@lru_cache(maxsize=4_096)
def _start(model: str) -> float:
    """What the model's name tells of its rate before anything is known of it, against that of a middling one."""
    return _PER_STEP * (BELOW["medium"] - BELOW.get(class_of(model), BELOW["medium"]))


def _in_series(one: float, other: float) -> float:
    """How much is known through two steps, each of which is worth so many observations."""
    return one * other / (one + other) if one > 0.0 else 0.0


def _mixed(kind: _Type, kin: list[float] | None, alone: list[float]) -> list[float]:
    if kin is None:
        return alone
    share = 1.0 / (1.0 + math.exp(-kind.akin))
    rest = 1.0 - share
    return [share * by_kin + rest * by_type for by_kin, by_type in zip(kin, alone, strict=True)]
