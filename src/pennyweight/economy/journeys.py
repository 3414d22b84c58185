"""Where the conversations of sessions are, and what routing has saved in them: the purse that a switch is staked on.

A conversation is found again by the prompts that it sent: what goes on with one stands behind it. So sub-agents, titles
and summaries, which begin otherwise, have places of their own, and a heartbeat that is gone from the next prompt leaves
none behind.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

import msgspec

from ..call import Target
from ..prefix import Chain

__all__ = ["CHOICE", "REFERENCE", "Held", "Journey", "Journeys", "is_open"]

REFERENCE = "reference"
"""The key of `Call.facts` under which the target stands that a routed call would have gone to."""

CHOICE = "choice"
"""The key of `Call.facts` that says that somebody chose a target for this call, also where it was the reference."""


class Held(msgspec.Struct, frozen=True):
    """Where a conversation is. locked: it has to stay there with this call, and `why`."""

    target: Target
    locked: bool
    why: str


class Journey:
    """One session whose calls are routed. Money in pico-dollars.

    saved: what its calls would have cost at their references, less what they cost. owed: by conversation, what it could
    cost to bring it back to its reference, more than staying there would have, and until when: then it would be cold
    there in any case.
    """

    __slots__ = ("last", "owed", "saved", "tips")

    def __init__(self) -> None:
        self.saved = 0.0
        self.owed: OrderedDict[bytes, tuple[float, float]] = OrderedDict()
        self.tips: OrderedDict[bytes, Target] = OrderedDict()  # by the digest of a whole prompt: where it was sent
        self.last: OrderedDict[bytes, Target] = OrderedDict()  # by conversation: where its last call was sent

    def at(self, chain: Chain, key: bytes) -> tuple[Target | None, bool]:
        """Where the conversation is that this prompt goes on with, and whether that is known for sure: of one whose
        earlier prompts were changed since, it is where the last with its head was."""
        if self.tips:
            for segment in reversed(chain):
                found = self.tips.get(segment.digest)
                if found is not None:
                    return found, True
        return self.last.get(key), False

    def went(self, chain: Chain, key: bytes, target: Target, owes: float, until: float, *, chore: bool) -> None:
        """A call of that conversation was sent to `target`. until: monotonic seconds."""
        _put(self.tips, chain[-1].digest, target, _TIPS)
        _put(self.owed, key, (owes, until), _CONVERSATIONS)
        if not chore:  # with which nothing goes on
            _put(self.last, key, target, _CONVERSATIONS)

    def owed_beside(self, key: bytes, at: float) -> float:
        """What the other conversations of the session owe."""
        return sum(owes for other, (owes, until) in self.owed.items() if other != key and at < until)


class Journeys:
    """Those of `sessions`; the ones not used for longest are forgotten, and their conversations begin anew."""

    def __init__(self, sessions: int = 10_000) -> None:
        self._limit = sessions
        self._known: OrderedDict[str, Journey] = OrderedDict()

    def of(self, session: str) -> Journey | None:
        return self._known.get(session)

    def begin(self, session: str) -> Journey:
        """The journey of a session, begun where there is none."""
        found = self._known.get(session)
        if found is None:
            found = self._known[session] = Journey()
            if len(self._known) > self._limit:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(session)
        return found


def is_open(chain: Chain) -> bool:
    """Whether the prompt ends inside a tool loop: in a turn of the model that is not over, or in what was said since
    its last turn there is a tool's result. Clients put notes of their own, as a user's words, behind results."""
    for segment in reversed(chain):
        if segment.kind != "message":
            return False
        if segment.tool:
            return True
        if segment.role in ("assistant", "model"):
            return segment is chain[-1]
        if not segment.role and segment.index:  # a later item of Responses without a role is a call, or reasoning
            return segment is chain[-1]
    return False


_TIPS = 64  # prompts of a session: its conversations that go on side by side, and wakes between them
_CONVERSATIONS = 32


V = TypeVar("V")


def _put(known: OrderedDict[bytes, V], key: bytes, value: V, limit: int) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > limit:
        known.popitem(last=False)
