"""How much shorter texts of each kind become, and that what a kind promises is kept.

JSON (.json, .jsonl, also trajectories and recorded sessions, whose tool results are measured one by one) and tables
(.csv, .tsv) must come back exactly; of logs (any other file) every event type must still be there. Any may be gzip.
The table `by_kind` holds what becomes of the results of sessions, of any kind, as `bench.content_kinds` measures it.

  python -m bench.content --data results.json.gz trajectories.jsonl.gz app.log
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .content_json import json_figures
from .content_kinds import of_sessions
from .content_logs import log_figures
from .result import report

__all__ = ["main"]

TARGETS = {
    "json_saving": ">= 0.30",
    "json_exact": "== 1",
    "table_exact": "== 1",
    "log_saving": ">= 0.90",
    "event_types_kept": "== 1",
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.content", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="*", type=Path, default=[], metavar="PATH", help="files or folders")
    options = parser.parse_args()
    paths = [path for given in options.data for path in _files(given)]
    parts = [json_figures(paths), log_figures(paths)]
    figures = {name: value for part in parts for name, value in part.figures.items()}
    return report(
        "content",
        figures=figures,
        targets={name: target for name, target in TARGETS.items() if name in figures},
        data=[str(path) for path in options.data],
        by_kind=of_sessions(paths),
        **{name: table for part in parts for name, table in part.tables.items()},
    )


def _files(path: Path) -> list[Path]:
    """The file, or all files in the folder but its notes."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and file.suffix != ".md")


if __name__ == "__main__":
    sys.exit(main())
