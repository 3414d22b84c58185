"""Calls that ask all targets, what is learnt of them, and the rule that comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.backends.cascade.rig import TOOLS, WEATHER, Rig, billed, body, on_loop, said, streamed, until, why

from pennyweight.backends.cascade.book import kind_of
from pennyweight.call import CHARGED
from pennyweight.errors import NotFound, StoreError, Unreachable
from pennyweight.routing.confidence.acceptor import Acceptor, by_hand
from pennyweight.routing.confidence.comparisons import Comparison, Kind, NoComparisons
from pennyweight.routing.confidence.decision import LEAST_PAIRS
from pennyweight.routing.confidence.features import FEATURES
from pennyweight.routing.ladder import JUDGED, Judged
from pennyweight.routing.settings import CascadeTable
from pennyweight.stores.comparisons import SQLiteComparisons
from pennyweight.stores.sqlite import Database
from pennyweight.testing.backend import Script

ASK = body(tools=TOOLS)
OTHER = said(None, ("get_weather", {"city": "Bergen"}))
KIND = Kind("local", "cheap/cheap-1", "peer/peer-1", "strong/strong-1")
ALONE = Kind("local", "cheap/cheap-1", "", "strong/strong-1")


class Kept(NoComparisons):
    """In memory, for tests."""

    def __init__(self, found: Sequence[Comparison] = (), *, down: bool = False) -> None:
        self.found = list(found)
        self.down = down

    async def add(self, comparison: Comparison, *, most: int) -> None:
        if self.down:
            raise StoreError("down")
        self.found.append(comparison)

    async def of(self, kind: Kind) -> Sequence[Comparison]:
        if self.down:
            raise StoreError("down")
        return [c for c in self.found if c.kind.peer == kind.peer]


def compared(kind: Kind, *, same: bool, count: int, start: int = 1, **signs: float) -> list[Comparison]:
    features = tuple(signs.get(name, 0.0) for name in FEATURES)
    return [Comparison(float(i), kind, features, keepable=True, same=same, id=start + i) for i in range(count)]


@pytest.mark.parametrize("stream", [False, True])
@on_loop
async def test_the_strongest_answers_and_the_others_are_held_to_it(stream: bool) -> None:
    store = Kept()

    def script(text: str) -> list[Script]:
        return [Script(chunks=streamed(text)) if stream else Script(content=said(text))]

    rig = Rig(cheap=script("42"), peer=script("42"), strong=script("43"), store=store, draw=0.0)
    content, reply = await rig.ask(body(stream=stream))
    assert b"43" in content
    assert billed(reply) == ["cheap", "peer", "strong"]
    assert reply.done is not None
    assert reply.done.complete
    assert sum(step.saving for step in reply.notes) == -70 - 1 - 2
    (comparison,) = store.found
    assert comparison.kind == KIND
    assert (comparison.same, comparison.keepable) == (False, True)
    assert (comparison.first, comparison.last) == (3, 100)
    assert comparison.features[FEATURES.index("agrees")] == 1.0
    assert all(backend.closed == 1 for backend in rig.targets.values())


@on_loop
async def test_what_a_verifier_would_refuse_is_told_apart() -> None:
    store = Kept()
    rig = Rig(cheap=[Script(content=said(""))], strong=[Script(content=WEATHER)], store=store, draw=0.0)
    await rig.ask(ASK)
    assert [(c.keepable, c.same, c.kind) for c in store.found] == [(False, False, ALONE)]


@pytest.mark.parametrize(
    ("cheap", "strong"),
    [
        (Script(error=Unreachable("x")), Script(content=WEATHER)),
        (Script(content=b"<"), Script(content=WEATHER)),
        (Script(content=WEATHER), Script(content=b"<")),
    ],
)
@on_loop
async def test_what_cannot_be_compared_teaches_nothing(cheap: Script, strong: Script) -> None:
    store = Kept()
    rig = Rig(cheap=[cheap], strong=[strong], store=store, draw=0.0)
    content, _ = await rig.ask(ASK)
    assert content == strong.content
    assert store.found == []


@pytest.mark.parametrize("failing", [Script(error=Unreachable("x"))])
@on_loop
async def test_the_first_answer_stands_in_where_the_strong_target_fails(failing: Script) -> None:
    rig = Rig(cheap=[Script(content=WEATHER)], peer=[Script(content=OTHER)], strong=[failing], draw=0.0)
    call = rig.call(ASK)
    async with await rig.cascade.open(call) as reply:
        assert await reply.read() == WEATHER
    assert sorted(billed(reply)) == ["cheap", "peer"]
    assert CHARGED not in call.facts


@on_loop
async def test_a_caller_that_leaves_stops_all_and_teaches_nothing() -> None:
    store, never = Kept(), asyncio.Event()
    slow = Script(chunks=streamed("4", "2"), before_chunks=(None, never))
    rig = Rig(cheap=[slow], peer=[slow], strong=[slow], store=store, draw=0.0)
    reply = await rig.open(body(stream=True))
    assert reply.chunks is not None
    await anext(aiter(reply.chunks))
    await until(lambda: all(backend.replies for backend in rig.targets.values()))
    await asyncio.wait_for(reply.aclose(), 60)
    assert rig.open_replies == 0
    assert sorted(billed(reply)) == ["cheap", "peer", "strong"]
    assert store.found == []
    assert len(asyncio.all_tasks()) == 1


@on_loop
async def test_a_caller_that_has_its_answer_may_go_while_the_others_are_waited_for() -> None:
    store, gate = Kept(), asyncio.Event()
    late = Script(content=WEATHER, before_open=gate)
    rig = Rig(cheap=[late], strong=[Script(content=WEATHER)], store=store, draw=0.0)
    reply = await rig.open(ASK)
    closing = asyncio.create_task(reply.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert [c.same for c in store.found] == [True]
    assert billed(reply) == ["cheap", "strong"]


# --- what is learnt ---------------------------------------------------------------------------------------


def learnt(same: int, other: int, kind: Kind = ALONE) -> Kept:
    """So many answers that checked well and were the same, so many that did not and were not."""
    good = compared(kind, same=True, count=same, checked=1.0, sure=1.0)
    return Kept(good + compared(kind, same=False, count=other, start=same + 1, length=1.0, sure=-1.0))


@on_loop
async def test_with_enough_comparisons_no_peer_is_needed() -> None:
    rig = Rig(cheap=[Script(content=WEATHER)], strong=[Script(content=OTHER)], store=learnt(250, 20))
    content, reply = await rig.ask(ASK)
    assert content == WEATHER
    assert "by 270 comparisons" in why(reply)


@on_loop
async def test_with_too_few_nothing_is_kept_without_a_peer() -> None:
    rig = Rig(cheap=[Script(content=WEATHER)], strong=[Script(content=OTHER)], store=learnt(LEAST_PAIRS - 1, 0))
    assert (await rig.ask(ASK))[0] == OTHER
    assert rig.asked("cheap") == 0


@on_loop
async def test_a_cheap_model_that_loses_too_often_is_not_asked_any_more_but_still_watched() -> None:
    # Losses that look just like what is right: no threshold tells them apart.
    signs = {"checked": 1.0, "names_fit": 1.0}
    found = compared(ALONE, same=True, count=300, **signs) + compared(ALONE, same=False, count=100, start=301, **signs)
    rig = Rig(cheap=[Script(content=WEATHER)], strong=[Script(content=OTHER)], store=Kept(found))
    content, reply = await rig.ask(ASK)
    assert content == OTHER
    assert "the bar is" in why(reply), "it was asked, and did not do better than those that lost"
    rig.draw = 0.0
    await rig.ask(ASK)
    assert "all targets were asked" in why((await rig.ask(ASK))[1])


@on_loop
async def test_more_calls_are_compared_until_there_are_enough() -> None:
    fresh = Rig(cheap=[Script(content=WEATHER)], strong=[Script(content=WEATHER)], draw=0.1)
    await fresh.ask(ASK)
    assert fresh.asked("cheap") == 1
    known = Rig(cheap=[Script(content=WEATHER)], strong=[Script(content=WEATHER)], store=learnt(300, 9), draw=0.1)
    _, reply = await known.ask(ASK)
    assert "all targets" not in why(reply)


@on_loop
async def test_what_is_compared_counts_at_once() -> None:
    store = learnt(LEAST_PAIRS - 10, 0)
    rig = Rig(cheap=[Script(content=WEATHER)], strong=[Script(content=WEATHER)], store=store, draw=0.0)
    for _ in range(10):
        await rig.ask(ASK)
    rig.draw = 0.99
    _, reply = await rig.ask(ASK)
    assert f"by {LEAST_PAIRS} comparisons" in why(reply)


@on_loop
async def test_a_store_that_is_down_costs_no_answer() -> None:
    rig = Rig(
        cheap=[Script(content=WEATHER)],
        peer=[Script(content=WEATHER)],
        strong=[Script(content=OTHER)],
        store=Kept(down=True),
    )
    assert (await rig.ask(ASK))[0] == WEATHER
    rig.draw = 0.0
    assert (await rig.ask(ASK))[0] == OTHER


@on_loop
async def test_a_task_of_its_own_counts_where_there_is_enough_of_it() -> None:
    code = Kind("local", "cheap/cheap-1", "", "strong/strong-1", "code")
    bad = compared(code, same=False, count=250, start=1_000, checked=1.0, sure=1.0)
    store = Kept(learnt(2_000, 0).found + bad)
    rig = Rig(
        cheap=[Script(content=WEATHER)],
        strong=[Script(content=OTHER)],
        store=store,
        settings=CascadeTable(window=5_000),
    )
    assert (await rig.ask(ASK, task="code"))[0] == OTHER


# --- the tables -------------------------------------------------------------------------------------------


def test_the_tables_keep_the_newest_of_each_kind(tmp_path: Path) -> None:
    async def go() -> None:
        database = Database(tmp_path / "pennyweight.db")
        store = SQLiteComparisons(database)
        for comparison in compared(KIND, same=True, count=5, sure=0.5) + compared(ALONE, same=False, count=2):
            await store.add(msgspec.structs.replace(comparison, first=7, last=10**30), most=3)
        found = await store.of(KIND)
        assert [c.at for c in found] == [2.0, 3.0, 4.0]
        assert found[0].features == compared(KIND, same=True, count=1, sure=0.5)[0].features
        assert (found[0].same, found[0].keepable, found[0].kind) == (True, True, KIND)
        assert (found[0].first, found[0].last) == (7, 10**15), "a provider's slip does not overflow the column"
        assert await store.kinds() == [(KIND, 3), (ALONE, 2)]
        assert await store.acceptor(KIND) is None
        trained = Acceptor(by_hand().weights, 7)
        await store.keep(KIND, by_hand(), 1)
        await store.keep(KIND, trained, 9)
        assert await store.acceptor(KIND) == (trained, 9)
        assert await store.acceptor(ALONE) is None
        await database.close()

    asyncio.run(go())


def test_what_another_version_wrote_is_not_read(tmp_path: Path) -> None:
    async def go() -> None:
        database = Database(tmp_path / "pennyweight.db")
        store = SQLiteComparisons(database)
        await store.keep(KIND, by_hand(), 1)
        await store.add(compared(KIND, same=True, count=1)[0], most=9)

        def spoil(connection: Any) -> None:
            connection.execute("UPDATE cascade_acceptors SET learnt = '[1, 2]'")
            connection.execute("UPDATE cascade_comparisons SET features = '{}'")

        await database.write(spoil)
        assert await store.acceptor(KIND) is None
        assert await store.of(KIND) == []
        await database.close()

    asyncio.run(go())


@on_loop
async def test_what_was_found_is_told_to_those_who_learn_of_it() -> None:
    told: list[tuple[float, float]] = []
    rig = Rig(
        cheap=[Script(content=WEATHER), Script(content=said(""))],
        peer=[Script(content=WEATHER)],
        strong=[Script(content=said("")), Script(content=WEATHER)],
        draw=0.0,
    )
    rig.cascade.tell = lambda _call, new, old: told.append((new, old))
    first, second = rig.call(ASK), rig.call(ASK)
    for call in (first, second):
        async with await rig.cascade.open(call):
            pass
    assert told == [(1.0, 0.0), (1.0, 1.0)], "an answer that is kept is judged, of one that is not the strongest one's"
    assert first.facts[JUDGED] == Judged(first.target, False, "comparison")


@on_loop
async def test_one_who_learns_of_it_and_fails_costs_no_bill() -> None:
    rig = Rig(
        cheap=[Script(content=WEATHER)], peer=[Script(content=WEATHER)], strong=[Script(content=WEATHER)], draw=0.0
    )

    def broken(_call: Any, _new: float, _old: float) -> None:
        raise NotFound("There is no optimizer of that name.")

    rig.cascade.tell = broken
    call = rig.call(ASK)
    reply = await rig.cascade.open(call)
    await reply.aclose()
    assert reply.done is not None
    assert len(reply.done.charges) == 3
    held = await rig.cascade.book._of(kind_of(call, call.rungs.strong[-1]))  # type: ignore[union-attr]
    assert len(held.found) == 1, "and what was compared is learnt all the same"


@pytest.mark.parametrize(
    ("cheap", "peer", "found"),
    [(WEATHER, WEATHER, (True, "agreement")), (said(""), WEATHER, (False, "validity")), (WEATHER, OTHER, None)],
)
@on_loop
async def test_of_a_kept_or_refused_answer_it_is_told_too(
    cheap: bytes, peer: bytes, found: tuple[bool, str] | None
) -> None:
    rig = Rig(cheap=[Script(content=cheap)], peer=[Script(content=peer)], strong=[Script(content=WEATHER)])
    call = rig.call(ASK)
    async with await rig.cascade.open(call):
        pass
    judged = call.facts.get(JUDGED)
    assert (None if judged is None else (judged.good, judged.source)) == found
