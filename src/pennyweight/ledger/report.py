"""What the ledger says: calls, tokens, money and what was saved, grouped, over a span of time. Reads only.

Used by `pennyweight report` and by status pages. Money is summed exactly (SQLite's sum() fails beyond 64 bits, so two
parts are summed and joined here). Days, weeks (named by their Monday) and months are UTC, like the prices.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from ..call import Receipt, Step
from ..errors import StoreError
from ..money import PicoUSD
from ..request import Operation, Usage

__all__ = ["BY", "By", "Earned", "Line", "Query", "Summary", "Unpriced", "receipt", "receipts", "summary"]

By = Literal["day", "week", "month", "model", "agent", "session", "task", "skill", "tenant", "housekeeping"]
BY: tuple[By, ...] = get_args(By)

_SCHEMA = 1  # the newest that these queries know; see stores/sql

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


def summary(path: Path, query: Query) -> Summary:
    """What the ledger file holds for the query. Raises StoreError; a file that is not there is an empty ledger."""
    if not path.exists():
        return Summary(query, (), Line("total"), (), ())
    with _reading(path) as connection:
        where, values = _where(query)
        lines = _lines(connection, _KEYS[query.by], where, values)
        total = _lines(connection, "'total'", where, values)
        return Summary(
            query=query,
            lines=tuple(sorted(lines, key=_order(query.by))),
            total=total[0] if total else Line("total"),
            optimizers=_earned(connection, where, values),
            unpriced=_unpriced(connection, where, values),
        )


def receipt(path: Path, call_id: str) -> Receipt | None:
    """The receipt of one call, whole; None when the ledger has none. Raises StoreError."""
    return next(receipts(path, call_id=call_id), None)


def receipts(path: Path, *, call_id: str | None = None) -> Iterator[Receipt]:
    """Every receipt in the order of writing, or that of one call. Raises StoreError."""
    if not path.exists():
        return
    with _reading(path) as connection:
        connection.row_factory = sqlite3.Row
        where, values = ("WHERE call_id = ?", (call_id,)) if call_id is not None else ("", ())
        for row in connection.execute(f"SELECT * FROM receipts {where} ORDER BY rowid", values):
            yield _receipt(row)


# --- queries ----------------------------------------------------------------------------------------------


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(_connect(path)) as connection:
            row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
            if row[0] > _SCHEMA:
                raise StoreError(
                    f"{path} was written by a newer Pennyweight (schema {row[0]}, this one knows {_SCHEMA}): "
                    "upgrade with `pip install -U pennyweight`."
                )
            yield connection
    except sqlite3.Error as error:
        raise StoreError(f"Cannot read the ledger {path}: {error}.") from error


def _connect(path: Path) -> sqlite3.Connection:
    """Read-only. A ledger on a medium that cannot be written to is read as it is there."""
    uri = path.absolute().as_uri()
    connection = sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=2.0, check_same_thread=False)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        if path.with_name(path.name + "-wal").exists():
            raise
        return sqlite3.connect(f"{uri}?immutable=1", uri=True, check_same_thread=False)
    return connection


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


def _lines(connection: sqlite3.Connection, key: str, where: str, values: tuple[Any, ...]) -> list[Line]:
    added = _added_ms(connection, key, where, values)
    lines = []
    for row in connection.execute(f"SELECT {key}, {_SUMS} FROM calls {where} GROUP BY 1", values):
        name, counts, money = row[0], [n or 0 for n in row[1:11]], row[11:]
        cost, baseline, measured, computed, estimated, spent = (
            _join(money[i], money[i + 1]) for i in range(0, len(money), 2)
        )
        p50, p99 = added[name]
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
                added_p50_ms=p50,
                added_p99_ms=p99,
            )
        )
    return lines


def _added_ms(
    connection: sqlite3.Connection, key: str, where: str, values: tuple[Any, ...]
) -> dict[str, tuple[float, float]]:
    """p50 and p99 (nearest rank) of the time added to calls, to the microsecond: SQLite groups equal ones."""
    counted: dict[str, list[tuple[int, int]]] = defaultdict(list)
    sql = f"SELECT {key}, CAST(round(added_ms * 1000) AS INTEGER) AS us, count(*) FROM calls {where} GROUP BY 1, 2"
    for name, us, count in connection.execute(f"{sql} ORDER BY 1, 2", values):
        counted[name].append((us, count))
    return {name: (_rank(found, 50) / 1000, _rank(found, 99) / 1000) for name, found in counted.items()}


def _rank(counted: list[tuple[int, int]], percent: int) -> int:
    """The smallest value that at least `percent` of all are not above; `counted` is in rising order."""
    left = -(-sum(count for _, count in counted) * percent // 100)
    for value, count in counted:
        left -= count
        if left <= 0:
            return value
    return 0


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


_trail = msgspec.json.Decoder(tuple[Step, ...])


def _receipt(row: sqlite3.Row) -> Receipt:
    usage = None
    if row["input_tokens"] is not None:
        usage = Usage(
            input_tokens=row["input_tokens"],
            cache_read_tokens=row["cache_read_tokens"],
            cache_write_5m_tokens=row["cache_write_5m_tokens"],
            cache_write_1h_tokens=row["cache_write_1h_tokens"],
            output_tokens=row["output_tokens"],
            reasoning_tokens=row["reasoning_tokens"],
            tier=row["tier"],
            counted=bool(row["counted"]),
        )
    same = (
        "call_id at tenant session agent task skill housekeeping wire provider model target_model pricing basis "
        "answered_by status finish_reason arm ttft_s latency_s added_s error"
    )
    return Receipt(
        **{name: row[name] for name in same.split(" ")},
        operation=Operation(row["operation"]),
        usage=usage,
        cost=row["cost_pico"],
        baseline=row["baseline_pico"],
        spent=row["spent_pico"],
        trail=_trail.decode(row["trail"]),
        replayed=bool(row["replayed"]),
        abandoned=bool(row["abandoned"]),
    )
