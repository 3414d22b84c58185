"""Budgets that hold: what a provider bills never passes a cap, and sessions that do well are not stopped.

    python -m bench.budgets --data streams/taubench_airline_session_sizes.jsonl.gz

overspend_pico_usd: 1,000 callers at once, each trying several times, against a cap that holds for a part of them only;
the real gateway in a process of its own, counters in memory with their journal, SQLite, Redis and Postgres (two
replicas there); one gateway is killed with SIGKILL while hundreds of calls are under way, and started again. What
counts is what the provider bills for every request that reached it, answered or cut; the worst of all stores.

false_halts: of sessions with reward 1, the share that is stopped when each is a sub-agent under the default budget,
with tokens weighted by price and prompt caching on. Sizes are characters; tokens are those divided by four.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from bench.process import command_path, free_port, tree, wait_until_up
from bench.result import progress, report
from pennyweight.backends.budget.amounts import Bounds
from pennyweight.backends.budget.budgets import Budgets
from pennyweight.backends.budget.limits import Lines, by_type
from pennyweight.backends.budget.settings import Budgeting, BudgetRule
from pennyweight.call import Identity
from pennyweight.clock import SystemClock
from pennyweight.errors import LimitReached
from pennyweight.money import Price, Rates, cost
from pennyweight.request import Charge, Usage
from pennyweight.stores.counters.memory import MemoryCounters
from pennyweight.testing.backend import make_call
from pennyweight.testing.http import Exchange, LoopbackServer

TARGETS = {"overspend_pico_usd": "== 0", "false_halts": "<= 0.05"}
STORES = ("memory", "sqlite", "redis", "postgres")
PRICE = Price(Rates(3_000_000, 15_000_000, 300_000, 3_750_000, 6_000_000))  # as of a model of the middle class
MODEL = "bench-1"
CAP_PICO = 3 * 10**12
CALLERS, TRIES, MOST_TRIES = 1_000, 4, 30
MAX_TOKENS = 500
UNDER_WAY = 80  # requests at the provider when the gateway is killed


# --- the cap ----------------------------------------------------------------------------------------------------


class Provider:
    """Bills every request that it gets, by the tokens that it says; some it cuts off, some it refuses and bills not."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self.billed_pico = 0
        self.requests = 0
        self.busy = asyncio.Event()

    async def answer(self, exchange: Exchange) -> None:
        self.requests += 1
        if self.requests == UNDER_WAY:
            self.busy.set()
        body = json.loads(exchange.body)
        fate = self._draw.random()
        if fate < 0.05:
            await exchange.send(529, b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}')
            return
        tokens, output = len(exchange.body) // 4, self._draw.randint(MAX_TOKENS // 3, body["max_tokens"])
        self.billed_pico += cost(
            Usage(tokens, cache_write_1h_tokens=tokens, output_tokens=output), PRICE, at=time.time()
        )
        await asyncio.sleep(self._draw.uniform(0.02, 0.4))
        usage = {
            "input_tokens": 0,
            "cache_creation_input_tokens": tokens,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": tokens},
            "output_tokens": output,
        }
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": MODEL,
            "content": [{"type": "text", "text": "word " * (output // 2)}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": usage,
        }
        with contextlib.suppress(OSError):
            if fate < 0.10:
                await exchange.start(200, {"content-type": "application/json", "content-length": "100000"})
                await exchange.write(json.dumps(message).encode()[:100])
                exchange.cut()
            elif body.get("stream"):
                await self._stream(exchange, message)
            else:
                await exchange.send(200, json.dumps(message).encode(), headers={"content-type": "application/json"})

    async def _stream(self, exchange: Exchange, message: dict[str, Any]) -> None:
        await exchange.start(200, {"content-type": "text/event-stream"})
        begun = message | {"content": [], "usage": message["usage"] | {"output_tokens": 1}, "stop_reason": None}
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": begun},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "word"}},
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": message["usage"]["output_tokens"]},
            },
            {"type": "message_stop"},
        ]
        for event in events:
            await exchange.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        await exchange.end()


class House:
    """The gateways over one store, each with its port; the first one is killed and started again."""

    def __init__(self, store: str, folder: Path, provider: str, replicas: int, urls: dict[str, str]) -> None:
        self._folder = folder
        self.ports = [free_port() for _ in range(replicas)]
        self._processes: list[subprocess.Popen[bytes]] = []
        config = folder / "pennyweight.toml"
        config.write_text(_CONFIG.format(store=store, cap=CAP_PICO / 10**12, model=MODEL), encoding="utf-8")
        self._environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(folder),
            "ANTHROPIC_API_KEY": "sk-ant-api-bench",
            "ANTHROPIC_BASE_URL": provider,
            **urls,
        }
        for number in range(replicas):
            self._processes.append(self._start(number))

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        command = [str(command_path()), "serve", "--port", str(self.ports[number]), "--holdout", "0"]
        command += ["--config", str(self._folder / "pennyweight.toml"), "--data", str(self._folder / f"data{number}")]
        with (self._folder / f"log{number}").open("ab") as log:
            process = subprocess.Popen(
                command, env=self._environment, cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until_up(self.ports[number], "/healthz", process=process)
        return process

    def kill(self) -> None:
        for pid in tree(self._processes[0].pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._processes[0].wait()

    def restart(self) -> None:
        self._processes[0] = self._start(0)

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


_CONFIG = """
[budgeting]
store = "{store}"

[[budgets]]
scope = "all"
per = "month"
usd = {cap}

[[budgets]]
scope = "session"
tokens = 1_000_000

[[prices]]
provider = "anthropic"
model = "{model}"
input = 3
output = 15
cache_read = 0.3
cache_write_5m = 3.75
cache_write_1h = 6
"""


async def attempt(port: int, number: int, stream: bool) -> int:
    """The status of one call, 0 where the connection broke."""
    body = {
        "model": MODEL,
        "max_tokens": MAX_TOKENS,
        "stream": stream,
        "messages": [{"role": "user", "content": f"Question {number}: what is the answer to it all, in some words?"}],
    }
    raw = json.dumps(body).encode()
    head = (
        f"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"x-pennyweight-session: s{number % 50}\r\ncontent-length: {len(raw)}\r\nconnection: close\r\n\r\n"
    )
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(head.encode() + raw)
            await writer.drain()
            answer = await asyncio.wait_for(reader.read(), 60)
        finally:
            writer.close()
    except (OSError, TimeoutError):
        return 0
    return int(answer[9:12]) if answer[:5] == b"HTTP/" and len(answer) > 12 else 0


async def against_the_cap(store: str, urls: dict[str, str], seed: int) -> dict[str, Any]:
    provider, statuses = Provider(seed), Counter[int]()
    draw = random.Random(seed)
    async with LoopbackServer(provider.answer) as server, _house(store, server.url, urls) as house:

        async def caller(number: int) -> None:
            answered = tried = 0
            while answered < TRIES and tried < MOST_TRIES:  # while the gateway is down, callers try again
                port = house.ports[(number + tried) % len(house.ports)]
                status = await attempt(port, number * 100 + tried, stream=number % 2 == 0)
                statuses[status] += 1
                answered, tried = answered + (status != 0), tried + 1
                await asyncio.sleep(draw.uniform(0.2, 1.5))

        callers = [asyncio.create_task(caller(number)) for number in range(CALLERS)]
        await asyncio.wait_for(provider.busy.wait(), 120)
        under_way = provider.requests
        await asyncio.to_thread(house.kill)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(house.restart)
        await asyncio.gather(*callers)
        told = await _states(house.ports[-1])
    over = max(provider.billed_pico - CAP_PICO, 0)
    share = provider.billed_pico / CAP_PICO
    progress(f"{store}: billed {share:.1%} of the cap, {provider.requests} requests, {dict(statuses)}, counted {told}")
    return {
        "overspend_pico_usd": over,
        "billed_share": round(share, 4),
        "requests_billed_or_not": provider.requests,
        "before_the_kill": under_way,
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "counted_share": told,
    }


async def _states(port: int) -> float | None:
    """The share of the cap that the gateway says is spent or held."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /pennyweight/budgets HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    with contextlib.suppress(ValueError, KeyError):
        for line in json.loads(answer.partition(b"\r\n\r\n")[2])["budgets"]:
            if line["scope"] == "all":
                return round((line["spent"] + line["held"]) / line["amount"], 4)
    return None


@asynccontextmanager
async def _house(store: str, provider: str, urls: dict[str, str]) -> AsyncIterator[House]:
    with tempfile.TemporaryDirectory(prefix="pennyweight-budgets-") as folder:
        replicas = 2 if store in ("redis", "postgres") else 1
        house = await asyncio.to_thread(House, store, Path(folder), provider, replicas, urls)
        try:
            yield house
        finally:
            await asyncio.to_thread(house.close)


def caps(stores: Sequence[str], seed: int) -> dict[str, dict[str, Any]]:
    from tests import engines

    found = {}
    with ExitStack() as stack:
        for store in stores:
            urls: dict[str, str] = {}
            if store in ("redis", "postgres"):
                engine = engines.redis() if store == "redis" else engines.postgres()
                stack.callback(engine.close)
                url = engine.url if store == "redis" else engines.schema_url(engine)
                urls = {f"PENNYWEIGHT_{store.upper()}_URL": url}
            found[store] = asyncio.run(against_the_cap(store, urls, seed))
    return found


# --- false halts ------------------------------------------------------------------------------------------------


class Turn(msgspec.Struct, frozen=True):
    """One call of a session, in tokens: what of its prompt is in the provider's cache, what is new, the answer."""

    cached: int
    fresh: int
    output: int


def turns(messages: Sequence[dict[str, Any]], chars_per_token: float, tools: int) -> list[Turn]:
    """tools: tokens of schemas that every prompt begins with; the recorded sizes have none."""
    found: list[Turn] = []
    cached, prompt = 0, tools
    for message in messages:
        tokens = -(-message["chars"] // chars_per_token)
        if message["role"] == "assistant":
            found.append(Turn(int(cached), int(prompt - cached), int(tokens)))
            cached = prompt
        prompt += tokens
    return found


async def halted(session: Sequence[Turn], rule: BudgetRule) -> bool:
    """Whether the session is stopped by that budget before its last call is answered."""
    clock = SystemClock()
    turn = session[0]

    def bounds(_call: Any) -> Bounds:
        prompt = turn.cached + turn.fresh
        worst = Usage(prompt, cache_write_5m_tokens=prompt, output_tokens=_CLIENTS_LIMIT)
        return Bounds(worst, Usage(prompt, cache_read_tokens=prompt), 0, 0, PRICE)

    budgets = Budgets(
        MemoryCounters(now=clock.now),
        clock,
        Lines([by_type(rule)], type_of=lambda _call: "sub_agent"),
        bounds=bounds,
        cost=lambda _charge: 0,
        price=lambda _charge: PRICE,
    )
    for turn in session:
        call = msgspec.structs.replace(make_call(), identity=Identity("local", "s"), facts={})
        try:
            hold = await budgets.reserve(call, budgets.lines(call))
        except LimitReached:
            return True
        usage = Usage(
            turn.cached + turn.fresh,
            cache_read_tokens=turn.cached,
            cache_write_5m_tokens=turn.fresh,
            output_tokens=turn.output,
        )
        await budgets.billed(hold, [Charge("anthropic", MODEL, usage, call.at)])
    return False


_CLIENTS_LIMIT = 32_000  # output tokens that coding agents ask for


async def share_halted(rows: Sequence[dict[str, Any]], rule: BudgetRule, chars: float, tools: int = 0) -> float:
    good = [row for row in rows if row["reward"] == 1]
    stopped = 0
    for row in good:
        stopped += await halted(turns(row["messages"], chars, tools), rule)
    return round(stopped / max(len(good), 1), 4)


def read(path: Path) -> list[dict[str, Any]]:
    opened: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


async def false_halts(rows: Sequence[dict[str, Any]], chars: float) -> dict[str, float]:
    settings = Budgeting()

    def rule(tokens: int, **more: Any) -> BudgetRule:
        return BudgetRule("session", tokens=tokens, type="sub_agent", **more)

    default = settings.sub_agent_tokens
    return {
        "default": await share_halted(rows, rule(default), chars),
        "with 2,500 tokens of tools": await share_halted(rows, rule(default), chars, 2_500),
        "at 3 characters a token": await share_halted(rows, rule(default), 3.0),
        f"{settings.cron_tokens:,}": await share_halted(rows, rule(settings.cron_tokens), chars),
        f"{settings.direct_tokens:,}": await share_halted(rows, rule(settings.direct_tokens), chars),
        "plain tokens": await share_halted(rows, rule(default, plain=True), chars),
        "worst case held": await share_halted(rows, rule(default, hold="worst"), chars),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.budgets", description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", type=Path, required=True, metavar="FILE")
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES))
    parser.add_argument("--chars-per-token", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = [row for path in options.data for row in read(path)]
    if not any(row.get("reward") == 1 for row in rows):
        sys.exit("no sessions with reward 1 in these files")
    halts = asyncio.run(false_halts(rows, options.chars_per_token))
    progress(f"halted: {halts}")
    stores = caps(options.stores, options.seed)
    return report(
        "budgets",
        figures={
            "overspend_pico_usd": max(found["overspend_pico_usd"] for found in stores.values()),
            "false_halts": halts["default"],
        },
        targets=TARGETS,
        data=[str(path) for path in options.data],
        seed=options.seed,
        stores=stores,
        halted=halts,
        sessions={"all": len(rows), "with reward 1": sum(row["reward"] == 1 for row in rows)},
    )


if __name__ == "__main__":
    sys.exit(main())
