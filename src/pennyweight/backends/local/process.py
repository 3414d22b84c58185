"""What the process behind a port of this machine takes of its memory: told by Linux, unknown elsewhere."""

from __future__ import annotations

from pathlib import Path

__all__ = ["resident_bytes"]

_LISTENING = "0A"  # TCP_LISTEN, include/net/tcp_states.h


def resident_bytes(port: int, *, proc: Path = Path("/proc")) -> int | None:
    """Resident bytes of the process that listens on that port, mapped weights included; None where nobody tells:
    another system, another user's process, or none. Memory of a GPU is not among them. See proc(5)."""
    inodes = {inode for name in ("tcp", "tcp6") for inode in _listening(proc / "net" / name, port)}
    if not inodes:
        return None
    sockets = {f"socket:[{inode}]" for inode in inodes}
    for folder in proc.iterdir():
        if folder.name.isdigit() and _holds(folder / "fd", sockets):
            return _resident(folder / "status")
    return None


def _listening(table: Path, port: int) -> list[str]:
    try:
        rows = table.read_text().splitlines()[1:]
    except OSError:
        return []
    found = []
    for row in rows:
        fields = row.split()
        if len(fields) > 9 and fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
            found.append(fields[9])
    return found


def _holds(folder: Path, sockets: set[str]) -> bool:
    try:
        return any(str(link.readlink()) in sockets for link in folder.iterdir())
    except OSError:  # another user's, or it has just ended
        return False


def _resident(status: Path) -> int | None:
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return None
