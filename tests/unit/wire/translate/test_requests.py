"""Requests across every pair: what arrives, and what is said to be lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.wire.translate.bodies import ANSWER_SCHEMA, ANTHROPIC, CHAT, PAIRS, PNG, RESPONSES, SCHEMA, asked

from pennyweight.errors import BadRequest, NotFound
from pennyweight.request import Operation, Request, Wire
from pennyweight.wire import translate

CHAT_WIRE, RESPONSES_WIRE, ANTHROPIC_WIRE, OLLAMA_WIRE = Wire


def cross(source: Wire, target: Wire, model: str = "", body: dict[str, Any] | None = None, **more: Any) -> Any:
    names = {ANTHROPIC_WIRE: "claude-sonnet-4-6", OLLAMA_WIRE: "qwen3:8b"}
    return translate.request(asked(source, body, **more), target, model=model or names.get(target, "gpt-5.5"))


def lost(translated: Any) -> set[str]:
    return {loss.path for loss in translated.lost}


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_the_conversation_arrives(source: Wire, target: Wire) -> None:
    sent = cross(source, target).request
    raw = sent.raw.decode()
    assert sent.wire is target
    for text in ("You are careful.", "Grüße 🌍", "I look.", "alpha", "And now?", "Reads a file."):
        assert text in raw
    assert PNG in raw
    assert raw.index("You are careful.") < raw.index("Grüße") < raw.index("I look.") < raw.index("alpha")
    assert sent.body["stream"] is True
    assert dict(sent.headers).get("anthropic-version") == ("2023-06-01" if target is ANTHROPIC_WIRE else None)


def test_chat_to_anthropic() -> None:
    out = cross(CHAT_WIRE, ANTHROPIC_WIRE)
    body = out.request.body
    assert out.request.path == "/v1/messages"
    assert [block["text"] for block in body["system"]] == ["You are careful.", "Answer in German."]
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    assert body["messages"][0]["content"][1] == image
    calls = [b for b in body["messages"][1]["content"] if b["type"] == "tool_use"]
    assert [(c["id"], c["input"]) for c in calls] == [("call_a", {"path": "a.txt"}), ("call_b", {"path": "b.txt"})]
    kinds = [block["type"] for block in body["messages"][2]["content"]]
    assert kinds == ["tool_result", "tool_result", "text"]
    assert body["tools"] == [{"name": "read", "description": "Reads a file.", "input_schema": SCHEMA}]
    assert body["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": ANSWER_SCHEMA}}
    assert (body["max_tokens"], body["temperature"], body["stop_sequences"]) == (500, 0.3, ["END"])
    assert body["metadata"] == {"user_id": "u-1"}
    assert lost(out) == {"response_format.json_schema.name"}


def test_sampling_is_dropped_for_the_version_that_refuses_it() -> None:
    out = translate.request(
        asked(CHAT_WIRE, top_p=0.5), ANTHROPIC_WIRE, model="claude-opus-5", anthropic_version="2026-10-21"
    )
    assert not {"temperature", "top_p", "top_k"} & set(out.request.body)
    assert {"temperature", "top_p"} <= lost(out)
    assert dict(out.request.headers)["anthropic-version"] == "2026-10-21"


def test_anthropic_to_chat() -> None:
    out = cross(ANTHROPIC_WIRE, CHAT_WIRE)
    body = out.request.body
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "tool", "user", "user", "system"]
    assert "billing" not in out.request.raw.decode()
    assert body["messages"][2]["reasoning_content"] == "Hm."
    assert body["messages"][2]["tool_calls"][0] == {
        "id": "toolu_a",
        "type": "function",
        "function": {"name": "read", "arguments": '{"path":"a.txt"}'},
    }
    assert body["messages"][4] == {"role": "tool", "tool_call_id": "toolu_b", "content": "Error: no such file"}
    assert body["messages"][5]["content"][1]["image_url"]["url"] == f"data:image/png;base64,{PNG}"
    assert body["max_completion_tokens"] == 4000
    assert body["reasoning_effort"] == "xhigh"
    assert body["parallel_tool_calls"] is False
    assert body["user"] == "u-1"
    assert body["stream_options"] == {"include_usage": True}
    assert lost(out) >= {
        "system[](x-anthropic-billing-header)",
        "system[].cache_control",
        "messages[].content[].cache_control",
        "messages[].content[].signature",
        "messages[].content[].is_error",
        "context_management",
        "output_config.effort",
    }


def test_anthropic_to_responses_keeps_images_in_results() -> None:
    out = cross(ANTHROPIC_WIRE, RESPONSES_WIRE)
    items = out.request.body["input"]
    output = next(item for item in items if item.get("call_id") == "toolu_a" and "output" in item)["output"]
    assert [part["type"] for part in output] == ["input_text", "input_image"]
    assert out.request.body["tools"][0]["strict"] is False
    assert out.request.body["store"] is False
    assert out.request.body["include"] == ["reasoning.encrypted_content"]


def test_responses_to_anthropic() -> None:
    out = cross(RESPONSES_WIRE, ANTHROPIC_WIRE)
    body = out.request.body
    assert [block["text"] for block in body["system"]] == ["You are careful.", "Answer in German."]
    patch = next(tool for tool in body["tools"] if tool["name"] == "patch")
    assert patch["input_schema"]["properties"] == {"input": {"type": "string"}}
    assert body["messages"][1]["content"][-1]["input"] == {"input": "*** Begin"}
    assert [b["tool_use_id"] for b in body["messages"][2]["content"][:2]] == ["call_a", "call_b"]
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert body["output_config"] == {"effort": "high"}
    assert body["metadata"] == {"user_id": "session-1"}
    assert out.memo.custom == {"patch"}
    reasons = {loss.path: loss.reason for loss in out.lost}
    assert "web_search" in reasons["tools[](web_search)"]
    assert "input[](reasoning)" in reasons
    assert "tools[].format" in reasons


def test_older_claude_models_think_within_a_budget() -> None:
    body = {"model": "m", "input": "Hi", "reasoning": {"effort": "medium"}, "max_output_tokens": 20_000}
    sent = cross(RESPONSES_WIRE, ANTHROPIC_WIRE, "claude-haiku-4-5", body).request.body
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": 8192}
    looping = cross(RESPONSES_WIRE, ANTHROPIC_WIRE, "claude-haiku-4-5", {**RESPONSES, "input": RESPONSES["input"][:-1]})
    assert "thinking" not in looping.request.body
    assert "reasoning.effort" in lost(looping)


def test_ollama_both_ways() -> None:
    there = cross(OLLAMA_WIRE, ANTHROPIC_WIRE).request.body
    results = there["messages"][2]["content"]
    calls = [block["id"] for block in there["messages"][1]["content"] if block["type"] == "tool_use"]
    assert [block["tool_use_id"] for block in results[:2]] == calls
    assert len(set(calls)) == 2
    assert there["max_tokens"] == 500
    assert lost(cross(OLLAMA_WIRE, ANTHROPIC_WIRE)) >= {"options.num_ctx", "keep_alive"}
    back = cross(CHAT_WIRE, OLLAMA_WIRE)
    body = back.request.body
    assert body["messages"][2]["images"] == [PNG]
    assert body["messages"][3]["tool_calls"][0]["function"]["arguments"] == {"path": "a.txt"}
    assert body["messages"][4] == {"role": "tool", "content": "alpha", "tool_name": "read", "tool_call_id": "call_a"}
    assert body["options"] == {"temperature": 0.3, "stop": ["END"], "num_predict": 500}
    assert body["format"] == ANSWER_SCHEMA
    assert "tool_choice" in lost(back)


def test_ollama_generate_is_a_chat() -> None:
    raw = json.dumps({"model": "m", "prompt": "Hi", "system": "Be brief.", "stream": False}).encode()
    out = translate.request(Request(OLLAMA_WIRE, raw, path="/api/generate"), CHAT_WIRE, model="gpt-5.5")
    assert [m["content"] for m in out.request.body["messages"]] == ["Be brief.", "Hi"]
    answer = {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}
    back, _ = translate.response(json.dumps(answer).encode(), CHAT_WIRE, OLLAMA_WIRE, model="m", memo=out.memo)
    assert json.loads(back)["response"] == "Hello"


@pytest.mark.parametrize("target", [RESPONSES_WIRE, ANTHROPIC_WIRE, OLLAMA_WIRE])
def test_no_unknown_field_vanishes(target: Wire) -> None:
    body = json.loads(json.dumps(CHAT))
    body |= {"x_new": 1, "n": 2, "logit_bias": {"5": 1}}
    body["messages"][2]["content"][0]["x_part"] = True
    body["messages"][3]["tool_calls"][0]["x_call"] = {"a": 1}
    body["messages"][4]["x_message"] = "y"
    body["tools"][0]["x_tool"] = []
    body["tools"][0]["function"]["x_function"] = 0
    body["response_format"]["x_format"] = "z"
    named = lost(cross(CHAT_WIRE, target, body=body))
    assert named >= {
        "x_new",
        "n",
        "logit_bias",
        "messages[].content[].x_part",
        "messages[].tool_calls[].x_call",
        "messages[].x_message",
        "tools[].function.x_function",
        "response_format.x_format",
    }


def test_anthropic_demands_are_met() -> None:
    body = {
        "model": "m",
        "messages": [
            {"role": "system", "content": "S"},
            {"role": "assistant", "content": ""},
            {"role": "user", "content": ""},
            {"role": "user", "content": "a"},
            {"role": "user", "content": "b"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "x:1/ü", "type": "function", "function": {"name": "my.tool", "arguments": ""}}],
            },
            {"role": "system", "content": "Mid."},
            {"role": "tool", "tool_call_id": "x:1/ü", "content": ""},
        ],
        "tools": [{"type": "function", "function": {"name": "my.tool"}}],
    }
    out = cross(CHAT_WIRE, ANTHROPIC_WIRE, body=body)
    sent = out.request.body
    assert [m["role"] for m in sent["messages"]] == ["user", "assistant", "user"]
    call, results = sent["messages"][1]["content"][0], sent["messages"][2]["content"]
    assert results[0]["type"] == "tool_result"
    assert results[0]["tool_use_id"] == call["id"]
    assert call["id"].replace("_", "").replace("-", "").isalnum()
    assert call["id"].isascii()
    assert call["input"] == {}
    assert "Mid." in results[1]["text"]
    assert out.memo.renamed == {call["name"]: "my.tool"}
    assert sent["tools"][0]["input_schema"]["type"] == "object"
    assert sent["max_tokens"] == 8192
    assert "max_tokens" in lost(out)
    newer = translate.request(asked(CHAT_WIRE, body), ANTHROPIC_WIRE, model="m", anthropic_version="2026-10-21")
    assert newer.request.body["messages"][-1]["role"] == "system"


def test_at_most_four_breakpoints_reach_anthropic() -> None:
    mark = {"type": "ephemeral"}
    parts = [{"type": "text", "text": str(n), "cache_control": mark} for n in range(6)]
    out = cross(CHAT_WIRE, ANTHROPIC_WIRE, body={"model": "m", "messages": [{"role": "user", "content": parts}]})
    blocks = out.request.body["messages"][0]["content"]
    assert ["cache_control" in block for block in blocks] == [True, False, False, True, True, True]
    assert next(loss.count for loss in out.lost if loss.path == "cache_control") == 2


def test_reasoning_survives_the_way_there_and_back() -> None:
    """Anthropic's signature rides through a Responses client, and OpenAI's encrypted reasoning through Claude's."""
    blocks = [{"type": "thinking", "thinking": "Hm.", "signature": "sig"}, {"type": "redacted_thinking", "data": "RRR"}]
    answer = {"id": "msg_1", "model": "m", "content": blocks, "stop_reason": "end_turn"}
    told, _ = translate.response(json.dumps(answer).encode(), ANTHROPIC_WIRE, RESPONSES_WIRE, model="m")
    items = json.loads(told)["output"]
    assert [item["type"] for item in items] == ["reasoning", "reasoning"]
    again = {"model": "m", "input": [{"role": "user", "content": "Hi"}, *items, {"role": "user", "content": "Go"}]}
    assert cross(RESPONSES_WIRE, ANTHROPIC_WIRE, body=again).request.body["messages"][1]["content"] == blocks

    item = {
        "type": "reasoning",
        "id": "rs_9",
        "summary": [{"type": "summary_text", "text": "Hm."}],
        "encrypted_content": "E",
    }
    answer = {"id": "resp_1", "model": "m", "status": "completed", "output": [item]}
    told, _ = translate.response(json.dumps(answer).encode(), RESPONSES_WIRE, ANTHROPIC_WIRE, model="m")
    content = json.loads(told)["content"]
    again = {"model": "m", "max_tokens": 9, "messages": [{"role": "assistant", "content": content}]}
    assert cross(ANTHROPIC_WIRE, RESPONSES_WIRE, body=again).request.body["input"] == [item]


@pytest.mark.parametrize("field", ["previous_response_id", "conversation"])
def test_state_at_another_provider_is_refused(field: str) -> None:
    with pytest.raises(BadRequest, match="send the whole input"):
        cross(RESPONSES_WIRE, CHAT_WIRE, body={"model": "m", "input": "x", field: "resp_1"})


def test_wrong_types_are_refused_by_name() -> None:
    with pytest.raises(BadRequest, match=r"messages\[0\] must be an object"):
        cross(CHAT_WIRE, ANTHROPIC_WIRE, body={"model": "m", "messages": ["x"]})
    with pytest.raises(BadRequest, match="messages must be a list"):
        cross(ANTHROPIC_WIRE, CHAT_WIRE, body={"model": "m", "messages": 3})


def test_documents() -> None:
    pdf = {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
        "title": "a.pdf",
    }
    text = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}}
    link = {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}
    body = {**ANTHROPIC, "messages": [{"role": "user", "content": [pdf, text, link]}]}
    parts = cross(ANTHROPIC_WIRE, RESPONSES_WIRE, body=body).request.body["input"][1]["content"]
    assert parts == [
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
        {"type": "input_text", "text": "plain"},
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
    ]
    out = cross(ANTHROPIC_WIRE, CHAT_WIRE, body=body)
    assert len(out.request.body["messages"][1]["content"]) == 2
    assert any("by URL" in loss.reason for loss in out.lost)


@pytest.mark.parametrize(
    ("chat", "anthropic"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ({"type": "function", "function": {"name": "read"}}, {"type": "tool", "name": "read"}),
    ],
)
def test_tool_choice_goes_both_ways(chat: Any, anthropic: Any) -> None:
    there = cross(CHAT_WIRE, ANTHROPIC_WIRE, tool_choice=chat, parallel_tool_calls=True).request.body
    assert there["tool_choice"] == anthropic
    assert cross(ANTHROPIC_WIRE, CHAT_WIRE, tool_choice=anthropic).request.body["tool_choice"] == chat


def test_embeddings_both_ways() -> None:
    request = Request(CHAT_WIRE, b'{"model":"m","input":["a","b"],"user":"u"}', operation=Operation.EMBED)
    out = translate.request(request, OLLAMA_WIRE, model="nomic")
    assert out.request.body == {"model": "nomic", "input": ["a", "b"]}
    assert out.request.path == "/api/embed"
    assert lost(out) == {"user"}
    answer = b'{"model":"nomic","embeddings":[[1.0,2.0],[3.0,4.0]],"prompt_eval_count":4}'
    back, _ = translate.response(answer, OLLAMA_WIRE, CHAT_WIRE, model="m", operation=Operation.EMBED)
    assert json.loads(back)["data"][1] == {"object": "embedding", "index": 1, "embedding": [3.0, 4.0]}
    assert json.loads(back)["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    again, _ = translate.response(back, CHAT_WIRE, OLLAMA_WIRE, model="m", operation=Operation.EMBED)
    assert json.loads(again)["embeddings"] == [[1.0, 2.0], [3.0, 4.0]]
    with pytest.raises(NotFound):
        translate.request(request, ANTHROPIC_WIRE, model="m")
