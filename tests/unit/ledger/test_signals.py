"""What is said of answers: by whom it may be, and what is seen in the answers themselves."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from pennyweight.call import Call, Identity, Outcome, Target
from pennyweight.errors import BadRequest, NotFound
from pennyweight.hits import AGAIN, Again
from pennyweight.ledger.signals import Said, Signals, Watch, tools_hold
from pennyweight.request import Done, Request, Response, Wire
from pennyweight.stores.sqlite import FILE, Database
from pennyweight.testing.clock import FakeClock

TOOL = {"name": "read", "description": "", "input_schema": {"type": "object"}}
FUNCTION = {"type": "function", "function": {"name": "read", "parameters": {}}}


def call(body: dict[str, Any], *, wire: Wire = Wire.OPENAI_CHAT, session: str = "s", arm: str = "a+") -> Call:
    request = Request(wire, json.dumps(body).encode())
    target = Target("p", "m", wire)
    return Call("c", Identity("t", session), request, request, target, 0.0, facts={"arm": arm} if arm else {})


def finished(asked: Call, answer: dict[str, Any] | None = None) -> Outcome:
    done = Done()
    response = None if answer is None else Response(asked.request.wire, json.dumps(answer).encode(), done)
    return Outcome(asked, done, 200, "p", response=response)


def chat(*called: tuple[str, Any]) -> dict[str, Any]:
    calls = [{"function": {"name": name, "arguments": arguments}} for name, arguments in called]
    return {"choices": [{"message": {"role": "assistant", "tool_calls": calls}}]}


CASES: list[tuple[Wire, dict[str, Any], dict[str, Any], bool | None]] = [
    (Wire.OPENAI_CHAT, {"tools": [FUNCTION]}, chat(("read", '{"path": "x"}')), True),
    (Wire.OPENAI_CHAT, {"tools": [FUNCTION]}, chat(("read", '{"path": ')), False),
    (Wire.OPENAI_CHAT, {"tools": [FUNCTION]}, chat(("read", "[1]")), False),
    (Wire.OPENAI_CHAT, {"tools": [FUNCTION]}, chat(("read", "{}"), ("write", "{}")), False),
    (Wire.OPENAI_CHAT, {"tools": [FUNCTION]}, chat(("read", "")), True),
    (Wire.OPENAI_CHAT, {"tools": [FUNCTION]}, {"choices": [{"message": {"content": "hi"}}]}, None),
    (Wire.OPENAI_CHAT, {"tools": [FUNCTION]}, {"choices": "?"}, None),
    (
        Wire.ANTHROPIC_MESSAGES,
        {"tools": [TOOL]},
        {"content": [{"type": "text", "text": "."}, {"type": "tool_use", "name": "read", "input": {}}]},
        True,
    ),
    (
        Wire.ANTHROPIC_MESSAGES,
        {"tools": [TOOL]},
        {"content": [{"type": "tool_use", "name": "other", "input": {}}]},
        False,
    ),
    (
        Wire.OPENAI_RESPONSES,
        {"tools": [{"type": "function", "name": "read"}]},
        {"output": [{"type": "function_call", "name": "read", "arguments": "{"}]},
        False,
    ),
    (
        Wire.OLLAMA,
        {"tools": [FUNCTION]},
        {"message": {"tool_calls": [{"function": {"name": "read", "arguments": {"a": 1}}}]}},
        True,
    ),
]


@pytest.mark.parametrize(("wire", "body", "answer", "holds"), CASES)
def test_whether_tool_calls_hold(wire: Wire, body: dict[str, Any], answer: dict[str, Any], holds: bool | None) -> None:
    asked = call({**body, "messages": []}, wire=wire)
    assert tools_hold(Response(wire, json.dumps(answer).encode(), Done()), asked) is holds


def test_tool_calls_are_read_in_a_share_of_the_sessions_and_only_there() -> None:
    watch = Watch(sample=0.25)
    body = {"tools": [FUNCTION], "messages": []}
    wanted = [watch.wants(call(body, session=f"s{number}")) for number in range(800)]
    assert 140 < sum(wanted) < 260
    assert wanted == [watch.wants(call(body, session=f"s{number}")) for number in range(800)]
    assert not any(watch.wants(call({"messages": []}, session=f"s{number}")) for number in range(50))
    assert not any(watch.wants(call(body, session=f"s{number}", arm="")) for number in range(50))
    assert not any(Watch(sample=0).wants(call(body, session=f"s{number}")) for number in range(50))


def test_what_it_saw_is_told_once() -> None:
    watch = Watch(sample=1.0)
    asked = call({"tools": [FUNCTION], "messages": []})
    asyncio.run(watch.take([finished(asked, chat(("read", "{")))]))
    assert watch.drain() == [Said("t", "s", "c", "tools", 0.0)]
    assert watch.drain() == []


def test_the_same_request_again_is_a_re_ask() -> None:
    async def main() -> list[Said]:
        watch = Watch(sample=0)
        for session, text in (("s", "a"), ("s", "b"), ("s", "b"), ("other", "b"), ("", "b"), ("", "b"), ("s", "b")):
            await watch.take([finished(call({"messages": [text]}, session=session))])
        await watch.take([finished(call({"messages": ["b"]}, session="s", arm=""))])
        return watch.drain()

    assert [(said.session, said.kind) for said in asyncio.run(main())] == [("s", "reask"), ("s", "reask")]


@pytest.mark.parametrize(("wire", "name"), [(Wire.OPENAI_CHAT, "messages"), (Wire.OPENAI_RESPONSES, "input")])
def test_a_long_request_is_known_by_its_last_item_and_its_length(wire: Wire, name: str) -> None:
    asked = ["old, " * 3_000, "one"]
    series = {
        "itself": asked,
        "another question": [asked[0], "two"],
        "what came before it was longer": ["very " + asked[0], "one"],
        "a clock in its prompt went on": ["new, " * 3_000, "one"],
    }

    async def again(items: list[str]) -> bool:
        watch = Watch(sample=0)
        for body in (asked, items):
            await watch.take([finished(call({name: body, "tools": [FUNCTION]}, wire=wire))])
        return bool(watch.drain())

    assert {what: asyncio.run(again(items)) for what, items in series.items()} == {
        "itself": True,
        "another question": False,
        "what came before it was longer": False,
        "a clock in its prompt went on": True,
    }


def test_a_session_that_a_cache_answers_again_and_again_is_one_word() -> None:
    async def main() -> tuple[list[Said], list[Said]]:
        watch = Watch(sample=0)
        for number in range(4):
            asked = call({"messages": ["a"]}, session="s")
            if number:
                asked.facts[AGAIN] = Again()
            await watch.take([finished(asked)])
        return watch.drain(), watch.drain()

    told, nothing = asyncio.run(main())
    assert told == [Said("t", "s", "c", "reask", 3.0)]
    assert nothing == []


# --- who may say what ---------------------------------------------------------------------------------------


async def ledger(folder: Path) -> tuple[Database, Signals]:
    database = Database(folder / FILE)
    columns = "call_id, at, tenant, session, agent, task, skill, housekeeping, wire, operation, provider, model, "
    columns += "target_model, replayed, spent_pico, pricing, basis, answered_by, trail, status, finish_reason, arm, "
    columns += "latency_s, added_s, error, abandoned"
    rest = ", ".join(["''"] * 9)

    def work(connection: Any) -> None:
        for call_id, tenant, session in (("c1", "alice", "s1"), ("c2", "bob", "s2"), ("c3", "local", "s3")):
            connection.execute(
                f"INSERT INTO receipts ({columns}) VALUES (?, 0, ?, ?, {rest}, 0, 0, '', '', '', '[]', 200, '', '', 0,"
                " 0, '', 0)",
                (call_id, tenant, session),
            )

    await database.write(work)
    return database, Signals(database, FakeClock())


def told(folder: Path, **word: Any) -> Said:
    async def main() -> Said:
        database, signals = await ledger(folder)
        try:
            return await signals.rate("feedback", **word)
        finally:
            await database.close()

    return asyncio.run(main())


def test_a_tenant_speaks_of_its_own_calls(tmp_path: Path) -> None:
    said = told(tmp_path, value=1.0, tenant="alice", call_id="c1")
    assert (said.tenant, said.session, said.call_id) == ("alice", "s1", "c1")


@pytest.mark.parametrize(
    "word",
    [
        {"tenant": "alice", "call_id": "c2"},
        {"tenant": "alice", "session": "s2"},
        {"tenant": "alice", "call_id": "nothing"},
        {"tenant": None, "session": "s1"},
    ],
)
def test_and_of_nobody_elses(tmp_path: Path, word: dict[str, Any]) -> None:
    with pytest.raises(NotFound, match="yours"):
        told(tmp_path, value=1.0, **word)


def test_the_operator_speaks_of_any_call(tmp_path: Path) -> None:
    assert told(tmp_path, value=-1.0, tenant=None, call_id="c2").tenant == "bob"


@pytest.mark.parametrize(
    ("word", "match"),
    [
        ({"value": 2.0, "call_id": "c1"}, r"2\.0 is out of range"),
        ({"value": float("nan"), "call_id": "c1"}, "nan is out of range"),
        ({"value": 1.0}, "either a call_id"),
        ({"value": 1.0, "call_id": "c1", "session": "s1"}, "either a call_id"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, word: dict[str, Any], match: str) -> None:
    with pytest.raises(BadRequest, match=match):
        told(tmp_path, tenant="alice", **word)


def test_a_second_word_replaces_the_first(tmp_path: Path) -> None:
    async def main() -> list[Any]:
        database, signals = await ledger(tmp_path)
        try:
            await signals.rate("feedback", 1.0, tenant=None, call_id="c1", comment="good")
            await signals.rate("feedback", -1.0, tenant=None, call_id="c1")
            sql = "SELECT value, comment FROM signals"
            return await database.read(lambda connection: connection.execute(sql).fetchall())
        finally:
            await database.close()

    assert asyncio.run(main()) == [(-1.0, "")]
