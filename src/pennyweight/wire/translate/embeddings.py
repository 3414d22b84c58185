"""OpenAI's /v1/embeddings and Ollama's /api/embed, each in the other's words."""

from __future__ import annotations

import base64
import struct
from typing import Any

from ...request import Wire
from .neutral import Fields, Losses

__all__ = ["request", "response"]


def request(body: dict[str, Any], source: Wire, target: Wire, model: str, losses: Losses) -> dict[str, Any]:
    """Both call the texts `input`; OpenAI also takes tokens, which Ollama does not."""
    fields = Fields(body, "", losses)
    fields.ignore("model")
    out: dict[str, Any] = {"model": model, "input": fields.take("input")}
    if (dimensions := fields.take("dimensions")) is not None:
        out["dimensions"] = dimensions
    if target is Wire.OLLAMA:
        fields.ignore("encoding_format")  # the way back writes the one that was asked for
    elif fields.take("truncate") is False:
        pass  # OpenAI refuses a text that is too long, which is what the caller wants
    fields.rest(f"only {source.value} has this field")
    return out


def response(body: dict[str, Any], target: Wire, model: str, losses: Losses, *, base64_asked: bool) -> dict[str, Any]:
    fields = Fields(body, "", losses)
    said = fields.text("model") or model
    if target is Wire.OLLAMA:
        rows = [item.get("embedding") for item in fields.items("data")]
        usage = fields.inner("usage")
        count = usage.take("prompt_tokens") or usage.take("total_tokens") or 0
        out: dict[str, Any] = {"model": said, "embeddings": rows, "total_duration": 0, "load_duration": 0}
        fields.ignore("object")
        fields.rest("Ollama's embeddings have no such field")
        return {**out, "prompt_eval_count": count}
    rows = fields.items("embeddings")
    count = fields.take("prompt_eval_count") or 0
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(row) if base64_asked else row}
        for index, row in enumerate(rows)
    ]
    fields.rest("OpenAI's embeddings have no such field")
    usage_block = {"prompt_tokens": count, "total_tokens": count}
    return {"object": "list", "data": data, "model": said, "usage": usage_block}


def _packed(row: list[float]) -> str:
    """Little-endian float32 in base64: what the OpenAI SDKs ask for by default."""
    return base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode()
