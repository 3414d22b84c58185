"""Charts as SVG text: stacked bars and lines over time. Pure; colours, fonts and dark mode are the style sheet's.

Nothing that callers named goes into a chart, only numbers and dates. Each step in time carries `data-step`, its index,
so that the page can show the figures of the step that is pointed at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec

__all__ = ["Series", "bars", "lines", "nice_ticks"]

_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 8, 10, 24
_LABEL_EVERY_PX = 76  # room for one date


class Series(msgspec.Struct, frozen=True):
    """One colour of a chart: `name` is its class in the style sheet; None is a step without a value."""

    name: str
    values: Sequence[float | None]


def bars(
    starts: Sequence[int],
    series: Sequence[Series],
    *,
    label: str,
    tick: Callable[[float], str],
    width: int,
    height: int,
) -> str:
    """Series stacked on each other, one bar for each of `starts` (unix seconds, evenly spaced). Values are >= 0."""
    tops = [sum(max(one.values[i] or 0.0, 0.0) for one in series) for i in range(len(starts))]
    frame = _Frame(starts, max(tops, default=0.0), width, height)
    parts = [frame.open(label), frame.grid(tick)]
    gap = min(3.0, frame.step * 0.2)
    for i in range(len(starts)):
        x, below = frame.x(i) + gap / 2, 0.0
        rects = []
        for one in series:
            value = max(one.values[i] or 0.0, 0.0)
            if value > 0:
                top, bottom = frame.y(below + value), frame.y(below)
                size = f'width="{frame.step - gap:.2f}" height="{max(bottom - top, 0.6):.2f}"'
                rects.append(f'<rect class="{one.name}" x="{x:.2f}" y="{min(top, bottom - 0.6):.2f}" {size}/>')
                below += value
        parts.append(frame.pointed(i, "".join(rects)))
    parts.append(frame.dates())
    parts.append("</svg>")
    return "".join(parts)


def lines(
    starts: Sequence[int],
    series: Sequence[Series],
    *,
    label: str,
    tick: Callable[[float], str],
    width: int,
    height: int,
) -> str:
    """Series as lines from 0 to 1 (shares), with a gap where there is no value."""
    frame = _Frame(starts, 1.0, width, height)
    parts = [frame.open(label), frame.grid(tick)]
    parts += [f'<path class="line {one.name}" d="{_path(frame, one.values)}"/>' for one in series]
    for i in range(len(starts)):
        dots = "".join(
            f'<circle class="{one.name}" cx="{frame.middle(i):.2f}" cy="{frame.y(value):.2f}" r="2.5"/>'
            for one in series
            if (value := one.values[i]) is not None
        )
        parts.append(frame.pointed(i, dots))
    parts.append(frame.dates())
    parts.append("</svg>")
    return "".join(parts)


def nice_ticks(top: float, count: int = 4) -> list[float]:
    """Round values from 0 to at least `top`, about `count` of them above 0. [0, 1] for no values."""
    if top <= 0:
        return [0.0, 1.0]
    size = 10.0
    raw = top / count
    power = 10.0 ** _floor_log10(raw)
    for factor in (1.0, 2.0, 2.5, 5.0):
        if factor * power >= raw * 0.999:
            size = factor * power
            break
    else:
        size = 10.0 * power
    steps = 1
    while steps * size < top * 0.999:
        steps += 1
    return [n * size for n in range(steps + 1)]


class _Frame:
    """Where things are in one chart."""

    def __init__(self, starts: Sequence[int], top: float, width: int, height: int) -> None:
        self._starts = starts
        self._width, self._height = width, height
        self._ticks = nice_ticks(top)
        self.step = (width - _LEFT - _RIGHT) / max(len(starts), 1)

    def x(self, index: int) -> float:
        return _LEFT + index * self.step

    def middle(self, index: int) -> float:
        return self.x(index) + self.step / 2

    def y(self, value: float) -> float:
        return self._height - _BOTTOM - value / self._ticks[-1] * (self._height - _TOP - _BOTTOM)

    def open(self, label: str) -> str:
        box = f'viewBox="0 0 {self._width} {self._height}" width="{self._width}" height="{self._height}"'
        return f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" aria-label="{label}" {box}>'

    def grid(self, tick: Callable[[float], str]) -> str:
        right = self._width - _RIGHT
        return "".join(
            f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{self.y(value):.2f}" y2="{self.y(value):.2f}"/>'
            f'<text class="tick" x="{_LEFT - 8}" y="{self.y(value) + 4:.2f}" text-anchor="end">{tick(value)}</text>'
            for value in self._ticks
        )

    def pointed(self, index: int, drawn: str) -> str:
        """A step with the whole height to point at."""
        height = self._height - _TOP - _BOTTOM
        area = f'x="{self.x(index):.2f}" y="{_TOP}" width="{self.step:.2f}" height="{height}"'
        return f'<g class="step" data-step="{index}"><rect class="area" {area}/>{drawn}</g>'

    def dates(self) -> str:
        if not self._starts:
            return ""
        every = max(1, -(-_LABEL_EVERY_PX // max(int(self.step), 1)))
        step_s = self._starts[1] - self._starts[0] if len(self._starts) > 1 else 86_400
        hourly = len(self._starts) * step_s <= 2 * 86_400
        if not hourly and step_s < 86_400:
            per_day = 86_400 // step_s
            every = per_day * -(-every // per_day)  # dates stand at the beginnings of days
        return "".join(
            f'<text class="tick" x="{self.middle(i):.2f}" y="{self._height - 6}" text-anchor="middle">'
            f"{_date(self._starts[i], hourly=hourly)}</text>"
            for i in range(0, len(self._starts), every)
            if self.middle(i) < self._width - 20
        )


def _path(frame: _Frame, values: Sequence[float | None]) -> str:
    drawn, pen = [], "M"
    for i, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        drawn.append(f"{pen}{frame.middle(i):.2f} {frame.y(value):.2f}")
        pen = "L"
    return "".join(drawn)


def _date(start: int, *, hourly: bool) -> str:
    moment = datetime.fromtimestamp(start, UTC)
    return f"{moment:%H:%M}" if hourly else f"{moment.day} {moment:%b}"


def _floor_log10(value: float) -> int:
    power = 0
    while 10.0**power > value:
        power -= 1
    while 10.0 ** (power + 1) <= value:
        power += 1
    return power
