"""Processes that benches start, and what the kernel says of them: CPU time and memory of a process and its children."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

__all__ = ["Gateway", "cpu_s", "free_port", "gateway", "memory_mb", "started", "tree", "wait_until_up"]

BIN = Path(__file__).resolve().parent.parent / ".venv" / "bin"


class Gateway:
    """A `pennyweight serve` of its own: where it listens, its process and its data folder."""

    def __init__(self, port: int, pid: int, data: Path) -> None:
        self.port, self.pid, self.data = port, pid, data


@contextmanager
def gateway(
    upstreams: Mapping[str, str], *, optimize: str = "", toml: str = "", data: Path | None = None
) -> Iterator[Gateway]:
    """A gateway on its defaults with these upstreams (`{"OPENAI": "http://127.0.0.1:1234/v1"}`) and no other provider.

    It sees no configuration file but `toml` and no environment but PATH, so a user's own set-up changes nothing.
    """
    with tempfile.TemporaryDirectory(prefix="pennyweight-bench-") as folder:
        home = Path(folder)
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": folder, "XDG_CONFIG_HOME": folder}
        for name, url in upstreams.items():
            environment |= {f"{name}_API_KEY": "sk-bench", f"{name}_BASE_URL": url}
        port, data = free_port(), data or home / "data"
        command = [str(command_path()), "serve", "--port", str(port), "--data", str(data)]
        command += ["--optimize", optimize] if optimize else []
        command += ["--holdout", "0"]  # a hit is a hit in every session
        if toml:
            (home / "pennyweight.toml").write_text(toml, encoding="utf-8")
            command += ["--config", str(home / "pennyweight.toml")]
        with started(command, environment=environment, folder=home) as process:
            wait_until_up(port, "/healthz", process=process)
            yield Gateway(port, process.pid, data)


def command_path() -> Path:
    """The `pennyweight` beside the Python that runs this, else the checkout's own."""
    beside = Path(sys.executable).parent / "pennyweight"
    return beside if beside.exists() else BIN / "pennyweight"


@contextmanager
def started(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended, by its id, when the block does. What it prints goes to a file beside its folder."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, cwd=folder
        )
        process.log = log  # type: ignore[attr-defined]
        try:
            yield process
        finally:
            children = tree(process.pid)[1:]
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()
            for pid in children:
                with suppress(ProcessLookupError):
                    os.kill(pid, 9)


def wait_until_up(
    port: int, path: str, *, process: subprocess.Popen[bytes] | None = None, within_s: float = 60
) -> None:
    """Returns when any HTTP answer comes. Raises RuntimeError, with the process's last words, when none does."""
    end = time.monotonic() + within_s
    while time.monotonic() < end and (process is None or process.poll() is None):
        connection = HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", path)
            connection.getresponse().read()
            return
        except OSError:
            time.sleep(0.01)
        finally:
            connection.close()
    raise RuntimeError(f"nothing answered on port {port}{path}: {_last_words(process)}")


def _last_words(process: subprocess.Popen[bytes] | None) -> str:
    log = getattr(process, "log", None)
    if log is None:
        return "no output"
    log.seek(0)
    return log.read().decode(errors="replace").strip()[-500:] or "no output"


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def tree(pid: int) -> list[int]:
    """The process and all its descendants, itself first."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                after_name = (folder / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(after_name[1]), []).append(int(folder.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def cpu_s(pid: int) -> float:
    """CPU seconds of the process tree so far, all threads, from the scheduler (/proc/*/task/*/schedstat: ns)."""
    total = 0
    for one in tree(pid):
        with suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                with suppress(OSError):
                    total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def memory_mb(pid: int) -> float:
    """Resident megabytes (10^6 bytes) of the process; with children proportional sizes, so nothing is counted twice."""
    total, pids = 0, tree(pid)
    word = "Rss" if len(pids) == 1 else "Pss"
    for one in pids:
        with suppress(OSError):
            match = re.search(rf"^{word}:\s+(\d+) kB", Path(f"/proc/{one}/smaps_rollup").read_text(), re.MULTILINE)
            total += int(match[1]) if match else 0
    return total * 1024 / 1e6
