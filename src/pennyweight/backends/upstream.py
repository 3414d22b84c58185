"""A provider: sends a call as it is, relays the answer as it comes, and reads usage from the side.

Also `Dispatch`, the backend that hands a call to the provider its target names.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Coroutine, Mapping
from operator import itemgetter
from typing import Any

import msgspec

from ..call import Call, Credential, Step, Verdict
from ..errors import AuthFailed, NotFound, StreamCut, Unreachable
from ..flow import Flow, Ready
from ..protocols import Backend, Clock
from ..request import Charge, Done, Edit, Headers, Operation, Reply, Request, Wire, get_header
from ..surrogates import sound
from ..wire import codec, translate
from .direct import beneath
from .transport import Opened, Origin, Transport

__all__ = ["ONCE", "Dispatch", "Upstream"]

log = logging.getLogger(__name__)

ONCE = "once"
"""The key of `Call.facts` by which a call is sent over a connection of its own. One that was kept may be closed by the
upstream at the moment when it is used, and is then replaced and the request sent again: whether the first was read is
not known."""

PickKey = Callable[[Call], str | None]
"""Which of our keys a call uses; None when we have none."""

# Framing and credentials are ours; bodies are never asked for compressed, so that usage can be read as they pass.
_NOT_SENT = frozenset(
    {
        "host",
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "proxy-authenticate",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "accept-encoding",
        "expect",
        "authorization",
        "x-api-key",
        "cookie",
    }
)
_NOT_RELAYED = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "set-cookie"})
_NAME = itemgetter(0)
_STREAMS = ("text/event-stream", "application/x-ndjson")


class _Going(msgspec.Struct, frozen=True, eq=False):
    """How a request goes out: what it depends on beside its own path and headers, and what comes of it."""

    key: str | None
    credential: Credential | None
    where: Origin
    target: str
    headers: Headers
    head: bytes


class Upstream:
    """The Backend of one provider. `urls`: for each protocol, the address that stands for our own /v1 (or /api).

    `report_key`: told (key, status) for each answer, for rotation. Refusals of the provider are Replies, verbatim.
    """

    def __init__(
        self,
        name: str,
        urls: Mapping[Wire, Origin],
        transport: Transport,
        *,
        clock: Clock,
        auth: str = "bearer",
        headers: Headers = (),
        pick_key: PickKey = lambda _call: None,
        report_key: Callable[[str, int], None] | None = None,
        key_hint: str | None = None,
        takes: Callable[[str], bool] = lambda _secret: True,
    ) -> None:
        self.name = name
        self._urls = dict(urls)
        self._transport = transport
        self._clock = clock
        self._auth = auth
        self._headers = headers
        self._pick_key = pick_key
        self._report_key = report_key
        self._key_hint = key_hint
        self._takes = takes  # whether a caller's own key can be one of this provider's: no other is shown to it

    async def open(self, call: Call) -> Reply:
        """Raises BackendError when nothing came back, AuthFailed when there is no key to ask with."""
        request = call.request
        if request.operation is not _OTHER and request.model != call.target.model:
            request = _renamed(call)
        # What is passed on untouched may be asked of a provider under a protocol that is not the path's.
        where = self._urls.get(request.wire) or self._urls[call.target.wire]
        key = None if call.credential is not None else self._pick_key(call)
        room = request.room
        going: _Going | None = room.get(self) if room is not None else None
        if going is None or going.key != key or going.credential is not call.credential or going.where is not where:
            going = self._going(call, request, where, key)
            if room is not None:
                room[self] = going
        asked_at = self._clock.monotonic()
        opened = await self._transport.send(
            where, request.method, going.target, going.headers, request.raw, head=going.head, fresh=ONCE in call.facts
        )
        if key is not None:
            if self._report_key is not None:
                self._report_key(key, opened.status)
            if opened.status >= 400 and len(key) >= _SECRET_CHARS:
                opened = await _without(opened, key)
        reply = self._plain(call, request, opened) or await self._reply(call, request, opened)
        reply.asked_at = asked_at
        return reply

    async def aclose(self) -> None:
        await self._transport.aclose()

    def _going(self, call: Call, request: Request, where: Origin, key: str | None) -> _Going:
        target = where.prefix + _suffix(request)
        headers = self._sent(call, request, key)
        head = self._transport.head(where, request.method, target, headers)
        return _Going(key, call.credential, where, target, headers, head)

    def _sent(self, call: Call, request: Request, key: str | None) -> Headers:
        fields = request.fields
        sent = list(request.headers)
        if not _NOT_SENT.isdisjoint(fields) or "x-pennyweight-" in " ".join(fields):
            sent = [h for h in sent if h[0] not in _NOT_SENT and not h[0].startswith("x-pennyweight-")]
            if "accept-encoding" in fields:
                sent.append(("accept-encoding", "identity"))
        if call.credential is not None and self._takes(call.credential.secret):
            sent.append((call.credential.header, call.credential.secret))
        elif key is not None:
            sent.append(("x-api-key", key) if self._auth == "x-api-key" else ("authorization", f"Bearer {key}"))
        elif self._key_hint is not None:
            raise AuthFailed(f"There is no key for {self.name}. {self._key_hint}")
        sent.extend(self._headers)
        return tuple(sent)

    def _plain(self, call: Call, request: Request, opened: Opened) -> Reply | None:
        """The answer that nearly all calls get: here whole, of a shape that is known, with usage to be believed. None
        for any other."""
        content = opened.content
        if content is None or request.operation is not _GENERATE:
            return None
        room = opened.room
        headers: Headers | None = room.get(_PLAIN) if room is not None else None
        if headers is None:
            headers = _relayed(opened, request.method)
            told = dict(reversed(headers))
            streams = told.get("content-type", "").startswith(_STREAMS)
            if not 200 <= opened.status < 300 or streams or "content-encoding" in told:
                return None
            if room is not None:
                room[_PLAIN] = headers
        done = codec(request.wire).read(content)
        if not done.complete or done.usage is None or done.usage.suspect:
            return None
        done = self._charged(call, done)
        return Reply(opened.status, headers, wire=request.wire, content=content, done=done)

    async def _reply(self, call: Call, request: Request, opened: Opened) -> Reply:
        headers = _relayed(opened, request.method)
        ok = 200 <= opened.status < 300
        told = dict(reversed(headers))
        generates = request.operation is Operation.GENERATE
        streams = ok and generates and told.get("content-type", "").startswith(_STREAMS)
        if opened.content is not None and streams:
            # A short stream may be here whole before its head was looked at. Its usage is in its events all the same.
            opened = Opened(opened.status, opened.headers, chunks=Flow(Ready([opened.content])))
        if opened.content is None and not streams and request.operation is not Operation.OTHER:
            opened = await _read(opened)
        if opened.content is not None:
            if request.operation is not Operation.OTHER:
                if 300 <= opened.status < 400:
                    raise Unreachable(
                        f"{self.name} answered {opened.status}, a redirect, which is not followed: it could lead "
                        f"anywhere. Correct the base URL of {self.name}."
                    )
                # A 4xx is the provider's word and goes on verbatim; under `off` everything does.
                if opened.status >= 500 and call.optimize != "off" and not _is_json(opened.content, headers):
                    return _retold(request.wire, opened)
            done = self._whole(call, request, opened.content, headers, ok=ok)
            unread = ok and done.usage is None and not done.complete and call.optimize != "off"
            if unread and not _is_json(opened.content, headers):
                raise StreamCut(
                    f"{self.name} answered {opened.status} with what is {_named(opened.content)}. Is its base URL "
                    "right? It may be down; try again."
                )
            reply = Reply(opened.status, headers, wire=request.wire, content=opened.content, done=done)
            if done.complete if done.usage is None else done.usage.suspect:
                content = opened.content
                reply.output_text = lambda: _text(request.wire, sound(_plain(content, headers)))
            return reply
        if not streams:
            return Reply(
                opened.status,
                headers,
                wire=request.wire,
                chunks=opened.chunks,
                done=Done(),
                close=opened.close,
            )
        return self._stream(call, request, opened, headers)

    def _whole(self, call: Call, request: Request, content: bytes, headers: Headers, *, ok: bool) -> Done:
        if not ok or request.operation is Operation.OTHER:
            return Done(complete=ok)
        plain = _plain(content, headers)
        done = codec(request.wire).read(plain)
        if done.usage is None and not done.complete and (mended := sound(plain)) is not plain:
            done = codec(request.wire).read(mended)
        if request.operation is Operation.COUNT:
            return Done(complete=done.complete)
        return self._charged(call, done)

    def _stream(self, call: Call, request: Request, opened: Opened, headers: Headers) -> Reply:
        tap = codec(request.wire).tap()
        flow = opened.chunks
        assert flow is not None
        decode = _decoder(headers)
        flow.watch(tap.feed if decode is None else lambda chunk: tap.feed(decode(chunk)))

        async def close() -> None:
            try:
                done = tap.done()
                if flow.ended and not done.complete and getattr(tap, "finished", False):
                    done = msgspec.structs.replace(done, complete=True)  # servers that send no end marker but end well
                reply.done = self._charged(call, done)
            except Exception as error:  # noqa: BLE001 - a stream that cannot be read is closed and counted all the same
                log.warning("a stream could not be read", extra={"wire": request.wire, "error": type(error).__name__})
                reply.done = Done(complete=False)
            finally:
                if opened.close is not None:
                    await opened.close()

        reply = Reply(opened.status, headers, wire=request.wire, chunks=flow, close=close)
        reply.output_text = tap.output_text
        return reply

    def _charged(self, call: Call, done: Done) -> Done:
        if done.usage is None:
            return done  # the clerk counts it: see clerk.py
        charge = Charge(self.name, call.target.model, done.usage, self._clock.now())
        return Done(done.usage, done.finish_reason, (charge,), done.complete)


class Dispatch:
    """Hands a call to the backend of the provider that its target names."""

    def __init__(self, backends: Mapping[str, Backend]) -> None:
        self._backends = dict(backends)

    def open(self, call: Call) -> Coroutine[Any, Any, Reply]:
        backend = self._backends.get(call.target.provider)
        if backend is None:
            raise NotFound(
                f"There is no provider {call.target.provider!r}. Known: {', '.join(sorted(self._backends))}."
            )
        return backend.open(call)

    def beneath(self, call: Call) -> Backend:
        found = self._backends.get(call.target.provider)
        return self if found is None else beneath(found, call)


def _renamed(call: Call) -> Request:
    """The request under the name that the provider has for the model."""
    request = call.request
    if request.operation is Operation.OTHER or not call.target.model or request.model == call.target.model:
        return request
    return request.edit([Edit(("model",), call.target.model)])


_GENERATE, _OTHER = Operation.GENERATE, Operation.OTHER  # looked up in the enumeration, each costs 40 ns a call
_PLAIN = "plain"
"""In the room of an answer's head: what of it goes to the caller, where it tells of a success that is no stream."""


def _relayed(opened: Opened, method: str) -> Headers:
    headers = tuple([h for h in opened.headers if h[0] not in _NOT_RELAYED])
    if "x-pennyweight-" in " ".join(map(_NAME, headers)):  # ours alone to say
        headers = tuple([h for h in headers if not h[0].startswith("x-pennyweight-")])
    if method == "HEAD":  # how long the body would be is all there is to tell
        headers += tuple(h for h in opened.headers if h[0] == "content-length")
    return headers


def _suffix(request: Request) -> str:
    path = request.path
    for ours in ("/v1/", "/api/"):
        if path.startswith(ours):
            path = path[len(ours) - 1 :]
            break
    return f"{path}?{request.query}" if request.query else path


async def _read(opened: Opened) -> Opened:
    """Raises StreamCut for one that is cut, or longer than any answer is."""
    assert opened.chunks is not None
    chunks: list[bytes] = []
    room = _MOST_BYTES
    try:
        async for chunk in opened.chunks:
            chunks.append(chunk)
            room -= len(chunk)
            if room < 0:
                raise StreamCut(f"The upstream's answer is longer than {_MOST_BYTES >> 20} MiB, and is not read on.")
    finally:
        if opened.close is not None:
            await opened.close()
    return Opened(opened.status, opened.headers, content=b"".join(chunks))


_MOST_BYTES = 256 << 20


async def _without(opened: Opened, key: str) -> Opened:
    """A failure as its upstream told it, but for our key: some say it back, and callers are not to have it."""
    if opened.content is None:
        opened = await _read(opened)
    headers = tuple([(name, value.replace(key, _HIDDEN)) for name, value in opened.headers])
    content = (opened.content or b"").replace(key.encode(), _HIDDEN.encode())
    return Opened(opened.status, headers, content=content)


_HIDDEN = "[key]"
_SECRET_CHARS = 16  # shorter ones are words that a local server is given because it insists on a key


def _is_json(content: bytes, headers: Headers) -> bool:
    """Whether a body is an object or a list in JSON; one in a coding that we do not read passes for it."""
    if get_header(headers, "content-encoding") not in (None, "", "identity", "gzip", "deflate"):
        return True
    plain = _plain(content, headers)
    if content and not plain:
        return True  # compressed in a way that we cannot read: the caller may
    try:
        _raw.decode(sound(plain))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    except RecursionError:
        return True
    return True


_raw = msgspec.json.Decoder(dict[str, msgspec.Raw] | list[msgspec.Raw])


def _named(content: bytes) -> str:
    return "an HTML page and not JSON" if content.lstrip()[:1] == b"<" else "not JSON"


def _retold(wire: Wire, opened: Opened) -> Reply:
    """A failure that is no JSON (a proxy's page, a line of text, nothing) as the caller's protocol says it."""
    content = translate.error(opened.status, opened.content or b"", wire, wire)
    headers = tuple(h for h in opened.headers if h[0] not in _NOT_RELAYED and h[0] not in _OF_THE_BODY)
    headers += (("content-type", "application/json"),)
    reply = Reply(opened.status, headers, wire=wire, content=content, done=Done(complete=False))
    reply.notes.append(Step("retold", Verdict.ACCEPTED, why="the upstream's failure was no JSON"))
    return reply


_OF_THE_BODY = frozenset({"content-type", "content-encoding", "content-language", "etag", "last-modified"})


def _decoder(headers: Headers) -> Callable[[bytes], bytes] | None:
    """For the side reader only: an upstream that compresses unasked is relayed as it is. Never raises."""
    encoding = (get_header(headers, "content-encoding") or "identity").lower()
    if encoding == "identity":
        return None
    if encoding not in ("gzip", "x-gzip", "deflate"):
        return lambda _chunk: b""
    inflate = zlib.decompressobj(wbits=47)

    def decode(chunk: bytes) -> bytes:
        nonlocal inflate
        try:
            plain = inflate.decompress(chunk, _MAX_INFLATED_BYTES)
        except zlib.error:  # it is not what its header says: the caller's business, there is nothing to be read here
            return b""
        if inflate.unconsumed_tail:
            inflate = zlib.decompressobj(wbits=47)  # a bomb
        return plain

    return decode


_MAX_INFLATED_BYTES = 64 << 20  # from one read of the network, or a whole answer


def _text(wire: Wire, body: bytes) -> str:
    """The text of a whole answer, for counting; "" of one that cannot be read."""
    tap = codec(wire).tap()
    try:
        for event in codec(wire).unfold(body):
            tap.feed(event)
        return tap.output_text()
    except ValueError:
        return ""


def _plain(content: bytes, headers: Headers) -> bytes:
    decode = _decoder(headers)
    return content if decode is None else decode(content)
