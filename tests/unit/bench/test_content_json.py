from __future__ import annotations

import gzip
import json
from pathlib import Path

from bench.content_json import json_figures

ROWS = [{"id": n, "state": "open", "city": "Lima", "total": n / 4} for n in range(30)]


def write(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_results_in_conversations_are_measured_one_by_one(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": '{"not": "a result"}'},
        {"role": "tool", "content": json.dumps(ROWS)},
        {"role": "tool", "content": "no JSON"},
        {"role": "tool", "content": "255.0"},
    ]
    chat = write(tmp_path / "chats.jsonl.gz", json.dumps({"id": 1, "messages": messages}) + "\n")
    block = {"type": "tool_result", "content": [{"type": "text", "text": json.dumps(ROWS[:9])}]}
    body = {"messages": [{"role": "user", "content": [block]}]}
    session = write(tmp_path / "session.jsonl", "".join(json.dumps({"n": n, "body": body}) + "\n" for n in range(3)))
    made = json_figures([chat, session, tmp_path / "app.log"])
    assert [row["texts"] for row in made.tables["by_file"].values()] == [1, 1]
    assert made.figures["json_exact"] == 1
    assert made.figures["json_saving"] > 0.5


def test_files_and_lines_are_payloads_and_tables_have_figures_of_their_own(tmp_path: Path) -> None:
    whole = write(tmp_path / "rows.json", json.dumps(ROWS, indent=4))
    lines = write(tmp_path / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS))
    table = write(tmp_path / "rows.csv", "id,currency,total\n" + "".join(f"{n},US Dollar,{n}.5\n" for n in range(30)))
    made = json_figures([whole, lines, table])
    assert made.tables["by_file"][str(lines)]["texts"] == 30
    assert made.figures["json_texts"] == 31
    assert made.figures["table_exact"] == 1
    assert made.figures["table_saving"] > 0.2
    assert "json_saving" not in json_figures([table]).figures
