"""Whole answers and errors across every pair, parsed by the real SDKs' models."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types import Message
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from tests.unit.wire.translate.bodies import ANSWERS, PAIRS, TEXT, THOUGHT, answer

from pennyweight.errors import BackendError, Unreachable
from pennyweight.request import Wire
from pennyweight.wire import translate

CHAT, RESPONSES, ANTHROPIC, OLLAMA = Wire
PARSED = {CHAT: ChatCompletion, RESPONSES: Response, ANTHROPIC: Message}


def cross(source: Wire, target: Wire, body: Any = None, **more: Any) -> dict[str, Any]:
    raw = answer(source) if body is None else json.dumps(body).encode()
    out, _ = translate.response(raw, source, target, model="m", at=5.0, **more)
    told: dict[str, Any] = json.loads(out)
    if target in PARSED:
        PARSED[target].model_validate(told, strict=True)
    return told


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_pair_says_the_same(source: Wire, target: Wire) -> None:
    told = cross(source, target)
    raw = json.dumps(told, ensure_ascii=False)
    assert TEXT in raw
    assert THOUGHT in raw
    assert told["model"] == "up"
    match target:
        case Wire.OPENAI_CHAT:
            choice = told["choices"][0]
            assert choice["finish_reason"] == "tool_calls"
            assert [c["id"] for c in choice["message"]["tool_calls"]] == ["call_a", "call_b"]
            assert (told["usage"]["prompt_tokens"], told["usage"]["completion_tokens"]) == (100, 30)
        case Wire.OPENAI_RESPONSES:
            assert told["status"] == "completed"
            assert [i["call_id"] for i in told["output"] if i["type"] == "function_call"] == ["call_a", "call_b"]
            assert (told["usage"]["input_tokens"], told["usage"]["output_tokens"]) == (100, 30)
        case Wire.ANTHROPIC_MESSAGES:
            assert told["stop_reason"] == "tool_use"
            assert next(b["input"] for b in told["content"] if b["type"] == "tool_use") == {"path": "ä.txt"}
            usage = told["usage"]
            assert usage["input_tokens"] + usage["cache_read_input_tokens"] == 100
        case Wire.OLLAMA:
            assert (told["done"], told["done_reason"]) == (True, "stop")
            assert told["message"]["tool_calls"][1]["function"]["arguments"] == {"path": "b.txt"}
            assert (told["prompt_eval_count"], told["eval_count"]) == (100, 30)


@pytest.mark.parametrize(("source", "target"), [p for p in PAIRS if OLLAMA not in p])
def test_usage_is_in_the_callers_convention_with_every_detail(source: Wire, target: Wire) -> None:
    usage = cross(source, target)["usage"]
    match target:
        case Wire.OPENAI_CHAT:
            assert usage["prompt_tokens_details"]["cached_tokens"] == 64
            assert usage["completion_tokens_details"]["reasoning_tokens"] == 7
        case Wire.OPENAI_RESPONSES:
            assert usage["input_tokens_details"] == {"cached_tokens": 64, "cache_write_tokens": 0}
            assert usage["output_tokens_details"] == {"reasoning_tokens": 7}
        case _:
            assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (36, 64)
            assert usage["output_tokens_details"] == {"thinking_tokens": 7}


def anthropic_answer(stop: str, **more: Any) -> dict[str, Any]:
    return {**ANSWERS[ANTHROPIC], "content": [{"type": "text", "text": "x"}], "stop_reason": stop, **more}


@pytest.mark.parametrize(
    ("anthropic", "chat", "responses", "ollama"),
    [
        ("end_turn", "stop", ("completed", None), "stop"),
        ("max_tokens", "length", ("incomplete", {"reason": "max_output_tokens"}), "length"),
        ("stop_sequence", "stop", ("completed", None), "stop"),
        ("refusal", "content_filter", ("incomplete", {"reason": "content_filter"}), "stop"),
        ("model_context_window_exceeded", "length", ("incomplete", {"reason": "max_output_tokens"}), "length"),
    ],
)
def test_stop_reasons_from_anthropic(anthropic: str, chat: str, responses: Any, ollama: str) -> None:
    body = anthropic_answer(anthropic)
    assert cross(ANTHROPIC, CHAT, body)["choices"][0]["finish_reason"] == chat
    told = cross(ANTHROPIC, RESPONSES, body)
    assert (told["status"], told["incomplete_details"]) == responses
    assert cross(ANTHROPIC, OLLAMA, body)["done_reason"] == ollama


@pytest.mark.parametrize(
    ("chat", "anthropic"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal"), ("tool_calls", "tool_use")],
)
def test_stop_reasons_to_anthropic(chat: str, anthropic: str) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": chat}
    assert cross(CHAT, ANTHROPIC, {"id": "chatcmpl-7", "choices": [choice]})["stop_reason"] == anthropic


def test_a_stop_with_calls_is_a_tool_call_but_a_cut_one_is_not() -> None:
    body = json.loads(answer(CHAT))
    for said, meant in (("stop", "tool_use"), ("length", "max_tokens")):
        body["choices"][0]["finish_reason"] = said
        assert cross(CHAT, ANTHROPIC, body)["stop_reason"] == meant


def test_logprobs_between_the_openai_protocols_and_lost_towards_anthropic() -> None:
    token = {"token": "x", "logprob": -0.1, "bytes": [120], "top_logprobs": []}
    choice = {"message": {"content": "x"}, "finish_reason": "stop", "logprobs": {"content": [token], "refusal": None}}
    body = {"id": "chatcmpl-1", "created": 1, "model": "m", "choices": [choice]}
    assert cross(CHAT, RESPONSES, body)["output"][0]["content"][0]["logprobs"] == [token]
    _, lost = translate.response(json.dumps(body).encode(), CHAT, ANTHROPIC, model="m")
    assert any("logprobs" in loss.path for loss in lost)


def test_names_and_custom_tools_are_the_callers_again() -> None:
    block = {"type": "tool_use", "id": "toolu_1", "name": "my_patch_ab", "input": {"input": "*** Begin"}}
    memo = translate.Memo(custom=frozenset({"my.patch"}), renamed={"my_patch_ab": "my.patch"})
    told = cross(ANTHROPIC, RESPONSES, {**ANSWERS[ANTHROPIC], "content": [block]}, memo=memo)
    item = told["output"][0]
    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "my.patch", "*** Begin")


def test_an_answer_that_is_none_is_an_error() -> None:
    with pytest.raises(Unreachable, match="not JSON"):
        translate.response(b"<html>", CHAT, ANTHROPIC, model="m")
    with pytest.raises(Unreachable, match="not of its protocol"):
        translate.response(b'{"content":[3]}', ANTHROPIC, CHAT, model="m")
    with pytest.raises(BackendError, match="Oh no"):
        cross(RESPONSES, CHAT, {"status": "failed", "error": {"code": "server_error", "message": "Oh no"}})


# --- errors ---------------------------------------------------------------------------------------------------

OPENAI_LONG = "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens."
ANTHROPIC_LONG = "prompt is too long: 210000 tokens > 200000 maximum"


def openai_error(message: str, code: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": "invalid_request_error", "code": code}}).encode()


def anthropic_error(message: str, kind: str = "invalid_request_error") -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "r"}).encode()


def test_a_context_overflow_is_recognised_by_either_client() -> None:
    told = json.loads(translate.error(400, openai_error(OPENAI_LONG, "context_length_exceeded"), CHAT, ANTHROPIC))
    assert told["error"]["type"] == "invalid_request_error"
    assert told["error"]["message"] == f"prompt is too long: {OPENAI_LONG}"
    for target in (CHAT, RESPONSES):
        told = json.loads(translate.error(400, anthropic_error(ANTHROPIC_LONG), ANTHROPIC, target))
        assert told["error"]["code"] == "context_length_exceeded"
        assert told["error"]["message"] == ANTHROPIC_LONG


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ],
)
def test_words_stay_and_the_kind_follows_the_status(status: int, kind: str) -> None:
    body = b'{"error":{"message":"Words of theirs","type":"their_kind","code":"c"}}'
    told = json.loads(translate.error(status, body, CHAT, ANTHROPIC))
    assert told == {"type": "error", "error": {"type": kind, "message": "Words of theirs"}}


@pytest.mark.parametrize("target", [CHAT, RESPONSES, ANTHROPIC, OLLAMA])
@pytest.mark.parametrize("body", [b"<html><body>Gateway secret</body></html>", b"", b"\xff\xfe", b"[]", b"{}"])
def test_a_page_becomes_a_sentence(target: Wire, body: bytes) -> None:
    told = json.loads(translate.error(502, body, CHAT, target))
    message = told["error"] if target is OLLAMA else told["error"]["message"]
    assert "<" not in message
    assert "secret" not in message
    assert message


@pytest.mark.parametrize("body", [b'{"error":"model not found"}', b'{"detail":"model not found"}', b"model not found"])
def test_other_shapes_of_errors_are_read(body: bytes) -> None:
    assert json.loads(translate.error(404, body, OLLAMA, CHAT))["error"]["message"] == "model not found"


def test_a_rate_limit_on_tokens_is_no_overflow() -> None:
    body = openai_error("Request too large for gpt-5.5: Limit 30000 tokens per min", "rate_limit_exceeded")
    told = json.loads(translate.error(429, body, CHAT, ANTHROPIC))
    assert told["error"]["message"].startswith("Request too large")
