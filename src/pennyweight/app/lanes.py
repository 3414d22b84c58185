"""The cheap lanes of one configuration, and what they know of money."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from urllib.parse import urlsplit

from ..backends.lanes.batching import BatchLane
from ..backends.lanes.combining import Combine
from ..backends.lanes.embedding import EmbedTogether
from ..backends.lanes.later import Later
from ..backends.lanes.together import Together
from ..backends.transport import Http1, origin
from ..call import Call, Outcome
from ..config import Config, Resolver
from ..economy import Economy
from ..errors import BadRequest
from ..ledger.accounts import Accounts
from ..money import BATCH, PicoUSD
from ..protocols import Backend, Clock, Tokenizer
from ..request import Charge, Headers, Usage
from ..routing.background import Background, background
from ..stores.deferred import SQLiteDeferred
from ..stores.lanes import SQLiteShelf
from ..stores.owners import Owner
from ..stores.sealed import Codec, read_keys
from ..stores.sqlite import Database
from .upstreams import outward

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
        tokenizer: Tokenizer,
        economy: Economy,
        submit: Callable[[Outcome], None],
        bill: Callable[[Call, Sequence[Charge]], Coroutine[Any, Any, None]],
    ) -> None:
        self._config = config
        self._resolver = resolver
        self._clock = clock
        self._accounts = accounts
        self._tokenizer = tokenizer
        self._economy = economy
        self._submit = submit
        self._bill = bill
        key = config.cache_key.reveal() if config.cache_key else ""
        self.codec = Codec(read_keys(key) if key else (), limit_bytes=_ANSWER_BYTES)
        self._database = database
        self._owner: Owner | None = None
        self.batches: BatchLane | None = None
        self.later: Later | None = None
        self._gathering: list[EmbedTogether | Combine] = []
        self._transport: Http1 | None = None

    def decide(self, call: Call) -> Background | None:
        """Whether the call can wait, and until when."""
        lane = self._resolver.of(call).lane
        return background(call, self._config.lanes, lane=lane)

    def around(self, backend: Backend) -> Backend:
        """The backend with lanes before it."""
        settings = self._config.lanes
        if settings.together:
            backend = Together(backend, settings)
        if settings.embed:
            backend = embed = EmbedTogether(backend, self._tokenizer, settings)
            self._gathering.append(embed)
        if settings.combine:
            backend = combine = Combine(backend, self._tokenizer, settings, cost=self._accounts.cost)
            self._gathering.append(combine)
        if settings.batch:
            backend = self.batches = BatchLane(
                backend,
                SQLiteShelf(self._database, self.codec, self.owner),
                self._clock,
                settings=settings,
                decide=self.decide,
                cost=self._accounts.cost,
                submit=self._submit,
                bill=self._bill,
                foreseen=self._foreseen,
            )
        return backend

    def entrance(self, pipeline: Backend) -> Backend:
        """The pipeline with those before it who answer later."""
        if not self._config.lanes.marked:
            return pipeline
        self.later = Later(
            pipeline,
            self.deferred,
            self._clock,
            settings=self._config.lanes,
            cost=self._accounts.cost,
            post=self._post,
            secret=self._config.webhook_secret.reveal() if self._config.webhook_secret else "",
        )
        return self.later

    @property
    def deferred(self) -> SQLiteDeferred:
        """The calls that are answered later."""
        return SQLiteDeferred(self._database, self.codec, self.owner)

    async def _post(self, address: str, headers: Headers, body: bytes) -> int:
        """What a webhook answered. No redirect is followed."""
        if self._transport is None:
            self._transport = outward(
                self._config.proxies, connect_timeout_s=10.0, read_timeout_s=30.0, chunk_timeout_s=30.0
            )
        parts = urlsplit(address)
        where = origin(f"{parts.scheme}://{parts.netloc}")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        opened = await self._transport.send(where, "POST", target, headers, body)
        if opened.close is not None:
            await opened.close()
        return opened.status

    @property
    def owner(self) -> Owner:
        """Made when it is first asked for. Raises StoreError."""
        if self._owner is None:
            self._owner = Owner(self._config.data_dir / "lanes")
        return self._owner

    async def start(self) -> None:
        """Go on with what earlier processes left. Without this, the first call that waits does so: a program that only
        looks at what is stored must not begin calls that it will not see the end of."""
        if self.batches is not None:
            await self.batches.start()
        if self.later is not None:
            await self.later.start()

    async def aclose(self) -> None:
        if self.later is not None:
            await self.later.aclose()
        if self.batches is not None:
            await self.batches.aclose()
        for gathering in self._gathering:
            await gathering.aclose()
        if self._transport is not None:
            await self._transport.aclose()
        if self._owner is not None:
            self._owner.close()

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
