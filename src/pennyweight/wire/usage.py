"""A provider's own usage block as `Usage`: one convention out of four, and never a number that cannot be.

OpenAI counts cached and written tokens inside input and reasoning inside output; Anthropic counts cached and written
tokens beside input; a write total without a split is a 5-minute write.

Where a block contradicts itself, what follows from it is told in `Usage.suspect`, the input is at least what was read
and written, and what is no count is 0: the ledger then counts that side from the texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..request import Usage, Wire

__all__ = ["MOST_TOKENS", "decode"]

MOST_TOKENS = 10**9
"""More in one answer is a slip: the longest contexts hold ten million."""


def decode(wire: Wire, block: Mapping[str, Any]) -> Usage:
    """The usage in `block` (a final Ollama chunk, for Ollama). What is missing counts 0."""
    match wire:
        case Wire.ANTHROPIC_MESSAGES:
            return _anthropic(block)
        case Wire.OLLAMA:
            odd: list[str] = []
            told, made = _n(block, "prompt_eval_count", odd), _n(block, "eval_count", odd)
            return Usage(input_tokens=told, output_tokens=made, suspect="; ".join(odd))
        case Wire.OPENAI_CHAT:
            return _openai(block, "prompt_tokens", "completion_tokens")
        case Wire.OPENAI_RESPONSES:
            return _openai(block, "input_tokens", "output_tokens")


def _anthropic(block: Mapping[str, Any]) -> Usage:
    odd: list[str] = []
    read = _n(block, "cache_read_input_tokens", odd)
    split = _sub(block, "cache_creation")
    write_5m = _n(split, "ephemeral_5m_input_tokens", odd)
    write_1h = _n(split, "ephemeral_1h_input_tokens", odd)
    written = _n(block, "cache_creation_input_tokens", odd)
    if written and written < write_5m + write_1h:
        odd.append(f"{write_5m + write_1h} written for a time of {written} written tokens")
    write_5m += max(written - write_5m - write_1h, 0)  # what no split accounts for
    told = _n(block, "input_tokens", odd) + read + write_5m + write_1h
    if "input_tokens" not in block:
        odd.append("no input_tokens")
    elif not told and not odd:
        odd.append("0 input_tokens")
    return Usage(
        input_tokens=told,
        cache_read_tokens=read,
        cache_write_5m_tokens=write_5m,
        cache_write_1h_tokens=write_1h,
        output_tokens=_n(block, "output_tokens", odd),
        tier=_tier(block),
        suspect="; ".join(odd),
    )


def _openai(block: Mapping[str, Any], prompt: str, completion: str) -> Usage:
    # Embeddings say prompt_tokens and Responses input_tokens; some compatible servers mix the two.
    input_key = prompt if prompt in block else {"prompt_tokens": "input_tokens"}.get(prompt, "prompt_tokens")
    output_key = completion if completion in block else _OTHER[completion]
    details = _sub(block, f"{input_key}_details")
    odd: list[str] = []
    cached = _n(details, "cached_tokens", odd) or _n(block, "cached_tokens", odd)
    cached = cached or _n(block, "prompt_cache_hit_tokens", odd)
    written = _n(details, "cache_write_tokens", odd) if details else 0
    reasoning = _n(_sub(block, f"{output_key}_details"), "reasoning_tokens", odd)
    told, made = _n(block, input_key, odd), _n(block, output_key, odd)
    total = _n(block, "total_tokens", odd)
    if input_key not in block and output_key in block:
        odd.append(f"no {prompt}")
    if told and not total and block.get(output_key) is None:
        odd.append(f"no {completion}")  # embeddings have none, and tell their total
    if not told and not odd and input_key in block:
        odd.append(f"0 {input_key}")  # no prompt is empty: whoever does not count says 0
    if cached + written > told:
        odd.append(f"{cached + written} cached or written of {told} input tokens")
    if reasoning > made:
        odd.append(f"{reasoning} reasoning of {made} output tokens")
    if total and total != told + made:
        odd.append(f"{total} in all of {told} input and {made} output tokens")
    return Usage(
        input_tokens=max(told, cached + written),
        cache_read_tokens=cached,
        cache_write_5m_tokens=written,
        output_tokens=made,
        reasoning_tokens=reasoning,
        tier=_tier(block),
        suspect="; ".join(odd),
    )


_OTHER = {"completion_tokens": "output_tokens", "output_tokens": "completion_tokens"}


def _sub(block: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = block.get(key)
    return value if isinstance(value, dict) else {}


def _n(block: Mapping[str, Any], key: str, odd: list[str]) -> int:
    """The count under `key`; 0 for what is missing, and for what is no count, which is added to `odd`."""
    value = block.get(key)
    if type(value) is int and 0 <= value <= MOST_TOKENS:
        return value
    return 0 if value is None else _unusual(value, key, odd)


def _unusual(value: Any, key: str, odd: list[str]) -> int:
    """Servers in languages without integers write 12.0: that is 12. A text of digits is a slip, and its number."""
    if type(value) is float and value.is_integer() and 0 <= value <= MOST_TOKENS:
        return int(value)
    if isinstance(value, str):
        odd.append(f"{key} is a text")
        return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0
    if isinstance(value, int | float) and not isinstance(value, bool):
        odd.append(f"{key} is {value:.6g}" if abs(value) < 10**15 else f"{key} is absurdly large")
    else:
        odd.append(f"{key} is no number")
    return 0


def _tier(block: Mapping[str, Any]) -> str:
    tier = block.get("service_tier")
    return tier if isinstance(tier, str) and tier else "standard"
