"""Requests that come again byte for byte, and are answered again by the exact cache: known before anything is read.

A request that the cache has answered once is remembered as it came, with the response and with everything that this
rested on. Its next like costs a look at each of those: the caller is still let in, the cache still has that very answer
and would give it, no flag was changed, the session is the same, prices are, nobody records it. Whatever is not as it
was sends it the long way, which remembers it anew. It leaves a receipt like any other.

Who asks, the headers and the bytes are compared whole, by digests with a key of this process's own; so what one caller
was told is never told to another. One of a configuration: a new one begins with nothing. See docs/decisions/0035.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Container
from hashlib import blake2b

import msgspec

from ..app import App
from ..call import Call, Outcome, Step, Verdict
from ..errors import BadRequest, PennyweightError
from ..flow import Flow
from ..hits import AGAIN, LOOKS, STILL, Again, Still
from ..money import Price
from ..request import Reply
from .auth import Gate
from .http import HttpRequest, HttpResponse
from .ids import call_id
from .remembered import Kept, Memory, sketch

__all__ = ["Repeated"]

log = logging.getLogger(__name__)

_LONGEST_BYTES = 2**20  # of a request or an answer that is remembered

_HEADERS = frozenset(
    {
        "age",
        "cache-control",
        "content-type",
        "x-pennyweight-cache",
        "x-pennyweight-call",
        "x-pennyweight-cost",
        "x-pennyweight-saved",
        "x-pennyweight-trail",
    }
)
"""Of the answer to a hit: those that are the same each time, the age and the call's id."""


class Repeated:
    """Protocol: `http.Known`. `keep` what was answered; `again` and `packet` answer its like."""

    def __init__(self, app: App, gate: Gate) -> None:
        self._app = app
        self._gate = gate
        self._secret = secrets.token_bytes(32)
        self._memory = Memory()
        self.lengths: Container[int] = self._memory.lengths
        app.kv.on_drop(self._memory.clear)  # what is purged is not kept here either

    # --- answering ------------------------------------------------------------------------------------------

    def packet(self, data: bytes, peer: str) -> bytes | None:
        memory = self._memory
        if len(data) not in memory.lengths or not memory.may_have_packet(data):
            return None
        try:
            kept = self._memory.by_packet.get(self._named(peer, data))
            return None if kept is None else self._answer(kept, self._app.clock.monotonic())
        except Exception as error:  # noqa: BLE001 - the long way is there, and must not be cut off
            self._failed(error)
            return None

    def again(self, request: HttpRequest) -> bytes | None:
        body = request.body
        memory = self._memory
        if len(body) not in memory.lengths or not memory.may_have(body):  # the first tells most, for no call
            return None
        arrived = self._app.clock.monotonic()
        try:
            kept = self._memory.by_name.get(self._name(request))
            if kept is None or kept.call.original.raw != body:
                return None
            return self._answer(kept, arrived) if kept.steady or self._admits(request, kept) else None
        except Exception as error:  # noqa: BLE001 - see `packet`
            self._failed(error)
            return None

    def _failed(self, error: Exception) -> None:
        log.warning("a repeated request goes the long way", extra={"error": type(error).__name__})
        self._memory.clear()

    def _admits(self, request: HttpRequest, kept: Kept) -> bool:
        """Whether the caller's key still holds."""
        try:
            return self._gate.admit(request)[0] == kept.call.identity.tenant
        except PennyweightError:
            return False  # which it is told on the long way

    def _answer(self, kept: Kept, arrived: float) -> bytes | None:
        """The response, its receipt on its way; None where something is not as it was."""
        app, like = self._app, kept.call
        age_s = kept.still.age_s()
        now = app.clock.now()
        if age_s is None or not self._stands(kept, now, arrived):
            self._memory.forget(kept)
            return None
        step = kept.step
        call = Call(
            call_id(now),
            like.identity,
            like.original,
            like.request,
            like.target,
            now,
            like.optimize,
            (Step(step.optimizer, step.verdict, step.saving, why=f"asked before, {age_s:.0f} s ago"),),
            like.risk_left,
            arrived=arrived,
            facts={"arm": kept.arm, LOOKS: [kept.still.look], AGAIN: kept.again},
        )
        if not app.pipeline.again(call):
            return None
        told = (kept.head % (int(age_s), call.id)).encode("latin-1") + kept.body
        took_s = app.clock.monotonic() - arrived
        app.clerk.submit(
            Outcome(
                call,
                kept.done,
                200,
                step.optimizer,
                headers=kept.headers,
                ttft_s=took_s if kept.streamed else None,
                latency_s=took_s,
                added_s=took_s,
            )
        )
        return told

    def _stands(self, kept: Kept, now: float, arrived: float) -> bool:
        """Whether all that the answer rested on, but for the cache and the caller's key, is as it was."""
        app, target = self._app, kept.call.target
        if kept.flags != app.policy.version or app.accounts.price(target.provider, target.model, now) is not kept.price:
            return False
        return kept.place is None or app.sessions.stays(kept.place, now=arrived)

    # --- remembering ----------------------------------------------------------------------------------------

    def keep(self, request: HttpRequest, call: Call, reply: Reply, response: HttpResponse) -> None:
        """Remember a request that a cache answered, if nothing but what `_answer` looks at can change the answer. Never
        raises: the caller has an answer already."""
        try:
            self._keep(request, call, reply, response)
        except Exception as error:  # noqa: BLE001 - see above
            self._failed(error)

    def _keep(self, request: HttpRequest, call: Call, reply: Reply, response: HttpResponse) -> None:
        still: Still | None = call.facts.get(STILL)
        body = _body(response)
        if still is None or body is None or reply.done is None:
            return
        step = reply.trail[0] if len(reply.trail) == 1 else None
        if step is None or step.optimizer != still.look[0] or step.verdict is not Verdict.ACCEPTED:
            return  # others had a part in it
        if response.status != 200 or any(name not in _HEADERS for name, _ in response.headers):
            return
        if len(body) > _LONGEST_BYTES or len(call.original.raw) > _LONGEST_BYTES:
            return
        if not self._is_plain(request, call):
            return
        app, identity, price = self._app, call.identity, self._price(call)
        place = None
        if identity.session_source == "derived":
            try:
                place = app.sessions.place(identity.tenant, call.original)
            except BadRequest:
                return
            if place is None:
                return
        steady = self._gate.steady(request)
        piece = request.packet if steady else b""  # before it is read, nobody knows whose key is in it
        self._memory.keep(
            Kept(
                name=self._name(request),
                packet=self._named(request.peer, piece) if piece else b"",
                packet_sketch=sketch(piece),
                sketch=sketch(request.body),
                call=msgspec.structs.replace(call, credential=None, facts={}),
                still=still,
                steady=steady,
                place=place,
                flags=app.policy.version,
                price=price,
                step=step,
                arm=str(call.facts.get("arm", "")),
                again=Again(),
                done=reply.done,
                headers=reply.headers,
                streamed=response.body is not body,
                head=_head(response, body),
                body=body,
            )
        )

    def _is_plain(self, request: HttpRequest, call: Call) -> bool:
        """Whether the call is of a kind of which all is known that decides on it."""
        app, identity, price = self._app, call.identity, self._price(call)
        if app.entrance is not app.pipeline or app.virtual(call) is not None:
            return False  # it may be answered later, or by another target
        if not identity.session or identity.housekeeping is not None or "expect" in request.fields:
            return False  # flags are drawn by the call's id, chores teach more, and an interim answer is due
        if call.credential is not None and call.credential.subscription:
            return False  # its receipt is not about dollars
        return price is None or not price.time_of_day

    def _price(self, call: Call) -> Price | None:
        return self._app.accounts.price(call.target.provider, call.target.model, call.at)

    # --- names ----------------------------------------------------------------------------------------------

    def _name(self, request: HttpRequest) -> bytes:
        """Of all but the body, of which its sketch is in it: the bodies of two that share a name are compared."""
        body = request.body
        told = (request.method, request.path, request.query, request.headers, *sketch(body))
        return self._named(request.peer, _encode(told))

    def _named(self, peer: str, data: bytes) -> bytes:
        digest = blake2b(data, digest_size=32, key=self._secret)
        digest.update(b"\0" + peer.encode())
        return digest.digest()


_encode = msgspec.msgpack.Encoder().encode


def _body(response: HttpResponse) -> bytes | None:
    """The body as it goes out, a stream in chunks; None for one that is still to come."""
    body = response.body
    if isinstance(body, bytes):
        return body
    chunks = body.ready if isinstance(body, Flow) else None
    if chunks is None or sum(map(len, chunks)) > _LONGEST_BYTES:
        return None
    return b"".join([b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks if chunk]) + b"0\r\n\r\n"


def _head(response: HttpResponse, body: bytes) -> str:
    """The response's head as the server writes it, `%d` for the age and `%s` for the call's id: in that order."""
    lines = ["HTTP/1.1 200 OK"]
    for name, value in response.headers:
        told = {"age": "%d", "x-pennyweight-call": "%s"}.get(name) or value.replace("%", "%%")
        lines.append(f"{name}: {told}")
    framing = f"content-length: {len(body)}" if response.body is body else "transfer-encoding: chunked"
    return "\r\n".join([*lines, framing, "", ""])
