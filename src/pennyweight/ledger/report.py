"""What the ledger says: calls, tokens, money and what was saved, grouped, over a span of time. Reads only.

Used by `pennyweight report` and by status pages. Money is summed exactly (SQLite's sum() fails beyond 64 bits, so two
parts are summed and joined here). Days, weeks (named by their Monday) and months are UTC, like the prices.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from ..money import PicoUSD
from .reading import is_made, reading, receipt

__all__ = ["BY", "By", "Earned", "Line", "Query", "Summary", "Unpriced", "receipt", "summary"]

By = Literal["day", "week", "month", "model", "agent", "session", "task", "skill", "tenant", "housekeeping"]
BY: tuple[By, ...] = get_args(By)

# What a group is called in the view `calls`.
_KEYS: dict[By, str] = {
    "day": "day",
    "week": "week",
    "month": "month",
    "model": "model",
    "agent": "agent",
    "session": "session",
    "task": "task",
    "skill": "skill",
    "tenant": "tenant",
    "housekeeping": "housekeeping",
}


class Query(msgspec.Struct, frozen=True):
    """`since` (inclusive) and `until` (exclusive) in unix seconds; `tenant` None: all."""

    by: By = "day"
    since: float | None = None
    until: float | None = None
    tenant: str | None = None


class Line(msgspec.Struct, frozen=True):
    """One group of calls. Tokens are what was consumed; replayed answers consume none.

    Money covers the calls that have some: not the unpriced ones, and not those of a subscription. `saved` is
    baseline - cost, and is the sum of its three parts by how it was established, plus what optimizing cost on calls
    that nobody changed.
    """

    key: str
    calls: int = 0
    replayed_calls: int = 0
    failed_calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    replayed_tokens: int = 0
    cost: PicoUSD = 0
    baseline: PicoUSD = 0
    saved_measured: PicoUSD = 0
    saved_computed: PicoUSD = 0
    saved_estimated: PicoUSD = 0
    spent: PicoUSD = 0
    unpriced_calls: int = 0
    subscription_calls: int = 0
    subscription_tokens: int = 0
    added_p50_ms: float = 0.0
    added_p99_ms: float = 0.0

    @property
    def saved(self) -> PicoUSD:
        return self.baseline - self.cost

    @property
    def tokens_used(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def has_money(self) -> bool:
        """Whether any call here has a cost in dollars; if none has, `cost` is 0 for want of a price."""
        return self.calls > self.unpriced_calls + self.subscription_calls

    @property
    def basis(self) -> str:
        """The words that belong to `saved`, e.g. "computed" or "computed + estimated"; "" when nothing was saved."""
        parts = (
            ("measured", self.saved_measured),
            ("computed", self.saved_computed),
            ("estimated", self.saved_estimated),
        )
        return " + ".join(word for word, amount in parts if amount)


class Earned(msgspec.Struct, frozen=True):
    """What one optimizer said, over all calls. Savings of successive rewrites overlap: do not add them up."""

    optimizer: str
    asked: int
    accepted: int
    shadowed: int
    failed: int
    saving: PicoUSD  # named by accepted proposals
    shadow_saving: PicoUSD  # would have been saved, had it not only watched
    spent: PicoUSD


class Unpriced(msgspec.Struct, frozen=True):
    """Calls to a model that has no price, or whose usage nobody told."""

    provider: str
    model: str
    calls: int
    tokens: int
    spent: PicoUSD


class Summary(msgspec.Struct, frozen=True):
    query: Query
    lines: tuple[Line, ...]  # times in order; others by cost, dearest first
    total: Line
    optimizers: tuple[Earned, ...]
    unpriced: tuple[Unpriced, ...]
    suspect_calls: int = 0  # whose provider told usage that contradicts itself


def summary(path: Path, query: Query) -> Summary:
    """What the ledger file holds for the query. Raises StoreError; a file that is not there is an empty ledger."""
    if not is_made(path):
        return Summary(query, (), Line("total"), (), ())
    with reading(path) as connection:
        where, values = _where(query)
        added = _added_us(connection, _KEYS[query.by], where, values)
        lines = _lines(connection, _KEYS[query.by], where, values, added)
        return Summary(
            query=query,
            lines=tuple(sorted(lines, key=_order(query.by))),
            total=_total(lines, added),
            optimizers=_earned(connection, where, values),
            unpriced=_unpriced(connection, where, values),
            suspect_calls=_suspect(connection, where, values),
        )


# --- queries ----------------------------------------------------------------------------------------------


def _where(query: Query) -> tuple[str, tuple[Any, ...]]:
    terms = (("at >= ?", query.since), ("at < ?", query.until), ("tenant = ?", query.tenant))
    used = [(term, value) for term, value in terms if value is not None]
    where = "WHERE " + " AND ".join(term for term, _ in used) if used else ""
    return where, tuple(value for _, value in used)


def _pico(expression: str) -> str:
    """Two columns whose sums never overflow: whole micro-dollars and the rest."""
    return f"sum(({expression}) / 1000000), sum(({expression}) % 1000000)"


def _join(micro: int | None, rest: int | None) -> PicoUSD:
    return (micro or 0) * 1_000_000 + (rest or 0)


_SUMS = ", ".join(
    (
        "count(*)",
        "sum(replayed)",
        "sum(status >= 400)",
        "sum(input_tokens)",
        "sum(cached_tokens)",
        "sum(output_tokens)",
        "sum(tokens_replayed)",
        "sum(pricing = 'unpriced')",
        "sum(pricing = 'subscription')",
        "sum(iif(pricing = 'subscription', tokens_used, 0))",
        _pico("cost_pico"),
        _pico("baseline_pico"),
        _pico("iif(basis = 'measured', saved_pico, 0)"),
        _pico("iif(basis = 'computed', saved_pico, 0)"),
        _pico("iif(basis = 'estimated', saved_pico, 0)"),
        _pico("iif(cost_pico IS NULL, 0, spent_pico)"),
    )
)


def _lines(connection: sqlite3.Connection, key: str, where: str, values: tuple[Any, ...], added: Added) -> list[Line]:
    lines = []
    for row in connection.execute(f"SELECT {key}, {_SUMS} FROM calls {where} GROUP BY 1", values):
        name, counts, money = row[0], [n or 0 for n in row[1:11]], row[11:]
        cost, baseline, measured, computed, estimated, spent = (
            _join(money[i], money[i + 1]) for i in range(0, len(money), 2)
        )
        lines.append(
            Line(
                key=name,
                calls=counts[0],
                replayed_calls=counts[1],
                failed_calls=counts[2],
                input_tokens=counts[3],
                cached_tokens=counts[4],
                output_tokens=counts[5],
                replayed_tokens=counts[6],
                unpriced_calls=counts[7],
                subscription_calls=counts[8],
                subscription_tokens=counts[9],
                cost=cost,
                baseline=baseline,
                saved_measured=measured,
                saved_computed=computed,
                saved_estimated=estimated,
                spent=spent,
                added_p50_ms=_percentile_ms(added[name], 50),
                added_p99_ms=_percentile_ms(added[name], 99),
            )
        )
    return lines


def _total(lines: list[Line], added: Added) -> Line:
    """All lines as one; percentiles are of all calls, not of the lines."""
    counts: Counter[int] = Counter()
    for found in added.values():
        counts.update(found)
    numbers = [name for name in Line.__struct_fields__ if name != "key" and not name.startswith("added_")]
    return Line(
        "total",
        **{name: sum(getattr(line, name) for line in lines) for name in numbers},
        added_p50_ms=_percentile_ms(counts, 50),
        added_p99_ms=_percentile_ms(counts, 99),
    )


Added = dict[str, Counter[int]]
"""For each group, how many calls were delayed by so many whole microseconds."""


def _added_us(connection: sqlite3.Connection, key: str, where: str, values: tuple[Any, ...]) -> Added:
    added: Added = defaultdict(Counter)
    sql = f"SELECT {key}, CAST(round(added_ms * 1000) AS INTEGER), count(*) FROM calls {where} GROUP BY 1, 2"
    for name, us, count in connection.execute(sql, values):
        added[name][us] = count
    return added


def _percentile_ms(counts: Counter[int], percent: int) -> float:
    """By nearest rank: the smallest value that at least `percent` of all are not above. 0.0 of none."""
    left = -(-counts.total() * percent // 100)
    for us in sorted(counts):
        left -= counts[us]
        if left <= 0:
            return us / 1000
    return 0.0


def _order(by: By) -> Any:
    if by in ("day", "week", "month"):
        return lambda line: line.key
    return lambda line: (-line.cost, -line.tokens_used, line.key)


def _earned(connection: sqlite3.Connection, where: str, values: tuple[Any, ...]) -> tuple[Earned, ...]:
    sql = f"""SELECT optimizer, count(*), sum(verdict = 'accepted'), sum(verdict = 'shadowed'), sum(verdict = 'failed'),
      {_pico("iif(verdict = 'accepted', saving_pico, 0)")}, {_pico("iif(verdict = 'shadowed', saving_pico, 0)")},
      {_pico("spent_pico")} FROM optimizer_steps {where} GROUP BY 1"""
    found = [
        Earned(row[0], row[1], row[2], row[3], row[4], _join(*row[5:7]), _join(*row[7:9]), _join(*row[9:11]))
        for row in connection.execute(sql, values)
    ]
    return tuple(sorted(found, key=lambda earned: (-earned.saving, earned.optimizer)))


def _unpriced(connection: sqlite3.Connection, where: str, values: tuple[Any, ...]) -> tuple[Unpriced, ...]:
    sql = f"""SELECT provider, target_model, count(*), sum(tokens_used), {_pico("spent_pico")} FROM calls
      {where} {"AND" if where else "WHERE"} pricing = 'unpriced' GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"""
    return tuple(
        Unpriced(row[0], row[1], row[2], row[3] or 0, _join(*row[4:6])) for row in connection.execute(sql, values)
    )


def _suspect(connection: sqlite3.Connection, where: str, values: tuple[Any, ...]) -> int:
    if all(column[1] != "usage_suspect" for column in connection.execute("PRAGMA table_info(receipts)")):
        return 0  # a file of an older version
    sql = f"SELECT count(*) FROM receipts {where} {'AND' if where else 'WHERE'} usage_suspect <> ''"
    return int(connection.execute(sql, values).fetchone()[0])
