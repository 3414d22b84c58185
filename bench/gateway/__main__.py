"""Measures what the gateway costs and adds, beside direct, nginx and other gateways in one run.

CPU is the gateway's own, all threads and children, from the scheduler. Targets are visited in random order, round by
round; figures are medians over rounds and ratios of medians within the run: absolute times hold for one machine only.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..result import progress, report
from .figures import TARGETS, figures, medians, skipped_figures
from .peers import PEERS, Running, install, start
from .tools import compiled, upstream
from .visits import PLAN, measure

EXAMPLES = """examples:
  python -m bench.gateway --install            install TensorZero, LiteLLM and Portkey into ~/.cache/pennyweight-bench
  python -m bench.gateway                      all targets, 4 rounds: about 12 minutes
  python -m bench.gateway --targets direct nginx pennyweight --rounds 2 --seconds 0.5"""


def main() -> int:
    options = _options()
    if options.install:
        return 1 if install() else 0
    with ExitStack() as stack:
        provider = stack.enter_context(upstream())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pennyweight-bench-")))
        running, skipped = _start(stack, options.targets, provider.port, folder)
        visits: dict[str, dict[str, list[dict[str, Any]]]] = {name: {} for name in running}
        chance = random.Random(options.seed)
        first = 0
        for number in range(options.rounds):
            for column in options.visits:
                for name in chance.sample(sorted(running), len(running)):
                    found = measure(running[name], PLAN[column], provider, seconds=options.seconds, first=first)
                    first += 1_000_000 // 2
                    visits[name].setdefault(column, []).append(found)
                    progress(f"round {number + 1}/{options.rounds}  {column:14} {name:12} {_line(found)}")
    unmeasured = skipped_figures([name for name in PEERS if name not in running])
    return report(
        "gateway",
        seed=options.seed,
        figures=figures(visits),
        targets={name: target for name, target in TARGETS.items() if name not in unmeasured},
        rounds=options.rounds,
        skipped=skipped,
        load="C" if compiled() else "Python, for want of a C compiler: wall times are worse",
        cpu_us=_rounded(medians(visits, "cpu_us")),
        latency_ms_p50=_rounded(medians(visits, "latency_ms_p50")),
        gap_ms_p99=_rounded(medians(visits, "gap_ms_p99")),
        failures={
            name: failures
            for name, columns in visits.items()
            if (
                failures := {
                    c: bad[0] for c, rounds in columns.items() if (bad := [_failure(r) for r in rounds if r["failed"]])
                }
            )
        },
    )


def _start(stack: ExitStack, names: list[str], port: int, folder: Path) -> tuple[dict[str, Running], dict[str, str]]:
    running: dict[str, Running] = {}
    skipped = {name: "not asked for" for name in PEERS if name not in names}
    for name in names:
        try:
            running[name] = stack.enter_context(start(name, port, folder / name))
            progress(f"{name} is up on port {running[name].port}")
        except RuntimeError as error:
            skipped[name] = str(error)
            progress(f"SKIPPED {name}: {error}")
    return running, skipped


def _line(found: dict[str, Any]) -> str:
    parts = [f"{found['ok']} answers"]
    parts += [f"{key} {found[key]:.4g}" for key in ("cpu_us", "latency_ms_p50", "gap_ms_p99") if key in found]
    return ", ".join(parts) + (f", {_failure(found)}" if found["failed"] else "")


def _failure(found: dict[str, Any]) -> str:
    return f"{found['failed']} failed: {found['failure']}"


def _rounded(table: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {name: {column: float(f"{value:.4g}") for column, value in row.items()} for name, row in table.items()}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gateway",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=4, help="rounds over all targets (default 4)")
    parser.add_argument("--targets", nargs="+", choices=sorted(PEERS), default=list(PEERS), help="default: all")
    parser.add_argument(
        "--visits", nargs="+", choices=list(PLAN), default=list(PLAN), help="kinds of load, default: all"
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="share of each visit's usual time (default 1.0)")
    parser.add_argument("--seed", type=int, default=1, help="of the order in which targets are visited")
    parser.add_argument("--install", action="store_true", help="install the peers and end")
    parser.add_argument("--json", action="store_true", help="accepted for uniformity: the result always is JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
