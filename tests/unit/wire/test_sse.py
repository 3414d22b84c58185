from __future__ import annotations

import pytest

from pennyweight.wire.sse import Event, Splitter, around, encode, events, normal


def split(stream: bytes, size: int) -> list[Event]:
    splitter = Splitter()
    found = []
    for start in range(0, len(stream), size):
        found += splitter.feed(stream[start : start + size])
    return found + splitter.close()


STREAM = 'event: one\ndata: {"text": "héllo 🌍"}\n\n: a comment\n\ndata:no space\ndata: two lines\nid: 7\n\ndata\n\n'
EVENTS = [
    Event('{"text": "héllo 🌍"}'.encode(), "one"),
    Event(b"no space\ntwo lines"),
]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_stream_cut_anywhere_with_any_line_end_gives_the_same_events(end: str, size: int) -> None:
    assert split(STREAM.replace("\n", end).encode(), size)[:2] == EVENTS


def test_an_event_is_given_as_soon_as_its_blank_line_came() -> None:
    splitter = Splitter()
    assert splitter.feed(b"data: 1\r\n\r") == [Event(b"1")]
    assert splitter.feed(b"\ndata: 2\r\n\r\n") == [Event(b"2")]
    assert splitter.close() == []


@pytest.mark.parametrize("tail", [b"", b"\n", b"\r", b"\r\n"])
def test_a_last_event_without_its_blank_line_counts(tail: bytes) -> None:
    assert events(b"data: 1\n\ndata: 2" + tail) == [Event(b"1"), Event(b"2")]


def test_a_byte_order_mark_is_no_part_of_the_first_field() -> None:
    assert events(b"\xef\xbb\xbfdata: 1\n\n") == [Event(b"1")]


def test_an_empty_chunk_changes_nothing() -> None:
    splitter = Splitter()
    assert splitter.feed(b"") == []
    assert splitter.feed(b"data: 1\r") == []
    assert splitter.feed(b"") == []
    assert splitter.feed(b"\n\r\n") == [Event(b"1")]


def test_what_is_encoded_is_read_back() -> None:
    assert encode(b"{}", "ping") == b"event: ping\ndata: {}\n\n"
    assert encode(b"{}") == b"data: {}\n\n"
    assert events(encode(b"a\nb", "x")) == [Event(b"a\nb", "x")]


def test_around_finds_the_event_at_a_byte() -> None:
    stream = normal(b"event: a\r\ndata: first\r\n\r\ndata:second\r\n\r\ndata: th\r\ndata: ird")
    assert around(stream, stream.index(b"first")) == (0, b"first")
    assert around(stream, stream.index(b"second"))[1] == b"second"
    start, data = around(stream, stream.index(b"ird"))
    assert (stream[start : start + 5], data) == (b"data:", b"th\nird")
