"""A route decision reckoned from the beginning, with nothing remembered: what the optimizer must come to as well.

As it was written first: every candidate is weighed as a call of its own, and after each refusal all are chosen among
again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from pennyweight.call import Call, Target
from pennyweight.economy import CHOICE, Economy, Foreseen, Held, Worth
from pennyweight.economy.pricing import cost_ahead, cost_now, growth_tokens
from pennyweight.economy.switching import binds, owed, usual_output
from pennyweight.habits import LATER_S
from pennyweight.money import Price, rates_for
from pennyweight.prefix import Blocks
from pennyweight.prices.book import PriceBook
from pennyweight.prices.caching import CacheBook
from pennyweight.routing.choose import Asked, Chance, Choice, Option, bar_of, choose
from pennyweight.routing.constraints import excluded, known, needs
from pennyweight.routing.tasks import classify
from pennyweight.routing.virtual import Live, Virtual
from pennyweight.warmth import Forecast

PICO = 1e12


class Anew:
    """What stands in `economy` is looked at, and what it has worked out before is not."""

    def __init__(
        self, economy: Economy, book: Callable[[], PriceBook], count: Callable[[str], int], *, virtual: Virtual
    ) -> None:
        self._state = economy
        self._book = book
        self._count = count
        self._virtual = virtual

    def choice(
        self, call: Call, chances: Sequence[Chance], lives: Sequence[Live], *, spent: float, at: float
    ) -> Choice | None:
        economy, virtual = self._economy(), self._virtual
        request = msgspec.structs.replace(call.original)
        call = msgspec.structs.replace(call, original=request, request=request, facts={CHOICE: True})
        seen = economy.look(call, at=at, small=True)
        wanted = needs(request)
        if wanted is None or seen is None:
            return None
        wanted = msgspec.structs.replace(wanted, prompt_tokens=round(seen.forecast.prompt_tokens))
        task = classify(request, housekeeping=call.identity.housekeeping)
        most = wanted.output_tokens
        output = float(task.expected_output_tokens or 400.0)
        output = output if most is None else min(output, most)
        held = economy.routes.held(call, seen)
        asked = Asked(str(task.type), task.complexity, output)
        options = []
        for candidate, chance, live in zip(virtual.candidates, chances, lives, strict=True):
            if why := excluded(wanted, candidate, known(candidate)):
                options.append(Option(candidate, chance.success, excluded=why))
                continue
            cost = None
            if held is not None and (chance.success >= bar_of(virtual) or virtual.cascade):
                cost = self._cost(economy, call, seen, candidate.target, at, output)
            if cost is None:
                price = self._price(candidate.target, call.at)
                rates = _flat(price, wanted.prompt_tokens, call.at)
                cost = wanted.prompt_tokens * rates[0] + output * rates[4]
            now = "it failed lately and rests" if live.resting else ""
            seconds = 1.0 + 0.02 * output
            options.append(Option(candidate, chance.success, cost, seconds, now, bool(now)))
        return self._chosen(economy, call, seen, asked, options, held, spent, at)

    def _chosen(
        self,
        economy: Economy,
        call: Call,
        seen: Foreseen,
        asked: Asked,
        options: list[Option],
        held: Held | None,
        spent: float,
        at: float,
    ) -> Choice:
        locked = held if held is not None and held.locked else None
        refused: set[Target] = set()
        while True:
            choice = choose(
                self._virtual,
                asked,
                options,
                pressure=spent,
                tight=spent >= 0.9,
                held=locked.target if locked is not None else None,
                held_why=locked.why if locked is not None else "",
            )
            option = choice.option
            if option is None or not choice.money or option.target == call.target:
                return choice
            if option.target in refused:
                return msgspec.structs.replace(choice, money=False)
            worth = self._weigh(economy, call, seen, option.target, held, at)
            if worth is None or (not worth.refused and worth.total > 0):
                return choice
            why = worth.refused or "it would cost more than it saves"
            refused.add(option.target)
            options = [
                msgspec.structs.replace(o, excluded=why, rests=True) if o.target == option.target else o
                for o in options
            ]

    def _economy(self) -> Economy:
        """With all that was learned, and nothing that was found out from it."""
        book, state = self._book(), self._state
        found = Economy(blocks=Blocks(count=self._count), caches=CacheBook(), prices=book.price)
        found.actual, found.untouched, found.unwritten = state.actual, state.untouched, state.unwritten
        found.habits = state.habits
        found.routes._actual, found.routes._journeys = state.actual, state.routes._journeys
        return found

    def _price(self, target: Target, at: float) -> Price:
        found = self._book().price(target.provider, target.model, at)
        assert found is not None
        return found

    def _there(self, economy: Economy, call: Call, seen: Foreseen, target: Target, at: float) -> Foreseen:
        rules, rates = economy.rules(target, call.original), economy.rates(target, call.at)
        scope = (target.provider, target.model, "")
        forecast = economy.actual.forecast(scope, rules, seen.chain, at)
        return msgspec.structs.replace(seen, scope=scope, rules=rules, rates=rates, forecast=forecast)

    def _cost(
        self, economy: Economy, call: Call, seen: Foreseen, target: Target, at: float, output: float
    ) -> float | None:
        there = self._there(economy, call, seen, target, at)
        if there.rates is None:
            return 0.0
        answers = output * there.rates.of(there.forecast.prompt_tokens)[4]
        ahead = cost_ahead(there.forecast, there, growth_tokens(seen))
        return cost_now(there.forecast, there.rates) + ahead + answers * (1.0 + seen.outlook.remaining_later)

    def _weigh(
        self, economy: Economy, call: Call, seen: Foreseen, target: Target, held: Held | None, at: float
    ) -> Worth | None:
        assert seen.rates is not None
        there = self._there(economy, call, seen, target, at)
        here, growth, price = seen.forecast, growth_tokens(seen), self._price(call.target, call.at)
        would_be = economy.would_be(seen, at=at)

        def answer(forecast: Forecast) -> float:
            return _flat(price, forecast.prompt_tokens, call.at)[4]

        elsewhere = there.rates.of(there.forecast.prompt_tokens)[4] if there.rates is not None else 0.0
        costs = cost_now(there.forecast, there.rates) if there.rates is not None else 0.0
        answers = usual_output(seen) * (answer(here) - elsewhere)
        now = cost_now(here, seen.rates) - costs + answers
        ahead = cost_ahead(here, seen, growth) + answers * seen.outlook.remaining_later
        if there.rates is not None:
            ahead -= cost_ahead(there.forecast, there, growth)
        plain, read, write_5m, write_1h, _ = _flat(price, here.prompt_tokens, call.at)
        write = write_1h if here.lasting_ttl_s >= LATER_S else write_5m
        back = max(here.lasting_tokens - here.read_tokens, 0.0) * (
            (plain if seen.rules.kind == "automatic" else write) - read
        )
        worth = Worth(now, ahead - 0.5 * min(seen.outlook.remaining_later, 1.0) * back)
        if held is not None and held.locked and held.target != target:
            return msgspec.structs.replace(worth, refused=held.why)
        if not seen.chore and binds(call.original):
            return msgspec.structs.replace(
                worth, refused="its model would sign its reasoning, which holds what follows"
            )
        journey = economy.routes._journeys.of(seen.session)
        saved = journey.saved - journey.owed_beside(seen.key, at) if journey is not None else 0.0
        surely = cost_now(would_be, seen.rates) - costs + 10.0 * (answer(would_be) - elsewhere)
        if saved + surely < owed(would_be, here, seen.rules.kind, seen.rates):
            why = "what has been saved in this session does not cover what the way back may cost"
            return msgspec.structs.replace(worth, refused=why)
        return worth


def _flat(price: Price, prompt_tokens: float, at: float) -> tuple[float, ...]:
    """The rates of a prompt of that length, in pico-dollars a token."""
    rates = rates_for(price, int(prompt_tokens))
    factor = 1.0
    for window in price.time_of_day:
        factor *= float(window.factor) if window.holds(at) else 1.0
    return tuple(
        float(rate) * factor for rate in (rates.input, rates.read, rates.write_5m, rates.write_1h, rates.output)
    )
