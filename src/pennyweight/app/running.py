"""An App: everything that one configuration runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from ..backends.budget.alerts import Alerts
from ..backends.budget.budgets import Budgets
from ..backends.budget.halted import Halted
from ..backends.local import Machine
from ..call import Call, Credential, Identity, Outcome, Receipt, Target
from ..clerk import Clerk
from ..config import Config, Resolver
from ..economy import Economy
from ..errors import NotFound
from ..hits import Audit
from ..identity import identify
from ..ledger.accounts import Accounts
from ..ledger.doctor.live import Rounds
from ..ledger.hits import HitBook, Served
from ..ledger.loop import Loop
from ..ledger.reading import receipt
from ..ledger.shadows import Shadows
from ..ledger.signals import Signals
from ..money import PicoUSD
from ..pipeline import Pipeline
from ..policy import Policy
from ..prefix import Rereading, SessionIndex
from ..prices import PriceBook
from ..protocols import Backend, Clock, Leases, Ledger
from ..references import References
from ..request import Charge, Operation, Request, Wire
from ..routing.learning.learned import Learned
from ..routing.virtual import Live, Lookout, Virtual
from ..selection import Selection
from ..standing import Standings
from ..stores.purge import Wanted, purge
from ..stores.rollups import Rollups
from ..stores.sqlite import Database
from ..stores.tiered import Tiered
from ..stores.vectors.lazy import LazyVectors
from ..stores.virtual_keys import KeyStore
from ..text.embedders.lazy import Embeddings
from ..tool_results import ToolResults
from .lanes import Lanes

__all__ = ["App", "BatchWatcher", "Watcher"]

Watcher = Callable[[Receipt, Outcome], None]
"""Told of every finished call: its receipt, and the outcome that it was made from."""

BatchWatcher = Callable[[Sequence[Receipt], Sequence[Outcome]], None]
"""The same for many at once: receipts, and the outcomes that they were made from."""


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
        budgets: Budgets,
        alerts: Alerts,
        halted: Halted,
        database: Database,
        kv: Tiered,
        leases: Leases,
        resolver: Resolver,
        watchers: list[Watcher],
        batch_watchers: list[BatchWatcher],
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
        references: References,
        learned: Learned,
        lookout: Lookout = lambda _target: Live(),
        shadows: Shadows,
        selection: Selection,
        machine: Machine,
        lanes: Lanes,
    ) -> None:
        self.config = config
        self.clock = clock
        self.pipeline = pipeline
        self.lanes = lanes
        self.entrance = lanes.entrance(pipeline)  # where calls come in: they may be answered later
        self.backend = backend
        self.clerk = clerk
        self.ledger = ledger
        self.accounts = accounts
        self.prices = prices
        self.keys = keys
        self.budgets = budgets  # what may be spent, and how it stands
        self.alerts = alerts  # what was told of that
        self.halted = halted  # summaries of sessions that were stopped
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
        self.learned = learned  # the chances of targets, from outcomes
        self.references = references  # texts that were left out of requests
        self.machine = machine  # what local servers have loaded
        self.lookout = lookout  # how targets are now
        self.shadows = shadows  # tasks that were done with an optimizer and without
        self.selection = selection  # which of several, learnt from outcomes
        self.watchers = watchers  # told every receipt, off the request path: traces, a program's own
        self.batch_watchers = batch_watchers  # told them many at once: metrics, the book of hits
        self.sessions = SessionIndex()
        self.read = Rereading().read  # reads a request, of a conversation that goes on no more than what is new
        self._resolver = resolver

    def resolve(self, model: str, wire: Wire, provider: str | None = None) -> Target:
        """Where a call goes. `provider`: the one that the path named. Raises NotFound for one that is not there, and
        for a virtual model that nothing can answer for."""
        if provider is None:
            resolved = self._resolver.full(model, wire)
            if resolved.refused:
                raise NotFound(resolved.refused)
            return resolved.target
        known = self.config.providers.get(provider)
        if known is None:
            raise NotFound(f"There is no provider {provider!r}. Known: {', '.join(sorted(self.config.providers))}.")
        speaks = wire if wire in known.urls else known.wires[0]
        return Target(provider, model.removeprefix(f"{provider}/"), speaks)

    def virtual(self, call: Call) -> Virtual | None:
        """The choice that the call's model stands for, where that is where it was to go."""
        if call.original.operation is not Operation.GENERATE:  # which may have no body, and so no model
            return None
        found = self._resolver.of(call).virtual
        return found if found is not None and call.target == found.reference else None  # else its path named a provider

    def is_choice(self, model: str, wire: Wire) -> bool:
        """Whether that name stands for a choice of models."""
        return self._resolver.full(model, wire).virtual is not None

    def has_key(self, provider: str) -> bool:
        """Whether the gateway has a key of its own for that provider: what a caller brings is then not used."""
        known = self.config.providers.get(provider)
        return known is not None and bool(known.keys)

    def passes_on(self, credential: Credential, model: str, wire: Wire, target: Target, *, named: bool) -> bool:
        """Whether a caller's own key goes to the target of its call. named: the path named the target's provider."""
        if self.has_key(target.provider):
            return False
        return named or self._resolver.meant_for(model, wire, target.provider, credential.secret)

    def identify(self, request: Request, tenant: str) -> Identity:
        return identify(request, tenant, index=self.sessions, now=self.clock.monotonic())

    async def purge(self, wanted: Wanted) -> int:
        """Drop what caches keep of that, here and in all processes that share the stores. How many entries.
        Raises StoreError."""
        return await purge(self.kv, wanted, now=self.clock.now())

    async def rated(self, call_id: str, tenant: str, score: float) -> None:
        """What a caller says of the answer to a call of that tenant: the router learns it; where a cache gave it, it
        goes into the book, and an entry that was wrong is dropped."""
        await self.learned.rated(call_id, tenant, score)
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
        whole = 0
        for charge in charges:
            cost = self.accounts.priced(charge)[0]
            if cost is None:
                return None
            whole += cost
        return whole
