"""Why a line differs: each cause claims what it can account for, in a fixed order, and what is left is said. Pure.

A cause that is a fact of the ledger or of the export (a line that came twice, a price, a stream that broke off) claims
no more than that fact can come to. Only what no such fact covers is "not billed" or "not in the ledger", and open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction

import msgspec

from ...money import PicoUSD, format_usd, rates_for, whole
from ..invoices.shape import KINDS, Invoice, Item, Tokens
from .books import Entry, Prices
from .lines import Line, slack

__all__ = ["Around", "Cause", "Repriced", "explain", "side"]

COUNTED_MARGIN = Fraction(1, 4)
"""How far our own count of a text may be from the provider's: other tokenizers, and what providers add to a prompt."""


class Cause(msgspec.Struct, frozen=True):
    """One reason. `tokens` and `money` are invoice less ledger; money None: no price is known.

    In a usage export money is what the tokens come to at list prices; in a cost export tokens are those of the calls
    concerned. `open`: it names a difference and does not explain it.
    """

    name: str
    says: str
    tokens: int = 0
    money: PicoUSD | None = 0
    calls: int = 0
    open: bool = False


class Repriced(msgspec.Struct, frozen=True):
    """A rate that the export implies and the price book does not have: pico-dollars a token, or a factor on all."""

    rate: Fraction
    says: str
    name: str = "price differs"


class Around(msgspec.Struct, frozen=True):
    """What lies around the lines. Times in unix seconds.

    first_at: the ledger's first call; closed_at: when the export was made, as far as its file says; repriced: by
    (model, kind), "" for all kinds at once.
    """

    invoice: Invoice
    prices: Prices
    first_at: float | None
    closed_at: float
    zone_s: int = 0
    repriced: Mapping[tuple[str, str], tuple[Repriced, ...]] = {}


Amounts = tuple[int, ...]
"""Tokens by kind, or one sum of pico-dollars."""


_NONE: Amounts = (0,) * len(KINDS)


class _Rest:
    """What is still to be explained, and the causes so far."""

    def __init__(self, line: Line, around: Around) -> None:
        self.line = line
        self.around = around
        self.usage = around.invoice.measure == "usage"
        self.left: Amounts = (line.invoiced - line.consumed).counts if self.usage else (line.billed - line.cost,)
        self.causes: list[Cause] = []

    def size(self, sides: Iterable[Entry | Item]) -> Amounts:
        """How much these lines or calls come to."""
        if self.usage:
            return sum((side.tokens for side in sides if side.tokens is not None), Tokens()).counts
        return (sum(side.cost if isinstance(side, Entry) else side.amount or 0 for side in sides),)

    def claim(
        self,
        name: str,
        says: str,
        *,
        low: Amounts | None = _NONE,
        high: Amounts | None = _NONE,
        calls: int = 0,
        tokens: int = 0,
        open: bool = False,
    ) -> None:
        """Take of what is left all from `low` (negative: billed less) up to `high`; None: without bound."""
        taken = tuple(
            (amount if high is None else min(amount, max(high[i], 0)))
            if amount > 0
            else (amount if low is None else max(amount, min(low[i], 0)))
            for i, amount in enumerate(self.left)
        )
        if not any(taken):
            return
        self.left = tuple(amount - part for amount, part in zip(self.left, taken, strict=True))
        if self.usage:
            cause = Cause(name, says, sum(taken), self._worth(taken), calls, open)
        else:
            cause = Cause(name, says, tokens, taken[0], calls, open)
        self.causes.append(cause)

    def _worth(self, counts: Amounts) -> PicoUSD | None:
        """What tokens come to at the list price of the model, outside of bands and tiers."""
        line = self.line
        named = [(e.provider, e.model) for e in line.entries]
        named += [(self.around.invoice.provider, item.model) for item in line.items]
        price = next((p for p in (self.around.prices(*who, line.start) for who in dict.fromkeys(named)) if p), None)
        if price is None:
            return None
        rates = rates_for(price, 0)
        each = (rates.input, rates.read, rates.write_5m, rates.write_1h, rates.output)
        return whole(sum(count * rate for count, rate in zip(counts, each, strict=True)))

    @property
    def rounded(self) -> bool:
        return all(abs(amount) <= slack(self.around.invoice, self.line) for amount in self.left)


def explain(line: Line, around: Around) -> tuple[Cause, ...]:
    """The causes of the line's difference, largest facts first; () when the two sides agree to the last digit."""
    rest = _Rest(line, around)
    for step in () if rest.rounded else _STEPS:
        step(rest)
        if rest.rounded:
            break
    if rest.rounded:
        rest.claim("rounding", "the export rounds its amounts", low=None, high=None)
    rest.claim(
        "not in the ledger", "billed, and no call in the ledger: another user of the key, or receipts that were lost",
        high=None, open=True,
    )  # fmt: skip
    rest.claim(
        "not billed", "in the ledger, and not in the export: another account, or an export made too early",
        low=None, open=True,
    )  # fmt: skip
    return (*rest.causes, *_tiers(line, rest))


# --- the causes, in the order in which they claim ---------------------------------------------------------


def _duplicates(rest: _Rest) -> None:
    seen: Counter[str] = Counter()
    twice = []
    for item in rest.line.items:
        seen[item.raw] += 1
        if seen[item.raw] > 1:
            twice.append(item)
    if twice:
        places = ", ".join(item.place for item in twice[:3]) + (" …" if len(twice) > 3 else "")
        rest.claim("duplicated lines", f"the export has the same line again: {places}", high=rest.size(twice))


def _before(rest: _Rest) -> None:
    first = rest.around.first_at
    if first is not None and rest.line.start - rest.around.zone_s < first:
        rest.claim("before the gateway", "billed before the ledger's first call", high=None)


def _last_bucket(rest: _Rest) -> None:
    line, around = rest.line, rest.around
    if line.end < around.invoice.spans[-1][1] or all(amount >= 0 for amount in rest.left):
        return
    calls = sorted(line.entries, key=lambda entry: entry.at)
    says = "the export was made before its last bucket was over"
    allowed = slack(around.invoice, line)
    after: Amounts = (0,) * len(rest.left)
    for index in range(len(calls) - 1, -1, -1):  # from the last call back, until what is left out is what is missing
        after = tuple(a + b for a, b in zip(after, rest.size(calls[index : index + 1]), strict=True))
        if all(abs(missing + out) <= allowed for missing, out in zip(rest.left, after, strict=True)):
            gone = calls[index:]
            low = tuple(-amount for amount in after)
            rest.claim("partial last bucket", says, low=low, calls=_calls(gone), tokens=-_tokens(gone))
            return
    if around.closed_at < line.end - around.zone_s:
        rest.claim("partial last bucket", says, low=tuple(-n for n in rest.size(calls)), calls=_calls(calls))


def _untold(rest: _Rest) -> None:
    untold = [entry for entry in rest.line.entries if entry.sure == "untold"]
    if untold:
        says = "answers whose usage nobody told: the ledger has them as unpriced"
        rest.claim("usage not told", says, high=None, calls=_calls(untold))


def _unpriced(rest: _Rest) -> None:
    unpriced = [e for e in rest.line.entries if not e.priced and e.tokens]
    if rest.usage or not unpriced:
        return
    names = ", ".join(sorted({entry.model for entry in unpriced}))
    tokens = _tokens(unpriced)
    rate = format_usd(max(rest.left[0], 0) * 10**6 // tokens)
    says = f"no price for {names}: the export comes to {rate} per million tokens; add it, see docs/prices.md"
    rest.claim("unpriced model", says, high=None, calls=_calls(unpriced), tokens=tokens)


def _repriced(rest: _Rest) -> None:
    """By kind where the export tells kinds; else all at once."""
    line, around = rest.line, rest.around
    if rest.usage:
        return
    for kind in ("", *KINDS):
        for found in around.repriced.get((line.model, kind), ()):
            tokens, ours = side(line, kind)
            theirs = whole(tokens * found.rate) if kind else whole(ours * found.rate)
            told = sum(item.amount or 0 for item in line.items if item.kind == kind)
            if tokens and abs(told - theirs) <= slack(around.invoice, line):
                change = theirs - ours
                rest.claim(found.name, found.says, low=(min(change, 0),), high=(max(change, 0),), calls=line.calls,
                           tokens=tokens)  # fmt: skip
                break


def _abandoned(rest: _Rest) -> None:
    gone = [entry for entry in rest.line.entries if entry.sure == "abandoned"]
    if gone:
        says = "streams that broke off: the provider bills what it made until it noticed, we count what was streamed"
        _claim_about(rest, "abandoned streams", says, gone, Fraction(1))


def _counted(rest: _Rest) -> None:
    counted = [entry for entry in rest.line.entries if entry.sure == "counted"]
    if counted:
        says = f"we counted the texts, because the provider told no usage: within {float(COUNTED_MARGIN):.0%}"
        _claim_about(rest, "counted usage", says, counted, COUNTED_MARGIN)


def _suspect(rest: _Rest) -> None:
    odd = [entry for entry in rest.line.entries if entry.sure == "suspect"]
    if odd:
        _claim_about(rest, "suspect usage", "the provider's answers contradicted themselves on usage", odd, Fraction(1))


def _kinds(rest: _Rest) -> None:
    """Writes are told with their lifetime in the export and often without it in an answer."""
    if not rest.usage:
        return
    short, long = rest.left[2], rest.left[3]
    if short and short == -long:
        moved = (0, 0, short, long, 0)
        says = "cache writes of one hour that the answers told without their lifetime, or the reverse"
        rest.claim(
            "lifetime of writes", says, low=tuple(min(n, 0) for n in moved), high=tuple(max(n, 0) for n in moved)
        )


_STEPS: Sequence[Callable[[_Rest], None]] = (
    _duplicates, _before, _last_bucket, _untold, _unpriced, _repriced, _kinds, _abandoned, _counted, _suspect,
)  # fmt: skip


def _tiers(line: Line, rest: _Rest) -> tuple[Cause, ...]:
    """In a usage export: the same tokens at another service tier than the answers told."""
    told = {item.tier for item in line.items if item.tier}
    ours = {entry.tier for entry in line.entries if entry.tokens}
    if not rest.usage or not told or not ours or told == ours or line.invoiced != line.consumed:
        return ()
    by_tier: Counter[str] = Counter()
    for item in line.items:
        by_tier[item.tier] += item.tokens.total if item.tokens else 0
    for entry in line.entries:
        by_tier[entry.tier] -= entry.tokens.total
    moved = {tier: count for tier, count in by_tier.items() if count > 0}
    names = ", ".join(f"{count:,} tokens as {tier}" for tier, count in sorted(moved.items()))
    total = max(line.consumed.total, 1)
    money = None if set(moved) != {"batch"} else -(line.cost * moved["batch"] // (2 * total))
    return (Cause("service tier", f"billed at another tier than the answers told: {names}", 0, money, line.calls),)


def _claim_about(rest: _Rest, name: str, says: str, entries: Sequence[Entry], share: Fraction) -> None:
    size = tuple(whole(amount * share) for amount in rest.size(entries))
    rest.claim(name, says, low=tuple(-n for n in size), high=size, calls=_calls(entries), tokens=_tokens(entries))


def _calls(entries: Iterable[Entry]) -> int:
    return sum(entry.calls for entry in entries)


def _tokens(entries: Iterable[Entry]) -> int:
    return sum(entry.tokens.total for entry in entries)


def side(line: Line, kind: str) -> tuple[int, PicoUSD]:
    """(tokens, what they cost by the book) of one kind, or of all."""
    if not kind:
        return line.consumed.total, line.cost
    index = KINDS.index(kind)
    money = sum(entry.by_kind[index] for entry in line.entries if entry.by_kind is not None)
    return line.consumed.counts[index], money
