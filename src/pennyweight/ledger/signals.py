"""What is said of answers after they were given: feedback, judges, tool calls that do not hold, the same asked again.

Two sources. `Watch` looks at finished calls, off the request path. `Signals` keeps what it saw and what callers say.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar
from zlib import crc32

import msgspec
from xxhash import xxh3_64_intdigest

from ..call import Call, Outcome
from ..errors import BadRequest, NotFound
from ..hits import AGAIN
from ..protocols import Clock
from ..request import Request, Response, Wire
from ..wire import codec
from .reading import of_session

__all__ = ["KINDS", "Rows", "Said", "Signals", "Watch"]

Kind = Literal["feedback", "judge", "tools", "reask"]
KINDS: tuple[Kind, ...] = ("feedback", "judge", "tools", "reask")

T = TypeVar("T")


class Rows(Protocol):
    """The ledger's database. Both raise StoreError."""

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T: ...

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T: ...


class Said(msgspec.Struct, frozen=True):
    """One signal. value: feedback -1 or 1; judge and tools 0 (wrong) to 1 (right); reask: how often."""

    tenant: str
    session: str
    call_id: str
    kind: Kind
    value: float
    comment: str = ""


_INSERT = """
INSERT INTO signals (at, tenant, session, call_id, kind, value, comment) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (tenant, session, call_id, kind) DO UPDATE SET at = excluded.at, value = excluded.value,
comment = excluded.comment
"""


class Signals:
    """The table `signals`. A second word on the same call replaces the first; tests count the first."""

    def __init__(self, rows: Rows, clock: Clock) -> None:
        self._rows = rows
        self._clock = clock

    async def add(self, said: Sequence[Said]) -> None:
        """Raises StoreError."""
        at = self._clock.now()
        values = [(at, s.tenant, s.session, s.call_id, s.kind, s.value, s.comment) for s in said]
        if values:
            await self._rows.write(lambda connection: connection.executemany(_INSERT, values) and None)

    async def rate(
        self,
        kind: Kind,
        value: float,
        *,
        tenant: str | None,
        call_id: str = "",
        session: str = "",
        comment: str = "",
    ) -> Said:
        """Keep a word on a call or on a whole session, by whoever may speak of it.

        tenant: whose calls these may be; None: anybody's (of sessions, those of "local"). Raises BadRequest for a
        value out of range, NotFound for a call or a session that is not there or is another's, StoreError.
        """
        low = -1.0 if kind == "feedback" else 0.0
        if not low <= value <= 1.0:
            raise BadRequest(f"score {value!r} is out of range. Use {low:g} to 1.")
        if bool(call_id) == bool(session):
            raise BadRequest("Name either a call_id (the answer's x-pennyweight-call) or a session, not both or none.")

        def find(connection: sqlite3.Connection) -> tuple[str, str] | None:
            if call_id:
                sql, values = "call_id = ? AND ? IN (tenant, '')", (call_id, tenant or "")
            else:
                sql, values = of_session(), (tenant or "local", session)
            row = connection.execute(f"SELECT tenant, session FROM receipts WHERE {sql} LIMIT 1", values).fetchone()
            return None if row is None else (row[0], row[1])

        found = await self._rows.read(find)
        if found is None:
            what = f"call {call_id[:80]!r}" if call_id else f"session {session[:80]!r}"
            raise NotFound(f"There is no {what} of yours in the ledger. Its receipt is there 200 ms after its answer.")
        said = Said(found[0], found[1], call_id, kind, value, comment)
        await self.add([said])
        return said


class Watch:
    """Protocol: `protocols.Observer`. Sees answers whose tool calls do not hold, and requests that came again.

    sample: the share of sessions whose tool calls are read; reading one means folding its stream, so not all are.
    """

    def __init__(self, *, sample: float) -> None:
        self._sample = int(sample * 2**32)
        self._seen: dict[tuple[str, str], int] = {}  # session to the digest of its last request, the latest last
        self._said: list[Said] = []
        self._replayed: dict[tuple[str, str], list[Any]] = {}  # of each session: the first such call, and how many

    def wants(self, call: Call) -> bool:
        if not self._sample or not call.facts.get("arm") or not _offers_tools(call):
            return False
        identity = call.identity
        unit = f"{identity.tenant}\0{identity.session or call.id}".encode("utf-8", "surrogatepass")
        return crc32(unit) < self._sample

    async def take(self, outcomes: Sequence[Outcome]) -> None:
        if len(self._said) + len(self._replayed) >= _WAITING:
            return
        seen = self._seen
        for outcome in outcomes:
            call = outcome.call
            if not call.facts.get("arm"):
                continue
            identity = call.identity
            if identity.session:
                key, digest = (identity.tenant, identity.session), _digest(call.original)
                if seen.pop(key, None) == digest:
                    self._asked_again(call)
                seen[key] = digest  # behind all others: the oldest come first
            if outcome.response is not None and self.wants(call):
                right = tools_hold(outcome.response, call)
                if right is not None:
                    self._said.append(Said(identity.tenant, identity.session, call.id, "tools", float(right)))
        while len(seen) > _SESSIONS:
            del seen[next(iter(seen))]

    def _asked_again(self, call: Call) -> None:
        """Of calls that a cache answers again and again there may be thousands in a second: one word for them all."""
        identity = call.identity
        if AGAIN not in call.facts:
            self._said.append(Said(identity.tenant, identity.session, call.id, "reask", 1.0))
            return
        told = self._replayed.setdefault((identity.tenant, identity.session), [call.id, 0])
        told[1] += 1

    def drain(self) -> list[Said]:
        """What was seen since the last time."""
        said, self._said = self._said, []
        replayed, self._replayed = self._replayed, {}
        said += [Said(*whose, first, "reask", float(count)) for whose, (first, count) in replayed.items()]
        return said


def _digest(request: Request) -> int:
    """By which a request of the same session is the same again. Of a long one its last item stands for it, and its
    length: with all that came before, a conversation only grows, and reading 80 kB costs more than a whole receipt."""
    raw = request.raw
    if len(raw) >= _LONG_BYTES:
        try:
            items = request.items("messages") or request.items("input")
        except BadRequest:
            items = None
        if items:
            return xxh3_64_intdigest(items[-1], len(raw))
    return xxh3_64_intdigest(raw)


_LONG_BYTES = 8_192


def _offers_tools(call: Call) -> bool:
    try:
        return bool(call.request.envelope.tools)
    except BadRequest:
        return False


_SESSIONS = 5_000
_WAITING = 10_000


def tools_hold(response: Response, call: Call) -> bool | None:
    """Whether all tool calls of an answer name a tool that was offered and have a JSON object as arguments.

    None: the answer calls no tool, or cannot be read.
    """
    try:
        body = msgspec.json.decode(response.raw)
        called = list(_tool_calls(response.wire, body))
        offered = set(codec(call.original.wire).view(call.original).tool_names)
    except (ValueError, BadRequest, AttributeError, KeyError, TypeError, IndexError):
        return None
    if not called:
        return None
    return all(_is_object(arguments) and (not offered or name in offered) for name, arguments in called)


def _tool_calls(wire: Wire, body: Mapping[str, Any]) -> Sequence[tuple[Any, Any]]:
    """(name, arguments) of each; arguments as JSON text or as the object itself."""
    match wire:
        case Wire.OPENAI_CHAT:
            messages = [choice.get("message") or {} for choice in body.get("choices") or ()]
        case Wire.OLLAMA:
            messages = [body.get("message") or {}]
        case Wire.OPENAI_RESPONSES:
            calls = [item for item in body.get("output") or () if item.get("type") == "function_call"]
            return [(item.get("name"), item.get("arguments")) for item in calls]
        case Wire.ANTHROPIC_MESSAGES:
            blocks = [block for block in body.get("content") or () if block.get("type") == "tool_use"]
            return [(block.get("name"), block.get("input")) for block in blocks]
    calls = [call.get("function") or {} for message in messages for call in message.get("tool_calls") or ()]
    return [(call.get("name"), call.get("arguments")) for call in calls]


def _is_object(arguments: Any) -> bool:
    if isinstance(arguments, dict):
        return True
    if not isinstance(arguments, str):
        return False
    try:
        return isinstance(msgspec.json.decode(arguments or "{}"), dict)
    except ValueError:
        return False
