"""`pennyweight cache` as it is called: asking beforehand, seeing what is kept, dropping it, and the figures."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pennyweight.cli.cache import command
from pennyweight.errors import NotFound
from pennyweight.ledger.functions import FunctionDelta, write_functions
from pennyweight.stores.database import FILE, Database
from pennyweight.testing.http import Exchange, LoopbackServer


class Upstream:
    """A provider in a thread of its own; `asked` holds the newest user text of every request."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.status = 200
        self.url = ""
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._ready.wait(10)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        async with LoopbackServer(self._answer) as server:
            self.url = server.url
            self._ready.set()
            await self._stop.wait()

    async def _answer(self, exchange: Exchange) -> None:
        text = json.loads(exchange.body)["messages"][-1]["content"]
        self.asked.append(text)
        message = {"role": "assistant", "content": f"answer to {text}"}
        body = {
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
        }
        await exchange.send(self.status, json.dumps(body).encode(), headers={"content-type": "application/json"})

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Upstream]:
    server = Upstream()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("PENNYWEIGHT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
    yield server
    server.close()


def request(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "temperature": 0, "messages": [{"role": "user", "content": text}], **more}


def lines(path: Path, *requests: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in requests))
    return path


def cache(*arguments: object, answer: str = "") -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], input=answer)


def told(*arguments: object) -> Any:
    done = cache(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_what_was_asked_beforehand_is_there(upstream: Upstream, tmp_path: Path) -> None:
    file = lines(
        tmp_path / "r.jsonl",
        request("a"),
        request("b"),
        request("a"),
        request("sampled", temperature=1),
        request("tools", tools=[{"type": "function", "function": {"name": "f"}}]),
    )
    first = told("warm", file, "--yes")
    assert (first["to_ask"], first["not_kept"], first["answered"], first["failed"]) == (2, 2, 2, 0)
    assert first["spent_usd"] == pytest.approx(2 * (1000 * 2.5e-6 + 100 * 10e-6))
    assert sorted(upstream.asked) == ["a", "b"]
    again = told("warm", file, "--yes")
    assert (again["to_ask"], again["already_kept"], again["answered"]) == (0, 2, 0)
    assert len(upstream.asked) == 2


def test_what_is_there_is_not_paid_for_again_on_a_machine_too_busy_to_read_it_in_time(
    upstream: Upstream, tmp_path: Path
) -> None:
    (tmp_path / "pennyweight.toml").write_text("[pipeline]\npropose_s = 0.0000001\n")
    file = lines(tmp_path / "r.jsonl", request("a"))
    assert told("warm", file, "--yes")["answered"] == 1
    again = told("warm", file, "--yes")
    assert (again["to_ask"], again["already_kept"]) == (0, 1)
    assert upstream.asked == ["a"]


def test_nothing_is_spent_without_consent_and_the_cost_is_said_before(upstream: Upstream, tmp_path: Path) -> None:
    file = lines(tmp_path / "r.jsonl", request("a"))
    done = cache("warm", file, answer="n\n")
    assert done.exit_code == 1
    assert "1 call to ask: about $0.00" in done.output
    assert "(estimated)" in done.output
    assert upstream.asked == []
    done = cache("warm", file, answer="y\n")
    assert done.exit_code == 0
    assert "1 call answered, $0.0035 spent." in done.output


def test_a_limit_ends_it(upstream: Upstream, tmp_path: Path) -> None:
    file = lines(tmp_path / "r.jsonl", *(request(str(number)) for number in range(20)))
    done = told("warm", file, "--yes", "--limit-usd", "0.01", "--at-once", "1")
    assert (done["answered"], done["left"]) == (3, 17)
    assert 0.01 <= done["spent_usd"] < 0.014


def test_failures_are_told(upstream: Upstream, tmp_path: Path) -> None:
    upstream.status = 400
    done = cache("warm", lines(tmp_path / "r.jsonl", request("a")), "--yes")
    assert done.exit_code == 1
    assert "1 failed, the first with 400" in done.output
    assert told("inspect")["entries"] == []


def test_what_is_kept_is_shown_and_dropped(upstream: Upstream, tmp_path: Path) -> None:
    told("warm", lines(tmp_path / "r.jsonl", request("a"), request("b"), request("c", model="gpt-4o-mini")), "--yes")
    entries = told("inspect")["entries"]
    assert [entry["tenant"] for entry in entries] == ["local"] * 3
    assert {entry["model"] for entry in entries} == {"gpt-4o", "gpt-4o-mini"}
    assert all(entry["usage"]["output_tokens"] == 100 and entry["age_s"] < 60 for entry in entries)
    assert "gpt-4o-mini" in cache("inspect").output
    assert told("inspect", "--model", "gpt-4o")["entries"][0]["model"] == "gpt-4o"
    assert told("inspect", "--tenant", "alice")["entries"] == []

    key = entries[0]["key"]
    short = key.split("/")[2][:8]
    assert [entry["key"] for entry in told("inspect", short)["entries"]] == [key]
    assert "answer to" in cache("inspect", short, "--answer").output
    assert told("purge", "--key", short, "--yes") == {"purged": 1}
    assert isinstance(cache("inspect", key).exception, NotFound)
    assert told("purge", "--older-than", "1h", "--yes") == {"purged": 0}
    assert told("purge", "--tenant", "local", "--model", "gpt-4o*", "--yes") == {"purged": 2}
    assert told("inspect")["entries"] == []


def test_dropping_asks_first(upstream: Upstream, tmp_path: Path) -> None:
    told("warm", lines(tmp_path / "r.jsonl", request("a")), "--yes")
    done = cache("purge", "--all", answer="n\n")
    assert done.exit_code == 1
    assert "Drop 1 entry?" in done.output
    assert len(told("inspect")["entries"]) == 1
    assert "Dropped 1." in cache("purge", "--all", answer="y\n").output
    assert "Nothing of that is kept." in cache("purge", "--all").output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("purge",), "--all drops everything"),
        (("purge", "--older-than", "soon"), "'soon' is no span of time"),
        (("inspect", "--answer"), "needs a KEY"),
    ],
)
def test_what_cannot_be_meant(arguments: tuple[str, ...], said: str, upstream: Upstream) -> None:
    done = cache(*arguments)
    assert done.exit_code == 2
    assert said in done.output


def test_functions_and_tools_are_in_the_figures(upstream: Upstream, tmp_path: Path) -> None:
    async def write() -> None:
        database = Database(tmp_path / "data" / FILE)
        delta = FunctionDelta(time.time(), "local", "tool:weather", hits=3, misses=1, saved_s=2.5, saved=4_000_000_000)
        await database.write(lambda connection: write_functions(connection, [delta]))
        await database.close()

    asyncio.run(write())
    (line,) = told("stats")["functions"]
    assert (line["function"], line["hits"], line["hit_share"], line["saved_usd"]) == ("tool:weather", 3, 0.75, 0.004)
    shown = cache("stats").output
    assert "tool:weather" in shown
    assert "75.0%" in shown


def test_figures_are_those_of_the_ledger(upstream: Upstream, tmp_path: Path) -> None:
    assert "No cache has looked at a call yet" in cache("stats").output
    told("warm", lines(tmp_path / "r.jsonl", request("a"), request("b")), "--yes")
    (line,) = told("stats")["caches"]
    assert (line["cache"], line["looks"], line["hits"], line["hit_rate"]) == ("exact_cache", 2, 0, 0.0)
    table = cache("stats")
    assert "openai/gpt-4o" in table.output
    assert "0.0%" in table.output
    for by in ("cache", "tier", "tenant"):
        assert cache("stats", "--by", by, "--since", "7d").exit_code == 0
