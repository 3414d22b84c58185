"""Proposes the answer of an earlier question of the same template, with this one's names and numbers in it.

What a template proves and what is in doubt is decided in `pennyweight.text.templates`; here answers are found and kept.
Nothing is served before an earlier answer was foretold exactly, and a share of what could be served is asked anyway:
an answer that is then not as foretold closes its template.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from hashlib import blake2b
from typing import Protocol, TypeVar

import msgspec

from ...call import Answer, Call, Outcome, Proposal, Verdict
from ...errors import ConfigError
from ...hits import Audit, CacheRule, Hits, looked
from ...kept import CLOCK_SLACK_S, entry_key, unwrapped, wrapped
from ...money import PicoUSD
from ...protocols import KV, Clock
from ...request import Charge, Done, Response
from ...text.templates.entry import Entry, Gaps, Kept, Question, Recent, decode, digest, encode
from ...text.templates.family import Branch, Family, branch, learn
from ...text.templates.gaps import Gap, gap, through
from ...text.templates.slots import Masked, mask
from ...wire.answers import FINISHED, only_text, with_text
from ...wire.questions import eligible, fingerprint
from ...wire.wishes import wishes

__all__ = ["RISK", "Parts", "Settings", "Templates", "build"]

T = TypeVar("T", bound=msgspec.Struct)

RISK = 0.002
"""That a branched answer is not the model's own: a bound on what `bench.templates` measures, with its adversary."""


class Settings(msgspec.Struct, frozen=True):
    """witnesses: answers that must have been foretold rightly for each slot that changes, at least 1. doubtful: the
    same where the answer has numbers, names or telling words that the question has not. audit: the share of what could
    be served that the upstream is asked anyway. ttl_s: how long an answer may be branched; evidence_s: how long what
    was learnt of a template is kept. sampled: also for calls that do not ask to be repeatable. lower_case: also look
    for words in lower case that vary, with one witness more.
    """

    witnesses: int = 1
    doubtful: int = 4
    audit: float = 0.05
    ttl_s: float = 3600.0
    evidence_s: float = 604_800.0
    max_question_chars: int = 4000
    max_answer_bytes: int = 2**16
    sampled: bool = False
    lower_case: bool = True


class Book(Protocol):
    """What this optimizer needs of a price book."""

    def cost(self, charge: Charge) -> PicoUSD | None:
        """What that bill comes to; None when no price is known."""
        ...


class Parts(Protocol):
    """What this optimizer needs of the App."""

    @property
    def kv(self) -> KV: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def book(self) -> Book: ...

    @property
    def hits(self) -> Hits: ...

    def rule(self, call: Call) -> CacheRule: ...


class _Kind(msgspec.Struct, frozen=True):
    """A call as templates see it: what must be equal of it, its newest user text, how long its answers may be used."""

    tenant: str
    fingerprint: str
    model: str
    text: str
    ttl_s: float

    def key(self, part: str) -> str:
        return entry_key("fusing", self.tenant, digest(self.fingerprint, part), self.model)


class _Made(msgspec.Struct, frozen=True):
    key: str
    branch: Branch
    leader: Kept


def build(settings: Settings, parts: Parts) -> Templates:
    """Raises ConfigError for settings that cannot be."""
    if not 0 <= settings.audit <= 1:
        raise ConfigError(f"templates: audit {settings.audit} is no share. Use 0 to 1; 0.05 is a twentieth.")
    for name in ("witnesses", "doubtful"):
        if getattr(settings, name) < 1:
            raise ConfigError(f"templates: {name} {getattr(settings, name)} is too few. Use 1 or more.")
    return Templates(settings, parts)


class Templates:
    """An Optimizer that proposes branched Answers, and learns from the answers that upstreams give."""

    name = "templates"

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self._settings = settings
        self._kv = parts.kv
        self._clock = parts.clock
        self._book = parts.book
        self._hits = parts.hits
        self._rule = parts.rule

    async def propose(self, call: Call) -> Proposal | None:
        """The branched answer, its saving computed as what its leader's usage would cost now."""
        kind = self._kind(call)
        if kind is None or _drawn(call.id) < self._settings.audit:
            return None
        wish = wishes(call.original)
        if wish.no_cache or wish.no_store:
            return None
        made = await self._made(kind, wish.max_age_s)
        if made is None:
            looked(call, self.name)
            return None
        looked(call, self.name, "store", made.key)
        return self._proposal(call, made.branch, made.leader)

    async def _made(self, kind: _Kind, max_age_s: float = math.inf) -> _Made | None:
        """The branched answer to a question of that kind."""
        question = mask(kind.text)
        if question.values:
            made = await self._branch(kind, question, self._settings.witnesses, max_age_s)
            if made is not None:
                return made
        if self._settings.lower_case:
            for question in await self._through_gaps(kind):
                made = await self._branch(kind, question, self._settings.witnesses + 1, max_age_s)
                if made is not None:
                    return made
        return None

    async def _branch(self, kind: _Kind, question: Masked, witnesses: int, max_age_s: float) -> _Made | None:
        key = kind.key(question.key)
        entry = await self._load(key, Entry)
        if entry is None:
            return None
        fresh = self._fresh(entry, min(kind.ttl_s, max_age_s))
        family = _among(entry.family, fresh)
        made = branch(family, question, witnesses=witnesses, doubtful=self._settings.doubtful)
        return None if isinstance(made, str) else _Made(key, made, fresh[made.leader.source])

    async def settle(self, outcome: Outcome) -> None:
        """Compare what the upstream answered with what was foretold, and keep it as an example."""
        call, response = outcome.call, outcome.response
        if response is None or outcome.error or outcome.abandoned or outcome.status != 200:
            return
        if outcome.answered_by != call.target.provider or not outcome.done.complete:
            return  # somebody's replay teaches nothing
        if outcome.done.finish_reason not in FINISHED or len(response.raw) > self._settings.max_answer_bytes:
            return
        if any(step.optimizer == "fallback" and step.verdict is Verdict.ACCEPTED for step in call.trail):
            return
        kind = self._kind(call)
        answered = only_text(response.wire, response.raw)
        if kind is None or answered is None or wishes(call.original).no_store:
            return
        answer, place = answered
        if _drawn(call.id) < self._settings.audit:
            await self._audit(call, kind, answer)
        done = outcome.done
        kept = Kept(self._clock.now(), response.wire, response.raw, place, done.usage, done.finish_reason)
        new = Question(kind.text, answer, call.id, kept)
        question = mask(kind.text)
        if question.values:
            await self._learn(kind, question, new)
        if self._settings.lower_case:
            await self._learn_gaps(kind, new)

    async def _audit(self, call: Call, kind: _Kind, answer: str) -> None:
        """Whether what would have been served is what the upstream said."""
        made = await self._made(kind)
        if made is None:
            return
        route = self._rule(call).name or f"{call.target.provider}/{call.original.model}"
        valid = made.branch.text == answer
        self._hits.audited(
            Audit(self.name, valid=valid, tenant=call.identity.tenant, route=route, call_id=call.id, tier="store")
        )

    async def _learn(self, kind: _Kind, question: Masked, *new: Question) -> Family:
        """Add these to the examples of a template; `question`: the last of them."""
        key = kind.key(question.key)
        entry = await self._load(key, Entry) or Entry(Family())
        family, answers = _among(entry.family, self._fresh(entry, kind.ttl_s)), dict(entry.answers)
        for one in new:
            masked = question if one is new[-1] else through(Gap(*question.literals), one.text)
            if masked is not None:
                family = learn(family, masked, one.answer, one.source)
                answers[one.source] = one.kept
        sources = {example.source for example in family.examples}
        answers = {source: kept for source, kept in answers.items() if source in sources}
        await self._keep(key, Entry(family, answers), self._settings.evidence_s)
        return family

    async def _learn_gaps(self, kind: _Kind, new: Question) -> None:
        """Look for words in lower case that vary, and learn what their exchange comes to."""
        known = await self._through_gaps(kind)
        for question in known:
            await self._learn(kind, question, new)
        key = kind.key("recent")
        recent = await self._load(key, Recent) or Recent()
        if not known:
            await self._find_gap(kind, recent, new)
        if len(new.kept.raw) <= _MOST_RECENT_BYTES:
            others = [old for old in recent.questions if old.text != new.text][-(_MOST_RECENT - 1) :]
            await self._keep(key, Recent((*others, new)), kind.ttl_s)

    async def _find_gap(self, kind: _Kind, recent: Recent, new: Question) -> None:
        for old in reversed(recent.questions):
            found = gap(old.text, new.text)
            question = through(found, new.text) if found is not None else None
            if found is None or question is None:
                continue
            family = await self._learn(kind, question, old, new)
            if family.proofs:
                key = kind.key("gaps")
                gaps = (await self._load(key, Gaps) or Gaps()).gaps
                kept = (*[g for g in gaps if g != found][-(_MOST_GAPS - 1) :], found)
                await self._keep(key, Gaps(kept), self._settings.evidence_s)
                return

    async def _through_gaps(self, kind: _Kind) -> list[Masked]:
        known = await self._load(kind.key("gaps"), Gaps)
        found = [through(around, kind.text) for around in known.gaps] if known is not None else []
        return [question for question in found if question is not None][:_MOST_FITTING]

    def wants_response(self, call: Call) -> bool:
        kind = self._kind(call)
        if kind is None or wishes(call.original).no_store:
            return False
        return self._settings.lower_case or bool(mask(kind.text).values)

    def _kind(self, call: Call) -> _Kind | None:
        """None for a call that is not fit, or whose route says that its answers do not last."""
        settings = self._settings
        found = eligible(call.original, sampled=settings.sampled, most_chars=settings.max_question_chars)
        if isinstance(found, str):
            return None
        rule = self._rule(call)
        if rule.volatile:
            return None
        ttl_s = settings.ttl_s if rule.ttl_s is None else min(settings.ttl_s, rule.ttl_s)
        return _Kind(call.identity.tenant, fingerprint(call, found), call.target.model, found.text, ttl_s)

    async def _load(self, key: str, kind: type[T]) -> T | None:
        value = await self._kv.get(key)
        found = unwrapped(key, value) if value is not None else None
        return None if found is None else decode(found.payload, kind)

    async def _keep(self, key: str, entry: msgspec.Struct, ttl_s: float) -> None:
        await self._kv.put(key, wrapped(key, self._clock.now(), encode(entry)), ttl_s=ttl_s)

    def _fresh(self, entry: Entry, ttl_s: float) -> Mapping[str, Kept]:
        now = self._clock.now()
        return {
            source: kept for source, kept in entry.answers.items() if -CLOCK_SLACK_S <= now - kept.created_at < ttl_s
        }

    def _proposal(self, call: Call, made: Branch, leader: Kept) -> Proposal:
        usage = leader.usage
        cost = self._book.cost(Charge(call.target.provider, call.target.model, usage, call.at)) if usage else None
        headers = (("x-pennyweight-cache", "template"),)
        raw = with_text(leader.raw, leader.place, made.text)
        return Proposal(
            Answer(Response(leader.wire, raw, Done(usage, leader.finish_reason), headers=headers)),
            saving=cost or 0,
            risk=RISK,
            why=f"a template with {made.shown} answers foretold",
            tokens=max(usage.input_tokens, 1) if usage is not None else 1,
        )


_MOST_RECENT, _MOST_RECENT_BYTES = 32, 2**13  # questions in which words that vary are looked for, and their answers
_MOST_GAPS, _MOST_FITTING = 64, 3


def _among(family: Family, fresh: Mapping[str, Kept]) -> Family:
    """The family with those examples alone. What older ones have proved stays."""
    examples = tuple(example for example in family.examples if example.source in fresh)
    return Family(examples, family.proofs, family.closed, family.shown)


def _drawn(call_id: str) -> float:
    """A number in [0, 1) that is the same whenever this call is looked at."""
    return int.from_bytes(blake2b(b"templates\0" + call_id.encode(), digest_size=8).digest(), "big") / 2**64
