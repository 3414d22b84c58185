"""The providers' own SDKs read the streams that we unfold, and come to the answer that was unfolded."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from tests.wire.bodies import CHAT, MESSAGE, RESPONSES

from pennyweight.wire import anthropic_messages, openai_chat, openai_responses


class Cut(httpx2.SyncByteStream):
    """A body in pieces of a few bytes, as a bad network would cut it."""

    def __init__(self, body: bytes, size: int) -> None:
        self.body, self.size = body, size

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self.body), self.size):
            yield self.body[start : start + self.size]


def http(chunks: list[bytes], size: int = 7) -> httpx2.Client:
    def answer(request: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": "text/event-stream"}
        return httpx2.Response(200, headers=headers, stream=Cut(b"".join(chunks), size))

    return httpx2.Client(transport=httpx2.MockTransport(answer))


def openai_sdk(chunks: list[bytes]) -> openai.OpenAI:
    return openai.OpenAI(api_key="none", base_url="http://upstream.test/v1", http_client=http(chunks), max_retries=0)


def anthropic_sdk(chunks: list[bytes]) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="none", base_url="http://upstream.test", http_client=http(chunks), max_retries=0)


ASK: Any = [{"role": "user", "content": "Hi"}]
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("read", "now")
]


def test_openai_accumulates_a_chat_completion() -> None:
    client = openai_sdk(openai_chat.unfold(json.dumps(CHAT).encode()))
    with client.chat.completions.stream(model="m", messages=ASK, tools=TOOLS) as stream:
        kinds = [event.type for event in stream]
        answer = stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds
    given = CHAT["choices"][0]
    message = answer.choices[0].message
    assert message.content == given["message"]["content"]
    assert message.reasoning_content == given["message"]["reasoning_content"]  # type: ignore[attr-defined]
    calls = [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]
    assert calls == [("call_a", "read", '{"path": "a.txt"}'), ("call_b", "now", "")]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].logprobs is not None
    assert answer.choices[0].logprobs.content is not None
    assert len(answer.choices[0].logprobs.content) == 1
    assert answer.usage is not None
    assert answer.usage.to_dict() == CHAT["usage"]


def test_openai_sees_no_usage_chunk_that_was_not_asked_for() -> None:
    client = openai_sdk(openai_chat.unfold(json.dumps(CHAT).encode(), include_usage=False))
    chunks = list(client.chat.completions.create(model="m", messages=ASK, stream=True))
    assert all(chunk.choices for chunk in chunks)
    assert all(chunk.usage is None for chunk in chunks)


def test_openai_accumulates_a_response_from_its_pieces() -> None:
    client = openai_sdk(openai_responses.unfold(json.dumps(RESPONSES).encode()))
    texts, arguments = "", ""
    with client.responses.stream(model="m", input="Hi") as stream:
        for number, event in enumerate(stream):
            assert event.sequence_number == number
            if event.type == "response.output_text.delta":
                texts += event.delta
                assert event.snapshot == texts
            elif event.type == "response.function_call_arguments.delta":
                arguments += event.delta
        answer = stream.get_final_response()
    assert texts == "See the page."
    assert arguments == '{"path":"ä"}'
    assert answer.model_dump(exclude_unset=True, exclude={"output"}) == {
        key: value for key, value in RESPONSES.items() if key != "output"
    }
    assert [item.type for item in answer.output] == [item["type"] for item in RESPONSES["output"]]


def test_an_incomplete_response_ends_as_incomplete() -> None:
    body = {**RESPONSES, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    client = openai_sdk(openai_responses.unfold(json.dumps(body).encode()))
    events = list(client.responses.create(model="m", input="Hi", stream=True))
    assert events[-1].type == "response.incomplete"


def test_anthropic_accumulates_a_message() -> None:
    client = anthropic_sdk(anthropic_messages.unfold(json.dumps(MESSAGE).encode()))
    with client.messages.stream(model="m", max_tokens=9, messages=ASK) as stream:
        kinds = [event.type for event in stream]
        answer = stream.get_final_message()
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert {"thinking", "signature", "text", "input_json"} <= set(kinds)
    assert answer.model_dump(exclude_unset=True, mode="json") == MESSAGE


def test_errors_in_a_stream_are_raised_by_the_sdks() -> None:
    chat = openai_chat.unfold(json.dumps(CHAT).encode())[:2]
    client = openai_sdk([*chat, openai_chat.error_event("api_error", "The upstream went away.")])
    with pytest.raises(openai.APIError, match="went away"):
        list(client.chat.completions.create(model="m", messages=ASK, stream=True))
    client = openai_sdk([openai_responses.error_event("api_error", "The upstream went away.")])
    with pytest.raises(openai.APIError, match="went away"):
        list(client.responses.create(model="m", input="Hi", stream=True))
    message = anthropic_messages.unfold(json.dumps(MESSAGE).encode())[:2]
    broken = anthropic_sdk([*message, anthropic_messages.error_event("overloaded_error", "Busy.")])
    with pytest.raises(anthropic.APIStatusError, match="Busy"):
        list(broken.messages.create(model="m", max_tokens=9, messages=ASK, stream=True))


def test_details_that_strict_clients_read_are_filled_in() -> None:
    body = copy.deepcopy(CHAT)
    body["usage"] = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11, "prompt_cache_hit_tokens": 5}
    stream = list(
        openai_sdk(openai_chat.unfold(json.dumps(body).encode())).chat.completions.create(
            model="m", messages=ASK, stream=True
        )
    )
    usage = stream[-1].usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 5
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == 0
    answer = copy.deepcopy(RESPONSES)
    answer["usage"] = {"input_tokens": 9, "output_tokens": 2}
    final = json.loads(openai_responses.fold(b"".join(openai_responses.unfold(json.dumps(answer).encode()))))
    assert final["usage"] == {
        "input_tokens": 9,
        "output_tokens": 2,
        "total_tokens": 11,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
