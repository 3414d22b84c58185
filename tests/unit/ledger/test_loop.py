"""The loop over a real ledger: harm is taken back, roll-outs grow, and the operator's word counts."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from pennyweight.call import Call, Identity, Receipt, Target
from pennyweight.ledger.experiment import TOTAL, Margins
from pennyweight.ledger.loop import Loop, LoopSettings
from pennyweight.ledger.signals import Said, Signals
from pennyweight.ledger.trials import Trials
from pennyweight.policy import Flag, Policy
from pennyweight.request import Operation, Request, Wire
from pennyweight.stores.flags import SQLiteFlags
from pennyweight.stores.sqlite import FILE, Database, SQLiteLedger
from pennyweight.testing.clock import FakeClock


class House:
    """A ledger, a policy and the loop over them."""

    def __init__(self, folder: Path, flags: dict[str, Flag], *, holdout: float = 0.0, **settings: object) -> None:
        self.clock = FakeClock()
        self.database = Database(folder / FILE)
        self.ledger = SQLiteLedger(self.database)
        self.changes = SQLiteFlags(self.database, self.clock)
        self.signals = Signals(self.database, self.clock)
        self.policy = Policy(flags, holdout=holdout, changes=self.changes)
        self.settings = LoopSettings(**settings)  # type: ignore[arg-type]
        self.said: list[Said] = []
        self.loop = self.another()
        self.dice = random.Random(3)
        self.count = 0

    def another(self) -> Loop:
        """As after a restart."""

        def drain() -> list[Said]:
            said, self.said = self.said, []
            return said

        return Loop(
            self.database.path,
            self.database,
            self.policy,
            history=self.changes.history,
            clock=self.clock,
            settings=self.settings,
            drain=drain,
            keep=self.signals.add,
        )

    async def call(self, session: str, *, latency_s: float = 1.0, status: int = 200, at: float | None = None) -> str:
        """One call, drawn by the policy; with the optimizer "a" it takes `slower` times as long."""
        self.count += 1
        call_id = f"c{self.count}"
        request = Request(Wire.OPENAI_CHAT, b"{}")
        target = Target("openai", "m", Wire.OPENAI_CHAT)
        arm = self.policy.arm(Call(call_id, Identity(session=session), request, request, target, 0.0))
        self.clock.advance(1.0)
        await self.ledger.append([receipt(call_id, session, arm, at or self.clock.now(), latency_s, status)])
        return arm

    async def traffic(self, sessions: int, *, slower: float = 1.0, calls: int = 3, name: str = "s") -> None:
        """Sessions one after the other."""
        for number in range(sessions):
            session = f"{name}{number}"
            for _ in range(calls):
                harmed = "a+" in self.policy.arm(self._shown(session)).split(" ")
                latency_s = self.dice.lognormvariate(0, 0.3) * (slower if harmed else 1.0)
                await self.call(session, latency_s=latency_s)
            await self.loop.step()

    def _shown(self, session: str) -> Call:
        request = Request(Wire.OPENAI_CHAT, b"{}")
        target = Target("openai", "m", Wire.OPENAI_CHAT)
        return Call("x", Identity(session=session), request, request, target, 0.0)

    def state(self) -> Trials:
        assert self.loop._trials is not None
        return self.loop._trials


def receipt(call_id: str, session: str, arm: str, at: float, latency_s: float, status: int) -> Receipt:
    return Receipt(
        call_id=call_id, at=at, tenant="local", session=session, agent="", task="", skill="", housekeeping="",
        wire="openai_chat", operation=Operation.GENERATE, provider="openai", model="m", target_model="m", usage=None,
        cost=10**9, baseline=10**9, spent=0, pricing="priced", trail=(), status=status, finish_reason="stop", arm=arm,
        latency_s=latency_s,
    )  # fmt: skip


def drive(house: House, work: Callable[[House], Awaitable[None]]) -> None:
    async def main() -> None:
        try:
            async with asyncio.timeout(60):
                await work(house)
        finally:
            await house.database.close()

    asyncio.run(main())


def test_harm_is_taken_back_and_said_with_its_figures(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work(house: House) -> None:
        await house.traffic(60, slower=4.0)
        now = house.policy.in_force("a")
        assert (now.mode, now.by, now.share) == ("shadow", "loop", 0.5)
        assert "latency is worse than in sessions without it" in now.reason
        found = await house.loop.report()
        assert found["optimizers"][0]["mode"] == "shadow"
        assert found["changes"][0]["figures"]["odds"] >= found["changes"][0]["figures"]["limit"]
        assert json.loads(json.dumps(found)) == found

    with caplog.at_level(logging.WARNING):
        drive(House(tmp_path, {"a": Flag("on", 0.5)}), work)
    (record,) = [record for record in caplog.records if record.message == "optimizer switched to shadow"]
    assert record.__dict__["optimizer"] == "a"


def test_without_harm_nothing_is_done(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await house.traffic(60)
        assert house.policy.in_force("a").by == "config"
        arms = (await house.loop.report())["optimizers"][0]["experiment"]["arms"]
        assert arms["on"]["sessions"] + arms["off"]["sessions"] == 60
        assert arms["on"]["calls"] + arms["off"]["calls"] == 180

    drive(House(tmp_path, {"a": Flag("on", 0.5)}), work)


def test_what_the_operator_set_by_hand_stays_and_a_notice_is_left(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await house.policy.set("a", by="operator", mode="on", share=0.5)
        await house.traffic(60, slower=4.0)
        assert house.policy.in_force("a").mode == "on"
        notices = [change for change in await house.changes.history() if change.kind == "notice"]
        assert len(notices) == 1

    drive(House(tmp_path, {"a": Flag("on", 0.5)}), work)


def test_asked_only_to_measure_it_changes_nothing(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await house.traffic(60, slower=4.0)
        assert house.policy.in_force("a").mode == "on"
        metrics = (await house.loop.report())["optimizers"][0]["experiment"]["metrics"]
        assert any(metric["alarm"] for metric in metrics)

    drive(House(tmp_path, {"a": Flag("on", 0.5)}, act=False), work)


def test_harm_against_the_holdout_takes_back_all_that_is_on_for_everybody(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await house.traffic(80, slower=6.0)
        assert house.policy.in_force("a").mode == "shadow"
        assert house.policy.in_force("b").mode == "shadow"
        assert house.policy.in_force("c").mode == "off"
        assert "the holdout" in house.policy.in_force("a").reason

    drive(House(tmp_path, {"a": Flag(), "b": Flag(), "c": Flag("off")}, holdout=0.4), work)


def test_a_roll_out_grows_step_by_step_and_not_beyond_what_the_file_says(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        for step, expected in enumerate((0.05, 0.1, 0.1)):
            for _ in range(60 if step < 2 else 5):
                await house.ledger.append([alone(house) for _ in range(50)])
                house.clock.advance(2000)
                while await house.loop.step():
                    pass
                if house.policy.in_force("a").share == expected and step < 2:
                    break
            assert house.policy.in_force("a").share == expected
        (grown, first) = await house.changes.history()
        assert "rolled out from 1% to 5% of sessions" in first.reason
        assert grown.figures["errors_at_most"] < 3

    def alone(house: House) -> Receipt:
        house.count += 1
        request = Request(Wire.OPENAI_CHAT, b"{}")
        call = Call(
            f"c{house.count}", Identity(), request, request, Target("openai", "m", Wire.OPENAI_CHAT), 0.0
        )  # no session: drawn by its own id
        latency_s = house.dice.lognormvariate(0, 0.3)
        return receipt(call.id, "", house.policy.arm(call), house.clock.now(), latency_s, 200)

    loose = Margins(errors=3.0, latency=50.0, cost=50.0)
    drive(House(tmp_path, {"a": Flag("on", 0.1, rollout=True)}, margins=loose), work)


def test_a_roll_out_waits_where_the_evidence_is_thin(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await house.traffic(40)
        assert house.policy.in_force("a").share == 0.01

    drive(House(tmp_path, {"a": Flag("on", 1.0, rollout=True)}), work)


def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await house.traffic(20)
        await house.loop.save()
        before = msgspec.to_builtins(house.state().trials)
        house.loop = house.another()
        await house.loop.step()
        assert msgspec.to_builtins(house.state().trials) == before

    drive(House(tmp_path, {"a": Flag("on", 0.5)}), work)


@pytest.mark.parametrize("state", [b"{", b'{"version": 99}', b"\xff", b"[]"])
def test_a_state_that_cannot_be_read_is_made_anew_from_the_receipts(tmp_path: Path, state: bytes) -> None:
    async def work(house: House) -> None:
        await house.traffic(20)
        await house.loop.save()
        sql = "UPDATE experiment_state SET state = ?"
        await house.database.write(lambda connection: connection.execute(sql, (state,)) and None)
        house.loop = house.another()
        await house.loop.step()
        trial = house.state().trials["a"]
        assert trial.treated.calls + trial.control.calls == 60

    drive(House(tmp_path, {"a": Flag("on", 0.5)}), work)


def test_a_session_of_an_earlier_stage_does_not_count_in_the_next(tmp_path: Path) -> None:
    """In which arm it is, is known by then: betting on it would be no fair game."""

    async def work(house: House) -> None:
        await house.traffic(20)
        await house.policy.set("a", by="operator", share=0.6)
        await house.traffic(20)  # the same sessions
        trial = house.state().trials["a"]
        assert (trial.treated.sessions, trial.control.sessions) == (0, 0)
        await house.traffic(20, name="new")
        assert trial.treated.sessions + trial.control.sessions == 20

    drive(House(tmp_path, {"a": Flag("on", 0.5)}), work)


def test_a_session_that_was_there_before_takes_part_in_the_first_stage(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await house.traffic(20)
        await house.policy.set("a", by="operator", mode="on", share=0.5)
        await house.traffic(20)
        trial = house.state().trials["a"]
        assert trial.treated.sessions + trial.control.sessions == 20
        assert trial.treated.calls + trial.control.calls == 60

    drive(House(tmp_path, {"a": Flag("off", 0.5)}), work)


def test_a_clock_that_jumps_ends_no_session_and_loses_no_call(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        start = house.clock.now()
        for jump in (0, -86_400, 5, 400 * 86_400, 10, -(10**9), 15):
            await house.call("s", at=start + jump)
            await house.loop.step()
        trial = house.state().trials["a"]
        assert trial.treated.calls + trial.control.calls == 7
        assert trial.treated.sessions + trial.control.sessions == 1
        assert len(trial.open) == 1

    drive(House(tmp_path, {"a": Flag("on", 0.5)}), work)


def test_a_silent_session_is_looked_at_as_a_whole(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await house.call("s")
        await house.loop.step()
        for _ in range(20):
            house.clock.advance(60)
            await house.loop.step()
        trial = house.state().trials["a"]
        assert not trial.open
        assert trial.effects["errors whole"].count == 1
        await house.call("s")  # it wakes up, and does not count again
        await house.loop.step()
        assert not trial.open
        assert trial.treated.calls + trial.control.calls == 1

    drive(House(tmp_path, {"a": Flag("on", 0.5)}), work)


def test_a_ledger_that_was_emptied_stops_nothing(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await house.traffic(5)
        await house.ledger.forget(house.clock.now() + 1)
        await house.loop.step()
        await house.traffic(5, name="new")
        trial = house.state().trials[TOTAL]
        assert trial.treated.sessions == 10

    drive(House(tmp_path, {"a": Flag("on", 0.5)}), work)


def test_what_is_said_counts_once_a_session_and_waits_for_its_receipt(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        for _ in range(3):
            await house.call("s")
        await house.signals.rate("feedback", 1.0, tenant=None, call_id="c1")
        await house.signals.rate("feedback", -1.0, tenant=None, call_id="c2")
        house.said = [Said("local", "s", "c3", "tools", 0.0), Said("local", "s", "c3", "reask", 4.0)]
        while await house.loop.step():
            pass
        await house.loop.step()
        trial = house.state().trials[TOTAL]
        assert (trial.treated.up, trial.treated.down) == (1, 1)
        assert not list(trial.findings(alpha=0.05))  # a holdout of 0: nothing to compare with
        assert (trial.treated.tools, trial.treated.tools_wrong, trial.treated.reasks) == (1, 1.0, 4)
        own = house.state().trials["a"]
        assert own.effects["feedback said"].count == 1

    drive(House(tmp_path, {"a": Flag("on", 0.5)}), work)


def test_calls_that_asked_for_no_optimizer_are_no_part_of_it(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await house.ledger.append([receipt("c", "s", "", house.clock.now(), 1.0, 200)])
        await house.loop.step()
        assert house.state().trials["a"].treated.calls == house.state().trials["a"].control.calls == 0

    drive(House(tmp_path, {"a": Flag("on", 0.5)}), work)


def test_without_a_ledger_there_is_nothing_to_say(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        assert not await house.loop.step() or house.state().row == 0
        found = await house.loop.report()
        assert [one["name"] for one in found["optimizers"]] == ["a"]

    drive(House(tmp_path, {"a": Flag("on", 0.5)}), work)


def test_under_a_flood_only_some_sessions_are_followed_and_the_others_cost_next_to_nothing(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await house.call("s")
        await house.loop.step()
        house.clock.advance(1)
        flood = [receipt(f"f{n}", f"f{n}", "a+", house.clock.now(), 1.0, 200) for n in range(1600)]
        await house.ledger.append(flood)
        await house.loop.step()
        assert house.state().one_in == 16
        assert 50 < house.state().trials["a"].treated.sessions < 160
        assert (await house.loop.report())["sessions_followed"] == 1 / 16
        house.clock.advance(1)
        await house.loop.step()
        assert house.state().one_in == 1

    drive(House(tmp_path, {"a": Flag("on", 0.5)}), work)


def test_what_came_before_a_change_is_of_the_stage_before_though_it_is_read_later(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await house.loop.step()
        for number in range(10):
            await house.call(f"s{number}")
        await house.policy.set("a", by="operator", share=0.6)
        await house.loop.step()
        await house.loop.step()
        trial = house.state().trials["a"]
        assert trial.stage.startswith("on 0.6")
        assert trial.treated.calls + trial.control.calls == 0

    drive(House(tmp_path, {"a": Flag("on", 0.5)}), work)


def test_a_word_on_a_call_that_is_not_read_yet_waits_for_it(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        many = [receipt(f"m{n}", f"m{n}", "a+", house.clock.now(), 1.0, 200) for n in range(2_050)]
        await house.ledger.append(many)
        await house.signals.add([Said("local", "m2049", "m2049", "reask", 1.0)])
        assert await house.loop.step()
        assert house.state().trials["a"].treated.reasks == 0
        await house.loop.step()
        trial = house.state().trials["a"]
        assert trial.treated.reasks == 1
        assert trial.open["local\0m2049"].reasks == 1

    drive(House(tmp_path, {"a": Flag("on", 0.5)}), work)
