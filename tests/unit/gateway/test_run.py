"""A running gateway takes a new configuration without dropping what the old one still answers."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pennyweight.config import Config, load
from pennyweight.errors import ConfigError
from pennyweight.gateway import run as run_module
from pennyweight.gateway.memory import HUGE_BYTES, LARGE_BYTES
from pennyweight.gateway.run import Gateway, _watch, collect_seldom, open_gateway
from pennyweight.testing.http import Exchange, LoopbackServer, post

BODY = b'{"model":"m","messages":[]}'
STREAM = b'{"model":"m","stream":true,"messages":[]}'
CHAT = "/v1/chat/completions"


class Provider:
    """Answers with its name; a stream waits in its middle for `gate`."""

    def __init__(self, name: str) -> None:
        self.name = name.encode()
        self.gate = asyncio.Event()
        self.answer = b'{"by":"%b"}' % self.name

    async def __call__(self, exchange: Exchange) -> None:
        if b'"stream":true' not in exchange.body:
            return await exchange.send(200, self.answer, headers={"content-type": "application/json"})
        await exchange.start(200, {"content-type": "text/event-stream"})
        await exchange.write(b"data: 1\n\n")
        await self.gate.wait()
        await exchange.write(b"data: " + self.name + b"\n\n")
        return await exchange.end()


class File:
    """A configuration that can change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "pennyweight.toml"
        self.server = "port = 0"

    def write(self, url: str, extra: str = "") -> None:
        provider = f'[providers.openai]\nbase_url = "{url}/v1"\napi_key = "k"\n'
        self.path.write_text(f"{extra}\n[server]\n{self.server}\n{provider}")

    def load(self) -> Config:
        return load(self.path, {"PENNYWEIGHT_DATA": str(self.folder / "data")})


@asynccontextmanager
async def running(tmp_path: Path) -> AsyncIterator[tuple[Gateway, File, Provider, Provider, str]]:
    old, new = Provider("old"), Provider("new")
    file = File(tmp_path)
    async with asyncio.timeout(60), LoopbackServer(old) as first, LoopbackServer(new) as second:
        file.write(first.url)
        async with open_gateway(file.load) as gateway:
            yield gateway, file, old, new, second.url


async def ask(gateway: Gateway, body: bytes = BODY) -> bytes:
    status, _, answer = await post(gateway.url, CHAT, {}, body)
    assert status == 200
    return answer


def test_new_calls_go_to_the_new_app_while_the_old_one_ends_its_streams(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as (gateway, file, old, _, url):
            assert await ask(gateway) == b'{"by":"old"}'
            before = gateway.app
            stream = asyncio.create_task(ask(gateway, STREAM))
            while not gateway._now or not gateway._now.active:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.005)
            file.write(url)
            assert await gateway.reload()
            assert gateway.app is not before
            assert await ask(gateway) == b'{"by":"new"}'
            assert len(gateway._retiring) == 1
            old.gate.set()
            assert (await stream).endswith(b"data: old\n\n")
            await asyncio.gather(*gateway._retiring)
            await asyncio.sleep(0)
            assert not gateway._retiring

    asyncio.run(main())
    gc.collect()


def test_what_was_answered_again_and_again_is_asked_anew_of_a_new_app(tmp_path: Path) -> None:
    message = '{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"%s"}}'
    body = b'{"model":"m","temperature":0,"messages":[{"role":"user","content":"hi"}]}'

    async def main() -> None:
        async with running(tmp_path) as (gateway, file, old, new, url):
            for provider in (old, new):
                provider.answer = f'{{"choices":[{message % provider.name.decode()}],"usage":{{}}}}'.encode()
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)

            async def asked(times: int) -> list[bytes]:
                """Over the one connection."""
                answers = []
                for _ in range(times):
                    writer.write(b"POST %b HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: " % CHAT.encode())
                    writer.write(b"%d\r\n\r\n%b" % (len(body), body))
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                    answers.append(await reader.readexactly(length))
                return answers

            assert await asked(4) == [old.answer] * 4
            assert gateway._now is not None
            kept = gateway._now.front.repeated
            assert len(kept._memory.by_name) == 1
            file.write(url, "[[routes]]\nmodel = 'm'\nprovider = 'openai'\nvolatile = true")
            assert await gateway.reload()
            assert await asked(3) == [new.answer] * 3
            assert gateway._now.front.repeated is not kept
            writer.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "extra", ["optimize = 'loads'", "nonsense", "[[optimizers]]\nuse = 'nobody'", "data_dir = '/dev/null/x'"]
)
def test_a_configuration_that_cannot_work_changes_nothing(
    tmp_path: Path, extra: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with running(tmp_path) as (gateway, file, _, _, url):
            before = gateway.app
            file.write(url, extra)
            env = {} if "data_dir" in extra else {"PENNYWEIGHT_DATA": str(tmp_path / "data")}
            gateway._load = lambda: load(file.path, env)
            assert not await gateway.reload()
            assert gateway.app is before
            assert await ask(gateway) == b'{"by":"old"}'

    asyncio.run(main())
    assert "configuration not taken" in caplog.text


def test_another_address_waits_for_the_next_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with running(tmp_path) as (gateway, file, _, _, url):
            port = gateway.port
            file.server = "port = 1"
            file.write(url)
            assert await gateway.reload()
            assert gateway.port == port
            assert await ask(gateway) == b'{"by":"new"}'

    asyncio.run(main())
    assert "at the next start" in caplog.text


def test_receipts_and_counters_go_on_over_a_reload(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as (gateway, file, _, _, url):
            await ask(gateway)
            file.write(url)
            await gateway.reload()
            await ask(gateway)
            await asyncio.gather(*gateway._retiring)
            await gateway.app.clerk.flush()
            text = gateway._metrics.text({})
            assert 'pennyweight_calls_total{wire="openai_chat",provider="openai",status="2xx"} 2' in text

    asyncio.run(main())


def test_stop_waits_for_streams(tmp_path: Path) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), running(tmp_path) as (gateway, _, old, _, _):
            stream = asyncio.create_task(ask(gateway, STREAM))
            while not gateway._now or not gateway._now.active:  # noqa: ASYNC110 - see above
                await asyncio.sleep(0.005)
            asyncio.get_running_loop().call_later(0.1, old.gate.set)
            await gateway.stop()
            assert (await stream).endswith(b"data: old\n\n")

    asyncio.run(main())


def test_an_address_for_other_machines_needs_a_key(tmp_path: Path) -> None:
    async def main() -> None:
        file = File(tmp_path)
        file.server = 'port = 0\nhost = "0.0.0.0"'
        file.write("http://127.0.0.1:9")
        with pytest.raises(ConfigError, match="keys add"):
            async with open_gateway(file.load):
                pass

    asyncio.run(main())


@pytest.mark.parametrize(
    ("host", "url"), [("127.0.0.1", "http://127.0.0.1:"), ("localhost", "http://localhost:"), ("::1", "http://[::1]:")]
)
def test_the_address_to_use(tmp_path: Path, host: str, url: str) -> None:
    async def main() -> None:
        file = File(tmp_path)
        file.server = f'port = 0\nhost = "{host}"'
        file.write("http://127.0.0.1:9")
        try:
            async with open_gateway(file.load) as gateway:
                assert gateway.url == f"{url}{gateway.port}"
        except OSError:
            pytest.skip(f"this machine has no {host}")

    asyncio.run(main())


def test_a_changed_file_is_noticed_and_a_missing_one_is_no_trouble(tmp_path: Path) -> None:
    async def main() -> None:
        path, changed = tmp_path / "f", asyncio.Event()
        watching = asyncio.create_task(_watch(path, changed, every_s=0.005))
        for text in ("a", "ab"):
            await asyncio.sleep(0.02)
            assert not changed.is_set()
            path.write_text(text)
            async with asyncio.timeout(60):
                await changed.wait()
            changed.clear()
        watching.cancel()

    asyncio.run(main())


def test_the_garbage_collector_is_spared_what_can_be_no_garbage() -> None:
    before = gc.get_threshold()
    try:
        collect_seldom()
        assert gc.get_freeze_count() > 10_000
        assert gc.get_threshold()[0] > before[0]
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


def test_after_a_large_body_memory_for_the_next_is_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stocked: list[int] = []
    monkeypatch.setattr(run_module, "stock_up", stocked.append)
    monkeypatch.setattr(run_module, "_QUIET_S", 0.0)

    async def main() -> None:
        async with running(tmp_path) as (gateway, *_):
            large = b'{"model":"m","messages":[{"role":"user","content":"%b"}]}' % (b"x" * LARGE_BYTES)
            await ask(gateway, large)
            gateway.gives_back = True
            await ask(gateway)
            await asyncio.sleep(0.01)
            assert not stocked  # in a program that embeds it, nor after a short one
            await ask(gateway, large)
            while not stocked:  # noqa: ASYNC110 - a timer tells nobody
                await asyncio.sleep(0.005)
            assert stocked == [2 * len(large)]

    asyncio.run(main())


def test_what_a_huge_body_left_is_given_back_when_its_call_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[bool] = []
    monkeypatch.setattr(run_module, "give_back", lambda: given.append(True))
    monkeypatch.setattr(run_module, "_SETTLED_S", 0.0)

    async def main() -> None:
        async with running(tmp_path) as (gateway, *_):
            huge = b'{"model":"m","messages":[{"role":"user","content":"%b"}]}' % (b"x" * HUGE_BYTES)
            await ask(gateway, huge)
            await asyncio.sleep(0.01)
            assert not given  # in a program that embeds it
            gateway.gives_back = True
            await ask(gateway)
            await asyncio.sleep(0.01)
            assert not given
            await ask(gateway, huge)
            while not given:  # noqa: ASYNC110 - a timer tells nobody
                await asyncio.sleep(0.005)

    asyncio.run(main())
