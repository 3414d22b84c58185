"""The embedders that run on this machine, on a tiny model made as the real one is."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.unit.text.embedders import tiny

from pennyweight.errors import ConfigError, StoreError
from pennyweight.protocols import Embedder
from pennyweight.text.embedders import LocalKind, open_embedder
from pennyweight.text.embedders.folder import MANIFEST, absent, of_another_version, read_manifest
from pennyweight.text.embedders.make import make
from pennyweight.text.embedders.minilm import MAX_TOKENS, MiniLM
from pennyweight.text.embedders.static import Static, principal, weights

KINDS: list[LocalKind] = ["minilm-int8", "minilm-fp32", "static"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    shutil.copytree(model, tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_float32_of_unit_length(model: Path, kind: LocalKind) -> None:
    embedder = open_embedder(model, kind)
    checked: Embedder = embedder
    for text in ("how do i reset my password", "", "東", "paris " * 15, "\ud800", "???", "\x00"):
        raw = asyncio.run(_embedded(checked, text))
        vector = np.frombuffer(raw, "<f4")
        assert len(vector) == embedder.dimensions
        assert abs(float(vector @ vector) - 1) < 1e-4
        assert (vector == embedder.embed_now(text)).all()
    embedder.close()


async def _embedded(embedder: Embedder, text: str) -> bytes:
    return await embedder.embed(text)


def test_fingerprints_tell_embedders_apart_and_machines_not(model: Path, tmp_path: Path) -> None:
    marks = {open_embedder(model, kind).fingerprint for kind in KINDS}
    assert len(marks) == 3
    elsewhere = tiny.model(tmp_path / "other")
    assert {open_embedder(elsewhere, kind).fingerprint for kind in KINDS} == marks
    assert all(mark.endswith("/single") for mark in marks)


def test_a_text_is_embedded_in_a_thread_of_the_embedder(model: Path) -> None:
    embedder = MiniLM.open(model)
    seen: set[int] = set()
    inner = embedder.embed_now

    def watched(text: str) -> object:
        seen.add(threading.get_ident())
        return inner(text)

    embedder.embed_now = watched  # type: ignore[method-assign]

    async def several() -> None:
        await asyncio.gather(*(embedder.embed(f"red {n}") for n in range(8)))

    asyncio.run(several())
    assert len(seen) == 1
    assert threading.get_ident() not in seen
    embedder.close()


@pytest.mark.parametrize("text", ["red " * MAX_TOKENS, "x" * 50_000_000, " ".join("a" * 20_000)])
def test_a_text_longer_than_the_model_reads_is_refused(model: Path, text: str) -> None:
    with pytest.raises(StoreError, match="longer than the embedder reads"):
        MiniLM.open(model).embed_now(text)


def test_what_the_runtime_refuses_is_a_store_error(model: Path) -> None:
    with pytest.raises(StoreError, match="ONNX Runtime"):  # the tiny model has 24 positions
        MiniLM.open(model).embed_now("red " * 100)


def test_a_folder_without_a_model_names_the_remedy(tmp_path: Path) -> None:
    assert "pennyweight models pull" in (absent(tmp_path) or "")
    for kind in KINDS:
        with pytest.raises(StoreError, match="pennyweight models pull"):
            open_embedder(tmp_path, kind)


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("int8.onnx", "minilm-int8"),
        ("fp32.onnx", "minilm-fp32"),
        ("model.safetensors", "minilm-fp32"),
        ("static.npy", "static"),
        ("tokenizer.json", "minilm-int8"),
        ("tokenizer.json", "static"),
    ],
)
def test_a_damaged_file_is_found_before_it_is_used(copy: Path, file: str, kind: LocalKind) -> None:
    content = bytearray((copy / file).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / file).write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        open_embedder(copy, kind)
    (copy / file).unlink()
    assert file in (absent(copy) or "")
    with pytest.raises(StoreError, match="cannot be read"):
        open_embedder(copy, kind)


@pytest.mark.parametrize("content", [b"", b"{", b'{"model":"x"}', b"\xff"])
def test_a_manifest_that_cannot_be_read_is_told(copy: Path, content: bytes) -> None:
    (copy / MANIFEST).write_bytes(content)
    assert "pennyweight models pull" in (absent(copy) or "")


def test_a_model_of_another_version_is_made_again(copy: Path) -> None:
    manifest = msgspec.structs.replace(read_manifest(copy), revision=0)
    (copy / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    assert "another version" in (absent(copy) or "")
    assert of_another_version(copy)


def test_a_manifest_without_the_file_is_no_model(copy: Path) -> None:
    manifest = read_manifest(copy)
    files = {name: mark for name, mark in manifest.files.items() if name != "int8.onnx"}
    (copy / MANIFEST).write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, files=files)))
    with pytest.raises(StoreError, match=r"has no int8\.onnx"):
        open_embedder(copy)


def test_making_that_is_stopped_leaves_no_model_and_is_finished_by_the_next(tmp_path: Path) -> None:
    digests = tiny.published(tmp_path)

    def stop(what: str, share: float) -> None:
        if what.startswith("distilling"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, source="tests", shape=tiny.SHAPE, rates=tiny.rates(), digests=digests, progress=stop)
    assert absent(tmp_path) is not None
    (tmp_path / ".static.npy.x1y2.tmp").write_bytes(b"half")  # of one that was killed while it wrote
    make(tmp_path, source="tests", shape=tiny.SHAPE, rates=tiny.rates(), digests=digests)
    assert absent(tmp_path) is None
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(KeyboardInterrupt):  # made again: what was there is no model from the first moment on
        make(tmp_path, source="tests", shape=tiny.SHAPE, rates=tiny.rates(), digests=digests, progress=stop)
    assert absent(tmp_path) is not None


def test_making_takes_no_other_file_than_the_published_one(tmp_path: Path) -> None:
    digests = tiny.published(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((tmp_path / "tokenizer.json").read_bytes() + b" ")
    with pytest.raises(StoreError, match="is not the published file"):
        make(tmp_path, source="tests", shape=tiny.SHAPE, rates=tiny.rates(), digests=digests)


def test_what_is_made_is_for_its_owner_alone(model: Path) -> None:
    assert model.stat().st_mode & 0o777 == 0o700
    for name in ("int8.onnx", "fp32.onnx", "static.npy", MANIFEST):
        assert (model / name).stat().st_mode & 0o777 == 0o600


def test_making_tells_how_far_it_is(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    make(
        tmp_path,
        source="tests",
        shape=tiny.SHAPE,
        rates=tiny.rates(),
        digests=tiny.published(tmp_path),
        progress=lambda what, share: told.append((what, share)),
    )
    assert told[-1] == ("distilling the static table", 1.0)
    assert all(0 <= share <= 1 for _, share in told)


def test_a_missing_library_is_a_setting_to_fix(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.startswith("pennyweight.text.embedders.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ConfigError, match=r"numpy.*pennyweight\[semantic\]"):
        open_embedder(model)


def test_frequent_tokens_count_less_and_digits_more() -> None:
    found = dict(zip(tiny.VOCABULARY, weights(tiny.tokenizer()), strict=True))
    assert found["the"] < found["of"] < found["password"] < found["dog"]
    assert found["?"] == found["e"] == found["the"]
    assert found["5"] > found["?"]
    assert found["東"] > found["password"]


def test_principal_keeps_what_varies_most() -> None:
    random = np.random.default_rng(3)
    vectors = random.normal(size=(500, 6)).astype(np.float32) * np.float32([9, 0.1, 5, 0.2, 3, 0.1]) + np.float32(7)
    kept = principal(vectors, 3)
    assert kept.shape == (500, 3)
    assert np.abs(kept.mean(axis=0)).max() < 1e-4
    assert np.allclose(kept.var(axis=0), sorted(vectors.var(axis=0))[::-1][:3], rtol=0.02)
    assert (kept == principal(vectors, 3)).all()


def test_a_text_without_a_known_direction_has_a_vector_all_the_same() -> None:
    table = np.zeros((len(tiny.VOCABULARY), 4), np.float16)
    assert Static(table, tiny.tokenizer(), "x").embed_now("red blue").tolist() == [1.0, 0.0, 0.0, 0.0]
