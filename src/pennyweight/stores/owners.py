"""Who of several processes, or of several Apps in one, goes on with what is in a shared file.

Each holds a lock on a file of its own for as long as it lives. The kernel lets go of it when the process dies, however
it dies, so that others see at once whose work has nobody any more.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from uuid import uuid4

from ..errors import StoreError

__all__ = ["Owner"]


class Owner:
    """`id` names it. Raises StoreError where the folder cannot be written."""

    def __init__(self, folder: Path) -> None:
        import fcntl  # not on Windows; nothing else needs it there

        self.id = uuid4().hex
        self._folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self._path(self.id), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(f"The folder {folder} cannot be used: {error.strerror}.") from None

    def lives(self, id: str) -> bool:
        """Whether the one of that name still holds its lock. The file of one that does not is taken away."""
        import fcntl

        path = self._path(id)
        try:
            file = os.open(path, os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            os.close(file)
        return False

    def close(self) -> None:
        """Leave what is left to others."""
        with contextlib.suppress(OSError):
            self._path(self.id).unlink(missing_ok=True)
            os.close(self._file)

    def _path(self, id: str) -> Path:
        return self._folder / f"{id}.lock"
