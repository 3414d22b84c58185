"""What kind of task a request is: structure first, then the words of the newest human intent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.effort import within

from pennyweight.request import Request, Wire
from pennyweight.routing.intent import Intents, is_follow_up
from pennyweight.routing.tasks import TYPES, Tasks, TaskType, classify

TOOL = {"type": "function", "function": {"name": "read", "description": "Read a file. " * 40, "parameters": {}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "read", "arguments": '{"path":"a.py"}'}}


def chat(*messages: dict[str, Any], **more: Any) -> Request:
    body = {"model": "auto", "messages": list(messages), **more}
    return Request(Wire.OPENAI_CHAT, msgspec.json.encode(body), path="/v1/chat/completions")


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


# Phrases as people write them, by hand, from no data set.
PHRASES: list[tuple[TaskType, str]] = [
    ("code", "Write a function in Go that reverses a linked list and add a table test for it."),
    ("code", "I get `TypeError: 'NoneType' object is not subscriptable` in line 14 of loader.py, fix it"),
    ("code", "refactor the payment module so that the retry logic lives in one place"),
    ("code", "Implement a token bucket rate limiter in TypeScript."),
    (
        "maths",
        "A bakery sells 12 rolls at $0.40 each and 5 loaves at $3.20. How much money does it take in altogether?",
    ),
    ("maths", "Solve \\frac{x^2-1}{x+1} = 3 for x."),
    ("maths", "Calculate the integral of x*sin(x) from 0 to pi."),
    ("reasoning", "Prove that there are infinitely many primes congruent to 3 modulo 4."),
    ("reasoning", "Compare event sourcing with plain CRUD for a small billing team; what are the trade-offs?"),
    (
        "extraction",
        "Extract all names, dates and amounts from this invoice and return them as JSON:\n\nACME, 3 May, 40 EUR",
    ),
    (
        "classification",
        "Classify the sentiment of this review as positive, negative or neutral: 'It broke after a day.'",
    ),
    ("summary", "Summarize the following article in three sentences.\n\n" + "The council met on Monday again. " * 30),
    ("summary", "tl;dr of this thread please"),
    ("translation", "Translate to German: The meeting has been moved to Thursday."),
    ("translation", "Übersetze ins Englische: Der Zug fällt heute aus."),
    ("creative", "Write a short story about a lighthouse keeper who is afraid of the sea."),
    ("creative", "Give me a slogan and a haiku for a bakery"),
    ("question", "What is the difference between a stack and a heap?"),
    ("question", "Who painted the ceiling of the Sistine Chapel?"),
    ("question", "Which gas do plants take in?\nA. Oxygen\nB. Carbon dioxide\nC. Helium\nD. Neon\nAnswer:"),
    ("general", "Hello!"),
    ("general", "hm"),
]


@pytest.mark.parametrize(("kind", "text"), PHRASES, ids=[text[:40] for _, text in PHRASES])
def test_a_phrase_is_of_its_type(kind: TaskType, text: str) -> None:
    task = classify(chat(user(text)))
    assert task.type == kind
    assert 0 <= task.certainty <= 1
    assert 0 <= task.complexity <= 1
    assert 0 <= task.reasoning_depth <= 1


def test_history_schemas_and_reminders_are_passed_over() -> None:
    history = [user("Prove Fermat's little theorem by induction."), said("By induction on a…")] * 20
    newest = user(
        [
            {"type": "text", "text": "<system-reminder>\nYou must refactor and debug the code.\n</system-reminder>"},
            {"type": "text", "text": "Translate to French: good night"},
        ]
    )
    task, text = Tasks().told(chat({"role": "system", "content": "You write code. Debug it."}, *history, newest))
    assert task.type == "translation"
    assert text == "Translate to French: good night"


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "Yes, please",
        "commit it",
        "ok go ahead",
        "no, that broke the build",
        "do it again",
        "weiter",
        "👍",
        "thanks!",
    ],
)
def test_a_follow_up_is_of_the_type_it_follows(text: str) -> None:
    assert is_follow_up(text)
    before = user("Implement a parser for ISO 8601 durations in Rust.")
    task = classify(chat(before, said("Shall I?"), user("sure"), said("Done."), user(text)))
    assert task.type == "code"
    assert task.follow_up


@pytest.mark.parametrize(
    "text",
    [
        "add a test",
        "stop the server on port 80",
        "what is this?",
        "right triangle with legs 3 and 4",
        "fix the login page",
    ],
)
def test_what_stands_for_itself_is_no_follow_up(text: str) -> None:
    assert not is_follow_up(text)


def test_a_conversation_of_nothing_but_yes_is_general() -> None:
    assert classify(chat(user("yes"), said("What?"), user("ok"))).type == "general"


def test_a_tool_loop_is_one_whatever_was_asked() -> None:
    loop = [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "x = 1"},
    ]
    task = classify(chat(user("Translate the comments to French"), *loop * 30, tools=[TOOL]))
    assert (task.type, task.topic, task.loop, task.tools) == ("tools", "translation", True, True)


def test_a_tool_loop_of_anthropic_messages() -> None:
    body = {
        "model": "auto",
        "max_tokens": 100,
        "tools": [{"name": "read", "input_schema": {}}],
        "messages": [
            user("Summarise the log in two sentences"),
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "read", "input": {}}]},
            user([{"type": "tool_result", "tool_use_id": "t1", "content": "a line\n" * 900}]),
        ],
    }
    task, text = Tasks().told(Request(Wire.ANTHROPIC_MESSAGES, msgspec.json.encode(body)))
    assert (task.type, task.topic, task.loop) == ("tools", "summary", True)
    assert text == "Summarise the log in two sentences"
    body["messages"][-1]["content"].append({"type": "text", "text": "Stop. Translate it to German instead."})  # type: ignore[index]
    task, text = Tasks().told(Request(Wire.ANTHROPIC_MESSAGES, msgspec.json.encode(body)))
    assert text == "Stop. Translate it to German instead."
    assert not task.loop


def test_a_tool_loop_of_responses() -> None:
    items = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Fix the bug in fill()"}]},
        {"type": "reasoning", "encrypted_content": "abc"},
        {"type": "function_call", "call_id": "c", "name": "shell", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "ok"},
    ]
    raw = msgspec.json.encode({"model": "auto", "input": items, "tools": [{"type": "function", "name": "shell"}]})
    task, text = Tasks().told(Request(Wire.OPENAI_RESPONSES, raw))
    assert (task.type, task.loop, text) == ("tools", True, "Fix the bug in fill()")


def test_tools_that_are_offered_are_for_doing_things() -> None:
    assert classify(chat(user("Rename the config key in all files"), tools=[TOOL])).type == "tools"
    assert classify(chat(user("Translate to French: good night"), tools=[TOOL])).type == "translation"
    assert classify(chat(user("Fix the bug in a.py"), tools=[TOOL], tool_choice="none")).type == "code"


def test_a_client_s_own_chores_are_side_tasks() -> None:
    task = classify(chat(user("Implement a compiler")), housekeeping="title")
    assert (task.type, task.certainty, task.urgency) == ("side", 1.0, "leisure")


def test_an_output_schema_tells_extraction_from_classification() -> None:
    def asked(properties: dict[str, Any]) -> Request:
        schema = {"type": "object", "properties": properties}
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        return chat(user("The train was late and nobody said why."), response_format=form)

    label = classify(asked({"label": {"enum": ["good", "bad"]}}))
    fields = classify(asked({"who": {"type": "string"}, "when": {"type": "string"}, "what": {"type": "string"}}))
    assert (label.type, fields.type) == ("classification", "extraction")
    assert label.structured
    assert fields.structured


def test_images_and_pasted_code_are_seen() -> None:
    parts = [{"type": "text", "text": "What is on it?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    assert classify(chat(user(parts))).images
    assert not classify(chat(user(parts), said("A cat."), user("Who invented paper?"))).images
    assert classify(chat(user("```python\ndef f(x):\n    return x\n```\nwhy does this recurse for ever?"))).topic in (
        "code",
        "question",
    )


def test_more_to_do_looks_harder() -> None:
    easy = classify(chat(user("What is a stack?"))).complexity
    hard = classify(
        chat(
            user(
                "Design a billing service. It must:\n1. handle refunds without double entries\n2. support 12 "
                "currencies, at least 99.95% uptime and exactly-once delivery\n3. ensure that invoices of 2024, 2025 "
                "and 2026 can be rebuilt, including partial ones, and prove that the ledger never drifts."
            )
        )
    ).complexity
    assert hard > easy + 0.2


def test_the_length_that_is_asked_for_is_expected() -> None:
    assert classify(chat(user("Explain entropy in one sentence."))).expected_output_tokens == 28
    assert classify(chat(user("Write an essay of 1000 words on tea."))).expected_output_tokens == 1400
    assert classify(chat(user("Write an essay of 1000 words on tea."), max_tokens=50)).expected_output_tokens == 50


def test_urgency_and_trade() -> None:
    task = classify(chat(user("URGENT: is this dosage of the drug safe for a patient with a chronic disease?")))
    assert (task.urgency, task.expertise) == ("urgent", "medicine")
    assert classify(chat(user("hello"), service_tier="flex")).urgency == "leisure"


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{", b'{"messages": 3}', b'{"messages":[1,null,{"role":4},{}]}', b'{"input":{"a":1}}']
)
def test_what_cannot_be_read_is_general(raw: bytes) -> None:
    for wire in Wire:
        assert classify(Request(wire, raw)).type == "general"


def test_a_prompt_of_ollama_and_a_plain_input() -> None:
    generate = Request(
        Wire.OLLAMA, b'{"model":"auto","prompt":"Translate to French: good night"}', path="/api/generate"
    )
    assert classify(generate).type == "translation"
    assert classify(Request(Wire.OPENAI_RESPONSES, b'{"input":"Prove that e is irrational."}')).type == "reasoning"


def test_what_clients_put_in_is_not_the_intent() -> None:
    texts = [
        "[Fri 2026-11-20 21:30 UTC] How tall is K2?",
        "How tall is K2?\n\nRuntime: agent=main | session=s | sessionId=rc1 | host=HOST",
        "How tall is K2?\n\n# *SEARCH/REPLACE block* Rules:\n\nEvery *SEARCH/REPLACE block* must use this format",
        "<environment_context>\n<cwd>/w</cwd>\n</environment_context>\nHow tall is K2?",
    ]
    for text in texts:
        assert Intents().of(chat(user(text))).text == "How tall is K2?"
    context = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nActive sessions: none\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>"
    assert Intents().of(chat(user("How tall is K2?"), user(context))).text == "How tall is K2?"


def test_the_types_are_those_that_are_agreed() -> None:
    assert len(TYPES) == 12
    assert len({kind for kind, _ in PHRASES} - set(TYPES)) == 0


def test_200k_tokens_take_less_than_two_milliseconds_cold() -> None:
    turns = [user("Find the cause and repair it."), *[m for i in range(100) for m in _step(i)]]
    request = chat({"role": "system", "content": "You are an agent. " * 2_000}, *turns, tools=[TOOL] * 40)
    assert len(request.raw) > 800_000
    assert request.envelope  # as every call has it by then
    assert Tasks().of(request).loop
    assert within(0.002, lambda: Tasks().of(request), tries=20)


def _step(number: int) -> list[dict[str, Any]]:
    return [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": f"line {number} of the log\n" * 380},
    ]
