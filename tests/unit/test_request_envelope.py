"""Fields of the envelope that are kept as bytes may hold any JSON value."""

from __future__ import annotations

import pytest

from pennyweight.request import Request, Wire


@pytest.mark.parametrize("value", [b'"text"', b'[{"type":"text"}]', b'{"a":1}', b"null", b"12"])
@pytest.mark.parametrize("field", ["input", "system", "instructions", "metadata", "stream_options"])
def test_a_raw_field_takes_any_value(field: str, value: bytes) -> None:
    envelope = Request(Wire.OPENAI_RESPONSES, b'{"%s":%s}' % (field.encode(), value)).envelope
    assert bytes(getattr(envelope, field)) == value


def test_an_absent_raw_field_is_none() -> None:
    assert Request(Wire.OPENAI_RESPONSES, b"{}").envelope.input is None
