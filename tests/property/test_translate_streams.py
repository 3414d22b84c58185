"""A translated stream does not depend on where the network cut it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.wire.translate.bodies import PAIRS, STREAMS

from pennyweight.request import Wire
from pennyweight.wire import translate


@pytest.mark.parametrize(("source", "target"), PAIRS)
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 6000), max_size=30), crlf=st.booleans())
def test_cut_anywhere(source: Wire, target: Wire, cuts: list[int], crlf: bool) -> None:
    whole = b"".join(STREAMS[source])
    expected = _through(source, target, [whole])
    if crlf:
        whole = whole.replace(b"\n", b"\r\n")
    edges = sorted({0, len(whole), *(cut % len(whole) for cut in cuts)})
    chunks = [whole[start:end] for start, end in itertools.pairwise(edges)]
    assert _through(source, target, chunks) == expected


def _through(source: Wire, target: Wire, chunks: list[bytes]) -> bytes:
    translator = translate.StreamTranslator(source, target, model="m", include_usage=True)
    return b"".join(translator.feed(chunk) for chunk in chunks) + translator.end()
