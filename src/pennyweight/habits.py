"""What conversations do: how many calls follow, how soon, and how much of a prompt comes again.

A conversation here is one head (model, tools, system prompt) within one session: a session's title requests and
heartbeat wakes have heads of their own, and are conversations of their own. What is learned of an agent's earlier
conversations is the prior for its next one. Times are monotonic seconds.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence

import msgspec

from .prefix import Chain, Segment, shared

__all__ = ["WELL", "Agent", "Conversation", "Habits", "Outlook"]

SOON_S, LATER_S = 300.0, 3_600.0
"""The two lives of a cached prefix that callers can choose between: 5 minutes and an hour."""

WELL = 0.6
"""Gaps below this share of a life are well within it: jitter does not take the next one beyond."""


class Outlook(msgspec.Struct, frozen=True, gc=False):
    """What is to be expected after this call. Probabilities in [0, 1]."""

    soon: float  # a next call comes within 5 minutes
    later: float  # within an hour
    remaining: float  # how many more calls, each within 5 minutes of the one before
    remaining_later: float  # each within an hour of the one before


class Conversation:
    """One conversation so far. `chain` is what was last sent, `asked` what the caller last asked for."""

    def __init__(self) -> None:
        self.calls = 0
        self.at = 0.0
        self.chain = Chain()
        self.asked = Chain()
        self.looping = False  # the last call ended in a tool's result: its agent goes on by itself
        self.in_row = 0  # how many of the last gaps were well below 5 minutes, without a break
        self.in_row_later = 0  # well below an hour
        self.gaps: deque[float] = deque(maxlen=32)
        self.dropped: deque[int] = deque(maxlen=4)  # how many segments of its tail were gone in the next, of the last
        self.counts = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]  # [user's turn, loop] x [gaps, of them soon, of them later]
        self.past: deque[Chain] = deque(maxlen=8)  # the last chains that were asked
        self.repeated_before = 0  # how many segments the last call had in common with one of those before it
        self.guessed: deque[bytes] = deque(maxlen=16)  # prefixes that were marked in the hope that they come again
        self.guesses = [0, 0]  # how many calls came after such a mark, and how many of them began with one
        self.balance = 0.0  # pico-dollars that cache marks of ours have earned, less what they cost
        self.spent = 0.0  # pico-dollars that its prompts have cost
        self.answers = 0.0  # and its answers
        self.rewritten = False  # something was sent in another form than the caller's
        self.output_tokens = 0.0  # of an answer, on average

    def gone(self, keep: int) -> list[int]:
        """How many segments at the end of each of the last prompts were gone in the next; this one's the last, which
        has `keep` in common with the one before."""
        return [*self.dropped, len(self.asked) - keep] if self.calls else []

    def repeated(self, asked: Sequence[Segment], keep: int) -> int:
        """How many segments this call has in common with one of the last ones; keep: with the very last."""
        if keep >= len(self.asked) - _TAIL:
            return keep  # it goes on where the last one ended: none had more in common
        return max((shared(chain, asked) for chain in self.past), default=keep)

    def appends(self, keep: int) -> bool:
        """Whether prompts go on where the one before ended, but for a transient end of a message or two."""
        if not self.calls:
            return True
        return len(self.asked) - keep <= _TRANSIENT and max(self.dropped, default=0) <= _TRANSIENT


class Agent:
    """All conversations of one agent, and of one kind of housekeeping of it."""

    def __init__(self) -> None:
        self.calls = 0
        self.balance = 0.0  # pico-dollars that changes to its calls have earned, less what they cost
        # [user's turn, loop] x [calls before] x [gaps, of them soon, of them later]: how soon a session ends is habit
        self.counts = [[[0.0, 0.0, 0.0] for _ in range(_DEPTHS)] for _ in range(2)]
        self.open: deque[bytes] = deque(maxlen=256)  # keys of conversations that may have ended


class Habits:
    """Remembers `conversations` of them, with `segments` in their last prompts together, and `agents` kinds of agents;
    the least recently used are forgotten."""

    def __init__(self, *, conversations: int = 10_000, segments: int = 500_000, agents: int = 2_000) -> None:
        """A segment weighs about 300 bytes: a few long sessions are as many as thousands of short ones."""
        self._limit = conversations
        self._limit_segments = segments
        self._segments = 0
        self._agent_limit = agents
        self._conversations: OrderedDict[bytes, Conversation] = OrderedDict()
        self._sent_as: OrderedDict[bytes, bytes] = OrderedDict()  # by the key of another head that was sent: the key
        self._calls: OrderedDict[str, int] = OrderedDict()  # by session
        self._agents: OrderedDict[str, Agent] = OrderedDict()

    def conversation(self, key: bytes) -> Conversation | None:
        return self._conversations.get(key)

    def under(self, key: bytes) -> Conversation | None:
        """The conversation of that key, or the one that was sent with the head that it stands for."""
        return self._conversations.get(key) or self._conversations.get(self._sent_as.get(key, b""))

    def went_as(self, key: bytes, sent: bytes) -> None:
        """The conversation of that key was sent with another head, whose key is `sent`."""
        self._sent_as[sent] = key
        self._sent_as.move_to_end(sent)
        if len(self._sent_as) > self._limit:
            self._sent_as.popitem(last=False)

    def forget(self, key: bytes) -> None:
        """Of this conversation, everything."""
        found = self._conversations.pop(key, None)
        if found is not None:
            self._segments -= len(found.asked)

    def outlook(self, key: bytes, agent: str, *, looping: bool, chore: bool = False) -> Outlook:
        """What is to be expected after a call that is made now. Changes nothing. chore: it is housekeeping."""
        found = self._conversations.get(key)
        general = self._agents.get(agent)
        prior = (_CHORE if chore else _PRIOR)[looping]
        soon = _chance(found, general, int(looping), 1, prior)
        later = _chance(found, general, int(looping), 2, prior)
        return Outlook(
            soon=soon,
            later=max(later, soon),
            remaining=min(soon / (1.0 - soon), _MOST_REMAINING),
            remaining_later=min(later / (1.0 - later), _MOST_REMAINING),
        )

    def agent(self, name: str) -> Agent | None:
        return self._agents.get(name)

    def calls(self, session: str) -> int:
        """How many calls a session has made, in all its conversations."""
        return self._calls.get(session, 0)

    def sent(
        self,
        key: bytes,
        agent: str,
        chain: Chain,
        asked: Chain,
        *,
        session: str,
        looping: bool,
        at: float,
    ) -> Conversation:
        """A call of this conversation went out. Gives the conversation as it now is."""
        found = self._conversations.get(key)
        general = self._agent(agent)
        general.calls += 1
        if found is None:
            found = self._conversations[key] = Conversation()
            general.open.append(key)
            self._close(general, at)
        else:
            self._conversations.move_to_end(key)
            self._next(found, general, asked, at)
        found.calls += 1
        self._calls[session] = self._calls.pop(session, 0) + 1
        if len(self._calls) > self._limit:
            self._calls.popitem(last=False)
        found.past.append(asked)
        found.at = max(at, found.at)
        self._segments += len(asked) - len(found.asked)
        found.chain, found.asked, found.looping = chain, asked, looping
        while len(self._conversations) > self._limit or (
            self._segments > self._limit_segments and len(self._conversations) > 1
        ):
            self.forget(next(iter(self._conversations)))
        return found

    def _next(self, found: Conversation, general: Agent, asked: Chain, at: float) -> None:
        gap_s = max(at - found.at, 0.0)
        found.gaps.append(gap_s)
        found.in_row = found.in_row + 1 if gap_s < WELL * SOON_S else 0
        found.in_row_later = found.in_row_later + 1 if gap_s < WELL * LATER_S else 0
        keep = shared(found.asked, asked)
        found.repeated_before = found.repeated(asked, keep)
        found.dropped.append(len(found.asked) - keep)
        if found.guessed:
            digests = {segment.digest for segment in asked}
            found.guesses[0] += 1
            found.guesses[1] += any(guess in digests for guess in found.guessed)
        kind = int(found.looping)
        for counts in (found.counts[kind], general.counts[kind][_depth(found.calls)]):
            counts[0] += 1
            counts[1] += gap_s < SOON_S
            counts[2] += gap_s < LATER_S

    def _close(self, general: Agent, at: float) -> None:
        """Count the end of conversations that nobody went on with."""
        for _ in range(len(general.open)):
            found = self._conversations.get(general.open[0])
            if found is not None and at - found.at < _OVER_S:
                return
            general.open.popleft()
            if found is not None:
                general.counts[int(found.looping)][_depth(found.calls)][0] += 1

    def _agent(self, name: str) -> Agent:
        agent = self._agents.get(name)
        if agent is None:
            agent = self._agents[name] = Agent()
            if len(self._agents) > self._agent_limit:
                self._agents.popitem(last=False)
        else:
            self._agents.move_to_end(name)
        return agent


def _depth(calls: int) -> int:
    return min(calls, _DEPTHS) - 1 if calls else 0


_TAIL = 4
_TRANSIENT = 2
_DEPTHS = 5
_OVER_S = 600.0  # a conversation that was silent for so long is taken to have ended
_MOST_REMAINING = 40.0
_PRIOR = ((0.6, 0.75), (0.9, 0.95))  # [user's turn, loop] x [soon, later], before anything was seen
_CHORE = ((0.1, 0.15), (0.8, 0.85))  # the same for housekeeping: titles, wakes, summaries are asked once
_PRIOR_CALLS = 2.0
_SUREST = 0.98
_AGENT_CALLS = 10.0  # what an agent's other conversations weigh at most against this one's own calls


def _chance(
    found: Conversation | None, general: Agent | None, kind: int, which: int, prior: tuple[float, float]
) -> float:
    """The mean of a Beta posterior: prior, then the agent, then this conversation. which: 1 soon, 2 later."""
    mean, weight = prior[which - 1], _PRIOR_CALLS
    yes, no = mean * weight, (1.0 - mean) * weight
    depth = _depth(found.calls + 1 if found is not None else 1)
    if general is not None and general.counts[kind][depth][0]:
        seen, good = general.counts[kind][depth][0], general.counts[kind][depth][which]
        own = found.counts[kind][0] if found is not None else 0.0  # soon its own gaps say more than others'
        scale = min(1.0, _AGENT_CALLS / seen) / (1.0 + own)
        yes, no = yes + good * scale, no + (seen - good) * scale
    if found is not None and found.counts[kind][0]:
        seen, good = found.counts[kind][0], found.counts[kind][which]
        yes, no = yes + good, no + (seen - good)
    return min(yes / (yes + no), _SUREST)
