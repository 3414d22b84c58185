"""`GET /v1/models`, `/v1/models/<id>` and Ollama's `/api/tags` where the answer is not one provider's: all that are
configured."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from ..config.tiers import choices
from ..errors import NotFound
from ..front.endpoints import Endpoint, find
from ..front.front import error_response
from ..front.http import HttpRequest, HttpResponse
from ..request import Wire
from .model_lists import ModelLists, Row, body, merged

if TYPE_CHECKING:
    from ..app import App
    from ..front.auth import Gate

__all__ = ["ModelPages"]

Page = Callable[[HttpRequest], Awaitable[HttpResponse]]

_PATH = "/v1/models"


class ModelPages:
    """`find` gives the page, None where the provider's own list is the answer, byte for byte.

    That is so for a caller with a provider key of its own, who asks what that key can use, and where the provider of
    the caller's protocol is the only one configured and no route or choice adds a name; also where nothing is
    configured, so that the error tells which key is missing.
    """

    def __init__(self, app: App, gate: Gate, lists: ModelLists) -> None:
        self._app = app
        self._gate = gate
        self._lists = lists

    def find(self, request: HttpRequest) -> Page | None:
        """Raises Unauthenticated."""
        if request.path == "/api/tags" and request.method == "GET" and choices(self._app.config):
            self._gate.admit(request)
            return self._tags
        if not request.path.startswith(("/v1/models", "/models")):
            return None
        endpoint = find(request)
        if endpoint is None or _name(endpoint) is None or not self._merges(endpoint.wire):
            return None
        _, credential = self._gate.admit(request)
        return self._page if credential is None else None

    def _merges(self, wire: Wire) -> bool:
        """Whether a caller of this protocol can reach more than what its natural provider lists."""
        config = self._app.config
        configured = {name for name, provider in config.providers.items() if provider.configured}
        if any("*" not in rule.model for rule in config.routes) or choices(config):
            return True
        natural = "anthropic" if wire is Wire.ANTHROPIC_MESSAGES else "openai"
        return bool(configured - {natural})

    async def _tags(self, request: HttpRequest) -> HttpResponse:
        """Ollama's own list, whose clients choose from it, with the virtual models before its models."""
        theirs = await self._lists.tags()
        ours = [{"name": name, "model": name, **_TAG} for name in choices(self._app.config)]
        named = {tag["name"] for tag in ours}
        return _json({"models": [*ours, *(tag for tag in theirs if tag.get("name") not in named)]})

    async def _page(self, request: HttpRequest) -> HttpResponse:
        endpoint = find(request)
        assert endpoint is not None
        rows = merged(self._app, await self._lists.rows(), endpoint.wire)
        name = _name(endpoint)
        return _one(rows, name, endpoint.wire) if name else _json(body(rows, endpoint.wire))


_TAG: dict[str, Any] = {
    "modified_at": "1970-01-01T00:00:00Z",
    "size": 0,
    "digest": "0" * 64,
    "details": {"format": "virtual", "family": "pennyweight", "parameter_size": "", "quantization_level": ""},
}


def _name(endpoint: Endpoint) -> str | None:
    """The model that the path names, "" for the list of all; None for another path."""
    path, slash, rest = endpoint.path.partition(f"{_PATH}/")
    if slash and not path:
        return unquote(rest)
    return "" if path == _PATH else None


def _one(rows: list[Row], name: str, wire: Wire) -> HttpResponse:
    for row in rows:
        if row["id"] == name:
            return _json(row)
    known = f"There is no model {name[:200]!r} at the configured providers. See GET {_PATH}."
    return error_response(wire, NotFound(known))


def _json(value: dict[str, Any]) -> HttpResponse:
    headers = (("content-type", "application/json"), ("cache-control", "no-store"))
    return HttpResponse(200, headers, msgspec.json.encode(value))
