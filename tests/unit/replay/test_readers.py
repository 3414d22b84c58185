"""Each kind of file is told by its content, and read into the calls that made it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pennyweight.errors import ConfigError
from pennyweight.replay.readers import Recorded, read
from pennyweight.request import Usage, Wire
from pennyweight.testing import shapes


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def texts(call: Recorded) -> list[Any]:
    return [message["content"] for message in call.body["messages"]]


# --- Claude Code ------------------------------------------------------------------------------------------


def claude(
    kind: str, uuid: str, parent: str | None, message: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    row = {"parentUuid": parent, "isSidechain": False, "type": kind, "uuid": uuid, "sessionId": "sess-1"}
    row |= {"timestamp": f"2026-11-01T10:00:0{len(uuid)}.000Z", "cwd": "/repo", "version": "2.1.329"}
    return row | ({"message": message} if message else {}) | more


def said(id: str, block: dict[str, Any], output: int) -> dict[str, Any]:
    usage = {
        "input_tokens": 4,
        "cache_creation_input_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 70},
        "cache_read_input_tokens": 900,
        "output_tokens": output,
    }
    return {
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-4-5",
        "content": [block],
        "usage": usage,
    }


CLAUDE = [
    {"type": "summary", "summary": "x", "leafUuid": "u"},
    claude("user", "a", None, {"role": "user", "content": "Fix it."}),
    claude("attachment", "aa", "a"),
    claude("assistant", "b", "aa", said("msg_1", {"type": "text", "text": "Reading."}, 3)),
    claude("assistant", "bb", "b", said("msg_1", {"type": "tool_use", "id": "t1", "name": "Read", "input": {}}, 40)),
    claude(
        "user", "c", "bb", {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "x"}]}
    ),
    claude("assistant", "d", "c", said("msg_2", {"type": "text", "text": "Done."}, 9)),
    claude("assistant", "e", "d", {"id": "s", "model": "<synthetic>", "role": "assistant", "content": []}),
    claude("system", "f", None, subtype="compact_boundary"),
    claude("user", "g", "f", {"role": "user", "content": "Summary of before."}),
    claude("assistant", "h", "g", said("msg_3", {"type": "text", "text": "Going on."}, 5)),
]


def test_claude_code(tmp_path: Path) -> None:
    calls = read(lines(tmp_path / "anything.log", *CLAUDE))
    assert [call.session for call in calls] == ["sess-1"] * 3
    assert calls[0].wire is Wire.ANTHROPIC_MESSAGES
    assert calls[0].usage == Usage(1_004, 900, 30, 70, 40)
    assert [block["type"] for block in calls[0].answer["content"]] == ["text", "tool_use"]
    assert texts(calls[0]) == ["Fix it."]
    assert [message["role"] for message in calls[1].body["messages"]] == ["user", "assistant", "user"]
    assert calls[1].body["messages"][1]["content"] == calls[0].answer["content"]
    assert texts(calls[2]) == ["Summary of before."]
    assert calls[0].at == 1_793_527_201.0


# --- Codex ------------------------------------------------------------------------------------------------


def codex(kind: str, payload: dict[str, Any], second: int = 0) -> dict[str, Any]:
    return {"timestamp": f"2026-11-01T10:00:{second:02d}.000Z", "type": kind, "payload": payload}


def tokens(total: int, last: dict[str, int]) -> dict[str, Any]:
    return codex(
        "event_msg",
        {"type": "token_count", "info": {"total_token_usage": {"total_tokens": total}, "last_token_usage": last}},
    )


def item(role: str, text: str) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return codex("response_item", {"type": "message", "role": role, "content": [{"type": kind, "text": text}]})


FIRST = {"input_tokens": 500, "cached_input_tokens": 300, "output_tokens": 40, "reasoning_output_tokens": 10}
SECOND = {"input_tokens": 700, "cached_input_tokens": 512, "output_tokens": 9}
CODEX = [
    codex("session_meta", {"id": "rollout-1", "cwd": "/repo", "base_instructions": {"text": "You are Codex."}}),
    codex("turn_context", {"model": "gpt-5.5", "cwd": "/repo"}),
    item("developer", "rules"),
    item("user", "Fix it."),
    codex("event_msg", {"type": "user_message", "message": "Fix it."}),
    codex("response_item", {"type": "reasoning", "summary": [], "encrypted_content": "Zm9v"}, 1),
    codex("response_item", {"type": "function_call", "name": "exec_command", "arguments": "{}", "call_id": "c1"}),
    codex("response_item", {"type": "function_call_output", "call_id": "c1", "output": "ok"}),
    tokens(540, FIRST),
    tokens(540, FIRST),
    item("assistant", "Done."),
    tokens(1_249, SECOND),
    codex("compacted", {"message": "what was"}),
    item("user", "More."),
    item("assistant", "Sure."),
]


def test_codex(tmp_path: Path) -> None:
    calls = read(lines(tmp_path / "rollout.jsonl", *CODEX))
    assert [call.session for call in calls] == ["rollout-1"] * 3
    assert [call.usage for call in calls] == [Usage(500, 300, 0, 0, 40, 10), Usage(700, 512, 0, 0, 9), None]
    assert calls[0].body["model"] == "gpt-5.5"
    assert calls[0].body["instructions"] == "You are Codex."
    assert [entry["type"] for entry in calls[0].answer["output"]] == ["reasoning", "function_call"]
    assert [entry["type"] for entry in calls[1].body["input"]][-1] == "function_call_output"
    assert calls[2].body["input"][0]["content"] == "what was"
    assert len(calls[2].body["input"]) == 2


# --- OpenClaw ---------------------------------------------------------------------------------------------


def entry(id: str, parent: str | None, message: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "message",
        "id": id,
        "parentId": parent,
        "timestamp": "2026-11-01T10:00:00.000Z",
        "message": message,
    }


def answer(*content: dict[str, Any], api: str, output: int = 5, **more: Any) -> dict[str, Any]:
    usage = {
        "input": 10,
        "output": output,
        "cacheRead": 800,
        "cacheWrite": 90,
        "cacheWrite1h": 20,
        "totalTokens": 905,
        "cost": {"total": 1},
    }
    return {"role": "assistant", "api": api, "model": "m-1", "content": list(content), "usage": usage, **more}


def openclaw(api: str) -> list[dict[str, Any]]:
    call = {"type": "toolCall", "id": "c1", "name": "ls", "arguments": {"path": "."}}
    thinking = {"type": "thinking", "thinking": "hm", "thinkingSignature": "c2ln"}
    result = {"role": "toolResult", "toolCallId": "c1", "toolName": "ls", "content": [{"type": "text", "text": "src"}]}
    return [
        {"type": "session", "version": 3, "id": "oc-1", "timestamp": "2026-11-01T09:59:00.000Z", "cwd": "/w"},
        {"type": "model_change", "id": "m", "parentId": None, "modelId": "m-1"},
        entry("a", "m", {"role": "user", "content": [{"type": "text", "text": "List."}]}),
        entry("b", "a", answer(thinking, call, api=api, stopReason="toolUse")),
        entry("c", "b", result),
        entry("x", "c", answer(api=api, stopReason="error")),
        entry("d", "c", answer({"type": "text", "text": "One folder."}, api=api)),
        {"type": "compaction", "id": "k", "parentId": "d", "summary": "Listed.", "firstKeptEntryId": "d"},
        entry("e", "k", {"role": "user", "content": "Again."}),
        entry("f", "e", answer({"type": "text", "text": "Same."}, api=api)),
    ]


def test_openclaw_over_anthropic(tmp_path: Path) -> None:
    calls = read(lines(tmp_path / "s.jsonl", *openclaw("anthropic-messages")))
    assert [call.session for call in calls] == ["oc-1"] * 3
    assert all(call.wire is Wire.ANTHROPIC_MESSAGES for call in calls)
    assert calls[0].usage == Usage(900, 800, 70, 20, 5)
    assert calls[0].answer["content"][1] == {"type": "tool_use", "id": "c1", "name": "ls", "input": {"path": "."}}
    assert calls[1].body["messages"][2]["content"][0]["tool_use_id"] == "c1"
    assert [message["role"] for message in calls[2].body["messages"]] == ["user", "assistant", "user"]
    assert texts(calls[2])[0] == [{"type": "text", "text": "Listed."}]


def test_openclaw_over_chat(tmp_path: Path) -> None:
    calls = read(lines(tmp_path / "s.jsonl", *openclaw("openai-completions")))
    assert all(call.wire is Wire.OPENAI_CHAT for call in calls)
    assert calls[1].body["messages"][1]["tool_calls"][0]["id"] == "c1"
    assert calls[1].body["messages"][2] == {"role": "tool", "tool_call_id": "c1", "content": "src"}


# --- recordings, lists of bodies, and what is none of them -------------------------------------------------


def test_recordings_with_deltas_and_scripted_answers(tmp_path: Path) -> None:
    first = {"model": "m", "messages": [{"role": "user", "content": "go"}], "stream": True}
    quoted = {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "tool_use", "id": "toolu_s1", "name": "ls", "input": {}, "cache_control": {"type": "ephemeral"}},
        ],
    }
    grown = {"order": ["model", "messages"], "same": ["model"], "set": {}, "list": {"messages": [1, [quoted]]}}
    reply = {"text": "", "calls": [{"tool": "ls", "args": {}, "id": "s1"}]}
    common = {"api": "anthropic", "path": "/v1/messages", "headers": {}}
    rows = [
        {"n": 0, "t": 0.0, **common, "scripted_reply": reply, "body": first},
        {"n": 1, "t": 1.5, **common, "scripted_reply": {"text": "Done.", "calls": []}, "base": 0, "delta": grown},
    ]
    (tmp_path / "r.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    calls = read(tmp_path / "r.jsonl.gz")
    assert list(calls[1].body) == ["model", "messages"]
    assert [block["type"] for block in calls[0].answer["content"]] == ["thinking", "tool_use"]
    assert "cache_control" not in calls[0].answer["content"][1]
    assert shapes.turn_of(Wire.ANTHROPIC_MESSAGES, calls[1].answer).text == "Done."
    assert calls[1].t == 1.5
    assert calls[1].usage is None


CHAT = {"model": "gpt-5.5", "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "hi"}]}
BODIES = [
    (CHAT, Wire.OPENAI_CHAT),
    ({"model": "gpt-5.5", "input": "hi"}, Wire.OPENAI_RESPONSES),
    ({"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}, Wire.ANTHROPIC_MESSAGES),
    ({"model": "x", "system": "s", "messages": []}, Wire.ANTHROPIC_MESSAGES),
    ({"model": "llama3", "messages": [], "keep_alive": "5m"}, Wire.OLLAMA),
    ({"model": "llama3", "prompt": "hi"}, Wire.OLLAMA),
]


@pytest.mark.parametrize("form", ["array", "lines", "wrapped", "indented"])
@pytest.mark.parametrize(("body", "wire"), BODIES)
def test_lists_of_bodies(tmp_path: Path, form: str, body: dict[str, Any], wire: Wire) -> None:
    path = tmp_path / "bodies"
    match form:
        case "array":
            path.write_text(json.dumps([body, body]))
        case "lines":
            lines(path, body, body)
        case "wrapped":
            lines(path, {"request": body, "session": "s"}, {"body": body})
        case _:
            path.write_text(json.dumps(body, indent=2))
    calls = read(path)
    assert [(call.body, call.wire) for call in calls] == [(body, wire)] * (1 if form == "indented" else 2)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "empty"),
        (b"[]", "empty"),
        (b"not json", r"x\.jsonl:1.*Not JSON"),
        (b"[1]", "int"),
        (b'{"a": 1, "b": 2}', r"x\.jsonl:1.*a, b is no recorded call"),
        (b'{"messages": []}\n{"what": 1}\n', r"x\.jsonl:2.*what"),
        (b'{"messages": []}\n17\n{"messages": []}\n', r"x\.jsonl:2.*int"),
        (b"\x1f\x8b broken", "Cannot be read"),
        (b'{"a": "\xff"}', "x.jsonl"),
        (b'{"api": "smoke signals", "body": {}}', "smoke signals"),
    ],
)
def test_what_is_no_recording_is_said_with_file_and_line(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=found):
        read(path)


def test_a_last_line_that_is_still_being_written_is_left_out(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", CHAT)
    path.write_text(path.read_text() + '{"messages": [')
    assert len(read(path)) == 1


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        read(tmp_path / "nowhere.jsonl")


def test_a_second_branch_of_an_openclaw_session_begins_where_it_left(tmp_path: Path) -> None:
    rows = openclaw("anthropic-messages")
    other = entry("z", None, {"role": "user", "content": "Anew."})
    said_then = entry("y", "z", answer({"type": "text", "text": "New."}, api="anthropic-messages"))
    calls = read(lines(tmp_path / "s.jsonl", *rows, other, said_then))
    assert texts(calls[-1]) == [[{"type": "text", "text": "Anew."}]]


def test_claude_code_requests_are_made_whole_where_the_transcript_has_their_parts(tmp_path: Path) -> None:
    shape = {"system": [{"type": "text", "text": "S"}], "tools": [{"name": "Read", "input_schema": {}}]}
    blob = {"role": "user", "content": [{"type": "text", "text": "Fix it."}]}
    params = {"model": "claude-opus-4-5", "max_tokens": 9, "betas": ["b"]}
    mark = {"type": "ephemeral"}
    common = {"type": "api-request", "sessionId": "sess-1", "shapeHash": "h", "params": params}
    marks = [{"path": ["system", 0], "value": mark}, {"path": ["messages", 7], "value": mark}]
    rows = [dict(row) for row in CLAUDE[1:7]]
    rows[2] |= {"requestRef": "r1"}
    rows[3] |= {"requestRef": "r1"}
    rows[5] |= {"requestRef": "r2"}
    parts = [
        {"type": "api-request-shape", "shapeHash": "h", "shape": shape},
        {"type": "api-request-blob", "hash": "m1", "message": blob},
        common | {"id": "r1", "keep": 0, "tail": ["m1"], "cacheControl": marks},
        common | {"id": "r2", "base": "r1", "keep": 1, "tail": ["m2", "m3"], "cacheControl": []},
    ]
    first, second = read(lines(tmp_path / "t.jsonl", *parts, *rows))
    assert first.body == {
        "model": "claude-opus-4-5",
        "max_tokens": 9,
        "system": [{"type": "text", "text": "S", "cache_control": mark}],
        "tools": shape["tools"],
        "messages": [blob],
    }
    assert second.body["system"] == shape["system"]
    assert [message["role"] for message in second.body["messages"]] == ["user", "assistant", "user"]
    assert second.body["messages"][1]["content"] == first.answer["content"]
