"""One call whose target is to be chosen: what each comes to for it, with what all of them have in common found once."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ..call import Call, Target
from ..money import Price
from ..prices.caching import CacheRules
from ..request import Request
from ..warmth import Forecast, Scope, Warmth
from .foreseen import Foreseen, Rates, Worth
from .journeys import Held, Journey
from .pricing import cost_ahead, cost_now, growth_tokens
from .switching import Home, binds, home, switch, switch_refused, usual_output
from .whose import account_of

__all__ = ["Scales"]


class There(msgspec.Struct, frozen=True):
    """What a call finds at another target, in pico-dollars. `rates` None: it costs nothing there."""

    scope: Scope
    rules: CacheRules
    rates: Rates | None
    forecast: Forecast
    now: float  # what the prompt costs there
    answer: float  # and a token of the answer


class Scales:
    """Holds for the moment that it was made for: what is sent or billed after it is not on it. `seen`: the call as it
    stands; `held`: where its conversation is; None: it begins here. `moved`: how often conversations had gone anywhere
    before, for who wants to know whether it still holds."""

    def __init__(
        self,
        call: Call,
        seen: Foreseen,
        *,
        held: Held | None,
        journey: Journey | None,
        would_be: Callable[[], Forecast],
        prices: Callable[[str, str, float], Price | None],
        rules: Callable[[Target, Request], CacheRules],
        rates: Callable[[Target, float], Rates | None],
        actual: Warmth,
        at: float,
        moved: int,
    ) -> None:
        self.seen = seen
        self.held = held
        self.moved = moved
        self._request = call.original  # not the call, whose facts hold this
        self._called_at = call.at
        self._journey = journey
        self._would_be = would_be
        self._prices = prices
        self._rules = rules
        self._rates = rates
        self._actual = actual
        self._at_s = at
        self._account = account_of(call)
        self._home: Home | None = None
        self._there: dict[Target, There | None] = {}

    def weigh(self, target: Target, *, forced: bool = False) -> Worth | None:
        """Another model: its price, its cache, which knows nothing of what it was not sent, and the way back. None: no
        price is known. forced: it is not about money; then nothing refuses it."""
        there = self._at(target) if self.seen.rates is not None else None
        if there is None:
            return None
        worth = switch(self.seen, self._at_home(), self._moved_to(there), there.now, there.answer)
        refused = self._refused(target, there) if not forced else ""
        return msgspec.structs.replace(worth, refused=refused) if refused else worth

    def refuses(self, target: Target) -> str:
        """Why the call must not be made there for the sake of its price, "" if it may be: what `weigh` says of that,
        and most that are refused are so before all of it is reckoned."""
        there = self._at(target) if self.seen.rates is not None else None
        if there is None:
            return ""
        if refused := self._refused(target, there):
            return refused
        worth = switch(self.seen, self._at_home(), self._moved_to(there), there.now, there.answer)
        return "" if worth.total > 0 else "it would cost more than it saves"

    def _refused(self, target: Target, there: There) -> str:
        held = self.held
        if held is not None and held.locked and held.target != target:
            return held.why
        if not self.seen.chore and binds(self._request):
            return "its model would sign its reasoning, which holds what follows"
        return switch_refused(self._at_home(), there.now, there.answer)

    def cost(self, target: Target, *, output_tokens: float | None = None) -> float | None:
        """What this call and those that will probably follow cost there, in pico-dollars, with what is in its cache
        now; None: no price is known. output_tokens: of the answer; None: as its conversation's were."""
        there = self._at(target)
        if there is None:
            return None
        if there.rates is None:
            return 0.0
        seen = self.seen
        output = usual_output(seen) if output_tokens is None else output_tokens
        answers = output * there.answer
        ahead = cost_ahead(there.forecast, self._moved_to(there), growth_tokens(seen))
        return there.now + ahead + answers * (1.0 + seen.outlook.remaining_later)

    def _at_home(self) -> Home:
        found = self._home
        if found is None:
            found = self._home = home(self.seen, self._would_be(), self._journey, at=self._at_s)
        return found

    def _at(self, target: Target) -> There | None:
        """What the prompt finds at that target; None: no price is known there."""
        try:
            return self._there[target]
        except KeyError:
            pass
        found, rates = None, self._rates(target, self._called_at)
        if rates is not None or self._prices(target.provider, target.model, self._called_at) is not None:
            rules = self._rules(target, self._request)
            scope = (target.provider, target.model, self._account)
            forecast, now, answer = self._actual.forecast(scope, rules, self.seen.chain, self._at_s), 0.0, 0.0
            if rates is not None:
                now, answer = cost_now(forecast, rates), rates.of(forecast.prompt_tokens)[4]
            found = There(scope, rules, rates, forecast, now, answer)
        self._there[target] = found
        return found

    def _moved_to(self, there: There) -> Foreseen:
        """The call as it would be there."""
        found = msgspec.structs.replace(
            self.seen, scope=there.scope, rules=there.rules, rates=there.rates, forecast=there.forecast
        )
        found.__dict__["outlook"] = self.seen.outlook
        return found
