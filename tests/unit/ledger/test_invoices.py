"""Exports as providers document and write them, and files that are none."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from pennyweight.errors import ConfigError
from pennyweight.ledger.audit.names import alias, matched
from pennyweight.ledger.audit.rates import roundest
from pennyweight.ledger.invoices import Invoice, Tokens, read

# The example of platform.openai.com/docs/api-reference/usage/completions, with a model.
OPENAI_USAGE = {
    "object": "page",
    "data": [
        {
            "object": "bucket",
            "start_time": 1730419200,
            "end_time": 1730505600,
            "results": [
                {
                    "object": "organization.usage.completions.result",
                    "input_tokens": 1000,
                    "output_tokens": 500,
                    "input_cached_tokens": 800,
                    "input_audio_tokens": 0,
                    "output_audio_tokens": 0,
                    "num_model_requests": 5,
                    "project_id": None,
                    "user_id": None,
                    "api_key_id": None,
                    "model": "gpt-4o-mini-2024-07-18",
                    "batch": None,
                }
            ],
        }
    ],
    "has_more": False,
    "next_page": None,
}
# Of .../usage/costs_object.
OPENAI_COST = {
    "object": "organization.costs.result",
    "amount": {"value": 0.06, "currency": "usd"},
    "line_item": None,
    "project_id": None,
}
# Of platform.claude.com/docs/en/api/admin/cost_report.
ANTHROPIC_COST = {
    "amount": "123.78912",
    "currency": "USD",
    "cost_type": "tokens",
    "description": "Claude Sonnet 4 Usage - Input Tokens",
    "model": "claude-sonnet-4-20250514",
    "token_type": "uncached_input_tokens",
    "service_tier": "standard",
    "context_window": "0-200k",
    "workspace_id": "wrkspc_01JwQvzr7rXLA5AGx3HKfFUJ",
}
ANTHROPIC_USAGE = {
    "uncached_input_tokens": 1500,
    "cache_creation": {"ephemeral_1h_input_tokens": 1000, "ephemeral_5m_input_tokens": 500},
    "cache_read_input_tokens": 200,
    "output_tokens": 500,
    "server_tool_use": {"web_search_requests": 10},
    "api_key_id": "apikey_01Rj2N8SVvo6BePZj99NhmiT",
    "workspace_id": None,
    "model": "claude-sonnet-4-20250514",
    "service_tier": "standard",
    "context_window": "0-200k",
}
# A dashboard's file as published in a project's cost report: counts as floats, an empty bucket as a row of commas.
OPENAI_CSV = """\
start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,user_id,api_key_id,model,batch,\
service_tier,input_tokens,output_tokens,input_cached_tokens,input_uncached_tokens,input_text_tokens
1759622400,1759708800,2025-10-05T00:00:00+00:00,2025-10-06T00:00:00+00:00,proj_1,10.0,user-1,key_1,gpt-4o-2024-08-06,\
FALSE,default,59200.0,10646.0,5760.0,53440.0,53440.0
1759708800,1759795200,2025-10-06T00:00:00+00:00,2025-10-07T00:00:00+00:00,,,,,,,,,,,,
"""
OPENAI_COST_CSV = """\
start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id,organization_id
1759622400,1759708800,2025-10-05T00:00:00+00:00,2025-10-06T00:00:00+00:00,0.8958740000000000,usd,,,org-1
1759708800,1759795200,2025-10-06T00:00:00+00:00,2025-10-07T00:00:00+00:00,,,,,
"""
CONSOLE = """\
usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,\
usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,\
usage_output_tokens,web_search_count,inference_geo,speed
2026-03-31 02:00,claude-haiku-4-5-20251001,main,"A, B",standard,≤ 200k,1124832,7,8,9,254558,0,not_available,
"""
CONSOLE_COST = """\
usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,list_price_usd,cost_type,inference_geo,speed
2026-08-05,Claude Sonnet 4.5,Default,main,message,≤ 200k,input_cache_read,0.10,1.00,token,not_available,
2026-08-05,,Default,main,message,,,0.30,0.30,web_search,not_available,
"""


def export(folder: Path, content: object, name: str = "export", **settings) -> Invoice:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read(path, **settings)


def openai_bucket(result: dict) -> dict:
    return {**OPENAI_USAGE, "data": [{**OPENAI_USAGE["data"][0], "results": [result]}]}


def anthropic_page(*results: dict) -> dict:
    times = {"starting_at": "2025-08-01T00:00:00Z", "ending_at": "2025-08-02T00:00:00Z"}
    return {"data": [{**times, "results": list(results)}], "has_more": False, "next_page": None}


def test_openai_usage(tmp_path: Path) -> None:
    invoice = export(tmp_path, OPENAI_USAGE)
    (item,) = invoice.items
    assert (invoice.provider, invoice.measure) == ("openai", "usage")
    assert invoice.spans == ((1730419200.0, 1730505600.0),)
    assert item.tokens == Tokens(uncached=200, cache_read=800, output=500)
    assert (item.model, item.requests, item.tier, item.operation) == ("gpt-4o-mini-2024-07-18", 5, "", "generate")


def test_openai_cache_writes_are_part_of_the_input(tmp_path: Path) -> None:
    line = {**OPENAI_USAGE["data"][0]["results"][0], "input_cache_write_tokens": 150, "batch": True}
    (item,) = export(tmp_path, openai_bucket(line)).items
    assert item.tokens == Tokens(uncached=50, cache_read=800, cache_write_5m=150, output=500)
    assert item.tier == "batch"


def test_openai_costs_are_the_digits_that_were_sent(tmp_path: Path) -> None:
    costs = [{**OPENAI_COST, "amount": {"value": 0.1, "currency": "usd"}}, OPENAI_COST]
    invoice = export(tmp_path, {**OPENAI_USAGE, "data": [{**OPENAI_USAGE["data"][0], "results": costs}]})
    assert [item.amount for item in invoice.items] == [100_000_000_000, 60_000_000_000]
    assert invoice.measure == "cost"
    assert invoice.unit == 10**10  # a cent: no amount has more places


@pytest.mark.parametrize(
    ("line_item", "model", "kind", "tier", "service"),
    [
        ("gpt-4o-2024-08-06, input", "gpt-4o-2024-08-06", "uncached", "", ""),
        ("gpt-4o-2024-08-06, cached input", "gpt-4o-2024-08-06", "cache_read", "", ""),
        ("gpt-5.6-luna, output", "gpt-5.6-luna", "output", "", ""),
        ("gpt-4o-2024-08-06, Input", "gpt-4o-2024-08-06", "uncached", "", ""),
        ("gpt-4o", "gpt-4o", "", "", ""),
        ("file search tool calls", "", "", "", "file search tool calls"),
        ("gpt-realtime-2.1, audio input", "", "", "", "gpt-realtime-2.1, audio input"),
        (None, "", "", "", ""),
    ],
)
def test_openai_line_items(
    tmp_path: Path, line_item: str | None, model: str, kind: str, tier: str, service: str
) -> None:
    (item,) = export(tmp_path, openai_bucket({**OPENAI_COST, "line_item": line_item})).items
    assert (item.model, item.kind, item.tier, item.service) == (model, kind, tier, service)


def test_openai_files(tmp_path: Path) -> None:
    usage = export(tmp_path, OPENAI_CSV)
    (item,) = usage.items
    assert item.tokens == Tokens(uncached=53440, cache_read=5760, output=10646)
    assert (item.tier, item.key, item.requests) == ("standard", "key_1", 10)
    assert len(usage.spans) == 2
    costs = export(tmp_path, OPENAI_COST_CSV)
    assert [item.amount for item in costs.items] == [895_874_000_000]
    assert costs.unit == 10**6
    assert export(tmp_path, OPENAI_CSV.replace(",", "\t")).items[0].tokens == item.tokens


def test_anthropic_usage(tmp_path: Path) -> None:
    (item,) = export(tmp_path, anthropic_page(ANTHROPIC_USAGE)).items
    assert item.tokens == Tokens(1500, 200, 500, 1000, 500)
    assert (item.start, item.end) == (1754006400.0, 1754092800.0)
    assert (item.tier, item.key) == ("standard", "apikey_01Rj2N8SVvo6BePZj99NhmiT")


def test_anthropic_amounts_are_cents(tmp_path: Path) -> None:
    search = {**ANTHROPIC_COST, "cost_type": "web_search", "model": None, "token_type": None, "amount": "1000"}
    invoice = export(tmp_path, anthropic_page(ANTHROPIC_COST, search))
    assert [item.amount for item in invoice.items] == [1_237_891_200_000, 10 * 10**12]
    assert [item.kind for item in invoice.items] == ["uncached", ""]
    assert [item.service for item in invoice.items] == ["", "web search"]
    assert invoice.unit == 10**5  # five places of a cent


def test_console_files(tmp_path: Path) -> None:
    (item,) = export(tmp_path, "\ufeff" + CONSOLE).items
    assert item.tokens == Tokens(1124832, 9, 7, 8, 254558)
    assert item.start == datetime(2026, 3, 31, 2, tzinfo=UTC).timestamp()
    assert item.end - item.start == 3600
    costs = export(tmp_path, CONSOLE_COST)
    assert [item.amount for item in costs.items] == [10**11, 3 * 10**11]
    assert [(item.model, item.kind, item.service) for item in costs.items] == [
        ("Claude Sonnet 4.5", "cache_read", ""),
        ("", "", "web search"),
    ]


def test_pages_in_an_array_and_one_a_line(tmp_path: Path) -> None:
    later = {**OPENAI_USAGE["data"][0], "start_time": 1730505600, "end_time": 1730592000}
    pages = [{**OPENAI_USAGE, "has_more": True}, {**OPENAI_USAGE, "data": [later]}]
    for content in (pages, "\n".join(map(json.dumps, pages)), [page["data"][0] for page in pages]):
        invoice = export(tmp_path, content)
        assert len(invoice.items) == 2
        assert not invoice.incomplete
    assert "has_more" in export(tmp_path, pages[:1]).incomplete


def test_another_currency_is_refused_without_a_rate(tmp_path: Path) -> None:
    page = openai_bucket({**OPENAI_COST, "amount": {"value": 10, "currency": "eur"}})
    with pytest.raises(ConfigError, match=r"amounts are in EUR.*--rate EUR=1\.08"):
        export(tmp_path, page)
    assert export(tmp_path, page, rates={"EUR": Decimal("1.08")}).items[0].amount == 10_800_000_000_000
    cents = anthropic_page({**ANTHROPIC_COST, "currency": "GBP", "amount": "100"})
    with pytest.raises(ConfigError, match="amounts are in GBP"):
        export(tmp_path, cents, rates={"EUR": Decimal(1)})
    assert export(tmp_path, cents, rates={"GBP": Decimal("1.25")}).items[0].amount == 1_250_000_000_000


def test_credits_are_negative(tmp_path: Path) -> None:
    assert export(tmp_path, anthropic_page({**ANTHROPIC_COST, "amount": "-250"})).items[0].amount == -2_500_000_000_000


def test_the_provider_can_be_insisted_on(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is an OpenAI usage JSON export, not one of 'anthropic'"):
        export(tmp_path, OPENAI_USAGE, provider="anthropic")


LINE = OPENAI_USAGE["data"][0]["results"][0]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("{", "no valid JSON"),
        ("[]", "no buckets"),
        ({"data": []}, "no buckets"),
        ({"data": {}}, "no usage or cost export"),
        ({"hello": 1}, "no usage or cost export"),
        ("[1, 2]", "no usage or cost export"),
        ("[NaN]", "no valid JSON"),
        ("name,age\nx,3\n", "columns are 'name, age'"),
        (CONSOLE.replace(",1124832,", ",-5,"), "uncached_input_tokens '-5' is no count"),
        (CONSOLE.replace(",1124832,", ",nan,"), "'nan' is no count"),
        (CONSOLE.replace(",1124832,", ",1e99,"), "'1e99' is no count"),
        (CONSOLE.replace(",1124832,", ",1.5,"), "'1.5' is no count"),
        (CONSOLE.replace("2026-03-31 02:00", "31/03/2026 02:00"), "'31/03/2026 02:00' is no time"),
        (CONSOLE_COST.replace("0.10", "$0.10"), "cost_usd '$0.10' is no amount"),
        (CONSOLE_COST.replace("0.10", "inf"), "cost_usd 'inf' is no amount"),
        (OPENAI_CSV.replace(",53440.0,53440.0", ",53440.0"), "does not have the 16 columns"),
        (openai_bucket({**LINE, "input_tokens": "many"}), "input_tokens 'many' is no count"),
        (openai_bucket({**LINE, "input_tokens": True}), "input_tokens True is no count"),
        (openai_bucket({**OPENAI_COST, "amount": 5}), "The amount 5 has no value"),
        (openai_bucket({**OPENAI_COST, "amount": {"value": None, "currency": "usd"}}), "amount None is no amount"),
        (anthropic_page({**ANTHROPIC_USAGE, "cache_creation": 3}), "cache_creation is 3"),
        ({"data": [{**OPENAI_USAGE["data"][0], "end_time": 1}]}, "ends at 1, before it begins"),
        ({"data": [{**OPENAI_USAGE["data"][0], "start_time": None}]}, "None is no time"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_quoted(tmp_path: Path, content: object, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        export(tmp_path, content, "bill.txt")
    assert says in str(caught.value)
    assert "bill.txt" in str(caught.value)


def test_a_folder_and_bytes_are_no_exports(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Cannot read the export"):
        read(tmp_path)
    (tmp_path / "x").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="no text in UTF-8"):
        read(tmp_path / "x")


def test_more_cached_than_input_is_noted(tmp_path: Path) -> None:
    invoice = export(tmp_path, openai_bucket({**LINE, "input_tokens": 100}))
    assert invoice.items[0].tokens == Tokens(cache_read=800, output=500)
    assert "bucket 1, result 1: more tokens cached" in invoice.notes[0]


@pytest.mark.parametrize(
    ("model", "plain"),
    [
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4.1-mini-2025-04-14", "gpt-4.1-mini"),
        ("openai/gpt-4o", "gpt-4o"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("Claude Haiku 4.5", "claude-haiku-4-5"),
        ("claude-3-5-haiku-20241022", "claude-haiku-3-5"),
        ("Claude Haiku 3.5", "claude-haiku-3-5"),
        ("claude-3-7-sonnet-latest", "claude-sonnet-3-7"),
    ],
)
def test_names_of_models(model: str, plain: str) -> None:
    assert alias(model) == plain


def test_names_that_both_sides_use_stay() -> None:
    names = matched({"gpt-4o-2024-08-06", "gpt-4o-2024-05-13"}, {"gpt-4o", "gpt-4o-2024-05-13"})
    assert names == {"gpt-4o": "gpt-4o", "gpt-4o-2024-08-06": "gpt-4o", "gpt-4o-2024-05-13": "gpt-4o-2024-05-13"}


@pytest.mark.parametrize(
    ("low", "high", "number", "digits"),
    [
        ("2.9999", "3.0001", "3", 1),
        ("16.499", "16.501", "16.5", 3),
        ("0.07499", "0.07501", "0.075", 2),
        ("9.5", "21", "10", 1),
    ],
)
def test_the_roundest_number_between(low: str, high: str, number: str, digits: int) -> None:
    assert roundest(Fraction(low), Fraction(high)) == (Fraction(number), digits)
