"""The status page: what a browser is given, with no calls and with some."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pennyweight import app as application
from pennyweight.call import Receipt
from pennyweight.config import load
from pennyweight.front.auth import Gate
from pennyweight.front.http import HttpRequest
from pennyweight.gateway.metrics import Metrics
from pennyweight.gateway.pages import Pages
from pennyweight.testing.contracts import sample_receipt


async def page(folder: Path, *receipts: Receipt) -> str:
    config = load(None, {}, {"data_dir": str(folder)})
    async with application.build(config) as app:
        if receipts:
            await app.ledger.append(list(receipts))
        request = HttpRequest("GET", "/", "", (("host", "127.0.0.1"),), b"", "127.0.0.1")
        found = Pages(app, Gate(config, app.keys), Metrics()).find(request)
        assert found is not None
        answer = await found(request)
    assert isinstance(answer.body, bytes)
    return answer.body.decode()


def test_without_calls_it_says_what_to_do(tmp_path: Path) -> None:
    told = asyncio.run(page(tmp_path))
    assert "No calls yet" in told
    assert "<table>" not in told


def test_names_from_callers_are_text_and_savings_carry_their_word(tmp_path: Path) -> None:
    receipt = sample_receipt(model="<script>alert(1)</script>", cost=10**12, baseline=3 * 10**12)
    told = asyncio.run(page(tmp_path, receipt))
    assert "&lt;script&gt;" in told
    assert "<script" not in told
    assert "$2.00 <small>computed" in told or "$2.00 <small>estimated" in told


def test_it_loads_nothing_and_follows_the_readers_colours(tmp_path: Path) -> None:
    told = asyncio.run(page(tmp_path, sample_receipt()))
    assert "prefers-color-scheme:dark" in told
    for loads in ("<script", "<img", "<link", "@import", "url("):
        assert loads not in told
