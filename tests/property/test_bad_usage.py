"""Whatever a provider says of its usage: never a crash, never a negative count or amount, and the receipt says so."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire.bodies import CHAT, MESSAGE, OLLAMA, RESPONSES

from pennyweight.call import Outcome, Receipt
from pennyweight.ledger.accounts import Accounts
from pennyweight.prices import open_book
from pennyweight.request import Charge, Done, Request, Usage, Wire
from pennyweight.stores.sqlite import _row
from pennyweight.testing.backend import make_call
from pennyweight.wire import codec
from pennyweight.wire.usage import MOST_TOKENS

ANSWERS: dict[Wire, dict[str, Any]] = {
    Wire.OPENAI_CHAT: CHAT,
    Wire.OPENAI_RESPONSES: RESPONSES,
    Wire.ANTHROPIC_MESSAGES: MESSAGE,
    Wire.OLLAMA: OLLAMA,
}
MODELS = {
    Wire.OPENAI_CHAT: ("openai", "gpt-4o"),
    Wire.OPENAI_RESPONSES: ("openai", "gpt-4o"),
    Wire.ANTHROPIC_MESSAGES: ("anthropic", "claude-sonnet-4-5"),
    Wire.OLLAMA: ("ollama", "llama3"),
}
BOOK = open_book()


class Words:
    def count(self, text: str) -> int:
        return len(text.split())


counts = st.one_of(
    st.integers(-5, 3_000),
    st.sampled_from(
        [None, True, -1, 10**9, 10**9 + 1, 2**63, 10**30, 1.0, 12.5, -3.0, 1e300, "7", "-7", "many", "1e9", [], {}, [3]]
    ),
)
fields = {
    Wire.OPENAI_CHAT: (
        "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "prompt_cache_hit_tokens",
        "input_tokens", "service_tier",
    ),
    Wire.OPENAI_RESPONSES: ("input_tokens", "output_tokens", "total_tokens", "prompt_tokens"),
    Wire.ANTHROPIC_MESSAGES: (
        "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
    ),
    Wire.OLLAMA: ("prompt_eval_count", "eval_count"),
}  # fmt: skip
parts = {
    "prompt_tokens_details": ("cached_tokens", "cache_write_tokens"),
    "completion_tokens_details": ("reasoning_tokens",),
    "input_tokens_details": ("cached_tokens", "cache_write_tokens"),
    "output_tokens_details": ("reasoning_tokens",),
    "cache_creation": ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"),
}


@st.composite
def blocks(draw: st.DrawFn, wire: Wire) -> dict[str, Any]:
    block: dict[str, Any] = {name: draw(counts) for name in fields[wire] if draw(st.booleans())}
    for name, inner in parts.items():
        if wire is not Wire.OLLAMA and draw(st.booleans()):
            block[name] = draw(st.one_of(counts, st.fixed_dictionaries({}, optional=dict.fromkeys(inner, counts))))
    return block


def answered(wire: Wire, block: dict[str, Any]) -> bytes:
    answer = {**ANSWERS[wire], **block} if wire is Wire.OLLAMA else {**ANSWERS[wire], "usage": block}
    return json.dumps(answer).encode()


def booked(wire: Wire, done: Done, text: str = "three words here") -> Receipt:
    """The receipt of that end, and that the ledger could store it."""
    provider, model = MODELS[wire]
    request = Request(wire, b'{"model":"m","messages":[{"role":"user","content":"one two"}]}')
    call = make_call(request.raw, provider=provider, model=model, at=1_760_000_000.0, wire=wire)
    charges = (Charge(provider, model, done.usage, call.at),) if done.usage is not None else ()
    ended = Done(done.usage, done.finish_reason, charges, done.complete)
    receipt = Accounts(BOOK, {}, Words()).receipt(Outcome(call, ended, 200, provider, output_text=lambda: text))
    assert all(not isinstance(value, int) or -(2**63) <= value < 2**63 for value in _row(receipt, 0))
    return receipt


def check(usage: Usage | None) -> None:
    if usage is None:
        return
    numbers = (
        usage.input_tokens, usage.cache_read_tokens, usage.cache_write_5m_tokens, usage.cache_write_1h_tokens,
        usage.output_tokens, usage.reasoning_tokens,
    )  # fmt: skip
    assert all(type(number) is int and 0 <= number <= 5 * MOST_TOKENS for number in numbers)
    assert usage.cache_read_tokens + usage.cache_write_5m_tokens + usage.cache_write_1h_tokens <= usage.input_tokens


@pytest.mark.parametrize("wire", Wire)
@settings(max_examples=150)
@given(data=st.data())
def test_whatever_is_told_makes_a_receipt_of_sense(wire: Wire, data: st.DataObject) -> None:
    block = data.draw(blocks(wire))
    body = answered(wire, block)
    done = codec(wire).read(body)
    check(done.usage)
    ends = [done]
    with suppress(ValueError):
        tap = codec(wire).tap()
        for chunk in codec(wire).unfold(body):
            tap.feed(chunk)
        ends.append(tap.done())
    for end in ends:
        check(end.usage)
        receipt = booked(wire, end)
        assert receipt.cost is None or receipt.cost >= 0
        assert receipt.baseline is None or receipt.baseline >= 0
        if receipt.usage is not None and receipt.cost is not None:
            check(receipt.usage)


@settings(max_examples=300)
@given(block=blocks(Wire.OPENAI_CHAT), tier=counts, finish=st.sampled_from(["stop", "", None, 3]))
def test_the_quick_way_reads_what_the_careful_one_reads(block: dict[str, Any], tier: Any, finish: Any) -> None:
    first = {"index": 0, "message": {"content": "Yes."}, "finish_reason": finish}
    answer = {"choices": [first], "usage": block, "service_tier": tier}
    careful = answer | {"choices": [first, {"index": 1, "message": {}}]}  # two are not of the common shape
    read = codec(Wire.OPENAI_CHAT).read
    assert read(json.dumps(answer).encode()) == read(json.dumps(careful).encode())


CHAT_USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
RESPONSES_USAGE = {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}
MESSAGES_USAGE = {"input_tokens": 100, "output_tokens": 10}


@pytest.mark.parametrize(
    ("wire", "block", "says"),
    [
        (Wire.OPENAI_CHAT, {**CHAT_USAGE, "prompt_tokens_details": {"cached_tokens": 900}},
         "900 cached or written of 100 input tokens"),
        (Wire.OPENAI_CHAT, {**CHAT_USAGE, "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 60}},
         "120 cached or written of 100 input tokens"),
        (Wire.OPENAI_CHAT, {**CHAT_USAGE, "total_tokens": 950}, "950 in all of 100 input and 10 output tokens"),
        (Wire.OPENAI_CHAT, {**CHAT_USAGE, "completion_tokens_details": {"reasoning_tokens": 50}},
         "50 reasoning of 10 output tokens"),
        (Wire.OPENAI_CHAT, {**CHAT_USAGE, "prompt_tokens": -100, "total_tokens": None}, "prompt_tokens is -100"),
        (Wire.OPENAI_CHAT, {**CHAT_USAGE, "prompt_tokens": 10**30, "total_tokens": None}, "prompt_tokens is"),
        (Wire.OPENAI_CHAT, {**CHAT_USAGE, "prompt_tokens": "100"}, "prompt_tokens is a text"),
        (Wire.OPENAI_CHAT, {**CHAT_USAGE, "prompt_tokens": 99.5, "total_tokens": None}, "prompt_tokens is 99.5"),
        (Wire.OPENAI_CHAT, {"completion_tokens": 10}, "no prompt_tokens"),
        (Wire.OPENAI_RESPONSES, {**RESPONSES_USAGE, "input_tokens_details": {"cached_tokens": 101}},
         "101 cached or written of 100 input tokens"),
        (Wire.OPENAI_RESPONSES, {**RESPONSES_USAGE, "total_tokens": 3}, "3 in all of 100 input and 10 output tokens"),
        (Wire.OPENAI_RESPONSES, {**RESPONSES_USAGE, "output_tokens": -1, "total_tokens": None}, "output_tokens is -1"),
        (Wire.ANTHROPIC_MESSAGES, {**MESSAGES_USAGE, "cache_read_input_tokens": -4}, "cache_read_input_tokens is -4"),
        (Wire.ANTHROPIC_MESSAGES, {"output_tokens": 10}, "no input_tokens"),
        (Wire.ANTHROPIC_MESSAGES, {**MESSAGES_USAGE, "cache_creation_input_tokens": 5,
                                   "cache_creation": {"ephemeral_1h_input_tokens": 7}},
         "7 written for a time of 5 written tokens"),
        (Wire.OLLAMA, {"prompt_eval_count": -3, "eval_count": 5}, "prompt_eval_count is -3"),
        (Wire.OLLAMA, {"prompt_eval_count": 3, "eval_count": {}}, "eval_count is no number"),
    ],
)  # fmt: skip
def test_a_contradiction_is_told_in_the_receipt(wire: Wire, block: dict[str, Any], says: str) -> None:
    receipt = booked(wire, codec(wire).read(answered(wire, block)))
    assert receipt.usage is not None
    assert says in receipt.usage.suspect
    assert receipt.cost is not None
    assert receipt.cost >= 0
    assert receipt.usage.input_tokens > 0  # told, or counted from the texts
    assert receipt.usage.output_tokens > 0


@pytest.mark.parametrize(
    ("wire", "block"),
    [
        (Wire.OPENAI_CHAT, CHAT_USAGE),
        (Wire.OPENAI_CHAT, {**CHAT_USAGE, "prompt_tokens": 100.0}),
        (Wire.OPENAI_CHAT, {"prompt_tokens": 100, "total_tokens": 100}),  # embeddings
        (Wire.OPENAI_CHAT, {**CHAT_USAGE, "prompt_tokens_details": {"cached_tokens": 100}}),
        (Wire.OPENAI_RESPONSES, {**RESPONSES_USAGE, "output_tokens_details": {"reasoning_tokens": 10}}),
        (Wire.ANTHROPIC_MESSAGES, {**MESSAGES_USAGE, "cache_read_input_tokens": 5_000}),
        (Wire.OLLAMA, {"prompt_eval_count": 3, "eval_count": 5}),
        (Wire.OLLAMA, {"prompt_eval_count": None, "eval_count": 5}),  # a prompt wholly cached
    ],
)
def test_what_is_in_order_is_not_suspected(wire: Wire, block: dict[str, Any]) -> None:
    usage = codec(wire).read(answered(wire, block)).usage
    assert usage is not None
    assert usage.suspect == ""


def test_a_side_that_is_no_count_is_counted_from_the_texts() -> None:
    receipt = booked(
        Wire.OPENAI_CHAT,
        codec(Wire.OPENAI_CHAT).read(answered(Wire.OPENAI_CHAT, {"prompt_tokens": -9, "completion_tokens": 8})),
    )
    assert receipt.usage is not None
    assert (receipt.usage.input_tokens, receipt.usage.output_tokens, receipt.usage.counted) == (2, 8, True)
