"""The cheap lanes of one configuration, and what they know of money."""

from __future__ import annotations

from collections.abc import Callable

from ..backends.lanes.batching import BatchLane
from ..call import Call, Outcome
from ..config import Config, Resolver
from ..economy import Economy
from ..errors import BadRequest
from ..ledger.accounts import Accounts
from ..money import BATCH, PicoUSD
from ..protocols import Backend, Clock
from ..request import Charge, Usage
from ..routing.background import Background, background
from ..stores.lanes import SQLiteShelf
from ..stores.sealed import Codec, read_keys
from ..stores.sqlite import Database

__all__ = ["Lanes"]

_ANSWER_BYTES = 256 << 20


class Lanes:
    """Builds the wrappers that this configuration needs, and starts and stops them."""

    def __init__(
        self,
        config: Config,
        resolver: Resolver,
        database: Database,
        clock: Clock,
        *,
        accounts: Accounts,
        economy: Economy,
        submit: Callable[[Outcome], None],
    ) -> None:
        self._config = config
        self._resolver = resolver
        self._clock = clock
        self._accounts = accounts
        self._economy = economy
        self._submit = submit
        key = config.cache_key.reveal() if config.cache_key else ""
        self.codec = Codec(read_keys(key) if key else (), limit_bytes=_ANSWER_BYTES)
        self._shelf = SQLiteShelf(database, self.codec)
        self.batches: BatchLane | None = None

    def decide(self, call: Call) -> Background | None:
        """Whether the call can wait, and until when."""
        lane = self._resolver.of(call).lane
        return background(call, self._config.lanes, lane=lane)

    def around(self, backend: Backend) -> Backend:
        """The backend with lanes before it."""
        settings = self._config.lanes
        if settings.batch:
            backend = self.batches = BatchLane(
                backend,
                self._shelf,
                self._clock,
                settings=settings,
                decide=self.decide,
                cost=self._accounts.cost,
                submit=self._submit,
                foreseen=self._foreseen,
            )
        return backend

    async def start(self) -> None:
        if self.batches is not None:
            await self.batches.start()

    async def aclose(self) -> None:
        if self.batches is not None:
            await self.batches.aclose()

    def _foreseen(self, call: Call) -> tuple[PicoUSD, PicoUSD] | None:
        """What its prompt costs at once, with what its provider has of it in its cache, and in a batch, which finds
        nothing there; the answer left out, as its length is not known and a batch halves it in any case."""
        try:
            seen = self._economy.look(call, at=self._clock.monotonic())
        except BadRequest:
            return None
        if seen is None:
            return None
        read = round(seen.forecast.likely_read_tokens)
        tokens = max(sum(segment.tokens for segment in seen.chain), read)
        provider, model = call.target.provider, call.target.model
        now = Charge(provider, model, Usage(input_tokens=tokens, cache_read_tokens=read), call.at)
        batch = Charge(provider, model, Usage(input_tokens=tokens, tier=BATCH), call.at)
        dear, cheap = self._accounts.cost(now), self._accounts.cost(batch)
        return (dear, cheap) if dear and cheap else None
