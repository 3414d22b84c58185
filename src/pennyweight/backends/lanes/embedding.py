"""Embeddings of several callers in one call to the provider, each caller its own vectors and its own share of the bill.

Callers of one tenant and account alone, who ask the same of the same model. Where the provider refuses them together,
each is asked alone, so that the one whom it meant is the only one to hear it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from ...call import Call, Step, Verdict
from ...errors import BadRequest
from ...protocols import Backend, Tokenizer
from ...request import Charge, Done, Edit, Headers, Operation, Reply, Request, Usage, Wire
from ...routing.background import LaneSettings
from ...wire.sameness import origin
from ..refusals import add_charges
from .apart import charges, usages
from .gathering import Gatherer, Member

__all__ = ["EmbedTogether"]

_MOST_INPUTS = 256  # of one caller, and of all together; OpenAI takes 2,048 and 300,000 tokens
_MOST_BYTES = 200_000
_PATHS = {Wire.OPENAI_CHAT: "/embeddings", Wire.OPENAI_RESPONSES: "/embeddings", Wire.OLLAMA: "/embed"}
_TOGETHER = frozenset((400, 413, 422))
"""Refusals that may mean one of the inputs alone, or that they are too many."""


class EmbedTogether:
    """A Backend. Streams, other operations and other providers are handed on."""

    def __init__(self, inner: Backend, tokenizer: Tokenizer, settings: LaneSettings) -> None:
        self._inner = inner
        self._tokenizer = tokenizer
        self._providers = frozenset(settings.embed)
        self._gatherer = Gatherer(self._send, window_s=settings.micro_window_ms / 1000, size=settings.micro_size)

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Raises what `inner` raises."""
        request = call.request
        if request.operation is not Operation.EMBED or call.target.provider not in self._providers:
            return self._inner.open(call)
        inputs = _inputs(request)
        if inputs is None or len(inputs) > _MOST_INPUTS or len(request.raw) > _MOST_BYTES:
            return self._inner.open(call)
        return self._gatherer.join(_key(call, inputs), Member(call, self._tokens(inputs)))

    async def aclose(self) -> None:
        await self._gatherer.aclose()

    def _tokens(self, inputs: Sequence[Any]) -> int:
        return max(sum(self._tokenizer.count(one) if isinstance(one, str) else len(one) for one in inputs), 1)

    async def _send(self, members: Sequence[Member]) -> None:
        pieces = _pieces(members)
        for piece in pieces:
            await self._together(piece)

    async def _together(self, members: Sequence[Member]) -> None:
        if len(members) == 1:
            return await self._alone(members)
        asked = [_inputs(member.call.request) or [] for member in members]
        whole = members[0].call
        whole = whole.sending(whole.request.edit([Edit(("input",), [one for inputs in asked for one in inputs])]))
        async with await self._inner.open(whole) as reply:
            content = await reply.read()
        if reply.status in _TOGETHER:
            return await self._alone(members)
        if not reply.ok:
            refused = Done(complete=False)
            for member in members:
                await member.give(Reply(reply.status, reply.headers, wire=reply.wire, content=content, done=refused))
            return None
        bodies = _split(reply.wire, content, [len(inputs) for inputs in asked])
        if bodies is None:
            return await self._alone(members, reply.done.charges if reply.done is not None else ())
        await self._share(members, reply, bodies)
        return None

    async def _alone(self, members: Sequence[Member], billed: Sequence[Charge] = ()) -> None:
        """billed: what asking for all together has cost in vain, which the first of them carries."""

        async def ask(member: Member, earlier: Sequence[Charge]) -> None:
            try:
                reply = await self._inner.open(member.call)
                add_charges(reply, earlier)
                await member.give(reply)
            except Exception as error:  # noqa: BLE001 - its own, and nobody else's
                member.fail(error)

        await asyncio.gather(*(ask(member, () if number else billed) for number, member in enumerate(members)))

    async def _share(self, members: Sequence[Member], reply: Reply, bodies: Sequence[_Body]) -> None:
        """Those who have left meanwhile leave their share of the bill to the others."""
        told = reply.done or Done(complete=False)
        there = [at for at, member in enumerate(members) if not member.left]
        usage = told.usage or Usage()
        parts = usages(usage, [members[at].size for at in there], [1] * len(there))
        bills = [
            charges(charge, usages(charge.usage, [members[at].size for at in there], [1] * len(there)))
            for charge in told.charges
        ]
        note = Step("lanes", Verdict.ACCEPTED, why=f"embedded together with {len(members) - 1} other calls")
        for number, at in enumerate(there):
            billed: tuple[Charge, ...] = tuple(bill[number] for bill in bills)
            done = Done(parts[number] if told.usage is not None else None, told.finish_reason, billed, told.complete)
            content = bodies[at].told(parts[number])
            given = Reply(reply.status, _headers(reply.headers), wire=reply.wire, content=content, done=done)
            given.notes.append(note)
            given.asked_at = reply.asked_at
            await members[at].give(given)


def _headers(headers: Headers) -> Headers:
    return tuple(header for header in headers if header[0] != "content-length")


def _inputs(request: Request) -> list[Any] | None:
    """What is to be embedded, one by one: texts, or texts as tokens; None for what cannot be read so."""
    if not request.path.endswith(_PATHS.get(request.wire, "\0")) or request.query:
        return None
    try:
        asked = request.body.get("input")
    except BadRequest:
        return None
    if isinstance(asked, str):
        return [asked]
    if not isinstance(asked, list) or not asked:
        return None
    if all(isinstance(one, str) for one in asked):
        return asked
    if all(isinstance(one, int) for one in asked):
        return [asked]
    tokens = all(isinstance(one, list) and one and all(isinstance(t, int) for t in one) for one in asked)
    return asked if tokens else None


def _key(call: Call, inputs: Sequence[Any]) -> bytes:
    """What calls must have in common: everything but what is to be embedded."""
    others = {name: value for name, value in call.request.body.items() if name != "input"}
    digest = blake2b(origin(call, call.request), digest_size=16)
    digest.update(msgspec.json.encode((isinstance(inputs[0], str), others), order="sorted"))
    return digest.digest()


def _pieces(members: Sequence[Member]) -> list[list[Member]]:
    pieces: list[list[Member]] = []
    count = size_bytes = 0
    for member in members:
        inputs = len(_inputs(member.call.request) or ())
        if not pieces or count + inputs > _MOST_INPUTS or size_bytes + len(member.call.request.raw) > _MOST_BYTES:
            pieces.append([])
            count = size_bytes = 0
        pieces[-1].append(member)
        count, size_bytes = count + inputs, size_bytes + len(member.call.request.raw)
    return pieces


# --- answers ----------------------------------------------------------------------------------------------------


class _Vector(msgspec.Struct):
    embedding: msgspec.Raw
    index: int
    object: str = "embedding"


class _OpenAI(msgspec.Struct):
    data: list[_Vector]


class _Ollama(msgspec.Struct):
    embeddings: list[msgspec.Raw]


class _Body:
    """The answer of one caller: the whole answer's own fields, with its vectors and its usage."""

    def __init__(self, wire: Wire, fields: dict[str, Any], vectors: Sequence[Any]) -> None:
        self._wire = wire
        self._fields = fields
        self._vectors = vectors

    def told(self, usage: Usage) -> bytes:
        if self._wire is Wire.OLLAMA:
            counted = {"prompt_eval_count": usage.input_tokens} if "prompt_eval_count" in self._fields else {}
            return msgspec.json.encode(self._fields | {"embeddings": self._vectors} | counted)
        fields = self._fields | {"data": self._vectors}
        if isinstance(fields.get("usage"), dict):
            tokens = {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens}
            fields["usage"] = fields["usage"] | tokens
        return msgspec.json.encode(fields)


def _split(wire: Wire, content: bytes, counts: Sequence[int]) -> list[_Body] | None:
    """The answers of callers who had so many inputs each; None where the vectors are not all there."""
    try:
        fields = msgspec.json.decode(content)
        if wire is Wire.OLLAMA:
            vectors: list[Any] = list(msgspec.json.decode(content, type=_Ollama).embeddings)
        else:
            found = msgspec.json.decode(content, type=_OpenAI).data
            vectors = [None] * len(found)
            for vector in found:
                if not 0 <= vector.index < len(found) or vectors[vector.index] is not None:
                    return None
                vectors[vector.index] = vector
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if len(vectors) != sum(counts):
        return None
    bodies, start = [], 0
    for count in counts:
        own = vectors[start : start + count]
        if wire is not Wire.OLLAMA:
            own = [{"object": one.object, "index": at, "embedding": one.embedding} for at, one in enumerate(own)]
        bodies.append(_Body(wire, fields, own))
        start += count
    return bodies
