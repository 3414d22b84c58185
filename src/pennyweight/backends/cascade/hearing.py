"""One target's answer, heard out before anybody else sees it, or stopped as soon as it is of no use."""

from __future__ import annotations

from collections.abc import Callable

from ...call import Call
from ...errors import BackendError, PennyweightError, StreamCut
from ...flow import Flow, Ready
from ...protocols import Backend
from ...request import Charge, Reply, Wire, get_header
from ...routing.confidence.said import Said, read_answer
from ...wire import codec
from ...wire.sse import Splitter
from ...wire.translate.lines import Lines
from ...wire.translate.pieces import CallBegin, Reader, TextPiece
from ...wire.translate.stream import named, reader

__all__ = ["Charges", "Hearing", "Spoken"]

Charges = Callable[[Call, Reply], tuple[Charge, ...]]
"""What a reply that has ended was billed; counted by its texts where its provider did not say."""

Doubt = Callable[["Hearing"], str]
"""Why an answer that is still coming is certainly not kept; "" while nothing is certain."""

_IDENTITY = (None, "", "identity")


class Spoken:
    """How an answer that is still coming begins: its first words and the tools that it calls.

    What is not of its protocol is not read any further, nor what follows `enough`.
    """

    def __init__(self, wire: Wire) -> None:
        self._cut: Splitter | Lines = Lines() if wire is Wire.OLLAMA else Splitter()
        self._reader: Reader | None = reader(wire)
        self.text = ""
        self.names: tuple[str, ...] = ()

    def enough(self) -> None:
        self._reader = None

    def feed(self, chunk: bytes) -> None:
        if self._reader is None:
            return
        try:
            for name, data in named(self._cut.feed(chunk)):
                for piece in self._reader.read(name, data) if data.strip() else ():
                    match piece:
                        case TextPiece(text=text) if len(self.text) < _FIRST_CHARS:
                            self.text += text
                        case CallBegin(name=called) if len(self.names) < _FIRST_CALLS:
                            self.names += (called,)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError, PennyweightError):
            self._reader = None


_FIRST_CHARS, _FIRST_CALLS = 200, 32


class Hearing:
    """`hear` it once, then either `kept` gives the reply or `drop` ends it.

    said: once it is whole and can be read. failed: why it is no answer. doubted: why it was stopped early.
    """

    def __init__(self, inner: Backend, call: Call, *, most_bytes: int, charges: Charges) -> None:
        self.call = call
        self._inner = inner
        self._most_bytes = most_bytes
        self._charges = charges
        self._reply: Reply | None = None
        self._held: list[bytes] = []
        self._streamed = False
        self.said: Said | None = None
        self.failed = ""
        self.doubted = ""
        self.spoken = Spoken(call.request.wire)
        self.error: BackendError | None = None

    @property
    def whole(self) -> bool:
        """Whether there is an answer that could be given to the caller."""
        return self._reply is not None and self._reply.ok and not self.failed and not self.doubted

    async def hear(self, doubt: Doubt | None = None) -> None:
        """Read it to its end. Raises nothing that an upstream does: see `failed`."""
        try:
            reply = self._reply = await self._inner.open(self.call)
        except BackendError as error:
            self.error, self.failed = error, type(error).__name__
            return
        except PennyweightError as error:  # what cannot cross to this target, another may take
            self.failed = type(error).__name__
            return
        if not reply.ok:
            self.failed = f"status {reply.status}"
        elif reply.chunks is not None:
            await self._listen(reply, doubt)
        elif len(reply.content or b"") > self._most_bytes:
            self.doubted = "it is too long to be judged"
        if not self.failed and not self.doubted:
            self._read(reply)

    async def _listen(self, reply: Reply, doubt: Doubt | None) -> None:
        assert reply.chunks is not None
        self._streamed = True
        size = 0
        try:
            async for chunk in reply.chunks:
                self._held.append(chunk)
                size += len(chunk)
                if size > self._most_bytes:
                    self.doubted = "it is too long to be judged"
                elif doubt is not None:
                    self.spoken.feed(chunk)
                    self.doubted = doubt(self)
                if self.doubted:
                    await reply.aclose()  # at once: every further token would be billed
                    return
        except StreamCut:
            self.failed = "StreamCut"
        except BackendError as error:
            self.failed = type(error).__name__

    def _read(self, reply: Reply) -> None:
        if get_header(reply.headers, "content-encoding") not in _IDENTITY:
            self.failed = "it is encoded and cannot be read"
            return
        try:
            body = codec(reply.wire).fold(b"".join(self._held)) if self._streamed else reply.content or b""
            self.said = read_answer(reply.wire, body)
        except ValueError:
            self.failed = "it cannot be read"

    def kept(self) -> Reply:
        """The reply, for the caller: still open, and all there. Ask only where it is `whole`."""
        reply, self._reply = self._reply, None
        assert reply is not None
        if self._streamed:
            reply.chunks = Flow(Ready(self._held))
        return reply

    async def drop(self) -> tuple[Charge, ...]:
        """End it. What it was billed."""
        reply, self._reply = self._reply, None
        if reply is None:
            return ()
        await reply.aclose()
        return self._charges(self.call, reply)
