"""Charts: their scale holds their values, and what is drawn adds up."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.gateway.dashboard.charts import Series, bars, lines, nice_ticks

DAY = 86_400


@settings(max_examples=200)
@given(st.floats(1e-12, 1e12))
def test_ticks_are_few_even_and_reach_the_top(top: float) -> None:
    ticks = nice_ticks(top)
    assert ticks[0] == 0
    assert ticks[-1] >= top * 0.999
    assert 2 <= len(ticks) <= 8
    sizes = [b - a for a, b in pairwise(ticks)]
    assert max(sizes) - min(sizes) <= max(sizes) * 1e-6


def test_of_nothing_there_is_a_scale() -> None:
    assert nice_ticks(0) == [0.0, 1.0]


def test_bars_stack_in_proportion() -> None:
    svg = bars(
        [0, DAY],
        [Series("cost", [3.0, 0.0]), Series("computed", [1.0, None])],
        label="x",
        tick=str,
        width=400,
        height=200,
    )
    drawn = ElementTree.fromstring(svg)
    heights = {
        rect.get("class"): float(rect.get("height") or 0)
        for rect in drawn.iter("{http://www.w3.org/2000/svg}rect")
        if rect.get("class") != "area"
    }
    assert abs(heights["cost"] / heights["computed"] - 3) < 0.01
    assert len(re.findall("data-step", svg)) == 2


def test_a_line_has_a_gap_where_there_is_no_value() -> None:
    svg = lines([0, DAY, 2 * DAY], [Series("a", [0.5, None, 0.5])], label="x", tick=str, width=400, height=200)
    path = re.search(r'class="line a" d="([^"]*)"', svg)
    assert path is not None
    assert path[1].count("M") == 2
    assert "L" not in path[1]


def test_nothing_to_draw_is_still_a_chart() -> None:
    ElementTree.fromstring(bars([], [], label="x", tick=str, width=400, height=200))
    ElementTree.fromstring(lines([], [], label="x", tick=str, width=400, height=200))
