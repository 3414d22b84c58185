"""A chosen target always satisfies the hard constraints of its call, and so does everyone it falls back to."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.optimizers.test_routing import Parts

from pennyweight.call import Route, Target
from pennyweight.optimizers.routing import Settings, build
from pennyweight.request import Wire
from pennyweight.routing.constraints import excluded, known
from pennyweight.routing.settings import TargetTable
from pennyweight.routing.virtual import Candidate, Live, Virtual
from pennyweight.testing.backend import make_call

maybe = st.sampled_from((None, True, False))
facts = st.builds(
    TargetTable,
    st.just("p/m"),
    context_tokens=st.none() | st.integers(500, 20_000),
    output_tokens=st.none() | st.integers(100, 9_000),
    tools=maybe,
    images=maybe,
    json_schema=maybe,
    reasoning=maybe,
    success=st.none() | st.floats(0, 1),
)
wires = st.sampled_from(list(Wire))
bodies = st.fixed_dictionaries(
    {},
    optional={
        "tools": st.just([{"type": "function", "function": {"name": "f"}}]),
        "max_tokens": st.integers(1, 12_000),
        "reasoning_effort": st.sampled_from(("none", "low", "high")),
        "response_format": st.just({"type": "json_schema", "json_schema": {"name": "x"}}),
        "n": st.integers(1, 3),
    },
)


@settings(max_examples=150, deadline=None)
@given(
    every=st.lists(st.tuples(facts, wires, st.integers(0, 3), st.booleans()), min_size=1, max_size=6),
    body=bodies,
    words=st.integers(1, 8_000),
    image=st.booleans(),
    aim=st.sampled_from(("balanced", "cheap", "quality", "fast", "local")),
    cascade=st.booleans(),
    spent=st.floats(0, 1.2),
)
def test_hard_constraints_hold(
    every: list[tuple[TargetTable, Wire, int, bool]],
    body: dict[str, Any],
    words: int,
    image: bool,
    aim: Any,
    cascade: bool,
    spent: float,
) -> None:
    candidates = tuple(
        Candidate(Target(f"p{place}", "m", wire), f"t{rank}", rank, told)
        for place, (told, wire, rank, _) in enumerate(every)
    )
    parts = Parts(Virtual("auto", aim, candidates, Target("top", "big", Wire.OPENAI_CHAT), cascade=cascade))
    parts.live = {f"p{place}": Live(resting=resting) for place, (*_, resting) in enumerate(every)}
    parts.spent = spent
    content: Any = "word " * words
    if image:
        content = [{"type": "text", "text": content}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]
    asked = make_call(
        json.dumps({"model": "auto", "messages": [{"role": "user", "content": content}], **body}).encode(),
        provider="top",
        model="big",
    )
    routing = build(Settings(), parts)
    found = asyncio.run(routing.propose(asked))
    wanted = routing.needs(asked, parts.clock.monotonic())
    assert wanted is not None
    able = {c.target for c in candidates if not excluded(wanted, c, known(c))}
    if found is None:
        assert not able
        return
    assert isinstance(found.action, Route)
    assert found.action.target in able
    assert set(asked.facts["fallbacks"]) == able - {found.action.target}
    assert found.action.rungs is None or set(found.action.rungs.strong) <= able
