"""`pennyweight report` as it is called."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pennyweight.call import Step, Verdict
from pennyweight.cli.report import command, tokens
from pennyweight.errors import NotFound, StoreError
from pennyweight.request import Usage
from pennyweight.stores.sqlite import FILE, Database, SQLiteLedger
from pennyweight.testing.contracts import sample_receipt


@pytest.fixture
def data(tmp_path: Path) -> Path:
    async def write() -> None:
        database = Database(tmp_path / FILE)
        nothing = {"cost": None, "baseline": None}
        try:
            await SQLiteLedger(database).append(
                [
                    sample_receipt("call_1"),
                    sample_receipt("call_2", model="new", target_model="new", pricing="unpriced", **nothing),
                    sample_receipt("call_3", model="[plan]", pricing="subscription", **nothing),
                    sample_receipt("call_4", trail=(Step("odd", Verdict.FAILED, error="TypeError"),)),
                ]
            )
        finally:
            await database.close()

    asyncio.run(write())
    return tmp_path


def report(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], catch_exceptions=True)


def test_the_table_says_cost_saving_and_how_it_is_known(data: Path) -> None:
    done = report("--data", data, "--by", "model")
    assert done.exit_code == 0, done.output
    for wanted in ("claude-sonnet-4-5", "$6.28", "$8.00", "$1.72 (21%)", "estimated", "[plan]", "unpriced", "total"):
        assert wanted in done.output
    assert "add a price: see docs/prices.md" in done.output
    assert "1 calls on a subscription: 1.5k tokens, not counted in dollars" in done.output
    assert "overlap" in done.output


def test_an_empty_ledger_says_what_to_do(tmp_path: Path) -> None:
    done = report("--data", tmp_path)
    assert done.exit_code == 0
    assert "No calls yet" in done.output
    assert "pennyweight demo" in done.output
    assert json.loads(report("--data", tmp_path, "--json").output)["total"]["calls"] == 0
    assert report("--data", tmp_path, "--csv").output.startswith("day,calls,")


def test_a_span_without_calls_is_not_an_empty_ledger(data: Path) -> None:
    assert report("--data", data, "--until", "2001-01-01").output == "No calls in that span.\n"


def test_json_and_csv_agree(data: Path) -> None:
    whole = json.loads(report("--data", data, "--by", "model", "--json").output)
    rows = list(csv.DictReader(io.StringIO(report("--data", data, "--by", "model", "--csv").output)))
    assert [row["model"] for row in rows] == [line["key"] for line in whole["lines"]]
    assert [row["cost_pico"] for row in rows] == [str(line["cost_pico"] or "") for line in whole["lines"]]
    assert whole["total"]["cost_pico"] == 2 * 3_141_592_653_589
    assert whole["unpriced"][0]["model"] == "new"


def test_one_receipt_whole(data: Path) -> None:
    done = report("--data", data, "--call", "call_1")
    for wanted in ("call_1", "claude-sonnet-4-5, sent as claude-haiku-4-5", "3141592653589", "small talk", "accepted"):
        assert wanted in done.output
    assert "TypeError" in report("--data", data, "--call", "call_4").output
    whole = json.loads(report("--data", data, "--call", "call_1", "--json").output)
    assert (whole["cost_pico"], whole["saved_pico"], whole["basis"]) == (
        3_141_592_653_589,
        858_407_346_412,
        "estimated",
    )
    assert whole["trail"][1]["verdict"] == "accepted"


def test_a_call_that_is_not_there_is_an_error(data: Path) -> None:
    assert isinstance(report("--data", data, "--call", "nope").exception, NotFound)


def test_a_file_that_is_no_ledger_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all " * 50)
    error = report("--data", tmp_path).exception
    assert isinstance(error, StoreError)
    assert FILE in str(error)


@pytest.mark.parametrize("moment", ["yesterday", "2026-13-01", "7", "-7d"])
def test_a_time_that_is_none_is_quoted_with_the_forms_that_are(data: Path, moment: str) -> None:
    done = report("--data", data, f"--since={moment}")
    assert done.exit_code == 2
    assert repr(moment) in done.output
    assert "2026-11-01" in done.output


def test_a_span_may_be_told_as_so_long_ago(data: Path) -> None:
    assert report("--data", data, "--since", "2027-01-15").exit_code == 0
    assert report("--data", data, "--until", "99999d").output == "No calls in that span.\n"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (999, "999"), (12_345, "12.3k"), (999_900, "1,000k"), (4_560_000, "4.56M")]
)
def test_tokens_for_people(count: int, text: str) -> None:
    assert tokens(count) == text


def test_the_data_folder_follows_the_environment(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PENNYWEIGHT_DATA", str(data))
    assert "claude-sonnet-4-5" in report("--by", "model").output


def test_usage_that_contradicts_itself_is_told(tmp_path: Path) -> None:
    why = "900 cached or written of 100 input tokens"

    async def write() -> None:
        database = Database(tmp_path / FILE)
        odd = sample_receipt("odd", usage=Usage(900, 900, output_tokens=3, suspect=why))
        await SQLiteLedger(database).append([sample_receipt("fine"), odd])
        await database.close()

    asyncio.run(write())
    assert "1 calls have usage that contradicts itself" in report("--data", tmp_path).output
    assert json.loads(report("--data", tmp_path, "--json").output)["suspect_calls"] == 1
    assert json.loads(report("--data", tmp_path, "--json", "--tenant", "x").output)["suspect_calls"] == 0
    assert why in " ".join(report("--data", tmp_path, "--call", "odd").output.split())


def test_a_ledger_that_was_damaged_is_told_beside_the_figures(data: Path) -> None:
    (data / f"{FILE}.damaged-20261121T120000Z.json").write_text(
        '{"at": 1795262400, "aside": "pennyweight.db.damaged-20261121T120000Z", "reason": "malformed", '
        '"saved_receipts": 1200, "lost_receipts": 34, "saved": {}, "broken": ["budget_counters"]}'
    )
    done = report("--data", data, "--json")
    assert json.loads(done.stdout)["total"]["calls"] == 4
    assert "1,200 receipts saved, about 34 are lost" in done.stderr
    assert "Budgets of that time refuse until they begin anew" in done.stderr


def test_a_configuration_names_the_data(data: Path) -> None:
    config = data / "elsewhere.toml"
    config.write_text(f"data_dir = {json.dumps(str(data))}\n")
    done = report("--config", config, "--by", "model")
    assert done.exit_code == 0, done.output
    assert "claude-sonnet-4-5" in done.output
