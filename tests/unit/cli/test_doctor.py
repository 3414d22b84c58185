"""`pennyweight doctor` as it is called."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.unit.replay.doctor_seeds import (
    a_clock_in_the_system_prompt,
    marker_on_the_system_prompt_only,
    without_markers,
)

from pennyweight.capture.format import write
from pennyweight.cli.doctor import command
from pennyweight.ledger.doctor.finding import Finding
from pennyweight.ledger.doctor.stored import store
from pennyweight.replay.demo import demo_session
from pennyweight.stores.database import FILE, Database


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("PENNYWEIGHT_CONFIG", "PENNYWEIGHT_OPTIMIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PENNYWEIGHT_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    write(folder / "healthy.jsonl.gz", demo_session())
    write(folder / "unmarked.jsonl.gz", without_markers())
    write(folder / "clock.jsonl.gz", a_clock_in_the_system_prompt())
    write(folder / "system.jsonl.gz", marker_on_the_system_prompt_only())
    return folder


def doctor(*arguments: object) -> Result:
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_a_finding_is_told_in_eighty_columns(recordings: Path) -> None:
    told = doctor(recordings / "unmarked.jsonl.gz").stdout
    assert "No cache breakpoint" in told
    assert "Fix: " in told
    assert "Setting: " in told
    assert "prompt tokens, $1.76." in told
    assert "Missed: $1.42, 81% of what the prompts cost" in told  # with its own marks the session costs $0.34
    assert max(map(len, told.splitlines())) <= 80


def test_a_healthy_session_is_left_alone(recordings: Path) -> None:
    assert "Nothing was missed" in doctor(recordings / "healthy.jsonl.gz").stdout


def test_json_has_the_fields_of_the_dashboard(recordings: Path) -> None:
    told = json.loads(doctor(recordings / "clock.jsonl.gz", "--json").stdout)
    (finding,) = told["findings"]
    assert finding["code"] == "volatile_head"
    assert finding["worst"]["what"] == "a time"
    assert told["missed_pico"] == finding["cost_pico"] > 0
    assert "before" not in finding
    assert "2026-11-20T21:31" not in json.dumps(told)


def test_a_page_quotes_prompts_only_when_asked_to(recordings: Path, home: Path) -> None:
    page = home / "page.html"
    doctor(recordings / "clock.jsonl.gz", "--html", page)
    quiet = page.read_text()
    assert "2026-11-20T21:31" not in quiet
    doctor(recordings / "clock.jsonl.gz", "--html", page, "--with-text")
    assert "2026-11-20T21:31" in page.read_text()
    for text in (quiet, page.read_text()):
        assert not re.search(r"<script|https?://|src=|url\(|@import", text)


def test_what_the_gateway_can_do_is_switched_on_after_a_backup(recordings: Path, home: Path) -> None:
    config = home / "pennyweight.toml"
    config.write_text('[[optimizers]]\nuse = "prompt_cache"\nmode = "off" # later\n')
    told = doctor(recordings / "system.jsonl.gz", "--apply").stdout
    assert config.read_text() == '[[optimizers]]\nuse = "prompt_cache"\nmode = "on" # later\n'
    assert '-mode = "off" # later' in told
    (backup,) = home.glob("pennyweight.toml.pennyweight-*.bak")
    assert '"off"' in backup.read_text()


def test_max_is_switched_on_only_when_asked_for(recordings: Path, home: Path) -> None:
    config = home / "pennyweight.toml"
    config.write_text("[server]\nport = 8787\n")
    told = doctor(recordings / "clock.jsonl.gz", "--apply").stdout
    assert config.read_text() == "[server]\nport = 8787\n"
    assert "--max" in told
    doctor(recordings / "clock.jsonl.gz", "--apply", "--max")
    assert tomllib.loads(config.read_text()) == {"optimize": "max", "server": {"port": 8787}}


def test_the_gateways_own_findings_are_told_without_a_file(home: Path) -> None:
    one = Finding(
        code="ttl_lapsed",
        tenant="local",
        session="s",
        provider="anthropic",
        model="claude-sonnet-4-6",
        client="openclaw",
        where="",
        calls=3,
        tokens=90_000,
        prompt_tokens=100_000,
        cost=310_000_000_000,
        first_at=4e9,
        last_at=4e9,
        dearest=40_000,
        gap_s=1_200.0,
        ttl_s=300.0,
    )

    async def fill() -> None:
        database = Database(home / "data" / FILE)
        await database.write(lambda connection: store(connection, [one]))
        await database.close()

    assert "no calls yet" in doctor().stdout
    asyncio.run(fill())
    told = doctor("--since", "2026-01-01").stdout
    assert "paused for 20 min" in " ".join(told.split())
    assert 'params.cacheRetention: "long"\n' in told
    assert "$0.31" in told


def test_text_of_a_gateway_is_not_there_to_be_quoted() -> None:
    result = doctor("--with-text")
    assert result.exit_code == 2
    assert "keeps no prompt text" in result.stderr
