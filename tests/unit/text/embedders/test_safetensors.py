from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.text.embedders.tiny import safetensors

from pennyweight.errors import StoreError
from pennyweight.text.embedders.safetensors import Tensors

ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32([9.0])}


def written(path: Path, content: bytes) -> Path:
    (path / "x.safetensors").write_bytes(content)
    return path / "x.safetensors"


def headed(header: Any, data: bytes = b"") -> bytes:
    said = json.dumps(header).encode()
    return len(said).to_bytes(8, "little") + said + data


def test_arrays_come_back(tmp_path: Path) -> None:
    read = Tensors(written(tmp_path, safetensors(ARRAYS)))
    assert (read["a"] == ARRAYS["a"]).all()
    assert (read["b"] == ARRAYS["b"]).all()
    assert "a" in read
    assert "c" not in read
    assert read.placed("b").size_bytes == 4


def test_an_array_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="'c'"):
        Tensors(written(tmp_path, safetensors(ARRAYS)))["c"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        (1 << 60).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        headed({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}),
        headed({"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, b"1234"),
        headed({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 4]}}, b"1234"),
        headed({"a": {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]}}, b"1234"),
        headed({"a": {"dtype": "pickle", "shape": [1], "data_offsets": [0, 4]}}, b"1234"),
        headed({"a": {"shape": [1]}}),
    ],
)
def test_files_that_are_not_sound_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(StoreError, match=r"x\.safetensors"):
        Tensors(written(tmp_path, content))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        Tensors(tmp_path / "none")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_header_never_reads_outside_the_file(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(safetensors(ARRAYS))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = Tensors(written(tmp_path, bytes(content)))
    except StoreError:
        return
    for name, placed in read.tensors.items():
        assert placed.offset + placed.size_bytes <= len(content)
        assert read[name].nbytes == placed.size_bytes
