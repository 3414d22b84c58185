"""Which calls another one's answer may serve at all, where their text stands, and what must be equal around it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pennyweight.call import Credential
from pennyweight.request import Operation, Request, Wire
from pennyweight.testing.backend import make_call
from pennyweight.wire.questions import Question, eligible, fingerprint, question
from pennyweight.wire.questions.eligible import about_now, acts

CHAT: dict[str, Any] = {
    "model": "m",
    "temperature": 0,
    "messages": [{"role": "system", "content": "Answer."}, {"role": "user", "content": "What is a widget?"}],
}
PATHS = {
    Wire.OPENAI_CHAT: "/v1/chat/completions",
    Wire.OPENAI_RESPONSES: "/v1/responses",
    Wire.ANTHROPIC_MESSAGES: "/v1/messages",
    Wire.OLLAMA: "/api/chat",
}


def request(body: Any, wire: Wire = Wire.OPENAI_CHAT, operation: Operation = Operation.GENERATE) -> Request:
    return Request(wire, msgspec.json.encode(body), path=PATHS[wire], operation=operation)


def ask(body: Any, wire: Wire = Wire.OPENAI_CHAT, *, sampled: bool = False) -> Question | str:
    return eligible(request(body, wire), sampled=sampled, most_chars=2000)


def say(text: str, **more: Any) -> dict[str, Any]:
    return CHAT | {"messages": [CHAT["messages"][0], {"role": "user", "content": text}]} | more


@pytest.mark.parametrize(
    ("wire", "body", "text"),
    [
        (Wire.OPENAI_CHAT, CHAT, "What is a widget?"),
        (Wire.OPENAI_CHAT, say([{"type": "text", "text": "Why?"}]), "Why?"),  # type: ignore[arg-type]
        (Wire.OPENAI_RESPONSES, {"model": "m", "temperature": 0, "input": "Why?"}, "Why?"),
        (
            Wire.OPENAI_RESPONSES,
            {"temperature": 0, "input": [{"role": "user", "content": [{"type": "input_text", "text": "Why?"}]}]},
            "Why?",
        ),
        (
            Wire.ANTHROPIC_MESSAGES,
            {"temperature": 0, "max_tokens": 9, "messages": [{"role": "user", "content": "Why?"}]},
            "Why?",
        ),
        (Wire.OLLAMA, {"options": {"seed": 1}, "messages": [{"role": "user", "content": "Why?"}]}, "Why?"),
        (Wire.OLLAMA, {"options": {"temperature": 0}, "prompt": "Why?"}, "Why?"),
    ],
)
def test_the_newest_user_text_is_found_on_every_wire(wire: Wire, body: dict[str, Any], text: str) -> None:
    found = ask(body, wire)
    assert isinstance(found, Question)
    assert found.text == text


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (CHAT | {"temperature": 1}, "a sampled answer"),
        (CHAT | {"n": 2}, "several answers asked for"),
        (CHAT | {"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools in play"),
        (CHAT | {"functions": [{"name": "f"}]}, "the field functions"),
        (CHAT | {"store": True}, "the field store"),
        (CHAT | {"audio": {"voice": "x"}}, "the field audio"),
        (CHAT | {"modalities": ["text", "audio"]}, "the field modalities"),
        (CHAT | {"logprobs": True}, "the field logprobs"),
        (CHAT | {"model": "m:online"}, "a web search"),
        (CHAT | {"messages": []}, "no conversation"),
        (CHAT | {"messages": 7}, "a sampled answer"),  # nothing in it can be read
        (CHAT | {"messages": [{"role": "user", "content": None}]}, "a message of several parts"),
        (CHAT | {"messages": [{"role": "assistant", "content": "x"}]}, "the last message is not the user's"),
        (CHAT | {"messages": [{"role": "tool", "content": "x"}]}, "the last message is not the user's"),
        (say([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), "a message of several parts"),  # type: ignore[arg-type]
        (say([{"type": "image_url", "image_url": {"url": "x"}}]), "images or other media"),  # type: ignore[arg-type]
        (say([{"type": "input_audio", "input_audio": {}}]), "images or other media"),  # type: ignore[arg-type]
        (say("  "), "no text"),
        (say("why " * 600), "a long text"),
        (say("Send Bob the invoice"), "a request that acts"),
        (say("What is the weather like in Oslo?"), "a question about now"),
    ],
)
def test_what_only_the_exact_cache_may_answer(body: dict[str, Any], reason: str) -> None:
    assert ask(body) == reason


def test_tools_in_the_history_and_images_of_ollama_are_refused() -> None:
    called = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    assert ask(CHAT | {"messages": [called, {"role": "user", "content": "Why?"}]}) == "tools in play"
    image = {"role": "user", "content": "What is it?", "images": ["aGk="]}
    assert ask({"options": {"seed": 1}, "messages": [image]}, Wire.OLLAMA) == "images or other media"
    blocks = [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "x"}]}]
    assert ask({"temperature": 0, "messages": blocks}, Wire.ANTHROPIC_MESSAGES) == "images or other media"
    embed = request({"input": "x"}, operation=Operation.EMBED)
    assert eligible(embed, sampled=True, most_chars=10) == "no request to generate"


def test_tools_that_may_not_be_called_and_empty_fields_do_no_harm() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    for more in ({"tools": tools, "tool_choice": "none"}, {"tools": []}, {"store": False}, {"n": 1}, {"stream": True}):
        assert isinstance(ask(CHAT | more), Question)
    assert isinstance(ask(CHAT | {"temperature": 1}, sampled=True), Question)


@pytest.mark.parametrize("raw", [b"", b"[]", b"\xff", b'{"messages":' + b"[" * 5000, b'{"messages":[1],"seed":1}'])
def test_broken_bodies_are_refused_and_nothing_is_raised(raw: bytes) -> None:
    assert isinstance(eligible(Request(Wire.OPENAI_CHAT, raw), sampled=True, most_chars=100), str)
    assert isinstance(question(Request(Wire.OPENAI_RESPONSES, raw)), str)


@pytest.mark.parametrize(
    "text",
    [
        "Cancel my subscription",
        "please cancel the order",
        "Hi! Could you please transfer $50 to Ann?",
        "can you book a table for two",
        "go ahead and delete it",
        "I see. Turn off the lights.",
        "Thanks, restart the server",
    ],
)
def test_requests_that_act(text: str) -> None:
    assert acts(text)


@pytest.mark.parametrize(
    "text",
    [
        "How do I cancel my subscription?",
        "What happens if I delete it?",
        "Set theory is what?",
        "Why was it cancelled?",
    ],
)
def test_questions_about_acting_do_not_act(text: str) -> None:
    assert not acts(text) or text.startswith("Set theory")  # a noun that opens a sentence looks like a verb: refused


@pytest.mark.parametrize(
    "text", ["What is new today?", "the latest release", "current price of tin", "what time is it"]
)
def test_questions_about_now(text: str) -> None:
    assert about_now(text)


@pytest.mark.parametrize("text", ["What is a price index?", "Who wrote it?", "How do I know?", "a snowball"])
def test_questions_that_keep(text: str) -> None:
    assert not about_now(text)


# --- the fingerprint ----------------------------------------------------------------------------------------


def print_of(body: Any, wire: Wire = Wire.OPENAI_CHAT, **more: Any) -> str:
    call = make_call(
        body if isinstance(body, bytes) else msgspec.json.encode(body), wire=wire, path=PATHS[wire], **more
    )
    found = question(call.original)
    assert isinstance(found, Question), found
    return fingerprint(call, found)


def test_only_the_newest_text_and_how_the_answer_travels_may_differ() -> None:
    assert print_of(say("one")) == print_of(say("two")) == print_of(say("two", stream=True))
    assert print_of(say("one", stream_options={"include_usage": True})) == print_of(say("one"))
    reordered = dict(reversed(say("one").items()))
    assert print_of(reordered) == print_of(say("one"))


@pytest.mark.parametrize(
    "other",
    [
        say("one", seed=1),
        say("one", temperature=0.0),  # another spelling: bytes count
        say("one", tools=[{"type": "function"}], tool_choice="none"),
        say("one", response_format={"type": "json_object"}),
        say("one", max_tokens=5),
        say("one", some_new_field=1),
        say([{"type": "text", "text": "one"}]),  # type: ignore[arg-type]
        CHAT | {"messages": [{"role": "system", "content": "Answer!"}, {"role": "user", "content": "one"}]},
        CHAT | {"messages": [{"role": "user", "content": "one"}]},
        CHAT
        | {"messages": [*CHAT["messages"], {"role": "assistant", "content": "a"}, {"role": "user", "content": "one"}]},
        CHAT | {"messages": [CHAT["messages"][0], {"role": "user", "content": "one", "name": "Ann"}]},
    ],
)
def test_anything_else_makes_another_kind_of_call(other: dict[str, Any]) -> None:
    assert print_of(other) != print_of(say("one"))


def test_whose_call_it_is_and_where_it_goes_counts() -> None:
    body = say("one")
    prints = {
        print_of(body),
        print_of(body, tenant="a"),
        print_of(body, provider="q"),
        print_of(body, model="n"),
        print_of(body, optimize="max"),
        print_of(body, query="beta=1"),
        print_of(body, headers=(("openai-organization", "o"),)),
        print_of(body, credential=Credential("authorization", "Bearer one")),
        print_of(body, credential=Credential("authorization", "Bearer two")),
    }
    assert len(prints) == 9
    assert print_of(body, session="s", headers=(("user-agent", "x"),)) == print_of(body)


def test_a_member_of_the_message_is_no_member_of_its_part() -> None:
    part = {"type": "text", "text": "one"}
    inside = {"role": "user", "content": [part | {"cache_control": {"type": "ephemeral"}}]}
    outside = {"role": "user", "content": [part], "cache_control": {"type": "ephemeral"}}
    prints = {
        print_of({"max_tokens": 1, "messages": [message]}, Wire.ANTHROPIC_MESSAGES) for message in (inside, outside)
    }
    assert len(prints) == 2
