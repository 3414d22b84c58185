"""Counters in Prometheus' text format, fed by receipts, off the request path; no label names a session or a tenant."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping

from ..call import Receipt

__all__ = ["Metrics"]

_BOUNDS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Metrics:
    """`watch` each receipt; `text` gives the page. Labels are few and bounded."""

    def __init__(self) -> None:
        self._calls: Counter[tuple[str, str, str]] = Counter()
        self._tokens: Counter[tuple[str, str]] = Counter()
        self._pico: Counter[tuple[str, str]] = Counter()
        self._pricing: Counter[str] = Counter()
        self._accepted: Counter[tuple[str, str]] = Counter()
        self._added = [0] * (len(_BOUNDS_S) + 1)
        self._added_sum_s = 0.0

    def watch(self, receipt: Receipt) -> None:
        self._calls[receipt.wire, receipt.provider, f"{receipt.status // 100}xx"] += 1
        self._pricing[receipt.pricing] += 1
        if receipt.usage is not None:
            usage = receipt.usage
            self._tokens[receipt.provider, "input"] += usage.input_tokens
            self._tokens[receipt.provider, "cached"] += usage.cache_read_tokens
            self._tokens[receipt.provider, "output"] += usage.output_tokens
        if receipt.cost is not None and receipt.baseline is not None:
            self._pico[receipt.provider, "cost"] += receipt.cost
            self._pico[receipt.provider, "baseline"] += receipt.baseline
        for step in receipt.trail:
            self._accepted[step.optimizer, step.verdict.value] += 1
        self._added[bisect_left(_BOUNDS_S, receipt.added_s)] += 1
        self._added_sum_s += receipt.added_s

    def text(self, gauges: Mapping[str, float]) -> str:
        """The page. `gauges`: figures of this moment, by full metric name."""
        lines: list[str] = []
        _family(
            lines, "pennyweight_calls_total", "Calls finished.", ("wire", "provider", "status"), self._calls.items()
        )
        _family(lines, "pennyweight_tokens_total", "Tokens as billed.", ("provider", "kind"), self._tokens.items())
        dollars = [(labels, pico / 1e12) for labels, pico in self._pico.items()]
        _family(lines, "pennyweight_usd_total", "Cost, and cost untouched (baseline).", ("provider", "kind"), dollars)
        pricing = [((kind,), count) for kind, count in self._pricing.items()]
        _family(lines, "pennyweight_pricing_total", "How calls were priced.", ("pricing",), pricing)
        verdicts = self._accepted.items()
        _family(lines, "pennyweight_verdicts_total", "What became of proposals.", ("optimizer", "verdict"), verdicts)
        lines += ["# HELP pennyweight_added_seconds Our own time, until the upstream was asked.", _TYPE_ADDED]
        total = 0
        for bound, count in zip((*_BOUNDS_S, "+Inf"), self._added, strict=True):
            total += count
            lines.append(f'pennyweight_added_seconds_bucket{{le="{bound}"}} {total}')
        lines += [f"pennyweight_added_seconds_sum {self._added_sum_s!r}", f"pennyweight_added_seconds_count {total}"]
        for name, value in gauges.items():
            lines += [f"# TYPE {name} gauge", f"{name} {value:g}"]
        return "\n".join(lines) + "\n"


_TYPE_ADDED = "# TYPE pennyweight_added_seconds histogram"


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
