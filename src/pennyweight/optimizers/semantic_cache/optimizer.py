"""The semantic cache as an optimizer: a question that means what an earlier one meant gets the answer that one got.

Every step can only refuse: eligibility, the kind of call, the static table, the transformer, the calibrated threshold,
the vetoes about values, and at last a lot that has some hits asked upstream all the same. See docs/semantic-cache.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import Any, Literal, Protocol

import msgspec
import numpy as np

from ...call import Answer, Call, Outcome, Proposal, Verdict, abstain
from ...errors import ConfigError, StoreError
from ...hits import Audit, CacheRule, Hits
from ...hits import looked as noted
from ...kept import CLOCK_SLACK_S
from ...money import PicoUSD
from ...protocols import KV, Clock, Vectors
from ...request import Charge, Done, Response
from ...standing import Pair, Standings
from ...wire.answers import FINISHED, only_text, replayable
from ...wire.questions import Question, eligible, fingerprint
from ...wire.wishes import wishes
from .answers import Judge, group_of
from .entry import Entry, encoded, entry_of, key_of, text_id
from .facets import Facets, facets
from .neighbours import LOOK_AT, Floats
from .partition import Looked, Rules
from .shelf import Place, Shelf
from .values import conflict

__all__ = ["Parts", "SemanticCache", "Settings", "build"]

log = logging.getLogger(__name__)

_SEEN = "semantic_cache"  # in a call's facts: what `propose` found, for `settle`
_TRIED = 12  # entries with the answer, nearest first, of which one must agree in every value
_FACETS = 4096  # of stored questions, read once


class Settings(msgspec.Struct, frozen=True):
    """models: patterns of the models, as callers name them, for which it may act; it needs at least one.

    error_target: the share of hits that may be wrong. audit_share: of would-be hits that are asked upstream instead
    and compared. ttl_s: how long an answer may be served, unless its route says otherwise. most_chars: of a question.
    max_entries: per kind of call, the oldest give way. static_floor: the static table's cosine under which nothing is
    looked at closer. floor: the transformer's, under which nothing is a hit whatever was learnt. sampled: also for
    calls that do not ask to be repeatable. partitions: kinds of calls held in memory, at
    most 16 MB each.
    """

    models: tuple[str, ...] = ()
    error_target: float = 0.02
    audit_share: float = 0.05
    ttl_s: float = 604_800.0
    most_chars: int = 2000
    max_answer_bytes: int = 2**17
    max_entries: int = 8000
    static_floor: float = 0.3
    floor: float = 0.5
    sampled: bool = False
    partitions: int = 16


class Book(Protocol):
    """What this cache needs of a price book."""

    def cost(self, charge: Charge) -> PicoUSD | None:
        """What that bill comes to; None when no price is known."""
        ...


class Embedded(Protocol):
    @property
    def vector(self) -> bytes: ...

    @property
    def charges(self) -> Sequence[Charge]: ...


class Asked(Protocol):
    """An embedder that tells what it charged."""

    @property
    def fingerprint(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    def ask(self, text: str) -> Coroutine[Any, Any, Embedded]: ...


class Table(Protocol):
    """The static table."""

    async def embed(self, text: str) -> bytes: ...


class Embeddings(Protocol):
    async def embedder(self) -> Asked | None: ...

    async def retriever(self) -> Table | None: ...

    def reason(self) -> str | None:
        """Why there is no embedder, with the remedy."""
        ...


class Parts(Protocol):
    """What this cache needs of the App."""

    @property
    def kv(self) -> KV: ...

    @property
    def vectors(self) -> Vectors: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def book(self) -> Book: ...

    @property
    def hits(self) -> Hits: ...

    @property
    def rule(self) -> Callable[[Call], CacheRule]: ...

    @property
    def embeddings(self) -> Embeddings: ...

    @property
    def standings(self) -> Standings: ...


class _Seen(msgspec.Struct):
    """What was found for a call, step by step. `act`: what came of it, had it been up to us."""

    text: str
    kind: str  # its fingerprint
    rule: CacheRule
    looked: Looked | None = None
    vector: bytes | None = None
    act: Literal["miss", "audit", "hit"] = "miss"
    entry: Entry | None = None  # that would be, or was, served
    missing: list[str] = []  # names of entries that are no longer stored
    facets: Facets | None = None  # of the text, once it was read


def build(settings: Settings, parts: Parts) -> SemanticCache:
    """Raises ConfigError for settings that cannot work."""
    if not settings.models:
        raise ConfigError('semantic_cache: name the models that it may answer for, such as models = ["gpt-5-mini*"].')
    if not 0.0 < settings.error_target <= 0.2:
        raise ConfigError(
            f"semantic_cache: error_target {settings.error_target!r} must be above 0 and at most 0.2; 0.02 is 2%."
        )
    if not 0.005 <= settings.audit_share <= 1.0:
        raise ConfigError(f"semantic_cache: audit_share {settings.audit_share!r} must be between 0.005 and 1.")
    if settings.max_entries < 200:
        raise ConfigError(f"semantic_cache: max_entries {settings.max_entries!r} must be 200 at least.")
    return SemanticCache(settings, parts)


class SemanticCache:
    """An Optimizer that proposes stored Answers, and learns from the answers that upstreams give.

    judge: says whether two answers that are not equal word by word may stand for each other; None: they may not.
    """

    name = "semantic_cache"

    def __init__(self, settings: Settings, parts: Parts, *, judge: Judge | None = None) -> None:
        self._settings = settings
        self._kv = parts.kv
        self._found: Callable[[str], Awaitable[tuple[bytes, str] | None]] | None = getattr(parts.kv, "found", None)
        self._vectors = parts.vectors
        self._clock = parts.clock
        self._book = parts.book
        self._hits = parts.hits
        self._rule = parts.rule
        self._embeddings = parts.embeddings
        self._standings = parts.standings
        self._judge = judge
        rules = Rules(
            error_target=settings.error_target,
            audit_share=settings.audit_share,
            floor=settings.floor,
            most_entries=settings.max_entries,
        )
        self._shelf = Shelf(parts.standings, parts.clock, rules, most=settings.partitions)
        self._embedder: Asked | None = None  # once it is open; opening takes longer than a caller waits
        self._table: Table | None = None
        self._facets: OrderedDict[str, Facets] = OrderedDict()

    # --- while the caller waits -------------------------------------------------------------------------------

    async def propose(self, call: Call) -> Proposal | None:
        """The stored answer, its saving computed as what that usage would cost now. None: refused, and the call's
        trail tells why."""
        seen = self._seen(call)
        if isinstance(seen, str):
            abstain(call, self.name, seen)
            return None
        call.facts[_SEEN] = seen
        if wishes(call.original).no_cache:
            abstain(call, self.name, "the caller asked for a fresh answer")
            return None
        noted_at = len(call.facts.get("cache_looks", ()))
        spent, why = await self._find(call, seen)
        if seen.act == "hit" and seen.entry is not None and seen.looked is not None:
            return self._proposal(call, seen, seen.entry, spent, why)
        if len(call.facts.get("cache_looks", ())) == noted_at:
            noted(call, self.name)
        abstain(call, self.name, why, spent=spent)
        return None

    def _seen(self, call: Call) -> _Seen | str:
        """The question and its kind, or why only the exact cache may answer."""
        settings = self._settings
        if not any(fnmatchcase(call.original.model, pattern) for pattern in settings.models):
            return "not switched on for this model"
        rule = self._rule(call)
        if rule.volatile:
            return "a route whose answers do not keep"
        found = eligible(call.original, sampled=settings.sampled, most_chars=settings.most_chars)
        if isinstance(found, str):
            return found
        assert isinstance(found, Question)
        return _Seen(found.text, fingerprint(call, found), rule)

    async def _find(self, call: Call, seen: _Seen) -> tuple[PicoUSD, str]:
        """(what it cost, why): fills `seen`. Raises StoreError, which is a miss."""
        embedder = self._embedder
        if embedder is None:
            return 0, self._embeddings.reason() or "the embedder is not open yet"
        place = self._shelf.at_hand(_digest(seen.kind, embedder.fingerprint))
        if place is None:
            return 0, "learning: nothing is known of this kind of call"
        if not place.partition.is_open:
            return 0, f"{place.partition.state}: {place.partition.reason}"
        if self._table is not None:
            rough = await self._table.embed(seen.text)
            near = await self._vectors.nearest(f"{place.space}/static", rough, limit=1)
            if not near or near[0][1] < self._settings.static_floor:
                return 0, "nothing alike is stored"
        # Read before the model's thread is woken: that would only wait for the interpreter's lock until this is done.
        seen.facets = facets(seen.text)
        embedded = await embedder.ask(seen.text)
        spent = sum(self._book.cost(charge) or 0 for charge in embedded.charges)
        seen.vector = embedded.vector
        seen.looked = await self._look(place, embedded.vector)
        if seen.looked is None:
            return spent, "nothing alike is stored"
        decision = place.partition.decide(seen.looked, _drawn(call.id))
        if decision.act == "miss":
            return spent, decision.why
        refused = await self._fitting(call, place, seen)
        if refused:
            return spent, refused
        seen.act = decision.act
        return spent, decision.why

    async def _look(self, place: Place, vector: bytes) -> Looked | None:
        near = await self._vectors.nearest(place.space, vector, limit=LOOK_AT)
        return place.partition.look(_floats(vector), near)

    async def _fitting(self, call: Call, place: Place, seen: _Seen) -> str:
        """Fills `seen.entry` with the nearest entry of the answer that no veto forbids; else says why there is none."""
        assert seen.looked is not None
        asked = seen.facets or facets(seen.text)
        refused = "its answers are no longer stored"
        for name in seen.looked.entries[:_TRIED]:
            key = key_of(place.tenant, place.space, name, call.original.model)
            tier, value = await self._fetch(key)
            entry = entry_of(key, value) if value is not None else None
            if entry is None:
                seen.missing.append(name)
                continue
            if not self._is_fresh(call, seen.rule, entry):
                continue
            refused = conflict(self._read(key, entry.text), asked)
            if not refused:
                seen.entry = entry
                noted(call, self.name, tier, key)
                return ""
        return refused

    async def _fetch(self, key: str) -> tuple[str, bytes | None]:
        """(the tier that had it, the value)."""
        if self._found is None:
            return "kv", await self._kv.get(key)
        got = await self._found(key)
        return ("", None) if got is None else (got[1], got[0])

    def _is_fresh(self, call: Call, rule: CacheRule, entry: Entry) -> bool:
        age_s = self._clock.now() - entry.created_at
        limit_s = min(self._ttl_s(rule), wishes(call.original).max_age_s)
        return -CLOCK_SLACK_S <= age_s < limit_s

    def _ttl_s(self, rule: CacheRule) -> float:
        return rule.ttl_s if rule.ttl_s is not None else self._settings.ttl_s

    def _read(self, key: str, text: str, read: Facets | None = None) -> Facets:
        """The facets of a stored question, read once. read: where that was done already."""
        known = self._facets.get(key)
        if known is None:
            known = self._facets[key] = read or facets(text)
            if len(self._facets) > _FACETS:
                self._facets.popitem(last=False)
        return known

    def _proposal(self, call: Call, seen: _Seen, entry: Entry, spent: PicoUSD, why: str) -> Proposal:
        usage = entry.usage
        saving = self._book.cost(Charge(call.target.provider, call.target.model, usage, call.at)) if usage else None
        age_s = max(self._clock.now() - entry.created_at, 0.0)
        headers = (("x-pennyweight-cache", "semantic"), ("age", str(int(age_s))))
        return Proposal(
            Answer(Response(entry.wire, entry.raw, Done(usage, entry.finish_reason), headers=headers)),
            saving=saving or 0,
            spent=spent,
            risk=self._settings.error_target,
            why=why,
            tokens=max(usage.input_tokens, 1) if usage is not None else 1,  # every prompt has a token
        )

    # --- after the caller was answered ------------------------------------------------------------------------

    def wants_response(self, call: Call) -> bool:
        return _SEEN in call.facts and not wishes(call.original).no_store

    async def settle(self, outcome: Outcome) -> None:
        """Compare a fresh answer with what would have been served, and keep it. Raises StoreError."""
        call = outcome.call
        seen: _Seen | None = call.facts.get(_SEEN)
        if seen is None:
            return
        # The clerk begins to settle where a call ends, and goes on with one after the other from where each first had
        # to wait: here, so that partitions are changed by one at a time, and nothing piles up before the embedder.
        await asyncio.sleep(0)
        await self._open()
        embedder = self._embedder
        if embedder is None:
            return
        digest = _digest(seen.kind, embedder.fingerprint)
        if outcome.answered_by == self.name:
            place = self._shelf.at_hand(digest)
            if place is not None and seen.looked is not None:
                place.partition.served(seen.looked)
                await self._shelf.settled(place, redrawn=False)
            return
        answer = self._worth_keeping(outcome)
        if answer is None:
            return
        route = seen.rule.name or f"{call.target.provider}/{call.target.model}"
        place = await self._shelf.take(digest, tenant=call.identity.tenant, route=route, dimensions=embedder.dimensions)
        if place is not None:
            await self._learn(outcome, seen, place, answer, embedder)

    async def _open(self) -> None:
        """Open the embedders: here, where nobody waits."""
        if self._embedder is None:
            self._embedder = await self._embeddings.embedder()
        if self._table is None and self._embedder is not None:
            self._table = await self._embeddings.retriever()

    def _worth_keeping(self, outcome: Outcome) -> str | None:
        """The text of a whole, well-ended answer that is nothing but text; None for any other."""
        response, done = outcome.response, outcome.done
        if response is None or outcome.error or outcome.abandoned or outcome.status != 200:
            return None
        if outcome.answered_by != outcome.call.target.provider or wishes(outcome.call.original).no_store:
            return None
        if not done.complete or done.finish_reason not in FINISHED:
            return None
        if len(response.raw) > self._settings.max_answer_bytes:
            return None
        # An answer that another target gave in need must not speak for this one when it is well again.
        if any(step.optimizer == "fallback" and step.verdict is Verdict.ACCEPTED for step in outcome.call.trail):
            return None
        said = only_text(response.wire, response.raw)
        return said[0] if said is not None and replayable(response) else None

    async def _learn(self, outcome: Outcome, seen: _Seen, place: Place, answer: str, embedder: Asked) -> None:
        call, partition = outcome.call, place.partition
        if seen.vector is None:
            seen.vector = (await embedder.ask(seen.text)).vector
        if seen.looked is None:
            seen.looked = await self._look(place, seen.vector)
        group = await self._group(call, seen, place, answer)
        audited = seen.act != "miss"
        if audited and seen.looked is not None:
            await self._report(outcome, seen, place, answer, equal=group == seen.looked.group)
        before = place.space
        name, gone = partition.learn(text_id(seen.text), _floats(seen.vector), group, seen.looked, audited=audited)
        if place.space != before:  # everything was forgotten
            await self._vectors.delete(before)
        await self._keep(outcome, seen, place, name, answer)
        for old in (*seen.missing, *([gone] if gone is not None else [])):
            if old != name:
                await self._drop(call, place, old)
        redrawn = partition.due
        if redrawn:
            await asyncio.to_thread(partition.redraw)
        await self._shelf.settled(place, redrawn=redrawn)

    async def _group(self, call: Call, seen: _Seen, place: Place, answer: str) -> str:
        """The digest that stands for the answer: that of the neighbours' where a judge holds both for the same."""
        group = group_of(answer)
        if self._judge is None or seen.looked is None or seen.looked.group == group:
            return group
        key = key_of(place.tenant, place.space, seen.looked.entries[0], call.original.model)
        _, value = await self._fetch(key)
        entry = entry_of(key, value) if value is not None else None
        if entry is None:
            return group
        try:
            same = await self._judge.same(seen.text, entry.said, answer)
        except Exception as error:  # noqa: BLE001 - it may be anybody's
            log.warning("a judge of answers failed", extra={"error": type(error).__name__})
            return group
        return seen.looked.group if same else group

    async def _report(self, outcome: Outcome, seen: _Seen, place: Place, answer: str, *, equal: bool) -> None:
        call, entry = outcome.call, seen.entry
        self._hits.audited(Audit(self.name, equal, call.identity.tenant, place.route, call.id))
        if entry is None or seen.looked is None:
            return
        pair = Pair(
            at=self._clock.now(),
            tenant=call.identity.tenant,
            partition=place.digest,
            route=place.route,
            call_id=call.id,
            asked=seen.text,
            stored=entry.text,
            served=entry.said,
            fresh=answer,
            equal=equal,
            cosine=seen.looked.cosine,
            source="audit" if seen.act == "audit" else "shadow",
        )
        try:
            await self._standings.add(pair)
        except (StoreError, ValueError) as error:
            log.warning("an audited pair could not be kept", extra={"error": type(error).__name__})

    async def _keep(self, outcome: Outcome, seen: _Seen, place: Place, name: str, answer: str) -> None:
        """The answer first, then where it is found: a vector without an answer would be a miss."""
        response, call = outcome.response, outcome.call
        if response is None or seen.vector is None:
            return
        ttl_s = self._ttl_s(seen.rule)
        key = key_of(place.tenant, place.space, name, call.original.model)
        entry = Entry(
            self._clock.now(),
            response.wire,
            call.original.model,
            call.target.provider,
            call.id,
            outcome.done.usage,
            outcome.done.finish_reason,
            response.raw,
            seen.text,
            answer,
        )
        self._read(key, seen.text, seen.facets)  # here, where nobody waits: 0.1 ms of a hit otherwise
        await self._kv.put(key, encoded(key, entry), ttl_s=ttl_s)
        await self._vectors.add(place.space, name, seen.vector, ttl_s=ttl_s)
        if self._table is not None:
            await self._vectors.add(f"{place.space}/static", name, await self._table.embed(seen.text), ttl_s=ttl_s)

    async def _drop(self, call: Call, place: Place, name: str) -> None:
        await self._vectors.remove(place.space, name)
        await self._vectors.remove(f"{place.space}/static", name)
        await self._kv.delete(key_of(place.tenant, place.space, name, call.original.model))


def _digest(kind: str, embedder: str) -> str:
    """The name of a partition: a kind of call, seen by one embedder. Those of two are never compared."""
    return blake2b(f"{kind}\0{embedder}".encode(), digest_size=16).hexdigest()


def _floats(vector: bytes) -> Floats:
    return np.frombuffer(vector, "<f4")


def _drawn(call_id: str) -> float:
    """A number in [0, 1) that is the same whenever this call is looked at."""
    return int.from_bytes(blake2b(b"semantic_cache\0" + call_id.encode(), digest_size=8).digest(), "big") / 2**64
