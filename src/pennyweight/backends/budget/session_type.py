"""How a session came about: a person talks to the agent, a timer started it, or another agent did.

Told by what clients send: a header of ours, the rule of the agent, the header of Codex for its sub-agents, the key that
OpenClaw puts into its prompts ("agent:main:subagent:…", "agent:main:cron:…"), and heartbeats, which a timer sends.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from ...call import Call
from ...identity import session_key
from .settings import SessionType

__all__ = ["HEADER", "SessionTypes"]

HEADER = "x-pennyweight-session-type"

_NAMES: dict[str, SessionType] = {
    "direct": "direct",
    "cron": "cron",
    "sub_agent": "sub_agent",
    "sub-agent": "sub_agent",
    "subagent": "sub_agent",
}
_REMEMBERED = 10_000


class SessionTypes:
    """Remembers what a session's first call told: a prompt is looked through once. by_rule: of an agent's rule."""

    def __init__(self, by_rule: Callable[[str], SessionType | None] = lambda _agent: None) -> None:
        self._by_rule = by_rule
        self._known: OrderedDict[tuple[str, str], SessionType] = OrderedDict()

    def of(self, call: Call) -> SessionType:
        identity, request = call.identity, call.original
        if told := _NAMES.get((request.header(HEADER) or "").strip().lower()):
            return told
        if request.header("x-openai-subagent"):
            return "sub_agent"  # of that call alone: they share the session of who called them
        if identity.agent and (ruled := self._by_rule(identity.agent)) is not None:
            return ruled
        place = identity.tenant, identity.session
        known = self._known.get(place)
        if known is None:
            known = self._known[place] = _told(call)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return known


def _told(call: Call) -> SessionType:
    identity = call.identity
    name = f":{session_key(call.original) or identity.session}:".lower()
    if ":subagent:" in name or ":sub_agent:" in name:
        return "sub_agent"
    if ":cron:" in name or identity.housekeeping == "heartbeat":
        return "cron"
    return "direct"
