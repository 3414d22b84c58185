"""How sure a model was, from the odds that its provider tells: by hand-made distributions."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.routing.confidence.entropy import Tokens, entropy_nats


def token(*odds: float) -> dict[str, Any]:
    return {"token": "x", "logprob": math.log(odds[0]), "top_logprobs": [{"logprob": math.log(p)} for p in odds]}


def told(*tokens: Any) -> Tokens:
    made = Tokens()
    made.feed(list(tokens))
    return made


def test_a_fair_coin_has_the_entropy_of_one() -> None:
    found = told(token(0.5, 0.5)).sureness()
    assert found is not None
    assert found.entropy_nats == pytest.approx(math.log(2))
    assert found.low_margin == pytest.approx(0.0)


def test_what_is_certain_is_sure() -> None:
    found = told(token(1.0), token(1.0)).sureness()
    assert found is not None
    assert (found.sure, found.margin) == (1.0, 1.0)


def test_what_is_not_told_counts_as_one_more_outcome() -> None:
    assert entropy_nats([0.5]) == pytest.approx(math.log(2))
    assert entropy_nats([0.9, 0.05]) == pytest.approx(-(0.9 * math.log(0.9) + 2 * 0.05 * math.log(0.05)))
    assert entropy_nats([]) == 0.0


def test_the_chosen_token_counts_though_it_is_none_of_the_likeliest() -> None:
    odd = {"logprob": math.log(0.1), "top_logprobs": [{"logprob": math.log(0.6)}, {"logprob": math.log(0.3)}]}
    found = told(odd).sureness()
    assert found is not None
    assert found.entropy_nats == pytest.approx(entropy_nats([0.6, 0.3, 0.1]))


def test_the_lowest_margins_are_those_of_a_tenth() -> None:
    found = told(*[token(1.0)] * 19, token(0.5, 0.5)).sureness()
    assert found is not None
    assert found.tokens == 20
    assert found.low_margin == pytest.approx(0.5), "of two tokens: one at 0 and one at 1"


def test_more_odd_than_good_is_nothing() -> None:
    assert told().sureness() is None
    assert told(token(1.0), 1, None).sureness() is None
    assert told(token(1.0), token(1.0), None).sureness() is not None


@pytest.mark.parametrize("odd", [{}, {"logprob": True}, {"logprob": 5.0}, {"logprob": None}, [], "x", {"logprob": "1"}])
def test_odd_tokens_are_passed_over(odd: Any) -> None:
    assert told(odd).sureness() is None


def test_more_than_all_is_no_distribution() -> None:
    assert told(token(0.9, 0.9)).sureness() is None


@settings(deadline=None)
@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=20))
def test_entropy_is_least_where_one_outcome_is_likeliest(weights: list[float]) -> None:
    total = sum(weights)
    entropy = entropy_nats([w / total for w in weights])
    assert -1e-9 <= entropy <= math.log(len(weights)) + 1e-6


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["logprob", "top_logprobs", "content"]), inner),
        max_leaves=20,
    )
)
def test_no_garbage_raises(garbage: Any) -> None:
    tokens = Tokens()
    tokens.feed(garbage)
    tokens.feed([garbage])
    found = tokens.sureness()
    assert found is None or (-1.0 <= found.sure <= 1.0 and 0.0 <= found.low_margin <= 1.0)
