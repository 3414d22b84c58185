"""Which path is what."""

from __future__ import annotations

import pytest

from pennyweight.front.endpoints import Endpoint, find, keeps_nothing, wire_of
from pennyweight.front.http import HttpRequest
from pennyweight.request import Headers, Operation, Wire

CHAT, RESPONSES, MESSAGES, OLLAMA = Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES, Wire.ANTHROPIC_MESSAGES, Wire.OLLAMA
GENERATE, COUNT, EMBED, OTHER = Operation.GENERATE, Operation.COUNT, Operation.EMBED, Operation.OTHER
CLAUDE: Headers = (("anthropic-version", "2023-06-01"),)


def at(path: str, method: str = "POST", headers: Headers = ()) -> Endpoint | None:
    return find(HttpRequest(method, path, "", headers, b"", ""))


@pytest.mark.parametrize(
    ("path", "wire", "operation"),
    [
        ("/v1/chat/completions", CHAT, GENERATE),
        ("/v1/responses", RESPONSES, GENERATE),
        ("/v1/messages", MESSAGES, GENERATE),
        ("/v1/messages/count_tokens", MESSAGES, COUNT),
        ("/v1/embeddings", CHAT, EMBED),
        ("/api/chat", OLLAMA, GENERATE),
        ("/api/generate", OLLAMA, GENERATE),
        ("/api/embed", OLLAMA, EMBED),
        ("/api/embeddings", OLLAMA, EMBED),
        ("/v1/audio/speech", CHAT, OTHER),
        ("/v1/responses/resp_1/cancel", CHAT, OTHER),
        ("/api/pull", OLLAMA, OTHER),
    ],
)
def test_posts(path: str, wire: Wire, operation: Operation) -> None:
    assert at(path) == Endpoint(wire, operation, path)


def test_a_base_url_may_lack_its_v1() -> None:
    assert at("/chat/completions") == at("/v1/chat/completions")
    assert at("/messages") == at("/v1/messages")
    assert at("/api/chat") is not None
    assert at("/chat") is None


@pytest.mark.parametrize(("headers", "wire"), [((), CHAT), (CLAUDE, MESSAGES)])
def test_what_only_passes_is_of_the_protocol_of_its_client(headers: Headers, wire: Wire) -> None:
    assert at("/v1/models", "GET", headers) == Endpoint(wire, OTHER, "/v1/models")
    assert at("/v1/chat/completions", "GET", headers) == Endpoint(wire, OTHER, "/v1/chat/completions")


def test_native_routes_name_their_provider() -> None:
    expected = Endpoint(MESSAGES, GENERATE, "/v1/messages", "moonshot", native=True)
    assert at("/v1/native/moonshot/v1/messages") == expected
    assert at("/v1/native/openai/files") == Endpoint(CHAT, OTHER, "/files", "openai", native=True)
    assert at("/v1/native/anthropic/models", "GET", CLAUDE) == Endpoint(MESSAGES, OTHER, "/models", "anthropic", True)
    assert at("/v1/native/openai") is None
    assert at("/v1/native//x") is None


@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/v2/chat/completions", "/v1", "/apis/x"])
def test_the_rest_is_nothing(path: str) -> None:
    assert at(path) is None


@pytest.mark.parametrize(
    ("path", "wire"),
    [
        ("/v1/messages", MESSAGES),
        ("/v1/messages/batches", MESSAGES),
        ("/v1/native/x/v1/messages", MESSAGES),
        ("/v1/responses", RESPONSES),
        ("/api/tags", OLLAMA),
        ("/nowhere", CHAT),
        ("", CHAT),
    ],
)
def test_errors_come_in_the_protocol_of_the_path(path: str, wire: Wire) -> None:
    assert wire_of(path) is wire


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/v1/native/lab/v1/x", "/api/tags"])
def test_what_has_a_provider_echo_our_key_is_not_passed_on(path: str) -> None:
    assert at(path, "TRACE") is None
    assert at(path, "CONNECT") is None


@pytest.mark.parametrize(
    ("method", "path", "nothing"),
    [
        ("GET", "/v1/models/gpt-5", True),
        ("GET", "/models", True),
        ("HEAD", "/api/tags", True),
        ("POST", "/v1/audio/speech", True),
        ("POST", "/v1/native/openai/v1/moderations", True),
        ("POST", "/v1/native/openai/moderations", True),
        ("POST", "/v1/chat/completions", True),
        ("GET", "/v1/files", False),
        ("POST", "/v1/files", False),
        ("GET", "/v1/native/openai/files", False),
        ("GET", "/v1/messages/batches/b", False),
        ("GET", "/v1/chat/completions", False),
        ("GET", "/v1/responses/resp_1", False),
        ("DELETE", "/v1/models/ft:mine", False),
        ("OPTIONS", "/v1/models", False),
        ("POST", "/api/pull", False),
        ("DELETE", "/api/delete", False),
        ("POST", "/v1/what-comes-next-year", False),
    ],
)
def test_what_is_not_known_to_keep_nothing_may_keep_something(method: str, path: str, nothing: bool) -> None:
    endpoint = at(path, method)
    assert endpoint is not None
    assert keeps_nothing(endpoint, method) is nothing
