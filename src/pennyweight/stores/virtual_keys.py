"""Virtual keys in a SQLite file, kept as keyed hashes: each is a tenant, with a daily limit and an expiry if wanted."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from decimal import Decimal, InvalidOperation
from pathlib import Path

import msgspec

from ..errors import ConfigError, StoreError
from ..money import PicoUSD

__all__ = ["PREFIX", "KeyStore", "VirtualKey"]

PREFIX = "pw-"
"""What every virtual key begins with."""


class VirtualKey(msgspec.Struct, frozen=True):
    """A tenant. `daily_limit` in PicoUSD per UTC day, `expires_at` and `created_at` in unix seconds."""

    name: str
    created_at: float
    daily_limit: PicoUSD | None = None
    expires_at: float | None = None


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
        self._by_name: Mapping[str, VirtualKey] = {}
        self._secret: bytes | None = None
        self._looked_at = float("-inf")
        self._stamp: tuple[int, int, int] | None = None

    def add(self, name: str, *, daily_usd: str | float | None = None, expires_at: float | None = None) -> str:
        """A new key for that name, told this once. Raises ConfigError for a name that is taken or no name."""
        if not name.strip() or len(name) > 100 or not name.isprintable() or name == "local":
            raise ConfigError(f"The name {name!r} will not do. Use 1 to 100 printable characters, and not 'local'.")
        limit = None if daily_usd is None else _pico(daily_usd)
        if expires_at is not None and expires_at <= self._now():
            raise ConfigError("The key would expire in the past. Give a later time.")
        key = PREFIX + secrets.token_urlsafe(32)
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
        found = self._known(key)
        if found is None:
            self._looked_at = float("-inf")  # it may be a key that was made this moment: look again before refusing
            self._refresh()
            found = self._known(key)
        if found is None or (found.expires_at is not None and found.expires_at <= self._now()):
            return None
        return found

    def _known(self, key: str) -> VirtualKey | None:
        # What the time of this lookup tells is about a keyed hash, and nobody outside can aim at one of those.
        return None if self._secret is None else self._keys.get(self._hash(key, self._secret))

    def daily_limit(self, tenant: str) -> PicoUSD | None:
        """What the key of that name may cost in a UTC day; None for no limit, or for who has no key."""
        if self._monotonic() - self._looked_at >= self._refresh_s:
            self._refresh()
        key = self._by_name.get(tenant)
        return key.daily_limit if key is not None else None

    def close(self) -> None:
        """Nothing is held open between look-ups; afterwards nobody is known."""
        self._keys, self._by_name = {}, {}
        self._looked_at = float("inf")

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
            if self._secret_path.exists():  # there were keys: without them everybody would get in
                raise StoreError(
                    f"{self._path} is gone, and {self._secret_path.name} is there. Restore it, or remove that too "
                    "to go on without keys."
                ) from None
            self._keys, self._by_name, self._stamp, self._looked_at = {}, {}, None, now
            return
        except OSError as error:
            raise StoreError(f"{self._path} cannot be read: {error.strerror}.") from error
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        # Two changes within one tick of the file system's clock leave one time: a fresh file is read again.
        if stamp != self._stamp or self._now() - status.st_mtime < 2.0:
            self._keys = self._load()
            self._by_name = {key.name: key for key in self._keys.values()}
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
                with contextlib.suppress(FileExistsError):
                    os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
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
        draft = self._secret_path.with_name(f".{self._secret_path.name}.{secrets.token_hex(8)}")
        try:
            self._secret_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
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
