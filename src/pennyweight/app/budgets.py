"""Budgets from a configuration: where their counters are, whose limits apply, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

from ..backends.budget.alerts import Alerts
from ..backends.budget.budgets import Budgets
from ..backends.budget.guarded import Guarded
from ..backends.budget.halted import Halted
from ..backends.budget.limits import Limit, Lines, by_type, compiled, of_agent
from ..backends.budget.repeats import Repeats, in_tool_loop
from ..backends.budget.session_type import SessionTypes
from ..backends.budget.settings import BudgetRule, SessionType
from ..backends.budget.state import Event
from ..backends.transport import Http1
from ..call import Call, Outcome
from ..config import Config
from ..counters import Counters
from ..errors import BadRequest
from ..ledger.accounts import Accounts, counted
from ..policy import Flag
from ..protocols import KV, Backend, Clock, Optimizer, Tokenizer
from ..references import References
from ..request import Charge, Done, Reply
from ..routing.agents import Agents
from ..stores.assembly import Servers
from ..stores.damage import Doubts
from ..stores.database import Database
from ..stores.virtual_keys import KeyStore
from ..wire.blocks import Reader
from .backends import bounds_of
from .parts import Parts, optimizer
from .pressed import Pressed

__all__ = ["JOURNAL", "alerts_of", "budgets_of", "counters_of", "guarded", "limits_of", "pressed"]

JOURNAL = "budgets.journal"
_SLACK_S = 3_600.0


def budgets_of(
    config: Config,
    counters: Counters,
    clock: Clock,
    *,
    keys: KeyStore,
    agents: Agents,
    accounts: Accounts,
    tokenizer: Tokenizer,
    reader: Reader,
    event: Callable[[Event], None],
) -> Budgets:
    """Raises ConfigError for a budget that cannot be kept."""
    own = {rule.name: tuple(of_agent(rule)) for rule in agents.rules}

    def of_its_own(agent: str) -> Sequence[Limit]:
        rule = agents.of(agent)
        return own[rule.name] if rule is not None else ()

    def type_by_rule(agent: str) -> SessionType | None:
        rule = agents.of(agent)
        return rule.session_type if rule is not None else None

    lines = Lines(
        limits_of(config),
        type_of=SessionTypes(type_by_rule).of,
        daily=keys.daily_limit,
        own=of_its_own,
        owned=[limit for limits in own.values() for limit in limits],
    )

    def in_loop(call: Call) -> bool:
        try:
            return in_tool_loop(reader.read(call.original))
        except BadRequest:
            return False

    def count(call: Call, reply: Reply) -> Sequence[Charge]:
        done = reply.done or Done(complete=False)
        outcome = Outcome(call, done, reply.status, call.target.provider, output_text=reply.output_text)
        return counted(outcome, tokenizer).done.charges

    def price(charge: Charge) -> Any:
        return accounts.price(charge.provider, charge.model, charge.at)

    return Budgets(
        counters,
        clock,
        lines,
        bounds=bounds_of(accounts, tokenizer),
        cost=accounts.cost,
        count=count,
        price=price,
        event=event,
        finish_loop=config.budgeting.finish_loop,
        in_loop=in_loop,
    )


def alerts_of(config: Config, clock: Clock) -> Alerts:
    """Raises ConfigError for a webhook that is none."""
    settings = config.budgeting.alerts
    transport = None
    if settings.webhook is not None:
        transport = Http1(
            read_timeout_s=settings.timeout_s,
            proxies={scheme: url.reveal() for scheme, url in config.proxies.urls.items()},
            no_proxy=config.proxies.direct,
        )
    return Alerts(settings, clock, transport=transport)


def guarded(
    inner: Backend, config: Config, budgets: Budgets, kv: KV, clock: Clock, *, reader: Reader, tokenizer: Tokenizer
) -> tuple[Guarded, Halted]:
    """The backend at the top, and the summaries that it has made."""
    settings = config.budgeting
    halted = Halted(References(kv, clock, ttl_s=settings.summary_ttl_s or 1.0), reader, tokenizer.count)
    found = Guarded(
        inner,
        budgets,
        Repeats(reader),
        settings,
        halted=halted if settings.summary_ttl_s else None,
        now=clock.now,
    )
    return found, halted


def pressed(
    optimizers: list[tuple[Optimizer, Flag]], config: Config, parts: Parts, agents: Agents
) -> list[tuple[Optimizer, Flag]]:
    """With compression where budgets force it: the operator's own, or one that does nothing else."""
    if not config.budgeting.compress or not (limits_of(config) or any(of_agent(rule) for rule in agents.rules)):
        return optimizers
    found = [
        (Pressed(one, parts.forced, only=False), flag) if one.name == _COMPRESSION else (one, flag)
        for one, flag in optimizers
    ]
    if all(one.name != _COMPRESSION for one, _ in found):
        found.append((Pressed(optimizer(_COMPRESSION, {}, parts), parts.forced, only=True), Flag()))
    return found


_COMPRESSION = "compression"


def limits_of(config: Config) -> list[Limit]:
    """The file's own, and those of session types. Raises ConfigError."""
    limits = compiled(config.budgets)
    settings = config.budgeting
    if settings.session_types:
        types: dict[SessionType, int] = {
            "direct": settings.direct_tokens,
            "cron": settings.cron_tokens,
            "sub_agent": settings.sub_agent_tokens,
        }
        limits += [by_type(BudgetRule("session", tokens=tokens, type=kind)) for kind, tokens in types.items()]
    return limits


async def counters_of(
    config: Config, stack: AsyncExitStack, *, database: Database, servers: Servers, clock: Clock
) -> Counters:
    """Where [budgeting] says. Raises ConfigError for a server without an address, or an extra that is missing."""
    now = _steady(clock)
    match config.budgeting.store:
        case "memory":
            from ..stores.counters.memory import MemoryCounters

            memory = MemoryCounters(config.data_dir / JOURNAL, now=now)
            stack.callback(memory.close)
            return memory
        case "redis":
            client = servers.redis()
            from ..stores.counters.redis import RedisCounters

            return RedisCounters(client, now=clock.now)
        case "postgres":
            postgres = servers.postgres()
            from ..stores.counters.postgres import PostgresCounters

            return PostgresCounters(postgres)
        case "sqlite":
            from ..stores.counters.sqlite import SQLiteCounters

            return SQLiteCounters(database, now=now, doubts=Doubts(database.path).notes)


def _steady(clock: Clock) -> Callable[[], float]:
    """The time, but no further on than since the start: a clock that is set a year forward drops no counters."""
    began, began_at = clock.monotonic(), clock.now()
    return lambda: min(clock.now(), began_at + clock.monotonic() - began + _SLACK_S)
