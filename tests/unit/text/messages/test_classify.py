from __future__ import annotations

from typing import Any

import msgspec
import pytest
from bench.messages import OWN, figures
from tests.effort import within

from pennyweight.request import Request, Wire
from pennyweight.text.messages import Classifier, classify
from pennyweight.text.messages.deeds import deeds
from pennyweight.wire.blocks import Message, Reader


def read(*messages: Any) -> tuple[Message, ...]:
    return Reader().read(Request(Wire.OPENAI_CHAT, msgspec.json.encode({"messages": messages}))).messages


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def agent(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def call(name: str, number: int, text: str = "", **arguments: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": msgspec.json.encode(arguments).decode()}
    calls = [{"id": f"c{number}", "type": "function", "function": function}]
    return {"role": "assistant", "content": text or None, "tool_calls": calls}


def result(number: int, text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"c{number}", "content": text}


def test_four_in_five_labelled_messages_are_told_rightly() -> None:
    found, _ = figures([OWN])
    assert found["accuracy"] >= 0.85
    assert found["precision_obsolete"] >= 0.9  # what is called obsolete may be dropped
    assert found["accuracy"] > found["role_only"] + 0.3


@pytest.mark.parametrize(
    ("before", "said", "kind"),
    [
        (agent("Could you please provide your order number?"), user("It's W8271."), "fact"),
        (agent("Please confirm that I shall proceed."), user("Yes, please go ahead."), "decision"),
        (agent("There are two options."), user("I'll take the first one."), "decision"),
        (agent("It is done."), user("Thanks a lot!"), "confirmation"),
        (agent("It is done."), user("Now add a test for it, please."), "user_intent"),
        (user("Where is it?"), agent("Could you please tell me your order number?"), "action_item"),
        (user("Cancel it."), agent("I'm sorry, but I cannot cancel this order."), "decision"),
        (user("Cancel it."), agent("Your order has been cancelled."), "decision"),
        (user("Where is it?"), agent("The port is set in src/app.py, line 4."), "fact"),
        (user("Thanks!"), agent("You're welcome! Have a great day!"), "confirmation"),
        (agent("Soll ich fortfahren?"), user("Ja, bitte fahren Sie fort."), "decision"),
    ],
)
def test_texts_are_told_by_what_they_do(before: Any, said: Any, kind: str) -> None:
    assert classify(read(user("Please help me."), before, said))[-1] == kind


@pytest.mark.parametrize(
    ("name", "arguments", "changes"),
    [
        ("Read", {"file_path": "a.py"}, False),
        ("Edit", {"file_path": "a.py"}, True),
        ("mcp__fs__write_file", {"path": "a"}, True),
        ("getUserDetails", {"userId": 1}, False),
        ("str_replace_editor", {"command": "view", "path": "a"}, False),
        ("str_replace_editor", {"command": "create", "path": "a"}, True),
        ("bash", {"command": "cat a.py | grep port"}, False),
        ("bash", {"command": "ls 2>&1 > /dev/null"}, False),
        ("bash", {"command": "sed -i s/80/8080/ a.py"}, True),
        ("shell", {"command": ["bash", "-lc", "rm -rf build"]}, True),
        ("bash", {"command": "echo 1 > a.txt"}, True),
        ("frobnicate", {}, False),
    ],
)
def test_calls_look_or_change(name: str, arguments: dict[str, Any], changes: bool) -> None:
    assert [deed.changes for deed in deeds(read(call(name, 1, **arguments))[0])] == [changes]


FILE = "\n".join(f"{n}: line {n} of the file" for n in range(1, 30))


def test_a_file_that_is_read_again_is_obsolete_where_it_was_read_first() -> None:
    messages = read(
        user("Change the port."),
        call("read", 1, path="src/a.py"),
        result(1, FILE),
        call("edit", 2, path="src/a.py", to="8080"),
        result(2, "ok"),
        call("read", 3, path="src/a.py"),
        result(3, FILE.replace("line 4 of", "line four of")),
    )
    kinds = classify(messages)
    assert kinds[1:3] == ("obsolete", "obsolete")
    assert kinds[3] == "decision"
    assert kinds[5:] == ("reasoning", "tool_output")


def test_another_part_of_a_file_is_not_the_same() -> None:
    later = "\n".join(f"{n}: line {n} of the file" for n in range(400, 430))
    messages = read(
        user("Go."), call("read", 1, path="a", offset=1), result(1, FILE), call("read", 2, path="a"), result(2, later)
    )
    assert "obsolete" not in classify(messages)


def test_an_attempt_that_failed_and_was_made_again_is_obsolete() -> None:
    messages = read(
        user("Book it."),
        call("book", 1, order_id="W1", paid=255),
        result(1, "Error: payment does not add up"),
        call("book", 2, order_id="W1", paid=305),
        result(2, '{"order_id": "W1", "status": "booked"}'),
    )
    assert classify(messages)[1:] == ("obsolete", "obsolete", "decision", "tool_output")


def test_a_failure_that_stands_alone_is_kept() -> None:
    messages = read(user("Book it."), call("book", 1, order_id="W1"), result(1, "Error: sold out"), agent("Sold out."))
    assert classify(messages)[1:3] == ("decision", "tool_output")


def test_parallel_results_are_obsolete_together_or_not_at_all() -> None:
    both = call("read", 1, path="a")
    both["tool_calls"] += call("read", 2, path="b")["tool_calls"]
    messages = read(user("Go."), both, result(1, FILE), result(2, "x = 1"), call("read", 3, path="a"), result(3, FILE))
    kinds = classify(messages)
    assert kinds[1] == "reasoning"
    assert kinds[2:4] == ("obsolete", "tool_output")


def test_classes_are_remembered_and_the_same() -> None:
    messages = read(
        user("Go."), *(m for n in range(30) for m in (call("read", n, path=f"p{n}"), result(n, f"{n} {FILE}")))
    )
    classifier = Classifier(messages=10)
    assert classifier.classify(messages) == classifier.classify(messages) == classify(messages)


def test_a_huge_message_costs_no_more_than_its_ends() -> None:
    messages = read(user("Go."), agent("please " * 300_000), user("thanks " * 300_000))
    assert within(3.0, lambda: classify(messages))
