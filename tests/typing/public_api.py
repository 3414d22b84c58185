"""The public API as a program uses it. Not run: mypy reads it, and every `assert_type` and expected error must hold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, assert_type

import msgspec
from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, OpenAI

import pennyweight
from pennyweight.app import App, Parts
from pennyweight.call import Call, Outcome, Proposal, Receipt, Rewrite
from pennyweight.client import Answer, Events, SyncEvents
from pennyweight.errors import PennyweightError, RateLimited
from pennyweight.money import PicoUSD, format_usd
from pennyweight.protocols import KV, Backend, Clock, Optimizer, Tokenizer
from pennyweight.request import Edit, Reply, Wire
from pennyweight.stores.memory import MemoryKV
from pennyweight.testing.backend import Script, ScriptedBackend, make_call
from pennyweight.testing.clock import FakeClock


def wraps_keep_their_class() -> None:
    assert_type(pennyweight.wrap(OpenAI()), OpenAI)
    assert_type(pennyweight.wrap(AsyncOpenAI()), AsyncOpenAI)
    assert_type(pennyweight.wrap(Anthropic(), "pennyweight.toml"), Anthropic)
    assert_type(pennyweight.wrap(AsyncAnthropic()), AsyncAnthropic)
    with pennyweight.wrap(OpenAI()) as client:
        assert_type(client, OpenAI)


async def asynchronous(streams: bool) -> None:
    async with pennyweight.AsyncClient(headers={"x-pennyweight-agent": "planner"}) as client:
        answer = await client.chat(model="m", messages=[{"role": "user", "content": "hi"}])
        assert_type(answer, Answer)
        assert_type(answer["choices"], Any)
        assert_type(answer.call_id, str)
        assert_type(await client.receipt(answer.call_id), Receipt | None)
        async with await client.messages(model="m", max_tokens=1, messages=[], stream=True) as events:
            assert_type(events, Events)
            async for event in events:
                assert_type(event, dict[str, Any])
        assert_type(await client.embeddings(model="m", input="x"), Answer)
        assert_type(await client.responses(model="m", input="x", stream=False), Answer)
        await client.chat("m")  # type: ignore[call-overload]


def synchronous() -> None:
    with pennyweight.Client() as client:
        assert_type(client.chat(model="m", messages=[]), Answer)
        with client.responses(model="m", input="x", stream=True) as events:
            assert_type(events, SyncEvents)
            for event in events:
                assert_type(event, dict[str, Any])
        assert_type(client.receipt("call_1"), Receipt | None)
        try:
            client.messages(model="m", max_tokens=1, messages=[])
        except RateLimited as error:
            assert_type(error.retry_after_s, float | None)
        except PennyweightError as error:
            assert_type(error.status, int)


async def an_app_of_ones_own() -> None:
    async with pennyweight.open("pennyweight.toml") as app:
        assert_type(app, App)
        backend: Backend = app.pipeline
        reply = await backend.open(make_call(wire=Wire.OPENAI_CHAT))
        assert_type(reply, Reply)
        async with reply:
            assert_type(await reply.read(), bytes)
        app.watchers.append(seen)
        app.watchers.append(print_one)  # type: ignore[arg-type]


def seen(receipt: Receipt, outcome: Outcome) -> None:
    saved: PicoUSD | None = (
        None if receipt.cost is None or receipt.baseline is None else receipt.baseline - receipt.cost
    )
    print("unpriced" if saved is None else format_usd(saved), outcome.status)
    format_usd(receipt.cost)  # type: ignore[arg-type]


def print_one(receipt: int) -> None: ...


class Settings(msgspec.Struct, frozen=True):
    risk: float = 0.0


class Trim:
    """A plugin's optimizer: a class of its own, of no base class of ours."""

    name = "trim"

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self.kv: KV = parts.kv
        self.clock: Clock = parts.clock
        self.tokenizer: Tokenizer = parts.tokenizer
        self.settings = settings

    async def propose(self, call: Call) -> Proposal | None:
        if call.request.wire is not Wire.OPENAI_CHAT:
            return None
        return Proposal(Rewrite((Edit(("user",), "x"),)), saving=1, risk=self.settings.risk, level="safe")

    async def settle(self, outcome: Outcome) -> None: ...

    def wants_response(self, call: Call) -> bool:
        return False


def build(settings: Settings, parts: Parts) -> Optimizer:
    return Trim(settings, parts)


class Halved:
    """A backend that wraps a backend."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner

    async def open(self, call: Call) -> Reply:
        return await self.inner.open(call)


def fakes_are_the_real_thing() -> tuple[Backend, KV, Clock]:
    clock = FakeClock()
    return Halved(ScriptedBackend(Script(status=429))), MemoryKV(clock=clock), clock


async def lifetimes() -> AsyncIterator[App]:
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(pennyweight.open())


Proposal("rewrite")  # type: ignore[arg-type]
Proposal(Rewrite(()), level="sometimes")  # type: ignore[arg-type]


@pennyweight.cached
def area(width: int, height: int = 2, *, unit: str = "m") -> list[int]:
    """How large."""
    return [width * height]


@pennyweight.cached(ttl=pennyweight.hours(24), stale=pennyweight.minutes(5), cost_usd=0.01)
async def ask(question: str) -> dict[str, int]:
    return {question: 1}


class Shop:
    @pennyweight.cached(key=lambda self, item: item)
    def price(self, item: str) -> float:
        return 1.0

    @pennyweight.cached(key=lambda self, item: item)
    async def stock(self, item: str) -> int:
        return 1


def texts_are_compressed() -> None:
    made = pennyweight.compress("[1, 2]", kind="json", query="2", room_tokens=10)
    assert_type(made, pennyweight.Compressed)
    assert_type(made.text, str)
    assert_type(made.references, tuple[str, ...])
    assert_type(made.guarantees, tuple[str, ...])
    pennyweight.compress("[1, 2]", kind="novel")  # type: ignore[arg-type]
    pennyweight.compress("[1, 2]", "json")  # type: ignore[call-arg]


async def cached_functions_keep_their_signatures() -> None:
    assert_type(area(1, 2, unit="m"), list[int])
    assert_type(await ask("x"), dict[str, int])
    assert_type(Shop().price("x"), float)
    assert_type(await Shop().stock("x"), int)
    area("1")  # type: ignore[arg-type]
    area(1, color="red")  # type: ignore[call-arg]
    await ask()  # type: ignore[call-arg]
    Shop().price(1)  # type: ignore[arg-type]
    area.invalidate(1)
    area.invalidate("1")  # type: ignore[arg-type]
    await ask.invalidate("x")
    await ask.invalidate_all()
    assert_type(area.stats().hit_share, float)
    pennyweight.cached(ttl="1h")  # type: ignore[call-overload]
    with pennyweight.Cache("pennyweight.toml", tenant="acme") as cache:
        assert_type(pennyweight.cached(cache=cache)(area.__call__)(1), list[int])
