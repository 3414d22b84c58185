"""The model of a provider's prompt cache, rule by rule."""

from __future__ import annotations

from typing import Any

import pytest

from pennyweight.request import Usage, Wire
from pennyweight.testing.prefix_cache import PrefixCache, TooManyBreakpoints

EPHEMERAL = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def cache(**options: Any) -> PrefixCache:
    return PrefixCache(lambda text: len(text.split()), **options)


def text(words: int, mark: dict[str, Any] | None = None, tag: str = "w") -> dict[str, Any]:
    block: dict[str, Any] = {"type": "text", "text": " ".join(f"{tag}{n}" for n in range(words))}
    return block | ({"cache_control": mark} if mark else {})


def messages(*contents: Any, system: Any = (), model: str = "claude-sonnet-4-5", **more: Any) -> dict[str, Any]:
    turns = [{"role": "user" if n % 2 == 0 else "assistant", "content": content} for n, content in enumerate(contents)]
    return {"model": model, "system": list(system), "messages": turns, **more}


def ask(model: PrefixCache, body: dict[str, Any], at: float = 0.0, tenant: str = "") -> Usage:
    return model.account(Wire.ANTHROPIC_MESSAGES, body, at=at, tenant=tenant)


def test_a_marked_prefix_is_written_then_read() -> None:
    model, body = cache(), messages([text(10)], system=[text(2_000, EPHEMERAL)])
    assert ask(model, body) == Usage(2_010, 0, 2_000)
    assert ask(model, body, at=10.0) == Usage(2_010, 2_000)


def test_without_marks_nothing_is_cached() -> None:
    model, body = cache(), messages([text(3_000)])
    assert ask(model, body) == ask(model, body) == Usage(3_000)


def test_a_growing_conversation_reads_the_old_and_writes_the_new() -> None:
    model = cache()
    ask(model, messages([text(2_000, EPHEMERAL)]))
    grown = messages([text(2_000)], [text(50, tag="a")], [text(100, EPHEMERAL, tag="b")])
    assert ask(model, grown) == Usage(2_150, 2_000, 150)


def test_a_changed_block_ends_the_prefix() -> None:
    model = cache()
    ask(model, messages([text(2_000, EPHEMERAL)], system=[text(1_500, EPHEMERAL)]))
    changed = messages([text(2_000, EPHEMERAL, tag="x")], system=[text(1_500, EPHEMERAL)])
    assert ask(model, changed) == Usage(3_500, 1_500, 2_000)


def test_order_is_tools_system_messages() -> None:
    model = cache()
    tool = {"name": "t", "input_schema": {"type": "object"}}
    ask(model, messages([text(5)], system=[text(2_000, EPHEMERAL)], tools=[tool]))
    other = messages([text(5)], system=[text(2_000, EPHEMERAL)], tools=[{**tool, "name": "u"}])
    assert ask(model, other).cache_read_tokens == 0


def test_a_change_of_thinking_invalidates_messages_only() -> None:
    model = cache()
    body = messages([text(2_000, EPHEMERAL)], system=[text(1_500, EPHEMERAL)])
    ask(model, body)
    assert ask(model, body | {"thinking": {"type": "adaptive"}}).cache_read_tokens == 1_500


def test_five_minutes_refreshed_by_each_read() -> None:
    model, body = cache(), messages([text(2_000, EPHEMERAL)])
    ask(model, body)
    assert ask(model, body, at=299).cache_read_tokens == 2_000
    assert ask(model, body, at=590).cache_read_tokens == 2_000
    assert ask(model, body, at=891).cache_read_tokens == 0


def test_one_hour_writes_are_told_apart() -> None:
    model = cache()
    body = messages([text(500, EPHEMERAL)], system=[text(2_000, HOUR)])
    assert ask(model, body) == Usage(2_500, 0, 500, 2_000)
    assert ask(model, body, at=3_000) == Usage(2_500, 2_000, 500)


@pytest.mark.parametrize(
    ("name", "minimum"),
    [
        ("claude-sonnet-4-5", 1_024),
        ("claude-haiku-4-5-20251001", 4_096),
        ("claude-opus-4-6", 4_096),
        ("claude-opus-5", 512),
    ],
)
def test_short_prompts_are_not_cached(name: str, minimum: int) -> None:
    for size, written in ((minimum - 1, 0), (minimum, minimum)):
        assert ask(cache(), messages([text(size, EPHEMERAL)], model=name)).cache_write_5m_tokens == written


def test_the_look_back_is_twenty_blocks() -> None:
    for added, found in ((19, True), (20, False)):
        model = cache()
        ask(model, messages([text(2_000, EPHEMERAL)]))
        more = [text(1, tag=f"m{n}x") for n in range(added - 1)] + [text(1, EPHEMERAL, tag="end")]
        assert (ask(model, messages([text(2_000), *more])).cache_read_tokens > 0) is found


def test_at_most_four_marks() -> None:
    marked = [text(1, EPHEMERAL, tag=str(n)) for n in range(5)]
    ask(cache(), messages(marked[:4]))
    with pytest.raises(TooManyBreakpoints):
        ask(cache(), messages(marked))


def test_a_mark_on_the_request_is_a_mark_on_its_last_block() -> None:
    model, body = cache(), messages([text(2_000)], cache_control=EPHEMERAL)
    assert ask(model, body).cache_write_5m_tokens == 2_000


def test_models_and_tenants_do_not_share() -> None:
    model, body = cache(), messages([text(2_000, EPHEMERAL)])
    ask(model, body, tenant="a")
    assert ask(model, body, tenant="b").cache_read_tokens == 0
    assert ask(model, body | {"model": "claude-opus-4-1"}, tenant="a").cache_read_tokens == 0
    assert ask(model, body, tenant="a").cache_read_tokens == 2_000


def test_the_form_of_a_text_is_no_matter() -> None:
    model = cache()
    ask(model, messages([text(2_000, EPHEMERAL)]))
    as_string = messages(text(2_000)["text"], "ok", [text(1, EPHEMERAL)])
    assert ask(model, as_string).cache_read_tokens == 2_000


def chat(*turns: str, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-5.5", "messages": [{"role": "user", "content": turn} for turn in turns], **more}


def test_openai_caches_the_longest_common_prefix_in_steps() -> None:
    model = cache(idle_s=300.0)

    def asked(*sizes: int, at: float = 0.0, **more: Any) -> Usage:
        turns = (text(size, tag=f"t{n}x")["text"] for n, size in enumerate(sizes))
        return model.account(Wire.OPENAI_CHAT, chat(*turns, **more), at=at)

    assert asked(1_500) == Usage(1_500)
    assert asked(1_500, 200) == Usage(1_700, 1_408)  # 11 steps of 128
    assert asked(1_500, 200, 9, at=200) == Usage(1_709, 1_664)
    assert asked(1_500, 200, 9, at=501).cache_read_tokens == 0  # idle for more than five minutes
    assert asked(1_000, at=501) == asked(1_000, at=501) == Usage(1_000)  # below 1,024
    assert asked(5_000, at=600, prompt_cache_retention="24h").cache_read_tokens == 0
    assert asked(5_000, at=80_000, prompt_cache_retention="24h").cache_read_tokens == 4_992
