"""The files that we write are ONNX, and compute what a BERT computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from tests.unit.text.embedders import tiny

from pennyweight.errors import StoreError
from pennyweight.text.embedders import bert, eight_bits
from pennyweight.text.embedders.minilm import session
from pennyweight.text.embedders.onnx_file import Graph
from pennyweight.text.embedders.safetensors import Tensors

TEXTS = [[3, 4], [3, 9, 4], [3, 16, 17, 18, 19, 20, 21, 4], [3, *range(5, 27), 4]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory.mktemp("tiny"))


def vectors(folder: Path, precision: str, texts: list[list[int]]) -> Any:
    return session(folder / f"{precision}.onnx").run(["vectors"], {"ids": np.array(texts, np.int64)})[0]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_files_are_sound_onnx(folder: Path, precision: str) -> None:
    path = folder / f"{precision}.onnx"
    model = onnx.load(path)
    assert [i.name for i in model.graph.input] == ["ids"]
    assert [o.name for o in model.graph.output] == ["vectors"]
    names = [name for node in model.graph.node for name in node.output]
    assert len(names) == len(set(names))
    onnx.checker.check_model(str(path))  # the data outside too


@pytest.mark.parametrize("ids", TEXTS, ids=len)
def test_the_fp32_graph_computes_what_bert_does(folder: Path, ids: list[int]) -> None:
    ours = vectors(folder, "fp32", [ids])[0]
    assert np.abs(ours - tiny.forward(tiny.weights(), ids)).max() < 2e-6
    assert abs(float(ours @ ours) - 1) < 1e-5


@pytest.mark.parametrize("ids", TEXTS, ids=len)
def test_the_int8_graph_comes_close(folder: Path, ids: list[int]) -> None:
    ours = vectors(folder, "int8", [ids])[0]
    assert float(ours @ tiny.forward(tiny.weights(), ids)) > 0.99


def test_an_int8_vector_does_not_depend_on_the_texts_beside_it(folder: Path) -> None:
    texts = [[3, 9, 10, 4], [3, 16, 17, 4], [3, 30, 8, 4]]
    together = vectors(folder, "int8", texts)
    for text, vector in zip(texts, together, strict=True):
        assert np.abs(vectors(folder, "int8", [text])[0] - vector).max() < 1e-6


def test_the_fp32_graph_holds_no_large_weight_twice(folder: Path) -> None:
    weights = sum(array.nbytes for name, array in tiny.weights().items() if array.ndim == 2)
    assert (folder / "fp32.onnx").stat().st_size < weights / 2


def test_int8_weights_have_seven_bits(folder: Path) -> None:
    # Two products of one with an unsigned byte must fit 16 signed bits: 2 * 255 * 63 = 32,130.
    constants = onnx.load(folder / "int8.onnx").graph.initializer
    by_name = {constant.name: onnx.numpy_helper.to_array(constant) for constant in constants}
    products = [n for n in onnx.load(folder / "int8.onnx").graph.node if n.op_type == "MatMulIntegerToFloat"]
    assert len(products) == 6 * tiny.SHAPE.layers
    for node in products:
        assert by_name[node.input[1]].dtype == np.int8
        assert 0 < np.abs(by_name[node.input[1]].astype(int)).max() <= 63


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    tiny.published(tmp_path)
    once, twice = (
        eight_bits.graph(Tensors(tmp_path / "model.safetensors"), tiny.SHAPE, tiny.rates()) for _ in range(2)
    )
    assert once == twice


def test_a_model_of_another_kind_is_told(tmp_path: Path) -> None:
    arrays = tiny.weights()
    del arrays["encoder.layer.1.output.dense.bias"]
    (tmp_path / "model.safetensors").write_bytes(tiny.safetensors(arrays))
    with pytest.raises(StoreError, match=r"encoder\.layer\.1\.output\.dense\.bias"):
        bert.graph(Tensors(tmp_path / "model.safetensors"), tiny.SHAPE)


def test_attributes_are_read_back() -> None:
    made = Graph("g")
    made.node("Op", "x", whole=-3, list=[1, -2], real=0.5, said="é")
    read = onnx.load_from_string(made.model({"x": ("float32", ["n", 2])}, {})).graph.node[0].attribute
    assert {a.name: onnx.helper.get_attribute_value(a) for a in read} == {
        "whole": -3,
        "list": [1, -2],
        "real": 0.5,
        "said": "é".encode(),
    }


def test_an_attribute_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="complex"):
        Graph("g").node("Op", "x", odd=1j)


def test_a_channel_that_is_much_larger_than_the_rest_leaves_them_their_steps(tmp_path: Path) -> None:
    """Rates of their own for each channel: with the largest one's for all, less of the text is left."""
    arrays = tiny.weights()
    arrays["encoder.layer.1.attention.output.LayerNorm.weight"][3] *= 60
    (tmp_path / "model.safetensors").write_bytes(tiny.safetensors(arrays))
    tensors = Tensors(tmp_path / "model.safetensors")
    one_for_all = tuple(msgspec.structs.replace(r, wide=r.wide / np.float32(60)) for r in tiny.rates())
    own = one_for_all[0].wide * np.where(np.arange(tiny.SHAPE.hidden) == 3, 1, 8).astype(
        np.float32
    )  # half of it is the weights'
    by_channel = tuple(msgspec.structs.replace(r, wide=own) for r in tiny.rates())
    found = {}
    for name, rates in (("one", one_for_all), ("own", by_channel)):
        (tmp_path / f"{name}.onnx").write_bytes(eight_bits.graph(tensors, tiny.SHAPE, rates))
        made = [vectors(tmp_path, name, [ids])[0] @ tiny.forward(arrays, ids) for ids in TEXTS]
        found[name] = min(float(cosine) for cosine in made)
    assert found["own"] > 0.9, found
    assert found["one"] < 0.7, found


def test_rates_of_another_model_are_refused(tmp_path: Path) -> None:
    tiny.published(tmp_path)
    with pytest.raises(StoreError, match="2 layers"):
        eight_bits.graph(Tensors(tmp_path / "model.safetensors"), tiny.SHAPE, eight_bits.minilm_rates())
