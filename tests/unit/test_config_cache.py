"""`[cache]`: what may be written, where addresses and the key come from, and that no password is ever shown."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from pennyweight.cli.check import examine
from pennyweight.config import inspect, load
from pennyweight.errors import ConfigError
from pennyweight.stores.settings import CacheSettings, without_password

KEY = base64.b64encode(b"k" * 32).decode()


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "pennyweight.toml"
    file.write_text(text)
    return file


def found(tmp_path: Path, text: str, **env: str) -> list[str]:
    config, problems = inspect(written(tmp_path, text), {"PENNYWEIGHT_DATA": str(tmp_path), **env})
    if config is not None:
        problems = [*problems, *examine(config)]
    return [f"{problem.severity}: {problem}" for problem in problems if "No provider has a key" not in problem.message]


def test_the_default_is_memory_over_sqlite(tmp_path: Path) -> None:
    config = load(None, {"PENNYWEIGHT_DATA": str(tmp_path)})
    assert config.cache == CacheSettings()
    assert config.cache.tiers == ("memory", "sqlite")
    assert config.cache_key is None


def test_addresses_come_from_the_file_or_else_from_the_environment(tmp_path: Path) -> None:
    env = {
        "PENNYWEIGHT_DATA": str(tmp_path),
        "PENNYWEIGHT_REDIS_URL": "redis://127.0.0.1:1/0",
        "PENNYWEIGHT_POSTGRES_URL": "postgresql://127.0.0.1:2/x",
        "PENNYWEIGHT_CACHE_KEY": f" {KEY} ",
    }
    text = '[cache]\ntiers = ["memory", "redis", "postgres"]\n[cache.redis]\nurl = "redis://127.0.0.1:9/0"\n'
    config = load(written(tmp_path, text), env)
    assert config.cache.redis.url == "redis://127.0.0.1:9/0"
    assert config.cache.postgres.url == "postgresql://127.0.0.1:2/x"
    assert config.cache_key is not None
    assert config.cache_key.reveal() == KEY
    assert KEY not in repr(config)
    assert config.cache.redis.ttl_s == 3600


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tiers = []", "cache.tiers is empty"),
        ('tiers = ["memory", "memory"]', "names 'memory' twice"),
        ('tiers = ["sqlite", "memory"]', "Name it first"),
        ('tiers = ["memory", "disk"]', "cache.tiers[1] 'disk'"),
        ('tiers = ["redis"]', "Set cache.redis.url, or PENNYWEIGHT_REDIS_URL."),
        ('tiers = ["postgres"]', "Set cache.postgres.url, or PENNYWEIGHT_POSTGRES_URL."),
        ('tiers = ["redis"]\n[cache.redis]\nurl = "http://127.0.0.1"', "Use redis://host:6379/0."),
        ('tiers = ["postgres"]\n[cache.postgres]\nurl = "host=x"', "Use postgresql://"),
        ('tiers = ["redis"]\n[cache.redis]\nurl = "redis://127.0.0.1:x/0"', "is no address"),
        ("encrypt = true", "openssl rand -base64 32"),
        ("max_value_bytes = 0", "cache.max_value_bytes 0 must be above 0"),
        ("[cache.memory]\nentries = -1", "cache.memory.entries -1 must be above 0"),
        ("[cache.redis]\ntimeout_s = 0.0", "cache.redis.timeout_s 0.0 must be above 0"),
        ("[cache.redis]\ntimeout = 1.0", "unknown field `timeout`"),
        ("[cache.files]\nttl_s = 0.0", "cache.files.ttl_s 0.0 must be above 0"),
    ],
)
def test_what_is_wrong_is_said_with_its_remedy(tmp_path: Path, text: str, said: str) -> None:
    problems = found(tmp_path, f"[cache]\n{text}\n")
    assert len(problems) == 1
    assert problems[0].startswith("error: ")
    assert said in problems[0]


def test_a_key_that_is_none_is_not_quoted(tmp_path: Path) -> None:
    (problem,) = found(tmp_path, "", PENNYWEIGHT_CACHE_KEY="hunter2hunter2")
    assert "openssl rand -base64 32" in problem
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    ("tier", "url"),
    [
        ("redis", "rediss://user:hunter2@host:x/0"),
        ("redis", "redis://:hunter2@other.example:6379/0"),
        ("redis", "http://:hunter2@host"),
        ("postgres", "mysql://user:hunter2@host/x"),
        ("postgres", "postgresql://user:hunter2@host/x?nonsense=hunter2"),
        ("postgres", "postgresql://user:hunter2@host:port/x"),
    ],
)
def test_passwords_are_never_shown(tmp_path: Path, tier: str, url: str) -> None:
    text = f'[cache]\ntiers = ["{tier}"]\n[cache.{tier}]\nurl = "{url}"\n'
    problems = found(tmp_path, text)
    assert problems
    assert "hunter2" not in "".join(problems)
    config, _ = inspect(written(tmp_path, text), {"PENNYWEIGHT_DATA": str(tmp_path)})
    assert "hunter2" not in repr(config)


def test_a_server_elsewhere_without_tls_or_key_is_warned_of(tmp_path: Path) -> None:
    text = '[cache]\ntiers = ["redis"]\n[cache.redis]\nurl = "redis://cache.example:6379/0"\n'
    (problem,) = found(tmp_path, text)
    assert problem.startswith("warning: ")
    assert not found(tmp_path, text, PENNYWEIGHT_CACHE_KEY=KEY)
    assert not found(tmp_path, text.replace("redis://", "rediss://"))
    assert not found(tmp_path, text.replace("cache.example", "127.0.0.1"))


def test_passwords_are_taken_out_of_addresses() -> None:
    assert without_password("redis://:geheim@host:1/0") == "redis://…@host:1/0"
    assert without_password("postgresql://u:p@h/d?password=x") == "postgresql://…@h/d?…"
    assert without_password("redis://host/0") == "redis://host/0"
    assert without_password(None) is None


@pytest.mark.parametrize(("tier", "package"), [("redis", "redis"), ("postgres", "psycopg")])
def test_a_package_that_is_missing_is_named(tmp_path: Path, tier: str, package: str) -> None:
    """In a process of its own, in which importing the package fails."""
    scheme = "redis" if tier == "redis" else "postgresql"
    file = written(tmp_path, f'[cache]\ntiers = ["{tier}"]\n[cache.{tier}]\nurl = "{scheme}://127.0.0.1/0"\n')
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from pathlib import Path\n"
        "from pennyweight.cli import cli\n"
        f"cli(['check', '--config', {str(file)!r}, '--data', {str(tmp_path)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"pip install 'pennyweight[{tier}]'" in done.stdout, done.stderr


def test_the_embedded_default_loads_no_optional_library(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from pennyweight.app import build\n"
        "from pennyweight.config import load\n"
        "async def main():\n"
        f"    async with build(load(None, {{'PENNYWEIGHT_DATA': {str(tmp_path)!r}}})) as app:\n"
        "        await app.kv.put('k', b'v' * 1000)\n"
        "        await app.kv.flush()\n"
        "        assert await app.kv.get('k') == b'v' * 1000\n"
        "asyncio.run(main())\n"
        "print([name for name in ('redis', 'psycopg', 'psycopg_pool', 'cryptography') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_what_cannot_be_built_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cache\.tiers is empty"):
        load(written(tmp_path, "[cache]\ntiers = []\n"), {"PENNYWEIGHT_DATA": str(tmp_path)})
