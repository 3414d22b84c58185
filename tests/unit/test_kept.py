"""Keys and wrappings of what caches keep."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.kept import CACHES, Named, entry_key, named, unwrapped, wrapped

DIGEST = "0a" * 32


@pytest.mark.parametrize("tenant", ["local", "team/a b", "a//b", "東京"])
@pytest.mark.parametrize("model", ["m", "vendor/model-7b", "", "a/b/c"])
@pytest.mark.parametrize("cache", CACHES)
def test_a_key_tells_whose_entry_it_is(cache: str, tenant: str, model: str) -> None:
    assert named(entry_key(cache, tenant, DIGEST, model)) == Named(cache, tenant, DIGEST, model)


@pytest.mark.parametrize(
    "key", ["", "exact", "exact/t/abc/m", f"budget/t/{DIGEST}/m", f"exact/{DIGEST}", f"exact/t/{DIGEST.upper()}/m"]
)
def test_keys_of_others_tell_nothing(key: str) -> None:
    assert named(key) is None


def test_a_models_name_is_cut() -> None:
    assert len(entry_key("exact", "t", DIGEST, "m" * 100_000)) < 200


@given(payload=st.binary(max_size=200), at=st.floats(0, 1e12))
def test_what_is_wrapped_comes_back(payload: bytes, at: float) -> None:
    found = unwrapped("k", wrapped("k", at, payload))
    assert found is not None
    assert (found.created_at, bytes(found.payload)) == (at, payload)


@given(payload=st.binary(max_size=60), data=st.data())
def test_any_damage_is_told(payload: bytes, data: st.DataObject) -> None:
    value = wrapped("k", 1.5, payload)
    at = data.draw(st.integers(0, len(value) - 1))
    flipped = value[:at] + bytes([value[at] ^ data.draw(st.integers(1, 255))]) + value[at + 1 :]
    assert unwrapped("k", flipped) is None
    assert unwrapped("k", value[:at]) is None
    assert unwrapped("k", value + b"x") is None
    assert unwrapped("other", value) is None
