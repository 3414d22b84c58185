"""What a configuration says: frozen structs, as the rest of the code reads them.

The first group is also the shape of `pennyweight.toml`; `Provider` and `Config` are what reading makes of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from ..adaptive import Settings as AdaptiveSettings
from ..backends.budget.settings import Budgeting, BudgetRule
from ..backends.coalesce import Fuse
from ..call import Optimize
from ..ledger.advice import Settings as AdviceSettings
from ..policy import Mode
from ..references import ReferenceSettings
from ..request import Wire
from ..routing.agents import AgentRule
from ..routing.background import Lane, LaneSettings
from ..routing.resources import ResourceSettings
from ..routing.settings import CascadeTable, TargetTable, TierTable, VirtualTable
from ..selection import Rule as SelectionRule
from ..stores.settings import CacheSettings
from ..stores.vectors.lazy import Settings as VectorSettings
from ..text.embedders import Settings as EmbeddingSettings

__all__ = [
    "SHADOW_FIRST",
    "AdaptiveSettings",
    "AdviceSettings",
    "AgentRule",
    "Auth",
    "BudgetRule",
    "Budgeting",
    "CacheSettings",
    "Capture",
    "CascadeTable",
    "Config",
    "EmbeddingSettings",
    "Experiments",
    "FusingSettings",
    "LaneSettings",
    "LedgerSettings",
    "OptimizerRule",
    "Otel",
    "PipelineSettings",
    "Provider",
    "ProviderTable",
    "Proxies",
    "ResourceSettings",
    "RouteRule",
    "Secret",
    "SelectionRule",
    "Server",
    "TargetTable",
    "TierTable",
    "Timeouts",
    "ToolRule",
    "VectorSettings",
    "VirtualTable",
]

Auth = Literal["bearer", "x-api-key", "none"]


class Secret:
    """A key. It never prints, encodes or compares as its value; `reveal()` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    @property
    def masked(self) -> str:
        """Enough to tell two keys apart: "sk-…9f3a", or "…" for a key too short to show four characters of."""
        value = self._value
        return f"{value[:3]}…{value[-4:]}" if len(value) >= 16 else "…"

    def __repr__(self) -> str:
        return f"Secret({self.masked})"


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the gateway listens and what it takes. `allowed_hosts`: Host names beside the loopback ones."""

    host: str = "127.0.0.1"
    port: int = 8787
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    loopback_open: bool = True  # a caller on loopback needs no virtual key, even where there are some
    tenants_share_account: bool = True  # holders of virtual keys reach what providers keep for the operator's account
    max_body_bytes: int = 64 * 2**20
    max_header_bytes: int = 64 * 2**10
    max_depth: int = 512  # levels of nesting in a JSON body
    body_timeout_s: float = 60.0  # for a caller to send its whole request
    request_timeout_s: float = 900.0  # for a whole call, its stream included
    idle_timeout_s: float = 120.0  # keep-alive
    drain_s: float = 30.0  # for streams in flight after SIGTERM
    max_connections: int = 4096


class Timeouts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of an upstream. A slow first byte is normal for a reasoning model; silence between chunks is not."""

    connect_s: float = 10.0
    first_byte_s: float = 600.0
    between_chunks_s: float = 300.0


class PipelineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    propose_s: float = 0.05  # for all optimizers together, per call
    risk: float = 0.05  # probability of harm that the proposals of one call may add up to


class LedgerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    batch_s: float = 0.1  # receipts wait at most this long to be written
    queue: int = 10_000  # receipts held while the database is down; more are counted and dropped
    keep_days: int | None = None  # None: for ever


class Capture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    enabled: bool = False
    sessions: tuple[str, ...] = ()  # patterns with *; none: every session
    redact: bool = True


class Otel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Traces over OTLP. `endpoint`: of the collector, to which /v1/traces is appended; None: see `load`."""

    enabled: bool = False
    endpoint: str | None = None
    service_name: str = "pennyweight"


class FusingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Calls in flight that share one answer. `identical`: which, unless their route or header says otherwise.

    across: through what replicas share theirs; "redis" is the server of [cache.redis], "auto" the same where that is a
    cache tier. templates: whether calls follow
    others of their template, as far as the optimizer `templates` knows it.
    """

    identical: Fuse = "repeatable"
    buffer_bytes: int = 4 * 2**20  # how far a caller may be behind the fastest that reads the same answer
    across: Literal["auto", "off", "redis"] = "auto"
    lease_s: float = 3.0  # a replica that says nothing for so long is taken for dead
    store_s: float = 0.25  # how long a call waits for Redis before it goes on without
    templates: bool = False


class Experiments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`holdout`: the share of sessions for which every optimizer is off, for ever: what savings are measured by."""

    holdout: float = 0.05
    alpha: float = 0.05  # probability that a stage of an experiment ever raises a false alarm
    every_s: float = 2.0  # between two looks at new receipts
    act: bool = True  # take back what does harm, let roll-outs grow; False: only measure
    error_margin: float = 0.03  # a roll-out goes on while errors are at most so much more of all calls,
    latency_margin: float = 1.25  # latency at most so many times,
    cost_margin: float = 1.05  # and the cost of a call at most so many times that of sessions without
    tool_sample: float = 0.05  # of sessions, whose tool calls are read to see whether they hold
    keep_comments: bool = False  # whether the words that come with feedback are stored


class OptimizerRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One optimizer, in the order of asking. `use`: a built-in name or one from an entry point."""

    use: str
    mode: Mode = "on"
    share: float = 1.0  # of sessions, in [0, 1]
    rollout: bool = False  # begin with 1% of sessions, go up to `share` on evidence
    level: Literal["safe", "max"] | None = None  # None: as each proposal says
    settings: dict[str, Any] = {}


SHADOW_FIRST = frozenset({"semantic_cache"})
"""Optimizers that only watch until their rule says `mode = "on"`: what they do must be seen before it is trusted."""


class RouteRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Calls for a model that matches go to a provider. The first rule that matches wins.

    `model`: a name, `*` standing for any run of characters. `rename`: what the provider calls it; None: as asked.
    `to`: a virtual model, in place of a provider.
    `fallbacks`: "provider" or "provider/model", asked in order when the ones before fail. `volatile`: its answers are
    never kept nor replayed. `ttl_s`: for how long they may be replayed; None: as each cache's own settings say.
    """

    model: str
    provider: str = ""
    to: str | None = None
    rename: str | None = None
    fallbacks: tuple[str, ...] = ()
    volatile: bool = False
    ttl_s: float | None = None
    fuse: Fuse | None = None  # which of its calls may share an answer in flight; None: as [fusing] says
    lane: Lane | None = None  # "background": its calls can wait; None: as [lanes] says


class ToolRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tools whose name matches (`*` stands for any run of characters); the first rule that matches counts.

    read_only: running it changes nothing, and what it gives depends on its arguments alone, for `ttl_s`: its results
    may be kept. learn: also from requests that pass by, beside what runners store. scope: who shares a result.
    """

    name: str
    read_only: bool = False
    ttl_s: float = 300.0
    learn: bool = True
    scope: Literal["tenant", "session"] = "tenant"
    max_bytes: int = 1 << 20  # of a result; larger ones are not kept


class ProviderTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[providers.NAME]` as written. What is left out comes from the defaults for that name."""

    base_url: str | None = None
    wires: tuple[Wire, ...] | None = None
    urls: dict[Wire, str] | None = None
    api_key: str | None = None
    api_keys: tuple[str, ...] | None = None
    api_key_env: str | None = None
    auth: Auth | None = None
    headers: dict[str, str] | None = None
    timeouts: Timeouts | None = None
    max_concurrency: int | None = None
    prices: str | None = None
    num_ctx: int | None = None
    keep_alive: str | int | None = None
    usd_per_hour: float | None = None


class Provider(msgspec.Struct, frozen=True):
    """An upstream. `urls` has, for each protocol it speaks, the address that stands for our own `/v1` (or `/api`).

    `configured`: it has a key, or the operator named it or moved it. Those that are not still take a caller's own key.
    `prices`: its name in the price book. `max_concurrency` None: no limit. `usd_per_hour`: a local machine's cost.
    """

    name: str
    urls: dict[Wire, str]
    keys: tuple[Secret, ...] = ()
    auth: Auth = "bearer"
    headers: tuple[tuple[str, str], ...] = ()
    timeouts: Timeouts = Timeouts()
    max_concurrency: int | None = None
    prices: str = ""
    num_ctx: int | None = None
    keep_alive: str | int | None = None
    usd_per_hour: float | None = None
    local: bool = False
    moved: bool = False  # its address is not the provider's own
    configured: bool = False

    @property
    def wires(self) -> tuple[Wire, ...]:
        return tuple(self.urls)

    def url(self, wire: Wire, path: str, query: str = "") -> str:
        """The address for a call that came to us as `path` ("/v1/messages"), its query string kept."""
        for ours in ("/v1/", "/api/"):
            if path.startswith(ours):
                path = path[len(ours) :]
                break
        address = f"{self.urls[wire]}/{path.lstrip('/')}"
        return f"{address}?{query}" if query else address


class Proxies(msgspec.Struct, frozen=True):
    """How providers are reached, from HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY. This machine always directly.

    `urls`: scheme of the provider's address to a proxy's address, which may hold a password. `direct`: host names,
    which stand for the names below them too.
    """

    urls: dict[str, Secret] = {}
    direct: tuple[str, ...] = ()


class Config(msgspec.Struct, frozen=True):
    """Everything that can be set. `source`: the file it was read from, None when there was none."""

    data_dir: Path
    providers: dict[str, Provider]
    server: Server = Server()
    optimize: Optimize = "safe"
    routes: tuple[RouteRule, ...] = ()
    tiers: tuple[TierTable, ...] = ()
    targets: tuple[TargetTable, ...] = ()
    virtual: tuple[VirtualTable, ...] = ()
    cascade: CascadeTable = CascadeTable()
    agents: tuple[AgentRule, ...] = ()
    agents_path: Path | None = None  # the file they were read from
    optimizers: tuple[OptimizerRule, ...] = (
        OptimizerRule("exact_cache"),
        OptimizerRule("billing_header"),
        OptimizerRule("heartbeat"),
        OptimizerRule("prompt_cache"),
    )
    prices: tuple[dict[str, Any], ...] = ()
    pipeline: PipelineSettings = PipelineSettings()
    ledger: LedgerSettings = LedgerSettings()
    capture: Capture = Capture()
    experiments: Experiments = Experiments()
    otel: Otel = Otel()
    budgets: tuple[BudgetRule, ...] = ()
    budgeting: Budgeting = Budgeting()
    advice: AdviceSettings = AdviceSettings()
    adaptive: AdaptiveSettings = AdaptiveSettings()
    tools: tuple[ToolRule, ...] = ()
    vectors: VectorSettings = VectorSettings()
    selection: SelectionRule = SelectionRule()
    fusing: FusingSettings = FusingSettings()
    lanes: LaneSettings = LaneSettings()
    references: ReferenceSettings = ReferenceSettings()
    resources: ResourceSettings = ResourceSettings()
    cache: CacheSettings = CacheSettings()
    webhook_secret: Secret | None = None  # PENNYWEIGHT_WEBHOOK_SECRET: signs what goes to webhooks
    cache_key: Secret | None = None  # PENNYWEIGHT_CACHE_KEY: encrypts what caches keep outside of memory
    embeddings: EmbeddingSettings = EmbeddingSettings()
    proxies: Proxies = Proxies()
    source: Path | None = None

    @property
    def fuses_across(self) -> bool:
        """Whether calls in flight are shared with other replicas."""
        return self.fusing.across == "redis" or (self.fusing.across == "auto" and "redis" in self.cache.tiers)
