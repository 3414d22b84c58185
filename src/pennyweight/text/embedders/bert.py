"""Builds the ONNX graph of a BERT sentence embedder from its weights: token ids in, vectors of unit length out.

Mean pooling and normalisation are part of the graph; there is no attention mask, so all texts of one run have the
same number of tokens. BERT: https://arxiv.org/abs/1810.04805. This is the graph of full precision; `eight_bits` builds
the other. Why graphs are built here and not exported by torch is in docs/decisions/0012-embedders.md.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np

from .onnx_file import External, Graph
from .safetensors import Tensors

__all__ = ["INPUT", "OUTPUT", "Precision", "Shape", "begun", "ended", "graph", "ints", "normed"]

Precision = Literal["fp32", "int8"]
INPUT, OUTPUT = "ids", "vectors"


class Shape(msgspec.Struct, frozen=True):
    """`positions`: the longest text in tokens."""

    layers: int
    heads: int
    hidden: int
    positions: int
    eps: float = 1e-12


def graph(tensors: Tensors, shape: Shape) -> bytes:
    """The ONNX file in fp32. The large weights stay in the safetensors file, which must lie beside it.

    Raises StoreError for weights that are no such BERT.
    """
    return _Bert(tensors, shape).model()


def begun(build: Graph, tensors: Tensors, shape: Shape, words: str) -> str:
    """The first activations (texts, tokens, hidden). words: of each token, its embedding."""
    # Every token is of type 0, whose embedding is added to that of each position here, once.
    types = tensors["embeddings.token_type_embeddings.weight"][0]
    positions = tensors["embeddings.position_embeddings.weight"][: shape.positions] + types
    zero = build.constant(ints(0))
    places = build.node("Slice", build.constant(positions), zero, build.node("Shape", INPUT, start=1, end=2), zero)
    return normed(build, tensors, shape, build.node("Add", words, places), "embeddings.LayerNorm")


def normed(build: Graph, tensors: Tensors, shape: Shape, x: str, name: str) -> str:
    weight, bias = build.constant(tensors[f"{name}.weight"]), build.constant(tensors[f"{name}.bias"])
    return str(build.node("LayerNormalization", x, weight, bias, axis=-1, epsilon=shape.eps))


def ended(build: Graph, shape: Shape, x: str) -> bytes:
    """The file, after the last activations (texts, tokens, hidden)."""
    pooled = build.node("ReduceMean", x, axes=[1], keepdims=0)
    build.rename(build.node("LpNormalization", pooled, axis=-1, p=2), OUTPUT)
    return build.model({INPUT: ("int64", ["texts", "tokens"])}, {OUTPUT: ("float32", ["texts", shape.hidden])})


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


class _Bert:
    """One graph under construction. Between layers the activations are (texts x tokens, hidden)."""

    def __init__(self, tensors: Tensors, shape: Shape) -> None:
        self.graph = Graph("sentence-bert")
        self.node, self.constant = self.graph.node, self.graph.constant
        self.tensors = tensors
        self.shape = shape

    def model(self) -> bytes:
        hidden = self.shape.hidden
        words = self.node("Gather", self._weight("embeddings.word_embeddings.weight"), INPUT)
        self._flat = self.constant(ints(-1, hidden))
        x = self.node("Reshape", begun(self.graph, self.tensors, self.shape, words), self._flat)
        extents = self.node("Shape", INPUT)
        head = self.constant(ints(self.shape.heads, hidden // self.shape.heads))
        by_head = self.node("Concat", extents, head, axis=0)
        for layer in range(self.shape.layers):
            x = self._layer(x, f"encoder.layer.{layer}", by_head)
        by_text = self.node("Concat", extents, self.constant(ints(hidden)), axis=0)
        return ended(self.graph, self.shape, self.node("Reshape", x, by_text))

    def _layer(self, x: str, name: str, by_head: str) -> str:
        y = self._dense(self._attention(x, f"{name}.attention.self", by_head), f"{name}.attention.output.dense")
        x = self._norm(self.node("Add", y, x), f"{name}.attention.output.LayerNorm")
        y = self._dense(self._gelu(self._dense(x, f"{name}.intermediate.dense")), f"{name}.output.dense")
        return self._norm(self.node("Add", y, x), f"{name}.output.LayerNorm")

    def _attention(self, x: str, name: str, by_head: str) -> str:
        query, key, value = [self._dense(x, f"{name}.{part}") for part in ("query", "key", "value")]
        scale = self.constant(np.float32((self.shape.hidden / self.shape.heads) ** -0.5))
        query = self.node("Reshape", self.node("Mul", query, scale), by_head)
        query = self.node("Transpose", query, perm=[0, 2, 1, 3])
        key = self.node("Transpose", self.node("Reshape", key, by_head), perm=[0, 2, 3, 1])
        value = self.node("Transpose", self.node("Reshape", value, by_head), perm=[0, 2, 1, 3])
        weights = self.node("Softmax", self.node("MatMul", query, key), axis=-1)
        mixed = self.node("Transpose", self.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        return str(self.node("Reshape", mixed, self._flat))

    def _norm(self, x: str, name: str) -> str:
        return normed(self.graph, self.tensors, self.shape, x, name)

    def _gelu(self, x: str) -> str:
        # The exact form; ONNX Runtime recognises these nodes and runs them as one.
        error = self.node("Erf", self.node("Div", x, self.constant(np.float32(2**0.5))))
        raised = self.node("Mul", x, self.node("Add", error, self.constant(np.float32(1))))
        return str(self.node("Mul", raised, self.constant(np.float32(0.5))))

    def _dense(self, x: str, name: str) -> str:
        bias = self.constant(self.tensors[f"{name}.bias"])
        return str(self.node("Gemm", x, self._weight(f"{name}.weight"), bias, transB=1))

    def _weight(self, name: str) -> str:
        placed = self.tensors.placed(name)
        if placed.dtype != "F32":
            return self.constant(self.tensors[name].astype(np.float32))
        return self.constant(External(self.tensors.path.name, placed.offset, placed.shape))
