"""Compaction over whole sessions, against a provider that bills: rare, at cold moments, and then for ever."""

from __future__ import annotations

from tests.unit.gate_rig import verdicts
from tests.unit.optimizers.context.rig import Gateway, asked


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
