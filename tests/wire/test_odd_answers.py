"""Answers as real providers and compatible servers write them, the odd ones included, and what a tap makes of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.wire.bodies import MESSAGE

from pennyweight.request import Done, Usage, Wire
from pennyweight.wire import anthropic_messages, codec, ollama, openai_chat, openai_responses
from pennyweight.wire.taps import KEEP_BYTES, MOST_TEXT, StreamTap


def tapped(wire: Wire, *chunks: str | bytes) -> Done:
    tap = codec(wire).tap()
    for chunk in chunks:
        tap.feed(chunk if isinstance(chunk, bytes) else chunk.encode())
    return tap.done()


def chat(*events: str | dict[str, Any]) -> str:
    return "".join(f"data: {e if isinstance(e, str) else json.dumps(e)}\n\n" for e in events)


def named(*events: dict[str, Any]) -> str:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)


def piece(text: str, finish: str | None = None, **beside: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice], **beside}


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
COUNTED = Usage(input_tokens=7, output_tokens=3)


# --- Chat Completions ---


@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(chat(piece("a"), piece("", "stop"), {"choices": [], "usage": USAGE}, "[DONE]"), id="openai"),
        pytest.param(
            chat(piece("a", usage=None), piece("", "stop", usage=None), {"choices": [], "usage": USAGE}, "[DONE]"),
            id="usage null until the end",
        ),
        pytest.param(chat(piece("a"), piece("", "stop", usage=USAGE), "[DONE]"), id="usage with the last choice"),
        pytest.param(
            chat(
                piece("a"),
                {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]},
                "[DONE]",
            ),
            id="moonshot: usage inside the choice",
        ),
        pytest.param(chat(piece("a"), piece("", "stop", x_groq={"usage": USAGE}), "[DONE]"), id="groq"),
        pytest.param(
            ": OPENROUTER PROCESSING\n\n" + chat(piece("a"), piece("", "stop", usage=USAGE), "[DONE]"), id="comments"
        ),
        pytest.param(
            chat({"choices": [], "prompt_filter_results": []}, piece("", "stop", usage=USAGE), "[DONE]"), id="azure"
        ),
        pytest.param(chat(piece("a"), piece("", "stop", usage=USAGE), "[DONE]").replace("\n", "\r\n"), id="CRLF"),
        pytest.param(
            chat(piece("a"), piece("", "stop", usage=USAGE), "[DONE]").replace("data: ", "data:"), id="no space"
        ),
        pytest.param(chat(piece("a"), piece("", "stop", usage=USAGE), "[DONE]").rstrip(), id="no last blank line"),
        pytest.param(
            chat(piece("a", usage={**USAGE, "completion_tokens": 1}), piece("", "stop", usage=USAGE), "[DONE]"),
            id="vllm: running totals",
        ),
        pytest.param(
            chat(piece('"usage": {"prompt_tokens": 9}'), piece('"usage"'), piece("", "stop", usage=USAGE), "[DONE]"),
            id="text that says usage",
        ),
    ],
)
def test_usage_is_found_wherever_a_server_puts_it(stream: str) -> None:
    assert tapped(Wire.OPENAI_CHAT, stream) == Done(COUNTED, "stop")


def test_a_cut_chat_stream_is_not_complete() -> None:
    whole = chat(piece("a"), piece("b", "stop"), "[DONE]").encode()
    for end in range(len(whole) - len(b"data: [DONE]\n\n") + 1):
        assert not tapped(Wire.OPENAI_CHAT, whole[:end]).complete
    assert tapped(Wire.OPENAI_CHAT, whole).complete


def test_a_text_that_says_done_is_no_end() -> None:
    assert not tapped(Wire.OPENAI_CHAT, chat(piece("data: [DONE]"), piece("[DONE]", "stop"))).complete


def test_a_finish_without_a_marker_is_told_apart() -> None:
    tap = openai_chat.tap()
    assert isinstance(tap, StreamTap)
    tap.feed(chat(piece("a")).encode())
    assert not tap.finished
    tap.feed(chat(piece("", "stop")).encode())
    assert tap.finished
    assert not tap.done().complete
    body = json.loads(openai_chat.fold(chat(piece("a"), piece("", "stop")).encode()))
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "a"}


def test_an_error_event_before_the_marker_is_no_clean_end() -> None:
    stream = chat(piece("a"), {"error": {"message": "overloaded", "code": 502}}, "[DONE]")
    assert not tapped(Wire.OPENAI_CHAT, stream).complete
    with pytest.raises(ValueError, match="error event"):
        openai_chat.fold(stream.encode())
    assert tapped(Wire.OPENAI_CHAT, chat(piece('"error"'), piece("error", "stop", error=None), "[DONE]")).complete


@pytest.mark.parametrize(
    ("told", "tier"),
    [("default", "standard"), ("flex", "flex"), ("priority", "priority"), (None, "standard"), ("auto", "standard")],
)
def test_the_service_tier_beside_the_usage_counts(told: str | None, tier: str) -> None:
    done = tapped(Wire.OPENAI_CHAT, chat(piece("a", "stop"), {"choices": [], "usage": USAGE, "service_tier": told}))
    assert done.usage is not None
    assert done.usage.tier == tier


def test_several_choices_are_folded_apart() -> None:
    pieces = [
        {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]}
        for index, text, finish in [(1, "b", None), (0, "a", None), (1, "B", "length"), (0, "A", "stop")]
    ]
    body = json.loads(openai_chat.fold(chat(*pieces, "[DONE]").encode()))
    assert [choice["message"]["content"] for choice in body["choices"]] == ["aA", "bB"]
    assert tapped(Wire.OPENAI_CHAT, chat(*pieces, "[DONE]")).finish_reason == "stop"
    with pytest.raises(ValueError, match="choice 0"):
        openai_chat.fold(chat(*pieces[:-1]).encode())


def test_tool_calls_without_an_index_and_with_repeated_names_are_folded() -> None:
    def calls(*given: dict[str, Any]) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": {"tool_calls": list(given)}}]}

    stream = chat(
        calls({"id": "a", "type": "function", "function": {"name": "one", "arguments": '{"x":'}}),
        calls({"function": {"name": "one", "arguments": "1}"}}),
        calls({"id": "b", "type": "function", "function": {"name": "two", "arguments": "{}"}}),
        piece("", "tool_calls"),
    )
    (choice,) = json.loads(openai_chat.fold(stream.encode()))["choices"]
    functions = [call["function"] for call in choice["message"]["tool_calls"]]
    assert functions == [{"name": "one", "arguments": '{"x":1}'}, {"name": "two", "arguments": "{}"}]


def test_an_absurd_index_is_an_error_and_no_list() -> None:
    call = {"index": 10**9, "id": "a", "function": {"name": "f", "arguments": ""}}
    stream = chat({"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": "stop"}]})
    with pytest.raises(ValueError, match="1000000000"):
        openai_chat.fold(stream.encode())


@pytest.mark.parametrize("odd", ['{"choices": 3}', '{"choices": [7]}', "[1]", "<html>", '{"choices": [{"delta": 1}]}'])
def test_chunks_of_another_shape_cannot_be_folded(odd: str) -> None:
    with pytest.raises(ValueError):
        openai_chat.fold(chat(odd, piece("", "stop")).encode())


# --- Messages ---


def start(**usage: Any) -> dict[str, Any]:
    return {"type": "message_start", "message": {"id": "m", "role": "assistant", "content": [], "usage": usage}}


def delta(stop: str | None, **usage: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage}


STOP = {"type": "message_stop"}


def test_anthropic_usage_is_read_from_both_ends() -> None:
    begun = start(input_tokens=10, cache_read_input_tokens=100, output_tokens=1, service_tier="priority")
    done = tapped(Wire.ANTHROPIC_MESSAGES, named(begun, {"type": "ping"}, delta("end_turn", output_tokens=50), STOP))
    usage = Usage(input_tokens=110, cache_read_tokens=100, output_tokens=50, tier="priority")
    assert done == Done(usage, "end_turn")


def test_a_delta_that_repeats_the_input_side_is_newer() -> None:
    split = {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}
    begun = start(input_tokens=1, cache_creation_input_tokens=30, cache_creation=split, output_tokens=1)
    ended = delta(
        "end_turn", input_tokens=5, cache_creation_input_tokens=70, cache_read_input_tokens=None, output_tokens=9
    )
    usage = tapped(Wire.ANTHROPIC_MESSAGES, named(begun, ended, STOP)).usage
    assert usage == Usage(input_tokens=75, cache_write_5m_tokens=50, cache_write_1h_tokens=20, output_tokens=9)


def test_a_cut_message_tells_its_input_and_is_not_complete() -> None:
    begun = start(input_tokens=10, output_tokens=1)
    text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": '"message_stop"'}}
    tap = anthropic_messages.tap()
    tap.feed(named(begun, text).encode())
    assert tap.done() == Done(Usage(input_tokens=10, output_tokens=1), None, complete=False)
    assert tap.output_text() == '"message_stop"'


def test_the_newest_of_several_deltas_counts_and_texts_that_are_event_names_do_not() -> None:
    stream = named(
        start(input_tokens=10, output_tokens=1),
        delta(None, output_tokens=4),
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "message_stop"}},
        delta("end_turn", output_tokens=9),
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "message_delta"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "error"}},
    )
    done = Done(Usage(input_tokens=10, output_tokens=9), "end_turn", complete=False)
    assert tapped(Wire.ANTHROPIC_MESSAGES, stream) == done
    assert tapped(Wire.ANTHROPIC_MESSAGES, stream, named(STOP)).complete


def test_an_anthropic_error_event_is_no_clean_end() -> None:
    broken = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    stream = named(start(input_tokens=10, output_tokens=1), broken)
    assert not tapped(Wire.ANTHROPIC_MESSAGES, stream, named(STOP)).complete
    with pytest.raises(ValueError, match="error event"):
        anthropic_messages.fold(stream.encode())


def test_input_json_arrives_in_pieces_and_an_unknown_delta_grows_its_block() -> None:
    block = {"type": "tool_use", "id": "t", "name": "read", "input": {}}
    parts = ["", '{"path": "', 'ä"', "}"]
    stream = named(
        start(input_tokens=1, output_tokens=1),
        {"type": "content_block_start", "index": 0, "content_block": block},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": part}}
            for part in parts
        ),
        {"type": "content_block_start", "index": 1, "content_block": {"type": "compaction", "content": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "compaction_delta", "content": "short"}},
        delta("tool_use", output_tokens=4),
        STOP,
    )
    content = json.loads(anthropic_messages.fold(stream.encode()))["content"]
    assert content == [{**block, "input": {"path": "ä"}}, {"type": "compaction", "content": "short"}]


def test_blocks_are_opened_filled_and_closed_in_order_without_gaps() -> None:
    events = [
        json.loads(chunk.split(b"data: ")[1]) for chunk in anthropic_messages.unfold(json.dumps(MESSAGE).encode())
    ]
    opened = [event["index"] for event in events if event["type"] == "content_block_start"]
    closed = [event["index"] for event in events if event["type"] == "content_block_stop"]
    assert opened == closed == list(range(len(MESSAGE["content"])))
    assert events[0]["message"]["content"] == []
    assert events[-2]["usage"] == MESSAGE["usage"]


def test_counted_tokens_cost_nothing() -> None:
    assert anthropic_messages.read(b'{"input_tokens": 14}') == Done(None, None)


# --- Responses ---


def response(status: str, **beside: Any) -> dict[str, Any]:
    usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    return {"type": f"response.{status}", "response": {"id": "r", "status": status, "usage": usage, **beside}}


@pytest.mark.parametrize(
    ("event", "done"),
    [
        (response("completed"), Done(COUNTED, "completed")),
        (
            response("incomplete", incomplete_details={"reason": "max_output_tokens"}),
            Done(COUNTED, "max_output_tokens"),
        ),
        (response("failed", error={"code": "server_error"}), Done(COUNTED, "failed", complete=False)),
    ],
)
def test_the_last_event_of_a_response_tells_how_it_ended(event: dict[str, Any], done: Done) -> None:
    text = {"type": "response.output_text.delta", "delta": "response.completed"}
    assert tapped(Wire.OPENAI_RESPONSES, named(text, event)) == done
    assert openai_responses.read(json.dumps(event["response"]).encode()) == done


def test_a_response_that_died_is_not_complete() -> None:
    begun = {"type": "response.created", "response": {"id": "r", "status": "in_progress", "usage": None}}
    assert tapped(Wire.OPENAI_RESPONSES, named(begun)) == Done(complete=False)
    assert not openai_responses.read(b'{"object": "response", "status": "in_progress"}').complete


def test_items_missing_from_the_last_event_are_taken_from_before() -> None:
    item = {"type": "message", "id": "m", "content": []}
    done = {"type": "response.output_item.done", "output_index": 0, "item": item}
    stream = named(done, response("completed", output=[]))
    assert json.loads(openai_responses.fold(stream.encode()))["output"] == [item]


# --- Ollama, embeddings, and what is no answer ---


def test_ollama_counts_are_in_its_last_line() -> None:
    line = {"model": "m", "message": {"role": "assistant", "content": "a"}, "done": False}
    last = {"model": "m", "message": {"role": "assistant", "content": ""}, "done": True, "eval_count": 3}
    stream = json.dumps(line) + "\n" + json.dumps(last) + "\n"
    assert tapped(Wire.OLLAMA, stream) == Done(Usage(output_tokens=3), "stop")
    assert not tapped(Wire.OLLAMA, stream[:-20]).complete
    assert not tapped(Wire.OLLAMA, json.dumps(line) + '\n{"error": "gone"}\n').complete
    assert not tapped(Wire.OLLAMA, '{"error": "gone", "done": true}\n').complete
    with pytest.raises(ValueError, match="cut"):
        ollama.fold(json.dumps(line).encode())


def test_embeddings_have_usage_and_no_finish() -> None:
    body = b'{"object": "list", "data": [], "usage": {"prompt_tokens": 8, "total_tokens": 8}}'
    assert openai_chat.read(body) == Done(Usage(input_tokens=8), None)
    assert ollama.read(b'{"embeddings": [[0.5]], "prompt_eval_count": 8}') == Done(Usage(input_tokens=8), None)


@pytest.mark.parametrize("wire", Wire)
@pytest.mark.parametrize(
    "body", [b"", b"<html>no</html>", b"[]", b"null", b"\xff\xfe", b"[" * 50_000, b'{"error": {"message": "no"}}']
)
def test_what_is_no_answer_is_not_complete(wire: Wire, body: bytes) -> None:
    done = codec(wire).read(body)
    assert done.usage is None
    assert not done.complete
    with pytest.raises(ValueError):
        codec(wire).fold(body)


@pytest.mark.parametrize("wire", Wire)
def test_fields_of_a_wrong_type_leave_what_can_be_read(wire: Wire) -> None:
    body = b'{"usage": {"prompt_tokens": 7, "input_tokens": 7, "output_tokens": 3, "completion_tokens": "x"}, '
    body += b'"prompt_eval_count": 7, "stop_reason": 3, "choices": 4, "status": 9, "done_reason": [], "type": {}}'
    usage = codec(wire).read(body).usage
    assert usage is not None
    assert usage.input_tokens == 7


# --- memory ---


def test_a_long_stream_is_let_go_and_still_tells_all() -> None:
    tap = openai_chat.tap()
    tap.feed(chat(piece("first ")).encode())
    text = "x" * 1000
    for _ in range(2 * KEEP_BYTES // 1000):
        tap.feed(chat(piece(text)).encode())
    tap.feed(chat(piece("last", "stop", usage=USAGE)).encode())
    held = sum(len(chunk) for chunk in tap._chunks)  # type: ignore[attr-defined]
    assert held <= KEEP_BYTES
    tap.feed(chat("[DONE]").encode())
    assert tap.done() == Done(COUNTED, "stop")
    assert tap.output_text() == "first " + text * (2 * KEEP_BYTES // 1000) + "last"


def test_a_stream_without_end_is_not_kept_for_ever() -> None:
    event = b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % (b"a" * (1 << 20))
    tap = codec(Wire.OPENAI_CHAT).tap()
    for _ in range(2 * MOST_TEXT >> 20):
        tap.feed(event)
    assert len(tap.output_text()) <= MOST_TEXT + (2 << 20)


def test_an_event_without_end_is_not_kept_for_ever() -> None:
    tap, piece = codec(Wire.OPENAI_CHAT).tap(), b"a" * (1 << 20)
    held = 0
    for _ in range(3 * MOST_TEXT >> 20):
        tap.feed(piece)
        held = max(held, sum(map(len, tap._chunks)))  # type: ignore[attr-defined]
    assert held <= 2 * MOST_TEXT + (1 << 20)


def test_what_was_let_go_is_remembered() -> None:
    tap = anthropic_messages.tap()
    tap.feed(named(start(input_tokens=10, output_tokens=1)).encode())
    text = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "y" * 600_000}}
    for _ in range(3):
        tap.feed(named(text).encode())
    tap.feed(named(delta("end_turn", output_tokens=5), STOP).encode())
    assert tap.done() == Done(Usage(input_tokens=10, output_tokens=5), "end_turn")


def test_a_chat_event_of_no_shape_and_no_text_ends_no_stream() -> None:
    tap = codec(Wire.OPENAI_CHAT).tap()
    for data in (b'{"choices":"x","usage":"\xbc"}', b'{"choices":"x","usage":1}', b'["usage"]', b'"usage"'):
        tap.feed(b"data: " + data + b"\n\n")
    assert tap.done().usage is None
