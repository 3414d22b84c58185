"""Asking a kernel multiplies in blocks: what it says must not depend on how many."""

from __future__ import annotations

import numpy as np
import pytest

from pennyweight.routing.learning import kernel
from pennyweight.routing.learning.features import FEATURES


@pytest.mark.parametrize("rows", [1, 7, 60, 61])
def test_blocks_say_what_one_product_says(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    draw = np.random.default_rng(1)
    vectors = draw.standard_normal((61, 16)).astype(np.float32)
    counted = draw.standard_normal((61, len(FEATURES))).astype(np.float32)
    targets = {"a": (vectors[:, 0] > 0).astype(np.float32), "b": (vectors[:, 1] > 0).astype(np.float32)}
    chances = {name: np.full(61, 0.5, np.float32) for name in targets}
    fitted = kernel.fit(vectors, counted, targets, chances)
    assert fitted is not None
    asked = (vectors[3].astype("<f2").tobytes(), tuple(counted[3].tolist()))
    whole = fitted.ask(*asked)
    monkeypatch.setattr(kernel, "_BLOCK_VALUES", rows * 16)
    blocks = fitted.ask(*asked)
    assert blocks.shift == pytest.approx(whole.shift, abs=1e-5)
    assert blocks.near == pytest.approx(whole.near, rel=1e-5)
