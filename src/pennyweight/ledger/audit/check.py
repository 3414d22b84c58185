"""The whole audit: reads the ledger for what an export covers, pairs the two, and explains what differs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec

from ...errors import ConfigError
from ...money import PicoUSD
from ..invoices.shape import Invoice, Item, Tokens
from .books import Entry, Prices, entries, first_at
from .causes import Around, Cause, explain
from .lines import HOUR_S, Line, foreign_keys, paired, zone_s
from .names import matched
from .rates import repriced

__all__ = ["Audit", "Explained", "audit"]


class Explained(msgspec.Struct, frozen=True):
    """A line and why it differs; no cause: it does not."""

    line: Line
    causes: tuple[Cause, ...]


class Audit(msgspec.Struct, frozen=True):
    """`beside`: what is billed and is not compared by line (other services, other keys, another time zone)."""

    invoice: Invoice
    lines: tuple[Explained, ...]
    beside: tuple[Cause, ...]
    zone_s: int
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether everything is explained and the export is whole."""
        return not self.invoice.incomplete and not any(cause.open for cause in self.causes)

    @property
    def causes(self) -> tuple[Cause, ...]:
        return (*self.beside, *(cause for explained in self.lines for cause in explained.causes))


def audit(
    path: Path,
    invoice: Invoice,
    prices: Prices,
    *,
    providers: Collection[str],
    closed_at: float,
    since: float | None = None,
    until: float | None = None,
    keys: Collection[str] = (),
) -> Audit:
    """The export against the ledger in the file `path`. Raises StoreError, and ConfigError for an empty span.

    providers: the configured providers that this export bills; closed_at: when it was made (unix seconds). Of `since`
    and `until` only whole buckets count. keys: compare only the lines of these API keys.
    """
    invoice, notes = _cut(invoice, since, until, keys)
    start, end = invoice.spans[0][0], max(end for _, end in invoice.spans)
    calls, skipped = entries(
        path, providers, start - 14 * HOUR_S, end + 14 * HOUR_S, prices, singly_from=invoice.spans[-1][0] - 14 * HOUR_S
    )
    calls = _comparable(invoice, calls)
    names = matched({item.model for item in invoice.items}, {entry.model for entry in calls})
    zone = zone_s(invoice, calls, names)
    foreign = foreign_keys(invoice, calls, names, zone)
    items = [item for item in invoice.items if item.key not in foreign]
    lines = paired(invoice, items, calls, names, zone)
    around = Around(invoice, prices, first_at(path), closed_at, zone, repriced(invoice, lines))
    beside = [*_services(invoice), *_foreign(invoice, foreign), *_zone(invoice, calls, names, zone)]
    if skipped.subscription:
        notes.append(f"{skipped.subscription:,} calls on a subscription are not part of any invoice by the token.")
    explained = tuple(Explained(line, explain(line, around)) for line in lines)
    return Audit(invoice, explained, tuple(beside), zone, (*invoice.notes, *notes))


def _cut(
    invoice: Invoice, since: float | None, until: float | None, keys: Collection[str]
) -> tuple[Invoice, list[str]]:
    """The buckets that lie whole within the span, and the lines of the keys."""
    kept = tuple(
        (start, end)
        for start, end in invoice.spans
        if (since is None or start >= since) and (until is None or end <= until)
    )
    if not kept:
        raise ConfigError("No bucket of the export lies within --since and --until. Choose a longer span.")
    unknown = sorted(set(keys) - {item.key for item in invoice.items})
    if unknown:
        known = ", ".join(sorted({item.key for item in invoice.items if item.key})) or "none"
        raise ConfigError(f"The export has no key {unknown[0]!r}. It has: {known}.")
    inside = set(kept)
    items = tuple(item for item in invoice.items if (item.start, item.end) in inside and (not keys or item.key in keys))
    notes = []
    if len(kept) < len(invoice.spans):
        notes.append(f"{len(invoice.spans) - len(kept):,} buckets of the export are not within the span, or not whole.")
    return msgspec.structs.replace(invoice, items=items, spans=kept), notes


def _comparable(invoice: Invoice, calls: Sequence[Entry]) -> list[Entry]:
    """In a usage export of one endpoint, the calls of that endpoint."""
    if invoice.measure == "cost":
        return list(calls)
    told = {item.operation for item in invoice.items} or {"generate"}
    return [entry for entry in calls if entry.operation in told]


def _services(invoice: Invoice) -> list[Cause]:
    sums: dict[str, PicoUSD] = defaultdict(int)
    for item in invoice.items:
        if item.service:
            sums[item.service] += item.amount or 0
    return [
        Cause("other services", f"{name}: billed beside tokens, and not in the ledger", money=money)
        for name, money in sorted(sums.items())
    ]


def _foreign(invoice: Invoice, foreign: Collection[str]) -> list[Cause]:
    causes = []
    for key in sorted(foreign):
        items = [item for item in invoice.items if item.key == key]
        says = f"key {key!r} is not used by this gateway: without it the two sides agree"
        causes.append(Cause("another key", says, _tokens(items), sum(item.amount or 0 for item in items)))
    return [msgspec.structs.replace(c, money=None) for c in causes] if invoice.measure == "usage" else causes


def _zone(invoice: Invoice, calls: Sequence[Entry], names: Mapping[str, str], zone: int) -> list[Cause]:
    """How much another time zone moves from bucket to bucket."""
    if not zone:
        return []
    apart = paired(invoice, invoice.items, calls, names)
    tokens = sum((line.invoiced - line.consumed).moved for line in apart) // 2 if invoice.measure == "usage" else 0
    sign, minutes = "-" if zone < 0 else "+", abs(zone) // 60
    says = f"the export's buckets are those of UTC{sign}{minutes // 60:02d}:{minutes % 60:02d}, not UTC"
    return [Cause("time zone", f"{says}; {tokens:,} tokens would else be in another bucket", 0, 0)]


def _tokens(items: Sequence[Item]) -> int:
    return sum((item.tokens for item in items if item.tokens is not None), Tokens()).total
