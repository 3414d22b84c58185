"""The codecs by kind. A new one is a module here with a `CODEC`, and a line in this table."""

from __future__ import annotations

from collections.abc import Mapping

from ..shape import Codec, Kind
from . import blob, code, diff, html, json_, listing, logs, markdown, prose, search, shell, table, tests, traces

__all__ = ["CODECS"]

CODECS: Mapping[Kind, Codec] = {
    "blob": blob.CODEC,
    "code": code.CODEC,
    "diff": diff.CODEC,
    "html": html.CODEC,
    "json": json_.CODEC,
    "listing": listing.CODEC,
    "log": logs.CODEC,
    "markdown": markdown.CODEC,
    "prose": prose.CODEC,
    "search": search.CODEC,
    "shell": shell.CODEC,
    "table": table.CODEC,
    "tests": tests.CODEC,
    "trace": traces.CODEC,
}
