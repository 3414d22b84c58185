"""Arms stay and shares are met; evidence is a fair game, so that looking often costs nothing."""

from __future__ import annotations

import copy
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.call import Call, Identity, Target
from pennyweight.ledger.evidence import Bets, Effect, Scale, by_count, by_standing
from pennyweight.ledger.experiment import METRICS, Row, Trial
from pennyweight.ledger.trials import Trials, kept
from pennyweight.policy import Flag, Policy
from pennyweight.request import Request, Wire

names = st.text(min_size=1, max_size=40)
shares = st.floats(0, 1)


def call(tenant: str, session: str, call_id: str = "c") -> Call:
    request = Request(Wire.OPENAI_CHAT, b"{}")
    return Call(call_id, Identity(tenant, session), request, request, Target("openai", "m", Wire.OPENAI_CHAT), 0.0)


@settings(max_examples=100)
@given(names, names, shares, shares, st.floats(0, 0.5))
def test_a_session_stays_in_its_arm_and_a_share_that_grows_keeps_what_it_had(
    tenant: str, session: str, one: float, other: float, holdout: float
) -> None:
    small, large = sorted((one, other))
    before, after = (Policy({"a": Flag("on", share)}, holdout=holdout) for share in (small, large))
    drawn = before.exposure(call(tenant, session, "first"))
    assert before.exposure(call(tenant, session, "another")) == drawn
    assert Policy({"b": Flag("on", 0.3), "a": Flag("on", small)}, holdout=holdout).mode(
        "a", call(tenant, session)
    ) == before.mode("a", call(tenant, session))
    if drawn.modes.get("a") == "on":
        assert after.mode("a", call(tenant, session)) == "on"
    assert (drawn.arm == "holdout") == (after.arm(call(tenant, session)) == "holdout")


@settings(max_examples=20)
@given(st.sampled_from([0.01, 0.05, 0.25, 0.5, 0.9]), st.sampled_from([0.0, 0.05]), st.integers(0, 10**6))
def test_shares_are_met(share: float, holdout: float, salt: int) -> None:
    policy = Policy({"a": Flag("on", share)}, holdout=holdout)
    arms = [policy.arm(call("t", f"{salt}-{n}")) for n in range(3000)]
    tolerance = 5 * math.sqrt(0.25 / 3000)
    assert abs(arms.count("a+") / 3000 - share * (1 - holdout)) < tolerance
    assert abs(arms.count("holdout") / 3000 - holdout) < tolerance


history = st.lists(st.tuples(st.floats(-4, 4), st.booleans()), max_size=30)


@settings(max_examples=200)
@given(history, st.floats(-4, 4), st.integers(1, 9), st.floats(0.01, 0.99), st.floats(0, 1), st.booleans())
def test_every_bet_is_fair(
    earlier: list[tuple[float, bool]], standing: float, count: int, q: float, mixed: float, soon: bool
) -> None:
    """Whatever happened before and whatever the outcome is, the expected wealth after a bet is the wealth before."""
    bets = Bets.soon() if soon else Bets()
    for past, treated in earlier:
        bets.place(by_standing(past, mixed=mixed), treated, q=q)
    before = math.exp(bets.log_wealth)
    for odds in (by_standing(standing, mixed=mixed), by_count(count)):
        treated_too, control_too = copy.deepcopy(bets), copy.deepcopy(bets)
        treated_too.place(odds, True, q=q)
        control_too.place(odds, False, q=q)
        expected = q * math.exp(treated_too.log_wealth) + (1 - q) * math.exp(control_too.log_wealth)
        assert expected == pytest.approx(before, rel=1e-9)


@pytest.mark.parametrize("q", [0.05, 0.5, 0.95])
def test_nobody_gets_rich_on_chance_however_often_one_looks(q: float) -> None:
    rng = random.Random(f"null {q}")
    rich = 0
    for _ in range(200):
        bets, scale = Bets.soon(), Scale()
        for _ in range(200):
            outcome = math.exp(rng.gauss(0, 1.5))  # skewed: nothing is assumed of it
            standing = scale.standing(outcome)
            if standing is not None:
                bets.place(by_standing(standing, mixed=q), rng.random() < q, q=q)
            scale.add(outcome)
        rich += bets.peak >= math.log(20)
    assert rich / 200 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 200)


def test_who_bets_on_a_real_difference_gets_rich_soon_and_also_when_it_begins_late() -> None:
    rng = random.Random("harm")
    bets, scale = Bets.soon(), Scale()

    def play(sessions: int, harm: float) -> None:
        for _ in range(sessions):
            treated = rng.random() < 0.5
            outcome = rng.gauss(harm if treated else 0.0, 1.0)
            standing = scale.standing(outcome)
            if standing is not None:
                bets.place(by_standing(standing, mixed=0.5), treated, q=0.5)
            scale.add(outcome)

    play(1_000, 0.0)
    assert bets.peak < math.log(100)
    play(150, 2.0)
    assert bets.peak > math.log(100)


def test_intervals_hold_the_truth_at_all_times_at_once() -> None:
    rng = random.Random("intervals")
    missed = 0
    for _ in range(100):
        effect, out = Effect(), False
        for _ in range(500):
            treated = rng.random() < 0.25
            effect.add(rng.gauss(0.3 if treated else 0.0, 1.0), treated)
            interval = effect.interval(q=0.25, alpha=0.05)
            out = out or (interval is not None and not interval.low <= 0.3 <= interval.high)
        missed += out
    assert missed <= 12  # 5% and luck


def test_where_nothing_failed_yet_the_interval_is_not_a_point() -> None:
    effect = Effect()
    for number in range(40):
        effect.add(0.0, number % 2 == 0)
    interval = effect.interval(q=0.5, alpha=0.05)
    assert interval is not None
    assert interval.high > 0.05


def test_the_stakes_of_all_metrics_are_the_whole_alpha() -> None:
    assert sum(metric.stake for metric in METRICS) == pytest.approx(1.0)
    assert len({metric.key for metric in METRICS}) == len(METRICS)


rows = st.builds(
    Row,
    tenant=st.sampled_from(["t", "u"]),
    unit=st.sampled_from(["s1", "s2", "s3"]),
    alone=st.booleans(),
    arm=st.sampled_from(["a+", "a-", "holdout", "none", "", "b+", "a~"]),
    model=st.sampled_from(["m", "n", ""]),
    finish_reason=st.sampled_from(["stop", "length", ""]),
    first=st.integers(1, 100),
    last=st.integers(1, 100),
    calls=st.integers(1, 5),
    failed=st.integers(0, 1),
    answered=st.integers(0, 4),
    latency_s=st.floats(0, 1e6),
    cost=st.integers(0, 2**62),
    priced=st.integers(0, 5),
    retried=st.integers(0, 5),
)


@settings(max_examples=100)
@given(st.lists(st.tuples(rows, st.floats(-1e9, 1e9)), max_size=60))
def test_any_rows_in_any_time_leave_a_state_that_can_be_kept(given_rows: list[tuple[Row, float]]) -> None:
    import msgspec

    trials = Trials(trials={"a": Trial("a", "on", 0, 0.5), "": Trial("", "", 0, 0.95)})
    for row, seconds in given_rows:
        before = trials.now
        trials.take(row, lambda _row, _after: False)
        trials.pass_time(seconds)
        assert trials.now >= before
    again = msgspec.json.decode(kept(trials), type=Trials)
    for trial in again.trials.values():
        assert all(math.isfinite(bets.log_wealth) for bets in trial.bets.values())
        assert list(trial.findings(alpha=0.05)) is not None
    assert kept(again) == kept(trials)
