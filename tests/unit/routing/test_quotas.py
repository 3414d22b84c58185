"""Quotas by the minute and the day, over midnights, clock changes, refusals and restarts."""

from __future__ import annotations

import asyncio

import pytest

from pennyweight.backends.quotas import Metered, restore
from pennyweight.call import Target
from pennyweight.errors import QuotaSpent, StoreError
from pennyweight.request import Wire
from pennyweight.routing.quotas import DAY_S, Quota, Quotas, day_of
from pennyweight.routing.settings import TargetTable
from pennyweight.testing.backend import Script, ScriptedBackend, make_call
from pennyweight.testing.clock import FakeClock
from pennyweight.testing.optimizer_contract import ContractKV

WHERE = ("p", "m")
NOON = 20_000 * DAY_S + DAY_S / 2


def quotas(per_minute: int | None = None, per_day: int | None = None) -> Quotas:
    return Quotas.of([TargetTable("p/m", per_minute=per_minute, per_day=per_day), TargetTable("p/free")])


def test_only_what_has_a_quota_is_counted() -> None:
    found = quotas(per_day=3)
    assert found.limits == {WHERE: Quota(None, 3)}
    assert found.left(("p", "free"), now=NOON, at=0) is None
    assert found.take(("p", "free"), now=NOON, at=0)


def test_no_minute_has_more_than_its_quota() -> None:
    found = quotas(per_minute=3)
    assert [found.take(WHERE, now=NOON, at=at) for at in (0, 30, 50, 55)] == [True, True, True, False]
    assert found.opens_in_s(WHERE, now=NOON, at=55) == pytest.approx(5)
    assert found.take(WHERE, now=NOON, at=60)
    assert not found.take(WHERE, now=NOON, at=89)
    assert found.take(WHERE, now=NOON, at=90)
    assert found.left(WHERE, now=NOON, at=1_000) == 3


def test_a_day_ends_at_midnight_utc() -> None:
    found = quotas(per_day=2)
    assert [found.take(WHERE, now=NOON, at=0) for _ in range(3)] == [True, True, False]
    assert found.opens_in_s(WHERE, now=NOON, at=0) == pytest.approx(DAY_S / 2)
    assert found.left(WHERE, now=NOON + DAY_S / 2 - 1, at=1) == 0
    assert found.left(WHERE, now=NOON + DAY_S / 2, at=2) == 2


def test_a_clock_that_is_set_back_gives_no_second_day() -> None:
    found = quotas(per_day=1)
    assert found.take(WHERE, now=NOON, at=0)
    assert found.left(WHERE, now=NOON - DAY_S, at=1) == 0
    assert found.left(WHERE, now=NOON, at=2) == 0


def test_a_refusal_shuts_a_target_for_as_long_as_it_says() -> None:
    found = quotas(per_minute=60)
    found.refused(WHERE, retry_after_s=30, at=100)
    assert found.left(WHERE, now=NOON, at=129) == 0
    assert found.live(Target("p", "m", Wire.OPENAI_CHAT), now=NOON, at=131).quota_left == 60


class House:
    def __init__(self, limits: Quotas, *scripts: Script) -> None:
        self.kv = ContractKV()
        self.clock = FakeClock()
        self.upstream = ScriptedBackend(*scripts)
        self.quotas = limits
        self.metered = Metered(self.upstream, limits, self.kv, self.clock)

    def ask(self) -> int:
        return asyncio.run(self.metered.open(make_call())).status


def test_what_is_beyond_is_not_asked() -> None:
    house = House(quotas(per_day=2))
    assert [house.ask(), house.ask()] == [200, 200]
    with pytest.raises(QuotaSpent, match=r"The quota of p/m is used up for [\d,]+ s") as caught:
        house.ask()
    assert caught.value.retry_after_s is not None
    assert len(house.upstream.calls) == 2


def test_counts_outlast_a_restart() -> None:
    first = House(quotas(per_minute=10, per_day=5))
    for _ in range(4):
        first.ask()
    again = quotas(per_minute=10, per_day=5)
    asyncio.run(restore(again, first.kv, first.clock))
    now, at = first.clock.now(), first.clock.monotonic()
    assert again.left(WHERE, now=now, at=at) == 1
    assert len(again._left[WHERE].minute) == 4
    first.clock.advance(DAY_S)
    fresh = quotas(per_minute=10, per_day=5)
    asyncio.run(restore(fresh, first.kv, first.clock))
    assert fresh.left(WHERE, now=first.clock.now(), at=first.clock.monotonic()) == 5


def test_replicas_that_share_a_store_share_a_day() -> None:
    one = House(quotas(per_day=3))
    other = House(quotas(per_day=3))
    other.metered = Metered(other.upstream, other.quotas, one.kv, one.clock)
    one.ask()
    one.ask()
    other.ask()
    with pytest.raises(QuotaSpent):
        other.ask()


def test_a_store_that_is_down_costs_no_call() -> None:
    house = House(quotas(per_day=2))
    house.kv.locked = True
    assert [house.ask(), house.ask()] == [200, 200]
    with pytest.raises(QuotaSpent):
        house.ask()


class Broken(ContractKV):
    async def add(self, key: str, amount: int, *, ttl_s: float | None = None) -> int:
        raise StoreError("down")


def test_a_store_that_cannot_be_read_is_no_reason_not_to_start() -> None:
    found = quotas(per_day=2)
    asyncio.run(restore(found, Broken(), FakeClock()))
    assert found.left(WHERE, now=NOON, at=0) == 2


def test_a_429_teaches() -> None:
    house = House(quotas(per_minute=60), Script(429, (("retry-after", "20"),), b"{}"))
    assert house.ask() == 429
    now, at = house.clock.now(), house.clock.monotonic()
    assert house.quotas.left(WHERE, now=now, at=at) == 0
    assert house.quotas.left(WHERE, now=now, at=at + 21) == 59


def test_a_429_without_retry_after_may_tell_when_the_day_ends() -> None:
    clock = FakeClock()
    reset = str(int((clock.now() + 3_600) * 1000))
    house = House(quotas(per_day=60), Script(429, (("x-ratelimit-reset", reset),), b"{}"))
    house.clock = clock
    house.metered = Metered(house.upstream, house.quotas, house.kv, clock)
    house.ask()
    assert house.quotas.left(WHERE, now=clock.now(), at=clock.monotonic() + 3_500) == 0
    assert house.quotas.left(WHERE, now=clock.now(), at=clock.monotonic() + 3_700) == 59


def test_a_pattern_is_one_quota_for_all_that_fit_it() -> None:
    found = Quotas.of([TargetTable("or/*:free", per_day=2), TargetTable("or/big:free", per_day=9)])
    assert found.group(("or", "a/b:free")) == found.group(("or", "c:free")) == ("or", "*:free")
    assert found.group(("or", "big:free")) == ("or", "big:free")
    assert found.group(("or", "a/b")) is None
    assert found.group(("else", "a:free")) is None
    found.take(("or", "*:free"), now=NOON, at=0)
    assert found.live(Target("or", "c:free", Wire.OPENAI_CHAT), now=NOON, at=0).quota_left == 1
    assert found.live(Target("or", "c", Wire.OPENAI_CHAT), now=NOON, at=0).quota_left is None


def test_days_are_counted_from_midnight() -> None:
    assert day_of(DAY_S - 0.001) == 0
    assert day_of(DAY_S) == 1
