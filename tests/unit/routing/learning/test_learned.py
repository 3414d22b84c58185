"""The learned router: chances of candidates, and what it learns from finished calls and from words that come later."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
from array import array
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.effort import within

from pennyweight.call import Call, Outcome, Target
from pennyweight.errors import StoreError
from pennyweight.request import Charge, Done, Response, Usage, Wire
from pennyweight.routing.choose import Asked, Priors
from pennyweight.routing.ladder import JUDGED, Judged
from pennyweight.routing.learning.learned import Learned
from pennyweight.routing.learning.outcomes import Acted, Told
from pennyweight.routing.settings import TargetTable
from pennyweight.routing.virtual import Candidate
from pennyweight.stores.route_outcomes import SQLiteOutcomes
from pennyweight.stores.sqlite import FILE, Database
from pennyweight.testing.backend import make_call
from pennyweight.testing.clock import FakeClock

CHAT = Wire.OPENAI_CHAT
TOOLS = b'{"model":"auto","messages":[],"tools":[{"type":"function","function":{"name":"read"}}]}'


def candidate(name: str, rank: int, **facts: Any) -> Candidate:
    provider, _, model = name.partition("/")
    return Candidate(Target(provider, model, CHAT), f"tier{rank}", rank, TargetTable(name, **facts))


PAIR = (candidate("home/llama3.1:8b", 0), candidate("top/claude-opus-5-5", 1))
ASKED = Asked("code", 0.3, 400.0, "Fix the bug in fill()")


def on_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*given: Any, **named: Any) -> None:
        asyncio.run(test(*given, **named))

    return run


class Embedder:
    """One dimension for each of eight kinds of text, by their first letter."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.fingerprint, self.dimensions, self.asked, self.delay_s = "test", 8, 0, delay_s

    async def embed(self, text: str) -> bytes:
        self.asked += 1
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        values = [0.05 * byte / 255 for byte in hashlib.sha256(text.encode()).digest()[:8]]
        values[ord(text[0]) % 8] = 1.0
        return array("f", values).tobytes()


class Keeper:
    def __init__(self, *, down: bool = False) -> None:
        self.told: list[Told] = []
        self.acts: list[Acted] = []
        self.down = down

    async def add(self, told: Sequence[Told], acted: Sequence[Acted] = ()) -> None:
        if self.down:
            raise StoreError("The disk is full.")
        self.told += told
        self.acts += acted

    async def newest(self, *, limit: int, tenant: str | None = None) -> Sequence[Told]:
        if self.down:
            raise StoreError("The disk is full.")
        return self.told[-limit:]

    async def acted(self, call_id: str) -> Acted | None:
        return next((one for one in self.acts if one.call_id == call_id), None)


def learned(keeper: Any = None, embedder: Embedder | None = None) -> Learned:
    async def found() -> Embedder | None:
        return embedder

    return Learned(keeper or Keeper(), FakeClock(), embedder=found if embedder else None)


def call(
    call_id: str = "c1", *, tenant: str = "local", session: str = "", agent: str = "", body: bytes = b"{}"
) -> Call:
    made = make_call(body, call_id=call_id, tenant=tenant, session=session)
    return msgspec.structs.replace(made, identity=msgspec.structs.replace(made.identity, agent=agent))


def outcome(made: Call, *, finish: str = "stop", model: str = "llama3.1:8b", **more: Any) -> Outcome:
    charge = Charge("home", model, Usage(10, output_tokens=5), 0.0)
    return Outcome(made, Done(Usage(10), finish, (charge,)), more.pop("status", 200), "home", **more)


def answer(*calls: tuple[str, str]) -> Response:
    said = [{"id": "t", "type": "function", "function": {"name": name, "arguments": text}} for name, text in calls]
    body = {"choices": [{"message": {"role": "assistant", "tool_calls": said}}]}
    return Response(CHAT, json.dumps(body).encode(), Done())


def chance(router: Learned, made: Call | None = None, asked: Asked = ASKED) -> float:
    return router.of(made or call(), asked, PAIR)[0].success


def test_before_outcomes_it_says_what_ships() -> None:
    weak, strong = learned().of(call(), ASKED, PAIR)
    assert 0.7 < weak.success < strong.success < 1
    assert weak.low < weak.success
    assert (weak.seen, weak.why) == (0, "shipped prior")


def test_of_a_model_that_it_does_not_know_it_says_nothing_of_its_own() -> None:
    unknown = (candidate("x/house", 0), candidate("y/house-big", 1, success=0.6))
    found = learned().of(call(), ASKED, unknown)
    assert found[0] == Priors().of(call(), ASKED, unknown)[0]
    assert found[1].success == pytest.approx(0.6)


def test_a_call_that_looks_hard_is_judged_more_carefully() -> None:
    hard = msgspec.structs.replace(ASKED, complexity=0.9)
    assert chance(learned(), asked=hard) < chance(learned())


@on_loop
async def test_feedback_teaches_the_model_that_acted() -> None:
    router = learned()
    before = chance(router)
    for number in range(30):
        await router.settle(outcome(call(f"c{number}")), ASKED)
        assert await router.rated(f"c{number}", "local", -1.0)
    weak, strong = router.of(call(), ASKED, PAIR)
    assert weak.success < before - 0.3
    assert strong.success > 0.9
    assert weak.seen == 30


@on_loop
async def test_silence_is_no_success() -> None:
    router = learned()
    before = chance(router)
    for number in range(50):
        await router.settle(outcome(call(f"c{number}")), ASKED)
    assert chance(router) == before


@on_loop
async def test_tenants_learn_apart_and_cannot_speak_for_each_other() -> None:
    router = learned()
    for number in range(30):
        await router.settle(outcome(call(f"c{number}", tenant="a")), ASKED)
        assert not await router.rated(f"c{number}", "b", -1.0)
        assert await router.rated(f"c{number}", "a", -1.0)
    assert chance(router, call(tenant="a")) < chance(router, call(tenant="b")) - 0.3


@on_loop
async def test_a_refusal_and_bad_tool_calls_are_failures() -> None:
    router, before = learned(), chance(learned())
    for number in range(30):
        await router.settle(outcome(call(f"c{number}"), finish="content_filter"), ASKED)
    assert chance(router) < before - 0.1
    router = learned()
    for number in range(30):
        made = call(f"c{number}", body=TOOLS)
        await router.settle(outcome(made, response=answer(("delete", "{}"))), ASKED)
    assert chance(router) < before - 0.1


@pytest.mark.parametrize(("source", "learns"), [("comparison", True), ("agreement", False), ("validity", False)])
@on_loop
async def test_of_a_cascade_it_learns_from_what_was_compared_by_chance(source: Any, learns: bool) -> None:
    router, before = learned(), chance(learned())
    for number in range(30):
        made = call(f"c{number}")
        made.facts[JUDGED] = Judged(PAIR[0].target, False, source)
        ended = outcome(made)
        both = (*ended.done.charges, Charge("top", "claude-opus-5-5", Usage(10, output_tokens=5), 0.0))
        ended = msgspec.structs.replace(ended, done=msgspec.structs.replace(ended.done, charges=both))
        await router.settle(ended, ASKED)
    assert (chance(router) < before - 0.2) is learns
    assert learns or chance(router) == before


@on_loop
async def test_tool_calls_that_hold_are_a_good_sign() -> None:
    router = learned()
    assert router.wants_response(call(body=TOOLS))
    for number in range(30):
        await router.settle(outcome(call(f"c{number}", body=TOOLS), response=answer(("read", "{}"))), ASKED)
    assert chance(router) > chance(learned())


@pytest.mark.parametrize("more", [{"status": 500}, {"error": "StreamCut"}, {"abandoned": True}])
@on_loop
async def test_a_provider_that_failed_says_nothing_of_its_model(more: dict[str, Any]) -> None:
    router = learned()
    for number in range(30):
        await router.settle(outcome(call(f"c{number}"), finish="content_filter", **more), ASKED)
    assert chance(router) == chance(learned())


@on_loop
async def test_the_same_question_again_speaks_against_the_answer_before() -> None:
    router = learned()
    for number in range(40):
        await router.settle(outcome(call(f"c{number}", session="s")), ASKED)
    assert chance(router) < chance(learned())
    loop = learned()
    for number in range(40):
        await loop.settle(outcome(call(f"c{number}", session="s")), msgspec.structs.replace(ASKED, task="tools"))
    assert chance(loop, asked=msgspec.structs.replace(ASKED, task="tools")) == chance(
        learned(), asked=msgspec.structs.replace(ASKED, task="tools")
    )


@on_loop
async def test_a_few_weak_signs_do_not_outweigh_the_operators_order() -> None:
    router, unknown = learned(), (candidate("home/house", 0), candidate("top/house-big", 1))
    before = router.of(call(), ASKED, unknown)[0].success
    for number in range(6):
        await router.settle(outcome(call(f"c{number}", session="s"), model="house"), ASKED)
    few = router.of(call(), ASKED, unknown)[0].success
    assert 0.8 * before < few < before
    for number in range(100):
        await router.settle(outcome(call(f"d{number}", session="s"), model="house"), ASKED)
    assert router.of(call(), ASKED, unknown)[0].success < 0.4 * before


@on_loop
async def test_it_survives_a_restart_and_late_feedback_finds_its_model(tmp_path: Path) -> None:
    database = Database(tmp_path / FILE)
    try:
        router = learned(SQLiteOutcomes(database))
        for number in range(30):
            await router.settle(outcome(call(f"c{number}")), ASKED)
            if number < 29:
                await router.rated(f"c{number}", "local", -1.0)
        await router.aclose()
        again = learned(SQLiteOutcomes(database))
        await again.start()
        assert chance(again) == pytest.approx(chance(router))
        assert await again.rated("c29", "local", -1.0)
        assert again.of(call(), ASKED, PAIR)[0].seen == 30
        assert not await again.rated("c999", "local", -1.0)
        await again.aclose()
    finally:
        await database.close()


@on_loop
async def test_a_second_word_replaces_the_first_when_it_is_read_again(tmp_path: Path) -> None:
    database = Database(tmp_path / FILE)
    try:
        router = learned(SQLiteOutcomes(database))
        await router.settle(outcome(call("c1")), ASKED)
        await router.rated("c1", "local", -1.0)
        await router.rated("c1", "local", 1.0)
        await router.aclose()
        (kept,) = await SQLiteOutcomes(database).newest(limit=9)
        assert (kept.success, kept.source, kept.model, kept.task) == (1.0, "feedback", "home/llama3.1:8b", "code")
        assert await SQLiteOutcomes(database).forget(tenant="local") == 2
    finally:
        await database.close()


@on_loop
async def test_what_calls_said_is_forgotten_by_age_and_files_stay(tmp_path: Path) -> None:
    database = Database(tmp_path / FILE)
    try:
        keeper = SQLiteOutcomes(database)
        for at, source in ((1.0, "feedback"), (100.0, "judge"), (1.0, "file")):
            told = Told(at, "local", "code", f"home/{source}", 1.0, source, 1.0, call_id=source)  # type: ignore[arg-type]
            await keeper.add([told])
        await keeper.add([], [Acted(1.0, "local", "code", "home/silent", call_id="silent")])
        assert await keeper.forget(before=50.0) == 2
        assert {one.source for one in await keeper.newest(limit=9)} == {"judge", "file"}
        assert await keeper.acted("silent") is None
    finally:
        await database.close()


@on_loop
async def test_a_store_that_is_down_costs_no_answer() -> None:
    router = learned(Keeper(down=True))
    await router.start()
    await router.settle(outcome(call("c1"), finish="refusal"), ASKED)
    await router.aclose()
    assert chance(router) < chance(learned())


@on_loop
async def test_similar_texts_decide_once_there_are_enough() -> None:
    router = learned(embedder=Embedder())
    await _teach(router)
    good, bad = (msgspec.structs.replace(ASKED, text=f"{letter} something new") for letter in "ab")
    for asked in (good, bad):
        await router.ready(call(), asked)
    assert chance(router, asked=good) > chance(router, asked=bad) + 0.2
    assert "of texts like this" in router.of(call(), good, PAIR)[0].why
    await router.aclose()


async def _teach(router: Learned) -> None:
    """Texts that begin with a are answered well, those with b are not."""
    for number in range(120):
        letter = "ab"[number % 2]
        await router.settle(
            outcome(call(f"c{number}")), msgspec.structs.replace(ASKED, text=f"{letter} text {number} of many")
        )
        await router.rated(f"c{number}", "local", 1.0 if letter == "a" else -1.0)
    for _ in range(200):
        if router.known("local").kernel is not None and not router._fitting:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("no kernel was fitted")


@on_loop
async def test_a_slow_embedder_is_not_waited_for() -> None:
    embedder = Embedder()
    router = learned(embedder=embedder)
    await _teach(router)
    embedder.delay_s = 3_600.0
    async with asyncio.timeout(60):
        await router.ready(call(), msgspec.structs.replace(ASKED, text="a slow one"))
    await router.aclose()


@on_loop
async def test_nobody_waits_behind_texts_that_will_not_be_done_in_time() -> None:
    embedder = Embedder()
    router = learned(embedder=embedder)
    await _teach(router)
    embedder.delay_s = 5.0
    waiting = [
        asyncio.create_task(router.ready(call(), msgspec.structs.replace(ASKED, text=f"slow {n}"))) for n in range(3)
    ]
    await asyncio.sleep(0)
    last = msgspec.structs.replace(ASKED, text="one more")
    await router.ready(call(), last)
    assert not any(task.done() for task in waiting), "it came back before their time was up"
    again = asyncio.create_task(router.ready(call(), last))
    shared = asyncio.create_task(router.ready(call(), msgspec.structs.replace(ASKED, text="slow 0")))
    await asyncio.sleep(0)
    assert not any(task.done() for task in (again, shared)), "what is under way is waited for, the last one too"
    await asyncio.gather(*waiting, again, shared)
    await router.aclose()


@on_loop
async def test_without_an_embedder_the_table_learns() -> None:
    router = learned()
    await router.ready(call(), ASKED)
    await router.settle(outcome(call("c1")), ASKED)
    assert await router.rated("c1", "local", -1.0)
    assert router.known("local").texts == 0
    await router.aclose()


def test_a_choice_that_was_made_before_is_warm() -> None:
    router = learned()
    candidates = [candidate(f"p/llama3.1:{number}b", number) for number in range(1, 11)]
    asked = msgspec.structs.replace(ASKED, text="Fix the bug in fill(). " * 80)
    router.of(call(), asked, candidates)
    made = call()
    router.of(made, asked, candidates)
    assert within(0.0002, lambda: router.of(made, asked, candidates), tries=50)
