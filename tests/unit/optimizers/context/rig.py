"""Sessions of an agent that reads files, and a gateway with compaction before a provider that bills."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from tests.unit.gate_rig import CLAUDE, Rig, words

from pennyweight.call import Call, Outcome
from pennyweight.money import PicoUSD
from pennyweight.optimizers.context import Context, Settings, build
from pennyweight.request import Charge, Wire
from pennyweight.testing.backend import make_call
from pennyweight.wire.recall_tool import definition

READ = {"name": "read_file", "description": "Reads a file.", "input_schema": {"type": "object"}}
SETTINGS = Settings(session_tokens=6_000, turns=8, result_tokens=2_000, keep_turns=2)


class Book:
    def cost(self, charge: Charge) -> PicoUSD | None:
        return charge.usage.input_tokens * 3_000_000


class Summary(msgspec.Struct, frozen=True):
    text: str
    spent: PicoUSD = 0


class Written:
    """Summaries that are there or not."""

    def __init__(self) -> None:
        self.known: dict[str, Summary] = {}
        self.wanted: list[tuple[str, str]] = []

    def want(self, model: str, tenant: str, reference: str, text: str, query: str) -> bool:
        self.wanted.append((reference, text))
        return True

    async def ready(self, model: str, tenant: str, reference: str) -> Summary | None:
        return self.known.get(reference)


class Gateway(Rig):
    """`ask` also settles, as the clerk does."""

    def __init__(self, settings: Settings = SETTINGS, **options: Any) -> None:
        self.summaries = Written()
        self.context: Context | None = None
        self._settings = settings
        super().__init__(_Later(self), **options)
        self.book = Book()
        self.context = build(settings, self)  # type: ignore[arg-type]

    def ask(self, call: Call, *, after_s: float = 10.0) -> Outcome:
        outcome = super().ask(call, after_s=after_s)
        asyncio.run(self.pipeline.settle(outcome))
        return outcome

    @property
    def raw(self) -> bytes:
        """The newest body as the provider got it."""
        return self.provider.sent[-1].raw


class _Later:
    """The optimizer, made once its gateway is there."""

    name = "context"

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def propose(self, call: Call) -> Any:
        assert self._gateway.context is not None
        return self._gateway.context.propose(call)

    async def settle(self, outcome: Outcome) -> None:
        assert self._gateway.context is not None
        await self._gateway.context.settle(outcome)

    def wants_response(self, call: Call) -> bool:
        return False


def messages(turns: int, *, size: int = 600) -> list[dict[str, Any]]:
    """An agent's turns in Anthropic's form: each reads another file."""
    found: list[dict[str, Any]] = [{"role": "user", "content": "Find where the port is set and change it to 8080."}]
    for number in range(turns):
        path = f"src/part_{number}/settings_{number}.py"
        use = {"type": "tool_use", "id": f"toolu_{number}", "name": "read_file", "input": {"path": path}}
        said = {"type": "text", "text": f"Let me look at {path} next."}
        text = f"# {path}\n" + ".\n".join(words(20, f"f{number}l{line}-") for line in range(size // 20))
        result = {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": text}
        found += [{"role": "assistant", "content": [said, use]}, {"role": "user", "content": [result]}]
    return found


def asked(
    turns: int, *, size: int = 600, recall: bool = True, session: str = "s", headers: Any = (), **fields: Any
) -> Call:
    tools = [READ, definition(Wire.ANTHROPIC_MESSAGES)] if recall else [READ]
    body = {"model": CLAUDE, "max_tokens": 100, "cache_control": {"type": "ephemeral"}, "tools": tools}
    body |= {"messages": messages(turns, size=size), **fields}
    raw = msgspec.json.encode(body)
    return make_call(raw, wire=Wire.ANTHROPIC_MESSAGES, session=session, model=CLAUDE, optimize="max", headers=headers)
