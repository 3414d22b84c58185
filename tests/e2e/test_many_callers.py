"""Two hundred streams whose callers leave when they please: nobody is billed for what nobody reads, nothing is left."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator

import pytest
from tests.e2e.protocols import ALL, protocol_of, stream_end, stream_start
from tests.e2e.rig import LINES_HEAD, STREAM_HEAD, Asked, Process, Upstream, chunk, gateway

CONFIG = "[providers.ollama]\nmax_concurrency = 200\n"
LEFT: set[str] = set()  # names of the calls whose caller the upstream saw leave


BEGUN: set[str] = set()  # names of the calls that reached the upstream


async def answer(asked: Asked) -> None:
    """A long slow stream; notes when the reading end goes away."""
    BEGUN.add(asked.headers["x-name"])
    protocol = protocol_of(asked.target)
    if asked.model.endswith("quiet"):  # says nothing at all: only the connection tells
        await gone(asked)
        return
    asked.writer.write(LINES_HEAD if protocol.name == "ollama" else STREAM_HEAD)
    leaving = asyncio.ensure_future(gone(asked))
    for event in stream_start(protocol, asked.model) * (4 if asked.model.endswith("long") else 10_000):
        asked.writer.write(chunk(event))
        await asyncio.wait([leaving], timeout=0.05)
        if leaving.done():
            raise ConnectionResetError
    leaving.cancel()
    asked.writer.write(b"".join(map(chunk, stream_end(protocol, asked.model))) + b"0\r\n\r\n")


async def gone(asked: Asked) -> None:
    try:
        while await asked.reader.read(1):
            pass
    except ConnectionError:
        pass
    LEFT.add(asked.headers["x-name"])


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Upstream]]:
    folder = tmp_path_factory.mktemp("many")
    with Upstream(answer) as upstream, gateway(folder, upstream, config=CONFIG) as process:
        yield process, upstream


async def call(process: Process, number: int, leave_after_s: float | None) -> tuple[str, str]:
    """(name, call id or "" for one that left)."""
    protocol = ALL[number % 4]
    model = "long" if leave_after_s is None else "endless" if number % 7 else "quiet"
    raw = json.dumps(protocol.body(model, stream=True)).encode()
    name = f"n{number}"
    head = f"POST {protocol.path} HTTP/1.1\r\nhost: localhost\r\nx-name: {name}\r\ncontent-length: {len(raw)}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
    writer.write(head.encode() + raw)
    if leave_after_s is not None:
        while number % 10 and name not in BEGUN:  # noqa: ASYNC110 - every tenth leaves, read or not
            await asyncio.sleep(0.01)
        await asyncio.sleep(leave_after_s)
        if number % 2:
            writer.transport.abort()
        else:
            writer.close()
        return name, ""
    got = b""
    while not got.endswith(b"0\r\n\r\n"):
        more = await asyncio.wait_for(reader.read(65_536), 60)
        assert more, got[-200:]
        got += more
    writer.close()
    call_id = got.partition(b"x-pennyweight-call: ")[2].partition(b"\r\n")[0].decode()
    return name, call_id


def test_every_disconnect_reaches_the_upstream_and_every_call_its_receipt(rig: tuple[Process, Upstream]) -> None:
    process, upstream = rig
    dice = random.Random(7)
    leaving = [dice.uniform(0.15, 0.9) if dice.random() < 0.6 else None for _ in range(200)]

    async def all_of_them() -> list[tuple[str, str]]:
        async def spread(number: int) -> tuple[str, str]:
            await asyncio.sleep(number * 0.002)
            return await call(process, number, leaving[number])

        return await asyncio.gather(*(spread(number) for number in range(200)))

    assert process.ask("/healthz", method="GET").status == 200
    fds = process.fds()
    done = asyncio.run(all_of_them())
    deadline = time.monotonic() + 60
    while upstream.open > 60 and time.monotonic() < deadline:
        time.sleep(0.02)

    left = {name for name, call_id in done if not call_id}
    reached = {asked.headers["x-name"] for asked in upstream.seen}
    assert len(left & reached) > 80
    deadline = time.monotonic() + 60
    while not left & reached <= LEFT and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left & reached <= LEFT  # their streams have no end of their own

    settled = time.monotonic() + 60
    while process.ask("/readyz", method="GET").json()["receipts"]["queued"] and time.monotonic() < settled:
        time.sleep(0.05)
    time.sleep(0.3)  # the receipts of those who left last
    rows = process.receipts(len(reached))
    assert len(reached) <= len(rows) <= 200  # who left before the gateway had looked at its request has none
    assert len({row["call_id"] for row in rows}) == len(rows)
    stayed = {call_id for _, call_id in done if call_id}
    for row in rows:
        assert (row["call_id"] in stayed) is (row["abandoned"] == 0), row
        if row["abandoned"] and row["output_tokens"] is not None and row["ttft_s"] is not None:
            assert row["counted"] == 1 or row["wire"] == "anthropic_messages"  # it tells some usage at the start
    assert stayed <= {row["call_id"] for row in rows}

    deadline = time.monotonic() + 60
    kept = 100  # idle connections to the upstream are kept for the next call
    while process.fds() > fds + kept and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.fds() <= fds + kept
    page = process.ask("/metrics", method="GET").body.decode()
    assert "pennyweight_receipts_lost 0" in page
    assert process.ask("/readyz", method="GET").json()["receipts"]["queued"] == 0
