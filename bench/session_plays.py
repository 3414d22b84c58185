"""Recorded sessions and trajectories as calls that any model may answer: turn by turn, in the protocol of a pair."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pennyweight.call import Housekeeping
from pennyweight.errors import PennyweightError
from pennyweight.identity import housekeeping
from pennyweight.replay.readers import read
from pennyweight.request import Request, Wire
from pennyweight.testing import shapes
from pennyweight.text.tokenizers import BpeTokenizer
from pennyweight.wire import translate

from .recorded import files
from .sessions import GAPS, START
from .turns import body, load

__all__ = ["PACES", "Play", "Said", "easy_turns", "paced", "plays"]

_count = BpeTokenizer().count

USER_S, LOOP_S = (45.0, 1.0), (8.0, 0.6)
"""Median seconds that a user, and a tool with its model, take, and the spread of their logarithms: of a user's pauses
in the usual pace one in twelve is longer than the five minutes that a prompt cache lives."""


class Said(msgspec.Struct, frozen=True):
    """One call: its body, seconds since the session began, and what is to be known of it beside.

    turn: which user turn it belongs to, by what the user said. inside: it goes on with a tool loop.
    """

    body: dict[str, Any]
    t: float
    turn: str
    inside: bool
    output_tokens: int
    chore: Housekeeping | None = None


class Play(msgspec.Struct, frozen=True):
    """One session in one protocol. corpus: the kind of file that it comes from."""

    name: str
    corpus: str
    wire: Wire
    calls: tuple[Said, ...]

    @property
    def turns(self) -> list[str]:
        return list(dict.fromkeys(call.turn for call in self.calls))


def plays(paths: Iterable[Path], wire: Wire) -> list[Play]:
    """Every session in these files and folders, in that protocol; those that cannot be told in it are left out."""
    found = []
    for path in files(list(paths)):
        if _is_trajectories(path):
            found += [_trajectory(session, path, wire) for session in load(path)]
        else:
            found.append(_recording(path, wire))
    return [play for play in found if play is not None and play.calls]


def _is_trajectories(path: Path) -> bool:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        first = json.loads(next(iter(lines), "{}"))
    return isinstance(first, dict) and "source" in first and "messages" in first and "body" not in first


def _recording(path: Path, wire: Wire) -> Play | None:
    calls, memory = [], _Memory()
    for call in read(path):
        if not 200 <= call.status < 300:
            continue
        told = _told(call.request, wire)
        if told is None:
            return None
        output = sum(map(_count, shapes.output_texts(call.wire, call.answer))) if call.answer is not None else 0
        calls.append(memory.said(told, wire, call.at or call.t, output, housekeeping(call.request)))
    return Play(
        f"{path.parent.name}/{path.name.partition('.')[0]}", f"recordings/{path.parent.name}", wire, tuple(calls)
    )


def _trajectory(session: Any, path: Path, wire: Wire) -> Play | None:
    calls, memory = [], _Memory()
    for number, (messages, turn) in enumerate(session.requests()):
        asked = Request(Wire.OPENAI_CHAT, msgspec.json.encode(body(session, messages)), path="/v1/chat/completions")
        told = _told(asked, wire)
        if told is None:
            return None
        called = "".join(str((call.get("function") or {}).get("arguments")) for call in turn.get("tool_calls") or ())
        calls.append(memory.said(told, wire, float(number), _count(str(turn.get("content") or "") + called) + 10, None))
    return Play(session.id, f"trajectories/{path.name.partition('.')[0]}", wire, tuple(calls))


class _Memory:
    """Gives turns their names: a call inside a tool loop belongs to the turn of the user's message before it."""

    def said(self, told: dict[str, Any], wire: Wire, t: float, output: int, chore: Housekeeping | None) -> Said:
        items = told.get("input") if wire is Wire.OPENAI_RESPONSES else told.get("messages")
        items = [{"role": "user", "content": items}] if isinstance(items, str) else list(items or ())
        inside = bool(items) and not _is_users(items[-1])
        last = next((n for n in range(len(items) - 1, -1, -1) if _is_users(items[n])), 0)
        text = msgspec.json.encode([last, items[last] if items else None])
        name = hashlib.blake2b(text, digest_size=8).hexdigest()
        return Said(told, t, name, inside, output, chore)


def _is_users(item: dict[str, Any]) -> bool:
    """Whether a user said it, and no tool: in Messages a tool's result is told by the user, too."""
    if item.get("role") != "user":
        return False
    content = item.get("content")
    return not (isinstance(content, list) and any(part.get("type") == "tool_result" for part in content))


def _told(request: Request, wire: Wire) -> dict[str, Any] | None:
    """The request's body in that protocol, with its caller's cache on: where a client of Messages sets no breakpoints,
    one at the end, as the provider's automatic option does."""
    told = dict(request.body)
    if request.wire is not wire:
        try:
            told = dict(translate.request(request, wire, model="auto").request.body)
        except PennyweightError:
            return None
    told["model"] = "auto"
    if wire is Wire.ANTHROPIC_MESSAGES and b'"cache_control"' not in msgspec.json.encode(told):
        told["cache_control"] = {"type": "ephemeral"}
    return told


def easy_turns(sessions: Sequence[Play], seed: int, *, other: bool = False) -> set[tuple[str, str]]:
    """A half of all user turns, drawn at random within each corpus, as (session, turn). other: the other half."""
    found: set[tuple[str, str]] = set()
    for corpus in sorted({play.corpus.partition("/")[0] for play in sessions}):
        own = [(p.name, turn) for p in sessions if p.corpus.startswith(corpus) for turn in p.turns]
        random.Random(f"{seed} {corpus}").shuffle(own)
        half = len(own) // 2
        found.update(own[half:] if other else own[:half])
    return found


def _usual(rng: random.Random, inside: bool) -> float:
    median_s, spread = LOOP_S if inside else USER_S
    return median_s * float(2.718281828 ** rng.gauss(0.0, spread))


PACES: dict[str, Callable[[random.Random, bool], float] | None] = {
    "recorded": None,
    "usual": _usual,
    **{name: GAPS[name] for name in ("seconds", "jittered_100s", "jittered_5min", "bursts_2min", "bursts_10min")},
    "steady_299s": GAPS["steady_299s"],
    "steady_301s": GAPS["steady_301s"],
}
"""How long after one call the next follows, by whether that goes on with a tool loop. Trajectories hold no times, so
theirs are the usual ones where others are `recorded`."""


def paced(play: Play, pace: str, seed: int) -> list[float]:
    """When each call is made, in unix seconds."""
    gap = PACES[pace] or (_usual if play.corpus.startswith("trajectories") else None)
    if gap is None:
        first = play.calls[0].t
        return [START + call.t - first for call in play.calls]
    rng, at, found = random.Random(f"{pace} {seed} {play.name}"), START, []
    for number, call in enumerate(play.calls):
        at += gap(rng, call.inside) if number else 0.0
        found.append(at)
    return found
