"""A BERT of two small layers with random weights, its files as published models have them, and its sums in numpy."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from pennyweight.text.embedders.bert import Shape
from pennyweight.text.embedders.eight_bits import GELU_LEAST, GELU_ZERO, Rates
from pennyweight.text.embedders.make import make

SHAPE = Shape(layers=2, heads=4, hidden=32, positions=24)
WORDS = [
    "the",
    "of",
    "and",
    "a",
    "to",
    "in",
    "is",
    "how",
    "do",
    "i",
    "reset",
    "my",
    "password",
    "account",
    "balance",
    "what",
    "where",
    "when",
    "paris",
    "france",
    "red",
    "green",
    "blue",
    "cat",
    "dog",
]
VOCABULARY = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "?", "5", "e", "東", *WORDS, "##s", "##ing"]


def weights(seed: int = 7) -> dict[str, Any]:
    """Named as in all-MiniLM-L6-v2, in safetensors' order of rows: (out, in)."""
    random = np.random.default_rng(seed)
    hidden, inner = SHAPE.hidden, SHAPE.hidden * 4

    def normal(*shape: int, scale: float = 0.2) -> Any:
        return random.normal(0.0, scale, shape).astype(np.float32)

    made = {
        "embeddings.word_embeddings.weight": normal(len(VOCABULARY), hidden, scale=1.0),
        "embeddings.position_embeddings.weight": normal(40, hidden),
        "embeddings.token_type_embeddings.weight": normal(2, hidden),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in (f"encoder.layer.{n}" for n in range(SHAPE.layers)):
        for name in ("query", "key", "value"):
            made[f"{layer}.attention.self.{name}.weight"] = normal(hidden, hidden)
            made[f"{layer}.attention.self.{name}.bias"] = normal(hidden)
        for name, rows, columns in (
            ("attention.output.dense", hidden, hidden),
            ("intermediate.dense", inner, hidden),
            ("output.dense", hidden, inner),
        ):
            made[f"{layer}.{name}.weight"] = normal(rows, columns)
            made[f"{layer}.{name}.bias"] = normal(rows)
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for name in norms:
        made[f"{name}.weight"] = normal(hidden) + np.float32(1)
        made[f"{name}.bias"] = normal(hidden)
    return made


def rates(largest: float = 8.0) -> tuple[Rates, ...]:
    """Room for activations of up to `largest` in every channel."""
    plain = np.full(SHAPE.hidden, 127 / largest, np.float32)
    wide = np.full(4 * SHAPE.hidden, min((255 - GELU_ZERO) / largest, GELU_ZERO / GELU_LEAST), np.float32)
    return (Rates(plain, plain, plain, wide),) * SHAPE.layers


def safetensors(arrays: dict[str, Any]) -> bytes:
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        start, data = len(data), data + array.tobytes()
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [start, len(data)]}  # type: ignore[dict-item]
    said = json.dumps(header).encode()
    said += b" " * (-len(said) % 8)
    return len(said).to_bytes(8, "little") + said + data


def tokenizer() -> Tokenizer:
    made = Tokenizer(models.WordPiece({word: id for id, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", VOCABULARY.index("[CLS]")), ("[SEP]", VOCABULARY.index("[SEP]"))]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    made.enable_truncation(10)  # as published: embedders must undo it
    made.enable_padding(length=10)
    return made


def published(folder: Path) -> dict[str, str]:
    """Put a model's published files there; their digests."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(safetensors(weights()))
    tokenizer().save(str(folder / "tokenizer.json"))
    names = ("model.safetensors", "tokenizer.json")
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def model(folder: Path) -> Path:
    """A whole model folder."""
    make(folder, source="tests", shape=SHAPE, rates=rates(), digests=published(folder))
    return folder


def forward(w: dict[str, Any], ids: list[int]) -> Any:
    """The vector of one text, in float64 and without a thought to speed: what the graphs are held against."""
    hidden, heads = SHAPE.hidden, SHAPE.heads

    def norm(x: Any, name: str) -> Any:
        spread = np.sqrt(x.var(axis=-1, keepdims=True) + SHAPE.eps)
        return (x - x.mean(axis=-1, keepdims=True)) / spread * w[f"{name}.weight"] + w[f"{name}.bias"]

    def dense(x: Any, name: str) -> Any:
        return x @ w[f"{name}.weight"].T.astype(np.float64) + w[f"{name}.bias"]

    x = w["embeddings.word_embeddings.weight"][ids].astype(np.float64)
    x += w["embeddings.position_embeddings.weight"][: len(ids)] + w["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    for layer in (f"encoder.layer.{n}" for n in range(SHAPE.layers)):
        q, k, v = (dense(x, f"{layer}.attention.self.{name}") for name in ("query", "key", "value"))
        mixed = np.zeros_like(x)
        size = hidden // heads
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            scores = q[:, part] @ k[:, part].T / math.sqrt(size)
            scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
            mixed[:, part] = scores / scores.sum(axis=-1, keepdims=True) @ v[:, part]
        x = norm(x + dense(mixed, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
        inner = dense(x, f"{layer}.intermediate.dense")
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        x = norm(x + dense(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    pooled = x.mean(axis=0)
    return pooled / np.linalg.norm(pooled)
