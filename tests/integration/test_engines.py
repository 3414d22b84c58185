"""The servers that other tests stand on: they answer, are killed and paused, and come back at the same address."""

from __future__ import annotations

import psycopg
import pytest
import redis
from tests.engines import Engine, schema_url


@pytest.mark.parametrize("fixture", ["redis_server", "valkey_server"])
def test_redis_comes_back_with_what_it_had(request: pytest.FixtureRequest, fixture: str) -> None:
    engine: Engine = request.getfixturevalue(fixture)
    with redis.Redis.from_url(engine.url) as client:
        client.set("engines/kept", b"value")
        engine.kill()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        engine.start()
        assert client.get("engines/kept") == b"value"


def test_redis_has_vector_sets(redis_server: Engine) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.execute_command("VADD", "engines/vectors", "VALUES", 2, "1", "0", "east")
        client.execute_command("VADD", "engines/vectors", "VALUES", 2, "0", "1", "north")
        assert client.execute_command("VSIM", "engines/vectors", "VALUES", 2, "0.9", "0.1", "COUNT", 1) == [b"east"]


def test_a_paused_server_keeps_its_connections_and_says_nothing(redis_server: Engine) -> None:
    with redis.Redis.from_url(redis_server.url, socket_timeout=0.1, retry=None) as client:
        assert client.ping()
        redis_server.pause()
        try:
            with pytest.raises(redis.TimeoutError):
                client.ping()
        finally:
            redis_server.resume()
        assert client.ping()


def test_postgres_comes_back_with_what_it_had(postgres_server: Engine) -> None:
    url = schema_url(postgres_server)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        assert connection.execute("SELECT '[1,0]'::vector <=> '[0,1]'::vector").fetchone() == (1.0,)
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (7)")
        postgres_server.restart()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)
