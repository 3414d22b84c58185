"""The adaptive loop: the rule by itself, and days of simulated traffic against the real cache and the real store."""

from __future__ import annotations

import asyncio
import math
import random
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from pennyweight.adaptive import Adaptive, Change, Harm, Knob, Settings, TtlKnob, Wish
from pennyweight.adaptive.rule import Facts, Keep, State, Trial, Turn, Undo, decide
from pennyweight.adaptive.shares import surely_above, surely_below
from pennyweight.app import build
from pennyweight.call import Outcome
from pennyweight.config import load
from pennyweight.errors import ConfigError, StoreError
from pennyweight.optimizers import exact_cache
from pennyweight.request import Charge, Done, Response, Usage
from pennyweight.stores.changes import SQLiteChanges
from pennyweight.stores.database import FILE, Database
from pennyweight.stores.memory import MemoryKV
from pennyweight.testing.backend import make_call
from pennyweight.testing.clock import FakeClock
from pennyweight.testing.optimizer_contract import ContractParts

ON = Settings(enabled=True)
HOUR = 3600.0


# --- the rule ---------------------------------------------------------------------------------------------


def facts(value: float, wish: float | None = None, harm: Harm | None = None) -> Facts:
    return Facts(value, 10.0, 1000.0, None if wish is None else Wish(wish, "figures"), harm or Harm())


def run(state: State, moments: Sequence[tuple[float, Facts]]) -> list[object]:
    found = []
    for now, told in moments:
        state, decision = decide(state, told, ON, now=now)
        found.append(decision)
    return found


def test_a_wish_must_repeat_before_anything_is_turned() -> None:
    first, second = run(State(), [(0, facts(100, 150)), (300, facts(100, 150))])
    assert (first, second) == (None, Turn(150, "figures"))


def test_wishes_that_change_their_minds_turn_nothing() -> None:
    assert run(State(), [(300 * n, facts(100, (150, 60)[n % 2])) for n in range(20)]) == [None] * 20


def test_a_round_without_a_wish_begins_anew() -> None:
    moments = [(0, facts(100, 150)), (300, facts(100)), (600, facts(100, 150))]
    assert run(State(), moments) == [None, None, None]


@pytest.mark.parametrize(
    ("wish", "turned"),
    [
        (5000, 200),
        (1, 50),
        (150, 150),
        (105, None),
        (100, None),
        (math.nan, None),
        (math.inf, 200),
        (-math.inf, 50),
        (0, 50),
    ],
)
def test_steps_are_bounded_and_small_wishes_are_none(wish: float, turned: float | None) -> None:
    last = run(State(), [(0, facts(100, wish)), (300, facts(100, wish))])[-1]
    assert last == (None if turned is None else Turn(turned, "figures"))


@pytest.mark.parametrize(("value", "wish", "turned"), [(900, 2000, 1000), (15, 1, 10), (1000, 2000, None)])
def test_bounds_hold(value: float, wish: float, turned: float | None) -> None:
    last = run(State(), [(0, facts(value, wish)), (300, facts(value, wish))])[-1]
    assert last == (None if turned is None else Turn(turned, "figures"))


TRIAL = Trial(7, 100.0, 200.0)


def test_while_a_change_is_on_trial_nothing_else_changes() -> None:
    moments = [(300.0 * n, facts(200, 400, Harm(n, 0, 0.05))) for n in range(50)]
    assert run(State(trial=TRIAL), moments) == [None] * 50


def test_a_change_that_stands_its_trial_is_kept() -> None:
    state, decision = decide(State(trial=TRIAL, undone=3), facts(200, None, Harm(50, 1, 0.05)), ON, now=0)
    assert isinstance(decision, Keep)
    assert "1 of 50" in decision.reason
    assert (state.trial, state.undone) == (msgspec.structs.replace(TRIAL, stood=True), 3)


@pytest.mark.parametrize("stood", [False, True])
def test_harm_undoes_a_change_on_trial_and_after_it(stood: bool) -> None:
    trial = msgspec.structs.replace(TRIAL, stood=stood)
    state, decision = decide(State(trial=trial), facts(200, 400, Harm(30, 6, 0.05)), ON, now=1000)
    assert isinstance(decision, Undo)
    assert "6 of 30" in decision.reason
    assert (state.trial, state.rest_until) == (None, 1000 + HOUR)


def test_a_little_harm_may_be_chance() -> None:
    assert run(State(trial=TRIAL), [(0, facts(200, None, Harm(30, 2, 0.05)))]) == [None]


def test_each_undoing_doubles_the_rest() -> None:
    state, rests = State(), []
    for _ in range(12):
        state, _decision = decide(msgspec.structs.replace(state, trial=TRIAL), facts(200, None, Harm(9, 9)), ON, now=0)
        rests.append(state.rest_until)
    assert rests[:3] == [HOUR, 2 * HOUR, 4 * HOUR]
    assert rests[-1] == ON.most_back_off_s


def test_while_it_rests_nothing_is_tried() -> None:
    moments = [(now, facts(100, 150)) for now in (0, 300, 600, 3599, 3600)]
    assert run(State(rest_until=3600), moments)[-2:] == [None, Turn(150, "figures")]


def test_turning_back_waits_and_going_on_does_not() -> None:
    state = State(trial=msgspec.structs.replace(TRIAL, stood=True), turn_back_from=3600)
    assert run(state, [(0, facts(200, 100)), (300, facts(200, 100)), (3600, facts(200, 100))])[1:] == [
        None,
        Turn(100, "figures"),
    ]
    assert run(state, [(0, facts(200, 400)), (300, facts(200, 400))])[-1] == Turn(400, "figures")


def test_shares_are_as_sure_as_they_were_counted() -> None:
    assert not surely_above(0, 0, 0.5)
    assert not surely_below(0, 0, 0.5)
    # All of n are surely above 0.95 from where 0.95^n < 0.05: n = 59.
    assert [surely_above(n, n, 0.95) for n in (58, 59)] == [False, True]
    assert [surely_below(0, n, 0.05) for n in (58, 59)] == [False, True]
    # 9 or 10 of 10 at one half: 11 / 1024 = 0.0107; 8 or more: 56 / 1024 = 0.0547.
    assert [surely_above(n, 10, 0.5) for n in (8, 9)] == [False, True]
    assert [surely_below(n, 10, 0.5) for n in (1, 2)] == [True, False]
    assert surely_above(1, 1, 0.0)
    assert not surely_above(10, 10, 1.0)
    assert not surely_below(5, 10, 0.0)


# --- the knob ---------------------------------------------------------------------------------------------


def knob(start: float = HOUR) -> TtlKnob:
    return TtlKnob("t", start=start, low=300, high=86_400)


def test_equal_answers_after_expiry_ask_for_longer() -> None:
    k = knob()
    for n in range(60):
        k.compared(3700 + n, equal=True)
    assert k.wish() == Wish(3759, "asked again 3600 to 3759 s later, 60 of 60 were equal")


def test_ages_that_were_never_compared_are_never_trusted() -> None:
    k = knob()
    for _ in range(50):
        k.compared(9000, equal=True)  # beyond twice the time: says nothing about what lies between
        k.compared(100, equal=True)
    assert k.wish() is None


def test_unequal_answers_ask_for_shorter() -> None:
    k = knob()
    for n in range(30):
        k.compared(3700, equal=n < 3)
    assert k.wish() == Wish(1800, "asked again 1800 to 7200 s later, 3 of 30 were equal")


def test_in_between_nothing_is_asked_for() -> None:
    k = knob()
    for n in range(400):
        k.compared(3700, equal=n % 10 < 7)
    assert k.wish() is None


def test_a_sample_of_hits_is_asked_again_only_beyond_what_the_operator_set() -> None:
    k = knob()
    asked = [k.asks_again(f"call-{n}", 3601) for n in range(2000)]
    assert 0.07 < sum(asked) / 2000 < 0.13
    assert asked == [k.asks_again(f"call-{n}", 3601) for n in range(2000)]
    assert not any(k.asks_again(f"call-{n}", 3600) for n in range(2000))


def test_harm_of_a_longer_time_is_unequal_answers_of_the_ages_it_opened() -> None:
    k = knob()
    k.turn(7200)
    for age, equal in ((3000, False), (3600, False), (3601, False), (7200, True), (7201, False)):
        k.compared(age, equal=equal)
    assert k.harm() == Harm(2, 1, 0.03)


def test_harm_of_a_shorter_time_is_equal_answers_of_the_ages_it_closed() -> None:
    k = knob()
    k.turn(1800)
    for age, equal in ((1800, True), (1801, True), (3600, False), (3601, True)):
        k.compared(age, equal=equal)
    assert k.harm() == Harm(2, 1, 0.7)


def test_the_operators_own_setting_is_never_out_of_bounds() -> None:
    k = TtlKnob("t", start=100, low=300, high=86_400)
    assert (k.low, k.high) == (100, 86_400)


# --- simulated traffic ------------------------------------------------------------------------------------

Answers = Callable[[int, float, random.Random], str]
"""What the model says to a question at a time (seconds since the start)."""


class Town:
    """Programs that ask a few questions again and again, through the real cache, with the real loop beside it."""

    def __init__(self, folder: Path, answers: Answers, *, ttl_s: float = HOUR, loop: bool = True) -> None:
        self.clock = FakeClock()
        parts = ContractParts(self.clock)
        parts.kv = MemoryKV(clock=self.clock, count=1000, size_bytes=1 << 20)  # type: ignore[assignment]
        self.cache = exact_cache.build(exact_cache.Settings(ttl_s=ttl_s), parts)
        self.database = Database(folder / FILE)
        self.changes = SQLiteChanges(self.database)
        self.loop = Adaptive([self.cache], self.changes, clock=self.clock, settings=ON) if loop else None
        self.answers = answers
        self.random = random.Random(7)
        self.started = self.clock.monotonic()
        self.hits = self.stale = self.calls = 0
        self.values: list[float] = []

    async def live(self, days: float, *, gap_s: float = 60.0) -> None:
        until = self.clock.monotonic() + days * 86_400
        next_step = self.clock.monotonic()
        while self.clock.monotonic() < until:
            self.clock.advance(self.random.expovariate(1 / gap_s))
            await self.ask(self.random.randrange(60))
            if self.loop is not None and self.clock.monotonic() >= next_step:
                await self.loop.step()
                next_step += ON.every_s
                self.values.append(self.cache.knobs()[0].value)

    async def ask(self, question: int) -> None:
        self.calls += 1
        body = msgspec.json.encode(
            {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": question}]}
        )
        call = make_call(body, call_id=f"c{self.calls}")
        says = self.answers(question, self.clock.monotonic() - self.started, self.random)
        proposal = await self.cache.propose(call)
        if proposal is not None:
            self.hits += 1
            self.stale += f'"{says}"'.encode() not in proposal.action.response.raw  # type: ignore[union-attr]
            return
        answer = {"id": f"id-{self.calls}", "created": int(self.clock.now()), "model": "m", "object": "chat.completion"}
        message = {"role": "assistant", "content": says}
        raw = msgspec.json.encode({**answer, "choices": [{"index": 0, "finish_reason": "stop", "message": message}]})
        usage = Usage(10, 0, 0, 0, 5)
        done = Done(usage, "stop", (Charge("p", "m", usage, call.at),))
        await self.cache.settle(Outcome(call, done, 200, "p", response=Response(call.request.wire, raw, done)))


def town(folder: Path, answers: Answers, work: Callable[[Town], Awaitable[None]], **options) -> Town:
    async def main() -> Town:
        built = Town(folder, answers, **options)
        try:
            await work(built)
        finally:
            await built.database.close()
        return built

    return asyncio.run(main())


def days(count: float) -> Callable[[Town], Awaitable[None]]:
    return lambda built: built.live(count)


def steady(question: int, at_s: float, _: random.Random) -> str:
    return f"answer {question}"


def changing(every_s: float) -> Answers:
    return lambda question, at_s, _: f"answer {question} {int((at_s + question * 37) // every_s)}"


def noisy(question: int, at_s: float, r: random.Random) -> str:
    """Seven of ten times the same."""
    return f"answer {question}" if r.random() < 0.84 else f"another {r.random()}"


def written(folder: Path) -> list[tuple[str, float, float, str, str, str]]:
    with closing(sqlite3.connect(folder / FILE)) as database:
        sql = "SELECT knob, old, new, reason, outcome, figures FROM adaptive_changes ORDER BY number"
        return list(database.execute(sql))


def test_steady_answers_are_kept_longer_step_by_step_up_to_the_bound(tmp_path: Path) -> None:
    lived = town(tmp_path, steady, days(12))
    assert lived.values[0] == HOUR
    assert lived.values[-1] > 6 * HOUR
    assert max(lived.values) <= 86_400
    changes = written(tmp_path)
    assert {outcome for *_, outcome, _ in changes[:-1]} == {"kept"}
    assert all(knob == "exact_cache.ttl_s" and old < new <= 2 * old for knob, old, new, *_ in changes)
    assert all("were equal" in reason for _, _, _, reason, _, _ in changes)
    unlearned = town(tmp_path / "off", steady, days(12), loop=False)
    assert lived.hits > unlearned.hits  # it is worth something


def test_changing_answers_are_kept_shorter_and_then_it_rests(tmp_path: Path) -> None:
    lived = town(tmp_path, changing(1200), days(10))
    assert min(lived.values) >= 300
    assert lived.values[-1] < HOUR
    assert len(written(tmp_path)) <= 12
    unlearned = town(tmp_path / "off", changing(1200), days(10), loop=False)
    assert lived.stale / lived.hits < unlearned.stale / unlearned.hits


def test_noise_turns_nothing(tmp_path: Path) -> None:
    lived = town(tmp_path, noisy, days(10))
    assert set(lived.values) == {HOUR}
    assert written(tmp_path) == []


def test_a_change_that_hurts_is_undone_and_backs_off(tmp_path: Path) -> None:
    """Answers hold for days, and then change every hour and a half: what was opened is closed again."""

    def turning(question: int, at_s: float, r: random.Random) -> str:
        return steady(question, at_s, r) if at_s < 2 * 86_400 else changing(5400)(question, at_s, r)

    lived = town(tmp_path, turning, days(8))
    outcomes = [outcome for *_, outcome, _ in written(tmp_path)]
    assert "undone" in outcomes
    at_turning = max(lived.values)
    assert at_turning > HOUR
    assert lived.values[-1] <= HOUR
    figures = next(figures for *_, outcome, figures in written(tmp_path) if outcome == "undone")
    assert "comparisons bad" in figures
    assert "next try in" in figures


def test_a_clock_that_jumps_back_does_no_harm(tmp_path: Path) -> None:
    async def jump(built: Town) -> None:
        for _ in range(6):
            await built.live(1)
            built.clock._now -= 40_000.0  # the wall clock alone; the monotonic one never does

    lived = town(tmp_path, steady, jump)
    assert all(300 <= value <= 86_400 for value in lived.values)
    assert lived.stale == 0
    assert {outcome for *_, outcome, _ in written(tmp_path)} <= {"kept", "trial"}


@pytest.mark.parametrize("loop", [False, True])
def test_only_with_the_loop_are_answers_compared_and_kept_past_their_time(tmp_path: Path, loop: bool) -> None:
    async def live(built: Town) -> None:
        if built.loop is not None:
            await built.loop.step()
        for _ in range(2):
            await built.ask(1)
            built.clock.advance(HOUR + 1)
        body = msgspec.json.encode({"model": "m", "temperature": 0, "messages": [{"role": "user", "content": 1}]})
        key = exact_cache.cache_key(make_call(body), msgspec.json.decode(body, type=dict[str, msgspec.Raw]))
        held = await built.cache._kv.get(key)
        assert (held is not None) is loop

    lived = town(tmp_path, steady, live, loop=loop)
    assert (lived.hits, len(lived.cache._ttl._seen)) == (0, int(loop))


# --- the loop's memory ------------------------------------------------------------------------------------


class Dial:
    """A knob that always wishes for more."""

    start, low, high = 100.0, 10.0, 1000.0

    def __init__(self, name: str = "dial", start: float = 100.0) -> None:
        self.name, self.start, self.value = name, start, start
        self.wished: float | None = 1000.0
        self.hurt = Harm()

    def wish(self) -> Wish | None:
        return None if self.wished is None else Wish(self.wished, "more")

    def harm(self) -> Harm:
        return self.hurt

    def turn(self, value: float) -> None:
        self.value, self.hurt = value, Harm()


class Board:
    def __init__(self, *dials: Knob) -> None:
        self.dials = dials

    def knobs(self) -> Sequence[Knob]:
        return self.dials


class Broken:
    name, start, low, high, value = "broken", 1.0, 0.0, 2.0, 1.0

    def wish(self) -> Wish | None:
        raise RuntimeError("a plugin's")

    def harm(self) -> Harm:
        return Harm()

    def turn(self, value: float) -> None:
        raise RuntimeError("a plugin's")


def looped(folder: Path, work: Callable[[SQLiteChanges, FakeClock], Awaitable[None]]) -> None:
    async def main() -> None:
        database = Database(folder / FILE)
        try:
            await work(SQLiteChanges(database), FakeClock())
        finally:
            await database.close()

    asyncio.run(main())


def test_what_was_kept_is_in_force_after_a_restart_and_still_watched(tmp_path: Path) -> None:
    async def work(changes: SQLiteChanges, clock: FakeClock) -> None:
        first = Dial()
        loop = Adaptive([Board(first)], changes, clock=clock, settings=ON)
        await loop.step()
        await loop.step()
        assert first.value == 200
        first.hurt = Harm(50, 0, 0.05)
        await loop.step()
        again = Dial()
        again.wished = None
        loop = Adaptive([Board(again)], changes, clock=clock, settings=ON)
        await loop.step()
        assert again.value == 200
        again.hurt = Harm(50, 40, 0.05)
        await loop.step()
        assert again.value == 100
        third = Dial()
        await Adaptive([Board(third)], changes, clock=clock, settings=ON).step()
        assert third.value == 100

    looped(tmp_path, work)
    assert [row[4] for row in written(tmp_path)] == ["undone"]


def test_what_was_undone_is_not_tried_at_once_after_a_restart(tmp_path: Path) -> None:
    async def work(changes: SQLiteChanges, clock: FakeClock) -> None:
        number = await changes.add(Change(1.0, "dial", 100.0, 200.0, 100.0, "more"))
        await changes.settle(number, "undone", "bad", 2.0)
        dial = Dial()
        loop = Adaptive([Board(dial)], changes, clock=clock, settings=ON)
        for _ in range(5):
            await loop.step()
            clock.advance(300)
        assert dial.value == 100
        clock.advance(HOUR)
        await loop.step()
        assert dial.value == 200

    looped(tmp_path, work)


def test_a_setting_that_the_operator_changed_is_the_operators_word(tmp_path: Path) -> None:
    async def work(changes: SQLiteChanges, clock: FakeClock) -> None:
        number = await changes.add(Change(1.0, "dial", 100.0, 200.0, 100.0, "more"))
        await changes.settle(number, "kept", "good", 2.0)
        dial = Dial(start=50.0)
        await Adaptive([Board(dial)], changes, clock=clock, settings=ON).step()
        assert dial.value == 50

    looped(tmp_path, work)


def test_no_limit_is_kept_as_no_limit(tmp_path: Path) -> None:
    async def work(changes: SQLiteChanges, clock: FakeClock) -> None:
        await changes.add(Change(1.0, "dial", math.inf, 4096.0, math.inf, "runaways"))
        (change,) = await changes.last()
        assert (change.old, change.new, change.start, change.outcome) == (math.inf, 4096.0, math.inf, "trial")

    looped(tmp_path, work)


def test_a_broken_knob_stops_no_other(tmp_path: Path) -> None:
    async def work(changes: SQLiteChanges, clock: FakeClock) -> None:
        dial = Dial()
        loop = Adaptive([Board(Broken(), dial)], changes, clock=clock, settings=ON)
        await loop.step()
        await loop.step()
        assert dial.value == 200

    looped(tmp_path, work)


class Failing:
    """A store that is down until it is told otherwise."""

    def __init__(self, inner: SQLiteChanges) -> None:
        self.inner, self.down = inner, True

    def _check(self) -> None:
        if self.down:
            raise StoreError("The database is down.")

    async def add(self, change: Change) -> int:
        self._check()
        return await self.inner.add(change)

    async def settle(self, number, outcome, figures, at) -> None:
        self._check()
        await self.inner.settle(number, outcome, figures, at)

    async def last(self) -> Sequence[Change]:
        self._check()
        return await self.inner.last()


class Garbled(Failing):
    """The first look at what was written finds rows that cannot be read."""

    async def last(self) -> Sequence[Change]:
        if self.down:
            self.down = False
            raise ValueError("no number")
        return await self.inner.last()


class Bell(Dial):
    """Tells when it is turned."""

    def __init__(self) -> None:
        super().__init__()
        self.turned = asyncio.Event()

    def turn(self, value: float) -> None:
        super().turn(value)
        self.turned.set()


def test_a_round_that_fails_is_not_the_last(tmp_path: Path) -> None:
    async def work(changes: SQLiteChanges, clock: FakeClock) -> None:
        bell = Bell()
        often = msgspec.structs.replace(ON, every_s=0.001)
        task = asyncio.create_task(Adaptive([Board(bell)], Garbled(changes), clock=clock, settings=often).run())
        async with asyncio.timeout(60):
            await bell.turned.wait()
        task.cancel()

    looped(tmp_path, work)


def test_nothing_is_turned_that_cannot_be_written_down_and_harm_ends_all_the_same(tmp_path: Path) -> None:
    async def work(changes: SQLiteChanges, clock: FakeClock) -> None:
        dial, store = Dial(), Failing(changes)
        loop = Adaptive([Board(dial)], store, clock=clock, settings=ON)
        for _ in range(5):
            await loop.step()
        assert dial.value == 100
        store.down = False
        await loop.step()
        store.down = True
        await loop.step()
        await loop.step()
        assert dial.value == 100
        store.down = False
        await loop.step()
        assert dial.value == 200
        store.down = True
        dial.hurt = Harm(50, 40, 0.05)
        await loop.step()
        assert dial.value == 100
        assert [row[4] for row in await asyncio.to_thread(written, tmp_path)] == ["trial"]
        store.down = False
        await loop.step()

    looped(tmp_path, work)
    assert [row[4] for row in written(tmp_path)] == ["undone"]


# --- in an App --------------------------------------------------------------------------------------------


def app_of(folder: Path, text: str) -> tuple[bool, bool]:
    """Whether the loop runs in an App of that configuration, and whether the cache learns."""

    async def main() -> tuple[bool, bool]:
        (folder / "pennyweight.toml").write_text(text)
        async with build(load(folder / "pennyweight.toml", {"PENNYWEIGHT_DATA": str(folder / "data")})) as app:
            cache = next(o for o, _ in app.pipeline._optimizers if isinstance(o, exact_cache.ExactCache))
            runs = any(task.get_name() == "adaptive" for task in asyncio.all_tasks())
            for _ in range(100 if runs else 1):  # its first round reads the ledger, on another thread
                if cache._learning:
                    break
                await asyncio.sleep(0.005)
            learns = cache._learning
        assert not any(task.get_name() == "adaptive" for task in asyncio.all_tasks())
        return runs, learns

    return asyncio.run(main())


CACHE = '[[optimizers]]\nuse = "exact_cache"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (False, False)),
        (CACHE + "[adaptive]\nenabled = true\n", (True, True)),
        (CACHE + 'mode = "shadow"\n[adaptive]\nenabled = true\n', (True, False)),
    ],
)
def test_it_runs_only_where_it_is_switched_on_and_ends_with_the_app(tmp_path: Path, text: str, expected) -> None:
    assert app_of(tmp_path, text) == expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[adaptive]\nevery_s = 0\n", "adaptive.every_s"),
        ("[adaptive]\nmost_step = 1.0\n", "adaptive.most_step"),
        ("[advice]\nhit_share = 20\n", "advice.hit_share"),
        ("[advice]\nnewest = 0\n", "advice.newest"),
        ("[advice]\nslow = 3\n", "slow_s"),
    ],
)
def test_a_setting_that_cannot_be_is_named(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "pennyweight.toml").write_text(text)
    with pytest.raises(ConfigError, match=named):
        load(tmp_path / "pennyweight.toml", {})
