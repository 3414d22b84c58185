"""Takes Claude Code's billing line out of calls that do not go to Anthropic: no model reads it, and its digits differ
from session to session, so that upstreams with automatic prefix caching never share the prompt behind it.

Anthropic itself gets it as it came (it is for Anthropic to read), a moved base URL included: who answers there may be
Anthropic behind a proxy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from ..call import Call, Outcome, Proposal, Rewrite
from ..protocols import Tokenizer
from ..request import DELETE, Edit, Operation, Wire

__all__ = ["BillingHeader", "Settings", "build"]

_MARK = b'"x-anthropic-billing-header:'


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`keep_for`: providers that are sent the line as it came."""

    keep_for: tuple[str, ...] = ("anthropic",)


class Parts(Protocol):
    @property
    def tokenizer(self) -> Tokenizer: ...


def build(settings: Settings, parts: Parts) -> BillingHeader:
    return BillingHeader(settings, parts)


class BillingHeader:
    """Protocol: `pennyweight.protocols.Optimizer`."""

    name = "billing_header"
    wants_responses = False

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self._keep_for = frozenset(settings.keep_for)
        self._tokenizer = parts.tokenizer

    def concerns(self, call: Call) -> bool:
        request = call.request
        return request.wire is Wire.ANTHROPIC_MESSAGES and request.operation is Operation.GENERATE

    async def propose(self, call: Call) -> Proposal | None:
        """A Rewrite without the block; None where there is none or the provider is to have it."""
        if not self.concerns(call):
            return None
        request = call.request
        system = request.envelope.system
        if call.target.provider in self._keep_for or system is None or _MARK not in bytes(system)[:400]:
            return None
        blocks: Any = msgspec.json.decode(system)
        if not isinstance(blocks, list):
            return None
        places = [index for index, block in enumerate(blocks) if _is_billing(block)]
        if not places:
            return None
        tokens = sum(self._tokenizer.count(blocks[index]["text"]) for index in places)
        edits = tuple(Edit(("system", index), DELETE) for index in reversed(places))
        return Proposal(Rewrite(edits), why="a billing line that no model reads", level="safe", tokens=tokens)

    def learns_from(self, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        return ()

    async def settle(self, outcome: Outcome) -> None:
        """Nothing to learn."""

    def wants_response(self, call: Call) -> bool:
        return False


def _is_billing(block: Any) -> bool:
    """The line alone: a block in which more text follows it is part of the prompt."""
    if not isinstance(block, dict) or block.get("type") != "text" or "cache_control" in block:
        return False
    text = block.get("text")
    return isinstance(text, str) and text.startswith("x-anthropic-billing-header:") and "\n" not in text.strip()
