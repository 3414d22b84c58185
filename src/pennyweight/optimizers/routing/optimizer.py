"""The optimizer `routing`: of the targets that a virtual model stands for, the one to ask for this call, and why.

Hard constraints and the state of the moment exclude; of what is left the choice follows the virtual model's aim. All
that decides is pure (`pennyweight.routing`); here it is asked in order. Calls for real models pass at the cost of one
lookup.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

import msgspec
from xxhash import xxh3_128_digest

from ...call import Call, Outcome, Proposal, Rewrite, Route, Rungs, Target, abstain
from ...economy import Held, Rates, Scales
from ...errors import BadRequest
from ...money import PicoUSD
from ...protocols import Clock
from ...request import Charge, Edit, Operation, Usage, Wire
from ...routing.agents import Agents
from ...routing.background import Background
from ...routing.choose import Asked, Chances, Choice, Option, bar_of, choose, strong_after
from ...routing.constraints import Needs, excluded, known, needs
from ...routing.settings import TargetTable
from ...routing.shares import Shares
from ...routing.speeds import Speeds
from ...routing.tasks import Task, Tasks
from ...routing.virtual import Candidate, Live, Lookout, Virtual

__all__ = ["Parts", "Routing", "Settings", "build"]


class Settings(msgspec.Struct, frozen=True):
    """wait_s: a target that would have to be waited for longer is not asked while another can be. second_usd: what a
    second of waiting for a slot or for a model to be loaded counts as much as."""

    wait_s: float = 30.0
    second_usd: float = 0.00002


class Book(Protocol):
    """What this optimizer needs of a price book."""

    def cost(self, charge: Charge) -> PicoUSD | None: ...


class Economy(Protocol):
    """What this optimizer needs of the economy: where a conversation is, and what its caches make of another target."""

    def scales(self, call: Call, *, at: float) -> Scales | None: ...

    def rates(self, target: Target, at: float) -> Rates | None: ...

    def held(self, call: Call, *, at: float) -> Held | None: ...

    def returning(self, call: Call, *, at: float) -> tuple[Edit, ...]: ...


class Parts(Protocol):
    """What this optimizer needs of the App."""

    @property
    def virtual(self) -> Callable[[Call], Virtual | None]: ...
    @property
    def lookout(self) -> Lookout: ...
    @property
    def pressure(self) -> Callable[[Call], float]: ...
    @property
    def forced(self) -> Callable[[Call], bool]: ...
    @property
    def background(self) -> Callable[[Call], Background | None]: ...
    @property
    def lane_target(self) -> str: ...
    @property
    def aimed(self) -> Callable[[str, Wire], Target | None]: ...
    @property
    def chances(self) -> Chances: ...
    @property
    def agents(self) -> Agents: ...
    @property
    def book(self) -> Book: ...
    @property
    def economy(self) -> Economy: ...
    @property
    def clock(self) -> Clock: ...


def build(settings: Settings, parts: Parts) -> Routing:
    return Routing(settings, parts)


class _Read(msgspec.Struct, frozen=True):
    """What one body says: what it cannot do without, what kind of task it is, and the words that this was read off."""

    needs: Needs
    task: Task
    text: str


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
        self._known: OrderedDict[bytes, _Read] = OrderedDict()

    async def propose(self, call: Call) -> Proposal | None:
        parts = self._parts
        if parts.lane_target and (lane := self._lane(call)) is not None:
            return lane
        virtual = self._virtual(call)
        if virtual is None or call.original.operation is not Operation.GENERATE or call.target != virtual.reference:
            return None
        at = parts.clock.monotonic()
        read = self._read(call)
        asked_for = self._needs(call, read, at)
        if read is None or asked_for is None:
            return None
        asked = self._asked(call, virtual, read, asked_for)
        await parts.chances.ready(call, asked)
        choice = self._choose(call, virtual, asked_for, asked, at)
        call.facts[ROUTING] = choice
        option = choice.option
        if option is None:
            abstain(call, self.name, choice.why)
            return None
        call.facts[FALLBACKS] = _next(choice, option)
        if option.target == call.target:
            back = parts.economy.returning(call, at=at)
            if back:
                why = f"{choice.why}; a cache breakpoint where the conversation would have been read"
                return Proposal(Rewrite(back), why=why, level="safe", forced=True)
            abstain(call, self.name, choice.why)
            return None
        return self._proposal(call, virtual, asked_for, asked, choice, option)

    def _lane(self, call: Call) -> Proposal | None:
        """A call that can wait goes to the target that the operator has for such, whatever its model; None: it is as
        any other, or that target cannot take it now."""
        found = self._parts.background(call)
        target = self._parts.aimed(self._parts.lane_target, call.original.wire) if found is not None else None
        if found is None or target is None or target == call.target:
            return None
        asked_for = needs(call.original)
        beside = Candidate(target, "", 0, TargetTable(self._parts.lane_target))
        if (
            asked_for is None
            or excluded(asked_for, beside, known(beside))
            or self._not_now(self._parts.lookout(target))
        ):
            return None
        held = self._parts.economy.held(call, at=self._parts.clock.monotonic())
        if held is not None and held.locked and held.target != target:
            return None
        call.facts[FALLBACKS] = (call.target,)
        return Proposal(Route(target), why=f"background ({found.by}): {target.model}", level="safe", forced=True)

    def needs(self, call: Call, at: float) -> Needs | None:
        """What the call cannot do without; its prompt counted where that was done anyway. at: monotonic seconds."""
        return self._needs(call, self._read(call), at)

    def _needs(self, call: Call, read: _Read | None, at: float) -> Needs | None:
        try:
            scales = self._parts.economy.scales(call, at=at)
        except BadRequest:
            return None
        if read is None or read.needs.images or scales is None:
            return read.needs if read is not None else None
        return msgspec.structs.replace(read.needs, prompt_tokens=round(scales.seen.forecast.prompt_tokens))

    def _choose(self, call: Call, virtual: Virtual, asked_for: Needs, asked: Asked, at: float) -> Choice:
        """Which target the call goes to, with all that were looked at. What a switch would lose of the conversation's
        caches rules a target out as long as only its price speaks for it. Raises BadRequest for a body that cannot be
        read."""
        scales = self._parts.economy.scales(call, at=at)
        held = scales.held if scales is not None else None
        locked = held if held is not None and held.locked else None

        def refuses(target: Target) -> str:
            return scales.refuses(target) if scales is not None and target != call.target else ""

        rule = self._parts.agents.of(call.identity.agent)
        tight = self._parts.forced(call)
        return choose(
            virtual,
            asked,
            self._options(call, virtual, asked_for, asked, scales if held is not None else None),
            tier=rule.tier if rule is not None else "",
            pressure=self._parts.pressure(call) if tight else 0.0,
            tight=tight,
            shares=self._shares.of(virtual.name) if virtual.shares else None,
            held=locked.target if locked is not None else None,
            held_why=locked.why if locked is not None else "",
            refuses=refuses,
        )

    async def settle(self, outcome: Outcome) -> None:
        call = outcome.call
        virtual = self._virtual(call)
        charges = outcome.done.charges
        if virtual is None or call.original.operation is not Operation.GENERATE:
            return
        if (read := self._read(call)) is not None:
            await self._parts.chances.settle(outcome, self._asked(call, virtual, read, read.needs))
        if not charges or outcome.abandoned or outcome.status != 200:
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
        return self._parts.chances.wants_response(call) if self._virtual(call) is not None else False

    def _virtual(self, call: Call) -> Virtual | None:
        try:
            return self._parts.virtual(call)
        except BadRequest:  # the upstream's to refuse
            return None

    # --- what the choice is made of ---------------------------------------------------------------------------

    def _read(self, call: Call) -> _Read | None:
        """What the body says of itself; remembered, as clients repeat themselves and explain asks twice."""
        request, chore = call.original, call.identity.housekeeping
        key = xxh3_128_digest(request.raw) + f"{request.wire}{chore}".encode()
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
            return found
        wanted = needs(request)
        if wanted is None:
            return None
        task, text = self._tasks.told(request, housekeeping=chore)
        found = self._known[key] = _Read(wanted, task, text)
        if len(self._known) > _REMEMBERED_BODIES:
            self._known.popitem(last=False)
        return found

    def _asked(self, call: Call, virtual: Virtual, read: _Read, asked_for: Needs) -> Asked:
        """Of the type that the virtual model or the agent has, else as the call tells; a side call is always one."""
        rule = self._parts.agents.of(call.identity.agent)
        task, kind = read.task, str(read.task.type)
        if kind != "side":
            kind = virtual.task or (rule.task if rule is not None else "") or kind
        output = float(task.expected_output_tokens or _USUAL_OUTPUT_TOKENS)
        most = asked_for.output_tokens
        return Asked(kind, task.complexity, output if most is None else min(output, most), read.text)

    def _options(
        self, call: Call, virtual: Virtual, asked_for: Needs, asked: Asked, scales: Scales | None
    ) -> list[Option]:
        """All candidates as the call finds them. scales: where its conversation is known to some of their caches."""
        parts, speeds = self._parts, self._speeds
        chances = parts.chances.of(call, asked, virtual.candidates)
        bar, lookout = bar_of(virtual), parts.lookout
        options = []
        for candidate, chance in zip(virtual.candidates, chances, strict=True):
            target, success = candidate.target, chance.success
            why = excluded(asked_for, candidate, self._known_facts(candidate))
            if why or not (candidate.keyed or self._brings_key(call, target)):
                why = why or f"there is no key for {target.provider}"
                options.append(Option(candidate, success, excluded=why, seen=chance.seen))
                continue
            live = lookout(target)
            now, delay_s = ("", 0.0) if live == _WELL else (self._not_now(live), live.wait_s + live.load_s)
            cost = None
            if scales is not None and (success >= bar or virtual.cascade):
                cost = scales.cost(target, output_tokens=asked.output_tokens)
            if cost is None:
                cost = self._price(call, target, asked_for.prompt_tokens, asked.output_tokens)
            if cost is not None and delay_s:
                cost += delay_s * self._settings.second_usd * _PICO
            seconds = delay_s + speeds.seconds(target, asked.output_tokens)
            options.append(Option(candidate, success, cost, seconds, now, bool(now), chance.seen))
        return options

    def _known_facts(self, candidate: Candidate) -> TargetTable:
        facts = self._facts.get(candidate)
        if facts is None:
            if len(self._facts) >= _REMEMBERED:
                self._facts.clear()
            facts = self._facts[candidate] = known(candidate)
        return facts

    def _price(self, call: Call, target: Target, prompt_tokens: int, output_tokens: float) -> float | None:
        """By the price alone, nothing of the prompt in a cache: for all candidates alike."""
        rates = self._parts.economy.rates(target, call.at)
        if rates is not None:
            plain, *_, output = rates.of(prompt_tokens)
            return prompt_tokens * plain + output_tokens * output
        usage = Usage(input_tokens=prompt_tokens, output_tokens=round(output_tokens), counted=True)
        return self._parts.book.cost(Charge(target.provider, target.model, usage, call.at))

    @staticmethod
    def _brings_key(call: Call, target: Target) -> bool:
        return call.credential is not None and target.provider == call.target.provider

    def _not_now(self, live: Live) -> str:
        if live.resting:
            return "it failed lately and rests"
        if live.quota_left is not None and live.quota_left <= 0:
            return "its quota is used up"
        if not live.fits:
            return "there is no memory for it now"
        if live.wait_s + live.load_s > self._settings.wait_s:
            return f"it would have to be waited for ({live.wait_s + live.load_s:.0f} s)"
        return ""

    def _peer(self, virtual: Virtual, choice: Choice, asked_for: Needs) -> Target | None:
        """The one whose agreement is asked for, where it can take the call now and is not the one who answers."""
        peer, option = virtual.peer, choice.option
        if peer is None or (option is not None and option.target == peer):
            return None
        listed = next((o for o in choice.options if o.target == peer), None)
        if listed is not None:
            return None if listed.excluded else peer
        beside = Candidate(peer, "", 0, TargetTable(peer.name))
        return None if excluded(asked_for, beside, known(beside)) or self._not_now(self._parts.lookout(peer)) else peer

    def _proposal(
        self, call: Call, virtual: Virtual, asked_for: Needs, asked: Asked, choice: Choice, option: Option
    ) -> Proposal:
        reference = next((o for o in choice.options if o.target == call.target), None)
        unable = reference is not None and bool(reference.excluded)
        saving = None
        if reference is not None and not (reference.guessed or option.guessed or unable):
            saving = max(round((reference.cost or 0.0) - (option.cost or 0.0)), 0)
        rungs = None
        if virtual.cascade and (strong := strong_after(choice)):
            rungs = Rungs(strong, self._peer(virtual, choice, asked_for), asked.task)
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

_REMEMBERED = 4_096  # candidates
_REMEMBERED_BODIES = 512
_PICO = 1e12
_WELL = Live()
_USUAL_OUTPUT_TOKENS = 400.0


def _next(choice: Choice, option: Option) -> tuple[Target, ...]:
    """Who is asked when the chosen one fails: those at least as likely right, the nearest first, then the others, and
    those that rest or lack a quota last. What cannot take the call is not among them."""
    chosen, success = option.candidate.target, option.success
    able = [o for o in choice.options if (o.rests or not o.excluded) and o.candidate.target != chosen]
    able.sort(key=lambda o: (bool(o.excluded), o.success < success, abs(o.success - success)))
    return tuple(dict.fromkeys([o.candidate.target for o in able]))
