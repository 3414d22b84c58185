"""A body as it arrives: chunks that can be taken one by one, or poured straight into where they go.

Pouring is what makes relaying cheap: each chunk is handed on in the callback that received it, and no task wakes up
before the end. What only looks at the chunks (usage, first byte, a copy) is a watcher and costs one call per chunk.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from functools import partial
from typing import Any, Protocol

from .errors import PennyweightError

__all__ = ["Begun", "Flow", "Ready", "Source"]

Sink = Callable[[bytes], None]


class Source(Protocol):
    """Where chunks come from. Raises StreamCut where the body breaks off."""

    def body(self) -> AsyncIterator[bytes]: ...

    async def pour(self, flow: Flow) -> None:
        """Hand every chunk to each of the `sinks` that the flow has at that moment, and return at the end."""
        ...

    def hold(self) -> None:
        """Stop receiving: whoever drinks is full."""
        ...

    def go_on(self) -> None: ...


class Flow:
    """An AsyncIterator of chunks, or `pour` them: one of the two, once. `ended` and `error` tell how it came out."""

    __slots__ = ("_first", "_iterator", "_source", "_watchers", "ended", "error", "sinks")

    def __init__(self, source: Source) -> None:
        self._source = source
        self._watchers: list[Sink] = []
        self._first: list[Sink] = []
        self._iterator: AsyncIterator[bytes] | None = None
        self.sinks: tuple[Sink, ...] = ()  # where it is poured: the watchers, and who drinks
        self.ended = False
        self.error = ""  # the class of what broke it off

    @property
    def ready(self) -> Sequence[bytes] | None:
        """All its chunks, where they are here already; None where they are still to come."""
        return self._source.chunks if isinstance(self._source, Ready) else None

    def watch(self, watcher: Sink) -> None:
        """Show every chunk to `watcher`, which must neither change it nor raise."""
        self._watchers.append(watcher)

    def watch_first(self, watcher: Sink) -> None:
        """Show the first chunk alone to `watcher`."""
        self._first.append(watcher)

    def __aiter__(self) -> Flow:
        return self

    async def __anext__(self) -> bytes:
        if self._iterator is None:
            self._iterator = self._source.body()
        try:
            chunk = await anext(self._iterator)
        except StopAsyncIteration:
            self.ended = True
            raise
        except PennyweightError as error:
            self.error = type(error).__name__
            raise
        while self._first:
            self._first.pop()(chunk)
        for watcher in self._watchers:
            watcher(chunk)
        return chunk

    async def pour(self, sink: Sink) -> None:
        """Raises what breaks the body off, and what `sink` raises."""
        self.sinks = (*self._watchers, sink)
        if self._first:
            self.sinks = (self._begin, *self.sinks)
        try:
            await self._source.pour(self)
            self.ended = True
        except PennyweightError as error:
            self.error = type(error).__name__
            raise
        finally:
            self.sinks = ()

    def _begin(self, chunk: bytes) -> None:
        """The first sink, of the first chunk alone."""
        self.sinks = self.sinks[1:]
        while self._first:
            self._first.pop()(chunk)

    def hold(self) -> None:
        self._source.hold()

    def go_on(self) -> None:
        self._source.go_on()


class Ready:
    """A Source of chunks that are all here."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self.chunks = chunks

    async def body(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk

    async def pour(self, flow: Flow) -> None:
        for chunk in self.chunks:
            for sink in flow.sinks:
                sink(chunk)

    def hold(self) -> None:
        """They are in memory already."""

    def go_on(self) -> None:
        """See `hold`."""


class Begun:
    """A coroutine that already waits for `waiting`, to be awaited to its end."""

    def __init__(self, work: Coroutine[Any, Any, Any], waiting: Any) -> None:
        self._work = work
        self._waiting = waiting

    def __await__(self) -> Generator[Any, Any, Any]:
        waiting, work = self._waiting, self._work
        while True:
            try:
                value = yield waiting
            except BaseException as error:  # noqa: BLE001 - handed on to where it belongs
                step = partial(work.throw, error)
            else:
                step = partial(work.send, value)
            try:
                waiting = step()
            except StopIteration as done:
                return done.value
