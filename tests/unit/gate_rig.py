"""A pipeline with an economy before a provider that bills by a model of prompt caches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from pennyweight.call import Call, Credential, Outcome, Proposal, Rewrite
from pennyweight.economy import Economy
from pennyweight.money import Price, Rates
from pennyweight.pipeline import Pipeline
from pennyweight.policy import Flag
from pennyweight.prefix import Blocks
from pennyweight.prices.caching import CacheBook
from pennyweight.request import Charge, Done, Edit, Reply, Request, Usage, Wire
from pennyweight.testing.backend import make_call
from pennyweight.testing.clock import FakeClock
from pennyweight.testing.prefix_cache import PrefixCache

CLAUDE = "claude-sonnet-4-5"
RATES = Rates(3_000_000, 15_000_000, cache_read=300_000, cache_write_5m=3_750_000, cache_write_1h=6_000_000)
PRICE = Price(RATES)
MARK = {"type": "ephemeral"}


def count(text: str) -> int:
    return len(text.split())


def economy(price: Price | None = PRICE) -> Economy:
    return Economy(blocks=Blocks(count=count), caches=CacheBook(), prices=lambda provider, model, at: price)


def words(number: int, salt: str = "w") -> str:
    return " ".join(f"{salt}{n}" for n in range(number))


def turns(number: int, *, size: int = 700, mark: bool = True, salt: str = "w") -> list[dict[str, Any]]:
    """A conversation of so many user turns, answered all but the last; a mark on the last."""
    messages: list[dict[str, Any]] = []
    for n in range(number):
        block: dict[str, Any] = {"type": "text", "text": words(size, f"{salt}u{n}-")}
        messages.append({"role": "user", "content": [block]})
        messages.append({"role": "assistant", "content": f"answer {n}"})
    messages.pop()
    if mark:
        messages[-1]["content"][0]["cache_control"] = MARK
    return messages


def asks(messages: Sequence[Any], *, session: str = "s", wire: Wire = Wire.ANTHROPIC_MESSAGES, **fields: Any) -> Call:
    """A call with these messages. fields: of the body, and those of the call that it names (tenant, credential…)."""
    identity = {key: fields.pop(key) for key in ("tenant", "provider", "optimize", "credential") if key in fields}
    body = {"model": CLAUDE, "max_tokens": 100, **fields, "messages": list(messages)}
    return make_call(json.dumps(body).encode(), wire=wire, session=session, model=CLAUDE, **identity)


class Provider:
    """Bills what it is sent; `status` and `elsewhere` (another provider's name) set how the next calls go."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.sent: list[Request] = []
        self.bills: list[Usage] = []
        self.refuses: Callable[[Request], bool] = lambda request: False
        self.status = 200
        self.notes: list[Any] = []
        self.elsewhere = ""
        self.bill: Usage | None = None  # in place of what the cache would bill
        self.done: Done | None = None  # in place of an end that tells the bill
        self._cache = PrefixCache(count)

    async def open(self, call: Call) -> Reply:
        self.sent.append(call.request)
        status = 400 if self.refuses(call.request) else self.status
        if status != 200:
            return Reply(status, (), wire=call.target.wire, content=b"{}", done=Done())
        account = call.credential.secret if call.credential else ""
        prompt = self.bill or self._cache.account(
            call.target.wire, call.request.body, at=self.clock.now(), tenant=account
        )
        usage = msgspec.structs.replace(prompt, output_tokens=50)
        self.bills.append(usage)
        charge = Charge(self.elsewhere or call.target.provider, call.target.model, usage, call.at)
        done = self.done or Done(usage, "end_turn", (charge,))
        reply = Reply(200, (), wire=call.target.wire, content=b"{}", done=done)
        reply.notes = list(self.notes)
        return reply


class Edits:
    """An optimizer that proposes what its function says."""

    def __init__(self, edits: Callable[[Call], Sequence[Edit]], name: str = "edits", **fields: Any) -> None:
        self.name = name
        self._edits = edits
        self._fields = {"saving": 1, "level": "safe", **fields}

    async def propose(self, call: Call) -> Proposal | None:
        edits = tuple(self._edits(call))
        return Proposal(Rewrite(edits), **self._fields) if edits else None

    async def settle(self, outcome: Outcome) -> None: ...

    def wants_response(self, call: Call) -> bool:
        return False


class Rig:
    """One gateway's worth of it. `ask` sends a call and gives its outcome."""

    def __init__(self, *optimizers: Any, price: Price | None = PRICE, **options: Any) -> None:
        self.clock = options.pop("clock", None) or FakeClock()
        self.provider = options.pop("provider", None) or Provider(self.clock)
        self.economy = options.pop("economy", None) or economy(price)
        self.outcomes: list[Outcome] = []
        self.pipeline = Pipeline(
            [(optimizer, Flag()) for optimizer in optimizers],
            self.provider,
            submit=self.outcomes.append,
            clock=self.clock,
            economy=self.economy,
            **options,
        )

    def ask(self, call: Call, *, after_s: float = 10.0) -> Outcome:
        self.clock.advance(after_s)

        async def main() -> None:
            async with await self.pipeline.open(call) as reply:
                await reply.read()

        asyncio.run(main())
        return self.outcomes[-1]

    def texts(self) -> list[Any]:
        """The messages of the newest request as the provider got it."""
        return self.provider.sent[-1].body["messages"]


def verdicts(outcome: Outcome) -> list[tuple[str, str]]:
    return [(step.optimizer, step.verdict.value) for step in outcome.call.trail]


def key(secret: str, *, subscription: bool = False) -> Credential:
    return Credential("x-api-key", secret, subscription=subscription)
