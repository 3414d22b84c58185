"""A whole answer, unfolded to a stream and folded again, is the same JSON; a tap over any cut of it tells the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.request import Wire
from pennyweight.wire import codec

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20) | st.sampled_from(
    [
        '"usage"',
        "[DONE]",
        "data: [DONE]\n\n",
        '"message_stop"',
        "response.completed",
        "\r\n",
        "é🌍",
        '\\"',
        '"done":true',
    ]
)
ids = st.text("abcdef0123456789", min_size=1, max_size=8)
scalars = st.none() | st.booleans() | st.integers() | texts | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(scalars, lambda v: st.lists(v, max_size=2) | st.dictionaries(texts, v, max_size=2), max_leaves=4)
unknown = st.dictionaries(ids.map(lambda name: "x_" + name), values, max_size=2)
counts = st.integers(0, 10**6)
arguments = st.just("") | st.dictionaries(texts, values, max_size=2).map(json.dumps)
probabilities = st.lists(
    st.fixed_dictionaries({"token": texts, "logprob": st.floats(-50, 0), "top_logprobs": st.just([])}), max_size=2
)


def joined(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(*parts).map(lambda dicts: {key: value for d in dicts for key, value in d.items()})


# --- Chat Completions ---

chat_calls = joined(
    st.fixed_dictionaries(
        {
            "id": ids,
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": ids, "arguments": arguments}),
        }
    ),
    unknown,
) | st.fixed_dictionaries(
    {"id": ids, "type": st.just("custom"), "custom": st.fixed_dictionaries({"name": ids, "input": texts})}
)
annotations = st.lists(st.fixed_dictionaries({"type": st.just("url_citation"), "url": texts}), max_size=2)
chat_messages = joined(
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": st.none() | texts},
        optional={
            "refusal": st.none() | texts,
            "reasoning_content": texts,
            "reasoning_details": st.lists(st.fixed_dictionaries({"type": ids, "text": texts}), max_size=2),
            "tool_calls": st.none() | st.lists(chat_calls, max_size=3),
            "annotations": annotations,
            "audio": st.none() | st.fixed_dictionaries({"id": ids, "data": texts, "expires_at": counts}),
        },
    ),
    unknown,
)
chat_choices = st.fixed_dictionaries(
    {"message": chat_messages, "finish_reason": st.sampled_from(["stop", "length", "tool_calls"])},
    optional={
        "logprobs": st.none() | st.fixed_dictionaries({"content": probabilities, "refusal": st.none()}),
        "stop_reason": st.none() | texts,
    },
)
chat_usage = st.fixed_dictionaries(
    {
        "prompt_tokens": counts,
        "completion_tokens": counts,
        "total_tokens": counts,
        "prompt_tokens_details": st.fixed_dictionaries({"cached_tokens": counts, "audio_tokens": st.just(0)}),
        "completion_tokens_details": st.fixed_dictionaries(
            {
                "reasoning_tokens": counts,
                "audio_tokens": st.just(0),
                "accepted_prediction_tokens": counts,
                "rejected_prediction_tokens": counts,
            }
        ),
    }
)
chat_bodies = joined(
    st.fixed_dictionaries(
        {
            "id": ids,
            "object": st.just("chat.completion"),
            "created": counts,
            "model": texts,
            "choices": st.lists(chat_choices, min_size=1, max_size=2).map(
                lambda choices: [{"index": index, **choice} for index, choice in enumerate(choices)]
            ),
        },
        optional={
            "usage": chat_usage,
            "service_tier": st.sampled_from(["default", "flex", None]),
            "system_fingerprint": st.none() | texts,
        },
    ),
    unknown,
)

# --- Responses ---

output_texts = joined(
    st.fixed_dictionaries(
        {"type": st.just("output_text"), "text": texts, "annotations": annotations},
        optional={"logprobs": probabilities},
    ),
    unknown,
)
parts = output_texts | st.fixed_dictionaries({"type": st.just("refusal"), "refusal": texts})
response_items = (
    joined(
        st.fixed_dictionaries(
            {
                "type": st.just("message"),
                "id": ids,
                "status": st.just("completed"),
                "role": st.just("assistant"),
                "content": st.lists(parts, max_size=2),
            }
        ),
        unknown,
    )
    | st.fixed_dictionaries(
        {
            "type": st.just("reasoning"),
            "id": ids,
            "summary": st.lists(st.fixed_dictionaries({"type": st.just("summary_text"), "text": texts}), max_size=2),
        },
        optional={
            "encrypted_content": st.none() | texts,
            "content": st.lists(st.fixed_dictionaries({"type": st.just("reasoning_text"), "text": texts}), max_size=2),
        },
    )
    | st.fixed_dictionaries(
        {"type": st.just("function_call"), "id": ids, "call_id": ids, "name": ids, "arguments": arguments}
    )
    | st.fixed_dictionaries(
        {"type": st.just("custom_tool_call"), "id": ids, "call_id": ids, "name": ids, "input": texts}
    )
    | joined(
        st.fixed_dictionaries({"type": st.just("web_search_call"), "id": ids, "status": st.just("completed")}), unknown
    )
)
response_usage = st.fixed_dictionaries(
    {
        "input_tokens": counts,
        "output_tokens": counts,
        "total_tokens": counts,
        "input_tokens_details": st.fixed_dictionaries({"cached_tokens": counts, "cache_write_tokens": counts}),
        "output_tokens_details": st.fixed_dictionaries({"reasoning_tokens": counts}),
    }
)
response_bodies = joined(
    st.fixed_dictionaries(
        {
            "id": ids,
            "object": st.just("response"),
            "status": st.sampled_from(["completed", "incomplete"]),
            "output": st.lists(response_items, max_size=3),
            "usage": response_usage,
        },
        optional={"service_tier": st.sampled_from(["default", "priority"]), "error": st.none()},
    ),
    unknown,
)

# --- Messages ---

blocks = (
    joined(
        st.fixed_dictionaries(
            {"type": st.just("text"), "text": texts},
            optional={
                "citations": st.none() | st.lists(st.fixed_dictionaries({"type": ids, "cited_text": texts}), max_size=2)
            },
        ),
        unknown,
    )
    | st.fixed_dictionaries({"type": st.just("thinking"), "thinking": texts, "signature": texts})
    | st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": texts})
    | joined(
        st.fixed_dictionaries(
            {
                "type": st.sampled_from(["tool_use", "server_tool_use"]),
                "id": ids,
                "name": ids,
                "input": st.dictionaries(texts, values, max_size=3),
            }
        ),
        unknown,
    )
    | st.fixed_dictionaries({"type": st.just("web_search_tool_result"), "tool_use_id": ids, "content": values})
)
message_usage = joined(
    st.fixed_dictionaries(
        {"input_tokens": counts, "output_tokens": counts},
        optional={
            "cache_creation_input_tokens": st.none() | counts,
            "cache_read_input_tokens": st.none() | counts,
            "cache_creation": st.none()
            | st.fixed_dictionaries({"ephemeral_5m_input_tokens": counts, "ephemeral_1h_input_tokens": counts}),
            "service_tier": st.sampled_from(["standard", "priority", "batch", None]),
        },
    ),
    unknown,
)
message_bodies = joined(
    st.fixed_dictionaries(
        {
            "id": ids,
            "type": st.just("message"),
            "role": st.just("assistant"),
            "model": texts,
            "content": st.lists(blocks, max_size=4),
            "stop_reason": st.sampled_from(["end_turn", "tool_use", "max_tokens", "refusal"]),
            "stop_sequence": st.none() | texts,
            "usage": message_usage,
        },
        optional={
            "container": values,
            "stop_details": values,
            "context_management": st.dictionaries(ids, values, max_size=1),
        },
    ),
    unknown,
)

# --- Ollama ---

ollama_stats = st.fixed_dictionaries(
    {"model": ids, "created_at": texts, "done": st.just(True), "done_reason": st.sampled_from(["stop", "length"])},
    optional={"prompt_eval_count": counts, "eval_count": counts, "total_duration": counts, "context": st.lists(counts)},
)
ollama_calls = st.fixed_dictionaries(
    {"function": st.fixed_dictionaries({"name": ids, "arguments": st.dictionaries(texts, values, max_size=2)})}
)
ollama_messages = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": texts},
    optional={"thinking": texts, "tool_calls": st.lists(ollama_calls, max_size=3)},
)
ollama_bodies = joined(ollama_stats, st.fixed_dictionaries({"message": ollama_messages}), unknown) | joined(
    ollama_stats, st.fixed_dictionaries({"response": texts}, optional={"thinking": texts}), unknown
)

WIRES = [
    pytest.param(Wire.OPENAI_CHAT, chat_bodies, id="chat"),
    pytest.param(Wire.OPENAI_RESPONSES, response_bodies, id="responses"),
    pytest.param(Wire.ANTHROPIC_MESSAGES, message_bodies, id="messages"),
    pytest.param(Wire.OLLAMA, ollama_bodies, id="ollama"),
]


@pytest.mark.parametrize(("wire", "bodies"), WIRES)
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_fold_undoes_unfold(wire: Wire, bodies: st.SearchStrategy[dict[str, Any]], data: st.DataObject) -> None:
    body = data.draw(bodies)
    module = codec(wire)
    stream = b"".join(module.unfold(json.dumps(body).encode()))
    assert json.loads(module.fold(stream)) == body


@pytest.mark.parametrize(("wire", "bodies"), WIRES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_tap_tells_of_any_cut_what_read_tells_of_the_whole(
    wire: Wire, bodies: st.SearchStrategy[dict[str, Any]], data: st.DataObject
) -> None:
    body = json.dumps(data.draw(bodies), ensure_ascii=False).encode()
    module = codec(wire)
    stream = b"".join(module.unfold(body))
    if data.draw(st.booleans()):
        stream = stream.replace(b"\n", b"\r\n")
    tap, at = module.tap(), 0
    while at < len(stream):
        size = data.draw(st.integers(1, 400))
        tap.feed(stream[at : at + size])
        at += size
    assert tap.done() == module.read(body)
    assert tap.done().complete


@pytest.mark.parametrize(("wire", "bodies"), WIRES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_stream_without_its_last_event_is_not_complete(
    wire: Wire, bodies: st.SearchStrategy[dict[str, Any]], data: st.DataObject
) -> None:
    module = codec(wire)
    chunks = module.unfold(json.dumps(data.draw(bodies)).encode())
    tap = module.tap()
    for chunk in chunks[: data.draw(st.integers(0, len(chunks) - 1))]:
        tap.feed(chunk)
    assert not tap.done().complete


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode()), st.sampled_from(Wire))
def test_read_and_tap_never_raise(body: bytes, wire: Wire) -> None:
    module = codec(wire)
    module.read(body)
    tap = module.tap()
    tap.feed(body)
    tap.done()
    tap.output_text()
    tap.feed(b"data: " + body + b"\n\n")
    tap.done()
    tap.output_text()
