"""Reads recorded traffic, whatever wrote it; what a file is, its content tells and not its name.

Known: Pennyweight's own captures, recordings with scripted answers (base and delta lines), OpenClaw session JSONL,
Claude Code transcripts, Codex rollouts, and plain lists of request bodies.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ..capture.format import Recorded, read_bytes
from ..errors import ConfigError
from . import bodies, captures, claude_code, codex, openclaw, recordings
from .rows import RowError, Rows

__all__ = ["Recorded", "detect", "read"]


class Format(msgspec.Struct, frozen=True):
    """One kind of file: `fits` looks at the first rows, `load` gives the calls."""

    name: str
    fits: Callable[[Rows], bool]
    load: Callable[[Rows, str], list[Recorded]]


FORMATS = (
    Format("Pennyweight capture", captures.fits, captures.load),
    Format("recording with scripted answers", recordings.fits, recordings.load),
    Format("Codex rollout", codex.fits, codex.load),
    Format("Claude Code transcript", claude_code.fits, claude_code.load),
    Format("OpenClaw session", openclaw.fits, openclaw.load),
    Format("list of request bodies", bodies.fits, bodies.load),
)


def read(path: Path) -> list[Recorded]:
    """The recorded calls in a file, in order. Raises ConfigError that names file, line and what was found."""
    rows = _rows(path)
    kind = detect(rows, str(path))
    try:
        return kind.load(rows, path.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".json"))
    except RowError as error:
        raise ConfigError(f"{error} (read as a {kind.name}).", where=f"{path}:{error.line}") from None


def detect(rows: Rows, where: str) -> Format:
    """What wrote these rows. Raises ConfigError when nothing fits."""
    for kind in FORMATS:
        if kind.fits(rows[:50]):
            return kind
    line, first = rows[0]
    keys = ", ".join(list(first)[:8]) or "no members"
    known = "; ".join(kind.name for kind in FORMATS)
    raise ConfigError(f"An object with {keys} is no recorded call. Known: {known}.", where=f"{where}:{line}")


def _rows(path: Path) -> Rows:
    try:
        data = read_bytes(path)
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        raise ConfigError(f"Cannot be read: {error}.", where=str(path)) from None
    if data.lstrip()[:1] == b"[":
        return _array(data, path)
    rows: list[tuple[int, dict[str, Any]]] = []
    lines = data.splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            if number == 1 and (whole := _one(data)) is not None:  # one body, printed over several lines
                return [(1, whole)]
            if number == len(lines) and rows:  # the last line of a file that is still being written
                break
            raise ConfigError(f"Not JSON: {error}.", where=f"{path}:{number}") from None
        except UnicodeDecodeError:
            raise ConfigError("Not UTF-8 text.", where=f"{path}:{number}") from None
        if not isinstance(row, dict):
            raise ConfigError(f"Expected a JSON object, found {type(row).__name__}.", where=f"{path}:{number}")
        rows.append((number, row))
    if not rows:
        raise ConfigError("The file is empty.", where=str(path))
    return rows


def _array(data: bytes, path: Path) -> Rows:
    try:
        items = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"Not JSON: {error}.", where=f"{path}:1") from None
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise ConfigError(f"Item {index} is {type(item).__name__}, not an object.", where=f"{path}:1")
    if not items:
        raise ConfigError("The list is empty.", where=f"{path}:1")
    return [(index, item) for index, item in enumerate(items, 1)]


def _one(data: bytes) -> dict[str, Any] | None:
    try:
        whole = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return whole if isinstance(whole, dict) else None
