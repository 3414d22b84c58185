"""Whatever knobs and clocks do: bounds hold, one change at a time, and harm ends."""

from __future__ import annotations

import math

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pennyweight.adaptive import Harm, Settings, TtlKnob, Wish
from pennyweight.adaptive.rule import Facts, Keep, State, Trial, Turn, Undo, begun, decide
from pennyweight.adaptive.shares import surely_above, surely_below

LOW, HIGH = 10.0, 1000.0
ON = Settings(enabled=True)

wishes = st.none() | st.floats(allow_nan=True, allow_infinity=True).map(lambda value: Wish(value, "why"))
harms = st.tuples(st.integers(0, 80), st.integers(0, 80), st.sampled_from([0.0, 0.05, 0.5])).map(
    lambda n: Harm(max(n[0], n[1]), n[1], n[2])
)
rounds = st.lists(st.tuples(wishes, harms, st.floats(0, 10_000)), max_size=40)


@settings(max_examples=150, deadline=None)
@given(rounds)
@example([(Wish(wished, "why"), Harm(0, 0, 0.0), 0.0) for wished in (0.0, -math.inf)])
def test_a_knob_stays_in_its_bounds_and_moves_one_step_at_a_time(script) -> None:
    state, value, now, asked_for = State(), 100.0, 0.0, 0
    rest_until = -math.inf
    for wish, harm, wait in script:
        now += wait
        on_trial = state.trial is not None and not state.trial.stood
        state, decision = decide(state, Facts(value, LOW, HIGH, wish, harm), ON, now=now)
        match decision:
            case Turn(new, _):
                assert not on_trial
                assert wish is not None
                assert now >= rest_until
                assert LOW <= new <= HIGH
                assert max(new / value, value / new) <= ON.most_step + 1e-9
                assert abs(new - value) >= ON.least_step * value
                assert asked_for >= ON.rounds - 1
                state, value, asked_for = begun(state, Trial(0, value, new)), new, 0
            case Undo(trial, _):
                assert surely_above(harm.bad, harm.seen, harm.allowed)
                value, asked_for = trial.old, 0
                rest_until = now + ON.back_off_s
            case Keep():
                assert harm.seen >= ON.trial_calls
                asked_for = 0
            case None:
                if state.trial is not None:  # harm that is sure is never left
                    assert not surely_above(harm.bad, harm.seen, harm.allowed)
                asked_for = 0 if wish is None else asked_for + 1


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 300_000), st.booleans()), max_size=450),
    st.floats(1, 100_000),
    st.floats(1, 100_000),
)
def test_a_time_to_live_is_never_wished_past_what_was_seen_equal(compared, start: float, value: float) -> None:
    knob = TtlKnob("t", start=start, low=300, high=86_400)
    knob.turn(value)
    for age_s, equal in compared:
        knob.compared(age_s, equal=equal)
    wish = knob.wish()
    if wish is not None and wish.value > value:
        assert wish.value <= max(age_s for age_s, equal in compared if equal)
        assert wish.value <= 2 * value
    harm = knob.harm()
    assert 0 <= harm.bad <= harm.seen
    assert 0 <= harm.allowed <= 1


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 1000), st.floats(0, 1))
def test_nothing_is_surely_above_and_below_at_once(a: int, b: int, share: float) -> None:
    count, of = min(a, b), max(a, b)
    assert not (surely_above(count, of, share) and surely_below(count, of, share))
    if of and surely_above(count, of, share):
        assert count / of > share
    if of and surely_below(count, of, share):
        assert count / of < share
