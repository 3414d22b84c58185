"""Rows out of the pages of a damaged SQLite file, where SQLite itself finds no way to them. Reads only.

The format is that of https://www.sqlite.org/fileformat2.html: b-tree pages (1.6), records (2.1), overflow pages (1.7)
and the write-ahead log (4.1). Only leaf pages of tables are looked at, each by itself, so it does not matter which
other pages are gone. What they hold is not checked here, and may be rows that were deleted.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

__all__ = ["Row", "Value", "log_damage", "log_pages", "rows"]

Value = int | float | str | bytes | None
Row = tuple[int, tuple[Value, ...]]
"""The rowid, and the columns as they are stored: a row that is older than a column does not have it."""

_LEAF = 0x0D
_MAGIC = (0x377F0682, 0x377F0683)
_LOG_HEADER, _FRAME_HEADER = 32, 24
_USUAL_SIZE = 4096
_MOST_BYTES = 16 << 20  # a larger record is damage


def rows(path: Path) -> Iterator[Row]:
    """Every row that any leaf page holds, of the file and of what its log has committed. Raises OSError."""
    overlay, log_size = log_pages(path.with_name(path.name + "-wal"))
    with path.open("rb") as file:
        size = _page_size(file.read(100)) or log_size or _USUAL_SIZE
        end = file.seek(0, 2)

        def page(number: int) -> bytes:
            if number in overlay and len(overlay[number]) == size:
                return overlay[number]
            file.seek((number - 1) * size)
            return file.read(size)

        for number in range(1, end // size + 1):
            file.seek((number - 1) * size)
            yield from _leaf(file.read(size), 100 if number == 1 else 0, page)
        for number, content in overlay.items():
            yield from _leaf(content, 100 if number == 1 else 0, page)


def log_pages(path: Path) -> tuple[Mapping[int, bytes], int]:
    """The pages that a log has committed, the newest of each number, and their size; ({}, 0) of no log.

    A log whose header is damaged is read by its first frame; one whose frames are, past those.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return {}, 0
    if len(content) < _LOG_HEADER + _FRAME_HEADER:
        return {}, 0
    magic, _, size, _, salt_1, salt_2 = struct.unpack_from(">6I", content)
    if not _is_log(magic, size):
        size, (salt_1, salt_2) = _USUAL_SIZE, struct.unpack_from(">2I", content, _LOG_HEADER + 8)
    committed: dict[int, bytes] = {}
    pending: dict[int, bytes] = {}
    for at in range(_LOG_HEADER, len(content) - _FRAME_HEADER - size + 1, _FRAME_HEADER + size):
        number, pages_after, one, two = struct.unpack_from(">4I", content, at)
        if (one, two) != (salt_1, salt_2) or not number:
            break
        pending[number] = content[at + _FRAME_HEADER : at + _FRAME_HEADER + size]
        if pages_after:
            committed |= pending
            pending = {}
    return committed, size


def log_damage(path: Path) -> str:
    """Why SQLite would pass over committed frames of this log, without a word; "" when it would not.

    It stops at the first frame whose checksum is wrong. That is as it should be for what was being written when the
    process died, the last frames; not if more of the same log follow.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_LOG_HEADER)
            if len(header) < _LOG_HEADER:
                return "its log is cut" if header else ""
            magic, _, size, _, *salts = struct.unpack_from(">6I", header)
            if not _is_log(magic, size):
                return "the header of its log is damaged"
            order = ">" if magic & 1 else "<"
            sums = _checksum(header[:24], (0, 0), order)
            if sums != struct.unpack_from(">2I", header, 24):
                return "the header of its log is damaged"
            return _frame_damage(file, size, salts, sums, order)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"its log cannot be read ({error.strerror})"


def _frame_damage(file: BinaryIO, size: int, salts: list[int], sums: tuple[int, int], order: str) -> str:
    wrong = 0
    for number in range(1, _MOST_FRAMES):
        frame = file.read(_FRAME_HEADER + size)
        if len(frame) < _FRAME_HEADER + size:
            return ""
        if list(struct.unpack_from(">2I", frame, 8)) != salts:
            if not wrong:
                return ""  # of an older round of the log
        elif wrong:
            return f"frame {wrong} of its log is damaged"
        else:
            sums = _checksum(frame[_FRAME_HEADER:], _checksum(frame[:8], sums, order), order)
        if not wrong and sums != struct.unpack_from(">2I", frame, 16):
            wrong = number
    return ""


_MOST_FRAMES = 5_000  # a log is folded in at a thousand; checking takes 0.1 ms a frame


def _checksum(data: bytes, sums: tuple[int, int], order: str) -> tuple[int, int]:
    one, two = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two


def _is_log(magic: int, size: int) -> bool:
    return magic in _MAGIC and 512 <= size <= 65536 and not size & (size - 1)


def _page_size(header: bytes) -> int:
    """0 of a header that is none."""
    if not header.startswith(b"SQLite format 3\x00") or len(header) < 18:
        return 0
    size = int.from_bytes(header[16:18], "big")
    size = 65536 if size == 1 else size
    return size if size >= 512 and not size & (size - 1) else 0


def _leaf(content: bytes, start: int, page: Callable[[int], bytes]) -> Iterator[Row]:
    """The rows of a page; none of one that is no leaf of a table. A cell that makes no sense is left out."""
    if len(content) < start + 8 or content[start] != _LEAF:
        return
    count = int.from_bytes(content[start + 3 : start + 5], "big")
    if start + 8 + 2 * count > len(content):
        return
    for (at,) in struct.iter_unpack(">H", content[start + 8 : start + 8 + 2 * count]):
        try:
            yield _cell(content, at, page)
        except (ValueError, IndexError, struct.error, OSError):
            continue


def _cell(content: bytes, at: int, page: Callable[[int], bytes]) -> Row:
    length, at = _varint(content, at)
    rowid, at = _varint(content, at)
    usable = len(content)
    if not 1 <= length <= _MOST_BYTES:
        raise ValueError(f"a record of {length} bytes")
    local = length
    if length > usable - 35:
        least = (usable - 12) * 32 // 255 - 23
        local = least + (length - least) % (usable - 4)
        local = local if local <= usable - 35 else least
    payload = content[at : at + local]
    if len(payload) != local:
        raise ValueError("a cell that runs over its page")
    following = int.from_bytes(content[at + local : at + local + 4], "big") if local < length else 0
    parts, left = [payload], length - local
    while left > 0:
        more = page(following) if following else b""
        if len(more) != usable:
            raise ValueError("an overflow page that is not there")
        following = int.from_bytes(more[:4], "big")
        parts.append(more[4 : 4 + min(left, usable - 4)])
        left -= len(parts[-1])
    return rowid, _record(b"".join(parts))


def _record(payload: bytes) -> tuple[Value, ...]:
    header_size, at = _varint(payload, 0)
    if not 1 <= header_size <= len(payload):
        raise ValueError("a record without a header")
    kinds = []
    while at < header_size:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values = []
    at = header_size
    for kind in kinds:
        value, at = _value(payload, at, kind)
        values.append(value)
    if at != len(payload):
        raise ValueError("a record of another length than its columns")
    return tuple(values)


_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def _value(payload: bytes, at: int, kind: int) -> tuple[Value, int]:
    if kind == 0:
        return None, at
    if kind in (8, 9):
        return kind - 8, at
    if kind in (10, 11):
        raise ValueError(f"a column of the reserved type {kind}")
    size = 8 if kind == 7 else _INTEGER_BYTES.get(kind) or (kind - 12) // 2
    raw = payload[at : at + size]
    if len(raw) != size:
        raise ValueError("a column that runs over its record")
    if kind == 7:
        return float(struct.unpack(">d", raw)[0]), at + size
    if kind in _INTEGER_BYTES:
        return int.from_bytes(raw, "big", signed=True), at + size
    return (raw if kind % 2 == 0 else raw.decode("utf-8")), at + size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at that place, and the place after it. Raises IndexError at the end of the data."""
    number = 0
    for index in range(8):
        byte = data[at + index]
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, at + index + 1
    return (number << 8 | data[at + 8]), at + 9
