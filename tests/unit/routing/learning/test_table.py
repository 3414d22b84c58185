"""The table of task types and models: what it says before, with few and with many outcomes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.classes import CLASSES, class_of
from pennyweight.routing.learning.features import FEATURES, features
from pennyweight.routing.learning.outcomes import Told
from pennyweight.routing.learning.priors import Prior, difficulty, prior
from pennyweight.routing.learning.table import Table
from pennyweight.routing.tasks import TYPES

STRONG, WEAK = "openai/gpt-5.5", "ollama/llama3.1:8b"


def told(success: float, *, task: str = "code", model: str = WEAK, agent: str = "", weight: float = 1.0) -> Told:
    return Told(0.0, "local", task, model, success, weight=weight, agent=agent)  # type: ignore[arg-type]


def taught(*outcomes: Told) -> Table:
    table = Table()
    for one in outcomes:
        table.learn(one)
    return table


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("anthropic/claude-opus-5-5", "frontier"),
        ("gemini-1.5-pro", "frontier"),
        ("google/gemini-3-flash", "medium"),
        ("gpt-5-nano", "tiny"),
        ("openai/gpt-5-mini", "medium"),
        ("MiniMax-M2.5", "large"),
        ("qwen3:4b", "small"),
        ("ollama/qwen3:0.6b", "tiny"),
        ("Mixtral-8x7B-Instruct-v0.1", "medium"),
        ("Qwen3-235B-A22B", "large"),
        ("fake-model", "unknown"),
    ],
)
def test_a_name_tells_the_class(model: str, kind: str) -> None:
    assert class_of(model) == kind


def test_a_stronger_class_has_the_better_prior_for_every_type() -> None:
    for task in TYPES:
        means = [prior(task, kind).mean for kind in ("tiny", "small", "medium", "large", "frontier")]
        assert means == sorted(means)
    assert prior("code", "unknown").mass == 0
    assert all(prior(task, kind).mass <= 50 for task in TYPES for kind in CLASSES)


def test_nothing_is_claimed_of_a_model_that_nobody_knows() -> None:
    assert Table().of("code", "house/own-model").mass == 0


def test_outcomes_outweigh_the_prior() -> None:
    before = Table().of("code", WEAK)
    after = taught(*[told(0.0)] * 200).of("code", WEAK)
    assert before.mean > 0.7 > 0.2 > after.mean
    assert after.sd < before.sd
    assert (before.seen, after.seen) == (0, 200)


def test_few_outcomes_move_it_little() -> None:
    assert taught(told(0.0)).of("code", WEAK).mean > Table().of("code", WEAK).mean - 0.1


def test_what_a_model_does_elsewhere_counts_a_little() -> None:
    table = taught(*[told(0.0, task="maths")] * 60)
    assert table.of("code", WEAK).mean < Table().of("code", WEAK).mean - 0.2
    assert table.of("code", STRONG).mean > 0.9  # another model is another matter


def test_an_agent_is_its_model_until_it_shows_otherwise() -> None:
    table = taught(*[told(1.0)] * 50, *[told(1.0, agent="writer")] * 2)
    assert table.of("code", WEAK, agent="new") == table.of("code", WEAK)
    bad = taught(*[told(1.0)] * 50, *[told(0.0, agent="planner")] * 40)
    assert bad.of("code", WEAK, agent="planner").mean < bad.of("code", WEAK, agent="other").mean - 0.1


def test_the_operator_s_word_stands_before_outcomes() -> None:
    assert Table().of("code", "house/own-model", told=Prior(0.6, 20)).mean == pytest.approx(0.6)


def test_signs_of_little_weight_teach_little() -> None:
    weak = taught(*[told(0.0, weight=0.1)] * 20).of("code", WEAK).mean
    strong = taught(*[told(0.0)] * 20).of("code", WEAK).mean
    assert strong < weak < Table().of("code", WEAK).mean


def test_length_tells_of_prose_and_of_nothing_else() -> None:
    long = "How many apples does Tom have left after that? " * 30
    assert difficulty("maths", long) > 1 > -1 > difficulty("question", "Why?")
    assert difficulty("tools", long) == difficulty("code", long) == difficulty("maths", "\\frac{1}{2} " * 200) == 0
    gap = prior("question", "frontier", hard=2).mean - prior("question", "small", hard=2).mean
    assert gap > prior("question", "frontier").mean - prior("question", "small").mean


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(TYPES), st.sampled_from((STRONG, WEAK, "x/y")), st.floats(0, 1), st.sampled_from(("", "a"))
        ),
        max_size=60,
    ),
    st.floats(-3, 3),
)
def test_a_chance_is_a_chance(outcomes: list[tuple[str, str, float, str]], hard: float) -> None:
    table = taught(*[told(success, task=task, model=model, agent=agent) for task, model, success, agent in outcomes])
    for task in TYPES:
        for model in (STRONG, WEAK, "x/y"):
            found = table.of(task, model, agent="a", hard=hard)
            assert 0 < found.mean < 1
            assert found.mass >= found.seen


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=3_000))
def test_features_are_numbers_of_any_text(text: str) -> None:
    found = features(text)
    assert len(found) == len(FEATURES) == len(set(FEATURES))
    assert all(value == value and abs(value) < 1e6 for value in found)
