"""The rolling figures of a window, which advice is drawn from: for those who want to draw their own."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...money import PicoUSD
from .window import Cell, Turn, Window, grouped, total

__all__ = ["Metrics", "ModelMetrics", "metrics"]


class ModelMetrics(msgspec.Struct, frozen=True):
    """One model at one provider. Times in seconds, over answers that were generated; None where there are none."""

    provider: str
    model: str
    calls: int
    mean_s: float | None
    mean_ttft_s: float | None
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_pico: PicoUSD


class Metrics(msgspec.Struct, frozen=True):
    """`shareable_tokens`: what prompts could at most have in common with the one before them in their session, five
    minutes ago or less; `shared_tokens`: what of it was read from the provider's cache."""

    calls: int
    mean_s: float | None
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_pico: PicoUSD
    response_cache_asked: int
    response_cache_hits: int
    shareable_tokens: int
    shared_tokens: int
    model_switches: int
    heartbeats: int
    heartbeat_cost_pico: PicoUSD
    models: tuple[ModelMetrics, ...]  # the dearest first


def metrics(window: Window) -> Metrics:
    s = total(window.cells)
    wakes = total(cell for cell in window.cells if cell.housekeeping == "heartbeat")
    by_model = grouped(window.cells, lambda cell: (cell.provider, cell.model))
    models = [_model(provider, model, cells) for (provider, model), cells in by_model.items()]
    return Metrics(
        calls=s.calls,
        mean_s=_mean_s(s.latency_ms, s.answered),
        input_tokens=s.input_tokens,
        cached_tokens=s.cache_read_tokens,
        output_tokens=s.output_tokens,
        cost_pico=s.cost,
        response_cache_asked=s.cache_asked,
        response_cache_hits=s.cache_hits,
        shareable_tokens=sum(turn.possible for turn in window.turns),
        shared_tokens=sum(turn.read for turn in window.turns),
        model_switches=_switches(window.turns),
        heartbeats=wakes.calls,
        heartbeat_cost_pico=wakes.cost,
        models=tuple(sorted(models, key=lambda m: (-m.cost_pico, -m.calls, m.provider, m.model))),
    )


def _model(provider: str, model: str, cells: Sequence[Cell]) -> ModelMetrics:
    s = total(cells)
    return ModelMetrics(
        provider=provider,
        model=model,
        calls=s.calls,
        mean_s=_mean_s(s.latency_ms, s.answered),
        mean_ttft_s=_mean_s(s.ttft_ms, s.ttft_calls),
        input_tokens=s.input_tokens,
        cached_tokens=s.cache_read_tokens,
        output_tokens=s.output_tokens,
        cost_pico=s.cost,
    )


def _mean_s(sum_ms: int, of: int) -> float | None:
    return sum_ms / 1000 / of if of else None


def _switches(turns: Sequence[Turn]) -> int:
    return sum(turn.calls for turn in turns if turn.kind == "switch")
