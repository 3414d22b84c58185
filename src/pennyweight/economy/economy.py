"""What a call will cost before it is sent, now and in the calls that follow, and what a change of it would be worth.

Stands on the chain of the prompt (prefix), on what is probably in the provider's cache (warmth) and on how
conversations go on (habits). `look` and `weigh` change nothing; `sent` and `billed` learn.

In the words of the rules of money: with w and r the prices of writing and reading the cache relative to plain input, S
the tokens from the first changed one to the end of what was cached, D the tokens removed, R the calls to come, a
change of a warm prompt gains r R D - (w - r) S, of a cold one D (w + r (R - 1)). They are not computed by formula but
by pricing both prompts, so that minimum lengths, look-back, price bands and marks count as they are billed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ..call import Call, Proposal, Rewrite, Route, Target
from ..errors import BadRequest
from ..habits import Conversation, Habits
from ..money import Price, factor_at
from ..prefix import Blocks, Chain, Mark, shared
from ..prices.caching import CacheBook, CacheRules
from ..request import Edit, Operation, Request, Usage
from ..warmth import Forecast, Met, Warmth
from .foreseen import Foreseen, Rates, Worth
from .journeys import CHOICE, Held
from .pricing import baseline, bill, costs, growth_tokens, kept
from .rewriting import COLD, rewriting
from .routes import Routes
from .scales import Scales
from .stakes import invested, stake_refused
from .switching import missing_mark, same_state
from .whose import account_of, agent_of, key_of, session_of

__all__ = ["SMALL_BYTES", "Economy", "Prices", "concerns"]

Prices = Callable[[str, str, float], Price | None]
"""(provider, model, unix seconds) to the price in force; None: not known."""

SMALL_BYTES = 1_500
"""Bodies below this have no prompt that any provider caches."""


class _Looked(msgspec.Struct, frozen=True):
    """What was foreseen of a call, and when."""

    by: Economy
    seen: Foreseen
    original: Request
    request: Request
    target: Target
    learned: int
    at: float

    def still(self, call: Call, learned: int, at: float) -> bool:
        """Whether looking again would show the same."""
        return call.request is self.request and self.but_for_its_prompt(call, learned, at)

    def but_for_its_prompt(self, call: Call, learned: int, at: float) -> bool:
        """The same, if another prompt is not looked at that the call has been given since."""
        same = call.target is self.target and learned == self.learned and call.original is self.original
        same = same and (self.seen.chosen or CHOICE not in call.facts)
        return same and 0.0 <= at - self.at < _AT_ONE_TIME_S


def concerns(call: Call) -> bool:
    """False: `Economy.look` has nothing to say of the call, unless it is asked for small ones."""
    return len(call.original.raw) >= SMALL_BYTES or CHOICE in call.facts


class Economy:
    """One for an App. `actual`: what providers were sent; `untouched`: had nobody changed anything."""

    def __init__(self, *, blocks: Blocks, caches: CacheBook, prices: Prices, stake: float = 0.001) -> None:
        """stake: of what a conversation has cost, how much may be at stake in it for the sake of later calls."""
        self._blocks = blocks
        self._caches = caches
        self._prices = prices
        self.stake = stake
        self.actual = Warmth()
        self.untouched = Warmth()
        self.unwritten = Warmth()  # had calls been routed, but not rewritten: only of sessions whose calls are
        self.habits = Habits()
        self._rates: dict[tuple[str, str], tuple[float, Price, Rates | None]] = {}
        self.routes = Routes(prices=prices, rules=self.rules, rates=self.rates, actual=self.actual)
        self._learned = 0  # how often something was, so that what was foreseen before may be out of date

    def look(self, call: Call, *, at: float, small: bool = False, exactly: bool = False) -> Foreseen | None:
        """The call priced as it stands; None where there is nothing to price. at: monotonic seconds. small: also where
        no provider caches so short a prompt. exactly: the tokens of what is new counted, not estimated.

        Raises BadRequest for a body that cannot be read.
        """
        original = call.original
        small = small or CHOICE in call.facts
        if original.operation is not Operation.GENERATE or (len(original.raw) < SMALL_BYTES and not small):
            return None
        known: _Looked | None = call.facts.get("looked")
        holds = known is not None and known.by is self and known.still(call, self._learned, at)
        if known is not None and holds and not (exactly and (known.seen.asked.rough or known.seen.chain.rough)):
            return known.seen
        seen = self._look_on(call, known, at, exactly=exactly) or self._look(call, at, exactly=exactly)
        if seen is not None:
            call.facts["looked"] = _Looked(self, seen, original, call.request, call.target, self._learned, at)
        return seen

    def foresee(self, call: Call, *, at: float) -> tuple[Foreseen, Forecast] | None:
        """The call priced as it goes out, and what its provider would have billed for it as the caller sent it, had no
        call ever been changed: of one moment, so that they differ in nothing but what we changed. Raises BadRequest."""
        seen = self.look(call, at=at)
        if seen is None:
            return None
        if seen.chosen:
            unwritten = self.unwritten.forecast(seen.scope, seen.rules, seen.asked, at)
            seen = msgspec.structs.replace(seen, unwritten=unwritten)
        return seen, self.would_be(seen, at=at)

    def _look(self, call: Call, at: float, *, exactly: bool) -> Foreseen | None:
        original = call.original
        rules = self.rules(call.target, original)
        session = session_of(call)
        asked = self.chain(original, session, exactly=exactly)
        if not asked:
            return None
        chain = asked
        if call.request is not original and call.request.__dict__.get("_like") is not original:
            chain = self.chain(call.request, session and session + _SENT, exactly=exactly)
        if asked.rough or chain.rough:
            call.facts[_ROUGH] = True
        start = asked.head
        session = session or call.id
        key = key_of(session, asked[start - 1].digest if start else b"")
        scope = (call.target.provider, call.target.model, account_of(call))
        looping = _is_looping(asked)
        agent = agent_of(call)
        conversation = self.habits.conversation(key)
        chore = call.identity.housekeeping is not None
        return Foreseen(
            key=key,
            session=session,
            session_calls=self.habits.calls(session),
            agent=agent,
            scope=scope,
            rules=rules,
            asked=asked,
            chain=chain,
            forecast=self.actual.forecast(scope, rules, chain, at),
            habits=self.habits,
            conversation=conversation,
            history=self.habits.agent(agent.rpartition("\0")[0] + "\0"),
            looping=looping,
            gap_s=max(at - conversation.at, 0.0) if conversation is not None else 0.0,
            chore=chore,
            rates=self.rates(call.target, call.at),
            stake=self.stake,
            repeats_tokens=_repeats(asked, conversation) if chore and not looping else None,
            reference=self.routes.reference(call),
            chosen=CHOICE in call.facts or self.routes.knows(session),
        )

    def _look_on(self, call: Call, known: _Looked | None, at: float, *, exactly: bool) -> Foreseen | None:
        """What is foreseen of a call that was looked at just now, and was only changed since: all but its new prompt
        is as it was. None where that is not so."""
        if known is None or exactly or known.by is not self or not known.but_for_its_prompt(call, self._learned, at):
            return None
        session = session_of(call)
        chain = self.chain(call.request, session and session + _SENT, exactly=False)
        if chain.rough:
            call.facts[_ROUGH] = True
        seen = known.seen
        priced: tuple[Chain, Forecast] | None = seen.__dict__.get("_forecasts", {}).get(id(chain))
        forecast = priced[1] if priced is not None else self.actual.forecast(seen.scope, seen.rules, chain, at)
        return seen.now(chain, forecast)

    def rules(self, target: Target, request: Request | None = None) -> CacheRules:
        """How that upstream caches prompts, by the book, and for how long this request asks it to."""
        rules = self._caches.rules(target.provider, target.model, target.wire)
        if request is None or rules.kind != "automatic" or rules.long_ttl_s is None:
            return rules
        if request.envelope.prompt_cache_retention != "24h":
            return rules
        return msgspec.structs.replace(rules, ttl_s=(rules.long_ttl_s,))

    def chain(self, request: Request, session: str = "", *, exactly: bool = True) -> Chain:
        """The request's chain, made once. session: "" or a name under which its head is remembered. exactly: False
        lets the tokens of what is new be an estimate, until `settle`."""
        request = request.__dict__.get("_like", request)
        found: Chain | None = request.__dict__.get("_chain")
        if found is None or (exactly and found.rough):
            found = request.__dict__["_chain"] = self._blocks.chain(request, session=session, rough=not exactly)
        return found

    def settle(self, calls: Iterable[Call]) -> None:
        """Count what of the calls' prompts was only estimated, now that nobody waits. Never raises."""
        for call in calls:
            if _ROUGH in call.facts:
                session = session_of(call)
                self._blocks.settle(session)
                self._blocks.settle(session + _SENT)

    def weigh(self, call: Call, proposal: Proposal, *, at: float) -> Worth | None:
        """What the proposal is worth; None: it changes nothing that is priced by the prompt, or no price is known."""
        if isinstance(proposal.action, Rewrite) and _is_beside(proposal.action.edits):
            return None
        marked = _marked_by(call, proposal)
        exactly = isinstance(proposal.action, Rewrite) and marked is None  # what a text saves is told by its tokens
        seen = self.look(call, at=at, small=True, exactly=exactly)  # it will grow, and what was changed stays so
        if seen is None:
            return None
        if seen.rates is None:
            return self._unpriced(call, seen, proposal)
        match proposal.action:
            case Rewrite(edits=edits):
                if marked is not None:
                    return self.compare(seen, marked, at=at, restores=proposal.restores)
                request = call.request.edit(edits)
                call.facts["edited"] = (call.request, edits, request)  # who applies it need not make it again
                session = session_of(call)
                chain = self.chain(request, session and session + _SENT)
                if chain == seen.chain:
                    return None
                worth = self.compare(seen, chain, at=at, restores=proposal.restores)
                return invested(seen, worth, proposal.saving) if proposal.invests else worth
            case Route(target=target):
                return self._scales(call, seen, at).weigh(target, forced=proposal.forced)
            case _:
                return None

    def _unpriced(self, call: Call, seen: Foreseen, proposal: Proposal) -> Worth | None:
        """Without a price, what is warm stays as it is; else the proposal is taken at its word. Local models cost
        nothing, and may change."""
        if self._prices(call.target.provider, call.target.model, call.at) is not None:
            return None
        if not isinstance(proposal.action, Rewrite) or not seen.forecast.known_to or seen.forecast.warm <= COLD:
            return None
        if shared(seen.chain, self._blocks.chain(call.request.edit(proposal.action.edits))) >= seen.forecast.known_to:
            return None
        return Worth(refused="no price is known for what would be lost of the provider's cache", waits=True)

    def reads_alike(self, call: Call) -> bool:
        """Whether a model reads the same as in the caller's own request: only marks differ, or what is beside the
        prompt. False where that was not looked at."""
        if call.request.__dict__.get("_like") is call.original:
            return True
        ours, theirs = call.request.__dict__.get("_chain"), call.original.__dict__.get("_chain")
        if not ours or not theirs:
            return False
        return len(ours) == len(theirs) and bool(ours[-1].digest == theirs[-1].digest)

    def mark(self, call: Call, edits: tuple[Edit, ...], chain: Chain) -> None:
        """Edits that do nothing but put marks on blocks: the chain that they lead to need not be made again."""
        call.facts["marked"] = (call.request, edits, chain)

    def carry(self, before: Request, after: Request, edits: Sequence[Edit], facts: Mapping[str, Any]) -> None:
        """An edited request has the chain of the one before it where no edit touches the prompt; where none does more
        than put marks on it, `_texts` has the same texts in the same places."""
        known = facts.get("marked")
        if known is not None and known[0] is before and known[1] is edits:
            after.__dict__["_chain"] = known[2]
        elif _is_beside(edits):
            after.__dict__["_like"] = before.__dict__.get("_like", before)
        else:
            return
        after.__dict__["_texts"] = before.__dict__.get("_texts", before)

    def compare(self, seen: Foreseen, chain: Chain, *, at: float, restores: bool = False) -> Worth:
        """What it is worth to send `chain` in place of the chain that would go out now.

        restores: it is known to be the form in which this conversation was sent before.
        """
        # The gate asks again for the marks that an optimizer found best: the same question at the same moment.
        known: tuple[Chain, bool, Worth] | None = seen.__dict__.get("_compared", _NONE).get(id(chain))
        if known is not None and known[0] is chain and known[1] == restores:
            return known[2]
        worth = self._compare(seen, chain, at=at, restores=restores)
        seen.__dict__.setdefault("_compared", {})[id(chain)] = chain, restores, worth
        return worth

    def _compare(self, seen: Foreseen, chain: Chain, *, at: float, restores: bool) -> Worth:
        assert seen.rates is not None
        same = shared(seen.chain, chain)
        rewritten = same < max(len(seen.chain), len(chain))
        restored = rewritten and (restores or self._restores(seen, chain))
        if rewritten and not restored:
            bound = next((s for s in reversed(seen.chain[same:]) if s.bound), None)
            if bound is not None:
                return Worth(refused="a provider has signed reasoning behind the place that would change")
        if not seen.chore and len(chain.marks) < len(seen.chain.marks):
            return Worth(refused="the caller's own cache breakpoints stay")
        forecast = self.actual.forecast(seen.scope, seen.rules, chain, at)
        seen.__dict__.setdefault("_forecasts", {})[id(chain)] = chain, forecast  # it may be what goes out
        worth, before, after = _weighed(seen, forecast, chain, chain.marks)
        now = worth.now
        if rewritten:
            worth = rewriting(seen, chain, same, before, after, worth, restored=restored)
            if worth.refused:
                return worth
        return _staked(seen, chain.marks, worth, after) if now < -_CRUMB else worth

    def placing(self, seen: Foreseen, places: tuple[int, ...], mark: Mark, *, at: float) -> Worth:
        """What `compare` says of the chain that would go out now with marks of that life on these segments too, that
        have none: most such placements are weighed and left, so that their chains need not be made."""
        moment, met = seen.__dict__.get("_met", _NEVER)
        if moment != (at, self._learned):
            met = {}
            seen.__dict__["_met"] = (at, self._learned), met
        forecast = self.actual.forecast(seen.scope, seen.rules, seen.chain, at, places=places, mark=mark, met=met)
        marks = sorted((*seen.chain.marks, *places))
        worth, _, after = _weighed(seen, forecast, seen.chain, marks)
        if worth.now < -_CRUMB:
            worth = _staked(seen, marks, worth, after)
        seen.__dict__.setdefault("_placed", {})[places, mark] = forecast, worth
        return worth

    def placed(self, seen: Foreseen, places: tuple[int, ...], mark: Mark) -> Chain:
        """The chain with marks that were weighed by `placing`. What it is worth is known."""
        chain = seen.chain.marked(places, mark)
        forecast, worth = seen.__dict__["_placed"][places, mark]
        seen.__dict__.setdefault("_forecasts", {})[id(chain)] = chain, forecast
        compared = seen.__dict__.setdefault("_compared", {})
        compared[id(chain)] = chain, False, worth
        return chain

    def _restores(self, seen: Foreseen, chain: Chain) -> bool:
        """Whether all that the model said stands, in this chain, behind what it was said to: the chain goes on where
        the last one sent of its conversation ended, of that with the caller's head or with the chain's own."""
        start = chain.head
        said = len(chain)
        while said > start and chain[said - 1].role not in ("assistant", "model"):
            said -= 1
        while said > start and chain[said - 1].role in ("assistant", "model"):
            said -= 1
        own = key_of(seen.session, chain[start - 1].digest if start else b"")
        known = (self.habits.conversation(seen.key), self.habits.under(own))
        return said > start and any(found is not None and shared(found.chain, chain) >= said for found in known)

    # --- routing ------------------------------------------------------------------------------------------------

    def scales(self, call: Call, *, at: float) -> Scales | None:
        """What each target comes to for a call whose target is to be chosen, and whether it has to stay where its
        conversation is; None where there is nothing to price. Raises BadRequest for a body that cannot be read."""
        call.facts[CHOICE] = True
        # Counted, as what a session may cost at most hangs on it to the token.
        seen = self.look(call, at=at, small=True, exactly=True)
        return None if seen is None else self._scales(call, seen, at)

    def _scales(self, call: Call, seen: Foreseen, at: float) -> Scales:
        return self.routes.scales(call, seen, lambda: self.would_be(seen, at=at), at=at)

    def held(self, call: Call, *, at: float) -> Held | None:
        """Where the call's conversation is, and whether it has to stay there; None: it begins here, and may go
        anywhere.

        Inside a tool loop of which nothing is known, as after a restart, that is the call's own target, its reference.
        Never raises: a body that cannot be read is the backend's to refuse.
        """
        try:
            scales = self.scales(call, at=at)
        except BadRequest:
            return None
        return None if scales is None else scales.held

    def reroute(self, call: Call, target: Target, *, at: float, forced: bool = False) -> Worth | None:
        """What it is worth to send the call to `target` in place of its reference; None: no price is known.

        forced: it is not about money; then nothing refuses it. Raises BadRequest for a body that cannot be read.
        """
        scales = self.scales(call, at=at)
        return None if scales is None else scales.weigh(target, forced=forced)

    def returning(self, call: Call, *, at: float) -> tuple[Edit, ...]:
        """What gives a conversation that comes back to its reference, which is this call's target, a cache entry where
        it would have had one to read, had it stayed: () where there is nothing to do. Never raises."""
        try:
            seen = self.look(call, at=at, small=True)
        except BadRequest:
            return ()
        if seen is None or not seen.chosen or seen.reference is not None or seen.chain != seen.asked:
            return ()
        return missing_mark(call.request, seen, self.would_be(seen, at=at))

    # --- learning ---------------------------------------------------------------------------------------------

    def sent(self, seen: Foreseen, *, at: float) -> Foreseen:
        """The provider has taken a call that looked so as it went out. Gives what to keep of it for `billed`."""
        self._learned += 1
        self.actual.sent(seen.scope, seen.rules, seen.chain, at)
        self.untouched.sent(*seen.home, seen.asked, at)
        if seen.chosen:
            self.unwritten.sent(seen.scope, seen.rules, seen.asked, at)
        changed = seen.chain is not seen.asked and seen.chain != seen.asked
        guesses = changed and seen.conversation is not None and not seen.appends
        conversation = self.habits.sent(
            seen.key, seen.agent, seen.chain, seen.asked, session=seen.session, looping=seen.looping, at=at
        )
        if guesses:
            self._guess(conversation, seen)
        if seen.chain is not seen.asked:  # else it went on with its own head
            self._went_on(seen)
        conversation.rewritten = conversation.rewritten or changed
        return seen if conversation is seen.conversation else msgspec.structs.replace(seen, conversation=conversation)

    def lost_sight(self, seen: Foreseen, *, at: float) -> None:
        """Another provider took the call: what is warm there is not known, so its conversation is a stranger's now."""
        self._learned += 1
        self.habits.forget(seen.key)
        if seen.chosen:  # its receipts go on being held against its reference
            self.untouched.sent(*seen.home, seen.asked, at)

    def _went_on(self, seen: Foreseen) -> None:
        """A call that was sent with an earlier head of its session has gone on with that head's conversation."""
        start = seen.chain.head
        key = key_of(seen.session, seen.chain[start - 1].digest) if start else b""
        own = self.habits.under(key)
        if own is not None:
            own.chain = seen.chain
        elif start and not seen.chore:
            self.habits.went_as(seen.key, key)

    @staticmethod
    def _guess(conversation: Conversation, seen: Foreseen) -> None:
        """Remember a mark of ours that stands further back than anything that has come again so far."""
        ours = seen.chain.marks
        if ours and ours[-1] >= conversation.repeated_before:
            conversation.guessed.append(seen.chain[ours[-1]].digest)

    def would_be(self, seen: Foreseen, *, at: float) -> Forecast:
        """What the provider would have billed for the call as the caller sent it, had no call ever been changed."""
        return self.untouched.forecast(*seen.home, seen.asked, at)

    def billed(self, seen: Foreseen, would_be: Forecast, usage: Usage, *, at: float) -> None:
        """What the provider billed for a call that was `sent`."""
        self._learned += 1
        self.actual.learn(seen.scope, seen.rules, seen.chain, seen.forecast, usage, at)
        if seen.chain == seen.asked and (not seen.chosen or same_state(seen, would_be)):
            self.untouched.learn(seen.scope, seen.rules, seen.asked, would_be, usage, at)
        else:
            self.untouched.adopt(self.actual, seen.home[0])
        if seen.unwritten is not None:
            self.unwritten.adopt(self.actual, seen.scope)
            would_be = seen.unwritten
        conversation = seen.conversation
        if conversation is None or usage.counted or usage.suspect:
            return
        if usage.input_tokens > _ABSURD * max(seen.forecast.prompt_tokens, 1_000.0):
            return
        weight = 0.3 if conversation.output_tokens else 1.0
        conversation.output_tokens += weight * (usage.output_tokens - conversation.output_tokens)
        if seen.rates is not None:
            conversation.spent += bill(usage, seen.rates)
            conversation.answers += usage.output_tokens * seen.rates.of(usage.input_tokens)[4]
        if seen.rates is not None and conversation.rewritten:
            alike = seen.chain == seen.asked and seen.forecast == would_be
            without = usage if alike else baseline(usage, seen.forecast, would_be)  # being off alike earns nothing
            earned = bill(without, seen.rates) - bill(usage, seen.rates)
            conversation.balance += earned
            if seen.history is not None:
                seen.history.balance += earned

    def rates(self, target: Target, at: float) -> Rates | None:
        """What tokens cost there at that moment (unix seconds); None: not known, or nothing."""
        known = self._rates.get((target.provider, target.model))
        if known is not None and known[0] == at:  # of one call they are asked several times
            return known[2]
        price = self._prices(target.provider, target.model, at)
        if price is None:
            return None
        if known is not None and known[1] is price and not price.time_of_day:
            found = known[2]
        else:
            found = None if price.free else Rates(price, float(factor_at(price, at)))
        if known is None and len(self._rates) >= _MODELS:
            self._rates.clear()
        self._rates[target.provider, target.model] = at, price, found
        return found


_PROMPT = frozenset(
    ("messages", "input", "system", "instructions", "tools", "cache_control", "model", "thinking", "tool_choice")
)
"""The members of a body that what a provider caches depends on."""

_NEVER: tuple[tuple[float, int] | None, Met] = None, {}
_NONE: dict[int, tuple[Chain, bool, Worth]] = {}
_SENT = "\0sent"  # behind a session's name: under which the heads are remembered that it was sent with
_ROUGH = "rough"  # the fact that tokens of a call's prompt are estimates
_AT_ONE_TIME_S = 0.05
_MODELS = 1_000  # whose rates are remembered: names come from callers
_CRUMB = 1.0  # pico-dollars: rounding
_ABSURD = 16.0  # times what was foreseen: a bill for more is taken for a slip


def _marked_by(call: Call, proposal: Proposal) -> Chain | None:
    """The chain that a proposal leads to which does nothing but put marks on blocks."""
    known = call.facts.get("marked")
    if known is None or not isinstance(proposal.action, Rewrite):
        return None
    chain: Chain = known[2]
    return chain if known[0] is call.request and known[1] is proposal.action.edits else None


def _weighed(
    seen: Foreseen, forecast: Forecast, chain: Chain, marks: Sequence[int]
) -> tuple[Worth, Forecast, Forecast]:
    """What a prompt is worth in place of the one that would go out now, and what lasts of that one and of it."""
    before, growth, costs_now, costs_ahead = _untouched(seen)
    after = kept(forecast, chain, seen, marks)
    costs_then, costs_later = costs(after, seen, growth)
    removed = before.prompt_tokens - after.prompt_tokens
    return Worth(costs_now - costs_then, costs_ahead - costs_later, removed), before, after


def _staked(seen: Foreseen, marks: Sequence[int], worth: Worth, after: Forecast) -> Worth:
    """A change that costs more now, refused where it must not be made."""
    refused = stake_refused(seen, marks, worth, after.lasting_ttl_s)
    return msgspec.structs.replace(worth, refused=refused) if refused else worth


def _untouched(seen: Foreseen) -> tuple[Forecast, float, float, float]:
    """Of the call as it would go out now: its forecast, what a turn adds to it, what it costs now and what ahead."""
    found: tuple[Forecast, float, float, float] | None = seen.__dict__.get("_untouched")
    if found is None:
        assert seen.rates is not None
        before, growth = kept(seen.forecast, seen.chain, seen, seen.chain.marks), growth_tokens(seen)
        found = before, growth, *costs(before, seen, growth)
        seen.__dict__["_untouched"] = found
    return found


def _is_beside(edits: Sequence[Edit]) -> bool:
    """Whether edits touch nothing that a model reads or a provider's cache depends on."""
    return not any(not edit.path or edit.path[0] in _PROMPT for edit in edits)


def _repeats(asked: Chain, conversation: Conversation | None) -> float | None:
    """What a chore and the ones before it have in common: its own message is gone from the next."""
    if conversation is None or not conversation.asked:
        return None
    common = shared(conversation.asked, asked)
    return asked[common - 1].upto if common else 0.0


def _is_looping(chain: Chain) -> bool:
    """Whether the prompt ends in the result of a tool: behind it an agent goes on by itself."""
    return chain[-1].tool
