"""Does a turn's cost follow what is new in it? A session grows to 200k tokens over 200 turns of equal new text.

Measured per turn: the time that the receipt says the gateway added before the upstream was asked (`added_s`), which
leaves out receiving the body, with every optimizer on and a virtual key that has a daily limit, so that tokens are
counted too. The figure is turn 200's time over turn 5's, each the median over sessions and over the turns around it.
cpu_turn200_over_turn5 is the same for all CPU of the gateway, receiving and parsing included: for orientation only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from .gateway.tools import Upstream, upstream
from .process import command_path, cpu_s, gateway
from .rawhttp import Caller
from .result import progress, report

EXAMPLES = """examples:
  python -m bench.length
  python -m bench.length --turns 50 --sessions 1"""
TARGETS = {"turn200_over_turn5": "<= 3"}
NEW_TOKENS = 1000  # a turn's new text: 200 turns make 200k tokens
AROUND = 3  # turns on each side that a median is taken over


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.length",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--turns", type=int, default=200)
    parser.add_argument("--sessions", type=int, default=5)
    parser.add_argument("--optimize", choices=["off", "safe", "max"], default="max")
    parser.add_argument("--seed", type=int, default=1, help="of the words in the session")
    options = parser.parse_args()
    with upstream() as provider:
        added, cpu = asyncio.run(_sessions(provider, options))
    late = f"turn{options.turns}_over_turn5"
    return report(
        "length",
        seed=options.seed,
        figures={
            late: round(ratio(added), 2),
            "added_ms_turn5": round(_at(added, 5) * 1000, 3),
            f"added_ms_turn{options.turns}": round(_at(added, options.turns) * 1000, 3),
            f"cpu_{late}": round(ratio(cpu), 2),
            "cpu_ms_turn5": round(_at(cpu, 5) * 1000, 3),
            f"cpu_ms_turn{options.turns}": round(_at(cpu, options.turns) * 1000, 3),
        },
        targets=TARGETS if options.turns == 200 else {},
        optimize=options.optimize,
        sessions=options.sessions,
        turns=options.turns,
    )


def ratio(sessions: Sequence[Sequence[float]]) -> float:
    """The last turn's time over the fifth's."""
    return _at(sessions, len(sessions[0])) / _at(sessions, 5)


def _at(sessions: Sequence[Sequence[float]], turn: int) -> float:
    """Median over sessions and over the turns around this one (counted from 1)."""
    last = len(sessions[0])
    first = max(1, min(turn - AROUND, last - 2 * AROUND))
    return median(one for session in sessions for one in session[first - 1 : first + 2 * AROUND])


async def _sessions(provider: Upstream, options: argparse.Namespace) -> tuple[list[list[float]], list[list[float]]]:
    """Per session and turn: seconds added by the receipt, and CPU seconds of the gateway."""
    added: list[list[float]] = []
    cpu: list[list[float]] = []
    with tempfile.TemporaryDirectory(prefix="pennyweight-bench-") as folder:
        data = Path(folder) / "data"
        key = _key(data)
        with gateway({"OPENAI": provider.url}, optimize=options.optimize, data=data) as ours:
            caller = Caller(ours.port)
            for number in range(options.sessions):
                words = random.Random(options.seed * 1000 + number)
                system = f"Session {number}. " + _text(words, 200)
                messages: list[dict[str, Any]] = [{"role": "system", "content": system}]
                calls, spent = [], []
                for _ in range(options.turns):
                    messages += [
                        {"role": "assistant", "content": _text(words, NEW_TOKENS // 4)},
                        {"role": "user", "content": _text(words, NEW_TOKENS - NEW_TOKENS // 4)},
                    ]
                    body = json.dumps({"model": "gpt-5.5", "messages": messages}, separators=(",", ":")).encode()
                    before = cpu_s(ours.pid)
                    headers = (("content-type", "application/json"), ("authorization", f"Bearer {key}"))
                    came = await caller.send("POST", "/v1/chat/completions", headers, body)
                    if came.status != 200:
                        raise RuntimeError(f"turn {len(calls) + 1}: {came.status} {came.body[:300]!r}")
                    spent.append(cpu_s(ours.pid) - before)
                    calls.append(dict(came.headers)["x-pennyweight-call"])
                added.append([await _added_s(caller, call, key) for call in calls])
                cpu.append(spent)
                fifth, last = added[-1][4], added[-1][-1]
                progress(f"session {number + 1}: {fifth * 1000:.3f} ms in turn 5, {last * 1000:.3f} ms in the last")
            caller.close()
    return added, cpu


async def _added_s(caller: Caller, call: str, key: str) -> float:
    told = await caller.send("GET", f"/pennyweight/calls/{call}", (("authorization", f"Bearer {key}"),), b"")
    if told.status != 200:
        raise RuntimeError(f"no receipt for {call}: {told.status} {told.body[:200]!r}")
    return float(json.loads(told.body)["added_s"])


def _key(data: Path) -> str:
    """A virtual key with a daily limit that is never reached."""
    command = [str(command_path()), "keys", "add", "bench", "--daily-usd", "100000", "--data", str(data)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"no virtual key: {done.stderr.strip()[-300:]}")
    return next(word for word in done.stdout.split() if word.startswith("pw"))


def _text(words: random.Random, tokens: int) -> str:
    """Text of about so many tokens: one short word each."""
    return " ".join(words.choice(_WORDS) for _ in range(tokens))


_WORDS = """
the a to of and in that is for it as was with on be at by this from or an are which not but have one had you all we when
there can more if no out so what up about some into them then its only other new may these two first any like my now over
""".split()  # noqa: SIM905 - a list of words reads best as words


if __name__ == "__main__":
    sys.exit(main())
