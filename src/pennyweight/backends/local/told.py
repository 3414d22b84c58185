"""What a machine's books say, as JSON has it: for the command line, and over HTTP with what calls have taught."""

from __future__ import annotations

from typing import Any

from ...routing.resources import MB, used_bytes
from .books import Place, State
from .machine import Machine

__all__ = ["kind", "told"]


def told(machine: Machine) -> dict[str, Any]:
    """Sizes in MB of 2^20 bytes; None for what is not known, of figures that no call has taught yet too."""
    return {
        "memory_mb": machine.settings.memory_mb,
        "used_mb": _mb(used_bytes(map(machine.model, machine.states()))),
        "servers": [
            {"provider": place.name, "kind": kind(place), "answers": not place.silent}
            for place in machine.places.values()
        ],
        "models": [_row(machine, state) for state in machine.states()],
    }


def kind(place: Place) -> str:
    """The kind of server that answers there, in words."""
    if place.silent:
        return "does not answer"
    return place.server.kind if place.server is not None else "of another kind"


def _row(machine: Machine, state: State) -> dict[str, Any]:
    plan, figures = machine.plan(state), state.figures
    return {
        "model": "/".join(state.key),
        "loaded": state.seen.loaded,
        "size_mb": None if state.size_bytes is None else _mb(state.size_bytes),
        "known": state.known,
        "gpu_mb": None if state.seen.gpu_bytes is None else _mb(state.seen.gpu_bytes),
        "running": max(state.running, state.seen.busy),
        "slots": state.seen.slots,
        "fits": plan.fits,
        "unload": ["/".join(key) for key in plan.unload],
        "why": plan.why,
        "load_s": _rounded(figures.load_s),
        "call_s": _rounded(figures.call_s),
        "tokens_per_s": _rounded(figures.tokens_per_s),
    }


def _mb(size: int) -> float:
    return round(size / MB, 1)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
