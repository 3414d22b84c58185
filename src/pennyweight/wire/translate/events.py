"""Cuts a byte stream into events: server-sent events or lines of JSON, whatever the network's chunks were."""

from __future__ import annotations

__all__ = ["Lines", "SSE", "event"]


class SSE:
    """`feed` gives the (event, data) pairs that are complete; data lines are joined as the HTML standard says."""

    def __init__(self) -> None:
        self._lines = Lines()
        self._event = ""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[tuple[str, bytes]]:
        found: list[tuple[str, bytes]] = []
        for line in self._lines.feed(chunk):
            if not line:
                if self._data:
                    found.append((self._event, b"\n".join(self._data)))
                self._event, self._data = "", []
                continue
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                self._data.append(value)
            elif name == b"event":
                self._event = value.decode("utf-8", "replace")
        return found

    def rest(self) -> list[tuple[str, bytes]]:
        """The event at the end of a stream whose last blank line was left out."""
        return self.feed(b"\n\n")


class Lines:
    """`feed` gives the lines that are complete, without their end: LF or CR LF."""

    def __init__(self) -> None:
        self._tail: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        head, newline, rest = chunk.partition(b"\n")
        if not newline:
            self._tail.append(chunk)
            return []
        self._tail.append(head)
        lines = [b"".join(self._tail), *rest.split(b"\n")]
        self._tail = [lines.pop()]
        return [line[:-1] if line.endswith(b"\r") else line for line in lines]


def event(data: bytes, name: str = "") -> bytes:
    """One server-sent event; `name` "" leaves the event line out."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + data + b"\n\n"
