"""What was sent in another form stays in that form: pins hold behind what was sent before them, and nowhere else."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest

from pennyweight.request import DELETE, Edit, Request, Wire
from pennyweight.sticky import Pin, Pins, Sticky

MARK = {"type": "ephemeral"}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def model(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def body(*messages: Any, wire: Wire = Wire.ANTHROPIC_MESSAGES, **fields: Any) -> Request:
    return Request(wire, json.dumps({"model": "m", **fields, "messages": list(messages)}).encode())


def pinned(original: Request, *edits: Edit, level: Literal["safe", "max"] = "safe", known: Pins | None = None) -> Pins:
    return {**(known or {}), **Sticky().pins(original, original.edit(edits), by="x", level=level, known=known)}


def resumed(request: Request, known: Pins, allowed: set[str] | None = None, **options: Any) -> Any:
    return Sticky().resume(request, known, {"x"} if allowed is None else allowed, **options)[0].body


A, B, C, D = user("a"), model("b"), user("c"), model("d")
LONG = ("messages", 0, "content")


def test_a_rewritten_message_is_sent_so_again_however_the_conversation_grows() -> None:
    known = pinned(body(A, B, C), Edit(LONG, "short"))
    assert resumed(body(A, B, C, D, user("e")), known)["messages"] == [user("short"), B, C, D, user("e")]


def test_deleted_and_inserted_messages_stay_so() -> None:
    known = pinned(body(A, B, C), Edit(("messages",), [A, user("put in"), C]))
    assert resumed(body(A, B, C, D), known)["messages"] == [A, user("put in"), C, D]
    gone = pinned(body(A, B, C, D), Edit(("messages", 1), DELETE), Edit(("messages", 1), DELETE))
    assert resumed(body(A, B, C, D, A), gone)["messages"] == [A, D, A]


def test_of_two_equal_messages_only_the_one_that_was_deleted_is() -> None:
    known = pinned(body(A, A, B), Edit(("messages", 0), DELETE))
    assert resumed(body(A, A, B, C), known)["messages"] == [A, B, C]


def test_a_pin_holds_behind_what_was_sent_before_it_and_not_elsewhere() -> None:
    known = pinned(body(A, B, C), Edit(("messages", 2, "content"), "short"))
    assert resumed(body(A, D, C), known)["messages"] == [A, D, C]
    assert resumed(body(C, B, C), known)["messages"] == [C, B, C]


@pytest.mark.parametrize("field", ["system", "instructions"])
def test_a_head_stays_changed_added_and_taken_away(field: str) -> None:
    there, bare = body(A, **{field: "old"}), body(A)
    assert resumed(there, pinned(there, Edit((field,), "new")))[field] == "new"
    assert resumed(bare, pinned(bare, Edit((field,), "new")))[field] == "new"
    assert field not in resumed(there, pinned(there, Edit((field,), DELETE)))


def test_tools_stay_changed_added_and_taken_away() -> None:
    first, second = {"name": "t1"}, {"name": "t2"}
    some, none = body(A, tools=[second, first]), body(A)
    assert resumed(some, pinned(some, Edit(("tools",), [first, second])))["tools"] == [first, second]
    assert resumed(none, pinned(none, Edit(("tools",), [first])))["tools"] == [first]
    assert "tools" not in resumed(some, pinned(some, Edit(("tools",), DELETE)))


def test_a_piece_goes_out_with_the_marks_that_the_caller_has_on_it_now() -> None:
    marked = {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": MARK}]}
    known = pinned(body(marked, B, C), Edit(("messages", 0, "content", 0, "text"), "short"))
    assert resumed(body(A, B, C), known)["messages"][0]["content"] == [{"type": "text", "text": "short"}]
    hour = {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {**MARK, "ttl": "1h"}}]}
    (block,) = resumed(body(hour, B, C), known)["messages"][0]["content"]
    assert block == {"type": "text", "text": "short", "cache_control": {**MARK, "ttl": "1h"}}


def test_a_mark_is_not_put_where_the_provider_refuses_it() -> None:
    marked = {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": MARK}]}
    for content in ("", [{"type": "text", "text": ""}], [{"type": "thinking", "thinking": "t", "signature": "s"}]):
        known = pinned(body(marked, B), Edit(("messages", 0, "content"), content))
        assert "cache_control" not in json.dumps(resumed(body(marked, B), known))


def test_what_is_rewritten_once_more_is_sent_in_its_newest_form() -> None:
    first = pinned(body(A, B, C), Edit(LONG, "short"))
    both = pinned(body(A, B, C), Edit(LONG, "shorter"), known=first)
    assert resumed(body(A, B, C, D), both)["messages"] == [user("shorter"), B, C, D]
    back = pinned(body(A, B, C), known=first)
    assert resumed(body(A, B, C, D), back)["messages"] == [A, B, C, D]


def test_pins_of_optimizers_that_are_off_or_go_too_far_do_not_count() -> None:
    known = pinned(body(A, B), Edit(LONG, "short"), level="max")
    assert resumed(body(A, B), known, set())["messages"] == [A, B]
    assert resumed(body(A, B), known, level="safe")["messages"] == [A, B]
    safe = {**known, **pinned(body(user("q"), B), Edit(LONG, "short"))}
    assert resumed(body(user("q"), B), safe, level="safe")["messages"] == [user("short"), B]


def test_what_is_not_pinned_keeps_its_bytes() -> None:
    raw = b'{ "model":"m", "system": "s",  "input" : "a text",\n"x": 1.50 }'
    request = Request(Wire.OPENAI_RESPONSES, raw)
    known = pinned(request, Edit(("system",), "new"))
    assert resumed(request, known) == {"model": "m", "system": "new", "input": "a text", "x": 1.5}
    assert Sticky().resume(body(A), known, {"x"})[0].raw == body(A).raw
    nothing = Request(Wire.OLLAMA, b'{"model":"m","prompt":"p","system":"s"}')
    assert resumed(nothing, pinned(nothing, Edit(("system",), "n"))) == {"model": "m", "prompt": "p", "system": "n"}


def test_a_text_as_input_stays_a_text_when_it_is_changed() -> None:
    request = Request(Wire.OPENAI_RESPONSES, b'{"model":"m","input":"long"}')
    assert resumed(request, pinned(request, Edit(("input",), "short")))["input"] == "short"
    listed = pinned(request, Edit(("input",), [user("short")]))
    assert resumed(request, listed)["input"] == [user("short")]


def pins_of(size: int, start: int = 0, count: int = 1) -> Pins:
    return {str(n).encode(): Pin("x", "safe", (b"x" * size,)) for n in range(start, start + count)}


def test_sessions_are_forgotten_by_number_and_by_size() -> None:
    sticky = Sticky(sessions=2)
    for session in "abc":
        sticky.keep(session, pins_of(1))
    assert [bool(sticky.of(session)) for session in "abc"] == [False, True, True]
    by_size = Sticky(size_bytes=1_000)
    for session in "abc":
        by_size.keep(session, pins_of(400))
    assert [bool(by_size.of(session)) for session in "abc"] == [False, True, True]


def test_one_session_alone_cannot_outgrow_the_limit() -> None:
    sticky = Sticky(size_bytes=2_000)
    for number in range(100):
        sticky.keep("s", pins_of(100, number))
    known = sticky.of("s")
    assert known is not None
    assert sum(len(pin.pieces[0]) for pin in known.values()) <= 2_000
    assert str(99).encode() in known


def test_a_session_that_is_left_alone_has_no_pins_and_gets_none() -> None:
    sticky = Sticky(sessions=2)
    sticky.keep("s", pins_of(1))
    sticky.leave("s")
    sticky.keep("s", pins_of(1))
    assert sticky.of("s") is None
    assert sticky.left("s")
    assert not sticky.left("other")
    for session in "abc":
        sticky.leave(session)
    assert not sticky.left("s")


@pytest.mark.parametrize(
    "messages", [[], [None], [5, "x", True], [{}], [{"role": 7, "content": None}], [{"content": 5}], [[[]]]]
)
def test_odd_messages_do_no_harm(messages: list[Any]) -> None:
    request = body(*messages, system=5, tools=[None, 7])
    sticky = Sticky()
    new = sticky.pins(request, request.edit((Edit(("system",), "s"),)), by="x", level="safe", known=None)
    sent, _ = sticky.resume(request, new, {"x"})
    assert sent.body == {**request.body, "system": "s"}


def test_what_sessions_weigh_is_kept_count_of_when_forms_change() -> None:
    sticky, first = Sticky(), body(A, tools=[{"name": name} for name in "abc"])
    for count in (2, 1, 2, 1):
        changed = first.edit([Edit(("tools",), [{"name": name} for name in "abc"[:count]])])
        sticky.keep("s", sticky.pins(first, changed, by="x", level="safe", known=sticky.of("s")))
    weighed = sticky._bytes
    sticky.leave("s")
    assert weighed > 0
    assert sticky._bytes == 0
