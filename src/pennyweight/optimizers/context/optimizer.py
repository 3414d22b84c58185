"""Proposes a compacted history for sessions that have grown long, and prepares it after the call before.

Reading a long history takes longer than a call may wait. So what is to be proposed is worked out in a thread once the
caller has his answer, and `propose` only looks whether the history still begins with what was read. The gate lets it
through when the provider's cache has lapsed; from then on the session's pins send it in that form.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Protocol

import msgspec

from ...call import AT_LEISURE, Call, Outcome, Proposal, Rewrite, Verdict, abstain
from ...economy import Foreseen
from ...money import PicoUSD
from ...prefix import items
from ...protocols import Clock
from ...references import leave_out, reference_id
from ...request import Charge, Operation, Usage
from ...text.context import window_of
from ...wire.blocks import Reader
from ...wire.recall_tool import has_tool
from .history import History
from .native import native
from .preparing import Prepared, Worker
from .settings import Settings, checked
from .triggers import near

__all__ = ["Context", "Parts", "build"]

_RISK_REVERSIBLE = 0.01  # that an answer is worse for what the model would have to ask back; judgements, see the docs
_RISK_LOST = 0.03  # and for what it cannot have back
_GROWN = 1.15  # of what was read, from where on it is read again
_COLD = 0.06  # as the gate has it: a prefix warm with at most this probability may be rewritten


class Book(Protocol):
    def cost(self, charge: Charge) -> PicoUSD | None: ...


class Looking(Protocol):
    def look(self, call: Call, *, at: float, small: bool = False) -> Foreseen | None: ...


class Summary(Protocol):
    @property
    def text(self) -> str: ...

    @property
    def spent(self) -> PicoUSD: ...


class Writing(Protocol):
    """Summaries by a model, in the background."""

    def want(self, model: str, tenant: str, reference: str, text: str, query: str) -> bool:
        """Ask for one. False: there will be none."""
        ...

    async def ready(self, model: str, tenant: str, reference: str) -> Summary | None: ...


class Parts(Protocol):
    """What this optimizer needs of the App."""

    @property
    def book(self) -> Book: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def economy(self) -> Looking: ...

    @property
    def summaries(self) -> Writing: ...


def build(settings: Settings, parts: Parts) -> Context:
    """Raises ConfigError for settings that cannot be."""
    return Context(checked(settings), parts)


class Context:
    """An Optimizer that proposes Rewrites of whole histories."""

    name = "context"
    wants_responses = False

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self._settings = settings
        self._book = parts.book
        self._clock = parts.clock
        self._economy = parts.economy
        self._summaries = parts.summaries
        self._prepared: dict[str, Prepared] = {}
        self._sizes: OrderedDict[str, int] = OrderedDict()  # of the body that was read last, in bytes
        self._writing: set[str] = set()  # sessions with summaries under way
        self._spent: dict[str, PicoUSD] = {}  # on summaries
        self._here = Reader()  # of the event loop
        self._worker = Worker(settings)
        self._turn = asyncio.Lock()

    def wants_response(self, call: Call) -> bool:
        return False

    async def propose(self, call: Call) -> Proposal | None:
        """Raises BadRequest for a body that cannot be read."""
        if not _concerned(call) and AT_LEISURE not in call.facts:
            return None
        prepared = self._prepared.get(_session(call))
        if prepared is None and AT_LEISURE in call.facts:
            prepared = self._worker.at_once(call.request, call.original, call.identity.tenant, call.identity.session)
        if prepared is None:
            return None
        begins = self._here.read(call.request).messages[: len(prepared.messages)]
        if begins != prepared.messages or has_tool(call.request) != prepared.reversible:
            return None
        if prepared.trigger.forced:
            window = window_of(call.target.model, self._settings.windows)
            if (asked := native(call, window, self._settings)) is not None:
                return asked
        elif prepared.waiting and self._is_warm(call):
            abstain(call, self.name, f"{prepared.why}: waits until the provider's cache has lapsed")
            return None
        if prepared.reversible:
            leave_out(call.facts, prepared.made.references)
        return self._proposal(call, prepared)

    def _proposal(self, call: Call, prepared: Prepared) -> Proposal:
        made = prepared.made
        removed = made.tokens_before - made.tokens_after
        charge = Charge(call.target.provider, call.target.model, Usage(input_tokens=removed), call.at)
        return Proposal(
            Rewrite(made.edits),
            saving=self._book.cost(charge) or 0,
            spent=self._spent.get(_session(call), 0),
            risk=_RISK_REVERSIBLE if prepared.reversible else _RISK_LOST,
            why=prepared.why,
            level="max",
            tokens=removed,
            forced=prepared.trigger.forced,
        )

    def _is_warm(self, call: Call) -> bool:
        seen = self._economy.look(call, at=self._clock.monotonic())
        return seen is not None and bool(seen.forecast.known_to) and seen.forecast.warm > _COLD

    async def settle(self, outcome: Outcome) -> None:
        """Read the history of a session that is near a trigger, and work out what to propose next time."""
        call = outcome.call
        if not _concerned(call) or outcome.status != 200 or outcome.error:
            return
        session, size = _session(call), len(call.request.raw)
        self._judged(call, session)
        last = self._sizes.get(session, 0)
        same = last / _GROWN < size < last * _GROWN and session not in self._writing
        window = window_of(call.target.model, self._settings.windows)
        if same or not near(self._settings, size_bytes=size, items=len(items(call.request)), window=window):
            return
        self._sizes[session] = size
        self._sizes.move_to_end(session)
        async with self._turn:  # one history at a time: it is not urgent
            await self._prepare(call, session)
        while len(self._sizes) > self._settings.sessions:
            gone, _ = self._sizes.popitem(last=False)
            self._forget(gone)

    def _judged(self, call: Call, session: str) -> None:
        """What the gate made of the proposal."""
        prepared = self._prepared.get(session)
        for step in call.trail:
            if prepared is None or step.optimizer != self.name or not step.why.startswith(prepared.why):
                continue
            if step.verdict is Verdict.ACCEPTED:
                self._forget(session)
                self._sizes.pop(session, None)
            elif step.verdict is Verdict.QUEUED:
                self._prepared[session] = msgspec.structs.replace(prepared, waiting=True)

    def _forget(self, session: str) -> None:
        self._prepared.pop(session, None)
        self._spent.pop(session, None)
        self._writing.discard(session)

    async def _prepare(self, call: Call, session: str) -> None:
        history = await asyncio.to_thread(self._worker.read, call.request)
        if history is None:
            return
        summaries = await self._summaries_of(call, session, history)
        tenant, name = call.identity.tenant, call.identity.session
        found = await asyncio.to_thread(
            self._worker.prepared, call.request, call.original, history, tenant, name, summaries
        )
        if found is None:
            self._prepared.pop(session, None)
        else:
            self._prepared[session] = found

    async def _summaries_of(self, call: Call, session: str, history: History) -> dict[str, str]:
        """Those by a model that are ready, by reference; others are asked for."""
        model, tenant = self._settings.summary_model, call.identity.tenant
        self._writing.discard(session)
        if not model:
            return {}
        found: dict[str, str] = {}
        spent = 0
        for text in await asyncio.to_thread(self._worker.long_texts, history):
            reference = reference_id(tenant, call.identity.session, text)
            summary = await self._summaries.ready(model, tenant, reference)
            if summary is None:
                if self._summaries.want(model, tenant, reference, text, history.query):
                    self._writing.add(session)
                continue
            found[reference] = summary.text
            spent += summary.spent
        self._spent[session] = spent
        return found


def _concerned(call: Call) -> bool:
    """A session's own calls. Housekeeping has its own ways: a client that compacts by itself is not disturbed in it."""
    identity = call.identity
    return bool(identity.session) and identity.housekeeping is None and call.request.operation is Operation.GENERATE


def _session(call: Call) -> str:
    return f"{call.identity.tenant}\0{call.identity.session}"
