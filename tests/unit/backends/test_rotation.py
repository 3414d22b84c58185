from __future__ import annotations

import pytest
from tests.unit.backends.fakes import FakeClock

from pennyweight.backends.rotation import Keys
from pennyweight.errors import ConfigError


def test_a_session_keeps_its_key_and_sessions_spread() -> None:
    keys = Keys(["k1", "k2", "k3"], FakeClock())
    picks = {f"s{n}": keys.pick(f"s{n}") for n in range(60)}
    assert all(keys.pick(session) == key for session, key in picks.items())
    assert {key: list(picks.values()).count(key) > 5 for key in ("k1", "k2", "k3")} == dict.fromkeys(
        ("k1", "k2", "k3"), True
    )


def test_calls_without_a_session_take_turns() -> None:
    keys = Keys(["k1", "k2"], FakeClock())
    assert {keys.pick(""), keys.pick("")} == {"k1", "k2"}


@pytest.mark.parametrize("status", [401, 402, 429])
def test_a_refused_key_rests_and_its_session_moves_and_stays(status: int) -> None:
    clock = FakeClock()
    keys = Keys(["k1", "k2"], clock)
    first = keys.pick("s")
    assert keys.failed(first, status)
    second = keys.pick("s")
    assert second != first
    clock.advance(10_000)
    assert keys.pick("s") == second  # its prefix is cached there now


def test_other_statuses_rotate_nothing() -> None:
    keys = Keys(["k1", "k2"], FakeClock())
    first = keys.pick("s")
    assert not keys.failed(first, 500)
    assert keys.pick("s") == first


def test_when_all_rest_the_soonest_ready_is_used() -> None:
    clock = FakeClock()
    keys = Keys(["k1", "k2"], clock)
    keys.failed("k1", 429)
    clock.advance(10)
    assert not keys.failed("k2", 429)
    assert keys.pick("s") == "k1"


def test_no_key_is_a_configuration_error_and_none_is_printed() -> None:
    with pytest.raises(ConfigError):
        Keys([], FakeClock())
    assert "secret" not in repr(Keys(["secret"], FakeClock()))
