"""Lets a call reach an upstream of another protocol: translates the request there and the answer back.

Where the target speaks the call's own protocol the call is handed on untouched, but for what an earlier answer, which
was translated, left in its history: only we can read that, and a provider refuses it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any

import msgspec

from ..call import Call, Step, Verdict
from ..errors import BackendError
from ..protocols import Backend, Tokenizer
from ..request import Done, Headers, Operation, Reply, Request, Wire
from ..wire import codec, translate
from ..wire.translate.handed_back import needed, unreadable
from .answers import Answers, keeps
from .direct import beneath

__all__ = ["Crossing"]

_OF_THE_BODY = frozenset({"content-type", "content-length", "content-encoding", "transfer-encoding", "etag"})


_UNREADABLE = Step("translate", Verdict.LOST, why="reasoning of another provider: this one refuses it")
_COUNTED = Step("translate", Verdict.ACCEPTED, why="counted here, with another tokenizer: the upstream cannot count")


class Crossing:
    """A Backend over `inner`. What a target cannot carry becomes a LOST step in the reply's `notes`, field by field.

    anthropic_version: the version that Anthropic upstreams are asked with. A question for a count of tokens, which only
    Anthropic answers, is answered here, about right: clients plan with it, and nobody is billed by it. answers: where
    those are kept from which callers of Responses go on by name.
    """

    def __init__(
        self,
        inner: Backend,
        tokenizer: Tokenizer,
        *,
        anthropic_version: str = "2023-06-01",
        answers: Answers | None = None,
    ) -> None:
        self._inner = inner
        self._tokenizer = tokenizer
        self._anthropic_version = anthropic_version
        self._answers = answers

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Raises BadRequest or NotFound for a call that cannot cross, and what `inner` raises."""
        request, wire = call.request, call.target.wire
        if request.wire is wire and wire is not Wire.OPENAI_RESPONSES and wire is not Wire.ANTHROPIC_MESSAGES:
            return self._inner.open(call)  # a protocol in whose histories nothing of ours is left
        if self._answers is not None and needed(request):
            return self._with_what_it_names(call, self._answers)
        if request.wire is wire and (edits := unreadable(request)):
            return self._inner.open(call.sending(request.edit(edits)).note(_UNREADABLE))
        if request.wire is wire or request.operation is Operation.OTHER or _embeds_alike(request, wire):
            return self._inner.open(call)
        return self._cross(call)

    def beneath(self, call: Call) -> Backend:
        wire = call.target.wire
        if call.request.wire is wire and wire is not Wire.OPENAI_RESPONSES and wire is not Wire.ANTHROPIC_MESSAGES:
            return beneath(self._inner, call)
        return self  # each history has to be looked at

    async def _with_what_it_names(self, call: Call, answers: Answers) -> Reply:
        request = await answers.whole(call.request, call.identity.tenant)
        return await self.open(call.sending(request))

    async def _cross(self, call: Call) -> Reply:
        request, target = call.request, call.target
        if request.operation is Operation.COUNT:
            return self._counted(request)
        translated = translate.request(
            request, target.wire, model=target.model, anthropic_version=self._anthropic_version
        )
        memo = msgspec.structs.replace(translated.memo, call=call.id)
        translated = msgspec.structs.replace(translated, memo=memo)
        steps = _steps(translated.lost)
        inner = await self._inner.open(call.sending(translated.request).note(*steps))
        try:
            reply = _crossed(inner, call, translated)
            if self._answers is not None and reply.ok and keeps(call.original):
                await _kept(reply, call, self._answers)
        except BaseException:
            await inner.aclose()
            raise
        reply.notes = [*steps, *inner.notes, *reply.notes]
        return reply

    def _counted(self, request: Request) -> Reply:
        tokens = self._tokenizer.count("\n".join(codec(request.wire).view(request).texts))
        content = msgspec.json.encode({"input_tokens": max(tokens, 1)})
        reply = Reply(200, (("content-type", "application/json"),), wire=request.wire, content=content, done=Done())
        reply.notes.append(_COUNTED)
        return reply


async def _kept(reply: Reply, call: Call, answers: Answers) -> None:
    """By what its caller wrote, for names were filled in by now."""
    if reply.chunks is not None:
        reply.chunks = answers.kept_as_it_comes(call.original, call.identity.tenant, reply.chunks)
    elif reply.content is not None:
        await answers.keep(call.original, call.identity.tenant, msgspec.json.decode(reply.content))


def _embeds_alike(request: Request, target: Wire) -> bool:
    """Both OpenAI protocols have the same embeddings."""
    openai = (Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES)
    return request.operation is Operation.EMBED and request.wire in openai and target in openai


def _steps(lost: Iterable[translate.Lost]) -> list[Step]:
    return [Step("translate", Verdict.LOST, why=f"{loss.path}: {loss.reason}") for loss in lost]


def _crossed(inner: Reply, call: Call, translated: translate.Translated) -> Reply:
    """The reply in the caller's protocol. Closing it closes the inner one, whose `done` is its own."""
    wire = call.request.wire
    streams = inner.ok and inner.chunks is not None
    kind = codec(wire).stream_type() if streams else "application/json"
    headers = _headers(inner.headers, kind)

    async def close() -> None:
        await inner.aclose()
        reply.done = inner.done

    if inner.content is None and not inner.ok and inner.chunks is not None:
        # An error that was not read yet: it is short, and its shape changes as a whole.
        reply = Reply(inner.status, headers, wire=wire, chunks=_error_chunks(inner, wire), done=inner.done, close=close)
    elif inner.content is not None:
        status, content, notes = _whole(inner, call, translated)
        reply = Reply(status, headers, wire=wire, content=content, done=inner.done, close=close)
        reply.notes = list(notes)
    else:
        translator = translate.StreamTranslator(
            inner.wire,
            wire,
            model=call.target.model,
            include_usage=_wants_usage(call.request),
            memo=translated.memo,
            at=call.at,
        )
        reply = Reply(inner.status, headers, wire=wire, chunks=_relay(inner, translator), close=close)
    reply.output_text = inner.output_text
    reply.asked_at = inner.asked_at
    return reply


def _whole(inner: Reply, call: Call, translated: translate.Translated) -> tuple[int, bytes, list[Step]]:
    content = inner.content or b""
    wire = call.request.wire
    if not inner.ok:
        return inner.status, translate.error(inner.status, content, inner.wire, wire), []
    try:
        body, lost = translate.response(
            content,
            inner.wire,
            wire,
            model=call.target.model,
            memo=translated.memo,
            at=call.at,
            operation=call.request.operation,
            base64_asked=_wants_base64(call.request),
        )
    except BackendError as error:
        # It says 200 and is no answer. It may have been billed, so it goes back as a reply and not as an exception.
        return error.status, codec(wire).error(error.status, error.kind, error.message), []
    return inner.status, body, _steps(lost)


async def _relay(inner: Reply, translator: translate.StreamTranslator) -> AsyncIterator[bytes]:
    if inner.chunks is None:
        return
    async for chunk in inner.chunks:
        if out := translator.feed(chunk):
            yield out
    if out := translator.end():
        yield out


async def _error_chunks(inner: Reply, wire: Wire) -> AsyncIterator[bytes]:
    yield translate.error(inner.status, await inner.read(), inner.wire, wire)


def _headers(headers: Headers, kind: str) -> Headers:
    """The upstream's request ids, rate limits and the like stay; what described its body goes."""
    return (*(header for header in headers if header[0] not in _OF_THE_BODY), ("content-type", kind))


def _wants_usage(request: Request) -> bool:
    if request.wire is not Wire.OPENAI_CHAT:
        return True
    options = request.body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _wants_base64(request: Request) -> bool:
    return request.operation is Operation.EMBED and request.body.get("encoding_format") == "base64"
