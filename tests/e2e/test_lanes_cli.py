"""`pennyweight batch` and `pennyweight lanes` against the real gateway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.batch_rig import CONFIG, Threaded, chat, gateway, until
from tests.e2e.rig import SOURCE

EMBEDDING = {"model": "text-embedding-3-small", "input": "xy"}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pennyweight", *arguments], capture_output=True, text=True, check=False, cwd=folder,
        env={**os.environ, "PYTHONPATH": SOURCE, "HOME": str(folder)},
    )  # fmt: skip


def test_a_file_goes_in_and_its_answers_come_out(tmp_path: Path) -> None:
    lines = [
        {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": chat("first")},
        chat("second"),
        {
            "custom_id": "c",
            "method": "POST",
            "url": "/v1/embeddings",
            "body": {"model": "text-embedding-3-small", "input": "xy"},
        },
    ]
    file = tmp_path / "requests.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    with Threaded(60.0) as provider, gateway(tmp_path / "g", provider) as process:
        at = ("--url", f"http://127.0.0.1:{process.port}")
        done = run(tmp_path, "batch", "submit", str(file), *at)
        assert done.returncode == 0, done.stderr
        (tmp_path / "submitted.jsonl").write_text(done.stdout)
        assert [json.loads(line)["custom_id"] for line in done.stdout.splitlines()] == ["a", "line-2", "c"]
        until(lambda: len(provider.jobs) == 2)
        told = json.loads(run(tmp_path, "lanes", "--data", str(process.data), "--json").stdout)
        assert (told["queued"], told["deferred"]) == (0, {"waiting": 3})
        assert sorted(batch["count"] for batch in told["batches"]) == [1, 2]
        assert {batch["state"] for batch in told["batches"]} == {"submitted"}
        early = run(tmp_path, "batch", "fetch", "submitted.jsonl", *at)
        assert (early.returncode, early.stdout) == (1, "")
        provider.finish()
        until(lambda: run(tmp_path, "batch", "status", *at).stdout.startswith("0 waiting, 3 answered"))
        answers = [
            json.loads(line) for line in run(tmp_path, "batch", "fetch", "submitted.jsonl", *at).stdout.splitlines()
        ]
        assert [one["custom_id"] for one in answers] == ["a", "line-2", "c"]
        bodies = [one["response"]["body"] for one in answers]
        assert [body["choices"][0]["message"]["content"] for body in bodies[:2]] == [
            f"answer to: {t}" for t in ("first", "second")
        ]
        assert bodies[2]["data"][0]["embedding"][0] == 2.0
        plain = run(tmp_path, "lanes", "--data", str(process.data)).stdout
        assert "ended" in plain
        assert "Calls that are answered later: 3 done." in plain


def test_what_goes_wrong_is_told(tmp_path: Path) -> None:
    file = tmp_path / "requests.jsonl"
    file.write_text(json.dumps(chat("x")))
    nobody = run(tmp_path, "batch", "submit", str(file), "--url", "http://127.0.0.1:9")
    assert nobody.returncode == 2
    assert "No gateway answers" in nobody.stderr
    with Threaded(1.0) as provider, gateway(tmp_path / "g", provider, CONFIG) as process:
        at = ("--url", f"http://127.0.0.1:{process.port}")
        refused = run(tmp_path, "batch", "submit", str(file), "--webhook", "none", *at)
        assert refused.returncode == 1
        assert "is not known" in refused.stderr
        file.write_text("{nonsense\n")
        assert "is no request" in run(tmp_path, "batch", "submit", str(file), *at).stderr
    nothing = json.loads(run(tmp_path, "lanes", "--data", str(tmp_path / "none"), "--json").stdout)
    assert nothing == {"queued": 0, "batches": [], "deferred": {}}
