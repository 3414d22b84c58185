"""Crowds that ask the same at once: one request upstream, everybody answered, one charge."""

from __future__ import annotations

import asyncio
import json
import resource
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.e2e.protocols import protocol_of, stream_end, stream_start
from tests.e2e.rig import STREAM_HEAD, Asked, Upstream, chunk, gateway, http
from tests.engines import Engine
from tests.pace import at_some_pace

from pennyweight.app import build
from pennyweight.config import load
from pennyweight.testing.backend import make_call
from pennyweight.testing.http import Exchange, LoopbackServer

BODY = {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": "hi"}]}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}


def test_ten_thousand_calls_of_an_app_make_one_request(tmp_path: Path) -> None:
    asked = 0
    begun, come = asyncio.Event(), asyncio.Event()

    async def answer(exchange: Exchange) -> None:
        nonlocal asked
        asked += 1
        begun.set()
        await come.wait()
        await exchange.send(200, json.dumps(ANSWER).encode(), headers={"content-type": "application/json"})

    async def run() -> None:
        async with LoopbackServer(answer) as server:
            env = {"PENNYWEIGHT_DATA": str(tmp_path), "OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": "k"}
            file = tmp_path / "pennyweight.toml"
            file.write_text("optimizers = []\n")
            async with build(load(file, env, {"holdout": 0.0})) as app:
                before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                raw = json.dumps(BODY).encode()
                calls = [make_call(raw, call_id=f"c{n}", provider="openai") for n in range(10_000)]
                opening = [asyncio.create_task(app.pipeline.open(call)) for call in calls]
                await begun.wait()
                come.set()
                replies = await asyncio.gather(*opening)
                for reply in replies:
                    await reply.aclose()
                assert {reply.content for reply in replies} == {json.dumps(ANSWER).encode()}
                assert sum(len(reply.done.charges) for reply in replies if reply.done is not None) == 1
                grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
                assert grown_kb < 200_000, "20 kB a call that is under way, its task included"
        assert asked == 1

    asyncio.run(run())


COME = threading.Event()
STRAGGLERS = 5


async def _stream(asked: Asked) -> None:
    """Waits until the crowd is there, then sends its stream."""
    protocol = protocol_of(asked.target)
    if asked.model == "straggler":
        asked.writer.write(http(200, json.dumps(ANSWER).encode()))
        return
    while not COME.is_set():  # noqa: ASYNC110 - it is set by another thread
        await asyncio.sleep(0.01)
    if asked.model == "whole":
        asked.writer.write(http(200, json.dumps(ANSWER).encode()))
        return
    asked.writer.write(STREAM_HEAD)
    for event in stream_start(protocol, asked.model):
        asked.writer.write(chunk(event))
        await asyncio.sleep(0.3)
    asked.writer.write(b"".join(map(chunk, stream_end(protocol, asked.model))) + b"0\r\n\r\n")


async def _ask(port: int, model: str, *, stream: bool, sent: Callable[[], None] = lambda: None) -> bytes:
    raw = json.dumps({**BODY, "model": model, "stream": stream}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(raw)}\r\n"
    writer.write(head.encode() + b"connection: close\r\n\r\n" + raw)
    await writer.drain()
    sent()
    got = await asyncio.wait_for(reader.read(-1), 60)
    writer.close()
    return got


def test_hundreds_of_callers_over_http_make_one_request(tmp_path: Path) -> None:
    with Upstream(_stream) as upstream, gateway(tmp_path, upstream) as process:
        for model, stream in (("long", True), ("whole", False)):

            async def crowd(model: str = model, stream: bool = stream) -> list[bytes]:
                COME.clear()
                alone = process.fds()
                sent = asyncio.Semaphore(0)
                asks = (_ask(process.port, model, stream=stream, sent=sent.release) for _ in range(400))
                asking = [asyncio.create_task(ask) for ask in asks]
                async with asyncio.timeout(60):
                    for _ in range(400):
                        await sent.acquire()
                    while process.fds() < alone + 400:  # noqa: ASYNC110 - it is another process
                        await asyncio.sleep(0.02)
                    for _ in range(STRAGGLERS):  # who asks last is read last: by now the crowd has been, too
                        await _ask(process.port, "straggler", stream=False)
                COME.set()
                return await asyncio.gather(*asking)

            answers = asyncio.run(crowd())
            assert sum(asked.model == model for asked in upstream.seen) == 1
            assert all(b" 200 " in answer.partition(b"\r\n")[0] for answer in answers)
            assert len({answer.partition(b"\r\n\r\n")[2] for answer in answers}) == 1 or stream
            assert all(b"[DONE]" in answer or not stream for answer in answers)
        receipts = [one for one in process.receipts(800 + 2 * STRAGGLERS) if one["model"] != "straggler"]
        billed = [receipt for receipt in receipts if not receipt["replayed"]]
        assert len(receipts) == 800
        assert len(billed) == 2, "each answer is charged once"


ACROSS = """
[providers.ollama]
max_concurrency = 200
[fusing]
across = "redis"
lease_s = 1.0
[cache.redis]
url = "{url}"
"""


def _slow(pace: float) -> Callable[[Asked], Awaitable[None]]:
    """A stream that takes two seconds, told in the same words by whoever asks, under another id each time."""

    async def answer(asked: Asked) -> None:
        protocol = protocol_of(asked.target)
        asked.writer.write(STREAM_HEAD)
        start = stream_start(protocol, asked.model)
        for event in (start[0], *[start[-1]] * 9):
            asked.writer.write(chunk(event))
            await asyncio.sleep(0.2 * pace)
        asked.writer.write(b"".join(map(chunk, stream_end(protocol, asked.model))) + b"0\r\n\r\n")

    return answer


def test_replicas_share_an_answer_and_survive_the_kill_of_the_one_that_asks(
    tmp_path: Path, redis_server: Engine
) -> None:
    def test(pace: float) -> None:
        config = ACROSS.format(url=redis_server.url)
        with (
            Upstream(_slow(pace)) as upstream,
            gateway(tmp_path / f"a{pace}", upstream, config=config) as first,
            gateway(tmp_path / f"b{pace}", upstream, config=config) as second,
        ):

            async def both(model: str, *, kill: bool) -> list[bytes]:
                leading = asyncio.create_task(_ask(first.port, model, stream=True))
                await asyncio.sleep(0.5 * pace)
                following = [asyncio.create_task(_ask(second.port, model, stream=True)) for _ in range(5)]
                await asyncio.sleep(0.7 * pace)
                if kill:
                    first.process.kill()
                return [await leading, *await asyncio.gather(*following)]

            shared = asyncio.run(both("long", kill=False))
            assert len(upstream.seen) == 1
            assert all(answer.count(b"[DONE]") == 1 for answer in shared)
            _cut, *whole = asyncio.run(both("longer", kill=True))
            assert len(upstream.seen) == 3, "once for the dead one, once for all others together"
            assert all(answer.count(b"[DONE]") == 1 for answer in whole)
            assert len({answer.count(b'"content"') for answer in whole}) == 1
            receipts = second.receipts(10)
            assert len([receipt for receipt in receipts if not receipt["replayed"]]) == 1
            assert not [receipt for receipt in receipts if receipt["error"]]
            receipts = first.receipts(1)
            assert [bool(receipt["replayed"]) for receipt in receipts] == [False]

    at_some_pace(test)
