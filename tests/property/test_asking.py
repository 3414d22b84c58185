"""Whoever is asked what it would do with a call, the trail tells the same of each as if all were asked in turn."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.backends.fakes import FakeClock

from pennyweight.call import Call, Outcome, Proposal, Rewrite, Step, Verdict, abstain
from pennyweight.pipeline import Pipeline
from pennyweight.policy import Flag
from pennyweight.request import Edit
from pennyweight.testing.backend import ScriptedBackend, make_call


class One:
    """Protocol: `protocols.Optimizer`. Does what `does` says; the calls that it was shown are in `seen`."""

    def __init__(self, name: str, does: str) -> None:
        self.name = name
        self._does = does
        self.seen: list[bytes] = []
        if not does.startswith("asked"):
            self.concerns = self._concerns

    def _concerns(self, call: Call) -> bool:
        if self._does == "tells why it is none of its business":
            abstain(call, self.name, "for a reason")
        return not self._does.endswith("none of its business")

    async def propose(self, call: Call) -> Proposal | None:
        self.seen.append(call.request.raw)
        if self._does.endswith("rewrites"):
            return Proposal(Rewrite((Edit((self.name,), 1),)), saving=1, level="safe")
        if self._does.endswith("tells why"):
            abstain(call, self.name, "it has nothing")
        return None

    async def settle(self, outcome: Outcome) -> None: ...

    def wants_response(self, call: Call) -> bool:
        return False


DOES = (
    "none of its business",
    "tells why it is none of its business",
    "concerned, rewrites",
    "concerned, tells why",
    "asked, rewrites",
    "asked, tells why",
    "asked",
)


def expected(all_do: list[str]) -> tuple[list[Step], list[list[str]]]:
    """The trail, and which keys each one sees that earlier ones have added, where it is asked."""
    trail, seen, added = [], [], []
    for place, does in enumerate(all_do):
        name = f"o{place}"
        asked = not does.endswith("none of its business")
        seen.append([*added] if asked else ["not asked"])
        if does.endswith("rewrites"):
            added.append(name)
            trail.append(Step(name, Verdict.ACCEPTED, saving=1))
        elif does == "tells why it is none of its business":
            trail.append(Step(name, Verdict.ABSTAINED, why="for a reason"))
        else:
            trail.append(Step(name, Verdict.ABSTAINED, why="it has nothing" if does.endswith("tells why") else ""))
    return trail, seen


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(DOES), max_size=5), st.integers(1, 3))
def test_the_trail_tells_what_asking_all_in_turn_would_tell(all_do: list[str], times: int) -> None:
    optimizers = [One(f"o{place}", does) for place, does in enumerate(all_do)]
    pipeline = Pipeline(
        [(one, Flag()) for one in optimizers], ScriptedBackend(), submit=lambda _outcome: None, clock=FakeClock()
    )
    trail, seen = expected(all_do)
    for _ in range(times):
        for one in optimizers:
            one.seen.clear()
        call, answer = asyncio.run(pipeline.consult(make_call()))
        assert answer is None
        assert list(call.trail) == trail
        for one, keys in zip(optimizers, seen, strict=True):
            if keys == ["not asked"]:
                assert not one.seen
            else:
                assert [key for key in ("o0", "o1", "o2", "o3", "o4") if f'"{key}"'.encode() in one.seen[0]] == keys
