"""all-MiniLM-L6-v2 on ONNX Runtime: one text, one vector, in a thread of its own.

Texts are embedded one at a time and by one thread: a vector never depends on what else is embedded. A text longer than
the model reads is refused: its vector would say nothing of the rest, and two such texts could look the same.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import StoreError
from .bert import INPUT, OUTPUT, Precision
from .folder import MADE, fingerprint, verified
from .prepare import prepare
from .words import Words
from .worker import Tell, Worker

__all__ = ["MAX_TOKENS", "MiniLM", "around", "read_tokenizer", "session"]

MAX_TOKENS = 256  # [CLS] and [SEP] included: what the model was trained for
MAX_CHARS = 32_768  # more than MAX_TOKENS tokens can stand for, spaces aside; tokenizing megabytes takes seconds


class MiniLM:
    """An Embedder. `open` takes about 0.1 s (int8) or 0.5 s (fp32)."""

    def __init__(self, session: Any, tokenizer: Any, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.dimensions = int(session.get_outputs()[0].shape[1])
        self._session = session
        self._words = Words(tokenizer)
        self._first, self._last = around(tokenizer)
        self._worker = Worker(self._bytes_now, "minilm")

    @classmethod
    def open(cls, folder: Path, precision: Precision = "int8") -> MiniLM:
        """The model in a folder made by `models pull`. Raises StoreError for one that is missing or damaged."""
        name = MADE[precision]
        needed = [name, "tokenizer.json"] + (["model.safetensors"] if precision == "fp32" else [])
        verified(folder, *needed)
        return cls(session(folder / name), read_tokenizer(folder), fingerprint(folder, precision))

    async def embed(self, text: str) -> bytes:
        """Raises StoreError for a text of more than MAX_TOKENS tokens."""
        return await self._worker.submit(text)

    def give(self, text: str, tell: Tell) -> None:
        """`embed` for who needs no task to wait in: `tell` is called on this loop with what came of it."""
        self._worker.give(text, tell)

    def _bytes_now(self, text: str) -> bytes:
        return bytes(self.embed_now(text).astype("<f4", copy=False).tobytes())

    def embed_now(self, text: str) -> Any:
        """(384,) float32 of unit length, computed in the calling thread. Raises StoreError for a text too long."""
        if len(text) > MAX_CHARS:
            raise StoreError(
                f"A text of {len(text)} characters is longer than the embedder reads ({MAX_TOKENS} tokens)."
            )
        ids = [self._first, *self._words.of(prepare(text)), self._last]
        if len(ids) > MAX_TOKENS:
            raise StoreError(f"A text of {len(ids)} tokens is longer than the embedder reads ({MAX_TOKENS}).")
        try:
            return self._session.run([OUTPUT], {INPUT: np.array([ids], np.int64)})[0][0]
        except Exception as error:  # noqa: BLE001 - its exceptions share no base class
            raise StoreError(f"ONNX Runtime cannot embed a text of {len(ids)} tokens: {error}") from None

    def close(self) -> None:
        self._worker.close()


def session(path: Path, *, threads: int = 1) -> Any:
    """An ONNX Runtime session on the CPU. Raises StoreError."""
    onnxruntime = _runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - its exceptions share no base class
        raise StoreError(f"{path} cannot be run by ONNX Runtime {onnxruntime.__version__}: {error}") from None


def _runtime() -> Any:
    """The library, its telemetry off: official builds report to Microsoft and keep a device id unless they are told.

    It must be told before it is loaded (Privacy.md in the package); what the operator set in the environment stands.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder, without the truncation and padding that its file asks for."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(os.fspath(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def around(tokenizer: Any) -> tuple[int, int]:
    """The tokens that begin and end every text. Raises StoreError."""
    ids = tokenizer.encode("").ids
    if len(ids) != 2:
        raise StoreError("The tokenizer does not put one token before and one after a text, as BERT's does.")
    return ids[0], ids[1]
