"""One batch on its way: sent, found again where its creation is in doubt, looked at until it ends, its results read.

What is asked of the provider is written down before it is asked, and what it answered after. A batch whose creation
may or may not have happened is never sent a second time before the provider's own list says that it is not there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import msgspec

from ...errors import BackendError, NotConnected, StoreError
from ...protocols import Clock
from ...routing.batches import Batch, Item, Shelf
from .api import Api, Ask, Refused, Result

__all__ = ["Carrying", "Load", "Pace"]

log = logging.getLogger(__name__)


class Pace(msgspec.Struct, frozen=True):
    """Seconds. quiet: from asking for a batch until a list without it is believed. lost: after which a batch that has
    not ended is given up; providers promise 24 hours. forgets: looks at a batch that its provider does not know."""

    poll_s: float = 10.0
    most_poll_s: float = 300.0
    quiet_s: float = 20.0
    lost_s: float = 26 * 3600.0
    forgets: int = 5


class Load(Protocol):
    """The items of the batch, as its lane sees them."""

    changed: asyncio.Event
    """Set when somebody has left."""

    @property
    def items(self) -> Sequence[Item]: ...

    @property
    def wanted(self) -> bool:
        """Whether anybody may still take one of the answers."""
        ...

    @property
    def soonest(self) -> float | None:
        """When the first of those who wait will wait no longer, in unix seconds."""
        ...


class Carrying:
    """`run` is the whole of it. `batch` is how it stands; known: the provider's ids of our other batches."""

    def __init__(
        self,
        batch: Batch,
        load: Load,
        shelf: Shelf,
        clock: Clock,
        *,
        api: Api,
        ask: Ask,
        known: Callable[[], Collection[str]],
        pace: Pace,
    ) -> None:
        self.batch = batch
        self.load = load
        self._shelf = shelf
        self._clock = clock
        self._api = api
        self._ask = ask
        self._known = known
        self._pace = pace
        self._cancelled = False
        self._forgotten = 0
        self._files: tuple[str, ...] = ()

    async def run(self) -> dict[str, Result]:
        """What came of its items; of those that are not named nothing came. Raises only when it is cancelled."""
        wait_s = self._pace.poll_s
        while True:
            before = self.batch.state
            try:
                results = await self._step()
                if results is not None:
                    return results
            except (BackendError, StoreError, ValueError) as error:
                facts = {"batch": self.batch.id, "state": self.batch.state, "error": type(error).__name__}
                log.warning("a batch cannot be followed now", extra=facts)
            if self._clock.now() - (self.batch.asked_at or self.batch.at) > self._pace.lost_s:
                self.batch = self._changed(note="never heard of again")
                return {}
            if self.batch.state in ("submitted", "doubtful") or self.batch.state == before:
                await self._pause(wait_s)
                wait_s = min(wait_s * 1.5, self._pace.most_poll_s)
            else:
                wait_s = self._pace.poll_s

    async def _step(self) -> dict[str, Result] | None:
        """One thing asked of the provider. None: go on."""
        match self.batch.state:
            case "sending":
                return await self._send()
            case "creating":
                return await self._find()
            case "doubtful":
                return await self._doubt()
            case "submitted":
                return await self._look()
            case "ended":
                return {}

    async def _send(self) -> dict[str, Result] | None:
        if not self.load.wanted:
            self.batch = self._changed(note="nobody waited any more")
            return {}
        now = self._clock.now()
        items = [item for item in self.load.items if item.until > now]
        try:
            if not self.batch.upload:
                upload = await self._api.upload(self._ask, self.batch, items)
                if upload:
                    await self._keep(upload=upload)
            await self._keep(state="creating", asked_at=self._clock.now(), count=len(items))
            remote = await self._api.create(self._ask, self.batch, items)
        except NotConnected:
            await self._keep(state="sending")
            raise
        except Refused as error:
            if error.final:
                self.batch = self._changed(note=f"refused with {error.status_told}")
                return {}
            if error.sure:
                await self._keep(state="sending")
            raise
        await self._keep(state="submitted", remote=remote)
        return None

    async def _find(self) -> dict[str, Result] | None:
        """Whether the provider has it: what is not in its list, and was not asked for just now, is sent again."""
        asked_s = self._clock.now() - self.batch.asked_at
        if asked_s < self._pace.quiet_s:
            await asyncio.sleep(min(self._pace.quiet_s - asked_s, self._pace.quiet_s))
        found = [remote for remote in await self._api.find(self._ask, self.batch) if remote not in self._known()]
        if found and self._api.names_batches:
            await self._keep(state="submitted", remote=found[0])
        elif found:
            await self._keep(state="doubtful", candidates=tuple(found))
        else:
            await self._keep(state="sending")
        return None

    async def _doubt(self) -> dict[str, Result] | None:
        """Batches of the right size and age: the ids in their results tell which is ours, once they have ended."""
        ours = {item.id for item in self.load.items}
        for remote in self.batch.candidates:
            if remote not in self._known():
                seen = await self._api.look(self._ask, self.batch.group, remote)
                if seen.state == "running":
                    continue
                results = await self._api.results(self._ask, self.batch.group, remote, seen)
                if not ours.isdisjoint(results):
                    await self._keep(state="submitted", remote=remote, candidates=())
                    return results
            await self._keep(candidates=tuple(other for other in self.batch.candidates if other != remote))
        if not self.batch.candidates:
            await self._keep(state="sending")
        return None

    async def _look(self) -> dict[str, Result] | None:
        group, remote = self.batch.group, self.batch.remote
        if not self.load.wanted and not self._cancelled:
            self._cancelled = True
            with contextlib.suppress(BackendError):  # it may have ended at this moment; the next look tells
                await self._api.cancel(self._ask, group, remote)
        try:
            seen = await self._api.look(self._ask, group, remote)
            if seen.state == "running":
                self._forgotten = 0
                return None
            results = {} if seen.state == "failed" else await self._api.results(self._ask, group, remote, seen)
        except Refused as error:
            self._forgotten += error.status_told in (404, 410)
            if self._forgotten < self._pace.forgets:
                raise
            self.batch = self._changed(note=f"its provider answers {error.status_told}")
            return {}
        self.batch, self._files = self._changed(note=seen.why), seen.files
        return results

    async def tidy(self) -> None:
        """Take the requests and answers away from the provider. Its own retention does so where this does not go."""
        if self.batch.remote:
            try:
                await self._api.delete(self._ask, self.batch, self._files)
            except BackendError as error:
                log.warning(
                    "a batch could not be deleted", extra={"batch": self.batch.id, "error": type(error).__name__}
                )

    async def _pause(self, seconds: float) -> None:
        """Until then, or somebody has left, or just before the first of those who wait gives up."""
        soonest = self.load.soonest
        if soonest is not None:
            left_s = soonest - self._clock.now() - 1.0
            seconds = min(seconds, left_s) if left_s > 0 else seconds
        self.load.changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.load.changed.wait()

    def _changed(self, **fields: object) -> Batch:
        return msgspec.structs.replace(self.batch, **fields)

    async def _keep(self, **fields: object) -> None:
        """Raises StoreError: what cannot be written down is not done. What the provider answered holds all the same,
        as it is what the next step goes by."""
        self.batch = self._changed(**fields)
        await self._shelf.keep(batches=(self.batch,))
