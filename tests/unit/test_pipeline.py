"""The acceptance rule, and the loop that asks optimizers: late, broken, shadowed and risky ones cost no call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.call import Answer, Call, Optimize, Outcome, Proposal, Rewrite, Verdict, abstain
from pennyweight.errors import Overloaded
from pennyweight.pipeline import Pipeline, judge
from pennyweight.policy import Flag
from pennyweight.request import Done, Edit, Response, Usage, Wire
from pennyweight.testing.backend import Script, ScriptedBackend, make_call
from pennyweight.testing.clock import FakeClock

ANSWER = Response(Wire.OPENAI_CHAT, b'{"id":"stored","choices":[]}', Done(Usage(input_tokens=5)))


def rewrite(name: str = "x", **fields: Any) -> Proposal:
    return Proposal(Rewrite((Edit((name,), 1),)), **{"saving": 10, "level": "safe", **fields})


@pytest.mark.parametrize(
    ("fields", "optimize", "mode", "verdict"),
    [
        ({}, "safe", "on", Verdict.ACCEPTED),
        ({}, "off", "on", Verdict.NOT_ALLOWED),
        ({"level": "max"}, "safe", "on", Verdict.NOT_ALLOWED),
        ({"level": "max"}, "max", "on", Verdict.ACCEPTED),
        ({"saving": 5, "spent": 5}, "max", "on", Verdict.NOT_WORTH_IT),
        ({"saving": 0, "tokens": 1}, "max", "on", Verdict.ACCEPTED),  # a subscription saves tokens, not dollars
        ({"risk": 0.06}, "max", "on", Verdict.TOO_RISKY),
        ({"risk": 0.05}, "max", "on", Verdict.ACCEPTED),
        ({}, "max", "shadow", Verdict.SHADOWED),
        ({"risk": 0.06}, "max", "shadow", Verdict.TOO_RISKY),
        ({"risk": 1.0, "saving": 0, "level": "max"}, "safe", "shadow", Verdict.NOT_ALLOWED),
    ],
)
def test_the_rule(fields: dict[str, Any], optimize: Optimize, mode: str, verdict: Verdict) -> None:
    assert judge(rewrite(**fields), mode=mode, optimize=optimize, risk_left=0.05) is verdict


def test_the_operators_level_goes_before_the_proposals() -> None:
    for level, verdict in (("safe", Verdict.ACCEPTED), ("max", Verdict.NOT_ALLOWED)):
        for own in ("safe", "max"):
            proposal = rewrite(level=own)
            assert judge(proposal, mode="on", optimize="safe", risk_left=1.0, level=level) is verdict  # type: ignore[arg-type]


@given(
    risk=st.floats(0, 1),
    left=st.floats(0, 1),
    saving=st.integers(-5, 5),
    spent=st.integers(0, 5),
    optimize=st.sampled_from(["off", "safe", "max"]),
)
def test_nothing_is_accepted_above_the_risk_left_or_at_a_loss(
    risk: float, left: float, saving: int, spent: int, optimize: Optimize
) -> None:
    proposal = rewrite(risk=risk, saving=saving, spent=spent)
    if judge(proposal, mode="on", optimize=optimize, risk_left=left) is Verdict.ACCEPTED:
        assert risk <= left
        assert saving > spent
        assert optimize != "off"


class Offers:
    """An optimizer that does what its function says, and notes what it was asked and told."""

    def __init__(self, name: str, offer: Callable[[Call], Any] = lambda call: None, *, wants: bool = False) -> None:
        self.name = name
        self._offer, self._wants = offer, wants
        self.asked: list[Call] = []
        self.settled: list[Outcome] = []

    async def propose(self, call: Call) -> Proposal | None:
        self.asked.append(call)
        made = self._offer(call)
        return await made if asyncio.iscoroutine(made) else made

    async def settle(self, outcome: Outcome) -> None:
        self.settled.append(outcome)
        if self._offer is broken:
            broken(outcome.call)

    def wants_response(self, call: Call) -> bool:
        return self._wants


def broken(call: Call) -> None:
    raise RuntimeError("secret")


def drive(
    *optimizers: tuple[Offers, Flag], call: Call | None = None, script: Script | None = None
) -> tuple[ScriptedBackend, list[Outcome], bytes]:
    """Open, read and close one call through these; what the backend saw, the outcomes and the body."""
    backend, outcomes = ScriptedBackend(script or Script()), []

    async def main() -> bytes:
        pipeline = Pipeline(optimizers, backend, submit=outcomes.append, clock=FakeClock(), propose_s=0.05)
        async with await pipeline.open(call or make_call()) as reply:
            body = await reply.read()
        for outcome in outcomes:
            await pipeline.settle(outcome)
        return body

    return backend, outcomes, asyncio.run(main())


def verdicts(outcomes: list[Outcome]) -> list[tuple[str, str]]:
    (outcome,) = outcomes
    return [(step.optimizer, step.verdict.value) for step in outcome.call.trail]


class Choosy(Offers):
    """Learns from what did not go well, and never needs an answer."""

    wants_responses = False

    def learns_from(self, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        return [one for one in outcomes if one.status != 200]

    def wants_response(self, call: Call) -> bool:
        raise AssertionError("it said that it need not be asked")


class Sees:
    """An observer."""

    wants_responses = False

    def __init__(self, fails: bool = False) -> None:
        self.seen: list[list[int]] = []
        self.fails = fails

    def wants(self, call: Call) -> bool:
        raise AssertionError("it said that it need not be asked")

    async def take(self, outcomes: Sequence[Outcome]) -> None:
        self.seen.append([one.status for one in outcomes])
        if self.fails:
            raise RuntimeError("secret")


def test_many_finished_calls_are_learnt_from_at_once() -> None:
    """One that raises, at one of them or at all, keeps nobody from the others; each is shown what it asked to see."""
    bad, choosy, every = Offers("bad", broken), Choosy("choosy"), Offers("every")
    failing, seeing = Sees(fails=True), Sees()
    optimizers = [(one, Flag()) for one in (bad, choosy, every)]

    async def main() -> None:
        pipeline = Pipeline(
            optimizers, ScriptedBackend(Script()), submit=print, clock=FakeClock(), observers=(failing, seeing)
        )
        assert not pipeline.keeps(make_call())
        untouched = make_call(optimize="off")
        await pipeline.settle_all(
            [
                Outcome(call, Done(), status, "p")
                for call, status in ((make_call(), 200), (make_call(), 502), (untouched, 503))
            ]
        )

    asyncio.run(main())
    assert seeing.seen == failing.seen == [[200, 502, 503]]
    assert [[one.status for one in each.settled] for each in (bad, choosy, every)] == [[200, 502], [502], [200, 502]]


def test_rewrites_add_up_in_order() -> None:
    first, second = Offers("a", lambda _: rewrite("a")), Offers("b", lambda _: rewrite("b"))
    backend, outcomes, _ = drive((first, Flag()), (second, Flag()))
    assert backend.calls[0].request.body.keys() >= {"a", "b"}
    assert "a" in second.asked[0].request.body
    assert "a" not in backend.calls[0].original.body
    assert verdicts(outcomes) == [("a", "accepted"), ("b", "accepted")]


def test_accepted_risk_is_drawn_from_what_is_left() -> None:
    risky = [(Offers(name, lambda _: rewrite(risk=0.03)), Flag()) for name in "ab"]
    _, outcomes, _ = drive(*risky)
    assert verdicts(outcomes) == [("a", "accepted"), ("b", "too_risky")]


def test_an_answer_ends_the_asking_and_no_upstream_is_asked() -> None:
    stored = Offers("a", lambda _: Proposal(Answer(ANSWER), saving=1, level="safe"))
    never = Offers("b")
    backend, outcomes, body = drive((stored, Flag()), (never, Flag()))
    assert body == ANSWER.raw
    assert not backend.calls
    assert not never.asked
    assert (outcomes[0].answered_by, outcomes[0].done.charges) == ("a", ())


async def late(call: Call) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(("offer", "error"), [(broken, "RuntimeError"), (late, "TimeoutError")])
def test_an_optimizer_that_is_broken_or_late_is_skipped(offer: Callable[[Call], Any], error: str) -> None:
    good = Offers("b", lambda _: rewrite("b"))
    backend, outcomes, body = drive((good, Flag()), (Offers("a", offer), Flag()))
    assert body == b"{}"
    assert "b" in backend.calls[0].request.body
    failed = outcomes[0].call.trail[-1]
    assert (failed.verdict, failed.error) == (Verdict.FAILED, error)
    assert "secret" not in repr(outcomes[0].call.trail)


def test_one_deadline_bounds_them_all() -> None:
    _, outcomes, _ = drive((Offers("a", late), Flag()), (Offers("b", late), Flag()))
    assert verdicts(outcomes) == [("a", "failed"), ("b", "failed")]


def test_shadowed_off_and_the_holdout_change_nothing() -> None:
    shadow, off, holdout = (Offers(name, lambda _: rewrite("x")) for name in ("shadow", "off", "holdout"))
    backend, outcomes, _ = drive((shadow, Flag("shadow")), (off, Flag("off")), (holdout, Flag("on", 0.0)))
    assert backend.calls[0].request.raw == make_call().request.raw
    assert verdicts(outcomes) == [("shadow", "shadowed")]
    assert not off.asked
    assert not holdout.asked


def test_under_off_nobody_is_asked_and_nobody_learns() -> None:
    curious = Offers("a", lambda _: rewrite(), wants=True)
    call = make_call(optimize="off")
    backend, outcomes, _ = drive((curious, Flag()), call=call)
    assert backend.calls[0].request is call.request
    assert not curious.asked
    assert not curious.settled
    assert outcomes[0].response is None


def test_the_whole_answer_is_kept_only_for_who_wants_it() -> None:
    assert drive((Offers("a"), Flag()))[1][0].response is None
    kept = drive((Offers("a", wants=True), Flag()))[1][0].response
    assert kept is not None
    assert kept.raw == b"{}"


def test_one_that_cannot_learn_does_not_keep_the_others_from_it() -> None:
    good = Offers("b")
    drive((Offers("a", broken), Flag()), (good, Flag()))
    assert len(good.settled) == 1


def test_what_could_not_be_opened_leaves_an_outcome_too() -> None:
    outcomes: list[Outcome] = []

    async def main() -> None:
        backend = ScriptedBackend(Script(error=Overloaded("full")))
        pipeline = Pipeline((), backend, submit=outcomes.append, clock=FakeClock())
        with pytest.raises(Overloaded):
            await pipeline.open(make_call())

    asyncio.run(main())
    ((outcome),) = outcomes
    assert (outcome.status, outcome.error, outcome.abandoned) == (503, "Overloaded", False)


def test_added_time_runs_from_the_request_to_the_upstream_asked() -> None:
    import msgspec

    from pennyweight.pipeline import Pipeline
    from pennyweight.request import Done, Reply, Wire
    from pennyweight.testing.backend import make_call
    from pennyweight.testing.clock import FakeClock

    clock, outcomes = FakeClock(), []

    class Slow:
        async def open(self, call: object) -> Reply:
            reply = Reply(200, (), wire=Wire.OPENAI_CHAT, content=b"{}", done=Done())
            reply.asked_at = clock.monotonic() + 0.25
            return reply

    pipeline = Pipeline([], Slow(), submit=outcomes.append, clock=clock)  # type: ignore[arg-type]
    call = msgspec.structs.replace(make_call(b'{"model":"m"}'), arrived=clock.monotonic() - 0.5)

    async def main() -> None:
        async with await pipeline.open(call):
            pass

    asyncio.run(main())
    assert outcomes[0].added_s == pytest.approx(0.75)


def test_an_optimizer_that_offers_nothing_may_say_why() -> None:
    def offer(call: Call) -> None:
        abstain(call, "quiet", "too little evidence", spent=7)

    _, outcomes, _ = drive((Offers("quiet", offer), Flag()), (Offers("mute"), Flag()))
    assert [(step.optimizer, step.verdict, step.why, step.spent) for step in outcomes[0].call.trail] == [
        ("quiet", Verdict.ABSTAINED, "too little evidence", 7),
        ("mute", Verdict.ABSTAINED, "", 0),
    ]
