"""A limit on answers that run away, learned per tenant, agent and model from those that ended at the model's own.

Only for calls whose caller set no limit. It starts with none and sets none by itself: the adaptive loop does, where
answers that end properly stay far below those that do not. What a cut answer would have said it cannot know.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import msgspec

from ..adaptive import Harm, Knob, Wish
from ..call import Call, Outcome, Proposal, Rewrite, Verdict
from ..errors import BadRequest
from ..money import PicoUSD
from ..request import Charge, Edit, Operation, Request, Usage, Wire

__all__ = ["Book", "LimitKnob", "OutputLimit", "Parts", "Settings", "build"]

_PROPER = frozenset({"stop", "end_turn", "stop_sequence", "completed", "tool_calls", "tool_use", "function_call"})
_CUT = frozenset({"length", "max_tokens", "max_output_tokens"})


class Settings(msgspec.Struct, frozen=True):
    """least_tokens: no limit below this. times_longest: nor below so many times the longest proper answer.

    proper, runaways: answers of each kind that must have been seen before a limit is set. kinds: of (tenant, agent,
    model) remembered at most.
    """

    least_tokens: int = 4096
    times_longest: float = 4.0
    proper: int = 500
    runaways: int = 3
    kinds: int = 1000


class Book(Protocol):
    """What this optimizer needs of a price book."""

    def cost(self, charge: Charge) -> PicoUSD | None:
        """What that bill comes to; None when no price is known."""
        ...


class Parts(Protocol):
    """What this optimizer needs of the App."""

    @property
    def book(self) -> Book: ...


class LimitKnob:
    """Protocol: `Knob`. In output tokens, reasoning included; `math.inf`: no limit."""

    start = math.inf
    high = math.inf

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.low = float(settings.least_tokens)
        self.value = math.inf
        self._settings = settings
        self.proper = 0
        self.longest = 0  # of the proper ones
        self.runaways = 0  # cut at the model's own limit
        self.runaway_tokens = 0
        self._harm = Harm()

    def ended(self, tokens: int, *, cut: bool, limited: bool) -> None:
        """An answer of that length ended. `limited`: by our limit, if it was cut."""
        if limited:
            seen, bad = self._harm.seen + 1, self._harm.bad + cut
            # Half of it is forgotten now and then, so that a change of the work shows however long it went well.
            self._harm = (
                Harm(seen // 2, bad // 2, self._harm.allowed) if seen >= 1000 else Harm(seen, bad, self._harm.allowed)
            )
        if not cut:
            self.proper += 1
            self.longest = max(self.longest, tokens)
        elif not limited:
            self.runaways += 1
            self.runaway_tokens += tokens

    @property
    def share(self) -> float:
        """Of answers that run away when nothing stops them."""
        return self.runaways / max(self.proper + self.runaways, 1)

    @property
    def risk(self) -> float:
        """That a proper answer is longer than all seen: the rule of three, 95%."""
        return min(3 / self.proper, 1.0) if self.proper else 1.0

    def wish(self) -> Wish | None:
        """A limit that no proper answer came near and that stops runaways at half their length or before."""
        if self.proper < self._settings.proper or self.runaways < self._settings.runaways:
            return None
        wished = max(self.longest * self._settings.times_longest, self._settings.least_tokens)
        if self.value < math.inf and wished <= self.value:
            return None  # never tighter than it is
        mean = self.runaway_tokens / self.runaways
        if self.value == math.inf and wished > mean / 2:
            return None
        told = f"{self.proper} proper answers had at most {self.longest} tokens, {self.runaways} ran on to {mean:.0f}"
        return Wish(math.ceil(wished / 1024) * 1024.0, told)

    def harm(self) -> Harm:
        return self._harm

    def turn(self, value: float) -> None:
        self.value = value
        # Many more cut answers than ran away before: the limit cuts proper ones.
        self._harm = Harm(allowed=2 * self.share if self.runaways else 0.05)


def build(settings: Settings, parts: Parts) -> OutputLimit:
    return OutputLimit(settings, parts)


class OutputLimit:
    """An Optimizer that proposes a Rewrite: the limit of the call's kind, in the field that its protocol has for it."""

    name = "output_limit"
    wants_responses = False

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self._settings = settings
        self._book = parts.book
        self._knobs: OrderedDict[tuple[str, str, str, str], LimitKnob] = OrderedDict()
        self._learning = False

    def knobs(self) -> Sequence[Knob]:
        """One for each kind of call met so far."""
        self._learning = True
        return tuple(self._knobs.values())

    async def propose(self, call: Call) -> Proposal | None:
        knob = self._knobs.get(_kind(call))
        if knob is None or knob.value == math.inf:
            return None
        place = _place(call)
        if place is None or _has_limit(call.original):
            return None
        limit = int(knob.value)
        over = max(knob.runaway_tokens - knob.runaways * limit, 0)  # tokens beyond the limit, over all answers seen
        tokens = over // max(knob.proper + knob.runaways, 1)
        charge = Charge(call.target.provider, call.target.model, Usage(output_tokens=tokens), call.at)
        return Proposal(
            Rewrite((Edit(place, limit),)),
            saving=self._book.cost(charge) or 0,
            risk=knob.risk,
            why=f"{knob.share:.1%} of answers ran away; limited to {limit} tokens",
            level="max",
        )

    async def settle(self, outcome: Outcome) -> None:
        usage, call = outcome.done.usage, outcome.call
        if not self._learning or usage is None or usage.counted or not outcome.done.charges:
            return
        if outcome.status != 200 or outcome.error or outcome.abandoned or not outcome.done.complete:
            return
        charge, target, reason = outcome.done.charges[-1], call.target, outcome.done.finish_reason
        if (charge.provider, charge.model) != (target.provider, target.model):
            return  # a fallback answered
        if _place(call) is None or reason not in _PROPER | _CUT or _has_limit(call.original):
            return
        limited = any(s.optimizer == self.name and s.verdict is Verdict.ACCEPTED for s in call.trail)
        self._knob(_kind(call)).ended(usage.output_tokens, cut=reason in _CUT, limited=limited)

    def wants_response(self, call: Call) -> bool:
        return False

    def _knob(self, kind: tuple[str, str, str, str]) -> LimitKnob:
        knob = self._knobs.get(kind)
        if knob is None:
            tenant, agent, provider, model = kind
            knob = self._knobs[kind] = LimitKnob(f"{self.name}[{tenant}/{agent}: {provider}/{model}]", self._settings)
            if len(self._knobs) > self._settings.kinds:
                self._knobs.popitem(last=False)
        self._knobs.move_to_end(kind)
        return knob


def _kind(call: Call) -> tuple[str, str, str, str]:
    return call.identity.tenant, call.identity.agent, call.target.provider, call.target.model


def _place(call: Call) -> tuple[str, ...] | None:
    """Where a limit goes; None where there is no place, or the protocol demands that the caller sets one (Messages)."""
    request = call.original
    if request.operation is not Operation.GENERATE:
        return None
    match request.wire:
        case Wire.OPENAI_CHAT:
            # OpenAI's reasoning models refuse the old name, other servers may not know the new one.
            return ("max_completion_tokens",) if call.target.provider == "openai" else ("max_tokens",)
        case Wire.OPENAI_RESPONSES:
            return ("max_output_tokens",)
        case Wire.OLLAMA:
            return ("options", "num_predict")
        case Wire.ANTHROPIC_MESSAGES:
            return None


class _Options(msgspec.Struct, frozen=True):
    num_predict: msgspec.Raw = msgspec.Raw(b"")


class _Limits(msgspec.Struct, frozen=True):
    """Raw, so that a limit of a wrong type is one too: the upstream shall say so, not we."""

    max_tokens: msgspec.Raw = msgspec.Raw(b"")
    max_completion_tokens: msgspec.Raw = msgspec.Raw(b"")
    max_output_tokens: msgspec.Raw = msgspec.Raw(b"")
    options: _Options | msgspec.UnsetType | None = msgspec.UNSET


_limits = msgspec.json.Decoder(_Limits)


def _has_limit(request: Request) -> bool:
    """Whether the caller set a limit, or we cannot tell."""
    try:
        found = _limits.decode(request.raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, BadRequest):
        return True
    raws = [found.max_tokens, found.max_completion_tokens, found.max_output_tokens]
    if found.options is None:
        return True  # a null has no room for a limit
    raws += [found.options.num_predict] if found.options is not msgspec.UNSET else []
    return any(bytes(raw) not in (b"", b"null") for raw in raws)
