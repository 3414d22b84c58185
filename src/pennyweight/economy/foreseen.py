"""What is foreseen of a call, what a change of it would be worth, and the prices behind both."""

from __future__ import annotations

from math import inf

import msgspec

from ..call import Target
from ..habits import Agent, Conversation, Habits, Outlook
from ..money import Price, rates_for
from ..once import once
from ..prefix import Chain, shared
from ..prices.caching import CacheRules
from ..warmth import Forecast, Scope

__all__ = ["Elsewhere", "Foreseen", "Rates", "Worth"]


class Elsewhere(msgspec.Struct, frozen=True):
    """Where a call would have gone that was routed away from there."""

    target: Target
    scope: Scope
    rules: CacheRules
    rates: Rates | None


class Foreseen(msgspec.Struct, frozen=True, dict=True):
    """One call as it stands, priced. `asked`: the chain as the caller sent it; `chain`: as it would go out now.

    What every price of a change asks of it is found once: it holds for as long as nothing has been learned since.
    """

    key: bytes  # of its conversation
    session: str
    session_calls: int  # that the session has made before this one
    agent: str
    scope: Scope
    rules: CacheRules
    asked: Chain
    chain: Chain
    forecast: Forecast
    habits: Habits
    conversation: Conversation | None
    history: Agent | None  # what the agent has done before, its housekeeping apart
    looping: bool
    gap_s: float  # since the conversation's last call; 0 for its first
    chore: bool  # housekeeping: a wake, a title, a summary
    rates: Rates | None  # None: no price is known, so nothing is weighed
    stake: float = 0.001  # of what a conversation has cost: how much may be at stake in it
    repeats_tokens: float | None = None  # of a chore: how much of such a prompt the next one repeats; None: not known
    reference: Elsewhere | None = None  # None: it goes where it would have gone
    unwritten: Forecast | None = None  # of a chosen call: of the caller's own request at this target
    chosen: bool = False  # calls of its session are routed: caches are not what they would have been

    @once
    def outlook(self) -> Outlook:
        """What is to be expected after the call. Asked only for a change, and before the call is sent."""
        return self.habits.outlook(self.key, self.agent, looping=self.looping, chore=self.chore)

    @once
    def coming(self) -> tuple[float, float]:
        """How many calls will probably follow, each within an hour of the one before, and the share of them that come
        within 5 minutes."""
        outlook = self.outlook
        return outlook.remaining_later, min(outlook.soon / max(outlook.later, 0.01), 1.0)

    @once
    def stranger(self) -> bool:
        """Whether the conversation went on before we saw it: what is warm is not known."""
        if self.conversation is not None:
            return False
        return any(segment.role in ("assistant", "model") for segment in self.asked[self.asked.head :])

    @once
    def kept(self) -> int:
        """How many segments this call has in common with the last one of its conversation."""
        return shared(self.conversation.asked, self.asked) if self.conversation is not None else 0

    @once
    def gone(self) -> int:
        """How many segments at the end of one of the last prompts were gone in the next, at most."""
        return max(self.conversation.gone(self.kept), default=0) if self.conversation is not None else 0

    @once
    def appends(self) -> bool:
        """Whether the conversation's prompts go on where the one before ended; False for its first."""
        return self.conversation is not None and self.conversation.appends(self.kept)

    @once
    def repeated(self) -> int:
        """How many segments this call has in common with one of the last ones of its conversation."""
        return self.conversation.repeated(self.asked, self.kept) if self.conversation is not None else 0

    def now(self, chain: Chain, forecast: Forecast) -> Foreseen:
        """The same call, as it goes out after a change."""
        found = msgspec.structs.replace(self, chain=chain, forecast=forecast)
        found.__dict__.update({name: value for name, value in self.__dict__.items() if name in _OF_ASKED})
        return found

    @property
    def home(self) -> tuple[Scope, CacheRules]:
        """Where it would have gone, had nobody routed it."""
        return (self.scope, self.rules) if self.reference is None else (self.reference.scope, self.reference.rules)


_OF_ASKED = frozenset(("outlook", "coming", "stranger", "kept", "gone", "appends", "repeated"))
"""What hangs on the caller's own request alone."""


class Worth(msgspec.Struct, frozen=True, gc=False):
    """What a change is worth, in PicoUSD. `refused`: why it must not be made, "" if it may be."""

    now: float = 0.0  # saved on this very call
    ahead: float = 0.0  # and on those that will probably follow
    tokens: float = 0.0  # of the prompt, removed
    refused: str = ""
    waits: bool = False  # it would pay as soon as the cache is cold

    @property
    def total(self) -> float:
        return self.now + self.ahead


class Rates(msgspec.Struct, frozen=True, dict=True):
    """Pico-dollars a token, time of day in it. A prompt's length may cross a band, so they are looked up by length."""

    price: Price
    factor: float

    def of(self, prompt_tokens: float) -> tuple[float, float, float, float, float]:
        """(input, read, 5-minute write, 1-hour write, output)."""
        known: tuple[float, float, tuple[float, float, float, float, float]] = self.__dict__.get("_of", _NO_RATES)
        least, most, found = known
        if least <= prompt_tokens < most:
            return found
        tokens = int(prompt_tokens)
        rates, factor = rates_for(self.price, tokens), self.factor
        found = (
            float(rates.input) * factor,
            float(rates.read) * factor,
            float(rates.write_5m) * factor,
            float(rates.write_1h) * factor,
            float(rates.output) * factor,
        )
        # They change behind the beginning of a band only: of the standard tier's where there is such a tier.
        bands = next((tier.bands for tier in self.price.tiers if tier.name == "standard"), self.price.bands)
        begins = [band.above_input_tokens + 1 for band in bands]
        since = max((begin for begin in begins if begin <= tokens), default=-inf)
        self.__dict__["_of"] = since, min((begin for begin in begins if begin > tokens), default=inf), found
        return found


_NO_RATES = (inf, -inf, (0.0, 0.0, 0.0, 0.0, 0.0))
