"""Which calls can wait, and until when: those marked so, those of a route or an agent that says so, known chores.

Pure. Nothing waits unless the configuration says so: a client that waits for an answer is the rule. The caller's own
word goes first: `x-pennyweight-lane: now` is never made to wait, and a mark that cannot be read counts as "now".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

import msgspec

from ..call import Call, Identity
from ..patterns import starred
from ..request import Operation, Request

__all__ = [
    "DEADLINE",
    "DEADLINE_S",
    "LANE",
    "Background",
    "Chore",
    "CombineTable",
    "Lane",
    "LaneSettings",
    "background",
    "matches",
]

LANE = "x-pennyweight-lane"
"""The caller's word: "background" or "now"."""
DEADLINE_S = "x-pennyweight-deadline-s"
"""Seconds from now by which the answer must be there."""
DEADLINE = "x-pennyweight-deadline"
"""The same as a moment: RFC 3339, or unix seconds."""

Lane = Literal["background", "now"]
Chore = Literal["heartbeat", "memory_flush", "compaction", "title", "commit_message", "evaluation", "cron"]


class CombineTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One [[lanes.combine]]: tiny classification calls that may share one call to the provider.

    model, agent: patterns with *, as callers name them. labels: the answers there are; () where the calls name them
    by a JSON schema of their own. most_chars: of the text to be classified.
    """

    model: str
    agent: str = "*"
    labels: tuple[str, ...] = ()
    most_chars: int = 600
    size: int = 10
    window_ms: float = 100.0


class LaneSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[lanes]. As it stands nothing is background, nothing is batched and nothing is held back.

    batch: providers whose Batch API may be asked. target: "provider/model" that background calls go to, in place of a
    batch, "" for none. webhooks: addresses by the name that a caller may say; no others are ever called.
    """

    marked: bool = False  # whether callers may mark calls
    chores: tuple[Chore, ...] = ()  # that are told by their looks
    agents: tuple[str, ...] = ()  # patterns with *: all of their calls
    deadline_s: float = 21_600.0  # of a call that was marked, or of a route or an agent, and names none
    chore_deadline_s: float = 60.0  # of one that was told by its looks: its client does not know that it waits
    target: str = ""
    batch: tuple[str, ...] = ()
    window_s: float = 20.0  # for which calls to one provider gather
    size: int = 1_000  # calls that are sent at once, whatever is left of the window
    margin_s: float = 30.0  # before the deadline, at which the call is asked in the ordinary way
    poll_s: float = 10.0  # until the first look at a batch; each later one waits half as long again,
    most_poll_s: float = 300.0  # and no longer than this
    keep_s: float = 86_400.0  # for which an answer is kept that nobody has fetched
    delete: bool = True  # files and batches at the provider, once their results are stored here
    webhooks: dict[str, str] = {}
    embed: tuple[str, ...] = ()  # providers to which embeddings of several callers go in one call
    together: tuple[str, ...] = ()  # providers to which calls are let go at the same moment
    micro_window_ms: float = 100.0
    micro_size: int = 10
    combine: tuple[CombineTable, ...] = ()


class Background(msgspec.Struct, frozen=True):
    """A call that may wait. until: unix seconds at which its answer must be there. by: who said so, as one word."""

    until: float
    by: str


def background(call: Call, settings: LaneSettings, *, lane: Lane | None = None) -> Background | None:
    """None for a call that is answered as soon as it can be. lane: what its route or virtual model says."""
    request = call.original
    if request.operation not in (Operation.GENERATE, Operation.EMBED) or request.method != "POST":
        return None
    asked = request.header(LANE)
    if asked is not None:
        if asked.strip().lower() != "background" or not settings.marked:
            return None
        return _until(request, call.at, settings.deadline_s, "marked")
    if lane == "now":
        return None
    if lane == "background":
        return _until(request, call.at, settings.deadline_s, "route")
    if call.identity.agent and matches(call.identity.agent, settings.agents):
        return _until(request, call.at, settings.deadline_s, "agent")
    chore = _chore(call.identity) if settings.chores else None
    if chore in settings.chores:
        return _until(request, call.at, settings.chore_deadline_s, str(chore))
    return None


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns, in which * stands for any run of characters, is that name."""
    return any(starred(pattern).fullmatch(name) is not None for pattern in patterns)


def _chore(identity: Identity) -> str | None:
    if identity.housekeeping is not None:
        return identity.housekeeping
    named = (identity.task.lower(), identity.session.lower(), identity.agent.lower())
    if any(_EVALUATION.match(name) for name in named):
        return "evaluation"
    if any(_CRON.search(name) for name in named):
        return "cron"
    return None


_EVALUATION = re.compile(r"eval(?:uation)?s?(?:$|[-_:/. ])|benchmarks?(?:$|[-_:/. ])")
_CRON = re.compile(r"(?:^|[:/])cron(?:$|[-_:/. ])")
"""OpenClaw names the sessions of its scheduler `agent:<agent>:cron:<job>`."""


def _until(request: Request, now: float, default_s: float, by: str) -> Background | None:
    """None where the caller names a deadline that cannot be read, or one that has passed."""
    seconds, moment = request.header(DEADLINE_S), request.header(DEADLINE)
    until: float | None = now + default_s
    if seconds is not None:
        told = _number(seconds)
        until = None if told is None else now + told
    elif moment is not None:
        until = _number(moment) or _date(moment)
    return Background(until, by) if until is not None and until > now else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def _date(text: str) -> float | None:
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
