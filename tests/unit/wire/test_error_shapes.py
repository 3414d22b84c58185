from __future__ import annotations

import json

import pytest

from pennyweight import errors
from pennyweight.request import Wire
from pennyweight.wire import anthropic_messages, codec, ollama, openai_chat, openai_responses


def test_each_protocol_says_it_in_its_own_shape() -> None:
    said = {"message": "No.", "type": "invalid_request_error", "param": None, "code": "context_length_exceeded"}
    arguments = (400, "invalid_request_error", "No.")
    for wire in (openai_chat, openai_responses):
        assert json.loads(wire.error(*arguments, code="context_length_exceeded")) == {"error": said}
    anthropic = {"type": "error", "error": {"type": "invalid_request_error", "message": "No."}}
    assert json.loads(anthropic_messages.error(*arguments, code="x")) == anthropic
    assert json.loads(ollama.error(*arguments)) == {"error": "No."}


def test_errors_in_a_stream() -> None:
    assert openai_chat.error_event("api_error", "No.").startswith(b'data: {"error":{"message":"No."')
    assert ollama.error_event("api_error", "No.") == b'{"error":"No."}\n'
    for wire in (openai_responses, anthropic_messages):
        event = wire.error_event("overloaded_error", "No.")
        assert event.startswith(b"event: error\ndata: ")
        assert event.endswith(b"\n\n")
        assert json.loads(event.partition(b"data: ")[2])["type"] == "error"


@pytest.mark.parametrize(
    ("error", "anthropic", "openai"),
    [
        (errors.BadRequest, "invalid_request_error", "invalid_request_error"),
        (errors.Unauthenticated, "authentication_error", "authentication_error"),
        (errors.LimitReached, "billing_error", "billing_error"),
        (errors.Forbidden, "permission_error", "permission_error"),
        (errors.NotFound, "not_found_error", "not_found_error"),
        (errors.RequestTimeout, "timeout_error", "timeout_error"),
        (errors.TooLarge, "request_too_large", "invalid_request_error"),
        (errors.RateLimited, "rate_limit_error", "rate_limit_error"),
        (errors.Overloaded, "overloaded_error", "server_error"),
        (errors.UpstreamTimeout, "timeout_error", "server_error"),
        (errors.Unreachable, "api_error", "server_error"),
    ],
)
def test_our_kinds_go_by_each_protocols_names(
    error: type[errors.PennyweightError], anthropic: str, openai: str
) -> None:
    assert json.loads(anthropic_messages.error(error.status, error.kind, ""))["error"]["type"] == anthropic
    assert json.loads(openai_chat.error(error.status, error.kind, ""))["error"]["type"] == openai


def test_a_foreign_kind_goes_by_its_status() -> None:
    assert anthropic_messages.error_type("insufficient_quota", 402) == "billing_error"
    assert anthropic_messages.error_type("server_error", 529) == "overloaded_error"
    assert anthropic_messages.error_type("teapot", 418) == "invalid_request_error"
    assert anthropic_messages.error_type("server_error", 500) == "api_error"


@pytest.mark.parametrize("wire", Wire)
def test_an_error_ends_a_tap_and_content_types_are_told(wire: Wire) -> None:
    module = codec(wire)
    tap = module.tap()
    tap.feed(module.error_event("api_error", "No."))
    assert not tap.done().complete
    assert not module.read(module.error(500, "api_error", "No.")).complete
    assert module.stream_type() == ("application/x-ndjson" if wire is Wire.OLLAMA else "text/event-stream")
