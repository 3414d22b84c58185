"""Fixtures for all tests: real servers, each started when the first test asks for it and stopped at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests import engines
from tests.engines import Engine


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


def _running(engine: Engine) -> Iterator[Engine]:
    yield engine
    engine.close()
