"""The answer of the first of some targets that gives one, the strongest first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from ...call import CHARGED, Call, Step, Target, Verdict
from ...errors import BackendError, PennyweightError
from ...protocols import Backend
from ...request import Charge, Reply
from ..fallback import ANSWERED, aimed
from ..refusals import BUSY, KEY_REFUSED, add_charges

__all__ = ["alone", "asking", "upward"]

_ELSEWHERE = BUSY | KEY_REFUSED | {504}  # another target may well answer


def asking(call: Call, target: Target) -> Call:
    """The call to that target of the cascade and to no other: who stands in for it is the cascade's to say."""
    there = aimed(call, target)
    return msgspec.structs.replace(there, rungs=None, facts={**call.facts, "fallbacks": ()})


def alone(call: Call) -> Call:
    return asking(call, call.target)


async def upward(
    inner: Backend,
    call: Call,
    targets: Sequence[Target],
    step: Step,
    *,
    charges: tuple[Charge, ...] = (),
    instead: Callable[[], Reply] | None = None,
) -> Reply:
    """The reply of the first target that answers. step: why it is asked. charges: of what was asked before.

    instead: gives the answer that there is already, for when all fail; it takes its own charges with it, and what was
    dropped before stays on it. A refusal that is about the request itself goes back at once where there is none.
    Raises the last BackendError when nobody answered.
    """
    notes: list[Step] = []
    spent = list(charges)
    refused: Reply | None = None
    failure: PennyweightError | None = None
    try:
        for target in targets:
            name = target.name
            try:
                reply = await inner.open(asking(call, target))
            except PennyweightError as error:
                failure = error
                notes.append(Step("cascade", Verdict.FAILED, why=f"{name}: {type(error).__name__}"))
                continue
            if reply.ok:
                notes.append(msgspec.structs.replace(step, why=f"{name} answered: {step.why}"))
                call.facts[ANSWERED] = target
                if refused is not None:
                    spent += await _closed(refused, reply)
                    refused = None
                return _with(reply, notes, spent)
            notes.append(Step("cascade", Verdict.FAILED, why=f"{name}: status {reply.status}"))
            if refused is not None:
                spent += await _closed(refused, reply)
            refused = reply
            own_key = call.credential is not None and target.provider == call.target.provider
            if reply.status not in _ELSEWHERE or (reply.status in KEY_REFUSED and own_key):
                break
        if instead is not None:
            if refused is not None:
                spent += await _ended(refused)
                refused = None
            notes.append(Step("cascade", Verdict.ACCEPTED, why=f"the first answer, as no other came: {step.why}"))
            call.facts[ANSWERED] = call.target
            return _with(instead(), notes, spent)
        if refused is not None:
            reply, refused = refused, None
            return _with(reply, notes, spent)
    except BaseException:
        call.facts[CHARGED] = (*call.facts.get(CHARGED, ()), *spent)
        if refused is not None:
            await refused.aclose()
        raise
    call.facts[CHARGED] = (*call.facts.get(CHARGED, ()), *spent)
    raise failure if failure is not None else BackendError("No target of the cascade answered.")


async def _closed(refused: Reply, after: Reply) -> tuple[Charge, ...]:
    """End a refusal that another reply has taken the place of. Whoever leaves meanwhile ends both."""
    try:
        return await _ended(refused)
    except BaseException:
        await after.aclose()
        raise


async def _ended(reply: Reply) -> tuple[Charge, ...]:
    await reply.aclose()
    return reply.done.charges if reply.done is not None else ()


def _with(reply: Reply, notes: Sequence[Step], charges: Sequence[Charge]) -> Reply:
    reply.notes[:0] = notes
    add_charges(reply, charges)
    return reply
