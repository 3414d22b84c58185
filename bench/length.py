"""Does a turn's cost follow what is new in it? A session grows to 200k tokens over 200 turns of equal new text.

Measured in the turns around the 5th and the 200th: CPU seconds of the gateway for the call and its receipt, less those
for relaying the same bytes through a route that does not look at them (receiving, sending, a receipt) and less one
parsing of the body. Every optimizer is on and the virtual key has a daily limit, so tokens are counted too. The figure
is the 200th's over the 5th's, of medians over turns and sessions. `added_ms` is what receipts say of the optimizers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import msgspec

from .gateway.tools import Upstream, upstream
from .process import command_path, cpu_s, gateway
from .rawhttp import Caller
from .result import progress, report

EXAMPLES = """examples:
  python -m bench.length
  python -m bench.length --turns 50 --sessions 1"""
TARGETS = {"turn200_over_turn5": "<= 3"}
NEW_TOKENS = 1000  # a turn's new text: 200 turns make 200k tokens
AROUND = 3  # turns on each side of the fifth; as many, all in all, at the end
CHAT = "/v1/chat/completions"
RELAY = "/v1/moderations"  # passes through: nothing in it is looked at


class Turn(NamedTuple):
    """Seconds: CPU of the call, of relaying the same bytes, of parsing them; and what the receipt says was added."""

    call: float
    relay: float
    parse: float
    added: float

    @property
    def work(self) -> float:
        return self.call - self.relay - self.parse


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
    parser.add_argument("--no-limit", action="store_true", help="a key without a daily limit, so nothing is counted")
    parser.add_argument("--seed", type=int, default=1, help="of the words in the session")
    options = parser.parse_args()
    with upstream() as provider:
        early, late = asyncio.run(_sessions(provider, options))
    last = f"turn{options.turns}"
    return report(
        "length",
        seed=options.seed,
        figures={
            f"{last}_over_turn5": round(ratio(early, late), 2),
            **_milliseconds("turn5", early),
            **_milliseconds(last, late),
        },
        targets=TARGETS if options.turns == 200 else {},
        optimize=options.optimize,
        daily_limit=not options.no_limit,
        sessions=options.sessions,
        turns=options.turns,
    )


def ratio(early: Sequence[Turn], late: Sequence[Turn]) -> float:
    """The late turns' work over the early ones', of medians; inf when the early ones' was too little to measure."""
    first = median(turn.work for turn in early)
    return median(turn.work for turn in late) / first if first > 0 else float("inf")


def _milliseconds(name: str, turns: Sequence[Turn]) -> dict[str, float]:
    parts = {"work": [t.work for t in turns], "call": [t.call for t in turns], "relay": [t.relay for t in turns]}
    parts |= {"parse": [t.parse for t in turns], "added": [t.added for t in turns]}
    return {f"{part}_ms_{name}": round(median(values) * 1000, 3) for part, values in parts.items()}


async def _sessions(provider: Upstream, options: argparse.Namespace) -> tuple[list[Turn], list[Turn]]:
    """The turns around the fifth and the last ones, of all sessions."""
    early: list[Turn] = []
    late: list[Turn] = []
    with tempfile.TemporaryDirectory(prefix="pennyweight-bench-") as folder:
        data = Path(folder) / "data"
        key, free = _key(data, "bench", limit=not options.no_limit), _key(data, "relay", limit=False)
        with gateway({"OPENAI": provider.url}, optimize=options.optimize, data=data) as ours:
            caller = Caller(ours.port)
            for number in range(options.sessions):
                words = random.Random(options.seed * 1000 + number)
                system = f"Session {number}. " + _text(words, 200)
                messages: list[dict[str, Any]] = [{"role": "system", "content": system}]
                for turn in range(1, options.turns + 1):
                    messages += [
                        {"role": "assistant", "content": _text(words, NEW_TOKENS // 4)},
                        {"role": "user", "content": _text(words, NEW_TOKENS - NEW_TOKENS // 4)},
                    ]
                    body = json.dumps({"model": "gpt-5.5", "messages": messages}, separators=(",", ":")).encode()
                    kept = early if abs(turn - 5) <= AROUND else late if turn > options.turns - 2 * AROUND - 1 else None
                    if kept is None:
                        await _send(caller, CHAT, key, body)
                        continue
                    relay, _ = await _measured(ours.pid, caller, RELAY, free, body)
                    call, receipt = await _measured(ours.pid, caller, CHAT, key, body)
                    kept.append(Turn(call, relay, _parse_s(body), float(receipt["added_s"])))
                progress(f"session {number + 1}: {_milliseconds('last', late[-2 * AROUND - 1 :])}")
            caller.close()
    return early, late


async def _measured(pid: int, caller: Caller, path: str, key: str, body: bytes) -> tuple[float, dict[str, Any]]:
    """CPU seconds of a call and its receipt, which is asked for so that nothing of the call is still to be done."""
    before = cpu_s(pid)
    call = await _send(caller, path, key, body)
    told = await caller.send("GET", f"/pennyweight/calls/{call}", (("authorization", f"Bearer {key}"),), b"")
    if told.status != 200:
        raise RuntimeError(f"no receipt for {call}: {told.status} {told.body[:200]!r}")
    receipt: dict[str, Any] = json.loads(told.body)
    return cpu_s(pid) - before, receipt


async def _send(caller: Caller, path: str, key: str, body: bytes) -> str:
    headers = (("content-type", "application/json"), ("authorization", f"Bearer {key}"))
    came = await caller.send("POST", path, headers, body)
    if came.status != 200:
        raise RuntimeError(f"{path}: {came.status} {came.body[:300]!r}")
    return dict(came.headers)["x-pennyweight-call"]


def _parse_s(body: bytes) -> float:
    """CPU seconds to parse it once: the fastest of five."""

    def once() -> float:
        start = time.process_time()
        msgspec.json.decode(body)
        return time.process_time() - start

    return min(once() for _ in range(5))


def _key(data: Path, name: str, *, limit: bool) -> str:
    """A virtual key, its daily limit one that is never reached."""
    command = [str(command_path()), "keys", "add", name, "--data", str(data), "--json"]
    command += ["--daily-usd", "100000"] if limit else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"no virtual key: {done.stderr.strip()[-300:]}")
    return str(json.loads(done.stdout)["key"])


def _text(words: random.Random, tokens: int) -> str:
    """Text of about so many tokens: one short word each."""
    return " ".join(words.choice(_WORDS) for _ in range(tokens))


_WORDS = """
the a to of and in that is for it as was with on be at by this from or an are which not but have one had you all we when
there can more if no out so what up about some into them then its only other new may these two first any like my now
""".split()  # noqa: SIM905 - a list of words reads best as words


if __name__ == "__main__":
    sys.exit(main())
