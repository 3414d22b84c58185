"""A provider's own usage block as `Usage`: one convention out of four.

OpenAI counts cached and written tokens inside input and reasoning inside output; Anthropic counts cached and written
tokens beside input; a write total without a split is a 5-minute write.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..request import Usage, Wire

__all__ = ["decode"]


def decode(wire: Wire, block: Mapping[str, Any]) -> Usage:
    """The usage in `block` (a final Ollama chunk, for Ollama). What is missing or no number counts 0."""
    match wire:
        case Wire.ANTHROPIC_MESSAGES:
            return _anthropic(block)
        case Wire.OLLAMA:
            return Usage(input_tokens=_n(block, "prompt_eval_count"), output_tokens=_n(block, "eval_count"))
        case Wire.OPENAI_CHAT:
            return _openai(block, "prompt_tokens", "completion_tokens")
        case Wire.OPENAI_RESPONSES:
            return _openai(block, "input_tokens", "output_tokens")


def _anthropic(block: Mapping[str, Any]) -> Usage:
    read = _n(block, "cache_read_input_tokens")
    split = _sub(block, "cache_creation")
    write_5m, write_1h = _n(split, "ephemeral_5m_input_tokens"), _n(split, "ephemeral_1h_input_tokens")
    write_5m += max(_n(block, "cache_creation_input_tokens") - write_5m - write_1h, 0)  # what no split accounts for
    return Usage(
        input_tokens=_n(block, "input_tokens") + read + write_5m + write_1h,
        cache_read_tokens=read,
        cache_write_5m_tokens=write_5m,
        cache_write_1h_tokens=write_1h,
        output_tokens=_n(block, "output_tokens"),
        tier=_tier(block),
    )


def _openai(block: Mapping[str, Any], prompt: str, completion: str) -> Usage:
    # Embeddings say prompt_tokens and Responses input_tokens; some compatible servers mix the two.
    input_key = prompt if prompt in block else {"prompt_tokens": "input_tokens"}.get(prompt, "prompt_tokens")
    output_key = completion if completion in block else _OTHER[completion]
    details = _sub(block, f"{input_key}_details")
    cached = _n(details, "cached_tokens") or _n(block, "cached_tokens") or _n(block, "prompt_cache_hit_tokens")
    return Usage(
        input_tokens=_n(block, input_key),
        cache_read_tokens=cached,
        cache_write_5m_tokens=_n(details, "cache_write_tokens") if details else 0,
        output_tokens=_n(block, output_key),
        reasoning_tokens=_n(_sub(block, f"{output_key}_details"), "reasoning_tokens"),
        tier=_tier(block),
    )


_OTHER = {"completion_tokens": "output_tokens", "output_tokens": "completion_tokens"}


def _sub(block: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = block.get(key)
    return value if isinstance(value, dict) else {}


def _n(block: Mapping[str, Any], key: str) -> int:
    value = block.get(key)
    return value if type(value) is int and value > 0 else 0  # bool is no count


def _tier(block: Mapping[str, Any]) -> str:
    tier = block.get("service_tier")
    return tier if isinstance(tier, str) and tier else "standard"
