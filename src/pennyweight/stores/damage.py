"""What became of a damaged database file: set aside under another name, rebuilt, and told in a note beside it.

The note stays until a person takes it away, and so do the notices that are made from it. Counters that could not be
read whole are in doubt, and who asks for them is refused (`stores.counters.sqlite`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from .pages import log_damage
from .salvage import salvage

__all__ = ["Damage", "Doubts", "notes", "notice", "rebuild"]

_ASIDE = ".damaged-"


class Damage(msgspec.Struct, frozen=True):
    """`at`: unix seconds. `aside`: the file that was set aside, beside the new one. `lost_receipts` is an estimate;
    None: it cannot be told."""

    at: float
    aside: str
    reason: str
    saved_receipts: int
    lost_receipts: int | None
    saved: dict[str, int]
    broken: tuple[str, ...]

    @property
    def counters_in_doubt(self) -> bool:
        return "budget_counters" in self.broken


def notes(path: Path) -> tuple[Damage, ...]:
    """What happened to the database `path` before, oldest first; a note that cannot be read is told as one."""
    found = []
    for note in sorted(path.parent.glob(f"{path.name}{_ASIDE}*.json")):
        try:
            found.append(msgspec.json.decode(note.read_bytes(), type=Damage))
        except (OSError, msgspec.DecodeError):
            found.append(Damage(_mtime(note), note.stem, "its note cannot be read", 0, None, {}, ("budget_counters",)))
    return tuple(found)


def notice(damage: Damage, folder: Path) -> str:
    """One paragraph for people."""
    when = datetime.fromtimestamp(damage.at, UTC)
    lost = "how many are lost cannot be told"
    if damage.lost_receipts is not None:
        lost = f"about {damage.lost_receipts:,} are lost" if damage.lost_receipts else "none is lost"
    doubt = " Budgets of that time refuse until they begin anew." if damage.counters_in_doubt else ""
    return (
        f"The ledger was damaged ({damage.reason}) and rebuilt on {when:%Y-%m-%d %H:%M} UTC: "
        f"{damage.saved_receipts:,} receipts saved, {lost}.{doubt} The damaged file is {folder / damage.aside}; "
        f"to end this notice, remove {damage.aside}.json."
    )


def rebuild(path: Path, reason: str, make: Callable[[Path], sqlite3.Connection], now: float) -> Damage | None:
    """Set the file aside, and put in its place one with what could be read. No connection of ours may be open on it.

    make: opens a connection to a new file with the schema. Until the last step, one rename, the damaged file keeps its
    place, so that whatever interrupts this, it begins again. None: another process was quicker. Raises OSError,
    sqlite3.Error and StoreError.
    """
    aside = _kept(path, now)
    draft = path.with_name(f"{path.name}.rebuilding-{os.getpid()}")
    there = path.stat().st_ino
    _remove(draft)
    try:
        fresh = make(draft)
        try:
            log_damaged = bool(log_damage(aside.with_name(aside.name + "-wal")))
            saved = salvage(aside, fresh, log_damaged=log_damaged)
            fresh.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            fresh.execute("PRAGMA journal_mode=DELETE")
        finally:
            fresh.close()
        if path.stat().st_ino != there:
            _remove(draft)
            return None
        draft.chmod(path.stat().st_mode & 0o777)
        damage = Damage(
            now, aside.name, reason, saved.rows.get("receipts", 0), saved.lost_receipts, saved.rows, saved.broken
        )
        _write_note(aside.with_name(aside.name + ".json"), damage)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        draft.replace(path)
    except BaseException:
        _remove(draft)
        raise
    aside.with_name(aside.name + "-shm").unlink(missing_ok=True)
    return damage


def _kept(path: Path, now: float) -> Path:
    """The damaged file and its log under a second name, the same one if this was begun before."""
    there = path.stat()
    for known in path.parent.glob(f"{path.name}{_ASIDE}*Z"):
        if known.stat().st_ino == there.st_ino and known.stat().st_dev == there.st_dev:
            return known
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = path.with_name(f"{path.name}{_ASIDE}{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}{_ASIDE}{number}-{stamp}")
    for suffix in ("-wal", ""):  # the log first: only what has the file's name counts as kept
        source, target = path.with_name(path.name + suffix), aside.with_name(aside.name + suffix)
        if source.exists():
            _link(source, target)
    return aside


def _link(source: Path, target: Path) -> None:
    """A second name for the same file; a copy on file systems that have none."""
    try:
        os.link(source, target)
    except OSError:
        draft = target.with_name(target.name + ".part")
        shutil.copy2(source, draft)
        draft.replace(target)


def _remove(draft: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        with contextlib.suppress(FileNotFoundError):
            draft.with_name(draft.name + suffix).unlink()


def _write_note(path: Path, damage: Damage) -> None:
    draft = path.with_name(path.name + ".part")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(damage)))
    draft.replace(path)


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


# --- counters in doubt ------------------------------------------------------------------------------------


class Doubts:
    """What happened to a database file, asked for often: who counts in it must know what may have been lost."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._notes: tuple[Damage, ...] = ()
        self._changed_ns = -1

    def notes(self) -> tuple[Damage, ...]:
        """Looked for again when the folder has changed: a look at its time is all that most calls cost."""
        try:
            changed_ns = self._path.parent.stat().st_mtime_ns
        except OSError:
            return self._notes
        # Two changes within a tick of the file system's clock leave one time: a fresh folder is looked into again.
        if changed_ns != self._changed_ns or time.time_ns() - changed_ns < 2 * 10**9:
            self._notes, self._changed_ns = notes(self._path), changed_ns
        return self._notes
