"""Builds the ONNX graph of a BERT sentence embedder from its weights: token ids in, vectors of unit length out.

Mean pooling and normalisation are part of the graph; there is no attention mask, so all texts of one run have the
same number of tokens. BERT: https://arxiv.org/abs/1810.04805. Why the graph is built here and not exported by torch,
and why the activations have a scale per token, is in docs/decisions/0012-embedders.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec
import numpy as np

from .onnx_file import External, Graph
from .safetensors import Tensors

__all__ = ["INPUT", "OUTPUT", "Precision", "Shape", "graph"]

Precision = Literal["fp32", "int8"]
INPUT, OUTPUT = "ids", "vectors"

# 7 bits: pairs of products with an unsigned byte then fit 16 bits. x86 without VNNI adds them there and saturates
# where they do not, so that vectors would depend on the machine. Costs 0.0008 of the cosine to fp32 (0.9976 in 8 bits).
WEIGHT_LIMIT = 63
ACTIVATION_LIMIT = 127
ZERO = 128  # of unsigned activations


class Shape(msgspec.Struct, frozen=True):
    """`positions`: the longest text in tokens."""

    layers: int
    heads: int
    hidden: int
    positions: int
    eps: float = 1e-12


def graph(tensors: Tensors, shape: Shape, precision: Precision) -> bytes:
    """The ONNX file. In fp32 the large weights stay in the safetensors file, which must lie beside it.

    int8: weights by output channel, activations by token, both symmetric, so a text's vector does not depend on what
    it is embedded with. Raises StoreError for weights that are no such BERT.
    """
    build = _Bert(tensors, shape, _Int8 if precision == "int8" else _Fp32)
    return build.model()


class _Bert:
    """One graph under construction. Between layers the activations are (texts x tokens, hidden)."""

    def __init__(self, tensors: Tensors, shape: Shape, linear: Callable[[_Bert], _Linear]) -> None:
        self.graph = Graph("sentence-bert")
        self.node, self.constant = self.graph.node, self.graph.constant
        self.tensors = tensors
        self.shape = shape
        self.linear = linear(self)

    def model(self) -> bytes:
        hidden = self.shape.hidden
        x = self._embeddings()
        extents = self.node("Shape", INPUT)
        head = self.constant(_ints(self.shape.heads, hidden // self.shape.heads))
        by_head = self.node("Concat", extents, head, axis=0)
        self.linear.begin(x)
        for layer in range(self.shape.layers):
            x = self._layer(x, f"encoder.layer.{layer}", by_head)
        by_text = self.node("Concat", extents, self.constant(_ints(hidden)), axis=0)
        pooled = self.node("ReduceMean", self.node("Reshape", x, by_text), axes=[1], keepdims=0)
        self.graph.rename(self.node("LpNormalization", pooled, axis=-1, p=2), OUTPUT)
        return self.graph.model({INPUT: ("int64", ["texts", "tokens"])}, {OUTPUT: ("float32", ["texts", hidden])})

    def _embeddings(self) -> str:
        words = self.linear.rows("embeddings.word_embeddings.weight", INPUT)
        # Every token is of type 0, whose embedding is added to that of each position here, once.
        types = self.tensors["embeddings.token_type_embeddings.weight"][0]
        positions = self.tensors["embeddings.position_embeddings.weight"][: self.shape.positions] + types
        zero = self.constant(_ints(0))
        places = self.node("Slice", self.constant(positions), zero, self.node("Shape", INPUT, start=1, end=2), zero)
        flat = self.node("Reshape", self.node("Add", words, places), self.constant(_ints(-1, self.shape.hidden)))
        return self.norm(flat, "embeddings.LayerNorm")

    def _layer(self, x: str, name: str, by_head: str) -> str:
        attended = self._attention(x, f"{name}.attention.self", by_head)
        (y,) = self.linear(attended, f"{name}.attention.output.dense")
        x = self.norm(self.node("Add", y, x), f"{name}.attention.output.LayerNorm")
        (y,) = self.linear(x, f"{name}.intermediate.dense")
        (y,) = self.linear(self._gelu(y), f"{name}.output.dense")
        return self.norm(self.node("Add", y, x), f"{name}.output.LayerNorm")

    def _attention(self, x: str, name: str, by_head: str) -> str:
        query, key, value = self.linear(x, f"{name}.query", f"{name}.key", f"{name}.value")
        scale = self.constant(np.float32((self.shape.hidden / self.shape.heads) ** -0.5))
        query = self.node("Reshape", self.node("Mul", query, scale), by_head)
        query = self.node("Transpose", query, perm=[0, 2, 1, 3])
        key = self.node("Transpose", self.node("Reshape", key, by_head), perm=[0, 2, 3, 1])
        value = self.node("Transpose", self.node("Reshape", value, by_head), perm=[0, 2, 1, 3])
        weights = self.node("Softmax", self.node("MatMul", query, key), axis=-1)
        mixed = self.node("Transpose", self.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        return str(self.node("Reshape", mixed, self.constant(_ints(-1, self.shape.hidden))))

    def norm(self, x: str, name: str) -> str:
        weight, bias = self.constant(self.tensors[f"{name}.weight"]), self.constant(self.tensors[f"{name}.bias"])
        return str(self.node("LayerNormalization", x, weight, bias, axis=-1, epsilon=self.shape.eps))

    def _gelu(self, x: str) -> str:
        # The exact form; ONNX Runtime recognises these nodes and runs them as one.
        error = self.node("Erf", self.node("Div", x, self.constant(np.float32(2**0.5))))
        raised = self.node("Mul", x, self.node("Add", error, self.constant(np.float32(1))))
        return str(self.node("Mul", raised, self.constant(np.float32(0.5))))


class _Linear:
    """How a precision multiplies: `rows` looks embeddings up, a call applies several dense layers to one input."""

    def __init__(self, bert: _Bert) -> None:
        self.bert = bert
        self.node, self.constant, self.tensors = bert.node, bert.constant, bert.tensors

    def begin(self, x: str) -> None:
        """Told the first activations, before any call."""

    def rows(self, name: str, ids: str) -> str:
        raise NotImplementedError

    def __call__(self, x: str, *names: str) -> list[str]:
        raise NotImplementedError


class _Fp32(_Linear):
    def rows(self, name: str, ids: str) -> str:
        return str(self.node("Gather", self._weight(name), ids))

    def __call__(self, x: str, *names: str) -> list[str]:
        return [
            self.node("Gemm", x, self._weight(f"{n}.weight"), self.constant(self.tensors[f"{n}.bias"]), transB=1)
            for n in names
        ]

    def _weight(self, name: str) -> str:
        placed = self.tensors.placed(name)
        if placed.dtype != "F32":
            return self.constant(self.tensors[name].astype(np.float32))
        return self.constant(External(self.tensors.path.name, placed.offset, placed.shape))


class _Int8(_Linear):
    def begin(self, x: str) -> None:
        self._zero = self.constant(np.uint8(ZERO))
        self._zeros = self.node("Expand", self._zero, self.node("Shape", x, start=0, end=1))
        self._step = self.constant(np.float32(1 / ACTIVATION_LIMIT))
        self._one = self.constant(np.float32(1))
        self._last = self.constant(_ints(1))

    def rows(self, name: str, ids: str) -> str:
        whole, scale = _quantized(self.tensors[name], 127)  # never multiplied by another byte: all 8 bits
        scales = self.node("Gather", self.constant(scale), ids)
        found = self.node("Cast", self.node("Gather", self.constant(whole), ids), to=1)
        return str(self.node("Mul", found, self.node("Unsqueeze", scales, self.constant(_ints(2)))))

    def __call__(self, x: str, *names: str) -> list[str]:
        largest = self.node("ReduceMax", self.node("Abs", x), axes=[-1], keepdims=0)
        scales = self.node("Mul", largest, self._step)
        whole = self.node("QuantizeLinear", x, scales, self._zeros, axis=0)
        scale = self.node("Unsqueeze", scales, self._last)
        return [self._dense(whole, scale, name) for name in names]

    def _dense(self, whole: str, scale: str, name: str) -> str:
        weight, by_channel = _quantized(self.tensors[f"{name}.weight"], WEIGHT_LIMIT)
        held = [self.constant(np.ascontiguousarray(weight.T)), self._one, self.constant(by_channel), self._zero]
        product = self.node("MatMulIntegerToFloat", whole, *held, domain="com.microsoft")
        bias = self.constant(self.tensors[f"{name}.bias"])
        return str(self.node("Add", self.node("Mul", product, scale), bias))


def _quantized(rows: Any, limit: int) -> tuple[Any, Any]:
    """Each row in whole steps of its own, within plus or minus `limit`: (n, d) int8, and the steps (n,) float32."""
    steps = np.maximum(np.abs(rows).max(axis=1), np.float32(1e-9)) / np.float32(limit)
    whole = np.clip(np.rint(rows / steps[:, None]), -limit, limit).astype(np.int8)
    return whole, steps.astype(np.float32)


def _ints(*values: int) -> Any:
    return np.array(values, np.int64)
