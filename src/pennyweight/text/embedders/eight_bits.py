"""Builds the ONNX graph of a BERT sentence embedder that multiplies bytes: half the time and a quarter of the memory.

What a token says to a product is a byte per channel: its activation times the channel's rate, rounded. A channel's rate
is a constant that lies in `rates.npy`: a few channels are ten times as large as all others, at the first token above
all, and with one step for all of them little would be left of the rest. Rates differ by channel, and the weights that
a channel meets are divided by its rate, so that nothing has to be undone (SmoothQuant, https://arxiv.org/abs/2211.10438).
As nothing is measured while a text is embedded, its vector does not depend on what it is embedded with. What was
measured, and what was tried before: docs/decisions/0053-bytes-by-channel.md.
"""

from __future__ import annotations

import io
from importlib import resources
from typing import Any

import msgspec
import numpy as np

from ...errors import StoreError
from .bert import INPUT, Shape, begun, ended, normed
from .onnx_file import Graph
from .safetensors import Tensors

__all__ = ["GELU_LEAST", "GELU_ZERO", "Rates", "graph", "minilm_rates"]

# 7 bits: pairs of products with an unsigned byte then fit 16 bits. x86 without VNNI adds them there and saturates
# where they do not, so that vectors would depend on the machine.
WEIGHT_LIMIT = 63
ZERO = 128  # the byte that stands for 0
GELU_ZERO = 12  # the same for what GELU gives, of which little is below 0
GELU_LEAST = 0.1701


class Rates(msgspec.Struct, frozen=True):
    """Bytes per unit of each channel that a layer's products read, float32: `hidden` channels before the attention,
    behind it and before the wide product, and all the channels of the wide one."""

    attention: Any
    mixed: Any
    wide: Any
    narrow: Any


def minilm_rates() -> tuple[Rates, ...]:
    """Those of all-MiniLM-L6-v2, layer by layer; `bench.embedder_rates` made them."""
    table = np.load(io.BytesIO(resources.files(__package__).joinpath("rates.npy").read_bytes()), allow_pickle=False)
    hidden = table.shape[1] // 7
    return tuple(Rates(*np.split(row, [hidden, 2 * hidden, 3 * hidden])) for row in table.astype(np.float32))


def graph(tensors: Tensors, shape: Shape, rates: tuple[Rates, ...]) -> bytes:
    """The ONNX file. rates: of each layer. Raises StoreError for weights that are no such BERT."""
    return _Int8(tensors, shape).model(rates)


class _Int8:
    """One graph under construction. Activations are (texts, tokens, hidden)."""

    def __init__(self, tensors: Tensors, shape: Shape) -> None:
        self.graph = Graph("sentence-bert")
        self.node, self.constant = self.graph.node, self.graph.constant
        self.tensors = tensors
        self.shape = shape
        self._one = self.constant(np.float32(1))
        self._zeros = {at: self.constant(np.uint8(at)) for at in (ZERO, GELU_ZERO)}

    def model(self, rates: tuple[Rates, ...]) -> bytes:
        if len(rates) != self.shape.layers:
            raise StoreError(f"A model of {self.shape.layers} layers needs rates for each, not for {len(rates)}.")
        x = begun(self.graph, self.tensors, self.shape, self._words())
        for number, layer in enumerate(rates):
            x = self._layer(x, f"encoder.layer.{number}", layer)
        return ended(self.graph, self.shape, x)

    def _words(self) -> str:
        # Never multiplied by another byte: all 8 bits.
        whole, steps = _quantized(self.tensors["embeddings.word_embeddings.weight"], 127)
        found = self.node("Cast", self.node("Gather", self.constant(whole), INPUT), to=1)
        return str(self.node("Mul", found, self.node("Gather", self.constant(steps[:, None]), INPUT)))

    def _layer(self, x: str, name: str, rates: Rates) -> str:
        mixed = self._bytes(self._attention(x, f"{name}.attention.self", rates))
        y = self._product(mixed, f"{name}.attention.output.dense", rates.mixed)
        x = self._norm(self.node("Add", y, x), f"{name}.attention.output.LayerNorm")
        wide = self._product(self._bytes(x, rates.wide), f"{name}.intermediate.dense", rates.wide, biased=False)
        # By tanh: 0.0005 from the exact form at most, and a third of its time.
        bias = self.constant(self.tensors[f"{name}.intermediate.dense.bias"])
        wide = self.node("FastGelu", wide, bias, domain="com.microsoft")
        narrow = self._bytes(wide, rates.narrow, GELU_ZERO)
        y = self._product(narrow, f"{name}.output.dense", rates.narrow, zero=GELU_ZERO)
        return self._norm(self.node("Add", y, x), f"{name}.output.LayerNorm")

    def _attention(self, x: str, name: str, rates: Rates) -> str:
        """What the tokens give each other, times `rates.mixed`: the values carry those rates from their weights on."""
        held = self._bytes(x, rates.attention)
        parts = [self._product(held, f"{name}.{part}", rates.attention, biased=False) for part in ("query", "key")]
        parts.append(self._product(held, f"{name}.value", rates.attention, biased=False, made=rates.mixed))
        biases = [self.tensors[f"{name}.{part}.bias"] for part in ("query", "key", "value")]
        biases[2] = biases[2] * rates.mixed
        bias = self.constant(np.concatenate(biases))
        heads = self.shape.heads
        return str(self.node("MultiHeadAttention", *parts, bias, domain="com.microsoft", num_heads=heads))

    def _bytes(self, x: str, rates: Any = None, zero: int = ZERO) -> str:
        scaled = x if rates is None else self.node("Mul", x, self.constant(rates))
        return str(self.node("QuantizeLinear", scaled, self._one, self._zeros[zero]))

    def _product(
        self, x: str, name: str, rates: Any, *, zero: int = ZERO, biased: bool = True, made: Any = None
    ) -> str:
        """Bytes times weights. made: what each channel of the result is multiplied by."""
        rows = self.tensors[f"{name}.weight"] / rates
        whole, steps = _quantized(rows if made is None else rows * made[:, None], WEIGHT_LIMIT)
        weights = self.constant(np.ascontiguousarray(whole.T))
        inputs = [x, weights, self._one, self.constant(steps), self._zeros[zero]]
        if biased:
            inputs += ["", self.constant(self.tensors[f"{name}.bias"])]
        return str(self.node("MatMulIntegerToFloat", *inputs, domain="com.microsoft"))

    def _norm(self, x: str, name: str) -> str:
        return normed(self.graph, self.tensors, self.shape, x, name)


def _quantized(rows: Any, limit: int) -> tuple[Any, Any]:
    """Each row in whole steps of its own, within plus or minus `limit`: (n, d) int8, and the steps (n,) float32."""
    steps = np.maximum(np.abs(rows).max(axis=1), np.float32(1e-9)) / np.float32(limit)
    whole = np.clip(np.rint(rows / steps[:, None]), -limit, limit).astype(np.int8)
    return whole, steps.astype(np.float32)
