"""The exact cache's key: equal for bodies that say the same, in any order and spacing, and for no others."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.optimizers.exact_cache import NOT_IN_KEY, Settings, build, cache_key
from pennyweight.optimizers.exact_cache.optimizer import ExactCache
from pennyweight.testing.backend import make_call
from pennyweight.testing.optimizer_contract import ContractParts

NAMES = st.sampled_from(["response_format", "max_tokens", "top_p", "stop", "x", "é", 'a"b', "a:1", "user", ""])
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
BODIES = st.dictionaries(NAMES, VALUES, max_size=5).map(lambda body: {"model": "m", "temperature": 0, **body})


def written(body: Any, **more: Any) -> str:
    return json.dumps(body, ensure_ascii=False, **more)


def key_of(raw: str) -> str | None:
    cache: ExactCache = build(Settings(), ContractParts())
    call = make_call(raw.encode())
    candidate = cache._candidate(call)
    if candidate is None:
        return None
    return cache_key(call, candidate.fields)


def same(one: Any, other: Any) -> bool:
    """Equal as JSON text, order of nested members included."""
    return json.dumps(one) == json.dumps(other)


@settings(max_examples=60, deadline=None)
@given(body=BODIES, seed=st.integers(0, 9), indent=st.sampled_from([None, 0, 3]), spaced=st.booleans())
def test_order_at_the_top_and_spacing_do_not_matter(body: dict[str, Any], seed: int, indent: Any, spaced: bool) -> None:
    names = list(body)
    random.Random(seed).shuffle(names)
    again = {name: body[name] for name in names} | {"stream": True}
    separators = (" , ", " : ") if spaced else (",", ":")
    assert key_of(written(body)) == key_of(written(again, indent=indent, separators=separators)) is not None


@settings(max_examples=150, deadline=None)
@given(one=BODIES, other=BODIES)
def test_bodies_that_differ_in_any_field_have_different_keys(one: dict[str, Any], other: dict[str, Any]) -> None:
    kept = [{name: value for name, value in body.items() if name not in NOT_IN_KEY} for body in (one, other)]
    alike = kept[0].keys() == kept[1].keys() and all(same(kept[0][name], kept[1][name]) for name in kept[0])
    assert (key_of(written(one)) == key_of(written(other))) is alike


@settings(max_examples=100, deadline=None)
@given(body=BODIES, name=NAMES, value=VALUES)
def test_one_field_changed_is_another_key(body: dict[str, Any], name: str, value: Any) -> None:
    changed = {**body, name: value}
    alike = name in body and same(body[name], value)
    assert (key_of(written(body)) == key_of(written(changed))) is alike
