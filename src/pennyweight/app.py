"""The only place where things are built and wired: a configuration in, a running App out, every lifetime in one stack.

`async with build(config) as app:` gives the outermost backend (`app.pipeline`) and what stands beside it. The gateway
serves it over HTTP, `AsyncClient` calls it directly, the CLI explains and replays with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import msgspec

from .adaptive import Adaptive, Tunable
from .backends.ask_usage import AskUsage
from .backends.budget import Budget
from .backends.coalesce import Coalesce, Fuse
from .backends.cooldown import Cooldown
from .backends.crossing import Crossing
from .backends.embeddings import embedder
from .backends.fallback import Fallback
from .backends.fusing.across import Across
from .backends.fusing.branching import Branching
from .backends.limits import Limits
from .backends.offered_tools import OfferedTools
from .backends.ollama import Ollama
from .backends.ollama import Settings as OllamaSettings
from .backends.retry import Retry
from .backends.rotation import Keys
from .backends.transport import Http1, origin
from .backends.upstream import Dispatch, Upstream
from .call import Call, Identity, Outcome, Receipt, Target
from .capture import Recorder, Rule
from .clerk import Clerk
from .clerk import Settings as ClerkSettings
from .clock import SystemClock
from .config import KNOWN, Config, Experiments, Provider, Proxies, Resolver
from .economy import Economy
from .errors import ConfigError, NotFound, PennyweightError, StoreError
from .hits import Audit, CacheRule
from .identity import identify
from .ledger.accounts import Account, Accounts
from .ledger.doctor import pricing
from .ledger.doctor.live import Rounds
from .ledger.experiment import Margins
from .ledger.functions import FunctionDelta, write_functions
from .ledger.hits import HitBook, Served
from .ledger.loop import Loop, LoopSettings
from .ledger.reading import receipt
from .ledger.signals import Signals, Watch
from .money import PicoUSD, parse_usd
from .pipeline import Pipeline
from .policy import Flag, Policy
from .prefix import Blocks, SessionIndex
from .prices import LOCAL, PriceBook, open_book, read_overrides
from .prices.caching import CacheBook
from .protocols import KV, Backend, Clock, Embedder, Leases, Ledger, Optimizer, Tokenizer
from .request import Charge, Request, Usage, Wire
from .standing import Standings
from .stores.assembly import Servers, Tiers, open_tiers
from .stores.changes import SQLiteChanges
from .stores.damage import Doubted
from .stores.flags import SQLiteFlags
from .stores.purge import PurgeWatch, Wanted, purge
from .stores.rollups import Rollups
from .stores.sealed import Codec, read_keys
from .stores.sqlite import Database, SQLiteKV, SQLiteLedger
from .stores.standings import SQLiteStandings
from .stores.tiered import Tiered
from .stores.vectors.lazy import LazyVectors, open_vectors
from .stores.virtual_keys import KeyStore
from .text.embedders import folder_of
from .text.embedders.lazy import Embeddings
from .text.tokenizers import BpeTokenizer
from .tool_results import ToolResults
from .wire import codec

if TYPE_CHECKING:
    from .stores.relay import RedisRelay

__all__ = ["OPTIMIZERS", "App", "Parts", "Watcher", "build"]

OPTIMIZERS: Mapping[str, str] = {
    "exact_cache": "pennyweight.optimizers.exact_cache:build",
    "billing_header": "pennyweight.optimizers.billing_header:build",
    "heartbeat": "pennyweight.optimizers.heartbeat:build",
    "prompt_cache": "pennyweight.optimizers.prompt_cache:build",
    "output_limit": "pennyweight.optimizers.output_limit:build",
    "templates": "pennyweight.optimizers.templates:build",
    "semantic_cache": "pennyweight.optimizers.semantic_cache.optimizer:build",
}
"""Built-in optimizers by name. Other packages offer theirs through the entry-point group `pennyweight.optimizers`."""


Watcher = Callable[[Receipt, Outcome], None]
"""Told of every finished call: its receipt, and the outcome that it was made from."""

log = logging.getLogger(__name__)


class Parts(msgspec.Struct, frozen=True):
    """What the App owns and an optimizer may use."""

    kv: KV
    clock: Clock
    book: Accounts
    tokenizer: Tokenizer
    economy: Economy
    vectors: LazyVectors
    hits: HitBook
    rule: Callable[[Call], CacheRule]  # what the call's route says of keeping answers
    leases: Leases  # who does a thing, among all replicas that share a store
    embeddings: Embeddings
    standings: Standings  # what caches that answer by likeness have learnt


class App:
    """Everything that one configuration runs. Made by `build`."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock,
        pipeline: Pipeline,
        backend: Backend,
        clerk: Clerk,
        ledger: Ledger,
        accounts: Accounts,
        prices: PriceBook,
        keys: KeyStore,
        budget: Budget,
        database: Database,
        kv: Tiered,
        leases: Leases,
        resolver: Resolver,
        watchers: list[Watcher],
        policy: Policy,
        experiments: Loop,
        signals: Signals,
        rollups: Rollups,
        economy: Economy,
        doctor: Rounds,
        vectors: LazyVectors,
        tools: ToolResults,
        hits: HitBook,
        embeddings: Embeddings,
        standings: Standings,
    ) -> None:
        self.config = config
        self.clock = clock
        self.pipeline = pipeline
        self.backend = backend
        self.clerk = clerk
        self.ledger = ledger
        self.accounts = accounts
        self.prices = prices
        self.keys = keys
        self.budget = budget
        self.database = database
        self.kv = kv
        self.leases = leases
        self.policy = policy  # which optimizers each session gets
        self.experiments = experiments  # what that comes to
        self.signals = signals  # what is said of answers
        self.doctor = doctor  # stores why prompt tokens were not read from a cache
        self.economy = economy  # what calls will cost, and how good its forecasts were
        self.hits = hits  # how often caches answered, and how often they were right
        self.rollups = rollups
        self.tools = tools  # what read-only tools gave, for those who run them
        self.vectors = vectors  # loads nothing until it is used
        self.standings = standings  # how the semantic cache stands, and the pairs that it was judged by
        self.embeddings = embeddings  # nor do these
        self.watchers = watchers  # told every receipt, off the request path: metrics, traces
        self.sessions = SessionIndex()
        self._resolver = resolver

    def resolve(self, model: str, wire: Wire, provider: str | None = None) -> Target:
        """Where a call goes. `provider`: the one that the path named. Raises NotFound for one that is not there."""
        if provider is None:
            return self._resolver(model, wire)
        known = self.config.providers.get(provider)
        if known is None:
            raise NotFound(f"There is no provider {provider!r}. Known: {', '.join(sorted(self.config.providers))}.")
        speaks = wire if wire in known.urls else known.wires[0]
        return Target(provider, model.removeprefix(f"{provider}/"), speaks)

    def has_key(self, provider: str) -> bool:
        """Whether the gateway has a key of its own for that provider: what a caller brings is then not used."""
        known = self.config.providers.get(provider)
        return known is not None and bool(known.keys)

    def identify(self, request: Request, tenant: str) -> Identity:
        return identify(request, tenant, index=self.sessions, now=self.clock.monotonic())

    async def purge(self, wanted: Wanted) -> int:
        """Drop what caches keep of that, here and in all processes that share the stores. How many entries.
        Raises StoreError."""
        return await purge(self.kv, wanted, now=self.clock.now())

    async def rated(self, call_id: str, tenant: str, score: float) -> None:
        """What a caller says of the answer to a call of that tenant: where a cache gave it, it goes into the book, and
        an entry that was wrong is dropped."""
        served = self.hits.served(call_id) or await self._served_before(call_id)
        if served is None or served.tenant != tenant or score == 0:
            return
        valid = score > 0
        self.hits.audited(
            Audit(served.cache, valid, tenant, served.route, call_id=call_id, tier=served.tier, source="feedback")
        )
        if not valid and served.key:
            await self.purge(Wanted(key=served.key, tenant=tenant))

    async def _served_before(self, call_id: str) -> Served | None:
        """A hit of which only the receipt is left: before a restart, or of another process. Its key is not known."""
        found = await asyncio.to_thread(receipt, self.database.path, call_id)
        if found is None or not found.replayed or found.answered_by == found.provider:
            return None
        return Served(found.answered_by, found.tenant, f"{found.provider}/{found.model}", "", "")

    def cost(self, charges: Iterable[Charge]) -> PicoUSD | None:
        """What these charges come to; None when one of them has no price."""
        costs = [self.accounts.cost(charge) for charge in charges]
        return None if any(cost is None for cost in costs) else sum(cost for cost in costs if cost is not None)


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

        def rule(call: Call) -> CacheRule:
            return resolver.full(call.original.model, call.original.wire).cache

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
        parts = Parts(
            tiers.kv, time, accounts, tokenizer, economy, vectors, hits, rule, tiers.leases, embeddings, standings
        )
        optimizers = [
            (_optimizer(rule.use, rule.settings, parts), Flag(rule.mode, rule.share, rule.level, rule.rollout))
            for rule in config.optimizers
        ]
        optimizers += [(optimizer, Flag()) for optimizer in extra]
        policy, experiments, signals, watch = await _experiments(config, optimizers, database, time)

        upstreams = {name: _upstream(provider, config.proxies, time) for name, provider in config.providers.items()}
        for upstream in upstreams.values():
            stack.push_async_callback(upstream.aclose)
        backend = _compose(config, upstreams, resolver, tokenizer, time)
        if config.embeddings.elsewhere:
            _embedder(config, backend, time)  # what cannot work is told at the start
        fuse, across = _fuse(config, resolver), None
        if config.fuses_across:
            relay = _relay(config)
            stack.push_async_callback(relay.aclose)
            backend = across = _across(config, backend, relay, fuse)
        coalesce = Coalesce(
            backend,
            buffer_bytes=config.fusing.buffer_bytes,
            fuse=fuse,
            branching=Branching(tiers.kv) if config.fusing.templates else None,
        )
        stack.push_async_callback(coalesce.aclose)
        if across is not None:
            stack.push_async_callback(across.aclose)  # before the calls here are stopped, which wait for it
        guarded = OfferedTools(coalesce, time, cost=accounts.cost)
        limits = Doubted(stored, database.path, time)
        budget = _budget(guarded, limits, time, keys=keys, accounts=accounts, tokenizer=tokenizer)
        stack.push_async_callback(budget.aclose)

        recorder = Recorder(config.data_dir, clock=time, always=_capture_rule(config))
        watchers: list[Watcher] = [hits]
        doctor = Rounds(rules=caches.rules, pricing=pricing(accounts.price), chain=economy.chain, write=database.write)
        stack.push_async_callback(doctor.close)

        tools = ToolResults(config.tools, tiers.kv, time, count=_counting(database))
        stack.push_async_callback(tools.aclose)
        clerk_settings = ClerkSettings(batch_s=config.ledger.batch_s, limit=config.ledger.queue)
        clerk = Clerk(
            ledger,
            _watched(accounts, watchers),
            settle=lambda outcome: pipeline.settle(outcome),
            clock=time,
            settings=clerk_settings,
        )
        pipeline = Pipeline(
            optimizers,
            budget,
            submit=clerk.submit,
            clock=time,
            propose_s=config.pipeline.propose_s,
            observers=(recorder, watch, doctor, tools),
            policy=policy,
            economy=economy,
            gate=gate,
        )
        hits.start()
        stack.push_async_callback(hits.close)
        await stack.enter_async_context(clerk)
        rollups = Rollups(database)
        rolling = asyncio.create_task(rollups.run())
        stack.callback(rolling.cancel)
        checking = asyncio.create_task(_check(database))
        stack.callback(checking.cancel)
        if config.adaptive.enabled:
            adaptive = asyncio.create_task(_adaptive(optimizers, database, time, config).run(), name="adaptive")
            stack.callback(adaptive.cancel)
        experiments.start()
        stack.push_async_callback(experiments.close)
        if config.ledger.keep_days is not None:
            forgetting = asyncio.create_task(_forget(ledger, time, config.ledger.keep_days, doctor, hits))
            stack.callback(forgetting.cancel)
        yield App(
            config,
            clock=time,
            pipeline=pipeline,
            backend=backend,
            clerk=clerk,
            ledger=ledger,
            accounts=accounts,
            prices=prices,
            keys=keys,
            budget=budget,
            database=database,
            kv=tiers.kv,
            leases=tiers.leases,
            resolver=resolver,
            watchers=watchers,
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
        )


def _counting(database: Database) -> Callable[[Sequence[FunctionDelta]], Awaitable[None]]:
    async def count(deltas: Sequence[FunctionDelta]) -> None:
        await database.write(lambda connection: write_functions(connection, deltas))

    return count


async def _check(database: Database) -> None:
    """Look through the ledger's file at the start and every hour: damage that nobody runs into is found too."""
    while True:
        await database.check()
        await asyncio.sleep(3_600)


def _adaptive(
    optimizers: Iterable[tuple[Optimizer, Flag]], database: Database, clock: Clock, config: Config
) -> Adaptive:
    """The loop over what has knobs and acts: one that only watches shall not be learnt from."""
    tunables = [optimizer for optimizer, flag in optimizers if flag.mode == "on" and isinstance(optimizer, Tunable)]
    return Adaptive(tunables, SQLiteChanges(database), clock=clock, settings=config.adaptive)


async def _experiments(
    config: Config, optimizers: Iterable[tuple[Optimizer, Flag]], database: Database, clock: Clock
) -> tuple[Policy, Loop, Signals, Watch]:
    """Who gets what, the loop that learns what it comes to, and what it hears by."""
    settings = config.experiments
    changes = SQLiteFlags(database, clock)
    policy = Policy({o.name: flag for o, flag in optimizers}, holdout=settings.holdout, changes=changes)
    try:
        await policy.load()
    except StoreError as error:  # the loop tries again; until then what the file says holds
        log.warning("changes of flags cannot be read", extra={"detail": str(error)})
    signals, watch = Signals(database, clock), Watch(sample=settings.tool_sample)
    loop = Loop(
        database.path,
        database,
        policy,
        history=changes.history,
        clock=clock,
        settings=loop_settings(settings),
        drain=watch.drain,
        keep=signals.add,
    )
    return policy, loop, signals, watch


def loop_settings(settings: Experiments) -> LoopSettings:
    margins = Margins(settings.error_margin, settings.latency_margin, settings.cost_margin)
    return LoopSettings(settings.every_s, settings.alpha, margins, act=settings.act)


async def _forget(
    ledger: SQLiteLedger, clock: Clock, keep_days: int, doctor: Rounds | None = None, hits: HitBook | None = None
) -> None:
    """Once a day, delete the receipts and findings that are older than the operator wants to keep.

    By the time that has passed since the start: a clock that is set a year forward must not empty the ledger.
    """
    began, began_at = clock.monotonic(), clock.now()
    while True:
        now = min(clock.now(), began_at + clock.monotonic() - began + 3_600)
        with contextlib.suppress(StoreError):  # tomorrow is another day
            await ledger.forget(now - keep_days * 86_400)
            if doctor is not None:
                await doctor.forget(now - keep_days * 86_400)
            if hits is not None:
                await hits.forget(now - keep_days * 86_400)
        await asyncio.sleep(86_400)


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


def _capture_rule(config: Config) -> Rule:
    capture = config.capture
    return Rule(sessions=capture.sessions or ("*",), redact=capture.redact) if capture.enabled else Rule()


def _accounts(config: Config) -> dict[str, Account]:
    return {name: Account(provider.local, _per_hour(provider)) for name, provider in config.providers.items()}


def _per_hour(provider: Provider) -> PicoUSD | None:
    return None if provider.usd_per_hour is None else int(parse_usd(str(provider.usd_per_hour)))


def _optimizer(use: str, settings: dict[str, Any], parts: Parts) -> Optimizer:
    """The optimizer of that name with its settings. Raises ConfigError that names what is known."""
    offered = {point.name: point.value for point in entry_points(group="pennyweight.optimizers")}
    place = OPTIMIZERS.get(use) or offered.get(use)
    if place is None:
        known = ", ".join(sorted({*OPTIMIZERS, *offered}))
        raise ConfigError(f"optimizers: {use!r} is not known. Known: {known}. A plugin must be installed first.")
    module_name, _, function = place.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(f"optimizers: {use!r} cannot be loaded: {error}. Install what it needs.") from None
    except Exception as error:
        raise ConfigError(f"optimizers: {use!r} cannot be loaded: {type(error).__name__}: {error}.") from error
    for name in ("Settings", function):
        if not hasattr(module, name):
            raise ConfigError(f"optimizers: {use!r} is no optimizer: {module_name} has no {name!r}. See its docs.")
    try:
        values = msgspec.convert(settings, module.Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"optimizers: the settings of {use!r} are not valid: {error}.") from None
    try:
        made = getattr(module, function)(values, parts)
    except PennyweightError:
        raise
    except Exception as error:
        raise ConfigError(f"optimizers: {use!r} cannot be built: {type(error).__name__}: {error}.") from error
    if not isinstance(made, Optimizer):
        raise ConfigError(f"optimizers: {use!r} gives a {type(made).__name__}, which is no optimizer. See its docs.")
    return made


def _tiers(config: Config, database: Database, servers: Servers, clock: Clock) -> Tiers:
    """The stores of the response caches. Budgets and keys stay in this machine's database."""
    key = config.cache_key.reveal() if config.cache_key else ""
    return open_tiers(config.cache, key=key, data_dir=config.data_dir, database=database, servers=servers, clock=clock)


def _upstream(provider: Provider, proxies: Proxies, clock: Clock) -> Upstream:
    urls = {wire: origin(url) for wire, url in provider.urls.items()}
    transport = Http1(
        connect_timeout_s=provider.timeouts.connect_s,
        read_timeout_s=provider.timeouts.first_byte_s,
        chunk_timeout_s=provider.timeouts.between_chunks_s,
        proxies={scheme: url.reveal() for scheme, url in proxies.urls.items()},
        no_proxy=proxies.direct,
    )
    hint = None
    if not provider.configured and provider.auth != "none":
        variable = f"{provider.name.upper()}_API_KEY"
        hint = f"Set {variable} where the gateway runs, or send a key of your own."
    if not provider.keys:
        return Upstream(
            provider.name,
            urls,
            transport,
            clock=clock,
            headers=provider.headers,
            key_hint=hint,
            takes=lambda secret: _is_theirs(provider, secret),
        )
    keys = Keys([key.reveal() for key in provider.keys], clock)

    def report(key: str, status: int) -> None:
        if status < 400:
            keys.answered(key)
        else:
            keys.failed(key, status)

    return Upstream(
        provider.name,
        urls,
        transport,
        clock=clock,
        auth=provider.auth,
        headers=provider.headers,
        pick_key=lambda call: keys.pick(call.identity.session or call.id),
        report_key=report,
    )


def _is_theirs(provider: Provider, secret: str) -> bool:
    """Whether a caller's own key can be one of this provider's: Anthropic's tell themselves, and go nowhere else.

    Who answers at a moved address is the operator's business.
    """
    return provider.moved or provider.name not in KNOWN or (provider.name == "anthropic") == ("sk-ant-" in secret)


def _compose(
    config: Config, upstreams: Mapping[str, Backend], resolver: Resolver, tokenizer: Tokenizer, clock: Clock
) -> Backend:
    """The backends around the providers, innermost first, without wrappers that this configuration needs not."""
    at_once = {name: p.max_concurrency for name, p in config.providers.items() if p.max_concurrency is not None}
    by_name = dict(upstreams)
    for name, provider in config.providers.items():
        if Wire.OLLAMA in provider.urls:
            settings = OllamaSettings(num_ctx=provider.num_ctx, keep_alive=provider.keep_alive)
            by_name[name] = Ollama(by_name[name], settings, tokenizer)
    backend: Backend = AskUsage(Dispatch(by_name))
    if at_once:
        backend = Limits(backend, at_once)
    backend = Crossing(backend, tokenizer)
    chained = any(rule.fallbacks for rule in config.routes)

    def chain(call: Call) -> tuple[Target, ...]:
        return resolver.full(call.original.model, call.original.wire).fallbacks

    backend = Retry(
        backend, clock, fallback_behind=(lambda call: bool(chain(call))) if chained else lambda _call: False
    )
    if chained:
        backend = Fallback(backend, chain, clock, cooldown=Cooldown(clock))
    return backend


def _fuse(config: Config, resolver: Resolver) -> Callable[[Call], Fuse]:
    """Which of a call's route's calls may share an answer in flight."""
    always = config.fusing.identical
    if all(rule.fuse is None for rule in config.routes):
        return lambda _call: always

    def fuse(call: Call) -> Fuse:
        return resolver.full(call.original.model, call.original.wire).fuse or always

    return fuse


def _relay(config: Config) -> RedisRelay:
    """What carries answers between replicas: connections of its own, as each waits for news. Raises ConfigError."""
    try:
        from .stores.redis import connect
        from .stores.relay import RedisRelay
    except ImportError as error:
        remedy = "Install it: pip install 'pennyweight[redis]'"
        raise ConfigError(f'fusing.across = "redis" needs the package {error.name}. {remedy}') from None
    key = config.cache_key.reveal() if config.cache_key else ""
    codec = Codec(read_keys(key) if key else (), limit_bytes=2 * config.fusing.buffer_bytes)
    client = connect(config.cache.redis.url or "", connections=_RELAY_CONNECTIONS)
    return RedisRelay(client, codec=codec, timeout_s=config.fusing.store_s)


def _across(config: Config, backend: Backend, relay: RedisRelay, fuse: Callable[[Call], Fuse]) -> Across:
    settings = config.fusing
    return Across(
        backend,
        relay,
        fuse=fuse,
        lease_s=settings.lease_s,
        store_s=settings.store_s,
        most_bytes=settings.buffer_bytes,
    )


_RELAY_CONNECTIONS = 256  # as many answers of other replicas can be read at once; further calls ask by themselves


def _budget(
    inner: Backend, kv: KV, clock: Clock, *, keys: KeyStore, accounts: Accounts, tokenizer: Tokenizer
) -> Budget:
    return Budget(
        inner,
        kv,
        clock,
        limit=keys.daily_limit,
        worst_case=_worst_case(accounts, tokenizer),
        cost=accounts.cost,
        count=accounts.counted,
    )


def _watched(accounts: Accounts, watchers: list[Watcher]) -> Callable[[Outcome], Receipt]:
    """Makes receipts and tells each to the watchers; one that raises is logged."""

    def receipt(outcome: Outcome) -> Receipt:
        made = accounts.receipt(outcome)
        for watcher in watchers:
            try:
                watcher(made, outcome)
            except Exception as error:  # noqa: BLE001 - who looks on must not cost the ledger a receipt
                log.warning("a watcher of receipts failed", extra={"error": type(error).__name__})
        return made

    return receipt


def _worst_case(accounts: Accounts, tokenizer: Tokenizer) -> Any:
    """The most a call can cost: its whole body as input, written to the cache, and all the output it may ask for."""

    def worst(call: Call) -> PicoUSD | None:
        body = call.request.body
        limits = [body.get(name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")]
        asked = [limit for limit in limits if isinstance(limit, int) and limit > 0]
        n = body.get("n")
        output = (max(asked) if asked else _DEFAULT_OUTPUT_TOKENS) * (n if isinstance(n, int) and n > 0 else 1)
        counted = sum(map(tokenizer.count, codec(call.request.wire).view(call.request).texts))  # each remembered
        tokens = min(len(call.request.raw), int(counted * _TOKENIZER_MARGIN) + _UNSEEN_TOKENS)
        usage = Usage(input_tokens=tokens, cache_write_1h_tokens=tokens, output_tokens=output)
        return accounts.cost(Charge(call.target.provider, call.target.model, usage, call.at))

    return worst


_DEFAULT_OUTPUT_TOKENS = 32_000  # for a call that names no limit
_TOKENIZER_MARGIN = 1.5  # other providers' tokenizers against ours
_UNSEEN_TOKENS = 4_000  # what a provider adds around texts, and a few images
