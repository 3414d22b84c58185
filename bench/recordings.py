"""What compression of tool results saves on recorded sessions, at cached prices, and whether every line can be had.

Every session is played before and after, billed by the model of a provider's prompt cache in
`pennyweight.testing.prefix_cache` at list prices (`fake-model` at those of gpt-5.5). Only the compression is on.
For every call, what is sent in place of each result is expanded again, through notes and references, and compared line
by line.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from . import peer_headroom
from .material import default_data, files_in, label, recorded
from .result import progress, report
from .saving import PLAYS, Played, play

TARGETS = {
    "saving_coding": ">= 0.18",
    "saving_ops": ">= 0.33",
    "worst_ratio": "<= 1.0",
    "lines_recoverable": "== 1.0",
}
CODING, OPERATIONS = "debug20", "ops18"
MAIN = "always"
"""The row whose figures are the bench's: the model can have back what is left out."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.recordings", description=__doc__)
    parser.add_argument("--data", nargs="+", type=Path, metavar="PATH", help="recordings: files or folders")
    parser.add_argument("--peer", choices=("headroom",), help="play the sessions through this, too")
    parser.add_argument(
        "--peer-session-s",
        type=float,
        default=peer_headroom.SESSION_S,
        metavar="S",
        help="seconds for a peer's session",
    )
    asked = parser.parse_args()
    program = peer_headroom.found() if asked.peer else None
    if asked.peer and program is None:
        parser.error(f"{asked.peer} is not installed.\n{(peer_headroom.__doc__ or '').partition(chr(10))[2]}")
    paths = asked.data or default_data()
    rows: dict[str, list[Played]] = {}
    peers: list[Played] = []
    left: dict[str, str] = {}
    for path in files_in(paths):
        calls = recorded(path)
        for name, way in PLAYS.items():
            played = asyncio.run(play(label(path), calls, way))
            rows.setdefault(name, []).append(played)
            _tell(played, name)
    if program is not None:
        sessions = {label(path): recorded(path) for path in files_in(paths)}
        peers = asyncio.run(
            peer_headroom.play(
                program, sessions, lambda one: _tell(one, asked.peer), left.__setitem__, asked.peer_session_s
            )
        )
    found = figures(rows[MAIN]) | figures(peers, "peer_")
    targets = {name: target for name, target in TARGETS.items() if name in found or not asked.data}
    return report(
        "recordings",
        data=[str(path) for path in paths],
        figures=found,
        targets=targets,
        rows={name: figures(played) for name, played in rows.items()},
        sessions={played.name: round(1 - played.ratio, 4) for played in rows[MAIN]},
        peer_sessions={played.name: round(1 - played.ratio, 4) for played in peers},
        peer_left_out=left,
        kinds=_kinds(rows[MAIN]),
    )


def _tell(played: Played, row: str) -> None:
    progress(f"{played.name:48} {row:16} {1 - played.ratio:7.2%}  {played.told}")


def figures(sessions: Sequence[Played], prefix: str = "") -> dict[str, float]:
    """Savings are means over sessions, so that a dear model's do not outweigh the others."""
    found: dict[str, float] = {}
    for name, part in (("coding", CODING), ("ops", OPERATIONS)):
        ratios = [session.ratio for session in sessions if part in session.name]
        if ratios:
            found[f"{prefix}saving_{name}"] = 1 - sum(ratios) / len(ratios)
    if sessions:
        found[f"{prefix}worst_ratio"] = max(session.ratio for session in sessions)
        lines = sum(session.lines for session in sessions)
        found[f"{prefix}lines_recoverable"] = 1 - sum(session.lost for session in sessions) / max(lines, 1)
    return {name: round(value, 5) for name, value in found.items()}


def _kinds(sessions: Sequence[Played]) -> dict[str, int]:
    """Tokens that each kind of form took off the requests in which it was made."""
    sums: dict[str, int] = {}
    for session in sessions:
        for kind, tokens in session.kinds.items():
            sums[kind] = sums.get(kind, 0) + tokens
    return dict(sorted(sums.items(), key=lambda pair: -pair[1]))


if __name__ == "__main__":
    sys.exit(main())
