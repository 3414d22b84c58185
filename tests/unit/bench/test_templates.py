"""The bench of templates: its questions are what the files say, and its oracle can tell a wrong answer."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

from bench.oracle_templates import COMPUTED, computes, oracle
from bench.templates import play, read, rounds

PAIR = {"kind": "x:slot_swap", "slot": "number0", "va": "281", "vb": "370", "tmpl": "Is number0 hard ?", "same": 0}
ROWS = [
    PAIR | {"a": "Is 281 hard ?", "b": "Is 370 hard ?"},
    PAIR
    | {"a": "Who teaches 445 ?", "b": "Who teaches 482 ?", "va": "445", "vb": "482", "tmpl": "Who teaches number0 ?"},
]


def test_reads_only_pairs_of_that_kind(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in [*ROWS, {"kind": "x:paraphrase", "a": "a", "b": "b"}]))
    assert read([file]) == ROWS


def test_a_round_begins_with_a_and_ends_with_b() -> None:
    for row, questions in zip(ROWS, rounds(ROWS, 1, random.Random(0)), strict=True):
        assert [questions[0].text, questions[-1].text] == [row["a"], row["b"]]
        assert len({question.value for question in questions}) == 3


def test_the_oracle_says_the_value_and_at_times_what_is_made_from_it() -> None:
    assert json.loads(oracle("t", "number0", "281", share=0.0)) == {"template": "t", "number0": "281"}
    computed = {computes(f"t{n}", 1.0, 0) for n in range(200)}
    assert computed == set(COMPUTED)
    assert 5 < sum(bool(computes(f"t{n}", 0.1, 0)) for n in range(200)) < 40


def test_what_computes_is_never_branched_wrongly() -> None:
    plain = asyncio.run(play(ROWS, 1, 0.0, 0))
    assert (plain.questions, plain.wrong) == (2, 0)
    assert plain.branched == 2
    computed = asyncio.run(play(ROWS, 1, 1.0, 0))
    assert computed.wrong == 0
    assert computed.computed == 2
