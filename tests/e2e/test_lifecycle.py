"""Starting, reloading and stopping under load, as an operator's signals do it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.e2e.protocols import CHAT, protocol_of, stream_end, stream_start, whole
from tests.e2e.rig import (
    STREAM_HEAD,
    Answered,
    Asked,
    Process,
    Upstream,
    chunk,
    gateway,
    http,
    read_answer,
    read_receipts,
)
from tests.pace import at_some_pace

PACE_S = 0.05


async def answer(asked: Asked) -> None:
    protocol = protocol_of(asked.target)
    if not asked.streams:
        asked.writer.write(http(200, whole(protocol, asked.model)))
        return
    asked.writer.write(STREAM_HEAD)
    events = stream_start(protocol, asked.model) * (100 if asked.model.endswith("endless") else 2)
    for event in events:
        asked.writer.write(chunk(event))
        await asked.writer.drain()
        await asyncio.sleep(PACE_S)
    asked.writer.write(b"".join(map(chunk, stream_end(protocol, asked.model))) + b"0\r\n\r\n")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(answer) as upstream:
        yield upstream


class Stream:
    """A stream under way in a thread."""

    def __init__(self, process: Process, model: str = "streams") -> None:
        self.answered: Answered | None = None
        self._sock = process.connect()
        raw = json.dumps(CHAT.body(model, stream=True)).encode()
        head = f"POST {CHAT.path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(raw)}\r\n\r\n"
        self._sock.sendall(head.encode() + raw)
        assert self._sock.recv(1, socket.MSG_PEEK)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        self.answered = read_answer(self._sock)

    def end(self, timeout_s: float = 60.0) -> Answered:
        self._thread.join(timeout_s)
        self._sock.close()
        assert self.answered is not None
        return self.answered


def test_sigterm_lets_a_stream_end_and_takes_no_more(tmp_path: Path, upstream: Upstream) -> None:
    with gateway(tmp_path, upstream) as process:
        stream = Stream(process)
        kept = process.connect()
        process.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(OSError):  # it takes no more as soon as it has heard
            for _ in range(10_000):
                process.ask("/healthz", method="GET")
            raise AssertionError("it still takes calls")
        answered = stream.end()
        assert process.process.wait(60) == 0
        kept.close()
    assert answered.complete
    assert answered.body.endswith(b"data: [DONE]\n\n")
    (row,) = read_receipts(process.data)
    assert (row["status"], row["abandoned"]) == (200, 0)
    assert "Traceback" not in process.log


@pytest.mark.parametrize("how", ["a second signal", "the time is up"])
def test_a_stream_that_does_not_end_is_cut(tmp_path: Path, upstream: Upstream, how: str) -> None:
    config = "[server]\ndrain_s = 0.3\n" if how == "the time is up" else ""
    with gateway(tmp_path, upstream, config=config) as process:
        stream = Stream(process, "endless")
        time.sleep(0.2)
        process.process.send_signal(signal.SIGTERM)
        if how == "a second signal":
            time.sleep(0.1)
            assert process.process.poll() is None
            process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(60) == 0
        answered = stream.end()
    assert not answered.complete
    assert b"[DONE]" not in answered.body
    (row,) = read_receipts(process.data)
    assert row["abandoned"] == 1
    assert row["output_tokens"] > 0
    assert "Traceback" not in process.log


@pytest.mark.parametrize("how", ["SIGHUP", "a changed file"])
def test_a_new_configuration_is_swapped_in_under_a_stream(tmp_path: Path, upstream: Upstream, how: str) -> None:
    with gateway(tmp_path, upstream, config='optimize = "off"\n') as process:
        stream = Stream(process)
        process.config.write_text('optimize = "safe"\n')
        if how == "SIGHUP":
            process.process.send_signal(signal.SIGHUP)
        process.wait_log("configuration taken")
        asked = process.ask(CHAT.path, CHAT.body("x"))
        assert "x-pennyweight-trail" in asked.headers  # optimizers were asked: the new one is in force
        assert stream.end().complete
        assert len(process.receipts(2)) == 2


def test_an_invalid_file_changes_nothing_and_says_why(tmp_path: Path, upstream: Upstream) -> None:
    bad: list[bytes | None] = [
        b'optimize = "fastest"\n',
        b"[server\n",
        b"\xff\xfe\x00",
        b"[" * 5_000 + b"]" * 5_000,
        b'[providers.openai]\nbase_url = "ftp://x"\n',
        None,
    ]
    with gateway(tmp_path, upstream, config='optimize = "off"\n') as process:
        for content in bad:
            before = process.log.count("not taken")
            process.config.unlink(missing_ok=True)
            if content is not None:
                process.config.write_bytes(content)
            process.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 60
            while process.log.count("not taken") == before:
                assert time.monotonic() < deadline, process.log
                time.sleep(0.02)
            assert process.ask(CHAT.path, CHAT.body("x")).status == 200
        assert "fastest" in process.log
        process.config.write_text('optimize = "off"\n')
        process.process.send_signal(signal.SIGHUP)
        process.wait_log("configuration taken")
        assert process.ask(CHAT.path, CHAT.body("x")).status == 200
    assert process.process.returncode == 0
    assert "Traceback" not in process.log


def load(process: Process, stop: threading.Event, done: list[tuple[str, float]]) -> None:
    """Calls one after the other, noting the id and the time of every answer."""
    while not stop.is_set():
        try:
            answered = process.ask(CHAT.path, CHAT.body("x"))
        except OSError:
            return
        done.append((answered.headers["x-pennyweight-call"], time.monotonic()))


def under_load(process: Process, kill: signal.Signals) -> tuple[list[tuple[str, float]], float]:
    stop, done = threading.Event(), list[tuple[str, float]]()
    threads = [threading.Thread(target=load, args=(process, stop, done)) for _ in range(3)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while len(done) < 100 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(done) >= 100
    killed_at = time.monotonic()
    process.process.send_signal(kill)
    process.process.wait(60)
    stop.set()
    for thread in threads:
        thread.join(60)
    return done, killed_at


def test_kill_9_under_load_loses_at_most_200_ms(tmp_path: Path, upstream: Upstream) -> None:
    def test(pace: float) -> None:
        with gateway(tmp_path / str(pace), upstream) as process:
            done, killed_at = under_load(process, signal.SIGKILL)
        written = {row["call_id"] for row in read_receipts(process.data)}
        lost = [killed_at - at for call, at in done if call not in written]
        with closing(sqlite3.connect(process.data / "pennyweight.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        with gateway(tmp_path / str(pace), upstream) as again:  # and it starts again on what is there
            assert again.ask(CHAT.path, CHAT.body("x")).status == 200
        assert all(age <= 0.2 * pace for age in lost), max(lost)

    at_some_pace(test)


def test_a_clean_stop_loses_nothing(tmp_path: Path, upstream: Upstream) -> None:
    with gateway(tmp_path, upstream) as process:
        done, _ = under_load(process, signal.SIGTERM)
    assert process.process.returncode == 0
    assert {call for call, _ in done} <= {row["call_id"] for row in read_receipts(process.data)}


def test_two_gateways_share_a_data_folder(tmp_path: Path, upstream: Upstream) -> None:
    with gateway(tmp_path, upstream) as one, Process(tmp_path / "second", upstream.env, "--data", str(one.data)) as two:
        stop, done = threading.Event(), list[tuple[str, float]]()
        threads = [
            threading.Thread(target=load, args=(process, stop, done)) for process in (one, two) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.8)
        stop.set()
        for thread in threads:
            thread.join(60)
        for process in (one, two):
            assert process.ask("/readyz", method="GET").status == 200
        calls = [row["call_id"] for row in one.receipts(len(done))]
    assert sorted(calls) == sorted(call for call, _ in done)


def test_another_machines_address_needs_keys(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::"):
        process = Process(tmp_path / host.replace(":", "_"), {}, "--host", host)
        assert process.process.wait(60) != 0
        assert "pennyweight keys add" in process.log
        assert "Traceback" not in process.log


def test_a_taken_port_is_told(tmp_path: Path, upstream: Upstream) -> None:
    with gateway(tmp_path / "a", upstream) as process:
        other = Process(tmp_path / "b", upstream.env, "--port", str(process.port))
        assert other.process.wait(60) != 0
        assert "--port" in other.log
        assert "Traceback" not in other.log


def gauge(process: Process, name: str) -> float:
    page = process.ask("/metrics", method="GET").body.decode()
    found = re.search(rf"^{name} (\S+)$", page, re.MULTILINE)
    assert found, page
    return float(found[1])


def test_a_locked_ledger_delays_receipts_and_never_answers(tmp_path: Path, upstream: Upstream) -> None:
    with gateway(tmp_path, upstream, config="[ledger]\nqueue = 20\n") as process:
        assert process.ask(CHAT.path, CHAT.body("x")).status == 200
        assert process.ask("/readyz", method="GET").status == 200
        process.receipts(1)
        with closing(sqlite3.connect(process.data / "pennyweight.db", isolation_level=None)) as lock:
            lock.execute("BEGIN EXCLUSIVE")
            for _ in range(10):  # nobody waits for the lock
                assert process.ask(CHAT.path, CHAT.body("x")).status == 200
            process.wait_log("receipts delayed")
            ready = process.ask("/readyz", method="GET")
            assert ready.status == 503
            assert ready.json()["receipts"]["queued"] >= 10
            assert gauge(process, "pennyweight_receipts_delayed") >= 1
            for _ in range(20):  # the queue is bounded: what does not fit is lost, counted and told
                assert process.ask(CHAT.path, CHAT.body("x")).status == 200
            assert gauge(process, "pennyweight_receipts_lost") >= 1
            process.wait_log("receipts lost")
            lock.execute("ROLLBACK")
        assert len(process.receipts(11)) >= 11
        deadline = time.monotonic() + 60
        while process.ask("/readyz", method="GET").status != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_delays_receipts_and_never_answers(tmp_path: Path, upstream: Upstream) -> None:
    disk = tmp_path / "data"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine does not let a test mount")
    try:
        with gateway(tmp_path, upstream) as process:
            assert process.ask(CHAT.path, CHAT.body("x")).status == 200
            process.receipts(1)
            filler = disk / "filler"
            with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(b"a" * 4096)
            for _ in range(200):
                assert process.ask(CHAT.path, CHAT.body("x")).status == 200
            process.wait_log("receipts delayed")
            assert process.ask("/readyz", method="GET").status == 503
            filler.unlink()
            assert len(process.receipts(201)) == 201
            assert process.ask("/readyz", method="GET").status == 200
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
