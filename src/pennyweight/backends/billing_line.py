"""Takes Claude Code's billing line out of Messages calls that do not go to Anthropic.

Its first system block is `x-anthropic-billing-header: cc_version=…`, which differs from session to session and stands
before everything else. Anthropic reads it; elsewhere it only keeps two sessions from sharing a cached prefix. The
client's own switch is CLAUDE_CODE_ATTRIBUTION_HEADER=0.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..call import Call, Step, Verdict
from ..protocols import Backend
from ..request import Edit, Operation, Reply, Wire

__all__ = ["BillingLine"]

_MARK = "x-anthropic-billing-header:"
_RAW_MARK = f'"{_MARK}'.encode()
_STEP = Step(
    "billing_line", Verdict.ACCEPTED, why="a line for Anthropic alone, which keeps prefixes apart, is left out"
)


class BillingLine:
    """A Backend over `inner`. kept_for: providers that are Anthropic itself. Under `off` nothing is touched."""

    def __init__(self, inner: Backend, kept_for: Collection[str]) -> None:
        self._inner = inner
        self._kept_for = frozenset(kept_for)

    async def open(self, call: Call) -> Reply:
        request = call.request
        if (
            request.wire is not Wire.ANTHROPIC_MESSAGES
            or call.target.provider in self._kept_for
            or call.optimize == "off"
            or request.operation not in (Operation.GENERATE, Operation.COUNT)
            or _RAW_MARK not in request.raw
        ):
            return await self._inner.open(call)
        system = request.body.get("system")
        blocks = system if isinstance(system, list) else []
        rest = [block for block in blocks if not _is_billing(block)]
        if not rest or len(rest) == len(blocks):
            return await self._inner.open(call)
        reply = await self._inner.open(call.sending(request.edit([Edit(("system",), rest)])))
        reply.notes.append(_STEP)
        return reply


def _is_billing(block: Any) -> bool:
    """A block with a cache mark stays: the mark was put there on purpose."""
    if not isinstance(block, dict) or "cache_control" in block:
        return False
    text = block.get("text")
    return isinstance(text, str) and text.startswith(_MARK) and "\n" not in text.strip()
