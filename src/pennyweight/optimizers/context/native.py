"""What providers offer of their own against a full window, as an edit that asks for it. Pure.

Only ever as the last resort, and never against the caller: not where he has said anything of it himself, and at
Anthropic only where his own headers allow it. It is off by default, because what a provider clears by itself is not
priced: each clearing makes it write the rest of the prompt to its cache again (docs.claude.com, "Context editing").
"""

from __future__ import annotations

from ...call import Call, Proposal, Rewrite
from ...request import Edit, Wire
from .settings import Settings

__all__ = ["native"]

_BETA = "context-management-2025-06-27"
_LEAST_CLEARED = 0.1  # of the window: what one clearing must take away to be worth what it breaks


def native(call: Call, window: int | None, settings: Settings) -> Proposal | None:
    """Anthropic: `clear_tool_uses_20250919`, from the share of the window on at which we would compact by force.
    Responses: `truncation` "auto", in place of an error when the window is full (platform.openai.com, API reference).
    """
    body = call.request.body
    if settings.provider == "off" or window is None:
        return None
    match call.request.wire:
        case Wire.ANTHROPIC_MESSAGES if "context_management" not in body:
            betas = call.request.header("anthropic-beta") or ""
            if call.target.wire is not Wire.ANTHROPIC_MESSAGES or _BETA not in betas:
                return None
            edit = {
                "type": "clear_tool_uses_20250919",
                "trigger": {"type": "input_tokens", "value": int(window * settings.window_share)},
                "keep": {"type": "tool_uses", "value": settings.keep_turns},
                "clear_at_least": {"type": "input_tokens", "value": int(window * _LEAST_CLEARED)},
            }
            return _asked(Edit(("context_management",), {"edits": [edit]}), "the provider may clear old results")
        case Wire.OPENAI_RESPONSES if "truncation" not in body and "context_management" not in body:
            if call.target.wire is not Wire.OPENAI_RESPONSES:
                return None
            return _asked(Edit(("truncation",), "auto"), "the provider may leave out old items")
    return None


def _asked(edit: Edit, why: str) -> Proposal:
    return Proposal(Rewrite((edit,)), why=f"{why} when the window is nearly full", level="max", tokens=1, risk=0.02)
