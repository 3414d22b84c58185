"""The price book as receipts see it: providers by their configured names, local machines by the hour.

Also `counted`: usage where the provider told none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from ..call import Call, Outcome, Receipt
from ..errors import BadRequest
from ..hits import AGAIN, Again
from ..money import PicoUSD, Price, hourly_cost
from ..prices import PriceBook
from ..protocols import Tokenizer
from ..request import Charge, Done, Operation, Reply, Usage
from ..wire import codec
from .receipts import make

__all__ = ["Account", "Accounts", "counted"]


Kind = Literal["priced", "unpriced", "local", "free"]


class Account(msgspec.Struct, frozen=True):
    """How one provider is billed. `usd_per_hour`: of a machine of one's own."""

    local: bool = False
    usd_per_hour: PicoUSD | None = None


class Accounts:
    """Protocol: `ledger.receipts.Book`. Knows which providers run on the operator's machines."""

    def __init__(self, book: PriceBook, accounts: Mapping[str, Account], tokenizer: Tokenizer) -> None:
        self._book = book
        self._accounts = dict(accounts)
        self._local = frozenset(name for name, account in accounts.items() if account.local)
        self._tokenizer = tokenizer

    def cost(self, charge: Charge) -> PicoUSD | None:
        """None: no price is known."""
        return self.priced(charge)[0]

    def priced(self, charge: Charge) -> tuple[PicoUSD | None, Kind]:
        """What the charge comes to and what sort of price it has.

        Remembered on the charge: the caller is told its cost in a header, and a receipt soon after.
        """
        known: tuple[Accounts, tuple[PicoUSD | None, Kind]] | None = charge.__dict__.get("_priced")
        if known is None or known[0] is not self:
            known = charge.__dict__["_priced"] = (self, self._price(charge))
        return known[1]

    def _price(self, charge: Charge) -> tuple[PicoUSD | None, Kind]:
        return (0, "local") if charge.provider in self._local else self._book.bill(charge)

    def price(self, provider: str, model: str, at: float) -> Price | None:
        """What tokens cost there at that moment (unix seconds); None: not known, or nothing."""
        if provider in self._local:
            return None
        return self._book.price(provider, model, at)

    def receipt(self, outcome: Outcome) -> Receipt:
        """The receipt of a finished call; its usage is counted where nobody told it."""
        again: Again | None = outcome.call.facts.get(AGAIN)
        if again is not None:
            return self._again(outcome, again)
        return self._made(outcome)

    def _again(self, outcome: Outcome, again: Again) -> Receipt:
        """The receipt of a call that differs from an earlier one in id and times alone: most of it is made once."""
        like = again.receipt
        if like is None:
            like = again.receipt = self._made(outcome)
            return like
        call = outcome.call
        return msgspec.structs.replace(
            like,
            call_id=call.id,
            at=call.at,
            trail=call.trail,
            ttft_s=outcome.ttft_s,
            latency_s=outcome.latency_s,
            added_s=outcome.added_s,
        )

    def _made(self, outcome: Outcome) -> Receipt:
        usage = outcome.done.usage
        if usage is None or usage.suspect or not outcome.done.complete:
            outcome = counted(outcome, self._tokenizer)
        receipt = make(outcome, self)
        if receipt.pricing != "local" or not outcome.done.charges:
            return receipt
        account = self._accounts.get(receipt.provider, _ELSEWHERE)
        if account.usd_per_hour is None:
            return receipt
        rent = hourly_cost(account.usd_per_hour, outcome.latency_s)
        elsewhere = receipt.spent if receipt.cost is None else receipt.cost  # a cascade's peer may be billed
        return msgspec.structs.replace(receipt, cost=rent + elsewhere, baseline=rent)

    def counted(self, call: Call, reply: Reply) -> PicoUSD | None:
        """What an answer came to whose usage nobody told, by its texts; None when nothing can be counted."""
        done = reply.done or Done(complete=False)
        outcome = Outcome(call, done, reply.status, call.target.provider, output_text=reply.output_text)
        costs = [self.cost(charge) for charge in counted(outcome, self._tokenizer).done.charges]
        if not costs or any(cost is None for cost in costs):
            return None
        return sum(cost for cost in costs if cost is not None)


_ELSEWHERE = Account()


def counted(outcome: Outcome, tokenizer: Tokenizer) -> Outcome:
    """The outcome with usage counted from its texts, where a provider answered and told none.

    A stream that was cut or left counts what was streamed: the provider bills that too.
    """
    call, done = outcome.call, outcome.done
    answered = 200 <= outcome.status < 300 and outcome.output_text is not None
    if not answered or call.request.operation is not Operation.GENERATE:
        return outcome
    if done.usage is not None:
        if done.usage.suspect and not (done.usage.input_tokens and done.usage.output_tokens):
            return _recounted(outcome, tokenizer)
        return outcome if done.complete else _as_streamed(outcome, tokenizer)
    if done.charges:
        return outcome
    try:
        texts = codec(call.request.wire).view(call.request).texts
    except BadRequest:
        return outcome
    assert outcome.output_text is not None
    usage = Usage(
        input_tokens=sum(tokenizer.count(text) for text in texts),
        output_tokens=tokenizer.count(outcome.output_text()),
        counted=True,
    )
    charge = Charge(call.target.provider, call.target.model, usage, call.at)
    done = msgspec.structs.replace(done, usage=usage, charges=(charge,))
    return msgspec.structs.replace(outcome, done=done)


def _recounted(outcome: Outcome, tokenizer: Tokenizer) -> Outcome:
    """Told usage that cannot be true, with the sides that it has no tokens for counted from the texts."""
    done, request = outcome.done, outcome.call.request
    assert done.usage is not None
    assert outcome.output_text is not None
    told = done.usage
    try:
        prompt = told.input_tokens or sum(map(tokenizer.count, codec(request.wire).view(request).texts))
    except BadRequest:
        prompt = 0
    answer = told.output_tokens or tokenizer.count(outcome.output_text())
    if (prompt, answer) == (told.input_tokens, told.output_tokens):
        return outcome
    return _with_usage(outcome, msgspec.structs.replace(told, input_tokens=prompt, output_tokens=answer, counted=True))


def _as_streamed(outcome: Outcome, tokenizer: Tokenizer) -> Outcome:
    """A stream that broke off before its last word on usage: Anthropic tells the output at the end."""
    done = outcome.done
    assert done.usage is not None
    assert outcome.output_text is not None
    streamed = tokenizer.count(outcome.output_text())
    if streamed <= done.usage.output_tokens:
        return outcome
    return _with_usage(outcome, msgspec.structs.replace(done.usage, output_tokens=streamed, counted=True))


def _with_usage(outcome: Outcome, usage: Usage) -> Outcome:
    done = outcome.done
    charges = tuple(msgspec.structs.replace(c, usage=usage) if c.usage == done.usage else c for c in done.charges)
    return msgspec.structs.replace(outcome, done=msgspec.structs.replace(done, usage=usage, charges=charges))
