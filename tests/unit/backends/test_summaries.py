from __future__ import annotations

import asyncio
import json
from typing import Any

from pennyweight.backends.summaries import Summaries
from pennyweight.call import Target
from pennyweight.request import Charge, Wire
from pennyweight.stores.memory import MemoryKV
from pennyweight.testing.backend import Script, ScriptedBackend
from pennyweight.testing.clock import FakeClock

TEXT = "The server listens on port 8080 in src/app.py. " * 40


def answer(said: str, *, finish: str = "stop", status: int = 200) -> Script:
    body = {"choices": [{"message": {"content": said}, "finish_reason": finish}]}
    return Script(status=status, content=json.dumps(body).encode())


def summaries(backend: ScriptedBackend) -> Summaries:
    clock = FakeClock()

    def resolve(model: str, wire: Wire) -> Target:
        return Target("p", model, wire)

    def cost(charge: Charge) -> int:
        return charge.usage.output_tokens * 1_000

    return Summaries(lambda: backend, resolve, MemoryKV(clock=clock), clock, cost=cost)


def asked(backend: ScriptedBackend, *, times: int = 1, model: str = "small") -> tuple[list[bool], Any, Any]:
    """What `want` said each time, what is ready for the tenant and for another."""

    async def main() -> tuple[list[bool], Any, Any]:
        made = summaries(backend)
        said = []
        for _ in range(times):
            said.append(made.want(model, "t", "rabc", TEXT, "find the port"))
            if made._task is not None:
                await asyncio.wait({made._task})
        found = await made.ready(model, "t", "rabc"), await made.ready(model, "other", "rabc")
        await made.aclose()
        return said, *found

    return asyncio.run(main())


def test_a_summary_is_kept_with_what_it_cost_for_its_tenant_alone() -> None:
    backend = ScriptedBackend(answer("Port 8080, in src/app.py."))
    said, own, other = asked(backend)
    assert said == [True]
    assert own.text == "Port 8080, in src/app.py."
    assert own.spent == 5_000
    assert other is None
    body = backend.calls[0].request.body
    assert backend.calls[0].optimize == "off"
    assert "find the port" in body["messages"][0]["content"]
    assert TEXT in body["messages"][0]["content"]


def test_what_says_more_than_its_text_or_is_cut_or_too_long_is_thrown_away_and_not_asked_for_again() -> None:
    for script in (
        answer("Port 9090, in src/app.py."),
        answer("Port 8080.", finish="length"),
        answer(TEXT),
        answer("", status=500),
    ):
        backend = ScriptedBackend(script)
        said, own, _ = asked(backend, times=2)
        assert own is None
        assert said == [True, False]
        assert len(backend.calls) == 1
