"""The two sides beside each other: one line for each bucket and model that either of them has. Pure.

Also what is the matter with the whole export rather than with a line of it: a time zone of its own, and keys whose
calls do not come through the gateway. Both are found by trying what makes the two sides agree.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import msgspec

from ...money import PicoUSD
from ..invoices.shape import Invoice, Item, Tokens
from .books import Entry

__all__ = ["Line", "foreign_keys", "off_by", "paired", "zone_s"]

HOUR_S = 3_600
SLOT_S = HOUR_S // 2
ZONES_S = sorted(range(-12 * HOUR_S, 14 * HOUR_S + 1, SLOT_S), key=abs)
MOST_KEYS = 8


class Line(msgspec.Struct, frozen=True, dict=True):
    """What an export and the ledger have for one bucket and model. `model` is "" where the export tells none."""

    start: float
    end: float
    model: str
    items: tuple[Item, ...]
    entries: tuple[Entry, ...]

    @property
    def invoiced(self) -> Tokens:
        return sum((item.tokens for item in self.items if item.tokens is not None), Tokens())

    @property
    def consumed(self) -> Tokens:
        return sum((entry.tokens for entry in self.entries), Tokens())

    @property
    def billed(self) -> PicoUSD:
        return sum(item.amount or 0 for item in self.items)

    @property
    def cost(self) -> PicoUSD:
        """What the ledger expects to be billed, without the calls that it has no price for."""
        return sum(entry.cost for entry in self.entries)

    @property
    def calls(self) -> int:
        return sum(entry.calls for entry in self.entries)


def paired(
    invoice: Invoice, items: Iterable[Item], entries: Iterable[Entry], names: Mapping[str, str], zone_s: int = 0
) -> list[Line]:
    """Lines in order of time, then model. Calls outside of what the export covers are left out.

    zone_s: how far the export's clock is ahead of UTC. If any line of the export names no model, none is told apart.
    """
    items = [item for item in items if not item.service]
    by_model = all(item.model for item in items)
    starts = [start for start, _ in invoice.spans]
    sides: dict[tuple[float, float, str], tuple[list[Item], list[Entry]]] = defaultdict(lambda: ([], []))
    for item in items:
        sides[item.start, item.end, names[item.model] if by_model else ""][0].append(item)
    for entry in entries:
        bucket = _bucket(invoice.spans, starts, entry.at + zone_s)
        if bucket is not None:
            sides[(*bucket, names[entry.model] if by_model else "")][1].append(entry)
    return [Line(*key, tuple(found), tuple(calls)) for key, (found, calls) in sorted(sides.items())]


def _bucket(spans: Sequence[tuple[float, float]], starts: Sequence[float], at: float) -> tuple[float, float] | None:
    """The bucket of that moment. Files of the sites leave out the empty ones: a gap has such as lie before it."""
    index = bisect_right(starts, at) - 1
    if index < 0:
        return None
    start, end = spans[index]
    if at < end:
        return start, end
    if index + 1 == len(spans):
        return None
    start += (at - start) // (end - start) * (end - start)
    return start, min(start + end - spans[index][0], spans[index + 1][0])


def off_by(invoice: Invoice, lines: Sequence[Line]) -> int:
    """How far the sides are apart in all: in tokens, or in pico-dollars."""
    if invoice.measure == "usage":
        return sum((line.invoiced - line.consumed).moved for line in lines)
    return sum(max(abs(line.billed - line.cost) - slack(invoice, line), 0) for line in lines)


def slack(invoice: Invoice, line: Line) -> PicoUSD:
    """What rounding can come to: half a step for each amount of the export, half a pico-dollar for each receipt."""
    if invoice.measure == "usage":
        return 0
    return (len(line.items) * invoice.unit + line.calls + 1) // 2


def zone_s(invoice: Invoice, entries: Sequence[Entry], names: Mapping[str, str]) -> int:
    """How far ahead of UTC the export's clock is, if that explains nearly all of the difference; else 0.

    Another zone takes from one bucket what it gives to the next, so where buckets only lack or only have too much
    there is none. Of neighbouring zones that fit equally well it is the whole hour nearest to UTC.
    """
    lines = paired(invoice, invoice.items, entries, names)
    apart = off_by(invoice, lines)
    signed = [_difference(invoice, line) for line in lines]
    less, more = -sum(n for n in signed if n < 0), sum(n for n in signed if n > 0)
    rounding = sum(slack(invoice, line) for line in lines)
    if not apart or min(less, more) * 20 < max(less, more) or rounding * 10 > apart:
        return 0
    if max(end - start for start, end in invoice.spans) < HOUR_S:
        return 0
    slots = _by_slot(entries)
    tried = {zone: off_by(invoice, paired(invoice, invoice.items, slots, names, zone)) for zone in ZONES_S if zone}
    best = [zone for zone in tried if tried[zone] == min(tried.values())]
    side_by_side = max(best) - min(best) == (len(best) - 1) * SLOT_S
    if not side_by_side or tried[best[0]] * 20 > apart:
        return 0
    return next((zone for zone in best if zone % HOUR_S == 0), best[0])


def _by_slot(entries: Sequence[Entry]) -> list[Entry]:
    """Summed as finely as zones differ, so that trying them all does not take long."""
    slots: dict[tuple[float, str], Entry] = {}
    for entry in entries:
        key = entry.at // SLOT_S * SLOT_S, entry.model
        slots[key] = slots[key] + entry if key in slots else msgspec.structs.replace(entry, at=key[0])
    return list(slots.values())


def _difference(invoice: Invoice, line: Line) -> int:
    if invoice.measure == "usage":
        return line.invoiced.total - line.consumed.total
    return line.billed - line.cost


def foreign_keys(invoice: Invoice, entries: Sequence[Entry], names: Mapping[str, str], zone: int = 0) -> frozenset[str]:
    """The fewest keys without whose lines the two sides (nearly) agree; none if leaving out keys does not help."""
    keys = sorted({item.key for item in invoice.items if item.key})
    apart = off_by(invoice, paired(invoice, invoice.items, entries, names, zone))
    if not apart or not 2 <= len(keys) <= MOST_KEYS:
        return frozenset()
    for size in range(1, len(keys)):
        tried = {
            frozenset(out): _without(invoice, entries, names, zone, frozenset(out)) for out in combinations(keys, size)
        }
        best = min(tried, key=lambda out: tried[out])
        if tried[best] * 50 <= apart:
            return best
    return frozenset()


def _without(
    invoice: Invoice, entries: Sequence[Entry], names: Mapping[str, str], zone: int, out: frozenset[str]
) -> int:
    items = [item for item in invoice.items if item.key not in out]
    return off_by(invoice, paired(invoice, items, entries, names, zone))
