"""The whole rule by which a proposal is accepted."""

from __future__ import annotations

from ..call import Optimize, Proposal, Step, Verdict
from ..economy import Worth
from ..policy import Level

__all__ = ["judge", "step_of"]


def judge(
    proposal: Proposal,
    *,
    mode: str,
    optimize: Optimize,
    risk_left: float,
    level: Level | None = None,
    worth: Worth | None = None,
) -> Verdict:
    """The whole acceptance rule: may this proposal change the call?

    mode: "shadow" or "on" (an optimizer that is off is not asked). Level, worth and risk are checked in that order, so
    a shadowed verdict means that it would have been accepted. level: the operator's word over the proposal's own.
    worth: what the change comes to at the provider's prices and with what is in its cache, where that is known; it
    counts in place of what the proposal says of itself.
    """
    if optimize == "off" or (optimize == "safe" and (level or proposal.level) != "safe"):
        return Verdict.NOT_ALLOWED
    if worth is not None:
        forced = proposal.forced and (worth.waits or not worth.refused)
        if worth.refused and not forced:
            return Verdict.QUEUED if worth.waits else Verdict.NOT_WORTH_IT
        if not forced and not worth.total > proposal.spent:  # said so that what is no number pays for nothing
            return Verdict.NOT_WORTH_IT
    elif not proposal.forced and not proposal.saving > proposal.spent and proposal.tokens <= 0:
        return Verdict.NOT_WORTH_IT
    if not 0.0 <= proposal.risk <= risk_left:
        return Verdict.TOO_RISKY
    return Verdict.SHADOWED if mode == "shadow" else Verdict.ACCEPTED


def step_of(name: str, verdict: Verdict, proposal: Proposal, worth: Worth | None) -> Step:
    if worth is None:
        return Step(name, verdict, proposal.saving, proposal.spent, proposal.risk, proposal.why)
    why = f"{proposal.why}: {worth.refused}" if worth.refused else proposal.why
    return Step(name, verdict, round(worth.now), proposal.spent, proposal.risk, why)
