"""Local servers over real HTTP: what is told of them, room made for a call, and a server that is dead."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.local_servers import OllamaServer, RouterServer, SwapServer

from pennyweight.app.local import machine_of, watched
from pennyweight.backends.local import Machine, Room, State
from pennyweight.backends.upstream import Upstream
from pennyweight.call import Target
from pennyweight.clock import SystemClock
from pennyweight.config import Config, load
from pennyweight.errors import ConfigError, NotConnected
from pennyweight.request import Reply, Wire
from pennyweight.routing.resources import MB
from pennyweight.routing.virtual import Live
from pennyweight.testing.backend import Script, ScriptedBackend, make_call
from pennyweight.testing.http import Exchange, LoopbackServer

Body = Callable[..., Coroutine[Any, Any, None]]


def config(text: str, tmp: Path) -> Config:
    file = tmp / "pennyweight.toml"
    file.write_text(text)
    return load(file, {"PENNYWEIGHT_DATA": str(tmp / "data")})


@asynccontextmanager
async def watching(ollama: OllamaServer, tmp: Path, settings: str) -> AsyncIterator[tuple[Machine, Room]]:
    async with ollama.server() as server:
        told = config(f'[providers.ollama]\nbase_url = "{server.url}"\n[resources]\n{settings}', tmp)
        machine = machine_of(told, SystemClock())
        try:
            await machine.look()
            yield machine, room(told, machine, "ollama")
        finally:
            await machine.aclose()


def room(told: Config, machine: Machine, name: str) -> Room:
    from pennyweight.app.upstreams import upstream

    backend: Upstream = upstream(told.providers[name], told.proxies, SystemClock())
    return Room(backend, machine, SystemClock())


def chat(model: str) -> Any:
    body = b'{"model":"%s","messages":[{"role":"user","content":"hi"}],"stream":false}' % model.encode()
    return make_call(body, wire=Wire.OLLAMA, path="/api/chat", provider="ollama", model=model)


def target(model: str, provider: str = "ollama") -> Target:
    return Target(provider, model, Wire.OLLAMA)


def state(machine: Machine, model: str) -> State:
    return next(each for each in machine.states() if each.key[1] == model)


SIZES = {"small:1b": 300 * MB, "chat:4b": 2500 * MB, "code:7b": 3500 * MB, "huge:70b": 40_000 * MB}


def test_sizes_are_those_that_the_server_tells(tmp_path: Path) -> None:
    async def run() -> None:
        ollama = OllamaServer(SIZES)
        ollama.loaded = ["chat:4b"]
        async with watching(ollama, tmp_path, "memory_mb = 4096") as (machine, _):
            chat_model, code = state(machine, "chat:4b"), state(machine, "code:7b")
            assert (chat_model.loaded, chat_model.size_bytes, chat_model.known) == (True, 2500 * MB, "told")
            assert (code.loaded, code.size_bytes, code.known) == (False, 1750 * MB, "file")  # the least it can be
            ollama.loaded = ["code:7b"]
            await machine.look()
            ollama.loaded = []
            await machine.look()
            assert (code.loaded, code.size_bytes, code.known) == (False, 3500 * MB, "told")  # it was seen

    asyncio.run(run())


def test_only_what_is_on_the_gpu_counts_where_that_is_asked(tmp_path: Path) -> None:
    async def run() -> None:
        ollama = OllamaServer(SIZES)
        ollama.loaded = ["chat:4b"]
        async with watching(ollama, tmp_path, 'memory_mb = 4096\ncount = "gpu"') as (machine, _):
            assert state(machine, "chat:4b").size_bytes == 2500 * MB * 3 // 4

    asyncio.run(run())


def test_a_call_has_room_made_for_it(tmp_path: Path) -> None:
    async def run() -> None:
        ollama = OllamaServer(SIZES)
        async with watching(ollama, tmp_path, "memory_mb = 4096") as (machine, backend):
            for model in ("small:1b", "chat:4b"):
                reply = await backend.open(chat(model))
                assert (reply.status, reply.notes) == (200, [])
            await machine.look()
            assert ollama.loaded == ["small:1b", "chat:4b"]
            machine._states[("ollama", "code:7b")].size_bytes = 3500 * MB  # as if it had been seen
            reply = await backend.open(chat("code:7b"))
            assert ollama.unloaded == ["chat:4b", "small:1b"]  # 300 + 3,500 is above nine tenths
            assert [step.why for step in reply.notes] == ["unloads ollama/chat:4b, ollama/small:1b"]
            assert ollama.most_bytes <= 4096 * MB

    asyncio.run(run())


def test_the_call_goes_out_when_the_memory_is_free_and_not_before(tmp_path: Path) -> None:
    async def run() -> None:
        ollama = OllamaServer(SIZES)
        ollama.loaded = ["chat:4b"]
        ollama.unload_s = 0.1
        async with watching(ollama, tmp_path, "memory_mb = 4096") as (machine, backend):
            machine._states[("ollama", "code:7b")].size_bytes = 3500 * MB
            assert (await backend.open(chat("code:7b"))).status == 200
            assert ollama.most_bytes == 3500 * MB

    asyncio.run(run())


def test_a_server_that_does_not_unload_is_not_asked_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pennyweight.backends.local.machine._UNLOAD_S", 0.1)

    async def run() -> None:
        ollama = OllamaServer(SIZES)
        ollama.loaded = ["chat:4b"]
        ollama.stubborn = True
        async with watching(ollama, tmp_path, "memory_mb = 4096") as (machine, backend):
            machine._states[("ollama", "code:7b")].size_bytes = 3500 * MB
            for _ in range(3):
                assert (await backend.open(chat("code:7b"))).status == 200
                ollama.loaded = ["chat:4b"]
                await machine.look()
            assert ollama.asked.count("/api/generate") == 1
            assert "what must stay loaded" in machine.plan(state(machine, "code:7b")).why

    asyncio.run(run())


def test_sizes_that_cannot_be_are_not_believed(tmp_path: Path) -> None:
    async def run() -> None:
        ollama = OllamaServer({"a:1b": -5 * MB, "b:1b": 100 * MB})
        ollama.loaded = ["a:1b", "b:1b"]
        async with watching(ollama, tmp_path, "memory_mb = 4096") as (machine, _):
            assert state(machine, "a:1b").size_bytes is None
            assert machine.live(target("a:1b")).fits

    asyncio.run(run())


def test_what_runs_is_waited_for(tmp_path: Path) -> None:
    async def run() -> None:
        ollama = OllamaServer(SIZES)
        async with watching(ollama, tmp_path, "memory_mb = 4096\nwait_s = 60") as (machine, backend):
            machine._states[("ollama", "code:7b")].size_bytes = 3500 * MB
            ollama.hold = True
            first = asyncio.create_task(backend.open(chat("chat:4b")))
            await until(lambda: ollama.running == 1)
            await machine.look()
            assert machine.live(target("code:7b")).fits is False
            second = asyncio.create_task(backend.open(chat("code:7b")))
            await asyncio.sleep(0.05)
            assert (ollama.loaded, ollama.unloaded) == (["chat:4b"], [])
            ollama.release()
            assert (await first).status == (await second).status == 200
            assert ollama.unloaded == ["chat:4b"]
            assert ollama.most_bytes <= 4096 * MB

    asyncio.run(run())


def test_a_call_goes_on_when_nobody_ends_in_time(tmp_path: Path) -> None:
    async def run() -> None:
        ollama = OllamaServer(SIZES)
        async with watching(ollama, tmp_path, "memory_mb = 4096\nwait_s = 0.02") as (machine, backend):
            machine._states[("ollama", "code:7b")].size_bytes = 3500 * MB
            ollama.hold = True
            first = asyncio.create_task(backend.open(chat("chat:4b")))
            await until(lambda: ollama.running == 1)
            await machine.look()
            second = asyncio.create_task(backend.open(chat("code:7b")))
            await until(lambda: ollama.running == 2)  # the server has the last word
            ollama.release()
            reply = await second
            assert reply.notes[0].why.startswith("waits for memory")
            assert (await first).status == 200
            assert ollama.unloaded == []

    asyncio.run(run())


def test_two_that_want_room_at_once_do_not_wait_for_each_other(tmp_path: Path) -> None:
    async def run() -> None:
        ollama = OllamaServer(SIZES)
        ollama.loaded = ["small:1b"]
        async with watching(ollama, tmp_path, "memory_mb = 4096\nwait_s = 60") as (machine, backend):
            machine._states[("ollama", "code:7b")].size_bytes = 3500 * MB
            async with asyncio.timeout(60):
                replies = await asyncio.gather(*(backend.open(chat(m)) for m in ("chat:4b", "code:7b", "chat:4b")))
            assert [reply.status for reply in replies] == [200, 200, 200]
            assert all(each.running == 0 for each in machine.states())

    asyncio.run(run())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_many_calls_at_once_never_take_more_than_there_is(tmp_path: Path, seed: int) -> None:
    drawn = random.Random(seed)
    sizes = {"a:1b": 1500 * MB, "b:1b": 1800 * MB, "c:1b": 900 * MB, "d:1b": 2600 * MB, "e:1b": 300 * MB}

    async def run() -> None:
        ollama = OllamaServer(sizes)
        ollama.load_s, ollama.unload_s = 0.005, 0.01
        ollama.work_s = lambda: drawn.random() * 0.03
        async with watching(ollama, tmp_path, "memory_mb = 4096\nwait_s = 60\nevery_s = 0.02") as (machine, backend):
            for model, size in sizes.items():
                machine._states[("ollama", model)].size_bytes = size
                machine._states[("ollama", model)].known = "told"
            machine.start()

            async def caller() -> None:
                for _ in range(8):
                    reply = await backend.open(chat(drawn.choice(list(sizes))))
                    assert reply.status == 200
                    await reply.aclose()
                    await asyncio.sleep(drawn.random() * 0.02)

            async with asyncio.timeout(60):
                await asyncio.gather(*(caller() for _ in range(6)))
            assert ollama.most_bytes <= 4096 * MB
            assert ollama.cut_off == []
            assert all(each.running == 0 for each in machine.states())

    asyncio.run(run())


def test_the_constraint_says_what_fits_and_how_long_it_loads(tmp_path: Path) -> None:
    async def run() -> None:
        ollama = OllamaServer(SIZES)
        ollama.loaded = ["chat:4b"]
        async with watching(ollama, tmp_path, 'memory_mb = 4096\nkeep = ["ollama/chat:4b"]') as (machine, backend):
            assert machine.live(target("chat:4b")) == Live()
            assert machine.live(target("small:1b")).fits
            assert not machine.live(target("huge:70b")).fits
            assert not machine.live(target("code:7b")).fits  # what is kept leaves no room
            assert not machine.live(target("never-pulled")).fits
            assert machine.live(Target("openai", "gpt-4o", Wire.OPENAI_CHAT)) == Live()
            before = machine.live(target("small:1b")).load_s
            assert before == pytest.approx(150 * MB / 1e9)
            await backend.open(chat("small:1b"))
            ollama.loaded.remove("small:1b")
            await machine.look()
            assert machine.live(target("small:1b")).load_s == 2.5  # as Ollama told of that call
            assert state(machine, "small:1b").figures.tokens_per_s == 80

    asyncio.run(run())


def test_a_model_that_is_removed_is_forgotten(tmp_path: Path) -> None:
    async def run() -> None:
        ollama = OllamaServer(dict(SIZES))
        async with watching(ollama, tmp_path, "memory_mb = 4096") as (machine, _):
            del ollama.sizes["small:1b"]
            await machine.look()
            assert [each.key[1] for each in machine.states()] == ["chat:4b", "code:7b", "huge:70b"]
            assert not machine.live(target("small:1b")).fits

    asyncio.run(run())


def test_a_call_for_a_model_that_is_leaving_waits_until_it_is_gone(tmp_path: Path) -> None:
    async def run() -> None:
        ollama = OllamaServer(SIZES)
        ollama.loaded = ["chat:4b"]
        ollama.unload_s = 0.1
        async with watching(ollama, tmp_path, "memory_mb = 4096") as (machine, backend):
            machine._states[("ollama", "code:7b")].size_bytes = 3500 * MB
            first = asyncio.create_task(backend.open(chat("code:7b")))
            await until(lambda: state(machine, "chat:4b").leaving)
            second = asyncio.create_task(backend.open(chat("chat:4b")))
            assert ((await first).status, (await second).status) == (200, 200)
            assert ollama.unloaded == ["chat:4b", "code:7b"]  # the second had its room made anew
            assert ollama.most_bytes == 3500 * MB

    asyncio.run(run())


def test_a_name_without_a_tag_is_the_latest(tmp_path: Path) -> None:
    async def run() -> None:
        ollama = OllamaServer({"qwen3:latest": 100 * MB})
        async with watching(ollama, tmp_path, "memory_mb = 4096") as (machine, _):
            assert machine.live(target("qwen3")).fits
            assert not machine.live(target("qwen3:8b")).fits

    asyncio.run(run())


def test_calls_before_one_are_waited_for(tmp_path: Path) -> None:
    async def run() -> None:
        ollama = OllamaServer(SIZES)
        async with watching(ollama, tmp_path, "memory_mb = 4096") as (machine, backend):
            machine.waiting = lambda _provider: 3
            assert machine.live(target("chat:4b")).wait_s == 10.0  # two slots, three in line: ten seconds an answer
            machine.waiting = lambda _provider: 0
            assert machine.live(target("chat:4b")).wait_s == 0.0
            await backend.open(chat("chat:4b"))

    asyncio.run(run())


def test_a_dead_server_rests_at_once_and_comes_back(tmp_path: Path) -> None:
    async def run() -> None:
        told = config('[resources]\nmemory_mb = 4096\n[providers.ollama]\nbase_url = "http://127.0.0.1:9"', tmp_path)
        machine = machine_of(told, SystemClock())
        assert machine.live(target("chat:4b")) == Live()  # nobody has looked yet
        await machine.look()
        assert machine.live(target("chat:4b")) == Live(resting=True, fits=False)
        await machine.aclose()

        ollama = OllamaServer(SIZES)
        async with watching(ollama, tmp_path, "memory_mb = 4096") as (machine, _):
            gone = Room(ScriptedBackend(Script(error=NotConnected("gone"))), machine, SystemClock())
            with pytest.raises(NotConnected):
                await gone.open(chat("chat:4b"))
            assert machine.live(target("chat:4b")).resting
            assert state(machine, "chat:4b").running == 0
            machine.places["ollama"].ask_at = 0.0
            await machine.look()
            assert not machine.live(target("chat:4b")).resting

    asyncio.run(run())


def test_what_others_loaded_is_unloaded_when_it_is_too_much(tmp_path: Path) -> None:
    async def run() -> None:
        ollama = OllamaServer(SIZES)
        async with watching(ollama, tmp_path, "memory_mb = 4096") as (machine, backend):
            await backend.open(chat("chat:4b"))
            ollama.loaded.append("code:7b")  # by somebody who asked Ollama directly
            await machine.look()
            assert ollama.unloaded == ["code:7b"]

    asyncio.run(run())


def test_nothing_is_unloaded_where_that_is_forbidden(tmp_path: Path) -> None:
    async def run() -> None:
        ollama = OllamaServer(SIZES)
        ollama.loaded = ["chat:4b", "code:7b"]
        async with watching(ollama, tmp_path, "memory_mb = 4096\nunload = false") as (machine, _):
            await machine.look()
            assert ollama.unloaded == []
            assert not machine.live(target("small:1b")).fits

    asyncio.run(run())


def test_the_books_are_kept_until_a_stream_ends(tmp_path: Path) -> None:
    async def run() -> None:
        ollama = OllamaServer(SIZES)
        async with watching(ollama, tmp_path, "memory_mb = 4096") as (machine, _):
            streaming = Room(ScriptedBackend(Script(chunks=(b"a", b"b"))), machine, SystemClock())
            reply: Reply = await streaming.open(chat("chat:4b"))
            assert state(machine, "chat:4b").running == 1
            await reply.read()
            await reply.aclose()
            await reply.aclose()
            assert state(machine, "chat:4b").running == 0
            assert state(machine, "chat:4b").seen.loaded

    asyncio.run(run())


# --- llama-swap ---------------------------------------------------------------------------------------------


def swap_config(url: str, tmp: Path, more: str = "") -> Config:
    provider = f'[providers.swap]\nbase_url = "{url}/v1"\nusd_per_hour = 0.0\n'
    return config(f'{provider}[resources]\nmemory_mb = 4096\nservers = ["swap"]\n{more}', tmp)


def swap_chat(model: str) -> Any:
    body = b'{"model":"%s","messages":[{"role":"user","content":"hi"}]}' % model.encode()
    return make_call(body, provider="swap", model=model)


@pytest.mark.parametrize("old", [False, True])
def test_llama_swap_stops_one_process_or_all_where_nobody_minds(tmp_path: Path, old: bool) -> None:
    async def run() -> None:
        swap = SwapServer({"a": 1, "b": 1}, old=old)
        async with swap.server() as server:
            sizes = '[[targets]]\ntarget = "swap/a"\nmemory_mb = 3000\n[[targets]]\ntarget = "swap/b"\nmemory_mb = 2500'
            told = swap_config(server.url, tmp_path, sizes)
            machine = machine_of(told, SystemClock())
            await machine.look()
            backend = room(told, machine, "swap")
            assert (await backend.open(swap_chat("a"))).status == 200
            await machine.look()
            assert (state(machine, "a").size_bytes, state(machine, "a").known) == (3000 * MB, "set")
            assert (await backend.open(swap_chat("b"))).status == 200
            assert (swap.loaded, swap.unloaded) == (["b"], ["a"])
            assert ("/unload" in swap.asked) is old
            assert state(machine, "b").figures.tokens_per_s == 80.0
            await machine.aclose()

    asyncio.run(run())


def test_the_size_of_a_llama_swap_process_is_measured(tmp_path: Path) -> None:
    async def run() -> None:
        weights = tmp_path / "some model.gguf"
        weights.write_bytes(b"x" * 5000)
        swap = SwapServer(
            {"a": 1, "b": 1, "c": 1}, proxies={"a": "http://localhost:5801", "b": "http://127.0.0.1:5802"}
        )
        swap.loaded = ["a", "b", "c"]
        swap.commands["b"] = f"llama-server --port 5802 --model '{weights}'"
        async with swap.server() as server:
            machine = machine_of(swap_config(server.url, tmp_path), SystemClock())
            machine._measure = {5801: 700 * MB, 5802: 100}.get
            await machine.look()
            sizes = {each.key[1]: (each.size_bytes, each.known) for each in machine.states()}
            # c runs on another machine
            assert sizes == {"a": (700 * MB, "process"), "b": (5000, "file"), "c": (None, "")}
            await machine.aclose()

    asyncio.run(run())


def test_a_llama_server_that_routes_has_its_models_unloaded(tmp_path: Path) -> None:
    async def run() -> None:
        router = RouterServer({"a": 3000 * MB, "b": 2500 * MB})
        async with router.server() as server:
            told = swap_config(server.url, tmp_path)
            machine = machine_of(told, SystemClock())
            await machine.look()
            assert machine.live(target("b", "swap")).fits
            assert not machine.live(target("c", "swap")).fits  # its list is whole
            backend = room(told, machine, "swap")
            for model in ("b", "a"):  # once each, and their sizes are known
                assert (await backend.open(swap_chat(model))).status == 200
                await machine.look()
            assert (router.loaded, router.unloaded) == (["a"], ["b"])
            assert (state(machine, "b").size_bytes, state(machine, "b").known) == (2500 * MB, "parameters")
            await machine.aclose()

    asyncio.run(run())


def test_names_from_callers_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pennyweight.backends.local.machine._MOST_STATES", 20)

    async def run() -> None:
        swap = SwapServer({"a": 1})
        swap.loaded = ["a"]
        async with swap.server() as server:
            machine = machine_of(swap_config(server.url, tmp_path), SystemClock())
            await machine.look()
            backend = Room(ScriptedBackend(Script(status=404)), machine, SystemClock())
            for number in range(50):
                await backend.open(swap_chat(f"made-up-{number}"))
            names = [each.key[1] for each in machine.states()]
            assert len(names) == 20
            assert {"a", "made-up-49"} <= set(names)
            await machine.aclose()

    asyncio.run(run())


GARBAGE = [
    b"",
    b"null",
    b"[]",
    b"{",
    b"5",
    b'{"models": 5}',
    b'{"models": [{"name": 1}]}',
    b'{"running": null}',
    b"\xff\xfe",
]


@pytest.mark.parametrize("kind", ["ollama", "lab"])
@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("body", GARBAGE)
def test_a_server_that_talks_nonsense_costs_nothing(tmp_path: Path, kind: str, status: int, body: bytes) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(status, body)

    async def run() -> None:
        async with LoopbackServer(answer) as server:
            text = f'[providers.{kind}]\nbase_url = "{server.url}"\n[resources]\nservers = ["{kind}"]\nmemory_mb = 10\n'
            machine = machine_of(config(text, tmp_path), SystemClock())
            await machine.look()
            await machine.look()
            assert machine.live(target("m", kind)) == Live()
            backend = Room(ScriptedBackend(), machine, SystemClock())
            assert (await backend.open(make_call(provider=kind))).status == 200
            await machine.aclose()

    asyncio.run(run())


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    async def answer(exchange: Exchange) -> None:
        await asyncio.sleep(3_600)

    async def run() -> None:
        async with LoopbackServer(answer) as server:
            text = f'[providers.ollama]\nbase_url = "{server.url}"\n[resources]\nmemory_mb = 10\nask_s = 0.05\n'
            machine = machine_of(config(text, tmp_path), SystemClock())
            async with asyncio.timeout(60):
                await machine.look()
            assert machine.live(target("m")) == Live(resting=True, fits=False)
            await machine.aclose()

    asyncio.run(run())


# --- who is asked -------------------------------------------------------------------------------------------

TIERS = (
    '[[tiers]]\nname = "local"\ntargets = ["ollama/qwen3:4b"]\n[[tiers]]\nname = "best"\ntargets = ["openai/gpt-4o"]\n'
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        (TIERS, ["ollama"]),
        (TIERS + "[resources]\nwatch = false", []),
        ("[resources]\nmemory_mb = 100", ["ollama"]),
        ('[resources]\nservers = ["lab"]\n[providers.lab]\nbase_url = "http://10.0.0.9:8080/v1"', ["lab"]),
    ],
)
def test_nobody_is_asked_who_is_not_named(tmp_path: Path, text: str, names: list[str]) -> None:
    assert [provider.name for provider in watched(config(text, tmp_path))] == names


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("memory_mb = 0", "resources.memory_mb 0 must be above 0"),
        ("memory_mb = -4096", "resources.memory_mb -4096 must be above 0"),
        ("unload_at = 90", "resources.unload_at 90.0 is no share"),
        ("wait_s = -1", "resources.wait_s -1.0 cannot be negative"),
        ('servers = ["olama"]', "resources.servers 'olama' is no provider"),
        ('keep = ["qwen3:4b"]', "resources.keep 'qwen3:4b' names no model of a provider"),
        ("memory = 1", "memory"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        config(f"[resources]\n{text}", tmp_path)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not done():  # noqa: ASYNC110 - it is a state of many things
            await asyncio.sleep(0.005)
