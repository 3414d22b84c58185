"""Calls that can wait, through a real provider of batches."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.backends.lanes.rig import PATHS, SETTINGS, bench, costs, embedding, looped, marked, text_of

from pennyweight.call import Credential, Identity, Verdict
from pennyweight.errors import StoreError
from pennyweight.request import Wire
from pennyweight.testing.batches import BatchProvider

WIRES = sorted(PATHS)


def created(provider: BatchProvider) -> int:
    return sum(path in ("/batches", "/messages/batches") and method == "POST" for method, path in provider.asked)


@pytest.mark.parametrize("wire", WIRES)
@looped
async def test_each_caller_gets_its_own_answer_at_half_the_price(wire: Wire, tmp_path: Path) -> None:
    async with BatchProvider() as provider, bench(tmp_path, provider) as b:
        calls = [marked(f"question {n}", wire) for n in range(7)]
        answers = await asyncio.gather(*map(b.ask, calls))
        assert [text_of(content) for _, content in answers] == [f"answer to: question {n}" for n in range(7)]
        assert (created(provider), provider.singles) == (1, [])
        for reply, _ in answers:
            assert reply.done is not None
            (charge,) = reply.done.charges
            assert charge.usage.tier == "batch"
            (step,) = reply.notes
            assert step.verdict is Verdict.ACCEPTED
            assert step.saving == costs(charge)  # it would have cost twice as much


@pytest.mark.parametrize("wire", WIRES)
@looped
async def test_a_caller_that_asked_for_a_stream_gets_one(wire: Wire, tmp_path: Path) -> None:
    async with BatchProvider() as provider, bench(tmp_path, provider) as b:
        reply, content = await b.ask(marked("tell", wire, stream=True))
        assert (b"data: " in content, b"answer to: tell" in content) == (True, True)
        assert dict(reply.headers)["content-type"].startswith("text/event-stream")
        assert reply.done is not None
        assert len(reply.done.charges) == 1


@pytest.mark.parametrize("wire", [Wire.OPENAI_CHAT, Wire.ANTHROPIC_MESSAGES])
@pytest.mark.parametrize("delete", [True, False])
@looped
async def test_what_the_provider_keeps_is_taken_away_unless_it_shall_stay(
    wire: Wire, delete: bool, tmp_path: Path
) -> None:
    settings = msgspec.structs.replace(SETTINGS, delete=delete)
    async with BatchProvider() as provider, bench(tmp_path, provider, settings=settings) as b:
        assert await b.texts(marked("x", wire), marked("[refuse]", wire)) == ["answer to: x", ""]
        if delete:
            await until(lambda: not provider.files)
        else:
            await asyncio.sleep(0.05)
            assert provider.files


@looped
async def test_embeddings_go_by_batch_too(tmp_path: Path) -> None:
    async with BatchProvider() as provider, bench(tmp_path, provider) as b:
        _, content = await b.ask(embedding(["a", "bcd"]))
        data = msgspec.json.decode(content)["data"]
        assert [one["embedding"][0] for one in data] == [1.0, 3.0]
        assert created(provider) == 1


@pytest.mark.parametrize("wire", [Wire.OPENAI_CHAT, Wire.ANTHROPIC_MESSAGES])
@looped
async def test_one_that_fails_fails_no_other(wire: Wire, tmp_path: Path) -> None:
    async with BatchProvider() as provider, bench(tmp_path, provider) as b:
        texts = ["fine", "[fault] a", "[expire] b", "[drop] c", "[garbage] d", "also fine"]
        assert await b.texts(*(marked(text, wire) for text in texts)) == [f"answer to: {text}" for text in texts]
        reply, content = await b.ask(marked("[garbage] e", wire, stream=True))
        assert reply.status == 200
        assert len(provider.singles) == 5  # what the batch did not do was asked in the ordinary way
        reply, content = await b.ask(marked("[refuse] d", wire))
        assert reply.status == 400  # the caller's own fault is told, and not tried again
        assert b"refuse" in content
        assert len(provider.singles) == 5


@looped
async def test_a_batch_that_fails_whole_is_asked_in_the_ordinary_way(tmp_path: Path) -> None:
    async with BatchProvider() as provider, bench(tmp_path, provider) as b:
        provider.fail = ["token_limit_exceeded"]
        assert await b.texts(marked("x"), marked("y")) == ["answer to: x", "answer to: y"]
        assert len(provider.singles) == 2


@looped
async def test_what_is_not_marked_or_not_ours_to_batch_is_handed_on(tmp_path: Path) -> None:
    async with BatchProvider() as provider, bench(tmp_path, provider) as b:
        plain = marked("plain")
        plain = msgspec.structs.replace(plain, original=msgspec.structs.replace(plain.original, headers=()))
        now = marked("now")
        now = msgspec.structs.replace(
            now, original=msgspec.structs.replace(now.original, headers=(("x-pennyweight-lane", "now"),))
        )
        theirs = msgspec.structs.replace(marked("theirs"), credential=Credential("authorization", "Bearer sk-x"))
        off = msgspec.structs.replace(marked("off"), optimize="off")
        for call in (plain, now, theirs, off):
            reply, _ = await b.ask(call)
            assert reply.notes == []
        assert created(provider) == 0


@looped
async def test_a_deadline_that_no_batch_would_meet_is_not_tried(tmp_path: Path) -> None:
    async with BatchProvider() as provider, bench(tmp_path, provider) as b:
        reply, _ = await b.ask(marked("soon", deadline_s=60))
        assert [step.verdict for step in reply.notes] == [Verdict.NOT_WORTH_IT]
        assert created(provider) == 0


@looped
async def test_near_the_deadline_it_is_asked_now_and_both_bills_are_told(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(SETTINGS, margin_s=0.1)
    async with BatchProvider(takes_s=1.2) as provider, bench(tmp_path, provider, settings=settings, quick=True) as b:
        slow, patient = marked("slow", deadline_s=0.6), marked("patient")
        answers = await asyncio.gather(b.ask(slow), b.ask(patient))
        assert [text_of(content) for _, content in answers] == ["answer to: slow", "answer to: patient"]
        assert [step.verdict for step in answers[0][0].notes] == [Verdict.FAILED]
        assert len(provider.singles) == 1
        (late,) = b.outcomes  # the batch did it all the same, and bills it
        assert late.call.id == "call-slow-batch"
        assert late.done.charges[0].usage.tier == "batch"
        assert late.abandoned


@looped
async def test_a_batch_that_nobody_waits_for_is_cancelled(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(SETTINGS, margin_s=0.1)
    async with BatchProvider(takes_s=60) as provider, bench(tmp_path, provider, settings=settings, quick=True) as b:
        calls = [marked(f"slow {n}", deadline_s=0.5) for n in range(4)]
        await b.texts(*calls)
        await until(lambda: len(b.outcomes) == 2)  # half of it was done when it was cancelled, and is billed
        assert any(path.endswith("/cancel") for _, path in provider.asked)
        assert len([kind for kind, *_ in provider.billed if kind == "batch"]) == 2


@looped
async def test_a_caller_that_left_and_asks_again_finds_its_own_call(tmp_path: Path) -> None:
    async with BatchProvider(takes_s=0.5) as provider, bench(tmp_path, provider) as b:
        first = asyncio.create_task(b.ask(marked("again")))
        await until(lambda: created(provider) == 1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        other = msgspec.structs.replace(marked("again"), identity=Identity(tenant="x"))
        stranger = asyncio.create_task(b.ask(other))
        reply, content = await b.ask(marked("again"))
        assert text_of(content) == "answer to: again"
        assert reply.done is not None
        assert len(reply.done.charges) == 1  # the one bill that there is
        assert b.outcomes == []
        await stranger
        assert created(provider) == 2  # another tenant does not get it
        assert [kind for kind, *_ in provider.billed] == ["batch", "batch"]


@looped
async def test_a_caller_that_left_for_good_leaves_a_receipt(tmp_path: Path) -> None:
    async with BatchProvider(takes_s=0.3) as provider, bench(tmp_path, provider) as b:
        gone = asyncio.create_task(b.ask(marked("gone")))
        await until(lambda: created(provider) == 1)
        gone.cancel()
        await until(lambda: len(b.outcomes) == 1)
        assert b.outcomes[0].done.charges[0].usage.output_tokens == 10
        reply, _ = await b.ask(marked("gone"))  # too late to share the bill, in time to share the answer
        assert reply.done is not None
        assert reply.done.charges == ()
        assert created(provider) == 1


@looped
async def test_a_caller_that_leaves_before_anything_was_sent_costs_nothing(tmp_path: Path) -> None:
    async with BatchProvider() as provider, bench(tmp_path, provider) as b:
        gone = asyncio.create_task(b.ask(marked("gone")))
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.sleep(0.2)
        assert (provider.asked, b.outcomes) == ([], [])
        assert await b.shelf.load() == ([], [])


@pytest.mark.parametrize("wire", [Wire.OPENAI_CHAT, Wire.ANTHROPIC_MESSAGES])
@pytest.mark.parametrize("came_through", [True, False])
@looped
async def test_a_creation_whose_answer_was_lost_is_found_and_never_made_twice(
    wire: Wire, came_through: bool, tmp_path: Path
) -> None:
    async with BatchProvider() as provider, bench(tmp_path, provider) as b:
        if came_through:
            provider.lose_answer = 1
        else:
            provider.lose_request = 1
        calls = [marked(f"q{n}", wire) for n in range(3)]
        assert await b.texts(*calls) == [f"answer to: q{n}" for n in range(3)]
        assert len(provider.jobs) == 1
        assert created(provider) == (1 if came_through else 2)
        assert [kind for kind, *_ in provider.billed] == ["batch"] * 3


@looped
async def test_another_batch_of_the_same_size_is_not_taken_for_ours(tmp_path: Path) -> None:
    async with BatchProvider() as provider, bench(tmp_path, provider) as b:
        foreign = [{"custom_id": f"theirs{n}", "url": "/v1/messages", "body": {"messages": []}} for n in range(2)]
        provider._job("anthropic", foreign)
        provider.lose_request = 1
        texts = await b.texts(*(marked(f"q{n}", Wire.ANTHROPIC_MESSAGES) for n in range(2)))
        assert texts == ["answer to: q0", "answer to: q1"]
        assert len(provider.jobs) == 2


@looped
async def test_a_busy_provider_is_asked_again(tmp_path: Path) -> None:
    async with BatchProvider() as provider, bench(tmp_path, provider) as b:
        provider.refuse = [429, 500, 503]
        assert await b.texts(marked("x")) == ["answer to: x"]
        assert provider.singles == []


@looped
async def test_a_provider_without_batches_is_asked_in_the_ordinary_way(tmp_path: Path) -> None:
    async with BatchProvider() as provider, bench(tmp_path, provider) as b:
        provider.refuse = [404]
        assert await b.texts(marked("x")) == ["answer to: x"]
        assert len(provider.singles) == 1


@looped
async def test_a_killed_process_loses_nothing_and_pays_nothing_twice(tmp_path: Path) -> None:
    async with BatchProvider(takes_s=0.4) as provider:
        async with bench(tmp_path, provider) as before:
            waiting = [asyncio.create_task(before.ask(marked(f"q{n}"))) for n in range(3)]
            await until(lambda: created(provider) == 1)
            await asyncio.sleep(0.05)
            for task in tuple(before.lane._tasks):
                task.cancel()  # as if it were killed: nobody is told, nothing more is written
            again = copied(tmp_path)
        for task in waiting:
            task.cancel()
        async with bench(again, provider) as after:
            assert await after.texts(marked("q1"), marked("q0")) == ["answer to: q1", "answer to: q0"]
            await until(lambda: len(after.outcomes) == 1)  # nobody asked for q2 again: its bill is told all the same
            assert after.outcomes[0].call.id == "call-q2"
            assert created(provider) == 1
            assert len(provider.billed) == 3


@looped
async def test_what_another_process_follows_is_left_to_it(tmp_path: Path) -> None:
    async with BatchProvider(takes_s=0.3) as provider, bench(tmp_path, provider) as one:
        waiting = asyncio.create_task(one.ask(marked("q")))
        await until(lambda: created(provider) == 1)
        async with bench(tmp_path, provider) as other:
            assert other.lane._items == {}
            await waiting
            assert (len(one.outcomes), len(other.outcomes)) == (0, 0)


@looped
async def test_one_that_leaves_while_its_batch_is_written_down_is_not_sent(tmp_path: Path) -> None:
    async with BatchProvider() as provider, bench(tmp_path, provider) as b:
        keep, left = b.shelf.keep, asyncio.Event()

        async def slow(**changes: Any) -> None:
            await keep(**changes)
            if changes.get("batches") and not left.is_set():
                left.set()
                await asyncio.sleep(0.05)

        b.lane._shelf = type("Slow", (), {"keep": staticmethod(slow), "load": b.shelf.load, "forget": b.shelf.forget})()
        provider.lose_answer = 1  # so that it must be found by what was sent
        tasks = [asyncio.create_task(b.ask(marked(f"q{n}", Wire.ANTHROPIC_MESSAGES))) for n in range(3)]
        await left.wait()
        tasks[0].cancel()
        answers = await asyncio.gather(*tasks[1:])
        assert [text_of(content) for _, content in answers] == ["answer to: q1", "answer to: q2"]
        assert [text for _, text, _ in provider.billed] == ["q1", "q2"]
        assert len(provider.jobs) == 1


@looped
async def test_a_store_that_fails_later_on_costs_no_answer_and_no_bill(tmp_path: Path) -> None:
    async with BatchProvider(takes_s=0.3) as provider, bench(tmp_path, provider) as b:
        asked = asyncio.create_task(b.ask(marked("q")))
        await until(lambda: created(provider) == 1)
        await asyncio.sleep(0.05)

        async def broken(**_changes: Any) -> None:
            raise StoreError("the disk is full")

        b.lane._shelf = type("Broken", (), {"keep": staticmethod(broken)})()
        reply, content = await asked
        assert text_of(content) == "answer to: q"
        assert reply.done is not None
        assert len(reply.done.charges) == 1
        reply, content = await b.ask(marked("new"))  # what cannot be written down does not wait
        assert text_of(content) == "answer to: new"
        assert [step.verdict for step in reply.notes] == [Verdict.FAILED]
        assert created(provider) == 1


@looped
async def test_an_equal_call_later_on_is_asked_anew(tmp_path: Path) -> None:
    async with BatchProvider() as provider, bench(tmp_path, provider) as b:
        await b.texts(marked("tick"))
        await b.texts(marked("tick"))
        assert created(provider) == 2


def copied(folder: Path) -> Path:
    """The files as they stand, without the lock of their owner: to whoever opens them it lives no more."""
    again = folder / "again"
    again.mkdir()
    for file in folder.glob("lanes.db*"):
        shutil.copy(file, again)
    return again


async def until(told: Callable[[], bool], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not told():  # noqa: ASYNC110 - what a provider in this loop was asked has no event
            await asyncio.sleep(0.01)
