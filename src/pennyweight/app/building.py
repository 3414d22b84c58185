"""The steps by which an App is built: each method makes what its name says, and what later ones rest on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from contextlib import AsyncExitStack

from ..backends.answers import Answers
from ..backends.coalesce import Coalesce
from ..backends.cooldown import Cooldown
from ..backends.direct import Direct
from ..backends.fusing.branching import Branching
from ..backends.offered_tools import OfferedTools
from ..backends.quotas import Metered, restore
from ..backends.recall import Recall
from ..backends.summaries import Summaries
from ..call import Call, Target
from ..capture import Recorder
from ..clerk import Clerk
from ..clerk import Settings as ClerkSettings
from ..config import Config, Resolver
from ..config.tiers import aimed
from ..economy import Economy
from ..errors import StoreError
from ..hits import CacheRule
from ..ledger.accounts import Accounts
from ..ledger.doctor import pricing
from ..ledger.doctor.live import Rounds
from ..ledger.hits import HitBook
from ..pipeline import Pipeline
from ..policy import Flag
from ..prefix import Blocks
from ..prices.caching import CacheBook
from ..protocols import Clock, Optimizer
from ..references import References
from ..routing.agents import Agents
from ..routing.learning.learned import Learned
from ..routing.quotas import Quotas
from ..stores.assembly import Servers
from ..stores.purge import PurgeWatch
from ..stores.rollups import Rollups
from ..stores.route_outcomes import SQLiteOutcomes
from ..stores.sqlite import Database, SQLiteKV, SQLiteLedger
from ..stores.standings import SQLiteStandings
from ..stores.vectors.lazy import open_vectors
from ..stores.virtual_keys import KeyStore
from ..text.embedders import folder_of
from ..text.embedders.lazy import Embeddings
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
from .pieces import accounts, capture_rule, counting, embedder_of, local_embedder, price_book, tiers_of, watching
from .running import App, BatchWatcher, Watcher
from .selecting import selection_of
from .upstreams import upstream

__all__ = ["Building"]


class Building:
    """An App on its way, every lifetime in one stack: what is opened later is closed earlier.

    The methods are called once each, in the order in which they stand. A function that is handed on looks up what it
    names when it is called, which is made by then.
    """

    def __init__(
        self, config: Config, clock: Clock, stack: AsyncExitStack, *, extra: Sequence[Optimizer] = (), gate: bool = True
    ) -> None:
        self.config = config
        self.clock = clock
        self.stack = stack
        self.extra = extra
        self.gate = gate

    def rule(self, call: Call) -> CacheRule:
        return self.resolver.of(call).cache

    async def open_stores(self) -> None:
        """The ledger's file, and the stores of caches."""
        try:
            self.config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(f"The data folder {self.config.data_dir} cannot be made: {error.strerror}.") from None
        self.database = Database(self.config.data_dir / "pennyweight.db", now=self.clock.now)
        self.stack.push_async_callback(self.database.close)
        with contextlib.suppress(StoreError):  # made now, so that the first readers find it; if it cannot be, later
            await self.database.write(lambda _connection: None)
        self.ledger = SQLiteLedger(self.database)
        self.stored = SQLiteKV(self.database, clock=self.clock)
        self.servers = Servers(self.config.cache)
        self.stack.push_async_callback(self.servers.close)
        self.tiers = tiers_of(self.config, self.database, self.servers, self.clock)
        self.stack.push_async_callback(self.tiers.close)
        self.tiers.kv.start()

    def read_prices(self) -> None:
        """What things cost, and who may ask."""
        self.tokenizer = BpeTokenizer()
        self.prices = price_book(self.config)
        self.accounts = Accounts(self.prices, accounts(self.config), self.tokenizer)
        self.keys = KeyStore(self.config.data_dir)
        self.caches = CacheBook()
        self.economy = Economy(
            blocks=Blocks(count=self.tokenizer.count), caches=self.caches, prices=self.accounts.price
        )

    def open_what_is_learnt(self) -> None:
        """Vectors, routes, and what caches and routing have learnt."""
        self.vectors = open_vectors(self.config.vectors, clock=self.clock, database=self.database, servers=self.servers)
        self.stack.push_async_callback(self.vectors.aclose)
        self.resolver = Resolver(self.config)
        self.agents = Agents(self.config.agents)

        if self.tiers.memory is not None:
            purges = PurgeWatch(self.tiers.kv, self.tiers.memory)
            purges.start()
            self.stack.push_async_callback(purges.close)
        self.hits = HitBook(self.database, self.clock, route=lambda call: self.rule(call).name)
        self.embeddings = Embeddings(
            self.config.embeddings,
            folder_of(self.config.embeddings, self.config.data_dir),
            clock=self.clock,
            remote=(lambda: embedder_of(self.config, self.backend, self.clock))
            if self.config.embeddings.elsewhere
            else None,
        )
        self.stack.push_async_callback(self.embeddings.close)
        self.standings = SQLiteStandings(self.database)
        self.outcomes = SQLiteOutcomes(self.database)
        self.learned = Learned(self.outcomes, self.clock, embedder=local_embedder(self.config, self.embeddings))
        self.stack.push_async_callback(self.learned.aclose)

    async def open_budgets(self) -> None:
        """What may be spent, and who is told when it is."""
        counters = await counters_of(
            self.config, self.stack, database=self.database, servers=self.servers, clock=self.clock
        )
        self.reader, self.alerts = Reader(), alerts_of(self.config, self.clock)
        self.stack.push_async_callback(self.alerts.aclose)
        self.budgets = budgets_of(
            self.config,
            counters,
            self.clock,
            keys=self.keys,
            agents=self.agents,
            accounts=self.accounts,
            tokenizer=self.tokenizer,
            reader=self.reader,
            event=self.alerts.tell,
        )
        self.stack.push_async_callback(self.budgets.aclose)

    def look_around(self) -> None:
        """How targets are now: their quotas, cool-downs and the local machine."""
        self.summaries = Summaries(
            lambda: self.backend, self.resolver, self.tiers.kv, self.clock, cost=self.accounts.cost
        )
        self.stack.push_async_callback(self.summaries.aclose)
        self.quotas, self.cooldown = Quotas.of(self.config.targets), Cooldown[Target](self.clock)
        self.machine = machine_of(self.config, self.clock)
        self.stack.push_async_callback(self.machine.aclose)
        self.look = lookout([of_cooldown(self.cooldown), of_quotas(self.quotas, self.clock), self.machine.live])
        self.selection = selection_of(self.config, database=self.database, servers=self.servers, clock=self.clock)

    async def choose_optimizers(self) -> None:
        """The configured ones, how much traffic each gets, and what compares them."""
        parts = Parts(
            self.tiers.kv,
            self.clock,
            self.accounts,
            self.tokenizer,
            self.economy,
            self.vectors,
            self.hits,
            self.rule,
            self.tiers.leases,
            self.embeddings,
            self.summaries,
            self.standings,
            virtual=lambda call: self.resolver.of(call).virtual,
            pressure=self.budgets.pressure,
            forced=self.budgets.forced,
            background=lambda call: self.lanes.decide(call),
            lane_target=self.config.lanes.target,
            aimed=lambda name, wire: aimed(self.config.providers, name, wire),
            agents=self.agents,
            chances=self.learned,
            lookout=self.look,
            resolve=self.resolver,
            selection=self.selection,
            pairs=lambda optimizer, new, old, route="": self.shadows.tell(optimizer, new=new, old=old, route=route),
        )
        self.optimizers = [
            (optimizer(one.use, one.settings, parts), Flag(one.mode, one.share, one.level, one.rollout))
            for one in self.config.optimizers
        ]
        self.optimizers = pressed(self.optimizers, self.config, parts, self.agents)
        self.optimizers += [(optimizer, Flag()) for optimizer in self.extra]
        self.policy, self.experiments, self.signals, self.watch = await experiments_of(
            self.config, self.optimizers, self.database, self.clock
        )

        self.shadows = shadows_of(self.config, self.database, self.policy, self.clock)

    async def connect_providers(self) -> None:
        """The backend that asks, through lanes and cascades."""
        upstreams = {
            name: upstream(provider, self.config.proxies, self.clock)
            for name, provider in self.config.providers.items()
        }
        for provider in upstreams.values():
            self.stack.push_async_callback(provider.aclose)
        self.lanes = Lanes(
            self.config,
            self.resolver,
            self.database,
            self.clock,
            accounts=self.accounts,
            tokenizer=self.tokenizer,
            economy=self.economy,
            submit=lambda outcome: self.clerk.submit(outcome),
            bill=self.budgets.also,
        )
        await restore(self.quotas, self.stored, self.clock)
        self.backend = compose(
            self.config,
            upstreams,
            self.resolver,
            self.tokenizer,
            self.clock,
            self.machine,
            self.budgets,
            meter=(lambda inner: Metered(inner, self.quotas, self.stored, self.clock))
            if self.quotas.limits
            else lambda inner: inner,
            lanes=self.lanes.around,
            cooldown=self.cooldown,
            answers=Answers(
                self.tiers.kv,
                self.clock,
                ttl_s=self.config.references.ttl_s,
                max_bytes=self.config.references.max_bytes,
            ),
        )
        self.backend = cascaded(
            self.config,
            self.backend,
            self.clock,
            database=self.database,
            accounts=self.accounts,
            tokenizer=self.tokenizer,
            pairs=self.shadows.tell,
        )
        self.machine.start()
        if self.config.embeddings.elsewhere:
            embedder_of(self.config, self.backend, self.clock)  # what cannot work is told at the start

    def wrap_backend(self) -> None:
        """What is around it: sharing in flight, tools, budgets, what was left out of prompts."""
        fuse, across = fuse_rule(self.config, self.resolver), None
        if self.config.fuses_across:
            relay = relay_of(self.config)
            self.stack.push_async_callback(relay.aclose)
            self.backend = across = across_replicas(self.config, self.backend, relay, fuse)
        coalesce = Coalesce(
            self.backend,
            buffer_bytes=self.config.fusing.buffer_bytes,
            fuse=fuse,
            branching=Branching(self.tiers.kv) if self.config.fusing.templates else None,
            clock=self.clock,
        )
        self.stack.push_async_callback(coalesce.aclose)
        if across is not None:
            self.stack.push_async_callback(across.aclose)  # before the calls here are stopped, which wait for it
        offered = OfferedTools(coalesce, self.clock, cost=self.accounts.cost)
        guard, self.halted = guarded(
            offered, self.config, self.budgets, self.tiers.kv, self.clock, reader=self.reader, tokenizer=self.tokenizer
        )
        self.references = References(
            self.tiers.kv,
            self.clock,
            ttl_s=self.config.references.ttl_s,
            max_bytes=self.config.references.max_bytes,
            written=self.tiers.kv.written if set(self.config.cache.tiers) != {"memory"} else None,
        )
        self.recall = Recall(
            guard, self.references, self.tokenizer, settings=self.config.references, cost=self.accounts.cost
        )

    def keep_books(self) -> None:
        """Who looks at finished calls, and the one task that settles them."""
        self.recorder = Recorder(self.config.data_dir, clock=self.clock, always=capture_rule(self.config))
        self.watchers: list[Watcher] = []
        self.batch_watchers: list[BatchWatcher] = [self.hits.watch]
        self.doctor = Rounds(
            rules=self.caches.rules,
            pricing=pricing(self.accounts.price),
            chain=self.economy.chain,
            write=self.database.write,
        )
        self.stack.push_async_callback(self.doctor.close)

        self.tools = ToolResults(self.config.tools, self.tiers.kv, self.clock, count=counting(self.database))
        self.stack.push_async_callback(self.tools.aclose)
        clerk_settings = ClerkSettings(batch_s=self.config.ledger.batch_s, limit=self.config.ledger.queue)
        self.clerk = Clerk(
            self.ledger,
            self.accounts.receipt,
            settle=lambda many: self.pipeline.settle_all(many),
            clock=self.clock,
            settings=clerk_settings,
            watch=watching(self.watchers, self.batch_watchers),
        )

    def open_pipeline(self) -> None:
        """The loop over the optimizers."""
        self.pipeline = Pipeline(
            self.optimizers,
            Direct(self.recall, self.budgets.spares),
            submit=self.clerk.submit,
            clock=self.clock,
            propose_s=self.config.pipeline.propose_s,
            observers=(self.recorder, self.watch, self.doctor, self.tools),
            policy=self.policy,
            economy=self.economy,
            gate=self.gate,
        )

    async def start_chores(self) -> None:
        """Everything that goes on beside answering; none of it before all is built."""
        self.hits.start()
        learning = asyncio.create_task(self.learned.start(), name="learn the router")
        self.stack.callback(learning.cancel)
        self.stack.push_async_callback(self.hits.close)
        await self.stack.enter_async_context(self.clerk)
        self.rollups = Rollups(self.database)
        rolling = asyncio.create_task(self.rollups.run())
        self.stack.callback(rolling.cancel)
        checking = asyncio.create_task(check(self.database))
        self.stack.callback(checking.cancel)
        if self.config.adaptive.enabled:
            adaptive = asyncio.create_task(
                adaptive_loop(self.optimizers, self.database, self.clock, self.config).run(), name="adaptive"
            )
            self.stack.callback(adaptive.cancel)
        self.experiments.start()
        self.stack.push_async_callback(self.experiments.close)
        self.shadows.start()
        self.stack.push_async_callback(self.shadows.close)
        if self.config.ledger.keep_days is not None:
            books = (self.ledger, self.doctor, self.hits, self.outcomes)
            forgetting = asyncio.create_task(forget(books, self.clock, self.config.ledger.keep_days))
            self.stack.callback(forgetting.cancel)

    def app(self) -> App:
        """All of it."""
        return App(
            self.config,
            clock=self.clock,
            pipeline=self.pipeline,
            backend=self.backend,
            clerk=self.clerk,
            ledger=self.ledger,
            accounts=self.accounts,
            prices=self.prices,
            keys=self.keys,
            budgets=self.budgets,
            alerts=self.alerts,
            halted=self.halted,
            database=self.database,
            kv=self.tiers.kv,
            leases=self.tiers.leases,
            resolver=self.resolver,
            watchers=self.watchers,
            batch_watchers=self.batch_watchers,
            policy=self.policy,
            experiments=self.experiments,
            signals=self.signals,
            rollups=self.rollups,
            economy=self.economy,
            doctor=self.doctor,
            vectors=self.vectors,
            tools=self.tools,
            hits=self.hits,
            embeddings=self.embeddings,
            standings=self.standings,
            learned=self.learned,
            references=self.references,
            lookout=self.look,
            machine=self.machine,
            lanes=self.lanes,
            shadows=self.shadows,
            selection=self.selection,
        )
