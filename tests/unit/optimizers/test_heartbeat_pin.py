"""The first form of a message: equal to the last character, or left alone."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pennyweight.optimizers.heartbeat.pin import MARKER, first_form, is_merged, new_users, print_of

STAMP = "[Fri 2026-11-20 21:31 UTC]"
TEXT = "Show me the ten biggest packages."
MARK = {"type": "ephemeral"}


def raw(content: Any, role: str = "user", **more: Any) -> bytes:
    return msgspec.json.encode({"role": role, "content": content, **more})


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


FIRST = raw([text(f"{STAMP} {TEXT}", cache_control=MARK)])
MERGED = raw([text(f"{STAMP} {MARKER}"), text(TEXT)])
KNOWN = {print_of(FIRST)}


def test_the_recorded_shape() -> None:
    assert first_form(MERGED, KNOWN) == raw(f"{STAMP} {TEXT}")
    assert is_merged(MERGED)
    assert not is_merged(FIRST)


@pytest.mark.parametrize(
    "merged",
    [
        raw([text(MARKER), text(f"{STAMP} {TEXT}")]),
        raw([text(f"{STAMP} {MARKER}"), text(MARKER), text(TEXT)]),
        raw(f"{STAMP} {MARKER}\n{TEXT}"),
        raw(f"{STAMP} {MARKER}\n\n{TEXT}"),
    ],
    ids=["stamp with the text", "two wakes", "one text", "one text, blank line"],
)
def test_other_ways_to_merge(merged: bytes) -> None:
    form = first_form(merged, KNOWN)
    assert form is not None
    assert print_of(form) == print_of(FIRST)


@pytest.mark.parametrize(
    "other",
    [
        raw([text(f"{STAMP} {MARKER}"), text(TEXT + " ")]),
        raw([text(f"{STAMP} {MARKER}"), text(TEXT.replace("ten", "Ten"))]),
        raw([text(f"[Fri 2026-11-20 21:32 UTC] {MARKER}"), text(TEXT)]),
        raw([text(f"{STAMP} note {MARKER}"), text(TEXT)]),
        raw([text(f"{STAMP} {MARKER} and more"), text(TEXT)]),
        raw([text(f"{STAMP} {MARKER}"), text("in between"), text(TEXT)]),
        raw([text(f"{STAMP} {MARKER}"), text(TEXT), text("behind")]),
        raw([text(f"{STAMP} {MARKER}"), text(TEXT)], name="somebody"),
        raw([text(f"{STAMP} {MARKER}"), text(TEXT, citations=[])]),
        raw([text(f"{STAMP} {MARKER}"), {"type": "image", "source": {}}, text(TEXT)]),
        raw([text(f"{STAMP} {MARKER}"), text(TEXT)], role="assistant"),
        raw([text(f"{STAMP} {MARKER}")]),
        raw(f"{STAMP} {MARKER} {TEXT}"),
        raw([]),
        raw(None),
        b'{"role":"user","content":[{"type":"text","text":3},null]}',
        b"[1,2]",
        b"{",
    ],
)
def test_anything_else_is_left_alone(other: bytes) -> None:
    assert first_form(other, KNOWN) is None


def test_what_was_never_sent_is_left_alone() -> None:
    assert first_form(MERGED, set()) is None


def test_a_cache_mark_stays() -> None:
    for merged in (
        raw([text(f"{STAMP} {MARKER}"), text(TEXT, cache_control=MARK)]),
        raw([text(f"{STAMP} {MARKER}", cache_control=MARK), text(TEXT)]),
    ):
        assert first_form(merged, KNOWN) == raw([text(f"{STAMP} {TEXT}", cache_control=MARK)])


def test_other_blocks_and_members_stay() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "u"}}
    first = raw([text(f"{STAMP} {TEXT}"), image], id="m1")
    merged = raw([text(f"{STAMP} {MARKER}"), text(TEXT), image], id="m1")
    assert first_form(merged, {print_of(first)}) == first


def test_new_users_are_those_since_the_last_answer() -> None:
    internal = raw([text("<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nnone")])
    answer = raw("yes", role="assistant")
    assert list(new_users([raw("old"), answer, FIRST, internal])) == [print_of(FIRST)]
    assert list(new_users([FIRST, internal])) == [print_of(FIRST)]
    result = raw([{"type": "tool_result", "tool_use_id": "t", "content": "ok"}])
    assert list(new_users([FIRST, answer, result, internal])) == []
    assert list(new_users([answer, MERGED])) == []
