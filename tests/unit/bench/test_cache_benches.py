"""The benches of caches: a small run of each, that they would see a fault, and what they count."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path

import msgspec
from bench import agent_safety, cache_speed, cache_trace
from bench.caches import everything_on, lab, said

from pennyweight.config import load
from pennyweight.testing.shapes import ToolCall, Turn

TRACE = [(0, 1), (1_000, 2), (2_000, 1), (3_000, 1), (3_700_000, 1), (3_701_000, 2)]


def lines() -> list[cache_trace.Line]:
    return [cache_trace.Line(at, 1_000, 10, (7, block)) for at, block in TRACE]


def test_repeats_of_a_trace_are_found_within_their_time() -> None:
    found = asyncio.run(cache_trace.run(lines(), 3600.0))
    assert (found["requests"], found["repeats"], found["found"]) == (6, 2, 2)
    assert (found["wrong_answers"], found["asked_twice"]) == (0, 0)
    assert found["hit_tokens"] == 2_000


def test_a_trace_is_read_in_the_order_of_its_times(tmp_path: Path) -> None:
    rows = [{"timestamp": at, "input_length": 5, "output_length": 1, "hash_ids": [at]} for at in (30, 10, 20)]
    file = tmp_path / "trace.jsonl.gz"
    file.write_bytes(gzip.compress("\n".join(json.dumps(row) for row in rows).encode()))
    assert [line.timestamp for line in cache_trace.read(file)] == [10, 20, 30]


def trajectory(folder: Path) -> Path:
    """Two sessions that begin alike and go on differently, one of which calls a tool."""
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
    rows = [
        {
            "id": str(number),
            "messages": [
                {"role": "system", "content": "You help."},
                {"role": "user", "content": "Book a flight."},
                {"role": "assistant", "content": "Where to?"},
                {"role": "user", "content": place},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "c", "content": f"a flight to {place}"},
                {"role": "assistant", "content": f"Booked: {place}."},
            ],
        }
        for number, place in enumerate(("Rome", "Oslo", "Rome"))
    ]
    file = folder / "sessions.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return file


def test_sessions_are_played_without_a_wrong_answer_and_every_planted_repeat_is_found(tmp_path: Path) -> None:
    sessions = agent_safety.sessions_of(trajectory(tmp_path))
    assert [len(session) for session in sessions] == [3, 3, 3]
    planned = agent_safety.plan(sessions, seed=1, planted=1.0)
    assert {turn.plant for session in planned for turn in session} == {"at once", "later"}
    figures, _ = asyncio.run(agent_safety.play(planned))
    assert (figures["wrong_answers"], figures["planted_hits"], figures["planted"]) == (0, 1, 9)


def test_an_answer_of_another_turn_is_seen_as_wrong(tmp_path: Path) -> None:
    """A header that no cache looks at tells the provider what to say: were it to say something else, it would show."""
    (first, second, _) = agent_safety.sessions_of(trajectory(tmp_path))[0]

    async def run() -> None:
        async with lab() as at_work:
            first_asked = msgspec.structs.replace(first, number=0)
            swapped = msgspec.structs.replace(first, number=2, truth=second.truth)
            told, _ = await at_work.ask(first_asked)
            assert said(told) == said(first.truth)
            again, headers = await at_work.ask(swapped)
            assert headers["x-pennyweight-cache"] == "hit"
            assert said(again) != said(swapped.truth)
            assert 2 not in at_work.asked

    asyncio.run(run())


def test_ids_and_white_space_of_answers_do_not_count_but_all_else_does() -> None:
    turn = Turn("Yes. ", (ToolCall("a", "look", '{"x": 1, "y": 2}'),))
    assert said(turn) == said(Turn("Yes.", (ToolCall("b", "look", '{"y":2,"x":1}'),)))
    for other in (
        Turn("No."),
        Turn("Yes."),
        Turn("Yes.", (ToolCall("a", "look", '{"x": 1}'),)),
        Turn("Yes.", (ToolCall("a", "seek", '{"x": 1, "y": 2}'),)),
    ):
        assert said(turn) != said(other)


def test_everything_is_on(tmp_path: Path) -> None:
    config = everything_on(load(None, {}, {"data_dir": tmp_path}))
    settings = {rule.use: rule.settings for rule in config.optimizers}
    assert settings["exact_cache"] == {"sampled": True, "tool_calls": True}
    assert config.optimize == "max"
    assert all(rule.mode == "on" for rule in config.optimizers)
    assert config.fusing.identical == "all"


def test_hits_are_timed_and_a_crowd_makes_one_call() -> None:
    figures = asyncio.run(cache_speed.exact(20))
    assert 0 < figures["exact_hit_ms_8k"] < 5
    crowd = asyncio.run(cache_speed.burst(200))
    assert (crowd["burst_upstream_calls"], crowd["burst_unanswered"]) == (1, 0)
