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

__all__ = ["PACES", "Play", "Said", "easy_turns", "kept_for_a_day", "paced", "plays", "thoughtless"]

_count = BpeTokenizer().count

USER_S, LOOP_S = (45.0, 1.0), (8.0, 0.6)
"""Median seconds that a user, and a tool with its model, take, and the spread of their logarithms: of a user's pauses
in the usual pace one in thirty is longer than the five minutes that a prompt cache lives."""


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
    whole = [play for play in found if play is not None and play.calls]
    return [msgspec.structs.replace(play, name=f"{play.name} #{number}") for number, play in enumerate(whole, 1)]


def _is_trajectories(path: Path) -> bool:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        first = json.loads(next(iter(lines), "{}"))
    return isinstance(first, dict) and "source" in first and "messages" in first and "body" not in first


def _recording(path: Path, wire: Wire) -> Play | None:
    calls = []
    for call in read(path):
        if not 200 <= call.status < 300:
            continue
        told = _told(call.request, wire)
        if told is None:
            return None
        output = sum(map(_count, shapes.output_texts(call.wire, call.answer))) if call.answer is not None else 0
        calls.append(_said(told, wire, call.at or call.t, output, housekeeping(call.request)))
    return Play(
        f"{path.parent.name}/{path.name.partition('.')[0]}", f"recordings/{path.parent.name}", wire, tuple(calls)
    )


def _trajectory(session: Any, path: Path, wire: Wire) -> Play | None:
    calls = []
    for number, (messages, turn) in enumerate(session.requests()):
        asked = Request(Wire.OPENAI_CHAT, msgspec.json.encode(body(session, messages)), path="/v1/chat/completions")
        told = _told(asked, wire)
        if told is None:
            return None
        called = "".join(str((call.get("function") or {}).get("arguments")) for call in turn.get("tool_calls") or ())
        calls.append(_said(told, wire, float(number), _count(str(turn.get("content") or "") + called) + 10, None))
    return Play(session.id, f"trajectories/{path.name.partition('.')[0]}", wire, tuple(calls))


def _said(told: dict[str, Any], wire: Wire, t: float, output: int, chore: Housekeeping | None) -> Said:
    found = turns_of(messages_of(told, wire))
    name, inside = found[-1] if found else ("", False)
    return Said(told, t, name, inside, output, chore)


def messages_of(told: dict[str, Any], wire: Wire) -> list[dict[str, Any]]:
    items = told.get("input") if wire is Wire.OPENAI_RESPONSES else told.get("messages")
    return [{"role": "user", "content": items}] if isinstance(items, str) else list(items or ())


def turns_of(messages: Sequence[dict[str, Any]]) -> list[tuple[str, bool]]:
    """For each message the user turn that it belongs to, and whether it stands inside a tool loop. A turn begins with
    what is said after the model's last word, unless there is a tool's result in that: some clients put notes behind
    results as if a user had said them."""
    found: list[tuple[str, bool]] = []
    turn, start = "", 0
    for end in range(1, len(messages) + 1):
        if end < len(messages) and _is_models(messages[end]) is _is_models(messages[start]):
            continue
        group, inside = messages[start:end], True
        if not _is_models(messages[start]):
            inside = any(_is_result(message) for message in group)
            said = next((m for m in group if m.get("role") == "user"), group[0])
            if not inside:
                turn = hashlib.blake2b(f"{start} {_text(said)}".encode(), digest_size=8).hexdigest()
        found += [(turn, inside)] * len(group)
        start = end
    return found


def _text(item: Any) -> str:
    """What is said in it first, cache marks aside: a translation puts what a client adds into the same message."""
    if isinstance(item, list):
        return _text(item[0]) if item else ""
    return _text(item.get("content", item.get("text", ""))) if isinstance(item, dict) else str(item)


def _is_models(item: dict[str, Any]) -> bool:
    kind = str(item.get("type"))
    return item.get("role") == "assistant" or kind == "reasoning" or kind.endswith("_call")


def _is_result(item: dict[str, Any]) -> bool:
    content = item.get("content")
    held = isinstance(content, list) and any(part.get("type") == "tool_result" for part in content)
    return item.get("role") == "tool" or str(item.get("type")).endswith("_output") or held


def thoughtless(told: dict[str, Any], turns: set[str]) -> dict[str, Any]:
    """The body as it would be had those turns been answered by a model that did not think."""
    messages = messages_of(told, Wire.ANTHROPIC_MESSAGES)
    changed = []
    for message, (turn, _) in zip(messages, turns_of(messages), strict=True):
        content = message.get("content")
        if turn in turns and message.get("role") == "assistant" and isinstance(content, list):
            content = [part for part in content if part.get("type") not in ("thinking", "redacted_thinking")]
            message = {**message, "content": content or [{"type": "text", "text": "."}]}
        changed.append(message)
    return {**told, "messages": changed}


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


def kept_for_a_day(play: Play) -> Play:
    """The session of a client that asks OpenAI to keep its prompts: the same price, for up to a day."""
    calls = [msgspec.structs.replace(c, body={**c.body, "prompt_cache_retention": "24h"}) for c in play.calls]
    return msgspec.structs.replace(play, calls=tuple(calls))


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
