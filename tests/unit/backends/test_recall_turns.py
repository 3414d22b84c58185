"""What the caller has not of a turn stands in its place again when the turn comes back, byte for byte, for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from tests.unit.backends.recall_house import (
    REF,
    DownKV,
    House,
    answer,
    script,
    shortened,
    told,
)

from pennyweight.backends.recall.turns import Turns
from pennyweight.call import Call
from pennyweight.references import BROUGHT, References
from pennyweight.request import Edit, Wire
from pennyweight.stores.memory import MemoryKV
from pennyweight.testing.backend import make_call
from pennyweight.testing.clock import FakeClock
from pennyweight.wire.legs import Exchange

WIRES = [Wire.ANTHROPIC_MESSAGES, Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES]


def following(call: Call, wire: Wire, body: dict[str, Any], *, change: str = "") -> Call:
    """The caller's next request: what it sent, what it got, and the results of its own tools."""
    match wire:
        case Wire.ANTHROPIC_MESSAGES:
            ids = [block["id"] for block in body["content"] if block["type"] == "tool_use"]
            results = [{"type": "tool_result", "tool_use_id": id, "content": "file"} for id in ids]
            turn: list[Any] = [{"role": "assistant", "content": body["content"]}, {"role": "user", "content": results}]
        case Wire.OPENAI_CHAT:
            message = body["choices"][0]["message"]
            results = [{"role": "tool", "tool_call_id": c["id"], "content": "file"} for c in message["tool_calls"]]
            turn = [message, *results]
        case _:
            ids = [item["call_id"] for item in body["output"] if item["type"] == "function_call"]
            results = [{"type": "function_call_output", "call_id": id, "output": "file"} for id in ids]
            turn = [*body["output"], *results]
    if change:
        turn = msgspec.json.decode(msgspec.json.encode(turn).replace(change.encode(), b"Something else."))
    root = "input" if wire is Wire.OPENAI_RESPONSES else "messages"

    def grown(request: Any) -> Any:
        return request.edit([Edit((root,), [*request.body[root], *turn])])

    facts = {"rewritten": ("cut", "max")}
    return msgspec.structs.replace(
        call, original=grown(call.original), request=grown(call.request), facts=facts, id="c2"
    )


def conversation(house: House, number: int, wire: Wire) -> list[Any]:
    return list(house.sent(number).body["input" if wire is Wire.OPENAI_RESPONSES else "messages"])


def legs_of(wire: Wire, *, mixed: bool) -> list[dict[str, Any]]:
    reads = (("read", {"path": "a"}), ("read", {"path": "b"}))
    if mixed:
        return [answer(wire, ("recall", {"ref": REF, "lines": "1-2"}), *reads, text="Both.")]
    return [
        answer(wire, ("recall", {"ref": REF, "lines": "1-2"}), text="Let me look."),
        answer(wire, ("recall", {"ref": REF, "lines": "3-4"}), number=2),
        answer(wire, *reads, text="Now I know.", number=3),
    ]


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wire", WIRES)
class TestInEveryProtocolWithIds:
    def test_the_turn_is_put_back_as_the_model_said_it(self, wire: Wire, stream: bool, mixed: bool) -> None:
        bodies = [*legs_of(wire, mixed=mixed), answer(wire, text="Done.", number=9)]
        house = House(*(script(wire, body, stream=stream) for body in bodies))
        call = shortened(wire, stream=stream)
        reply, got = house.ask(call)
        seen = told(wire, got, stream=stream)
        if mixed:
            assert reply.notes[0].why == "gives 1 left-out text back with the next request"
        second = following(call, wire, seen)
        house.ask(second)
        asked = len(bodies) - 2
        before, after = conversation(house, asked, wire), conversation(house, asked + 1, wire)
        assert after[: len(before)] == before, "the prompt begins as it was sent"
        text = msgspec.json.encode(after)
        assert text.count(b"1\\tline 1: something happened") == 1
        assert text.count(b'"name":"recall"') == (1 if mixed else 2)
        assert text.count(b'"name":"read"') == 2
        assert text.count(b"file") == 2
        assert text.count(b"Both." if mixed else b"Now I know.") == 1
        assert second.facts[BROUGHT] > 20
        _paired(wire, after)
        third = following(call, wire, seen)
        house.ask(third)
        assert conversation(house, asked + 2, wire) == after

    def test_it_is_put_back_after_a_restart(self, wire: Wire, stream: bool, mixed: bool) -> None:
        house = House(*(script(wire, body, stream=stream) for body in legs_of(wire, mixed=mixed)))
        call = shortened(wire, stream=stream)
        _, got = house.ask(call)
        second = following(call, wire, told(wire, got, stream=stream))
        anew = House(script(wire, answer(wire, text="Done.", number=9), stream=stream), kv=house.kv)
        anew.ask(second)
        assert b"1\\tline 1: something happened" in anew.sent(0).raw

    def test_an_answer_that_the_caller_has_changed_stays_as_it_is(self, wire: Wire, stream: bool, mixed: bool) -> None:
        bodies = [*legs_of(wire, mixed=mixed), answer(wire, text="Done.", number=9)]
        house = House(*(script(wire, body, stream=stream) for body in bodies))
        call = shortened(wire, stream=stream)
        _, got = house.ask(call)
        second = following(call, wire, told(wire, got, stream=stream), change="Both." if mixed else "Now I know.")
        house.ask(second)
        assert house.sent(-1).raw == second.request.raw

    def test_the_store_down_keeps_it_in_memory(self, wire: Wire, stream: bool, mixed: bool) -> None:
        bodies = [*legs_of(wire, mixed=mixed), answer(wire, text="Done.", number=9)]
        house = House(*(script(wire, body, stream=stream) for body in bodies), kv=DownKV(reads_only=True))
        call = shortened(wire, stream=stream)
        _, got = house.ask(call)
        house.ask(following(call, wire, told(wire, got, stream=stream)))
        assert b'"name":"recall"' in msgspec.json.encode(conversation(house, -1, wire))


def _paired(wire: Wire, items: list[Any]) -> None:
    """Every call has its result right behind, and the reverse."""
    due: set[str] = set()
    for item in items:
        match wire:
            case Wire.ANTHROPIC_MESSAGES:
                blocks = item["content"] if isinstance(item["content"], list) else []
                answered = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
                assert answered == due
                due = {block["id"] for block in blocks if block["type"] == "tool_use"}
            case Wire.OPENAI_CHAT if item["role"] == "tool":
                due.remove(item["tool_call_id"])
            case Wire.OPENAI_CHAT:
                assert not due
                due = {call["id"] for call in item.get("tool_calls", ())}
            case _ if item.get("type") == "function_call_output":
                due.remove(item["call_id"])
            case _ if item.get("type") == "function_call":
                due.add(item["call_id"])
    assert not due


def test_thinking_that_the_caller_never_saw_comes_back_too() -> None:
    wire = Wire.ANTHROPIC_MESSAGES
    bodies = [*legs_of(wire, mixed=False), answer(wire, text="Done.", number=9)]
    for number, body in enumerate(bodies):
        body["content"][0]["signature"] = f"sig{number}"
    house = House(*(script(wire, body) for body in bodies))
    call = shortened(wire)
    _, got = house.ask(call)
    seen = told(wire, got, stream=False)
    assert [block["signature"] for block in seen["content"] if block["type"] == "thinking"] == ["sig0"]
    house.ask(following(call, wire, seen))
    said = [block for message in conversation(house, -1, wire) for block in message["content"] if "type" in block]
    assert [block["signature"] for block in said if block["type"] == "thinking"] == ["sig0", "sig1", "sig2"]


def test_a_cache_mark_of_the_caller_stays_on_the_turn() -> None:
    wire = Wire.ANTHROPIC_MESSAGES
    bodies = [*legs_of(wire, mixed=False), answer(wire, text="Done.", number=9)]
    house = House(*(script(wire, body) for body in bodies))
    call = shortened(wire)
    _, got = house.ask(call)
    seen = told(wire, got, stream=False)
    seen["content"][-1]["cache_control"] = {"type": "ephemeral"}
    house.ask(following(call, wire, seen))
    marked = [
        block for message in conversation(house, -1, wire) for block in message["content"] if "cache_control" in block
    ]
    assert [block["id"] for block in marked] == ["id3_1"]


def test_a_result_that_is_missing_leaves_the_turn_alone() -> None:
    wire = Wire.ANTHROPIC_MESSAGES
    house = House(*(script(wire, body) for body in legs_of(wire, mixed=True)))
    call = shortened(wire)
    _, got = house.ask(call)
    second = following(call, wire, told(wire, got, stream=False))
    cut = second.request.edit([Edit(("messages",), second.request.body["messages"][:-1])])
    house.ask(second.sending(cut))
    assert house.sent(-1).raw == cut.raw


def test_other_sessions_are_left_alone() -> None:
    wire = Wire.OPENAI_CHAT
    bodies = [*legs_of(wire, mixed=False), answer(wire, text="Done.", number=9)]
    house = House(*(script(wire, body) for body in bodies))
    call = shortened(wire)
    _, got = house.ask(call)
    second = following(call, wire, told(wire, got, stream=False))
    identity = msgspec.structs.replace(second.identity, session="another")
    house.ask(msgspec.structs.replace(second, identity=identity))
    assert house.sent(-1).raw == second.request.raw


def test_reasoning_that_led_to_us_alone_is_not_shown_without_its_call() -> None:
    wire = Wire.OPENAI_RESPONSES
    for stream in (False, True):
        first = answer(wire, ("recall", {"ref": REF}))
        first["output"].insert(0, {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"})
        last = answer(wire, ("read", {}), number=2)
        last["output"].insert(0, {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "y"})
        done = answer(wire, text="Done.", number=9)
        house = House(*(script(wire, body, stream=stream) for body in (first, last, done)))
        call = shortened(wire, stream=stream)
        _, got = house.ask(call)
        assert b"rs_1" not in got
        seen = told(wire, got, stream=stream)
        assert [item.get("id", item["type"])[:4] for item in seen["output"]] == ["rs_2", "fc_r"]
        house.ask(following(call, wire, seen))
        assert [item.get("id") for item in conversation(house, -1, wire) if item.get("type") == "reasoning"] == [
            "rs_1",
            "rs_2",
        ]


def test_an_id_that_a_server_uses_again_is_no_sign_by_itself() -> None:
    wire = Wire.OPENAI_CHAT
    first = [answer(wire, ("recall", {"ref": REF})), answer(wire, ("read", {"path": "a"}), number=2)]
    other = answer(wire, ("read", {"path": "another"}), number=2)
    house = House(*(script(wire, body) for body in (*first, answer(wire, text="Done.", number=9))))
    call = shortened(wire)
    house.ask(call)
    second = following(call, wire, other)
    house.ask(second)
    assert house.sent(-1).raw == second.request.raw


def test_one_exchange_is_put_back_once() -> None:
    wire = Wire.OPENAI_CHAT
    bodies = [answer(wire, ("recall", {"ref": REF})), answer(wire, ("read", {"path": "a"}), number=2)]
    house = House(*(script(wire, body) for body in (*bodies, answer(wire, text="Done.", number=9))))
    call = shortened(wire)
    _, got = house.ask(call)
    seen = told(wire, got, stream=False)
    house.ask(following(following(call, wire, seen), wire, seen))
    assert house.sent(-1).raw.count(b'"name":"recall","arguments"') == 1


def test_what_is_stored_of_turns_and_cannot_be_read_is_passed_over() -> None:
    wire = Wire.OPENAI_CHAT
    house = House(script(wire, answer(wire, text="ok")))
    asyncio.run(house.references.note("local", "s", "turns", b'[{"ids": 3}]'))
    _, body = house.ask(shortened(wire))
    assert b"ok" in body


def test_turns_that_could_not_be_read_are_not_written_over() -> None:
    class Flaky(DownKV):
        down = True

        async def get(self, key: str) -> bytes | None:
            return await (super().get(key) if self.down else MemoryKV.get(self, key))

    wire = Wire.OPENAI_CHAT
    kv = Flaky(reads_only=True)
    house = House(*(script(wire, body) for body in legs_of(wire, mixed=False)), kv=kv)
    asyncio.run(house.references.note("local", "s", "turns", b"[]"))
    house.ask(shortened(wire))
    kv.down = False
    assert asyncio.run(house.references.noted("local", "s", "turns")) == b"[]"


def test_memory_for_turns_is_bounded_and_forgotten_ones_are_read_again() -> None:
    async def run() -> None:
        clock = FakeClock()
        references = References(MemoryKV(clock=clock), clock)
        turns = Turns(references, within_s=1.0, size_bytes=2_000)
        calls = [make_call(session=f"s{number}") for number in range(10)]
        for call in calls:
            await turns.add(call, Exchange(("id",), "text", ("x" * 900,)))
        assert len(turns._sessions) <= 2
        assert [len(await turns.of(call)) for call in calls] == [1] * 10

    asyncio.run(run())
