"""Redaction: no prose is left, and tokens, prefixes and repeats are what they were."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from pennyweight.capture.filler import MARKERS, Filler
from pennyweight.capture.format import Recorded
from pennyweight.capture.redact import redact, redact_body
from pennyweight.identity import SIGNS, identify
from pennyweight.request import Wire
from pennyweight.testing.prefix_cache import PrefixCache, blocks

FILLER = Filler(b"one salt")

PROSE = """The confidential merger with Northwind closes on Thursday.
def transfer(account: str, amount: float) -> None:
    raise PermissionError("überweisung gesperrt — 你好世界 🙂")

    GET https://intranet.example.com/payroll?employee=Winterbottom HTTP/1.1\r
\ttabs\tand  double  spaces\n\n\n{"secret": "hunter2hunter2"}
"""

ANTHROPIC: dict[str, Any] = {
    "model": "claude-sonnet-4-6",
    "max_tokens": 8192,
    "system": [
        {
            "type": "text",
            "text": f"<!-- openclaw:attempt:STABLE -->\nYou advise W.\n{PROSE}<!-- /openclaw:attempt:STABLE -->",
            "cache_control": {"type": "ephemeral", "ttl": "1h"},
        },
        {
            "type": "text",
            "text": "Runtime: agent=main | session=agent:main:x | sessionId=x | host=winterbottoms-laptop",
        },
    ],
    "tools": [
        {
            "name": "send_payment",
            "description": "Sends confidential payments to employees.",
            "input_schema": {
                "type": "object",
                "required": ["recipient"],
                "properties": {
                    "recipient": {
                        "type": "string",
                        "description": "Employee name",
                        "enum": ["Winterbottom", "Northwind"],
                    },
                    "amount": {"type": "number", "default": 12.5},
                },
            },
        }
    ],
    "messages": [
        {"role": "user", "content": "Pay Winterbottom, please."},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Winterbottom wants money.", "signature": "d2ludGVyYm90dG9t" * 9},
                {"type": "text", "text": "Paying Winterbottom."},
                {
                    "type": "tool_use",
                    "id": "toolu_1",
                    "name": "send_payment",
                    "input": {"recipient": "Winterbottom", "amount": 3},
                },
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": PROSE}]},
    ],
    "metadata": {"user_id": "user_1", "note": "Winterbottom again"},
    "an_unknown_field": {"deep": ["Winterbottom"]},
}

CHAT: dict[str, Any] = {
    "model": "gpt-5.5",
    "messages": [
        {"role": "system", "content": f"You advise Winterbottom.\n{PROSE}"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": PROSE},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {
                        "name": "read",
                        "arguments": '{"path": "/home/winterbottom/payroll.csv", "lines": 12}',
                    },
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": PROSE},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "read",
                "description": "Reads employees",
                "parameters": {"type": "object", "properties": {"path": {"type": "string"}}},
            },
        }
    ],
    "response_format": {
        "type": "json_schema",
        "json_schema": {
            "name": "payroll",
            "schema": {"type": "object", "properties": {"total": {"type": "number", "description": "Grand total"}}},
        },
    },
    "stream": True,
}

RESPONSES: dict[str, Any] = {
    "model": "gpt-5.5",
    "instructions": f"You advise Winterbottom. {PROSE}",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": PROSE}]},
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "Winterbottom?"}],
            "encrypted_content": "Zm9v" * 40,
        },
        {
            "type": "function_call",
            "call_id": "call_1",
            "name": "shell",
            "arguments": '{"command":["cat","payroll.csv"]}',
        },
        {"type": "function_call_output", "call_id": "call_1", "output": PROSE},
        {"type": "custom_tool_call", "call_id": "call_2", "name": "apply_patch", "input": PROSE},
    ],
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "session-1",
    "store": False,
}

CASES = [(Wire.ANTHROPIC_MESSAGES, ANTHROPIC), (Wire.OPENAI_CHAT, CHAT), (Wire.OPENAI_RESPONSES, RESPONSES)]


def words(text: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[^\W\d_]{5,}", text)}


def prose(value: Any) -> set[str]:
    """Words of five letters and more in all strings, keys and markers left out."""
    if isinstance(value, str):
        return words(MARKERS.sub(" ", value))
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*(prose(child) for child in children))


KEPT = words(
    "claude-sonnet ephemeral assistant thinking send_payment object string number recipient function json_schema"
    " image_url tool_use tool_result message developer system input_text summary_text reasoning encrypted_content shell"
    " function_call function_call_output custom_tool_call apply_patch session image toolu payroll lines command"
)


@pytest.mark.parametrize(("wire", "body"), CASES)
def test_no_prose_is_left(wire: Wire, body: dict[str, Any]) -> None:
    filled = redact_body(body, FILLER)
    left = prose(filled) & (prose(body) - KEPT)
    assert not left
    assert "interbottom" not in json.dumps(filled).lower()
    assert "hunter2" not in json.dumps(filled)


@pytest.mark.parametrize(("wire", "body"), CASES)
def test_every_block_has_as_many_tokens(wire: Wire, body: dict[str, Any]) -> None:
    before, after = blocks(wire, body), blocks(wire, redact_body(body, FILLER))
    assert [[FILLER.count(text) for text in block.texts] for block in after] == [
        [FILLER.count(text) for text in block.texts] for block in before
    ]
    assert [block.ttl for block in after] == [block.ttl for block in before]


@pytest.mark.parametrize(("wire", "body"), CASES)
def test_structure_ids_and_names_stay(wire: Wire, body: dict[str, Any]) -> None:
    filled = redact_body(body, FILLER)

    def shape(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: shape(child, name) for name, child in value.items()}
        if isinstance(value, list):
            return [shape(child, key) for child in value]
        return value if key in {"id", "name", "type", "role", "tool_use_id", "call_id", "tool_call_id"} else type(value)

    assert shape(filled) == shape(body)
    assert filled["model"] == body["model"]
    if wire is Wire.ANTHROPIC_MESSAGES:
        assert filled["tools"][0]["input_schema"]["required"] == ["recipient"]
        assert filled["messages"][1]["content"][2]["input"]["amount"] == 3
        assert len(filled["messages"][1]["content"][0]["signature"]) == 16 * 9
        assert filled["system"][0]["text"].startswith("<!-- openclaw:attempt:STABLE -->")
        assert filled["system"][1]["text"].startswith("Runtime: agent=main | session=agent:main:x | sessionId=x")
    if wire is Wire.OPENAI_CHAT:
        assert set(json.loads(filled["messages"][2]["tool_calls"][0]["function"]["arguments"])) == {"path", "lines"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n\n",
        "a",
        "Ü",
        "🙂",
        "word",
        "x\n",
        "\nabc",
        "a\n\n\nb\n",
        "1234567890",
        PROSE,
        "  lead",
        "\r\n\r\n--\r\n",
    ],
)
def test_token_count_is_exact(text: str) -> None:
    assert FILLER.count(FILLER.text(text)) == FILLER.count(text)


def test_same_text_same_filler_under_one_salt() -> None:
    assert FILLER.text(PROSE) == Filler(b"one salt").text(PROSE)
    assert FILLER.text(PROSE) != Filler(b"another").text(PROSE)


def test_a_common_head_stays_common() -> None:
    lines = [f"Line {n} of a confidential log, employee {n * 7919}." for n in range(40)]
    short, long = FILLER.text("\n".join(lines[:20]) + "\n"), FILLER.text("\n".join(lines) + "\n")
    common = next((at for at, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    assert common > 0.9 * len(short)


@pytest.mark.parametrize("marker", ["[OpenClaw heartbeat poll]", "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>", *SIGNS])
def test_lines_that_tell_sessions_and_chores_apart_stay(marker: str) -> None:
    text = f"{marker} for Winterbottom's payroll.\nMore confidential words."
    filled = FILLER.text(text)
    assert filled.startswith(marker)
    assert not prose(filled) & prose(text)
    assert FILLER.count(filled) == FILLER.count(text)


def test_identity_and_housekeeping_are_what_they_were() -> None:
    body = {
        "model": "gpt-5.5",
        "messages": [
            {
                "role": "system",
                "content": "An engineer that generates concise, one-line Git commit messages",
            },
            {"role": "user", "content": PROSE},
        ],
    }
    for wire, one, chore in ((Wire.OPENAI_CHAT, body, "commit_message"), (Wire.ANTHROPIC_MESSAGES, ANTHROPIC, None)):
        call = Recorded(session="s", wire=wire, body=one)
        before, after = identify(call.request), identify(redact(call, FILLER).request)
        assert before == after
        assert after.housekeeping == chore
    assert after.session == "x"
    assert after.agent == "main"


def test_credentials_are_not_among_the_headers() -> None:
    call = Recorded(
        session="s",
        wire=Wire.OPENAI_CHAT,
        body={"messages": []},
        headers={"authorization": "Bearer x", "x-api-key": "y", "cookie": "z", "user-agent": "u", "x-session-id": "s"},
    )
    assert redact(call, FILLER).headers == {"user-agent": "u", "x-session-id": "s"}


def test_the_prompt_cache_sees_the_same_prefixes() -> None:
    grown = {**ANTHROPIC, "messages": ANTHROPIC["messages"] + [{"role": "user", "content": "And Northwind?"}]}
    before, after = PrefixCache(FILLER.count), PrefixCache(FILLER.count)
    for body in (ANTHROPIC, grown):
        usage = before.account(Wire.ANTHROPIC_MESSAGES, body, at=0.0)
        assert usage == after.account(Wire.ANTHROPIC_MESSAGES, redact_body(body, FILLER), at=0.0)
