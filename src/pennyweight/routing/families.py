"""What the best-known families of models cannot do, by their names. What is not listed is not known, and excludes
nothing. From their makers' documentation of 2026; an operator's [[targets]] says it better."""

from __future__ import annotations

from fnmatch import fnmatchcase

from .settings import TargetTable

__all__ = ["facts_of"]

_FAMILIES: tuple[tuple[str, dict[str, bool]], ...] = (
    ("*embed*", {"tools": False, "images": False, "json_schema": False, "reasoning": False}),
    ("*gpt-3.5*", {"images": False, "json_schema": False, "reasoning": False}),
    ("*gpt-4o*", {"tools": True, "images": True, "json_schema": True, "reasoning": False}),
    ("*gpt-4.1*", {"tools": True, "images": True, "json_schema": True, "reasoning": False}),
    ("*gpt-5*", {"tools": True, "images": True, "json_schema": True, "reasoning": True}),
    ("*gpt-oss*", {"tools": True, "images": False, "reasoning": True}),
    ("*claude-3*", {"tools": True, "images": True, "reasoning": False}),
    ("*claude*", {"tools": True, "images": True, "reasoning": True}),
    ("*gemini*", {"tools": True, "images": True, "json_schema": True}),
    ("*deepseek-v[23]*", {"tools": True, "images": False}),
    ("*deepseek-chat*", {"tools": True, "images": False}),
    ("*deepseek-coder*", {"images": False, "reasoning": False}),
    ("*deepseek-r1*", {"images": False, "reasoning": True}),
    ("*deepseek-reasoner*", {"tools": True, "images": False, "reasoning": True}),
    ("*kimi-k2.[5-9]*", {"tools": True, "images": True, "reasoning": True}),
    ("*kimi-k2*", {"tools": True, "images": False}),
    ("*minimax-m2*", {"tools": True, "images": False, "reasoning": True}),
    ("*minimax-m3*", {"tools": True, "images": True, "reasoning": True}),
    ("*qwen*vl*", {"images": True}),
    ("*qwen*coder*", {"tools": True, "images": False, "reasoning": False}),
    ("*qwen2.5*", {"tools": True, "images": False, "reasoning": False}),
    ("*qwen3.7-max*", {"tools": True, "images": False, "reasoning": True}),
    ("*qwen3:*", {"tools": True, "images": False, "reasoning": True}),
    ("*qwen3-[0-9]*", {"tools": True, "images": False}),
    ("*codellama*", {"tools": False, "images": False, "reasoning": False}),
    ("*tinyllama*", {"tools": False, "images": False, "reasoning": False}),
    ("*llama2*", {"tools": False, "images": False, "reasoning": False}),
    ("*llama3.2-vision*", {"images": True, "reasoning": False}),
    ("*llama-3.2-*-vision*", {"images": True, "reasoning": False}),
    ("*llama3*", {"images": False, "reasoning": False}),
    ("*llama-3*", {"images": False, "reasoning": False}),
    ("*gemma2*", {"tools": False, "images": False, "reasoning": False}),
    ("*gemma3:1b*", {"tools": False, "images": False, "reasoning": False}),
    ("*gemma3*", {"tools": False, "images": True, "reasoning": False}),
    ("*phi3*", {"tools": False, "images": False, "reasoning": False}),
    ("*codestral*", {"images": False, "reasoning": False}),
    ("*devstral*", {"tools": True, "images": False, "reasoning": False}),
)


def facts_of(model: str) -> TargetTable:
    """What is known of the model's family: by the first pattern that fits."""
    name = model.lower()
    for pattern, facts in _FAMILIES:
        if fnmatchcase(name, pattern):
            return TargetTable(model, **facts)
    return TargetTable(model)
