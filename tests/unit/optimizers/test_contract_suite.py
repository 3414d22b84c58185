"""The contract suite fails an optimizer that breaks what it promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from pennyweight.call import Answer, Call, Outcome, Proposal, Rewrite
from pennyweight.protocols import Optimizer
from pennyweight.request import DELETE, Done, Edit, Response
from pennyweight.testing.backend import make_call
from pennyweight.testing.optimizer_contract import ContractParts, OptimizerContract, flaws


class Bad:
    """Does nothing wrong until `misdeed` is given."""

    def __init__(self, parts: ContractParts, misdeed: Callable[[Bad, Call], Proposal | None]) -> None:
        self.name = "bad"
        self.parts = parts
        self.misdeed = misdeed
        self.count = 0
        self.learnt: Response | None = None

    async def propose(self, call: Call) -> Proposal | None:
        self.count += 1
        if self.misdeed is write:
            await self.parts.kv.put("k", b"v")
        return self.misdeed(self, call)

    async def settle(self, outcome: Outcome) -> None:
        self.learnt = outcome.response
        if self.misdeed is trust:
            assert outcome.response is not None
        if self.misdeed is hide:
            await self.parts.kv.put("k", b"v")

    def wants_response(self, call: Call) -> bool:
        return True

    def learns_from(self, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        return [one for one in outcomes if one.response is not None] if self.misdeed is hide else outcomes


def write(bad: Bad, call: Call) -> Proposal | None:
    return None


def trust(bad: Bad, call: Call) -> Proposal | None:
    return None


def hide(bad: Bad, call: Call) -> Proposal | None:
    return None


def waver(bad: Bad, call: Call) -> Proposal | None:
    return Proposal(Rewrite(()), saving=bad.count)


def mutate(bad: Bad, call: Call) -> Proposal | None:
    if call.request.raw == b"{}":
        call.request.body["x"] = 1
    return None


def crash(bad: Bad, call: Call) -> Proposal | None:
    call.request.body["messages"][0]["content"].strip()
    return None


def overconfident(bad: Bad, call: Call) -> Proposal | None:
    return Proposal(Rewrite(()), risk=1.5)


def leak(bad: Bad, call: Call) -> Proposal | None:
    return None if bad.learnt is None else Proposal(Answer(bad.learnt))


@pytest.mark.parametrize(
    ("misdeed", "test"),
    [
        (write, "test_propose_writes_nothing"),
        (crash, "test_propose_writes_nothing"),
        (waver, "test_same_call_same_proposal"),
        (mutate, "test_propose_changes_no_call"),
        (overconfident, "test_a_proposal_is_sound"),
        (trust, "test_settle_tolerates_any_outcome"),
        (hide, "test_what_it_is_not_shown_would_teach_it_nothing"),
        (leak, "test_settled_answers_stay_with_their_tenant"),
    ],
)
def test_a_misdeed_is_caught(misdeed: Callable[[Bad, Call], Proposal | None], test: str) -> None:
    class Suite(OptimizerContract):
        def build(self, parts: ContractParts) -> Optimizer:
            return Bad(parts, misdeed)

    with pytest.raises(Exception):  # noqa: B017 - a crash counts as much as a failed assertion
        getattr(Suite(), test)()


TOOLS = make_call(
    b'{"model":"m","messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{"id":"t"}]},'
    b'{"role":"tool","tool_call_id":"t","content":"r"},{"role":"user","content":"newest"}]}'
)


@pytest.mark.parametrize(
    ("edit", "flaw"),
    [
        (Edit(("messages", 3, "content"), "x"), "newest user message"),
        (Edit(("messages", 2), DELETE), "lost its result"),
        (Edit(("messages", 1), DELETE), "lost its result"),
    ],
)
def test_an_unsound_rewrite_is_named(edit: Edit, flaw: str) -> None:
    (found,) = flaws(TOOLS, Proposal(Rewrite((edit,))))
    assert flaw in found


def test_a_sound_rewrite_has_no_flaw() -> None:
    assert flaws(TOOLS, Proposal(Rewrite((Edit(("messages", 0, "content"), "b"),)))) == []
    assert flaws(TOOLS, Proposal(Answer(Response(TOOLS.request.wire, b"{}", Done())))) == []
