"""The bound, the line drawn by it, and what a partition makes of them. Streams are synthetic: truth is known."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from pennyweight.binomial import upper_bound
from pennyweight.optimizers.semantic_cache.bounds import weighted
from pennyweight.optimizers.semantic_cache.calibration import draw_line
from pennyweight.optimizers.semantic_cache.linear import Linear
from pennyweight.optimizers.semantic_cache.logistic import fit
from pennyweight.optimizers.semantic_cache.neighbours import LOOK_AT, look
from pennyweight.optimizers.semantic_cache.panel import Panel
from pennyweight.optimizers.semantic_cache.partition import Looked, Partition, Rules


def test_the_bound_for_one_part_is_poissons_a_little_above() -> None:
    for wrong, labels in ((0, 150), (3, 400), (40, 2000)):
        bound = weighted([(1.0, wrong, labels)])
        mean = bound * labels
        within = sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(wrong + 1))
        assert within == pytest.approx(0.05, rel=1e-6)
        assert upper_bound(wrong, labels) < bound < upper_bound(wrong, labels) * 1.03


def test_of_what_nobody_looked_at_nothing_is_known() -> None:
    assert weighted([]) == weighted([(1.0, 0, 0)]) == weighted([(0.9, 0, 5000), (0.1, 0, 0)]) == 1.0


def test_an_uneven_sample_is_weighed_by_the_traffic_it_stands_for() -> None:
    """Nine tenths of the traffic have few labels and are right; the rest has many, of which a fifth is wrong."""
    lots = random.Random(3)
    rates, held = (0.005, 0.2), 0
    true = 0.9 * rates[0] + 0.1 * rates[1]
    for _ in range(400):
        wrong = [sum(lots.random() < rate for _ in range(n)) for rate, n in zip(rates, (300, 900), strict=True)]
        held += weighted([(0.9, wrong[0], 300), (0.1, wrong[1], 900)]) >= true
    assert held >= 0.95 * 400


def stream(count: int, lots: np.random.Generator, error: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Features of which the first tells how likely an answer is wrong; and whether it is."""
    features = lots.normal(size=(count, 4))
    chance = error / (1.0 + np.exp(2.0 * features[:, 0]))
    return features, (lots.random(count) < chance).astype(np.float64)


def test_a_line_keeps_its_promise_on_what_comes_after() -> None:
    lots = np.random.default_rng(5)
    over, drawn = 0, 0
    for _ in range(30):
        features, wrong = stream(900, lots, error=0.15)
        line = draw_line(features, wrong, features[-500:], target=0.05, alpha=0.05)
        assert line is not None
        if line.threshold is None:
            continue
        drawn += 1
        later, truth = stream(20_000, lots, error=0.15)
        above = line.scores(later) >= line.threshold
        over += truth[above].mean() > 0.05
    assert drawn > 20
    assert over <= 4  # 5% of 30 and its own noise


def test_no_line_without_labels_and_no_threshold_where_all_is_noise() -> None:
    lots = np.random.default_rng(1)
    features, wrong = stream(50, lots)
    assert draw_line(features, wrong, features, target=0.02, alpha=0.05) is None
    features = lots.normal(size=(2000, 4))
    line = draw_line(features, (lots.random(2000) < 0.1).astype(np.float64), features, target=0.02, alpha=0.05)
    assert line is not None
    assert line.threshold is None


def test_audits_go_where_labels_are_few_and_add_up_to_their_share() -> None:
    lots = np.random.default_rng(2)
    features, wrong = stream(3000, lots, error=0.05)
    kept = (features[:, 0] < 1.0) | (np.arange(3000) % 10 == 0)  # sure ones were mostly served, so not labelled
    line = draw_line(features[kept], wrong[kept], features, target=0.05, alpha=0.05)
    assert line is not None
    assert line.threshold is not None
    scores = line.scores(features)
    hits = scores >= line.threshold
    shares = np.array([line.audit_share(float(score), 0.05) for score in scores[hits]])
    assert shares.mean() == pytest.approx(0.05, rel=0.05)
    sure = scores[hits] > np.quantile(scores[hits], 0.9)
    assert shares[sure].mean() > shares[~sure].mean()


def test_watching_all_the_time_breaks_no_promise() -> None:
    """Streams that never get easier, redrawn as labels come, hits audited as a partition does: the share of wrong
    answers among all that were served stays under the target."""
    lots = np.random.default_rng(11)
    target, over, served_in = 0.05, 0, 0
    for _ in range(12):
        features, wrong = stream(1500, lots, error=0.15)
        labels: list[int] = []
        line, due, served, bad = None, 100, 0, 0
        for at in range(1500):
            score = float(line.scores(features[at : at + 1])[0]) if line is not None else 0.0
            hit = line is not None and line.threshold is not None and score >= line.threshold
            if hit and line is not None and lots.random() >= line.audit_share(score, 0.05):
                served += 1
                bad += int(wrong[at])
                continue
            labels.append(at)
            if len(labels) >= due:
                due = int(due * 1.12) + 30
                line = draw_line(
                    features[labels], wrong[labels], features[max(0, at - 2000) : at], target=target, alpha=0.025
                )
        served_in += served > 100
        over += bad > target * served
    assert served_in >= 8
    assert over <= 1


# --- what it looks at ---------------------------------------------------------------------------------------


def test_neighbours_speak_for_the_answer_that_most_of_them_give() -> None:
    cosines = np.full((1, LOOK_AT), -1.0)
    groups = np.full((1, LOOK_AT), -1)
    cosines[0, :4], groups[0, :4] = [0.90, 0.89, 0.88, 0.5], [1, 2, 2, 1]
    chosen, features = look(cosines, groups)
    assert int(groups[0, chosen[0]]) == 2
    own, gap, *_ = features[0]
    assert own == pytest.approx(0.89)
    assert gap == pytest.approx(-0.01)
    assert np.isfinite(features).all()


def test_an_entry_is_judged_by_all_others_and_never_by_itself() -> None:
    lots = np.random.default_rng(4)
    vectors = lots.normal(size=(60, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    own = np.arange(60) % 3
    linear = Linear(8)
    for vector, group in zip(vectors, own, strict=True):
        linear.add(vector, int(group))
    linear.solve()
    found = linear.opinions(vectors, own, own)
    for left_out in (0, 17, 59):
        alone = Linear(8)
        for at in range(60):
            if at != left_out:
                alone.add(vectors[at], int(own[at]))
        alone.solve()
        expected = alone.opinions(vectors[left_out][None], own[left_out : left_out + 1])
        assert found[left_out] == pytest.approx(expected[0], abs=1e-9)
    panel = Panel(8, most=100)
    for at, vector in enumerate(vectors):
        panel.add(str(at), vector, int(own[at]))
    cosines, _ = panel.among_others(np.arange(60))
    assert cosines.max() < 1.0 - 1e-6


def test_a_panel_is_bounded_and_the_oldest_gives_way() -> None:
    panel = Panel(4, most=3)
    eye = np.eye(4)
    gone = [panel.add(str(at), eye[at % 4], at) for at in range(5)]
    assert [entry and entry[0] for entry in gone] == [None, None, None, "0", "1"]
    assert sorted(panel.names) == ["2", "3", "4"]
    assert "0" not in panel
    assert panel.nearest(eye[0])[0] == ("4", 1.0)


# --- partitions ---------------------------------------------------------------------------------------------


def filled(partition: Partition, lots: np.random.Generator, count: int, *, noise: float = 0.35) -> int:
    """Questions about six things, each an upstream's answer; gives how many were served."""
    served = 0
    centres = np.random.default_rng(0).normal(size=(6, partition._panel.dimensions))
    for _ in range(count):
        group = int(lots.integers(6))
        vector = centres[group] + noise * lots.normal(size=centres.shape[1])
        vector = (vector / np.linalg.norm(vector)).astype(np.float32)
        looked = partition.look(vector, partition.nearest(vector))
        act = partition.decide(looked, float(lots.random())).act if looked is not None else "miss"
        if act == "hit" and looked is not None:
            partition.served(looked)
            served += 1
            continue
        partition.learn(str(lots.integers(1 << 60)), vector, f"g{group}", looked, audited=act == "audit")
        if partition.due:
            partition.redraw()
    return served


def test_a_partition_opens_on_evidence_and_is_kept_whole() -> None:
    lots = np.random.default_rng(7)
    partition = Partition(16, Rules())
    assert filled(partition, lots, 140) == 0
    assert filled(partition, lots, 900) > 200
    assert partition.is_open
    again = Partition.load(partition.dump(), 16, Rules())
    assert again is not None
    assert (again.state, again.counts, again.line, again.entries) == (
        partition.state,
        partition.counts,
        partition.line,
        partition.entries,
    )
    assert filled(again, lots, 50) > 10


@pytest.mark.parametrize("learnt", [b"", b"\x91\x01", b"\xff" * 40])
def test_what_another_version_kept_is_passed_over(learnt: bytes) -> None:
    assert Partition.load(learnt, 16, Rules()) is None
    assert Partition.load(Partition(8, Rules()).dump(), 16, Rules()) is None


def test_the_same_question_again_is_no_new_evidence() -> None:
    partition = Partition(4, Rules())
    vector = np.array([1, 0, 0, 0], np.float32)
    for _ in range(500):
        looked = partition.look(vector, partition.nearest(vector))
        partition.learn("same", vector, "g", looked, audited=False)
        if partition.due:
            partition.redraw()
    assert partition.entries == 1
    assert not partition.is_open


def test_a_few_wrong_audits_in_a_row_close_it_and_one_among_many_does_not() -> None:
    partition = Partition(16, Rules())
    filled(partition, np.random.default_rng(7), 900)
    assert partition.is_open
    vector = partition._panel.vectors[0].copy()
    looked = partition.look(vector, partition.nearest(vector))
    assert isinstance(looked, Looked)
    for number in range(60):
        partition.learn(f"r{number}", vector, looked.group if number % 30 else "other", looked, audited=True)
    assert partition.epoch == 0
    for number in range(4):
        partition.learn(f"w{number}", vector, "other", looked, audited=True)
    assert (partition.epoch, partition.state) == (1, "closed")
    assert "audits found it wrong too often" in partition.reason
    assert partition.decide(looked, 0.99).act == "miss"
    assert partition.counts["audited_wrong"] >= 4


def test_the_regression_finds_its_minimum_wherever_it_is() -> None:
    """Newton's step runs away where chances are near 0 or 1: rare errors, clean separation, nearly equal features."""
    lots = np.random.default_rng(6)
    for case in range(12):
        rows = np.hstack([np.ones((800, 1)), lots.normal(size=(800, 5))])
        rows[:, 3] = rows[:, 2] + 0.01 * rows[:, 3]
        odds = 4.0 + rows @ np.array([0, 2.0, 1.0, 1.0, 0.0, 0.0]) * (case % 4)
        right = (lots.random(800) < 1 / (1 + np.exp(-odds))).astype(np.float64)
        if case >= 8:
            right = (rows[:, 1] > -2.0).astype(np.float64)
        towards = np.full(6, 0.2)
        weights = fit(rows, right, shrink=1.0, towards=towards)
        chance = 1 / (1 + np.exp(-rows @ weights))
        slope = rows.T @ (chance - right) + (weights - towards)
        assert np.abs(slope).max() < 0.5, case
