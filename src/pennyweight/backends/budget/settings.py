"""What a configuration says of budgets: the shapes of [[budgets]] and [budgeting]."""

from __future__ import annotations

from typing import Literal

import msgspec

from .windows import Per

__all__ = ["Act", "Alerting", "BudgetRule", "Budgeting", "Hold", "Scope", "SessionType", "Store"]

Scope = Literal["call", "session", "agent", "key", "tenant", "all"]
"""What has a counter of its own: each call, session, agent of a tenant, virtual key (which is a tenant), or all."""

SessionType = Literal["direct", "cron", "sub_agent"]
Hold = Literal["worst", "fit", "least"]
Act = Literal["off", "warn", "halt"]
Store = Literal["sqlite", "memory", "redis", "postgres"]


class BudgetRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One [[budgets]]: of calls that match, each `scope` may spend `usd` or `tokens` per hour, day or month.

    per: None: as long as it lives. key, tenant, agent, session: patterns, `*` standing for any run of characters; a
    call must match all. type: only sessions of that type. time_zone: of days and months. plain: count all tokens
    alike; else prompt tokens count by their price relative to plain input. warn, force, halt: shares of the amount.

    hold: what is taken before a call is sent. "worst": all that it can come to, so that the amount is never passed;
    "fit": that, and where there is no room for it any more, the answer is limited to what there is room for;
    "least": its prompt read from the cache, so that it is passed by what is under way and no call is refused for an
    answer that it will not write. None: worst for money, least for tokens.
    """

    scope: Scope
    name: str = ""
    per: Per | None = None
    usd: str | float | None = None
    tokens: int | None = None
    key: str = "*"
    tenant: str = "*"
    agent: str = "*"
    session: str = "*"
    type: SessionType | None = None
    time_zone: str = "UTC"
    warn: float = 0.8
    force: float = 0.9
    halt: float = 1.0
    plain: bool = False
    hold: Hold | None = None


class Alerting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where it is told that a budget is nearly spent. None of it has a word of a prompt.

    webhook: an address that gets each alert as JSON. command: a program and its arguments, which gets it on its input,
    such as one that sends mail. stderr: a line in the gateway's log. per_minute: alerts at most, of all kinds together.
    """

    webhook: str | None = None
    command: tuple[str, ...] = ()
    stderr: bool = True
    per_minute: int = 10
    timeout_s: float = 10.0


class Budgeting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """store: where counters are. "sqlite": the ledger's file, for one machine; "memory": the same without a database, a
    journal in the data folder; "redis", "postgres": the servers of [cache], for all replicas together.

    session_types: whether sessions are limited by how they came about, to so many price-weighted tokens. finish_loop:
    calls that a session which is in the midst of a tool loop may still make when its budget is spent. summary_ttl_s:
    for how long the summary of a halted session is kept; 0: none is made.

    loops: what to do about a session that asks the same again and again, or has a tool called with the same arguments,
    `repeats` times in a row. heartbeats: the same for `idle` heartbeats in a row with nothing between them.
    """

    store: Store = "sqlite"
    session_types: bool = False
    direct_tokens: int = 10_000
    cron_tokens: int = 20_000
    sub_agent_tokens: int = 30_000
    finish_loop: int = 0
    summary_ttl_s: float = 7 * 86_400.0
    loops: Act = "off"
    repeats: int = 6
    heartbeats: Act = "off"
    idle: int = 24
    compress: bool = True
    alerts: Alerting = Alerting()
