"""What similar texts say: it finds what is there, and finds nothing where there is nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pennyweight.routing.learning import kernel as kernels
from pennyweight.routing.learning.kernel import LEAST_TEXTS, Kernel
from pennyweight.routing.learning.outcomes import Told
from pennyweight.routing.learning.state import State

DIMENSIONS, COUNTS = 32, 5


def made(count: int, *, signal: bool, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Texts in two clouds; with a signal, the weak model fails in the second. Vectors, counts, clouds, success."""
    draw = np.random.default_rng(seed)
    cloud = draw.integers(0, 2, count)
    middles = np.random.default_rng(99).normal(size=(2, DIMENSIONS))
    vectors = middles[cloud] + draw.normal(scale=0.4, size=(count, DIMENSIONS))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rate = np.where(cloud == 1, 0.2, 0.9) if signal else np.full(count, 0.55)
    return (
        vectors.astype(np.float32),
        draw.normal(size=(count, COUNTS)),
        cloud,
        (draw.random(count) < rate).astype(float),
    )


def vector(values: np.ndarray) -> bytes:
    return values.astype("<f2").tobytes()


def fit(vectors: Any, counts: Any, outcomes: dict[str, Any], declared: list[str] | None = None) -> Kernel | None:
    """With each model's mean for the table's chance of every text."""
    chances = {name: np.full(len(values), np.nanmean(values)) for name, values in outcomes.items()}
    return kernels.fit(vectors, counts, outcomes, chances, declared or [])


def chance(usual: float, shift: float) -> float:
    """The table's chance, moved in log-odds."""
    return float(1.0 / (1.0 + (1.0 - usual) / usual * np.exp(-shift)))


def test_texts_where_a_model_fails_are_told_from_those_where_it_does_not() -> None:
    vectors, counts, _, success = made(300, signal=True)
    kernel = fit(vectors, counts, {"weak": success, "strong": np.ones(300)})
    assert kernel is not None
    new, new_counts, cloud, _ = made(60, signal=True, seed=1)
    shifts = [kernel.ask(vector(v), tuple(c)).shift for v, c in zip(new, new_counts, strict=True)]
    gaps = np.array([chance(0.99, shift["strong"]) - chance(success.mean(), shift["weak"]) for shift in shifts])
    assert gaps[cloud == 1].mean() > gaps[cloud == 0].mean() + 0.4


def test_noise_teaches_next_to_nothing() -> None:
    vectors, counts, _, success = made(300, signal=False)
    kernel = fit(vectors, counts, {"weak": success})
    assert kernel is not None
    new, new_counts, _, _ = made(60, signal=False, seed=1)
    shifts = np.array([kernel.ask(vector(v), tuple(c)).shift["weak"] for v, c in zip(new, new_counts, strict=True)])
    assert np.abs(shifts).mean() < 0.3  # log-odds: 7 points of a chance


def test_near_counts_the_texts_that_are_alike() -> None:
    vectors, counts, _, success = made(300, signal=True)
    kernel = fit(vectors, counts, {"weak": success})
    assert kernel is not None
    far = np.random.default_rng(5).normal(size=DIMENSIONS)
    assert kernel.ask(vector(vectors[0]), tuple(counts[0])).near > 5 * kernel.ask(vector(far), tuple(counts[0])).near


def test_too_few_texts_give_none() -> None:
    vectors, counts, _, success = made(LEAST_TEXTS - 1, signal=True)
    assert fit(vectors, counts, {"weak": success}) is None


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_outcomes_of_one_class_tell_no_texts_apart(value: float) -> None:
    vectors, counts, _, _ = made(80, signal=True)
    state = State()
    state.learn(
        Told(0.0, "t", "code", "m/weak", value, text=str(i), features=tuple(counts[i]), vector=vector(vectors[i]))
        for i in range(80)
    )
    state.take(state.fitted())
    found = [
        state.estimate("code", "m/weak", said=state.ask(vector(vectors[i]), tuple(counts[i]))).mean for i in range(80)
    ]
    assert max(found) - min(found) < 0.02
    assert (min(found) > 0.8) == (value == 1.0)


def test_texts_that_each_model_answered_alone_are_learnt_from_together() -> None:
    """What one model failed at is taken to be hard for another that was only asked elsewhere."""
    vectors, counts, cloud, success = made(200, signal=True)
    weak, other = success.copy(), success.copy()
    weak[::2] = np.nan
    other[1::2] = np.nan
    other[cloud == 1] = np.nan  # of the second cloud it was never asked
    kernel = fit(vectors, counts, {"weak": weak, "other": other})
    assert kernel is not None
    there, here = (kernel.ask(vector(vectors[cloud == part][0]), tuple(counts[0])).shift for part in (1, 0))
    assert there["weak"] < here["weak"] - 1.0
    assert there["other"] < here["other"] - 0.5


def test_the_processes_settle_where_all_outcomes_together_are_likeliest() -> None:
    """There the dual coefficients are what outcomes were above their chances (the gradient is zero)."""
    vectors, _, _, success = made(120, signal=True)
    alike = np.exp(4 * (vectors @ vectors.T - 1)).astype(np.float32)
    groups = np.arange(120) % 5 - 1
    rows = {"weak": np.arange(120), "strong": np.arange(20, 120), "third": np.arange(0, 120, 2)}
    outcomes = {"weak": success, "strong": np.roll(success, 3)[20:], "third": success[::2]}
    said = {name: (at, outcomes[name], np.full(len(at), 0.3, np.float32)) for name, at in rows.items()}
    sizes = kernels._Sizes(1.6, 1.0, 1.0, 0.4, 0.0)
    hard, differs = kernels._processes(alike, groups, rows, "weak", sizes)
    kernels._settle(said, hard, differs)
    above = np.zeros(120)
    for name, (at, values, usual) in said.items():
        log_odds = usual + hard.values[at] + (differs[name].values if name in differs else 0.0)
        over = values - 1 / (1 + np.exp(-log_odds))
        above[at] += over
        if name in differs:
            assert differs[name].dual == pytest.approx(over, abs=0.03)
    assert hard.dual == pytest.approx(above, abs=0.03)
    same = (groups[:, None] == groups[None]) & (groups >= 0)
    assert (1.6 * alike + 1.0 * same) @ hard.dual == pytest.approx(hard.values, abs=0.01)


def test_where_a_model_is_always_right_no_other_is_taken_to_be_much_better() -> None:
    """Though the differences between them are alike in both clouds in log-odds."""
    draw = np.random.default_rng(4)
    vectors, counts, cloud, _ = made(400, signal=True)
    weak = np.where(cloud == 1, 0.4, 0.97)
    outcomes = {
        "weak": (draw.random(400) < weak).astype(float),
        "strong": (draw.random(400) < weak / (weak + (1 - weak) / 4)).astype(float),
    }
    kernel = fit(vectors, counts, outcomes)
    assert kernel is not None

    def gap(part: int) -> float:
        found = []
        for place in np.flatnonzero(cloud == part)[:20]:
            shift = kernel.ask(vector(vectors[place]), tuple(counts[place])).shift
            low, high = (chance(outcomes[name].mean(), shift[name]) for name in ("weak", "strong"))
            found.append(high - low)
        return float(np.mean(found))

    assert gap(0) < 0.08
    assert gap(1) > 0.2


def test_a_kernel_tells_tasks_apart_whose_texts_look_alike() -> None:
    draw = np.random.default_rng(0)
    vectors, counts = draw.normal(size=(200, 16)).astype(np.float32), draw.normal(size=(200, 3))
    declared = ["law" if number % 4 == 0 else "chat" if number % 4 < 3 else "" for number in range(200)]
    success = np.array([0.0 if name == "law" else 1.0 for name in declared])
    kernel = fit(vectors, counts, {"weak": success, "strong": np.ones(200)}, declared)
    assert kernel is not None
    new = draw.normal(size=16).astype("<f2").tobytes()

    def gap(task: str) -> float:
        shift = kernel.ask(new, (0.0, 0.0, 0.0), task).shift
        return shift["strong"] - shift["weak"]

    assert gap("law") > gap("chat") + 1.0
    assert gap("never named") == gap("")


def test_many_models_of_different_texts_share_the_room_for_their_inverses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then each is learnt from its newest texts."""
    vectors, counts, _, success = made(200, signal=True)
    draw = np.random.default_rng(2)
    outcomes = {name: np.where(draw.random(200) < 0.7, success, np.nan) for name in "abcde"}
    monkeypatch.setattr(kernels, "_CELLS", 4 * 60 * 60)
    outcomes["a"][:] = success
    kernel = fit(vectors, counts, outcomes)
    assert kernel is not None
    assert sorted(kernel.ask(vector(vectors[0]), tuple(counts[0])).shift) == list("abcde")
    assert sorted(len(column.rows) for column in kernel._columns.values()) == [60, 60, 60, 60, 200]


def test_vectors_of_another_embedder_do_not_mix() -> None:
    vectors, counts, _, success = made(80, signal=True)
    state = State()
    old = np.ones(DIMENSIONS // 2)
    rows = [Told(0.0, "t", "code", "m/w", 1.0, text="old", features=tuple(counts[0]), vector=vector(old))]
    rows += [
        Told(0.0, "t", "code", "m/w", success[i], text=str(i), features=tuple(counts[i]), vector=vector(vectors[i]))
        for i in range(80)
    ]
    state.learn(rows)
    kernel = state.fitted()
    assert kernel is not None
    assert kernel.texts == 80
    state.take(kernel)
    assert state.ask(vector(old), tuple(counts[0])) is None
