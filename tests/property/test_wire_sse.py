"""Events are the same however the network cuts them, and what is encoded is what is read."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.wire.sse import Event, Splitter, encode, events

lines = st.sampled_from(["data: é🌍", "data:x", "data", "event: name", ": comment", "id: 1", "", "data: a:b", "retry"])
ends = st.sampled_from(["\n", "\r\n", "\r"])
streams = st.lists(st.tuples(lines, ends), max_size=20).map(lambda parts: "".join(a + b for a, b in parts).encode())


def reference(stream: bytes) -> list[Event]:
    """The standard's algorithm, line by line over the whole stream."""
    found, data, name = [], [], ""
    for line in [*re.split(r"\r\n|\r|\n", stream.decode()), ""]:
        if line == "":
            if data:
                found.append(Event("\n".join(data).encode(), name))
            data, name = [], ""
        field, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
    return found


@settings(max_examples=200, deadline=None)
@given(streams, st.data())
def test_a_stream_cut_anywhere_gives_the_standards_events(stream: bytes, data: st.DataObject) -> None:
    splitter, found, at = Splitter(), [], 0
    while at < len(stream):
        size = data.draw(st.integers(0, 9))
        found += splitter.feed(stream[at : at + size])
        at += size
    assert found + splitter.close() == reference(stream)
    assert events(stream) == [event for event in reference(stream) if event.data.strip()]


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_characters="\r", exclude_categories=("Cs",)), min_size=1))
def test_what_is_encoded_is_read(text: str) -> None:
    data = text.encode()
    assert events(encode(data, "name")) == ([Event(data, "name")] if data.strip() else [])
