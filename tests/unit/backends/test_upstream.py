"""A provider's backend: what is sent, what is relayed, and what its usage comes to."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator

import msgspec
import pytest

from pennyweight.backends.transport import Opened, Origin
from pennyweight.backends.upstream import Dispatch, Upstream
from pennyweight.call import Call, Credential, Target
from pennyweight.errors import AuthFailed, NotFound, StreamCut
from pennyweight.flow import Flow, Ready
from pennyweight.request import Done, Headers, Operation, Reply, Usage, Wire
from pennyweight.testing.backend import ScriptedBackend, make_call
from pennyweight.testing.clock import FakeClock

CHAT, MESSAGES, RESPONSES = Wire.OPENAI_CHAT, Wire.ANTHROPIC_MESSAGES, Wire.OPENAI_RESPONSES
HOME = Origin("api.test", 443, True, "/base/v1")
JSON: Headers = (("content-type", "application/json"),)
SSE: Headers = (("content-type", "text/event-stream; charset=utf-8"),)
ANSWER = (
    b'{"choices":[{"finish_reason":"stop","message":{"content":"hi"}}],'
    b'"usage":{"prompt_tokens":7,"completion_tokens":2}}'
)
STREAM = (
    b'data: {"choices":[{"index":0,"delta":{"content":"h\xc3\xa9"},"finish_reason":null}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n'
    b"data: [DONE]\n\n"
)
USAGE = Usage(input_tokens=7, output_tokens=2)


class Cut(Ready):
    """Chunks after which the upstream breaks off."""

    async def body(self) -> AsyncIterator[bytes]:
        async for chunk in super().body():
            yield chunk
        raise StreamCut("cut")


class Recorded:
    """A Transport that gives one answer and keeps what it was asked. `chunks`: the body as it arrives."""

    def __init__(
        self,
        status: int = 200,
        headers: Headers = JSON,
        content: bytes | None = ANSWER,
        *,
        chunks: tuple[bytes, ...] | None = None,
        cut: bool = False,
    ) -> None:
        self.answer = status, headers, content
        self.chunks, self.cut = chunks, cut
        self.sent: list[tuple[Origin, str, str, Headers, bytes]] = []
        self.closed = 0

    def head(self, where: Origin, method: str, target: str, headers: Headers) -> bytes:
        return b""

    async def send(
        self,
        where: Origin,
        method: str,
        target: str,
        headers: Headers,
        body: bytes,
        *,
        head: bytes = b"",
        fresh: bool = False,
    ) -> Opened:
        self.sent.append((where, method, target, headers, body))
        status, answered, content = self.answer
        if self.chunks is None:
            return Opened(status, answered, content=content)
        source = Cut(self.chunks) if self.cut else Ready(self.chunks)
        return Opened(status, answered, chunks=Flow(source), close=self.close)

    async def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.closed += 1


def upstream(transport: Recorded, **options: object) -> Upstream:
    urls = {CHAT: HOME, MESSAGES: HOME}
    return Upstream("p", urls, transport, clock=FakeClock(1_700_000_000.0), **options)  # type: ignore[arg-type]


def sent(call: Call, **options: object) -> tuple[str, Headers, bytes]:
    transport = Recorded()
    asyncio.run(upstream(transport, **options).open(call))
    ((_, _, target, headers, body),) = transport.sent
    return target, headers, body


def opened(transport: Recorded, call: Call | None = None) -> tuple[Reply, bytes]:
    async def main() -> tuple[Reply, bytes]:
        async with await upstream(transport).open(call or make_call()) as reply:
            body = await reply.read()
        return reply, body

    return asyncio.run(main())


def test_headers_of_the_caller_go_out_in_order_but_for_framing_credentials_and_ours() -> None:
    headers = (
        ("host", "127.0.0.1"),
        ("anthropic-beta", "a"),
        ("connection", "keep-alive"),
        ("anthropic-beta", "b"),
        ("content-length", "3"),
        ("x-pennyweight-session", "s"),
        ("transfer-encoding", "chunked"),
        ("expect", "100-continue"),
        ("cookie", "c"),
        ("authorization", "Bearer stray"),
        ("x-api-key", "stray"),
        ("proxy-authorization", "stray"),
        ("te", "trailers"),
        ("upgrade", "h2c"),
        ("x-stainless-os", "Linux"),
    )
    _, out, _ = sent(make_call(headers=headers))
    assert out == (("anthropic-beta", "a"), ("anthropic-beta", "b"), ("x-stainless-os", "Linux"))


def test_no_body_is_asked_for_compressed() -> None:
    assert ("accept-encoding", "identity") in sent(make_call(headers=(("accept-encoding", "gzip, br"),)))[1]
    assert not sent(make_call())[1]  # a caller that does not speak of it is not spoken for


@pytest.mark.parametrize(
    ("auth", "header"), [("bearer", ("authorization", "Bearer ours")), ("x-api-key", ("x-api-key", "ours"))]
)
def test_our_key_goes_where_the_provider_wants_it(auth: str, header: tuple[str, str]) -> None:
    assert sent(make_call(), auth=auth, pick_key=lambda call: "ours")[1] == (header,)


def test_the_callers_own_credential_goes_out_as_it_came_and_ours_stays() -> None:
    told: list[tuple[str, int]] = []
    call = make_call(credential=Credential("x-api-key", "theirs"))
    out = sent(call, pick_key=lambda call: "ours", report_key=lambda *seen: told.append(seen))[1]
    assert out == (("x-api-key", "theirs"),)
    assert not told  # what their key is worth says nothing about ours


def test_the_status_is_reported_for_our_key() -> None:
    told: list[tuple[str, int]] = []
    transport = Recorded(429, JSON, b"{}")
    backend = upstream(transport, pick_key=lambda call: "ours", report_key=lambda *seen: told.append(seen))
    asyncio.run(backend.open(make_call()))
    assert told == [("ours", 429)]


def test_no_key_at_all_says_which_to_set() -> None:
    with pytest.raises(AuthFailed, match=r"no key for p\. Set P_API_KEY"):
        sent(make_call(), key_hint="Set P_API_KEY.")


def test_configured_headers_are_added() -> None:
    assert sent(make_call(), headers=(("x-org", "o"),))[1] == (("x-org", "o"),)


@pytest.mark.parametrize(
    ("path", "query", "target"),
    [
        ("/v1/chat/completions", "", "/base/v1/chat/completions"),
        ("/v1/chat/completions", "a=%20&b", "/base/v1/chat/completions?a=%20&b"),
        ("/api/chat", "", "/base/v1/chat"),
        ("/chat/completions", "", "/base/v1/chat/completions"),
    ],
)
def test_the_path_under_the_providers_address(path: str, query: str, target: str) -> None:
    assert sent(make_call(path=path, query=query))[0] == target


def test_a_model_under_another_name_changes_that_field_alone() -> None:
    body = b'{ "z":1e400, "model" : "m","big":12345678901234567890, "messages":[ ] }'
    assert sent(make_call(body))[2] is body
    renamed = sent(make_call(body, model="vendor/m"))[2]
    members = msgspec.json.decode(renamed, type=dict[str, msgspec.Raw])
    assert {name: bytes(value) for name, value in members.items()} == {
        "z": b"1e400",
        "model": b'"vendor/m"',
        "big": b"12345678901234567890",
        "messages": b"[ ]",
    }


def test_what_is_not_json_passes_untouched() -> None:
    body = b"--boundary\r\n\x00\xff"
    call = make_call(body, path="/v1/files", operation=Operation.OTHER, model="renamed")
    assert sent(call)[::2] == ("/base/v1/files", body)


def test_another_operation_under_a_protocol_that_the_provider_does_not_speak() -> None:
    async def main() -> Reply:
        backend = Upstream("p", {MESSAGES: HOME}, Recorded(content=b"[]"), clock=FakeClock())
        call = make_call(path="/models", operation=Operation.OTHER)
        return await backend.open(msgspec.structs.replace(call, target=Target("p", "", MESSAGES)))

    assert asyncio.run(main()).content == b"[]"


def test_a_whole_answer_is_charged_at_the_model_that_was_asked() -> None:
    reply, body = opened(Recorded())
    assert body == ANSWER
    assert reply.done is not None
    (charge,) = reply.done.charges
    assert (charge.provider, charge.model, charge.usage, charge.at) == ("p", "m", USAGE, 1_700_000_000.0)
    assert reply.done.finish_reason == "stop"


def test_an_answer_without_usage_is_not_charged_here() -> None:
    reply, _ = opened(Recorded(content=b'{"choices":[{"finish_reason":"stop","message":{"content":"hi"}}]}'))
    assert reply.done is not None
    assert (reply.done.usage, reply.done.charges) == (None, ())


def test_an_answer_without_usage_can_be_counted() -> None:
    said = b'{"choices":[{"finish_reason":"stop","message":{"content":"hi there"}}]%s}'
    for usage in (b"", b',"usage":{}', b',"usage":null', b',"usage":5', b',"usage":{"prompt_tokens":9}'):
        reply, _ = opened(Recorded(content=said % usage))
        assert reply.output_text is not None, usage
        assert reply.output_text() == "hi there"


def test_an_answer_with_half_a_character_passes_and_is_charged() -> None:
    said = ANSWER.replace(b'"content": "', rb'"content": "\ud83d').replace(b'"content":"', rb'"content":"\ud83d')
    assert rb"\ud83d" in said
    reply, body = opened(Recorded(content=said))
    plain, _ = opened(Recorded(content=ANSWER))
    assert (reply.status, body) == (200, said)
    assert reply.done == plain.done


def test_a_refusal_is_relayed_verbatim_and_not_charged() -> None:
    for transport in (Recorded(429, JSON, ANSWER), Recorded(429, JSON, chunks=(ANSWER[:9], ANSWER[9:]))):
        reply, body = opened(transport)
        assert (reply.status, body, reply.done) == (429, ANSWER, Done(complete=False))


def test_framing_headers_and_cookies_are_not_relayed() -> None:
    headers = (
        ("content-type", "application/json"),
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("keep-alive", "x"),
        ("content-length", "3"),
        ("set-cookie", "c=1"),
        ("x-request-id", "r"),
        ("x-odd", "1"),
        ("x-odd", "2"),
    )
    reply, _ = opened(Recorded(headers=headers))
    assert reply.headers == (*JSON, ("x-request-id", "r"), ("x-odd", "1"), ("x-odd", "2"))


def test_a_provider_does_not_speak_for_the_gateway() -> None:
    forged = (*JSON, ("x-pennyweight-call", "call_0"), ("x-pennyweight-cache", "hit"), ("x-request-id", "r"))
    for status in (200, 429):
        reply, _ = opened(Recorded(status, forged))
        assert reply.headers == (*JSON, ("x-request-id", "r"))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("operation", [Operation.GENERATE, Operation.OTHER])
def test_a_refusal_does_not_show_our_key(operation: Operation, streamed: bool) -> None:
    key = "sk-of-the-operator-1234"
    said = b'{"error":{"message":"Incorrect API key: Bearer %s."}}' % key.encode()
    headers = (*JSON, ("www-authenticate", f'Bearer realm="{key}"'))
    transport = Recorded(401, headers, said, chunks=(said[:30], said[30:]) if streamed else None)

    async def main() -> tuple[Headers, bytes]:
        call = make_call(operation=operation)
        async with await upstream(transport, pick_key=lambda _call: key).open(call) as reply:
            return reply.headers, await reply.read()

    told, body = asyncio.run(main())
    assert body == b'{"error":{"message":"Incorrect API key: Bearer [key]."}}'
    assert key not in str(told)


def test_an_answer_without_end_is_not_read_for_ever() -> None:
    piece = b" " * (1 << 20)
    transport = Recorded(chunks=(piece,) * 1000)  # the same piece: nothing is kept here
    with pytest.raises(StreamCut, match="longer than 256 MiB"):
        opened(transport)
    assert transport.closed == 1


def pieces(data: bytes, size: int) -> tuple[bytes, ...]:
    return tuple(data[n : n + size] for n in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 3, 50, 10_000])
def test_a_stream_passes_as_it_came_and_is_charged_at_its_end(size: int) -> None:
    transport = Recorded(headers=SSE, chunks=pieces(STREAM, size))
    reply, body = opened(transport)
    assert body == STREAM
    assert transport.closed == 1
    assert reply.done is not None
    assert [charge.usage for charge in reply.done.charges] == [USAGE]
    assert reply.done.complete
    assert reply.output_text is not None
    assert reply.output_text() == "hé"


def test_a_stream_that_is_whole_with_its_head_is_still_a_stream() -> None:
    async def main() -> None:
        async with await upstream(Recorded(headers=SSE, content=STREAM)).open(make_call()) as reply:
            assert reply.content is None
            assert await reply.read() == STREAM
        assert reply.done is not None
        assert [charge.usage for charge in reply.done.charges] == [USAGE]

    asyncio.run(main())


def test_a_cut_stream_is_incomplete_and_what_it_told_is_charged() -> None:
    async def main() -> None:
        call = make_call(wire=MESSAGES, path="/v1/messages")
        start = {"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}}
        first = b"event: message_start\ndata: " + json.dumps(start).encode() + b"\n\n"
        transport = Recorded(headers=SSE, chunks=(first,), cut=True)
        reply = await upstream(transport).open(call)
        with pytest.raises(StreamCut):
            await reply.read()
        await reply.aclose()
        assert reply.done is not None
        assert not reply.done.complete
        assert [charge.usage.input_tokens for charge in reply.done.charges] == [9]
        assert transport.closed == 1

    asyncio.run(main())


def test_a_stream_that_leaves_its_end_marker_out_is_complete() -> None:
    stream = b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\n'
    reply, _ = opened(Recorded(headers=SSE, chunks=(stream,)))
    assert reply.done is not None
    assert reply.done.complete


def test_a_caller_who_leaves_before_the_end_closes_the_transport() -> None:
    async def main() -> None:
        transport = Recorded(headers=SSE, chunks=pieces(STREAM, 80))
        reply = await upstream(transport).open(make_call())
        assert reply.chunks is not None
        await anext(reply.chunks)
        await reply.aclose()
        assert transport.closed == 1
        assert reply.done is not None
        assert not reply.done.complete

    asyncio.run(main())


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "x-gzip"])
def test_a_compressed_answer_is_relayed_untouched_and_read_from_the_side(encoding: str) -> None:
    packed = zlib.compress if encoding == "deflate" else gzip.compress
    for headers, plain, size in ((JSON, ANSWER, 0), (SSE, STREAM, 7)):
        data = packed(plain)
        coded = (*headers, ("content-encoding", encoding))
        transport = Recorded(headers=coded, content=data, chunks=pieces(data, size) if size else None)
        reply, body = opened(transport)
        assert body == data
        assert reply.headers == coded
        assert reply.done is not None
        assert [charge.usage for charge in reply.done.charges] == [USAGE]


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_what_cannot_be_decompressed_is_relayed_all_the_same(encoding: str) -> None:
    for headers in (JSON, SSE):
        coded = (*headers, ("content-encoding", encoding))
        call = make_call(optimize="off")  # else a whole answer that is no answer is told as a failure
        reply, body = opened(Recorded(headers=coded, chunks=(b"\x1f\x8bnot", b" gzip")), call)
        assert body == b"\x1f\x8bnot gzip"
        assert reply.done is not None
        assert not reply.done.charges


def test_a_count_costs_nothing() -> None:
    call = make_call(wire=MESSAGES, path="/v1/messages/count_tokens", operation=Operation.COUNT)
    reply, body = opened(Recorded(content=b'{"input_tokens":14}'), call)
    assert body == b'{"input_tokens":14}'
    assert reply.done == Done(complete=True)


def test_embeddings_are_charged() -> None:
    call = make_call(path="/v1/embeddings", operation=Operation.EMBED)
    body = b'{"object":"list","data":[],"usage":{"prompt_tokens":5,"total_tokens":5}}'
    reply, _ = opened(Recorded(content=body), call)
    assert reply.done is not None
    assert [charge.usage.input_tokens for charge in reply.done.charges] == [5]


def test_a_large_file_passes_chunk_by_chunk() -> None:
    async def main() -> None:
        transport = Recorded(headers=(("content-type", "audio/mpeg"),), chunks=(b"a", b"b"))
        call = make_call(path="/v1/audio/speech", operation=Operation.OTHER)
        reply = await upstream(transport).open(call)
        assert reply.chunks is not None
        assert [chunk async for chunk in reply.chunks] == [b"a", b"b"]
        await reply.aclose()
        assert transport.closed == 1

    asyncio.run(main())


def test_dispatch_names_the_providers_there_are() -> None:
    async def main() -> None:
        backend = ScriptedBackend()
        dispatch = Dispatch({"p": backend, "a": backend})
        assert (await dispatch.open(make_call())).ok
        with pytest.raises(NotFound, match=r"no provider 'q'\. Known: a, p"):
            await dispatch.open(make_call(provider="q"))

    asyncio.run(main())
