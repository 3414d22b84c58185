"""All rules of advice over one window, worst first. Pure; a price book answers for money."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import agents, caches, models
from .case import Book, Case
from .settings import SEVERITIES, Finding, Settings
from .window import Queue, Window

__all__ = ["RULES", "advise"]

RULES: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    models.slow_models,
    caches.prompt_cache,
    caches.response_cache,
    caches.switching,
    agents.heartbeats,
    agents.sessions,
    models.dear_models,
    models.cut_answers,
    models.unpriced,
)


def advise(
    window: Window, book: Book, settings: Settings | None = None, *, queue: Queue | None = None
) -> tuple[Finding, ...]:
    """What should be changed, worst first and dearest first. `queue`: the clerk's, where a gateway is running."""
    case = Case(window, book, settings or Settings())
    found = [finding for rule in RULES for finding in rule(case)]
    found += receipts_queue(queue) if queue is not None else ()
    return tuple(sorted(found, key=lambda f: (SEVERITIES.index(f.severity), -(f.cost or 0), f.id)))


def receipts_queue(queue: Queue) -> list[Finding]:
    waiting = queue.waiting / max(queue.limit, 1)
    if not queue.lost and not queue.trouble and not queue.unlearnt and waiting < 0.5:
        return []
    trouble = f" The ledger says: {queue.trouble}" if queue.trouble else ""
    return [
        Finding(
            id="queue",
            code="queue",
            severity="critical" if queue.lost or queue.trouble else "warning",
            title=f"Receipts pile up: {queue.waiting:,} wait, {queue.lost:,} are lost",
            detail=f"Of at most {queue.limit:,}. Since the start {queue.delayed:,} were delayed, and optimizers missed "
            f"{queue.unlearnt:,} outcomes that they would have learnt from.{trouble} Answers are not delayed by it; "
            "lost receipts are missing from every sum.",
            evidence={
                "waiting": queue.waiting,
                "limit": queue.limit,
                "lost": queue.lost,
                "delayed": queue.delayed,
                "unlearnt": queue.unlearnt,
            },
            cost=None,
            basis="",
            remedy="See that the data folder's disk has room and no other program locks the ledger.",
            setting="[ledger] queue, batch_s in pennyweight.toml",
        )
    ]
