from __future__ import annotations

from tests.unit.backends.fakes import FakeClock

from pennyweight.backends.cooldown import Cooldown


def test_rests_grow_to_an_hour_and_an_answer_heals() -> None:
    clock = FakeClock()
    cooldown: Cooldown[str] = Cooldown(clock)
    rests = []
    for _ in range(6):
        cooldown.failed("a")
        rests.append(cooldown.left_s("a"))
        clock.advance(rests[-1])
    assert rests == [60, 300, 1500, 3600, 3600, 3600]
    cooldown.answered("a")
    assert not cooldown.cooling("a")
    cooldown.failed("a")
    assert cooldown.left_s("a") == 60


def test_failures_under_way_together_count_once() -> None:
    cooldown: Cooldown[str] = Cooldown(FakeClock())
    for _ in range(10):
        cooldown.failed("a")
    assert cooldown.left_s("a") == 60


def test_it_only_reorders() -> None:
    clock = FakeClock()
    cooldown: Cooldown[str] = Cooldown(clock)
    cooldown.failed("a", retry_after_s=600)
    cooldown.failed("b")
    assert cooldown.order(["a", "b", "c"]) == ["c", "b", "a"]
    assert cooldown.order(["a"]) == ["a"]


def test_after_the_rest_one_caller_probes() -> None:
    clock = FakeClock()
    cooldown: Cooldown[str] = Cooldown(clock)
    cooldown.failed("a")
    clock.advance(60)
    assert cooldown.order(["a", "b"]) == ["a", "b"]
    cooldown.trying("a")
    assert cooldown.order(["a", "b"]) == ["b", "a"]
    cooldown.left("a")
    assert cooldown.order(["a", "b"]) == ["a", "b"]


def test_one_caller_probes_one_of_those_that_are_due() -> None:
    clock = FakeClock()
    cooldown: Cooldown[str] = Cooldown(clock)
    for place in ("a", "b", "c"):
        cooldown.failed(place)
    clock.advance(60)
    cooldown.failed("d")
    assert cooldown.order(["a", "b", "d", "well", "c"]) == ["a", "well", "b", "c", "d"]
    cooldown.trying("a")
    assert cooldown.order(["a", "b", "d", "well", "c"]) == ["b", "well", "c", "a", "d"], "the next caller, meanwhile"
    cooldown.answered("b")
    assert cooldown.order(["a", "b", "c"]) == ["b", "c", "a"]


def test_an_absurd_retry_after_rests_an_hour() -> None:
    cooldown: Cooldown[str] = Cooldown(FakeClock())
    cooldown.failed("a", retry_after_s=10**9)
    assert cooldown.left_s("a") == 3600
