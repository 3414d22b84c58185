"""With every optimizer off the upstream gets the caller's bytes, and the caller the upstream's."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.client.inprocess import Entrance, entrance
from pennyweight.config import Config, load
from pennyweight.testing.http import Exchange, LoopbackServer


class Raw:
    """An upstream that keeps the bytes it got and answers with the bytes it was given, chunk by chunk."""

    def __init__(self) -> None:
        self.got: list[tuple[str, bytes]] = []
        self.status = 200
        self.kind = "application/json"
        self.chunks: list[bytes] = [b"{}"]

    async def __call__(self, exchange: Exchange) -> None:
        target = f"{exchange.path}?{exchange.query}" if exchange.query else exchange.path
        self.got.append((target, exchange.body))
        await exchange.start(self.status, {"content-type": self.kind})
        for chunk in self.chunks:
            await exchange.write(chunk)
        await exchange.end()


class Gateway:
    """The App in this process over that upstream."""

    def __init__(self, runner: asyncio.Runner, config: Config, local: Entrance, raw: Raw) -> None:
        self.runner, self.config, self.local, self.raw = runner, config, local, raw

    def ask(self, path: str, body: bytes, query: str = "", optimize: str = "off") -> tuple[int, bytes]:
        headers = (("content-type", "application/json"), ("x-pennyweight-optimize", optimize))

        async def main() -> tuple[int, bytes]:
            status, _, answer = await self.local.respond("POST", path, query, headers, body)
            return status, answer if isinstance(answer, bytes) else await _joined(answer)

        return self.runner.run(main())


async def _joined(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    raw = Raw()
    data = str(tmp_path_factory.mktemp("data"))
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def start() -> tuple[Config, Entrance]:
            url = (await stack.enter_async_context(LoopbackServer(raw))).url
            env = {"PENNYWEIGHT_DATA": data, "OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}
            env |= {"OPENAI_BASE_URL": f"{url}/v1", "ANTHROPIC_BASE_URL": url}
            config = load(None, env)
            return config, await stack.enter_async_context(entrance(config))

        try:
            config, local = runner.run(start())
            yield Gateway(runner, config, local, raw)
        finally:
            runner.run(stack.aclose())


SPACE = st.sampled_from(["", " ", "\n\t", "\r\n  "])
STRINGS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=12).map(lambda s: json.dumps(s, ensure_ascii=False)),
    st.sampled_from([r'"\u00e9\ud83d\ude42"', r'"a\/b"', '"é🙂"', r'"\"usage\":null"', '""', r'"\u0000"', '"\x7f"']),
)
NUMBERS = st.sampled_from(["0", "-0", "-0.0", "1e400", "-1E+400", "1.0", "1.10", "1e-7", "9" * 40, "1E5", "0.1000"])
SCALARS = st.one_of(STRINGS, NUMBERS, st.sampled_from(["null", "true", "false"]))


def _object(draw: st.DrawFn, members: list[tuple[str, str]]) -> str:
    gap = draw(SPACE)
    return "{" + gap + f",{gap}".join(f"{k}{gap}:{gap}{v}" for k, v in members) + gap + "}"


@st.composite
def objects(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    """Keys may come twice, as JSON allows."""
    return _object(draw, draw(st.lists(st.tuples(STRINGS, values), max_size=3)))


def _lists(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(values, max_size=3).map(lambda items: "[ " + ", ".join(items) + "]")


VALUES = st.recursive(SCALARS, lambda inner: objects(inner) | _lists(inner), max_leaves=6)
MESSAGES = st.sampled_from(
    [
        '{"role":"assistant","content":null}',
        '{"role" : "assistant","content":null,"tool_calls":[{"id":"t","function":{"name":"f","arguments":""}}]}',
        '{"role":"user","content":[{"type":"text","text":"\\u00e9","cache_control":{"type":"ephemeral"}}]}',
        '{"content":"role last","role":"user"}',
        '{"role":"user","content":""}',
        '{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"c2ln=="}]}',
    ]
)
PATHS = ["/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/messages/count_tokens", "/v1/embeddings"]


@st.composite
def bodies(draw: st.DrawFn) -> str:
    members = [
        ('"model"', draw(st.sampled_from(['"m"', '"m\\u002dx"', '"ünï"', '"m:1b"']))),
        ('"messages"', "[" + ", ".join(draw(st.lists(MESSAGES, max_size=3))) + "]"),
        ('"input"', draw(STRINGS)),
    ]
    if draw(st.booleans()):
        members.append(('"stream"', draw(st.sampled_from(["true", "false", "null"]))))
    unknown = draw(st.lists(st.tuples(STRINGS.map(lambda s: '"x_' + s[1:]), VALUES), max_size=4))
    members = draw(st.permutations(members + unknown))
    if draw(st.booleans()):
        members.append(members[0])
    return draw(SPACE) + _object(draw, list(members)) + draw(SPACE)


@settings(max_examples=80, deadline=None)
@given(path=st.sampled_from(PATHS), text=bodies(), query=st.sampled_from(["", "beta=true", "a=%20b&&c"]))
def test_the_upstreams_body_is_the_callers(gateway: Gateway, path: str, text: str, query: str) -> None:
    gateway.raw.kind, gateway.raw.chunks, gateway.raw.status = "application/json", [b"{}"], 200
    gateway.raw.got.clear()
    body = text.encode()
    status, _ = gateway.ask(path, body, query)
    assert status == 200
    assert gateway.raw.got == [(f"{path}?{query}" if query else path, body)]


def _events(texts: list[str]) -> bytes:
    lines: list[Any] = [{"type": "x", "choices": [{"index": 0, "delta": {"content": text}}]} for text in texts]
    lines += [{"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}]
    return b"".join(b"data: " + json.dumps(line, ensure_ascii=False).encode() + b"\n\n" for line in lines)


STREAMED = b'{"model":"m","stream":true,"messages":[],"input":"x"}'


@settings(max_examples=60, deadline=None)
@given(
    path=st.sampled_from(PATHS[:3]),
    texts=st.lists(st.sampled_from(["é🙂", "\u2028", "日本語", "data: x"]) | st.text(max_size=8), max_size=4),
    at=st.lists(st.integers(0, 2_000), max_size=10),
    raw=st.booleans(),
)
def test_a_streamed_answer_is_the_upstreams(
    gateway: Gateway, path: str, texts: list[str], at: list[int], raw: bool
) -> None:
    answer = _events(texts) if not raw else "".join(texts).encode("utf-8", "surrogatepass") + b"\xff\x00 no SSE at all"
    places = sorted({0, len(answer), *(place % (len(answer) + 1) for place in at)})
    gateway.raw.kind, gateway.raw.status = "text/event-stream", 200
    gateway.raw.chunks = [answer[a:b] for a, b in itertools.pairwise(places)]  # inside characters too
    assert gateway.ask(path, STREAMED) == (200, answer)


@settings(max_examples=30, deadline=None)
@given(path=st.sampled_from(PATHS), answer=st.binary(max_size=60), status=st.sampled_from([200, 201, 400, 404, 422]))
def test_a_whole_answer_is_the_upstreams(gateway: Gateway, path: str, answer: bytes, status: int) -> None:
    gateway.raw.kind, gateway.raw.chunks, gateway.raw.status = "application/json", [answer] if answer else [], status
    assert gateway.ask(path, b'{"model":"m","input":"x","messages":[]}') == (status, answer)


@settings(max_examples=30, deadline=None)
@given(body=st.binary(max_size=60), path=st.sampled_from(["/v1/files", "/v1/audio/transcriptions", "/v1/odd/%41"]))
def test_what_is_of_no_protocol_passes_whatever_it_is(gateway: Gateway, body: bytes, path: str) -> None:
    gateway.raw.kind, gateway.raw.chunks, gateway.raw.status = "application/octet-stream", [b"\x00\xff"], 200
    gateway.raw.got.clear()
    assert gateway.ask(path, body, optimize="max") == (200, b"\x00\xff")
    assert [got for _, got in gateway.raw.got] == [body]


def test_the_data_folder_holds_no_prompt_and_no_answer(gateway: Gateway) -> None:
    gateway.raw.kind, gateway.raw.chunks, gateway.raw.status = "application/json", [b'{"secret-answer":1}'], 200
    gateway.ask("/v1/chat/completions", b'{"model":"m","messages":[{"role":"user","content":"secret-prompt"}]}')
    gateway.runner.run(gateway.local.receipt("written by then"))
    for file in gateway.config.data_dir.rglob("*"):
        if file.is_file():
            assert b"secret-" not in file.read_bytes()
