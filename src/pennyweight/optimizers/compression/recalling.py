"""Whether a session gets the tool by which a model has left-out texts back: at its first request, or when it is cold.

The tool heads the prompt, so it is paid for on every call; what it makes possible is that long results are reduced.
That pays for an agent whose sessions bring long results, which is learnt from those that it had.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

__all__ = ["Agents", "Pays"]

TOOL_TOKENS = 60
"""What the tool takes of a prompt, about."""

REDUCED_SHARE = 0.4
"""Of long results that reducing takes off, after what is asked back again; low on purpose."""

TIMES = 4.0
"""How many times its price a tool must be worth."""

USUAL_TOKENS = 2_000.0
"""What the tool saves in a session of an agent of which nothing is known, where the operator wants it."""

SESSIONS, AGENTS = 2, 2_048
_FADE = 64.0


class Pays(msgspec.Struct, frozen=True):
    """Tokens that a session of this agent would probably save by the tool, and what the tool would take."""

    saved: float
    taken: float

    @property
    def yes(self) -> bool:
        return self.saved > TIMES * self.taken


class _Agent(msgspec.Struct):
    """What an agent's sessions came to; older ones fade."""

    sessions: float = 0.0
    calls: float = 0.0
    reducible: float = 0.0  # tokens of results that were long enough


class Agents:
    """What agents' sessions bring. `saw` learns; `pays` looks."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, _Agent] = OrderedDict()

    def saw(self, agent: str, *, first: bool, reducible_tokens: int) -> None:
        """A call was answered; first: it was its session's first one."""
        known = self._known.setdefault(agent, _Agent())
        self._known.move_to_end(agent)
        known.sessions += first
        known.calls += 1
        known.reducible += reducible_tokens
        if known.sessions > _FADE:
            known.sessions, known.calls, known.reducible = known.sessions / 2, known.calls / 2, known.reducible / 2
        if len(self._known) > AGENTS:
            self._known.popitem(last=False)

    def pays(self, agent: str, read: float) -> Pays:
        """read: what reading a token from the provider's cache costs, relative to a plain one."""
        known = self._known.get(agent)
        if known is None or known.sessions < SESSIONS:
            return Pays(0.0, TOOL_TOKENS)
        calls = known.calls / known.sessions
        return Pays(REDUCED_SHARE * known.reducible / known.sessions, TOOL_TOKENS * (1.0 + read * calls))
