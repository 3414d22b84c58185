"""Budgets as calls meet them: which apply to a call, whose counter each takes from, and how much it has.

Pure but for a memo of windows. A counter's key names the budget, the beginning of its window, the tenant and whose it
is; not the amount, so that one which is changed counts on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import tzinfo
from typing import Literal

import msgspec

from ...call import Call, Identity
from ...errors import ConfigError
from ...money import PicoUSD, parse_usd
from ...patterns import starred
from ...routing.agents import AgentRule
from .amounts import TOKEN
from .settings import BudgetRule, Hold, Scope, SessionType
from .windows import Per, Window, window, zone

__all__ = ["DAILY", "Limit", "Line", "Lines", "by_type", "compiled", "key_parts", "of_agent", "wrong"]

Unit = Literal["usd", "tokens"]

_APART = "\n"  # in no name: names are printable


class Limit(msgspec.Struct, frozen=True, eq=False):
    """A BudgetRule made ready. amount: in pico-dollars or thousandths of tokens."""

    id: str
    rule: BudgetRule
    unit: Unit
    amount: int
    hold: Hold
    where: tzinfo
    matches: Callable[[Identity, SessionType | None], bool]

    @property
    def scope(self) -> Scope:
        return self.rule.scope

    @property
    def per(self) -> Per | None:
        return self.rule.per

    @property
    def most(self) -> int:
        """What may be taken before calls are refused."""
        return int(self.amount * self.rule.halt) if self.rule.halt != 1.0 else self.amount


class Line(msgspec.Struct, frozen=True, eq=False):
    """One budget that a call takes from. `subject`: the session, agent or key; "" for all. window None: none."""

    limit: Limit
    key: str
    tenant: str
    subject: str
    window: Window | None = None


class Lines:
    """Finds a call's lines. type_of: of the call's session, asked only where a rule wants to know.

    daily: PicoUSD a day for a virtual key; own: what an agent's rule says of its sessions and days.
    """

    def __init__(
        self,
        limits: Sequence[Limit],
        *,
        type_of: Callable[[Call], SessionType] = lambda _call: "direct",
        daily: Callable[[str], PicoUSD | None] = lambda _tenant: None,
        own: Callable[[str], Sequence[Limit]] = lambda _agent: (),
        owned: Sequence[Limit] | None = None,
    ) -> None:
        """owned: all that `own` may give; None: that is not known."""
        self.limits = tuple(limits)
        self._type_of = type_of
        self._typed = any(limit.rule.type is not None for limit in limits)
        self._daily = daily
        self._own = own
        self._owned = tuple(owned or ())
        self._bare = not self.limits and owned is not None and not owned  # there is none, but for keys' own
        self._windows: dict[tuple[Per, str], Window] = {}
        self._days: dict[PicoUSD, Limit] = {}

    def of(self, call: Call, at: float) -> list[Line]:
        """at: unix seconds. Raises StoreError when the keys' own limits cannot be read."""
        identity = call.identity
        found: list[Line] = []
        daily = self._daily(identity.tenant)
        if daily is not None:
            found.append(self.line(self.day_of_a_key(daily), identity, at))
        kind = self._type_of(call) if self._typed and identity.session else None
        own = self._own(identity.agent) if identity.agent else ()
        if not own and not self.limits:
            return found
        instead = any(limit.scope == "session" and limit.unit == "tokens" for limit in own)
        for limit in (*self.limits, *own):
            if instead and limit.id.startswith(_BY_TYPE):
                continue  # what an agent's own rule says of its sessions goes before what its type would have
            if limit.matches(identity, kind) and (line := self._line(limit, identity, at)) is not None:
                found.append(line)
        return found

    def spares(self, tenant: str) -> bool:
        """Whether no limit can be of any of a tenant's calls: `of` has nothing for them. Raises as it does."""
        return self._bare and self._daily(tenant) is None

    def day_of_a_key(self, amount: PicoUSD) -> Limit:
        """The daily limit that a virtual key has."""
        found = self._days.get(amount)
        if found is None:
            if len(self._days) > 1_000:
                self._days.clear()
            found = self._days[amount] = _limit(BudgetRule("key", name=DAILY, per="day"), "usd", amount)
        return found

    def every(self) -> list[Limit]:
        """All there may be counters of; a key's day with no amount, which each key has of its own."""
        return [*self.limits, *self._owned, self.day_of_a_key(1)]

    def prefix(self, limit: Limit, at: float) -> str:
        """What the keys of its counters begin with, of the window of that moment."""
        when = self._window(limit, at)
        return _APART.join((limit.id, "-" if when is None else str(int(when.begins)), ""))

    def amount(self, limit: Limit, tenant: str) -> int:
        """What that tenant may spend of it."""
        return (self._daily(tenant) or 1) if limit.id == DAILY else limit.amount

    def line(self, limit: Limit, identity: Identity, at: float) -> Line:
        found = self._line(limit, identity, at)
        assert found is not None
        return found

    def _line(self, limit: Limit, identity: Identity, at: float) -> Line | None:
        """None: the call has no session or no agent, so it is nobody's."""
        tenant = "" if limit.scope == "all" else identity.tenant
        match limit.scope:
            case "session":
                subject = identity.session
            case "agent":
                subject = identity.agent
            case "key" | "tenant":
                subject = identity.tenant
            case "all" | "call":
                subject = ""
        if not subject and limit.scope in ("session", "agent"):
            return None
        when = self._window(limit, at)
        begins = "-" if when is None else str(int(when.begins))
        return Line(limit, _APART.join((limit.id, begins, tenant, subject)), tenant, subject, when)

    def _window(self, limit: Limit, at: float) -> Window | None:
        if limit.per is None:
            return None
        place = limit.per, limit.rule.time_zone
        known = self._windows.get(place)
        if known is None or not known.holds(at):
            known = self._windows[place] = window(limit.per, at, limit.where)
        return known


DAILY = "daily"
_BY_TYPE = "sessions:"


def compiled(rules: Sequence[BudgetRule]) -> list[Limit]:
    """Raises ConfigError for a rule that cannot be kept: the first one that is found."""
    found: dict[str, Limit] = {}
    for index, rule in enumerate(rules):
        for _field, message, remedy in wrong(rule):
            raise ConfigError(f"budgets[{index}]: {message} {remedy}")
        usd = rule.usd is not None
        amount = int(parse_usd(rule.usd)) if rule.usd is not None else (rule.tokens or 0) * TOKEN
        limit = _limit(rule, "usd" if usd else "tokens", amount)
        if limit.id in found:
            raise ConfigError(f"budgets[{index}]: there is another budget {limit.id!r}. Give one of them a name.")
        found[limit.id] = limit
    return list(found.values())


def wrong(rule: BudgetRule) -> Iterator[tuple[str, str, str]]:
    """What is wrong with a rule, as (field, message, remedy)."""
    if (rule.usd is None) == (rule.tokens is None):
        yield "scope", "it needs either usd or tokens.", 'Write usd = "5.00", or tokens = 30_000.'
    if rule.usd is not None:
        try:
            amount = int(parse_usd(rule.usd))
        except ValueError as error:
            yield "usd", f"{error}.", "A budget is above 0."
        else:
            if not 0 < amount <= _MOST_PICO:
                yield "usd", f"usd {rule.usd!r} is no budget.", "Use dollars above 0 and up to 1,000,000."
    if rule.tokens is not None and not 0 < rule.tokens <= _MOST_TOKENS:
        yield "tokens", f"tokens {rule.tokens!r} is no budget.", "Use a number above 0 and up to a million million."
    if not 0 < rule.warn <= rule.force <= rule.halt <= 1:
        shares = f"warn {rule.warn!r}, force {rule.force!r}, halt {rule.halt!r}"
        yield "warn", f"{shares} do not rise from above 0 to at most 1.", "Leave them out for 0.8, 0.9 and 1."
    if rule.scope == "call" and rule.per is not None:
        yield "per", f"a call has no {rule.per}.", "Leave per out."
    if rule.type is not None and rule.scope not in ("session", "call"):
        yield "type", "type is of sessions.", 'Use it with scope = "session".'
    if not rule.name.isprintable() or len(rule.name) > 100 or rule.name in (DAILY,) or rule.name.startswith(_BY_TYPE):
        yield "name", f"name {rule.name!r} will not do.", f"Use printable characters, and not {DAILY!r}."
    try:
        zone(rule.time_zone)
    except ConfigError as error:
        message, _, remedy = error.message.partition(". ")
        yield "time_zone", f"{message}.", remedy


_MOST_PICO = 10**18
_MOST_TOKENS = 10**12


def by_type(rule: BudgetRule) -> Limit:
    """The limit that sessions of a type have."""
    return _limit(msgspec.structs.replace(rule, name=f"{_BY_TYPE}{rule.type}"), "tokens", (rule.tokens or 0) * TOKEN)


def of_agent(agent: AgentRule) -> list[Limit]:
    """What an agent's own rule says of its sessions and of its days. Raises ConfigError for what is no amount."""
    found = []
    rules = (
        BudgetRule("session", tokens=agent.budget_tokens),
        BudgetRule("session", usd=agent.budget_usd),
        BudgetRule("agent", per="day", usd=agent.day_usd),
    )
    for rule in rules:
        if rule.usd is None and rule.tokens is None:
            continue
        for _field, message, remedy in wrong(rule):
            raise ConfigError(f"agents: {agent.name!r}: {message} {remedy}")
        unit: Unit = "usd" if rule.usd is not None else "tokens"
        amount = int(parse_usd(rule.usd)) if rule.usd is not None else (rule.tokens or 0) * TOKEN
        name = " ".join(part for part in ("agent", agent.name, rule.scope, rule.per or "", unit) if part)
        found.append(_limit(msgspec.structs.replace(rule, name=name), unit, amount))
    return found


def _limit(rule: BudgetRule, unit: Unit, amount: int) -> Limit:
    hold: Hold = rule.hold or ("worst" if unit == "usd" else "least")
    return Limit(rule.name or _name(rule, unit), rule, unit, amount, hold, zone(rule.time_zone), _matcher(rule))


def _name(rule: BudgetRule, unit: Unit) -> str:
    """What tells it from others, without its amount."""
    patterns = [f"{f}={getattr(rule, f)}" for f in ("key", "tenant", "agent", "session") if getattr(rule, f) != "*"]
    parts = [rule.scope, rule.per or "", unit, rule.type or "", "plain" if rule.plain else "", *patterns]
    if rule.time_zone != "UTC" and rule.per is not None:
        parts.append(rule.time_zone)
    return " ".join(part for part in parts if part)


def _matcher(rule: BudgetRule) -> Callable[[Identity, SessionType | None], bool]:
    key, tenant, agent, session = (_pattern(p) for p in (rule.key, rule.tenant, rule.agent, rule.session))
    if key is None and tenant is None and agent is None and session is None and rule.type is None:
        return lambda _identity, _kind: True

    def matches(identity: Identity, kind: SessionType | None) -> bool:
        if rule.type is not None and kind != rule.type:
            return False
        pairs = (
            (key, identity.tenant),
            (tenant, identity.tenant),
            (agent, identity.agent),
            (session, identity.session),
        )
        return all(pattern is None or pattern.fullmatch(name) is not None for pattern, name in pairs)

    return matches


def _pattern(text: str) -> re.Pattern[str] | None:
    """None for one that fits all."""
    return None if text == "*" else starred(text)


def key_parts(key: str) -> tuple[str, float | None, str, str] | None:
    """(budget, beginning of the window, tenant, subject) of a counter's key; None for one that is none."""
    parts = key.split(_APART)
    if len(parts) != 4:
        return None
    try:
        return parts[0], None if parts[1] == "-" else float(parts[1]), parts[2], parts[3]
    except ValueError:
        return None
