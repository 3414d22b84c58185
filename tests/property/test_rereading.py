"""A body that goes on with an earlier one is read as it would be alone, whatever has become of it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight import request as request_module
from pennyweight.errors import BadRequest
from pennyweight.prefix import Blocks, Rereading
from pennyweight.prefix import rereading as module
from pennyweight.request import Edit, Request, Wire

FIELDS = list(Request(Wire.OPENAI_CHAT, b"{}").envelope.__struct_fields__)
PAD = "x" * 300

words = st.sampled_from(["", "a", '"', "\\", "],", '"]}', "é", "{", "]", ",", '","tools":[', "\x7f"])
items = st.one_of(
    st.builds(lambda role, text: {"role": role, "content": text}, st.sampled_from(["user", "assistant"]), words),
    st.builds(lambda text: {"role": "user", "content": [{"type": "text", "text": text}, []]}, words),
    st.sampled_from([1, 12, 1.5, None, "1", [], {}]),
)
steps = st.lists(
    st.tuples(
        st.sampled_from(["grow", "end", "edit", "shrink", "tools", "model", "bytes", "other"]),
        st.lists(items, min_size=1, max_size=3),
        st.integers(0, 1_000),
    ),
    min_size=1,
    max_size=8,
)
layouts = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " : ")])


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small bodies are worth no such trouble, but make better examples."""
    monkeypatch.setattr(module, "_LEAST_BYTES", 0)
    monkeypatch.setattr(request_module, "_LARGE_BYTES", 0)


def told(request: Request) -> Any:
    """All that is read of a request; the error where it cannot be."""
    try:
        envelope = request.envelope
    except BadRequest as error:
        return str(error)
    found: dict[str, Any] = {}
    for name in FIELDS:
        value = getattr(envelope, name)
        found[name] = [bytes(item) for item in value] if isinstance(value, list) and name != "include" else value
        if isinstance(value, msgspec.Raw):
            found[name] = bytes(value)
    try:
        found["items"] = [bytes(item) for item in request.items("input") or ()]
    except (BadRequest, msgspec.DecodeError) as error:
        found["items"] = str(error)
    return found


def after(request: Request, edits: list[Edit]) -> Any:
    try:
        changed = request.edit(edits)
        return changed.raw, told(changed)
    except BadRequest as error:
        return str(error)


def bodies(steps: list[tuple[str, list[Any], int]], key: str, form: tuple[str, str], *, first: bool) -> list[bytes]:
    """One conversation's bodies, one for each step; `first`: its items stand before all else."""
    found: list[bytes] = []
    history: list[Any] = [{"role": "system", "content": PAD}, {"role": "user", "content": "begin"}]
    rest: dict[str, Any] = {"model": "m", "tools": [{"name": "t", "description": PAD}]}
    raw = b""
    for kind, new, number in steps:
        place = number % len(history)
        if kind == "grow":
            history = [*history, *new]
        elif kind == "end":
            history = [*history[:-1], *new]
        elif kind == "edit":
            history = [*history[:place], new[0], *history[place + 1 :]]
        elif kind == "shrink":
            history = history[: place + 1]
        elif kind == "tools":
            rest = {**rest, "tools": [*rest["tools"], {"name": f"t{number}"}]}
        elif kind == "model":
            rest = {**rest, "model": f"m{number}", "user": "u"}
        body = {key: history, **rest} if first else {**rest, key: history}
        raw = json.dumps(body, separators=form, ensure_ascii=bool(number % 2)).encode()
        if kind == "bytes" and found:  # what is no longer JSON, or JSON by accident
            at = number % len(raw)
            piece = json.dumps(new[0]).encode()
            raw = raw[:at] + piece + raw[at + number % 3 :]
        found.append(raw)
        if kind == "other":
            found.append(raw.replace(b"begin", b"began"))
    return found


@settings(max_examples=150, deadline=None)
@given(steps, st.sampled_from(["messages", "input"]), layouts, st.booleans())
def test_it_is_read_and_edited_as_it_would_be_alone(
    steps: list[tuple[str, list[Any], int]], key: str, form: tuple[str, str], first: bool
) -> None:
    rereading, blocks = Rereading(), Blocks(count=len)
    for raw in bodies(steps, key, form, first=first):
        known, alone = Request(Wire.OPENAI_CHAT, raw), Request(Wire.OPENAI_CHAT, raw)
        rereading.read(known, "t")
        assert told(known) == told(alone)
        if isinstance(told(alone), str):
            continue
        last = len(getattr(alone.envelope, key) if key == "messages" else alone.items(key) or ()) - 1
        mark = {"type": "ephemeral"}
        for edits in (
            [Edit((key, last), {"role": "user", "content": "other"}), Edit(("tools", 0, "cache_control"), mark)],
            [Edit((key, 0, "mark"), mark), Edit(("user",), "v"), Edit((key, last), None)],
            [Edit(("prompt_cache_key",), "k")],
        ):
            assert after(known, edits) == after(alone, edits)
        try:
            anew = Blocks(count=len).chain(alone)
        except (BadRequest, msgspec.DecodeError):
            continue
        assert tuple(blocks.chain(known, session="s")) == tuple(anew)


def long(turns: int, *, end: str = "") -> bytes:
    said = [{"role": ("user", "assistant")[turn % 2], "content": f"{turn} {PAD}"} for turn in range(turns)]
    return json.dumps({"model": "m", "messages": [*said, {"role": "user", "content": end}], "tools": []}).encode()


def test_what_a_turn_adds_is_all_that_is_read() -> None:
    rereading = Rereading()
    before = Request(Wire.OPENAI_CHAT, long(40))
    rereading.read(before, "t")
    for turns in (42, 44, 44):
        now = Request(Wire.OPENAI_CHAT, long(turns, end=f"{turns}"))
        rereading.read(now, "t")
        ours, theirs = now.envelope.messages or [], before.envelope.messages or []
        assert all(a is b for a, b in zip(ours[: len(theirs) - 1], theirs, strict=False))
        assert "_layout" in now.__dict__
        before = now


def test_two_conversations_that_begin_alike_are_told_apart() -> None:
    rereading = Rereading()
    for turn in range(20, 30):
        for name in ("one", "two"):
            raw = long(turn, end=name).replace(b"7 x", name.encode() + b" x")
            request = Request(Wire.OPENAI_CHAT, raw)
            rereading.read(request, "t")
            assert told(request) == told(Request(Wire.OPENAI_CHAT, raw))


def test_no_more_is_kept_than_allowed() -> None:
    size = 2 * len(long(20))
    rereading = Rereading(kept_bytes=20 * size)
    for number in range(200):
        raw = long(20).replace(b'"m"', b'"m%d"' % number)
        rereading.read(Request(Wire.OPENAI_CHAT, raw), "t")
        assert rereading.kept_bytes <= 20 * size
    assert rereading.kept_bytes > 18 * size
    rereading = Rereading(kept_bytes=12 * size)
    for number in range(100):  # one agent's, which begin alike
        rereading.read(Request(Wire.OPENAI_CHAT, long(20).replace(b'"5 x', b'"%d x' % number)), "t")
    assert 10 * size < rereading.kept_bytes <= 12 * size


def test_a_huge_body_is_read_and_not_kept() -> None:
    size = 2 * len(long(40))
    rereading = Rereading(kept_bytes=9 * size)
    for turns, kept in ((40, True), (42, True), (60, False), (62, False)):
        raw = long(turns)
        request = Request(Wire.OPENAI_CHAT, raw)
        rereading.read(request, "t")
        assert told(request) == told(Request(Wire.OPENAI_CHAT, raw))
        assert rereading.kept_bytes == (2 * len(raw) if kept else 0)


START = b'{"model":"m","messages":[{"role":"system","content":"' + PAD.encode() + b'"},{"role":"user","content":"b"}'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b",1]}", b",12]}"),
        (b",1]}", b",1 2]}"),
        (b",1]}", b",1,]}"),
        (b",1]}", b",1,,2]}"),
        (b",1]}", b',1],"messages":[2]}'),
        (b",1]}", b",1}]}"),
        (b',"a"]}', b',"a""b"]}'),
        (b',"a"]}', b',"a\\"]}","b"]}'),
        (b',{"a":1},[]]}', b',{"a":1},[],3 ]}'),
        (b',{"a":1}]}', b',{"a":1}, {"b":2}, {"c":3},{"d":4} , {"e":5}]}'),
        (b'],"user":"u"}', b',3],"user":"v"}'),
        (b'],"messages":[1,2,3]}', b'],"messages":[1,2,3,4]}'),
        (b'],"user":"u"} ', b',{"x":"],\\"user\\":\\"u\\"} "}],"user":"u"} '),
    ],
)
def test_what_only_looks_like_more_of_a_list_is_read_whole(old: bytes, new: bytes) -> None:
    rereading = Rereading()
    rereading.read(Request(Wire.OPENAI_CHAT, START + old), "t")
    known, alone = Request(Wire.OPENAI_CHAT, START + new), Request(Wire.OPENAI_CHAT, START + new)
    rereading.read(known, "t")
    assert told(known) == told(alone)
    if not isinstance(told(alone), str):
        count = len(alone.envelope.messages or ())
        for place in range(count):
            edits = [Edit(("messages", place), {"other": True})]
            assert after(known, edits) == after(alone, edits)


def test_nobody_reads_on_from_what_another_has_sent() -> None:
    rereading = Rereading()
    rereading.read(Request(Wire.OPENAI_CHAT, long(40)), "one")
    rereading.read(Request(Wire.OPENAI_CHAT, long(40)), "one")
    other = Request(Wire.OPENAI_CHAT, long(42))
    rereading.read(other, "two")
    assert "_layout" not in other.__dict__
