"""A Backend that says "later": 202 and an id at once, and the answer when it is there, fetched or sent to a webhook.

It stands before the whole pipeline, so that the call that it then makes is one like any other, with caches, budgets and
a receipt under the id that its caller was told. A call is on the shelf before its caller is told, and a killed
process's calls are gone on with by the next.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import msgspec

from ...call import Call
from ...errors import BackendError, BadRequest, Overloaded, PennyweightError, StoreError
from ...money import PicoUSD
from ...protocols import Backend, Clock
from ...request import DELETE, Charge, Done, Edit, Headers, Operation, Reply, Request
from ...routing.background import LANE, LaneSettings, background
from ...routing.batches import Deferred, DeferredShelf
from ...wire import codec

__all__ = ["DELIVER", "Later", "Post"]

log = logging.getLogger(__name__)

DELIVER = "x-pennyweight-deliver"
"""The caller's word: "later", or "webhook:NAME" for one that the configuration names."""

Post = Callable[[str, Headers, bytes], Awaitable[int]]
"""(address, headers, body) to the status that came back. Raises BackendError."""


class Later:
    """cost: of one bill. secret: what deliveries are signed with."""

    def __init__(
        self,
        inner: Backend,
        shelf: DeferredShelf,
        clock: Clock,
        *,
        settings: LaneSettings,
        cost: Callable[[Charge], PicoUSD | None],
        post: Post,
        secret: str = "",
        waits_s: tuple[float, ...] = (1.0, 10.0, 60.0, 600.0, 3_600.0),
        most: int = 20_000,
    ) -> None:
        """waits_s: after each refused delivery, until the next. most: calls that may wait at once."""
        self._inner = inner
        self._shelf = shelf
        self._clock = clock
        self._settings = settings
        self._cost = cost
        self._post = post
        self._secret = secret
        self._waits_s = waits_s
        self._most = most
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        """Raises BadRequest for what cannot be answered later, StoreError where it cannot be kept."""
        asked = call.original.header(DELIVER)
        return self._inner.open(call) if asked is None else self._deferred(call, asked.strip())

    async def _deferred(self, call: Call, asked: str) -> Reply:
        webhook = self._webhook(call, asked)
        await self.start()
        if len(self._tasks) >= self._most:
            raise Overloaded(f"{self._most} calls wait already, the most there may be. Try again.", retry_after_s=60.0)
        request = _marked(call.original)
        waiting = msgspec.structs.replace(call, original=request, request=request)
        found = background(waiting, self._settings)
        if found is None:
            raise BadRequest("x-pennyweight-deadline(-s) cannot be read, or has passed. Write seconds from now.")
        kept = Deferred(
            call.id,
            call.identity,
            request.wire,
            request.path,
            request.query,
            request.operation,
            call.target,
            request.headers,
            request.raw,
            call.optimize,
            call.at,
            found.until,
            webhook,
        )
        await self._shelf.keep(kept)
        self._begin(kept, waiting)
        told = {"id": call.id, "object": "pennyweight.deferred", "status": "waiting", "until": found.until}
        content = msgspec.json.encode(told | {"url": f"/pennyweight/lanes/{call.id}"})
        headers: Headers = (("content-type", "application/json"), ("location", f"/pennyweight/lanes/{call.id}"))
        return Reply(202, headers, wire=call.original.wire, content=content, done=Done())

    def _webhook(self, call: Call, asked: str) -> str:
        """The name that the caller means, "" for none. Raises BadRequest."""
        kind, _, name = asked.partition(":")
        if not self._settings.marked:
            raise BadRequest("Calls are not answered later here. The operator can allow it: lanes.marked = true.")
        if call.original.operation not in (Operation.GENERATE, Operation.EMBED):
            raise BadRequest("Only calls for an answer or for embeddings can be answered later.")
        if call.credential is not None:
            raise BadRequest("A call with a key of the caller's own cannot be answered later: keys are not stored.")
        if kind == "later" and not name:
            return ""
        if kind != "webhook" or name not in self._settings.webhooks:
            raise BadRequest(
                f'{DELIVER} {asked[:40]!r} is not known. Use "later", or "webhook:NAME" with a name of '
                "[lanes.webhooks] in the gateway's configuration; addresses are not taken from callers."
            )
        return name

    # --- a call that is under way -----------------------------------------------------------------------------

    def _begin(self, kept: Deferred, call: Call | None) -> None:
        task = asyncio.create_task(self._run(kept, call))
        self._tasks[kept.id] = task
        task.add_done_callback(lambda _task: self._tasks.pop(kept.id, None))

    async def _run(self, kept: Deferred, call: Call | None) -> None:
        if call is not None:
            kept = await self._asked(kept, call)
        if kept.webhook and not kept.told:
            await self._deliver(kept)

    async def _asked(self, kept: Deferred, call: Call) -> Deferred:
        cost: PicoUSD | None = 0
        try:
            async with await self._inner.open(call) as reply:
                status, answer = reply.status, await reply.read()
            costs = [self._cost(charge) for charge in reply.done.charges] if reply.done is not None else []
            cost = None if None in costs else sum(one for one in costs if one is not None)
        except PennyweightError as error:
            status = error.status
            answer = codec(kept.wire).error(error.status, error.kind, error.message, code=error.code)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not leave its caller waiting for ever
            log.error("a deferred call failed", extra={"error": type(error).__name__})
            status, answer = 500, codec(kept.wire).error(500, "api_error", "Pennyweight failed on this request.")
        kept = msgspec.structs.replace(
            kept, state="done", status=status, answer=answer, cost=cost, body=b"", done_at=self._clock.now()
        )
        await self._keep(kept)
        return kept

    async def _deliver(self, kept: Deferred) -> None:
        """Until it is taken, or refused for good, or `waits_s` is spent. Only to addresses of the configuration."""
        body = _delivery(kept)
        headers: Headers = (("content-type", "application/json"), ("x-pennyweight-call", kept.id))
        if self._secret:
            signed = hmac.new(self._secret.encode(), body, hashlib.sha256).hexdigest()
            headers += (("x-pennyweight-signature", f"sha256={signed}"),)
        for wait_s in (*self._waits_s, None):
            address = self._settings.webhooks.get(kept.webhook)
            try:
                status = await self._post(address, headers, body) if address else 410
            except BackendError as error:
                log.warning("a webhook cannot be reached", extra={"hook": kept.webhook, "error": type(error).__name__})
                status = 503
            if status < 300 or (status < 500 and status not in (408, 425, 429)):
                break
            if wait_s is not None:
                await asyncio.sleep(wait_s)
        if status >= 300:
            log.warning("an answer was not delivered", extra={"hook": kept.webhook, "status": status})
        await self._keep(msgspec.structs.replace(kept, told=True))

    async def _keep(self, kept: Deferred) -> None:
        for attempt in range(_TRIES):
            try:
                return await self._shelf.keep(kept)
            except (StoreError, ValueError) as error:
                log.warning("a deferred answer cannot be stored", extra={"error": type(error).__name__})
                await asyncio.sleep(0.2 * (attempt + 1))
        return None

    async def drop(self, id: str, tenant: str) -> bool:
        """Forget a call, and stop it if it is under way; False: there is none of that tenant. Raises StoreError."""
        found = await self._shelf.drop(id, tenant)
        task = self._tasks.get(id)
        if found and task is not None:
            task.cancel()
        return found

    # --- from one process to the next --------------------------------------------------------------------------

    async def start(self) -> None:
        """Go on with what processes that are no more have left, now and later. Never raises; safe to call again."""
        if "" in self._tasks:
            return
        self._tasks[""] = asyncio.create_task(self._tidy())
        await self._take_over()

    async def _take_over(self) -> None:
        try:
            left = await self._shelf.load()
        except (StoreError, ValueError) as error:
            log.warning("deferred calls of before cannot be read", extra={"error": type(error).__name__})
            return
        for kept in left:
            self._begin(kept, self._again(kept) if kept.state == "waiting" else None)

    def _again(self, kept: Deferred) -> Call:
        request = Request(kept.wire, kept.body, kept.headers, kept.path, kept.query, "POST", kept.operation)
        return Call(kept.id, kept.identity, request, request, kept.target, kept.at, kept.optimize)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(_TIDY_S)
            await self._take_over()
            try:
                await self._shelf.forget(self._clock.now() - self._settings.keep_s)
            except StoreError as error:
                log.warning("deferred calls could not be tidied", extra={"error": type(error).__name__})

    async def aclose(self) -> None:
        """The calls under way are gone on with by the next process."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


_TRIES = 5
_TIDY_S = 30.0


def _marked(request: Request) -> Request:
    """The request as one for a whole answer, and marked as one that can wait."""
    edits = [Edit(("stream_options",), DELETE)] if "stream_options" in request.body else []
    if request.stream:
        edits.append(Edit(("stream",), False))
    headers = tuple(header for header in request.headers if header[0] not in (DELIVER, LANE))
    edited = request.edit(edits) if edits else request
    return msgspec.structs.replace(edited, headers=(*headers, (LANE, "background")))


def _delivery(kept: Deferred) -> bytes:
    facts: Mapping[str, Any] = {
        "id": kept.id,
        "object": "pennyweight.deferred",
        "status": kept.status,
        "cost_pico_usd": kept.cost,
        "body": msgspec.Raw(kept.answer) if _is_json(kept.answer) else kept.answer.decode("utf-8", "replace"),
    }
    return msgspec.json.encode(facts)


def _is_json(content: bytes) -> bool:
    try:
        msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
