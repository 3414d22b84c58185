"""Which rates an export implies where they are not those of the price book. Pure.

A rate is believed when a list price could be it (per million tokens): four digits or fewer where two lines agree on it;
two, or as quarters make them (3.75, 18.75), where a single line pins it down to a thousandth. Anything else may be any
difference (a few calls in a thousand that are missing, say), and is not called a price.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction

from ...money import PICO, format_usd
from ..invoices.shape import Invoice
from .causes import Repriced, side
from .lines import Line, slack

__all__ = ["repriced", "roundest"]

_WORDS = {
    "uncached": "input",
    "cache_read": "cached input",
    "cache_write_5m": "cache writes (5 minutes)",
    "cache_write_1h": "cache writes (1 hour)",
    "output": "output",
}

Band = tuple[Fraction, Fraction]
"""The least and the most that a rate can be."""


def repriced(invoice: Invoice, lines: Sequence[Line]) -> Mapping[tuple[str, str], tuple[Repriced, ...]]:
    """By (model, kind): the rates that lines imply which differ; kind "" is a factor on everything."""
    if invoice.measure == "usage":
        return {}
    found: dict[tuple[str, str], list[tuple[Band, Fraction, str]]] = defaultdict(list)
    for line in lines:
        if any(entry.sure != "told" or not entry.priced for entry in line.entries):
            continue
        for kind in sorted({item.kind for item in line.items}):
            tokens, ours = side(line, kind)
            base = tokens if kind else ours
            told = sum(item.amount or 0 for item in line.items if item.kind == kind)
            tolerance = slack(invoice, line)
            if base > 0 and told > 0 and abs(told - ours) > tolerance:
                band = Fraction(max(told - tolerance, 0), base), Fraction(told + tolerance, base)
                tiers = {item.tier for item in line.items if item.kind == kind and item.tier}
                ledger = {entry.tier for entry in line.entries}
                other = next(iter(tiers - ledger), "")
                found[line.model, kind].append((band, Fraction(ours, base), other))
    return {key: tuple(_rates(key[1], bands)) for key, bands in found.items()}


def _rates(kind: str, bands: Sequence[tuple[Band, Fraction, str]]) -> list[Repriced]:
    """Neighbouring lines that one rate explains are one rate."""
    made: list[Repriced] = []
    group: list[tuple[Band, Fraction, str]] = []
    for band in [*bands, None]:
        low = max([b[0] for b, _, _ in group] + ([band[0][0]] if band else []), default=Fraction(0))
        high = min([b[1] for b, _, _ in group] + ([band[0][1]] if band else []), default=Fraction(0))
        if band is not None and low <= high:
            group.append(band)
            continue
        rate = _believed(kind, [b for b, _, _ in group])
        if rate is not None:
            made.append(_named(kind, rate, group[0][1], group[0][2]))
        group = [band] if band is not None else []
    return made


def _believed(kind: str, bands: Sequence[Band]) -> Fraction | None:
    if not bands:
        return None
    low, high = max(b[0] for b in bands), min(b[1] for b in bands)
    unit = Fraction(PICO, 10**6) if kind else Fraction(1)  # dollars per million tokens; a factor as it is
    rate, digits = roundest(low / unit, high / unit)
    agreed = len(bands) > 1 and high - low <= high / 20 and digits <= 4
    alone = high - low <= high / 1000 and (digits <= 2 or (digits <= 4 and _digits(rate).endswith(_USUAL_ENDS[digits])))
    return rate * unit if low > 0 and (agreed or alone) else None


_USUAL_ENDS = {3: ("5",), 4: ("25", "75")}  # 3.75 and 0.125, 18.75 and 1.875


def _digits(rate: Fraction) -> str:
    """The significant digits of a number that has no endless ones."""
    while rate.denominator > 1:
        rate *= 10
    return str(rate.numerator).rstrip("0")


def _named(kind: str, rate: Fraction, ours: Fraction, tier: str) -> Repriced:
    name = "service tier" if tier else "price differs"
    at = f" ({tier})" if tier else ""
    if not kind:
        return Repriced(rate, f"billed at {float(rate):g} times the price book{at}", name)
    says = (
        f"{_WORDS[kind]} billed{at} at {_per_million(rate)} per million tokens, in the price book {_per_million(ours)}"
    )
    return Repriced(rate, says, name)


def _per_million(rate: Fraction) -> str:
    return format_usd(round(rate * 10**6))


def roundest(low: Fraction, high: Fraction) -> tuple[Fraction, int]:
    """The number with the fewest significant digits between the two, and how many it has."""
    assert 0 <= low <= high
    power = 30
    while power > -30:
        unit = Fraction(10) ** power
        number = -(-low // unit)  # the first multiple that is not below
        if number and number * unit <= high:
            return number * unit, len(str(number).rstrip("0") or "0")
        power -= 1
    return low, 99
