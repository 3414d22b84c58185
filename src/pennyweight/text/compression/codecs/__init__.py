"""The codecs by kind. A new one is a module here with a `CODEC`, and a line in this table."""

from __future__ import annotations

from collections.abc import Mapping

from ..shape import Codec, Kind
from . import code, json_, listing, prose, search, shell

__all__ = ["CODECS"]

CODECS: Mapping[Kind, Codec] = {
    "code": code.CODEC,
    "json": json_.CODEC,
    "listing": listing.CODEC,
    "search": search.CODEC,
    "prose": prose.CODEC,
    "shell": shell.CODEC,
}
