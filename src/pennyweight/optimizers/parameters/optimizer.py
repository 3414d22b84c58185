"""Generation parameters by task and model, forms of answers by name, and lower precision for tasks of low impact.

Each only where the operator configured it and the caller left it open: nothing here was measured to be better, so
nothing is set by itself. It stands behind routing, and sees the target that a call goes to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Protocol, get_args

import msgspec

from ...call import Call, Outcome, Proposal, Rewrite, Route, Target, abstain
from ...errors import ConfigError
from ...request import Edit, Operation, Wire
from ...routing.ladders import Down, Ladder, down
from ...routing.parameters import Given, Wanted, given, reasons_always, setting
from ...routing.tasks import Tasks, TaskType
from ...routing.templates import TEMPLATES, Template, forming, problem
from ...routing.virtual import Lookout, Virtual

__all__ = ["HEADER", "Parameters", "Rule", "Settings", "build"]

HEADER = "x-pennyweight-template"
"""The header by which a caller asks for a form by its name."""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is set for calls of these tasks (() for all) to this model ("provider/model" or the model alone, `*` for
    any run of characters) from this agent. template: the form of the answer, by name."""

    model: str = "*"
    tasks: tuple[str, ...] = ()
    agent: str = "*"
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repeat_penalty: float | None = None
    max_tokens: int | None = None
    template: str | None = None

    def __post_init__(self) -> None:
        _known_tasks(self.tasks)
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"`{name}` is {value}: it must be between {low:g} and {high:g}")

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.temperature, self.top_p, self.top_k, self.repeat_penalty, self.max_tokens)


_RANGES = (("temperature", 0, 2), ("top_p", 0, 1), ("top_k", 1, 1_000_000), ("repeat_penalty", 0.1, 10))


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """rules: the first that matches counts. templates: forms by name, beside "json", "list" and "code". ladders: local
    models in several precisions. least_tokens: no `max_tokens` below it, as limits that follow from what they cut
    spiral down; least_reasoning_tokens: the same for models that reason within their limit.
    """

    rules: tuple[Rule, ...] = ()
    templates: dict[str, Template] = {}
    ladders: tuple[Ladder, ...] = ()
    least_tokens: int = 256
    least_reasoning_tokens: int = 4096

    def __post_init__(self) -> None:
        if self.least_tokens < 1 or self.least_reasoning_tokens < self.least_tokens:
            raise ValueError("`least_tokens` must be 1 or more, and `least_reasoning_tokens` no less")
        for rule in self.rules:
            if rule.max_tokens is not None and rule.max_tokens < self.least_tokens:
                least = f"`least_tokens`, {self.least_tokens}"
                raise ValueError(f"`max_tokens` is {rule.max_tokens}, below {least}: answers would be cut")
            if rule.template is not None and rule.template not in {*TEMPLATES, *self.templates}:
                raise ValueError(f"`template` {rule.template!r} is not there: {self.names}")
        for name, template in self.templates.items():
            if template.schema is not None and (wrong := problem(template.schema)):
                raise ValueError(f"`templates.{name}`: {wrong}")
        for ladder in self.ladders:
            _known_tasks(ladder.tasks)

    @property
    def names(self) -> str:
        return ", ".join(sorted({*TEMPLATES, *self.templates}))


def _known_tasks(tasks: Sequence[str]) -> None:
    for task in tasks:
        if task not in get_args(TaskType):
            raise ValueError(f"`tasks` has {task!r}: known are {', '.join(get_args(TaskType))}")


class Parts(Protocol):
    """What this optimizer needs of the App."""

    @property
    def virtual(self) -> Callable[[Call], Virtual | None]: ...

    @property
    def lookout(self) -> Lookout: ...

    @property
    def resolve(self) -> Callable[[str, Wire], Target]: ...


def build(settings: Settings, parts: Parts) -> Parameters:
    """Raises ConfigError for a rung that leads elsewhere than it says."""
    for ladder in settings.ladders:
        for rung in ladder.rungs:
            found = parts.resolve(rung, Wire.OPENAI_CHAT)
            if found.name != rung:
                provider = rung.partition("/")[0]
                raise ConfigError(f"optimizers: `rungs` has {rung!r}, but there is no provider {provider!r}.")
    return Parameters(settings, parts)


class Parameters:
    """Protocol: `pennyweight.protocols.Optimizer`. Its proposals are forced: they are what the operator asked for."""

    name = "parameters"
    wants_responses = False

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self._settings = settings
        self._parts = parts
        self._tasks = Tasks()
        self._templates = {**TEMPLATES, **settings.templates}

    async def propose(self, call: Call) -> Proposal | None:
        """A Route to a lower rung, or a Rewrite of parameters alone."""
        if call.request.operation is not Operation.GENERATE:
            return None
        task = _Task(call, self._tasks, self._parts.virtual)
        ladder, lower = self._lower(call, task)
        target = self._parts.resolve(lower.rung, call.original.wire) if lower is not None else call.target
        rule = self._rule(call, target, task)
        if rule is None and lower is None and call.request.header(HEADER) is None:
            return None
        body = given(call.request)
        if body is None:
            return None
        edits, told = self._edits(call, body, target, rule, ladder if lower is not None else None)
        why = "; ".join(told)
        if lower is not None:
            why = f"{task.type} task, {lower.why}" + (f"; {why}" if why else "")
            return Proposal(Route(target, edits, call.rungs), why=why, level="safe", forced=True)
        if not edits:
            return None
        return Proposal(Rewrite(edits), why=why, level="safe", forced=True)

    def _edits(
        self, call: Call, body: Given, target: Target, rule: Rule | None, ladder: Ladder | None
    ) -> tuple[tuple[Edit, ...], list[str]]:
        wanted = rule.wanted if rule is not None else Wanted()
        if ladder is not None and ladder.temperature is not None:
            wanted = msgspec.structs.replace(wanted, temperature=ladder.temperature)
        if wanted.max_tokens is not None and reasons_always(target.model):
            floor = max(wanted.max_tokens, self._settings.least_reasoning_tokens)
            wanted = msgspec.structs.replace(wanted, max_tokens=floor)
        edits, words = setting(body, target, wanted, call.request.wire)
        told = [", ".join(words)] if words else []
        asked = call.request.header(HEADER)
        name = asked or (rule.template if rule is not None else None)
        if name is None:
            return edits, told
        if asked is None and call.request.envelope.tools:
            abstain(call, self.name, f"no template {name!r}: the call has tools, which a form would keep it from")
            return edits, told
        template = self._templates.get(name)
        formed = (
            forming(call.request, body, target, name, template) if template else f"known are {self._settings.names}"
        )
        if isinstance(formed, str):
            abstain(call, self.name, f"no template {name[:40]!r}: {formed}")
            return edits, told
        return (*edits, *formed), [*told, f"template {name}"]

    def _rule(self, call: Call, target: Target, task: _Task) -> Rule | None:
        for rule in self._settings.rules:
            if not _names(rule.model, target) or not fnmatchcase(call.identity.agent, rule.agent):
                continue
            if not rule.tasks or task.type in rule.tasks:
                return rule
        return None

    def _lower(self, call: Call, task: _Task) -> tuple[Ladder | None, Down | None]:
        """The ladder on which this call may go down, and how far; a reason to stay goes into the trail."""
        at = call.target.name
        for ladder in self._settings.ladders:
            if at not in ladder.rungs[:-1]:
                continue
            agent = call.identity.agent
            if not any(fnmatchcase(agent, pattern) for pattern in ladder.agents) and task.type not in ladder.tasks:
                continue
            targets = [self._parts.resolve(rung, call.original.wire) for rung in ladder.rungs]
            found = down(ladder, at, [self._parts.lookout(target) for target in targets])
            if isinstance(found, Down):
                return ladder, found
            abstain(call, self.name, f"stays at {at}: {found}")
        return None, None

    async def settle(self, outcome: Outcome) -> None:
        """Nothing to learn."""

    def wants_response(self, call: Call) -> bool:
        return False


class _Task:
    """The type of a call's task, told only when somebody asks."""

    def __init__(self, call: Call, tasks: Tasks, virtual: Callable[[Call], Virtual | None]) -> None:
        self._call = call
        self._tasks = tasks
        self._virtual = virtual
        self._type: str | None = None

    @property
    def type(self) -> str:
        if self._type is None:
            virtual = self._virtual(self._call)
            fixed = virtual.task if virtual is not None else ""
            told = self._tasks.of(self._call.original, housekeeping=self._call.identity.housekeeping)
            self._type = told.type if told.type == "side" or not fixed else fixed
        return self._type


def _names(pattern: str, target: Target) -> bool:
    return fnmatchcase(target.model, pattern) or fnmatchcase(target.name, pattern)
