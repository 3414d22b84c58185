"""Whatever a client marks, and however it goes on: no fifth mark, its own stay, and a model reads the same."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.optimizers.loops import House, bare, loop, marks

from pennyweight.call import Call, Outcome
from pennyweight.economy import Foreseen, Worth
from pennyweight.prefix import Mark
from pennyweight.request import Done, Wire

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


@settings(max_examples=25, deadline=None)
@given(
    places=st.lists(st.sampled_from(["tool 0", "system", "first", "newest"]), unique=True, max_size=2),
    gaps=st.lists(st.sampled_from([2.0, 40.0, 280.0, 320.0, 1_500.0, 4_000.0]), min_size=8, max_size=12),
    parts=st.sampled_from([1, 2, 25]),
    transient=st.booleans(),
    model=st.sampled_from(["claude-sonnet-4-6", "gpt-5.6"]),
    ttl=st.sampled_from(["auto", "1h"]),
)
def test_what_is_reckoned_once_is_what_the_long_way_says(
    places: list[str], gaps: list[float], parts: int, transient: bool, model: str, ttl: str
) -> None:
    """A placement is priced as the chain with its marks is, and a changed call is foreseen as if never looked at."""
    house = Compared(ttl)
    for body, gap_s in zip(loop(len(gaps), parts=parts, transient=transient), gaps, strict=False):
        for name in places:
            mark(body, name, "5m")
        if model.startswith("gpt"):
            wanted = {"model": model, "messages": said(body)}
            house.play(house.call(wanted, Wire.OPENAI_CHAT), gap_s=gap_s)
        else:
            house.play(house.call(body), gap_s=gap_s)
    assert house.looked >= len(gaps) - 1
    assert [ours for ours, _ in house.placed] == [theirs for _, theirs in house.placed]


class Compared(House):
    """Asks everything twice: as it is done, and the long way."""

    def __init__(self, ttl: str) -> None:
        super().__init__(ttl=ttl)
        self.looked = 0
        self.placed: list[tuple[Worth, Worth]] = []  # an optimizer that fails is skipped, so they are compared later
        self._placing = self.parts.economy.placing
        self.parts.economy.placing = self.placing  # type: ignore[method-assign]

    def placing(self, seen: Foreseen, places: tuple[int, ...], mark: Mark, *, at: float) -> Worth:
        found = self._placing(seen, places, mark, at=at)
        self.placed.append((found, self.parts.economy.compare(seen, seen.chain.marked(places, mark), at=at)))
        return found

    def play(self, call: Call, *, gap_s: float = 5.0) -> Call:
        self.clock.advance(gap_s)
        sent, _ = asyncio.run(self.pipeline.consult(call))
        at = self.clock.monotonic()
        ours = self.parts.economy.look(sent, at=at)
        anew = self.parts.economy.look(msgspec.structs.replace(sent, facts={}), at=at)
        if ours is not None and anew is not None:
            self.looked += 1
            for name in (*Foreseen.__struct_fields__, "outlook", "stranger", "gone", "appends", "repeated"):
                assert getattr(ours, name) == getattr(anew, name), name
        usage = self._bill(self.bills, sent, sent.request)
        self.pipeline.follow(sent, usage)
        asyncio.run(self.pipeline.settle(Outcome(sent, Done(usage, "stop"), 200, "p")))
        return sent


def said(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The same in Chat Completions' words, near enough."""
    texts = [{"role": m["role"], "content": str(m["content"])} for m in body["messages"]]
    return [{"role": "system", "content": str(body.get("system"))}, *texts]


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
