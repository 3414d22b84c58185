"""Who may ask: virtual keys, what a caller on this machine may bring, and which web pages are kept out.

Of a virtual key only a keyed hash is stored. A key of the caller's own is passed on, never stored and never logged.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from decimal import Decimal, InvalidOperation
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from ..call import Credential
from ..config import is_loopback
from ..errors import ConfigError, Forbidden, LimitReached, StoreError, Unauthenticated
from ..money import PicoUSD
from ..request import Headers

__all__ = [
    "CREDENTIAL_HEADERS",
    "Caller",
    "KeyStore",
    "VirtualKey",
    "authenticate",
    "check_host",
    "check_limit",
    "refuse_bind",
]

CREDENTIAL_HEADERS = frozenset(
    {"authorization", "x-api-key", "api-key", "x-goog-api-key", "x-pennyweight-key", "proxy-authorization", "cookie"}
)
"""Headers that never become part of a Request."""

_PREFIX = "pw-"


class VirtualKey(msgspec.Struct, frozen=True):
    """A tenant. `daily_limit` in PicoUSD per UTC day, `expires_at` and `created_at` in unix seconds."""

    name: str
    created_at: float
    daily_limit: PicoUSD | None = None
    expires_at: float | None = None


class Caller(msgspec.Struct, frozen=True, eq=False):
    """Whose call it is, and the provider key or token that came with it."""

    tenant: str
    credential: Credential | None = None
    key: VirtualKey | None = None


# --- the keys ----------------------------------------------------------------------------------------------


class KeyStore:
    """The virtual keys in `<data_dir>/keys.db`, with the hashing secret in `keys.secret` beside it, both 0600.

    Looking a key up is one hash and one dictionary; the file is looked at again every `refresh_s`, so that a key
    revoked by another process is refused within a second. Nothing is created before the first `add`.
    Raises StoreError when the file cannot be read: in doubt nobody gets in.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        refresh_s: float = 0.5,
    ) -> None:
        self._path = data_dir / "keys.db"
        self._secret_path = data_dir / "keys.secret"
        self._now = now
        self._monotonic = monotonic
        self._refresh_s = refresh_s
        self._keys: Mapping[bytes, VirtualKey] = {}
        self._secret: bytes | None = None
        self._looked_at = float("-inf")
        self._stamp: tuple[int, int, int] | None = None

    def add(self, name: str, *, daily_usd: str | float | None = None, expires_at: float | None = None) -> str:
        """A new key for that name, told this once. Raises ConfigError for a name that is taken or no name."""
        if not name.strip() or len(name) > 100 or not name.isprintable():
            raise ConfigError(f"The name {name!r} will not do. Use 1 to 100 printable characters.")
        limit = None if daily_usd is None else _pico(daily_usd)
        if expires_at is not None and expires_at <= self._now():
            raise ConfigError("The key would expire in the past. Give a later time.")
        key = _PREFIX + secrets.token_urlsafe(32)
        digest = self._hash(key, self._make_secret())
        with closing(self._open(create=True)) as db, db:
            try:
                db.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?)", (name, digest, self._now(), limit, expires_at))
            except sqlite3.IntegrityError:
                raise ConfigError(
                    f"There is a key named {name!r} already. Choose another name, or revoke that one first."
                ) from None
            except sqlite3.Error as error:
                raise StoreError(f"The key could not be saved to {self._path}: {error}.") from error
        self._looked_at = float("-inf")
        return key

    def revoke(self, name: str) -> None:
        """Raises ConfigError when there is no such key."""
        removed = 0
        if self._path.exists():
            with closing(self._open()) as db, db:
                removed = db.execute("DELETE FROM keys WHERE name = ?", (name,)).rowcount
        self._looked_at = float("-inf")
        if not removed:
            names = ", ".join(key.name for key in self.list()) or "none"
            raise ConfigError(f"There is no key named {name!r}. There are: {names}.")

    def list(self) -> tuple[VirtualKey, ...]:
        """All keys by name, expired ones too."""
        self._refresh()
        return tuple(sorted(self._keys.values(), key=lambda key: key.name))

    def any(self) -> bool:
        """Whether there is any key, expired or not."""
        self._refresh()
        return bool(self._keys)

    def find(self, key: str) -> VirtualKey | None:
        """The tenant of that key; None when it is unknown, revoked or expired."""
        self._refresh()
        if self._secret is None:
            return None
        # What the time of this lookup tells is about a keyed hash, and nobody outside can aim at one of those.
        found = self._keys.get(self._hash(key, self._secret))
        if found is None or (found.expires_at is not None and found.expires_at <= self._now()):
            return None
        return found

    @staticmethod
    def _hash(key: str, secret: bytes) -> bytes:
        return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), key=secret, digest_size=32).digest()

    def _refresh(self) -> None:
        now = self._monotonic()
        if now - self._looked_at < self._refresh_s:
            return
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._keys, self._stamp, self._looked_at = {}, None, now
            return
        except OSError as error:
            raise StoreError(f"{self._path} cannot be read: {error.strerror}.") from error
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        # Two changes within one tick of the file system's clock leave one time: a fresh file is read again.
        if stamp != self._stamp or self._now() - status.st_mtime < 2.0:
            self._keys = self._load()
            self._secret = self._read_secret()
            self._stamp = stamp
        self._looked_at = now

    def _load(self) -> Mapping[bytes, VirtualKey]:
        with closing(self._open()) as db:
            try:
                rows = db.execute("SELECT hash, name, created_at, daily_limit, expires_at FROM keys").fetchall()
            except sqlite3.Error as error:
                raise StoreError(f"{self._path} cannot be read: {error}.") from error
        return {digest: VirtualKey(name, created, limit, expires) for digest, name, created, limit, expires in rows}

    def _open(self, *, create: bool = False) -> sqlite3.Connection:
        try:
            if create:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            db = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=rw", uri=True, timeout=5.0)
            if create:
                db.execute(_SCHEMA)
            return db
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{self._path} cannot be opened: {error}. Check the data directory.") from error

    def _read_secret(self) -> bytes:
        try:
            secret = self._secret_path.read_bytes()
        except OSError as error:
            raise StoreError(
                f"{self._secret_path} cannot be read: {error.strerror}. Without it no key is known."
            ) from error
        if len(secret) != 32:
            raise StoreError(f"{self._secret_path} is damaged. Restore it, or remove keys.db and add the keys anew.")
        return secret

    def _make_secret(self) -> bytes:
        """The secret, made if this is the first key; of two processes that make it, one wins."""
        self._secret_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._secret_path.with_name(f".{self._secret_path.name}.{secrets.token_hex(8)}")
        try:
            if not self._secret_path.exists():
                descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(secrets.token_bytes(32))
                try:
                    os.link(draft, self._secret_path)  # whole or not at all, and never over another's
                except FileExistsError:
                    pass
                finally:
                    draft.unlink()
        except OSError as error:
            raise StoreError(f"{self._secret_path} cannot be written: {error.strerror}.") from error
        return self._read_secret()


_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (
  name TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, created_at REAL NOT NULL, daily_limit INTEGER, expires_at REAL
) STRICT
"""


def _pico(usd: str | float) -> PicoUSD:
    try:
        limit = Decimal(str(usd)) * 10**12
    except InvalidOperation:
        limit = Decimal(-1)
    if not limit.is_finite() or limit <= 0 or limit != int(limit) or limit > 10**18:
        raise ConfigError(f"A daily limit of {usd!r} will not do. Give dollars above 0 and up to 1,000,000, such as 5.")
    return PicoUSD(limit)


def check_limit(key: VirtualKey, spent_today: PicoUSD) -> None:
    """Raises LimitReached when nothing is left of a key's daily limit.

    The words matter: these make OpenClaw show the text and wait; others make it disable the credential.
    """
    if key.daily_limit is not None and spent_today >= key.daily_limit:
        spent, limit = spent_today / 10**12, key.daily_limit / 10**12
        raise LimitReached(
            f"Daily limit reached for key {key.name}: ${spent:.2f} of ${limit:.2f} spent, resets tomorrow 00:00 UTC."
        )


# --- one request -------------------------------------------------------------------------------------------


def authenticate(headers: Headers, store: KeyStore, *, peer_is_loopback: bool, loopback_open: bool = True) -> Caller:
    """Whose call it is. Raises Unauthenticated, and StoreError when the keys cannot be read.

    A virtual key is taken as `Authorization: Bearer`, `x-api-key`, `api-key` or `x-pennyweight-key`, on every
    protocol; what other key comes beside it is the caller's own. A caller on loopback needs none while
    `loopback_open` or while there are none. From anywhere else a virtual key is needed always.
    """
    offered = tuple(_offered(headers))
    for _, secret, _ in offered:
        if secret.startswith(_PREFIX):
            key = store.find(secret)
            if key is None:
                raise Unauthenticated(
                    "This Pennyweight key is unknown, revoked or expired. Ask for a new one: pennyweight keys add NAME."
                )
            return Caller(key.name, _credential(headers, offered), key)
    if not peer_is_loopback:
        raise Unauthenticated("A Pennyweight key is needed from another machine. Make one: pennyweight keys add NAME.")
    if not loopback_open and store.any():
        raise Unauthenticated(
            "A Pennyweight key is needed (server.loopback_open is false). Make one: pennyweight keys add NAME."
        )
    return Caller("local", _credential(headers, offered))


def _offered(headers: Headers) -> Iterable[tuple[str, str, str]]:
    """Every key that came: its header, the key itself, and the header's whole value."""
    for name, value in headers:
        if name == "authorization":
            scheme, _, token = value.strip().partition(" ")
            if scheme.lower() == "bearer" and token.strip():
                yield name, token.strip(), value
        elif name in ("x-api-key", "api-key", "x-goog-api-key", "x-pennyweight-key") and value.strip():
            yield name, value.strip(), value


_NO_KEYS = frozenset(
    {"dummy", "none", "null", "no-key", "not-needed", "unused", "placeholder", "pennyweight"}
    | {"sk-dummy", "sk-none", "sk-no-key-required", "sk-not-needed", "sk-placeholder"}
)
"""What people write where a client insists on a key."""


def _credential(headers: Headers, offered: tuple[tuple[str, str, str], ...]) -> Credential | None:
    """The caller's own provider key or subscription token, as it came."""
    for name, secret, value in offered:
        if name == "x-pennyweight-key" or secret.startswith(_PREFIX) or secret.lower() in _NO_KEYS:
            continue
        chatgpt = secret.startswith("eyJ") and any(header == "chatgpt-account-id" for header, _ in headers)
        return Credential(name, value, subscription=chatgpt or secret.startswith("sk-ant-oat"))
    return None


def check_host(
    host: str | None, origin: str | None, sec_fetch_site: str | None, *, allowed: Iterable[str] = ()
) -> None:
    """Keeps web pages out: raises Forbidden for a Host that is a foreign name and for a foreign page's Origin.

    A page that rebinds its own name to 127.0.0.1 sends that name as Host; an address cannot be rebound. A browser
    tells the page's origin in Origin, which pages cannot forge. `allowed`: host names, or whole origins.
    """
    names = {name.lower() for name in allowed}
    if host is None or not _is_ours(_hostname(host), names):
        raise Forbidden(
            f"The Host {host!r} is not this gateway's. Use its address, or add the name to server.allowed_hosts."
        )
    if origin is not None and origin.lower() not in names:
        parts = urlsplit(origin)
        # Other schemes are desktop applications and editors; pages of the web cannot send them.
        foreign = origin == "null" or (parts.scheme in ("http", "https") and not _is_ours(parts.hostname or "", names))
        if foreign:
            raise Forbidden(f"Pages of {origin!r} may not call this gateway. Add it to server.allowed_origins.")
    elif origin is None and sec_fetch_site == "cross-site":
        raise Forbidden("Pages of other sites may not call this gateway.")


def _hostname(host: str) -> str:
    """The name in a Host header, its port and brackets taken off."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_ours(name: str, allowed: set[str]) -> bool:
    name = name.lower()
    if name in allowed or is_loopback(name):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def refuse_bind(host: str, *, keys_exist: bool) -> None:
    """Raises ConfigError for an address that other machines can reach while there is no virtual key."""
    if not is_loopback(host) and not keys_exist:
        raise ConfigError(
            f"Refusing to listen on {host!r}: other machines could spend your money. "
            "Make a key first (pennyweight keys add NAME), or listen on 127.0.0.1."
        )
