"""The model asks for left-out text, the gateway gives it, and the caller sees one answer: in all four protocols."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from tests.unit.backends.recall_house import (
    LONG,
    REF,
    SAVING,
    WIRES,
    DownKV,
    House,
    SlowKV,
    answer,
    cost,
    said,
    script,
    shortened,
    told,
)

from pennyweight.backends.budget.amounts import Bounds
from pennyweight.backends.budget.budgeted import Budgeted
from pennyweight.backends.budget.budgets import Budgets
from pennyweight.backends.budget.limits import Lines
from pennyweight.backends.fallback import Fallback
from pennyweight.backends.recall import GONE, UNNAMED, UNREAD, Recall
from pennyweight.call import Outcome, Target
from pennyweight.errors import StreamCut, Unreachable
from pennyweight.pipeline import Pipeline
from pennyweight.references import UNCHANGED, ReferenceSettings, reference_id
from pennyweight.request import Edit, Reply, Usage, Wire
from pennyweight.stores.counters.memory import MemoryCounters
from pennyweight.testing import shapes
from pennyweight.testing.backend import Script, make_call
from pennyweight.testing.clock import FakeClock
from pennyweight.text.tokenizers import BpeTokenizer
from pennyweight.wire import codec


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wire", WIRES)
class TestInEveryProtocol:
    def test_a_call_is_answered_and_nothing_of_it_shows(self, wire: Wire, stream: bool) -> None:
        first = answer(wire, ("recall", {"ref": REF, "lines": "7-8"}), text="Let me look.")
        second = answer(wire, text="It happened.", number=2)
        house = House(script(wire, first, stream=stream), script(wire, second, stream=stream))
        reply, body = house.ask(shortened(wire, stream=stream))
        whole = told(wire, body, stream=stream)
        turn = said(wire, whole)
        assert turn.calls == ()
        assert turn.text.replace("\n\n", "") == "Let me look.It happened."
        assert b"recall" not in body
        assert b"7\\tline 7" not in body
        assert reply.done is not None
        assert [charge.usage.input_tokens for charge in reply.done.charges] == [100, 200]
        assert reply.done.usage == codec(wire).read(msgspec.json.encode(whole)).usage
        assert reply.done.usage is not None
        assert (reply.done.usage.input_tokens, reply.done.usage.output_tokens) == (200, 3)
        (step,) = reply.notes
        assert step.why == "gave 1 left-out text back, asked 1 time more"
        assert step.saving == -(100 * 10 + 1 * 100 + 200 * 10 + 2 * 100 - 100 * 10 - 2 * 100)
        again = house.sent(1)
        assert b"7\\tline 7: something happened" in again.raw
        assert again.raw.startswith(house.sent(0).raw.partition(b"[recall ")[0][:40])
        assert again.body["tools"] == house.sent(0).body["tools"], "the head of the prompt stays"
        said_to = again.body.get("messages") or again.body["input"]
        before = house.sent(0).body.get("messages") or house.sent(0).body["input"]
        assert said_to[: len(before)] == before
        assert {"accept-encoding", "idempotency-key"}.isdisjoint(dict(again.headers))

    def test_a_call_of_the_clients_beside_ours_goes_to_the_client(self, wire: Wire, stream: bool) -> None:
        first = answer(wire, ("recall", {"ref": REF}), ("read", {"path": "a"}), ("recall", {"ref": REF}))
        house = House(script(wire, first, stream=stream))
        _, body = house.ask(shortened(wire, stream=stream))
        turn = said(wire, told(wire, body, stream=stream))
        assert [call.name for call in turn.calls] == ["read"]
        assert len(house.upstream.calls) == 1

    def test_an_answer_without_our_call_keeps_its_bytes(self, wire: Wire, stream: bool) -> None:
        plain = script(wire, answer(wire, ("read", {"path": "a"}), text="See recall."), stream=stream)
        house = House(plain)
        reply, body = house.ask(shortened(wire, stream=stream))
        assert body == (b"".join(plain.chunks or ()) or plain.content)
        assert reply.notes == []
        assert house.stored == 1

    def test_several_calls_and_several_times(self, wire: Wire, stream: bool) -> None:
        bodies = [
            answer(wire, ("recall", {"ref": REF}), ("recall", {"ref": REF, "query": "line 9"}), text="One."),
            answer(wire, ("recall", {"ref": REF, "lines": "3"}), text="Two.", number=2),
            answer(wire, ("read", {"path": "a"}), text="Three.", number=3),
        ]
        house = House(*(script(wire, body, stream=stream) for body in bodies))
        reply, body = house.ask(shortened(wire, stream=stream))
        turn = said(wire, told(wire, body, stream=stream))
        assert turn.text.replace("\n\n", "") == "One.Two.Three."
        assert [call.name for call in turn.calls] == ["read"]
        assert reply.notes[0].why == "gave 3 left-out texts back, asked 2 times more"

    def test_who_does_not_stop_asking_is_asked_as_the_caller_wrote_it(self, wire: Wire, stream: bool) -> None:
        more = [answer(wire, ("recall", {"ref": REF}), number=n) for n in (1, 2, 3)]
        scripts = [script(wire, body, stream=stream) for body in (*more, answer(wire, text="Well.", number=4))]
        house = House(*scripts, loops=2)
        call = shortened(wire, stream=stream)
        reply, body = house.ask(call)
        assert said(wire, told(wire, body, stream=stream)).text == "Well."
        assert house.sent(3).raw == call.original.raw
        assert reply.done is not None
        assert len(reply.done.charges) == 4
        costs = [cost(charge) for charge in reply.done.charges]
        assert sum(step.saving for step in (*call.trail, *reply.notes)) == -sum(costs[:3])
        assert "more than 2 times" in reply.notes[-1].why

    @pytest.mark.parametrize("trouble", [{"error": Unreachable("gone")}, {"status": 529}, {"status": 400}])
    def test_a_second_ask_that_fails_is_made_good_by_the_first_call(
        self, wire: Wire, stream: bool, trouble: dict[str, Any]
    ) -> None:
        scripts = [
            script(wire, answer(wire, ("recall", {"ref": REF}), text="Let me look."), stream=stream),
            Script(content=b'{"error":{"message":"no"}}', **trouble),
            script(wire, answer(wire, text="Done.", number=2), stream=stream),
        ]
        house = House(*scripts)
        call = shortened(wire, stream=stream)
        reply, body = house.ask(call)
        turn = said(wire, told(wire, body, stream=stream))
        assert turn.text.replace("\n\n", "") == ("Let me look.Done." if stream else "Done.")
        assert house.sent(2).raw == call.original.raw
        assert reply.notes[-1].why.startswith("asked unchanged: asking on")

    def test_an_upstream_that_fails_for_good_is_told(self, wire: Wire, stream: bool) -> None:
        first = script(wire, answer(wire, ("recall", {"ref": REF})), stream=stream)
        refused = Script(status=529, content=b'{"error":{"message":"busy"}}')
        house = House(first, refused)
        if stream:
            with pytest.raises(StreamCut, match="529"):
                house.ask(shortened(wire, stream=True))
            return
        reply, body = house.ask(shortened(wire))
        assert (reply.status, body) == (529, refused.content)
        assert reply.done is not None
        assert len(reply.done.charges) == 1, "what the first ask cost is not forgotten"

    def test_an_upstream_that_is_gone_for_good_is_told(self, wire: Wire, stream: bool) -> None:
        first = script(wire, answer(wire, ("recall", {"ref": REF})), stream=stream)
        house = House(first, Script(error=Unreachable("gone")))
        if stream:
            with pytest.raises(StreamCut, match="gone"):
                house.ask(shortened(wire, stream=True))
            return
        reply, body = house.ask(shortened(wire))
        assert reply.status == 502
        assert b"gone" in body
        assert reply.done is not None
        assert len(reply.done.charges) == 1

    def test_the_store_down_before_the_ask_sends_what_the_caller_wrote(self, wire: Wire, stream: bool) -> None:
        house = House(script(wire, answer(wire, text="ok"), stream=stream), kv=DownKV())
        call = shortened(wire, stream=stream)
        reply, _ = house.ask(call)
        assert house.sent(0).raw == call.original.raw
        assert reply.notes[0].saving == -SAVING
        assert "could not be kept" in reply.notes[0].why
        assert call.facts[UNCHANGED], "nothing is pinned that was not sent"

    def test_the_store_down_meanwhile_is_told_to_the_model(self, wire: Wire, stream: bool) -> None:
        scripts = [
            script(wire, answer(wire, ("recall", {"ref": REF})), stream=stream),
            script(wire, answer(wire, text="Then not.", number=2), stream=stream),
        ]
        house = House(*scripts, kv=DownKV(reads_only=True))
        _, body = house.ask(shortened(wire, stream=stream))
        assert said(wire, told(wire, body, stream=stream)).text == "Then not."
        assert UNREAD.encode() in house.sent(1).raw

    @pytest.mark.parametrize(
        ("arguments", "result"),
        [
            ({"ref": "raaaaaaaaaa"}, GONE),
            ({"ref": reference_id("other", "s", LONG)}, GONE),
            ({"ref": "everything"}, UNNAMED),
            ({}, UNNAMED),
        ],
    )
    def test_a_name_that_is_not_known_reveals_nothing(
        self, wire: Wire, stream: bool, arguments: dict[str, str], result: str
    ) -> None:
        scripts = [
            script(wire, answer(wire, ("recall", arguments)), stream=stream),
            script(wire, answer(wire, text="ok", number=2), stream=stream),
        ]
        house = House(*scripts)
        elsewhere = House(kv=house.kv)
        asyncio.run(elsewhere.references.put("other", "s", reference_id("other", "s", LONG), LONG))
        house.ask(shortened(wire, stream=stream))
        again = house.sent(1).raw
        assert msgspec.json.encode(result) in again
        assert b"something happened" not in again

    def test_without_the_tool_nothing_is_left_out(self, wire: Wire, stream: bool) -> None:
        house = House(script(wire, answer(wire, text="ok"), stream=stream))
        call = shortened(wire, stream=stream, tool=False)
        reply, _ = house.ask(call)
        assert house.sent(0).raw == call.original.raw
        assert "no use for the tool" in reply.notes[0].why

    def test_a_caller_that_leaves_stops_the_upstream(self, wire: Wire, stream: bool) -> None:
        if not stream:
            pytest.skip("a whole answer is there or not")
        body = answer(wire, text="x" * 10)
        house = House(
            script(wire, answer(wire, ("recall", {"ref": REF})), stream=True),
            script(wire, body, stream=True, before_chunks=(None, asyncio.Event())),
        )

        async def work() -> None:
            reply = await house.recall.open(shortened(wire, stream=True))
            assert reply.chunks is not None
            reading = asyncio.ensure_future(reply.read())
            for _ in range(50):
                await asyncio.sleep(0)
            assert len(house.upstream.replies) == 2
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await reply.aclose()
            assert reply.done is not None
            assert not reply.done.complete

        house.run(work)


def test_a_store_that_is_slow_holds_nobody_up() -> None:
    wire = Wire.OPENAI_CHAT
    house = House(script(wire, answer(wire, text="ok")), kv=SlowKV(clock=FakeClock()), store_s=0.01)
    call = shortened(wire)
    house.ask(call)
    assert house.sent(0).raw == call.original.raw


def test_what_was_stored_is_not_stored_again() -> None:
    wire = Wire.OPENAI_CHAT
    house = House(script(wire, answer(wire, text="ok")))
    for _ in range(3):
        house.ask(shortened(wire))
    assert house.stored == 1
    assert asyncio.run(house.references.get("local", "s", REF)) == LONG
    assert asyncio.run(house.references.get("local", "s", "rnotmention")) is None, "only what the request stands for"


def test_calls_that_nothing_was_left_out_of_are_handed_on() -> None:
    wire = Wire.OPENAI_CHAT
    house = House(script(wire, answer(wire, ("recall", {"ref": REF}))))
    call = make_call(session="s")
    reply, body = house.ask(call)
    assert b"recall" in body
    assert reply is house.upstream.replies[0]
    assert house.upstream.calls[0] is call


def test_a_caller_that_is_such_a_gateway_answers_for_itself() -> None:
    wire = Wire.OPENAI_CHAT
    call = shortened(wire)
    theirs = msgspec.structs.replace(call, original=call.request, facts={})
    theirs = theirs.sending(call.request.edit([Edit(("temperature",), 0)]))
    house = House(script(wire, answer(wire, ("recall", {"ref": REF}))))
    _, body = house.ask(theirs)
    assert b"recall" in body


def test_thinking_goes_back_with_its_signature() -> None:
    wire = Wire.ANTHROPIC_MESSAGES
    house = House(script(wire, answer(wire, ("recall", {"ref": REF}))), script(wire, answer(wire, text="ok", number=2)))
    house.ask(shortened(wire))
    turn = house.sent(1).body["messages"][1]
    assert turn["content"][0] == {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}


def test_a_call_that_was_cut_by_a_limit_is_dropped_and_the_end_is_told() -> None:
    for wire, end in (
        (Wire.ANTHROPIC_MESSAGES, {"stop_reason": "max_tokens"}),
        (Wire.OLLAMA, {"done_reason": "length"}),
    ):
        for stream in (False, True):
            body = answer(wire, ("recall", {"ref": REF}), text="So", **end)
            house = House(script(wire, body, stream=stream))
            _, got = house.ask(shortened(wire, stream=stream))
            whole = told(wire, got, stream=stream)
            assert {key: whole[key] for key in end} == end
            assert said(wire, whole) == shapes.Turn("So", (), *(("Hm.", "c2ln") if wire is not Wire.OLLAMA else ()))


def test_an_answer_that_is_compressed_all_the_same_is_asked_for_unchanged() -> None:
    wire = Wire.OPENAI_CHAT
    zipped = Script(content=b"\x1f\x8b", headers=(("content-encoding", "gzip"),))
    house = House(zipped, script(wire, answer(wire, text="ok", number=2)))
    call = shortened(wire)
    _, body = house.ask(call)
    assert said(wire, told(wire, body, stream=False)).text == "ok"
    assert house.sent(1).raw == call.original.raw


def test_reasoning_that_the_provider_forgets_does_not_go_back() -> None:
    wire = Wire.OPENAI_RESPONSES
    items = [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "reasoning", "id": "rs_2", "encrypted_content": "x"},
    ]
    body = answer(wire, ("recall", {"ref": REF}), store=False)
    body["output"] = [*items, *body["output"]]
    house = House(script(wire, body), script(wire, answer(wire, text="ok", number=2, store=False)))
    _, got = house.ask(shortened(wire, store=False))
    kinds = [item.get("id") or item.get("type") for item in house.sent(1).body["input"][1:]]
    assert "rs_1" not in kinds
    assert "rs_2" in kinds
    assert msgspec.json.decode(got)["id"] == body["id"], "the provider keeps nothing under either id"


def test_a_conversation_that_the_provider_keeps_goes_on_from_the_last_id() -> None:
    wire = Wire.OPENAI_RESPONSES
    for stream in (False, True):
        last = answer(wire, text="ok", number=2, store=True)
        house = House(
            script(wire, answer(wire, ("recall", {"ref": REF})), stream=stream), script(wire, last, stream=stream)
        )
        _, got = house.ask(shortened(wire, stream=stream))
        assert told(wire, got, stream=stream)["id"] == last["id"]


def test_every_ask_is_reserved_in_the_budget_and_a_limit_in_the_middle_is_told() -> None:
    wire = Wire.OPENAI_CHAT
    for stream in (False, True):
        ask = script(wire, answer(wire, ("recall", {"ref": REF})), stream=stream)
        house = House(ask, script(wire, answer(wire, text="ok", number=2), stream=stream))
        clock = FakeClock()
        budgets = Budgets(
            MemoryCounters(now=clock.now),
            clock,
            Lines((), daily=lambda _tenant: 2_000),
            bounds=lambda _call: Bounds(Usage(), Usage(), 1_500, 0),
            cost=cost,
        )
        house.recall = Recall(
            Budgeted(house.upstream, budgets), house.references, BpeTokenizer(), settings=ReferenceSettings(), cost=cost
        )
        if stream:
            with pytest.raises(StreamCut, match="Daily limit"):
                house.ask(shortened(wire, stream=True))
            continue
        reply, body = house.ask(shortened(wire))
        assert reply.status == 402
        assert b"Daily limit" in body
        assert reply.done is not None
        assert len(reply.done.charges) == 1
        assert len(house.upstream.calls) == 1


@pytest.mark.parametrize("cut_in", [0, 1])
@pytest.mark.parametrize("wire", WIRES)
def test_a_stream_that_breaks_off_is_told_with_what_was_said_and_billed(wire: Wire, cut_in: int) -> None:
    bodies = [answer(wire, ("recall", {"ref": REF}), text="Let me look."), answer(wire, text="So it is.", number=2)]
    whole = [script(wire, body, stream=True) for body in bodies]
    broken = whole[cut_in]
    chunks = (broken.chunks or ())[:-2] if wire is not Wire.OLLAMA else (broken.chunks or ())[:1]
    whole[cut_in] = msgspec.structs.replace(broken, chunks=chunks, cut=StreamCut("gone"))
    house = House(*whole)
    got: list[bytes] = []

    async def work() -> Reply:
        reply = await house.recall.open(shortened(wire, stream=True))

        async def read() -> None:
            async for chunk in reply.chunks:  # type: ignore[union-attr]
                got.append(chunk)  # noqa: PERF401 - what came before it broke off counts

        with pytest.raises(StreamCut, match="gone"):
            await read()
        await reply.aclose()
        return reply

    reply: Reply = house.run(work)
    seen = b"".join(got)
    assert b"Let me look." in seen
    assert b"recall" not in seen
    assert (b"So it is." in seen) == (cut_in == 1)
    assert reply.done is not None
    assert not reply.done.complete
    assert len(reply.done.charges) == cut_in + 1


def test_a_caller_that_leaves_between_the_asks_of_a_whole_answer_is_billed_the_first() -> None:
    wire = Wire.OPENAI_CHAT
    second = script(wire, answer(wire, text="ok", number=2), before_open=asyncio.Event())
    house = House(script(wire, answer(wire, ("recall", {"ref": REF}))), second)
    outcomes: list[Outcome] = []
    pipeline = Pipeline((), house.recall, submit=outcomes.append, clock=house.clock)

    async def work() -> None:
        asking = asyncio.create_task(pipeline.open(shortened(wire)))
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(house.upstream.calls) == 2
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    house.run(work)
    (outcome,) = outcomes
    assert outcome.abandoned
    assert [charge.usage.input_tokens for charge in outcome.done.charges] == [100]


@pytest.mark.parametrize("stream", [False, True])
def test_a_fallback_may_answer_the_second_ask(stream: bool) -> None:
    wire = Wire.ANTHROPIC_MESSAGES
    house = House(
        script(wire, answer(wire, ("recall", {"ref": REF})), stream=stream),
        Script(status=529, content=b'{"error":{"message":"busy"}}', usage=None),
        script(wire, answer(wire, text="ok", number=2), stream=stream),
    )
    behind = Fallback(house.upstream, lambda _call: (Target("q", "m", wire),), house.clock)
    house.recall = Recall(behind, house.references, BpeTokenizer(), settings=ReferenceSettings(), cost=cost)
    reply, body = house.ask(shortened(wire, stream=stream))
    assert said(wire, told(wire, body, stream=stream)).text == "ok"
    assert reply.done is not None
    assert [charge.provider for charge in reply.done.charges] == ["p", "q"]
    assert reply.notes[-1].why == "gave 1 left-out text back, asked 1 time more"
