"""Streams across every pair, read with the real SDKs' models."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2 as httpx
import openai
import pytest
from tests.unit.wire.translate.bodies import PAIRS, STREAMS, TEXT, THOUGHT, sse

from pennyweight.errors import StreamCut, Unreachable
from pennyweight.request import Wire
from pennyweight.wire import translate

ARGUMENTS = [{"path": "ä.txt"}, {"path": "b.txt"}]


def crossed(source: Wire, target: Wire, chunks: list[bytes], **more: Any) -> bytes:
    translator = translate.StreamTranslator(source, target, model="m", include_usage=True, **more)
    return b"".join(translator.feed(chunk) for chunk in chunks) + translator.end()


def served(stream: bytes) -> httpx.MockTransport:
    return httpx.MockTransport(
        lambda _: httpx.Response(200, headers={"content-type": "text/event-stream"}, content=stream)
    )


def read_with_sdk(target: Wire, stream: bytes) -> dict[str, Any]:
    """What the protocol's own client makes of the stream."""
    http = httpx.Client(transport=served(stream))
    match target:
        case Wire.OPENAI_CHAT:
            return read_chat(openai.OpenAI(api_key="k", base_url="http://x/v1", http_client=http))
        case Wire.OPENAI_RESPONSES:
            return read_responses(openai.OpenAI(api_key="k", base_url="http://x/v1", http_client=http))
        case Wire.ANTHROPIC_MESSAGES:
            return read_messages(anthropic.Anthropic(api_key="k", base_url="http://x", http_client=http))
        case Wire.OLLAMA:
            return read_ollama(stream)


def read_chat(client: openai.OpenAI) -> dict[str, Any]:
    with client.chat.completions.stream(model="m", messages=[], stream_options={"include_usage": True}) as events:
        for _ in events:
            pass
        final = events.get_final_completion()
    message = final.choices[0].message
    assert final.usage is not None
    assert final.usage.prompt_tokens_details is not None
    return {
        "text": message.content,
        "thought": (message.model_extra or {}).get("reasoning_content"),
        "calls": [
            (call.id, call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []
        ],
        "finish": final.choices[0].finish_reason,
        "usage": (final.usage.prompt_tokens, final.usage.completion_tokens),
        "cached": final.usage.prompt_tokens_details.cached_tokens,
    }


def read_responses(client: openai.OpenAI) -> dict[str, Any]:
    with client.responses.stream(model="m", input="x") as events:
        for _ in events:
            pass
        final = events.get_final_response()
    assert final.usage is not None
    return {
        "text": final.output_text,
        "thought": "".join(s.text for item in final.output if item.type == "reasoning" for s in item.summary),
        "calls": [
            (item.call_id, item.name, json.loads(item.arguments))
            for item in final.output
            if item.type == "function_call"
        ],
        "finish": final.status,
        "usage": (final.usage.input_tokens, final.usage.output_tokens),
        "cached": final.usage.input_tokens_details.cached_tokens,
    }


def read_messages(client: anthropic.Anthropic) -> dict[str, Any]:
    with client.messages.stream(model="m", max_tokens=1, messages=[]) as events:
        for _ in events:
            pass
        final = events.get_final_message()
    usage = final.usage
    cached = usage.cache_read_input_tokens or 0
    return {
        "text": "".join(block.text for block in final.content if block.type == "text"),
        "thought": "".join(block.thinking for block in final.content if block.type == "thinking"),
        "calls": [(block.id, block.name, block.input) for block in final.content if block.type == "tool_use"],
        "finish": final.stop_reason,
        "usage": (usage.input_tokens + cached, usage.output_tokens),
        "cached": cached,
    }


def read_ollama(stream: bytes) -> dict[str, Any]:
    lines = [json.loads(line) for line in stream.splitlines()]
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    calls = [call for line in lines for call in line["message"].get("tool_calls", [])]
    return {
        "text": "".join(line["message"]["content"] for line in lines),
        "thought": "".join(line["message"].get("thinking", "") for line in lines),
        "calls": [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls],
        "finish": lines[-1]["done_reason"],
        "usage": (lines[-1]["prompt_eval_count"], lines[-1]["eval_count"]),
        "cached": None,
    }


FINISH = {
    Wire.OPENAI_CHAT: "tool_calls",
    Wire.OPENAI_RESPONSES: "completed",
    Wire.ANTHROPIC_MESSAGES: "tool_use",
    Wire.OLLAMA: "stop",
}


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_pair_reads_as_the_same_answer(source: Wire, target: Wire) -> None:
    told = read_with_sdk(target, crossed(source, target, STREAMS[source]))
    assert told["text"] == TEXT
    assert told["thought"] == THOUGHT
    assert [(own, name) for own, name, _ in told["calls"]] == [("call_a", "read"), ("call_b", "read")]
    assert [arguments for _, _, arguments in told["calls"]] == ARGUMENTS
    assert told["finish"] == FINISH[target]
    assert told["usage"] == (100, 30)
    if Wire.OLLAMA not in (source, target):
        assert told["cached"] == 64


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_bytes_one_by_one_give_the_same_stream(source: Wire, target: Wire) -> None:
    whole = b"".join(STREAMS[source])
    single = [whole[i : i + 1] for i in range(len(whole))]
    assert crossed(source, target, single) == crossed(source, target, [whole])


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_cut_stream_has_no_clean_end(source: Wire, target: Wire) -> None:
    translator = translate.StreamTranslator(source, target, model="m", include_usage=True)
    out = b"".join(translator.feed(chunk) for chunk in STREAMS[source][:-1])
    with pytest.raises(StreamCut):
        translator.end()
    for end in (b"[DONE]", b"message_stop", b"response.completed", b'"done":true'):
        assert end not in out


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_text_is_passed_on_as_soon_as_it_comes(source: Wire, target: Wire) -> None:
    translator = translate.StreamTranslator(source, target, model="m", include_usage=True)
    texts = 0
    for chunk in STREAMS[source]:
        said = (TEXT[:5].encode() in chunk and b"delta" in chunk) or b'"content": "Gr' in chunk
        out = translator.feed(chunk)
        if said and TEXT[:5] in out.decode():
            texts += 1
    assert texts >= 1


ERRORS = {
    Wire.OPENAI_CHAT: sse({"error": {"message": "Slow down, friend", "type": "rate_limit_error", "code": None}}),
    Wire.OPENAI_RESPONSES: sse(
        {"type": "error", "code": None, "message": "Slow down, friend", "sequence_number": 3}, "error"
    ),
    Wire.ANTHROPIC_MESSAGES: sse(
        {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down, friend"}}, "error"
    ),
    Wire.OLLAMA: b'{"error":"Slow down, friend"}\n',
}


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_an_error_event_ends_the_stream_as_an_error(source: Wire, target: Wire) -> None:
    translator = translate.StreamTranslator(source, target, model="m", include_usage=True)
    out = b"".join(translator.feed(chunk) for chunk in [*STREAMS[source][:6], ERRORS[source], *STREAMS[source][6:]])
    assert translator.end() == b""
    tail = out[out.rindex(b"Slow down, friend") :]
    assert b"content" not in tail
    match target:
        case Wire.OPENAI_CHAT:
            assert b'data: {"error":{"message":"Slow down, friend"' in out
            assert b"[DONE]" not in out
        case Wire.OPENAI_RESPONSES:
            assert b"event: error\n" in out
            assert b"event: response.failed\n" in out
            assert b"response.completed" not in out
        case Wire.ANTHROPIC_MESSAGES:
            assert b'event: error\ndata: {"type":"error","error":{"type"' in out
            assert b"message_stop" not in out
        case Wire.OLLAMA:
            assert out.endswith(b'{"error":"Slow down, friend"}\n')


def test_usage_that_was_not_asked_for_is_withheld() -> None:
    source, target = Wire.ANTHROPIC_MESSAGES, Wire.OPENAI_CHAT
    translator = translate.StreamTranslator(source, target, model="m", include_usage=False)
    out = b"".join(translator.feed(chunk) for chunk in STREAMS[source]) + translator.end()
    assert b'"usage"' not in out
    assert out.endswith(b"data: [DONE]\n\n")


def test_anthropic_blocks_are_numbered_without_gaps_and_closed() -> None:
    out = crossed(Wire.OPENAI_CHAT, Wire.ANTHROPIC_MESSAGES, STREAMS[Wire.OPENAI_CHAT])
    events = [json.loads(line[6:]) for line in out.split(b"\n") if line.startswith(b"data: ")]
    begun = [event["index"] for event in events if event["type"] == "content_block_start"]
    ended = [event["index"] for event in events if event["type"] == "content_block_stop"]
    assert begun == ended == [0, 1, 2, 3]


def test_parallel_calls_in_turns_reach_anthropic_whole() -> None:
    def chunk(calls: list[dict[str, Any]], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": {"tool_calls": calls}, "finish_reason": finish}
        return sse({"id": "c", "created": 1, "model": "up", "choices": [choice]})

    begun = [{"index": i, "id": f"call_{i}", "function": {"name": "read", "arguments": ""}} for i in (0, 1)]
    turns = [
        chunk(begun),
        chunk([{"index": 0, "function": {"arguments": '{"a"'}}, {"index": 1, "function": {"arguments": '{"b"'}}]),
        chunk([{"index": 1, "function": {"arguments": ":2}"}}, {"index": 0, "function": {"arguments": ":1}"}}]),
        chunk([], "tool_calls"),
        sse("[DONE]"),
    ]
    for target in (Wire.ANTHROPIC_MESSAGES, Wire.OPENAI_RESPONSES, Wire.OLLAMA):
        told = read_with_sdk(target, crossed(Wire.OPENAI_CHAT, target, turns))
        assert sorted(arguments for _, _, arguments in told["calls"] if arguments.get("a")) == [{"a": 1}]
        assert [arguments for _, _, arguments in told["calls"] if arguments.get("b")] == [{"b": 2}]


def test_a_custom_tool_gets_its_text_back() -> None:
    function = {"name": "patch", "arguments": ""}
    head = {"id": "c", "created": 1, "model": "up"}
    first = {"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "call_1", "function": function}]}}
    stream = [sse({**head, "choices": [first]})]
    for text in ('{"inp', 'ut":"*** Be', 'gin\\n"}'):
        delta = {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}
        stream.append(sse({**head, "choices": [{"index": 0, "delta": delta}]}))
    stream += [sse({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}), sse("[DONE]")]
    memo = translate.Memo(custom=frozenset({"patch"}))
    out = crossed(Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES, stream, memo=memo)
    final = json.loads(out.rsplit(b"data: ", 1)[1])["response"]["output"][0]
    assert final["type"] == "custom_tool_call"
    assert final["input"] == "*** Begin\n"
    assert b"response.custom_tool_call_input.delta" in out


def test_something_that_is_no_stream_is_said_plainly() -> None:
    translator = translate.StreamTranslator(Wire.OPENAI_CHAT, Wire.ANTHROPIC_MESSAGES, model="m", include_usage=False)
    with pytest.raises(Unreachable, match="not of its protocol"):
        translator.feed(b"data: <html>\n\n")
