"""Conversations for the prompt cache's tests, and a house that plays them: an economy, a gate, a provider's bills."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from pennyweight.call import Call, Identity, Optimize, Outcome, Step, Target
from pennyweight.economy import Economy
from pennyweight.money import Price, Rates
from pennyweight.optimizers.prompt_cache import PromptCache, Settings, build
from pennyweight.pipeline import Pipeline
from pennyweight.policy import Flag, Mode
from pennyweight.prefix import Blocks
from pennyweight.prices.caching import CacheBook
from pennyweight.request import Done, Request, Usage, Wire
from pennyweight.testing.backend import Script, ScriptedBackend
from pennyweight.testing.clock import FakeClock
from pennyweight.testing.prefix_cache import PrefixCache
from pennyweight.wire import translate

CLAUDE = "claude-sonnet-4-6"
PATHS = {
    Wire.ANTHROPIC_MESSAGES: "/v1/messages",
    Wire.OPENAI_CHAT: "/v1/chat/completions",
    Wire.OPENAI_RESPONSES: "/v1/responses",
    Wire.OLLAMA: "/api/chat",
}
PRICE = Price(Rates(input=3_000_000, output=0, cache_read=300_000, cache_write_5m=3_750_000, cache_write_1h=6_000_000))


def count(text: str) -> int:
    return -(-len(text) // 4)


def words(number: int, what: str) -> str:
    return " ".join(f"{what}{place}" for place in range(number))


def cost(usage: Usage) -> float:
    """Input cost in tokens of plain input, at Anthropic's relative prices."""
    writes = 1.25 * usage.cache_write_5m_tokens + 2 * usage.cache_write_1h_tokens
    return usage.uncached_tokens + 0.1 * usage.cache_read_tokens + writes


class Parts:
    """What an App hands to `build`."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.economy = Economy(blocks=Blocks(count=count), caches=CacheBook(), prices=lambda *_: PRICE)


class House:
    """One optimizer behind the gate, before a provider that bills by its own model of a cache."""

    def __init__(self, *, optimize: Optimize = "safe", mode: Mode = "on", **settings: Any) -> None:
        self.clock = FakeClock()
        self.parts = Parts(self.clock)
        self.optimize: Optimize = optimize
        self.optimizer: PromptCache = build(Settings(**settings), self.parts)
        self.pipeline = Pipeline(
            [(self.optimizer, Flag(mode))],
            ScriptedBackend(Script()),
            submit=lambda _: None,
            clock=self.clock,
            propose_s=5.0,
            economy=self.parts.economy,
        )
        self.bills, self.untouched = PrefixCache(count), PrefixCache(count)
        self.paid = self.asked = 0.0
        self.usages: list[Usage] = []

    def call(
        self,
        body: dict[str, Any],
        wire: Wire = Wire.ANTHROPIC_MESSAGES,
        *,
        session: str = "s",
        target: Target | None = None,
    ) -> Call:
        request = Request(wire, msgspec.json.encode(body), path=PATHS[wire])
        provider = "anthropic" if wire is Wire.ANTHROPIC_MESSAGES else "openai"
        target = target or Target(provider, str(body["model"]), wire)
        return Call("c", Identity("local", session), request, request, target, self.clock.now(), self.optimize)

    def play(self, call: Call, *, gap_s: float = 5.0) -> Call:
        """Consult, bill, learn and settle after `gap_s`; gives the call as it was sent."""

        async def main() -> Call:
            self.clock.advance(gap_s)
            sent, _ = await self.pipeline.consult(call)
            usage = self._bill(self.bills, sent, sent.request)
            self.usages.append(usage)
            self.paid += cost(usage)
            self.asked += cost(self._bill(self.untouched, call, call.request))
            self.pipeline.follow(sent, usage)
            await self.pipeline.settle(Outcome(sent, Done(usage, "stop"), 200, "p"))
            return sent

        return asyncio.run(main())

    def _bill(self, cache: PrefixCache, call: Call, request: Request) -> Usage:
        """What the target reads of it, in the target's protocol."""
        wire = call.target.wire
        if request.wire is not wire:
            request = translate.request(request, wire, model=call.target.model).request
        return cache.account(wire, request.body, at=self.clock.now())

    def run(self, bodies: Sequence[dict[str, Any]], *, gap_s: float = 5.0, **more: Any) -> list[Call]:
        return [self.play(self.call(body, **more), gap_s=gap_s) for body in bodies]


def loop(
    calls: int, *, system: Any = None, tools: int = 3, result: int = 400, parts: int = 1, transient: bool = False
) -> Iterator[dict[str, Any]]:
    """An agent's tool loop on the Messages API: each request is the one before, an answer and its results."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Please look into it."}]
    for number in range(calls):
        body: dict[str, Any] = {"model": CLAUDE, "max_tokens": 100, "messages": list(messages)}
        if system != "":
            body["system"] = system or words(900, "rule")
        if tools:
            body["tools"] = [tool(f"t{place}") for place in range(tools)]
        if transient:
            text = f"<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>> {words(30, f'now{number}x')}"
            body["messages"].append({"role": "user", "content": [{"type": "text", "text": text}]})
        yield copy.deepcopy(body)  # so that tests may change one and not the others
        uses = [{"type": "tool_use", "id": f"u{number}_{n}", "name": "t0", "input": {}} for n in range(parts)]
        results = [
            {
                "type": "tool_result",
                "tool_use_id": f"u{number}_{n}",
                "content": words(result // parts, f"r{number}x{n}_"),
            }
            for n in range(parts)
        ]
        messages += [{"role": "assistant", "content": uses}, {"role": "user", "content": results}]


def marked(bodies: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same from a client that caches well: marks on the system prompt and on the newest message."""
    found = copy.deepcopy(list(bodies))
    for body in found:
        body["system"] = [{"type": "text", "text": body["system"], "cache_control": {"type": "ephemeral"}}]
        last = body["messages"][-1]
        if isinstance(last["content"], str):
            last["content"] = [{"type": "text", "text": last["content"]}]
        last["content"][-1]["cache_control"] = {"type": "ephemeral"}
    return found


def tool(name: str) -> dict[str, Any]:
    return {"name": name, "description": words(60, name), "input_schema": {"type": "object", "properties": {}}}


def marks(body: Any) -> list[tuple[tuple[Any, ...], str]]:
    """Where marks stand in a request, in the provider's order, and their lives."""
    order = {"tools": 0, "system": 1, "instructions": 1}
    found: list[tuple[tuple[Any, ...], str]] = []
    for key in sorted(body, key=lambda key: order.get(key, 2)):
        found += _marks(body[key], (key,))
    return found


def _marks(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], str]]:
    if isinstance(value, list):
        for place, item in enumerate(value):
            yield from _marks(item, (*path, place))
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key != "cache_control":
                yield from _marks(inner, (*path, key))
        if "cache_control" in value:
            yield path, value["cache_control"].get("ttl", "5m")


def bare(value: Any) -> Any:
    """A body as a model reads it: without marks, a lone text block as its text."""
    if isinstance(value, list):
        plain = [bare(item) for item in value]
        lone = len(plain) == 1 and isinstance(plain[0], dict) and plain[0].keys() == {"type", "text"}
        return plain[0]["text"] if lone else plain
    if isinstance(value, dict):
        return {key: bare(inner) for key, inner in value.items() if key not in ("cache_control", "prompt_cache_key")}
    return value


def steps(call: Call) -> list[Step]:
    return [step for step in call.trail if step.optimizer == "prompt_cache"]
