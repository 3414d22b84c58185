"""Reads recorded sessions: one request a line, a body whole or as a delta against an earlier line.

A delta: `order` lists the body's keys; those in `same` are the base's, `set` holds new values, and `list` keeps the
first n items of the base's list and appends the rest.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["files", "load"]


def load(path: str | Path) -> list[dict[str, Any]]:
    """The records of a file in order, each with its full `body`: the values and the key order that the client sent."""
    path = Path(path)
    opened = gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")  # noqa: SIM115
    records: list[dict[str, Any]] = []
    with opened as lines:
        for line in lines:
            record = json.loads(line)
            if "delta" in record:
                base = records[record.pop("base")]["body"]
                record["body"] = _whole(base, record.pop("delta"))
            records.append(record)
    return records


def _whole(base: dict[str, Any], delta: dict[str, Any]) -> dict[str, Any]:
    same, lists, new = set(delta["same"]), delta["list"], delta["set"]
    body: dict[str, Any] = {}
    for key in delta["order"]:
        if key in same:
            body[key] = base[key]
        elif key in lists:
            keep, tail = lists[key]
            body[key] = base[key][:keep] + tail
        else:
            body[key] = new[key]
    return body


def files(paths: Iterable[str | Path]) -> list[Path]:
    """The recordings among files and folders, sorted."""
    found: list[Path] = []
    for path in map(Path, paths):
        found += sorted(p for p in path.rglob("*.jsonl*") if p.is_file()) if path.is_dir() else [path]
    return found
