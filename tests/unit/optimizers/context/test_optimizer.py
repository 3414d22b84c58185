"""Compaction over whole sessions, against a provider that bills: rare, at cold moments, and then for ever."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from tests.unit.gate_rig import verdicts
from tests.unit.optimizers.context.rig import SETTINGS, Gateway, Summary, asked

from pennyweight.call import AT_LEISURE
from pennyweight.errors import ConfigError
from pennyweight.optimizers.context.preparing import Worker
from pennyweight.optimizers.context.settings import Settings, checked
from pennyweight.optimizers.context.triggers import trigger
from pennyweight.references import FACT
from pennyweight.request import Edit


def test_a_warm_session_is_never_rewritten() -> None:
    gateway = Gateway()
    for turns in range(1, 30):
        outcome = gateway.ask(asked(turns))
        assert gateway.raw == outcome.call.original.raw
    said = [step for outcome in gateway.outcomes for step in outcome.call.trail]
    assert {step.verdict.value for step in said} == {"abstained", "queued"}
    assert "waits until the provider's cache has lapsed" in said[-1].why


def test_a_cold_session_is_compacted_once_and_then_sent_so_byte_for_byte() -> None:
    gateway = Gateway()
    for turns in range(1, 15):
        gateway.ask(asked(turns))
    cold = gateway.ask(asked(15), after_s=4_000.0)
    assert ("context", "accepted") in verdicts(cold)
    sent = gateway.raw
    assert len(sent) < 0.6 * len(cold.call.original.raw)
    prefix = sent[: sent.rindex(b"toolu_14")]
    for turns in (16, 17, 18):
        outcome = gateway.ask(asked(turns))
        assert gateway.raw.startswith(prefix)
        assert outcome.call.trail[0].why == "in the form in which it was first sent"
        assert gateway.provider.bills[-1].cache_read_tokens > 0


def billed(gateway: Gateway) -> float:
    """In units of one token of plain input, at Anthropic's prices."""
    return sum(
        bill.uncached_tokens + 0.1 * bill.cache_read_tokens + 1.25 * bill.cache_write_5m_tokens
        for bill in gateway.provider.bills
    )


def test_a_session_with_pauses_costs_less_and_one_without_no_more() -> None:
    for pause_s, most in ((4_000.0, 0.75), (10.0, 1.0)):
        bills = []
        for settings in (
            SETTINGS,
            msgspec.structs.replace(SETTINGS, session_tokens=10**9, turns=10**9, result_tokens=10**9),
        ):
            gateway = Gateway(settings)
            for turns in range(1, 31):
                gateway.ask(asked(turns), after_s=pause_s if turns % 5 == 0 else 10.0)
            bills.append(billed(gateway))
        assert bills[0] <= most * bills[1]


def test_what_is_left_out_is_left_for_the_store_under_its_name() -> None:
    gateway = Gateway()
    for turns in range(1, 15):
        gateway.ask(asked(turns))
    outcome = gateway.ask(asked(15), after_s=4_000.0)
    names = outcome.call.facts[FACT]
    assert names
    assert all(f'recall(\\"{name}\\")'.encode() in gateway.raw for name in names)
    given = [m["content"][0].get("content") for m in outcome.call.original.body["messages"][1:]]
    assert all(text in given for text in names.values())


def test_without_the_recall_tool_nothing_is_lost_unless_the_operator_says_so() -> None:
    for lossy in (False, True):
        gateway = Gateway(msgspec.structs.replace(SETTINGS, lossy=lossy))
        for turns in range(1, 15):
            gateway.ask(asked(turns, recall=False))
        outcome = gateway.ask(asked(15, recall=False), after_s=4_000.0)
        assert (("context", "accepted") in verdicts(outcome)) is lossy
        assert b"recall(" not in gateway.raw


def test_a_window_that_is_nearly_full_forces_a_warm_session() -> None:
    gateway = Gateway(Settings(session_tokens=10**9, turns=10**9, result_tokens=10**9, windows={"claude*": 40_000}))
    seen = [verdicts(gateway.ask(asked(turns))) for turns in range(1, 16)]
    assert ("context", "accepted") in [step for steps in seen for step in steps]
    assert ("context", "accepted") not in [step for steps in seen[:8] for step in steps]
    assert len(gateway.raw) < len(gateway.outcomes[-1].call.original.raw)


def test_signed_reasoning_stops_even_what_is_forced() -> None:
    gateway = Gateway(Settings(session_tokens=10**9, turns=10**9, result_tokens=10**9, windows={"claude*": 40_000}))
    for turns in range(1, 16):
        call = asked(turns)
        body = call.original.body
        messages = list(body["messages"])
        thought = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
        messages[-2] = {**messages[-2], "content": [thought, *messages[-2]["content"]]}
        outcome = gateway.ask(asked(turns, messages=messages))
        assert gateway.raw == outcome.call.original.raw


def test_a_session_without_a_name_and_housekeeping_are_left_alone() -> None:
    gateway = Gateway()
    for turns in range(1, 20):
        outcome = gateway.ask(asked(turns, session=""), after_s=4_000.0)
        assert gateway.raw == outcome.call.original.raw


def test_the_provider_is_asked_to_clear_only_where_the_caller_allows_it() -> None:
    settings = Settings(
        session_tokens=10**9, turns=10**9, result_tokens=10**9, windows={"claude*": 40_000}, provider="auto"
    )
    for headers, allowed in (((), False), ((("anthropic-beta", "context-management-2025-06-27"),), True)):
        gateway = Gateway(settings)
        for turns in range(1, 16):
            gateway.ask(asked(turns, headers=headers))
        edits = gateway.provider.sent[-1].body.get("context_management")
        assert (edits is not None) is allowed
        if allowed:
            assert edits["edits"][0]["type"] == "clear_tool_uses_20250919"
            assert gateway.texts() == gateway.outcomes[-1].call.original.body["messages"]


def test_summaries_of_a_model_are_used_once_they_are_there_and_paid_by_what_they_save() -> None:
    gateway = Gateway(msgspec.structs.replace(SETTINGS, summary_model="small", summary_tokens=500))
    for turns in range(1, 13):
        gateway.ask(asked(turns))
    assert gateway.summaries.wanted
    for reference, text in gateway.summaries.wanted:
        name = text.split("\n")[0]
        gateway.summaries.known[reference] = Summary(f"In short: {name} holds words.", 1_000)
    gateway.ask(asked(13))
    outcome = gateway.ask(asked(14), after_s=4_000.0)
    step = next(step for step in outcome.call.trail if step.optimizer == "context")
    assert step.verdict.value == "accepted"
    assert step.spent >= 1_000
    assert b"In short: # src/part_1/settings_1.py holds words." in gateway.raw


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"tokens": 60_000}, "tokens"),
        ({"tokens": 30_000, "beside_tokens": 30_000}, "tokens"),
        ({"turns": 21}, "turns"),
        ({"old_results": [400, 5_100]}, "result"),
        ({"tokens": 170_000}, "window"),
        ({}, None),
    ],
)
def test_what_starts_a_compaction(fields: dict[str, object], reason: str | None) -> None:
    usual = {"tokens": 10_000, "beside_tokens": 0, "turns": 5, "old_results": [], "window": 200_000}
    found = trigger(Settings(), **{**usual, **fields})  # type: ignore[arg-type]
    assert (found.reason if found else None) == reason
    assert (found is not None and found.forced) == (reason == "window")


@pytest.mark.parametrize("fields", [{"target": 0.0}, {"window_share": 1.5}, {"turns": 0}, {"keep_turns": 0}])
def test_settings_that_cannot_be_are_named(fields: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(fields))):
        checked(Settings(**fields))  # type: ignore[arg-type]


def test_a_result_that_leans_on_another_is_sent_whole_once_that_one_changes() -> None:
    call = asked(12)
    body = call.original.body
    sent = [dict(message) for message in body["messages"]]
    leaning = "[again: lines 1-9 of read_file src/part_1/settings_1.py]\nport = 8080"
    sent[22] = {"role": "user", "content": [{**sent[22]["content"][0], "content": leaning}]}
    request = call.request.edit((Edit(("messages", 22), sent[22]),))
    worker = Worker(SETTINGS)
    history = worker.read(request)
    assert history is not None
    found = worker.prepared(request, call.original, history, "local", "s", {})
    assert found is not None
    now = request.edit(found.made.edits).body["messages"][22]["content"][0]["content"]
    assert now == body["messages"][22]["content"][0]["content"]
    assert worker.prepared(request, request, history, "local", "s", {}) is None


def test_explain_sees_what_would_be_done_without_a_session() -> None:
    gateway = Gateway()
    call = msgspec.structs.replace(asked(14, session=""), facts={AT_LEISURE: True})
    told, _ = asyncio.run(gateway.pipeline.consult(call))
    assert " tokens (tokens): " in told.trail[0].why
    assert " verbatim, " in told.trail[0].why
