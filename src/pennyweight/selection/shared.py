"""Selectors whose learning is shared through a store, between processes and across restarts.

What is shared is what was told: a numbered log of outcomes, from which every process makes the same state. A number is
taken by an atomic addition, so nothing that two processes tell at the same time is lost. Now and then the state itself
is kept, so that a process which starts reads that and the few outcomes since; it is that of one rule, while the log
serves every rule. All keys begin with the tenant's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from hashlib import blake2b
from random import Random

import msgspec

from ..errors import BadRequest, StoreError
from ..protocols import KV, Clock
from .choosing import Candidate, Choice, Selector, Standing, Told
from .rules import Rule, selector

__all__ = ["Selection"]

_EVERY = 64  # outcomes between two keepings of the state
_KEPT_S = 30 * 86_400.0  # an outcome: long after the state that holds it was kept
_LOOK_S = 1.0  # how old what others told may be when a choice is made
_WAIT_S = 5.0  # for an outcome whose number was taken; then its writer is taken for dead
_TENANTS = 1_000  # followed at once; past it the one longest unused is read anew when it comes back
_LONGEST = 200  # characters of a name
_READ = 64  # outcomes at once
_FORGET = Told("", "", "", 0.0)  # all that was told before does not count any more


class _Kept(msgspec.Struct):
    """The state after so many outcomes."""

    number: int
    state: msgspec.Raw


class Selection:
    """Choices for many tenants. Without its store it goes on with what it knows, and tells again later what it learns.

    random: gives the randomness of one tenant's selector. look_s: how long a choice may overlook what other processes
    told; what this one told counts at once.
    """

    def __init__(
        self,
        kv: KV,
        clock: Clock,
        *,
        rule: Rule | None = None,
        random: Callable[[], Random] = Random,
        look_s: float = _LOOK_S,
    ) -> None:
        self._kv = kv
        self._clock = clock
        self._rule = rule or Rule()
        self._random = random
        self._look_s = look_s
        self._tenants: dict[str, _Tenant] = {}

    async def select(self, tenant: str, task_type: str, candidates: Sequence[Candidate]) -> Choice:
        """Raises BadRequest where there is nobody to choose from."""
        _check(task_type, candidates)
        followed = self._tenant(tenant)
        await followed.look(self._look_s)
        return followed.selector.select(task_type, candidates)

    async def feedback(
        self, tenant: str, choice: Choice, success: float, *, tokens: float = 0.0, latency_s: float = 0.0
    ) -> None:
        """Raises BadRequest for what makes no sense, StoreError when it cannot be kept: then nothing was learnt."""
        _check(choice.task_type, (Candidate(choice.name, choice.model),))
        self._rule.utility.value(success, tokens, latency_s)
        told = Told(choice.task_type, choice.name, choice.model, float(success), float(tokens), float(latency_s))
        await self._tenant(tenant).tell(told)

    async def standings(self, tenant: str) -> Sequence[Standing]:
        followed = self._tenant(tenant)
        await followed.look(0.0)
        return followed.selector.standings()

    async def forget(self, tenant: str) -> None:
        """Begin anew for that tenant, here and in all processes that share the store. Raises StoreError."""
        await self._tenant(tenant).tell(_FORGET)

    def _tenant(self, tenant: str) -> _Tenant:
        found = self._tenants.pop(tenant, None)
        if found is None:
            if len(self._tenants) >= _TENANTS:
                del self._tenants[next(iter(self._tenants))]
            found = _Tenant(_prefix(tenant), self._rule, self._kv, self._clock, self._made)
        self._tenants[tenant] = found  # at the end: the first is the one longest unused
        return found

    def _made(self) -> Selector:
        return selector(self._rule, self._random())


class _Tenant:
    """One tenant's selector, and how far it has followed the log."""

    def __init__(self, prefix: str, rule: Rule, kv: KV, clock: Clock, make: Callable[[], Selector]) -> None:
        anywhere = msgspec.structs.replace(rule, store="sqlite")
        how = blake2b(msgspec.json.encode(anywhere), digest_size=6).hexdigest()
        self._log = f"{prefix}told"
        self._kept = f"{prefix}state/{how}"
        self._kv = kv
        self._clock = clock
        self._make = make
        self.selector = make()
        self._number = 0  # of the last outcome taken in
        self._looked: float | None = None
        self._gap: tuple[int, float] | None = None  # a number without an outcome, and since when
        self._turn = asyncio.Lock()

    async def look(self, look_s: float) -> None:
        """Take in what others told, if the last look is that long ago. A store that is down is looked at later."""
        now = self._clock.monotonic()
        if self._looked is not None and now - self._looked < look_s:
            return
        async with self._turn:
            if self._looked is not None and self._looked >= now:
                return  # another call looked meanwhile
            with contextlib.suppress(StoreError):
                await self._catch_up(await self._kv.add(self._log, 0))
            self._looked = self._clock.monotonic()

    async def tell(self, told: Told) -> None:
        async with self._turn:
            number = await self._kv.add(self._log, 1)
            await self._kv.put(self._key(number), msgspec.json.encode(told), ttl_s=_KEPT_S)
            await self._catch_up(number)
            if (number % _EVERY == 0 or told == _FORGET) and self._number == number:
                kept = _Kept(number, msgspec.Raw(self.selector.dumped()))
                await self._kv.put(self._kept, msgspec.json.encode(kept))
            self._looked = self._clock.monotonic()

    async def _catch_up(self, newest: int) -> None:
        if newest < self._number:  # the store is another one, or was emptied
            self.selector, self._number, self._gap = self._make(), 0, None
        if newest - self._number > _EVERY:
            await self._take_state()
        while self._number < newest:
            numbers = range(self._number + 1, min(self._number + _READ, newest) + 1)
            found = await asyncio.gather(*[self._kv.get(self._key(number)) for number in numbers])
            for number, raw in zip(numbers, found, strict=True):
                if raw is None and newest - number < _EVERY and self._waits_for(number):
                    return
                self._number = number
                self._take(raw)

    async def _take_state(self) -> None:
        raw = await self._kv.get(self._kept)
        if raw is None:
            return
        try:
            kept = msgspec.json.decode(raw, type=_Kept)
            if kept.number > self._number:
                self.selector.restore(bytes(kept.state))
                self._number, self._gap = kept.number, None
        except (ValueError, RecursionError):
            return  # what cannot be read is made anew from the outcomes

    def _waits_for(self, number: int) -> bool:
        """Its writer may be about to put it; one that died between taking the number and that is not waited for."""
        now = self._clock.monotonic()
        if self._gap is None or self._gap[0] != number:
            self._gap = (number, now)
        return now - self._gap[1] < _WAIT_S

    def _take(self, raw: bytes | None) -> None:
        self._gap = None
        if raw is None:
            return
        try:
            told = msgspec.json.decode(raw, type=Told)
            if told == _FORGET:
                self.selector = self._make()
                return
            choice = Choice(told.task_type, told.name, told.model)
            self.selector.feedback(choice, told.success, tokens=told.tokens, latency_s=told.latency_s)
        except (msgspec.DecodeError, RecursionError, BadRequest):
            return  # of another version, or damaged: one outcome less

    def _key(self, number: int) -> str:
        return f"{self._log}/{number}"


def _prefix(tenant: str) -> str:
    """The tenant's name is hashed, as it may hold anything."""
    return f"selection/{blake2b(tenant.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}/"


def _check(task_type: str, candidates: Sequence[Candidate]) -> None:
    """Raises BadRequest for names that are none, or too long to be kept, and for one that is there twice."""
    names = [one.name for one in candidates]
    if not names:
        raise BadRequest("There is nobody to choose from: give at least one candidate.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadRequest(f"The candidate {twice[:80]!r} is there twice. Name each once.")
    for name in (task_type, *names, *(one.model for one in candidates if one.model)):
        if not name or len(name) > _LONGEST:
            raise BadRequest(f"{name[:80]!r} is no name: use 1 to {_LONGEST} characters.")
