"""The partitions in use: opened from what was kept of them, saved as they learn, the least used put away."""

from __future__ import annotations

import logging
from collections import OrderedDict

from ...errors import StoreError
from ...protocols import Clock
from ...standing import Standing, Standings
from .partition import Partition, Rules

__all__ = ["Place", "Shelf"]

log = logging.getLogger(__name__)

_SAVE_EVERY = 10  # calls settled between two savings of the counts
_GLIMPSES = 10_000  # kinds of calls seen once, of which nothing is kept


class Place:
    """A partition with where it stands: `digest` names it, `tenant` and `route` say whose it is."""

    def __init__(self, digest: str, tenant: str, route: str, partition: Partition) -> None:
        self.digest = digest
        self.tenant = tenant
        self.route = route
        self.partition = partition
        self.unsaved = 0

    @property
    def space(self) -> str:
        """The name of its entries' vectors."""
        return f"semantic/{self.tenant}/{self.digest}/{self.partition.epoch}"

    def standing(self, now: float) -> Standing:
        partition, line = self.partition, self.partition.line
        return Standing(
            self.digest,
            self.tenant,
            self.route,
            partition.state,
            **partition.counts,
            entries=partition.entries,
            bound=line.bound if line is not None else 1.0,
            target=partition.rules.error_target,
            share=line.share if line is not None else 0.0,
            reason=partition.reason,
            updated_at=now,
        )


class Shelf:
    """Up to `most` partitions in memory. Belongs to one event loop; what cannot be saved is lost, never an error."""

    def __init__(self, standings: Standings, clock: Clock, rules: Rules, *, most: int) -> None:
        self._standings = standings
        self._clock = clock
        self._rules = rules
        self._most = most
        self._open: OrderedDict[str, Place] = OrderedDict()
        self._glimpses: OrderedDict[str, None] = OrderedDict()

    def at_hand(self, digest: str) -> Place | None:
        """The partition if it is in memory: what may be asked while a caller waits."""
        place = self._open.get(digest)
        if place is not None:
            self._open.move_to_end(digest)
        return place

    async def take(self, digest: str, *, tenant: str, route: str, dimensions: int) -> Place | None:
        """The partition, opened or begun. None for a kind of call that is seen for the first time: most never return,
        such as the turns of a conversation, and nothing is spent on those."""
        place = self.at_hand(digest)
        if place is not None:
            return place
        learnt = await self._loaded(digest)
        partition = Partition.load(learnt, dimensions, self._rules) if learnt is not None else None
        if partition is None:
            if digest not in self._glimpses:
                self._glimpses[digest] = None
                if len(self._glimpses) > _GLIMPSES:
                    self._glimpses.popitem(last=False)
                return None
            partition = Partition(dimensions, self._rules)
        place = self._open[digest] = Place(digest, tenant, route, partition)
        while len(self._open) > self._most:
            _, least = self._open.popitem(last=False)
            await self.save(least, whole=True)
        return place

    async def settled(self, place: Place, *, redrawn: bool) -> None:
        """A call of that partition was settled."""
        place.unsaved += 1
        if redrawn or place.unsaved >= _SAVE_EVERY:
            await self.save(place, whole=redrawn)

    async def save(self, place: Place, *, whole: bool) -> None:
        """whole: with everything learnt, and not its counts alone."""
        place.unsaved = 0
        learnt = place.partition.dump() if whole else None
        try:
            await self._standings.save(place.standing(self._clock.now()), learnt)
        except (StoreError, ValueError) as error:
            log.warning("a partition could not be saved", extra={"error": type(error).__name__})

    async def _loaded(self, digest: str) -> bytes | None:
        try:
            return await self._standings.load(digest)
        except StoreError as error:
            log.warning("a partition could not be read", extra={"error": type(error).__name__})
            return None
