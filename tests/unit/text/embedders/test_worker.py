"""A thread works through texts in order, whoever waits and whoever left."""

from __future__ import annotations

import asyncio
import threading

import pytest

from pennyweight.text.embedders.worker import Worker


def test_it_gives_what_the_work_gives_in_order() -> None:
    done: list[str] = []

    def work(text: str) -> bytes:
        done.append(text)
        if text == "bad":
            raise ValueError("bad")
        return text.encode()

    async def main() -> None:
        worker = Worker(work, "test")
        waiting = [worker.submit(text) for text in ("a", "bad", "c")]
        told = await asyncio.gather(*waiting, return_exceptions=True)
        assert (told[0], type(told[1]), told[2]) == (b"a", ValueError, b"c")
        assert done == ["a", "bad", "c"]
        worker.close()

    asyncio.run(main())


def test_what_is_cancelled_before_its_turn_is_not_worked_on() -> None:
    done: list[str] = []
    go_on = threading.Event()

    def work(text: str) -> bytes:
        go_on.wait(5)
        done.append(text)
        return b"x"

    async def main() -> None:
        worker = Worker(work, "test")
        first, second, third = (worker.submit(text) for text in "abc")
        second.cancel()
        go_on.set()
        assert await first == await third == b"x"
        assert done == ["a", "c"]
        worker.close()

    asyncio.run(main())


def test_closing_cancels_what_waits() -> None:
    go_on = threading.Event()

    async def main() -> None:
        worker = Worker(lambda _text: b"x" if go_on.wait(5) else b"", "test")
        first, second = worker.submit("a"), worker.submit("b")
        await asyncio.sleep(0.01)
        release = threading.Timer(0.05, go_on.set)
        release.start()
        worker.close()
        assert worker._thread is not None
        assert not worker._thread.is_alive(), "what it works on is waited for"
        assert await first == b"x"
        for late in (second, worker.submit("c")):
            with pytest.raises(asyncio.CancelledError):
                await late

    asyncio.run(main())


def test_a_loop_that_is_gone_does_not_stop_it() -> None:
    go_on = threading.Event()
    worker = Worker(lambda _text: b"x" if go_on.wait(5) else b"", "test")

    async def leave() -> None:
        worker.submit("a")

    async def stay() -> bytes:
        return await worker.submit("b")

    asyncio.run(leave())
    go_on.set()
    assert asyncio.run(stay()) == b"x"
    worker.close()
