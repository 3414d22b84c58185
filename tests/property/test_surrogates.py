"""What is half of a pair is what a JSON parser that lets it through sees as half of one, and it is where it is said."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.surrogates import lone_surrogate

CHARACTERS = st.sampled_from([*'ab\\"ud8u\n', "\ud83d", "\ude00", "\ud800", "\udc00", "é", "\U0001f600"])
TEXTS = st.text(CHARACTERS, max_size=6)
VALUES = st.recursive(
    TEXTS | st.integers(0, 9) | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b_c"]) | TEXTS, inner, max_size=3)
    ),
    max_leaves=8,
)


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(text for inner in value.values() for text in texts(inner))]
    if isinstance(value, list):
        return [text for inner in value for text in texts(inner)]
    return [value] if isinstance(value, str) else []


HALF = re.compile("[\ud800-\udfff]")  # what the parser has left of them: it joins pairs


@given(st.dictionaries(st.sampled_from(["messages", "m"]) | TEXTS, VALUES, max_size=4), st.booleans())
def test_it_is_told_if_and_only_if_it_is_there(body: dict[str, Any], ascii: bool) -> None:
    raw = json.dumps(body, ensure_ascii=ascii).encode("utf-8", "surrogatepass")
    if not ascii and HALF.search(raw.decode("utf-8", "surrogatepass")):
        return  # no UTF-8: refused for that before
    seen = json.loads(raw)
    told = lone_surrogate(raw)
    assert (told is not None) == any(HALF.search(text) for text in texts(seen))
    if told is None:
        msgspec.json.decode(raw)
        return
    found = re.fullmatch(r"half a surrogate pair, (\\u\w{4}), at byte (\d+), in (.*)", told, re.DOTALL)
    assert found is not None
    assert raw[int(found[2]) :].startswith(found[1].encode())
    if "…" not in found[3] and not found[3].startswith("a name"):
        value = seen
        for name, index in re.findall(r"([a-z_]+)|\[(\d+)\]", found[3]):
            value = value[name] if name else value[int(index)]
        assert HALF.search(value)
