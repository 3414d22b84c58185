"""Tool results through the real gateway: one agent's result is learnt as it passes, another agent's runner finds it."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

from tests.e2e.protocols import MESSAGES, protocol_of, whole
from tests.e2e.rig import Asked, Upstream, gateway, http

from pennyweight.stores.virtual_keys import KeyStore

CONFIG = """
[[tools]]
name = "web_search"
read_only = true
"""
HISTORY = [
    {"role": "user", "content": "What is new?"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "web_search", "input": {"q": "news"}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "Nothing is new."}]},
]


async def answer(asked: Asked) -> None:
    await asyncio.sleep(0)
    asked.writer.write(http(200, whole(protocol_of(asked.target), asked.model)))


def test_what_one_agent_found_another_need_not_look_for(tmp_path: Path) -> None:
    with Upstream(answer) as upstream, gateway(tmp_path, upstream, config=CONFIG) as process:
        keys = KeyStore(process.data)
        one, two = keys.add("one"), keys.add("two")
        body = MESSAGES.body("x") | {"messages": HISTORY}
        assert process.ask(MESSAGES.path, body, {"x-api-key": one}).status == 200
        lookup = {"name": "web_search", "arguments": {"q": "news"}}

        def ask(key: str) -> dict[str, object]:
            answered = process.ask("/v1/tools/cache/lookup", lookup, {"x-api-key": key})
            assert answered.status == 200, answered.body
            return json.loads(answered.body)

        deadline = time.monotonic() + 60
        while not (found := ask(one))["hit"]:  # the clerk looks at a call when its answer is out
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert (found["content"], found["source"]) == ("Nothing is new.", "learnt")
        assert ask(two) == {"hit": False}
        assert [asked.target for asked in upstream.seen] == [MESSAGES.path]  # nothing else was passed on


def test_a_cost_of_next_to_nothing_is_taken(tmp_path: Path) -> None:
    with Upstream(answer) as upstream, gateway(tmp_path, upstream, config=CONFIG) as process:
        for cost in (1e-7, 1e-13, 1e-300, 5e-324, 0.0, 1e8):
            body = {"name": "web_search", "arguments": {"q": str(cost)}, "content": "x", "cost_usd": cost}
            assert process.ask("/v1/tools/cache/store", body).status == 200, cost
