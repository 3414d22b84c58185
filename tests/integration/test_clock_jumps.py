"""A clock that is set forward and back by hours and years, under a whole App."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from pennyweight.app import App, build, chores
from pennyweight.config import load
from pennyweight.front.auth import Gate
from pennyweight.front.front import Front
from pennyweight.front.http import HttpRequest
from pennyweight.ledger.reading import receipts
from pennyweight.ledger.report import Query, summary
from pennyweight.routing.learning.outcomes import Told
from pennyweight.stores.route_outcomes import SQLiteOutcomes
from pennyweight.stores.sqlite import Database, SQLiteLedger
from pennyweight.testing.contracts import sample_receipt
from pennyweight.testing.http import LoopbackServer

NOON = 1_800_014_400.0
HOUR = 3_600.0
JUMPS = (HOUR, -3 * HOUR, 26 * HOUR, -24 * HOUR, 400 * 86_400.0, -400 * 86_400.0, -NOON, NOON, 0.0)


class SetClock:
    """Told the time of day by somebody else; its seconds pass on their own."""

    def __init__(self) -> None:
        self.wall = NOON

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return time.monotonic()


Ask = Callable[..., Awaitable[Any]]


def drive(folder: Path, work: Callable[[App, SetClock, Ask], Awaitable[None]], text: str = "") -> None:
    asked = 0

    async def provider(exchange: Any) -> None:
        nonlocal asked
        asked += 1
        answer = {
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": str(asked)}}],
            "usage": {"prompt_tokens": 1_000, "completion_tokens": 10, "total_tokens": 1_010},
        }
        await exchange.send(200, json.dumps(answer).encode(), headers={"content-type": "application/json"})

    async def main() -> None:
        file = folder / "pennyweight.toml"
        file.write_text(text)
        clock = SetClock()
        async with LoopbackServer(provider) as server:
            env = {
                "PENNYWEIGHT_DATA": str(folder), "OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{server.url}/v1",
            }  # fmt: skip
            async with asyncio.timeout(60), build(load(file, env), clock=clock) as app:
                front = Front(app, Gate(app.config, app.keys))

                async def ask(text: str, key: str = "", **more: Any) -> Any:
                    body = {
                        "model": "gpt-4o",
                        "temperature": 0,
                        "messages": [{"role": "user", "content": text}],
                        **more,
                    }
                    headers = (("host", "127.0.0.1:1"), *((("x-pennyweight-key", key),) if key else ()))
                    path = "/v1/chat/completions"
                    raw = json.dumps(body).encode()
                    answer = await front.respond(HttpRequest("POST", path, "", headers, raw, "127.0.0.1"))
                    if answer.close is not None:
                        await answer.close()
                    return answer

                await work(app, clock, ask)

    asyncio.run(main())


def test_calls_and_receipts_go_on_whatever_the_clock_says(tmp_path: Path) -> None:
    async def work(app: App, clock: SetClock, ask: Ask) -> None:
        for number, jump in enumerate(JUMPS):
            clock.wall += jump
            answer = await ask(f"question {number}", user=f"u{number % 2}")
            assert answer.status == 200
        assert await app.clerk.flush(), app.clerk.counters.last_error
        assert app.clerk.counters.lost == 0

    drive(tmp_path, work)
    found = list(receipts(tmp_path / "pennyweight.db"))
    assert len(found) == len(JUMPS)
    for receipt in found:
        assert receipt.latency_s >= 0
        assert receipt.added_s >= 0
        assert receipt.ttft_s is None or receipt.ttft_s >= 0
        assert receipt.cost is None or receipt.cost > 0
        assert receipt.baseline is None or receipt.baseline >= 0
    for by in ("day", "week", "month", "model"):
        assert summary(tmp_path / "pennyweight.db", Query(by=by)).total.calls == len(JUMPS)  # type: ignore[arg-type]


def test_an_answer_from_the_future_is_not_given_again(tmp_path: Path) -> None:
    async def work(app: App, clock: SetClock, ask: Ask) -> None:
        async def cached() -> bool:
            answer = await ask("the same")
            await app.clerk.flush()
            return dict(answer.headers).get("x-pennyweight-cache") == "hit"

        assert not await cached()
        assert await cached()
        clock.wall -= 5 * HOUR  # it was kept by a clock that was five hours fast
        assert not await cached()
        assert await cached()

    drive(tmp_path, work, '[[optimizers]]\nuse = "exact_cache"\n')


def test_a_daily_limit_is_that_of_the_day_the_clock_tells(tmp_path: Path) -> None:
    async def work(app: App, clock: SetClock, ask: Ask) -> None:
        key = app.keys.add("team", daily_usd="0.012")  # a call is reserved at its worst case and comes to $0.0026
        statuses = [(await ask(f"q{n}", key, max_tokens=10)).status for n in range(9)]
        assert statuses[0] == 200
        assert statuses[-1] == 402
        clock.wall += 24 * HOUR
        assert (await ask("next day", key, max_tokens=10)).status == 200
        clock.wall -= 24 * HOUR  # back on the day that is spent
        assert (await ask("back", key, max_tokens=10)).status == 402

    drive(tmp_path, work)


def test_a_clock_set_forward_by_years_empties_no_ledger(tmp_path: Path) -> None:
    clock = SetClock()
    left: set[str] = set()

    async def main() -> None:
        database = Database(tmp_path / "pennyweight.db")
        ledger = SQLiteLedger(database)
        days = [sample_receipt(f"c{day}", at=NOON - day * 86_400) for day in range(20)]
        await ledger.append(days)
        outcomes = SQLiteOutcomes(database)
        told = [Told(r.at, "local", "code", "m", 1.0, "judge", 1.0, call_id=r.call_id) for r in days]
        await outcomes.add(told)
        slept: list[float] = []

        async def sleep(seconds: float) -> None:
            slept.append(seconds)
            clock.wall += 10 * 365 * 86_400.0
            if len(slept) == 3:
                raise asyncio.CancelledError

        real, asyncio.sleep = asyncio.sleep, sleep  # type: ignore[assignment]
        try:
            await chores.forget((ledger, outcomes), clock, 10)
        except asyncio.CancelledError:
            pass
        finally:
            asyncio.sleep = real
        left.update(one.call_id for one in await outcomes.newest(limit=99))
        await database.close()

    asyncio.run(main())
    kept = {receipt.call_id for receipt in receipts(tmp_path / "pennyweight.db")}
    assert kept == left == {f"c{day}" for day in range(10)}
