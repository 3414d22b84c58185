"""Makes a model folder from the published files: both graphs, the static table, and the manifest.

Needs numpy, and ONNX Runtime and tokenizers for the table; no torch and no onnx. About 15 s of CPU.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from ...errors import StoreError
from . import bert, eight_bits
from .bert import Shape
from .eight_bits import Rates, minilm_rates
from .folder import MADE, MANIFEST, MODEL, REVISION, SOURCES, Manifest, Progress, digest, write
from .minilm import MAX_TOKENS, read_tokenizer, session
from .safetensors import Tensors
from .static import distil

__all__ = ["MINILM", "make"]

MINILM = Shape(layers=6, heads=12, hidden=384, positions=MAX_TOKENS)


def make(
    folder: Path,
    *,
    source: str,
    shape: Shape = MINILM,
    rates: tuple[Rates, ...] | None = None,
    digests: Mapping[str, str] = SOURCES,
    threads: int = 1,
    progress: Progress = lambda _what, _share: None,
) -> Manifest:
    """Make in `folder`, where the published files lie, what embedders load. rates: None are MiniLM's own.

    Raises StoreError.

    A kill at any point leaves a folder without a manifest, which nobody takes for a model and the next run finishes.
    """
    folder.chmod(0o700)
    (folder / MANIFEST).unlink(missing_ok=True)
    for left in folder.glob(".*.tmp"):  # of one that was killed
        left.unlink()
    files = dict(digests)
    for name, expected in digests.items():
        progress(f"checking {name}", 0.0)
        if digest(folder / name) != expected:
            raise StoreError(f"{folder / name} is not the published file: its digest is not {expected}.")
    tensors = Tensors(folder / "model.safetensors")
    progress(f"building {MADE['fp32']}", 0.0)
    write(folder / MADE["fp32"], bert.graph(tensors, shape))
    progress(f"building {MADE['int8']}", 0.0)
    write(folder / MADE["int8"], eight_bits.graph(tensors, shape, minilm_rates() if rates is None else rates))
    tensors.close()
    what = "distilling the static table"
    model = session(folder / MADE["int8"], threads=threads)
    table = distil(model, read_tokenizer(folder), progress=lambda share: progress(what, share))
    write(folder / MADE["static"], _npy(table))
    files |= {name: digest(folder / name) for name in MADE.values()}
    manifest = Manifest(MODEL, REVISION, source, files)
    write(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


def _npy(table: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, table)
    return file.getvalue()
