"""How deep a body is nested, told without recursion."""

from __future__ import annotations

import pytest

from pennyweight.request import too_deep


@pytest.mark.parametrize(
    ("raw", "deep"),
    [
        (b"{}", False),
        (b"[" * 8 + b"]" * 8, False),
        (b"[" * 9 + b"]" * 9, True),
        (b'{"a":' * 9 + b"1" + b"}" * 9, True),
        (b"[" + b"{}," * 99 + b"{}]", False),  # wide, not deep
        (b'["' + b"[" * 99 + b'"]', False),  # a text
        (b'["\\"' + b"[" * 99 + b'"]', False),  # a text with a quote in it
        (b'["\\\\",' + b"[" * 9 + b"]" * 9 + b"]", True),  # a text that ends in a backslash
        (b'[{"a":[{"b":[{"c":[{"d":[1,[]],"e":2}]}]}]}]', True),
    ],
)
def test_too_deep(raw: bytes, deep: bool) -> None:
    assert too_deep(raw, 8) is deep


def test_a_hostile_depth_is_told_in_one_pass() -> None:
    assert too_deep(b"[" * 1_000_000 + b"]" * 1_000_000, 512)
