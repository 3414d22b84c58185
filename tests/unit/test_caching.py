"""Which cache a prompt meets: by model, by provider, and by the protocol it is asked over."""

from __future__ import annotations

import pytest

from pennyweight.prices.caching import NO_CACHE, REMEMBERED, CacheBook
from pennyweight.request import Wire

MESSAGES, CHAT = Wire.ANTHROPIC_MESSAGES, Wire.OPENAI_CHAT


@pytest.mark.parametrize(
    ("model", "wire", "kind", "min_tokens"),
    [
        ("claude-opus-5", MESSAGES, "explicit", 512),
        ("claude-opus-4-7-20260101", MESSAGES, "explicit", 2048),
        ("claude-haiku-4-5", MESSAGES, "explicit", 4096),
        ("anthropic/claude-haiku-4.5", CHAT, "explicit", 4096),
        ("claude-3-5-haiku-latest", MESSAGES, "explicit", 2048),
        ("Claude-Sonnet-4-5", MESSAGES, "explicit", 1024),
        ("gpt-5.6-mini", CHAT, "marked", 1024),
        ("gpt-5.1", CHAT, "automatic", 1024),
        ("o3-mini", Wire.OPENAI_RESPONSES, "automatic", 1024),
        ("deepseek-chat", CHAT, "automatic", 64),
        ("deepseek-chat", MESSAGES, "automatic", 64),
        ("gemini-2.5-pro", CHAT, "automatic", 1024),
        ("kimi-k2", MESSAGES, "automatic", 256),
        ("gpt-5.1", MESSAGES, "explicit", 1024),  # whoever speaks Messages takes its marks
        ("somebody-new", MESSAGES, "explicit", 1024),
        ("somebody-new", CHAT, "automatic", 1024),
        ("", CHAT, "automatic", 1024),
    ],
)
def test_the_rules_of_a_model(model: str, wire: Wire, kind: str, min_tokens: int) -> None:
    rules = CacheBook().rules("p", model, wire)
    assert (rules.kind, rules.min_tokens) == (kind, min_tokens)


def test_marks_look_back_and_lives_of_each_kind() -> None:
    book = CacheBook()
    explicit = book.rules("p", "claude-sonnet-4-5", MESSAGES)
    assert (explicit.look_back, explicit.max_marks, explicit.ttl_s) == (20, 4, (300.0, 3600.0))
    assert explicit.long_ttl_s == 3600.0
    automatic = book.rules("p", "gpt-5.1", CHAT)
    assert (automatic.step_tokens, automatic.max_marks, automatic.takes_key) == (128, 0, True)
    marked = book.rules("p", "gpt-5.6", CHAT)
    assert (marked.max_marks, marked.ttl_s, marked.long_ttl_s) == (4, (1800.0,), None)


@pytest.mark.parametrize(("provider", "wire"), [("ollama", CHAT), ("Ollama", CHAT), ("p", Wire.OLLAMA)])
def test_a_local_engine_bills_nothing(provider: str, wire: Wire) -> None:
    assert CacheBook().rules(provider, "claude-sonnet-4-5", wire) == NO_CACHE


def test_names_from_callers_fill_no_memory() -> None:
    book = CacheBook()
    for number in range(REMEMBERED + 10):
        book.rules("p", f"model-{number}", CHAT)
    assert len(book._known) <= REMEMBERED
