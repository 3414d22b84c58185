"""Keeping memory that was freed for the next call, where the C library is glibc; elsewhere nothing is done.

glibc's malloc hands the end of its heap back to the system as soon as 128 kB of it are free, and asks the system for
every block larger than that. A body of 80 kB and what is read of it are a few such blocks: they were fetched anew
for each call, page by page (decision 0051).
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Mapping

__all__ = ["HUGE_BYTES", "LARGE_BYTES", "give_back", "keep_freed", "stock_up"]

_MIB = 1 << 20

HUGE_BYTES = 4 * _MIB
"""Bodies from here on are worth a look for what they left, when they are done with."""

LARGE_BYTES = 256 << 10
"""Bodies from here on are worth having memory at hand for the next one."""

# Numbers of malloc.h, and what each is set to in bytes.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_KEPT = (
    (_MMAP_THRESHOLD, HUGE_BYTES),  # larger blocks are mapped one by one, and go back whole when they are freed
    (_TRIM_THRESHOLD, 32 * _MIB),  # so much may lie free at the end of a heap: some 32 calls of 300 kB, read and edited
    (_TOP_PAD, _MIB),  # asked for in advance, and left when the rest goes back
)


def keep_freed(environment: Mapping[str, str]) -> bool:
    """Let this process keep up to 32 MiB of free memory at the end of a heap, and map what is larger than 4 MiB.

    For a process that does nothing else, at its start: a program that embeds a gateway keeps its own settings, and so
    does an operator who says MALLOC_… or GLIBC_TUNABLES in the environment. Gives whether anything was set.

    glibc moves its thresholds by itself, up to blocks of 32 MiB, when a mapped block is freed; once told they stay.
    That is meant: after one body of 30 MB it would keep up to 64 MiB from then on.
    """
    if any(name.startswith("MALLOC_") for name in environment):
        return False
    if "glibc.malloc." in environment.get("GLIBC_TUNABLES", ""):
        return False
    library = _glibc()
    if library is None:
        return False
    taken = [library.mallopt(number, size_bytes) for number, size_bytes in _KEPT]
    return 0 not in taken


def give_back() -> None:
    """Give free pages back to the system that lie between others in use, as those do in which a huge body came in: some
    milliseconds, in which nobody else gets memory."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(_MIB)


def stock_up(size_bytes: int) -> None:
    """Have so much free memory at hand that the system has given already, in one piece. For between calls: a body of
    650 kB that lies in fresh memory, and what is made of it, are 160 page faults each, 0.4 ms and more of its call.

    Where it is at hand already that costs some microseconds. size_bytes: less than `HUGE_BYTES`, beyond which blocks
    are mapped one by one.
    """
    library = _glibc()
    if library is None or size_bytes >= HUGE_BYTES:
        return
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    library.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    library.free.restype, library.free.argtypes = None, (ctypes.c_void_p,)
    block = library.malloc(size_bytes)
    if block:
        first = -(-block // mmap.PAGESIZE)
        pages = (block + size_bytes) // mmap.PAGESIZE - first
        library.madvise(first * mmap.PAGESIZE, pages * mmap.PAGESIZE, _POPULATE_WRITE)  # before Linux 5.14: nothing
        library.free(block)


_POPULATE_WRITE = 23  # of madvise


def _glibc() -> ctypes.CDLL | None:
    """The C library, where it is glibc."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "gnu_get_libc_version") else None  # musl has no mallopt
