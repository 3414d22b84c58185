"""What texts of one named task have in common: the odd tasks are believed, the usual ones hardly."""

from __future__ import annotations

import numpy as np
import pytest

from pennyweight.routing.learning.kernel import fit
from pennyweight.routing.learning.named import Tasks

NOISE = 8.0


def told(rates: list[float], each: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Values around the rate of each task, and the tasks."""
    draw = np.random.default_rng(seed)
    codes = np.repeat(np.arange(len(rates)), each)
    return np.asarray(rates)[codes] + draw.normal(scale=0.4, size=len(codes)), codes


def inverse(texts: int) -> np.ndarray:
    return np.eye(texts) / (1.0 + NOISE)  # texts that have nothing in common


def test_it_is_the_process_that_knows_the_tasks() -> None:
    """Dual coefficients and diagonal are those of the whole matrix, with the effects in it."""
    values, codes = told([0.0, 0.8, -0.1], 12)
    codes[::5] = -1
    draw = np.random.default_rng(3)
    texts = draw.normal(size=(len(codes), 4))
    before = texts @ texts.T + NOISE * np.eye(len(codes))
    dual, diagonal, effects = Tasks(np.linalg.inv(before), codes, 3).fitted(values, NOISE)
    sums = np.array([dual[codes == code].sum() for code in range(3)])
    size = effects / sums
    assert (size > 0).all()
    same = (codes[:, None] == codes[None]) & (codes >= 0)
    whole = np.linalg.inv(before + same * np.where(codes >= 0, size[codes], 0.0)[:, None])
    assert dual == pytest.approx(whole @ values)
    assert diagonal == pytest.approx(np.diag(whole))


def test_an_odd_task_is_believed_and_usual_ones_hardly() -> None:
    rates = [0.0] * 20 + [0.9]
    values, codes = told(rates, 8)
    _, _, effects = Tasks(inverse(len(codes)), codes, len(rates)).fitted(values, NOISE)
    assert effects[-1] > 0.5
    assert np.abs(effects[:-1]).max() < 0.15
    means = np.array([values[codes == code].mean() for code in range(len(rates))])
    assert effects[-1] / means[-1] > 3 * np.median(effects[:-1] / means[:-1]), "shrunk less, not only larger"


def test_texts_of_no_task_change_nothing() -> None:
    values, _ = told([0.5, -0.5], 10)
    dual, diagonal, effects = Tasks(inverse(20), np.full(20, -1), 0).fitted(values, NOISE)
    assert dual == pytest.approx(values / (1.0 + NOISE))
    assert diagonal == pytest.approx(np.diag(inverse(20)))
    assert effects.shape == (0,)


def test_a_kernel_tells_tasks_apart_whose_texts_look_alike() -> None:
    draw = np.random.default_rng(0)
    vectors, counts = draw.normal(size=(200, 16)).astype(np.float32), draw.normal(size=(200, 3))
    declared = ["law" if number % 4 == 0 else "chat" if number % 4 == 1 else "" for number in range(200)]
    success = np.array([0.0 if name == "law" else 1.0 for name in declared])
    kernel = fit(vectors, counts, {"weak": success - 0.75, "strong": np.full(200, 0.02)}, declared)
    assert kernel is not None
    new = draw.normal(size=16).astype("<f2").tobytes()

    def gap(task: str) -> float:
        shift = kernel.ask(new, (0.0, 0.0, 0.0), task).shift
        return shift["strong"] - shift["weak"]

    assert gap("law") > gap("chat") + 0.5
    assert gap("never named") == gap("")
