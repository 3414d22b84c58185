"""Heads of requests that came before on their connection: what they say is neither read nor made again."""

from __future__ import annotations

from ..framing import Frame, frame_of
from ..front.http import HttpRequest

__all__ = ["Head", "head_of"]


class Head(Frame, frozen=True, eq=False):
    """Lives no longer than its connection."""

    request: HttpRequest  # without a body


def head_of(data: bytes, request: HttpRequest) -> Head | None:
    """The head at the beginning of `data`, which was read as `request`; None for one that says more of its body than
    the length, or not even that."""
    frame = frame_of(data, [name for name, _ in request.headers])
    return None if frame is None else Head(frame.before, frame.after, frame.start, frame.rest, request.first())
