"""Counters in Prometheus' text format, fed by receipts, off the request path; no label names a session or a tenant."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from operator import attrgetter

from ..call import Receipt
from ..stores.level import TierStats

__all__ = ["Metrics"]

_BOUNDS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_PORTION = 128  # receipts added up at once

_key = attrgetter("wire", "provider", "status", "pricing")
_usage, _trail, _added_s = attrgetter("usage"), attrgetter("trail"), attrgetter("added_s")
_input, _cached, _output = attrgetter("input_tokens"), attrgetter("cache_read_tokens"), attrgetter("output_tokens")
_money, _verdict = attrgetter("cost", "baseline"), attrgetter("optimizer", "verdict")
_bucket = partial(bisect_left, _BOUNDS_S)


class _Row:
    """Sums over the calls of one wire, provider, class of status and way of pricing."""

    __slots__ = ("baseline", "cached", "calls", "cost", "input", "output", "priced", "told")

    def __init__(self) -> None:
        self.calls = self.input = self.cached = self.output = self.cost = self.baseline = 0
        self.told = self.priced = False  # any usage, any money

    def add(self, receipts: Sequence[Receipt]) -> None:
        self.calls += len(receipts)
        usages = [usage for usage in map(_usage, receipts) if usage is not None]
        if usages:
            self.told = True
            self.input += sum(map(_input, usages))
            self.cached += sum(map(_cached, usages))
            self.output += sum(map(_output, usages))
        amounts = [amount for amount in map(_money, receipts) if None not in amount]
        if amounts:
            self.priced = True
            costs, baselines = zip(*amounts, strict=True)
            self.cost += sum(costs)
            self.baseline += sum(baselines)


class Metrics:
    """`watch` each receipt; `text` gives the page. Labels are few and bounded."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, int, str], _Row] = {}
        self._verdicts: Counter[tuple[str, str]] = Counter()
        self._added = [0] * (len(_BOUNDS_S) + 1)
        self._added_sum_s = 0.0
        self._waiting: list[Receipt] = []

    def watch(self, receipts: Sequence[Receipt]) -> None:
        """They are added up when so many have gathered that each costs little, or when somebody asks."""
        self._waiting += receipts
        if len(self._waiting) >= _PORTION:
            self._add_up()

    def _add_up(self) -> None:
        """Without a step of Python's own for each receipt, as far as that goes: every call comes here."""
        receipts, self._waiting = self._waiting, []
        keys = list(map(_key, receipts))
        for key in set(keys):
            alike = (
                receipts
                if keys.count(key) == len(keys)
                else [r for r, k in zip(receipts, keys, strict=True) if k == key]
            )
            self._row(key).add(alike)
        steps = chain.from_iterable(map(_trail, receipts))
        self._verdicts.update(map(_verdict, steps))
        for place, count in Counter(map(_bucket, map(_added_s, receipts))).items():
            self._added[place] += count
        self._added_sum_s += sum(map(_added_s, receipts))

    def _row(self, key: tuple[str, str, int, str]) -> _Row:
        wire, provider, status, pricing = key
        label = (wire, provider, status // 100, pricing)
        row = self._rows.get(label)
        if row is None:
            row = self._rows[label] = _Row()
        return row

    def text(self, gauges: Mapping[str, float], tiers: Sequence[TierStats] = ()) -> str:
        """The page. `gauges`: figures of this moment, by full metric name. tiers: of the response caches."""
        self._add_up()
        lines: list[str] = []
        by_call: Counter[tuple[str, str, str]] = Counter()
        by_pricing: Counter[tuple[str]] = Counter()
        tokens: Counter[tuple[str, str]] = Counter()
        pico: Counter[tuple[str, str]] = Counter()
        for (wire, provider, hundreds, kind), row in self._rows.items():
            by_call[wire, provider, f"{hundreds}xx"] += row.calls
            by_pricing[kind,] += row.calls
            if row.told:
                tokens.update({(provider, name): getattr(row, name) for name in ("input", "cached", "output")})
            if row.priced:
                pico.update({(provider, name): getattr(row, name) for name in ("cost", "baseline")})
        _family(lines, "pennyweight_calls_total", "Calls finished.", ("wire", "provider", "status"), by_call.items())
        _family(lines, "pennyweight_tokens_total", "Tokens as billed.", ("provider", "kind"), tokens.items())
        dollars = [(labels, amount / 1e12) for labels, amount in pico.items()]
        _family(lines, "pennyweight_usd_total", "Cost, and cost untouched (baseline).", ("provider", "kind"), dollars)
        _family(lines, "pennyweight_pricing_total", "How calls were priced.", ("pricing",), by_pricing.items())
        verdicts = self._verdicts.items()
        _family(lines, "pennyweight_verdicts_total", "What became of proposals.", ("optimizer", "verdict"), verdicts)
        lines += ["# HELP pennyweight_added_seconds Our own time, until the upstream was asked.", _TYPE_ADDED]
        total = 0
        for bound, count in zip((*_BOUNDS_S, "+Inf"), self._added, strict=True):
            total += count
            lines.append(f'pennyweight_added_seconds_bucket{{le="{bound}"}} {total}')
        lines += [f"pennyweight_added_seconds_sum {self._added_sum_s!r}", f"pennyweight_added_seconds_count {total}"]
        for name, value in gauges.items():
            lines += [f"# TYPE {name} gauge", f"{name} {value:g}"]
        _tiers(lines, tiers)
        return "\n".join(lines) + "\n"


_TYPE_ADDED = "# TYPE pennyweight_added_seconds histogram"


_TIER_EVENTS = ("hits", "misses", "errors", "timeouts", "skipped", "writes", "dropped", "spoilt", "trips")


def _tiers(lines: list[str], tiers: Sequence[TierStats]) -> None:
    events = [((tier.name, event), getattr(tier, event)) for tier in tiers for event in _TIER_EVENTS]
    _family(lines, "pennyweight_cache_tier_total", "What cache tiers did.", ("tier", "event"), events)
    seconds = [((tier.name,), tier.read_s) for tier in tiers]
    _family(lines, "pennyweight_cache_tier_read_seconds_total", "Time of reads that were answered.", ("tier",), seconds)
    reads = [((tier.name,), tier.reads) for tier in tiers]
    _family(lines, "pennyweight_cache_tier_reads_total", "Reads that were answered.", ("tier",), reads)
    lines.append("# TYPE pennyweight_cache_tier_up gauge")
    lines += [f'pennyweight_cache_tier_up{{tier="{tier.name}"}} {int(not tier.down)}' for tier in tiers]


def _family(
    lines: list[str],
    name: str,
    told: str,
    labels: tuple[str, ...],
    values: Iterable[tuple[tuple[str, ...], float]],
) -> None:
    lines += [f"# HELP {name} {told}", f"# TYPE {name} counter"]
    for key, value in sorted(values):
        told_labels = ",".join(f'{label}="{_escaped(part)}"' for label, part in zip(labels, key, strict=True))
        lines.append(f"{name}{{{told_labels}}} {value!r}")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
