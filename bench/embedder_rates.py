"""Makes `rates.npy`: how many bytes a unit of each channel takes in MiniLM's eight-bit graph, by what our texts do.

The fp32 model reads the texts, and the largest activation of each channel in front of each product is noted. Its
rate falls with that, and rises with the weights that it meets, as `ALPHAS` says (SmoothQuant's balance). So
that other texts fit, what was seen is taken as a little larger. Nothing but those rates is kept. Texts: sentences,
paragraphs and single words of the documentation, pieces of the source, the questions of the benches, short phrases.
What is in the repository was made of ours of 2026-11-22, with OPENBLAS_NUM_THREADS=1: more threads take longer.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pennyweight.text.embedders import eight_bits
from pennyweight.text.embedders.folder import digest
from pennyweight.text.embedders.make import MINILM
from pennyweight.text.embedders.minilm import MAX_TOKENS, read_tokenizer
from pennyweight.text.embedders.prepare import prepare
from pennyweight.text.embedders.safetensors import Tensors

from .cache_speed import ENDINGS, FRAMES, OPENINGS, SUBJECTS
from .embedders import sample
from .minilm import model_folder
from .result import progress

ROOT = Path(__file__).parents[1]
PARTS = ("attention", "mixed", "wide", "narrow")
ALPHAS = {"attention": 0.75, "mixed": 0.85, "wide": 0.75, "narrow": 1.0}
"""1: a channel's rate follows its activations alone; 0: its weights alone."""
MARGINS = {"attention": 1.05, "mixed": 1.15, "wide": 1.05, "narrow": 1.05}
SHORT = [
    "no",
    "yes",
    "thanks",
    "no thank you",
    "thank you very much",
    "hello",
    "hi there",
    "ok",
    "what",
    "why",
    "who are you",
    "say that again",
    "i do not know",
    "not now",
    "maybe later",
    "stop",
    "go on",
    "of course not",
    "how are you",
    "good morning",
    "cancel it",
    "never mind",
    "i am sorry",
    "please help",
    "what time is it",
    "where are we",
    "he said so",
    "tell me a joke",
    "she is right",
    "nobody knows",
    "come here",
    "that is wrong",
    "it depends",
    "i agree with you",
    "what did you say",
    "are you sure",
    "leave me alone",
    "forget it",
    "do it again",
    "who is he",
    "1",
    "42",
    "3.14",
    "$5",
    "a",
    "z",
    "x = 1",
    "a + b",
    "2 + 2",
    "100%",
    "2024-05-01",
    "10:30",
    "#tag",
    "@me",
    "http://example.com",
    "a.b.c",
    "foo()",
    "//",
    "...",
    "!?",
    "(a)",
    "[b]",
    "日本語",
    "привет мир",
    "ça va",
    "größe",
    "¿qué?",
    "naïve café",
    "مرحبا",
    "你好世界",
    "한국어",
    "שלום",
    "हिन्दी",
    "ไทย",
    "ελληνικά",
    "🙂🙂",
]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.embedder_rates", description=__doc__)
    parser.add_argument("--model", type=Path, help="a folder with the published files; by default found or fetched")
    parser.add_argument("--out", type=Path, default=Path(eight_bits.__file__).with_name("rates.npy"))
    parser.add_argument("--seed", type=int, default=3, help="which pieces of the texts are taken (default 3)")
    asked = parser.parse_args()
    folder = model_folder(asked.model)
    tensors, tokenizer = Tensors(folder / "model.safetensors"), read_tokenizer(folder)
    weights = {name: tensors[name] for name in tensors.tensors if name.startswith(("embeddings.", "encoder."))}
    texts = own_texts(random.Random(asked.seed))
    largest: dict[tuple[int, str], Any] = {}
    for number, text in enumerate(texts):
        for place, values in activations(weights, tokenizer.encode(prepare(text)).ids[:MAX_TOKENS]):
            most = np.abs(values).max(axis=0)
            largest[place] = np.maximum(largest.get(place, most), most)
        if number % 100 == 0:
            progress(f"{number}/{len(texts)} texts")
    rows = [[rates(weights, layer, part, largest[layer, part]) for part in PARTS] for layer in range(MINILM.layers)]
    np.save(asked.out, np.array([np.concatenate(row) for row in rows], np.float16))
    print(f"{asked.out}: {len(texts)} texts, SHA-256 {digest(asked.out)}")


def own_texts(draw: random.Random) -> list[str]:
    documents = [path.read_text() for path in sorted(ROOT.glob("docs/**/*.md"))]
    paragraphs = [part.strip()[:1400] for text in documents for part in text.split("\n\n") if len(part.strip()) > 20]
    sentences = [s.strip() for part in paragraphs for s in re.split(r"(?<=[.?!])\s+|\n", part) if len(s.strip()) > 10]
    words = [word for sentence in sentences for word in re.findall(r"[A-Za-z']+", sentence)]
    few = []
    for _ in range(350):
        at = draw.randrange(len(words) - 6)
        few.append(" ".join(words[at : at + draw.randint(1, 5)]))
    code = []
    for path in sorted(ROOT.glob("src/pennyweight/**/*.py")):
        if len(text := path.read_text()) > 500:
            at = draw.randrange(len(text) - 400)
            code.append(text[at : at + draw.randint(40, 500)])
    questions = (
        sample() + [o + f.format(s) + e for o in OPENINGS for f in FRAMES for s in SUBJECTS for e in ENDINGS][::7]
    )
    picked = [(sentences, 300), (paragraphs, 60), (code, 40), (questions, 60)]
    return few + SHORT + [text for source, count in picked for text in draw.sample(source, count)]


def activations(weights: dict[str, Any], ids: Sequence[int]) -> list[tuple[tuple[int, str], Any]]:
    """What the products of each layer read for one text, (tokens, channels) each; BERT in fp32."""
    heads = MINILM.heads
    found = []

    def normed(x: Any, name: str) -> Any:
        spread = np.sqrt(x.var(axis=-1, keepdims=True) + MINILM.eps)
        return (x - x.mean(axis=-1, keepdims=True)) / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def dense(x: Any, name: str) -> Any:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    x = weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.position_embeddings.weight"][: len(ids)]
    x = normed(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(MINILM.layers):
        name = f"encoder.layer.{layer}"
        found.append(((layer, "attention"), x))
        parts = [dense(x, f"{name}.attention.self.{part}") for part in ("query", "key", "value")]
        query, key, value = (part.reshape(len(x), heads, -1).transpose(1, 0, 2) for part in parts)
        scores = query @ key.transpose(0, 2, 1) * np.float32((MINILM.hidden / heads) ** -0.5)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = (scores / scores.sum(axis=-1, keepdims=True) @ value).transpose(1, 0, 2).reshape(len(x), -1)
        found.append(((layer, "mixed"), mixed))
        x = normed(x + dense(mixed, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm")
        found.append(((layer, "wide"), x))
        wide = dense(x, f"{name}.intermediate.dense")
        wide = wide * 0.5 * (1 + np.tanh(np.float32((2 / np.pi) ** 0.5) * (wide + np.float32(0.044715) * wide**3)))
        found.append(((layer, "narrow"), wide))
        x = normed(x + dense(wide, f"{name}.output.dense"), f"{name}.output.LayerNorm")
    return found


PRODUCTS = {
    "attention": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "mixed": ("attention.output.dense",),
    "wide": ("intermediate.dense",),
    "narrow": ("output.dense",),
}


def rates(weights: dict[str, Any], layer: int, part: str, largest: Any) -> Any:
    """(channels,): such that the largest activations fill a byte where the balance with the weights lets them."""
    met = np.concatenate([weights[f"encoder.layer.{layer}.{name}.weight"] for name in PRODUCTS[part]])
    most = np.maximum(largest * MARGINS[part], 1e-3).astype(np.float64)
    alpha = ALPHAS[part]
    units = most**alpha / np.maximum(np.abs(met).max(axis=0), 1e-4) ** (1 - alpha)
    if part != "narrow":
        return (127 / (units * (most / units).max())).astype(np.float32)
    zero = eight_bits.GELU_ZERO
    return np.minimum((255 - zero) / (units * (most / units).max()), zero / eight_bits.GELU_LEAST).astype(np.float32)


if __name__ == "__main__":
    main()
