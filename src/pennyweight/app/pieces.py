"""Pieces of an App that are made of its configuration and little else."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from ..backends.embeddings import embedder
from ..call import Outcome, Receipt
from ..capture import Rule
from ..config import Config, Provider
from ..ledger.accounts import Account
from ..ledger.functions import FunctionDelta, write_functions
from ..money import PicoUSD, parse_usd
from ..prices import LOCAL, PriceBook, open_book, read_overrides
from ..protocols import Backend, Clock, Embedder
from ..stores.assembly import Servers, Tiers, open_tiers
from ..stores.sqlite import Database
from ..text.embedders.lazy import Embeddings
from ..text.embedders.remembered import Remembered
from .running import BatchWatcher, Watcher

__all__ = [
    "accounts",
    "capture_rule",
    "counting",
    "embedder_of",
    "local_embedder",
    "price_book",
    "tiers_of",
    "watching",
]

log = logging.getLogger(__name__)


def counting(database: Database) -> Callable[[Sequence[FunctionDelta]], Awaitable[None]]:
    async def count(deltas: Sequence[FunctionDelta]) -> None:
        await database.write(lambda connection: write_functions(connection, deltas))

    return count


def price_book(config: Config) -> PriceBook:
    return open_book(
        config.data_dir,
        overrides=read_overrides(config.prices),
        local=LOCAL | {name for name, provider in config.providers.items() if provider.local},
        names={name: provider.prices for name, provider in config.providers.items()},
    )


def embedder_of(config: Config, backend: Backend, clock: Clock) -> Embedder:
    """The one that a provider runs. Raises ConfigError."""
    places = {name: provider.urls for name, provider in config.providers.items()}
    return embedder(config.embeddings, backend, places, clock=clock)


def local_embedder(config: Config, embeddings: Embeddings) -> Callable[[], Awaitable[Remembered | None]] | None:
    """The embedder where it is of this machine and there: routing looks at every text, which a provider would bill."""

    async def found() -> Remembered | None:
        return await embeddings.embedder() if embeddings.reason() is None else None

    return None if config.embeddings.elsewhere else found


def capture_rule(config: Config) -> Rule:
    capture = config.capture
    return Rule(sessions=capture.sessions or ("*",), redact=capture.redact) if capture.enabled else Rule()


def accounts(config: Config) -> dict[str, Account]:
    return {name: Account(provider.local, _per_hour(provider)) for name, provider in config.providers.items()}


def _per_hour(provider: Provider) -> PicoUSD | None:
    return None if provider.usd_per_hour is None else int(parse_usd(str(provider.usd_per_hour)))


def tiers_of(config: Config, database: Database, servers: Servers, clock: Clock) -> Tiers:
    """The stores of the response caches. Budgets and keys stay in this machine's database."""
    key = config.cache_key.reveal() if config.cache_key else ""
    return open_tiers(config.cache, key=key, data_dir=config.data_dir, database=database, servers=servers, clock=clock)


def watching(watchers: Sequence[Watcher], batch_watchers: Sequence[BatchWatcher]) -> BatchWatcher:
    """Tells receipts to those who look on; one that raises is logged: it must not cost the ledger a receipt."""

    def tell(receipts: Sequence[Receipt], outcomes: Sequence[Outcome]) -> None:
        for many in batch_watchers:
            try:
                many(receipts, outcomes)
            except Exception as error:  # noqa: BLE001 - see above
                _log_failed(error)
        for watcher in watchers:
            for receipt, outcome in zip(receipts, outcomes, strict=True):
                try:
                    watcher(receipt, outcome)
                except Exception as error:  # noqa: BLE001 - see above
                    _log_failed(error)

    return tell


def _log_failed(error: Exception) -> None:
    log.warning("a watcher of receipts failed", extra={"error": type(error).__name__})
