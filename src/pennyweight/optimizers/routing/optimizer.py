"""The optimizer `routing`: of the targets that a virtual model stands for, the one to ask for this call, and why.

Hard constraints and the state of the moment exclude; of what is left the choice follows the virtual model's aim. All
that decides is pure (`pennyweight.routing`); here it is asked in order. Calls for real models pass at the cost of one
lookup.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from ...call import Call, Outcome, Proposal, Route, Rungs, Target, abstain
from ...errors import BadRequest
from ...money import PicoUSD
from ...protocols import Clock
from ...request import Charge, Operation, Usage
from ...routing.agents import Agents
from ...routing.choose import Asked, Chances, Choice, Option, choose, strong_after
from ...routing.constraints import Needs, excluded, known, needs
from ...routing.settings import TargetTable
from ...routing.shares import Shares
from ...routing.speeds import Speeds
from ...routing.tasks import Tasks
from ...routing.virtual import Candidate, Lookout, Virtual

__all__ = ["Parts", "Routing", "Settings", "build"]


class Settings(msgspec.Struct, frozen=True):
    """wait_s: a target that would have to be waited for longer is not asked while another can be."""

    wait_s: float = 30.0


class Book(Protocol):
    """What this optimizer needs of a price book."""

    def cost(self, charge: Charge) -> PicoUSD | None: ...


class Parts(Protocol):
    """What this optimizer needs of the App."""

    @property
    def virtual(self) -> Callable[[Call], Virtual | None]: ...
    @property
    def lookout(self) -> Lookout: ...
    @property
    def pressure(self) -> Callable[[Call], float]: ...
    @property
    def chances(self) -> Chances: ...
    @property
    def agents(self) -> Agents: ...
    @property
    def book(self) -> Book: ...
    @property
    def clock(self) -> Clock: ...


def build(settings: Settings, parts: Parts) -> Routing:
    return Routing(settings, parts)


class Routing:
    """An Optimizer that proposes a Route. `call.facts["routing"]` tells how it chose, `["fallbacks"]` who is next."""

    name = "routing"

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self._settings = settings
        self._parts = parts
        self._tasks = Tasks()
        self._shares = Shares()
        self._speeds = Speeds()
        self._facts: dict[Candidate, TargetTable] = {}

    async def propose(self, call: Call) -> Proposal | None:
        virtual = self._virtual(call)
        if virtual is None or call.original.operation is not Operation.GENERATE or call.target != virtual.reference:
            return None
        asked_for = needs(call.original)
        if asked_for is None:
            return None
        asked = self._asked(call, virtual, asked_for)
        choice = self.choose(call, virtual, asked_for, asked)
        call.facts[ROUTING] = choice
        option = choice.option
        if option is None:
            abstain(call, self.name, choice.why)
            return None
        call.facts[FALLBACKS] = _next(choice, option)
        if option.target == call.target:
            abstain(call, self.name, choice.why)
            return None
        return self._proposal(call, virtual, asked, choice, option)

    def choose(self, call: Call, virtual: Virtual, asked_for: Needs, asked: Asked) -> Choice:
        """Which target the call goes to, with all that were looked at."""
        rule = self._parts.agents.of(call.identity.agent)
        return choose(
            virtual,
            asked,
            self._options(call, virtual, asked_for, asked),
            tier=rule.tier if rule is not None else "",
            pressure=self._parts.pressure(call),
            shares=self._shares.of(virtual.name) if virtual.shares else None,
        )

    async def settle(self, outcome: Outcome) -> None:
        call = outcome.call
        virtual = self._virtual(call)
        charges = outcome.done.charges
        if virtual is None or not charges or outcome.abandoned or outcome.status != 200:
            return
        last = charges[-1]
        if outcome.ttft_s is not None and len(charges) == 1 and outcome.done.complete:
            self._speeds.answered(
                last.provider,
                last.model,
                ttft_s=outcome.ttft_s,
                latency_s=outcome.latency_s,
                output_tokens=last.usage.output_tokens,
            )
        for candidate in virtual.candidates:
            if (candidate.target.provider, candidate.target.model) == (last.provider, last.model):
                self._shares.took(virtual.name, candidate.tier)
                break

    def wants_response(self, call: Call) -> bool:
        return False

    def _virtual(self, call: Call) -> Virtual | None:
        try:
            return self._parts.virtual(call)
        except BadRequest:  # the upstream's to refuse
            return None

    # --- what the choice is made of ---------------------------------------------------------------------------

    def _asked(self, call: Call, virtual: Virtual, asked_for: Needs) -> Asked:
        """Of the type that the virtual model or the agent has, else as the call tells; a side call is always one."""
        rule = self._parts.agents.of(call.identity.agent)
        task, text = self._tasks.told(call.original, housekeeping=call.identity.housekeeping)
        kind: str = task.type
        if kind != "side":
            kind = virtual.task or (rule.task if rule is not None else "") or kind
        output = float(task.expected_output_tokens or _USUAL_OUTPUT_TOKENS)
        most = asked_for.output_tokens
        return Asked(kind, task.complexity, output if most is None else min(output, most), text)

    def _options(self, call: Call, virtual: Virtual, asked_for: Needs, asked: Asked) -> list[Option]:
        chances = self._parts.chances.of(call, asked, virtual.candidates)
        options = []
        for candidate, chance in zip(virtual.candidates, chances, strict=True):
            facts = self._facts.get(candidate)
            if facts is None:
                if len(self._facts) >= _REMEMBERED:
                    self._facts.clear()
                facts = self._facts[candidate] = known(candidate)
            why = excluded(asked_for, candidate, facts) or self._keyless(call, candidate)
            now = "" if why else self._not_now(candidate.target)
            options.append(
                Option(
                    candidate,
                    chance.success,
                    None if why else self._cost(call, candidate.target, asked_for.prompt_tokens, asked.output_tokens),
                    0.0 if why else self._seconds(candidate.target, asked.output_tokens),
                    why or now,
                    rests=bool(now),
                    seen=chance.seen,
                )
            )
        return options

    @staticmethod
    def _keyless(call: Call, candidate: Candidate) -> str:
        if candidate.keyed or (call.credential is not None and candidate.target.provider == call.target.provider):
            return ""
        return f"there is no key for {candidate.target.provider}"

    def _not_now(self, target: Target) -> str:
        live = self._parts.lookout(target)
        if live.resting:
            return "it failed lately and rests"
        if live.quota_left is not None and live.quota_left <= 0:
            return "its quota is used up"
        if not live.fits:
            return "there is no memory for it now"
        if live.wait_s + live.load_s > self._settings.wait_s:
            return f"it would have to be waited for ({live.wait_s + live.load_s:.0f} s)"
        return ""

    def _seconds(self, target: Target, output_tokens: float) -> float:
        live = self._parts.lookout(target)
        return live.wait_s + live.load_s + self._speeds.seconds(target, output_tokens)

    def _cost(self, call: Call, target: Target, prompt_tokens: int, output_tokens: float) -> float | None:
        usage = Usage(input_tokens=prompt_tokens, output_tokens=round(output_tokens), counted=True)
        return self._parts.book.cost(Charge(target.provider, target.model, usage, call.at))

    def _proposal(self, call: Call, virtual: Virtual, asked: Asked, choice: Choice, option: Option) -> Proposal:
        reference = next((o for o in choice.options if o.target == call.target), None)
        unable = reference is not None and bool(reference.excluded)
        saving = None
        if reference is not None and not (reference.guessed or option.guessed or unable):
            saving = max(round((reference.cost or 0.0) - (option.cost or 0.0)), 0)
        rungs = None
        if virtual.cascade and (strong := strong_after(choice)):
            peer = virtual.peer if virtual.peer != option.target else None
            rungs = Rungs(strong, peer, asked.task)
        return Proposal(
            Route(option.target, rungs=rungs),
            saving=saving or 0,
            why=choice.why,
            level="safe",  # the caller named no model, but left the choice to us
            forced=not choice.money or saving is None,
        )


ROUTING = "routing"
"""The key of `Call.facts` under which the choice stands: a `pennyweight.routing.choose.Choice`."""

FALLBACKS = "fallbacks"
"""The key of `Call.facts` under which the targets stand that may take the call after its own, in order."""

_REMEMBERED = 4_096
_USUAL_OUTPUT_TOKENS = 400.0


def _next(choice: Choice, option: Option) -> tuple[Target, ...]:
    """Who is asked when the chosen one fails: those at least as likely right, the nearest first, then the others, and
    those that rest or lack a quota last. What cannot take the call is not among them."""
    able = [o for o in choice.options if o.target != option.target and (o.rests or not o.excluded)]
    able.sort(key=lambda o: (bool(o.excluded), o.success < option.success, abs(o.success - option.success)))
    return tuple(dict.fromkeys(o.target for o in able))
