"""The log part of `bench.content`: how much shorter, and whether every type of event still has a line of its own.

A type counts as kept if a line of it stands in the form by itself, verbatim. Types are known of the logs that the bench
makes, and of a file with a `NAME_structured.csv` beside it that has a column `EventId`, a row a line (the layout of
public sets of parsed logs).
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from pennyweight.text.compression import compress
from pennyweight.text.tokenizers import BpeTokenizer

from .content_json import JSON_SUFFIXES, TABLE_SUFFIXES, Figures
from .made_logs import made_logs
from .result import progress

__all__ = ["log_figures"]


class Measured(NamedTuple):
    kind: str
    before: int
    after: int
    types: int
    kept: int

    @property
    def saving(self) -> float:
        return 1 - self.after / max(self.before, 1)


def log_figures(paths: Sequence[Path], seed: int = 1) -> Figures:
    """`log_saving`: mean over the files, or over the made logs where none are given. `event_types_kept`: over all whose
    types are known. `made_log_saving`: over the made ones."""
    count = BpeTokenizer(remembered=1).count
    made = {log.name: _measured("\n".join(log.lines) + "\n", log.types, count) for log in made_logs(seed)}
    given = {str(path): _file(path, count) for path in paths if _is_log(path)}
    for name, one in {**made, **given}.items():
        progress(f"{name}: {one.kind}, {one.before} to {one.after} tokens, {one.kept} of {one.types} types kept")
    known = [one for one in (*made.values(), *given.values()) if one.types]
    figures = {
        "log_saving": _mean(given or made),
        "made_log_saving": _mean(made),
        "event_types_kept": round(sum(one.kept for one in known) / sum(one.types for one in known), 4),
    }
    rows = {
        name: {
            "kind": one.kind,
            "tokens": one.before,
            "saving": round(one.saving, 4),
            "types": one.types,
            "kept": one.kept,
        }
        for name, one in {**made, **given}.items()
    }
    return Figures(figures, {"by_log": rows})


def _mean(logs: dict[str, Measured]) -> float:
    return round(sum(one.saving for one in logs.values()) / len(logs), 4)


def _is_log(path: Path) -> bool:
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    return suffix not in (*JSON_SUFFIXES, *TABLE_SUFFIXES)


def _file(path: Path, count: Callable[[str], int]) -> Measured:
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8", "replace").replace("\r\n", "\n")
    beside = path.with_name(path.name + "_structured.csv")
    types: list[str] = []
    if beside.exists():
        with beside.open(encoding="utf-8", errors="replace", newline="") as rows:
            types = [row["EventId"] for row in csv.DictReader(rows)]
    return _measured(text, types, count)


def _measured(text: str, types: Sequence[str], count: Callable[[str], int]) -> Measured:
    before = count(text)
    made = compress(text, count=count, room_tokens=max(1_666, before // 8), reference="rabcdefghij")
    stands = set(made.text.split("\n"))
    lines = text.removesuffix("\n").split("\n")
    if types and len(types) != len(lines):
        raise ValueError(f"{len(types)} types are given for {len(lines)} lines")
    kept = {known for known, line in zip(types, lines, strict=False) if line in stands}
    return Measured(made.kind, made.tokens_before, made.tokens_after, len(set(types)), len(kept))
