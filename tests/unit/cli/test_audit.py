"""`pennyweight audit` as it is called."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.unit.ledger.exports import DAY, DAY_1, anthropic_cost, anthropic_usage, call, ledger, saved

from pennyweight.cli.audit import command
from pennyweight.errors import ConfigError
from pennyweight.request import Usage


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration of this machine's own."""
    for name in [name for name in os.environ if name.startswith("PENNYWEIGHT") or name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


CALLS = [
    call(f"c{n}", DAY_1 + n * 3000.0, Usage(1_234_567 + n, 600_000, 90_000, 1_000, 12_345 + n), tenant="acme")
    for n in range(60)
]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_the_whole_bill_is_explained(tmp_path: Path) -> None:
    ledger(tmp_path, CALLS)
    usage, cost = (
        saved(tmp_path, "usage.json", anthropic_usage(CALLS)),
        saved(tmp_path, "cost.json", anthropic_cost(CALLS)),
    )
    done = run("--data", tmp_path, "--invoice", usage, "--invoice", cost, "--all")
    assert done.exit_code == 0, done.output
    assert "usage.json: Anthropic usage JSON, 2026-11-01 to 2026-11-04 UTC" in done.output
    assert done.output.count("Everything is explained.") == 2
    assert "3 of 3 lines agree to the last digit." in done.output


def test_what_is_open_is_listed_within_80_columns(tmp_path: Path) -> None:
    ledger(tmp_path, [*CALLS, call("before", DAY_1 - DAY, Usage(1))])
    others = [
        call(f"o{n}", DAY_1 + DAY + n, Usage(10_000, output_tokens=500), model="claude-opus-4-5-20251101")
        for n in range(3)
    ]
    done = run("--data", tmp_path, "--invoice", saved(tmp_path, "cost.json", anthropic_cost([*CALLS, *others])))
    assert done.exit_code == 1
    assert max(map(len, done.output.splitlines())) <= 80
    assert "not in the ledger" in done.output
    assert "+$0.1875" in done.output  # 3 x 10,000 at $5, 3 x 500 at $25 a million
    assert "Not everything is explained." in done.output


def test_json_is_exact(tmp_path: Path) -> None:
    ledger(tmp_path, [*CALLS, call("before", DAY_1 - DAY, Usage(1))])
    done = run("--data", tmp_path, "--json", "--invoice", saved(tmp_path, "usage.json", anthropic_usage(CALLS[:-1])))
    whole = json.loads(done.output)
    (audit,) = whole["audits"]
    assert (done.exit_code, whole["ok"], audit["ok"]) == (0, True, True)  # the export was made early
    line = audit["lines"][-1]
    last = CALLS[-1].usage
    assert line["difference_tokens"]["total"] == -last.total_tokens
    assert line["causes"][0]["name"] == "partial last bucket"
    assert line["ledger_pico"] == sum(c.cost for c in CALLS if c.at >= DAY_1 + 2 * DAY)
    assert line["from"] == "2026-11-03T00:00:00Z"


def test_only_the_chosen_account_counts(tmp_path: Path) -> None:
    ledger(tmp_path, [*CALLS, *(call(f"x{n}", c.at, c.usage, provider="claude2") for n, c in enumerate(CALLS))])
    export = saved(tmp_path, "usage.json", anthropic_usage(CALLS))
    assert run("--data", tmp_path, "--invoice", export).exit_code == 0
    assert run("--data", tmp_path, "--invoice", export, "--account", "claude2").exit_code == 0
    both = run("--data", tmp_path, "--invoice", export, "--account", "claude2", "--account", "anthropic")
    assert both.exit_code == 1
    assert "not billed" in both.output


def test_a_configured_provider_that_is_billed_by_it_counts(tmp_path: Path) -> None:
    ledger(tmp_path, [call(f"x{n}", c.at, c.usage, provider="claude2") for n, c in enumerate(CALLS)])
    (tmp_path / "pennyweight.toml").write_text(
        '[providers.claude2]\nbase_url = "https://api.anthropic.com"\nwires = ["anthropic_messages"]\n'
        'prices = "anthropic"\n',
        encoding="utf-8",
    )
    assert run("--data", tmp_path, "--invoice", saved(tmp_path, "u.json", anthropic_usage(CALLS))).exit_code == 0


@pytest.mark.parametrize("rate", ["EUR", "EUR=", "EUR=0", "EUR=-1", "EUR=nan", "EURO=1", "€=1"])
def test_a_rate_is_a_currency_and_a_number(tmp_path: Path, rate: str) -> None:
    export = saved(tmp_path, "usage.json", anthropic_usage(CALLS))
    error = run("--data", tmp_path, "--invoice", export, "--rate", rate).exception
    assert isinstance(error, ConfigError)
    assert repr(rate) in str(error)


def test_help_shows_how_it_is_called() -> None:
    done = run("--help")
    assert "pennyweight audit --invoice completions_usage_2026-11.csv" in done.output
