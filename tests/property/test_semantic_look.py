"""What is said of one question while its caller waits is what is said of many at once when the line is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.optimizers.semantic_cache.calibration import Line
from pennyweight.optimizers.semantic_cache.linear import Linear
from pennyweight.optimizers.semantic_cache.neighbours import FEATURES, LOOK_AT, look, look_once

COSINES = st.lists(st.floats(-0.5, 1.0, width=32), min_size=1, max_size=LOOK_AT).map(lambda found: sorted(found)[::-1])


@settings(max_examples=200, deadline=None)
@given(cosines=COSINES, groups=st.lists(st.integers(0, 4), min_size=LOOK_AT, max_size=LOOK_AT))
def test_one_question_is_looked_at_as_many_are(cosines: list[float], groups: list[int]) -> None:
    groups = groups[: len(cosines)]
    row, of = np.full((1, LOOK_AT), -1.0, np.float32), np.full((1, LOOK_AT), -1, np.int32)
    row[0, : len(cosines)], of[0, : len(groups)] = cosines, groups
    chosen, features = look(row, of)
    place, found = look_once(cosines, groups)
    assert len(found) == len(FEATURES)
    assert found == pytest.approx(features[0].tolist(), abs=1e-5)
    assert groups[place] == of[0, chosen[0]] or found[5] == pytest.approx(0.0, abs=1e-6)  # or both have as many voices


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 1000), groups=st.integers(1, 5), chosen=st.integers(0, 6))
def test_one_opinion_is_that_of_many(seed: int, groups: int, chosen: int) -> None:
    lots = np.random.default_rng(seed)
    linear = Linear(8)
    for _ in range(20):
        linear.add(lots.standard_normal(8).astype(np.float32), int(lots.integers(groups)))
    asked = lots.standard_normal(8).astype(np.float32)
    for _ in range(2):
        many = linear.opinions(asked[None], np.array([chosen]))[0].tolist()
        assert linear.opinion(asked, chosen) == pytest.approx(many, abs=1e-9)
        linear.solve()


@settings(max_examples=60, deadline=None)
@given(
    features=st.lists(st.floats(-9, 9), min_size=3, max_size=3),
    weights=st.lists(st.floats(-2, 2), min_size=4, max_size=4),
)
def test_one_score_is_that_of_many(features: list[float], weights: list[float]) -> None:
    line = Line(tuple(weights), (0.1, -0.2, 0.0), (1.0, 0.5, 2.0), None, 1.0, 0.0, 0, 0)
    assert line.score(features) == pytest.approx(float(line.scores(np.array([features]))[0]), abs=1e-9)
