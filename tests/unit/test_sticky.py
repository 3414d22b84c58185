"""What was sent in another form stays in it, in the form in which it was sent last."""

from __future__ import annotations

import json
from typing import Any

from pennyweight.request import DELETE, Edit, Request, Wire
from pennyweight.sticky import Sticky

TOOLS = [{"name": name, "description": f"does {name}", "input_schema": {"type": "object"}} for name in "abc"]


def request(*texts: str, tools: list[Any] | None = None) -> Request:
    messages = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]
    body = {"model": "claude-sonnet-4-6", "system": "Be brief.", "messages": messages}
    return Request(Wire.ANTHROPIC_MESSAGES, json.dumps(body | {"tools": TOOLS if tools is None else tools}).encode())


def kept(sticky: Sticky, original: Request, sent: Request) -> None:
    sticky.keep("s", sticky.pins(original, sent, by="opt", level="safe", known=sticky.of("s")))


def resumed(sticky: Sticky, again: Request) -> dict[str, Any]:
    known = sticky.of("s")
    assert known is not None
    return sticky.resume(again, known, {"opt"})[0].body


def test_a_changed_piece_is_sent_so_again() -> None:
    sticky, first = Sticky(), request("one")
    kept(sticky, first, first.edit([Edit(("tools", 2), DELETE)]))
    assert resumed(sticky, request("one", "two", "three"))["tools"] == TOOLS[:2]
    assert resumed(sticky, request("another"))["messages"][0]["content"] == "another"


def test_a_piece_changed_once_more_is_sent_in_its_newest_form() -> None:
    """Else the cache that was written with the second form would be missed by every call that follows."""
    sticky, first = Sticky(), request("one")
    kept(sticky, first, first.edit([Edit(("tools", 2), DELETE)]))
    later = request("one", "two", "three")
    kept(sticky, later, later.edit([Edit(("tools", 2), DELETE), Edit(("tools", 1), DELETE)]))
    assert resumed(sticky, request("one", "two", "three", "four", "five"))["tools"] == TOOLS[:1]


def test_what_sessions_weigh_is_kept_count_of_when_forms_change() -> None:
    sticky, first = Sticky(), request("one")
    for count in (2, 1, 2, 1):
        kept(sticky, first, first.edit([Edit(("tools",), TOOLS[:count])]))
    weighed = sticky._bytes
    sticky.drop("s")
    assert weighed > 0
    assert sticky._bytes == 0
