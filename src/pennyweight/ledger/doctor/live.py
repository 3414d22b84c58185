"""The doctor on its rounds: sees every finished call of a gateway, off the request path, and stores what it finds.

Most calls cost it a few microseconds: a prompt whose bill shows that it was read is not compared with anything. What is
held is bounded in conversations and in bytes; prompts stay in memory only, and only to be compared with the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from ...call import Call, Outcome
from ...errors import BadRequest, StoreError
from ...prefix import Segment
from ...request import Operation, Request, Usage
from .doctor import Doctor, Rules, gather
from .finding import Finding
from .miss import FLOOR_TOKENS
from .sent import Pricing, is_whole, sent, tool_names
from .stored import forget, store

__all__ = ["Rounds", "Write"]

log = logging.getLogger(__name__)

Write = Callable[[Callable[[sqlite3.Connection], None]], Awaitable[None]]
"""Runs work in one transaction of the ledger's database."""

CONVERSATIONS = 256
HELD_BYTES = 32 << 20  # of requests whose text is kept to be compared with
WAITING = 1_000  # findings that wait for a database that fails


class Rounds:
    """Protocol: `pennyweight.protocols.Observer`. `close` it before the database."""

    wants_responses = False

    def __init__(
        self,
        *,
        rules: Rules,
        pricing: Pricing,
        chain: Callable[[Request, str], tuple[Segment, ...]],
        write: Write,
        every_s: float = 2.0,
        conversations: int = CONVERSATIONS,
        held_bytes: int = HELD_BYTES,
    ) -> None:
        """chain: of a request, with a name under which its head may be remembered. every_s: findings gather so long."""
        self._doctor = Doctor(rules, pricing, conversations=conversations, held_bytes=held_bytes)
        self._chain = chain
        self._write = write
        self._every_s = every_s
        self._names: OrderedDict[bytes, tuple[str, ...]] = OrderedDict()
        self._waiting: dict[tuple[str, ...], Finding] = {}
        self._late: list[Finding] = []  # that a failing database did not take
        self._flushing: asyncio.Task[None] | None = None

    @property
    def held_bytes(self) -> int:
        """Of prompts that are in memory."""
        return self._doctor.held_bytes

    def wants(self, call: Call) -> bool:
        return False

    async def take(self, outcomes: Sequence[Outcome]) -> None:
        """Looks at finished calls. Never raises."""
        for outcome in outcomes:
            usage = outcome.done.usage
            if usage is None or usage.input_tokens < FLOOR_TOKENS:  # most calls of a busy gateway are short
                continue
            try:
                self._look(outcome, usage)
            except BadRequest:
                pass  # the upstream took it, so it is somebody else's protocol
            except Exception as error:  # noqa: BLE001 - a doctor must not cost the ledger a call
                log.warning("the cache doctor failed", extra={"error": type(error).__name__})

    def _look(self, outcome: Outcome, usage: Usage) -> None:
        call, done = outcome.call, outcome.done
        if usage.counted or len(done.charges) != 1 or not 200 <= outcome.status < 300:
            return
        if call.original.operation is not Operation.GENERATE:
            return
        if not is_whole(call.request):
            return
        identity = call.identity
        session = f"{identity.tenant}\0{identity.session}\0sent" if identity.session else ""
        charge, target = done.charges[0], call.target
        if (charge.provider, charge.model) != (target.provider, target.model):
            target = msgspec.structs.replace(target, provider=charge.provider, model=charge.model)
        one = sent(
            call.request,
            call_id=call.id,
            at=call.at,
            identity=identity,
            target=target,
            usage=usage,
            chain=self._chain(call.request, session),
            original=call.original,
            texts=call.request.__dict__.get("_texts"),  # which is held elsewhere too
            took_s=outcome.ttft_s or 0.0,
            names=self._named,
            subscription=call.credential is not None and call.credential.subscription,
        )
        missed = self._doctor.see(one)
        if missed and len(self._waiting) < WAITING:
            quiet = [msgspec.structs.replace(miss, before="", after="") for miss in missed]
            gather(self._waiting, one, quiet)
            if self._flushing is None:
                self._flushing = asyncio.create_task(self._flush_soon())

    def _named(self, request: Request, chain: tuple[Segment, ...]) -> tuple[str, ...]:
        """The names of a request's tools, read once for each list of tools."""
        count = len(request.envelope.tools or ())
        last = chain[count - 1].digest if 0 < count <= len(chain) else b""  # one segment each, and they come first
        known = self._names.get(last)
        if known is None or len(known) != count:
            known = self._names[last] = tool_names(request)
            if len(self._names) > CONVERSATIONS:
                self._names.popitem(last=False)
        return known

    # --- storing ------------------------------------------------------------------------------------------------

    async def _flush_soon(self) -> None:
        await asyncio.sleep(self._every_s)
        self._flushing = None
        await self.flush()

    async def flush(self) -> None:
        """Store what was found. What a failing database does not take is tried again with the next find."""
        findings = [*self._late, *self._waiting.values()][-WAITING:]
        self._late, self._waiting = [], {}
        if not findings:
            return
        try:
            await self._write(lambda connection: store(connection, findings))
        except StoreError as error:
            log.warning("findings delayed: the ledger failed", extra={"error": type(error).__name__})
            self._late = findings
        except ValueError:
            log.warning("findings lost: the ledger cannot store them")

    async def forget(self, before: float) -> None:
        """Delete the findings that were last seen before that moment (unix seconds). Raises StoreError."""
        await self._write(lambda connection: forget(connection, before))

    async def close(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._flushing
        await self.flush()
