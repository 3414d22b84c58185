"""Recorded sessions with one cause of cache misses put into each. What a seed does is what its name says."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from pennyweight.capture.format import Recorded
from pennyweight.replay.demo import demo_session, demo_sessions
from pennyweight.replay.readers import read
from pennyweight.request import Usage

DATA = Path(__file__).parents[2] / "data" / "doctor"
HEALTHY = ("codex", "opencode_anthropic", "pydantic_ai_chat")


def recording(name: str) -> list[Recorded]:
    return read(DATA / f"{name}.jsonl.gz")


def changed(calls: list[Recorded], change: Callable[[int, dict[str, Any]], None]) -> list[Recorded]:
    """The calls with `change` made to a copy of each body."""
    made = []
    for number, call in enumerate(calls):
        body = copy.deepcopy(call.body)
        change(number, body)
        made.append(msgspec.structs.replace(call, body=body))
    return made


def unmarked(value: Any) -> Any:
    if isinstance(value, list):
        return [unmarked(item) for item in value]
    if isinstance(value, dict):
        return {key: unmarked(inner) for key, inner in value.items() if key != "cache_control"}
    return value


def blocks(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The content of a message as a list that can be marked."""
    if isinstance(message["content"], str):
        message["content"] = [{"type": "text", "text": message["content"]}]
    content: list[dict[str, Any]] = message["content"]
    return content


MARK = {"cache_control": {"type": "ephemeral"}}


def strip(body: dict[str, Any]) -> None:
    body.update(unmarked(body))


# --- the ten -------------------------------------------------------------------------------------------------


def without_markers() -> list[Recorded]:
    return changed(demo_session(), lambda _, body: strip(body))


def marker_on_a_transient_message() -> list[Recorded]:
    def change(number: int, body: dict[str, Any]) -> None:
        strip(body)
        note = {"type": "text", "text": f"<internal>step {number}, gone in the next request</internal>", **MARK}
        blocks(body["messages"][-1]).append(note)

    return changed(demo_session(), change)


def a_pause_of_twenty_minutes() -> list[Recorded]:
    return [
        msgspec.structs.replace(call, t=call.t + (1200 if number >= 10 else 0))
        for number, call in enumerate(demo_session())
    ]


def a_clock_in_the_system_prompt() -> list[Recorded]:
    def change(number: int, body: dict[str, Any]) -> None:
        body["system"][0]["text"] = f"The time is 2026-11-20T21:31:{number:02d}Z.\n" + body["system"][0]["text"]

    return changed(demo_session(), change)


def tools_in_another_order() -> list[Recorded]:
    def change(number: int, body: dict[str, Any]) -> None:
        tools = unmarked(body["tools"])
        turn = number % 3
        body["tools"] = tools[turn:] + tools[:turn]
        body["tools"][-1].update(MARK)

    return changed(demo_session(), change)


def a_tool_that_comes_late() -> list[Recorded]:
    late = {"name": "late_search", "description": "Finds things late.", "input_schema": {"type": "object"}}

    def change(number: int, body: dict[str, Any]) -> None:
        if number >= 15:
            body["tools"].insert(3, late)

    return changed(demo_session(), change)


def another_model_half_way() -> list[Recorded]:
    def change(number: int, body: dict[str, Any]) -> None:
        if number >= 15:
            body["model"] = "claude-opus-4-8"

    return changed(demo_session(), change)


def heartbeats() -> list[Recorded]:
    return next(list(session.calls) for session in demo_sessions() if "heartbeat" in session.about)


def rewritten_messages() -> list[Recorded]:
    return recording("aider")


def prompts_below_the_minimum() -> list[Recorded]:
    def change(_: int, body: dict[str, Any]) -> None:
        strip(body)
        body["model"] = "claude-haiku-4-5"
        body["tools"] = body["tools"][:2]
        body["system"] = [{"type": "text", "text": body["system"][0]["text"][:8_000], **MARK}]
        body["messages"] = body["messages"][:6]
        blocks(body["messages"][-1])[-1].update(MARK)

    return changed(demo_session()[2:12], change)


# --- and more ------------------------------------------------------------------------------------------------


def marker_on_the_system_prompt_only() -> list[Recorded]:
    def change(_: int, body: dict[str, Any]) -> None:
        strip(body)
        body["system"][-1].update(MARK)

    return changed(demo_session(), change)


def markers_that_stop() -> list[Recorded]:
    return changed(demo_session(), lambda number, body: strip(body) if number >= 12 else None)


def more_than_twenty_blocks_in_a_turn() -> list[Recorded]:
    """Two calls: the second has 30 blocks more and a mark on the last only."""

    def change(number: int, body: dict[str, Any]) -> None:
        strip(body)
        body["messages"].pop()  # OpenClaw's transient note
        if number:
            blocks(body["messages"][-1]).extend({"type": "text", "text": f"result {n}"} for n in range(30))
        blocks(body["messages"][-1])[-1].update(MARK)

    return changed([demo_session()[16], demo_session()[17]], change)


def thinking_switched_on() -> list[Recorded]:
    def change(number: int, body: dict[str, Any]) -> None:
        body.pop("thinking", None)
        if number >= 15:
            body["thinking"] = {"type": "enabled", "budget_tokens": 2_000}

    return changed(demo_session(), change)


def no_cache_key() -> list[Recorded]:
    """Every third call of a Chat Completions session reaches a machine that has nothing cached."""
    made = []
    for number, call in enumerate(recording("pydantic_ai_chat")):
        size = len(msgspec.json.encode(call.body)) // 4
        before = len(msgspec.json.encode(made[-1].body)) // 4 if made else 0
        read_tokens = 0 if number % 3 == 0 else before // 128 * 128
        usage = Usage(input_tokens=size, cache_read_tokens=read_tokens if before >= 1024 else 0, output_tokens=50)
        made.append(msgspec.structs.replace(call, usage=usage))
    return made


def betas_that_change() -> list[Recorded]:
    made = []
    for number, call in enumerate(demo_session()):
        headers = {**call.headers, "anthropic-beta": "context-1m-2025-08-07" if number == 15 else ""}
        size = len(msgspec.json.encode(call.body)) // 4
        before = len(msgspec.json.encode(made[-1].body)) // 4 if made else 0
        read_tokens = 0 if number == 15 else before
        usage = Usage(input_tokens=size, cache_read_tokens=read_tokens, cache_write_5m_tokens=size - read_tokens)
        made.append(msgspec.structs.replace(call, headers=headers, usage=usage))
    return made


def a_billing_line() -> list[Recorded]:
    """Claude Code's first system block, new in every request as older versions sent it, at another provider."""

    def change(number: int, body: dict[str, Any]) -> None:
        strip(body)
        line = f"x-anthropic-billing-header: cc_version=2.1.329.{number:03x}; cc_entrypoint=cli;"
        body["system"].insert(0, {"type": "text", "text": line})
        body["model"] = "deepseek-chat"

    calls = []
    for call in changed(demo_session(), change):
        size = len(msgspec.json.encode(call.body)) // 4
        calls.append(msgspec.structs.replace(call, usage=Usage(input_tokens=size, cache_read_tokens=2_048)))
    return calls


def an_id_that_every_session_has_of_its_own() -> list[Recorded]:
    """Eight conversations of one call each, a minute apart, whose long system prompts begin with an id."""

    def change(number: int, body: dict[str, Any]) -> None:
        body["messages"] = [{"role": "user", "content": f"Question {number}"}]
        line = f"Request {number:08x}-0000-4000-8000-{number * 7919:012x}\n"
        body["system"] = [{"type": "text", "text": line + body["system"][0]["text"], **MARK}]
        body["tools"] = unmarked(body["tools"][:2])

    made = changed([demo_session()[0]] * 8, change)
    return [
        msgspec.structs.replace(call, session=f"s{number}", at=1_795_000_000.0 + 60 * number)
        for number, call in enumerate(made)
    ]


TEN: Mapping[str, tuple[Callable[[], list[Recorded]], str, str]] = {
    "no markers": (without_markers, "marker_missing", 'cacheRetention: "short"'),
    "transient": (marker_on_a_transient_message, "marker_transient", "last message that stays"),
    "ttl": (a_pause_of_twenty_minutes, "ttl_lapsed", 'cacheRetention: "long"'),
    "clock": (a_clock_in_the_system_prompt, "volatile_head", "a time out of system[0]"),
    "order": (tools_in_another_order, "tools_reordered", "sorted by name"),
    "late tool": (a_tool_that_comes_late, "tools_changed", "one list of tools"),
    "model": (another_model_half_way, "model_switched", "one model"),
    "heartbeat": (heartbeats, "heartbeat", "isolatedSession"),
    "history": (rewritten_messages, "history_changed", "history that only grows"),
    "minimum": (prompts_below_the_minimum, "below_minimum", "4,096 constant tokens"),
}
"""name: (the session, the code of its finding, a part of its setting)"""

MORE: Mapping[str, tuple[Callable[[], list[Recorded]], str, str]] = {
    "system only": (marker_on_the_system_prompt_only, "marker_misplaced", "on the last message"),
    "dropped": (markers_that_stop, "marker_dropped", "cache_control"),
    "look-back": (more_than_twenty_blocks_in_a_turn, "marker_out_of_reach", "every 15 to 20 blocks"),
    "thinking": (thinking_switched_on, "parameter_changed", "thinking"),
    "no key": (no_cache_key, "cache_key_missing", "prompt_cache_key"),
    "betas": (betas_that_change, "header_changed", "context-1m-2025-08-07"),
    "billing line": (a_billing_line, "billing_header", "CLAUDE_CODE_ATTRIBUTION_HEADER=0"),
    "ids of sessions": (an_id_that_every_session_has_of_its_own, "volatile_head", "an id out of system[0]"),
}
