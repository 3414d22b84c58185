"""The fake upstream and the load, both in C: compiled once into the cache folder, so that neither is the bottleneck.

Without a compiler `plain.py` takes their place.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from .bodies import ANSWER, STREAM

__all__ = ["CACHE", "Upstream", "compiled", "load", "upstream"]

CACHE = Path.home() / ".cache" / "pennyweight-bench"
_HERE = Path(__file__).resolve().parent


class Upstream:
    """A provider on loopback; `pace(5)` makes its streams wait 5 ms between chunks."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/v1"

    def pace(self, ms: float) -> None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request("GET", f"/pace/{round(ms * 1000)}")
        connection.getresponse().read()
        connection.close()


@contextmanager
def upstream() -> Iterator[Upstream]:
    with tempfile.TemporaryDirectory(prefix="pennyweight-bench-") as folder:
        answer, stream = Path(folder) / "answer", Path(folder) / "stream"
        answer.write_bytes(ANSWER)
        stream.write_bytes(STREAM)
        process = subprocess.Popen([*_tool("upstream"), "0", str(answer), str(stream)], stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            yield Upstream(int(process.stdout.readline()))
        finally:
            process.kill()
            process.wait()


def load(
    port: int,
    request: bytes,
    *,
    connections: int,
    requests: int = 1_000_000,
    seconds: float = 60,
    interval_ms: float = 0,
    expect: str = "",
    first: int = 0,
) -> dict[str, Any]:
    """Send it over and over; gives what `load.c` prints. Raises RuntimeError when the load could not be made."""
    with tempfile.NamedTemporaryFile(prefix="pennyweight-bench-") as file:
        file.write(request)
        file.flush()
        arguments = [port, file.name, connections, requests, seconds, round(interval_ms * 1000), expect, first]
        command = [*_tool("load"), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"no load on port {port}: {done.stderr.strip()[-200:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _tool(name: str) -> list[str]:
    """The command of a C tool, compiled where this source has not been yet; without a compiler the Python one."""
    source = _HERE / f"{name}.c"
    binary = CACHE / "tools" / f"{name}-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    if not binary.exists():
        compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
        if compiler is None:
            return [sys.executable, "-m", f"{__package__}.plain", name]
        binary.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([compiler, "-O2", "-o", str(binary), str(source)], check=True)
    return [str(binary)]


def compiled() -> bool:
    return _tool("load")[0] != sys.executable
