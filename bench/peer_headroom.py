"""Headroom, played through its own proxy in its default mode before a provider that remembers what it is sent.

python -m venv ~/.cache/pennyweight-bench/headroom
~/.cache/pennyweight-bench/headroom/bin/pip install 'headroom-ai[proxy]==0.42.*'
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from pennyweight.app import App, build
from pennyweight.capture.format import Recorded
from pennyweight.config import load
from pennyweight.optimizers.compression.results import given_back
from pennyweight.request import Charge, Request, Usage, Wire
from pennyweight.testing.http import Exchange, LoopbackServer, post
from pennyweight.testing.prefix_cache import PrefixCache, TooManyBreakpoints
from pennyweight.testing.provider import provider_keys
from pennyweight.text.tokenizers import BpeTokenizer
from pennyweight.wire.blocks import Reader

from .saving import Played, priced

__all__ = ["SESSION_S", "found", "play"]

_HASH = re.compile(r"hash=([0-9a-f]{12,64})")
_START_S = 300.0
SESSION_S = 900.0
"""How long a session may take: it waits up to half a minute for each form, and throws away what is late."""
_ANSWERS: dict[Wire, Any] = {
    Wire.OPENAI_CHAT: {
        "id": "c",
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    },
    Wire.OPENAI_RESPONSES: {
        "id": "r",
        "object": "response",
        "model": "m",
        "status": "completed",
        "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "ok"}]}],
        "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
    },
    Wire.ANTHROPIC_MESSAGES: {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": "ok"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
}


def found() -> Path | None:
    """The program: HEADROOM names it, else it is where the doc above puts it, else on the path."""
    named = os.environ.get("HEADROOM") or shutil.which("headroom")
    usual = Path("~/.cache/pennyweight-bench/headroom/bin/headroom").expanduser()
    if usual.exists():
        return usual
    return Path(named) if named else None


async def play(
    program: Path,
    sessions: Mapping[str, Sequence[Recorded]],
    told: Callable[[Played], None],
    left: Callable[[str, str], None],
    session_s: float = SESSION_S,
) -> list[Played]:
    """Sessions by their names, one after another, each through a proxy of its own, so that none waits for what another
    left. `told` hears of each as it ends, `left` of one that gives no figure and why: it failed or took over
    `session_s` seconds."""
    arrived: list[bytes] = []

    async def answer(exchange: Exchange) -> None:
        arrived.append(exchange.body)
        wire = next((wire for wire, path in _PATHS.items() if exchange.path.endswith(path)), Wire.OPENAI_CHAT)
        await exchange.send(200, msgspec.json.encode(_ANSWERS[wire]), headers={"content-type": "application/json"})

    found: list[Played] = []
    with TemporaryDirectory(prefix="pennyweight-bench-") as folder:
        config = load(None, provider_keys("http://127.0.0.1:9"), {"data_dir": Path(folder) / "own", "holdout": 0.0})
        async with LoopbackServer(answer) as upstream, build(config) as app:
            for name, calls in sessions.items():
                try:
                    async with _proxy(program, upstream.url, Path(folder)) as url, asyncio.timeout(session_s):
                        played = await _played(name, [priced(call, name) for call in calls], url, arrived, app)
                except TimeoutError:
                    left(name, f"not done in {session_s:g} s")
                except (OSError, RuntimeError) as error:
                    left(name, str(error))
                else:
                    found.append(played)
                    told(played)
    return found


_PATHS = {
    Wire.OPENAI_RESPONSES: "/responses",
    Wire.ANTHROPIC_MESSAGES: "/messages",
    Wire.OPENAI_CHAT: "/chat/completions",
}


@contextlib.asynccontextmanager
async def _proxy(program: Path, upstream: str, home: Path) -> AsyncIterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "HOME": str(home),
        "OPENAI_TARGET_API_URL": upstream,
        "ANTHROPIC_TARGET_API_URL": upstream,
        "HEADROOM_TELEMETRY": "off",
    }
    command = (str(program), "proxy", "--port", str(port), "--no-rate-limit", "--no-http2")
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, env=environment, cwd=home, stdout=quiet, stderr=quiet)
    try:
        async with asyncio.timeout(_START_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    if process.returncode is not None:
                        raise RuntimeError(f"{program} ended with {process.returncode}: run it by hand") from None
                    await asyncio.sleep(0.2)
                    continue
                writer.close()
                break
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _played(name: str, calls: Sequence[Recorded], url: str, arrived: list[bytes], app: App) -> Played:
    count, reader = BpeTokenizer().count, Reader()
    before_cache, after_cache = PrefixCache(count), PrefixCache(count)
    before = after = lines = lost = extra = 0
    seen: set[tuple[str, str]] = set()
    for call in sorted(calls, key=lambda call: call.at):
        target = app.resolve(str(call.body["model"]), call.wire)
        asked = {key: value for key, value in call.body.items() if key not in ("stream", "stream_options")}
        headers = {"content-type": "application/json", "authorization": "Bearer sk-bench", "x-api-key": "sk-bench"}
        if call.wire is Wire.ANTHROPIC_MESSAGES:
            headers["anthropic-version"] = "2023-06-01"
        arrived.clear()
        path = call.request.path.partition("?")[0]
        status, _, _ = await post(url, path, headers, msgspec.json.encode(asked))
        if status != 200 or not arrived:
            raise RuntimeError(f"{name}: the proxy answered {status} and asked {len(arrived)} times")
        sent = msgspec.json.decode(arrived[0])
        extra += len(arrived) - 1
        for body, cache, mine in ((call.body, before_cache, True), (sent, after_cache, False)):
            usage = _usage(cache, call.wire, body, call.at)
            price = app.accounts.cost(Charge(target.provider, target.model, usage, call.at)) or 0
            before, after = (before + price, after) if mine else (before, after + price)
        one, gone = await _lines(reader, call.request, Request(call.wire, arrived[0]), url, seen)
        lines, lost = lines + one, lost + gone
    return Played(name, before, after, lines, lost, {}, 0, {"asked more than once": extra} if extra else {}, {})


def _usage(cache: PrefixCache, wire: Wire, body: Any, at: float) -> Usage:
    try:
        return cache.account(wire, body, at=at)
    except TooManyBreakpoints:
        return Usage()


async def _lines(
    reader: Reader, asked: Request, sent: Request, url: str, seen: set[tuple[str, str]]
) -> tuple[int, int]:
    """Lines of results, and how many stand neither in the request as sent nor behind a reference in it."""
    there = {
        line for message in reader.read(sent).messages for block in message.blocks for line in block.text.split("\n")
    }
    names = {name for line in there for name in _HASH.findall(line)}
    for name in names:
        status, _, body = await post(
            url, "/v1/retrieve", {"content-type": "application/json"}, msgspec.json.encode({"hash": name})
        )
        if status == 200:
            there |= set(str(msgspec.json.decode(body).get("original_content")).split("\n"))
    lines = lost = 0
    for _, _, block in given_back(reader.read(asked)):
        key = (block.call_id, block.text)
        if key not in seen:
            seen.add(key)
            own = block.text.split("\n")
            lines += len(own)
            lost += sum(line not in there for line in own)
    return lines, lost
