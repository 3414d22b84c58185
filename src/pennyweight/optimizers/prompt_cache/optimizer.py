"""The optimizer: asks what would pay, and proposes the best of it as one Rewrite."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated, Literal, Protocol

import msgspec

from ...call import REFUSED, Call, Outcome, Proposal, Rewrite, Target, Verdict
from ...economy import Economy, Foreseen
from ...prices.caching import CacheRules
from ...protocols import Clock
from ...request import Edit, Operation, Wire
from .forms import Forms
from .marks import Placement, edits, placements

__all__ = ["PromptCache", "Settings", "build"]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`ttl`: the life of our marks; "auto" picks it by the conversation's gaps. `keys`: set `prompt_cache_key`.
    `stake`: of what a conversation has cost, how much may be lost if it ends before a mark of ours has paid."""

    ttl: Literal["auto", "5m", "1h"] = "auto"
    keys: bool = True
    stake: Annotated[float, msgspec.Meta(ge=0.0, le=0.2)] = 0.001


class Parts(Protocol):
    @property
    def economy(self) -> Economy: ...

    @property
    def clock(self) -> Clock: ...


def build(settings: Settings, parts: Parts) -> PromptCache:
    return PromptCache(settings, parts)


class PromptCache:
    """Protocol: `pennyweight.protocols.Optimizer`."""

    name = "prompt_cache"
    wants_responses = False

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self._settings = settings
        self._economy = parts.economy
        self._economy.stake = settings.stake
        self._clock = parts.clock
        self._forms = Forms()
        self._refusals: OrderedDict[Target, tuple[int, float]] = OrderedDict()  # in a row, and when the last one came

    def concerns(self, call: Call) -> bool:
        """Not those that may get nothing but a key, and are too short for one."""
        if call.optimize == "max":
            return True
        rules = self._economy.rules(call.target)
        return rules.kind != "automatic" or len(call.request.raw) // _BYTES_PER_TOKEN >= rules.min_tokens

    async def propose(self, call: Call) -> Proposal | None:
        """Marks, a key, or the forms that were first sent; None where nothing would be gained."""
        if self._refused(call.target):
            return None
        rules = self._economy.rules(call.target)
        marks = rules.kind == "explicit" or (rules.kind == "marked" and call.target.provider == "openai")
        if call.optimize != "max" and not marks:
            return self._keyed(call, rules)
        at = self._clock.monotonic()
        seen = self._economy.look(call, at=at)
        if seen is None:
            return None if rules.kind == "explicit" else self._keyed(call, rules)
        if call.optimize == "max" and seen.conversation is None:
            again = self._forms.again(call)
            if again:
                why = "tools or system prompt in the form in which they were first sent"
                return Proposal(Rewrite(again), why=why, level="max", risk=_FORM_RISK)
        keyed = self._keyed(call, rules)
        return (self._marked(call, seen, at, keyed) if marks else None) or keyed

    def _marked(self, call: Call, seen: Foreseen, at: float, keyed: Proposal | None) -> Proposal | None:
        """The best of a few placements, with what else is proposed; None if none pays."""
        if seen.rates is None or seen.conversation is None:
            return None
        best: tuple[float, Placement] | None = None
        surest = 0.0  # what lies ahead if a guess is wrong
        for placement in sorted(placements(call, seen, self._settings.ttl), key=lambda p: -p.again):
            worth = self._economy.placing(seen, placement.marks, placement.ttl, at=at)
            if placement.again == 1.0:
                surest = max(surest, worth.ahead)
            total = worth.now + placement.again * worth.ahead + (1.0 - placement.again) * surest
            if not worth.refused and total > _CRUMB and (best is None or total > best[0]):
                best = total, placement
        if best is None:
            return None
        total, placement = best
        count = len(placement.marks)
        marked = seen.rules.kind == "marked"
        why = f"{count} cache breakpoint{'s' if count > 1 else ''} ({'30m' if marked else placement.ttl})"
        changes = edits(call.request, seen.chain, placement, openai=marked)
        if keyed is not None and isinstance(keyed.action, Rewrite):
            changes += keyed.action.edits
            why += f", {keyed.why}"
        self._economy.mark(call, changes, self._economy.placed(seen, placement.marks, placement.ttl))
        return Proposal(Rewrite(changes), saving=round(total), why=why, level="safe")

    def _keyed(self, call: Call, rules: CacheRules) -> Proposal | None:
        """One key for a session's calls, so that they meet on one machine."""
        request, identity = call.request, call.identity
        if not self._settings.keys or not rules.takes_key or call.target.provider != "openai" or not identity.session:
            return None
        tokens = len(request.raw) // _BYTES_PER_TOKEN
        if tokens < rules.min_tokens or request.operation is not Operation.GENERATE:
            return None
        if request.wire not in _KEYED or request.envelope.prompt_cache_key is not None:
            return None
        rates = self._economy.rates(call.target, call.at)
        if rates is None:
            return None
        plain, read, *_ = rates.of(tokens)
        name = f"{identity.tenant}\0{identity.session}\0{identity.housekeeping or ''}".encode("utf-8", "surrogatepass")
        edit = Edit(("prompt_cache_key",), f"pw-{hashlib.blake2b(name, digest_size=12).hexdigest()}")
        saving = round(_STRAYS * (plain - read) * tokens)
        return Proposal(Rewrite((edit,)), saving=saving, why="a cache key for this session", level="safe")

    def learns_from(self, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """Calls that were changed, or of which the upstream took only the caller's own; under `max` all."""
        return [
            one
            for one in outcomes
            if (call := one.call).request is not call.original or call.optimize == "max" or REFUSED in call.facts
        ]

    async def settle(self, outcome: Outcome) -> None:
        if not 200 <= outcome.status < 300:
            return
        self._forms.learn(outcome.call)
        for step in outcome.call.trail:
            if step.optimizer != self.name:
                continue
            if step.error == "refused_upstream":  # and it took the call as the caller wrote it
                times = self._refusals.pop(outcome.call.target, (0, 0.0))[0] + 1
                self._refusals[outcome.call.target] = times, self._clock.monotonic()
                if len(self._refusals) > _TARGETS:
                    self._refusals.popitem(last=False)
            elif step.verdict is Verdict.ACCEPTED:
                self._refusals.pop(outcome.call.target, None)

    def _refused(self, target: Target) -> bool:
        """Whether that upstream has lately said no to what was added: every such call is asked twice."""
        times, at = self._refusals.get(target, (0, 0.0))
        return times >= _TIMES and self._clock.monotonic() - at < _REST_S

    def wants_response(self, call: Call) -> bool:
        return False


_FORM_RISK = 0.01  # a date or counter stands at the end of the prompt in place of its beginning
_TIMES, _REST_S, _TARGETS = 2, 3_600.0, 256
_CRUMB = 1.0  # pico-dollars: rounding
_BYTES_PER_TOKEN = 5
_KEYED = (Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES)
_STRAYS = 0.02  # of calls without a key are taken to reach a machine that has not seen their prefix
