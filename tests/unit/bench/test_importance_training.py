"""The word scorer's training: its slopes, its file, its labels, and that a seed gives the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench import importance
from bench.importance_data import Sample, digest, held_out, read, samples
from bench.importance_network import Batch, Network, batches, forward, onnx_file, start
from bench.importance_training import as_batch

from pennyweight.text.compression.importance.model import Learned
from pennyweight.text.embedders.minilm import session

TALK: list[dict[str, Any]] = [
    {
        "id": f"talk-{number}",
        "messages": [
            {"role": "system", "content": "You are an agent."},
            {"role": "user", "content": f"Hello, I would like to go to Place{number} on the {number + 3}rd of May."},
            {"role": "assistant", "content": "What is the name that the booking is made for, and is it all?"},
            {"role": "user", "content": f"It is for Anna{number} and that is all of it, so thank you for the help."},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"function": {"name": "book", "arguments": json.dumps({"to": f"Place{number}"})}}],
            },
            {"role": "tool", "content": '{"done": true}'},
            {"role": "assistant", "content": f"It is booked for Anna{number}."},
        ],
    }
    for number in range(40)
]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def needed(sample: Sample) -> list[str]:
    return [word.core for word, need in zip(sample.words, sample.needed, strict=True) if need]


def test_words_that_later_turns_say_are_needed() -> None:
    first, second, third, *_ = samples(TALK[:1])
    assert needed(first) == ["Place0"]
    assert needed(second) == ["booking"]  # "booked" is said later
    assert needed(third) == ["Anna0"]
    assert third.asked == ""
    assert second.asked == TALK[0]["messages"][1]["content"]


def test_words_of_turns_that_answer_are_needed() -> None:
    turns = [
        {"id": str(at), "speaker": "A B", "text": text}
        for at, text in enumerate(["It is so .", "The lamp is {disfmarker} yellow .", "We go ."])
    ]
    row = {"id": "m", "turns": turns, "questions": [{"query": "Which lamp?", "evidence": ["1"]}]}
    (sample,) = samples([row])
    assert sample.asked == "Which lamp?"
    assert needed(sample)[-2:] == ["lamp", "yellow"]
    assert {"It", "go", "disfmarker"}.isdisjoint(needed(sample))


def test_slopes_are_those_of_the_loss() -> None:
    rng = np.random.default_rng(3)
    network = Network(rng)
    network.weights = {name: value.astype(np.float64) for name, value in start(rng).items()}
    batch = as_batch(next(samples(TALK[:1])), 1.0)
    batch = Batch(*(part.astype(np.float64) if part.dtype == np.float32 else part for part in batch))
    ones = [np.ones((len(batch.ids), 64)), np.ones((len(batch.ids), 64))]

    def loss() -> float:
        scores = forward(network.weights, batch)
        return -float((batch.weight * (batch.needed * np.log(scores) + (1 - batch.needed) * np.log(1 - scores))).sum())

    from bench.importance_network import _run

    scores, kept = _run(network.weights, batch, None)
    slopes = network._slopes(batch, kept, ones, batch.weight * (scores - batch.needed))
    for name, slope in slopes.items():
        flat = network.weights[name].reshape(-1)
        for at in np.argsort(-np.abs(slope.reshape(-1)))[:3]:
            before = flat[at]
            flat[at] = before + 1e-6
            above = loss()
            flat[at] = before - 1e-6
            below = loss()
            flat[at] = before
            assert slope.reshape(-1)[at] == pytest.approx((above - below) / 2e-6, rel=1e-3, abs=1e-6), name


def test_a_file_of_eight_bits_says_what_the_network_says(tmp_path: Path) -> None:
    weights = start(np.random.default_rng(5))
    batch = as_batch(next(samples(TALK[:1])), 1.0)
    (tmp_path / "model.onnx").write_bytes(onnx_file(weights))
    made = session(tmp_path / "model.onnx").run(["scores"], {"ids": batch.ids, "measures": batch.measures})[0]
    real = batch.real[:, 0] > 0
    # The file knows no gaps: rows of zeros after the text change what its last words see.
    assert np.abs(made - forward(weights, batch))[real][:-8].max() < 0.01


def test_texts_that_are_learnt_together_do_not_see_each_other() -> None:
    weights = start(np.random.default_rng(5))
    parts = [as_batch(sample, 1.0) for sample in samples(TALK[:3])]
    (together,) = batches(parts, 10**6, np.random.default_rng(0))
    alone = sorted(float(x) for part in parts for x in forward(weights, part)[part.real[:, 0] > 0])
    both = sorted(float(x) for x in forward(weights, together)[together.real[:, 0] > 0])
    assert both == pytest.approx(alone, abs=1e-6)


def test_training_learns_repeats_itself_and_leaves_a_fifth_out(tmp_path: Path) -> None:
    data = written(tmp_path / "talk.jsonl", TALK)
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    made = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        command = [sys.executable, "-m", "bench.importance_training", "--data", str(data), "--epochs", "30"]
        told = subprocess.run([*command, "--out", str(folder)], env=env, capture_output=True, check=True, timeout=100)
        assert json.loads(told.stdout)["figures"]["f1_aside"] > 0.6
        made.append((folder / "model.onnx").read_bytes())
    assert made[0] == made[1]
    assert Learned.open(tmp_path / "a").training.data == {"talk.jsonl": digest(data)}
    assert 0 < sum(held_out(row["id"]) for row in read(data)) < len(TALK) / 2


def test_the_bench_reads_files_it_was_not_trained_on_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = written(tmp_path / "talk.jsonl", TALK)
    document = {"title": "Lamps", "text": "The lamp was made in 1903 by Anna Smith of the north. It is yellow."}
    asked = {"question": "Who made the lamp?", "answers": ["Anna Smith"], "docs": [document]}
    documents = written(tmp_path / "docs.jsonl", [asked])
    monkeypatch.setattr(sys, "argv", ["x", "--data", str(data), str(documents), "--kept", "0.8,0.5"])
    assert importance.main() == 0
    told = json.loads(capsys.readouterr().out)
    assert told["figures"]["f1"] > told["figures"]["f1_keep_all"]
    assert told["figures"]["numbers_kept"] == told["figures"]["names_kept"] == 1.0
    assert [row["asked"] for row in told["curves"]["talk.jsonl"]] == [0.8, 0.5]
    assert told["answers_kept"]["docs.jsonl"][1]["words_left_out"] == 1.0
