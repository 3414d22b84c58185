"""What a call will cost before it is sent, now and in the calls that follow, and what a change of it would be worth.

Stands on the chain of the prompt (prefix), on what is probably in the provider's cache (warmth) and on how
conversations go on (habits). `look` and `weigh` change nothing; `sent` and `billed` learn.

In the words of the rules of money: with w and r the prices of writing and reading the cache relative to plain input, S
the tokens from the first changed one to the end of what was cached, D the tokens removed, R the calls to come, a
change of a warm prompt gains r R D - (w - r) S, of a cold one D (w + r (R - 1)). They are not computed by formula but
by pricing both prompts, so that minimum lengths, look-back, price bands and marks count as they are billed.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from .call import Call, Proposal, Rewrite, Route, Target
from .habits import LATER_S, SOON_S, WELL, Agent, Conversation, Habits, Outlook
from .money import Price, factor_at, rates_for
from .prefix import Blocks, Chain, Segment, shared
from .prices.caching import CacheBook, CacheRules
from .request import Edit, Operation, Request, Usage
from .warmth import Forecast, Scope, Warmth

__all__ = ["Economy", "Foreseen", "Prices", "Rates", "Worth", "purse", "reading", "smallest", "standing", "takes_mark"]

Prices = Callable[[str, str, float], Price | None]
"""(provider, model, unix seconds) to the price in force; None: not known."""

SMALL_BYTES = 1_500
"""Bodies below this have no prompt that any provider caches."""


class Foreseen(msgspec.Struct, frozen=True):
    """One call as it stands, priced. `asked`: the chain as the caller sent it; `chain`: as it would go out now."""

    key: bytes  # of its conversation
    session: str
    session_calls: int  # that the session has made before this one
    agent: str
    scope: Scope
    rules: CacheRules
    asked: Chain
    chain: Chain
    forecast: Forecast
    outlook: Outlook
    conversation: Conversation | None
    history: Agent | None  # what the agent has done before, its housekeeping apart
    looping: bool
    gap_s: float  # since the conversation's last call; 0 for its first
    chore: bool  # housekeeping: a wake, a title, a summary
    stranger: bool  # a conversation that went on before we saw it: what is warm is not known
    rates: Rates | None  # None: no price is known, so nothing is weighed
    repeats_tokens: float | None = None  # of a chore: how much of such a prompt the next one repeats; None: not known


class Worth(msgspec.Struct, frozen=True):
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
        rates = rates_for(self.price, int(prompt_tokens))
        known: tuple[Any, tuple[float, float, float, float, float]] | None = self.__dict__.get("_of")
        if known is not None and known[0] is rates:
            return known[1]
        factor = self.factor
        found = (
            float(rates.input) * factor,
            float(rates.read) * factor,
            float(rates.write_5m) * factor,
            float(rates.write_1h) * factor,
            float(rates.output) * factor,
        )
        self.__dict__["_of"] = rates, found
        return found


class _Looked(msgspec.Struct, frozen=True):
    """What was foreseen of a call, and when."""

    by: Economy
    seen: Foreseen
    request: Request
    target: Target
    learned: int
    at: float

    def still(self, call: Call, learned: int, at: float) -> bool:
        """Whether looking again would show the same."""
        same = call.request is self.request and call.target is self.target and learned == self.learned
        return same and 0.0 <= at - self.at < _AT_ONE_TIME_S


class Economy:
    """One for an App. `actual`: what providers were sent; `untouched`: had nobody changed anything."""

    def __init__(self, *, blocks: Blocks, caches: CacheBook, prices: Prices) -> None:
        self._blocks = blocks
        self._caches = caches
        self._prices = prices
        self.actual = Warmth()
        self.untouched = Warmth()
        self.habits = Habits()
        self._learned = 0  # how often something was, so that what was foreseen before may be out of date

    def look(self, call: Call, *, at: float, small: bool = False) -> Foreseen | None:
        """The call priced as it stands; None where there is nothing to price. at: monotonic seconds. small: also where
        no provider caches so short a prompt.

        Raises BadRequest for a body that cannot be read.
        """
        original = call.original
        if original.operation is not Operation.GENERATE or (len(original.raw) < SMALL_BYTES and not small):
            return None
        known: _Looked | None = call.facts.get("looked")
        if known is not None and known.by is self and known.still(call, self._learned, at):
            return known.seen
        seen = self._look(call, at)
        if seen is not None:
            call.facts["looked"] = _Looked(self, seen, call.request, call.target, self._learned, at)
        return seen

    def _look(self, call: Call, at: float) -> Foreseen | None:
        original = call.original
        rules = self.rules(call.target)
        session = _session(call)
        asked = self.chain(original, session)
        if not asked:
            return None
        chain = asked
        if call.request is not original and call.request.__dict__.get("_like") is not original:
            chain = self.chain(call.request, session and session + "\0sent")
        start = asked.head
        session = session or call.id
        key = _key(session, asked[start - 1].digest if start else b"")
        scope = (call.target.provider, call.target.model, _account(call))
        looping = _is_looping(asked)
        agent = _agent(call)
        conversation = self.habits.conversation(key)
        chore = call.identity.housekeeping is not None
        stranger = conversation is None and any(s.role in ("assistant", "model") for s in asked[start:])
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
            outlook=self.habits.outlook(key, agent, looping=looping, chore=chore),
            conversation=conversation,
            history=self.habits.agent(agent.rpartition("\0")[0] + "\0"),
            looping=looping,
            gap_s=max(at - conversation.at, 0.0) if conversation is not None else 0.0,
            chore=chore,
            stranger=stranger,
            rates=self.rates(call.target, call.at),
            repeats_tokens=_repeats(asked, conversation) if chore and not looping else None,
        )

    def rules(self, target: Target) -> CacheRules:
        """How that upstream caches prompts, by the book."""
        return self._caches.rules(target.provider, target.model, target.wire)

    def chain(self, request: Request, session: str = "") -> Chain:
        """The request's chain, made once. session: "" or a name under which its head is remembered."""
        request = request.__dict__.get("_like", request)
        found: Chain | None = request.__dict__.get("_chain")
        if found is None:
            found = request.__dict__["_chain"] = self._blocks.chain(request, session=session)
        return found

    def weigh(self, call: Call, proposal: Proposal, *, at: float) -> Worth | None:
        """What the proposal is worth; None: it changes nothing that is priced by the prompt, or no price is known."""
        if isinstance(proposal.action, Rewrite) and _is_beside(proposal.action.edits):
            return None
        seen = self.look(call, at=at, small=True)  # it will grow, and what was changed stays so
        if seen is None:
            return None
        if seen.rates is None:
            return self._unpriced(call, seen, proposal)
        match proposal.action:
            case Rewrite(edits=edits):
                known = call.facts.get("marked")
                if known is not None and known[0] is call.request and known[1] is edits:
                    return self.compare(seen, known[2], at=at, restores=proposal.restores)
                request = call.request.edit(edits)
                call.facts["edited"] = (call.request, edits, request)  # who applies it need not make it again
                session = _session(call)
                chain = self.chain(request, session and session + "\0sent")
                if chain == seen.chain:
                    return None
                return self.compare(seen, chain, at=at, restores=proposal.restores)
            case Route(target=target):
                return self._reroute(seen, call, target, at=at)
            case _:
                return None

    def _unpriced(self, call: Call, seen: Foreseen, proposal: Proposal) -> Worth | None:
        """Without a price, what is warm stays as it is; else the proposal is taken at its word. Local models cost
        nothing, and may change."""
        if self._prices(call.target.provider, call.target.model, call.at) is not None:
            return None
        if not isinstance(proposal.action, Rewrite) or not seen.forecast.known_to or seen.forecast.warm <= _COLD:
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
        """An edited request has the chain of the one before it where no edit touches the prompt."""
        known = facts.get("marked")
        if known is not None and known[0] is before and known[1] is edits:
            after.__dict__["_chain"] = known[2]
            return
        if _is_beside(edits):
            after.__dict__["_like"] = before.__dict__.get("_like", before)

    def compare(self, seen: Foreseen, chain: Chain, *, at: float, restores: bool = False) -> Worth:
        """What it is worth to send `chain` in place of the chain that would go out now.

        restores: it is known to be the form in which this conversation was sent before.
        """
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
        before, after = seen.forecast, self.actual.forecast(seen.scope, seen.rules, chain, at)
        before, after = _kept(before, seen.chain, seen), _kept(after, chain, seen)
        growth = _growth(seen)
        now = _now(before, seen.rates) - _now(after, seen.rates)
        ahead = _ahead(before, seen, growth) - _ahead(after, seen, growth)
        removed = before.prompt_tokens - after.prompt_tokens
        worth = Worth(now, ahead, removed)
        if rewritten:
            worth = self._rewriting(seen, chain, same, before, after, worth, restored=restored)
            if worth.refused:
                return worth
        if now < -_CRUMB:
            refused = _stake(seen, chain, worth, after.lasting_ttl_s)
            if refused:
                return msgspec.structs.replace(worth, refused=refused)
        return worth

    def _rewriting(
        self,
        seen: Foreseen,
        chain: Chain,
        same: int,
        before: Forecast,
        after: Forecast,
        worth: Worth,
        *,
        restored: bool,
    ) -> Worth:
        """What is added to a change of the text: a warm prefix is left alone unless this very call gains by it."""
        assert seen.rates is not None
        start = seen.chain[same - 1].upto if same else 0
        if seen.stranger and not restored and _said(seen.chain) > start:
            return msgspec.structs.replace(
                worth, refused="the conversation went on before the gateway saw it: its cache may be warm", waits=True
            )
        if worth.tokens > 0 and _falls_short(seen, before, after):
            return msgspec.structs.replace(worth, refused="the prompt would stay below what a provider caches")
        if before.known_to > same and before.warm > _COLD:
            warm = msgspec.structs.replace(before, read_tokens=before.known_tokens, **_unwritten(before))
            now = _now(warm, seen.rates) - _now(after, seen.rates)
            if now < 0:
                lost = f"{before.known_tokens - after.read_tokens:,.0f} tokens in the provider's cache would be lost"
                return msgspec.structs.replace(worth, now=now, refused=lost, waits=worth.tokens > 0)
        short = seen.rules.kind != "none" and before.prompt_tokens < 2 * seen.rules.min_tokens
        if not restored and (short or worth.tokens <= 2 * (seen.rules.step_tokens - 1)):
            return msgspec.structs.replace(
                worth, refused="less than what the provider's least length and steps may cost"
            )
        if not restored and worth.total < _rounding(seen):
            return msgspec.structs.replace(worth, refused="what it saves is less than what rounding may cost")
        return worth

    def _restores(self, seen: Foreseen, chain: Chain) -> bool:
        """Whether all that the model said stands, in this chain, behind what it was said to: the chain goes on where
        the last one sent of its conversation ended, of that with the caller's head or with the chain's own."""
        start = chain.head
        said = len(chain)
        while said > start and chain[said - 1].role not in ("assistant", "model"):
            said -= 1
        while said > start and chain[said - 1].role in ("assistant", "model"):
            said -= 1
        own = _key(seen.session, chain[start - 1].digest if start else b"")
        known = (self.habits.conversation(key) for key in {seen.key, own})
        return said > start and any(found is not None and shared(found.chain, chain) >= said for found in known)

    def _reroute(self, seen: Foreseen, call: Call, target: Target, *, at: float) -> Worth | None:
        """Another model: its price, and its cache, which knows nothing of this conversation."""
        rates = self.rates(target, call.at)
        if rates is None or seen.rates is None:
            return None
        rules = self.rules(target)
        scope = (target.provider, target.model, _account(call))
        there = msgspec.structs.replace(
            seen, scope=scope, rules=rules, rates=rates, forecast=self.actual.forecast(scope, rules, seen.chain, at)
        )
        growth = _growth(seen)
        output = seen.conversation.output_tokens if seen.conversation is not None else _USUAL_OUTPUT_TOKENS
        answers = output * (seen.rates.of(seen.forecast.prompt_tokens)[4] - rates.of(there.forecast.prompt_tokens)[4])
        now = _now(seen.forecast, seen.rates) - _now(there.forecast, rates) + answers
        ahead = _ahead(seen.forecast, seen, growth) - _ahead(there.forecast, there, growth)
        return Worth(now, ahead + answers * seen.outlook.remaining_later)

    # --- learning ---------------------------------------------------------------------------------------------

    def sent(self, seen: Foreseen, *, at: float) -> Foreseen:
        """The provider has taken a call that looked so as it went out. Gives what to keep of it for `billed`."""
        self._learned += 1
        self.actual.sent(seen.scope, seen.rules, seen.chain, at)
        self.untouched.sent(seen.scope, seen.rules, seen.asked, at)
        appends = seen.conversation is None or seen.conversation.appends(seen.asked)
        conversation = self.habits.sent(
            seen.key, seen.agent, seen.chain, seen.asked, session=seen.session, looping=seen.looping, at=at
        )
        if not appends and seen.chain != seen.asked:
            self._guess(conversation, seen)
        self._went_on(seen)
        conversation.rewritten = conversation.rewritten or seen.chain != seen.asked
        return msgspec.structs.replace(seen, conversation=conversation)

    def lost_sight(self, seen: Foreseen) -> None:
        """Another provider took the call: what is warm there is not known, so its conversation is a stranger's now."""
        self._learned += 1
        self.habits.forget(seen.key)

    def _went_on(self, seen: Foreseen) -> None:
        """A call that was sent with an earlier head of its session has gone on with that head's conversation."""
        start = seen.chain.head
        own = self.habits.conversation(_key(seen.session, seen.chain[start - 1].digest)) if start else None
        if own is not None:
            own.chain = seen.chain

    @staticmethod
    def _guess(conversation: Conversation, seen: Foreseen) -> None:
        """Remember a mark of ours that stands further back than anything that has come again so far."""
        ours = seen.chain.marks
        if ours and ours[-1] >= conversation.repeated_before:
            conversation.guessed.append(seen.chain[ours[-1]].digest)

    def would_be(self, seen: Foreseen, *, at: float) -> Forecast:
        """What the provider would have billed for the call as the caller sent it, had no call ever been changed."""
        return self.untouched.forecast(seen.scope, seen.rules, seen.asked, at)

    def billed(self, seen: Foreseen, would_be: Forecast, usage: Usage, *, at: float) -> None:
        """What the provider billed for a call that was `sent`."""
        self._learned += 1
        self.actual.learn(seen.scope, seen.rules, seen.chain, seen.forecast, usage, at)
        if seen.chain == seen.asked:
            self.untouched.learn(seen.scope, seen.rules, seen.asked, would_be, usage, at)
        else:
            self.untouched.adopt(self.actual, seen.scope)
        conversation = seen.conversation
        if conversation is None or usage.counted or usage.suspect:
            return
        if usage.input_tokens > _ABSURD * max(seen.forecast.prompt_tokens, 1_000.0):
            return
        weight = 0.3 if conversation.output_tokens else 1.0
        conversation.output_tokens += weight * (usage.output_tokens - conversation.output_tokens)
        if seen.rates is not None:
            conversation.spent += _bill(usage, seen.rates)
            conversation.answers += usage.output_tokens * seen.rates.of(usage.input_tokens)[4]
        if seen.rates is not None and conversation.rewritten:
            without = baseline(usage, seen.forecast, would_be)
            earned = _bill(without, seen.rates) - _bill(usage, seen.rates)
            conversation.balance += earned
            if seen.history is not None:
                seen.history.balance += earned

    def rates(self, target: Target, at: float) -> Rates | None:
        """What tokens cost there at that moment (unix seconds); None: not known, or nothing."""
        price = self._prices(target.provider, target.model, at)
        if price is None or price.free:
            return None
        return Rates(price, float(factor_at(price, at)))


def baseline(usage: Usage, sent: Forecast, would_be: Forecast) -> Usage:
    """The usage of the call as the caller sent it: what was billed, moved by the difference of the two forecasts.

    Where the provider had less in its cache than was foreseen, it would have had that much less of the other, too;
    where it had more, as after a restart of ours, the caller's own marks would have found that as well.
    """
    kept = 1.0
    if sent.read_tokens >= 1.0:
        kept = min(max(usage.cache_read_tokens / sent.read_tokens, 0.0), 1.0)
    elif would_be.read_tokens >= 1.0 and sent.known_to and usage.cache_read_tokens == 0:
        kept = 0.0
    prompt = max(round(usage.input_tokens + would_be.prompt_tokens - sent.prompt_tokens), 0)
    likely = would_be.likely_read_tokens
    read = round(likely * kept)
    if usage.cache_read_tokens > 1.1 * sent.known_tokens + _STEP_TOKENS:
        read = max(read, min(usage.cache_read_tokens, round(would_be.lasting_tokens)))
    read = min(read, prompt)
    room = prompt - read
    writes = would_be.write_5m_tokens + would_be.write_1h_tokens
    marked = likely + writes if would_be.lasting_tokens else 0.0
    lasting = min(round(max(would_be.lasting_tokens, marked if writes else 0.0)), prompt)
    written = max(min(lasting - read, room), 0) if writes else 0
    long = round(written * (would_be.write_1h_tokens / writes)) if writes else 0
    return msgspec.structs.replace(
        usage,
        input_tokens=prompt,
        cache_read_tokens=read,
        cache_write_5m_tokens=written - long,
        cache_write_1h_tokens=long,
    )


_PROMPT = frozenset(
    ("messages", "input", "system", "instructions", "tools", "cache_control", "model", "thinking", "tool_choice")
)
"""The members of a body that what a provider caches depends on."""

_AT_ONE_TIME_S = 0.05
_COLD = 0.06  # a prefix that is warm with at most this probability may be rewritten
_CRUMB = 1.0  # pico-dollars: rounding
_STEP_TOKENS = 128  # in which some providers count what they read
_ABSURD = 16.0  # times what was foreseen: a bill for more is taken for a slip
_USUAL_OUTPUT_TOKENS = 400.0
_USUAL_GROWTH_TOKENS = 300.0  # that a turn adds to a prompt, before anything was seen


def _rounding(seen: Foreseen) -> float:
    """What it may cost, in pico-dollars, that a cache which counts in steps rounds another length down further: on this
    call and on a few of those to come."""
    assert seen.rates is not None
    plain, read, *_ = seen.rates.of(seen.forecast.prompt_tokens)
    return (seen.rules.step_tokens - 1) * (plain - read) * min(1.0 + seen.outlook.remaining_later, 4.0)


def _is_beside(edits: Sequence[Edit]) -> bool:
    """Whether edits touch nothing that a model reads or a provider's cache depends on."""
    return not any(not edit.path or edit.path[0] in _PROMPT for edit in edits)


def _now(forecast: Forecast, rates: Rates) -> float:
    """What the prompt of this call costs, in pico-dollars."""
    plain, read, write_5m, write_1h, _ = rates.of(forecast.prompt_tokens)
    return (
        forecast.plain_tokens * plain
        + forecast.read_tokens * read
        + forecast.write_5m_tokens * write_5m
        + forecast.write_1h_tokens * write_1h
    )


def _ahead(forecast: Forecast, seen: Foreseen, growth: float) -> float:
    """What this prompt costs in the calls that will probably follow, and what they will add to the cache."""
    assert seen.rates is not None
    outlook = seen.outlook
    calls = outlook.remaining_later
    plain, read, write_5m, write_1h, _ = seen.rates.of(forecast.prompt_tokens)
    if seen.rules.kind == "automatic":
        write = plain
    else:
        write = write_1h if forecast.lasting_ttl_s >= LATER_S else write_5m
    in_time = 1.0 if forecast.lasting_ttl_s >= LATER_S else min(outlook.soon / max(outlook.later, 0.01), 1.0)
    if SOON_S < forecast.lasting_ttl_s < LATER_S:
        in_time = (in_time + 1.0) / 2
    lasting = forecast.lasting_tokens
    if seen.repeats_tokens is not None:
        lasting = min(lasting, seen.repeats_tokens)
    rest = (
        write if seen.rules.kind == "marked" else plain
    )  # it is written up to its end, whether that comes again or not
    again = lasting * (in_time * read + (1.0 - in_time) * write) + (forecast.prompt_tokens - lasting) * rest
    # What a turn adds is written where marks stand at the end; from a small beginning they climb if that pays.
    covered = min(lasting / forecast.prompt_tokens, 1.0) if forecast.prompt_tokens else 0.0
    added = growth * (covered * write + (1.0 - covered) * rest)
    return calls * (again + added)


def _kept(forecast: Forecast, chain: Chain, seen: Foreseen) -> Forecast:
    """Of what an implicit breakpoint at the end of a prompt writes, only what the next call repeats lasts."""
    conversation = seen.conversation
    if seen.rules.kind != "marked" or conversation is None or len(chain) != len(seen.asked):
        return forecast
    if conversation.appends(seen.asked):
        comes = len(chain) - max(conversation.gone(seen.asked), default=0)
    else:
        comes = conversation.repeated(seen.asked)
    if comes >= len(chain):
        return forecast
    scale = forecast.prompt_tokens / max(chain[-1].upto, 1)
    written = (chain[place].upto * scale for place in chain.marks if place < comes)
    known = forecast.known_tokens if forecast.known_to <= comes else 0.0
    lasting = max((tokens for tokens in written if tokens >= seen.rules.min_tokens), default=0.0)
    return msgspec.structs.replace(forecast, lasting_tokens=max(lasting, known))


def _repeats(asked: Chain, conversation: Conversation | None) -> float | None:
    """What a chore and the ones before it have in common: its own message is gone from the next."""
    if conversation is None or not conversation.asked:
        return None
    common = shared(conversation.asked, asked)
    return asked[common - 1].upto if common else 0.0


def _stake(seen: Foreseen, chain: Chain, worth: Worth, ttl_s: float) -> str:
    """Why a change that costs more now and pays later must not be made; "": it may. ttl_s: the life of what it writes.

    Its cost is a stake that is lost if no call follows in time, or with another head. What has not come again before
    is only bet on out of earnings.
    """
    conversation = seen.conversation
    if worth.total <= 0:
        return "what it costs now would not come back"
    if conversation is None:
        return "not known yet whether the conversation goes on"
    ours = chain.marks
    last = ours[-1] if ours else -1
    if -worth.now > purse(seen, ttl_s, first=last <= smallest(seen)):
        return "more than has been earned, for a conversation that may end or pause"
    guessed = not conversation.appends(seen.asked) and last >= conversation.repeated(seen.asked)
    if guessed and -worth.now > conversation.balance:
        return "what has not come again before is only bet on out of earnings"
    return ""


def purse(seen: Foreseen, ttl_s: float, *, first: bool = False) -> float:
    """What may be staked on the calls to come, in pico-dollars: what earlier changes have earned in this conversation,
    and at most a thousandth of what it has cost, if it has gone on well within that life, oftener where a stake was
    lost. So whatever follows, it costs no more than that above what it would have.

    first: for the smallest prefix that can be cached at all. Where a young agent goes on by itself, that may cost more.
    """
    conversation = seen.conversation
    if conversation is None or seen.rates is None:
        return 0.0
    hour = ttl_s >= LATER_S
    life_s = LATER_S if hour else SOON_S
    if seen.gap_s >= life_s:
        return 0.0
    cost = conversation.spent + conversation.answers + _now(seen.forecast, seen.rates)
    in_row = 1 + (conversation.in_row_later if hour else conversation.in_row) if seen.gap_s < WELL * life_s else 0
    if conversation.balance + reading(seen) < 0:
        return _SHARE * cost + conversation.balance if in_row >= _ONCE_BITTEN else 0.0
    share = min(_SHARE * 2.0 ** (in_row - _SHOWN), _SHARE_HOUR if hour else _SHARE_MOST) if in_row >= _SHOWN else 0.0
    if seen.gap_s < _AT_ONCE * life_s and not hour:
        if first and seen.looping and in_row >= _STEADY and conversation.spent < _YOUNG_PROMPTS * _least(seen):
            share = _SHARE_LOOPING
        elif seen.gap_s < _AT_ONCE / 2 * life_s and not conversation.appends(seen.asked) and _known(seen):
            share = _SHARE_REPEATED
    return conversation.balance + share * cost


def _least(seen: Foreseen) -> float:
    """What the shortest prompt that its provider caches costs, in pico-dollars."""
    return seen.rates.of(seen.forecast.prompt_tokens)[0] * seen.rules.min_tokens if seen.rates is not None else 0.0


def smallest(seen: Foreseen) -> int:
    """The last block of the smallest prefix that the provider caches; -1: the prompt is too short."""
    scale = seen.forecast.prompt_tokens / max(seen.chain[-1].upto, 1)
    for index, segment in enumerate(seen.chain):
        if segment.upto * scale >= seen.rules.min_tokens and takes_mark(segment):
            return index
    return -1


def takes_mark(segment: Segment) -> bool:
    """Whether a breakpoint may stand on a block: not on thinking and empty texts; the model's turns need none."""
    return segment.role not in ("assistant", "model") and not segment.bound and segment.tokens > 0


def standing(seen: Foreseen) -> int:
    """The last block of what the conversation's last call wrote or read at a mark, if this prompt still begins so and
    it is probably still there; -1: nothing. It is read only if a mark stands on it, or soon behind it."""
    conversation = seen.conversation
    if conversation is None:
        return -1
    common = shared(conversation.chain, seen.chain)
    marks = conversation.chain.marks
    place = bisect_left(marks, common) - 1
    if place < 0:
        return -1
    life_s = LATER_S if conversation.chain[marks[place]].mark == "1h" else SOON_S
    return marks[place] if seen.gap_s < life_s else -1


def reading(seen: Foreseen) -> float:
    """What this very call can earn by reading what marks of ours wrote, in pico-dollars."""
    assert seen.conversation is not None
    if not seen.conversation.rewritten or seen.rates is None:
        return 0.0
    place = standing(seen)
    if place < 0 or seen.forecast.prompt_tokens <= 0:
        return 0.0
    plain, read, *_ = seen.rates.of(seen.forecast.prompt_tokens)
    share = seen.chain[place].upto / max(seen.chain[-1].upto, 1)
    return share * seen.forecast.prompt_tokens * (plain - read)


_AT_ONCE = 0.2
_SHOWN, _STEADY, _ONCE_BITTEN = 2, 5, 6  # gaps well in time, without a break
_SHARE = 0.0005  # of what a conversation has cost; twice as much with every further gap in time
_SHARE_MOST = 0.001  # a session that ends with the very next call must not have cost more than this above its baseline
_SHARE_HOUR = 0.0008  # a conversation of long pauses comes back on another day, with another date in its head
_YOUNG_PROMPTS = 20  # a conversation that has cost less than so many of the shortest cached prompts has just begun
_SHARE_REPEATED = 0.05  # where an early part comes again although what follows has changed
_SHARE_LOOPING = 0.2  # where an agent goes on by itself, call upon call


def _known(seen: Foreseen) -> bool:
    """Whether the session has gone on, or its agent, and nothing was lost on it by taking its word."""
    if seen.session_calls >= 2:
        return True
    return seen.history is not None and seen.history.calls >= 2 and seen.history.balance >= 0


def _growth(seen: Foreseen) -> float:
    """Tokens that a turn adds to the prompt, on average."""
    conversation = seen.conversation
    if conversation is None or not conversation.asked:
        return 0.0
    return max(seen.asked[-1].upto - conversation.asked[-1].upto, 0.0)


def _falls_short(seen: Foreseen, before: Forecast, after: Forecast) -> bool:
    """Whether a prompt, made shorter, is too short to be cached while it soon would have been without that."""
    if seen.rules.kind == "none" or after.prompt_tokens >= seen.rules.min_tokens or seen.outlook.remaining < 0.5:
        return False
    growth = _growth(seen) or _USUAL_GROWTH_TOKENS
    return before.prompt_tokens + growth * seen.outlook.remaining >= seen.rules.min_tokens


def _unwritten(forecast: Forecast) -> dict[str, float]:
    """Of what would be written, only what lies behind the known prefix."""
    writes = forecast.write_5m_tokens + forecast.write_1h_tokens
    behind = max(forecast.lasting_tokens - forecast.known_tokens, 0.0)
    scale = min(behind / writes, 1.0) if writes else 0.0
    return {
        "write_5m_tokens": forecast.write_5m_tokens * scale,
        "write_1h_tokens": forecast.write_1h_tokens * scale,
    }


def _bill(usage: Usage, rates: Rates) -> float:
    plain, read, write_5m, write_1h, _ = rates.of(usage.input_tokens)
    return (
        usage.uncached_tokens * plain
        + usage.cache_read_tokens * read
        + usage.cache_write_5m_tokens * write_5m
        + usage.cache_write_1h_tokens * write_1h
    )


def _said(chain: Chain) -> int:
    """Tokens up to the last turn of the model: what the provider has seen before."""
    for segment in reversed(chain):
        if segment.role in ("assistant", "model"):
            return segment.upto
    return 0


def _is_looping(chain: Chain) -> bool:
    """Whether the prompt ends in the result of a tool: behind it an agent goes on by itself."""
    return chain[-1].tool


def _session(call: Call) -> str:
    """The session's name over all tenants; "" without a session."""
    return f"{call.identity.tenant}\0{call.identity.session}" if call.identity.session else ""


def _agent(call: Call) -> str:
    identity = call.identity
    client = call.original.header("user-agent") or ""
    name = identity.agent or client.partition("/")[0][:40]
    return f"{identity.tenant}\0{name}\0{identity.housekeeping or ''}"


def _account(call: Call) -> str:
    """Whose cache it is: "" for the gateway's own key; callers with keys of their own have one each. The tokens of a
    plan change every few hours while its cache stays, so there it is the tenant's."""
    credential, tenant = call.credential, call.identity.tenant
    if credential is None:
        return ""
    secret = "" if credential.subscription else credential.secret
    return hashlib.blake2b(f"{tenant}\0{secret}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _key(session: str, start: bytes) -> bytes:
    return hashlib.blake2b(session.encode("utf-8", "surrogatepass") + b"\0" + start, digest_size=16).digest()
