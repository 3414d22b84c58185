from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pennyweight.ledger.prompt_prices import HeadPrice, head_price
from pennyweight.money import Price, rates_for
from pennyweight.prices import open_book
from pennyweight.request import Usage
from pennyweight.stores.sqlite import Database, SQLiteLedger
from pennyweight.testing.contracts import sample_receipt


def test_a_token_at_the_head_costs_what_prompts_cost_on_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "pennyweight.db"
    receipts = [
        sample_receipt(
            f"c{n}",
            at=1_790_000_000.0 + n,
            provider="openai",
            target_model=model,
            session=f"s{n % 2}",
            agent="main",
            usage=Usage(input_tokens=1_000, cache_read_tokens=600, output_tokens=10),
        )
        for n, model in enumerate(["gpt-5.5", "gpt-5.5", "nobody-knows"])
    ]

    async def write() -> None:
        database = Database(path, now=lambda: 1_790_000_100.0)
        await SQLiteLedger(database).append(receipts)
        await database.close()

    asyncio.run(write())
    book = open_book()
    price = book.price("openai", "gpt-5.5", 1_790_000_000.0)
    assert price is not None
    found = head_price(path, book.price, since=0.0, agent="main")
    assert (found.calls, found.sessions, found.unpriced_calls) == (3, 2, 1)
    rates = rates_for(price, 1_000)
    assert found.pico == pytest.approx(2 * (0.6 * float(rates.read) + 0.4 * float(rates.input)))
    assert head_price(path, book.price, since=0.0, agent="other") == HeadPrice()
    assert head_price(tmp_path / "none.db", book.price, since=0.0) == HeadPrice()


def test_no_price_is_no_cost(tmp_path: Path) -> None:
    def nothing(provider: str, model: str, at: float) -> Price | None:
        return None

    assert head_price(tmp_path / "none.db", nothing, since=0.0).pico == 0.0
