"""Sessions that no client should have, and some have: branches, retries, edits in the middle, windows that slide.

Each is made from an ordinary one of `bench.sessions`. Sizes and gaps sit on the edges of what providers document.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import msgspec

from pennyweight.capture.format import Recorded
from pennyweight.request import Usage

from .sessions import START, Plan, calls_of

__all__ = ["ODD", "odd"]

CLIENTS = ("messages_unmarked", "messages_marked", "chat")


def odd(kind: str, seed: int) -> list[Recorded]:
    """Sessions of that kind, one for each kind of client. Raises KeyError for a kind that is not known."""
    found: list[Recorded] = []
    for number, client in enumerate(CLIENTS):
        rng = random.Random(f"{kind} {client} {seed}")
        plan = Plan(
            name=f"{kind}-{client}",
            client=client,
            gaps="seconds",
            calls=16,
            seed=rng.getrandbits(32),
            start=START + 600.0 * number,
            head=3_000,
            tools=12,
            result=(400, 2_000),
            loop=6,
        )
        found += ODD[kind](plan, rng)
    return found


def _branches(plan: Plan, rng: random.Random) -> list[Recorded]:
    """Two conversations with one beginning and one session's name, call by call in turn."""
    calls = calls_of(plan)
    fork = len(calls) // 3
    other = [_said_otherwise(call, fork, "the other branch") for call in calls[fork:]]
    turns = [call for pair in zip(calls[fork:], other, strict=True) for call in pair]
    return _timed([*calls[:fork], *turns], lambda: rng.uniform(2, 12))


def _said_otherwise(call: Recorded, fork: int, text: str) -> Recorded:
    """The call with another text in the message that came at the fork."""
    messages = list(call.body["messages"])
    place = min(2 * fork, len(messages) - 1)
    messages[place] = {**messages[place], "content": f"{text}: {messages[place]['content']}"}
    return msgspec.structs.replace(call, body={**call.body, "messages": messages})


def _retries(plan: Plan, rng: random.Random) -> list[Recorded]:
    """Every third call is sent three times."""
    calls = [call for number, one in enumerate(calls_of(plan)) for call in [one] * (3 if number % 3 == 0 else 1)]
    return _timed(calls, lambda: rng.uniform(1, 4))


def _edits(plan: Plan, rng: random.Random) -> list[Recorded]:
    """Every fourth call, the client changes an early message for good."""
    found = []
    for number, call in enumerate(calls_of(plan)):
        changed = call
        for round_ in range(number // 4):
            changed = _said_otherwise(changed, round_, f"edited {round_}")
        found.append(changed)
    return _timed(found, lambda: rng.uniform(2, 12))


def _window(plan: Plan, rng: random.Random) -> list[Recorded]:
    """The client keeps its first message and the newest eight."""
    found = []
    for call in calls_of(plan):
        messages = call.body["messages"]
        head = 2 if messages[0]["role"] == "system" else 1
        kept = [*messages[:head], *messages[head:][-8:]] if len(messages) > head + 8 else messages
        found.append(msgspec.structs.replace(call, body={**call.body, "messages": kept}))
    return _timed(found, lambda: rng.uniform(2, 12))


def _subagents(plan: Plan, rng: random.Random) -> list[Recorded]:
    """A second agent with a head of its own works in the same session, three calls of each in turn."""
    first = calls_of(plan)
    second = calls_of(msgspec.structs.replace(plan, seed=rng.getrandbits(32), head=1_500, tools=4))
    turns: list[Recorded] = []
    for at in range(0, max(len(first), len(second)), 3):
        turns += first[at : at + 3] + second[at : at + 3]
    return _timed(turns, lambda: rng.uniform(2, 12))


def _edge(plan: Plan, _rng: random.Random) -> list[Recorded]:
    """299 and 301 seconds in turn: just inside and just outside of what is documented."""
    gaps = iter([299.0, 301.0] * 60)
    return _timed(calls_of(plan), lambda: next(gaps))


def _hour(plan: Plan, _rng: random.Random) -> list[Recorded]:
    """59 and 61 minutes in turn."""
    gaps = iter([3_540.0, 3_660.0] * 60)
    return _timed(calls_of(plan), lambda: next(gaps))


def _lapsing(plan: Plan, _rng: random.Random) -> list[Recorded]:
    """Four calls within seconds, so that the gate is sure, then an hour and a half; again and again."""
    gaps = iter([5.0, 5.0, 5.0, 5_400.0] * 30)
    return _timed(calls_of(plan), lambda: next(gaps))


def _worse(plan: Plan, rng: random.Random) -> list[Recorded]:
    """Gaps that grow: every mark lives a little shorter than the next gap."""
    gaps = iter([20.0 * 1.6**number for number in range(60)])
    return _timed(calls_of(msgspec.structs.replace(plan, calls=14)), lambda: next(gaps) * rng.uniform(0.9, 1.1))


def _short(plan: Plan, rng: random.Random) -> list[Recorded]:
    """Prompts that grow over the least length that is cached, by a few tokens a call."""
    small = msgspec.structs.replace(plan, head=150, tools=3, result=(20, 40), loop=10)
    return _timed(calls_of(small), lambda: rng.uniform(2, 12))


def _jumps(plan: Plan, rng: random.Random) -> list[Recorded]:
    """The clock of the machine is set back by an hour in the middle, and later forth by a day."""
    calls = _timed(calls_of(plan), lambda: rng.uniform(2, 12))
    third = len(calls) // 3
    moved = []
    for number, call in enumerate(calls):
        jump = 0.0 if number < third else -3_600.0 if number < 2 * third else 82_800.0
        moved.append(msgspec.structs.replace(call, at=call.at + jump))
    return moved


def _liar(plan: Plan, rng: random.Random) -> list[Recorded]:
    """The provider reports usage that contradicts itself: more cached than sent, nothing at all, far too much."""
    lies = (
        Usage(input_tokens=100, cache_read_tokens=90_000, output_tokens=10),
        Usage(input_tokens=0, output_tokens=0),
        Usage(input_tokens=900_000, output_tokens=5),
        Usage(input_tokens=20_000, cache_read_tokens=19_999, cache_write_5m_tokens=19_999, output_tokens=10),
    )
    calls = _timed(calls_of(plan), lambda: rng.uniform(2, 12))
    return [
        msgspec.structs.replace(call, usage=rng.choice(lies) if number % 2 else None)
        for number, call in enumerate(calls)
    ]


def _timed(calls: Sequence[Recorded], gap: Callable[[], float]) -> list[Recorded]:
    at, found = calls[0].at, []
    for call in calls:
        found.append(msgspec.structs.replace(call, at=at))
        at += gap()
    return found


ODD: Mapping[str, Callable[[Plan, random.Random], list[Recorded]]] = {
    "branches": _branches,
    "retries": _retries,
    "edits": _edits,
    "window": _window,
    "subagents": _subagents,
    "edge_5min": _edge,
    "edge_1h": _hour,
    "lapsing": _lapsing,
    "worse": _worse,
    "short_prompts": _short,
    "clock_jumps": _jumps,
    "lying_usage": _liar,
}
