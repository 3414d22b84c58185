"""The memory plan of local models: whether one more fits, and what is unloaded for it.

Pure. Sizes are those that servers tell or that were measured; a size that nobody knows is no reason to refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

__all__ = ["MB", "Key", "LocalModel", "Plan", "ResourceSettings", "plan", "surplus", "used_bytes"]

MB = 2**20
"""Bytes of the "MB" in settings and tables, as memory is counted."""

Key = tuple[str, str]
"""A local model: the provider's name, and the model as its server lists it."""


class ResourceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[resources]: the memory that local models may take together, and who is asked what they take.

    memory_mb: None for no plan: nothing is unloaded, and only what servers say of themselves counts. unload_at: of it,
    in (0, 1]: beyond that share the model unused for longest goes. small_mb: models up to this size go last. keep:
    "provider/model" that never goes. count: "gpu" counts only what Ollama has on the GPU. servers: providers to ask;
    () for the local ones that a tier or a route names. wait_s: how long a call waits for memory that running calls
    hold. unload: False watches and tells, and unloads nothing. watch: False asks nobody.
    """

    memory_mb: int | None = None
    unload_at: float = 0.9
    small_mb: int = 512
    keep: tuple[str, ...] = ()
    count: Literal["all", "gpu"] = "all"
    servers: tuple[str, ...] = ()
    every_s: float = 2.0
    ask_s: float = 2.0
    wait_s: float = 30.0
    unload: bool = True
    watch: bool = True


class LocalModel(msgspec.Struct, frozen=True):
    """One model as it stands. `size_bytes`: what it takes when it is loaded; None: nobody knows yet."""

    key: Key
    size_bytes: int | None = None
    loaded: bool = False
    running: int = 0  # calls that it answers now
    used_at: float = float("-inf")  # monotonic seconds, when its last call began or ended
    kept: bool = False
    movable: bool = True  # its server can unload it


class Plan(msgspec.Struct, frozen=True):
    """What to do so that a model can run. `unload`: in this order. `waits`: it would fit once running calls ended."""

    fits: bool
    unload: tuple[Key, ...] = ()
    waits: bool = False
    why: str = ""


def used_bytes(models: Iterable[LocalModel]) -> int:
    """What the loaded ones take together, as far as that is known."""
    return sum(model.size_bytes or 0 for model in models if model.loaded)


def plan(models: Sequence[LocalModel], wanted: LocalModel, settings: ResourceSettings) -> Plan:
    """How `wanted` comes to run beside `models`, the others on the machine.

    Others are unloaded until what is loaded, with it, is at most `unload_at` of the memory, or none is left that may
    go; it fits when that is within the memory as a whole. What runs, is kept or cannot be unloaded stays.
    """
    if settings.memory_mb is None or wanted.loaded:
        return Plan(True)
    budget, ceiling = _limits(settings.memory_mb, settings)
    size = wanted.size_bytes or 0
    others = [model for model in models if model.loaded and model.key != wanted.key]
    total = used_bytes(others) + size
    going: list[Key] = []
    for model in _in_order(others, settings):
        if total <= ceiling:
            break
        going.append(model.key)
        total -= model.size_bytes or 0
    if total <= budget:
        return Plan(True, tuple(going), why=_told(going))
    busy = sum(model.size_bytes or 0 for model in others if model.running and model.movable and not model.kept)
    if total - busy <= budget:
        return Plan(False, tuple(going), waits=True, why=f"waits for memory: {_mb(total)} of {_mb(budget)} MB")
    if size > budget:
        return Plan(False, why=f"{_mb(size)} MB is more than the memory for local models, {_mb(budget)} MB")
    return Plan(False, why=f"what must stay loaded leaves no room: {_mb(total)} of {_mb(budget)} MB")


def surplus(models: Sequence[LocalModel], settings: ResourceSettings) -> tuple[Key, ...]:
    """What is to be unloaded although nobody asks for memory, because others than we loaded it, or models grew.

    The one used last stays: a single large model is not loaded anew for every call.
    """
    if settings.memory_mb is None:
        return ()
    _, ceiling = _limits(settings.memory_mb, settings)
    loaded = [model for model in models if model.loaded]
    newest = max(loaded, key=lambda model: model.used_at, default=None)
    total = used_bytes(loaded)
    going: list[Key] = []
    for model in _in_order([model for model in loaded if model is not newest], settings):
        if total <= ceiling:
            break
        going.append(model.key)
        total -= model.size_bytes or 0
    return tuple(going)


def _limits(memory_mb: int, settings: ResourceSettings) -> tuple[int, int]:
    budget = memory_mb * MB
    return budget, int(budget * settings.unload_at)


def _in_order(models: Iterable[LocalModel], settings: ResourceSettings) -> list[LocalModel]:
    """Those that may go, the first to go first: large ones before small ones, each unused for longest first."""
    free = [model for model in models if model.movable and not model.kept and not model.running and model.size_bytes]
    small = settings.small_mb * MB
    return sorted(free, key=lambda model: ((model.size_bytes or 0) <= small, model.used_at, model.key))


def _told(going: Sequence[Key]) -> str:
    return f"unloads {', '.join('/'.join(key) for key in going)}" if going else ""


def _mb(size: int) -> str:
    return f"{size / MB:,.0f}"
