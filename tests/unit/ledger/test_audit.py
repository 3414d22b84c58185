"""The ledger against exports that are made from it, and then from something a little different."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.ledger.exports import (
    BOOK,
    DAY,
    DAY_1,
    GPT,
    SONNET,
    anthropic_cost,
    anthropic_usage,
    call,
    console_cost,
    console_usage,
    ledger,
    openai_costs,
    openai_usage,
    saved,
)

from pennyweight.call import Receipt
from pennyweight.errors import ConfigError
from pennyweight.ledger.audit import Audit, audit
from pennyweight.ledger.invoices import read
from pennyweight.request import Usage

HOUR = 3600.0


def calls(provider: str = "anthropic", model: str = SONNET) -> list[Receipt]:
    """Three days, a call every 97 minutes, all kinds of tokens that the provider tells; begun before the first day."""
    writes = provider == "anthropic"
    first = call("first", DAY_1 - 5 * DAY, Usage(10, output_tokens=1), provider=provider, model=model)
    return [first] + [
        call(
            f"c{n}", DAY_1 + n * 97 * 60.0, provider=provider, model=model,
            usage=Usage(
                20_000 + 137 * n, 12_000 + 31 * n, (900 + n) if writes else 0, (70 + n) if writes else 0, 431 + 7 * n
            ),
        )
        for n in range(44)
    ]  # fmt: skip


def audited(tmp_path: Path, receipts: list[Receipt], export: object, *, name: str = "export", **settings: Any) -> Audit:
    path = ledger(tmp_path, receipts)
    invoice = read(saved(tmp_path, name, export))
    given = {"providers": {invoice.provider}, "closed_at": DAY_1 + 30 * DAY, **settings}
    return audit(path, invoice, BOOK.price, **given)


def within(receipts: list[Receipt]) -> list[Receipt]:
    return [receipt for receipt in receipts if receipt.at >= DAY_1]


def causes(result: Audit) -> set[str]:
    return {cause.name for cause in result.causes}


def the(result: Audit, name: str) -> Any:
    """The one cause of that name, or their sum."""
    found = [cause for cause in result.causes if cause.name == name]
    assert found, f"{name} is not among {causes(result)}"
    return msgspec.structs.replace(
        found[0],
        tokens=sum(cause.tokens for cause in found),
        money=None if any(cause.money is None for cause in found) else sum(cause.money for cause in found),
        calls=sum(cause.calls for cause in found),
    )


# --- what agrees ------------------------------------------------------------------------------------------

ANTHROPIC, OPENAI = calls(), calls("openai", GPT)
EXPORTS = {
    "openai usage, days": (OPENAI, openai_usage(within(OPENAI))),
    "openai usage, minutes": (OPENAI, openai_usage(within(OPENAI), width=60)),
    "openai costs": (OPENAI, openai_costs(within(OPENAI))),
    "anthropic usage, days": (ANTHROPIC, anthropic_usage(within(ANTHROPIC))),
    "anthropic usage, hours": (ANTHROPIC, anthropic_usage(within(ANTHROPIC), width=3600)),
    "anthropic cost": (ANTHROPIC, anthropic_cost(within(ANTHROPIC))),
    "console usage": (ANTHROPIC, console_usage(within(ANTHROPIC))),
    "console usage, hours": (ANTHROPIC, console_usage(within(ANTHROPIC), hours=True)),
    "console cost": (ANTHROPIC, console_cost(within(ANTHROPIC), {SONNET: "Claude Sonnet 4.5"})),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_of_the_same_calls_is_explained_whole(tmp_path: Path, name: str) -> None:
    receipts, export = EXPORTS[name]
    result = audited(tmp_path, receipts, export)
    assert result.ok
    assert causes(result) <= {"rounding"}
    assert sum(explained.line.calls for explained in result.lines) == 44
    if "usage" in name:
        assert not result.causes


@pytest.mark.parametrize("name", EXPORTS)
def test_a_call_that_was_not_billed_is_open(tmp_path: Path, name: str) -> None:
    receipts, export = EXPORTS[name]
    extra = msgspec.structs.replace(receipts[-1], call_id="extra", at=DAY_1 + 7 * HOUR)
    result = audited(tmp_path, [*receipts, extra], export)
    assert not result.ok
    missing = the(result, "not billed")
    assert missing.open
    if "usage" in name:
        assert missing.tokens == -extra.usage.total_tokens
    else:
        assert missing.money == pytest.approx(-extra.cost, abs=10**11)


@pytest.mark.parametrize("name", EXPORTS)
def test_a_call_that_is_not_in_the_ledger_is_open(tmp_path: Path, name: str) -> None:
    receipts, export = EXPORTS[name]
    result = audited(tmp_path, [*receipts[:20], *receipts[21:]], export)
    assert not result.ok
    assert the(result, "not in the ledger").open


def test_an_empty_ledger_explains_nothing(tmp_path: Path) -> None:
    result = audited(tmp_path, [], EXPORTS["openai costs"][1])
    assert causes(result) == {"not in the ledger"}
    assert not result.ok


def test_answers_from_a_cache_and_failures_are_not_expected_on_an_invoice(tmp_path: Path) -> None:
    receipts = [
        *ANTHROPIC,
        call("hit", DAY_1 + HOUR, Usage(500, output_tokens=50), replayed=True, answered_by="exact_cache"),
        call("failed", DAY_1 + HOUR, None, status=529, cost=0, baseline=0, pricing="priced", error="Overloaded"),
        call("plan", DAY_1 + HOUR, Usage(500), pricing="subscription", cost=None, baseline=None),
    ]
    result = audited(tmp_path, receipts, anthropic_usage(within(ANTHROPIC)))
    assert result.ok
    assert not result.causes
    assert result.notes == ("1 calls on a subscription are not part of any invoice by the token.",)


def test_what_optimizing_cost_is_not_expected_on_the_invoice(tmp_path: Path) -> None:
    receipts = [msgspec.structs.replace(r, cost=r.cost + 10**9, spent=10**9) for r in ANTHROPIC]
    assert audited(tmp_path, receipts, anthropic_cost(within(ANTHROPIC), places=8)).ok


# --- names ------------------------------------------------------------------------------------------------


def test_a_dated_snapshot_is_its_alias(tmp_path: Path) -> None:
    asked = [msgspec.structs.replace(r, target_model="gpt-4o") for r in OPENAI]
    result = audited(tmp_path, asked, openai_usage(within(OPENAI)))
    assert result.ok
    assert {explained.line.model for explained in result.lines} == {"gpt-4o"}


def test_snapshots_that_both_sides_name_stay_apart(tmp_path: Path) -> None:
    other = [
        msgspec.structs.replace(r, call_id=r.call_id + "b", model="gpt-4o-2024-05-13", target_model="gpt-4o-2024-05-13")
        for r in OPENAI
    ]
    both = [*OPENAI, *other]
    result = audited(tmp_path, both, openai_usage(within(both)))
    assert {explained.line.model for explained in result.lines} == {GPT, "gpt-4o-2024-05-13"}
    assert result.ok


def test_an_export_without_models_is_compared_in_all(tmp_path: Path) -> None:
    export = openai_usage(within(OPENAI))
    for bucket in export["data"]:
        for line in bucket["results"]:
            line["model"] = None
    mini = call("mini", DAY_1 + 9 * HOUR, Usage(100, output_tokens=3), provider="openai", model="gpt-4o-mini")
    export["data"][0]["results"][0]["input_tokens"] += 100
    export["data"][0]["results"][0]["output_tokens"] += 3
    result = audited(tmp_path, [*OPENAI, mini], export)
    assert result.ok
    assert {explained.line.model for explained in result.lines} == {""}


# --- explanations -----------------------------------------------------------------------------------------


def test_lines_that_came_twice(tmp_path: Path) -> None:
    export = anthropic_usage(within(ANTHROPIC))
    export["data"].append(export["data"][1])
    result = audited(tmp_path, ANTHROPIC, export)
    assert result.ok
    second = [r for r in ANTHROPIC if DAY_1 + DAY <= r.at < DAY_1 + 2 * DAY]
    assert the(result, "duplicated lines").tokens == sum(r.usage.total_tokens for r in second)
    assert "bucket 4, result 1" in the(result, "duplicated lines").says


def test_equal_lines_that_are_no_duplicates_stay(tmp_path: Path) -> None:
    """Two callers with the same usage, exported as two lines that look alike."""
    pair = [call(name, DAY_1 + HOUR, Usage(100, output_tokens=10), provider="openai", model=GPT) for name in "ab"]
    export = openai_usage(pair[:1])
    export["data"][0]["results"] *= 2
    result = audited(tmp_path, pair, export)
    assert result.ok
    assert not result.causes


@pytest.mark.parametrize("hours", [-8, -5, 1, 5.5, 9])
@pytest.mark.parametrize("measure", ["usage", "cost"])
def test_another_time_zone_is_found(tmp_path: Path, hours: float, measure: str) -> None:
    busy = [
        call(f"b{n}", DAY_1 - DAY + n * 13 * 60.0, Usage(1_000 + 7 * n % 501, output_tokens=n % 97)) for n in range(554)
    ]
    make = anthropic_usage if measure == "usage" else anthropic_cost
    export = make(busy, zone_s=hours * HOUR)
    export["data"] = export["data"][1:4]
    result = audited(tmp_path, busy, export)
    assert result.zone_s == hours * HOUR
    assert causes(result) <= {"time zone", "rounding"}
    assert result.ok
    assert f"UTC{'-' if hours < 0 else '+'}0{abs(int(hours))}" in the(result, "time zone").says


def test_a_difference_that_no_zone_explains_is_not_called_one(tmp_path: Path) -> None:
    result = audited(tmp_path, ANTHROPIC[:30], anthropic_usage(within(ANTHROPIC)))
    assert result.zone_s == 0
    assert not result.ok


def test_calls_before_the_gateway(tmp_path: Path) -> None:
    late = [r for r in ANTHROPIC if r.at >= DAY_1 + DAY + 5 * HOUR]
    result = audited(tmp_path, late, anthropic_usage(within(ANTHROPIC)))
    assert result.ok
    assert causes(result) == {"before the gateway"}


def test_an_export_made_before_its_last_bucket_was_over(tmp_path: Path) -> None:
    seen = [r for r in within(ANTHROPIC) if r.at < DAY_1 + 2 * DAY + 9 * HOUR]
    after = [r for r in within(ANTHROPIC) if r.at >= DAY_1 + 2 * DAY + 9 * HOUR]
    result = audited(tmp_path, ANTHROPIC, anthropic_usage(seen))
    assert result.ok
    cause = the(result, "partial last bucket")
    assert (cause.tokens, cause.calls) == (-sum(r.usage.total_tokens for r in after), len(after))
    money = audited(tmp_path, [], anthropic_cost(seen, places=8))
    assert the(money, "partial last bucket").money == pytest.approx(-sum(r.cost for r in after), abs=10**6)
    assert money.ok


def test_a_gap_in_another_bucket_than_the_last_is_no_early_export(tmp_path: Path) -> None:
    seen = [r for r in within(ANTHROPIC) if not DAY_1 + 9 * HOUR < r.at < DAY_1 + DAY]
    assert not audited(tmp_path, ANTHROPIC, anthropic_usage(seen)).ok


def test_abandoned_streams_may_differ_by_as_much_as_they_are(tmp_path: Path) -> None:
    short = call("gone", DAY_1 + 3 * HOUR, Usage(5_000, output_tokens=40, counted=True), abandoned=True)
    truth = msgspec.structs.replace(short, usage=Usage(5_000, output_tokens=71), abandoned=False)
    result = audited(tmp_path, [*ANTHROPIC, short], anthropic_usage([*within(ANTHROPIC), truth]))
    assert result.ok
    assert (the(result, "abandoned streams").tokens, the(result, "abandoned streams").calls) == (31, 1)
    unbilled = audited(tmp_path, [], anthropic_usage(within(ANTHROPIC)))
    assert the(unbilled, "abandoned streams").tokens == -5_040
    wild = msgspec.structs.replace(truth, usage=Usage(5_000, output_tokens=400))
    assert not audited(tmp_path, [], anthropic_usage([*within(ANTHROPIC), wild])).ok


def test_counted_usage_is_off_by_a_quarter_at_most(tmp_path: Path) -> None:
    ours = call("counted", DAY_1 + 3 * HOUR, Usage(1_000, output_tokens=100, counted=True))
    near = msgspec.structs.replace(ours, usage=Usage(1_100, output_tokens=90))
    far = msgspec.structs.replace(ours, usage=Usage(1_600, output_tokens=90))
    assert (
        the(audited(tmp_path, [*ANTHROPIC, ours], anthropic_usage([*within(ANTHROPIC), near])), "counted usage").tokens
        == 90
    )
    assert not audited(tmp_path, [], anthropic_usage([*within(ANTHROPIC), far])).ok


def test_suspect_usage_is_named(tmp_path: Path) -> None:
    odd = call("odd", DAY_1 + HOUR, Usage(100, output_tokens=10, suspect="a doubt"))
    truth = msgspec.structs.replace(odd, usage=Usage(160, output_tokens=10))
    result = audited(tmp_path, [*ANTHROPIC, odd], anthropic_usage([*within(ANTHROPIC), truth]))
    assert result.ok
    assert the(result, "suspect usage").tokens == 60


def test_answers_whose_usage_nobody_told(tmp_path: Path) -> None:
    untold = call("untold", DAY_1 + HOUR, None)
    truth = call("untold", DAY_1 + HOUR, Usage(900, output_tokens=20))
    result = audited(tmp_path, [*ANTHROPIC, untold], anthropic_usage([*within(ANTHROPIC), truth]))
    assert result.ok
    assert (the(result, "usage not told").tokens, the(result, "usage not told").calls) == (920, 1)


def test_an_unpriced_model_tells_what_it_comes_to(tmp_path: Path) -> None:
    new = call("new", DAY_1 + HOUR, Usage(1_000_000), model="claude-nova-9")
    export = anthropic_cost(within(ANTHROPIC))
    line = {**export["data"][0]["results"][0], "model": "claude-nova-9", "amount": "250.0"}
    export["data"][0]["results"].append(line)
    result = audited(tmp_path, [*ANTHROPIC, new], export)
    assert result.ok
    cause = the(result, "unpriced model")
    assert cause.money == 2_500_000_000_000
    assert "claude-nova-9" in cause.says
    assert "$2.50 per million tokens" in cause.says


@pytest.mark.parametrize("places", [6, 2])
def test_a_price_that_is_not_in_the_book(tmp_path: Path, places: int) -> None:
    export = anthropic_cost(within(ANTHROPIC), places=places)
    dearer = anthropic_cost(within(ANTHROPIC), places=places, factor=Fraction(11, 10))
    for day, dear in zip(export["data"], dearer["data"], strict=True):
        day["results"][-1] = dear["results"][-1]  # output
    result = audited(tmp_path, ANTHROPIC, export)
    assert result.ok
    cause = the(result, "price differs")
    assert "$16.50 per million tokens, in the price book $15.00" in cause.says
    assert cause.money == pytest.approx(sum(r.usage.output_tokens for r in within(ANTHROPIC)) * 1_500_000, abs=10**9)


def test_a_factor_on_everything_is_told_where_kinds_are_not(tmp_path: Path) -> None:
    export = openai_costs(within(OPENAI), factor=Fraction(11, 10))
    for bucket in export["data"]:
        value = sum(line["amount"]["value"] for line in bucket["results"])
        bucket["results"] = [{**bucket["results"][0], "line_item": GPT, "amount": {"value": value, "currency": "usd"}}]
    result = audited(tmp_path, OPENAI, export)
    assert "1.1 times the price book" in the(result, "price differs").says
    assert result.ok


def test_batch_prices_are_called_batch(tmp_path: Path) -> None:
    export = anthropic_cost(within(ANTHROPIC), factor=Fraction(1, 2))
    for bucket in export["data"]:
        for line in bucket["results"]:
            line["service_tier"] = "batch"
    result = audited(tmp_path, ANTHROPIC, export)
    assert result.ok
    assert "billed (batch) at $7.50 per million tokens, in the price book $15.00" in "".join(
        cause.says for cause in result.causes
    )
    assert causes(result) <= {"service tier", "rounding"}


def test_the_same_tokens_at_another_tier_in_a_usage_export(tmp_path: Path) -> None:
    export = anthropic_usage(within(ANTHROPIC))
    for bucket in export["data"]:
        for line in bucket["results"]:
            line["service_tier"] = "batch"
    result = audited(tmp_path, ANTHROPIC, export)
    assert result.ok
    assert the(result, "service tier").money == pytest.approx(-sum(r.cost for r in within(ANTHROPIC)) / 2, abs=10)


def test_a_difference_that_is_no_price_is_not_called_one(tmp_path: Path) -> None:
    export = anthropic_cost(within(ANTHROPIC))
    for number, bucket in enumerate(export["data"]):
        bucket["results"][-1]["amount"] = str(7 + number * number / 3)
    result = audited(tmp_path, ANTHROPIC, export)
    assert not result.ok
    assert "price differs" not in causes(result)


def test_cents_are_rounded(tmp_path: Path) -> None:
    result = audited(tmp_path, ANTHROPIC, anthropic_cost(within(ANTHROPIC), places=0))
    assert result.ok
    assert causes(result) == {"rounding"}


def test_other_services_are_beside(tmp_path: Path) -> None:
    export = anthropic_cost(within(ANTHROPIC))
    search = {"amount": "1000", "currency": "USD", "cost_type": "web_search", "model": None, "token_type": None}
    export["data"][0]["results"].append({**search, "description": "Web search"})
    result = audited(tmp_path, ANTHROPIC, export)
    assert result.ok
    assert the(result, "other services").money == 10 * 10**12
    costs = openai_costs(within(OPENAI))
    costs["data"][0]["results"].append(
        {
            "object": "organization.costs.result",
            "amount": {"value": 0.5, "currency": "usd"},
            "line_item": "file search tool calls",
        }
    )
    assert the(audited(tmp_path, OPENAI, costs), "other services").money == 5 * 10**11


def test_keys_that_are_not_ours_are_found_and_can_be_left_out(tmp_path: Path) -> None:
    export = openai_usage(within(OPENAI), key="key_ours")
    theirs = [
        call(f"t{n}", r.at + 61, Usage(777), provider="openai", model=GPT) for n, r in enumerate(within(OPENAI)[:5])
    ]
    export["data"] += openai_usage(theirs, key="key_theirs")["data"]
    result = audited(tmp_path, OPENAI, export)
    assert result.ok
    assert the(result, "another key").tokens == 5 * 777
    assert "key_theirs" in the(result, "another key").says
    assert not audited(tmp_path, [], export, keys=["key_ours"]).causes
    with pytest.raises(ConfigError, match=r"no key 'key_x'. It has: key_ours, key_theirs"):
        audited(tmp_path, [], export, keys=["key_x"])


def test_writes_told_without_their_lifetime(tmp_path: Path) -> None:
    """A total without a split is booked as five-minute writes."""
    short = [
        msgspec.structs.replace(
            r, usage=msgspec.structs.replace(
                r.usage, cache_write_1h_tokens=0,
                cache_write_5m_tokens=r.usage.cache_write_5m_tokens + r.usage.cache_write_1h_tokens,
            ),
        )
        for r in ANTHROPIC
    ]  # fmt: skip
    result = audited(tmp_path, short, anthropic_usage(within(ANTHROPIC)))
    assert result.ok
    assert the(result, "lifetime of writes").tokens == 0
    assert the(result, "lifetime of writes").money > 0


def test_only_whole_buckets_within_the_span_count(tmp_path: Path) -> None:
    result = audited(tmp_path, ANTHROPIC, anthropic_usage(within(ANTHROPIC)), since=DAY_1 + 1, until=DAY_1 + 2 * DAY)
    assert [explained.line.start for explained in result.lines] == [DAY_1 + DAY]
    assert "2 buckets of the export are not within the span" in result.notes[0]
    with pytest.raises(ConfigError, match="No bucket"):
        audited(tmp_path, [], anthropic_usage(within(ANTHROPIC)), since=DAY_1 + 1, until=DAY_1 + DAY)


def test_an_export_that_goes_on_is_not_whole(tmp_path: Path) -> None:
    result = audited(tmp_path, ANTHROPIC, {**anthropic_usage(within(ANTHROPIC)), "has_more": True, "next_page": "p2"})
    assert not result.ok
    assert not result.causes
    assert "has_more" in result.invoice.incomplete


def test_a_day_without_lines_is_still_covered(tmp_path: Path) -> None:
    """Calls that fall into an empty bucket were not billed."""
    export = openai_usage(within(OPENAI))
    export["data"][1]["results"] = []
    result = audited(tmp_path, OPENAI, export)
    assert not result.ok
    assert the(result, "not billed").calls == 0
    assert [explained.line.invoiced.total for explained in result.lines][1] == 0


def test_a_few_equal_calls_that_are_missing_are_no_price(tmp_path: Path) -> None:
    """One in three hundred equal calls: the implied rates are $2.99 and $14.95."""
    alike = [call(f"e{n}", DAY_1 + 9 * n, Usage(20_000, output_tokens=50)) for n in range(300)]
    next_day = call("next", DAY_1 + DAY, Usage(1))
    result = audited(tmp_path, [ANTHROPIC[0], *alike, next_day], anthropic_cost([*alike[1:], next_day]))
    assert causes(result) == {"not billed"}
    assert not result.ok


def test_a_price_that_one_line_pins_down(tmp_path: Path) -> None:
    alike = [call(f"e{n}", DAY_1 + 9 * n, Usage(20_000, output_tokens=50)) for n in range(300)]
    result = audited(tmp_path, [ANTHROPIC[0], *alike], anthropic_cost(alike, factor=Fraction(5, 4)))
    assert result.ok
    assert "input billed at $3.75 per million tokens, in the price book $3.00" in "".join(c.says for c in result.causes)
