"""Cached functions on real servers: replicas share results, make each once, and go on when the server is gone."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from tests.engines import Engine, schema_url

import pennyweight
from pennyweight.config import Config, load
from pennyweight.stores.settings import CacheSettings, PostgresSettings, RedisSettings


def replica(folder: Path, store: Literal["redis", "postgres"], url: str) -> Config:
    config = load(None, {"PENNYWEIGHT_DATA": str(folder)})
    servers = CacheSettings(tiers=(store,), redis=RedisSettings(url=url), postgres=PostgresSettings(url=url))
    return msgspec.structs.replace(config, cache=servers)


@pytest.mark.parametrize("store", ["redis", "postgres"])
def test_replicas_share_results_and_make_each_once(
    store: Literal["redis", "postgres"], tmp_path: Path, redis_server: Engine, postgres_server: Engine
) -> None:
    url = redis_server.url if store == "redis" else schema_url(postgres_server)
    runs: list[int] = []
    gate = threading.Event()
    run_of_the_test = time.time()  # another test's results are in the same Redis

    def slow(n: int, at: float = run_of_the_test) -> int:
        runs.append(n)
        if n == 1:
            gate.wait(10)
        return 10 * n

    with ExitStack() as stack:
        caches = [
            stack.enter_context(pennyweight.Cache(replica(tmp_path / str(n), store, url), tenant="acme"))
            for n in range(3)
        ]
        first, second, _ = (pennyweight.cached(cache=cache, version=1)(slow) for cache in caches)
        assert first(2) == 20
        assert second(2) == 20
        assert runs == [2]
        with ThreadPoolExecutor(2) as threads:
            one = threads.submit(first, 1)
            while runs != [2, 1]:
                time.sleep(0.005)
            two = threads.submit(second, 1)
            time.sleep(0.2)
            gate.set()
            assert (one.result(20), two.result(20)) == (10, 10)
        assert runs == [2, 1]
        other = stack.enter_context(pennyweight.Cache(replica(tmp_path / "other", store, url), tenant="bolt"))
        assert pennyweight.cached(cache=other, version=1)(slow)(2) == 20
        assert runs == [2, 1, 2]  # another tenant's own


def test_without_the_server_functions_run(tmp_path: Path, redis_server: Engine) -> None:
    with pennyweight.Cache(replica(tmp_path, "redis", redis_server.url), tenant="acme") as cache:
        runs: list[int] = []

        @pennyweight.cached(cache=cache, version=time.time_ns())
        def double(n: int) -> int:
            runs.append(n)
            return 2 * n

        assert double(1) == 2
        redis_server.kill()
        try:
            assert [double(n) for n in (1, 2, 3, 2)] == [2, 4, 6, 4]
            assert runs == [1, 2, 3]
        finally:
            redis_server.start()
        end = time.monotonic() + 60
        while True:  # the tier's breaker tries again by itself
            double(100 + len(runs))
            double._core._memory.clear()
            before = len(runs)
            double(100 + len(runs) - 1)
            if len(runs) == before:
                break
            assert time.monotonic() < end
            time.sleep(0.2)
