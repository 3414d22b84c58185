"""The codecs by kind. A new one is a module here with a `CODEC`, and a line in this table."""

from __future__ import annotations

from collections.abc import Mapping

from ..shape import Codec, Kind
from . import logs, shell

__all__ = ["CODECS"]

CODECS: Mapping[Kind, Codec] = {
    "log": logs.CODEC,
    "shell": shell.CODEC,
}
