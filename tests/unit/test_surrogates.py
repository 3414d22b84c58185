"""Where half a surrogate pair stands, told to whoever sent it."""

from __future__ import annotations

import pytest

from pennyweight.errors import BadRequest
from pennyweight.request import Request, Wire
from pennyweight.surrogates import lone_surrogate


@pytest.mark.parametrize(
    ("raw", "half", "byte", "where"),
    [
        (rb'{"messages":[{"content":"a\ud83d"}]}', r"\ud83d", 26, "messages[0].content"),
        (rb'{"input":[[1],{"a":["\\\ud83d\ude00 \uDE00"]}]}', r"\uDE00", 36, "input[1].a[0]"),
        (rb'{"m":"\ud83d\ud83d\ude00"}', r"\ud83d", 6, "m"),
        (rb'{"m":"\ud83d\ude00\ude00\ud83d"}', r"\ude00", 18, "m"),
        (rb'{"m":"\\ud83d\ude00"}', r"\ude00", 13, "m"),
        (rb'{"a":{"x\ud800":1}}', r"\ud800", 8, "a name in a"),
        (rb'{"x\udfff":1}', r"\udfff", 3, "a name of the body"),
        (rb'{"two words":{"m":"\ud800"}}', r"\ud800", 19, "….m"),
        (b'{"a":' * 60 + rb'"\ud800"' + b"}" * 60, r"\ud800", 301, ".".join("a" * 40) + "…"),
        (b'{"m":["%b","\\ud800"]}' % b"".join(rb"\u%04x" % n for n in range(0xE000, 0xF900)), r"\ud800", 38410, "m[1]"),
    ],
)
def test_the_first_half_is_told_with_its_place(raw: bytes, half: str, byte: int, where: str) -> None:
    assert lone_surrogate(raw) == f"half a surrogate pair, {half}, at byte {byte}, in {where}"
    with pytest.raises(BadRequest, match=r"half a surrogate pair.*or .ufffd in its place"):
        _ = Request(Wire.OPENAI_CHAT, raw).envelope
    with pytest.raises(BadRequest, match="half a surrogate pair"):
        _ = Request(Wire.OPENAI_CHAT, raw).body


@pytest.mark.parametrize(
    "raw", [b"{}", rb'{"a":"\ud83d\ude00"}', rb'{"a":"\\ud83d"}', rb'{"a":\ud83d}', rb'{"a":"\ud83d"', b"\xff", b""]
)
def test_what_is_whole_or_broken_otherwise_is_not_blamed_on_half_a_pair(raw: bytes) -> None:
    assert lone_surrogate(raw) is None


def test_a_body_of_megabytes_is_not_gone_over() -> None:
    assert lone_surrogate(b'{"a":"%b\\ud800"}' % (b"x" * 2 * 2**20)) is None
