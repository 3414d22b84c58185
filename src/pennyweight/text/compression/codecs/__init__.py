"""The codecs by kind. A new one is a module here with a `CODEC`, and a line in this table."""

from __future__ import annotations

from collections.abc import Mapping

from ..shape import Codec, Kind
from . import json_, shell, table

__all__ = ["CODECS"]

CODECS: Mapping[Kind, Codec] = {
    "json": json_.CODEC,
    "shell": shell.CODEC,
    "table": table.CODEC,
}
