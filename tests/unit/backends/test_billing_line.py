"""Claude Code's billing line: left out for others than Anthropic, and nothing else is."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from pennyweight.backends.billing_line import BillingLine
from pennyweight.call import Call, Optimize
from pennyweight.request import Operation, Wire
from pennyweight.testing.backend import ScriptedBackend, make_call

LINE = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.329.a1f; cc_entrypoint=cli"}
MARKED = {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}}


def ask(system: Any, *, provider: str = "other", optimize: Optimize = "safe", wire: Wire = Wire.ANTHROPIC_MESSAGES,
        operation: Operation = Operation.GENERATE) -> tuple[Call, Call, int]:  # fmt: skip
    body = json.dumps({"model": "m", "system": system, "messages": [{"role": "user", "content": "hi"}]}).encode()
    call = make_call(body, wire=wire, path="/v1/messages", provider=provider, optimize=optimize, operation=operation)
    inner = ScriptedBackend()
    reply = asyncio.run(BillingLine(inner, {"anthropic"}).open(call))
    return call, inner.calls[0], len(reply.notes)


@pytest.mark.parametrize("operation", [Operation.GENERATE, Operation.COUNT])
def test_it_is_left_out_and_the_rest_stays(operation: Operation) -> None:
    call, sent, notes = ask([LINE, MARKED], operation=operation)
    assert sent.request.body == {**call.request.body, "system": [MARKED]}
    assert sent.original is call.original
    assert notes == 1


@pytest.mark.parametrize(
    ("system", "more"),
    [
        ([LINE, MARKED], {"provider": "anthropic"}),
        ([LINE, MARKED], {"optimize": "off"}),
        ([LINE, MARKED], {"wire": Wire.OPENAI_CHAT}),
        ([LINE, MARKED], {"operation": Operation.OTHER}),
        ([LINE | {"cache_control": {"type": "ephemeral"}}, MARKED], {}),
        ([LINE], {}),
        ([{"type": "text", "text": f"{LINE['text']}\nYou are an agent."}, MARKED], {}),
        ([{"type": "text", "text": f"About {LINE['text']}"}, MARKED], {}),
        (LINE["text"], {}),
        (None, {}),
        ([MARKED, 3, None], {}),
    ],
)
def test_everything_else_is_untouched(system: Any, more: dict[str, Any]) -> None:
    call, sent, notes = ask(system, **more)
    assert sent is call
    assert notes == 0
