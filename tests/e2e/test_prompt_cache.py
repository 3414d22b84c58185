"""An agent on the real Anthropic SDK that sets no cache marks, through a real gateway: marks come, the invoice falls,
the ledger says what the invoice says, and the baseline what an untouched run was invoiced."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import anthropic
import pytest
from tests.e2e.rig import read_receipts

from pennyweight.call import Optimize
from pennyweight.config import load
from pennyweight.gateway.run import open_gateway
from pennyweight.request import Usage, Wire
from pennyweight.testing import shapes
from pennyweight.testing.provider import InvoiceLine, ReplayProvider, provider_keys
from pennyweight.text.tokenizers import BpeTokenizer

MODEL = "claude-sonnet-4-6"
CALLS = 16
SYSTEM = "You look after a small library. " + " ".join(
    f"Rule {number}: keep shelf {number} tidy." for number in range(100)
)
TOOLS: Any = [
    {"name": "look", "description": "Looks at a shelf.", "input_schema": {"type": "object", "properties": {}}},
]


def cost(wire: Wire, model: str, usage: Usage, at: float) -> int:
    """Picodollars at the model's list prices: $3 in, $0.30 read, $3.75 and $6 written, $15 out, for a million."""
    return (
        usage.uncached_tokens * 3_000_000
        + usage.cache_read_tokens * 300_000
        + usage.cache_write_5m_tokens * 3_750_000
        + usage.cache_write_1h_tokens * 6_000_000
        + usage.output_tokens * 15_000_000
    )


def turn(number: int) -> shapes.Turn:
    return shapes.Turn(f"Shelf {number} next.", (shapes.ToolCall(f"toolu_{number}", "look", "{}"),))


def answers() -> list[tuple[Wire, Any, Any]]:
    return [
        (
            Wire.ANTHROPIC_MESSAGES,
            {"messages": [number]},
            shapes.body_of(Wire.ANTHROPIC_MESSAGES, turn(number), model=MODEL),
        )
        for number in range(CALLS)
    ]


async def agent(client: anthropic.AsyncAnthropic, *, stream: bool) -> None:
    """A tool loop as one writes it with the SDK."""
    messages: list[Any] = [{"role": "user", "content": "Go through the shelves."}]
    for number in range(CALLS):
        asked: Any = {"model": MODEL, "max_tokens": 500, "system": SYSTEM, "tools": TOOLS, "messages": messages}
        if stream:
            async with client.messages.stream(**asked) as events:
                answer = await events.get_final_message()
        else:
            answer = await client.messages.create(**asked)
        uses = [block for block in answer.content if block.type == "tool_use"]
        assert len(uses) == 1
        found = " ".join(f"book {number}-{place} stands here," for place in range(50))
        results = [{"type": "tool_result", "tool_use_id": use.id, "content": found} for use in uses]
        messages += [
            {"role": "assistant", "content": [block.model_dump(include=_SAID[block.type]) for block in answer.content]},
            {"role": "user", "content": results},
        ]


_SAID: dict[str, set[str]] = {"text": {"type", "text"}, "tool_use": {"type", "id", "name", "input"}}


def run(folder: Path, optimize: Optimize, *, stream: bool) -> tuple[list[InvoiceLine], list[Any], list[dict[str, Any]]]:
    """The invoice, the requests as they arrived, and the receipts."""

    async def main() -> tuple[list[InvoiceLine], list[Any], list[dict[str, Any]]]:
        async with ReplayProvider(answers(), count=BpeTokenizer().count, cost=cost, keep_seen=True) as provider:
            settings = {"port": 0, "data_dir": folder, "optimize": optimize, "holdout": 0.0}
            config = load(None, provider_keys(provider.url), settings)
            async with asyncio.timeout(60), open_gateway(lambda: config) as gateway:
                async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key="no-key", max_retries=0) as client:
                    await agent(client, stream=stream)
                await gateway.app.clerk.flush()
            return provider.invoice()[1], [json.loads(seen.body) for seen in provider.seen], read_receipts(folder)

    return asyncio.run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_an_unmarked_loop_gets_marks_and_the_baseline_is_what_it_would_have_cost(tmp_path: Path, stream: bool) -> None:
    untouched, _, plain = run(tmp_path / "off", "off", stream=stream)
    invoice, sent, receipts = run(tmp_path / "safe", "safe", stream=stream)
    without, paid = (sum(line.cost or 0 for line in lines) for lines in (untouched, invoice))
    assert len(invoice) == len(receipts) == CALLS

    assert paid < 0.8 * without
    assert "cache_control" not in json.dumps(sent[0])
    assert all("cache_control" in json.dumps(body) for body in sent[-4:])

    assert sum(row["cost_pico"] for row in plain) == without
    assert sum(row["cost_pico"] for row in receipts) == paid
    for row, line in zip(receipts, invoice, strict=True):
        assert row["cost_pico"] == line.cost

    computed = [row["baseline_pico"] for row in receipts]
    for own, line in zip(computed, untouched, strict=True):
        assert own == pytest.approx(line.cost, rel=0.01)
    assert sum(computed) == pytest.approx(without, rel=0.002)
    assert {row["basis"] for row in receipts[-4:]} == {"computed"}
