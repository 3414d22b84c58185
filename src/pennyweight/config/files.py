"""Writes a configuration file, a client's or our own, and takes it back: backup first, atomic, mode and links kept."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import tempfile
from datetime import datetime
from pathlib import Path

from ..errors import ConfigError

__all__ = ["backups", "difference", "read", "undo", "write"]

_SECRET = re.compile(
    r"""((?:api[_-]?key|token|secret|password|authorization)["']?\s*[:=]\s*)(["'])[^"'\n]+\2""", re.IGNORECASE
)


def read(path: Path) -> str | None:
    """The text of the file, line ends as they are; None when there is none. Raises ConfigError."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as UTF-8 text ({error}); put the settings in by hand.") from None


def write(path: Path, text: str, *, now: datetime) -> Path:
    """Replace the file by `text` in one step; gives the backup made before. New files are 0600. Raises ConfigError."""
    path = path.resolve()
    stamp = now.strftime("%Y%m%dT%H%M%S%fZ")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists():
            backup = path.with_name(f"{path.name}.pennyweight-{stamp}.bak")
            _copy(path, backup)
        else:
            backup = path.with_name(f"{path.name}.pennyweight-{stamp}.absent")
            backup.touch(mode=0o600)
        _replace(path, text.encode())
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}.") from None
    return backup


def backups(path: Path) -> list[Path]:
    """Backups of the file, newest first."""
    path = path.resolve()
    found = path.parent.glob(f"{_escape(path.name)}.pennyweight-*") if path.parent.is_dir() else ()
    return sorted((b for b in found if b.suffix in (".bak", ".absent")), reverse=True)


def undo(path: Path) -> Path | None:
    """Put the newest backup back and return what the file held until now, kept beside it (None: there was no file).

    A file that did not exist before is removed. Raises ConfigError when there is no backup.
    """
    path = path.resolve()
    if not (found := backups(path)):
        raise ConfigError(f"There is no backup of {path}: nothing was written there by `pennyweight connect --write`.")
    newest, kept = found[0], None
    try:
        if path.exists():
            kept = newest.with_suffix(".undone")
            _copy(path, kept)
        if newest.suffix == ".absent":
            path.unlink(missing_ok=True)
            newest.unlink()
        else:
            newest.replace(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be restored from {newest.name}: {error}.") from None
    return kept


def difference(path: Path, old: str, new: str) -> str:
    """A unified diff in which values of keys, tokens and passwords are hidden."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), str(path), str(path), n=2, lineterm="")
    return _SECRET.sub(r"\1\2…\2", "\n".join(lines))


def _copy(source: Path, target: Path) -> None:
    """A copy that nobody may read who may not read the source, in no moment: such files hold keys."""
    target.touch(mode=0o600)
    shutil.copy2(source, target)


def _replace(path: Path, content: bytes) -> None:
    mode = path.stat().st_mode & 0o7777 if path.exists() else 0o600
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _escape(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)
