"""The learned router through the real gateway: what callers say of answers moves later calls, also after a restart."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner
from tests.e2e.protocols import CHAT, protocol_of, whole
from tests.e2e.rig import Asked, Process, Upstream, gateway, http

from pennyweight.cli.router import command

TIERS = """
[[tiers]]
name = "cheap"
targets = ["openai/gpt-5-mini"]
[[tiers]]
name = "frontier"
targets = ["anthropic/claude-opus-4-6"]
[resources]
watch = false
"""


async def provider(asked: Asked) -> None:
    asked.writer.write(http(200, whole(protocol_of(asked.target), asked.model)))


def tier(process: Process, text: str, *, down: bool = False) -> str:
    """Which tier answered. down: the caller then says of a cheap answer that it was bad."""
    body = CHAT.body("") | {"model": "auto", "messages": [{"role": "user", "content": text}]}
    answered = process.ask(CHAT.path, body)
    assert answered.status == 200
    if down and answered.headers["x-pennyweight-tier"] == "cheap":
        rated = process.ask("/v1/feedback", {"call_id": answered.headers["x-pennyweight-call"], "thumbs": "down"})
        assert rated.status == 200, rated.body
    return answered.headers["x-pennyweight-tier"]


def test_bad_answers_to_a_kind_of_task_send_it_up_and_a_restart_does_not_forget(tmp_path: Path) -> None:
    with Upstream(provider) as upstream:
        with gateway(tmp_path, upstream, config=TIERS) as process:
            assert tier(process, "Translate to French: the first text") == "cheap"
            for number in range(12):
                tier(process, f"Translate to French: text number {number}", down=True)
            assert tier(process, "Translate to French: another text") == "frontier"
            assert tier(process, "Who painted the Mona Lisa?") == "cheap"  # of that, nobody has complained
            process.receipts(2)
        with gateway(tmp_path, upstream, config=TIERS) as process:
            assert tier(process, "Translate to French: yet another text") == "frontier"
            home = process.data
    shown = CliRunner().invoke(command, ["show", "--json", "--data-dir", str(home)], catch_exceptions=False)
    (line,) = [one for one in json.loads(shown.stdout)["table"] if one["model"] == "openai/gpt-5-mini"]
    assert line["task"] == "translation"
    assert line["chance"] < line["prior"]
