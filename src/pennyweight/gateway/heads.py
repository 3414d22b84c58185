"""Heads of requests: where they aim, and those that came before on their connection, which are not read again."""

from __future__ import annotations

import re

from ..framing import Frame, frame_of
from ..front.http import HttpRequest
from ..request import Headers

__all__ = ["Head", "aim", "head_of"]


class Head(Frame, frozen=True, eq=False):
    """Lives no longer than its connection."""

    request: HttpRequest  # without a body


def head_of(data: bytes, request: HttpRequest) -> Head | None:
    """The head at the beginning of `data`, which was read as `request`; None for one that says more of its body than
    the length, or not even that."""
    frame = frame_of(data, [name for name, _ in request.headers])
    return None if frame is None else Head(frame.before, frame.after, frame.start, frame.rest, request.first())


_ABSOLUTE = re.compile(r"https?://([^/?#@\\]+)(/.*)?", re.IGNORECASE | re.DOTALL)


def aim(target: bytes, headers: Headers) -> tuple[str, str, Headers]:
    """The path, the query, and the headers that go with them, of a request's target.

    A target in absolute form is its path, and its authority is the Host: one that stands beside it counts for nothing
    (RFC 9112, 3.2.2), so that no page can pass by a Host that is ours. One with a name before an `@` stays as it is,
    and is nowhere.
    """
    path, _, query = target.decode("latin-1").partition("?")
    found = None if path.startswith("/") else _ABSOLUTE.fullmatch(path)
    if found is None:
        return path, query, headers
    others = [header for header in headers if header[0] != "host"]
    return found[2] or "/", query, (("host", found[1]), *others)
