"""Makes an agent's wakes cheaper: OpenClaw's heartbeats, which come with another head and leave a rewritten history.

Under `safe`: messages that a wake made the client rewrite are sent as they were first sent, and a wake writes nothing
to the provider's cache that no later call can read. Under `max` a wake is sent on its session's own cached head.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple, Protocol

import msgspec

from ...call import Call, Outcome, Proposal, Rewrite, Verdict
from ...identity import began_at, from_openclaw
from ...money import PicoUSD
from ...prefix import canonical, items, role
from ...protocols import KV
from ...request import Charge, Edit, Operation, Request, Usage, Wire
from .borrow import Head, behind, head_of, lends
from .marks import TTL_S, ends_soon, places, ttl_of, unmarked
from .memory import Memory, Session, scope_of
from .pin import MARKER, first_form, is_merged, new_users
from .shape import Raws, Shape, joined, shape, texts

__all__ = ["Heartbeat", "Settings", "build"]

_BORROWED = "a wake on its session's cached head"
_UNMARKED = "a wake that writes only what later calls can read"
_SOURCES = frozenset({"runtime line", "x-clawrouter-session-id", "x-pennyweight-session", "prompt_cache_key"})
"""What tells OpenClaw's sessions; others are not even looked up."""

_RISK = 0.02  # that a wake answers worse when its own instructions come last; a judgement, see the docs page
_REFUSALS = 2  # answers in a row that called what the wake did not offer, and were asked for again
_ENOUGH = 5  # wakes of an agent
_LATER = frozenset({"tool_use", "tool_calls", "function_call"})
_LAST = frozenset({"end_turn", "stop", "stop_sequence"})


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`pin`: send messages in their first form. `unmark`: let wakes write less to the cache. `borrow`: under
    `--optimize max`, send wakes on their session's head, unless more than `most_changes_bytes` of it differ."""

    pin: bool = True
    unmark: bool = True
    borrow: bool = True
    most_changes_bytes: int = 24_000


class Book(Protocol):
    def cost(self, charge: Charge) -> PicoUSD | None: ...


class Parts(Protocol):
    @property
    def kv(self) -> KV: ...

    @property
    def book(self) -> Book: ...


def build(settings: Settings, parts: Parts) -> Heartbeat:
    return Heartbeat(settings, parts)


class _Change(NamedTuple):
    """What to send instead, why, and what the provider would bill before and after, in tokens of four bytes."""

    edits: tuple[Edit, ...]
    why: str
    before: Usage
    after: Usage
    risk: float = 0.0
    restores: bool = False


class Heartbeat:
    """Protocol: `pennyweight.protocols.Optimizer`."""

    name = "heartbeat"
    wants_responses = False

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self._settings = settings
        self._book = parts.book
        self._memory = Memory(parts.kv)

    def wants_response(self, call: Call) -> bool:
        return False

    def concerns(self, call: Call) -> bool:
        """Of sessions that OpenClaw may have named, and of wakes."""
        identity = call.identity
        if identity.session_source not in _SOURCES and identity.housekeeping != "heartbeat":
            return False
        return bool(identity.session) and call.request.operation is Operation.GENERATE

    async def propose(self, call: Call) -> Proposal | None:
        """One Rewrite: pinned messages, and of a wake its marks or its head. None for a session that was never woken.

        Raises BadRequest for a body that is no JSON object.
        """
        if not self.concerns(call):
            return None
        wake = call.identity.housekeeping == "heartbeat"
        scope = scope_of(call)
        session = self._memory.sessions.get(scope)
        if session is None and (wake or _was_woken(call.request)):
            session = await self._memory.stored(call, scope)
        if not wake and (session is None or not session.woken):
            return None
        change = self._change(call, session or Session(), wake=wake)
        return self._proposal(call, change) if change is not None else None

    def _change(self, call: Call, session: Session, *, wake: bool) -> _Change | None:
        came = items(call.request)
        sent = _pinned(came, frozenset(session.firsts)) if self._settings.pin and session.firsts else came
        found = shape(call.request) if wake else None
        place = began_at(came) if wake else None
        if found is not None and place is not None and session.head is not None:
            if self._settings.borrow and call.optimize == "max" and session.refused < _REFUSALS:
                change = self._borrowing(call, session.head, found, sent, place)
                if change is not None:
                    return change
            if self._settings.unmark and not session.lost and self._may_bet(call, session):
                change = self._unmarking(call, session.head, found, place)
                if change is not None:
                    return change
        if call.identity.housekeeping is not None:
            return None  # behind a head of its own no first form is in the cache
        return _pinning(call.request, came, sent, session.pinned)

    def _borrowing(self, call: Call, head: Head, found: Shape, sent: Raws, place: int) -> _Change | None:
        """The wake on the head that the session's ordinary calls have in the cache, while that is warm."""
        if not lends(head, call, found, sent):
            return None
        moved = behind(
            head,
            found,
            sent,
            place,
            stays=not self._ends_soon(call, found, place),
            most_bytes=self._settings.most_changes_bytes,
        )
        if moved is None:
            return None
        key = _items_key(call.request)
        edits = [Edit(("tools",), msgspec.Raw(head.tools)), Edit((key,), msgspec.Raw(joined(moved)))]
        if not found.lead:
            edits.insert(1, Edit(("system",), msgspec.Raw(head.system)))
        history = sum(len(memoryview(raw)) for raw in sent[found.lead : place])
        new = sum(len(memoryview(raw)) for raw in moved) - history - (len(head.system) if found.lead else 0)
        cached = len(head.tools) + len(head.system) + history
        before = _usage(len(call.request.raw), written=len(call.request.raw), ttl=_marked(found))
        return _Change(tuple(edits), _BORROWED, before, _usage(cached + new, read=cached), _RISK)

    def _unmarking(self, call: Call, head: Head, found: Shape, place: int) -> _Change | None:
        """The wake without the marks whose entries no later call can read."""
        ttl = _marked(found)
        if ttl is None or not self._ends_soon(call, found, place) or _same_head(head, found):
            return None
        kept = list(found.items)
        for at in places(kept, place):
            kept[at] = unmarked(kept[at])
        edits = [Edit((_items_key(call.request),), msgspec.Raw(joined(kept)))]
        size = head_size = sum(len(memoryview(raw)) for raw in found.tools) + len(found.system)
        last = self._memory.wakes.get(_wake_print(call, found))
        lapsed = last is not None and call.at - last >= TTL_S[ttl]
        if lapsed and not found.lead and not _shares_start(head, found):
            edits.append(Edit(("tools",), msgspec.Raw(joined([unmarked(tool) for tool in found.tools]))))
            edits.append(Edit(("system",), msgspec.Raw(unmarked(found.system))))
            head_size = 0
        size += sum(len(memoryview(raw)) for raw in kept[found.lead :])
        read = head_size if last is not None and not lapsed else 0
        before = _usage(size, written=size - read, ttl=ttl, read=read)
        after = _usage(size, written=head_size - read, ttl=ttl, read=read)
        return _Change(tuple(edits), _UNMARKED, before, after)

    def _ends_soon(self, call: Call, found: Shape, place: int) -> bool:
        """Whether this is a wake's first step and, by what this agent's wakes did so far, probably its last."""
        if any(role(raw) != "user" or b"tool_result" in bytes(memoryview(raw)[:80]) for raw in found.items[place:]):
            return False
        return ends_soon(self._memory.habits_of(call), _marked(found) or "5m")

    def _may_bet(self, call: Call, session: Session) -> bool:
        """A wake that goes on after all costs its session a reading of its history. So this session must have saved
        some by pinned messages, or its agent's wakes have ended at once several times."""
        return session.pinned > 0 or self._memory.habits_of(call).single >= _ENOUGH

    def _proposal(self, call: Call, change: _Change) -> Proposal:
        target = call.target
        before, after = (
            self._book.cost(Charge(target.provider, target.model, usage, call.at))
            for usage in (change.before, change.after)
        )
        return Proposal(
            Rewrite(change.edits),
            saving=max(before - after, 0) if before is not None and after is not None else 0,
            risk=change.risk,
            why=change.why,
            level="max" if change.risk else "safe",
            tokens=max(change.before.input_tokens - change.after.input_tokens, 0),
            restores=change.restores,
        )

    def learns_from(self, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        return [one for one in outcomes if self.concerns(one.call)]

    async def settle(self, outcome: Outcome) -> None:
        """Learn from a call that an upstream answered. Raises StoreError."""
        call = outcome.call
        if not self.concerns(call) or outcome.status != 200:
            return
        scope = scope_of(call)
        session = self._memory.sessions.get(scope)
        if session is None:
            if not from_openclaw(call.original):
                return
            known = await self._memory.stored(call, scope) if _was_woken(call.original) else None
            session = known or Session()
        wake = call.identity.housekeeping == "heartbeat"
        learnt = self._woken(outcome, session) if wake else self._spoken(call, session)
        self._memory.sessions.put(scope, learnt)
        if learnt.woken and (learnt.firsts != session.firsts or not session.woken):
            await self._memory.store(call, scope, learnt)

    def _woken(self, outcome: Outcome, session: Session) -> Session:
        call = outcome.call
        found = shape(call.original)
        place = began_at(found.items) if found is not None else None
        if found is not None and place is not None:
            self._memory.wakes.put(_wake_print(call, found), call.at)
            if all(role(raw) == "user" for raw in found.items[place:]):
                if outcome.done.finish_reason in _LATER:
                    self._memory.went(call, "several")
                elif outcome.done.finish_reason in _LAST:
                    self._memory.went(call, "single")
        head, refused = session.head, session.refused
        done = {step.why for step in call.trail if step.optimizer == self.name and step.verdict is Verdict.ACCEPTED}
        lost = session.lost or (_UNMARKED in done and outcome.done.finish_reason in _LATER)
        borrowed = [step for step in call.trail if step.optimizer == self.name and step.why == _BORROWED]
        if any(step.verdict is Verdict.ACCEPTED for step in borrowed):
            refused = refused + 1 if any(step.optimizer == "offered_tools" for step in call.trail) else 0
            head = msgspec.structs.replace(head, at=call.at) if head is not None else None  # reading keeps it alive
        elif any(step.verdict is Verdict.FAILED for step in borrowed):
            refused = _REFUSALS  # the upstream did not take it
        return msgspec.structs.replace(session, woken=True, head=head, refused=refused, lost=lost)

    def _spoken(self, call: Call, session: Session) -> Session:
        if call.identity.housekeeping is not None:
            return session  # a flush or a compaction has a head of its own
        learnt = session
        if session.woken:
            came, sent = items(call.original), items(call.request)
            learnt = learnt.sent(list(new_users(came)))
            pinned = sum(map(is_merged, came)) - sum(map(is_merged, sent))
            learnt = msgspec.structs.replace(learnt, pinned=max(pinned, 0))
        if self._settings.borrow or self._settings.unmark:
            learnt = msgspec.structs.replace(learnt, head=head_of(call, learnt.head))
        return learnt


def _was_woken(request: Request) -> bool:
    """Whether a session that this process does not know may have been woken before."""
    return from_openclaw(request) and MARKER.encode() in request.raw


def _items_key(request: Request) -> str:
    return "input" if request.wire is Wire.OPENAI_RESPONSES else "messages"


def _pinned(came: Raws, firsts: frozenset[bytes]) -> Raws:
    """The items, those that a wake made the client rewrite in their first form. The same object if there are none."""
    sent: list[bytes | msgspec.Raw] | None = None
    for place, raw in enumerate(came):
        if is_merged(raw) and (form := first_form(raw, firsts)) is not None:
            sent = list(came) if sent is None else sent
            sent[place] = form
    return came if sent is None else sent


def _pinning(request: Request, came: Raws, sent: Raws, pinned_before: int) -> _Change | None:
    if sent is came:
        return None
    changed = [place for place, (a, b) in enumerate(zip(came, sent, strict=True)) if a is not b]
    edits = (Edit((_items_key(request),), msgspec.Raw(joined(sent))),)
    size = len(request.raw)
    gone = len(changed) * len(MARKER)
    # What follows the newest rewritten message is written again the first time, and read from then on.
    again = sum(len(memoryview(raw)) for raw in came[changed[-1] :]) if len(changed) > pinned_before else 0
    before = _usage(size, written=again, ttl="5m", read=size - again)
    after = _usage(size - gone, read=size - gone)
    why = f"{len(changed)} message(s) as first sent, before a wake rewrote them"
    return _Change(edits, why, before, after, restores=True)


def _marked(found: Shape) -> str | None:
    """The longest time to live of the request's cache marks; None without marks."""
    ttls = {ttl_of(raw) for raw in (*found.tools, found.system, *found.items[-8:])}
    return "1h" if "1h" in ttls else "5m" if "5m" in ttls else None


def _same_head(head: Head, found: Shape) -> bool:
    """Whether a later ordinary call could read what a call with this head writes."""
    ours = canonical(head.tools), canonical(head.system)
    return ours == (canonical(joined(found.tools)), canonical(found.system))


def _shares_start(head: Head, found: Shape) -> bool:
    """Whether tools and first instructions are those of the session: then their entries are its entries."""
    ours, theirs = texts(head.system), texts(found.system)
    same_text = ours is not None and theirs is not None and ours[:1] == theirs[:1]
    return same_text and canonical(head.tools) == canonical(joined(found.tools))


def _wake_print(call: Call, found: Shape) -> bytes:
    """16 bytes for whose cache it is and the part of a wake's head that other wakes share."""
    said = texts(found.system) or [""]
    secret = call.credential.secret if call.credential is not None else ""
    whose = "\0".join((call.identity.tenant, secret, call.target.provider, call.target.model, said[0]))
    digest = blake2b(whose.encode("utf-8", "surrogateescape"), digest_size=16)
    digest.update(joined(found.tools))
    return digest.digest()


def _usage(size_bytes: int, *, written: int = 0, ttl: str | None = None, read: int = 0) -> Usage:
    """An estimate of four bytes a token."""
    return Usage(
        input_tokens=size_bytes // 4,
        cache_read_tokens=read // 4,
        cache_write_5m_tokens=written // 4 if ttl == "5m" else 0,
        cache_write_1h_tokens=written // 4 if ttl == "1h" else 0,
    )
