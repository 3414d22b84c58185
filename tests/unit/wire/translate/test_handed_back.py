"""What a translated answer leaves in a history: never sent to a provider that did not make it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.request import Operation, Request, Wire
from pennyweight.wire import translate
from pennyweight.wire.translate.handed_back import OWN, is_own, needed, own_id, previous, references, unreadable

MESSAGES, RESPONSES, CHAT = Wire.ANTHROPIC_MESSAGES, Wire.OPENAI_RESPONSES, Wire.OPENAI_CHAT
GPT = {
    "id": "resp_1",
    "model": "gpt-5.5",
    "status": "completed",
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "ls", "arguments": "{}"},
    ],
}
CLAUDE = {
    "id": "msg_1",
    "model": "claude",
    "role": "assistant",
    "stop_reason": "tool_use",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "sig=="},
        {"type": "tool_use", "id": "c1", "name": "ls", "input": {}},
    ],
}
KIMI = {
    "id": "chatcmpl-1",
    "model": "kimi",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "Yes.", "reasoning_content": "Hm."}}],
}


def crossed(answer: dict[str, Any], source: Wire, caller: Wire) -> dict[str, Any]:
    raw, _ = translate.response(json.dumps(answer).encode(), source, caller, model="m")
    return msgspec.json.decode(raw)  # type: ignore[no-any-return]


def to_claude(*content: Any) -> Request:
    messages = [{"role": "user", "content": "list"}, {"role": "assistant", "content": list(content)}]
    return Request(MESSAGES, msgspec.json.encode({"model": "claude", "messages": messages}))


def to_gpt(*items: Any, **more: Any) -> Request:
    body = {"model": "gpt-5.5", "input": [{"role": "user", "content": "list"}, *items], **more}
    return Request(RESPONSES, msgspec.json.encode(body))


@pytest.mark.parametrize(("answer", "source"), [(GPT, RESPONSES), (KIMI, CHAT)])
def test_reasoning_of_others_is_taken_out_of_what_goes_to_anthropic(answer: dict[str, Any], source: Wire) -> None:
    content = crossed(answer, source, MESSAGES)["content"]
    assert content[0]["type"] == "thinking"
    request = to_claude(*content)
    sent = request.edit(unreadable(request)).body["messages"]
    assert sent[1]["content"] == content[1:]


def test_a_turn_of_nothing_else_goes_whole() -> None:
    content = crossed(GPT, RESPONSES, MESSAGES)["content"][:1]
    request = to_claude(*content)
    assert request.edit(unreadable(request)).body["messages"] == [{"role": "user", "content": "list"}]


def test_reasoning_of_anthropic_is_taken_out_of_what_goes_to_openai() -> None:
    items = crossed(CLAUDE, MESSAGES, RESPONSES)["output"]
    assert [item["type"] for item in items] == ["reasoning", "function_call"]
    assert all(is_own(item["id"]) for item in items)
    request = to_gpt(*items, {"type": "function_call_output", "call_id": "c1", "output": "a"})
    sent = request.edit(unreadable(request)).body["input"]
    assert [item.get("type") for item in sent] == [None, "function_call", "function_call_output"]


def test_a_stream_without_signature_says_so_in_the_place_of_one() -> None:
    writer = translate.StreamTranslator(CHAT, MESSAGES, model="m")
    chunk = {"id": "c", "choices": [{"index": 0, "delta": {"reasoning_content": "Hm."}}]}
    text = {"id": "c", "choices": [{"index": 0, "delta": {"content": "Yes."}, "finish_reason": "stop"}]}
    out = b"".join(writer.feed(f"data: {json.dumps(one)}\n\n".encode()) for one in (chunk, text))
    out += writer.feed(b"data: [DONE]\n\n") + writer.end()
    deltas = [
        json.loads(line[6:])["delta"]
        for line in out.splitlines()
        if b'"content_block_delta"' in line and line[:1] == b"d"
    ]
    assert [delta["type"] for delta in deltas] == ["thinking_delta", "signature_delta", "text_delta"]
    block = {"type": "thinking", "thinking": "Hm.", "signature": deltas[1]["signature"]}
    assert len(unreadable(to_claude(block, {"type": "text", "text": "Yes."}))) == 1


@pytest.mark.parametrize("target", [CHAT, RESPONSES])
def test_where_a_signature_would_be_is_none_for_who_reads_it(target: Wire) -> None:
    block = crossed(KIMI, CHAT, MESSAGES)["content"][0]
    asked = translate.request(to_claude(block, {"type": "text", "text": "Yes."}), target, model="m").request
    assert block["signature"].encode() not in asked.raw


@given(st.text(max_size=40), st.sampled_from(["sig==", "", "EqQBCg"]))
def test_what_anthropic_signed_itself_is_left_alone(text: str, signature: str) -> None:
    request = to_claude({"type": "thinking", "thinking": text, "signature": signature}, {"type": "text", "text": text})
    assert unreadable(request) == ()
    assert unreadable(to_gpt({"type": "reasoning", "id": "rs_68", "encrypted_content": text})) == ()


def test_what_a_call_names_and_does_not_bring() -> None:
    mine, theirs = own_id("fc_", "a", "0"), "fc_68abc"
    request = to_gpt({"type": "item_reference", "id": mine}, {"type": "item_reference", "id": theirs})
    assert list(references(request)) == [(1, mine), (2, theirs)]
    assert needed(request) == (mine,)
    earlier = f"resp_{OWN}1"
    assert needed(to_gpt(previous_response_id=earlier)) == (earlier,)
    assert needed(to_gpt(previous_response_id="resp_68")) == ()
    assert previous(to_gpt(previous_response_id=5)) == ""
    assert needed(to_gpt({"type": "message", "id": mine, "content": []})) == ()


def test_what_passes_through_is_left_alone() -> None:
    content = crossed(GPT, RESPONSES, MESSAGES)["content"]
    request = to_claude(*content)
    assert unreadable(msgspec.structs.replace(request, operation=Operation.OTHER)) == ()
    assert unreadable(msgspec.structs.replace(request, operation=Operation.COUNT)) != ()
