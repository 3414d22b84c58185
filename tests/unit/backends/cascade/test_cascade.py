"""When a cascade keeps the cheap answer, when it asks the strong target, and what it does when somebody fails."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from tests.effort import within
from tests.unit.backends.cascade.rig import (
    TOOLS,
    WEATHER,
    Rig,
    billed,
    body,
    on_loop,
    said,
    streamed,
    target,
    until,
    why,
)

from pennyweight.backends.fallback import ANSWERED
from pennyweight.call import CHARGED
from pennyweight.errors import LimitReached, NotConnected, StreamCut, Unreachable
from pennyweight.request import Usage
from pennyweight.routing.confidence.features import FEATURES
from pennyweight.routing.settings import CascadeTable
from pennyweight.testing.backend import Script

ASK = body(tools=TOOLS)
STREAM = body(tools=TOOLS, stream=True)
BERGEN = said(None, ("get_weather", {"city": "Bergen"}))
STRONG = said(None, ("get_weather", {"city": "Oslo", "days": 2}))
FAST = CascadeTable(pulse_s=0.01)


def scripts(*contents: bytes) -> list[Script]:
    return [Script(content=content) for content in contents]


def test_a_call_without_rungs_is_handed_on_as_it_is() -> None:
    rig = Rig(cheap=scripts(WEATHER))
    call = msgspec.structs.replace(rig.call(ASK), rungs=None)
    coroutine = rig.cascade.open(call)
    assert coroutine.__qualname__ == "ScriptedBackend.open"
    asyncio.run(_close(coroutine))


async def _close(coroutine: Any) -> None:
    async with await coroutine:
        pass


@on_loop
async def test_what_both_say_is_kept() -> None:
    rig = Rig(cheap=scripts(WEATHER), peer=scripts(said(None, ("get_weather", {"city": "oslo", "days": 1}))))
    content, reply = await rig.ask(ASK)
    assert content == WEATHER
    assert rig.asked("strong") == 0
    assert billed(reply) == ["peer", "cheap"]
    assert why(reply) == "cascade: kept cheap/cheap-1: the peer agrees (calls)"
    assert reply.notes[0].saving == -2, "the peer's bill counts against the saving"
    assert rig.open_replies == 0 or rig.targets["cheap"].closed == 1


@on_loop
async def test_what_they_say_differently_goes_up() -> None:
    rig = Rig(cheap=scripts(WEATHER), peer=scripts(BERGEN), strong=scripts(STRONG))
    content, reply = await rig.ask(ASK)
    assert content == STRONG
    assert sorted(billed(reply)) == ["cheap", "peer", "strong"]
    assert billed(reply)[-1] == "strong"
    assert "strong/strong-1 answered: the peer disagrees (calls" in why(reply)
    assert sum(step.saving for step in reply.notes) == -70 - 1 - 2, "what routing claimed, and both bills"
    assert [backend.closed for backend in rig.targets.values()] == [1, 1, 1]


@pytest.mark.parametrize(
    ("asked", "answer", "reason"),
    [
        (ASK, said(None, ("get_weather", {"days": 1})), "city is missing"),
        (ASK, said(None, ("get_weather", {"city": 7})), "city is no string"),
        (ASK, said(None, ("get_weather", "{")), "no JSON object"),
        (ASK, said(None, ("drop_table", {})), "not offered"),
        (ASK, said(None, ("get_weather", {"city": "Oslo", "units": "F"})), "does not know"),
        (ASK, said("I would call get_weather with Oslo."), "names a tool"),
        (ASK, said("It will rai", finish="length"), "cut by its limit"),
        (ASK, said("", finish="stop"), "empty"),
        (ASK, said("", finish="content_filter"), "refused"),
        (body(tools=TOOLS, tool_choice="required"), said("Yes."), "and must"),
        (body(response_format={"type": "json_object"}), said("Sure: {}"), "no JSON"),
        (
            body(
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "a", "schema": {"type": "object", "required": ["rain"]}},
                }
            ),
            said('{"sun": true}'),
            "rain is missing",
        ),
        (body(), said("```python\ndef f(:\n```"), "does not parse"),
    ],
)
@on_loop
async def test_a_verifier_sends_it_up_without_waiting_for_the_peer(asked: bytes, answer: bytes, reason: str) -> None:
    never = asyncio.Event()
    rig = Rig(cheap=scripts(answer), peer=[Script(before_open=never)], strong=scripts(STRONG))
    content, reply = await asyncio.wait_for(rig.ask(asked), 60)
    assert content == STRONG
    assert reason in why(reply)
    assert billed(reply) == ["cheap", "strong"]


@on_loop
async def test_in_doubt_the_peer_is_asked_only_when_nothing_is_wrong() -> None:
    later = CascadeTable(ask_peer="in_doubt")
    bad = Rig(cheap=scripts(said("")), peer=scripts(WEATHER), strong=scripts(STRONG), settings=later)
    await bad.ask(ASK)
    assert bad.asked("peer") == 0
    good = Rig(cheap=scripts(WEATHER), peer=scripts(WEATHER), strong=scripts(STRONG), settings=later)
    assert (await good.ask(ASK))[0] == WEATHER


@pytest.mark.parametrize("failing", [Script(error=Unreachable("down")), Script(status=500), Script(content=b"<html>")])
@on_loop
async def test_a_cheap_target_that_fails_costs_nothing_but_time(failing: Script) -> None:
    rig = Rig(cheap=[failing], peer=scripts(WEATHER), strong=scripts(STRONG))
    content, reply = await rig.ask(ASK)
    assert content == STRONG
    assert reply.status == 200


@on_loop
async def test_a_peer_that_fails_is_no_peer() -> None:
    rig = Rig(cheap=scripts(WEATHER), peer=[Script(error=NotConnected("down"))], strong=scripts(STRONG))
    content, reply = await rig.ask(ASK)
    assert content == STRONG
    assert "no peer was asked" in why(reply)


@on_loop
async def test_a_slow_peer_is_not_waited_for_longer_than_allowed() -> None:
    rig = Rig(
        cheap=scripts(WEATHER),
        peer=[Script(before_open=asyncio.Event())],
        strong=scripts(STRONG),
        settings=CascadeTable(peer_wait_s=0.01),
    )
    assert (await asyncio.wait_for(rig.ask(ASK), 60))[0] == STRONG


@pytest.mark.parametrize(
    "failing",
    [
        Script(error=Unreachable("down")),
        Script(status=503),
        Script(status=400),
        Script(error=LimitReached("the budget is spent")),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
@on_loop
async def test_rather_the_doubtful_answer_than_none(failing: Script, stream: bool) -> None:
    if stream:
        chunks = streamed("It will rain.")
        rig = Rig(cheap=[Script(chunks=chunks)], peer=[Script(chunks=streamed("No."))], strong=[failing])
        content, reply = await rig.ask(body(stream=True))
        assert content == b"".join(chunks)
    else:
        rig = Rig(cheap=scripts(WEATHER), peer=scripts(BERGEN), strong=[failing])
        content, reply = await rig.ask(ASK)
        assert content == WEATHER
    assert reply.status == 200
    assert sorted(billed(reply)) == ["cheap", "peer"]
    assert "the first answer, as no other came" in why(reply)


@on_loop
async def test_all_that_fail_are_told_by_the_last() -> None:
    gate = asyncio.Event()
    cheap = Script(error=Unreachable("a"), before_open=gate)
    rig = Rig(cheap=[cheap], peer=scripts(WEATHER), strong=[Script(error=Unreachable("b"))])
    call = rig.call(ASK)
    asking = asyncio.create_task(rig.cascade.open(call))
    await until(lambda: rig.targets["peer"].replies != [])
    gate.set()
    with pytest.raises(Unreachable, match="b"):
        await asking
    assert [charge.provider for charge in call.facts[CHARGED]] == ["peer"], "what was billed is not forgotten"


@on_loop
async def test_a_refusal_goes_back_where_there_is_no_answer_at_all() -> None:
    refusal = Script(status=400, content=b'{"error":{}}')
    rig = Rig(cheap=[Script(status=400)], peer=scripts(WEATHER), strong=[refusal])
    content, reply = await rig.ask(ASK)
    assert (reply.status, content) == (400, b'{"error":{}}')


@on_loop
async def test_the_strongest_is_asked_first_and_the_others_where_it_fails() -> None:
    rig = Rig(
        cheap=scripts(WEATHER),
        peer=scripts(BERGEN),
        strong=[Script(status=529)],
        more={"middle": scripts(STRONG)},
    )
    content, reply = await rig.ask(ASK, strong=("middle", "strong"))
    assert content == STRONG
    assert "strong/strong-1: status 529" in why(reply)
    assert billed(reply)[-1] == "middle"


@on_loop
async def test_without_a_peer_and_before_anything_was_learnt_the_cheap_target_is_not_asked() -> None:
    rig = Rig(cheap=scripts(WEATHER), strong=scripts(STRONG))
    content, reply = await rig.ask(ASK)
    assert content == STRONG
    assert rig.asked("cheap") == 0
    assert "there is no peer" in why(reply)
    assert reply.notes[0].saving == -70


@on_loop
async def test_verify_keeps_what_is_well_formed() -> None:
    trusting = CascadeTable(mode="verify")
    rig = Rig(cheap=scripts(WEATHER, said("")), strong=scripts(STRONG), settings=trusting)
    assert (await rig.ask(ASK))[0] == WEATHER
    assert (await rig.ask(ASK))[0] == STRONG


@pytest.mark.parametrize(
    "raw",
    [
        body(n=2),
        b'{"model":"auto","messages":7}',
        body(tools=[{"type": "web_search_20250305", "name": "web_search"}]),
        body(tools=[{"type": "mcp", "server_url": "https://x"}]),
        body(web_search_options={"search_context_size": "low"}),
        body(model="m:online"),
        body(previous_response_id="resp_1"),
        body(background=True),
    ],
)
@on_loop
async def test_what_cannot_be_judged_goes_to_the_strongest_at_once(raw: bytes) -> None:
    rig = Rig(cheap=scripts(WEATHER), peer=scripts(WEATHER), strong=scripts(STRONG))
    assert (await rig.ask(raw))[0] == STRONG
    assert rig.asked("cheap") == 0


@on_loop
async def test_a_peer_that_makes_things_up_is_no_reason_to_doubt_an_answer_in_words() -> None:
    made_up = said(None, ("get_weather", {"city": "Springfield"}))
    rig = Rig(cheap=scripts(said("I need to know where you are.")), peer=scripts(made_up), strong=scripts(STRONG))
    content, reply = await rig.ask(body(tools=TOOLS, messages=[{"role": "user", "content": "Will it rain?"}]))
    assert b"where you are" in content
    assert "had to make up" in why(reply)


# --- streams ----------------------------------------------------------------------------------------------


@on_loop
async def test_a_kept_stream_is_what_came() -> None:
    chunks = streamed("4", "2")
    rig = Rig(cheap=[Script(chunks=chunks)], peer=[Script(chunks=streamed("42"))])
    content, reply = await rig.ask(body(stream=True))
    assert content == b"".join(chunks)
    assert billed(reply) == ["peer", "cheap"]
    assert reply.done is not None
    assert reply.done.complete


@on_loop
async def test_a_stream_is_stopped_as_soon_as_it_is_certain_to_go_up() -> None:
    never = asyncio.Event()
    chunks = streamed("Here you are", " more", " and more")
    rig = Rig(
        cheap=[Script(chunks=chunks, before_chunks=(None, never))],
        peer=[Script(before_open=never)],
        strong=[Script(chunks=streamed("{}"))],
    )
    asked = body(stream=True, response_format={"type": "json_object"})
    content, reply = await asyncio.wait_for(rig.ask(asked), 60)
    assert content == b"".join(streamed("{}"))
    assert "it is no JSON" in why(reply)
    assert rig.targets["cheap"].closed == 1


@on_loop
async def test_another_tool_than_the_peer_chose_stops_it_early() -> None:
    never = asyncio.Event()
    calling = {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "get_weather"}}]}
    rig = Rig(
        cheap=[Script(chunks=streamed("x", first=calling), before_chunks=(None, never))],
        peer=[Script(chunks=streamed("I cannot tell."))],
        strong=[Script(chunks=streamed("Yes."))],
    )
    rig.targets["cheap"]._scripts = (  # the peer is done when the first call arrives
        msgspec.structs.replace(rig.targets["cheap"]._scripts[0], before_chunks=(gate := asyncio.Event(), never)),
    )
    asking = asyncio.create_task(rig.ask(STREAM))
    await until(lambda: rig.targets["peer"].calls != [])
    for _ in range(20):
        await asyncio.sleep(0)
    gate.set()
    content, reply = await asyncio.wait_for(asking, 60)
    assert content == b"".join(streamed("Yes."))
    assert "the peer disagrees (no call)" in why(reply)


@on_loop
async def test_an_answer_too_long_to_be_held_goes_up_and_is_stopped() -> None:
    never = asyncio.Event()
    chunks = streamed("a" * 3_000, "b")
    small = CascadeTable(hold_bytes=2_000)
    for script in (Script(chunks=chunks, before_chunks=(None, never)), Script(content=said("a" * 3_000))):
        rig = Rig(cheap=[script], peer=scripts(WEATHER), strong=scripts(STRONG), settings=small)
        raw = body(stream=script.chunks is not None)
        _, reply = await asyncio.wait_for(rig.ask(raw), 60)
        assert "too long" in why(reply)
        assert rig.targets["cheap"].closed == 1


@on_loop
async def test_a_caller_hears_that_a_held_stream_is_alive() -> None:
    gate = asyncio.Event()
    chunks = streamed("42")
    rig = Rig(cheap=[Script(chunks=chunks, before_chunks=(gate,))], peer=[Script(chunks=chunks)], settings=FAST)
    reply = await asyncio.wait_for(rig.open(body(stream=True)), 60)
    assert reply.chunks is not None
    stream = aiter(reply.chunks)
    assert await anext(stream) == b": \n\n"
    gate.set()
    rest = b"".join([chunk async for chunk in stream])
    await reply.aclose()
    assert rest.replace(b": \n\n", b"") == b"".join(chunks)
    assert billed(reply) == ["peer", "cheap"]
    assert "kept" in why(reply)


@on_loop
async def test_a_held_stream_that_goes_up_streams_on() -> None:
    gate = asyncio.Event()
    rig = Rig(
        cheap=[Script(chunks=streamed("41"), before_chunks=(gate,))],
        peer=[Script(chunks=streamed("42"))],
        strong=[Script(chunks=streamed("4", "2"))],
        settings=FAST,
    )
    reply = await rig.open(body(stream=True))
    stream = aiter(reply.chunks or ())  # type: ignore[arg-type]
    await anext(stream)
    gate.set()
    rest = b"".join([chunk async for chunk in stream])
    await reply.aclose()
    assert rest.replace(b": \n\n", b"") == b"".join(streamed("4", "2"))
    assert sorted(billed(reply)) == ["cheap", "peer", "strong"]
    assert all(backend.closed == 1 for backend in rig.targets.values())


@on_loop
async def test_nobody_answers_a_stream_that_has_begun() -> None:
    gate = asyncio.Event()
    rig = Rig(
        cheap=[Script(error=Unreachable("a"), before_open=gate)],
        peer=[Script(error=Unreachable("c"))],
        strong=[Script(error=Unreachable("b"))],
        settings=FAST,
    )
    reply = await rig.open(body(stream=True))
    stream = aiter(reply.chunks or ())  # type: ignore[arg-type]
    await anext(stream)
    gate.set()
    with pytest.raises(StreamCut):
        async for _ in stream:
            pass
    await reply.aclose()


# --- callers that leave -----------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [False, True])
@on_loop
async def test_a_caller_that_leaves_stops_all(held: bool) -> None:
    never = asyncio.Event()
    chunks = streamed("1", "2")
    rig = Rig(
        cheap=[Script(chunks=chunks, before_chunks=(None, never))],
        peer=[Script(chunks=chunks, before_chunks=(None, never))],
        settings=FAST if held else None,
    )
    if held:
        reply = await rig.open(body(stream=True))
        await reply.aclose()
        assert reply.done is not None
        assert not reply.done.complete
        assert sorted(billed(reply)) == ["cheap", "peer"], "what was asked was billed"
    else:
        call = rig.call(body(stream=True))
        asking = asyncio.create_task(rig.cascade.open(call))
        await until(lambda: len(rig.targets["cheap"].replies) + len(rig.targets["peer"].replies) == 2)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert sorted(charge.provider for charge in call.facts[CHARGED]) == ["cheap", "peer"]
    assert rig.open_replies == 0
    assert len(asyncio.all_tasks()) == 1


@on_loop
async def test_a_caller_that_leaves_the_strong_answer_stops_it() -> None:
    never = asyncio.Event()
    rig = Rig(
        cheap=[Script(chunks=streamed("1"))],
        peer=[Script(chunks=streamed("2"))],
        strong=[Script(chunks=streamed("3", "4"), before_chunks=(None, never))],
    )
    reply = await rig.open(body(stream=True))
    assert reply.chunks is not None
    await anext(aiter(reply.chunks))
    await reply.aclose()
    assert rig.open_replies == 0
    assert sorted(billed(reply)) == ["cheap", "peer", "strong"]


@on_loop
async def test_usage_that_nobody_told_is_counted_by_who_knows() -> None:
    rig = Rig(cheap=[Script(content=BERGEN, usage=None)], peer=scripts(WEATHER), strong=scripts(STRONG))
    counted: list[str] = []

    def charges(call: Any, reply: Any) -> Any:
        counted.append(call.target.provider)
        return reply.done.charges

    rig.cascade.charges = charges
    await rig.ask(ASK)
    assert sorted(counted) == ["cheap", "peer"]


@on_loop
async def test_the_rungs_are_asked_as_the_call_is_and_for_no_compressed_answer() -> None:
    rig = Rig(cheap=scripts(WEATHER), peer=scripts(BERGEN), strong=scripts(STRONG))
    headers = (("accept-encoding", "gzip"), ("x-mine", "1"))
    await rig.ask(ASK, headers=headers)
    for backend in rig.targets.values():
        (call,) = backend.calls
        assert call.request.header("accept-encoding") is None
        assert call.request.header("x-mine") == "1"
        assert json.loads(call.request.raw)["messages"] == json.loads(ASK)["messages"]
        assert call.rungs is None
    assert rig.targets["strong"].calls[0].target.model == "strong-1"


@on_loop
async def test_huge_usage_is_passed_on_as_it_was_told() -> None:
    lie = Usage(input_tokens=10**9, output_tokens=10**9)
    rig = Rig(cheap=[Script(content=WEATHER, usage=lie)], peer=scripts(WEATHER))
    _, reply = await rig.ask(ASK)
    assert reply.done is not None
    assert reply.done.charges[-1].usage == lie


@on_loop
async def test_who_answered_is_told_to_those_above() -> None:
    kept = Rig(cheap=scripts(WEATHER), peer=scripts(WEATHER))
    call = kept.call(ASK)
    async with await kept.cascade.open(call):
        assert call.facts[ANSWERED] == call.target
    up = Rig(cheap=scripts(WEATHER), peer=scripts(BERGEN), strong=scripts(STRONG))
    call = up.call(ASK)
    async with await up.cascade.open(call):
        assert call.facts[ANSWERED] == target("strong")
    failed = Rig(cheap=scripts(WEATHER), peer=scripts(BERGEN), strong=[Script(status=500)])
    call = failed.call(ASK)
    async with await failed.cascade.open(call):
        assert call.facts[ANSWERED] == call.target


@pytest.mark.parametrize("raw", [body(tools=TOOLS), body(background=False), body(plugins=[])])
@on_loop
async def test_what_the_client_runs_is_no_hindrance(raw: bytes) -> None:
    rig = Rig(cheap=scripts(said("42")), peer=scripts(said("42")))
    assert (await rig.ask(raw))[0] == said("42")


@on_loop
async def test_a_budget_that_is_spent_is_told_where_no_target_may_be_asked() -> None:
    spent = Script(error=LimitReached("the budget is spent"))
    rig = Rig(cheap=[spent], peer=[spent], strong=[spent])
    with pytest.raises(LimitReached):
        await rig.open(ASK)


@on_loop
async def test_how_familiar_a_prompt_is_counts_as_a_sign() -> None:
    rig = Rig(cheap=scripts(WEATHER), strong=scripts(STRONG), draw=0.0)
    kept: list[Any] = []
    rig.cascade.familiar = lambda _call: -0.5
    rig.cascade.book.add = lambda comparison: _noted(kept, comparison)  # type: ignore[method-assign]
    await rig.ask(ASK)
    assert kept[0].features[FEATURES.index("familiar")] == -0.5


async def _noted(kept: list[Any], comparison: Any) -> None:
    kept.append(comparison)


@pytest.mark.parametrize("compare", [False, True])
def test_an_answer_made_to_be_hard_to_judge_goes_up_in_time(compare: bool) -> None:
    deep = '{"city":' * 400 + '"x"' + "}" * 400
    wide = json.dumps({"city": "Oslo", "many": list(range(50_000)), **{f"k{i}": "word " * 50 for i in range(500)}})
    anything = [{"type": "function", "function": {"name": "get_weather", "parameters": {}}}]
    for arguments in (deep, wide):
        same = scripts(said(None, *[("get_weather", arguments)] * 3, ("get_weather", "{}")))

        @on_loop
        async def ask(same: list[Script] = same) -> None:
            rig = Rig(cheap=same, peer=same, strong=scripts(STRONG), draw=0.0 if compare else 0.99)
            content, reply = await rig.ask(body(tools=anything))
            assert content == STRONG
            assert reply.status == 200

        assert within(3, ask)


def test_a_long_stream_is_heard_in_time() -> None:
    words = streamed(*["word "] * 20_000)
    settings = CascadeTable(mode="verify", hold_bytes=10**8)

    @on_loop
    async def ask() -> None:
        rig = Rig(cheap=[Script(chunks=words)], strong=scripts(STRONG), settings=settings)
        content, _ = await rig.ask(body(stream=True, tools=TOOLS))
        assert content == b"".join(words)

    assert within(5, ask)
