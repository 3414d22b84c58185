"""Pairs told to the ledger: harm is taken back, the operator's word counts, and stages begin anew."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pennyweight.errors import NotFound
from pennyweight.ledger.shadows import Shadows
from pennyweight.policy import Flag, Policy
from pennyweight.stores.flags import SQLiteFlags
from pennyweight.stores.sqlite import FILE, Database
from pennyweight.testing.clock import FakeClock


class House:
    def __init__(self, folder: Path, *, act: bool = True) -> None:
        self.clock = FakeClock()
        self.database = Database(folder / FILE)
        self.act = act
        self.changes = SQLiteFlags(self.database, self.clock)
        self.policy = Policy({"routing": Flag(), "compression": Flag()}, changes=self.changes)
        self.shadows = self.another()

    def another(self) -> Shadows:
        """As in another process, or after a restart."""
        return Shadows(self.database, self.policy, self.clock, act=self.act)

    def tell(self, worse: int = 0, better: int = 0, same: int = 0, *, route: str = "") -> None:
        for new, old, times in ((0.0, 1.0, worse), (1.0, 0.0, better), (1.0, 1.0, same)):
            for _ in range(times):
                self.shadows.tell("routing", new=new, old=old, route=route)


def drive(folder: Path, work: Callable[[House], Awaitable[None]], *, act: bool = True) -> None:
    async def main() -> None:
        house = House(folder, act=act)
        try:
            await work(house)
        finally:
            await house.shadows.close()
            await house.database.close()

    asyncio.run(main())


def test_an_optimizer_that_does_harm_goes_back_to_shadow_and_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(house: House) -> None:
        house.tell(worse=12, better=1, same=40, route="auto")
        with caplog.at_level(logging.WARNING):
            await house.shadows.step()
        now = house.policy.in_force("routing")
        assert (now.mode, now.by) == ("shadow", "loop")
        assert now.reason.startswith("of 53 tasks done both ways 12 came out worse with it and 1 better: odds ")
        assert house.policy.in_force("compression").mode == "on"
        assert "optimizer switched to shadow" in caplog.text
        (change,) = await house.changes.history()
        assert change.figures["worse"] == 12
        await house.shadows.step()
        assert len(await house.changes.history()) == 1

    drive(tmp_path, work)


def test_what_does_no_harm_stays_on(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        for _ in range(20):
            house.tell(worse=5, better=5, same=90)
            await house.shadows.step()
        assert house.policy.in_force("routing").mode == "on"
        (told,) = await house.shadows.report()
        assert (told["pairs"], told["worse"], told["better"], told["alarm"]) == (2000, 100, 100, False)
        assert told["low"] < 0 < told["high"]

    drive(tmp_path, work)


def test_what_the_operator_set_leaves_a_notice_once(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        await house.policy.set("routing", by="operator", mode="on")
        house.tell(worse=12)
        await house.shadows.step()
        house.tell(worse=12)
        await house.shadows.step()
        assert house.policy.in_force("routing").mode == "on"
        assert [change.kind for change in await house.changes.history()] == ["notice", "set"]

    drive(tmp_path, work)


def test_another_stage_begins_a_new_test(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        house.tell(worse=12)
        await house.shadows.step()
        assert house.policy.in_force("routing").mode == "shadow"
        await house.policy.reset("routing")
        house.tell(worse=1, same=5)
        await house.shadows.step()
        assert house.policy.in_force("routing").mode == "on"
        (told,) = await house.shadows.report()
        assert (told["pairs"], told["worse"]) == (6, 1)

    drive(tmp_path, work)


def test_a_restart_comes_to_the_same_and_acts_on_it_once(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        house.tell(worse=4, same=10, route="auto")
        house.tell(worse=2, better=1, route="coding")
        before = await house.shadows.report()
        assert before[0]["routes"]["auto"] == {"pairs": 14, "worse": 4, "better": 0}
        assert await house.another().report() == before
        house.tell(worse=12)
        await house.shadows.step()
        await house.another().step()
        assert len(await house.changes.history()) == 1

    drive(tmp_path, work)


def test_it_only_measures_where_it_shall_not_act(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        house.tell(worse=20)
        (told,) = await house.shadows.report()
        assert told["alarm"]
        assert house.policy.in_force("routing").mode == "on"

    drive(tmp_path, work, act=False)


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    async def work(house: House) -> None:
        for new, old in ((1.5, 0.0), (0.0, float("nan"))):
            with pytest.raises(ValueError, match="within 0 and 1"):
                house.shadows.tell("routing", new=new, old=old)
        with pytest.raises(NotFound, match="nothing"):
            house.shadows.tell("nothing", new=1.0, old=1.0)
        assert not await house.shadows.report()

    drive(tmp_path, work)
