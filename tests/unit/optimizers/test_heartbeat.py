"""Heartbeat repair as the pipeline sees it: what it proposes, what it learns, what it forgets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from tests.unit.optimizers import wakes
from tests.unit.optimizers.wakes import MARK, STAMP, Session, call, outcome

from pennyweight.call import Call, Optimize, Proposal, Rewrite, Step, Verdict
from pennyweight.errors import StoreError
from pennyweight.optimizers.heartbeat import Heartbeat, Settings, build
from pennyweight.optimizers.heartbeat.optimizer import _BORROWED
from pennyweight.prefix import canonical
from pennyweight.protocols import Optimizer
from pennyweight.request import Request, Wire
from pennyweight.testing.optimizer_contract import ContractParts, OptimizerContract

ANTHROPIC = Wire.ANTHROPIC_MESSAGES
WIRES = [Wire.ANTHROPIC_MESSAGES, Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES]
AT = 1_700_000_000.0


class House:
    """An optimizer that is asked and told as the pipeline does it, without a gate."""

    def __init__(self, *, parts: ContractParts | None = None, **settings: Any) -> None:
        self.parts = parts or ContractParts()
        self.optimizer: Heartbeat = build(Settings(**settings), self.parts)

    def ask(self, made: Call) -> Proposal | None:
        return asyncio.run(self.optimizer.propose(made))

    def play(self, made: Call, finish_reason: str = "end_turn", *extra: Step, status: int = 200) -> Call:
        """Propose, follow it, and settle; gives the call as it went out."""
        proposal = self.ask(made)
        if proposal is not None:
            step = Step("heartbeat", Verdict.ACCEPTED, proposal.saving, why=proposal.why)
            made = made.apply(proposal.action).note(step)
        asyncio.run(self.optimizer.settle(outcome(made.note(*extra), finish_reason, status=status)))
        return made


class TestContract(OptimizerContract):
    def build(self, parts: ContractParts) -> Optimizer:
        house = House(parts=parts)
        session = Session()
        house.play(call(session.ordinary(), ANTHROPIC))
        session.answered()
        house.play(call(session.wake(), ANTHROPIC))
        return house.optimizer

    def calls(self) -> Sequence[Call]:
        session = Session()
        session.answered()
        wake = session.wake()
        session.merges(0)
        rewritten = session.wake()
        own: list[Call] = [call(raw, ANTHROPIC, optimize=o) for raw in (wake, rewritten) for o in _LEVELS]
        return [*super().calls(), *own]


_LEVELS: tuple[Optimize, ...] = ("safe", "max")


def messages(request: Request) -> list[Any]:
    found = request.body.get("messages", request.body.get("input"))
    assert isinstance(found, list)
    return found


def marks(value: Any) -> int:
    return msgspec.json.encode(value).count(b'"cache_control":')


def woken(
    wire: Wire = ANTHROPIC, *, optimize: Optimize = "safe", times: int = 1, **settings: Any
) -> tuple[House, Session]:
    """A session after its first wakes, which ended at once; its user has not spoken since."""
    house, session = House(**settings), Session(wire)
    house.play(call(session.ordinary(), wire, optimize=optimize, at=AT))
    session.answered()
    for number in range(times):
        house.play(call(session.wake(), wire, optimize=optimize, at=AT + 40 - times + number))
    return house, session


# --- pinning ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
def test_a_message_that_a_wake_rewrote_goes_out_as_first_sent(wire: Wire) -> None:
    house, session = woken(wire)
    session.asks("Show me ten.")
    first = house.play(call(session.ordinary(), wire, at=AT + 50))
    assert not first.rewritten
    place = len(session.messages) - 1
    session.answered()
    session.asks("And twenty.")
    session.merges(place)
    made = call(session.ordinary(), wire, at=AT + 60)
    proposal = house.ask(made)
    assert proposal is not None
    assert (proposal.level, proposal.risk, proposal.restores) == ("safe", 0.0, True)
    assert proposal.saving > 0
    sent = made.apply(proposal.action).request
    lead = 0 if wire is ANTHROPIC else 1
    ours, theirs = messages(first.request)[lead + place], messages(sent)[lead + place]
    assert canonical(msgspec.json.encode(theirs)) == canonical(msgspec.json.encode(ours))
    others = [
        pair for n, pair in enumerate(zip(messages(made.request), messages(sent), strict=True)) if n != lead + place
    ]
    assert all(a == b for a, b in others)


def test_a_message_of_before_the_first_wake_is_not_known_and_left_alone() -> None:
    house, session = woken()
    session.merges(0)
    session.asks("Go on.")
    assert house.ask(call(session.ordinary(), ANTHROPIC)) is None


def test_the_first_form_outlives_a_restart() -> None:
    house, session = woken()
    session.asks("Show me ten.")
    house.play(call(session.ordinary(), ANTHROPIC))
    session.answered()
    session.merges(2)
    session.asks("And twenty.")
    made = call(session.ordinary(), ANTHROPIC)
    again = House(parts=house.parts)
    proposal = again.ask(made)
    assert proposal is not None
    assert messages(made.apply(proposal.action).request)[2]["content"] == f"{STAMP} Show me ten."
    assert len(next(iter(house.parts.kv.data.values()))) < 100  # prints, no texts


def test_a_store_that_is_down_or_damaged_is_no_harm() -> None:
    house, session = woken()
    session.merges(0)
    made = call(session.ordinary(), ANTHROPIC)
    for key in house.parts.kv.data:
        house.parts.kv.data[key] = b"\xc1damaged"
    assert House(parts=house.parts).ask(made) is None

    class Down(ContractParts):
        async def get(self, key: str) -> bytes | None:
            raise StoreError("down")

    parts = ContractParts()
    parts.kv.get = Down().get  # type: ignore[method-assign]
    assert House(parts=parts).ask(made) is None


def test_tenants_sessions_and_keys_are_told_apart() -> None:
    house, session = woken()
    session.asks("Show me ten.")
    house.play(call(session.ordinary(), ANTHROPIC))
    session.answered()
    session.merges(2)
    session.asks("And twenty.")
    raw = session.ordinary()
    assert house.ask(call(raw, ANTHROPIC)) is not None
    assert house.ask(call(raw, ANTHROPIC, tenant="other")) is None
    assert house.ask(call(raw.replace(b"sessionId=s1", b"sessionId=s2"), ANTHROPIC)) is None
    assert house.ask(call(raw, ANTHROPIC, provider="elsewhere")) is None


# --- marks --------------------------------------------------------------------------------------------------


def test_a_wake_that_will_end_at_once_writes_its_head_alone() -> None:
    house, session = woken(times=5)
    session.asks("Hm.")
    session.answered()
    made = call(session.wake(), ANTHROPIC, at=AT + 90)
    proposal = house.ask(made)
    assert proposal is not None
    assert (proposal.level, proposal.risk) == ("safe", 0.0)
    sent = made.apply(proposal.action).request
    assert marks(sent.body["messages"]) == 0
    assert sent.body["tools"] == made.request.body["tools"]
    assert sent.body["system"] == made.request.body["system"]
    assert canonical(msgspec.json.encode(messages(sent))) == canonical(msgspec.json.encode(messages(made.request)))


def test_the_first_wake_is_left_alone() -> None:
    house, session = House(), Session()
    house.play(call(session.ordinary(), ANTHROPIC))
    session.answered()
    assert house.ask(call(session.wake(), ANTHROPIC)) is None


def test_a_head_that_expires_between_wakes_is_not_written() -> None:
    house, session = woken(times=5)
    made = call(session.wake(), ANTHROPIC, at=AT + 40 + 1_800)
    proposal = house.ask(made)
    assert proposal is not None
    assert marks(made.apply(proposal.action).request.body) == 0


def test_wakes_that_call_tools_keep_their_marks() -> None:
    house, session = House(), Session()
    house.play(call(session.ordinary(), ANTHROPIC))
    session.answered()
    house.play(call(session.wake(), ANTHROPIC), "tool_use")
    assert house.ask(call(session.wake(), ANTHROPIC)) is None


def test_what_pinning_saved_may_be_bet_at_once() -> None:
    house, session = woken()
    assert house.ask(call(session.wake(), ANTHROPIC, at=AT + 45)) is None  # one wake is no evidence
    session.asks("Show me ten.")
    house.play(call(session.ordinary(), ANTHROPIC, at=AT + 50))
    session.answered()
    session.merges(2)
    session.asks("And twenty.")
    assert house.play(call(session.ordinary(), ANTHROPIC, at=AT + 60)).rewritten
    session.answered()
    assert house.ask(call(session.wake(), ANTHROPIC, at=AT + 70)) is not None


def test_a_session_that_lost_by_it_keeps_its_marks() -> None:
    """A wake goes on after its marks were taken off: it has to write its history anew, and once is enough."""
    house, session = woken(times=5)
    for at in (AT + 50, AT + 60, AT + 70, AT + 80):
        assert house.play(call(session.wake(), ANTHROPIC, at=at)).rewritten
    assert house.play(call(session.wake(), ANTHROPIC, at=AT + 90), "tool_use").rewritten
    for at in (AT + 100, AT + 110, AT + 120, AT + 130):
        assert not house.play(call(session.wake(), ANTHROPIC, at=at)).rewritten


def test_later_steps_of_a_wake_keep_their_marks() -> None:
    house, session = woken(times=5)
    step = {
        "role": "assistant",
        "content": [{"type": "tool_use", "id": "t1", "name": "read", "input": {}}],
    }
    result = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "ok", "cache_control": MARK}],
    }
    assert house.ask(call(session.wake(step, result), ANTHROPIC, at=AT + 60)) is None


def test_a_wake_with_its_sessions_head_keeps_its_marks() -> None:
    """Its entries are the session's own: a client that repaired its wakes must not lose by us."""
    house, session = House(), Session()
    house.play(call(session.ordinary(), ANTHROPIC))
    session.answered()
    for _ in range(2):
        raw = session.wake(tools=wakes.SESSION_TOOLS, system=wakes.SESSION_SYSTEM)
        assert house.ask(call(raw, ANTHROPIC)) is None
        house.play(call(raw, ANTHROPIC))


def test_a_wake_whose_sessions_head_is_not_known_keeps_its_marks() -> None:
    house, session = House(), Session()
    session.answered()
    house.play(call(session.wake(), ANTHROPIC))
    assert house.ask(call(session.wake(), ANTHROPIC)) is None


# --- the session's head ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES)
def test_under_max_a_wake_goes_on_its_sessions_head(wire: Wire) -> None:
    house, session = House(), Session(wire)
    last = house.play(call(session.ordinary(), wire, optimize="max"))
    session.answered()
    made = call(session.wake(), wire, optimize="max")
    proposal = house.ask(made)
    assert proposal is not None
    assert (proposal.level, proposal.why) == ("max", _BORROWED)
    assert 0 < proposal.risk < 0.05
    sent = made.apply(proposal.action).request
    assert sent.body["tools"] == last.request.body["tools"]
    assert sent.body.get("system") == last.request.body.get("system")
    lead = 0 if wire is ANTHROPIC else 1
    ours, theirs = messages(sent), messages(made.request)
    assert ours[:lead] == messages(last.request)[:lead]
    place = len(session.messages) + lead
    assert [_texts(m) for m in ours[lead:place]] == [_texts(m) for m in theirs[lead:place]]
    assert [_texts(m) for m in ours[place + 1 :]] == [_texts(m) for m in theirs[place:]]
    told = ours[place]["content"]
    assert ours[place]["role"] == "user"
    assert "Gateway restart: leave it alone." in told  # verbatim
    assert "Gateway restart: ask `openclaw`." in told  # by how it begins
    assert "must not be called: openclaw" in told
    assert "automations, nodes" in told
    assert "exec: Run." in told
    assert "Rule 7" not in told
    assert marks(sent.body) <= 4


def _texts(message: dict[str, Any]) -> list[str]:
    content = message["content"]
    return [content] if isinstance(content, str) else [block.get("text", "") for block in content]


def test_the_history_is_read_up_to_the_wake_and_nothing_is_written_behind_it() -> None:
    house, session = woken(optimize="max")
    made = call(session.wake(), ANTHROPIC, optimize="max", at=AT + 60)
    sent = house.play(made).request
    marked = [n for n, message in enumerate(messages(sent)) if marks(message)]
    assert marked == [len(session.messages) - 1]


@pytest.mark.parametrize(
    "change",
    [
        {"tools": [*wakes.WAKE_TOOLS, wakes.tool("unknown")]},
        {"tools": [wakes.tool("exec", "Run.", shell={"type": "string"}), *wakes.WAKE_TOOLS[1:]]},
        {"system": wakes.WAKE_SYSTEM.replace("- ask_user (core): Ask.", "- other (core): Do.")},
        {"system": "You wake in OpenClaw.\n" + "\n".join(f"Line {n}" for n in range(40))},
        {"tool_choice": {"type": "any"}},
        {"thinking": {"type": "adaptive"}},
    ],
    ids=[
        "a tool of its own",
        "other parameters",
        "a listed tool of its own",
        "other instructions",
        "choice",
        "thinking",
    ],
)
def test_a_wake_that_needs_what_the_head_lacks_keeps_its_own(change: dict[str, Any]) -> None:
    house, session = woken(optimize="max")
    proposal = house.ask(call(session.wake(**change), ANTHROPIC, optimize="max", at=AT + 60))
    assert proposal is None or proposal.level == "safe"


def test_a_wake_of_another_conversation_keeps_its_own_head() -> None:
    house, session = woken(optimize="max", times=5)
    session.messages[0] = wakes.said(f"{STAMP} Something else.")
    proposal = house.ask(call(session.wake(), ANTHROPIC, optimize="max", at=AT + 60))
    assert proposal is not None
    assert proposal.level == "safe"


def test_a_cold_head_is_not_borrowed() -> None:
    house, session = woken(optimize="max", times=5)
    proposal = house.ask(call(session.wake(), ANTHROPIC, optimize="max", at=AT + 1_000))
    assert proposal is not None
    assert proposal.level == "safe"


def test_a_wake_keeps_the_head_warm_for_the_next() -> None:
    house, session = woken(optimize="max")
    for at in (AT + 250, AT + 500, AT + 750):
        assert house.play(call(session.wake(), ANTHROPIC, optimize="max", at=at)).trail[-1].why == _BORROWED


def test_later_steps_say_the_same_at_the_same_place() -> None:
    house, session = woken(optimize="max")
    first = house.play(call(session.wake(), ANTHROPIC, optimize="max", at=AT + 60), "tool_use")
    step = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "read", "input": {}}]}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "ok"}]}
    later = house.play(call(session.wake(step, result), ANTHROPIC, optimize="max", at=AT + 61))
    place = len(session.messages)
    assert _texts(messages(later.request)[place]) == _texts(messages(first.request)[place])
    assert messages(later.request)[place + 2] == step
    assert marks(later.request.body) <= 4


def test_answers_that_were_refused_twice_end_it() -> None:
    house, session = woken(optimize="max")
    asked_again = Step("offered_tools", Verdict.ACCEPTED)
    for at in (AT + 60, AT + 70):
        made = house.play(call(session.wake(), ANTHROPIC, optimize="max", at=at), "end_turn", asked_again)
        assert made.trail[-1].why == _BORROWED or made.trail[-2].why == _BORROWED
    proposal = house.ask(call(session.wake(), ANTHROPIC, optimize="max", at=AT + 80))
    assert proposal is None or proposal.level == "safe"


# --- what it costs others -------------------------------------------------------------------------------------


def test_clients_that_are_not_woken_are_not_remembered() -> None:
    house = House()
    raw = b'{"model":"m","system":"S","tools":[{"name":"f"}],"messages":[{"role":"user","content":"x"}]}'
    made = call(raw, ANTHROPIC)
    made = msgspec.structs.replace(made, identity=msgspec.structs.replace(made.identity, session="s"))
    assert house.play(made) is made
    assert len(house.optimizer._memory.sessions) == 0
    assert not house.parts.kv.data


def test_a_session_that_is_never_woken_stores_nothing() -> None:
    house, session = House(), Session()
    for _ in range(3):
        house.play(call(session.ordinary(), ANTHROPIC))
        session.answered()
        session.asks("More.")
    assert not house.parts.kv.data


def test_memory_is_bounded() -> None:
    house, session = House(), Session()
    raw = session.ordinary()
    for number in range(600):
        house.play(call(raw.replace(b"sessionId=s1", f"sessionId=n{number}".encode()), ANTHROPIC))
    assert len(house.optimizer._memory.sessions) == 512


def test_failed_calls_teach_nothing() -> None:
    house, session = House(), Session()
    house.play(call(session.ordinary(), ANTHROPIC), status=429)
    session.answered()
    house.play(call(session.wake(), ANTHROPIC), status=500)
    assert len(house.optimizer._memory.sessions) == 0


@pytest.mark.parametrize("switched_off", ["pin", "unmark", "borrow"])
def test_each_part_can_be_switched_off(switched_off: str) -> None:
    level: Optimize = "max" if switched_off == "borrow" else "safe"
    house, session = woken(optimize=level, times=5, **{switched_off: False})
    session.asks("Show me ten.")
    house.play(call(session.ordinary(), ANTHROPIC, optimize=level, at=AT + 50))
    session.answered()
    session.merges(2)
    wake = house.ask(call(session.wake(), ANTHROPIC, optimize=level, at=AT + 60))
    session.asks("And twenty.")
    ordinary = house.ask(call(session.ordinary(), ANTHROPIC, optimize=level, at=AT + 70))
    assert (ordinary is None) == (switched_off == "pin")
    match switched_off:
        case "unmark":
            assert wake is None
        case "borrow":
            assert wake is not None
            assert wake.level == "safe"
        case _:
            assert wake is not None


def test_a_rewrite_is_all_it_proposes() -> None:
    house, session = woken(times=5)
    proposal = house.ask(call(session.wake(), ANTHROPIC, at=AT + 60))
    assert proposal is not None
    assert isinstance(proposal.action, Rewrite)
