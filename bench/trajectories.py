"""What compression of tool results saves on agents' trajectories at cached prices, and what of later calls it keeps.

Every assistant turn is a request, played through the pipeline with only the compression on and with the gate, as a
model that bills what it writes to its cache at 1.25 and what it reads at 0.1 of plain input. The same prompts under
other policies (old results cleared, a window of messages, heads and tails of long results, something at random) are
billed by the same model of a cache. An argument value counts if it stands verbatim in what was said before the call;
it is kept if it stands in the request as sent. One that has to be asked back is billed as a call of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from .result import progress, report
from .turns import POLICIES, Told, judged, load, ours

TARGETS = {
    "worst_class_ratio": "<= 1.0",
    "saving_coding": ">= 0.20",
    "saving_service": ">= 0.08",
    "values_kept": ">= 0.985",
    "values_reachable": "== 1.0",
    "broken_pairs": "== 0",
}
WORDS = {"coding": ("swe", "code", "terminal"), "service": ("tau", "airline", "retail", "service")}
ROOMS = (250, 500, 1_000, 2_000)
"""Curve over sizes from which results are reduced, in tokens."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.trajectories", description=__doc__)
    parser.add_argument("--data", nargs="+", type=Path, metavar="FILE", required=True)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    sessions = [session for path in asked.data for session in load(path)]
    classes = sorted({session.source for session in sessions})
    main_row = asyncio.run(ours(sessions, {}))
    found = figures(main_row)
    rows = {name: {source: told(part(main_row, source)) for source in classes} for name in ("ours",)}
    for recall in ("never", "always"):
        rows[f"ours, recall {recall}"] = _by_class(asyncio.run(ours(sessions, {"recall": recall})), classes)
    for name, policy in POLICIES.items():
        rows[name] = _by_class([judged(session, policy, asked.seed) for session in sessions], classes)
        progress(f"{name:24} {rows[name]}")
    curve = {
        str(room): _by_class(asyncio.run(ours(sessions, {"recall": "always", "reduced_from": room})), classes)
        for room in ROOMS
    }
    targets = {name: target for name, target in TARGETS.items() if name in found}
    data = [str(path) for path in asked.data]
    return report(
        "trajectories", data=data, seed=asked.seed, figures=found, targets=targets, rows=rows, reduced_from=curve
    )


def _by_class(found: Sequence[Told], classes: Sequence[str]) -> dict[str, dict[str, float]]:
    return {source: told(part(found, source)) for source in classes}


def part(found: Sequence[Told], source: str) -> list[Told]:
    return [one for one in found if one.source == source]


def told(found: Sequence[Told]) -> dict[str, float]:
    """Of one class: cost relative to pass-through, and what is kept."""
    values = max(sum(one.values for one in found), 1)
    return {
        "ratio": round(sum(one.after for one in found) / max(sum(one.before for one in found), 1.0), 4),
        "worst_session": round(max((one.ratio for one in found), default=1.0), 4),
        "values": sum(one.values for one in found),
        "kept": round(sum(one.kept for one in found) / values, 4),
        "reachable": round(sum(one.reachable for one in found) / values, 4),
        "broken": sum(one.broken for one in found),
    }


def figures(found: Sequence[Told]) -> dict[str, float]:
    values = max(sum(one.values for one in found), 1)
    by_class = {source: told(part(found, source)) for source in sorted({one.source for one in found})}
    figures = {
        "worst_class_ratio": max(row["ratio"] for row in by_class.values()),
        "values_kept": sum(one.kept for one in found) / values,
        "values_reachable": sum(one.reachable for one in found) / values,
        "broken_pairs": float(sum(one.broken for one in found)),
        "worst_session_ratio": max(one.ratio for one in found),
    }
    for name, words in WORDS.items():
        own = [one for one in found if any(word in one.source.lower() for word in words)]
        if own:
            figures[f"saving_{name}"] = 1 - sum(one.after for one in own) / sum(one.before for one in own)
    return {name: round(value, 5) for name, value in figures.items()}


if __name__ == "__main__":
    sys.exit(main())
