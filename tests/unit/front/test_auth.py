"""Virtual keys, callers' own keys, and pages that must stay out."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pennyweight.errors import ConfigError, Forbidden, StoreError, Unauthenticated
from pennyweight.front.auth import Caller, authenticate, check_host, refuse_bind
from pennyweight.stores.virtual_keys import KeyStore

REAL = "sk-proj-0123456789abcdef"


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


def ask(store: KeyStore, *headers: tuple[str, str], loopback: bool = True, loopback_open: bool = True) -> Caller:
    return authenticate(headers, store, peer_is_loopback=loopback, loopback_open=loopback_open)


# --- the store ---------------------------------------------------------------------------------------------


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


# --- a request ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key", "x-pennyweight-key"])
@pytest.mark.parametrize("loopback", [True, False])
def test_a_virtual_key_is_taken_in_every_header(store: KeyStore, header: str, loopback: bool) -> None:
    key = store.add("team")
    value = f"Bearer {key}" if header == "authorization" else key
    caller = ask(store, (header, value), loopback=loopback)
    assert caller.tenant == "team"
    assert caller.credential is None
    assert caller.key is not None


def test_an_unknown_virtual_key_is_refused_on_loopback_too(store: KeyStore) -> None:
    with pytest.raises(Unauthenticated, match="keys add"):
        ask(store, ("x-api-key", "pw-nobody"))


def test_a_caller_on_loopback_brings_its_own_key(store: KeyStore) -> None:
    caller = ask(store, ("authorization", f"Bearer {REAL}"))
    assert caller.tenant == "local"
    assert caller.credential is not None
    assert (caller.credential.header, caller.credential.secret) == ("authorization", f"Bearer {REAL}")
    assert not caller.credential.subscription
    assert REAL not in repr(caller)


def test_a_virtual_key_and_a_key_of_the_callers_own(store: KeyStore) -> None:
    key = store.add("team")
    caller = ask(store, ("x-pennyweight-key", key), ("authorization", "Bearer sk-ant-oat01-abc"), loopback=False)
    assert caller.tenant == "team"
    assert caller.credential is not None
    assert caller.credential.subscription


@pytest.mark.parametrize(
    ("headers", "subscription"),
    [
        ([("authorization", "Bearer sk-ant-oat01-x")], True),
        ([("authorization", "Bearer eyJabc.def.ghi"), ("chatgpt-account-id", "a")], True),
        ([("authorization", "Bearer eyJabc.def.ghi")], False),
        ([("x-api-key", "sk-ant-api03-x")], False),
    ],
)
def test_subscriptions_are_told_from_keys(store: KeyStore, headers: list[tuple[str, str]], subscription: bool) -> None:
    credential = ask(store, *headers).credential
    assert credential is not None
    assert credential.subscription is subscription


@pytest.mark.parametrize("value", ["dummy", "sk-dummy", "None", "not-needed", "", "  "])
def test_a_dummy_key_is_no_key(store: KeyStore, value: str) -> None:
    assert ask(store, ("authorization", f"Bearer {value}"), ("x-api-key", value)).credential is None


def test_who_needs_a_virtual_key(store: KeyStore) -> None:
    with pytest.raises(Unauthenticated):
        ask(store, ("x-api-key", REAL), loopback=False)
    assert ask(store, loopback_open=False).tenant == "local"
    store.add("team")
    assert ask(store).tenant == "local"
    with pytest.raises(Unauthenticated, match="loopback_open"):
        ask(store, loopback_open=False)


def test_basic_authorization_is_no_key(store: KeyStore) -> None:
    assert ask(store, ("authorization", "Basic YTpi")).credential is None


# --- limits, pages, addresses ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8787", "localhost", "LOCALHOST:1", "[::1]:8787", "10.1.2.3:80", "gw.lan:1"]
)
@pytest.mark.parametrize(
    "origin", [None, "http://localhost:3000", "app://obsidian.md", "https://ui.lan", "http://127.0.0.1"]
)
def test_our_own_names_and_pages_are_let_in(host: str, origin: str | None) -> None:
    check_host(host, origin, "same-site", allowed=("gw.lan", "https://ui.lan"))


@pytest.mark.parametrize(
    ("host", "origin", "site"),
    [
        ("evil.example:8787", None, None),
        ("127.0.0.1.evil.example", None, None),
        (None, None, None),
        ("", None, None),
        ("[::1", None, None),
        ("127.0.0.1:8787", "https://evil.example", "cross-site"),
        ("127.0.0.1:8787", "https://localhost.evil.example", None),
        ("127.0.0.1:8787", "null", None),
        ("127.0.0.1:8787", None, "cross-site"),
    ],
)
def test_foreign_names_and_pages_are_kept_out(host: str | None, origin: str | None, site: str | None) -> None:
    with pytest.raises(Forbidden):
        check_host(host, origin, site)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "", "gateway.example"])
def test_other_machines_are_let_in_only_with_keys(host: str) -> None:
    with pytest.raises(ConfigError, match="keys add"):
        refuse_bind(host, keys_exist=False)
    refuse_bind(host, keys_exist=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_loopback_needs_no_keys(host: str) -> None:
    refuse_bind(host, keys_exist=False)
