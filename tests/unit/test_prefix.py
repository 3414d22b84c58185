"""Chains agree as far as what the model reads agrees; sessions follow conversations that name none."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from pennyweight.prefix import Blocks, SessionIndex, canonical, role, shared
from pennyweight.request import Request, Wire


def chat(*messages: dict[str, Any], wire: Wire = Wire.OPENAI_CHAT, **fields: Any) -> Request:
    body = {"model": "m", **fields, "messages": list(messages)}
    return Request(wire, json.dumps(body).encode())


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def model(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def test_the_chain_goes_tools_system_messages() -> None:
    request = chat(user("a"), model("b"), system="s", tools=[{"name": "t1"}, {"name": "t2"}])
    kinds = [(segment.kind, segment.index) for segment in Blocks().chain(request)]
    assert kinds == [("tools", 0), ("tools", 1), ("system", 0), ("message", 0), ("message", 1)]


def test_a_change_moves_every_digest_after_it_and_none_before() -> None:
    blocks = Blocks()
    a = blocks.chain(chat(user("1"), model("2"), user("3")))
    b = blocks.chain(chat(user("1"), model("X"), user("3")))
    assert shared(a, b) == 1
    assert a[2].content == b[2].content
    assert a[2].digest != b[2].digest
    assert shared(a, a[:2]) == 2


def test_markers_and_the_form_of_a_text_do_not_count() -> None:
    marked = {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}
    result = {"type": "tool_result", "tool_use_id": "1", "content": "out"}
    listed = {**result, "content": [{"type": "text", "text": "out"}], "cache_control": {"type": "ephemeral"}}
    blocks = Blocks()
    a = blocks.chain(chat(user("x"), {"role": "user", "content": [result]}))
    b = blocks.chain(chat(marked, {"content": [listed], "role": "user"}))
    assert shared(a, b) == 2


@pytest.mark.parametrize("wire", [Wire.OPENAI_CHAT, Wire.ANTHROPIC_MESSAGES])
@pytest.mark.parametrize("text", ["", "plain text", 'quoted "é" \n', "\U0001f40c"])
@pytest.mark.parametrize("fields", [{"role": "user"}, {"role": "assistant"}, {"role": "tool", "tool_call_id": "c1"}])
def test_a_message_that_is_a_text_is_read_as_the_one_block_that_it_is(
    wire: Wire, text: str, fields: dict[str, str]
) -> None:
    blocks = Blocks(count=len)
    (short,) = blocks.chain(chat({**fields, "content": text}, wire=wire))
    (long,) = blocks.chain(chat({"content": [{"type": "text", "text": text}], **fields}, wire=wire))
    assert msgspec.structs.replace(short, size_bytes=0) == msgspec.structs.replace(long, size_bytes=0)


def test_what_the_model_reads_counts() -> None:
    call = {"type": "tool_use", "id": "1", "name": "t", "input": {"cache_control": 1}}
    other = {**call, "input": {}}
    assert canonical(json.dumps([call, call]).encode()) != canonical(json.dumps([other, other]).encode())
    assert canonical(b'{"content":"a b"}') != canonical(b'{"content":"a  b"}')
    assert canonical(b"\xff\xfe") == b"\xff\xfe"


def test_a_block_is_counted_once() -> None:
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return len(text)

    blocks = Blocks(count=count)
    history = [user("a"), model("b")]
    for turn in range(5):
        history += [user(f"u{turn}"), model(f"m{turn}")]
        chain = blocks.chain(chat(*history))
    assert len(counted) == len(history)
    assert chain[0].tokens == len(counted[0])


def anthropic(*messages: dict[str, Any], **fields: Any) -> Request:
    return chat(*messages, wire=Wire.ANTHROPIC_MESSAGES, **fields)


def test_anthropic_content_blocks_are_segments_with_their_marks() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    system = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": {"ttl": "1h"}}]
    result = {"type": "tool_result", "tool_use_id": "1", "content": "out", **mark}
    request = anthropic({"role": "user", "content": [{"type": "text", "text": "q"}, result]}, system=system)
    found = [(s.kind, s.index, s.part, s.role, s.mark) for s in Blocks().chain(request)]
    assert found == [
        ("system", 0, 0, "", ""),
        ("system", 1, 0, "", "1h"),
        ("message", 0, 0, "user", ""),
        ("message", 0, 1, "user", "5m"),
    ]


def test_the_automatic_option_marks_the_end_and_moves_with_it() -> None:
    blocks = Blocks()
    marked = {"cache_control": {"type": "ephemeral"}}
    blocks.chain(anthropic(user("a"), **marked), session="s")
    chain = blocks.chain(anthropic(user("a"), model("b"), user("c"), **marked), session="s")
    assert [segment.mark for segment in chain] == ["", "", "5m"]


def test_a_named_conversation_gives_the_same_chain_as_one_read_anew() -> None:
    blocks = Blocks(count=len)
    history = [user("a"), model("b"), user("c")]
    requests = [
        anthropic(*history[:1], system="s"),
        anthropic(*history, system="s"),
        anthropic(history[0], model("changed"), *history, system="s"),
        anthropic(*history[:2], system="other", tools=[{"name": "t"}]),
        anthropic(*history, system="other", tools=[{"name": "t"}], thinking={"type": "enabled"}),
    ]
    for request in requests:
        assert blocks.chain(request, session="s") == Blocks(count=len).chain(request)


def test_thinking_parts_messages_and_not_the_head() -> None:
    blocks = Blocks()
    a = blocks.chain(anthropic(user("a"), system="s"))
    b = blocks.chain(anthropic(user("a"), system="s", thinking={"type": "enabled", "budget_tokens": 1024}))
    assert shared(a, b) == 1


def test_tokens_add_up_along_the_chain() -> None:
    chain = Blocks(count=len).chain(anthropic(user("four"), model("seven77"), system="sys"))
    assert [(s.tokens, s.upto) for s in chain] == [(3, 3), (4, 7), (7, 14)]


def test_conversations_are_forgotten_by_their_size() -> None:
    blocks = Blocks(kept_bytes=8_000)
    for number in range(50):
        blocks.chain(anthropic(user("x" * 500)), session=str(number))
    assert 6_000 < blocks.kept_bytes <= 8_000
    blocks = Blocks(kept_bytes=8_000)
    for size in (500, 1_500):  # the second is too large to be held beside others, and the first is the past
        blocks.chain(anthropic(user("x" * size)), session="s")
    assert blocks.kept_bytes == 0


def test_a_responses_input_may_be_a_text_or_a_list() -> None:
    blocks = Blocks()
    text = Request(Wire.OPENAI_RESPONSES, b'{"model":"m","instructions":"i","input":"hi"}')
    assert [segment.kind for segment in blocks.chain(text)] == ["system", "message"]
    listed = Request(Wire.OPENAI_RESPONSES, b'{"input":[{"role":"user","content":"a"},{"type":"reasoning"}]}')
    assert len(blocks.chain(listed)) == 2


# --- sessions ----------------------------------------------------------------------------------------------


class Talk:
    """Asks one index, a second apart."""

    def __init__(self) -> None:
        self.index = SessionIndex()
        self.now = 0.0

    def __call__(self, *messages: dict[str, Any], scope: str = "t", **fields: Any) -> str:
        self.now += 1
        return self.index.session(scope, chat(*messages, **fields), now=self.now)


def test_a_conversation_that_grows_is_one_session() -> None:
    ask, history = Talk(), [user("start")]
    names = {ask(*history)}
    for turn in range(10):
        history += [model(f"a{turn}"), user(f"u{turn}")]
        names.add(ask(*history))
    assert len(names) == 1


@pytest.mark.parametrize("change", [{"scope": "other"}, {"model": "n"}, {"tools": [{"name": "x"}]}])
def test_another_tenant_model_or_tool_list_is_another_session(change: dict[str, Any]) -> None:
    ask = Talk()
    assert ask(user("start")) != ask(user("start"), **change)


def test_tool_lists_that_differ_in_the_middle_are_told_apart() -> None:
    ask = Talk()
    lists = [[{"name": "first"}, {"name": middle}, {"name": "last"}] for middle in "abab"]
    names = [ask(user("start"), tools=tools) for tools in lists]
    assert names[0] == names[2] != names[1] == names[3]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"role":"user","content":"x"}', "user"),
        (b'{"role": "tool", "content": "x"}', "tool"),
        (b'{ "role":"user"}', "user"),
        (b'{"content":"{\\"role\\":\\"user\\"}","role":"assistant"}', "assistant"),
        (b'{"role":"us\\u0065r"}', "user"),
        (b'{"role":null}', ""),
        (b'"text"', "user"),
        (b"1", ""),
    ],
)
def test_roles_are_read_wherever_they_stand(raw: bytes, expected: str) -> None:
    assert role(raw) == expected


def test_the_same_start_anew_is_a_new_session() -> None:
    ask = Talk()
    first = ask(user("start"))
    ask(user("start"), model("a"), user("b"))
    second = ask(user("start"))
    assert second != first
    assert ask(user("start"), model("z"), user("y")) == second
    assert ask(user("start"), model("a"), user("b"), model("c"), user("d")) == first


def test_asking_the_start_again_at_once_is_a_retry() -> None:
    ask = Talk()
    assert ask(user("start")) == ask(user("start"))


def test_two_that_run_side_by_side_stay_apart() -> None:
    ask = Talk()
    a = ask(user("start"), model("a1"), user("2"))
    b = ask(user("start"), model("b1"), user("2"))
    assert a != b
    for turn in range(3, 6):
        assert ask(user("start"), model("a1"), *([user("2"), model("x")] * turn), user("a")) == a
        assert ask(user("start"), model("b1"), *([user("2"), model("x")] * turn), user("b")) == b


def test_a_last_message_that_is_dropped_later_does_not_split() -> None:
    ask = Talk()
    first = ask(user("start"), user("transient"))
    assert ask(user("start"), model("a"), user("b"), user("transient")) == first
    assert ask(user("start"), model("a"), user("b"), model("c"), user("d"), user("transient")) == first


def test_a_part_of_an_old_conversation_is_a_new_one() -> None:
    ask = Talk()
    first = ask(user("start"), model("a"), user("b"), user("transient"))
    ask.now += 3600
    assert ask(user("start"), model("a"), user("b"), model("c")) != first


def test_moving_markers_do_not_split() -> None:
    ask = Talk()
    marked = {"role": "user", "content": [{"type": "text", "text": "start", "cache_control": {"type": "ephemeral"}}]}
    assert ask(marked) == ask(user("start"), model("a"), user("b"))


def test_memory_is_bounded() -> None:
    index = SessionIndex(capacity=10, branches=3)
    for number in range(50):
        index.session("t", chat(user(f"start {number}")), now=number)
        index.session("t", chat(user("same"), model(f"a{number}"), user("b")), now=number)
    assert len(index._starts) <= 10
    assert all(len(branches) <= 3 for branches in index._starts._entries.values())


def test_no_conversation_is_no_session() -> None:
    assert Talk()() == ""


@pytest.mark.parametrize("kind", [b"{}", b"[]", b"null", b"1", b'["text"]'])
def test_a_type_that_is_no_text_is_no_text(kind: bytes) -> None:
    raw = b'{"role":"user","content":[{"type":%b,"text":"hi"}]}' % kind
    assert b'"hi"' in canonical(raw)
