"""How long the learned part of a route decision takes: type of the task, and chances of six candidates."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from pennyweight.call import Target
from pennyweight.clock import SystemClock
from pennyweight.request import Wire
from pennyweight.routing.choose import Asked
from pennyweight.routing.learning.learned import Learned
from pennyweight.routing.learning.outcomes import NoOutcomes, Told
from pennyweight.routing.learning.training import digest
from pennyweight.routing.settings import TargetTable
from pennyweight.routing.tasks import Tasks
from pennyweight.routing.virtual import Candidate
from pennyweight.testing.backend import make_call

__all__ = ["times"]

_MODELS = ("home/llama3.1:8b", "a/gpt-5-nano", "a/gpt-5-mini", "b/claude-haiku-5-5", "a/gpt-5.5", "b/claude-opus-5-5")


_REST_S = 0.5  # after a fit, whose threads spin for a while: that is no decision's CPU


class _Kept(NoOutcomes):
    def __init__(self, told: Sequence[Told]) -> None:
        self._told = told

    async def newest(self, *, limit: int, tenant: str | None = None) -> Sequence[Told]:
        return self._told[-limit:]


async def times(texts: Sequence[str], told: Sequence[Told], embedder: Any) -> dict[str, float]:
    """CPU milliseconds of the process, the 99th percentile over the texts: with the table alone and nothing remembered,
    with the transformer (the newest text was never seen), and for what was asked before. route_vector_share: of the
    decisions with the transformer, how many had the text's vector in time.

    told: outcomes with vectors for the kernel. embedder: None: no transformer.
    """
    candidates = [
        Candidate(Target(*name.split("/"), Wire.OPENAI_CHAT), f"tier{rank}", rank, TargetTable(name))
        for rank, name in enumerate(_MODELS)
    ]
    calls = [make_call(msgspec.json.encode({"messages": [{"role": "user", "content": text}]})) for text in texts]
    for call in calls:
        call.original.envelope  # noqa: B018 - every call has it by the time it is routed

    async def decide(router: Learned, tasks: Tasks, place: int) -> None:
        call = calls[place]
        task, text = tasks.told(call.original)
        asked = Asked(task.type, task.complexity, 400.0, text)
        await router.ready(call, asked)
        router.of(call, asked, candidates)

    static, tasks = Learned(NoOutcomes(), SystemClock()), Tasks()
    found = {"route_ms_p99_static_cold": await _p99(len(texts), lambda place: decide(static, tasks, place))}
    found["route_ms_p99_warm"] = await _p99(len(texts), lambda place: decide(static, tasks, place))
    if embedder is None or not told:
        return found

    async def embedding() -> Any:
        return embedder

    router, tasks = Learned(_Kept(told), SystemClock(), embedder=embedding), Tasks()
    await router.start()
    for _ in range(1_200):
        if router.known("local").kernel is not None:
            break
        await asyncio.sleep(0.05)
    await asyncio.sleep(_REST_S)
    late = 0

    async def rested(place: int) -> None:
        """Each decision alone: a vector that was late is finished before the next one begins."""
        nonlocal late
        late += digest(texts[place]) not in router._vectors
        await asyncio.gather(*router._embedding.values(), return_exceptions=True)

    found["route_ms_p99_transformer"] = await _p99(len(texts), lambda place: decide(router, tasks, place), rested)
    found["route_vector_share"] = round(1 - late / len(texts), 3)
    await _p99(len(texts), lambda place: decide(router, tasks, place))
    warm = await _p99(len(texts), lambda place: decide(router, tasks, place))
    found["route_ms_p99_warm"] = max(found["route_ms_p99_warm"], warm)
    await router.aclose()
    return found


async def _p99(count: int, decide: Callable[[int], Any], after: Callable[[int], Any] | None = None) -> float:
    taken = []
    for place in range(count):
        start = time.process_time()
        await decide(place)
        taken.append(time.process_time() - start)
        if after is not None:
            await after(place)
    return round(sorted(taken)[int(count * 0.99)] * 1e3, 3)
