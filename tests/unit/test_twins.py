"""Equal calls that are on their way at the same time go out in one form, whatever optimizers make of each."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pennyweight.call import Answer, Call, Outcome, Proposal, Rewrite, Verdict
from pennyweight.errors import Unreachable
from pennyweight.pipeline import Pipeline
from pennyweight.policy import Flag
from pennyweight.request import Done, Edit, Reply, Request, Response, Usage, Wire
from pennyweight.testing.backend import Script, ScriptedBackend, make_call
from pennyweight.testing.clock import FakeClock

BODY = b'{"model":"m","temperature":0,"messages":[{"role":"user","content":"%b"}]}'
LONG = BODY % (b"word " * 400)
ANSWER = Response(Wire.OPENAI_CHAT, b'{"id":"stored","choices":[]}', Done(Usage(input_tokens=5)))


class Moody:
    """Shortens the first call that it is asked about and no other, as one that has to learn first may. Told to, it has
    each wait for its turn first."""

    name = "moody"
    wants_responses = False

    def __init__(self, *turns: asyncio.Event) -> None:
        self._turns = list(turns)
        self._shortened = False
        self.answers = False

    async def propose(self, call: Call) -> Proposal | None:
        if self._turns:
            await self._turns.pop(0).wait()
        if self.answers:
            return Proposal(Answer(ANSWER), saving=10, level="safe")
        if self._shortened:
            return None
        self._shortened = True
        edit = Edit(("messages", 0, "content"), "short")
        return Proposal(Rewrite((edit,)), saving=10, spent=3, level="safe")

    async def settle(self, outcome: Outcome) -> None: ...

    def wants_response(self, call: Call) -> bool:
        return False


class Rig:
    def __init__(self, optimizer: Moody, *scripts: Script) -> None:
        self.backend = ScriptedBackend(*(scripts or (Script(),)))
        self.outcomes: list[Outcome] = []
        self.pipeline = Pipeline(
            [(optimizer, Flag())], self.backend, submit=self.outcomes.append, clock=FakeClock(), propose_s=5.0
        )

    @property
    def sent(self) -> list[Request]:
        return [call.request for call in self.backend.calls]

    @property
    def nobody_left(self) -> bool:
        return not self.pipeline._twins.rows

    async def open(self, call: Call) -> Reply:
        return await self.pipeline.open(call)


def asked(raw: bytes = LONG, session: str = "s", **fields: Any) -> Call:
    return make_call(raw, session=session, **fields)


def test_an_equal_call_goes_out_in_the_form_of_the_one_under_way_with_its_own_headers() -> None:
    async def main() -> None:
        rig = Rig(Moody())
        first = await rig.open(asked(headers=(("x-trace", "1"),)))
        second = await rig.open(asked(headers=(("x-trace", "2"),)))
        assert [request.raw for request in rig.sent] == [BODY % b"short"] * 2
        assert [request.fields["x-trace"] for request in rig.sent] == ["1", "2"]
        await first.aclose()
        third = await rig.open(asked())  # the second is still under way
        assert rig.sent[2].raw == BODY % b"short"
        await second.aclose()
        await third.aclose()
        assert [[(s.optimizer, s.saving, s.spent) for s in one.call.trail] for one in rig.outcomes] == [
            [("moody", 10, 3)],
            [("moody", 10, 0)],  # asking about it cost nothing
            [("moody", 10, 0)],
        ]
        assert [one.call.facts["rewritten"] for one in rig.outcomes] == [("moody", "safe")] * 3
        assert rig.nobody_left

        later = await rig.open(asked())
        assert rig.sent[3].raw == LONG
        await later.aclose()

    asyncio.run(main())


@pytest.mark.parametrize(
    "other",
    [
        asked(session="t"),
        asked(session=""),
        asked(BODY % (b"sword" * 400)),
        asked(tenant="t"),
        asked(optimize="max"),
        asked(model="n"),
        asked(headers=(("x-pennyweight-task", "t"),)),
        asked(headers=(("anthropic-beta", "b"),)),
    ],
)
def test_another_call_has_a_form_of_its_own(other: Call) -> None:
    async def main() -> None:
        rig = Rig(Moody())
        first = await rig.open(asked())
        second = await rig.open(other)
        assert rig.sent[1].raw == other.original.raw
        await first.aclose()
        await second.aclose()
        assert rig.nobody_left

    asyncio.run(main())


def test_who_is_still_being_consulted_on_when_its_equal_ends_has_its_form_too() -> None:
    async def main() -> None:
        turn = asyncio.Event()
        turn.set()
        late = asyncio.Event()
        rig = Rig(Moody(turn, late))
        first = await rig.open(asked())
        waiting = asyncio.create_task(rig.open(asked()))
        await asyncio.sleep(0)
        await first.aclose()
        late.set()
        second = await waiting
        assert rig.sent[1].raw == BODY % b"short"
        await second.aclose()
        assert rig.nobody_left

    asyncio.run(main())


def test_what_is_left_as_it_came_keeps_its_equals_as_they_came() -> None:
    async def main() -> None:
        moody = Moody()
        rig = Rig(moody)
        moody._shortened = True
        first = await rig.open(asked())
        moody._shortened = False
        second = await rig.open(asked())
        assert [request.raw for request in rig.sent] == [LONG, LONG]
        await first.aclose()
        await second.aclose()
        (step,) = rig.outcomes[1].call.trail
        assert (step.verdict, step.saving, step.spent) == (Verdict.ABSTAINED, 0, 3)  # what it cost to ask was paid
        assert "rewritten" not in rig.outcomes[1].call.facts

    asyncio.run(main())


def test_an_answer_of_an_optimizer_goes_before_the_form_of_an_equal() -> None:
    async def main() -> None:
        moody = Moody()
        rig = Rig(moody)
        first = await rig.open(asked())
        moody.answers = True
        second = await rig.open(asked())
        assert await second.read() == ANSWER.raw
        await first.aclose()
        await second.aclose()
        assert len(rig.sent) == 1
        assert rig.nobody_left

    asyncio.run(main())


def test_a_call_that_fails_or_is_given_up_leaves_nothing() -> None:
    async def main() -> None:
        rig = Rig(Moody(), Script(error=Unreachable("no")))
        with pytest.raises(Unreachable):
            await rig.open(asked())
        assert rig.nobody_left

        never = asyncio.Event()
        rig = Rig(Moody(never))
        waiting = asyncio.create_task(rig.open(asked()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert rig.nobody_left

    asyncio.run(main())


def test_an_optimizer_that_breaks_leaves_nothing_either() -> None:
    class Breaks(Moody):
        wants_responses = True

        def wants_response(self, call: Call) -> bool:
            raise RuntimeError("broken")

    async def main() -> None:
        rig = Rig(Breaks())
        with pytest.raises(RuntimeError):
            await rig.open(asked())
        assert rig.nobody_left

    asyncio.run(main())
