"""Virtual keys, callers' own keys, and pages that must stay out."""

from __future__ import annotations

from pathlib import Path

import pytest

from pennyweight.config import load
from pennyweight.errors import ConfigError, Forbidden, Unauthenticated
from pennyweight.front.auth import Caller, Gate, authenticate, check_host, refuse_bind
from pennyweight.front.http import HttpRequest
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


# --- pages, addresses ------------------------------------------------------------------------------


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


# --- the gate ----------------------------------------------------------------------------------------------


def http(*headers: tuple[str, str], peer: str = "127.0.0.1") -> HttpRequest:
    return HttpRequest("GET", "/", "", headers, b"", peer)


def test_the_gate_asks_who_and_shows_each_its_own(store: KeyStore, tmp_path: Path) -> None:
    gate = Gate(load(None, {}, {"data_dir": tmp_path}), store)
    key = store.add("team", daily_usd=1)
    assert gate.viewer(http()) is None
    assert gate.viewer(http(("x-api-key", key))) == "team"
    assert gate.admit(http(("x-api-key", key), peer="10.0.0.1"))[0] == "team"
    for peer in ("10.0.0.1", "::ffff:10.0.0.1", "nonsense"):
        with pytest.raises(Unauthenticated):
            gate.viewer(http(peer=peer))
    assert gate.admit(http(peer="::ffff:127.0.0.1"))[0] == "local"
    assert store.daily_limit("team") == 10**12
    assert store.daily_limit("local") is None


def test_a_call_inside_the_process_is_near_and_has_no_host(store: KeyStore, tmp_path: Path) -> None:
    gate = Gate(load(None, {}, {"data_dir": tmp_path}), store)
    gate.check_host(http(peer=""))
    assert gate.admit(http(peer=""))[0] == "local"
    with pytest.raises(Forbidden):
        gate.check_host(http(("host", "evil.example")))


def test_the_gate_refuses_an_open_address_without_keys(store: KeyStore, tmp_path: Path) -> None:
    config = load(None, {}, {"data_dir": tmp_path, "host": "0.0.0.0"})
    with pytest.raises(ConfigError, match="Refusing"):
        Gate.refuse_bind(config, store)
    store.add("team")
    Gate.refuse_bind(config, store)
