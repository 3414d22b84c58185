from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import msgspec
import pytest

from pennyweight.adaptive import Adaptive, Change
from pennyweight.adaptive import Settings as LoopSettings
from pennyweight.call import Call, Identity, Outcome, Proposal, Rewrite, Step, Target, Verdict
from pennyweight.optimizers.output_limit import LimitKnob, OutputLimit, Settings, build
from pennyweight.pipeline import judge
from pennyweight.protocols import Optimizer
from pennyweight.request import Charge, Done, Edit, Usage, Wire
from pennyweight.testing.backend import make_call
from pennyweight.testing.clock import FakeClock
from pennyweight.testing.optimizer_contract import ContractParts, OptimizerContract

BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
SETTINGS = Settings(proper=100)


def outcome(call: Call, tokens: int, *, finish: str = "stop", limited: bool = False) -> Outcome:
    usage = Usage(input_tokens=10, output_tokens=tokens)
    done = Done(usage, finish, (Charge(call.target.provider, call.target.model, usage, call.at),))
    if limited:
        call = call.note(Step("output_limit", Verdict.ACCEPTED))
    return Outcome(call, done, 200, call.target.provider)


def taught(
    call: Call, *, proper: int = 200, longest: int = 1000, runaways: int = 4, ran_to: int = 32_000
) -> OutputLimit:
    """One that learns, and has seen those answers."""
    optimizer = build(SETTINGS, ContractParts())
    optimizer.knobs()

    async def teach() -> None:
        for n in range(proper):
            await optimizer.settle(outcome(call, longest - n % 7))
        for _ in range(runaways):
            await optimizer.settle(outcome(call, ran_to, finish="length"))

    asyncio.run(teach())
    return optimizer


def only(optimizer: OutputLimit) -> LimitKnob:
    (knob,) = optimizer.knobs()
    assert isinstance(knob, LimitKnob)
    return knob


def look(optimizer: OutputLimit, call: Call) -> Proposal | None:
    return asyncio.run(optimizer.propose(call))


class TestContract(OptimizerContract):
    def build(self, parts: ContractParts) -> Optimizer:
        return build(Settings(), parts)


class TestContractWithALimit(OptimizerContract):
    """With a limit in force for every kind of call that the suite has."""

    def build(self, parts: ContractParts) -> Optimizer:
        optimizer = build(Settings(proper=1, runaways=1), parts)
        optimizer.knobs()

        async def teach() -> None:
            for call in self.calls():
                for tokens, finish in ((100, "stop"), (32_000, "length")):
                    await optimizer.settle(outcome(call, tokens, finish=finish))

        asyncio.run(teach())
        for knob in optimizer.knobs():
            knob.turn(4096.0)
        return optimizer


def test_it_sets_no_limit_by_itself() -> None:
    call = make_call(BODY)
    optimizer = taught(call)
    assert (look(optimizer, call), only(optimizer).value) == (None, math.inf)


def test_a_limit_stands_well_above_the_longest_proper_answer() -> None:
    wish = only(taught(make_call(BODY), longest=2000)).wish()
    assert wish is not None
    assert wish.value == 8192.0
    assert wish.reason == "200 proper answers had at most 2000 tokens, 4 ran on to 32000"


@pytest.mark.parametrize(
    ("why", "answers"),
    [
        ("too few proper ones", {"proper": 99}),
        ("too few ran away", {"runaways": 2}),
        ("the proper ones are as long", {"longest": 5000}),
    ],
)
def test_no_limit_is_wished_for(why: str, answers) -> None:
    assert only(taught(make_call(BODY), **answers)).wish() is None


def test_answers_that_say_nothing_are_not_counted() -> None:
    call, limited = make_call(BODY), make_call(BODY[:-1] + b',"max_tokens":50}')
    optimizer = build(SETTINGS, ContractParts())
    unasked = build(SETTINGS, ContractParts())
    optimizer.knobs()
    odd = [
        outcome(limited, 50, finish="length"),  # the caller's own limit
        outcome(call, 50, finish="content_filter"),
        msgspec.structs.replace(outcome(call, 50), status=500),
        msgspec.structs.replace(outcome(call, 50), abandoned=True),
        msgspec.structs.replace(outcome(call, 50), done=Done(Usage(1), "stop", ())),  # nobody was asked
        msgspec.structs.replace(outcome(call, 50), call=msgspec.structs.replace(call, target=other("q"))),  # fallback
    ]
    for made in odd:
        asyncio.run(optimizer.settle(made))
    asyncio.run(unasked.settle(outcome(call, 50)))
    assert optimizer.knobs() == unasked.knobs() == ()


def other(provider: str, model: str = "m") -> Target:
    return Target(provider, model, Wire.OPENAI_CHAT)


def test_kinds_are_apart_and_bounded() -> None:
    optimizer = build(Settings(kinds=3), ContractParts())
    optimizer.knobs()
    for n in range(5):
        identity = Identity(tenant=f"t{n}", agent="a")
        asyncio.run(optimizer.settle(outcome(msgspec.structs.replace(make_call(BODY), identity=identity), 5)))
    assert [knob.name.partition("[")[2][:2] for knob in optimizer.knobs()] == ["t2", "t3", "t4"]


@pytest.mark.parametrize(
    ("wire", "provider", "body", "path"),
    [
        (Wire.OPENAI_CHAT, "openai", BODY, ("max_completion_tokens",)),
        (Wire.OPENAI_CHAT, "lab", BODY, ("max_tokens",)),
        (Wire.OPENAI_RESPONSES, "openai", b'{"model":"m","input":"hi"}', ("max_output_tokens",)),
        (Wire.OLLAMA, "ollama", BODY, ("options", "num_predict")),
        (Wire.OLLAMA, "ollama", BODY[:-1] + b',"options":{"seed":1}}', ("options", "num_predict")),
    ],
)
def test_the_limit_goes_where_the_protocol_has_it(
    wire: Wire, provider: str, body: bytes, path: tuple[str, ...]
) -> None:
    call = msgspec.structs.replace(make_call(body, wire=wire), target=Target(provider, "m", wire), optimize="max")
    optimizer = taught(call)
    only(optimizer).turn(4096.0)
    proposal = look(optimizer, call)
    assert proposal is not None
    assert proposal.action == Rewrite((Edit(path, 4096),))
    changed = msgspec.json.decode(call.apply(proposal.action).request.raw)
    for key in path:
        changed = changed[key]
    assert changed == 4096
    # 4 of 204 answers wrote 27,904 tokens more than the limit: 547 for each, at a microdollar a token.
    assert proposal.saving == 547 * 10**6
    assert proposal.risk == 3 / 200
    assert judge(proposal, mode="on", optimize="max", risk_left=0.05) is Verdict.ACCEPTED
    assert judge(proposal, mode="on", optimize="safe", risk_left=0.05) is Verdict.NOT_ALLOWED


@pytest.mark.parametrize(
    "extra",
    [
        b',"max_tokens":100000}',
        b',"max_completion_tokens":1}',
        b',"max_tokens":"many"}',
        b',"max_output_tokens":5}',
        b',"options":null}',
        b',"options":{"num_predict":-1}}',
    ],
)
def test_a_callers_own_limit_is_never_touched(extra: bytes) -> None:
    optimizer = taught(make_call(BODY))
    only(optimizer).turn(4096.0)
    assert look(optimizer, make_call(BODY[:-1] + extra)) is None


def test_a_null_is_no_limit() -> None:
    optimizer = taught(make_call(BODY))
    only(optimizer).turn(4096.0)
    assert look(optimizer, make_call(BODY[:-1] + b',"max_tokens":null}')) is not None


def test_messages_always_have_a_limit_of_their_caller() -> None:
    body = b'{"model":"m","max_tokens":10,"messages":[]}'
    call = make_call(body, wire=Wire.ANTHROPIC_MESSAGES)
    optimizer = build(SETTINGS, ContractParts())
    optimizer.knobs()
    asyncio.run(optimizer.settle(outcome(call, 10, finish="max_tokens")))
    assert optimizer.knobs() == ()


class Kept:
    """Changes in a list."""

    def __init__(self) -> None:
        self.all: list[Change] = []

    async def add(self, change: Change) -> int:
        self.all.append(msgspec.structs.replace(change, number=len(self.all)))
        return len(self.all) - 1

    async def settle(self, number, outcome, figures, at) -> None:
        self.all[number] = msgspec.structs.replace(self.all[number], outcome=outcome, figures=figures)

    async def last(self) -> list[Change]:
        return self.all


def lived(tokens: Callable[[int], tuple[int, str]], calls: int) -> tuple[OutputLimit, Kept]:
    """So many calls of an agent through optimizer and loop; `tokens`: how long the n-th answer would be, and its end.
    An answer that passes the limit in force is cut there."""
    clock, changes = FakeClock(), Kept()
    optimizer = build(SETTINGS, ContractParts())
    loop = Adaptive([optimizer], changes, clock=clock, settings=LoopSettings(enabled=True))

    async def live() -> None:
        call = msgspec.structs.replace(make_call(BODY), optimize="max")
        for n in range(calls):
            length, finish = tokens(n)
            proposal = await optimizer.propose(call)
            limited = (
                proposal is not None and judge(proposal, mode="on", optimize="max", risk_left=0.05) is Verdict.ACCEPTED
            )
            limit = optimizer.knobs()[0].value if limited else math.inf
            if length > limit:
                length, finish = int(limit), "length"
            await optimizer.settle(outcome(call, length, finish=finish, limited=limited))
            clock.advance(60)
            if n % 5 == 0:
                await loop.step()

    asyncio.run(live())
    return optimizer, changes


def test_runaways_are_limited_and_the_limit_stands() -> None:
    optimizer, changes = lived(lambda n: (32_000, "length") if n % 50 == 49 else (500 + n % 300, "stop"), 1000)
    assert only(optimizer).value == 4096.0
    (change,) = changes.all
    assert (change.old, change.new, change.outcome) == (math.inf, 4096.0, "kept")


def test_a_limit_is_raised_before_proper_answers_reach_it() -> None:
    def work(n: int) -> tuple[int, str]:
        return (32_000, "length") if n % 50 == 49 else (500 if n < 600 else 1500, "stop")

    optimizer, changes = lived(work, 900)
    assert [(change.new, change.outcome) for change in changes.all] == [(4096.0, "kept"), (6144.0, "kept")]
    assert only(optimizer).value == 6144.0


def test_a_limit_that_cuts_proper_answers_is_undone() -> None:
    """The agent is given other work, with long answers, after the limit was learnt."""

    def work(n: int) -> tuple[int, str]:
        if n >= 400:
            return 6000, "stop"
        return (32_000, "length") if n % 50 == 49 else (500, "stop")

    optimizer, changes = lived(work, 430)
    assert changes.all[0].outcome == "undone"
    assert only(optimizer).value == math.inf


def test_where_nothing_runs_away_nothing_is_limited() -> None:
    optimizer, changes = lived(lambda n: (n % 3000, "stop"), 500)
    assert (only(optimizer).value, changes.all) == (math.inf, [])
