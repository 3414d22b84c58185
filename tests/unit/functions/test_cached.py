from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import inspect
import logging
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pennyweight
from pennyweight.errors import StoreError
from pennyweight.functions.shelf import Cache
from pennyweight.ledger.functions import function_lines
from pennyweight.stores.leases import MemoryLeases
from pennyweight.stores.memory import MemoryKV
from pennyweight.stores.purge import Wanted, entries, purge
from pennyweight.testing.clock import FakeClock


async def until(true: Any) -> None:
    """For what happens in other threads, which wake nobody here."""
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


class World:
    """A cache on a store in memory, by a clock that is moved by hand; `again()` is another process on that store."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.kv: Any = MemoryKV(clock=self.clock)
        self.leases: MemoryLeases | None = None
        self.tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="acme")
        self.open: list[Cache] = []
        self.cache = self.again()

    def again(self) -> Cache:
        self.open.append(Cache(kv=self.kv, leases=self.leases, clock=self.clock, tenant=self.tenant.get))
        return self.open[-1]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    for cache in made.open:
        cache.close()


def keep(world: World, **settings: Any):
    """With a version, since these functions write to variables around them, which would count as arguments."""
    return pennyweight.cached(cache=world.cache, **{"version": 1, **settings})


# --- hits and misses ---------------------------------------------------------------------------------------


def test_a_function_runs_once_for_equal_arguments(world: World) -> None:
    runs = []

    @keep(world)
    def area(width: int, height: int = 2) -> int:
        runs.append((width, height))
        return width * height

    assert area(3) == area(3, 2) == area(height=2, width=3) == 6
    assert area(3, 3) == 9
    assert runs == [(3, 2), (3, 3)]
    assert (area.stats().hits, area.stats().misses) == (2, 2)
    assert area.stats().hit_share == 0.5


def test_an_async_function_runs_once_too_on_whatever_loop(world: World) -> None:
    runs = []

    @keep(world)
    async def double(n: int) -> int:
        runs.append(n)
        return 2 * n

    assert asyncio.run(double(4)) == 8
    assert asyncio.run(double(4)) == 8
    assert runs == [4]
    assert inspect.iscoroutinefunction(double.__call__)  # as web frameworks look


def test_it_looks_like_the_function(world: World) -> None:
    @keep(world)
    def area(width: int) -> int:
        """How large."""
        return width

    assert (area.__name__, area.__doc__, area.__module__) == ("area", "How large.", __name__)
    assert str(inspect.signature(area)) == "(width: 'int') -> 'int'"


def test_none_is_a_result(world: World) -> None:
    runs = []

    @keep(world)
    def nothing() -> None:
        runs.append(1)

    assert nothing() is None
    assert nothing() is None
    assert len(runs) == 1


def test_results_lapse(world: World) -> None:
    runs = []

    @keep(world, ttl=pennyweight.minutes(10))
    def now() -> int:
        runs.append(1)
        return len(runs)

    assert now() == 1
    world.clock.advance(599)
    assert now() == 1
    world.clock.advance(2)
    assert now() == 2


def test_another_process_finds_what_was_stored(world: World) -> None:
    def area(width: int) -> int:
        runs.append(width)
        return width

    runs: list[int] = []
    pennyweight.cached(cache=world.cache, version=1)(area)(3)
    assert pennyweight.cached(cache=world.again(), version=1)(area)(3) == 3
    assert runs == [3]
    pennyweight.cached(cache=world.again(), version=2)(area)(3)
    assert runs == [3, 3]


def test_a_changed_source_is_another_function(world: World) -> None:
    def build(body: str):
        space: dict[str, Any] = {"__name__": "shop"}
        exec(f"def price(x: int) -> int:\n    return {body}", space)
        return pennyweight.cached(cache=world.cache)(space["price"])

    assert build("x + 1")(1) == 2
    assert build("x + 2")(1) == 3


def test_closures_do_not_share(world: World) -> None:
    def make(n: int):
        @keep(world, version=None)
        def add(x: int) -> int:
            return x + n

        return add

    assert make(1)(1) == 2
    assert make(10)(1) == 11

    @keep(world, version=None)
    def captures() -> bool:
        return world is None

    with pytest.raises(TypeError, match=r"captured 'world'.*version="):
        captures()


def test_tenants_never_share(world: World) -> None:
    @keep(world)
    def whose() -> str:
        return world.tenant.get()

    assert whose() == "acme"
    world.tenant.set("bolt/../acme")
    assert whose() == "bolt/../acme"
    whose.invalidate_all()
    world.tenant.set("acme")
    assert whose() == "acme"
    assert whose.stats(tenant="acme").hits == 1
    assert whose.stats(tenant="bolt/../acme").misses == 1


# --- what comes back ---------------------------------------------------------------------------------------


@dataclasses.dataclass
class Quote:
    price: float
    tags: tuple[str, ...]


def test_results_come_back_as_their_type_and_as_a_copy(world: World) -> None:
    @keep(world)
    def quote() -> Quote:
        return Quote(1.5, ("a", "b"))

    @keep(world)
    def names() -> list[str]:
        return ["a"]

    @keep(world)
    def vector() -> np.ndarray:
        return np.arange(6, dtype=np.float32).reshape(2, 3)

    assert quote() == quote() == Quote(1.5, ("a", "b"))
    names().append("mine")
    names().append("mine")
    assert names() == ["a"]
    vector()[:] = 0
    second = vector()
    second += 1  # writable
    assert vector().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert vector().dtype == np.float32


def test_what_would_come_back_changed_is_not_kept(world: World, caplog: pytest.LogCaptureFixture) -> None:
    runs = []

    @keep(world)
    def pair():
        runs.append(1)
        return 1, 2

    @keep(world)
    def odd() -> int:
        return "text"  # type: ignore[return-value]

    @keep(world)
    def client() -> Any:
        return object()

    with caplog.at_level(logging.WARNING):
        assert pair() == pair() == (1, 2)
        assert odd() == odd() == "text"
        assert client() is not client()
    assert len(runs) == 2
    assert pair.stats().unstorable == 2
    assert sum(record.msg.startswith("a result of a cached") for record in caplog.records) == 3  # once each


def test_a_result_of_another_type_than_promised_now_is_made_anew(world: World) -> None:
    def one() -> int:
        return 1

    def two() -> str:
        return "two"

    two.__qualname__ = one.__qualname__
    assert pennyweight.cached(cache=world.cache, version=1)(one)() == 1
    assert pennyweight.cached(cache=world.again(), version=1)(two)() == "two"


def test_a_torn_entry_is_a_miss(world: World) -> None:
    @keep(world, memory=0)
    def one() -> int:
        return 1

    one()
    key = one._core.key((), {})
    value = asyncio.run(world.kv.get(key))
    for broken in (value[:-1], value[1:], b"", value[:20] + bytes([value[20] ^ 1]) + value[21:]):
        asyncio.run(world.kv.put(key, broken))
        assert one() == 1
    assert one.stats().misses == 5
    assert one() == 1
    assert one.stats().misses == 5


# --- keys --------------------------------------------------------------------------------------------------


def test_an_argument_without_content_is_named_with_a_remedy(world: World) -> None:
    @keep(world)
    def search(text: str, options: dict[str, Any]) -> int:
        return len(text)

    with pytest.raises(TypeError, match=r"options\['client'\].*_thread.lock.*ignore=\('options',\).*key=lambda"):
        search("x", {"client": threading.Lock()})
    with pytest.raises(TypeError, match="missing a required argument"):
        search("x")  # type: ignore[call-arg]


def test_ignored_arguments_and_keys_of_ones_own(world: World) -> None:
    runs = []

    @keep(world, ignore=("client",))
    def search(text: str, client: object) -> int:
        runs.append(text)
        return len(text)

    assert search("x", object()) == search("x", object()) == 1
    assert len(runs) == 1

    class Shop:
        def __init__(self, name: str) -> None:
            self.name = name

        @keep(world, key=lambda self, item: (self.name, item))
        def price(self, item: str) -> str:
            return f"{self.name}:{item}"

    assert Shop("a").price("x") == Shop("a").price("x") == "a:x"
    assert Shop("b").price("x") == "b:x"
    assert (Shop.price.stats().hits, Shop.price.stats().misses) == (1, 2)


def test_what_cannot_be_cached_is_refused_at_once(world: World) -> None:
    def numbers() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match="yields"):
        keep(world)(numbers)
    with pytest.raises(TypeError, match="below @staticmethod"):
        keep(world)(staticmethod(numbers))
    with pytest.raises(TypeError, match="for functions"):
        keep(world)(len)
    with pytest.raises(ValueError, match="'clint' is no argument"):
        keep(world, ignore=("clint",))(lambda client: 1)
    with pytest.raises(ValueError, match="ttl=-1"):
        keep(world, ttl=-1)
    with pytest.raises(ValueError, match="names in a tuple"):
        keep(world, ignore="client")


def test_a_function_may_call_itself(world: World) -> None:
    @keep(world)
    def fib(n: int) -> int:
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    assert fib(30) == 832_040
    assert fib.stats().misses == 31

    turns = []

    @keep(world)
    def same(n: int) -> int:
        turns.append(n)
        return same(n) + 1 if len(turns) < 3 else 0

    assert same(1) == 2  # it asked for itself: no waiting for itself


# --- one flight --------------------------------------------------------------------------------------------


def test_threads_at_once_run_it_once(world: World) -> None:
    runs, gate = [], threading.Event()

    @keep(world)
    def slow(n: int) -> list[int]:
        runs.append(n)
        gate.wait(60)
        return [n]

    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(slow, 1) for _ in range(8)]
        while not runs:
            time.sleep(0.001)
        gate.set()
        results = [one.result(5) for one in waiting]
    assert runs == [1]
    assert results == [[1]] * 8
    assert len({id(one) for one in results}) == 8  # a list of one's own
    stats = slow.stats()
    assert stats.misses == 1
    assert stats.shared + stats.hits == 7


def test_tasks_at_once_run_it_once_even_when_the_first_leaves(world: World) -> None:
    runs: list[int] = []

    async def run() -> None:
        gate = asyncio.Event()

        @keep(world)
        async def slow(n: int) -> int:
            runs.append(n)
            await gate.wait()
            return n

        tasks = [asyncio.create_task(slow(1)) for _ in range(1000)]
        await until(lambda: runs)
        tasks[0].cancel()
        await until(lambda: len(runs) == 2)  # the next in line took over
        tasks[1].cancel()  # one that may only wait: no harm to others
        gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(one == 1 for one in results) >= 997
        assert all(one == 1 or isinstance(one, asyncio.CancelledError) for one in results)

    asyncio.run(run())
    assert len(runs) <= 3


def test_those_who_wait_get_the_exception_too_and_nothing_is_kept(world: World) -> None:
    runs: list[int] = []

    @keep(world)
    async def broken() -> int:
        runs.append(1)
        await asyncio.sleep(0.01)
        raise LookupError("no such thing")

    async def run() -> list[Any]:
        return await asyncio.gather(*(broken() for _ in range(5)), return_exceptions=True)

    assert [str(one) for one in asyncio.run(run())] == ["no such thing"] * 5
    assert len(runs) == 1
    with pytest.raises(LookupError):
        asyncio.run(broken())
    assert len(runs) == 2
    assert broken.stats().failures == 2


def test_exceptions_are_kept_for_a_while_if_asked_for(world: World) -> None:
    runs = []

    @keep(world, negative_ttl=10)
    def broken() -> int:
        runs.append(1)
        raise LookupError("no such thing")

    for _ in range(3):
        with pytest.raises(LookupError, match="no such thing"):
            broken()
    assert len(runs) == 1
    world.clock.advance(11)
    with pytest.raises(LookupError):
        broken()
    assert len(runs) == 2


def test_replicas_at_once_run_it_once_by_a_lease(world: World) -> None:
    """Two caches on one store and one set of leases, each with a loop and a memory of its own."""

    class Shared:
        """Leases of one loop, asked from two: by way of the first one's loop."""

        def __init__(self) -> None:
            self.inner = MemoryLeases(world.clock)
            self.lock = threading.Lock()

        async def acquire(self, key: str, *, ttl_s: float) -> Any:
            with self.lock:
                return await self.inner.acquire(key, ttl_s=ttl_s)

        async def wait(self, key: str, *, timeout_s: float) -> bytes | None:
            for _ in range(500):
                with self.lock:
                    if self.inner._live(key) is None:
                        return b""
                await asyncio.sleep(0.01)
            return None

    world.leases = Shared()  # type: ignore[assignment]
    runs, gate = [], threading.Event()

    def slow(n: int) -> int:
        runs.append(n)
        gate.wait(60)
        return n

    first, second = (pennyweight.cached(cache=world.again(), version=1)(slow) for _ in range(2))
    with ThreadPoolExecutor(2) as threads:
        one = threads.submit(first, 1)
        while not runs:
            time.sleep(0.001)
        two = threads.submit(second, 1)
        time.sleep(0.05)
        gate.set()
        assert (one.result(5), two.result(5)) == (1, 1)
    assert runs == [1]
    assert second.stats().hits == 1


# --- stale while it is made anew ---------------------------------------------------------------------------


def test_a_stale_result_is_served_at_once_while_one_new_one_is_made(world: World) -> None:
    runs, gate = [], threading.Event()

    @keep(world, ttl=60, stale=60)
    def slow() -> int:
        runs.append(1)
        if len(runs) == 2:
            gate.wait(60)
        return len(runs)

    assert slow() == 1
    world.clock.advance(61)
    assert slow() == 1
    while len(runs) < 2:  # the new one is being made
        time.sleep(0.001)
    assert [slow() for _ in range(4)] == [1] * 4, "and nobody waits for it"
    gate.set()
    while slow.stats().misses < 2 or slow() == 1:
        time.sleep(0.001)
    assert slow() == 2
    assert len(runs) == 2
    assert slow.stats().stale >= 5
    world.clock.advance(121)
    assert slow() == 3  # too old to be served


def test_an_async_stale_result_goes_on_being_served_when_the_new_one_fails(world: World) -> None:
    runs: list[int] = []

    @keep(world, ttl=60, stale=60)
    async def rate() -> int:
        runs.append(1)
        if len(runs) == 2:
            raise LookupError
        return len(runs)

    async def run() -> None:
        assert await rate() == 1
        world.clock.advance(61)
        assert await rate() == 1
        await until(lambda: rate.stats().failures)
        async with asyncio.timeout(60):
            while len(runs) < 3:  # the next is made by a call that comes when the failed one is over
                assert await rate() == 1
                await asyncio.sleep(0.001)
            while await rate() == 1:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert await rate() == 3

    asyncio.run(run())
    assert rate.stats().failures == 1
    assert len(runs) == 3


# --- forgetting --------------------------------------------------------------------------------------------


def test_invalidating_forgets_one_or_all(world: World) -> None:
    runs: list[int] = []

    @keep(world)
    def area(n: int) -> int:
        runs.append(n)
        return n

    area(1), area(2)
    area.invalidate(1)
    area(1), area(2)
    assert runs == [1, 2, 1]
    area.invalidate_all()
    area(1), area(2)
    assert runs == [1, 2, 1, 1, 2]


def test_other_processes_hear_of_it_within_seconds(world: World) -> None:
    value = ["old"]

    def read() -> str:
        return value[0]

    here, there = (pennyweight.cached(cache=world.again(), version=1)(read) for _ in range(2))
    assert here() == there() == "old"
    value[0] = "new"
    here.invalidate()
    assert here() == "new"
    world.clock.advance(6)
    assert there() == "new"


def test_what_is_invalidated_while_it_is_made_is_not_kept(world: World) -> None:
    value, gate, began = ["old"], threading.Event(), threading.Event()

    @keep(world)
    def read() -> str:
        found = value[0]
        began.set()
        gate.wait(60)
        return found

    with ThreadPoolExecutor(1) as threads:
        early = threads.submit(read)
        began.wait(5)
        value[0] = "new"
        read.invalidate()
        gate.set()
        assert early.result(5) == "old"
    assert read() == "new"


# --- stores ------------------------------------------------------------------------------------------------


class Broken:
    def __init__(self, kv: MemoryKV) -> None:
        self.kv, self.down = kv, False

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if self.down:
                raise StoreError("down")
            return await getattr(self.kv, name)(*args, **kwargs)

        return call


def test_a_store_that_is_down_costs_a_run_and_never_an_error(world: World) -> None:
    store = Broken(world.kv)
    world.kv = store
    runs: list[int] = []

    @pennyweight.cached(cache=world.again(), ttl=3600, version=1)
    def area(n: int) -> int:
        runs.append(n)
        return n

    area(1)
    store.down = True
    assert (area(1), area(2), area(2)) == (1, 2, 2)
    world.clock.advance(10)
    assert area(1) == 1  # memory has it, though the store cannot say whether it was invalidated
    assert runs == [1, 2]
    with pytest.raises(StoreError):
        area.invalidate(1)
    store.down = False
    assert area(3) == 3


def test_results_survive_the_program_and_are_counted_in_the_ledger(tmp_path: Path) -> None:
    script = tmp_path / "shop.py"
    script.write_text(
        textwrap.dedent(
            """
            import pennyweight

            @pennyweight.cached(cost_usd=0.25)
            def price(item: str) -> float:
                print("run", item)
                return len(item) * 1.5

            print(price("lamp"), price("lamp"))
            """
        )
    )
    data = tmp_path / "data"
    environment = {"PENNYWEIGHT_DATA": str(data), "PATH": "", "HOME": str(tmp_path)}
    outputs = []
    for _ in range(2):
        command = [sys.executable, str(script)]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        outputs.append(done.stdout)
    assert outputs == ["run lamp\n6.0 6.0\n", "6.0 6.0\n"]
    (line,) = function_lines(data / "pennyweight.db")
    assert (line.function, line.tenant, line.hits, line.misses) == ("__main__.price", "local", 3, 1)
    assert line.saved == 3 * 250_000_000_000
    assert line.hit_share == 0.75
    with closing(sqlite3.connect(data / "pennyweight.db")) as connection:
        keys = [row[0] for row in connection.execute("SELECT key FROM kv")]
    assert len(keys) == 1
    assert keys[0].startswith("functions/local/")


def test_what_is_kept_in_memory_is_bounded(world: World) -> None:
    @keep(world, memory=10)
    def text(n: int) -> str:
        return "x" * n

    for n in range(50):
        text(n)
    assert len(text._core._memory) == 10
    big = keep(world)(text.__wrapped__)
    for n in range(1_000_000, 1_000_200):
        big(n)
    assert big._core._memory_bytes <= 32 << 20


def test_importing_the_package_loads_nothing() -> None:
    code = "import sys, pennyweight; assert 'pennyweight.functions' not in sys.modules; pennyweight.cached; "
    code += "assert not {'numpy', 'redis', 'psycopg'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_forked_process_does_not_wait_for_its_parent(tmp_path: Path) -> None:
    """Results that were being made at the fork, and the thread with the stores, are not in the child."""
    script = tmp_path / "forks.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, threading
            import pennyweight

            began, gate = threading.Event(), threading.Event()

            @pennyweight.cached(version=1)
            def slow(n: int) -> int:
                began.set()
                gate.wait(0.5)
                return n

            threading.Thread(target=slow, args=(1,)).start()
            began.wait()
            child = os.fork()
            if child == 0:
                print(slow(1), slow(2), flush=True)
                os._exit(0)
            print(os.waitpid(child, 0)[1], slow(1))
            """
        )
    )
    environment = {"PENNYWEIGHT_DATA": str(tmp_path / "data"), "PATH": "", "HOME": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "1 2\n0 1\n"), done.stderr


def test_entries_are_found_and_purged_like_those_of_all_caches(world: World) -> None:
    @keep(world)
    def area(n: int) -> int:
        return n

    @keep(world)
    def other(n: int) -> int:
        return n

    async def run() -> None:
        found = [one async for one in entries(world.kv, Wanted(cache="functions"), now=world.clock.now())]
        assert sorted(one.named.model.rpartition(".")[2] for one in found) == ["area", "area", "other"]
        assert {one.named.tenant for one in found} == {"acme"}
        assert [one.age_s for one in found] == [0.0, 0.0, 0.0]
        assert await purge(world.kv, Wanted(model="*area"), now=world.clock.now()) == 2

    area(1), area(2), other(1)
    asyncio.run(run())
    world.clock.advance(6)
    assert (area(1), other(1)) == (1, 1)
    assert (area.stats().misses, other.stats().misses) == (3, 1)
