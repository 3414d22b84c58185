"""Calls that go elsewhere than they would have: where their conversations are, what that is worth, what it came to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..call import Call, Target
from ..money import PicoUSD, Price, cost
from ..prices.caching import CacheRules
from ..request import Charge, Request, Usage
from ..warmth import Forecast, Warmth
from .foreseen import Elsewhere, Foreseen, Rates
from .journeys import REFERENCE, Held, Journey, Journeys, is_open
from .pricing import baseline
from .scales import Scales
from .switching import elsewhere, foreseen_saving, lapses_s, owed, same_state, same_tokens
from .whose import account_of

__all__ = ["Routes"]


class Routes:
    """Of one Economy, whose prices and whose knowledge of what was sent it shares."""

    def __init__(
        self,
        *,
        prices: Callable[[str, str, float], Price | None],
        rules: Callable[[Target, Request], CacheRules],
        rates: Callable[[Target, float], Rates | None],
        actual: Warmth,
    ) -> None:
        self._prices = prices
        self._rules = rules
        self._rates = rates
        self._actual = actual
        self._journeys = Journeys()
        self._moved = 0  # how often a conversation went anywhere, or was billed: what was weighed before is out of date

    def knows(self, session: str) -> bool:
        """Whether calls of that session are routed."""
        return self._journeys.of(session) is not None

    def reference(self, call: Call) -> Elsewhere | None:
        """Where the call would have gone, had nobody routed it; None: it goes there."""
        target: Target | None = call.facts.get(REFERENCE)
        if target is None or target == call.target:
            return None
        rules = self._rules(target, call.original)
        return Elsewhere(target, _scope(call, target), rules, self._rates(target, call.at))

    def held(self, call: Call, seen: Foreseen) -> Held | None:
        """Where the conversation is; None: it begins here."""
        journey = self._journeys.of(seen.session)
        target, sure = journey.at(seen.asked, seen.key) if journey is not None else (None, False)
        loop, bound = is_open(seen.asked), seen.asked.bound
        why = "inside a tool loop" if loop else "its model's signed reasoning stands in the history" if bound else ""
        if target is None or (not sure and not loop and not bound):
            return Held(call.facts.get(REFERENCE, call.target), True, why) if why else None
        return Held(target, bool(why), why or "at a boundary")

    def scales(self, call: Call, seen: Foreseen, would_be: Callable[[], Forecast], *, at: float) -> Scales:
        """What targets come to for that call, if it is made now. would_be: at its reference, had no call been changed.
        The one that was made for the call before, if nothing has moved since."""
        known: Scales | None = call.facts.get(_SCALES)
        if known is not None and known.seen is seen and known.moved == self._moved:
            return known
        found = call.facts[_SCALES] = Scales(
            call,
            seen,
            held=self.held(call, seen),
            journey=self._journeys.of(seen.session),
            would_be=would_be,
            prices=self._prices,
            rules=self._rules,
            rates=self._rates,
            actual=self._actual,
            at=at,
            moved=self._moved,
        )
        return found

    def went(self, call: Call, seen: Foreseen, would_be: Forecast, *, at: float) -> None:
        """A call of a session whose calls are routed was sent: from now on its conversation is there."""
        if not seen.chosen or not call.identity.session:
            return
        self._moved += 1
        journey = self._journeys.begin(seen.session)
        self._note(journey, call, seen, would_be, call.target, at)
        journey.saved += foreseen_saving(seen, would_be)

    def _note(
        self, journey: Journey, call: Call, seen: Foreseen, would_be: Forecast, target: Target, at: float
    ) -> None:
        owes, until, home = 0.0, at, seen.reference
        if home is not None and target != home.target:
            there = self._actual.forecast(home.scope, home.rules, seen.asked, at)
            owes = owed(would_be, there, home.rules.kind, home.rates)
            until = at + lapses_s(home, would_be)
        journey.went(seen.asked, seen.key, target, owes, until, chore=seen.chore)

    def came_to(
        self, call: Call, seen: Foreseen, would_be: Forecast, charges: Sequence[Charge], *, at: float
    ) -> tuple[Usage, bool]:
        """What a call of such a session would have come to at its reference, and whether that is an estimate, because
        other tokens were billed. charges: all that it caused, that of the answer last.

        Its session's purse gets what was saved, and its conversation is where the answer came from.
        """
        self._moved += 1
        usage = charges[-1].usage
        home = call.target if seen.reference is None else seen.reference.target
        alike = same_tokens(charges[-1].model, home.model)
        if len(charges) == 1 and same_state(seen, would_be) and _is(charges[-1], call.target):
            untouched = usage if seen.chain == seen.asked else baseline(usage, seen.forecast, would_be)
        else:
            untouched = elsewhere(usage, seen, would_be, alike=alike)
        journey = self._journeys.of(seen.session)
        if journey is not None:
            journey.saved += self._saving(home, untouched, charges) - foreseen_saving(seen, would_be)
            known = (call.target, home, *self._asked_too(call, seen, charges, at=at))
            answered = next((target for target in known if _is(charges[-1], target)), None)
            if answered is not None and answered != call.target:
                self._note(journey, call, seen, would_be, answered, at)
        return untouched, not alike

    def _saving(self, home: Target, untouched: Usage, charges: Sequence[Charge]) -> float:
        """What the charges come to less than the call would have at home; 0 where a price is not known."""
        at = charges[-1].at
        found = [self._cost(charge) for charge in (Charge(home.provider, home.model, untouched, at), *charges)]
        known = [amount for amount in found if amount is not None]
        return float(2 * known[0] - sum(known)) if len(known) == len(found) else 0.0

    def _cost(self, charge: Charge) -> PicoUSD | None:
        price = self._prices(charge.provider, charge.model, charge.at)
        return None if price is None else cost(charge.usage, price, at=charge.at)

    def _asked_too(self, call: Call, seen: Foreseen, charges: Sequence[Charge], *, at: float) -> list[Target]:
        """The further targets that were charged for the prompt: those of a cascade, and of a fallback."""
        named: list[Target] = [*call.facts.get("fallbacks", ())]
        if call.rungs is not None:
            named += [*call.rungs.strong, *((call.rungs.peer,) if call.rungs.peer is not None else ())]
        found = [t for t in dict.fromkeys(named) if t != call.target and any(_is(charge, t) for charge in charges)]
        for target in found:
            self._actual.sent(_scope(call, target), self._rules(target, call.original), seen.chain, at)
        return found


_SCALES = "scales"
"""The key of `Call.facts` under which the scales stand that were last made for it."""


def _scope(call: Call, target: Target) -> tuple[str, str, str]:
    return target.provider, target.model, account_of(call)


def _is(charge: Charge, target: Target) -> bool:
    return (charge.provider, charge.model) == (target.provider, target.model)
