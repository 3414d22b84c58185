"""Whatever a client marks, and however it goes on: no fifth mark, its own stay, and a model reads the same."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.optimizers.loops import House, bare, loop, marks

LIVES = st.sampled_from(["5m", "1h"])


@settings(max_examples=25, deadline=None)
@given(
    places=st.lists(st.sampled_from(["tool 0", "tool 2", "system", "first", "newest"]), unique=True, max_size=4),
    long=st.integers(0, 4),
    gaps=st.lists(st.sampled_from([2.0, 40.0, 280.0, 320.0, 1_500.0, 4_000.0]), min_size=10, max_size=14),
    parts=st.sampled_from([1, 2, 25]),
    transient=st.booleans(),
    ttl=st.sampled_from(["auto", "5m", "1h"]),
)
def test_marks(places: list[str], long: int, gaps: list[float], parts: int, transient: bool, ttl: str) -> None:
    house = House(ttl=ttl)
    for body, gap_s in zip(loop(len(gaps), parts=parts, transient=transient), gaps, strict=False):
        own = [name for name in ("tool 0", "tool 2", "system", "first", "newest") if name in places]
        for number, name in enumerate(own):  # an hour's first, as Anthropic wants them
            mark(body, name, "1h" if number < long else "5m")
        call = house.play(house.call(body), gap_s=gap_s)
        before, after = marks(call.original.body), marks(call.request.body)
        lives = [life for _, life in after]
        assert len(after) <= max(4, len(before))
        assert [found for found in after if found in before] == before
        assert lives == sorted(lives)
        assert bare(call.request.body) == bare(call.original.body)


def mark(body: dict[str, Any], name: str, life: str) -> None:
    control = {"type": "ephemeral"} if life == "5m" else {"type": "ephemeral", "ttl": "1h"}
    if name.startswith("tool"):
        body["tools"][int(name[-1])]["cache_control"] = control
    elif name == "system":
        body["system"] = [{"type": "text", "text": body["system"], "cache_control": control}]
    else:
        message = body["messages"][0 if name == "first" else -1]
        if isinstance(message["content"], str):
            message["content"] = [{"type": "text", "text": message["content"]}]
        message["content"][-1].setdefault("cache_control", control)
