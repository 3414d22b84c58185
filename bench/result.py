"""The one JSON object that every bench prints, and the exit status that goes with it."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["missed_targets", "progress", "report"]

_TARGET = re.compile(r"(<=|>=|==|<|>)\s*(-?\d+(?:\.\d+)?(?:e-?\d+)?)", re.IGNORECASE)


def report(
    bench: str,
    *,
    figures: Mapping[str, float],
    targets: Mapping[str, str] | None = None,
    data: Sequence[str] = (),
    seed: int | None = None,
    **more: Any,
) -> int:
    """Print the object on stdout; gives the exit status: 0, or 1 when a target is missed.

    targets: a figure's name to `"<= 0.02"`. `more` are further members of the object (tables, notes).
    """
    missed = missed_targets(figures, targets or {})
    result = {
        "bench": bench,
        "data": list(data),
        "seed": seed,
        "commit": commit(),
        "machine": machine(),
        "figures": dict(figures),
        "targets": dict(targets or {}),
        "missed": missed,
        **more,
    }
    print(json.dumps(result, indent=2, ensure_ascii=False), flush=True)
    for name in missed:
        progress(f"missed: {name} is {figures.get(name, 'not measured')}, the target is {(targets or {})[name]}")
    return 1 if missed else 0


def missed_targets(figures: Mapping[str, float], targets: Mapping[str, str]) -> list[str]:
    """Names whose figure is absent, NaN or not as the target says. Raises ValueError when a target cannot be read."""
    return [name for name, target in targets.items() if name not in figures or not _holds(figures[name], target)]


def progress(line: str) -> None:
    """A line for whoever watches; stdout stays the one JSON object."""
    print(line, file=sys.stderr, flush=True)


def commit() -> str:
    """The commit of this checkout, with `+` when files differ from it; "" outside a checkout."""
    folder = Path(__file__).resolve().parent.parent
    try:
        head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=folder, capture_output=True, text=True)
        changed = subprocess.run(["git", "status", "--porcelain"], cwd=folder, capture_output=True, text=True)
    except OSError:
        return ""
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "") if head.returncode == 0 else ""


def machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _holds(figure: float, target: str) -> bool:
    match = _TARGET.fullmatch(target.strip())
    if match is None:
        raise ValueError(f"{target!r} is no target; write it like '<= 0.02'")
    sign, bound = match[1], float(match[2])
    return {
        "<=": figure <= bound,
        ">=": figure >= bound,
        "==": figure == bound,
        "<": figure < bound,
        ">": figure > bound,
    }[sign]
