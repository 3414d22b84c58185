"""Experiments over HTTP: how they stand, switching an optimizer, and what callers say of answers.

`GET /pennyweight/experiments` and `POST /pennyweight/optimizers/NAME` are the operator's, `POST /v1/feedback` is for
every caller, about its own calls.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Literal
from urllib.parse import unquote

import msgspec

from ..app import App
from ..errors import BadRequest, NotFound, StoreError
from ..front.auth import Gate
from ..front.http import HttpRequest, HttpResponse
from ..ledger.signals import Said
from ..policy import Mode
from .admin import body_as, json_answer, operator, order

__all__ = ["ExperimentPages"]

Page = Callable[[HttpRequest], Awaitable[HttpResponse]]

_OPTIMIZERS = "/pennyweight/optimizers/"


class Switch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator sends. `reset`: back to what the file says, and the loop may act again."""

    mode: Mode | None = None
    share: float | None = None
    reason: str = ""
    reset: bool = False


class Feedback(msgspec.Struct, frozen=True):
    """What a caller sends: a score from -1 to 1 or a thumb, about one call or one session."""

    call_id: str = ""
    session: str = ""
    score: float | None = None
    thumbs: Literal["up", "down"] | None = None
    comment: str = ""


class ExperimentPages:
    """`find` gives the page for a request, None for what is not of these."""

    def __init__(self, app: App, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    def find(self, request: HttpRequest) -> Page | None:
        path = request.path
        if request.method in ("GET", "HEAD"):
            return self._report if path == "/pennyweight/experiments" else None
        if request.method != "POST":
            return None
        if path in ("/v1/feedback", "/feedback"):
            return self._feedback
        return self._switch if path.startswith(_OPTIMIZERS) else None

    async def _report(self, request: HttpRequest) -> HttpResponse:
        operator(self._gate, request)
        told = await self._app.experiments.report()
        return json_answer({**told, "shadow_pairs": await self._app.shadows.report()})

    async def _switch(self, request: HttpRequest) -> HttpResponse:
        asked = order(self._gate, request, Switch)
        name = unquote(request.path[len(_OPTIMIZERS) :])
        policy = self._app.policy
        if asked.reset:
            now = await policy.reset(name, reason=asked.reason)
        elif asked.mode is None and asked.share is None:
            raise BadRequest("Nothing to change: name a mode (off, shadow, on), a share from 0 to 1, or reset.")
        else:
            now = await policy.set(name, by="operator", mode=asked.mode, share=asked.share, reason=asked.reason)
        return json_answer({"name": name, **msgspec.to_builtins(now)})

    async def _feedback(self, request: HttpRequest) -> HttpResponse:
        """A receipt is written within 200 ms of its answer's end, so a very young one is waited for."""
        tenant = self._gate.viewer(request)
        word = body_as(request, Feedback)
        if (word.score is None) == (word.thumbs is None):
            raise BadRequest('Send either "score" (-1 to 1) or "thumbs" ("up" or "down").')
        score = word.score if word.score is not None else {"up": 1.0, "down": -1.0}[word.thumbs or "up"]
        kept = self._app.config.experiments.keep_comments
        said = await self._rated(tenant, word, score, word.comment if kept else "")
        if said.call_id:
            with contextlib.suppress(StoreError):  # what was said is kept; what a cache keeps ends with its time
                await self._app.rated(said.call_id, said.tenant, score)
        body = {"call_id": said.call_id or None, "session": said.session or None, "score": said.value}
        if word.comment:
            body["comment"] = "kept" if kept else "not kept (experiments.keep_comments is false)"
        return json_answer(body)

    async def _rated(self, tenant: str | None, word: Feedback, score: float, comment: str) -> Said:
        for attempt in range(4):
            try:
                return await self._app.signals.rate(
                    "feedback", score, tenant=tenant, call_id=word.call_id, session=word.session, comment=comment
                )
            except NotFound:
                if attempt == 3:
                    raise
                await self._app.clerk.flush(0.5)
                await asyncio.sleep(0.02)
        raise AssertionError("unreachable")
