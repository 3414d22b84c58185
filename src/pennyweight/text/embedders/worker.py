"""A thread that works through texts in order, and tells event loops what came of each.

What `loop.run_in_executor` does with a pool of one, for a third of its cost on the loop: that was 0.1 ms of a lookup.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue

__all__ = ["Tell", "Worker"]

Tell = Callable[[bytes, Exception | None], None]
"""Told on the loop that gave a text what the work gave, or raised; b"" and None where it was not begun."""

_JOIN_S = 1.0  # a text takes 0.03 s at most

_Given = tuple[asyncio.AbstractEventLoop, Tell, Callable[[], bool] | None, str]


class Worker:
    """Starts its thread when it is first given something; the thread does not keep a process alive."""

    def __init__(self, work: Callable[[str], bytes], name: str) -> None:
        self._work = work
        self._name = name
        self._queue: SimpleQueue[_Given | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def give(self, text: str, tell: Tell, left: Callable[[], bool] | None = None) -> None:
        """Have a text worked on, from an event loop. left: whether nobody waits any more, asked when its turn comes."""
        loop = asyncio.get_running_loop()
        if self._closed:
            loop.call_soon(tell, b"", None)
            return
        self._queue.put((loop, tell, left, text))
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name=self._name, daemon=True)
            self._thread.start()

    def submit(self, text: str) -> asyncio.Future[bytes]:
        """What `work` gives or raises; of what is cancelled before its turn, nothing is worked on."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.give(text, partial(_tell, future), future.cancelled)
        return future

    def close(self) -> None:
        """End the thread after what it works on, which is waited for; what waits is cancelled.

        A thread that comes back from a library while the interpreter shuts down aborts the process.
        """
        self._closed = True
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(_JOIN_S)

    def _main(self) -> None:
        while (given := self._queue.get()) is not None:
            loop, tell, left, text = given
            result, error = b"", None
            if not self._closed and not (left is not None and left()):
                try:
                    result = self._work(text)
                except Exception as raised:  # noqa: BLE001 - for whoever waits
                    error = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(tell, result, error)


def _tell(future: asyncio.Future[bytes], result: bytes, error: Exception | None) -> None:
    if future.done():  # cancelled meanwhile
        return
    if error is not None:
        future.set_exception(error)
    elif result:
        future.set_result(result)
    else:
        future.cancel()  # closed before its turn
