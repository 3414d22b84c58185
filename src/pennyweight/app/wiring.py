"""A configuration in, a running App out, every lifetime in one stack."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from ..backends.answers import Answers
from ..backends.coalesce import Coalesce
from ..backends.cooldown import Cooldown
from ..backends.direct import Direct
from ..backends.embeddings import embedder
from ..backends.fusing.branching import Branching
from ..backends.offered_tools import OfferedTools
from ..backends.quotas import Metered, restore
from ..backends.recall import Recall
from ..backends.summaries import Summaries
from ..call import Call, Outcome, Receipt, Target
from ..capture import Recorder, Rule
from ..clerk import Clerk
from ..clerk import Settings as ClerkSettings
from ..clock import SystemClock
from ..config import Config, Provider, Resolver
from ..config.tiers import aimed
from ..economy import Economy
from ..errors import StoreError
from ..hits import CacheRule
from ..ledger.accounts import Account, Accounts
from ..ledger.doctor import pricing
from ..ledger.doctor.live import Rounds
from ..ledger.functions import FunctionDelta, write_functions
from ..ledger.hits import HitBook
from ..money import PicoUSD, parse_usd
from ..pipeline import Pipeline
from ..policy import Flag
from ..prefix import Blocks
from ..prices import LOCAL, PriceBook, open_book, read_overrides
from ..prices.caching import CacheBook
from ..protocols import Backend, Clock, Embedder, Optimizer
from ..references import References
from ..routing.agents import Agents
from ..routing.learning.learned import Learned
from ..routing.quotas import Quotas
from ..stores.assembly import Servers, Tiers, open_tiers
from ..stores.purge import PurgeWatch
from ..stores.rollups import Rollups
from ..stores.route_outcomes import SQLiteOutcomes
from ..stores.sqlite import Database, SQLiteKV, SQLiteLedger
from ..stores.standings import SQLiteStandings
from ..stores.vectors.lazy import open_vectors
from ..stores.virtual_keys import KeyStore
from ..text.embedders import folder_of
from ..text.embedders.lazy import Embeddings
from ..text.embedders.remembered import Remembered
from ..text.tokenizers import BpeTokenizer
from ..tool_results import ToolResults
from ..wire.blocks import Reader
from .backends import across_replicas, cascaded, compose, fuse_rule, relay_of
from .budgets import alerts_of, budgets_of, counters_of, guarded, pressed
from .chores import adaptive_loop, check, experiments_of, forget, shadows_of
from .lanes import Lanes
from .local import machine_of
from .lookout import lookout, of_cooldown, of_quotas
from .parts import Parts, optimizer
from .running import App, BatchWatcher, Watcher
from .selecting import selection_of
from .upstreams import upstream

__all__ = ["build"]

log = logging.getLogger(__name__)


@asynccontextmanager
async def build(
    config: Config, *, clock: Clock | None = None, extra: Sequence[Optimizer] = (), gate: bool = True
) -> AsyncIterator[App]:
    """A running App. Raises ConfigError for what cannot be built, StoreError for a data folder that cannot be used.

    extra: optimizers asked after the configured ones, always on: a program's own, or a bench's adversaries.
    gate: False lets changes through that do not pay, to show what the gate is worth.
    """
    time = clock or SystemClock()
    async with AsyncExitStack() as stack:
        try:
            config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(f"The data folder {config.data_dir} cannot be made: {error.strerror}.") from None
        database = Database(config.data_dir / "pennyweight.db", now=time.now)
        stack.push_async_callback(database.close)
        with contextlib.suppress(StoreError):  # made now, so that the first readers find it; if it cannot be, later
            await database.write(lambda _connection: None)
        ledger = SQLiteLedger(database)
        stored = SQLiteKV(database, clock=time)
        servers = Servers(config.cache)
        stack.push_async_callback(servers.close)
        tiers = _tiers(config, database, servers, time)
        stack.push_async_callback(tiers.close)
        tiers.kv.start()
        tokenizer = BpeTokenizer()
        prices = _prices(config)
        accounts = Accounts(prices, _accounts(config), tokenizer)
        keys = KeyStore(config.data_dir)
        caches = CacheBook()
        economy = Economy(blocks=Blocks(count=tokenizer.count), caches=caches, prices=accounts.price)
        vectors = open_vectors(config.vectors, clock=time, database=database, servers=servers)
        stack.push_async_callback(vectors.aclose)
        resolver = Resolver(config)
        agents = Agents(config.agents)

        def rule(call: Call) -> CacheRule:
            return resolver.of(call).cache

        if tiers.memory is not None:
            purges = PurgeWatch(tiers.kv, tiers.memory)
            purges.start()
            stack.push_async_callback(purges.close)
        hits = HitBook(database, time, route=lambda call: rule(call).name)
        embeddings = Embeddings(
            config.embeddings,
            folder_of(config.embeddings, config.data_dir),
            clock=time,
            remote=(lambda: _embedder(config, backend, time)) if config.embeddings.elsewhere else None,
        )
        stack.push_async_callback(embeddings.close)
        standings = SQLiteStandings(database)
        outcomes = SQLiteOutcomes(database)
        learned = Learned(outcomes, time, embedder=_local(config, embeddings))
        stack.push_async_callback(learned.aclose)
        counters = await counters_of(config, stack, database=database, servers=servers, clock=time)
        reader, alerts = Reader(), alerts_of(config, time)
        stack.push_async_callback(alerts.aclose)
        budgets = budgets_of(
            config,
            counters,
            time,
            keys=keys,
            agents=agents,
            accounts=accounts,
            tokenizer=tokenizer,
            reader=reader,
            event=alerts.tell,
        )
        stack.push_async_callback(budgets.aclose)
        summaries = Summaries(lambda: backend, resolver, tiers.kv, time, cost=accounts.cost)
        stack.push_async_callback(summaries.aclose)
        quotas, cooldown = Quotas.of(config.targets), Cooldown[Target](time)
        machine = machine_of(config, time)
        stack.push_async_callback(machine.aclose)
        look = lookout([of_cooldown(cooldown), of_quotas(quotas, time), machine.live])
        selection = selection_of(config, database=database, servers=servers, clock=time)
        parts = Parts(
            tiers.kv,
            time,
            accounts,
            tokenizer,
            economy,
            vectors,
            hits,
            rule,
            tiers.leases,
            embeddings,
            summaries,
            standings,
            virtual=lambda call: resolver.of(call).virtual,
            pressure=budgets.pressure,
            forced=budgets.forced,
            background=lambda call: lanes.decide(call),
            lane_target=config.lanes.target,
            aimed=lambda name, wire: aimed(config.providers, name, wire),
            agents=agents,
            chances=learned,
            lookout=look,
            resolve=resolver,
            selection=selection,
            pairs=lambda optimizer, new, old, route="": shadows.tell(optimizer, new=new, old=old, route=route),
        )
        optimizers = [
            (optimizer(rule.use, rule.settings, parts), Flag(rule.mode, rule.share, rule.level, rule.rollout))
            for rule in config.optimizers
        ]
        optimizers = pressed(optimizers, config, parts, agents)
        optimizers += [(optimizer, Flag()) for optimizer in extra]
        policy, experiments, signals, watch = await experiments_of(config, optimizers, database, time)

        shadows = shadows_of(config, database, policy, time)

        upstreams = {name: upstream(provider, config.proxies, time) for name, provider in config.providers.items()}
        for provider in upstreams.values():
            stack.push_async_callback(provider.aclose)
        lanes = Lanes(
            config,
            resolver,
            database,
            time,
            accounts=accounts,
            tokenizer=tokenizer,
            economy=economy,
            submit=lambda outcome: clerk.submit(outcome),
            bill=budgets.also,
        )
        await restore(quotas, stored, time)
        backend = compose(
            config,
            upstreams,
            resolver,
            tokenizer,
            time,
            machine,
            budgets,
            meter=(lambda inner: Metered(inner, quotas, stored, time)) if quotas.limits else lambda inner: inner,
            lanes=lanes.around,
            cooldown=cooldown,
            answers=Answers(tiers.kv, time, ttl_s=config.references.ttl_s, max_bytes=config.references.max_bytes),
        )
        backend = cascaded(
            config,
            backend,
            time,
            database=database,
            accounts=accounts,
            tokenizer=tokenizer,
            pairs=shadows.tell,
        )
        machine.start()
        if config.embeddings.elsewhere:
            _embedder(config, backend, time)  # what cannot work is told at the start
        fuse, across = fuse_rule(config, resolver), None
        if config.fuses_across:
            relay = relay_of(config)
            stack.push_async_callback(relay.aclose)
            backend = across = across_replicas(config, backend, relay, fuse)
        coalesce = Coalesce(
            backend,
            buffer_bytes=config.fusing.buffer_bytes,
            fuse=fuse,
            branching=Branching(tiers.kv) if config.fusing.templates else None,
        )
        stack.push_async_callback(coalesce.aclose)
        if across is not None:
            stack.push_async_callback(across.aclose)  # before the calls here are stopped, which wait for it
        offered = OfferedTools(coalesce, time, cost=accounts.cost)
        guard, halted = guarded(offered, config, budgets, tiers.kv, time, reader=reader, tokenizer=tokenizer)
        references = References(
            tiers.kv,
            time,
            ttl_s=config.references.ttl_s,
            max_bytes=config.references.max_bytes,
            written=tiers.kv.written if set(config.cache.tiers) != {"memory"} else None,
        )
        recall = Recall(guard, references, tokenizer, settings=config.references, cost=accounts.cost)

        recorder = Recorder(config.data_dir, clock=time, always=_capture_rule(config))
        watchers: list[Watcher] = []
        batch_watchers: list[BatchWatcher] = [hits.watch]
        doctor = Rounds(rules=caches.rules, pricing=pricing(accounts.price), chain=economy.chain, write=database.write)
        stack.push_async_callback(doctor.close)

        tools = ToolResults(config.tools, tiers.kv, time, count=_counting(database))
        stack.push_async_callback(tools.aclose)
        clerk_settings = ClerkSettings(batch_s=config.ledger.batch_s, limit=config.ledger.queue)
        clerk = Clerk(
            ledger,
            accounts.receipt,
            settle=lambda outcomes: pipeline.settle_all(outcomes),
            clock=time,
            settings=clerk_settings,
            watch=_watching(watchers, batch_watchers),
        )
        pipeline = Pipeline(
            optimizers,
            Direct(recall, budgets.spares),
            submit=clerk.submit,
            clock=time,
            propose_s=config.pipeline.propose_s,
            observers=(recorder, watch, doctor, tools),
            policy=policy,
            economy=economy,
            gate=gate,
        )
        hits.start()
        learning = asyncio.create_task(learned.start(), name="learn the router")
        stack.callback(learning.cancel)
        stack.push_async_callback(hits.close)
        await stack.enter_async_context(clerk)
        rollups = Rollups(database)
        rolling = asyncio.create_task(rollups.run())
        stack.callback(rolling.cancel)
        checking = asyncio.create_task(check(database))
        stack.callback(checking.cancel)
        if config.adaptive.enabled:
            adaptive = asyncio.create_task(adaptive_loop(optimizers, database, time, config).run(), name="adaptive")
            stack.callback(adaptive.cancel)
        experiments.start()
        stack.push_async_callback(experiments.close)
        shadows.start()
        stack.push_async_callback(shadows.close)
        if config.ledger.keep_days is not None:
            books = (ledger, doctor, hits, outcomes)
            forgetting = asyncio.create_task(forget(books, time, config.ledger.keep_days))
            stack.callback(forgetting.cancel)
        app = App(
            config,
            clock=time,
            pipeline=pipeline,
            backend=backend,
            clerk=clerk,
            ledger=ledger,
            accounts=accounts,
            prices=prices,
            keys=keys,
            budgets=budgets,
            alerts=alerts,
            halted=halted,
            database=database,
            kv=tiers.kv,
            leases=tiers.leases,
            resolver=resolver,
            watchers=watchers,
            batch_watchers=batch_watchers,
            policy=policy,
            experiments=experiments,
            signals=signals,
            rollups=rollups,
            economy=economy,
            doctor=doctor,
            vectors=vectors,
            tools=tools,
            hits=hits,
            embeddings=embeddings,
            standings=standings,
            learned=learned,
            references=references,
            lookout=look,
            machine=machine,
            lanes=lanes,
            shadows=shadows,
            selection=selection,
        )
        stack.push_async_callback(lanes.aclose)
        yield app


def _counting(database: Database) -> Callable[[Sequence[FunctionDelta]], Awaitable[None]]:
    async def count(deltas: Sequence[FunctionDelta]) -> None:
        await database.write(lambda connection: write_functions(connection, deltas))

    return count


def _prices(config: Config) -> PriceBook:
    return open_book(
        config.data_dir,
        overrides=read_overrides(config.prices),
        local=LOCAL | {name for name, provider in config.providers.items() if provider.local},
        names={name: provider.prices for name, provider in config.providers.items()},
    )


def _embedder(config: Config, backend: Backend, clock: Clock) -> Embedder:
    """The one that a provider runs. Raises ConfigError."""
    places = {name: provider.urls for name, provider in config.providers.items()}
    return embedder(config.embeddings, backend, places, clock=clock)


def _local(config: Config, embeddings: Embeddings) -> Callable[[], Awaitable[Remembered | None]] | None:
    """The embedder where it is of this machine and there: routing looks at every text, which a provider would bill."""

    async def found() -> Remembered | None:
        return await embeddings.embedder() if embeddings.reason() is None else None

    return None if config.embeddings.elsewhere else found


def _capture_rule(config: Config) -> Rule:
    capture = config.capture
    return Rule(sessions=capture.sessions or ("*",), redact=capture.redact) if capture.enabled else Rule()


def _accounts(config: Config) -> dict[str, Account]:
    return {name: Account(provider.local, _per_hour(provider)) for name, provider in config.providers.items()}


def _per_hour(provider: Provider) -> PicoUSD | None:
    return None if provider.usd_per_hour is None else int(parse_usd(str(provider.usd_per_hour)))


def _tiers(config: Config, database: Database, servers: Servers, clock: Clock) -> Tiers:
    """The stores of the response caches. Budgets and keys stay in this machine's database."""
    key = config.cache_key.reveal() if config.cache_key else ""
    return open_tiers(config.cache, key=key, data_dir=config.data_dir, database=database, servers=servers, clock=clock)


def _watching(watchers: Sequence[Watcher], batch_watchers: Sequence[BatchWatcher]) -> BatchWatcher:
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
