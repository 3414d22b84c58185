"""What similar texts say: it finds what is there, and finds nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from pennyweight.routing.learning.kernel import LEAST_TEXTS, fit
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


def test_texts_where_a_model_fails_are_told_from_those_where_it_does_not() -> None:
    vectors, counts, _, success = made(300, signal=True)
    kernel = fit(vectors, counts, {"weak": success - success.mean(), "strong": np.full(300, 0.02)})
    assert kernel is not None
    new, new_counts, cloud, _ = made(60, signal=True, seed=1)
    shifts = [kernel.ask(vector(v), tuple(c)).shift for v, c in zip(new, new_counts, strict=True)]
    gaps = np.array([shift["strong"] - shift["weak"] for shift in shifts])
    assert gaps[cloud == 1].mean() > gaps[cloud == 0].mean() + 0.3


def test_noise_teaches_next_to_nothing() -> None:
    vectors, counts, _, success = made(300, signal=False)
    kernel = fit(vectors, counts, {"weak": success - success.mean()})
    assert kernel is not None
    new, new_counts, _, _ = made(60, signal=False, seed=1)
    shifts = np.array([kernel.ask(vector(v), tuple(c)).shift["weak"] for v, c in zip(new, new_counts, strict=True)])
    assert np.abs(shifts).mean() < 0.06


def test_near_counts_the_texts_that_are_alike() -> None:
    vectors, counts, _, success = made(300, signal=True)
    kernel = fit(vectors, counts, {"weak": success - success.mean()})
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


def test_texts_that_each_model_answered_alone_are_learnt_apart() -> None:
    vectors, counts, cloud, success = made(200, signal=True)
    left = {"weak": success - 0.5, "other": np.full(200, np.nan)}
    left["weak"][::2] = np.nan
    left["other"][::2] = 0.1
    kernel = fit(vectors, counts, left)
    assert kernel is not None
    inside = kernel.ask(vector(vectors[cloud == 1][0]), tuple(counts[0])).shift["weak"]
    assert inside < kernel.ask(vector(vectors[cloud == 0][0]), tuple(counts[0])).shift["weak"]


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
