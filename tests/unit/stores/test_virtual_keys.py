"""Virtual keys: found until revoked, kept as hashes only, heard of across processes."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pennyweight.errors import ConfigError, StoreError
from pennyweight.stores.virtual_keys import KeyStore


class Times:
    """A clock that stands still until told."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def store(tmp_path: Path, times: Times) -> KeyStore:
    return KeyStore(tmp_path, now=times, monotonic=times)


def test_a_key_is_found_until_it_is_revoked(store: KeyStore) -> None:
    key = store.add("team", daily_usd="2.50")
    found = store.find(key)
    assert key.startswith("pw-")
    assert found is not None
    assert (found.name, found.daily_limit) == ("team", 2_500_000_000_000)
    assert store.find(key[:-1]) is None
    store.revoke("team")
    assert store.find(key) is None
    assert not store.any()


def test_nothing_is_written_before_the_first_key(store: KeyStore, tmp_path: Path) -> None:
    assert not store.any()
    assert store.find("pw-x") is None
    assert list(tmp_path.iterdir()) == []


def test_only_a_keyed_hash_is_stored_and_only_the_owner_may_read(store: KeyStore, tmp_path: Path) -> None:
    key = store.add("team")
    for path in tmp_path.iterdir():
        assert key.encode() not in path.read_bytes()
        assert key[3:].encode() not in path.read_bytes()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys.db", "keys.secret"]


def test_another_process_is_heard_within_a_second(store: KeyStore, tmp_path: Path, times: Times) -> None:
    key = store.add("team")
    assert store.find(key) is not None
    other = KeyStore(tmp_path, now=times, monotonic=times)
    other.revoke("team")
    times.seconds += 0.9
    assert store.find(key) is None
    second = other.add("second")
    times.seconds += 0.9
    assert store.find(second) is not None


def test_an_expired_key_is_unknown(store: KeyStore, times: Times) -> None:
    key = store.add("guest", expires_at=times.seconds + 10)
    assert store.find(key) is not None
    times.seconds += 10
    assert store.find(key) is None
    assert store.any()


def test_names_are_unique_and_mistakes_are_explained(store: KeyStore, times: Times) -> None:
    store.add("team")
    with pytest.raises(ConfigError, match="named 'team' already"):
        store.add("team")
    with pytest.raises(ConfigError, match=r"no key named 'taem'. There are: team\."):
        store.revoke("taem")
    for bad in ("", " ", "a\n", "x" * 101):
        with pytest.raises(ConfigError, match="will not do"):
            store.add(bad)
    for usd in ("-1", "0", "nan", "inf", "five", "1e9"):
        with pytest.raises(ConfigError, match="daily limit"):
            store.add("other", daily_usd=usd)
    with pytest.raises(ConfigError, match="past"):
        store.add("other", expires_at=times.seconds - 1)


def test_in_doubt_nobody_gets_in(tmp_path: Path, times: Times) -> None:
    key = KeyStore(tmp_path, now=times, monotonic=times).add("team")
    (tmp_path / "keys.secret").write_bytes(b"short")
    with pytest.raises(StoreError, match="damaged"):
        KeyStore(tmp_path, now=times, monotonic=times).find(key)
    (tmp_path / "keys.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError):
        KeyStore(tmp_path, now=times, monotonic=times).find(key)


def test_keys_that_are_gone_let_nobody_in(tmp_path: Path) -> None:
    store = KeyStore(tmp_path, refresh_s=0)
    key = store.add("team")
    assert store.find(key) is not None
    (tmp_path / "keys.db").unlink()
    for look in (lambda: store.find(key), store.any, store.list):
        with pytest.raises(StoreError, match=r"keys.db is gone, and keys.secret is there"):
            look()
    (tmp_path / "keys.secret").unlink()
    assert not store.any()


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"not a database"])
def test_keys_that_are_damaged_let_nobody_in(tmp_path: Path, content: bytes) -> None:
    store = KeyStore(tmp_path, refresh_s=0)
    key = store.add("team")
    (tmp_path / "keys.db").write_bytes(content)
    with pytest.raises(StoreError, match=r"keys\.db cannot be read"):
        store.find(key)
