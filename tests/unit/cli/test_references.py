"""`pennyweight references show`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner

from pennyweight.app import build
from pennyweight.cli import cli
from pennyweight.config import load
from pennyweight.errors import NotFound
from pennyweight.references import reference_id


def test_a_text_is_shown_to_who_knows_its_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "line 1\nline 2"
    name = reference_id("alice", "s1", text)

    async def keep() -> None:
        async with build(load(None, {}, {"data_dir": tmp_path})) as app:
            await app.references.put("alice", "s1", name, text)

    asyncio.run(keep())
    options = ["references", "show", name, "--data", str(tmp_path), "--session"]
    told = CliRunner().invoke(cli, [*options, "s1", "--tenant", "alice"], catch_exceptions=False)
    assert (told.exit_code, told.output) == (0, f"{text}\n")
    with pytest.raises(NotFound, match="may have lapsed"):
        CliRunner().invoke(cli, [*options, "s1"], catch_exceptions=False)
