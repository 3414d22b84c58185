"""Counters in memory, with a journal beside them so that a process that is killed forgets nothing.

Whoever opens the same journal, in this process or another on this machine, sees the same counters: each change is made
under the file's lock, after what others wrote since was read. A change costs microseconds and no thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from ...counters import KEEP_S, MOST, Counter, Move, Take, Taken, bounded
from ...errors import StoreError

__all__ = ["MemoryCounters"]

_REWRITE_BYTES = 8 * 2**20
_TRIES, _PAUSE_S = 200, 0.002


class _Line(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """Added to a counter; `reset`: set to that."""

    key: str
    spent: int
    held: int
    ends: float | None = None
    reset: bool = False


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[_Line]).decode


class MemoryCounters:
    """Protocol: `Counters`. journal None: nothing outlives this object.

    now: unix seconds, for dropping what is old; it must not follow a clock that is set far forward, or what was dropped
    could be spent again once the clock is right.
    """

    def __init__(self, journal: Path | None = None, *, now: Callable[[], float]) -> None:
        self._journal = _Journal(journal) if journal is not None else None
        self._now = now
        self._held: dict[str, tuple[Counter, float | None]] = {}

    async def take(self, wanted: Sequence[Take]) -> Taken:
        async with _locked(self._journal):
            self._catch_up()
            found = [self._of(take.key) for take in wanted]
            refused = tuple(
                at for at, take in enumerate(wanted) if found[at].total + bounded(take.amount) > min(take.limit, MOST)
            )
            if not refused:
                self._write([_Line(take.key, 0, bounded(take.amount), take.ends) for take in wanted])
                found = [self._of(take.key) for take in wanted]
            return Taken(refused, tuple(found))

    async def move(self, moves: Sequence[Move]) -> Sequence[Counter]:
        async with _locked(self._journal):
            self._catch_up()
            self._write([_Line(move.key, bounded(move.spent), -bounded(move.held)) for move in moves])
            return [self._of(move.key) for move in moves]

    async def read(self, prefix: str, *, limit: int = 1_000) -> Mapping[str, Counter]:
        async with _locked(self._journal):
            self._catch_up()
        keys = [key for key in self._held if key.startswith(prefix)]
        return {key: self._held[key][0] for key in keys[:limit]}

    async def reset(self, key: str) -> bool:
        async with _locked(self._journal):
            self._catch_up()
            known = key in self._held
            if known:
                self._write([_Line(key, 0, 0, self._held[key][1], reset=True)])
            return known

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()

    # --- under the lock -------------------------------------------------------------------------------------

    def _of(self, key: str) -> Counter:
        found = self._held.get(key)
        return found[0] if found is not None else Counter()

    def _catch_up(self) -> None:
        if self._journal is None:
            return
        fresh, anew = self._journal.news()
        if anew:
            self._held.clear()
        for line in fresh:
            self._apply(line)
        if self._journal.size_bytes > _REWRITE_BYTES:
            now = self._now()
            kept = {key: one for key, one in self._held.items() if one[1] is None or one[1] + KEEP_S > now}
            self._journal.rewrite([_Line(key, c.spent, c.held, ends) for key, (c, ends) in kept.items()])
            self._held = kept

    def _write(self, lines: list[_Line]) -> None:
        if self._journal is not None:
            self._journal.append(lines)
        for line in lines:
            self._apply(line)

    def _apply(self, line: _Line) -> None:
        before, ends = self._held.get(line.key, (Counter(), None))
        if line.reset:
            before = Counter()
        spent, held = bounded(before.spent + line.spent), bounded(max(before.held + line.held, 0))
        self._held[line.key] = Counter(max(spent, 0), held), line.ends if line.ends is not None else ends


class _Journal:
    """Lines of JSON, each begun by its newline: one that was torn off spoils no other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._read_to = 0
        self.size_bytes = 0

    def try_lock(self) -> bool:
        """Raises StoreError. A journal that was rewritten or removed is opened anew."""
        try:
            if self._file is not None and self._moved(self._file):
                self.close()
            if self._file is None:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
                self._read_to = 0
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise StoreError(f"The journal of budgets {self._path} cannot be used: {error.strerror}.") from None
        if self._moved(self._file):  # while we waited for the lock
            self.close()
            return False
        return True

    def unlock(self) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def news(self) -> tuple[list[_Line], bool]:
        """What was written since the last look, and whether that is all there is."""
        assert self._file is not None
        anew = self._read_to == 0
        self.size_bytes = os.fstat(self._file).st_size
        lines: list[_Line] = []
        if self.size_bytes > self._read_to:
            data = os.pread(self._file, self.size_bytes - self._read_to, self._read_to)
            self._read_to = self.size_bytes
            for line in data.split(b"\n"):
                with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):  # torn when its writer was killed
                    lines += _decode(line) if line else []
        return lines, anew

    def append(self, lines: list[_Line]) -> None:
        assert self._file is not None
        data = b"\n" + _encode(lines)
        try:
            written = os.write(self._file, data)
        except OSError as error:
            raise StoreError(f"The journal of budgets {self._path} cannot be written: {error.strerror}.") from None
        if written < len(data):
            raise StoreError(f"The journal of budgets {self._path} cannot be written: the disk is full.")
        self._read_to += written
        self.size_bytes += written

    def rewrite(self, lines: list[_Line]) -> None:
        """Only what the counters are now. The old file is held locked until the new one has its name."""
        draft = self._path.with_name(f"{self._path.name}.draft-{os.getpid()}")
        try:
            fresh = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
            fcntl.flock(fresh, fcntl.LOCK_EX)
            data = b"\n" + _encode(lines)
            if os.write(fresh, data) < len(data):
                raise OSError(0, "the disk is full")
            draft.replace(self._path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise StoreError(f"The journal of budgets {self._path} cannot be rewritten: {error.strerror}.") from None
        assert self._file is not None
        os.close(self._file)
        self._file, self._read_to, self.size_bytes = fresh, len(data), len(data)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file = None

    def _moved(self, file: int) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return True
        ours = os.fstat(file)
        return (there.st_ino, there.st_dev) != (ours.st_ino, ours.st_dev)


@contextlib.asynccontextmanager
async def _locked(journal: _Journal | None) -> AsyncIterator[None]:
    """Nothing is awaited inside, so that holding it takes microseconds; a holder that hangs is not waited for long."""
    if journal is None:
        yield
        return
    for _ in range(_TRIES):
        if journal.try_lock():
            break
        await asyncio.sleep(_PAUSE_S)
    else:
        raise StoreError("The journal of budgets is locked by another process that does not go on.")
    try:
        yield
    finally:
        journal.unlock()
