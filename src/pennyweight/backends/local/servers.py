"""What Ollama, llama-swap and llama-server tell of their models, in one shape, and how each is told to unload one.

Sources: docs.ollama.com/api (ps, tags, generate); llama-swap's README and routes (/running, /unload, and
/api/models/unload/{model}); the README of llama.cpp's tools/server (/health, /props, /slots, /models; as a router,
/models with a status for each, and /models/unload).
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import quote, urlsplit

import msgspec

from .asking import Asker
from .process import resident_bytes

__all__ = ["LlamaServer", "LlamaSwap", "Ollama", "Seen", "Server", "Told", "recognise", "tagged"]

Known = Literal["told", "process", "file", "parameters"]
"""How a size is known: told by the server of a loaded model, memory of its process, its weights' file on disk, or the
bytes of weights that the server counts."""

Measure = Callable[[int], int | None]
"""The resident bytes of the process at that port of this machine."""


class Seen(msgspec.Struct, frozen=True):
    """One model as its server tells of it. `size_bytes`: what it takes, or would take at least (see `known`)."""

    name: str
    loaded: bool = False
    size_bytes: int | None = None
    gpu_bytes: int | None = None
    known: Known | None = None
    busy: int = 0  # calls that it answers now, ours and others'
    slots: int | None = None  # calls that it can answer at once
    movable: bool = True
    loading: bool = False


class Told(msgspec.Struct, frozen=True):
    """An answer. `complete`: models that are not among them are not there."""

    models: tuple[Seen, ...]
    complete: bool


class Server(Protocol):
    @property
    def kind(self) -> str: ...

    def name_of(self, model: str) -> str:
        """The name under which this server lists what a call asks for as `model`."""
        ...

    async def tell(self) -> Told:
        """Raises Unreachable."""
        ...

    async def unload(self, model: str, *, alone: bool, wait_s: float) -> bool:
        """Whether it is gone now. `alone`: no other model of this server would be missed. Raises Unreachable."""
        ...


async def recognise(ask: Asker, *, ollama: bool, measure: Measure = resident_bytes) -> Server | None:
    """Who answers there; None: a server of another kind. Raises Unreachable."""
    if ollama:
        return Ollama(ask)
    if await ask.get("/running", _Running) is not None:
        return LlamaSwap(ask, measure)
    if await ask.get("/props", _Props) is not None or await ask.get("/health", _Health) is not None:
        return LlamaServer(ask, measure)
    return None


async def _becomes(done: Callable[[], Awaitable[bool]], wait_s: float) -> bool:
    """Whether it is done within that time; asked ever less often."""
    try:
        async with asyncio.timeout(wait_s):
            pause_s = 0.02
            while not await done():
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, 0.5)
    except TimeoutError:
        return False
    return True


def tagged(model: str) -> str:
    """The name by which Ollama lists a model."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


# --- Ollama -----------------------------------------------------------------------------------------------


class _Ps(msgspec.Struct, frozen=True):
    name: str
    size: int = 0
    size_vram: int = 0


class _PsAnswer(msgspec.Struct, frozen=True):
    models: list[_Ps] | None  # null for none, by some versions


class _Tag(msgspec.Struct, frozen=True):
    name: str
    size: int = 0


class _TagsAnswer(msgspec.Struct, frozen=True):
    models: list[_Tag] | None


class Ollama:
    """GET /api/ps tells what is loaded and what that takes, /api/tags what there is and its size on disk."""

    kind = "ollama"

    def __init__(self, ask: Asker) -> None:
        self._ask = ask

    def name_of(self, model: str) -> str:
        return tagged(model)

    async def tell(self) -> Told:
        running = await self._ask.get("/api/ps", _PsAnswer)
        installed = await self._ask.get("/api/tags", _TagsAnswer)
        models = {
            tag.name: Seen(tag.name, size_bytes=tag.size or None, known="file" if tag.size else None)
            for tag in (installed.models or [] if installed else [])
        }
        for loaded in running.models or [] if running else []:
            size = loaded.size or None
            known: Known | None = "told" if size else None
            models[loaded.name] = Seen(loaded.name, True, size, loaded.size_vram, known)
        return Told(tuple(models.values()), complete=installed is not None)

    async def unload(self, model: str, *, alone: bool, wait_s: float) -> bool:
        """An empty prompt and `keep_alive: 0`. The answer comes before the memory is free, and that after what the
        model answers now."""
        status = await self._ask.post("/api/generate", {"model": model, "keep_alive": 0}, wait_s=wait_s)
        if status != 200:
            return False

        async def gone() -> bool:
            running = await self._ask.get("/api/ps", _PsAnswer)
            return running is not None and all(each.name != model for each in running.models or [])

        return await _becomes(gone, wait_s)


# --- llama-swap -------------------------------------------------------------------------------------------


class _Process(msgspec.Struct, frozen=True):
    model: str
    state: str = ""
    cmd: str = ""
    proxy: str = ""


class _Running(msgspec.Struct, frozen=True):
    running: list[_Process]


class _Listed(msgspec.Struct, frozen=True):
    id: str


class _List(msgspec.Struct, frozen=True):
    data: list[_Listed]


class LlamaSwap:
    """GET /running tells the processes, not their sizes: those are measured, where they run on this machine."""

    kind = "llama-swap"

    def __init__(self, ask: Asker, measure: Measure) -> None:
        self._ask = ask
        self._measure = measure

    def name_of(self, model: str) -> str:
        return model

    async def tell(self) -> Told:
        running = await self._ask.get("/running", _Running)
        listed = await self._ask.get("/v1/models", _List)
        models = {each.id: Seen(each.id) for each in (listed.data if listed else [])}
        for process in running.running if running else []:
            if process.state in ("ready", "starting", "stopping", ""):
                models[process.model] = await asyncio.to_thread(self._seen, process)
        # Unlisted models are there too, and aliases are not told: nothing follows from what is missing.
        return Told(tuple(models.values()), complete=False)

    def _seen(self, process: _Process) -> Seen:
        parts = urlsplit(process.proxy)
        here = parts.hostname in ("localhost", "127.0.0.1", "::1") and parts.port
        resident = self._measure(parts.port) if here and parts.port else None
        weights = _weights_bytes(process.cmd) if here else None
        size = max(resident or 0, weights or 0) or None
        known: Known | None = None if size is None else "process" if size == resident else "file"
        return Seen(process.model, True, size, known=known, loading=process.state == "starting")

    async def unload(self, model: str, *, alone: bool, wait_s: float) -> bool:
        """One process is stopped; versions that cannot stop one alone are asked to stop all, where nobody minds."""
        status = await self._ask.post(f"/api/models/unload/{quote(model)}", {}, wait_s=wait_s)
        if status == 404 and alone:
            status = await self._ask.status("/unload")
        if status != 200:
            return False

        async def gone() -> bool:
            running = await self._ask.get("/running", _Running)
            return running is not None and all(each.model != model for each in running.running)

        return await _becomes(gone, wait_s)


def _weights_bytes(command: str) -> int | None:
    """The size of the file that a command of llama-server names as its model."""
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    for name, value in pairwise(words):
        if name in ("-m", "--model"):
            try:
                return Path(value).stat().st_size
            except OSError:
                return None
    return None


# --- llama-server -----------------------------------------------------------------------------------------


class _Props(msgspec.Struct, frozen=True):
    total_slots: int
    is_sleeping: bool = False


class _Health(msgspec.Struct, frozen=True):
    status: str


class _Slot(msgspec.Struct, frozen=True):
    is_processing: bool = False


class _Meta(msgspec.Struct, frozen=True):
    size: int = 0


class _Status(msgspec.Struct, frozen=True):
    value: str = ""


class _Model(msgspec.Struct, frozen=True):
    id: str
    aliases: list[str] = []
    meta: _Meta | None = None
    status: _Status | None = None


class _Models(msgspec.Struct, frozen=True):
    data: list[_Model]


class LlamaServer:
    """One model, always loaded, whatever a call names; or, as a router, several with a status each."""

    kind = "llama-server"

    def __init__(self, ask: Asker, measure: Measure) -> None:
        self._ask = ask
        self._measure = measure
        self._only: str | None = None  # the one model of a server that is no router

    def name_of(self, model: str) -> str:
        return self._only or model

    async def tell(self) -> Told:
        models = await self._ask.get("/models", _Models)
        if models is None or not models.data:
            return Told((), complete=False)
        if any(model.status is not None for model in models.data):
            self._only = None
            return Told(tuple(_routed(model) for model in models.data), complete=True)
        return Told((await self._single(models.data[0]),), complete=True)

    async def _single(self, model: _Model) -> Seen:
        self._only = model.id
        props = await self._ask.get("/props", _Props)
        busy = await self._ask.get("/slots", list[_Slot])
        resident = await asyncio.to_thread(self._measure, self._ask.root.port) if _here(self._ask) else None
        weights = model.meta.size if model.meta else 0
        size = max(resident or 0, weights) or None
        known: Known | None = None if size is None else "process" if size == resident else "parameters"
        return Seen(
            model.id,
            loaded=props is None or not props.is_sleeping,
            size_bytes=size,
            known=known,
            busy=sum(slot.is_processing for slot in busy or ()),
            slots=props.total_slots if props else None,
            movable=False,
        )

    async def unload(self, model: str, *, alone: bool, wait_s: float) -> bool:
        if self._only is not None:
            return False
        if await self._ask.post("/models/unload", {"model": model}, wait_s=wait_s) != 200:
            return False

        async def gone() -> bool:
            told = await self.tell()
            return all(seen.name != model or not seen.loaded for seen in told.models)

        return await _becomes(gone, wait_s)


def _routed(model: _Model) -> Seen:
    state = model.status.value if model.status else ""
    size = model.meta.size if model.meta else 0
    return Seen(
        model.id,
        loaded=state in ("loaded", "loading"),
        loading=state == "loading",
        size_bytes=size or None,
        known="parameters" if size else None,
    )


def _here(ask: Asker) -> bool:
    return ask.root.host in ("localhost", "127.0.0.1", "::1")
