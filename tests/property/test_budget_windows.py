"""Every moment is in exactly one hour, day and month of every time zone, and they follow one another without a gap."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.backends.budget.windows import Per, window

NAMES = [
    "UTC",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kwajalein",
    "Asia/Kathmandu",
    "Africa/Cairo",
    "America/Havana",
    "Asia/Beirut",
    "Antarctica/Troll",
]
TURNS = [  # about when clocks were set
    datetime(2018, 11, 4, 3, tzinfo=UTC).timestamp(),
    datetime(2010, 11, 7, 2, 30, tzinfo=UTC).timestamp(),
    datetime(2026, 3, 29, 1, tzinfo=UTC).timestamp(),
    datetime(2026, 10, 25, 1, tzinfo=UTC).timestamp(),
    datetime(2011, 12, 30, 10, tzinfo=UTC).timestamp(),
    datetime(2026, 4, 4, 15, tzinfo=UTC).timestamp(),
    datetime(1993, 8, 21, 12, tzinfo=UTC).timestamp(),
]
moments = st.one_of(
    st.floats(0, 4_000_000_000),
    st.builds(float.__add__, st.sampled_from(TURNS), st.floats(-100_000, 100_000)),
)


@settings(max_examples=300, deadline=None)
@given(moments, st.floats(0, 200_000), st.sampled_from(NAMES), st.sampled_from(["hour", "day", "month"]))
def test_windows_are_a_partition(at: float, later: float, name: str, per: Per) -> None:
    where = ZoneInfo(name)
    found, then = window(per, at, where), window(per, at + later, where)
    assert found.begins <= at < found.ends
    assert found.begins <= then.begins, "windows never go back"
    if found != then and per != "hour":
        assert found.ends <= then.begins
    longest_s = {"hour": 3_600, "day": 26 * 3_600, "month": 32 * 86_400}[per]
    assert 0 < found.ends - found.begins <= longest_s
    inside = window(per, found.begins, where)
    assert inside.begins <= found.begins
