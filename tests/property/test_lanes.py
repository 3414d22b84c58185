"""Bills shared by several callers: whatever the numbers, the parts sum to the whole."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from pennyweight.backends.lanes.apart import charges, shares, usages
from pennyweight.ledger.accounts import Accounts
from pennyweight.money import Band, Price, Rates, cost
from pennyweight.prices.book import PriceBook, Quote
from pennyweight.prices.catalogue import Catalogue
from pennyweight.request import Charge, Usage

counts = st.integers(0, 10**7)
weights = st.lists(st.integers(0, 10**5), min_size=1, max_size=12)
rates = st.builds(
    Rates,
    input=st.one_of(st.integers(0, 10**8), st.fractions(0, 10**6)),
    output=st.one_of(st.integers(0, 10**8), st.fractions(0, 10**6)),
    cache_read=st.one_of(st.none(), st.integers(0, 10**7)),
    per_call=st.integers(0, 10**10),
)
prices = st.builds(
    Price, rates=rates, bands=st.lists(st.builds(Band, st.integers(1, 10**6), rates), max_size=1).map(tuple)
)
whole_usages = st.builds(
    lambda fresh, read, output, tier: Usage(
        input_tokens=fresh + read, cache_read_tokens=read, output_tokens=output, tier=tier
    ),
    counts,
    counts,
    counts,
    st.sampled_from(["standard", "batch"]),
)


class OnePrice(PriceBook):
    """A price book with that price for everything."""

    def __init__(self, price: Price) -> None:
        super().__init__(Catalogue(1, "", "", {}))
        self._quote = Quote("p", "m", (price,), "override")

    def quotes(self, provider: str, model: str) -> tuple[Quote, ...]:
        return (self._quote,)


class Letters:
    def count(self, text: str) -> int:
        return len(text)


@given(counts, weights)
def test_shares_sum_to_the_whole_and_are_at_most_one_unit_off(total: int, parts: list[int]) -> None:
    found = shares(total, parts)
    assert sum(found) == total
    assert min(found) >= 0
    if sum(parts):
        for share, weight in zip(found, parts, strict=True):
            assert abs(share - Fraction(total * weight, sum(parts))) < 1


@given(whole_usages, weights, prices)
def test_tokens_and_money_sum_to_the_bill_to_the_pico_dollar(whole: Usage, sizes: list[int], price: Price) -> None:
    bill = Charge("p", "m", whole, 0.0)
    accounts = Accounts(OnePrice(price), {}, Letters())
    parts = usages(whole, sizes, [1] * len(sizes))
    for name in ("input_tokens", "cache_read_tokens", "output_tokens"):
        assert sum(getattr(part, name) for part in parts) == getattr(whole, name)
    billed = charges(bill, parts)
    costs = [accounts.cost(one) for one in billed]
    assert sum(one for one in costs if one is not None) == cost(whole, price, at=0.0) == accounts.cost(bill)
    assert all(one is not None and one >= 0 for one in costs)
