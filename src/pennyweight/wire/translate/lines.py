"""Lines of JSON out of chunks as they come: how Ollama streams."""

from __future__ import annotations

__all__ = ["Lines"]


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
