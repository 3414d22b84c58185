"""One pair of calls for each cause that no recording has."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pennyweight.call import Identity, Target
from pennyweight.ledger.doctor import Doctor, Miss, Sent, gather, grouped, is_whole, pricing, sent
from pennyweight.ledger.doctor.finding import Finding
from pennyweight.money import Rates
from pennyweight.prefix import Blocks
from pennyweight.prices import open_book
from pennyweight.prices.caching import CacheBook
from pennyweight.request import Request, Usage, Wire

BLOCKS = Blocks()
LONG = "You are an assistant with a great many rules. " * 800  # near 9,000 tokens
MORE = "And this is what the user says about it all. " * 200
TOOL = {"name": "look", "description": "Looks. " * 300}


def body(**changes: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": LONG}, {"role": "user", "content": MORE}]
    return {"model": "gpt-5.5", "prompt_cache_key": "k", "tools": [TOOL], "messages": messages} | changes


def grown(first: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The next turn of the conversation."""
    more = [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Go on."}]
    return first | {"messages": [*first["messages"], *more]} | changes


def call(made: dict[str, Any], *, at: float = 0.0, read: int = 0, **more: Any) -> Sent:
    wire = Wire.ANTHROPIC_MESSAGES if str(made["model"]).startswith("claude") else Wire.OPENAI_CHAT
    request = Request(wire, msgspec.json.encode(made))
    tokens = len(request.raw) // 4
    provider = more.pop("provider", "anthropic" if wire is Wire.ANTHROPIC_MESSAGES else "openai")
    housekeeping = more.pop("housekeeping", None)
    return sent(
        request,
        call_id=f"c{at}",
        at=1e9 + at,
        identity=Identity(session=more.pop("session", "s"), housekeeping=housekeeping),
        target=Target(provider, str(made["model"]), wire),
        usage=more.pop("usage", Usage(input_tokens=tokens, cache_read_tokens=read)),
        chain=BLOCKS.chain(request),
        **more,
    )


def missed(*calls: Sent) -> list[Miss]:
    doctor = Doctor(CacheBook().rules, pricing(open_book().price))
    return [miss for one in calls for miss in doctor.see(one)]


def test_an_unchanged_prompt_that_is_read_is_nobodys_miss() -> None:
    first = body()
    assert missed(call(first), call(grown(first), at=5, read=12_000)) == []


def test_calls_that_were_sent_before_the_first_was_cached() -> None:
    first = body()
    (miss,) = missed(call(first, took_s=3.0), call(grown(first), at=1))
    assert miss.code == "parallel"


def test_another_cache_key() -> None:
    first = body()
    (miss,) = missed(call(first), call(grown(first, prompt_cache_key="other"), at=5))
    assert miss.code == "cache_key_changed"


def test_nothing_changed_and_it_is_gone() -> None:
    first = body()
    (miss,) = missed(call(first), call(grown(first), at=5))
    assert miss.code == "evicted"


def test_a_day_of_retention_where_it_is_sold() -> None:
    first = body()
    (miss,) = missed(call(first), call(grown(first), at=3_600))
    assert (miss.code, miss.ttl_s, miss.gap_s) == ("ttl_lapsed", 300.0, 3_600.0)
    kept = body(prompt_cache_retention="24h")
    (miss,) = missed(call(kept), call(grown(kept), at=3_600))
    assert miss.code == "evicted"


def test_a_pause_that_no_setting_bridges_is_not_told() -> None:
    first = body(model="gemini-3-pro")
    assert missed(call(first), call(grown(first), at=3_600)) == []


def test_another_provider_of_the_same_model() -> None:
    first = body()
    (miss,) = missed(call(first), call(grown(first), at=5, provider="azure"))
    assert (miss.code, miss.names) == ("provider_switched", ("openai", "azure"))


def test_a_system_prompt_that_is_rewritten() -> None:
    first = body()
    second = grown(first)
    second["messages"][0] = {"role": "system", "content": LONG.replace("great many", "few", 1)}
    (miss,) = missed(call(first), call(second, at=5))
    assert miss.code == "system_changed"
    assert miss.at_byte == LONG.index("great many")
    assert "great many" in miss.before
    assert "few" in miss.after
    assert miss.place == "messages[0] (system)"


def test_a_tool_whose_description_changes() -> None:
    first = body()
    second = grown(first, tools=[TOOL | {"description": "Looks well. " * 300}])
    (miss,) = missed(call(first), call(second, at=5))
    assert (miss.code, miss.place) == ("tool_changed", "tool look")


def test_a_memory_flush() -> None:
    first = body()
    (miss,) = missed(call(first), call(grown(first, tools=[]), at=5, housekeeping="memory_flush"))
    assert miss.code == "memory_flush"


def test_a_compacted_history_is_nobodys_miss() -> None:
    first = body(messages=[{"role": "system", "content": LONG}, {"role": "user", "content": MORE * 8}])
    summary = {"role": "user", "content": "What was said before, in short. " * 100}
    second = first | {"messages": [first["messages"][0], summary, {"role": "user", "content": "Go on."}]}
    assert missed(call(first), call(second, at=5, read=9_700)) == []


def test_the_tail_that_a_compaction_keeps_is_nobodys_miss() -> None:
    old, tail = {"role": "user", "content": MORE}, {"role": "user", "content": MORE[::-1] * 3}
    first = body(messages=[{"role": "system", "content": LONG}, old, tail])
    summary = {"role": "user", "content": "What was said before, in short. " * 100}
    second = first | {"messages": [first["messages"][0], summary, tail, {"role": "user", "content": "Go on."}]}
    chore = call(body(tools=[], messages=[{"role": "user", "content": MORE}]), at=2, housekeeping="compaction")
    assert missed(call(first), chore, call(second, at=5, read=9_700)) == []
    (miss,) = missed(call(first), call(second, at=5, read=9_700))
    assert miss.code == "history_changed"


def test_what_a_provider_does_not_sell_cheaper_is_no_miss() -> None:
    first = body()
    doctor = Doctor(CacheBook().rules, lambda _call: Rates(input=1, output=1))
    assert [miss for one in (call(first), call(grown(first), at=5)) for miss in doctor.see(one)] == []


def test_an_hour_of_life_is_not_called_lapsed_after_ten_minutes() -> None:
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    text = [{"type": "text", "text": MORE, **mark}]
    first = {"model": "claude-sonnet-4-6", "system": LONG, "messages": [{"role": "user", "content": text}]}
    second = grown(first)
    usage = Usage(input_tokens=11_500, cache_write_1h_tokens=11_400)
    (miss,) = missed(call(first, usage=usage), call(second, at=600, usage=usage))
    assert (
        miss.code == "marker_dropped" if not any("cache_control" in str(m) for m in second["messages"]) else "evicted"
    )


@pytest.mark.parametrize(("code", "calls", "shown"), [("evicted", 2, 0), ("evicted", 3, 1), ("marker_missing", 1, 1)])
def test_bad_luck_is_told_when_it_comes_again(code: Any, calls: int, shown: int) -> None:
    one = call(body())
    findings: dict[tuple[str, ...], Finding] = {}
    for _ in range(calls):
        gather(findings, one, [Miss(code=code, tokens=9_000, cost=5)])
    groups = grouped(findings.values())
    assert len(groups) == shown
    assert all(group.severity == "low" for group in groups if group.code == "evicted")


def test_a_prompt_that_the_provider_keeps_the_rest_of_is_not_judged() -> None:
    def of(**more: Any) -> Request:
        return Request(Wire.OPENAI_RESPONSES, msgspec.json.encode({"model": "m", "input": "x" * 9_000, **more}))

    assert is_whole(of())
    assert is_whole(of(previous_response_id=None))
    assert not is_whole(of(previous_response_id="resp_1"))
    assert not is_whole(of(conversation={"id": "conv_1"}))


def test_what_was_never_marked_did_not_lapse() -> None:
    first = {"model": "claude-sonnet-4-6", "system": LONG, "messages": [{"role": "user", "content": MORE}]}
    assert missed(call(first), call(grown(first), at=600)) == []
    (miss,) = missed(call(first), call(grown(first), at=60))
    assert miss.code == "marker_missing"
