"""A batch lane over a real provider of batches on loopback, its shelf in a real file."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from pennyweight.backends.ask_usage import AskUsage
from pennyweight.backends.lanes.batching import BatchLane
from pennyweight.backends.lanes.carrying import Pace
from pennyweight.backends.transport import Http1, origin
from pennyweight.backends.upstream import Dispatch, Upstream
from pennyweight.call import Call, Outcome, Target
from pennyweight.clock import SystemClock
from pennyweight.money import Price, Rates, cost
from pennyweight.request import Charge, Operation, Reply, Wire
from pennyweight.routing.background import LaneSettings, background
from pennyweight.routing.batches import Batch, Group
from pennyweight.stores.lanes import SQLiteShelf
from pennyweight.stores.owners import Owner
from pennyweight.stores.sealed import Codec
from pennyweight.stores.sqlite import Database
from pennyweight.testing.backend import make_call
from pennyweight.testing.batches import BatchProvider


def looped(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that runs in a loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


PACE = Pace(poll_s=0.02, most_poll_s=0.05, quiet_s=0.05)
SETTINGS = LaneSettings(marked=True, batch=("p",), window_s=0.05, margin_s=1.0, deadline_s=4 * 3600)
PRICE = Price(Rates(input=2_000_000, output=8_000_000))
PATHS = {
    Wire.OPENAI_CHAT: "/v1/chat/completions",
    Wire.OPENAI_RESPONSES: "/v1/responses",
    Wire.ANTHROPIC_MESSAGES: "/v1/messages",
}


def body_of(wire: Wire, text: str, **fields: Any) -> bytes:
    if wire is Wire.OPENAI_RESPONSES:
        return msgspec.json.encode({"model": "m", "input": text, **fields})
    body = {"model": "m", "messages": [{"role": "user", "content": text}]}
    if wire is Wire.ANTHROPIC_MESSAGES:
        body["max_tokens"] = 100
    return msgspec.json.encode(body | fields)


def marked(text: str, wire: Wire = Wire.OPENAI_CHAT, *, deadline_s: float | None = None, **fields: Any) -> Call:
    """A call with the mark, for the provider `p`."""
    headers = [("x-pennyweight-lane", "background")]
    headers += [("x-pennyweight-deadline-s", str(deadline_s))] if deadline_s is not None else []
    call = make_call(body_of(wire, text, **fields), wire=wire, path=PATHS[wire], headers=tuple(headers))
    return msgspec.structs.replace(call, target=Target("p", "m", wire), at=SystemClock().now(), id=f"call-{text[:40]}")


def embedding(inputs: Any) -> Call:
    raw = msgspec.json.encode({"model": "e", "input": inputs})
    headers = (("x-pennyweight-lane", "background"),)
    call = make_call(raw, path="/v1/embeddings", operation=Operation.EMBED, headers=headers)
    return msgspec.structs.replace(call, target=Target("p", "e", Wire.OPENAI_CHAT), at=SystemClock().now())


class Bench:
    """`lane`, its provider, and what it told the ledger."""

    def __init__(self, lane: BatchLane, provider: BatchProvider, shelf: SQLiteShelf) -> None:
        self.lane = lane
        self.provider = provider
        self.shelf = shelf
        self.outcomes: list[Outcome] = []

    async def ask(self, call: Call) -> tuple[Reply, bytes]:
        async with await self.lane.open(call) as reply:
            return reply, await reply.read()

    async def texts(self, *calls: Call) -> list[str]:
        """What was answered, all asked at once."""
        answers = await asyncio.gather(*map(self.ask, calls))
        return [text_of(content) for _, content in answers]


def text_of(content: bytes) -> str:
    told = msgspec.json.decode(content)
    if "error" in told:
        return ""
    if "choices" in told:
        return str(told["choices"][0]["message"]["content"])
    if "output" in told:
        return str(told["output"][0]["content"][0]["text"])
    return str(told["content"][0]["text"])


def costs(charge: Charge) -> int:
    return cost(charge.usage, PRICE, at=charge.at)


@asynccontextmanager
async def bench(
    folder: Path, provider: BatchProvider, *, settings: LaneSettings = SETTINGS, quick: bool = False, start: bool = True
) -> AsyncIterator[Bench]:
    """quick: the provider has been quick before, so that a near deadline can be met."""
    clock = SystemClock()
    database = Database(folder / "lanes.db")
    owner = Owner(folder / "owners")
    shelf = SQLiteShelf(database, Codec(), owner)
    if quick:
        group = Group("p", Wire.OPENAI_CHAT, "/v1/chat/completions", "m")
        now = clock.now()
        ended = [
            Batch(f"old{n}", group, now - 9, 1, "ended", remote="r", asked_at=now - 9, ended_at=now - 8.9)
            for n in range(50)
        ]
        before = Owner(folder / "owners")
        await SQLiteShelf(database, Codec(), before).keep(batches=ended)
        before.close()
    url = origin(f"{provider.url}/v1")
    upstream = Upstream("p", dict.fromkeys(PATHS, url), Http1(), clock=clock, pick_key=lambda _call: "sk-ours")
    inner = AskUsage(Dispatch({"p": upstream}))
    made: list[Bench] = []
    lane = BatchLane(
        inner,
        shelf,
        clock,
        settings=settings,
        decide=lambda call: background(call, settings),
        cost=costs,
        submit=lambda outcome: made[0].outcomes.append(outcome),
        pace=PACE,
    )
    made.append(Bench(lane, provider, shelf))
    try:
        if start:
            await lane.start()
        yield made[0]
    finally:
        await lane.aclose()
        await upstream.aclose()
        owner.close()
        await database.close()
