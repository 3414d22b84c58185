from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pennyweight.app import App, build
from pennyweight.call import Call, Identity, Outcome
from pennyweight.config import inspect, load
from pennyweight.front.auth import Gate
from pennyweight.front.front import Front
from pennyweight.front.http import HttpRequest
from pennyweight.gateway.metrics import Metrics
from pennyweight.gateway.pages import Pages
from pennyweight.ledger.functions import function_lines
from pennyweight.request import Done, Wire
from pennyweight.stores.virtual_keys import KeyStore
from pennyweight.testing.backend import make_call
from pennyweight.testing.clock import FakeClock
from pennyweight.tool_results.arguments import canonical

Ask = Callable[..., Awaitable[tuple[int, Any]]]

CONFIG = """
[[tools]]
name = "web_search"
read_only = true
ttl_s = 60

[[tools]]
name = "delete_*"

[[tools]]
name = "read_*"
read_only = true
scope = "session"
learn = false
max_bytes = 100
"""


def drive(tmp_path: Path, work: Callable[[App, Ask, FakeClock], Awaitable[None]], config: str = CONFIG) -> None:
    file = tmp_path / "pennyweight.toml"
    file.write_text(config)

    async def main() -> None:
        clock = FakeClock()
        env = {"PENNYWEIGHT_DATA": str(tmp_path / "data"), "OPENAI_API_KEY": "k"}
        async with asyncio.timeout(60), build(load(file, env), clock=clock) as app:
            gate, metrics = Gate(app.config, app.keys), Metrics()
            front = Front(app, gate, Pages(app, gate, metrics).find)

            async def ask(what: str, body: Any, key: str = "", **headers: str) -> tuple[int, Any]:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                sent = {"host": "127.0.0.1:1", "content-type": "application/json"} | headers
                sent |= {"x-pennyweight-key": key} if key else {}
                path = f"/v1/tools/cache/{what}"
                answer = await front.respond(HttpRequest("POST", path, "", tuple(sent.items()), data, "127.0.0.1"))
                assert isinstance(answer.body, bytes)
                return answer.status, json.loads(answer.body)

            await work(app, ask, clock)

    asyncio.run(main())


SEARCH = {"name": "web_search", "arguments": {"q": "weather", "n": 3}}


def test_a_result_is_found_until_it_lapses(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask, clock: FakeClock) -> None:
        assert await ask("lookup", SEARCH) == (200, {"hit": False})
        content = {"results": [9007199254740993, 1.10, "日本😀"]}
        stored = await ask("store", {**SEARCH, "content": content, "took_s": 2.5, "cost_usd": 0.005})
        assert stored == (200, {"stored": True, "ttl_s": 60.0})
        clock.advance(10)
        same = b'{"arguments":"{\\"n\\": 3,\\n \\"q\\": \\"we\\\\u0061ther\\"}","name":"web_search"}'
        for body in (SEARCH, same):
            assert await ask("lookup", body) == (
                200,
                {"hit": True, "content": content, "age_s": 10, "source": "stored"},
            )
        assert await ask("lookup", {**SEARCH, "max_age_s": 5}) == (200, {"hit": False})
        assert await ask("lookup", {**SEARCH, "arguments": {"q": "weather", "n": 3.0}}) == (200, {"hit": False})
        clock.advance(50)
        assert await ask("lookup", SEARCH) == (200, {"hit": False})
        await app.tools.aclose()
        (line,) = function_lines(app.config.data_dir / "pennyweight.db")
        assert (line.function, line.tenant, line.hits, line.misses) == ("tool:web_search", "local", 2, 4)
        assert line.saved_s == 5.0
        assert line.saved == 2 * 5_000_000_000

    drive(tmp_path, work)


def test_two_tenants_never_share(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask, clock: FakeClock) -> None:
        keys = KeyStore(app.config.data_dir)
        one, two = keys.add("one"), keys.add("two")
        await ask("store", {**SEARCH, "content": "of one"}, one)
        assert (await ask("lookup", SEARCH, one))[1]["content"] == "of one"
        assert await ask("lookup", SEARCH, two) == (200, {"hit": False})
        assert await ask("lookup", SEARCH) == (200, {"hit": False})
        await ask("store", {**SEARCH, "content": "of two"}, two)
        assert await ask("purge", {}, two) == (200, {"purged": 1})
        assert (await ask("lookup", SEARCH, one))[1]["content"] == "of one"
        assert await ask("purge", {"name": "web_search"}, one) == (200, {"purged": 1})
        assert await ask("lookup", SEARCH, one) == (200, {"hit": False})
        assert (await ask("lookup", SEARCH, "pw-0000"))[0] in (200, 401)

    drive(tmp_path, work)


@pytest.mark.parametrize("name", ["delete_file", "unheard_of", "web_search2", ""])
def test_a_tool_that_is_not_declared_read_only_is_refused(tmp_path: Path, name: str) -> None:
    async def work(app: App, ask: Ask, clock: FakeClock) -> None:
        for what in ({"arguments": {}}, {"arguments": {}, "content": 1}):
            status, told = await ask("store" if "content" in what else "lookup", {"name": name, **what})
            assert status == 403
            assert "[[tools]]" in told["error"]["message"]

    drive(tmp_path, work)


def test_results_by_session_stay_in_it(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask, clock: FakeClock) -> None:
        read = {"name": "read_file", "arguments": {"path": "a"}}
        assert (await ask("lookup", read))[0] == 400
        await ask("store", {**read, "content": "x", "session": "s1"})
        assert (await ask("lookup", read, **{"x-pennyweight-session": "s1"}))[1]["hit"]
        assert not (await ask("lookup", {**read, "session": "s2"}))[1]["hit"]
        status, told = await ask("store", {**read, "content": "x" * 200, "session": "s1"})
        assert (status, "max_bytes is 100" in told["error"]["message"]) == (400, True)

    drive(tmp_path, work)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"name": "web_search", "arguments": {"a": 1, "a": 2}}',
        b'{"name": "web_search", "arguments": "{"}',
        b'{"name": "web_search", "arguments": NaN}',
        b'{"name": 7}',
        b'{"name": "web_search", "arguments": {}, "tenant": "other"}',
        b'{"name": "web_search", "arguments": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"name": "web_search", "arguments": ' + b"9" * 5000 + b"}",
        b"\xff\xfe",
    ],
    ids=lambda body: repr(body[:50]),
)
def test_bad_bodies_are_refused(tmp_path: Path, body: bytes) -> None:
    async def work(app: App, ask: Ask, clock: FakeClock) -> None:
        status, told = await ask("lookup", body)
        assert status == 400, told
        status, told = await ask("lookup", SEARCH, **{"content-type": "text/plain"})
        assert status == 400

    drive(tmp_path, work)


# --- learning ----------------------------------------------------------------------------------------------


def passed_by(
    text: str = "sunny", *, call_id: str = "t1", tenant: str = "local", status: int = 200, **facts: Any
) -> Outcome:
    called = {
        "name": facts.get("name", "web_search"),
        "arguments": json.dumps(facts.get("arguments", SEARCH["arguments"])),
    }
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [{"id": call_id, "type": "function", "function": called}]},
        {"role": "tool", "tool_call_id": call_id, "content": text},
    ]
    call: Call = make_call(json.dumps({"model": "m", "messages": messages}).encode(), wire=Wire.OPENAI_CHAT)
    identity = Identity(tenant=tenant, session=facts.get("session", ""))
    call = msgspec.structs.replace(call, identity=identity, at=facts.get("at", FakeClock().now()))
    return Outcome(call, Done(), status, "")


def test_results_are_learnt_from_requests_that_pass_by(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask, clock: FakeClock) -> None:
        await app.tools.take([passed_by()])
        found = (await ask("lookup", SEARCH))[1]
        assert (found["hit"], found["content"], found["source"]) == (True, "sunny", "learnt")
        assert await ask("lookup", {**SEARCH, "arguments": {"q": "other"}}) == (200, {"hit": False})
        await app.tools.take([passed_by(tenant="other", text="of another tenant", call_id="t2")])
        assert (await ask("lookup", SEARCH))[1]["content"] == "sunny"

    drive(tmp_path, work)


def test_an_old_conversation_that_is_sent_again_makes_nothing_new(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask, clock: FakeClock) -> None:
        await app.tools.take([passed_by()])
        clock.advance(61)
        await app.tools.take([passed_by(at=clock.now())])
        assert await ask("lookup", SEARCH) == (200, {"hit": False})
        await app.tools.take([passed_by("cloudy", call_id="t2", at=clock.now())])
        assert (await ask("lookup", SEARCH))[1]["content"] == "cloudy"

    drive(tmp_path, work)


def test_what_may_not_be_learnt_is_not(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask, clock: FakeClock) -> None:
        for outcome in (
            passed_by("Error: no net"),
            passed_by(status=400),
            passed_by(name="delete_file"),
            passed_by(name="read_file", session="s"),  # learn = false
            passed_by(name="unheard_of"),
        ):
            await app.tools.take([outcome])
        assert await app.kv.delete("tools/") == 0

    drive(tmp_path, work)


def test_without_a_declared_tool_nothing_is_looked_at(tmp_path: Path) -> None:
    async def work(app: App, ask: Ask, clock: FakeClock) -> None:
        await app.tools.take([passed_by()])
        assert await app.kv.delete("tools") == 0
        assert (await ask("lookup", SEARCH))[0] == 403

    drive(tmp_path, work, config="")


# --- arguments and settings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1,"b":2}', ' { "b" : 2, "a" : 1 } '),
        ('{"a":"é"}', '{"a":"\\u00e9"}'),
        ('{"a":"😀"}', '{"a":"\\ud83d\\ude00"}'),
        ('{"a":1.5}', '{"a":1.50}'),
        ('{"a":1.5}', '{"a":15e-1}'),
        ('{"a":100.0}', '{"a":1e2}'),
        ("{}", '""'),
        ("{}", "null"),
        ('{"a":1}', '"{\\"a\\":1}"'),
        ('{"a":12345678901234567890123.10}', '{"a":12345678901234567890123.1}'),
    ],
)
def test_spellings_of_the_same_arguments(one: str, other: str) -> None:
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":9007199254740993}', '{"a":9007199254740992}'),
        ('{"a":12345678901234567890.1}', '{"a":12345678901234567890.2}'),
        ('{"a":1}', '{"a":1.0}'),
        ('{"a":1}', '{"a":"1"}'),
        ('{"a":1}', '{"a":true}'),
        ('{"a":null}', "{}"),
        ('{"a":"é"}', '{"a":"e\u0301"}'),
        ('{"a":[1,2]}', '{"a":[2,1]}'),
        ('{"a":{"b":1}}', '{"a.b":1}'),
        ('{"a":0.0}', '{"a":-0.0}'),
        ('{"a":"\\ud83d"}', '{"a":"\\ude00"}'),
    ],
)
def test_arguments_that_differ(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('[[tools]]\nname = "a"\nttl_s = 0', r"tools\[0\].ttl_s"),
        ('[[tools]]\nname = "a"\n[[tools]]\nname = "a"', r"tools\[1\].*never reached"),
        ('[[tools]]\nname = "a"\nread_olny = true', "read_olny"),
        ("[[tools]]\nread_only = true", "name"),
    ],
)
def test_wrong_settings_are_told(tmp_path: Path, config: str, message: str) -> None:
    file = tmp_path / "p.toml"
    file.write_text(config)
    _, problems = inspect(file, {})
    assert any(re.search(message, str(problem)) for problem in problems), problems
