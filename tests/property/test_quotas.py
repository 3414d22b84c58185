"""Whatever comes when, no sixty seconds and no day of a target get more requests than its quota gives."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.routing.quotas import DAY_S, Quota, Quotas, day_of

WHERE = ("p", "m")


@settings(max_examples=100, deadline=None)
@given(
    per_minute=st.none() | st.integers(1, 5),
    per_day=st.none() | st.integers(1, 8),
    steps=st.lists(
        st.tuples(st.sampled_from((0.0, 1.0, 20.0, 59.0, 61.0, 30_000.0)), st.floats(-90_000, 90_000)), max_size=40
    ),
)
def test_quotas_hold(per_minute: int | None, per_day: int | None, steps: list[tuple[float, float]]) -> None:
    quotas = Quotas({WHERE: Quota(per_minute, per_day)})
    at, jump = 0.0, 0.0
    taken: list[tuple[float, int]] = []
    furthest = 0
    for passed_s, off in steps:
        at += passed_s
        jump = off if abs(off) > 80_000 else jump  # now and then the wall clock is set
        now = 20_000 * DAY_S + at + jump
        furthest = max(furthest, day_of(now))
        left = quotas.left(WHERE, now=now, at=at)
        took = quotas.take(WHERE, now=now, at=at)
        assert took == (left is None or left > 0)
        assert took or quotas.opens_in_s(WHERE, now=now, at=at) > 0
        if took:
            taken.append((at, furthest))
    for moment, _ in taken:
        assert per_minute is None or sum(moment - 60 < other <= moment for other, _ in taken) <= per_minute
    for day in {day for _, day in taken}:
        assert per_day is None or sum(other == day for _, other in taken) <= per_day
