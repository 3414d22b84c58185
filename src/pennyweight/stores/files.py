"""Bytes and counters in a folder, one file per entry: for a disk that several machines mount, or one that is large."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

from ..errors import StoreError
from ..protocols import Clock

__all__ = ["FilesKV"]

T = TypeVar("T")

# A file is this head, the key and the value: what it is, when it lapses (unix seconds; infinity: never), how long the
# key and the value are. A file that says otherwise than it is was cut, and is no entry.
_HEAD = struct.Struct("<4sdIQ")
_MAGIC = b"PwF1"
_TEMPORARY = ".new-"
_LEFT_BEHIND_S = 3600.0  # temporary files older than this belong to processes that died
_USED_AGAIN_S = 60.0  # how exactly the time of last use is kept


class FilesKV:
    """A Tier in the folder `folder`, bounded by `count` files and `size_bytes`: the least recently used go first.

    Files have mode 0600 and appear whole, by renaming. Names are digests of keys, in 256 folders. Several processes
    may share the folder: each counts what the others add when it has to evict. Work is done in two threads, so that
    the event loop never waits for a disk.
    """

    def __init__(self, folder: Path, *, clock: Clock, count: int = 100_000, size_bytes: int = 4 << 30) -> None:
        self._folder = folder
        self._clock = clock
        self._count = count
        self._size_bytes = size_bytes
        self._held: tuple[int, int] | None = None  # files and bytes; owned by the writing thread; None: not counted
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="pennyweight-files-read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="pennyweight-files-write")

    async def get(self, key: str) -> bytes | None:
        found = await self.read(key)
        return None if found is None else found[0]

    async def read(self, key: str) -> tuple[bytes, float | None] | None:
        now = self._clock.now()
        found = await self._run(self._reader, lambda: self._load(key, now))
        if found is None:
            return None
        value, expires = found
        return value, None if expires == float("inf") else expires - now

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        expires = float("inf") if ttl_s is None else self._clock.now() + ttl_s
        await self._run(self._writer, lambda: self._store(key, value, expires))

    async def remove(self, key: str) -> None:
        await self._run(self._writer, lambda: self._drop(self._path(key)))

    async def delete(self, prefix: str) -> int:
        """Reads the head of every file."""
        wanted = _bytes(prefix)

        def work() -> int:
            dropped = 0
            for path in self._files():
                key = _key_of(path)
                if key is not None and key.startswith(wanted):
                    dropped += self._drop(path)
            return dropped

        return await self._run(self._writer, work)

    async def keys(self, prefix: str, *, limit: int) -> Sequence[str]:
        """Reads the head of every file, until it has enough."""
        wanted, now = _bytes(prefix), self._clock.now()

        def work() -> list[str]:
            found: list[str] = []
            for path in self._files():
                head = _head(path)
                if head is not None and head[0] > now and head[1].startswith(wanted):
                    found.append(head[1].decode("utf-8", "surrogatepass"))
                    if len(found) == limit:
                        break
            return found

        return await self._run(self._reader, work) if limit > 0 else []

    async def add(self, key: str, amount: int, *, ttl_s: float | None = None) -> int:
        now = self._clock.now()

        def work() -> int:
            with self._locked():
                found = self._load(key, now)
                value, expires = found or (b"0", float("inf") if ttl_s is None else now + ttl_s)
                total = _number(key, value) + amount
                self._store(key, b"%d" % total, expires)
                return total

        return await self._run(self._writer, work)

    async def close(self) -> None:
        """Wait for what was asked for."""
        await asyncio.to_thread(self._writer.shutdown)
        await asyncio.to_thread(self._reader.shutdown)

    async def _run(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, work)
        except OSError as error:
            raise StoreError(f"The cache folder {self._folder} failed: {error.strerror or error}.") from error
        except RuntimeError as error:  # the threads have been shut down
            raise StoreError(f"The cache folder {self._folder} is closed.") from error

    # --- in the threads -------------------------------------------------------------------------------------

    def _path(self, key: str) -> Path:
        name = blake2b(_bytes(key), digest_size=20).hexdigest()
        return self._folder / name[:2] / name[2:]

    def _load(self, key: str, now: float) -> tuple[bytes, float] | None:
        """The value and when it lapses. What has lapsed or is damaged is left for the next eviction or `put`."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        if len(data) < _HEAD.size:
            return None
        magic, expires, key_bytes, value_bytes = _HEAD.unpack_from(data)
        value_at = _HEAD.size + key_bytes
        if magic != _MAGIC or len(data) != value_at + value_bytes or expires <= now:
            return None
        if data[_HEAD.size : value_at] != _bytes(key):  # 160 bits of digest: it would take malice
            return None
        with contextlib.suppress(OSError):  # it may be gone by now
            if time.time() - path.stat().st_mtime > _USED_AGAIN_S:
                os.utime(path)
        return data[value_at:], expires

    def _store(self, key: str, value: bytes, expires: float) -> None:
        path, name = self._path(key), _bytes(key)
        size = _HEAD.size + len(name) + len(value)
        if size > self._size_bytes:
            self._drop(path)
            return
        new = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
        before = _size(path)
        try:
            descriptor = _create(new)
            with os.fdopen(descriptor, "wb") as file:
                file.write(_HEAD.pack(_MAGIC, expires, len(name), len(value)) + name)
                file.write(value)
            new.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                new.unlink()
            raise
        self._grow(0 if before is not None else 1, size - (before or 0))

    def _drop(self, path: Path) -> int:
        size = _size(path)
        try:
            path.unlink()
        except FileNotFoundError:
            return 0
        if self._held is not None:
            self._grow(-1, -(size or 0))
        return 1

    def _grow(self, count: int, size_bytes: int) -> None:
        if self._held is not None:
            self._held = (self._held[0] + count, self._held[1] + size_bytes)
        if self._held is None or self._held[0] > self._count or self._held[1] > self._size_bytes:
            self._recount()

    def _recount(self) -> None:
        """Look at every file; above a bound, drop what lapsed and then the longest unused, down to nine tenths."""
        found, old = [], time.time() - _LEFT_BEHIND_S
        for path in self._files(temporary=True):
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                if not path.name.startswith(_TEMPORARY):
                    found.append((stat.st_mtime, stat.st_size, path))
                elif stat.st_mtime < old:
                    path.unlink()
        held, held_bytes = len(found), sum(size for _, size, _ in found)
        if held > self._count or held_bytes > self._size_bytes:
            now = self._clock.now()
            lapsed = {path for _, _, path in found if _expires(path) <= now}
            found.sort(key=lambda entry: (entry[2] not in lapsed, entry[0]))
            for _, size, path in found:
                enough = held <= self._count * 9 // 10 and held_bytes <= self._size_bytes * 9 // 10
                if enough and path not in lapsed:
                    break
                path.unlink(missing_ok=True)
                held, held_bytes = held - 1, held_bytes - size
        self._held = (held, held_bytes)

    def _files(self, *, temporary: bool = False) -> Iterator[Path]:
        for folder in _entries(self._folder):
            if len(folder.name) == 2:
                for entry in _entries(folder):
                    if temporary or not entry.name.startswith(_TEMPORARY):
                        yield entry

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One counter at a time among processes; the writing thread is alone in this one."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(self._folder / ".lock", os.O_CREAT | os.O_RDWR, 0o600), "wb") as lock:
            if sys.platform != "win32":
                import fcntl

                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def _create(path: Path) -> int:
    """A descriptor of a new file that only we can read, its folders made where they are not there."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return os.open(path, flags, 0o600)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _head(path: Path) -> tuple[float, bytes] | None:
    """When the entry lapses, and its key; None for what is no entry, or no more."""
    try:
        with path.open("rb") as file:
            magic, expires, key_bytes, _ = _HEAD.unpack(file.read(_HEAD.size))
            return (float(expires), file.read(min(key_bytes, 1 << 16))) if magic == _MAGIC else None
    except (OSError, struct.error):
        return None


def _key_of(path: Path) -> bytes | None:
    head = _head(path)
    return None if head is None else head[1]


def _expires(path: Path) -> float:
    """What is no entry has lapsed."""
    head = _head(path)
    return float("-inf") if head is None else head[0]


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _number(key: str, value: bytes) -> int:
    try:
        return int(value)
    except ValueError:
        raise StoreError(f"The entry {key!r} is no counter: it was put as bytes.") from None
