"""What a call cannot do without, read off its body in each protocol, and whether a target has it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pennyweight.call import Target
from pennyweight.request import Operation, Request, Wire
from pennyweight.routing.constraints import Needs, excluded, known, needs
from pennyweight.routing.settings import TargetTable
from pennyweight.routing.virtual import Candidate
from pennyweight.wire.translate.handed_back import OWN, own_id

CHAT, RESPONSES, MESSAGES, OLLAMA = Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES, Wire.ANTHROPIC_MESSAGES, Wire.OLLAMA
HI = [{"role": "user", "content": "hi"}]


def read(wire: Wire, **body: Any) -> Needs:
    root = {"input": "hi"} if wire is RESPONSES else {"messages": HI}
    found = needs(Request(wire, json.dumps({"model": "auto", **root, **body}).encode()))
    assert found is not None
    return found


def candidate(model: str, wire: Wire = CHAT, **facts: Any) -> Candidate:
    return Candidate(Target("p", model, wire), "t", 0, TargetTable(f"p/{model}", **facts))


def why(asked: Needs, model: str = "m", wire: Wire = CHAT, **facts: Any) -> str:
    found = candidate(model, wire, **facts)
    return excluded(asked, found, known(found))


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 40_000}}
TOOL = {"type": "function", "function": {"name": "f"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}


@pytest.mark.parametrize(
    ("wire", "body", "field"),
    [
        (CHAT, {"tools": [TOOL]}, "tools"),
        (MESSAGES, {"tools": [{"name": "f", "input_schema": {}}]}, "tools"),
        (CHAT, {"messages": [{"role": "user", "content": [IMAGE]}]}, "images"),
        (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "images"),
        (MESSAGES, {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "images"),
        (OLLAMA, {"messages": [{"role": "user", "content": "x", "images": ["QUJD"]}]}, "images"),
        (CHAT, {"response_format": SCHEMA}, "json_schema"),
        (RESPONSES, {"text": {"format": {"type": "json_schema", "name": "x"}}}, "json_schema"),
        (MESSAGES, {"output_config": {"format": {"type": "json_schema", "schema": {}}}}, "json_schema"),
        (OLLAMA, {"format": {"type": "object"}}, "json_schema"),
        (CHAT, {"reasoning_effort": "high"}, "reasoning"),
        (RESPONSES, {"reasoning": {"effort": "low"}}, "reasoning"),
        (MESSAGES, {"thinking": {"type": "enabled", "budget_tokens": 2000}}, "reasoning"),
        (OLLAMA, {"think": True}, "reasoning"),
    ],
)
def test_each_protocol_says_what_it_needs(wire: Wire, body: dict[str, Any], field: str) -> None:
    assert getattr(read(wire, **body), field) is True
    assert getattr(read(wire), field) is False
    lacking = {field: False}
    assert why(read(wire, **body), wire=wire, **lacking).startswith("no ")
    assert why(read(wire), wire=wire, **lacking) == ""
    assert why(read(wire, **body), wire=wire) == ""  # what nobody knows excludes nothing


@pytest.mark.parametrize(
    "body", [{"reasoning_effort": "none"}, {"response_format": {"type": "text"}}, {"format": "json"}, {"tools": []}]
)
def test_what_is_off_is_no_need(body: dict[str, Any]) -> None:
    asked = read(CHAT, **body)
    assert (asked.reasoning, asked.json_schema, asked.tools) == (False, False, False)


def test_a_text_about_images_is_none() -> None:
    assert not read(CHAT, messages=[{"role": "user", "content": 'set "type": "image_url" in it'}]).images


def test_the_context_counts_the_answer_too() -> None:
    asked = read(CHAT, messages=[{"role": "user", "content": "word " * 2_000}], max_tokens=4_000)
    assert 2_500 < asked.prompt_tokens < 3_500
    assert "6," in why(asked, context_tokens=6_000)
    assert why(asked, context_tokens=8_000) == ""


def test_a_family_is_known_and_the_operator_knows_better() -> None:
    asked = read(CHAT, messages=[{"role": "user", "content": [IMAGE]}])
    assert why(asked, "deepseek-v3.2") == "no images"
    assert why(asked, "deepseek-v3.2", images=True) == ""
    assert why(asked, "gpt-5-mini") == ""


def test_an_image_is_not_counted_by_its_bytes() -> None:
    assert read(CHAT, messages=[{"role": "user", "content": [IMAGE]}]).prompt_tokens < 2_000


def test_an_answer_longer_than_the_target_gives_is_refused() -> None:
    assert "8,192" in why(read(CHAT, max_tokens=32_000), output_tokens=8_192)


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (RESPONSES, {"previous_response_id": "resp_1"}),
        (RESPONSES, {"input": [{"type": "item_reference", "id": "fc_68"}]}),
        (RESPONSES, {"tools": [{"type": "web_search"}]}),
        (MESSAGES, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    ],
)
def test_what_only_its_own_protocol_has_stays_there(wire: Wire, body: dict[str, Any]) -> None:
    asked = read(wire, **body)
    assert why(asked, wire=CHAT) == asked.native != ""
    assert why(asked, wire=wire) == ""


def test_what_the_gateway_keeps_itself_binds_to_nobody() -> None:
    own = f"resp_{OWN}1"
    assert read(RESPONSES, previous_response_id=own).native == ""
    assert read(RESPONSES, input=[{"type": "item_reference", "id": own_id("fc_", "1", "0")}]).native == ""


def test_several_answers_are_not_asked_of_one_who_gives_one() -> None:
    assert why(read(CHAT, n=3), wire=MESSAGES) != ""
    assert why(read(CHAT, n=3)) == ""


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"model":3}', b'{"messages":"x"}'])
def test_what_cannot_be_read_has_no_needs(raw: bytes) -> None:
    assert needs(Request(CHAT, raw)) is None


def test_embeddings_are_not_routed() -> None:
    assert needs(Request(CHAT, b'{"input":"x"}', operation=Operation.EMBED)) is None
