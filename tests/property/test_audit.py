"""What the explanations of a line come to is its difference, to the last token and pico-dollar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.ledger.exports import (
    BOOK,
    DAY,
    DAY_1,
    GPT,
    SONNET,
    anthropic_cost,
    anthropic_usage,
    call,
    ledger,
    openai_costs,
    openai_usage,
    saved,
)

from pennyweight.call import Receipt
from pennyweight.ledger.audit import Audit, audit
from pennyweight.ledger.invoices import read
from pennyweight.request import Usage

MAKERS = {
    "openai usage": (openai_usage, "openai", GPT),
    "openai costs": (openai_costs, "openai", GPT),
    "anthropic usage": (anthropic_usage, "anthropic", SONNET),
    "anthropic cost": (anthropic_cost, "anthropic", SONNET),
}


@st.composite
def calls(draw: st.DrawFn, provider: str, model: str, most: int) -> list[Receipt]:
    made = []
    for number in range(draw(st.integers(0, most))):
        read, written = draw(st.integers(0, 500)), draw(st.integers(0, 200)) if provider == "anthropic" else 0
        usage = Usage(
            read + written + draw(st.integers(0, 900)), read, written, 0, draw(st.integers(0, 300)),
            counted=draw(st.booleans()), suspect=draw(st.sampled_from(["", "", "odd"])),
        )  # fmt: skip
        made.append(
            call(
                f"{number}", DAY_1 + draw(st.integers(0, 3 * 86_400 - 1)), usage, provider=provider,
                model=draw(st.sampled_from([model, model, "brand-new-model"])) if most > 5 else model,
                abandoned=draw(st.booleans()),
            )
        )  # fmt: skip
    return made


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_causes_add_up_to_the_difference(tmp_path_factory: pytest.TempPathFactory, name: str, data: Any) -> None:
    make, provider, model = MAKERS[name]
    folder = tmp_path_factory.mktemp("ledger")
    ours = data.draw(calls(provider, model, 12))
    priced = [receipt for receipt in ours if receipt.target_model == model]
    kept = data.draw(st.lists(st.sampled_from(priced), unique_by=id)) if priced else []
    theirs = kept + [msgspec.structs.replace(c, call_id=f"x{c.call_id}") for c in data.draw(calls(provider, model, 4))]
    export = make(theirs)
    if not export["data"]:
        return
    if data.draw(st.booleans()):
        export["data"].append(data.draw(st.sampled_from(export["data"])))
    result = run(folder, ours, export, provider)
    for explained in result.lines:
        line = explained.line
        if result.invoice.measure == "usage":
            assert sum(cause.tokens for cause in explained.causes) == (line.invoiced - line.consumed).total
        else:
            assert sum(cause.money or 0 for cause in explained.causes) == line.billed - line.cost
        assert all(cause.money is None or isinstance(cause.money, int) for cause in explained.causes)


def run(folder: Path, ours: list[Receipt], export: object, provider: str) -> Audit:
    path = ledger(folder, ours)
    invoice = read(saved(folder, "export", export))
    return audit(path, invoice, BOOK.price, providers={provider}, closed_at=DAY_1 + 30 * DAY)
