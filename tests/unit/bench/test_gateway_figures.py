"""The arithmetic of the speed bench: medians over rounds, ratios within the run, differences within a round."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bench.gateway.bodies import ANSWER, MARK, STREAM, body, request
from bench.gateway.figures import TARGETS, figures, medians, skipped_figures
from bench.length import Turn, ratio


def _visits(target: str, column: str, key: str, *values: float) -> dict[str, dict[str, list[dict[str, Any]]]]:
    return {target: {column: [{key: value} for value in values]}}


def _merged(*parts: dict[str, dict[str, list[dict[str, Any]]]]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    whole: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for part in parts:
        for target, columns in part.items():
            whole.setdefault(target, {}).update(columns)
    return whole


def test_a_ratio_is_of_medians_not_a_mean_of_ratios() -> None:
    visits = _merged(
        _visits("pennyweight", "small", "cpu_us", 100, 100, 1000),
        _visits("tensorzero", "small", "cpu_us", 130, 130, 130),
        _visits("nginx", "small", "cpu_us", 10, 20, 20),
    )
    assert figures(visits) == {"tensorzero_x_small": 1.3, "small_x_nginx": 5.0}


def test_added_latency_is_the_median_difference_within_a_round() -> None:
    visits = _merged(
        _visits("pennyweight", "latency_small", "latency_ms_p50", 1.0, 5.5, 1.5),
        _visits("direct", "latency_small", "latency_ms_p50", 0.5, 5.0, 0.7),  # all were slow in the second round
    )
    assert figures(visits) == {"added_ms_p50_small": 0.5}


def test_a_cache_hit_is_held_against_nginx_relaying() -> None:
    visits = _merged(_visits("pennyweight", "hit_small", "cpu_us", 60), _visits("nginx", "small", "cpu_us", 15))
    assert figures(visits) == {"hit_x_nginx": 4.0}


def test_what_mostly_failed_has_no_median() -> None:
    visits = {"portkey": {"small": [{"ok": 0}, {"ok": 0}, {"cpu_us": 5.0}], "agent": [{"ok": 0}, {"cpu_us": 5.0}]}}
    assert medians(visits, "cpu_us") == {}
    visits["portkey"]["agent"].append({"cpu_us": 7.0})
    assert medians(visits, "cpu_us") == {"portkey": {"agent": 6.0}}


@pytest.mark.parametrize(
    ("skipped", "lost"),
    [
        (["portkey"], set()),
        (["tensorzero"], {"tensorzero_x_small", "tensorzero_x_agent", "tensorzero_x_paced_agent"}),
        (["nginx"], {"small_x_nginx", "agent_x_nginx", "paced_x_nginx", "hit_x_nginx"}),
        (["direct"], {"added_ms_p50_small", "added_ms_p50_agent", "gap_ms_p99_over_direct"}),
        (["pennyweight"], set(TARGETS)),
    ],
)
def test_a_skipped_target_takes_its_own_figures_along_and_no_others(skipped: list[str], lost: set[str]) -> None:
    assert skipped_figures(skipped) == lost


def test_bodies_are_of_the_sizes_and_shapes_that_are_claimed() -> None:
    small, agent = body("small"), body("agent")
    assert 900 < len(small) < 1100
    assert 78_000 < len(agent) < 86_000
    value = json.loads(agent)
    assert (len(value["tools"]), len(value["messages"])) == (30, 101)
    assert STREAM.count(b"\n\n") == 52
    assert json.loads(ANSWER)["usage"]["total_tokens"] == 265


def test_no_two_requests_are_the_same_but_for_the_cache() -> None:
    assert body("small").count(MARK.encode()) == body("agent").count(MARK.encode()) == 1
    repeated = json.loads(body("small", repeated=True))
    assert MARK not in json.dumps(repeated)
    assert repeated["temperature"] == 0


def test_the_length_that_is_told_is_the_bodys() -> None:
    head, _, content = request(80, "/v1/chat/completions", body("small")).partition(b"\r\n\r\n")
    assert f"content-length: {len(content)}".encode() in head


def test_a_turns_work_is_what_relaying_and_parsing_do_not_explain() -> None:
    early = [Turn(call=3.0, relay=1.0, parse=1.0, added=0.0)] * 3
    late = [Turn(call=30.0, relay=18.0, parse=10.0, added=0.0), *[Turn(99.0, 0.0, 0.0, 0.0)], late_again()]
    assert ratio(early, late) == 2.0
    assert ratio([Turn(1.0, 1.0, 1.0, 0.0)], late) == float("inf")


def late_again() -> Turn:
    return Turn(call=29.0, relay=18.0, parse=10.0, added=0.0)
