"""Short bodies are looked at once for all signs of a chore: that says what looking at each place says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight import identity
from pennyweight.identity import SIGNS, housekeeping, identify
from pennyweight.prefix import SessionIndex
from pennyweight.request import Operation, Request, Wire

WORDS = st.sampled_from(["You are ", "\n", '"', "x", "OpenClaw", "openclaw:", "hi ", "\\", "a {", "- "])
TEXTS = st.lists(st.one_of(WORDS, st.sampled_from(SIGNS)), max_size=4).map("".join)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "developer", "user", "assistant"]), "content": TEXTS}),
    max_size=4,
)
BODIES = st.one_of(
    st.fixed_dictionaries(
        {"model": st.just("m"), "messages": MESSAGES}, optional={"system": TEXTS, "tools": st.just([{"name": "t"}])}
    ),
    st.fixed_dictionaries(
        {"model": st.just("m"), "input": st.one_of(TEXTS, MESSAGES)}, optional={"instructions": TEXTS}
    ),
)


@settings(max_examples=200)
@given(
    BODIES,
    st.sampled_from(list(Wire)),
    st.sampled_from([Operation.GENERATE, Operation.GENERATE, Operation.COUNT, Operation.EMBED]),
    st.sampled_from(["/v1/x", "/v1/responses/compact"]),
    st.booleans(),
)
def test_what_a_short_body_tells_is_what_its_places_tell(
    body: dict[str, Any], wire: Wire, operation: Operation, path: str, escaped: bool
) -> None:
    raw = json.dumps(body, ensure_ascii=escaped).encode()
    told = identify(Request(wire, raw, path=path, operation=operation), index=SessionIndex(), now=1.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, "_SHORT_BYTES", -1)
        assert identify(Request(wire, raw, path=path, operation=operation), index=SessionIndex(), now=1.0) == told
    assert told.housekeeping == housekeeping(Request(wire, raw, path=path, operation=operation))
