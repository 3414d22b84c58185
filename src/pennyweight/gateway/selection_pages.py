"""Choosing over HTTP: who is to do a task, how it went, and how everybody stands. Each caller has its own tenant's.

`POST /v1/pennyweight/select` {"task_type", "candidates"} gives a choice; `POST /v1/pennyweight/feedback` {"choice",
"success", "tokens"?, "latency_s"?} tells how it went; `GET /v1/pennyweight/selection` is how all stand.
`POST /pennyweight/pairs` {"optimizer", "new", "old", "route"?} is the operator's: one task done both ways.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from ..app import App
from ..errors import BadRequest
from ..front.auth import Gate
from ..front.http import HttpRequest, HttpResponse
from ..selection import Candidate, Choice
from .admin import body_as, json_answer, order

__all__ = ["SelectionPages"]

Page = Callable[[HttpRequest], Awaitable[HttpResponse]]

_MOST = 1_000  # candidates


class _Select(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A candidate is a name, or a name with the model that it runs on."""

    task_type: str
    candidates: list[str | Candidate]


class _Chosen(msgspec.Struct, frozen=True):
    """The choice as it was given; what else was in it may be sent back too."""

    task_type: str
    name: str
    model: str = ""


class _Feedback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    choice: _Chosen
    success: float
    tokens: float = 0.0
    latency_s: float = 0.0


class _Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How good a task was done as the optimizer has it, and without it, in [0, 1]."""

    optimizer: str
    new: float
    old: float
    route: str = ""


class SelectionPages:
    """`find` gives the page for a request, None for what is not of these."""

    def __init__(self, app: App, gate: Gate) -> None:
        self._app = app
        self._gate = gate
        self._pages: dict[tuple[str, str], Page] = {
            ("POST", "/v1/pennyweight/select"): self._select,
            ("POST", "/v1/pennyweight/feedback"): self._feedback,
            ("GET", "/v1/pennyweight/selection"): self._standings,
            ("POST", "/pennyweight/pairs"): self._pair,
        }

    def find(self, request: HttpRequest) -> Page | None:
        return self._pages.get((request.method, request.path))

    async def _select(self, request: HttpRequest) -> HttpResponse:
        tenant, _ = self._gate.admit(request)
        asked = body_as(request, _Select)
        if len(asked.candidates) > _MOST:
            raise BadRequest(f"{len(asked.candidates):,} candidates are too many: send at most {_MOST:,}.")
        candidates = [Candidate(one) if isinstance(one, str) else one for one in asked.candidates]
        choice = await self._app.selection.select(tenant, asked.task_type, candidates)
        return json_answer(msgspec.to_builtins(choice))

    async def _feedback(self, request: HttpRequest) -> HttpResponse:
        tenant, _ = self._gate.admit(request)
        told = body_as(request, _Feedback)
        choice = Choice(told.choice.task_type, told.choice.name, told.choice.model)
        await self._app.selection.feedback(tenant, choice, told.success, tokens=told.tokens, latency_s=told.latency_s)
        return json_answer({"learnt": True})

    async def _standings(self, request: HttpRequest) -> HttpResponse:
        tenant, _ = self._gate.admit(request)
        found = await self._app.selection.standings(tenant)
        return json_answer({"rule": self._app.config.selection.rule, "standings": msgspec.to_builtins(list(found))})

    async def _pair(self, request: HttpRequest) -> HttpResponse:
        told = order(self._gate, request, _Pair)
        try:
            self._app.shadows.tell(told.optimizer, new=told.new, old=told.old, route=told.route)
        except ValueError as error:
            raise BadRequest(f"{error}. Send how good each was, from 0 to 1.") from None
        return json_answer({"kept": True})
