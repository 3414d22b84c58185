"""Recorded calls on disk: one JSON object a line, gzip where the name ends in `.gz`.

    {"pennyweight_capture": 1, "session": …, "t": seconds, "at": unix seconds, "wire": …, "path": …, "headers": {…},
     "body": {…} | "base": line index, "delta": {…}, "status": 200, "answer": {…}, "usage": {…}}

A conversation grows by appending, so a line holds only what its request changed against an earlier line: `delta` is
{"order": [keys], "same": [keys], "set": {key: value}, "list": {key: [items kept, [new items]]}}. `answer` is the whole
answer in the request's protocol, folded where it was a stream. Credentials are never among the headers.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..request import Done, Headers, Request, Response, Usage, Wire

__all__ = ["Recorded", "apply_delta", "delta", "dump_lines", "read_bytes", "write"]

VERSION = 1
_LOOK_BACK = 8  # earlier requests of a session tried as a base; clients interleave a few kinds of request at most


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded call. `at`: unix seconds, 0.0 where unknown, then `t`, seconds from the recording's start, tells.

    `usage` is what the provider reported; None where nobody did.
    """

    session: str
    wire: Wire
    body: dict[str, Any]
    t: float = 0.0
    at: float = 0.0
    path: str = ""
    headers: dict[str, str] = {}
    status: int = 200
    answer: dict[str, Any] | None = None
    usage: Usage | None = None

    @property
    def request(self) -> Request:
        """The request as a client would send it: compact JSON, keys in the order recorded."""
        headers: Headers = tuple(self.headers.items())
        return Request(self.wire, msgspec.json.encode(self.body), headers, self.path or PATHS[self.wire])

    @property
    def response(self) -> Response | None:
        if self.answer is None:
            return None
        return Response(self.wire, msgspec.json.encode(self.answer), Done(self.usage), self.status)


PATHS: Mapping[Wire, str] = {
    Wire.OPENAI_CHAT: "/v1/chat/completions",
    Wire.OPENAI_RESPONSES: "/v1/responses",
    Wire.ANTHROPIC_MESSAGES: "/v1/messages",
    Wire.OLLAMA: "/api/chat",
}


def delta(before: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """What `body` changes against `before`; `apply_delta(before, …)` is `body` again, key order included."""
    same: list[str] = []
    changed: dict[str, Any] = {}
    lists: dict[str, list[Any]] = {}
    for key, value in body.items():
        old = before.get(key, msgspec.UNSET)
        if _equal(old, value):
            same.append(key)
        elif isinstance(value, list) and isinstance(old, list):
            kept = 0
            while kept < min(len(value), len(old)) and _equal(value[kept], old[kept]):
                kept += 1
            lists[key] = [kept, value[kept:]]
        else:
            changed[key] = value
    return {"order": list(body), "same": same, "set": changed, "list": lists}


def _equal(a: Any, b: Any) -> bool:
    """Equal as JSON text: 1 and 1.0 and true differ, and so does the order of keys."""
    return a is b or (type(a) is type(b) and a == b and msgspec.json.encode(a) == msgspec.json.encode(b))


def apply_delta(before: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """The body that `delta` described. Raises KeyError or TypeError when it does not fit `before`."""
    same = frozenset(change["same"])
    body: dict[str, Any] = {}
    for key in change["order"]:
        if key in same:
            body[key] = before[key]
        elif key in change["list"]:
            kept, tail = change["list"][key]
            body[key] = before[key][:kept] + tail
        else:
            body[key] = change["set"][key]
    return body


def dump_lines(calls: Sequence[Recorded]) -> list[bytes]:
    """The lines of a capture file, one a call, each against the earlier call that leaves least to write."""
    lines: list[bytes] = []
    for index, call in enumerate(calls):
        best: tuple[int, int, dict[str, Any]] | None = None
        for base in range(max(0, index - _LOOK_BACK), index):
            if calls[base].wire is not call.wire:
                continue
            change = delta(calls[base].body, call.body)
            size = len(msgspec.json.encode(change))
            if best is None or size < best[0]:
                best = (size, base, change)
        lines.append(line(call, (best[1], best[2]) if best else None))
    return lines


def line(call: Recorded, base: tuple[int, dict[str, Any]] | None = None) -> bytes:
    """One line without its line break; the body whole, or (index of an earlier line, delta) where that is shorter."""
    row: dict[str, Any] = {
        "pennyweight_capture": VERSION,
        "session": call.session,
        "t": round(call.t, 3),
        "at": round(call.at, 3),
        "wire": call.wire.value,
        "path": call.path,
        "headers": call.headers,
    }
    if base is not None and len(msgspec.json.encode(base[1])) < 0.8 * len(msgspec.json.encode(call.body)):
        row |= {"base": base[0], "delta": base[1]}
    else:
        row["body"] = call.body
    row["status"] = call.status
    if call.answer is not None:
        row["answer"] = call.answer
    if call.usage is not None:
        row["usage"] = msgspec.to_builtins(call.usage)
    return msgspec.json.encode(row)


def write(path: Path, calls: Iterable[Recorded]) -> int:
    """Writes a capture file, readable by its owner only; gives the number of calls."""
    lines = dump_lines(list(calls))
    data = b"".join(one + b"\n" for one in lines)
    if path.suffix == ".gz":
        data = gzip.compress(data, 9, mtime=0)  # no time inside: the same calls give the same bytes
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    path.chmod(0o600)  # also where the file was there before, with other rights
    return len(lines)


def read_bytes(path: Path) -> bytes:
    """The file's bytes, unzipped where they are gzip. Raises OSError, EOFError and gzip.BadGzipFile."""
    data = path.read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
