"""Noting looks on a call."""

from __future__ import annotations

from pennyweight.hits import looked, looks
from pennyweight.testing.backend import make_call


def test_looks_stay_with_the_call_through_its_changes() -> None:
    call = make_call(b"{}")
    assert looks(call) == ()
    looked(call, "exact_cache")
    later = call.note()
    looked(later, "semantic_cache", "memory", "k")
    assert looks(call) == [("exact_cache", "", ""), ("semantic_cache", "memory", "k")]
