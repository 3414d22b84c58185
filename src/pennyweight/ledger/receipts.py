"""A finished call as its receipt: what it cost, what it would have cost untouched, and how we know. Pure.

cost      what providers bill for the answer, plus what optimizers spent, accepted or not
baseline  what the same call would have cost without us:
          answered without a bill (a stored or shared answer): its usage at the call's target, or at that where a routed
          call would have gone, `computed`; `estimated` where the two models count other tokens
          rewritten: its usage as foreseen for the call as the caller sent it, with the cache that it would have
          met, moved by what the forecast of the sent call was off, `computed`
          routed: the same at the target that it would have gone to, with the cache that it would have met there had
          no call of its session ever been routed, and an answer of as many tokens, `computed`; `estimated` where
          the two models count other tokens
          changed otherwise: the bill plus the savings that accepted optimizers named, `estimated`
None      money that nobody can name: no price, no usage, or a subscription, which is metered in tokens
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, Protocol

import msgspec

from ..call import Call, Outcome, Receipt, Step, Verdict
from ..errors import BadRequest
from ..money import PicoUSD
from ..request import Charge, Operation, Usage, Wire

__all__ = ["Book", "Pricing", "make"]

Pricing = Literal["priced", "unpriced", "local", "subscription", "free"]

_MAX_TOKENS = 10**12  # more in one call is a provider's slip, and would overflow the sums
_MAX_PICO = 2**62


class Book(Protocol):
    """The price book, as far as receipts need it."""

    def priced(self, charge: Charge) -> tuple[PicoUSD | None, Literal["priced", "unpriced", "local", "free"]]:
        """What the charge comes to, None where no price is known, and what sort of price it has."""
        ...


def make(outcome: Outcome, book: Book) -> Receipt:
    call, done = outcome.call, outcome.done
    billed, trail, request = done.charges, call.trail, call.original
    spent, replayed = 0, False
    basis: Literal["", "computed", "estimated"] = ""
    pricing: Pricing
    if len(billed) == 1 and outcome.untouched is None and not _acted(trail) and not _subscribed(call):
        # Most calls: one bill, and nobody changed or spent anything.
        usage = _believable(billed[0].usage)
        cost, pricing = book.priced(billed[0])
        if cost is None or usage is None or cost > _MAX_PICO:
            cost, pricing = None, "unpriced"
        baseline = cost
    else:
        usage = _believable(_sum(billed) if billed else done.usage if _uses_tokens(outcome) else None)
        replayed = not billed and usage is not None and _is_answer(outcome)
        spent, saved = _spent(trail), 0
        if outcome.untouched is None:  # else what was saved is computed
            saved = _saved(trail, outcome.answered_by if replayed else "")
        cost, baseline, pricing = _money(outcome, book, usage, spent, saved, replayed=replayed)
        trail = _told(outcome, cost, baseline, spent, pricing)
        if baseline is not None or pricing == "subscription":
            basis = _basis(outcome, saved, replayed=replayed)
    target, identity, read_tokens = call.target, call.identity, outcome.foreseen_read_tokens
    answered = billed[-1] if billed else target
    try:  # the model as the caller named it, or where it was sent if the body does not say (broken, or a form)
        model = request.model or target.model
    except BadRequest:
        model = target.model
    return Receipt(  # in the order of its fields: by name it costs twice as much, and every call comes here
        call.id,
        call.at,
        identity.tenant,
        identity.session,
        identity.agent,
        identity.task,
        identity.skill,
        identity.housekeeping or "",
        _WIRES[request.wire],
        request.operation,
        answered.provider,
        model,
        answered.model,
        usage,
        cost,
        baseline,
        spent,
        pricing,
        trail,
        outcome.status,
        done.finish_reason or "",
        call.facts.get("arm", ""),
        outcome.ttft_s,
        outcome.latency_s,
        outcome.added_s,
        outcome.error,
        outcome.abandoned,
        outcome.answered_by,
        replayed,
        basis,
        None if read_tokens is None else round(read_tokens),
        outcome.warm,
    )


_WIRES = {wire: str(wire) for wire in Wire}


@lru_cache(maxsize=256)  # most calls have the same few trails, of the same steps
def _acted(trail: tuple[Step, ...]) -> bool:
    """Whether an optimizer changed the call, would have, or spent something."""
    return any(step.verdict is not Verdict.ABSTAINED or step.spent for step in trail)


def _subscribed(call: Call) -> bool:
    return call.credential is not None and call.credential.subscription


def _money(
    outcome: Outcome, book: Book, usage: Usage | None, spent: PicoUSD, saved: PicoUSD, *, replayed: bool
) -> tuple[PicoUSD | None, PicoUSD | None, Pricing]:
    """(cost, baseline, pricing). spent, saved: by all optimizers together."""
    call, billed = outcome.call, outcome.done.charges
    if _subscribed(call):
        return None, None, "subscription"
    charges = billed or (Charge(call.target.provider, call.target.model, usage or Usage(), call.at),)
    total, pricing = book.priced(charges[0]) if len(charges) == 1 else _total(charges, book)
    if billed or replayed:
        if usage is None or total is None or total + spent > _MAX_PICO:
            return None, None, "unpriced"
        if outcome.untouched is not None:
            home, at = outcome.reference or billed[0], billed[0].at if billed else call.at
            untouched, _ = book.priced(Charge(home.provider, home.model, outcome.untouched, at))
            return (spent if replayed else total + spent), total if untouched is None else untouched, pricing
        if replayed:
            return spent, total + saved, pricing
        return total + spent, total + saved, pricing
    costs_money = _costs_money(outcome) and pricing not in ("local", "free")
    if _is_answer(outcome) and costs_money:
        return None, None, "unpriced"  # an answer whose usage nobody told: loud, never $0
    if not _costs_money(outcome):
        return spent, 0, "free"
    return spent, 0, "priced" if pricing == "unpriced" else pricing  # a failure that nobody bills


def _total(charges: Sequence[Charge], book: Book) -> tuple[PicoUSD | None, Pricing]:
    """What several bills come to, None where one has no price; what sort of price the last one has."""
    total: PicoUSD | None = 0
    pricing: Pricing = "unpriced"
    for charge in charges:
        cost, pricing = book.priced(charge)
        total = None if cost is None or total is None else total + cost
    return total, pricing


def _is_answer(outcome: Outcome) -> bool:
    return 200 <= outcome.status < 300


def _uses_tokens(outcome: Outcome) -> bool:
    """Whether a usage without a bill says what the answer stands for; that of a count is the count."""
    return outcome.call.original.operation in (Operation.GENERATE, Operation.EMBED)


def _costs_money(outcome: Outcome) -> bool:
    """Counting tokens and listing models are free; images, audio and the like pass through and are billed somehow."""
    request = outcome.call.original
    return request.operation is not Operation.COUNT and request.method == "POST"


def _sum(charges: Sequence[Charge]) -> Usage:
    """What all charges of a call consumed. The tier is that of the last."""
    if len(charges) == 1:
        return charges[0].usage
    usages = [charge.usage for charge in charges]
    return Usage(
        input_tokens=sum(u.input_tokens for u in usages),
        cache_read_tokens=sum(u.cache_read_tokens for u in usages),
        cache_write_5m_tokens=sum(u.cache_write_5m_tokens for u in usages),
        cache_write_1h_tokens=sum(u.cache_write_1h_tokens for u in usages),
        output_tokens=sum(u.output_tokens for u in usages),
        reasoning_tokens=sum(u.reasoning_tokens for u in usages),
        tier=usages[-1].tier,
        counted=any(u.counted for u in usages),
        suspect="; ".join(dict.fromkeys(u.suspect for u in usages if u.suspect)),
    )


def _believable(usage: Usage | None) -> Usage | None:
    return usage if usage is not None and usage.input_tokens + usage.output_tokens <= _MAX_TOKENS else None


def _spent(trail: Sequence[Step]) -> PicoUSD:
    spent = 0
    for step in trail:
        spent += step.spent
    return spent


def _saved(trail: Sequence[Step], answered_by: str = "") -> PicoUSD:
    """What accepted optimizers say they saved, without the one that answered: its saving is computed from the usage."""
    saved = 0
    for step in trail:
        if step.saving and step.verdict is Verdict.ACCEPTED and step.optimizer != answered_by:
            saved += step.saving
    return saved


def _basis(outcome: Outcome, saved: PicoUSD, *, replayed: bool) -> Literal["", "computed", "estimated"]:
    """One estimate in it makes the whole an estimate. A shared answer has no step of its own."""
    if outcome.untouched is not None:
        return "estimated" if outcome.estimated else "computed"
    if saved:
        return "estimated"
    return "computed" if replayed else ""


def _told(
    outcome: Outcome, cost: PicoUSD | None, baseline: PicoUSD | None, spent: PicoUSD, pricing: Pricing
) -> tuple[Step, ...]:
    """The trail with what each optimizer saved, as far as that is known: of a plan, no dollars."""
    trail = outcome.call.trail
    if pricing == "subscription":
        return tuple(msgspec.structs.replace(step, saving=0) if step.saving else step for step in trail)
    if outcome.untouched is None or cost is None or baseline is None:
        return trail
    return _shared(trail, baseline - cost + spent)


def _shared(trail: tuple[Step, ...], total: PicoUSD) -> tuple[Step, ...]:
    """The trail with what was saved in all shared out among the optimizers that changed the call, so that it adds up.

    By what each was foreseen to save on this call, in the order in which they were asked: changes overlap, and the
    later of two is only worth what the earlier left. In equal parts where those do not say.
    """
    accepted = [index for index, step in enumerate(trail) if step.verdict is Verdict.ACCEPTED]
    if not accepted:
        return trail
    if len(accepted) == 1:
        [index] = accepted
        if trail[index].saving == total:
            return trail
        return (*trail[:index], msgspec.structs.replace(trail[index], saving=total), *trail[index + 1 :])
    named = [trail[index].saving for index in accepted]
    whole = sum(named)
    alike = whole != 0 and all(saving == 0 or (saving > 0) == (whole > 0) for saving in named)
    shares = [total * saving // whole if alike else total // len(accepted) for saving in named]
    shares[-1] += total - sum(shares)
    steps = list(trail)
    for index, share in zip(accepted, shares, strict=True):
        steps[index] = msgspec.structs.replace(steps[index], saving=share)
    return tuple(steps)
