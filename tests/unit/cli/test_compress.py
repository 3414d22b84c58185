from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import pennyweight
from pennyweight.cli import cli
from pennyweight.cli.compress import SHOWN_PIECES, difference
from pennyweight.errors import ConfigError

ROWS = [{"id": f"row_{n}", "state": "open", "total": n, "city": "Lima"} for n in range(60)]
TEXT = json.dumps(ROWS)


def run(*arguments: str, given: str | bytes = "") -> Result:
    return CliRunner().invoke(cli, ["compress", *arguments], input=given, catch_exceptions=False)


def test_stdin_comes_out_shorter_and_says_so_on_stderr() -> None:
    done = run(given=TEXT)
    assert done.stdout.startswith("[] id state=open total city=Lima\n row_0 0\n row_1 1\n")
    assert done.stderr.startswith("json, ")
    assert "nothing left out." in done.stderr
    assert json.loads(run("--unpack", given=done.stdout).stdout) == ROWS


def test_a_room_leaves_out_and_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(TEXT)
    done = run(str(path), "--room", "120", "--query", "what of row_33?", "--json")
    made = json.loads(done.stdout)
    assert made["kind"] == "json"
    assert not made["lossless"]
    assert made["references"] == [str(path)]
    assert "row_33" in made["text"]
    assert made["tokens_after"] < made["tokens_before"] * (1 - made["saved"]) + 1
    assert made["saved"] > 0.5


def test_a_diff_without_colours_marks_what_went_and_came() -> None:
    done = run("--diff", given='{"name": "Ada Lovelace", "born": 1815, "place": "London", "field": "mathematics"}')
    assert "\x1b" not in done.stdout
    gone = done.stdout.replace("{+", "\0").split("[-")
    assert len(gone) > 2
    assert "Lovelace" in done.stdout


def test_a_diff_holds_both_texts() -> None:
    after = pennyweight.compress(TEXT).text
    parts = list(difference(TEXT[:900], after[:900]))
    assert "".join(text for kind, text in parts if kind != "new").replace(" … ", "")[:50] == TEXT[:50]
    assert "".join(text for kind, text in parts if kind != "gone") == after[:900]


def test_a_diff_of_a_long_text_is_cut_and_says_so() -> None:
    parts = list(difference("a b " * SHOWN_PIECES, "a c " * SHOWN_PIECES))
    assert parts[-1][0] == "same"
    assert f"{SHOWN_PIECES:,}" in parts[-1][1]


def test_bytes_that_are_no_utf_8_come_out_as_they_went_in() -> None:
    raw = b"caf\xe9 \xff one line\n"
    assert run(given=raw).stdout_bytes == raw
    wide = run(given=TEXT.encode("utf-16"))
    assert wide.stdout.startswith("[] id ")


def test_what_cannot_be_read_or_unpacked_is_said_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Cannot be read"):
        run(str(tmp_path / "none.json"))
    with pytest.raises(ConfigError, match="no packed form"):
        run("--unpack", given="a  b\n c")
    assert run("--diff", "--json", given=TEXT).exit_code == 2
    assert run("--kind", "novel", given=TEXT).exit_code == 2


def test_the_library_gives_a_name_for_what_it_left_out() -> None:
    made = pennyweight.compress(TEXT, room_tokens=100, query="row_41")
    assert isinstance(made, pennyweight.Compressed)
    assert made.references == pennyweight.compress(TEXT, room_tokens=100).references
    assert made.references[0] in made.text
    assert made.left_out.endswith(" of 60 items")
    assert made.tokens_after < made.tokens_before
    assert pennyweight.compress(TEXT).references == ()
    assert pennyweight.compress("", kind="json").text == ""
    with pytest.raises(ValueError, match="room_tokens=0"):
        pennyweight.compress(TEXT, room_tokens=0)
