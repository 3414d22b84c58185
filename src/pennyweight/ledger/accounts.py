"""The price book as receipts see it: providers by their configured names, local machines by the hour.

Also `counted`: usage where the provider told none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from ..call import Outcome, Receipt
from ..errors import BadRequest
from ..money import PicoUSD, hourly_cost
from ..prices import PriceBook
from ..protocols import Tokenizer
from ..request import Charge, Operation, Usage
from ..wire import codec
from .receipts import make

__all__ = ["Account", "Accounts", "counted"]


class Account(msgspec.Struct, frozen=True):
    """How one provider is billed. `prices`: its name in the price book. `usd_per_hour`: of a machine of one's own."""

    prices: str = ""
    local: bool = False
    usd_per_hour: PicoUSD | None = None


class Accounts:
    """Protocol: `ledger.receipts.Book`. Knows the operator's providers and their names in the book."""

    def __init__(self, book: PriceBook, accounts: Mapping[str, Account], tokenizer: Tokenizer) -> None:
        self._book = book
        self._accounts = dict(accounts)
        self._tokenizer = tokenizer

    def cost(self, charge: Charge) -> PicoUSD | None:
        if self._account(charge).local:
            return 0
        return self._book.cost(self._listed(charge))

    def kind(self, charge: Charge) -> Literal["priced", "unpriced", "local", "free"]:
        if self._account(charge).local:
            return "local"
        listed = self._listed(charge)
        price = self._book.price(listed.provider, listed.model, listed.at)
        if price is None:
            return "unpriced"
        return "free" if price.free else "priced"

    def receipt(self, outcome: Outcome) -> Receipt:
        """The receipt of a finished call; its usage is counted where nobody told it."""
        receipt = make(counted(outcome, self._tokenizer), self)
        account = self._accounts.get(receipt.provider)
        if account is None or account.usd_per_hour is None or receipt.pricing != "local" or not outcome.done.charges:
            return receipt
        cost = hourly_cost(account.usd_per_hour, outcome.latency_s)
        return msgspec.structs.replace(receipt, cost=cost + receipt.spent, baseline=cost)

    def _account(self, charge: Charge) -> Account:
        return self._accounts.get(charge.provider) or Account()

    def _listed(self, charge: Charge) -> Charge:
        name = self._account(charge).prices
        return charge if not name or name == charge.provider else msgspec.structs.replace(charge, provider=name)


def counted(outcome: Outcome, tokenizer: Tokenizer) -> Outcome:
    """The outcome with usage counted from its texts, where a provider answered and told none.

    A stream that was cut or left counts what was streamed: the provider bills that too.
    """
    call, done = outcome.call, outcome.done
    answered = 200 <= outcome.status < 300 and outcome.output_text is not None
    if done.usage is not None or done.charges or not answered or call.request.operation is not Operation.GENERATE:
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
