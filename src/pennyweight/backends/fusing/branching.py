"""Follows a call in flight whose question is of the same template, with this one's values in place of its own.

What is known of a template was learnt by the optimizer `templates` and is read from the store; nothing is learnt here.
A stream is filled as it comes, as long as the leader says what the template foretells. Where it does not, the follower
is asked by itself, and goes on where it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from ...call import Call, Step, Verdict
from ...errors import StoreError, StreamCut
from ...kept import entry_key, unwrapped
from ...protocols import KV
from ...request import Operation, Reply, Wire
from ...text.templates.entry import Entry, decode, digest
from ...text.templates.family import Branch, Family, branch, foresee
from ...text.templates.filling import Doubt, Filler, Swap
from ...text.templates.slots import Masked, mask
from ...wire.answers import only_text, with_text
from ...wire.questions import eligible, fingerprint
from ...wire.sse import Splitter
from ...wire.translate.lines import Lines
from ...wire.translate.pieces import BlockEnd, Counted, Ended, Opened, Piece, Stopped, TextPiece
from ...wire.translate.stream import named, reader, writer
from .resume import Resume

__all__ = ["Branching", "Plan", "Template"]

log = logging.getLogger(__name__)

Ask = Callable[[Call], Awaitable[Reply]]


class Template(msgspec.Struct, frozen=True, eq=False):
    """A call's question as its template and what stands in it. `key`: what two calls of one template have in common."""

    key: str
    question: Masked
    streams: bool


class Plan(msgspec.Struct, frozen=True):
    """How a follower's answer is made of its leader's, and what both should come to by what is known."""

    swaps: tuple[Swap, ...]
    leaders: str
    followers: str


class Branching:
    """Finds who may follow whom, and fills the leader's answer.

    doubtful: answers of a template that must have been foretold rightly before one that is still on its way is filled.
    """

    def __init__(self, kv: KV, *, doubtful: int = 4, most_chars: int = 4000, store_s: float = 0.05) -> None:
        self._kv = kv
        self._doubtful = doubtful
        self._most_chars = most_chars
        self._store_s = store_s

    def template(self, call: Call) -> Template | None:
        """None for a call without slots, or whose answer lies in more than its words."""
        if call.optimize != "max" or call.original.operation is not Operation.GENERATE or call.rewritten:
            return None
        found = eligible(call.original, sampled=False, most_chars=self._most_chars)
        if isinstance(found, str):
            return None
        question = mask(found.text)
        if not question.values:
            return None
        name = digest(fingerprint(call, found), question.key)
        key = entry_key("fusing", call.identity.tenant, name, call.target.model)
        return Template(key, question, call.request.stream)

    async def plan(self, leader: Template, follower: Template) -> Plan | None:
        """None when too little is known of the template, or something is in doubt."""
        if leader.streams != follower.streams:
            return None
        try:
            async with asyncio.timeout(self._store_s):
                value = await self._kv.get(follower.key)
        except (StoreError, TimeoutError):
            return None
        kept = unwrapped(follower.key, value) if value is not None else None
        entry = decode(kept.payload, Entry) if kept is not None else None
        if entry is None:
            return None
        swaps = foresee(entry.family, leader.question, follower.question, doubtful=self._doubtful)
        leaders, followers = self._foretold(entry.family, leader), self._foretold(entry.family, follower)
        if isinstance(swaps, str) or leaders is None or followers is None:
            return None
        return Plan(swaps, leaders, followers)

    def _foretold(self, family: Family, template: Template) -> str | None:
        """What the model should say, by earlier answers, however old they are; None when that is in doubt."""
        for example in family.examples:
            if example.values == template.question.values:
                return example.answer
        made = branch(family, template.question, witnesses=self._doubtful, doubtful=self._doubtful)
        return made.text if isinstance(made, Branch) else None

    async def follow(self, plan: Plan, leading: Reply, call: Call, ask: Ask) -> Reply:
        """The follower's reply out of its part of the leader's. ask: for an answer of its own."""
        if not leading.ok:
            return leading
        if leading.content is not None:
            return await self._whole(plan, leading, call, ask)
        filling = _Filling(plan, leading, call, ask)
        reply = Reply(leading.status, leading.headers, wire=leading.wire, chunks=filling.chunks(), close=filling.close)
        filling.reply = reply
        reply.notes.extend(leading.notes)
        reply.notes.append(_STEP)
        return reply

    async def _whole(self, plan: Plan, leading: Reply, call: Call, ask: Ask) -> Reply:
        content = leading.content or b""
        found = only_text(leading.wire, content)
        if found is None or found[0] != plan.leaders:
            await leading.aclose()
            own = await ask(call)
            own.on_end.insert(0, lambda reply: _add_charges(reply, leading))
            return own
        leading.content = with_text(content, found[1], plan.followers)
        leading.notes.append(_STEP)
        return leading


_STEP = Step("coalesce", Verdict.ACCEPTED, why="the answer of a call in flight, with this one's values")


class _Filling:
    """One follower's stream."""

    def __init__(self, plan: Plan, leading: Reply, call: Call, ask: Ask) -> None:
        self._plan = plan
        self._leading = leading
        self._call = call
        self._ask = ask
        self._own: Reply | None = None
        self.reply: Reply | None = None
        asked = call.request.envelope.stream_options
        self._include_usage = asked is not None and b'"include_usage"' in bytes(asked) and b"true" in bytes(asked)

    async def close(self) -> None:
        try:
            await self._leading.aclose()
        finally:
            if self._own is not None:
                await self._own.aclose()
        if self.reply is not None and self._own is not None:
            self.reply.done = self._own.done
            _add_charges(self.reply, self._leading)
        elif self.reply is not None:
            self.reply.done = self._leading.done

    async def chunks(self) -> AsyncIterator[bytes]:
        sent: list[bytes] = []
        try:
            async for chunk in self._filled():
                sent.append(chunk)
                yield chunk
            return
        except Doubt as doubt:
            log.info("a follower is asked by itself", extra={"doubt": str(doubt)})
        except StreamCut:
            log.info("a follower is asked by itself", extra={"doubt": "its leader broke off"})
        async for chunk in self._go_on(b"".join(sent)):
            yield chunk

    async def _filled(self) -> AsyncIterator[bytes]:
        """Raises Doubt as soon as the leader says something that was not foretold, before it is handed on."""
        wire = self._leading.wire
        cut: Splitter | Lines = Lines() if wire is Wire.OLLAMA else Splitter()
        read = reader(wire)
        write = writer(wire, self._call.target.model, include_usage=self._include_usage).write
        filler, said, given, ended = Filler(self._plan.swaps), 0, "", False
        assert self._leading.chunks is not None
        async for chunk in self._leading.chunks:
            out: list[bytes] = []
            for name, data in named(cut.feed(chunk)):
                if not data.strip():
                    continue
                for piece in _read(read.read, name, data):
                    match piece:
                        case TextPiece(text=text, logprobs=None):
                            if not self._plan.leaders.startswith(text, said):
                                raise Doubt("an answer that was not as foretold")
                            said += len(text)
                            told = filler.feed(text)
                            given += told
                            out += [write(TextPiece(told))] if told else []
                        case BlockEnd() | Stopped() if not ended:
                            ended = True
                            told = filler.end()
                            if said != len(self._plan.leaders) or given + told != self._plan.followers:
                                raise Doubt("an answer that was not as foretold")
                            out += [write(TextPiece(told)), write(piece)] if told else [write(piece)]
                        case Opened() | BlockEnd() | Stopped() | Counted() | Ended():
                            out.append(write(piece))
                        case _:
                            raise Doubt("more than a text in the leader's answer")
            if filled := b"".join(out):
                yield filled
        if not ended:
            raise StreamCut("The answer that was followed ended early.")

    async def _go_on(self, sent: bytes) -> AsyncIterator[bytes]:
        """Raises what asking raised, and StreamCut where the own answer says something else than was said already."""
        await self._leading.aclose()  # or it would hold up the leader
        self._own = await self._ask(self._call)
        if self._own.chunks is None or not self._own.ok:
            raise StreamCut("The answer that was followed is in doubt, and the upstream gave no other one. Ask again.")
        model = self._call.target.model
        resume = Resume(self._own.wire, sent, model=model, include_usage=self._include_usage)
        async for chunk in self._own.chunks:
            if more := resume.feed(chunk):
                yield more
        if rest := resume.end():
            yield rest


def _add_charges(reply: Reply, leading: Reply) -> None:
    """What the follower was to pay for the answer that it left: its leader was gone by then."""
    if leading.done is not None and leading.done.charges and reply.done is not None:
        charges = (*leading.done.charges, *reply.done.charges)
        reply.done = msgspec.structs.replace(reply.done, charges=charges)


def _read(read: Callable[[str, bytes], list[Piece]], name: str, data: bytes) -> list[Piece]:
    try:
        return read(name, data)
    except (ValueError, TypeError, AttributeError, KeyError):
        raise Doubt("an event that cannot be read") from None
