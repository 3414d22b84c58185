"""`pennyweight explain` of a call that names a choice: every candidate, and what excluded it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pennyweight.cli.explain import command
from pennyweight.routing.learning.outcomes import Told
from pennyweight.stores.route_outcomes import SQLiteOutcomes
from pennyweight.stores.sqlite import FILE, Database

CONFIG = """
[[tiers]]
name = "cheap"
targets = ["openai/gpt-5-mini", "openai/gpt-3.5-turbo"]
[[tiers]]
name = "frontier"
targets = ["anthropic/claude-opus-4-6"]
[experiments]
holdout = 0
"""


def explained(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str, **body: Any) -> str:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789abcdef")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-0123456789abcdef")
    monkeypatch.setenv("COLUMNS", "160")
    (folder / "pennyweight.toml").write_text(CONFIG)
    (folder / "request.json").write_text(json.dumps({"model": "auto", **body}))
    config = ["--config", str(folder / "pennyweight.toml"), "--data", str(folder / "data")]
    done = CliRunner().invoke(command, [str(folder / "request.json"), *config, *arguments])
    assert done.exit_code == 0, done.output
    return done.output


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}


def test_programs_see_each_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = [{"type": "text", "text": "Is this spam? Answer yes or no."}, IMAGE]
    told = json.loads(explained(tmp_path, monkeypatch, "--json", messages=[{"role": "user", "content": content}]))
    rows = {row["target"]: row for row in told["routing"]["candidates"]}
    assert told["routing"]["chosen"] == "openai/gpt-5-mini"
    assert told["target"]["model"] == "gpt-5-mini"
    assert rows["openai/gpt-3.5-turbo"]["excluded"] == "no images"
    assert rows["anthropic/claude-opus-4-6"]["success"] > rows["openai/gpt-5-mini"]["success"]
    assert rows["anthropic/claude-opus-4-6"]["usd"] > rows["openai/gpt-5-mini"]["usd"] > 0
    assert told["routing"]["fallbacks"] == ["anthropic/claude-opus-4-6"]


def test_people_see_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = explained(tmp_path, monkeypatch, messages=[{"role": "user", "content": [IMAGE]}])
    assert "→ openai/gpt-5-mini" in told or "→ anthropic/claude-opus-4-6" in told
    assert "no images" in told
    assert "complexity" in told


def test_a_real_name_has_no_candidates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [{"role": "user", "content": "hi"}]
    told = json.loads(explained(tmp_path, monkeypatch, "--json", model="gpt-5", messages=messages))
    assert told["routing"] is None


def test_what_was_learnt_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"messages": [{"role": "user", "content": "Fix the function fill() in code.py"}]}

    def chances() -> dict[str, float]:
        told = json.loads(explained(tmp_path, monkeypatch, "--json", **said))
        return {row["target"]: row["success"] for row in told["routing"]["candidates"]}

    async def failed() -> None:
        database = Database(tmp_path / "data" / FILE)
        told = [Told(float(n), "local", "code", "openai/gpt-5-mini", 0.0, "feedback", 1.0) for n in range(60)]
        await SQLiteOutcomes(database).add(told)
        await database.close()

    (tmp_path / "data").mkdir()
    before = chances()
    asyncio.run(failed())
    after = chances()
    assert after["openai/gpt-5-mini"] < 0.5 < before["openai/gpt-5-mini"]
