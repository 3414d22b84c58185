"""The replay provider, driven by the providers' own SDKs over loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import anthropic
import openai
import pytest

from pennyweight.request import Usage, Wire
from pennyweight.testing import shapes
from pennyweight.testing.provider import Fault, ReplayProvider

TURN = shapes.Turn(
    "Grüße — done. " * 12, (shapes.ToolCall("call_1", "ls", '{"path":"/tmp/ü"}'),), "I should look first.", "c2ln"
)
QUESTION = [{"role": "user", "content": "list it"}]


def count(text: str) -> int:
    return len(text.split())


def cost(wire: Wire, model: str, usage: Usage, at: float) -> int | None:
    return usage.uncached_tokens * 3 + usage.output_tokens * 15


def recorded(wire: Wire, **request: Any) -> list[tuple[Wire, dict[str, Any], dict[str, Any]]]:
    return [(wire, request, shapes.body_of(wire, TURN, model="m"))]


def drive(
    calls: list[tuple[Wire, dict[str, Any], dict[str, Any]]],
    work: Callable[[ReplayProvider], Coroutine[Any, Any, None]],
) -> ReplayProvider:
    async def main() -> ReplayProvider:
        async with ReplayProvider(calls, count=count, cost=cost, keep_seen=True) as provider:
            await work(provider)
        return provider

    return asyncio.run(main())


def chat(provider: ReplayProvider) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{provider.url}/v1", api_key="k", max_retries=0)


def messages(provider: ReplayProvider) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=provider.url, api_key="k", max_retries=0)


@pytest.mark.parametrize("stream", [False, True])
def test_messages(stream: bool) -> None:
    async def work(provider: ReplayProvider) -> None:
        async with messages(provider) as client:
            if stream:
                async with client.messages.stream(model="m", max_tokens=9, messages=QUESTION) as events:
                    answer = await events.get_final_message()
            else:
                answer = await client.messages.create(model="m", max_tokens=9, messages=QUESTION)
        thinking, text, call = answer.content
        assert thinking.thinking == TURN.reasoning
        assert thinking.signature == TURN.signature
        assert text.text == TURN.text
        assert call.input == {"path": "/tmp/ü"}
        assert answer.stop_reason == "tool_use"
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (
            2,
            provider.invoice()[1][0].usage.output_tokens,
        )

    provider = drive(recorded(Wire.ANTHROPIC_MESSAGES, messages=QUESTION), work)
    total, lines = provider.invoice()
    assert total == 2 * 3 + lines[0].usage.output_tokens * 15 > 500


@pytest.mark.parametrize("stream", [False, True])
def test_chat(stream: bool) -> None:
    async def work(provider: ReplayProvider) -> None:
        async with chat(provider) as client:
            if stream:
                async with client.chat.completions.stream(
                    model="m", messages=QUESTION, stream_options={"include_usage": True}
                ) as events:
                    answer = await events.get_final_completion()
            else:
                answer = await client.chat.completions.create(model="m", messages=QUESTION)
        message = answer.choices[0].message
        assert message.content == TURN.text
        assert message.tool_calls[0].function.arguments == TURN.calls[0].arguments
        assert answer.choices[0].finish_reason == "tool_calls"
        assert answer.usage.prompt_tokens == 2
        assert answer.usage.prompt_tokens_details.cached_tokens == 0

    drive(recorded(Wire.OPENAI_CHAT, messages=QUESTION), work)


@pytest.mark.parametrize("stream", [False, True])
def test_responses(stream: bool) -> None:
    async def work(provider: ReplayProvider) -> None:
        async with chat(provider) as client:
            if stream:
                async with client.responses.stream(model="m", input=QUESTION) as events:
                    answer = await events.get_final_response()
            else:
                answer = await client.responses.create(model="m", input=QUESTION)
        assert answer.output_text == TURN.text
        assert [item.type for item in answer.output] == ["reasoning", "message", "function_call"]
        assert answer.usage.input_tokens == 2

    drive(recorded(Wire.OPENAI_RESPONSES, input=QUESTION), work)


def test_usage_is_withheld_from_a_chat_stream_that_did_not_ask() -> None:
    async def all_chunks(provider: ReplayProvider) -> None:
        async with chat(provider) as client:
            stream = await client.chat.completions.create(model="m", messages=QUESTION, stream=True)
            chunks = [chunk async for chunk in stream]
        assert chunks
        assert all(chunk.usage is None and chunk.choices for chunk in chunks)

    drive(recorded(Wire.OPENAI_CHAT, messages=QUESTION), all_chunks)


def test_the_answer_is_found_by_content_whatever_the_order() -> None:
    first, second = shapes.Turn("one"), shapes.Turn("two")
    calls = [
        (
            Wire.OPENAI_CHAT,
            {"messages": [{"role": "user", "content": text}]},
            shapes.body_of(Wire.OPENAI_CHAT, turn, model="m"),
        )
        for text, turn in (("a", first), ("b", second))
    ]

    async def work(provider: ReplayProvider) -> None:
        async with chat(provider) as client:
            for text, expected in (
                ("b", "two"),
                ("a", "one"),
                ("b", "two"),
                ("c", "Nothing is recorded for this request."),
            ):
                answer = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}])
                assert answer.choices[0].message.content == expected

    drive(calls, work)


def test_an_answer_of_another_protocol_is_translated() -> None:
    async def work(provider: ReplayProvider) -> None:
        async with chat(provider) as client:
            answer = await client.chat.completions.create(model="m", messages=QUESTION)
        assert answer.choices[0].message.tool_calls[0].id == "call_1"

    drive(recorded(Wire.ANTHROPIC_MESSAGES, messages=[{"role": "user", "content": "other"}]), work)


def test_faults_come_once_and_are_not_billed() -> None:
    async def work(provider: ReplayProvider) -> None:
        provider.inject(Fault("status", status=529), Fault("html", status=502))
        async with messages(provider) as client:
            with pytest.raises(anthropic.APIStatusError) as overloaded:
                await client.messages.create(model="m", max_tokens=9, messages=QUESTION)
            assert overloaded.value.status_code == 529
            with pytest.raises(anthropic.APIStatusError):
                await client.messages.create(model="m", max_tokens=9, messages=QUESTION)
            await client.messages.create(model="m", max_tokens=9, messages=QUESTION)
        assert len(provider.invoice()[1]) == 1

    drive(recorded(Wire.ANTHROPIC_MESSAGES, messages=QUESTION), work)


async def raw(provider: ReplayProvider, body: dict[str, Any]) -> bytes:
    """Everything the provider sends on a plain connection until it closes or is idle."""
    host, port = provider.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    payload = json.dumps(body).encode()
    writer.write(
        b"POST /v1/messages HTTP/1.1\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(payload) + payload
    )
    got = b""
    while chunk := await asyncio.wait_for(reader.read(65_536), 60):
        got += chunk
        if got.endswith(b"0\r\n\r\n"):
            break
    writer.close()
    return got


@pytest.mark.parametrize("kind", ["cut", "error_event"])
def test_a_stream_that_fails_half_way_has_no_clean_end(kind: Any) -> None:
    async def work(provider: ReplayProvider) -> None:
        provider.inject(Fault(kind, after_chunks=6))
        got = await raw(provider, {"model": "m", "stream": True, "messages": QUESTION})
        assert b"message_start" in got
        assert b"message_stop" not in got
        assert (b"event: error" in got) is (kind == "error_event")
        (line,) = provider.invoice()[1]
        assert not line.complete
        assert line.usage.input_tokens == 2

    drive(recorded(Wire.ANTHROPIC_MESSAGES, messages=QUESTION), work)


def test_a_whole_answer_can_be_cut_or_lie_about_its_length() -> None:
    async def work(provider: ReplayProvider) -> None:
        body = {"model": "m", "messages": QUESTION}
        provider.inject(Fault("cut"), Fault("length"))
        for _ in range(2):
            head, _, sent = (await raw(provider, body)).partition(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            assert len(sent) < length

    drive(recorded(Wire.ANTHROPIC_MESSAGES, messages=QUESTION), work)


def test_a_caller_who_leaves_stops_the_answer() -> None:
    async def work(provider: ReplayProvider) -> None:
        provider.inject(Fault("slow", delay_s=0.05))
        async with messages(provider) as client:
            async with client.messages.stream(model="m", max_tokens=9, messages=QUESTION) as events:
                async for _ in events:
                    break
            for _ in range(100):
                if provider.left:
                    break
                await asyncio.sleep(0.01)
        assert provider.left == 1
        (line,) = provider.invoice()[1]
        assert not line.complete

    drive(recorded(Wire.ANTHROPIC_MESSAGES, messages=QUESTION), work)


def test_bad_requests_are_answered_in_the_protocols_shape() -> None:
    async def work(provider: ReplayProvider) -> None:
        marked = [{"type": "text", "text": str(n), "cache_control": {"type": "ephemeral"}} for n in range(5)]
        async with messages(provider) as client:
            with pytest.raises(anthropic.BadRequestError, match="breakpoints"):
                await client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": marked}])
            counted = await client.messages.count_tokens(model="m", messages=QUESTION)
            assert counted.input_tokens == 2

    drive(recorded(Wire.ANTHROPIC_MESSAGES, messages=QUESTION), work)
