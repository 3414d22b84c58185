"""Does any session cost more than without us? Recorded and made-up sessions at every price class, with adversaries.

Every session is played before and after, billed by the model of a provider's prompt cache in `pennyweight.testing`,
which shares nothing with what the gate believes. All optimizers are on, and then beside them one that loses money on
purpose (see `bench.adversaries`), with the gate and without.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import msgspec

from pennyweight.call import Optimize

from .adversaries import ADVERSARIES
from .cells import CLASSES, Cell, PriceClass, Session, by_class, play
from .material import aider_as_messages, default_data, files_in, healthy, label, recorded, stretched
from .result import progress, report
from .sessions import calls_of, plans

LIST_PRICE = PriceClass(0.1, 1.25)
SHORTEST = 5  # calls; the worst of shorter sessions is told apart
STRETCHES = ("bursts_10min", "jittered_5min")
LEVELS: tuple[Optimize, ...] = ("safe", "max")
TARGETS = {
    "worst_ratio": "<= 1.001",
    "healthy_worst_ratio": "<= 1.01",
    "refused": "== 0",
    "saving_unmarked": ">= 0.74",
    "saving_heartbeat_safe": ">= 0.17",
    "saving_heartbeat_max": ">= 0.45",
    "saving_aider": ">= 0.15",
}


class Task(msgspec.Struct, frozen=True):
    """One cell and the sessions that are played in it. `group`: generated, short, or a recording's name."""

    cell: Cell
    group: str
    seed: int = 0
    count: int = 0  # of generated sessions
    path: str = ""
    gaps: str = ""  # "": as recorded
    healthy: bool = False


class Result(msgspec.Struct, frozen=True):
    task: Task
    sessions: tuple[Session, ...]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.never_costs_more", description=__doc__)
    parser.add_argument("--data", nargs="+", type=Path, metavar="PATH", help="recordings: files or folders")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a few sessions and price classes: under a minute")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    asked = parser.parse_args()
    paths = asked.data or default_data()
    results = run(tasks(paths, asked.seed, quick=asked.quick), jobs=asked.jobs)
    table(results)
    found = figures(results)
    targets = {name: target for name, target in TARGETS.items() if name in found or not asked.quick}
    return report(
        "never_costs_more",
        data=[str(path) for path in paths],
        seed=asked.seed,
        figures=found,
        targets=targets,
        worst=[_told(result, session) for result, session in worst(results)],
    )


def tasks(paths: Sequence[Path], seed: int, *, quick: bool = False) -> list[Task]:
    """What is to be played, the longest first."""
    recordings = [_Recording(path) for path in files_in(paths)]
    classes = (PriceClass(0.02, 1.25), LIST_PRICE, PriceClass(0.5, 2.0)) if quick else CLASSES
    one_each = [PriceClass(r, 1.25) for r in sorted({price.r for price in classes})]
    honest, hostile, short = (8, 6, 6) if quick else (45, 15, 30)
    found: list[Task] = []
    for level in LEVELS:
        for price in classes:
            found.append(Task(Cell(price, level), "generated", seed, honest))
            found.append(Task(Cell(price, level), "short", seed, short))
        for price in one_each if not quick else [LIST_PRICE]:
            for name in ADVERSARIES:
                found.append(Task(Cell(price, level, name), "generated", seed + 1, hostile))
                if level == "safe":
                    found.append(Task(Cell(price, level, name, gate=False), "generated", seed + 1, hostile))
        for recording in recordings:
            found += [recording.task(Cell(price, level)) for price in ([LIST_PRICE] if quick else one_each)]
            if not quick:
                found += [recording.task(Cell(LIST_PRICE, level), gaps) for gaps in STRETCHES]
                found += [recording.task(Cell(LIST_PRICE, level, name)) for name in ADVERSARIES if level == "safe"]
    return found


class _Recording:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.healthy = healthy(recorded(path))

    def task(self, cell: Cell, gaps: str = "") -> Task:
        healthy = self.healthy and not gaps and not cell.adversary
        return Task(cell, label(self.path), 1, 1, str(self.path), gaps, healthy)


def run(todo: Sequence[Task], *, jobs: int) -> list[Result]:
    """Every task's sessions, in the tasks' order."""
    started, done, results = time.monotonic(), 0, {}
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        waiting = {pool.submit(perform, task): number for number, task in enumerate(todo)}
        for future in as_completed(waiting):
            results[waiting[future]] = future.result()
            done += 1
            if done % max(len(todo) // 20, 1) == 0 or done == len(todo):
                progress(f"{done}/{len(todo)} runs, {time.monotonic() - started:.0f} s")
    return [results[number] for number in range(len(todo))]


def perform(task: Task) -> Result:
    if not task.path:
        lengths = (1, SHORTEST - 1) if task.group == "short" else (SHORTEST, 60)
        calls = [call for plan in plans(task.count, task.seed, calls=lengths) for call in calls_of(plan)]
        return Result(task, tuple(play(task.cell, calls)))
    calls = recorded(Path(task.path))
    if task.group.startswith("aider/"):
        calls = aider_as_messages(calls)
    if task.gaps:
        calls = stretched(calls, task.gaps, task.seed)
    calls = [msgspec.structs.replace(call, session=task.group) for call in calls]
    return Result(task, (_whole(task.group, play(task.cell, calls)),))


def _whole(name: str, parts: Sequence[Session]) -> Session:
    """A recording is one session, also where its client names several."""
    sums = {
        field: sum(getattr(part, field) for part in parts) for field in Session.__struct_fields__ if field != "name"
    }
    return Session(name=name, **sums)


# --- figures ------------------------------------------------------------------------------------------------


def figures(results: Sequence[Result]) -> dict[str, float]:
    gated = [(result, session) for result in results if result.task.cell.gate for session in result.sessions]
    long = [session for _, session in gated if session.calls >= SHORTEST]
    short = [session for _, session in gated if session.calls < SHORTEST]
    honest = {level: _honest(results, level) for level in LEVELS}
    sums: dict[PriceClass, tuple[int, int]] = {}
    for result in honest["safe"]:
        before, after = sums.get(result.task.cell.price, (0, 0))
        sums[result.task.cell.price] = (before + _sum(result, "before"), after + _sum(result, "after"))
    found: dict[str, float] = {
        "sessions": len(gated),
        "worst_ratio": max(session.ratio for session in long),
        "sessions_over": sum(session.ratio > 1.001 for session in long),
        "refused": sum(session.refused for _, session in gated),
        "healthy_worst_ratio": _worst(session.ratio for result, session in gated if result.task.healthy),
        "worst_ratio_short": _worst(session.ratio for session in short),
        "ratio_short": sum(s.after for s in short) / max(sum(s.before for s in short), 1),
        "saving": _saving(honest["safe"]),
        "saving_max": _saving(honest["max"]),
        **{f"saving_{name}": value for name, value in by_class(sums).items()},
        "lost_without_gate": _lost(results, gate=False),
        "lost_with_gate": _lost(results, gate=True),
    }
    return {name: round(value, 5) for name, value in (found | _recorded_figures(results)).items()}


def _recorded_figures(results: Sequence[Result]) -> dict[str, float]:
    """Input cost saved in the recordings that are known by name, at list price and recorded times."""
    found: dict[str, list[float]] = {}
    for result in results:
        task = result.task
        if not task.path or task.gaps or task.cell != Cell(LIST_PRICE, task.cell.optimize):
            continue
        for figure, names, level in _NAMED:
            if task.group in names and task.cell.optimize == level:
                session = result.sessions[0]
                found.setdefault(figure, []).append(1 - session.input_after / session.input_before)
    return {name: min(values) for name, values in found.items()}


_HEARTBEAT = ("openclaw/gateway_anthropic_assistant6_heartbeat",)
_NAMED = (
    ("saving_unmarked", ("anthropic-sdk/messages_debug20", "langchain/anthropic_debug20"), "safe"),
    ("saving_heartbeat_safe", _HEARTBEAT, "safe"),
    ("saving_heartbeat_max", _HEARTBEAT, "max"),
    ("saving_aider", ("aider/chat_aider9",), "safe"),
)


def _honest(results: Iterable[Result], level: str) -> list[Result]:
    return [
        result
        for result in results
        if result.task.cell.gate and not result.task.cell.adversary and result.task.cell.optimize == level
    ]


def _sum(result: Result, field: str) -> int:
    return sum(getattr(session, field) for session in result.sessions)


def _saving(results: Sequence[Result]) -> float:
    return 1 - sum(_sum(r, "after") for r in results) / max(sum(_sum(r, "before") for r in results), 1)


def _lost(results: Sequence[Result], *, gate: bool) -> float:
    """What adversaries cost in the sessions that they made dearer, as a share of all of their sessions' baselines."""
    hostile = [
        session
        for result in results
        if result.task.cell.adversary and result.task.cell.gate is gate and not result.task.path
        for session in result.sessions
    ]
    lost = sum(max(session.after - session.before, 0) for session in hostile)
    return lost / max(sum(session.before for session in hostile), 1)


def _worst(ratios: Iterable[float]) -> float:
    return max(ratios, default=1.0)


def worst(results: Sequence[Result], count: int = 20) -> list[tuple[Result, Session]]:
    """The gated sessions that came off worst, of those that lost."""
    lost = [
        (result, session)
        for result in results
        if result.task.cell.gate
        for session in result.sessions
        if session.ratio > 1.0 and session.calls >= SHORTEST
    ]
    return sorted(lost, key=lambda pair: -pair[1].ratio)[:count]


def _told(result: Result, session: Session) -> dict[str, object]:
    task = result.task
    return {
        "session": session.name,
        "ratio": round(session.ratio, 5),
        "calls": session.calls,
        "class": f"{task.cell.price.name} w{task.cell.price.w:g}",
        "optimize": task.cell.optimize,
        "adversary": task.cell.adversary,
        "gaps": task.gaps,
    }


def table(results: Sequence[Result]) -> None:
    """Per kind of session and per adversary on stderr: how many, the saving, the worst ratio."""
    rows: dict[str, list[Session]] = {}
    for result in results:
        task = result.task
        for session in result.sessions:
            kind = session.name if task.path else session.name.rpartition("-")[0]
            if task.cell.adversary:
                kind = f"{task.cell.adversary}{'' if task.cell.gate else ', no gate'}"
            kind = f"{kind}{'@' + task.gaps if task.gaps and not task.cell.adversary else ''}"
            kind += ", 1 to 4 calls" if session.calls < SHORTEST else ""
            rows.setdefault(f"{kind} [{task.cell.optimize}]", []).append(session)
    progress(f"{'':62} sessions  saving   worst")
    for kind, found in sorted(rows.items()):
        before, after = sum(s.before for s in found), sum(s.after for s in found)
        ratio = max(session.ratio for session in found)
        progress(f"{kind:62} {len(found):8} {1 - after / before:7.1%} {ratio:7.4f}")


if __name__ == "__main__":
    sys.exit(main())
