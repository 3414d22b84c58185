"""What is wrong with [lanes] that types cannot say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..routing.background import LaneSettings
from .settings import Provider

__all__ = ["problems"]

_POSITIVE = ("deadline_s", "chore_deadline_s", "window_s", "size", "poll_s", "most_poll_s", "keep_s", "micro_size")

Found = tuple[tuple[Any, ...], str, str]
"""Where, what, and the remedy."""


def problems(lanes: LaneSettings, providers: Mapping[str, Provider], *, any_lane: bool) -> Iterator[Found]:
    """any_lane: whether a route or a virtual model has a lane of its own."""
    for field in _POSITIVE:
        if (value := getattr(lanes, field)) <= 0:
            yield (field,), f"lanes.{field} {value!r} must be above 0.", "Leave it out for the default."
    for field in ("margin_s", "micro_window_ms"):
        if (value := getattr(lanes, field)) < 0:
            yield (field,), f"lanes.{field} {value!r} must not be below 0.", "Leave it out for the default."
    for field in ("batch", "embed", "together"):
        for name in getattr(lanes, field):
            if name not in providers:
                known = ", ".join(sorted(providers))
                yield (field,), f"lanes.{field} names provider {name!r}, which is not there.", f"There are: {known}."
    for name in lanes.batch:
        if name in providers and providers[name].local:
            yield ("batch",), f"lanes.batch: {name!r} is a server of your own, and has no Batch API.", "Take it out."
    if lanes.target and lanes.target.partition("/")[0] not in providers:
        known = ", ".join(sorted(providers))
        message = f"lanes.target {lanes.target!r} names a provider that is not there."
        yield ("target",), message, f'Write "provider/model"; there are: {known}.'
    elif lanes.target and not lanes.target.partition("/")[2]:
        yield ("target",), f"lanes.target {lanes.target!r} names no model.", 'Write "provider/model".'
    for name, url in lanes.webhooks.items():
        if not url.startswith(("http://", "https://")):
            yield ("webhooks", name), f"lanes.webhooks.{name} is no http(s) address.", "Write it out, https:// and all."
    for index, rule in enumerate(lanes.combine):
        if rule.size < 2 or rule.most_chars <= 0 or rule.window_ms < 0:
            message = f"lanes.combine[{index}] has a size below 2, or a limit below 0."
            yield ("combine", index), message, "Leave them out for the defaults."
    if any((lanes.marked, lanes.chores, lanes.agents, any_lane)) and not (lanes.batch or lanes.target):
        message = "lanes: calls are let wait, but there is nowhere that they would be cheaper."
        yield (), message, 'Set lanes.batch = ["anthropic"] or lanes.target = "ollama/…".'
