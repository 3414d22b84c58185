"""Which models each provider has: asked of the provider, kept for a minute, else what the price book knows.

Also how a list looks in the shape of each protocol's clients. Choosing and shaping are pure; `ModelLists` asks.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ..call import Call, Identity, Target
from ..config import Provider
from ..config.tiers import choices
from ..errors import NotFound, PennyweightError
from ..request import Operation, Request, Wire

if TYPE_CHECKING:
    from ..app import App

__all__ = ["ModelLists", "Row", "body", "context_tokens", "listed", "merged", "output_tokens"]

Row = dict[str, Any]
"""A model as a provider lists it; `id` is always there."""

_EPOCH = "1970-01-01T00:00:00Z"  # Anthropic's own "release date unknown"


class ModelLists:
    """`rows` gives every configured provider's models.

    A provider is asked with the gateway's own key, all of them at once; one that does not tell within `ask_s` is
    listed with the models that the price book knows. What they told is kept for `keep_s`.
    """

    def __init__(self, app: App, *, ask_s: float = 3.0, keep_s: float = 60.0) -> None:
        self._app = app
        self._ask_s = ask_s
        self._keep_s = keep_s
        self._rows: dict[str, list[Row]] = {}
        self._told_at = float("-inf")

    async def rows(self) -> Mapping[str, list[Row]]:
        """By the provider's name, in the order of the configuration."""
        now = self._app.clock.monotonic()
        if now - self._told_at > self._keep_s:
            providers = [provider for provider in self._app.config.providers.values() if provider.configured]
            told = await asyncio.gather(*(self._ask(provider) for provider in providers))
            self._rows = {provider.name: rows for provider, rows in zip(providers, told, strict=True)}
            self._told_at = now
        return self._rows

    async def tags(self) -> list[Row]:
        """Ollama's own list as it tells it; [] where it does not answer."""
        provider = self._app.config.providers.get("ollama")
        if provider is None or provider.wires[0] is not Wire.OLLAMA:
            return []
        try:
            return msgspec.json.decode(await self._told(provider), type=_AllTags).models
        except msgspec.DecodeError:
            return []

    async def _ask(self, provider: Provider) -> list[Row]:
        return listed(provider.wires[0], await self._told(provider)) or self._priced(provider)

    async def _told(self, provider: Provider) -> bytes:
        """What the provider lists, as it came; b"" where it does not tell."""
        wire = provider.wires[0]
        path, query = ("/api/tags", "") if wire is Wire.OLLAMA else ("/v1/models", "")
        headers: tuple[tuple[str, str], ...] = (("accept", "application/json"),)
        if wire is Wire.ANTHROPIC_MESSAGES:
            query, headers = "limit=1000", (*headers, ("anthropic-version", "2023-06-01"))
        request = Request(wire, b"", headers, path, query, "GET", Operation.OTHER)
        call = Call(
            id="call_" + secrets.token_hex(12),
            identity=Identity(),
            original=request,
            request=request,
            target=Target(provider.name, "", wire),
            at=self._app.clock.now(),
            optimize="off",
        )
        try:
            async with asyncio.timeout(self._ask_s):
                reply = await self._app.backend.open(call)
                try:
                    return await reply.read() if reply.ok else b""
                finally:
                    await reply.aclose()
        except (PennyweightError, TimeoutError):
            return b""

    def _priced(self, provider: Provider) -> list[Row]:
        """The models that the price book knows at a provider; their names are usually the provider's own."""
        book = self._app.prices.catalogue
        name = book.provider(provider.prices or provider.name)
        if name is None or provider.moved:
            return []
        return [{"id": entry.id} for entry in book.providers[name].entries if ":" not in entry.id]


def listed(wire: Wire, body: bytes) -> list[Row]:
    """The models in a provider's own list (`/v1/models`, Ollama's `/api/tags`); [] when the answer is no such list."""
    try:
        if wire is Wire.OLLAMA:
            return [{"id": tag.name} for tag in msgspec.json.decode(body, type=_Tags).models]
        rows = msgspec.json.decode(body, type=_Listing).data
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []
    return [row for row in rows if isinstance(row.get("id"), str)]


class _Listing(msgspec.Struct):
    data: list[Row] = []


class _Tag(msgspec.Struct):
    name: str


class _AllTags(msgspec.Struct):
    models: list[Row] = []


class _Tags(msgspec.Struct):
    models: list[_Tag] = []


def context_tokens(row: Row) -> int | None:
    """How long a prompt may be, as OpenRouter, Groq, vLLM, Mistral or Anthropic list it; None: not told."""
    return _first(row, "context_length", "context_window", "max_model_len", "max_context_length", "max_input_tokens")


def output_tokens(row: Row) -> int | None:
    """How long an answer may be, as OpenRouter, Groq or Anthropic list it; None: not told."""
    top = row.get("top_provider")
    of_top = _first(top, "max_completion_tokens") if isinstance(top, dict) else None
    return of_top or _first(row, "max_completion_tokens", "max_output_tokens", "max_tokens")


def _first(row: Row, *names: str) -> int | None:
    values = [row.get(name) for name in names]
    return next((value for value in values if type(value) is int and value > 0), None)


def merged(app: App, rows: Mapping[str, Iterable[Row]], wire: Wire) -> list[Row]:
    """One list of all providers, under the names by which a caller of that protocol reaches each model.

    That is the model's own name where a call for it goes to that provider, else `provider/name`; virtual models and
    names that a route gives come first. A model that neither name reaches is left out. Facts that a provider tells of
    a model stay, in the caller's protocol's shape.
    """
    found: dict[str, Row] = {}
    for name in choices(app.config):
        found[name] = _shaped({"id": name}, "pennyweight", wire)
    for rule in app.config.routes:
        if "*" not in rule.model:
            found.setdefault(rule.model, _shaped({"id": rule.model}, rule.provider, wire))
    for provider, of_provider in rows.items():
        for row in of_provider:
            for name in (row["id"], f"{provider}/{row['id']}"):
                try:
                    target = app.resolve(name, wire)
                except NotFound:
                    continue
                if (target.provider, target.model) == (provider, row["id"]):
                    found.setdefault(name, _shaped(row | {"id": name}, provider, wire))
                    break
    return list(found.values())


def _shaped(row: Row, provider: str, wire: Wire) -> Row:
    if wire is Wire.ANTHROPIC_MESSAGES:
        if row.get("type") == "model":
            return row
        return {"type": "model", "id": row["id"], "display_name": row["id"], "created_at": _EPOCH}
    if row.get("object") == "model":
        return row
    return {"id": row["id"], "object": "model", "created": 0, "owned_by": provider}


def body(rows: list[Row], wire: Wire) -> dict[str, Any]:
    """The whole list as that protocol's clients read it, on one page."""
    if wire is Wire.ANTHROPIC_MESSAGES:
        ends = (rows[0]["id"], rows[-1]["id"]) if rows else (None, None)
        return {"data": rows, "has_more": False, "first_id": ends[0], "last_id": ends[1]}
    return {"object": "list", "data": rows}
