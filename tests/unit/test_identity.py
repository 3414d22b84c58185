"""Identity from each sign that a real client sends, in their order; chores recognised and not imagined."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pennyweight.identity import housekeeping, identify
from pennyweight.prefix import SessionIndex
from pennyweight.request import Operation, Request, Wire

CHAT, RESPONSES, MESSAGES = Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES, Wire.ANTHROPIC_MESSAGES
RUNTIME = "Runtime: agent=main | session=agent:main:main | sessionId=s-77 | host=h | model=gw/x"


def request(wire: Wire, body: dict[str, Any], operation: Operation = Operation.GENERATE, **headers: str) -> Request:
    fields = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Request(wire, json.dumps(body, separators=(",", ":")).encode(), fields, operation=operation)


def chat(text: str, system: str = "", **fields: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": system}] if system else []
    return {"model": "m", "messages": [*messages, {"role": "user", "content": text}], **fields}


SIGNS = [
    ("x_pennyweight_session", None),
    ("x_clawrouter_session_id", None),
    ("prompt_cache_key", {"prompt_cache_key": "from-prompt_cache_key"}),
    ("x_session_id", None),
    ("x_claude_code_session_id", None),
    (
        "metadata.user_id",
        {"metadata": {"user_id": '{"session_id":"from-metadata.user_id"}'}},
    ),
    ("session_id", None),
    ("user", {"user": "from-user"}),
]


@pytest.mark.parametrize("first", range(len(SIGNS)))
def test_signs_are_believed_in_order(first: int) -> None:
    headers = {name: f"from-{name}" for name, fields in SIGNS[first:] if fields is None}
    fields = {key: value for _, some in SIGNS[first:] if some for key, value in some.items()}
    who = identify(request(CHAT, chat("hi", **fields), **headers))
    assert who.session == f"from-{SIGNS[first][0]}"
    assert who.session_source.replace("-", "_") == SIGNS[first][0].replace("-", "_")


def test_labels_come_from_our_headers() -> None:
    labels = {"x_pennyweight_agent": "a", "x_pennyweight_task": "t", "x_pennyweight_skill": "s"}
    who = identify(request(CHAT, chat("hi"), **labels), "team")
    assert (who.tenant, who.agent, who.task, who.skill) == ("team", "a", "t", "s")


def test_clawrouter_names_the_agent() -> None:
    who = identify(request(CHAT, chat("hi"), x_clawrouter_agent_id="main", x_clawrouter_session_id="s"))
    assert (who.agent, who.session) == ("main", "s")


@pytest.mark.parametrize("value", ["", "  ", "a\x01b", "x" * 257, "tab\there"])
def test_a_name_that_is_no_name_is_ignored(value: str) -> None:
    assert identify(request(CHAT, chat("hi"), x_session_id=value)).session == ""


def test_the_older_user_id_of_claude_code() -> None:
    body = {"model": "m", "messages": [], "metadata": {"user_id": "user_1_account_2_session_abc-def"}}
    assert identify(request(MESSAGES, body)).session == "abc-def"


def test_another_user_id_stands_for_a_user() -> None:
    body = {"model": "m", "messages": [], "metadata": {"user_id": "u-9"}}
    assert identify(request(MESSAGES, body)).session == "u-9"


def test_the_runtime_line_of_openclaw_in_each_protocol() -> None:
    system = "<!-- openclaw:attempt:STABLE -->\nYou are a personal assistant running inside OpenClaw."
    bodies = [
        (CHAT, chat(f"hello\n\n{RUNTIME}", system)),
        (MESSAGES, {"model": "m", "system": [{"type": "text", "text": f"{system}\n{RUNTIME}\n"}], "messages": []}),
        (
            RESPONSES,
            {
                "model": "m",
                "input": [
                    {"type": "message", "role": "developer", "content": f"{system}\n{RUNTIME}\n"},
                    {"role": "user", "content": "hello"},
                ],
            },
        ),
    ]
    for wire, body in bodies:
        who = identify(request(wire, body))
        assert (who.session, who.agent, who.session_source) == ("s-77", "main", "runtime line"), wire


def test_a_runtime_line_elsewhere_is_only_text() -> None:
    assert identify(request(CHAT, chat(f"what does this mean: {RUNTIME}", "You are helpful."))).session == ""


def test_a_session_is_derived_when_nothing_names_one() -> None:
    index = SessionIndex()
    one = identify(request(CHAT, chat("hello")), index=index)
    assert one.session.startswith("d-")
    assert one.session_source == "derived"
    assert identify(request(CHAT, chat("hello")), "other", index=index).session != one.session


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b'{"messages":3}', b"\xff", b'{"messages":[1,null,"x"]}', b'{"input":7}']
)
def test_an_unreadable_body_tells_nothing_and_never_raises(raw: bytes) -> None:
    for wire in Wire:
        who = identify(Request(wire, raw, (("x-session-id", "s"),)), index=SessionIndex())
        assert who.session == "s"
        identify(Request(wire, raw), index=SessionIndex())


# --- chores ------------------------------------------------------------------------------------------------

CLAW = "<!-- openclaw:attempt:STABLE -->\nYou are a personal assistant running inside OpenClaw."
WAKE = "Follow the heartbeat monitor scratch context when provided. If nothing needs attention, reply NO_REPLY."
CONTEXT = {
    "role": "user",
    "content": "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nnone\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>",
}
TOOLS = [{"name": "read", "input_schema": {}}]


def claw(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"model": "m", "system": [{"type": "text", "text": CLAW}], "tools": TOOLS, "messages": list(messages)}


def test_a_heartbeat_is_one_through_its_whole_tool_loop() -> None:
    wake = {"role": "user", "content": [{"type": "text", "text": WAKE, "cache_control": {"type": "ephemeral"}}]}
    step = [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "read", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "x"}]},
    ]
    before = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    assert housekeeping(request(MESSAGES, claw(*before, wake, CONTEXT))) == "heartbeat"
    assert housekeeping(request(MESSAGES, claw(*before, wake, *step))) == "heartbeat"


def test_the_turn_after_a_heartbeat_is_the_users() -> None:
    wake = {"role": "user", "content": WAKE}
    body = claw(wake, {"role": "assistant", "content": "NO_REPLY"}, {"role": "user", "content": "and now?"}, CONTEXT)
    assert housekeeping(request(MESSAGES, body)) is None


def test_a_heartbeat_over_responses() -> None:
    items = [
        {"role": "developer", "content": CLAW},
        {"role": "user", "content": [{"type": "input_text", "text": WAKE}]},
    ]
    assert housekeeping(request(RESPONSES, {"model": "m", "input": items})) == "heartbeat"


def test_a_memory_flush() -> None:
    body = claw({"role": "user", "content": "Pre-compaction memory flush. Store durable memories now."})
    assert housekeeping(request(MESSAGES, body)) == "memory_flush"


@pytest.mark.parametrize(
    ("system", "chore"),
    [
        ("You are a context summarization assistant. Your task is to read a conversation", "compaction"),
        ("You are a title generator. You output ONLY a thread title. Nothing else.", "title"),
        (
            "You are an engineer that generates concise, one-line Git commit messages",
            "commit_message",
        ),
        ("You are a helpful AI assistant tasked with summarizing conversations.", "compaction"),
    ],
)
def test_chores_told_by_their_system_prompt(system: str, chore: str) -> None:
    assert housekeeping(request(CHAT, chat("go", system))) == chore
    assert housekeeping(request(MESSAGES, {"model": "m", "system": system, "messages": []})) == chore
    late_role = {"model": "m", "messages": [{"content": system, "role": "system"}, {"content": "go", "role": "user"}]}
    assert housekeeping(request(CHAT, late_role)) == chore
    # The same words from a user, or of an agent that has tools, are the user's own work.
    assert housekeeping(request(CHAT, chat(system))) is None
    assert housekeeping(request(CHAT, chat("go", system, tools=TOOLS))) is None


def test_codex_and_claude_code_compact_with_a_user_message() -> None:
    codex = "You are performing a CONTEXT CHECKPOINT COMPACTION. Create a handoff summary"
    body = {
        "model": "m",
        "tools": TOOLS,
        "input": [{"role": "user", "content": [{"type": "input_text", "text": codex}]}],
    }
    assert housekeeping(request(RESPONSES, body)) == "compaction"
    claude = "Your task is to create a detailed summary of the conversation so far, paying close attention"
    assert housekeeping(request(MESSAGES, {**chat(claude), "tools": TOOLS})) == "compaction"


def test_counting_is_a_chore() -> None:
    assert housekeeping(request(MESSAGES, chat("x"), Operation.COUNT)) == "count"


def test_ordinary_calls_are_no_chores() -> None:
    quoted = "Please fix this test: 'Follow the heartbeat monitor scratch context'"
    assert housekeeping(request(CHAT, chat(quoted))) is None
    assert housekeeping(request(CHAT, chat("x" * 5000, "You are helpful."))) is None
    assert housekeeping(Request(CHAT, b"", operation=Operation.OTHER)) is None
