"""The recordings that ship: redacted, and of the same tokens and money as what they were made from."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pennyweight.capture.filler import MARKERS, Filler
from pennyweight.capture.format import Recorded
from pennyweight.identity import identify
from pennyweight.money import cost
from pennyweight.prices import open_book
from pennyweight.replay.demo import demo_session, demo_sessions
from pennyweight.replay.readers import read
from pennyweight.request import Usage
from pennyweight.testing import shapes
from pennyweight.testing.prefix_cache import PrefixCache

# Of the original, simulated before it was redacted: tokens, and pico-dollars at Claude Sonnet 4.6's list price of
# November 2026 ($3 in, $0.30 cache read, $3.75 cache write, $15 out per million).
ORIGINAL = Usage(input_tokens=585_388, cache_read_tokens=537_511, cache_write_5m_tokens=46_848, output_tokens=1_100)
ORIGINAL_PICO_USD = 1_029 * 3_000_000 + 537_511 * 300_000 + 46_848 * 3_750_000 + 1_100 * 15_000_000


@cache
def filler() -> Filler:
    return Filler()


def simulate(calls: Sequence[Recorded]) -> tuple[Usage, int]:
    cache_model, book = PrefixCache(filler().count), open_book()
    usages, money = [], 0
    for call in calls:
        at = 1_795_000_000.0 + call.t
        assert call.answer is not None
        output = sum(map(filler().count, shapes.output_texts(call.wire, call.answer)))
        parts = cache_model.account(call.wire, call.body, at=at)
        usage = Usage(parts.input_tokens, parts.cache_read_tokens, parts.cache_write_5m_tokens, 0, output)
        price = book.price("anthropic", call.body["model"], at)
        assert price is not None
        usages.append(usage)
        money += cost(usage, price, at=at)
    return (
        Usage(
            sum(u.input_tokens for u in usages),
            sum(u.cache_read_tokens for u in usages),
            sum(u.cache_write_5m_tokens for u in usages),
            0,
            sum(u.output_tokens for u in usages),
        ),
        money,
    )


def strings(value: Any, key: str = "") -> list[tuple[str, str]]:
    if isinstance(value, str):
        return [(key, value)]
    if isinstance(value, dict):
        return [pair for name, child in value.items() for pair in strings(child, name)]
    return [pair for child in value for pair in strings(child, key)] if isinstance(value, list) else []


def test_tokens_and_money_are_those_of_the_original_within_one_percent() -> None:
    usage, money = simulate(demo_session())
    assert usage.input_tokens == pytest.approx(ORIGINAL.input_tokens, rel=0.01)
    assert usage.cache_read_tokens == pytest.approx(ORIGINAL.cache_read_tokens, rel=0.01)
    assert usage.cache_write_5m_tokens == pytest.approx(ORIGINAL.cache_write_5m_tokens, rel=0.01)
    assert usage.output_tokens == pytest.approx(ORIGINAL.output_tokens, rel=0.01)
    assert money == pytest.approx(ORIGINAL_PICO_USD, rel=0.01)


# Of the others: input tokens, of them read and written, output tokens.
OTHERS = {"unmarked": (522_148, 0, 0, 1_030), "heartbeat": (412_312, 312_791, 98_494, 532)}


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_recordings_have_the_tokens_of_their_originals(name: str) -> None:
    (calls,) = [session.calls for session in demo_sessions() if session.name == name]
    usage, _ = simulate(calls)
    found = (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_5m_tokens, usage.output_tokens)
    assert found == pytest.approx(OTHERS[name], rel=0.01)


def test_its_wakes_are_recognised_after_redaction() -> None:
    (calls,) = [session.calls for session in demo_sessions() if session.name == "heartbeat"]
    kinds = [identify(call.request).housekeeping for call in calls]
    assert kinds.count("heartbeat") == 3


@pytest.mark.skipif("PENNYWEIGHT_ORIGINAL_RECORDING" not in os.environ, reason="the original is not shipped")
def test_the_original_replays_to_the_same_figures() -> None:
    usage, money = simulate(read(Path(os.environ["PENNYWEIGHT_ORIGINAL_RECORDING"])))
    assert (usage, money) == (ORIGINAL, ORIGINAL_PICO_USD)
    redacted, redacted_money = simulate(demo_session())
    assert redacted.input_tokens == pytest.approx(usage.input_tokens, rel=0.01)
    assert redacted_money == pytest.approx(money, rel=0.01)


def test_no_prose_is_in_it() -> None:
    kept_keys = {
        "type",
        "role",
        "id",
        "name",
        "tool_use_id",
        "model",
        "signature",
        "stop_reason",
        "ttl",
        "effort",
        "display",
    }
    kept_keys |= {"required", "status"}
    for call in (call for session in demo_sessions() for call in session.calls):
        for key, text in strings([call.body, call.answer]):
            if key not in kept_keys:
                assert not re.findall(r"[^\W\d_]{5,}", MARKERS.sub(" ", text)), key


def test_every_answer_is_quoted_by_the_next_request() -> None:
    calls = demo_session()
    assert len(calls) == 21
    for call, following in itertools.pairwise(calls):
        assert call.answer is not None
        said = [message["content"] for message in following.body["messages"] if message["role"] == "assistant"]
        assert said[-1] == call.answer["content"]


def test_they_are_small_and_name_their_licences() -> None:
    folder = Path(read.__code__.co_filename).parent / "data"
    assert sum(file.stat().st_size for file in folder.glob("*.gz")) < 1_000_000
    assert "MIT" in (folder / "README.md").read_text()
