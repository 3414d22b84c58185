"""`GET /v1/models`: when one provider's own list is the answer, when all of them, and by which names."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pennyweight.call import Call
from pennyweight.config import Resolver, load
from pennyweight.errors import Unauthenticated, Unreachable
from pennyweight.front.auth import Gate
from pennyweight.front.http import HttpRequest
from pennyweight.gateway.model_lists import ModelLists, listed
from pennyweight.gateway.models import ModelPages
from pennyweight.prices import open_book
from pennyweight.request import Reply, Wire
from pennyweight.stores.virtual_keys import KeyStore

KEY = "sk-test-0123456789abcdef"
OPENAI = b'{"object":"list","data":[{"id":"gpt-5.5","object":"model","created":7,"owned_by":"openai","x":1}]}'
ANTHROPIC = b'{"data":[{"type":"model","id":"claude-sonnet-4-6","display_name":"Sonnet","created_at":"2026-02-17"}]}'
ROUTER = b'{"data":[{"id":"gpt-5.5","context_length":9},{"id":"z-ai/glm-5","context_length":8}]}'
VERSION = ("anthropic-version", "2023-06-01")


class Lists:
    """Answers what each provider would to a request for its models; a provider without a list cannot be reached."""

    def __init__(self, **lists: bytes) -> None:
        self.lists = lists
        self.asked: list[str] = []

    async def open(self, call: Call) -> Reply:
        self.asked.append(call.target.provider)
        if call.target.provider not in self.lists:
            raise Unreachable("no connection")
        return Reply(200, (), wire=call.target.wire, content=self.lists[call.target.provider])


class Clock:
    seconds = 1_795_219_200.0

    def now(self) -> float:
        return self.seconds

    monotonic = now


def build(tmp_path: Path, backend: Lists, toml: str = "", **env: str) -> tuple[ModelPages, Any]:
    file = tmp_path / "pennyweight.toml"
    file.write_text(toml, encoding="utf-8")
    config = load(file, env, {"data_dir": tmp_path})
    keys = KeyStore(tmp_path)
    resolver = Resolver(config)
    app: Any = SimpleNamespace(
        config=config, clock=Clock(), backend=backend, prices=open_book(), keys=keys, resolve=resolver
    )
    return ModelPages(app, Gate(config, keys), ModelLists(app)), app


def asking(path: str = "/v1/models", *headers: tuple[str, str], peer: str = "127.0.0.1") -> HttpRequest:
    return HttpRequest("GET", path, "", headers, b"", peer)


def get(pages: ModelPages, path: str = "/v1/models", *headers: tuple[str, str]) -> tuple[int, dict[str, Any]]:
    page = pages.find(asking(path, *headers))
    assert page is not None
    response = asyncio.run(page(asking(path, *headers)))  # type: ignore[arg-type]
    assert isinstance(response.body, bytes)
    return response.status, json.loads(response.body)


def ids(found: tuple[int, dict[str, Any]]) -> list[str]:
    return [row["id"] for row in found[1]["data"]]


def test_all_configured_providers_are_in_one_list(tmp_path: Path) -> None:
    backend = Lists(openai=OPENAI, anthropic=ANTHROPIC)
    pages, _ = build(tmp_path, backend, OPENAI_API_KEY=KEY, ANTHROPIC_API_KEY=KEY)
    status, body = get(pages)
    assert status == 200
    assert body == {
        "object": "list",
        "data": [
            {"id": "gpt-5.5", "object": "model", "created": 7, "owned_by": "openai", "x": 1},
            {"id": "claude-sonnet-4-6", "object": "model", "created": 0, "owned_by": "anthropic"},
        ],
    }
    _, body = get(pages, "/v1/models", VERSION)
    assert body == {
        "data": [
            {"type": "model", "id": "gpt-5.5", "display_name": "gpt-5.5", "created_at": "1970-01-01T00:00:00Z"},
            {"type": "model", "id": "claude-sonnet-4-6", "display_name": "Sonnet", "created_at": "2026-02-17"},
        ],
        "has_more": False,
        "first_id": "gpt-5.5",
        "last_id": "claude-sonnet-4-6",
    }
    assert backend.asked == ["openai", "anthropic"], "the second list came from what was kept"


def test_names_reach_the_provider_that_listed_them(tmp_path: Path) -> None:
    backend = Lists(openai=OPENAI, openrouter=ROUTER)
    pages, app = build(tmp_path, backend, OPENAI_API_KEY=KEY, OPENROUTER_API_KEY=KEY)
    found = ids(get(pages))
    assert found == ["gpt-5.5", "openrouter/gpt-5.5", "z-ai/glm-5"]
    reached = [app.resolve(name, Wire.OPENAI_CHAT) for name in found]
    assert [(to.provider, to.model) for to in reached] == [
        ("openai", "gpt-5.5"),
        ("openrouter", "gpt-5.5"),
        ("openrouter", "z-ai/glm-5"),
    ]


def test_the_natural_provider_need_not_be_configured(tmp_path: Path) -> None:
    pages, _ = build(tmp_path, Lists(anthropic=ANTHROPIC), ANTHROPIC_API_KEY=KEY)
    assert ids(get(pages)) == ["claude-sonnet-4-6"]
    assert pages.find(asking("/v1/models", VERSION)) is None, "Anthropic's own list, byte for byte"


def test_a_provider_that_does_not_tell_is_listed_from_the_price_book(tmp_path: Path) -> None:
    pages, _ = build(tmp_path, Lists(), ANTHROPIC_API_KEY=KEY, OLLAMA_HOST="127.0.0.1")
    found = ids(get(pages))
    assert "claude-haiku-4-5" in found
    assert all(name.startswith("claude") for name in found)


def test_names_of_routes_come_first(tmp_path: Path) -> None:
    toml = '[[routes]]\nmodel = "fast"\nprovider = "openai"\nrename = "gpt-5.5"\n'
    pages, _ = build(tmp_path, Lists(openai=OPENAI), toml, OPENAI_API_KEY=KEY)
    assert ids(get(pages)) == ["fast", "gpt-5.5"]


@pytest.mark.parametrize(
    ("env", "headers"),
    [
        ({"OPENAI_API_KEY": KEY}, ()),
        ({}, ()),  # passed on, so that the error says which key is missing
        ({"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY}, (("authorization", "Bearer sk-of-the-caller"),)),
    ],
)
def test_one_providers_own_list_is_passed_on(
    tmp_path: Path, env: dict[str, str], headers: tuple[tuple[str, str], ...]
) -> None:
    pages, _ = build(tmp_path, Lists(), **env)
    assert pages.find(asking("/v1/models", *headers)) is None


def test_one_model(tmp_path: Path) -> None:
    backend = Lists(openai=OPENAI, anthropic=ANTHROPIC, openrouter=ROUTER)
    env = {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY, "OPENROUTER_API_KEY": KEY}
    pages, _ = build(tmp_path, backend, **env)
    assert get(pages, "/v1/models/gpt-5.5")[1]["x"] == 1
    for path in ("/v1/models/z-ai/glm-5", "/v1/models/z-ai%2Fglm-5", "/models/z-ai/glm-5"):
        assert get(pages, path) == (
            200,
            {"id": "z-ai/glm-5", "object": "model", "created": 0, "owned_by": "openrouter"},
        )
    status, body = get(pages, "/v1/models/none", VERSION)
    assert (status, body["type"], body["error"]["type"]) == (404, "error", "not_found_error")
    assert "'none'" in body["error"]["message"]


def test_other_paths_and_strangers(tmp_path: Path) -> None:
    pages, app = build(tmp_path, Lists(), OPENAI_API_KEY=KEY, ANTHROPIC_API_KEY=KEY)
    for path in ("/v1/modelsx", "/v1/x/models", "/v1/native/openai/v1/models"):
        assert pages.find(asking(path)) is None
    assert pages.find(asking("/v1/messages")) is None
    with pytest.raises(Unauthenticated):
        pages.find(asking(peer="192.0.2.1"))
    key = app.keys.add("team")
    assert pages.find(asking("/v1/models", ("x-api-key", key), peer="192.0.2.1")) is not None


def test_lists_are_read_as_providers_write_them() -> None:
    assert listed(Wire.OPENAI_CHAT, OPENAI)[0]["id"] == "gpt-5.5"
    assert listed(Wire.OLLAMA, b'{"models":[{"name":"llama3:8b","size":1}]}') == [{"id": "llama3:8b"}]
    for body in (b"", b"<html>", b"[]", b'{"data":[1]}', b'{"data":[{"id":1}]}', b"\xff"):
        assert listed(Wire.OPENAI_CHAT, body) == []
