"""From the visits of all rounds to the figures: medians, and ratios of medians within the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

__all__ = ["TARGETS", "figures", "medians", "skipped_figures"]

Visits = Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]  # target, column, one entry a round

TARGETS = {
    "tensorzero_x_small": ">= 1.2",
    "tensorzero_x_agent": ">= 10",
    "tensorzero_x_paced_agent": ">= 4",
    "litellm_x_small": ">= 100",
    "litellm_x_agent": ">= 45",
    "small_x_nginx": "<= 10",
    "agent_x_nginx": "<= 10",
    "paced_x_nginx": "<= 2.2",
    "hit_x_nginx": "<= 5",
    "added_ms_p50_small": "<= 0.9",
    "added_ms_p50_agent": "<= 1.2",
    "gap_ms_p99_over_direct": "<= 1",
}


def medians(visits: Visits, key: str) -> dict[str, dict[str, float]]:
    """Target and column to the median over rounds of `key`; what was never measured without a failure is absent."""
    found: dict[str, dict[str, float]] = {}
    for target, columns in visits.items():
        for column, rounds in columns.items():
            values = [one[key] for one in rounds if key in one]
            if values and len(values) * 2 > len(rounds):
                found.setdefault(target, {})[column] = median(values)
    return found


def figures(visits: Visits, ours: str = "pennyweight") -> dict[str, float]:
    """The figures that these visits allow, rounded to 4 digits."""
    cpu = medians(visits, "cpu_us")
    mine, nginx = cpu.get(ours, {}), cpu.get("nginx", {})
    found = {
        **_ratios(cpu.get("tensorzero", {}), mine, "tensorzero_x_{}", ("small", "agent", "paced_agent")),
        **_ratios(cpu.get("litellm", {}), mine, "litellm_x_{}", ("small", "agent")),
        **_ratios(mine, nginx, "{}_x_nginx", ("small", "agent")),
    }
    if "paced_small" in mine and "paced_small" in nginx:
        found["paced_x_nginx"] = mine["paced_small"] / nginx["paced_small"]
    if "hit_small" in mine and "small" in nginx:
        found["hit_x_nginx"] = mine["hit_small"] / nginx["small"]
    for size in ("small", "agent"):
        _put(found, f"added_ms_p50_{size}", _over_direct(visits, ours, f"latency_{size}", "latency_ms_p50"))
    _put(found, "gap_ms_p99_over_direct", _over_direct(visits, ours, "gap_small", "gap_ms_p99"))
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def skipped_figures(skipped: Sequence[str]) -> set[str]:
    """The figures that cannot be had without these targets."""
    if "pennyweight" in skipped:
        return set(TARGETS)
    return {name for name in TARGETS for target in skipped if target in _NEEDS and _NEEDS[target](name)}


_NEEDS: Mapping[str, Callable[[str], bool]] = {
    "direct": lambda name: name.startswith(("added_ms", "gap_ms")),
    "nginx": lambda name: name.endswith("_x_nginx"),
    "tensorzero": lambda name: name.startswith("tensorzero_x"),
    "litellm": lambda name: name.startswith("litellm_x"),
}


def _ratios(
    above: Mapping[str, float], below: Mapping[str, float], name: str, columns: Sequence[str]
) -> dict[str, float]:
    return {name.format(one): above[one] / below[one] for one in columns if one in above and one in below}


def _over_direct(visits: Visits, target: str, column: str, key: str) -> float | None:
    """Median over rounds of the difference within the round: what disturbs both targets of a round falls out."""
    mine, direct = visits.get(target, {}).get(column, ()), visits.get("direct", {}).get(column, ())
    pairs = [(a[key], b[key]) for a, b in zip(mine, direct, strict=False) if key in a and key in b]
    return median(a - b for a, b in pairs) if pairs else None


def _put(found: dict[str, float], name: str, value: float | None) -> None:
    if value is not None:
        found[name] = value
