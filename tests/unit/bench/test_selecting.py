import gzip
import json
import random
from pathlib import Path

import pytest

pytest.importorskip("numpy")

from bench import documents, evidence
from bench.selecting import baselines, name, read

TALK = {
    "id": "t",
    "turns": [
        {
            "id": str(at),
            "speaker": "Ann" if at % 2 else "Bob",
            "text": f"The {'battery' if 12 <= at < 16 else 'weather'} today {at}.",
        }
        for at in range(40)
    ],
    "questions": [{"query": "What about the battery?", "evidence": ["12", "13", "14", "15"]}],
}
QUESTION = {
    "question": "what is the capital of france",
    "answers": ["Paris"],
    "docs": [
        {"title": "France", "text": "France is a country. Its capital is the city of Paris. It is old."},
        {"title": "Bread", "text": "Bread is made of flour. It is baked. It is eaten."},
    ],
}


def test_evidence_that_is_found_is_counted_by_its_tokens() -> None:
    tally, cost = evidence.play([TALK], [0.5, 0.25], None)
    curves = tally.curves()
    assert curves["words"] == {"kept_050": 1.0, "kept_025": 1.0}
    assert curves["pass-through"] == {"kept_050": 1.0, "kept_025": 1.0}
    assert curves["recent window"] == {"kept_050": 0.0, "kept_025": 0.0}
    assert cost["ms_10k"] > 0


def test_an_answer_counts_where_a_kept_sentence_holds_it() -> None:
    found, _ = documents.play([QUESTION], [0.5, 0.01], None)
    assert found["words"] == {0.5: [True], 0.01: [False]}
    assert found["pass-through"][0.01] == [True]


def test_answers_are_compared_without_marks_and_articles() -> None:
    assert documents.plain("The  U.S. Army, a!") == "us army"


def test_rows_and_names(tmp_path: Path) -> None:
    rows = baselines(["a cat", "a dog", "a cow"], "dog", random.Random(0), None)
    assert max(range(3), key=rows["bm25"].__getitem__) == 1
    assert max(range(3), key=rows["recent window"].__getitem__) == 2
    assert min(range(3), key=rows["head and tail"].__getitem__) == 1
    assert name("kept", 0.25) == "kept_025"
    file = tmp_path / "rows.jsonl.gz"
    file.write_bytes(gzip.compress(b'{"a": 1}\n\n{"a": 2}\n'))
    assert [row["a"] for row in read([file])] == [1, 2]
    plain = tmp_path / "rows.jsonl"
    plain.write_text(json.dumps({"a": 3}))
    assert [row["a"] for row in read([plain])] == [3]
