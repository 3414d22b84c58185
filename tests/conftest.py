"""Fixtures for all tests: real servers, each started when the first test asks for it and stopped at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests import engines, llama
from tests.engines import Engine
from tests.llama import Llama

from pennyweight.errors import PennyweightError

# A check of somebody's change does not fail by a draw that the change has nothing to do with, nor because the machine
# is slow: the examples are the same in every run. `make explore` draws new ones until something breaks.
settings.register_profile("same", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", settings.get_profile("same"), derandomize=False, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# Behind a proxy, through which the registries are reached, the tests' own servers are reached without it.
if any(os.environ.get(name) for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")):
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1", "localhost")))


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Engine]:
    """Redis 8 with vector sets. Its keys are shared by all tests: put a prefix of your own before yours."""
    yield from _running(engines.redis())


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Engine]:
    """Valkey 9, shared like Redis."""
    yield from _running(engines.valkey())


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Engine]:
    """Postgres 18 with pgvector; `engines.schema_url` gives a test a schema of its own."""
    yield from _running(engines.postgres())


@pytest.fixture(scope="session")
def llama_server() -> Iterator[Llama]:
    """A real llama-server with the tiny target model and two slots; what it can is in `llama.py`."""
    yield from llama.own("tiny-target-f16.gguf", model="tiny-target")


@pytest.fixture(scope="session")
def llama_draft_server() -> Iterator[Llama]:
    """A second one with the tiny draft model: cheaper and weaker, the same tokens."""
    yield from llama.own("tiny-draft-f16.gguf", model="tiny-draft")


@pytest.fixture(scope="session")
def llama_embedding_server() -> Iterator[Llama]:
    """A third one that gives vectors of 128 numbers."""
    yield from llama.own("tiny-draft-f16.gguf", model="tiny-embedding", embedding=True)


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of the real embedding model. Skips where no registry can be reached, but on CI it must be there."""
    from tests import minilm as model  # numpy and more: only where a test asks for it

    try:
        return model.folder()
    except PennyweightError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no embedding model: {error}")


def _running(engine: Engine) -> Iterator[Engine]:
    yield engine
    engine.close()
