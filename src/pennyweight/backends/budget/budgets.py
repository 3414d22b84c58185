"""What may be spent: taken before a call is sent, set right afterwards, and told at any time.

All of a call's budgets are taken at once, or none of them. What the process that took it did not live to give back
stays held until the window ends: whether the call was sent, and billed, nobody knows. In doubt it refuses: when the
store is down, and when a price is unknown that a budget in dollars needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from ...call import Call, Identity
from ...counters import Counter, Counters, Move, Take, Taken
from ...errors import BadRequest, LimitReached, StoreError
from ...money import PicoUSD
from ...protocols import Clock
from ...request import Charge, Done, Edit, Operation, Reply, Usage
from .amounts import Bounds, tokens
from .bills import greater, in_background
from .fitting import limited, room
from .limits import Limit, Line, Lines, key_parts
from .state import Event, Hold, State, Told, state_of
from .words import header, plain, refusal

__all__ = ["Budgets"]

log = logging.getLogger(__name__)

SPENT = "budgets"
"""The key of `Call.facts` under which a call's budgets are told, and what its own came to so far."""

_SEEN = 20_000
_FITS = 3  # times that what is left is looked at anew


class Budgets:
    """Owns what is settled in the background; `aclose` waits for it.

    bounds(call): what it can come to. cost(charge): what one bill came to, None without a price. count(call, reply):
    the charges of an answer whose usage nobody told, by its texts. price(charge): the price in force. event: told what
    people should know. finish_loop: calls that a session may still make which is in_loop when its budget is spent.
    store_s: how long a call waits for the store, before it is refused.
    """

    def __init__(
        self,
        counters: Counters,
        clock: Clock,
        lines: Lines,
        *,
        bounds: Callable[[Call], Bounds],
        cost: Callable[[Charge], PicoUSD | None],
        count: Callable[[Call, Reply], Sequence[Charge]] = lambda _call, _reply: (),
        price: Callable[[Charge], Any] = lambda _charge: None,
        event: Callable[[Event], None] = lambda _event: None,
        finish_loop: int = 0,
        in_loop: Callable[[Call], bool] = lambda _call: False,
        store_s: float = 10.0,
    ) -> None:
        self._counters = counters
        self._clock = clock
        self._lines = lines
        self.spares = lines.spares  # whether no budget can be of any of a tenant's calls
        self._bounds = bounds
        self._cost = cost
        self._count = count
        self._price = price
        self._event = event
        self._finish_loop = finish_loop
        self._in_loop = in_loop
        self._store_s = store_s
        self._seen: OrderedDict[str, tuple[Line, Counter]] = OrderedDict()
        self._levels: OrderedDict[str, int] = OrderedDict()
        self._settling: set[asyncio.Task[None]] = set()

    # --- before a call is sent ------------------------------------------------------------------------------

    def lines(self, call: Call) -> list[Line]:
        """The budgets that the call takes from. Raises StoreError when the limits of keys cannot be read."""
        return self._lines.of(call, self._clock.now())

    async def reserve(self, call: Call, lines: Sequence[Line]) -> Hold:
        """Take what the call may come to of all of them.

        Raises LimitReached, BadRequest for a model without a price that a budget in dollars needs, StoreError.
        """
        bounds = self._bounds(call)
        amounts = [self._needed(call, line.limit, bounds) for line in lines]
        counted = [(line, amount) for line, amount in zip(lines, amounts, strict=True) if line.limit.scope != "call"]
        self._refuse_call(call, lines, amounts)
        limit: tuple[Edit, ...] = ()
        if counted:
            taken = await self._take(counted)
            if taken.refused and self._settling:  # what has just ended may make room
                await asyncio.wait(set(self._settling))
                taken = await self._take(counted)
            if taken.refused and (fitted := await self._fit(call, counted, bounds, taken)) is not None:
                bounds, limit, taken = fitted
                amounts = [self._needed(call, line.limit, bounds) for line in lines]
            if taken.refused and self._may_finish(call, [counted[at][0] for at in taken.refused]):
                last = await self._take(counted, grace=call)
                taken = taken if last.refused else last
            pairs = [(line, counter) for (line, _), counter in zip(counted, taken.counters, strict=False)]
            self._note(call, pairs)
            if taken.refused:
                at = taken.refused[0]
                line, counter = self._told(call).refused = pairs[at]
                self._tell(line, counter, halted=True)
                raise LimitReached(refusal(line, counter, now=self._clock.now(), needed=counted[at][1]))
        return Hold(call, lines, amounts, bounds, limit)

    async def _fit(
        self, call: Call, counted: Sequence[tuple[Line, int]], bounds: Bounds, taken: Taken
    ) -> tuple[Bounds, tuple[Edit, ...], Taken] | None:
        """Take what there is room for, and what limits the answer to that; None: there is none for a useful answer."""
        for _ in range(_FITS):  # others take at the same time
            most = bounds.worst.output_tokens
            for at in taken.refused:
                line, _amount = counted[at]
                if line.limit.hold != "fit":
                    return None
                whole = self._needed(call, line.limit, bounds)
                bare = self._needed(call, line.limit, self._answering(call, bounds, 0))
                most = min(most, room(whole, bare, line.limit.most - taken.counters[at].total, most))
            edits = limited(call, most)
            if edits is None:
                return None
            bounds = self._answering(call, bounds, most)
            taken = await self._take([(line, self._needed(call, line.limit, bounds)) for line, _ in counted])
            if not taken.refused:
                return bounds, edits, taken
        return None

    def _answering(self, call: Call, bounds: Bounds, output_tokens: int) -> Bounds:
        """What the call can come to if its answer has so many tokens at most."""
        worst = replace(bounds.worst, output_tokens=output_tokens)
        usd = self._cost(Charge(call.target.provider, call.target.model, worst, call.at))
        return replace(bounds, worst=worst, worst_usd=usd)

    def _needed(self, call: Call, limit: Limit, bounds: Bounds) -> int:
        """What the call takes of that budget."""
        worst = limit.hold != "least"
        if limit.unit == "tokens":
            return tokens(bounds.worst if worst else bounds.least, bounds.price, plain=limit.rule.plain)
        if call.credential is not None and call.credential.subscription:
            return 0  # a plan is not billed in dollars
        usd = bounds.worst_usd if worst else bounds.least_usd
        if usd is None:
            what = call.target.name
            if call.request.operation is Operation.OTHER:
                what = f"what is asked at {call.request.path[:100]}"
            raise BadRequest(
                f"{_named(limit, call)} has a limit in dollars, and {what} has no known price, so the limit cannot be "
                "kept. Add its price to pennyweight.toml or use a model with a price."
            )
        return usd

    def _refuse_call(self, call: Call, lines: Sequence[Line], amounts: Sequence[int]) -> None:
        """What one call may come to is counted here: it does not outlive the call."""
        own = self._told(call).own
        for line, amount in zip(lines, amounts, strict=True):
            limit = line.limit
            if limit.scope == "call" and own.get(limit.id, 0) + amount > limit.most:
                counter = Counter(own.get(limit.id, 0) + amount, 0)
                self._tell(line, counter, halted=True)
                what = refusal(line, counter, now=self._clock.now()).replace(" spent.", " is what it can come to.")
                raise LimitReached(what)

    async def _take(self, counted: Sequence[tuple[Line, int]], *, grace: Call | None = None) -> Taken:
        """All or none. grace: sessions' own budgets do not refuse this call, and one of its last calls is used up."""
        wanted = []
        for line, amount in counted:
            free = grace is not None and line.limit.scope == "session"
            begins, ends = (line.window.begins, line.window.ends) if line.window is not None else (0.0, None)
            wanted.append(Take(line.key, amount, _NO_LIMIT if free else line.limit.most, begins, ends))
        if grace is not None:
            identity = grace.identity
            wanted.append(Take(f"{_GRACE}\n-\n{identity.tenant}\n{identity.session}", 1, self._finish_loop))
        asked = asyncio.ensure_future(self._counters.take(wanted))
        try:
            async with asyncio.timeout(self._store_s):
                return await asyncio.shield(asked)
        except (asyncio.CancelledError, TimeoutError) as error:
            asked.add_done_callback(lambda done: self._give_back(done, wanted))
            if isinstance(error, TimeoutError):
                raise StoreError(
                    f"The store of budgets did not answer within {self._store_s:g} s. Try again."
                ) from None
            raise

    def _give_back(self, done: asyncio.Future[Taken], wanted: Sequence[Take]) -> None:
        """The caller left while the store was asked, or it took too long: nothing was sent, so nothing is held."""
        if not done.cancelled() and done.exception() is None and not done.result().refused:
            self._later(self._move([Move(take.key, take.amount, 0) for take in wanted]))

    def _may_finish(self, call: Call, refused: Sequence[Line]) -> bool:
        return self._finish_loop > 0 and all(line.limit.scope == "session" for line in refused) and self._in_loop(call)

    # --- afterwards -----------------------------------------------------------------------------------------

    def ended(self, hold: Hold, reply: Reply) -> None:
        """Set right in the background what an answer has come to."""
        if not hold.settled:
            hold.settled = True
            charges = self._billed(hold, reply)
            self._foresee(hold, charges)
            self._later(self._settle(hold, charges))

    def _foresee(self, hold: Hold, charges: Sequence[Charge] | None) -> None:
        """What the counters will be once the store has heard of it: the next call's optimizers ask before that."""
        for line, amount in zip(hold.lines, hold.amounts, strict=True):
            known = self._seen.get(line.key)
            if known is not None:
                spent = known[1].spent + self._spent(line.limit, charges, hold)
                self._seen[line.key] = line, Counter(spent, max(known[1].held - amount, 0))

    async def unsent(self, hold: Hold) -> None:
        """Nothing was billed: give all of it back."""
        await self.billed(hold, ())

    async def lost(self, hold: Hold) -> None:
        """It may have been billed, and nobody knows how much: all of it counts."""
        if not hold.settled:
            hold.settled = True
            await self._settle(hold, None)

    def left(self, hold: Hold) -> None:
        """As `lost`, in the background: for who is being stopped before an answer had begun. Of tokens that are held at
        least the prompt counts: at a worst case that was never held, one stopped call would end a session."""
        if not hold.settled:
            hold.settled = True
            self._later(self._settle(hold, None, stopped=True))

    async def billed(self, hold: Hold, charges: Sequence[Charge]) -> None:
        """It came to that; () for nothing."""
        if not hold.settled:
            hold.settled = True
            await self._settle(hold, charges)

    async def also(self, call: Call, charges: Sequence[Charge]) -> None:
        """A bill that came after its call had ended, as of a batch that was late: nothing was held for it. Raises
        StoreError."""
        lines = self.lines(call)
        nothing = Bounds(Usage(), Usage(), 0, 0)
        await self.billed(Hold(call, lines, [0] * len(lines), nothing), charges)

    async def aclose(self) -> None:
        """Wait until every ended call is settled. Who stops waiting stops none of them, as a gather would."""
        while self._settling:
            await asyncio.wait(set(self._settling))

    def _later(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    def _billed(self, hold: Hold, reply: Reply) -> Sequence[Charge] | None:
        """What a finished answer is billed as; None: not known, so what is held counts."""
        done = reply.done
        if done is not None and done.charges:
            # A stream that its caller left tells what it came to at its start; what was streamed since is billed too.
            # And usage that contradicts itself is not taken at its word if the texts come to more.
            if done.complete and not any(charge.usage.suspect for charge in done.charges):
                return done.charges
            return greater(done.charges, self._count(hold.call, reply))
        if reply.ok and in_background(hold.call):
            return None  # it is worked on, and billed, after this answer
        if not reply.ok:
            return None if reply.status == _TIMED_OUT else ()  # somebody between us and the provider gave up waiting
        if self._shared(done):
            return ()
        if hold.call.request.operation not in (Operation.GENERATE, Operation.EMBED):
            return None if hold.call.request.method == "POST" else ()
        return self._count(hold.call, reply) or None

    @staticmethod
    def _shared(done: Done | None) -> bool:
        """Whether it is the answer to another call, or a stored one: it has a usage, and nobody is charged."""
        return done is not None and done.usage is not None

    async def _settle(self, hold: Hold, charges: Sequence[Charge] | None, *, stopped: bool = False) -> None:
        moves, own = [], self._told(hold.call).own
        for line, amount in zip(hold.lines, hold.amounts, strict=True):
            spent = self._spent(line.limit, charges, hold, stopped=stopped)
            if line.limit.scope == "call":
                own[line.limit.id] = own.get(line.limit.id, 0) + spent
            else:
                moves.append((line, Move(line.key, amount, spent)))
        after = await self._move([move for _, move in moves]) if moves else ()
        pairs = [(line, counter) for (line, _), counter in zip(moves, after, strict=False)]
        self._note(hold.call, pairs)

    def _spent(self, limit: Limit, charges: Sequence[Charge] | None, hold: Hold, *, stopped: bool = False) -> int:
        """In the unit of the budget. None: as at worst, which may be more than was held."""
        if charges is None:
            usage, price = hold.bounds.worst, hold.bounds.price
            if limit.unit == "tokens":
                if stopped and limit.hold == "least":
                    usage = replace(hold.bounds.least, cache_read_tokens=0)
                return tokens(usage, price, plain=limit.rule.plain)
            return 0 if _by_plan(hold.call) else hold.bounds.worst_usd or 0
        if limit.unit == "tokens":
            return sum(tokens(charge.usage, self._price(charge), plain=limit.rule.plain) for charge in charges)
        if _by_plan(hold.call):
            return 0
        costs = [self._cost(charge) for charge in charges]
        if any(cost is None for cost in costs):
            return hold.bounds.worst_usd or 0
        return sum(cost for cost in costs if cost is not None)

    async def _move(self, moves: Sequence[Move]) -> Sequence[Counter]:
        try:
            async with asyncio.timeout(self._store_s):
                return await self._counters.move(moves)
        except (StoreError, TimeoutError) as error:  # what is held stays: too much counted rather than too little
            log.warning("budget could not be settled", extra={"error": type(error).__name__})
            return ()

    # --- what stands ----------------------------------------------------------------------------------------

    def pressure(self, call: Call) -> float:
        """The share spent of the tightest budget that the call has, as this process knows it. Never waits."""
        return max((counter.spent / line.limit.amount for line, counter in self._known(call)), default=0.0)

    def forced(self, call: Call) -> bool:
        """Whether one of its budgets has come to where prompts are compressed and a tier is stepped down."""
        return any(counter.spent >= line.limit.amount * line.limit.rule.force for line, counter in self._known(call))

    def headers(self, call: Call) -> tuple[tuple[str, str], ...]:
        """The tightest of the budgets that the call took from, for its answer, and warnings; () where there is none."""
        told: Told | None = call.facts.get(SPENT)
        if told is None:
            return ()
        texts = list(told.warnings)
        if told.refused is not None:
            texts.append(header(*told.refused, halted=True))
        elif told.lines:
            line, counter = max(told.lines.values(), key=lambda pair: pair[1].spent / pair[0].limit.amount)
            texts.append(header(line, counter))
        return tuple(("x-pennyweight-budget", text) for text in texts)

    def warn(self, call: Call, event: Event, *, again: bool = False) -> None:
        """Something else than a share of a budget that people should know. again: they have been told of it."""
        self._told(call).warnings.append(plain(event.text))
        if not again:
            self._event(event)

    async def spent(self, tenant: str) -> PicoUSD:
        """What the virtual key of that name has spent today (UTC), calls under way not counted. Raises StoreError."""
        now = self._clock.now()
        line = self._lines.line(self._lines.day_of_a_key(1), Identity(tenant), now)
        return (await self._counters.read(line.key)).get(line.key, Counter()).spent

    async def states(self, *, tenant: str | None = None) -> list[State]:
        """Counters of the present windows, the fullest first, a thousand of each budget at most. tenant: only its own.
        Raises StoreError."""
        found = []
        for limit in self._lines.every():
            if limit.scope == "call":
                continue
            for key, counter in (await self._counters.read(self._lines.prefix(limit, self._clock.now()))).items():
                parts = key_parts(key)
                if parts is None or (tenant is not None and parts[2] != tenant):
                    continue
                amount = self._lines.amount(limit, parts[2])
                found.append(state_of(limit, parts[1], parts[2], parts[3], counter, amount))
        return sorted(found, key=lambda state: (-state.share, state.budget, state.tenant, state.subject))

    async def reset(self, budget: str, *, tenant: str | None = None, subject: str | None = None) -> int:
        """Begin anew: nothing is spent of that budget. How many counters that were. Raises StoreError."""
        count = 0
        for key in await self._counters.read(f"{budget}\n", limit=100_000):
            parts = key_parts(key)
            if parts is None or (tenant is not None and parts[2] != tenant):
                continue
            if subject is None or parts[3] == subject:
                count += await self._counters.reset(key)
                self._seen.pop(key, None)
                self._levels.pop(key, None)
                self._levels.pop(key + _EARLY, None)
        return count

    def _known(self, call: Call) -> list[tuple[Line, Counter]]:
        with contextlib.suppress(StoreError):
            lines = self._lines.of(call, self._clock.now())
            return [(line, self._seen[line.key][1]) for line in lines if line.key in self._seen]
        return []

    def _told(self, call: Call) -> Told:
        told: Told | None = call.facts.get(SPENT)
        if told is None:
            told = call.facts[SPENT] = Told({}, {})
        return told

    def _note(self, call: Call, pairs: Sequence[tuple[Line, Counter]]) -> None:
        told = self._told(call).lines
        for line, counter in pairs:
            told[line.key] = self._seen[line.key] = line, counter
            self._seen.move_to_end(line.key)
            self._tell(line, counter)
        while len(self._seen) > _SEEN:
            self._seen.popitem(last=False)

    def _tell(self, line: Line, counter: Counter, *, halted: bool = False) -> None:
        """An event, once for each share that a counter comes to, and once for a call that was too large before that."""
        limit, rule = line.limit, line.limit.rule
        share = counter.spent / limit.amount
        early = halted and share < rule.warn  # others may still spend, and are to be told of as ever
        key = line.key + _EARLY if early else line.key
        level = 3 if halted or share >= rule.halt else 2 if share >= rule.force else 1 if share >= rule.warn else 0
        if level > self._levels.get(key, 0):
            self._levels[key] = level
            name = ("", "warn", "force", "halt")[level]
            text = header(line, counter, halted=halted)
            if early:
                text = f"refused a call for which too little is left; {text}"
            self._event(Event(name, limit.id, limit.scope, line.subject, line.tenant, share, text, self._clock.now()))
        while len(self._levels) > _SEEN:
            self._levels.popitem(last=False)


_TIMED_OUT = 504
_NO_LIMIT = 4 * 10**18
_GRACE = "grace"
_EARLY = "\nearly"


def _by_plan(call: Call) -> bool:
    return call.credential is not None and call.credential.subscription


def _named(limit: Limit, call: Call) -> str:
    return f"Key {call.identity.tenant}" if limit.scope in ("key", "tenant") else f"The {limit.scope}"
