"""What was learnt of each kind of call, held in memory and taken from the store when it is first needed."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque

import msgspec

from ...call import Call, Target
from ...errors import StoreError
from ...protocols import Clock
from ...routing.confidence.acceptor import Acceptor
from ...routing.confidence.comparisons import Comparison, Comparisons, Kind, standing
from ...routing.confidence.decision import Standing
from ...routing.settings import CascadeTable

log = logging.getLogger(__name__)

__all__ = ["Book", "kind_of"]

_MOST_KINDS = 500
_RELOAD_S = 300.0  # another process may compare too, or train
_EVERY = 10  # comparisons between two reckonings, which take a few milliseconds


def kind_of(call: Call, strong: Target) -> Kind:
    rungs = call.rungs
    peer = rungs.peer.name if rungs is not None and rungs.peer is not None else ""
    task = rungs.task if rungs is not None else ""
    return Kind(call.identity.tenant, call.target.name, peer, strong.name, task)


class _Held:
    """The comparisons of one tenant's cheap, peer and strong target, and what they come to for each task."""

    def __init__(self, found: deque[Comparison], trained: tuple[Acceptor, int] | None, loaded_at: float) -> None:
        self.found = found
        self.trained = trained
        self.loaded_at = loaded_at
        self.since = 0
        self.standings: dict[str, Standing] = {}


class Book:
    """A store that is down costs what was learnt, never an answer: then two models must agree."""

    def __init__(self, store: Comparisons, clock: Clock, settings: CascadeTable) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._held: OrderedDict[Kind, _Held] = OrderedDict()

    async def standing(self, kind: Kind) -> Standing:
        held = await self._of(kind)
        found = held.standings.get(kind.task)
        if found is None:
            rule = self._settings
            found = await asyncio.to_thread(  # some milliseconds, now and then
                standing, tuple(held.found), kind.task, epsilon=rule.epsilon, delta=rule.delta, trained=held.trained
            )
            held.standings[kind.task] = found
        return found

    async def add(self, comparison: Comparison) -> None:
        held = await self._of(comparison.kind)
        held.found.append(comparison)
        held.since += 1
        if held.since >= _EVERY:
            held.since = 0
            held.standings.clear()
        try:
            await self._store.add(comparison, most=self._settings.window)
        except StoreError as error:
            log.warning("a comparison could not be kept", extra={"error": type(error).__name__})

    async def _of(self, kind: Kind) -> _Held:
        pool = msgspec.structs.replace(kind, task="")
        held = self._held.get(pool)
        now = self._clock.monotonic()
        if held is not None and now - held.loaded_at < _RELOAD_S:
            self._held.move_to_end(pool)
            return held
        try:
            found = deque(await self._store.of(pool), maxlen=self._settings.window)
            fresh = _Held(found, await self._store.acceptor(pool), now)
        except StoreError as error:
            log.warning("comparisons cannot be read", extra={"error": type(error).__name__})
            fresh = held or _Held(deque(maxlen=self._settings.window), None, now)
            fresh.loaded_at = now
        self._held[pool] = fresh
        if len(self._held) > _MOST_KINDS:
            self._held.popitem(last=False)
        return fresh
