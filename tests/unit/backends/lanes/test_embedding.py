"""Embeddings of several callers in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.unit.backends.lanes.rig import looped

from pennyweight.backends.lanes.embedding import EmbedTogether
from pennyweight.call import Call, Identity, Target
from pennyweight.errors import RateLimited
from pennyweight.request import Charge, Done, Operation, Reply, Usage, Wire
from pennyweight.routing.background import LaneSettings
from pennyweight.testing.backend import make_call

SETTINGS = LaneSettings(embed=("p",), micro_window_ms=30.0, micro_size=10)


class Letters:
    def count(self, text: str) -> int:
        return len(text)


class Embedding:
    """An upstream whose vector of a text is its length; "bad" is refused, and slow is how long it takes."""

    def __init__(self, spoil: Callable[[dict[str, Any]], dict[str, Any]] = lambda body: body) -> None:
        self.asked: list[list[Any]] = []
        self.error: Exception | None = None
        self._spoil = spoil

    async def open(self, call: Call) -> Reply:
        body = call.request.body
        inputs = body["input"] if isinstance(body["input"], list) and not _is_tokens(body["input"]) else [body["input"]]
        self.asked.append(inputs)
        await asyncio.sleep(0.05)
        if self.error is not None:
            raise self.error
        if "bad" in inputs:
            content = b'{"error":{"message":"bad input"}}'
            return Reply(400, (), wire=call.request.wire, content=content, done=Done(complete=False))
        tokens = sum(len(one) for one in inputs) + 1
        if call.request.wire is Wire.OLLAMA:
            told: dict[str, Any] = {"model": "e", "embeddings": [[len(one)] for one in inputs]}
            told["prompt_eval_count"] = tokens
        else:
            data = [{"object": "embedding", "index": at, "embedding": [len(one)]} for at, one in enumerate(inputs)]
            told = {"object": "list", "data": data[::-1], "model": "e"}
            told["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        usage = Usage(input_tokens=tokens)
        done = Done(usage, None, (Charge("p", "e", usage, 0.0),))
        raw = msgspec.json.encode(self._spoil(told) if len(inputs) > 1 else told)
        return Reply(200, (("content-type", "application/json"),), wire=call.request.wire, content=raw, done=done)


def _is_tokens(value: list[Any]) -> bool:
    return bool(value) and isinstance(value[0], int)


def call(inputs: Any, tenant: str = "local", wire: Wire = Wire.OPENAI_CHAT, **fields: Any) -> Call:
    path = "/api/embed" if wire is Wire.OLLAMA else "/v1/embeddings"
    raw = msgspec.json.encode({"model": "e", "input": inputs, **fields})
    made = make_call(raw, path=path, operation=Operation.EMBED, wire=wire)
    return msgspec.structs.replace(made, target=Target("p", "e", wire), identity=Identity(tenant=tenant))


async def ask(backend: EmbedTogether, one: Call) -> tuple[Reply, Any]:
    async with await backend.open(one) as reply:
        content = await reply.read()
        return reply, msgspec.json.decode(content)


def vectors(body: Any) -> list[float]:
    if "embeddings" in body:
        return [one[0] for one in body["embeddings"]]
    assert [one["index"] for one in body["data"]] == list(range(len(body["data"])))
    return [one["embedding"][0] for one in body["data"]]


@pytest.mark.parametrize("wire", [Wire.OPENAI_CHAT, Wire.OLLAMA])
@looped
async def test_a_crowd_goes_in_two_calls_and_each_gets_its_own(wire: Wire) -> None:
    upstream = Embedding()
    backend = EmbedTogether(upstream, Letters(), SETTINGS)
    inputs: list[Any] = ["a", ["bb", "ccc"], "dddd", ["eeeee"]]
    answers = await asyncio.gather(*(ask(backend, call(one, wire=wire)) for one in inputs))
    assert [vectors(body) for _, body in answers] == [[1], [2, 3], [4], [5]]
    assert upstream.asked == [["a"], ["bb", "ccc", "dddd", "eeeee"]]  # the first waits for nobody
    shares = [reply.done.charges[0].usage.input_tokens for reply, _ in answers if reply.done]
    assert shares == [2, 5, 4, 6]  # as the texts are, and to the 15 tokens that the provider told
    for (_, body), share in zip(answers, shares, strict=True):
        told = body["prompt_eval_count"] if wire is Wire.OLLAMA else body["usage"]["prompt_tokens"]
        assert told == share


@looped
async def test_one_alone_is_not_held_up() -> None:
    backend = EmbedTogether(Embedding(), Letters(), msgspec.structs.replace(SETTINGS, micro_window_ms=3_600_000.0))
    async with asyncio.timeout(60):
        await ask(backend, call("x"))


@looped
async def test_what_is_not_alike_is_not_put_together() -> None:
    upstream = Embedding()
    backend = EmbedTogether(upstream, Letters(), SETTINGS)
    calls = [call("first")]
    calls += [call("x", tenant="other"), call("y", dimensions=3), call([1, 2]), call("z", encoding_format="base64")]
    await asyncio.gather(*(ask(backend, one) for one in calls))
    assert len(upstream.asked) == 5


@looped
async def test_one_that_is_refused_fails_no_other() -> None:
    upstream = Embedding()
    backend = EmbedTogether(upstream, Letters(), SETTINGS)
    answers = await asyncio.gather(*(ask(backend, call(one)) for one in ["a", "bb", "bad", "cc"]))
    assert [reply.status for reply, _ in answers] == [200, 200, 400, 200]
    assert upstream.asked[1:] == [["bb", "bad", "cc"], ["bb"], ["bad"], ["cc"]]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: {**body, "data": body["data"][:-1]},
        lambda body: {**body, "data": [{**one, "index": 0} for one in body["data"]]},
        lambda body: {"data": "?"},
    ],
)
@looped
async def test_vectors_that_are_not_all_there_are_asked_for_alone_and_every_bill_is_told(
    spoil: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    upstream = Embedding(spoil)
    backend = EmbedTogether(upstream, Letters(), SETTINGS)
    answers = await asyncio.gather(*(ask(backend, call(one)) for one in ["a", "bb", "ccc"]))
    assert [vectors(body) for _, body in answers] == [[1], [2], [3]]
    billed = [charge.usage.input_tokens for reply, _ in answers if reply.done for charge in reply.done.charges]
    assert sum(billed) == 2 + (2 + 3 + 1) + 3 + 4


@looped
async def test_an_upstream_that_fails_fails_all_who_asked_together() -> None:
    upstream = Embedding()
    upstream.error = RateLimited("busy")
    backend = EmbedTogether(upstream, Letters(), SETTINGS)
    answers = await asyncio.gather(*(ask(backend, call(one)) for one in "abc"), return_exceptions=True)
    assert [type(answer) for answer in answers] == [RateLimited] * 3
    assert len(upstream.asked) == 2


@looped
async def test_one_who_leaves_leaves_its_share_to_the_others() -> None:
    upstream = Embedding()
    backend = EmbedTogether(upstream, Letters(), SETTINGS)
    tasks = [asyncio.create_task(ask(backend, call(one))) for one in ["a", "bb", "cc"]]
    while len(upstream.asked) < 2:  # noqa: ASYNC110 - until the two are on their way
        await asyncio.sleep(0.001)
    tasks[1].cancel()
    reply, body = await tasks[2]
    assert vectors(body) == [2]
    assert reply.done is not None
    assert reply.done.charges[0].usage.input_tokens == 5


@looped
async def test_one_who_leaves_while_it_waits_is_not_asked_for() -> None:
    upstream = Embedding()
    backend = EmbedTogether(upstream, Letters(), SETTINGS)
    tasks = [asyncio.create_task(ask(backend, call(one))) for one in ["a", "bb", "cc"]]
    await asyncio.sleep(0.01)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert upstream.asked == [["a"], ["cc"]]


@looped
async def test_other_providers_and_odd_inputs_are_handed_on() -> None:
    upstream = Embedding()
    backend = EmbedTogether(upstream, Letters(), LaneSettings(embed=("q",)))
    await asyncio.gather(*(ask(backend, call(one)) for one in "abc"))
    assert len(upstream.asked) == 3
