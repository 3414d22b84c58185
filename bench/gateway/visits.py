"""One visit: one kind of load on one target, and what it cost. A plan says which visits there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..process import cpu_s
from .bodies import Size, body, request
from .peers import Running
from .tools import Upstream, load

__all__ = ["PLAN", "Visit", "measure"]


class Visit(NamedTuple):
    """`name` is the column. connections: how many at once; interval_ms: between two requests of one of them."""

    size: Size
    stream: bool = False
    pace_ms: float = 0
    repeated: bool = False
    connections: int = 8
    interval_ms: float = 0
    seconds: float = 2.5


PLAN: Mapping[str, Visit] = {
    "small": Visit("small"),
    "agent": Visit("agent"),
    "burst_small": Visit("small", stream=True),
    "burst_agent": Visit("agent", stream=True),
    "paced_small": Visit("small", stream=True, pace_ms=5, connections=16),
    "paced_agent": Visit("agent", stream=True, pace_ms=5, connections=16),
    "hit_small": Visit("small", repeated=True),
    "hit_agent": Visit("agent", repeated=True),
    "latency_small": Visit("small", connections=1, interval_ms=25),
    "latency_agent": Visit("agent", connections=1, interval_ms=25),
    "gap_small": Visit("small", stream=True, pace_ms=5, connections=2, interval_ms=300, seconds=4),
}


def measure(target: Running, visit: Visit, upstream: Upstream, *, seconds: float, first: int) -> dict[str, Any]:
    """{"cpu_us" per request (absent for direct), "latency_ms_p50", "gap_ms_p99", "ok", "failed", "failure"}.

    A target is warmed up before it is measured. seconds: this visit's share, 1.0 for what the plan says.
    """
    upstream.pace(visit.pace_ms)
    content = body(visit.size, model=target.model, stream=visit.stream, repeated=visit.repeated)
    bytes_out = request(target.port, target.path, content, target.headers)
    expect = "[DONE]" if visit.stream else '"choices"'
    warm = visit.connections * (1 if visit.pace_ms else 3)
    load(target.port, bytes_out, connections=visit.connections, requests=warm, seconds=5, expect=expect, first=first)
    before = 0.0 if target.pid is None else cpu_s(target.pid)
    told = load(
        target.port,
        bytes_out,
        connections=visit.connections,
        seconds=visit.seconds * seconds,
        interval_ms=visit.interval_ms,
        expect=expect,
        first=first + warm,
    )
    spent = 0.0 if target.pid is None else cpu_s(target.pid) - before
    found: dict[str, Any] = {"ok": told["ok"], "failed": told["failed"]}
    if told["failed"]:
        found["failure"] = told["first_failure"]
    if told["ok"] and not told["failed"]:
        if target.pid is not None:
            found["cpu_us"] = spent / told["ok"] * 1e6
        if told["latency_ms"]:
            found["latency_ms_p50"] = told["latency_ms"][0]
        if told["gap_ms"]:
            found["gap_ms_p99"] = told["gap_ms"][1]
    return found
