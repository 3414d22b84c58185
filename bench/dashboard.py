"""How fast the dashboard is over a large ledger, and how soon a call is on it.

A ledger of a million receipts (see `dashboard_ledger`) is written as the gateway writes it and rolled up; then a
gateway in a process of its own is asked for every view, over every span of time, as the operator and as the holder of a
key, one request after the other. `p95_ms_VIEW` is over all of these, `view_p95_ms` the worst of them. `live_s` is the
longest of several waits from a call's answer until its figures are there, for a page that asks once a second as ours.

`append_us`: writing a receipt, batches of 64; `roll_us`: rolling one up later, in the background.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from threading import Thread

from pennyweight.stores.rollups import Rollups
from pennyweight.stores.sqlite import FILE, Database, SQLiteLedger
from pennyweight.stores.virtual_keys import KeyStore
from pennyweight.testing.http import Exchange, LoopbackServer

from .dashboard_ledger import generate
from .process import Gateway, cpu_s, gateway
from .result import progress, report

TARGETS = {"view_p95_ms": "<= 300", "live_s": "<= 2"}
RANGES = ("today", "7d", "30d", "90d", "all")
BY = ("model", "provider", "agent", "session", "task", "skill", "tenant")
PULSE_S = 1.0
ANSWER = {
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 1_000, "completion_tokens": 10},
}
EXAMPLES = """examples:
  python -m bench.dashboard
  python -m bench.dashboard --receipts 100000 --rounds 3
  python -m bench.dashboard --keep ~/big-ledger     (written the first time, used again)"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.dashboard",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--receipts", type=int, default=1_000_000, help="in the ledger (default 1,000,000)")
    parser.add_argument("--rounds", type=int, default=6, help="of all views (default 6)")
    parser.add_argument("--calls", type=int, default=8, help="live calls (default 8)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for the ledger, to be used again")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pennyweight-bench-") as folder:
        data: Path = given.keep or Path(folder) / "data"
        figures = {} if (data / FILE).exists() else asyncio.run(_write(data, given.receipts, given.seed))
        figures["ledger_mb"] = round((data / FILE).stat().st_size / 1e6, 1)
        store = KeyStore(data)
        if store.any():
            store.revoke("team-1")
        key = store.add("team-1")
        with _provider() as url, gateway({"OPENAI": f"{url}/v1"}, data=data) as ours:
            times, cpu_ms = _views(ours, key, given.rounds)
            waits = [_live(ours.port, number) for number in range(given.calls)]
    p95 = {f"p95_ms_{view}": _percentile(taken, 95) for view, taken in sorted(times.items())}
    figures |= {"view_p95_ms": max(p95.values()), "live_s": round(max(waits), 2), **p95}
    return report(
        "dashboard",
        figures=figures,
        targets=TARGETS,
        seed=given.seed,
        receipts=given.receipts,
        requests=sum(map(len, times.values())),
        cpu_ms=cpu_ms,
        p50_ms={view: _percentile(taken, 50) for view, taken in sorted(times.items())},
        worst_ms={view: round(max(taken), 1) for view, taken in sorted(times.items())},
        live_s_each=[round(wait, 2) for wait in waits],
    )


async def _write(data: Path, count: int, seed: int) -> dict[str, float]:
    """The ledger, and what writing and rolling up a receipt took (microseconds, wall)."""
    progress(f"writing {count:,} receipts to {data}")
    database = Database(data / FILE)
    ledger, rollups = SQLiteLedger(database), Rollups(database)
    appending, receipts, written = 0.0, generate(count, end=time.time(), seed=seed), 0
    while batch := list(islice(receipts, 64)):
        start = time.perf_counter()
        await ledger.append(batch)
        appending += time.perf_counter() - start
        written += len(batch)
        if written % 256_000 < 64:
            progress(f"  {written:,}")
    start = time.perf_counter()
    while left := await rollups.advance():
        if left % 250_000 < 1_000:
            progress(f"  {left:,} to roll up")
    rolling = time.perf_counter() - start
    await database.close()
    return {"append_us": round(appending / count * 1e6, 1), "roll_us": round(rolling / count * 1e6, 1)}


def _views(ours: Gateway, key: str, rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """By view: milliseconds of each request, and the gateway's mean CPU milliseconds for one."""
    times: dict[str, list[float]] = defaultdict(list)
    cpu: dict[str, float] = defaultdict(float)
    connection = HTTPConnection("127.0.0.1", ours.port, timeout=60)
    for number in range(rounds):
        for headers in ({}, {"authorization": f"Bearer {key}"}):
            for view, query in _requests():
                used, start = cpu_s(ours.pid), time.perf_counter()
                _get(connection, f"/pennyweight/dashboard/{view}?{query}", headers)
                times[view].append((time.perf_counter() - start) * 1000)
                cpu[view] += (cpu_s(ours.pid) - used) * 1000
        progress(f"round {number + 1}: slowest so far {max(max(taken) for taken in times.values()):.0f} ms")
    return times, {view: round(spent / len(times[view]), 1) for view, spent in sorted(cpu.items())}


def _requests() -> Iterator[tuple[str, str]]:
    for span in RANGES:
        for view in ("pulse", "overview", "caches", "optimizers"):
            yield view, f"range={span}"
        for by in BY:
            yield "breakdown", f"range={span}&by={by}"
        for order in ("recent", "cost"):
            yield "sessions", f"range={span}&order={order}"
    for session in ("", "session=ses_00042&tenant=local"):
        yield "calls", session
    for search in ("", "search=sonnet"):
        yield "prices", search
    yield "budgets", ""


def _live(port: int, number: int) -> float:
    """Seconds from a call's answer until a page that asks once a second has its figures."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)

    def pulse() -> str:
        return str(json.loads(_get(connection, "/pennyweight/dashboard/pulse", {}))["state"])

    def calls() -> int:
        return int(json.loads(_get(connection, "/pennyweight/dashboard/overview?range=today", {}))["total"]["calls"])

    state, before = pulse(), calls()
    time.sleep(number / 8 * PULSE_S)  # the call comes at another moment of the page's second each time
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": f"live {number}"}]})
    connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    connection.getresponse().read()
    answered = time.perf_counter()
    beat = answered + PULSE_S - number / 8 * PULSE_S
    while True:
        time.sleep(max(beat - time.perf_counter(), 0))
        beat += PULSE_S
        if pulse() != state:
            if calls() > before:
                return time.perf_counter() - answered
            state = pulse()
        if time.perf_counter() - answered > 30:
            raise RuntimeError("the call did not come to the dashboard within 30 s")


def _get(connection: HTTPConnection, path: str, headers: dict[str, str]) -> bytes:
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path} was answered {answer.status}: {body[:200]!r}")
    return body


@contextmanager
def _provider() -> Iterator[str]:
    """An OpenAI that always says hi, in a thread."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def answer(exchange: Exchange) -> None:
        await exchange.send(200, json.dumps(ANSWER).encode(), headers={"content-type": "application/json"})

    server = LoopbackServer(answer)
    asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
    try:
        yield server.url
    finally:
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def _percentile(values: Sequence[float], percent: int) -> float:
    """By nearest rank."""
    ranked = sorted(values)
    return round(ranked[-(-len(ranked) * percent // 100) - 1], 1)


if __name__ == "__main__":
    sys.exit(main())
