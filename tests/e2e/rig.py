"""What the attacks stand on: the real gateway in a process of its own, raw sockets, and an upstream that misbehaves."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import httptools

SOURCE = str(Path(__file__).parents[2] / "src")


class Answered(NamedTuple):
    """`complete`: the framing said that this was the end, not the connection."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool

    def json(self) -> Any:
        return json.loads(self.body)


class _Reading:
    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


_PATIENT = "\n[pipeline]\npropose_s = 60.0\n"  # optimizers are not left out because the machine is busy


class Process:
    """`pennyweight serve` on a free port. `log` is what it has written to stderr so far."""

    def __init__(self, folder: Path, env: Mapping[str, str], *arguments: str, config: str | None = None) -> None:
        self.data = folder / "data"
        self.config = folder / "pennyweight.toml"
        self._log = folder / "stderr.log"
        folder.mkdir(parents=True, exist_ok=True)
        if config is not None:
            patient = "" if "[pipeline]" in config else _PATIENT
            self.config.write_text(config + patient)
        inherited = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        command = [sys.executable, "-m", "pennyweight", "serve", "--port", "0", "--data", str(self.data), "--verbose"]
        command += ["--holdout", "0"]  # every session gets what the test is about
        command += ["--config", str(self.config)] if config is not None else []
        self._log_from = self._log.stat().st_size if self._log.exists() else 0  # an earlier process may have written
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *arguments],
                stderr=log,
                stdout=log,
                cwd=folder,
                env={**inherited, "HOME": str(folder), "PYTHONPATH": SOURCE, **env},
            )
        self.port = 0

    def wait_ready(self, timeout_s: float = 60.0) -> Self:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if found := re.search(r"listens on http://\S+?:(\d+)\s", self.log):
                self.port = int(found[1])
                return self
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"the gateway did not start:\n{self.log}")

    @property
    def log(self) -> str:
        return self._log.read_bytes()[self._log_from :].decode("utf-8", "replace")

    def wait_log(self, text: str, timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while text not in self.log:
            assert time.monotonic() < deadline, f"{text!r} is not in the log:\n{self.log}"
            time.sleep(0.02)

    def __enter__(self) -> Self:
        return self.wait_ready()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait(60)

    def connect(self, timeout_s: float = 60.0) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s)

    def ask(
        self,
        path: str,
        body: bytes | Mapping[str, Any] = b"",
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "POST",
        timeout_s: float = 60.0,
    ) -> Answered:
        """One request over a connection of its own."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"host": f"127.0.0.1:{self.port}", "content-type": "application/json", **(headers or {})}
        if method not in ("GET", "HEAD") or raw:
            sent.setdefault("content-length", str(len(raw)))
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        return self.raw(head.encode("latin-1") + b"\r\n" + raw, timeout_s=timeout_s, method=method)

    def raw(self, data: bytes, *, timeout_s: float = 60.0, method: str = "POST") -> Answered:
        with self.connect(timeout_s) as sock:
            sending = threading.Thread(target=_send_all, args=(sock, data), daemon=True)
            sending.start()  # a server that refuses a long body answers while it is still being sent
            answered = read_answer(sock, head_only=method == "HEAD")
            sock.shutdown(socket.SHUT_RDWR)
            sending.join(60)
            return answered

    def receipts(self, expected: int | None = None, timeout_s: float = 60.0) -> list[dict[str, Any]]:
        """The rows of the ledger, once there are as many as expected."""
        deadline = time.monotonic() + timeout_s
        while True:
            rows = read_receipts(self.data)
            if expected is None or len(rows) >= expected or time.monotonic() > deadline:
                return rows
            time.sleep(0.02)

    def fds(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))  # noqa: PTH208 - only counted


def _send_all(sock: socket.socket, data: bytes) -> None:
    try:
        sock.sendall(data)
    except OSError:
        return


def read_answer(sock: socket.socket, *, head_only: bool = False) -> Answered:
    """The next answer on a connection, interim ones skipped. Raises OSError when nothing comes."""
    raw = b""
    while b"\r\n\r\n" not in raw or (raw.startswith(b"HTTP/1.1 100") and raw.count(b"\r\n\r\n") < 2):
        more = sock.recv(65_536)
        if not more:
            raise ConnectionError(f"no answer, but {raw!r}")
        raw += more
    if raw.startswith(b"HTTP/1.1 100"):
        raw = raw.partition(b"\r\n\r\n")[2]
    reading = _Reading()
    parser = httptools.HttpResponseParser(reading)
    parser.feed_data(raw)
    while not reading.complete and not head_only:
        try:
            more = sock.recv(65_536)
        except ConnectionResetError:
            break
        if not more:
            break
        parser.feed_data(more)
    return Answered(parser.get_status_code(), reading.headers, reading.body, reading.complete)


def read_receipts(data: Path) -> list[dict[str, Any]]:
    path = data / "pennyweight.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(path, timeout=60)) as connection:
        connection.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in connection.execute("SELECT * FROM receipts ORDER BY call_id")]
        except sqlite3.OperationalError:
            return []


class Asked(NamedTuple):
    """A request as the upstream got it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def model(self) -> str:
        try:
            return str(json.loads(self.body).get("model", ""))
        except ValueError:
            return ""

    @property
    def streams(self) -> bool:
        try:
            return bool(json.loads(self.body).get("stream", self.target.startswith("/api/")))
        except ValueError:
            return False


class Upstream:
    """A provider in a thread of its own; `answer` writes raw bytes, or none. `seen` are the requests that came."""

    def __init__(self, answer: Callable[[Asked], Awaitable[None]]) -> None:
        self._answer = answer
        self.seen: list[Asked] = []
        self.open = 0  # connections
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        return {
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "OPENAI_API_KEY": "sk-gateway-openai-canary",
            "ANTHROPIC_BASE_URL": self.url,
            "ANTHROPIC_API_KEY": "sk-gateway-anthropic-canary",
            "OLLAMA_HOST": self.url,
        }

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connected, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.01))
        self._loop.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").split("\r\n")
                method, target, _ = lines[0].split(" ", 2)
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in lines[1:] if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                asked = Asked(method, target, headers, body, reader, writer)
                self.seen.append(asked)
                await self._answer(asked)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            writer.close()


def http(status: int, body: bytes, kind: str = "application/json", **headers: str) -> bytes:
    """A whole answer."""
    told = {
        "content-type": kind,
        "content-length": str(len(body)),
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }
    head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in told.items())
    return head.encode("latin-1") + b"\r\n" + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LINES_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"


@contextmanager
def gateway(folder: Path, upstream: Upstream, *arguments: str, config: str | None = None) -> Iterator[Process]:
    with Process(folder, upstream.env, *arguments, config=config) as process:
        yield process
