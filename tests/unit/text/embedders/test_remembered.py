from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine

import pytest

from pennyweight.errors import StoreError
from pennyweight.protocols import Embedder
from pennyweight.request import Charge, Usage
from pennyweight.text.embedders.remembered import Embedded, Remembered


def looped(test: Callable[[], Coroutine[None, None, None]]) -> Callable[[], None]:
    @functools.wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


CHARGE = Charge("openai", "m", Usage(input_tokens=3), 0.0)


class Slow:
    """Counts what it is asked; answers when it is let go."""

    fingerprint = "slow"
    dimensions = 1

    def __init__(self, *, charges: tuple[Charge, ...] = ()) -> None:
        self.asked: list[str] = []
        self.go = asyncio.Event()
        self.error: StoreError | None = None
        self.charges = charges

    async def embed(self, text: str) -> bytes:
        self.asked.append(text)
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return text.encode("utf-8", "surrogatepass")


class Charged(Slow):
    async def ask(self, text: str) -> Embedded:
        return Embedded(await self.embed(text), self.charges)


@looped
async def test_a_text_is_embedded_once() -> None:
    inner = Slow()
    inner.go.set()
    remembered = Remembered(inner)
    checked: Embedder = remembered
    assert [await checked.embed("a")] == [b"a"]
    assert [await remembered.embed("a") for _ in range(3)] == [b"a"] * 3
    assert inner.asked == ["a"]
    assert (remembered.fingerprint, remembered.dimensions) == ("slow", 1)


@looped
async def test_many_who_want_one_text_at_once_share_its_flight() -> None:
    inner = Slow()
    remembered = Remembered(inner)
    waiting = [asyncio.create_task(remembered.embed("a")) for _ in range(1000)]
    await asyncio.sleep(0)
    inner.go.set()
    assert await asyncio.gather(*waiting) == [b"a"] * 1000
    assert inner.asked == ["a"]


@looped
async def test_the_oldest_text_makes_room() -> None:
    inner = Slow()
    inner.go.set()
    remembered = Remembered(inner, count=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        await remembered.embed(text)
    assert inner.asked == ["a", "b", "c", "b"]


@looped
async def test_who_leaves_does_not_stop_the_others() -> None:
    inner = Slow()
    remembered = Remembered(inner)
    first, second = (asyncio.create_task(remembered.embed("a")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    inner.go.set()
    assert await second == b"a"
    assert first.cancelled()


@looped
async def test_a_text_that_all_left_is_there_for_the_next() -> None:
    inner = Slow()
    remembered = Remembered(inner)
    first = asyncio.create_task(remembered.embed("a"))
    await asyncio.sleep(0)
    first.cancel()
    inner.go.set()
    await asyncio.sleep(0.01)
    assert await remembered.embed("a") == b"a"
    assert inner.asked == ["a"]


@looped
async def test_errors_are_told_to_all_who_wait_and_not_kept() -> None:
    inner = Slow()
    inner.error = StoreError("down")
    remembered = Remembered(inner)
    waiting = [asyncio.create_task(remembered.embed("a")) for _ in range(2)]
    await asyncio.sleep(0)
    inner.go.set()
    said = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(error) for error in said] == ["down", "down"]
    inner.error = None
    assert await remembered.embed("a") == b"a"


@looped
async def test_one_of_those_who_wait_has_the_charges() -> None:
    inner = Charged(charges=(CHARGE,))
    remembered = Remembered(inner)
    waiting = [asyncio.create_task(remembered.ask("a")) for _ in range(5)]
    await asyncio.sleep(0)
    inner.go.set()
    found = await asyncio.gather(*waiting)
    assert [one.charges for one in found] == [(CHARGE,), (), (), (), ()]
    assert (await remembered.ask("a")).charges == ()


@looped
async def test_whoever_stays_has_the_charges_of_whoever_left() -> None:
    inner = Charged(charges=(CHARGE,))
    remembered = Remembered(inner)
    first, second = (asyncio.create_task(remembered.ask("a")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    inner.go.set()
    assert (await second).charges == (CHARGE,)


@looped
async def test_an_embedder_that_is_stopped_leaves_nobody_waiting() -> None:
    class Stopped(Slow):
        async def embed(self, text: str) -> bytes:
            raise asyncio.CancelledError

    remembered = Remembered(Stopped())
    for _ in range(2):
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(remembered.embed("a"), 5)


@looped
async def test_a_lone_surrogate_is_a_text_too() -> None:
    inner = Slow()
    inner.go.set()
    assert await Remembered(inner).embed("\ud800") == b"\xed\xa0\x80"


@looped
async def test_more_texts_at_once_than_have_a_chance_are_refused() -> None:
    inner = Slow()
    remembered = Remembered(inner, waiting=2)
    under_way = [asyncio.create_task(remembered.embed(text)) for text in "aab"]
    await asyncio.sleep(0)
    with pytest.raises(StoreError, match="busy: 2 texts"):
        await remembered.embed("c")
    inner.go.set()
    assert await asyncio.gather(*under_way) == [b"a", b"a", b"b"]
    assert await remembered.embed("c") == b"c"


@looped
async def test_closing_stops_what_is_under_way() -> None:
    remembered = Remembered(Slow())
    waiting = asyncio.create_task(remembered.embed("a"))
    await asyncio.sleep(0)
    await remembered.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
