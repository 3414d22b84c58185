"""What is left in the ledger after kill -9, with a real process writing to a real file."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

WRITER = """
import asyncio, sys, time
from pathlib import Path
from pennyweight.call import Call, Identity, Outcome, Target
from pennyweight.clerk import Clerk
from pennyweight.request import Done, Request, Wire
from pennyweight.stores.sqlite import Database, SQLiteLedger
from pennyweight.testing.clock import FakeClock
from pennyweight.testing.contracts import sample_receipt

async def main(path):
    request = Request(Wire.OPENAI_CHAT, b"{}")
    target = Target("p", "m", Wire.OPENAI_CHAT)
    ledger = SQLiteLedger(Database(path))
    receipt = lambda outcome: sample_receipt(outcome.call.id, at=outcome.call.at)
    async with Clerk(ledger, receipt, settle=None, clock=FakeClock()) as clerk:
        for n in range(1_000_000):
            now = time.time()
            clerk.submit(Outcome(Call(str(n), Identity(), request, request, target, now), Done(), 200, "p"))
            print(n, now, flush=True)
            await asyncio.sleep(0.002)

asyncio.run(main(Path(sys.argv[1])))
"""


def test_kill_9_loses_at_most_200_ms_of_receipts(tmp_path: Path) -> None:
    path = tmp_path / "data" / "pennyweight.db"
    source = str(Path(__file__).parents[2] / "src")
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": source},
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = []
        deadline = time.monotonic() + 60
        while len(lines) < 400 and time.monotonic() < deadline:
            lines.append(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        lines += process.stdout.readlines()
    submitted = {n: float(at) for n, at in (line.split() for line in lines if line.endswith("\n"))}
    assert len(submitted) >= 400
    killed_at = max(submitted.values())  # the last sign of life: the kill came after it

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        written = {row[0] for row in connection.execute("SELECT call_id FROM receipts")}
    lost = [at for n, at in submitted.items() if n not in written]
    assert len(written) > 100
    assert all(killed_at - at <= 0.2 for at in lost), f"{len(lost)} lost, the oldest {killed_at - min(lost):.3f} s old"
