"""The gate on whole sessions, against a provider that bills: what is warm stays, what was changed stays changed, and
nothing that goes wrong in weighing costs a request."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from tests.unit.gate_rig import CLAUDE, MARK, Edits, Rig, asks, economy, key, turns, verdicts, words

from pennyweight.call import Call, Proposal, Rewrite, Route, Step, Target, Verdict
from pennyweight.economy import SMALL_BYTES, Economy
from pennyweight.money import FREE
from pennyweight.pipeline import judge
from pennyweight.request import DELETE, Charge, Done, Edit, Operation, Usage

SHORT = "[shortened]"


def shorten(call: Call) -> list[Edit]:
    """Shorten the first message of the usual conversation, once there are five."""
    messages = call.request.body["messages"]
    if len(messages) < 5 or not messages[0]["content"][0]["text"].startswith("wu0-"):
        return []
    return [Edit(("messages", 0, "content", 0, "text"), SHORT)]


def first_text(rig: Rig) -> Any:
    return rig.texts()[0]["content"][0]["text"]


def test_a_change_of_what_is_warm_waits_and_is_made_when_it_is_cold() -> None:
    rig = Rig(Edits(shorten))
    for number in (1, 2, 3):
        outcome = rig.ask(asks(turns(number, size=1_500)))
    assert verdicts(outcome) == [("edits", "queued")]
    assert "tokens in the provider's cache would be lost" in outcome.call.trail[0].why
    assert first_text(rig) != SHORT
    assert verdicts(rig.ask(asks(turns(4, size=1_500)), after_s=4_000.0)) == [("edits", "accepted")]
    assert first_text(rig) == SHORT


def cold_start(rig: Rig) -> None:
    """A conversation whose first message has been shortened."""
    rig.ask(asks(turns(2, size=1_500)))
    assert verdicts(rig.ask(asks(turns(3, size=1_500)), after_s=4_000.0)) == [("edits", "accepted")]


def test_what_was_once_changed_is_sent_so_and_read_from_the_cache() -> None:
    rig = Rig(Edits(shorten))
    cold_start(rig)
    for number in (4, 5):
        outcome = rig.ask(asks(turns(number, size=1_500)))
        assert first_text(rig) == SHORT
        assert outcome.call.trail[0].why == "in the form in which it was first sent"
        assert rig.provider.bills[-1].cache_read_tokens > 1_400


def test_a_caller_who_changes_the_conversation_gets_what_he_asks_for() -> None:
    rig = Rig(Edits(shorten))
    cold_start(rig)
    other = turns(3, size=1_500, salt="other")
    rig.ask(asks(other))
    assert rig.texts() == other


def test_the_prompt_of_a_session_is_byte_for_byte_the_one_before_and_more() -> None:
    def edits(call: Call) -> list[Edit]:
        messages = call.request.body["messages"]
        if len(messages) != 3 or messages[0]["content"] == SHORT:
            return []
        return [Edit(("messages", 1), DELETE), Edit(("messages", 0, "content"), SHORT)]

    rig = Rig(Edits(edits))
    rig.ask(asks(turns(1, size=1_500, mark=False)))
    rig.ask(asks(turns(2, size=1_500, mark=False)), after_s=4_000.0)
    before = rig.provider.sent[-1]
    assert len(before.body["messages"]) == 2
    rig.ask(asks(turns(3, size=1_500, mark=False)))
    assert rig.provider.sent[-1].raw.startswith(before.raw.rstrip(b"]}"))


def test_an_upstream_that_refuses_the_change_is_asked_again_and_the_session_left_alone() -> None:
    rig = Rig(Edits(shorten))
    rig.provider.refuses = lambda request: SHORT.encode() in request.raw
    rig.ask(asks(turns(2, size=1_500)))
    outcome = rig.ask(asks(turns(3, size=1_500)), after_s=4_000.0)
    assert outcome.status == 200
    assert outcome.call.trail == (Step("edits", Verdict.FAILED, error="refused_upstream"),)
    assert (len(rig.provider.sent), outcome.untouched) == (3, None)
    outcome = rig.ask(asks(turns(4, size=1_500)), after_s=4_000.0)
    assert len(rig.provider.sent) == 4
    assert verdicts(outcome) == [("edits", "not_worth_it")]
    assert "refused" in outcome.call.trail[0].why


def test_a_call_whose_route_is_taken_back_is_asked_with_its_callers_own_key() -> None:
    class Elsewhere(Edits):
        async def propose(self, call: Call) -> Proposal | None:
            there = Target("other", "model", call.target.wire)
            return Proposal(Route(there, (Edit(("top_k",), 7),)), level="safe", forced=True)

    rig = Rig(Elsewhere(lambda _call: []))
    rig.provider.refuses = lambda request: b'"top_k"' in request.raw
    asked = msgspec.structs.replace(asks(turns(2, size=1_500)), credential=key("sk-ant-own"))
    outcome = rig.ask(asked)
    assert outcome.status == 200
    assert (outcome.call.target, outcome.call.credential) == (asked.target, asked.credential)


def test_a_call_that_is_refused_either_way_says_nothing_of_the_change() -> None:
    rig = Rig(Edits(shorten))
    cold_start(rig)
    rig.provider.status = 400
    assert rig.ask(asks(turns(4, size=1_500))).status == 400
    rig.provider.status = 200
    rig.ask(asks(turns(4, size=1_500)))
    assert first_text(rig) == SHORT


class Raises(Economy):
    """Everything it does fails."""

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if name.startswith("_") or not callable(found):
            return found

        def fails(*args: Any, **options: Any) -> Any:
            raise RuntimeError("no economy today")

        return fails


def test_an_economy_that_raises_costs_no_request() -> None:
    broken = economy()
    broken.__class__ = Raises
    rig = Rig(Edits(shorten), economy=broken)
    for number in (1, 2, 3):
        outcome = rig.ask(asks(turns(number, size=1_500)))
        assert (outcome.status, outcome.untouched) == (200, None)
    assert outcome.call.trail[0].verdict is Verdict.NOT_WORTH_IT


def test_without_the_gate_every_change_goes_through() -> None:
    rig = Rig(Edits(shorten), gate=False)
    for number in (2, 3):
        outcome = rig.ask(asks(turns(number, size=1_500)))
    assert verdicts(outcome) == [("edits", "accepted")]


@pytest.mark.parametrize(
    "edit",
    [
        Edit(("messages", 99, "content"), "x"),
        Edit(("model", "deeper"), 1),
        Edit(("messages", 0, 0, 0), 1),
        Edit(("max_tokens", "x"), 1),
    ],
)
@pytest.mark.parametrize("size", [1, 1_500])
def test_an_edit_that_does_not_fit_costs_no_request(edit: Edit, size: int) -> None:
    rig = Rig(Edits(lambda call: [edit]))
    outcome = rig.ask(asks(turns(1, size=size)))
    assert outcome.status == 200
    assert outcome.call.trail[0].verdict in (Verdict.FAILED, Verdict.NOT_WORTH_IT)
    assert rig.provider.sent[-1].raw == outcome.call.original.raw


def test_a_prompt_that_is_too_small_to_look_at_is_still_weighed_before_it_changes() -> None:
    rig = Rig(
        Edits(lambda call: [Edit(("system",), "[1 messages so far]\n" + call.request.body["system"])], saving=10**10)
    )
    outcome = rig.ask(asks([{"role": "user", "content": "hi"}], system="Be terse."))
    assert len(rig.provider.sent[-1].raw) < SMALL_BYTES
    assert verdicts(outcome) == [("edits", "not_worth_it")]
    assert not outcome.call.rewritten


@pytest.mark.parametrize(("size", "verdict"), [(5_000, "not_worth_it"), (30_000, "accepted")])
def test_a_prompt_below_what_is_cached_may_be_cheaper_than_a_long_one_that_is_read(size: int, verdict: str) -> None:
    def shortened(call: Call) -> list[Edit]:
        messages = call.request.body["messages"]
        return [Edit(("messages", 2, "content", 0, "text"), SHORT)] if len(messages) > 2 else []

    rig = Rig(Edits(shortened, saving=10**10))
    rig.ask(asks(turns(1, size=20)))
    long = turns(2, size=20)
    long[2]["content"][0]["text"] = words(size)
    outcome = rig.ask(asks(long))
    assert verdicts(outcome) == [("edits", verdict)], outcome.call.trail


def test_a_new_body_as_a_whole_is_weighed_like_any_change() -> None:
    def whole(call: Call) -> list[Edit]:
        body = dict(call.request.body)
        return [Edit((), {**body, "messages": [{"role": "user", "content": SHORT}, *body["messages"][1:]]})]

    rig = Rig(Edits(lambda call: whole(call) if len(call.request.body["messages"]) > 4 else []))
    for number in (1, 2, 3):
        outcome = rig.ask(asks(turns(number, size=1_500)))
    assert verdicts(outcome) == [("edits", "queued")]


@pytest.mark.parametrize("field", ["risk", "saving", "spent"])
def test_what_is_no_number_is_never_accepted(field: str) -> None:
    proposal = Proposal(Rewrite((Edit(("x",), 1),)), saving=5, level="safe")
    odd = msgspec.structs.replace(proposal, **{field: float("nan")})
    assert judge(odd, mode="on", optimize="max", risk_left=1.0) is not Verdict.ACCEPTED
    negative = msgspec.structs.replace(proposal, risk=-0.5)
    assert judge(negative, mode="on", optimize="max", risk_left=1.0) is Verdict.TOO_RISKY


# --- what is not known ------------------------------------------------------------------------------------------


def test_after_a_restart_in_mid_session_nothing_old_is_touched() -> None:
    before = Rig(Edits(lambda call: []))
    for number in (1, 2, 3):
        before.ask(asks(turns(number, size=1_500)))
    after = Rig(Edits(shorten), clock=before.clock, provider=before.provider)
    for number in (4, 5):
        outcome = after.ask(asks(turns(number, size=1_500)))
        assert verdicts(outcome) == [("edits", "queued")]
        assert before.provider.bills[-1].cache_read_tokens > 4_000


def test_after_a_restart_no_saving_is_claimed_for_what_the_caller_had_cached() -> None:
    beside = Edits(lambda call: [Edit(("metadata",), {"user_id": "u"})])
    before = Rig(Edits(lambda call: []))
    for number in (1, 2, 3):
        before.ask(asks(turns(number, size=1_500)))
    after = Rig(beside, clock=before.clock, provider=before.provider)
    outcome = after.ask(asks(turns(4, size=1_500)))
    assert outcome.untouched == outcome.done.usage


def test_what_another_provider_answered_teaches_nothing_of_the_one_that_was_asked() -> None:
    rig = Rig(Edits(shorten))
    rig.ask(asks(turns(1, size=1_500)))
    accuracy = {scope: found.calls for scope, found in rig.economy.actual.accuracy().items()}
    rig.provider.elsewhere = "other"
    rig.provider.notes = [Step("fallback", Verdict.ACCEPTED, why="other/m: answered instead")]
    outcome = rig.ask(asks(turns(2, size=1_500)))
    assert outcome.untouched is None
    assert {scope: found.calls for scope, found in rig.economy.actual.accuracy().items()} == accuracy
    later = rig.ask(asks(turns(3, size=1_500)), after_s=4_000.0)  # cold at the one asked, warm perhaps at the other
    assert verdicts(later)[0] == ("edits", "queued")


def test_an_error_of_the_upstream_is_not_taken_for_a_call_that_was_cached() -> None:
    rig = Rig(Edits(shorten))
    rig.provider.status = 529
    rig.ask(asks(turns(1, size=1_500)))
    assert rig.economy.actual._tables == {}
    assert rig.economy.habits.calls("local\0s") == 0


def test_without_a_price_nothing_warm_is_changed_and_nothing_cold_is_hindered() -> None:
    rig = Rig(Edits(shorten), price=None)
    for number in (1, 2, 3):
        outcome = rig.ask(asks(turns(number, size=1_500)))
    assert verdicts(outcome) == [("edits", "queued")]
    assert verdicts(rig.ask(asks(turns(4, size=1_500)), after_s=4_000.0)) == [("edits", "accepted")]


def test_what_costs_nothing_may_change_at_any_time() -> None:
    rig = Rig(Edits(shorten), price=FREE)
    rig.ask(asks(turns(2, size=1_500)))
    assert verdicts(rig.ask(asks(turns(3, size=1_500)))) == [("edits", "accepted")]


def test_tenants_and_keys_share_nothing_but_the_gateways_own_cache() -> None:
    rig = Rig(Edits(lambda call: []))
    prompt = turns(1, size=1_500)
    look = rig.economy.look
    rig.ask(asks(prompt, tenant="a", session="1"))
    assert look(asks(prompt, tenant="b", session="1"), at=20.0).forecast.warm > 0.9  # type: ignore[union-attr]
    rig.ask(asks(prompt, tenant="a", credential=key("one")))
    for stranger in (asks(prompt, tenant="a", credential=key("two")), asks(prompt, tenant="b", credential=key("one"))):
        seen = look(stranger, at=20.0)
        assert seen is not None
        assert seen.forecast.known_to == 0
        assert "one" not in repr(seen.scope)
        assert "two" not in repr(seen.scope)
    seen = look(asks(turns(2, size=1_500), tenant="b", session="s"), at=20.0)
    assert seen is not None
    assert seen.conversation is None


def test_a_plans_token_may_change_while_its_cache_stays() -> None:
    rig = Rig(Edits(lambda call: []))
    prompt = turns(1, size=1_500)
    rig.ask(asks(prompt, credential=key("old", subscription=True)))
    seen = rig.economy.look(asks(prompt, credential=key("new", subscription=True)), at=20.0)
    assert seen is not None
    assert seen.forecast.known_to == 1


def test_pins_of_one_tenant_are_not_anothers() -> None:
    rig = Rig(Edits(shorten))
    cold_start(rig)
    rig.ask(asks(turns(4, size=1_500), tenant="other"))
    assert first_text(rig) != SHORT


def test_counting_tokens_is_neither_changed_nor_learned_from() -> None:
    rig = Rig(Edits(shorten))
    cold_start(rig)
    call = asks(turns(4, size=1_500))
    counted = msgspec.structs.replace(call.original, operation=Operation.COUNT)
    rig.pipeline._optimizers = ()
    exposure = rig.pipeline._policy.exposure(call)
    session = f"{call.identity.tenant}\0{call.identity.session}"
    asked = msgspec.structs.replace(call, original=counted, request=counted)
    assert rig.pipeline._resume(asked, exposure, session).request is counted
    assert rig.economy.look(msgspec.structs.replace(call, original=counted, request=counted), at=0.0) is None


def test_calls_of_one_session_at_once_do_no_harm() -> None:
    rig = Rig(Edits(shorten))

    async def one(number: int) -> None:
        async with await rig.pipeline.open(asks(turns(1 + number % 3, size=1_500))) as reply:
            await reply.read()

    async def main() -> None:
        await asyncio.gather(*(one(number) for number in range(12)))

    asyncio.run(main())
    assert [outcome.status for outcome in rig.outcomes] == [200] * 12
    assert rig.economy.habits.calls("local\0s") == 12


LONG = words(2_000)


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": []},
        {"messages": None, "system": LONG},
        {"messages": [None, 5, True, LONG]},
        {"messages": [{"role": "user", "content": None}], "system": LONG},
        {"messages": [{"role": 7, "content": {"type": ["x"]}}], "system": [5, None, {"cache_control": 5}]},
        {"messages": [{"role": "user", "content": [[[LONG]]]}], "tools": [None, 5, {"name": None}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": 5, "cache_control": []}, LONG]}]},
        {"messages": [{"role": "user", "content": LONG}], "cache_control": 7, "thinking": [], "tool_choice": 1.5},
    ],
)
def test_odd_bodies_go_through_as_they_came(fields: dict[str, Any]) -> None:
    rig = Rig(Edits(lambda call: []))
    body = {"model": CLAUDE, **fields}
    rig.provider.bill = Usage(input_tokens=2_000)
    call = asks([])
    raw = msgspec.json.encode(body)
    request = msgspec.structs.replace(call.original, raw=raw)
    for _ in range(2):
        outcome = rig.ask(msgspec.structs.replace(call, original=request, request=request))
        assert outcome.status == 200
        assert rig.provider.sent[-1].raw == raw


def test_a_body_nested_as_deep_as_the_interpreter_goes_is_passed_on() -> None:
    rig = Rig(Edits(lambda call: []))
    deep: Any = LONG
    for _ in range(400):
        deep = [deep]
    call = asks([{"role": "user", "content": deep}])
    rig.provider.bill = Usage(input_tokens=2_000)
    assert rig.ask(call).status == 200


def test_a_stream_that_was_cut_teaches_what_its_start_told_and_no_more() -> None:
    rig = Rig(Edits(lambda call: []))
    rig.provider.done = Done(complete=False)
    outcome = rig.ask(asks(turns(1, size=1_500)))
    assert (outcome.untouched, outcome.foreseen_read_tokens) == (None, None)
    assert rig.economy.actual.accuracy() == {}
    seen = rig.economy.look(asks(turns(2, size=1_500)), at=20.0)
    assert seen is not None
    assert seen.forecast.known_to == 1  # its prompt was taken all the same, and may be warm


def test_a_call_that_was_billed_twice_is_not_one_to_learn_from() -> None:
    rig = Rig(Edits(lambda call: []))
    charge = Charge("p", CLAUDE, Usage(input_tokens=1_500), 0.0)
    rig.provider.done = Done(Usage(input_tokens=1_500), "end_turn", (charge, charge))
    assert rig.ask(asks(turns(1, size=1_500))).untouched is None
    assert rig.economy.actual.accuracy() == {}


def test_what_follows_a_restored_message_keeps_the_form_in_which_it_was_sent() -> None:
    """A client rewrites an early message; one optimizer gives it its first form back, another shortened a later one."""

    def shortened(call: Call) -> list[Edit]:
        content = call.request.body["messages"][-1]["content"]
        long = isinstance(content, list) and len(content[0]["text"]) > 8_000
        return (
            [Edit(("messages", len(call.request.body["messages"]) - 1, "content", 0, "text"), "short")] if long else []
        )

    def restored(call: Call) -> list[Edit]:
        first = call.request.body["messages"][0]["content"]
        return [Edit(("messages", 0, "content"), first[1:])] if first[0]["text"] == "poll" else []

    rig = Rig(Edits(restored, "restoring", restores=True), Edits(shortened, "shortening"))
    messages = turns(2, size=3_000, mark=False)
    messages[-1]["content"][0]["text"] = words(4_000, "long")
    rig.ask(asks(messages[:1]))
    rig.ask(asks(messages))
    assert rig.texts()[-1]["content"][0]["text"] == "short"
    sent = rig.texts()
    messages += [
        {"role": "assistant", "content": "answer"},
        {"role": "user", "content": [{"type": "text", "text": "on"}]},
    ]
    messages[0] = {"role": "user", "content": [{"type": "text", "text": "poll"}, *messages[0]["content"]]}
    rig.ask(asks(messages))
    assert rig.texts()[: len(sent)] == sent


def test_a_chore_may_go_on_with_a_head_that_was_not_the_callers() -> None:
    """The session's system prompt is sent in another form; a chore with a head of its own that is put on the session's
    goes on where the session's calls ended, signed reasoning and all."""
    thinking = {"type": "thinking", "thinking": "hm", "signature": "s"}
    own = [{"type": "text", "text": words(3_000, "own")}]
    session = [{"type": "text", "text": words(2_000, "head"), "cache_control": MARK}]
    short = [{"type": "text", "text": words(1_500, "short"), "cache_control": MARK}]

    def headed(call: Call) -> list[Edit]:
        return [Edit(("system",), short)] if call.request.body["system"] != short else []

    rig = Rig(Edits(headed, "heads"))
    messages = turns(2, mark=False)
    messages[1]["content"] = [thinking, {"type": "text", "text": "answer"}]
    first = rig.ask(asks(messages[:1], system=session))
    assert ("heads", "accepted") in verdicts(first)
    rig.ask(asks(messages, system=session))
    wake = asks([*messages, {"role": "assistant", "content": "x"}, {"role": "user", "content": "wake"}], system=own)
    chore = msgspec.structs.replace(wake, identity=msgspec.structs.replace(wake.identity, housekeeping="heartbeat"))
    assert ("heads", "accepted") in verdicts(rig.ask(chore))
