"""The billing line leaves for other upstreams, and for nobody else."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from pennyweight.call import Call, Rewrite, Target
from pennyweight.optimizers.billing_header import Settings, build
from pennyweight.request import Request, Wire
from pennyweight.testing.optimizer_contract import ContractParts

LINE = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.329.abc; cc_entrypoint=cli;"}
REST = {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}}
UPSTREAM = Target("moonshot", "kimi-k3", Wire.ANTHROPIC_MESSAGES)


class Parts(ContractParts):
    class _Count:
        def count(self, text: str) -> int:
            return len(text.split())

    tokenizer = _Count()


def call_of(system: Any, target: Target = UPSTREAM) -> Call:
    from pennyweight.testing.backend import make_call

    body = {"model": "m", "max_tokens": 9, "system": system, "messages": [{"role": "user", "content": "hi"}]}
    made = make_call(json.dumps(body).encode())
    request = Request(Wire.ANTHROPIC_MESSAGES, json.dumps(body).encode(), path="/v1/messages")
    return msgspec.structs.replace(made, original=request, request=request, target=target)


def proposed(call: Call) -> Any:
    return asyncio.run(build(Settings(), Parts()).propose(call))


def test_the_line_goes_and_the_rest_stays_as_it_was() -> None:
    call = call_of([LINE, REST])
    proposal = proposed(call)
    assert isinstance(proposal.action, Rewrite)
    assert proposal.level == "safe"
    assert proposal.tokens > 0
    body = call.apply(proposal.action).request.body
    assert body == {**call.original.body, "system": [REST]}


@pytest.mark.parametrize("system", ["x-anthropic-billing-header: in prose", [REST], [], None, [{"type": "text"}]])
def test_without_the_block_nothing_is_proposed(system: Any) -> None:
    assert proposed(call_of(system)) is None


def test_anthropic_gets_it_as_it_came() -> None:
    assert proposed(call_of([LINE, REST], Target("anthropic", "claude", Wire.ANTHROPIC_MESSAGES))) is None


def test_a_block_that_carries_a_cache_marker_is_left_alone() -> None:
    marked = {**LINE, "cache_control": {"type": "ephemeral"}}
    assert proposed(call_of([marked, REST])) is None


def test_a_block_in_which_more_text_follows_is_left_alone() -> None:
    more = {"type": "text", "text": LINE["text"] + "\nYou are an agent."}
    assert proposed(call_of([more, REST])) is None
