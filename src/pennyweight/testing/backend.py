"""A backend that answers from a script, and remembers what it was asked and what became of its replies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec

from ..call import Call, Credential, Identity, Optimize, Target
from ..request import Charge, Done, Headers, Operation, Reply, Request, Usage, Wire

__all__ = ["Script", "ScriptedBackend", "make_call"]


class Script(msgspec.Struct, frozen=True):
    """One answer: `error` is raised instead of it; `chunks` make it a stream, else `content` is its whole body.

    before_open and before_chunks wait for an event, so that a test decides when something is under way. cut: raised
    after the last chunk. usage: what its end tells and what one charge bills; None tells nothing.
    """

    status: int = 200
    headers: Headers = ()
    content: bytes = b"{}"
    chunks: tuple[bytes, ...] | None = None
    usage: Usage | None = Usage(input_tokens=10, output_tokens=5)
    error: Exception | None = None
    cut: Exception | None = None
    before_open: asyncio.Event | None = None
    before_chunks: tuple[asyncio.Event | None, ...] = ()


class ScriptedBackend:
    """Answers the first call with the first script, and so on; the last one answers all further calls.

    calls: what was asked. replies: what was opened. closed: how many of those were closed.
    """

    def __init__(self, *scripts: Script) -> None:
        self._scripts: Sequence[Script] = scripts or (Script(),)
        self.calls: list[Call] = []
        self.replies: list[Reply] = []
        self.closed = 0

    async def open(self, call: Call) -> Reply:
        script = self._scripts[min(len(self.calls), len(self._scripts) - 1)]
        self.calls.append(call)
        if script.before_open is not None:
            await script.before_open.wait()
        if script.error is not None:
            raise script.error
        done = self._done(call, script)
        if script.chunks is None:
            reply = Reply(
                script.status,
                script.headers,
                wire=call.target.wire,
                content=script.content,
                done=done,
                close=self._closed,
            )
        else:
            end = _End(done)

            async def close() -> None:
                await self._closed()
                reply.done = end.done

            reply = Reply(
                script.status, script.headers, wire=call.target.wire, chunks=_stream(script, end), close=close
            )
        self.replies.append(reply)
        return reply

    async def _closed(self) -> None:
        self.closed += 1

    def _done(self, call: Call, script: Script) -> Done:
        if script.usage is None or not 200 <= script.status < 300:
            return Done(complete=True)
        charge = Charge(call.target.provider, call.target.model, script.usage, call.at)
        return Done(script.usage, "stop", (charge,))


class _End:
    """What a stream's end tells: incomplete until the last chunk was taken."""

    def __init__(self, whole: Done) -> None:
        self._whole = whole
        self.done = msgspec.structs.replace(whole, complete=False, finish_reason=None)

    def reached(self) -> None:
        self.done = self._whole


async def _stream(script: Script, end: _End) -> AsyncIterator[bytes]:
    gates = script.before_chunks
    for index, chunk in enumerate(script.chunks or ()):
        gate = gates[index] if index < len(gates) else None
        if gate is not None:
            await gate.wait()
        yield chunk
    if script.cut is not None:
        raise script.cut
    end.reached()


def make_call(
    body: bytes = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}',
    *,
    wire: Wire = Wire.OPENAI_CHAT,
    path: str = "/v1/chat/completions",
    query: str = "",
    headers: Headers = (),
    operation: Operation = Operation.GENERATE,
    tenant: str = "local",
    session: str = "",
    provider: str = "p",
    model: str = "m",
    optimize: Optimize = "safe",
    credential: Credential | None = None,
    call_id: str = "c1",
    at: float = 1_700_000_000.0,
) -> Call:
    """A call as the gateway would make it, for tests."""
    request = Request(wire, body, headers, path, query, operation=operation)
    return Call(
        call_id,
        Identity(tenant, session),
        request,
        request,
        Target(provider, model, wire),
        at,
        optimize=optimize,
        credential=credential,
    )
