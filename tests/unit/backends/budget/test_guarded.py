"""Sessions that go round in circles are told, and stopped where the operator says so; refusals say how to go on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from tests.unit.backends.budget.rig import NOON, House, costing

from pennyweight.backends.budget.guarded import Guarded
from pennyweight.backends.budget.halted import Halted, said_in
from pennyweight.backends.budget.repeats import Repeats, fingerprint, in_tool_loop
from pennyweight.backends.budget.settings import Budgeting, BudgetRule
from pennyweight.call import Call, Identity
from pennyweight.errors import LimitReached
from pennyweight.references import References
from pennyweight.request import Operation, Request, Wire
from pennyweight.stores.memory import MemoryKV
from pennyweight.testing.backend import Script, make_call
from pennyweight.wire.blocks import Reader

LONG = "Look at every test of the module and tell me which of them fail, please."


def chat(*messages: dict[str, Any], **more: Any) -> Call:
    body = json.dumps({"model": "m", "messages": messages}).encode()
    return named(make_call(body), **more)


def named(call: Call, session: str = "s", tenant: str = "X", housekeeping: Any = None) -> Call:
    identity = Identity(tenant, session, housekeeping=housekeeping)
    return msgspec.structs.replace(call, identity=identity, facts={})


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def called(name: str, arguments: str, number: int = 1) -> tuple[dict[str, Any], dict[str, Any]]:
    function = {"name": name, "arguments": arguments}
    call = {"id": f"c{number}", "type": "function", "function": function}
    return (
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": f"c{number}", "content": f"result {number}"},
    )


class Watched(House):
    def __init__(self, settings: Budgeting, *scripts: Script, **more: Any) -> None:
        super().__init__(*scripts, **more)
        reader = Reader()
        self.halted = Halted(References(MemoryKV(clock=self.clock), self.clock), reader, lambda text: len(text) // 4)
        self.guarded = Guarded(
            self.backend, self.budgets, Repeats(reader), settings, halted=self.halted, now=lambda: NOON
        )

    async def ask(self, call: Call) -> Any:
        reply = await self.guarded.open(call)
        await reply.aclose()
        await self.budgets.aclose()
        return reply


def test_the_same_tool_call_again_and_again() -> None:
    async def work() -> None:
        house = Watched(Budgeting(loops="halt", repeats=3))
        history: list[dict[str, Any]] = [user("go")]
        for number in range(3):
            history += called("read", '{"path":"a"}', number)
            await house.ask(chat(*history))
        assert [(e.level, e.share) for e in house.events] == [("loop", 1.0)]
        history += called("read", '{"path":"a"}', 4)
        last = chat(*history)
        with pytest.raises(LimitReached, match=r"^Usage limit reached for session s: it has called the same tool with"):
            await house.ask(last)
        assert "has called the same tool" in house.budgets.headers(last)[0][1]
        history += called("read", '{"path":"b"}', 5)
        await house.ask(chat(*history))
        assert len(house.events) == 1, "told once"

    asyncio.run(work())


def test_other_arguments_sessions_and_short_words_are_no_loop() -> None:
    async def work() -> None:
        house = Watched(Budgeting(loops="halt", repeats=2))
        history: list[dict[str, Any]] = [user("go")]
        for number in range(6):
            history += called("read", f'{{"path":"{number}"}}', number)
            await house.ask(chat(*history))
            await house.ask(chat(*called("read", "{}"), session=f"s{number}"))
            await house.ask(chat(user("continue"), session="t"))
        assert not house.events

    asyncio.run(work())


def test_the_same_question_again_and_again_warns() -> None:
    async def work() -> None:
        house = Watched(Budgeting(loops="warn", repeats=3))
        for _ in range(5):
            last = chat(user(LONG))
            await house.ask(last)
        assert [e.level for e in house.events] == ["loop"]
        assert house.budgets.headers(last)[0][1] == "loop; session s has asked the same 5 times in a row"
        assert LONG not in str(house.events)

    asyncio.run(work())


def test_what_an_upstream_refused_may_be_sent_again() -> None:
    async def work() -> None:
        house = Watched(Budgeting(loops="halt", repeats=2), Script(status=529))
        for _ in range(5):
            await house.ask(chat(user(LONG)))
        assert not house.events

    asyncio.run(work())


def test_heartbeats_and_nothing_else() -> None:
    async def work() -> None:
        house = Watched(Budgeting(heartbeats="halt", idle=3))
        beat = chat(user("Read HEARTBEAT.md if it exists"), housekeeping="heartbeat")
        for _ in range(3):
            await house.ask(beat)
            await house.ask(chat(user("beat"), *called("read", "{}"), housekeeping="heartbeat"))  # a step of its wake
        with pytest.raises(LimitReached, match=r"it has sent 4 heartbeats in a row and nothing else\. Try again"):
            await house.ask(beat)
        await house.ask(chat(user("a person is back")))
        await house.ask(beat)
        assert [e.level for e in house.events] == ["idle"]

    asyncio.run(work())


def test_nothing_is_looked_at_where_nothing_is_wanted() -> None:
    async def work() -> None:
        house = Watched(Budgeting())
        for _ in range(30):
            await house.ask(chat(user(LONG)))
            await house.ask(named(make_call(b"{}", operation=Operation.EMBED)))
        assert not house.events

    asyncio.run(work())


TALK = [
    user("Find out why the parser in src/parse.py drops the last line."),
    {"role": "assistant", "content": "The loop in src/parse.py stops at len(lines) - 1. I decided to use len(lines)."},
    user("Good. Now write a test for it in tests/test_parse.py."),
]


def test_a_halted_session_is_told_what_it_was_about_and_how_to_go_on() -> None:
    async def work() -> None:
        house = Watched(Budgeting(), costing(100), rules=[BudgetRule("session", usd=1)])
        await house.ask(chat(user("hi")))
        with pytest.raises(LimitReached) as refused:
            await house.ask(chat(*TALK))
        said = refused.value.message
        assert said.startswith("Session usage limit reached for session s: $1.00 of $1.00 spent. Try again in a new")
        assert "The session so far: " in said
        assert "src/parse.py" in said
        assert said.endswith("pennyweight sessions summary 's' --tenant 'X'")
        summary = await house.halted.summary("X", "s")
        assert summary is not None
        assert "len(lines)" in summary
        assert await house.halted.summary("Y", "s") is None, "another tenant has it not"
        with pytest.raises(LimitReached) as again:
            await house.ask(chat(*TALK))
        assert again.value.message == said

    asyncio.run(work())


def test_a_session_in_which_nothing_was_said_has_no_summary() -> None:
    async def work() -> None:
        house = Watched(Budgeting(), costing(100), rules=[BudgetRule("session", usd=1)])
        await house.ask(chat(user("hi")))
        for call in (chat(user("hi")), chat(user(LONG), user("and this"))):
            with pytest.raises(LimitReached) as refused:
                await house.ask(call)
            assert refused.value.message.endswith("Try again in a new session.")

    asyncio.run(work())


@pytest.mark.parametrize("word", ["insufficient credits", "your credit balance", "Please upgrade plan", "quota"])
def test_words_that_a_client_takes_for_billing_are_not_quoted(word: str) -> None:
    async def work() -> None:
        house = Watched(Budgeting(), costing(100), rules=[BudgetRule("session", usd=1)])
        await house.ask(chat(user("hi")))
        talk = [TALK[0], {"role": "assistant", "content": f"The service answered: {word}."}, TALK[2]]
        with pytest.raises(LimitReached) as refused:
            await house.ask(chat(*talk))
        assert word not in refused.value.message
        assert "pennyweight sessions summary" in refused.value.message

    asyncio.run(work())


def test_a_long_session_is_read_at_its_ends() -> None:
    talk = [user("first " + "x" * 10_000), {"role": "assistant", "content": "y" * 100_000}, user("newest")]
    reader = Reader()
    text = said_in(reader.read(chat(*talk).original))
    assert text.startswith("first")
    assert text.endswith("newest")
    assert len(text) < 50_000


@pytest.mark.parametrize(
    ("wire", "messages"),
    [
        (Wire.OPENAI_CHAT, [user("go"), *called("read", "{}")]),
        (
            Wire.ANTHROPIC_MESSAGES,
            [
                user("go"),
                {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "read", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]},
            ],
        ),
        (
            Wire.OPENAI_RESPONSES,
            [
                user("go"),
                {"type": "function_call", "call_id": "c", "name": "read", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "x"},
            ],
        ),
    ],
)
def test_loops_are_seen_in_every_protocol(wire: Wire, messages: list[dict[str, Any]]) -> None:
    field = "input" if wire is Wire.OPENAI_RESPONSES else "messages"
    request = Request(wire, json.dumps({"model": "m", field: messages}).encode())
    conversation = Reader().read(request)
    assert in_tool_loop(conversation)
    kind, found = fingerprint(conversation)
    assert kind == "call"
    assert found
