"""The optimizer: asks what would pay, and proposes the best of it as one Rewrite."""

from __future__ import annotations

import hashlib
from typing import Literal, Protocol

import msgspec

from ...call import Call, Outcome, Proposal, Rewrite
from ...economy import Economy, Foreseen
from ...prices.caching import CacheRules
from ...protocols import Clock
from ...request import Edit, Operation, Wire
from .forms import Forms
from .marks import Placement, edits, placements

__all__ = ["PromptCache", "Settings", "build"]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`ttl`: the life of our marks; "auto" picks it by the conversation's gaps. `keys`: set `prompt_cache_key`."""

    ttl: Literal["auto", "5m", "1h"] = "auto"
    keys: bool = True


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

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self._settings = settings
        self._economy = parts.economy
        self._clock = parts.clock
        self._forms = Forms()

    async def propose(self, call: Call) -> Proposal | None:
        """Marks, a key, or the forms that were first sent; None where nothing would be gained."""
        rules = self._economy.rules(call.target)
        if call.optimize != "max" and rules.kind != "explicit":
            return self._keyed(call, rules)
        at = self._clock.monotonic()
        seen = self._economy.look(call, at=at)
        if seen is None:
            return None
        if call.optimize == "max" and seen.conversation is None:
            again = self._forms.again(call)
            if again:
                why = "tools or system prompt in the form in which they were first sent"
                return Proposal(Rewrite(again), why=why, level="max", risk=_FORM_RISK)
        if rules.kind == "explicit":
            return self._marked(call, seen, at)
        return self._keyed(call, rules)

    def _marked(self, call: Call, seen: Foreseen, at: float) -> Proposal | None:
        """The best of a few placements; None if none pays."""
        if seen.rates is None or seen.conversation is None:
            return None
        best: tuple[float, Placement] | None = None
        surest = 0.0  # what lies ahead if a guess is wrong
        for placement in sorted(placements(call, seen, self._settings.ttl), key=lambda p: -p.again):
            worth = self._economy.compare(seen, placement.chain, at=at)
            if placement.again == 1.0:
                surest = max(surest, worth.ahead)
            total = worth.now + placement.again * worth.ahead + (1.0 - placement.again) * surest
            if not worth.refused and total > 0 and (best is None or total > best[0]):
                best = total, placement
        if best is None:
            return None
        total, placement = best
        count = len(placement.marks)
        why = f"{count} cache breakpoint{'s' if count > 1 else ''} ({placement.ttl})"
        changes = edits(call.request, placement)
        self._economy.mark(call, changes, placement.chain)
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

    async def settle(self, outcome: Outcome) -> None:
        if 200 <= outcome.status < 300:
            self._forms.learn(outcome.call)

    def wants_response(self, call: Call) -> bool:
        return False


_FORM_RISK = 0.01  # a date or counter stands at the end of the prompt in place of its beginning
_BYTES_PER_TOKEN = 5
_KEYED = (Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES)
_STRAYS = 0.02  # of calls without a key are taken to reach a machine that has not seen their prefix
