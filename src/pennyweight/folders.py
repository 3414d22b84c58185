"""Paths as people write them: with `~` for a home folder, which not every user has."""

from __future__ import annotations

from pathlib import Path

from .errors import ConfigError

__all__ = ["expanded"]


def expanded(path: str | Path) -> Path:
    """The path with `~` or `~name` in front replaced by that home.

    Raises ConfigError where no such home is known: containers run as users without a name, and without HOME.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        message = f"{str(path)!r} begins with a home folder, and none is known. Set HOME, or write the whole path."
        raise ConfigError(message) from None
