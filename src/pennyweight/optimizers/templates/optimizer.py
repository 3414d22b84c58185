"""Proposes the answer of an earlier question of the same template, with this one's names and numbers in it.

What a template proves and what is in doubt is decided in `pennyweight.text.templates`; here answers are found and kept.
Nothing is served before an earlier answer was foretold exactly, and a share of what could be served is asked anyway:
an answer that is then not as foretold closes its template.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Protocol

import msgspec

from ...call import Answer, Call, Outcome, Proposal, Verdict
from ...errors import ConfigError
from ...money import PicoUSD
from ...protocols import KV, Clock
from ...request import Charge, Done, Response
from ...text.templates.entry import Entry, Kept, decode, encode
from ...text.templates.family import Branch, Family, branch, learn
from ...text.templates.slots import Masked, mask
from ...wire.answers import only_text, with_text
from ...wire.questions import eligible, fingerprint

__all__ = ["RISK", "Parts", "Settings", "Templates", "build"]

RISK = 0.002
"""That a branched answer is not the model's own: a bound on what `bench.templates` measures, with its adversary."""

_FINISHED = frozenset({"stop", "end_turn", "stop_sequence", "completed"})
"""Ends of an answer worth keeping, in the words of the four wires."""


class Settings(msgspec.Struct, frozen=True):
    """witnesses: answers that must have been foretold rightly for each slot that changes, at least 1. doubtful: the
    same where the answer has numbers, names or telling words that the question has not. audit: the share of what could
    be served that the upstream is asked anyway. ttl_s: how long an answer may be branched; evidence_s: how long what
    was learnt of a template is kept. sampled: also for calls that do not ask to be repeatable.
    """

    witnesses: int = 1
    doubtful: int = 4
    audit: float = 0.05
    ttl_s: float = 3600.0
    evidence_s: float = 604_800.0
    max_question_chars: int = 4000
    max_answer_bytes: int = 2**16
    sampled: bool = False


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

    async def propose(self, call: Call) -> Proposal | None:
        """The branched answer, its saving computed as what its leader's usage would cost now."""
        found = self._question(call)
        if found is None or _drawn(call.id) < self._settings.audit:
            return None
        key, question = found
        if _wishes(call, "no-cache", "no-store", "max-age"):
            return None
        entry = await self._load(key)
        if entry is None:
            return None
        fresh = self._fresh(entry)
        made = branch(
            _among(entry.family, fresh),
            question,
            witnesses=self._settings.witnesses,
            doubtful=self._settings.doubtful,
        )
        if isinstance(made, str):
            return None
        return self._proposal(call, made, fresh[made.leader.source])

    async def settle(self, outcome: Outcome) -> None:
        """Compare what the upstream answered with what was foretold, and keep it as an example."""
        call, response = outcome.call, outcome.response
        if response is None or outcome.error or outcome.abandoned or outcome.status != 200:
            return
        if outcome.answered_by != call.target.provider or not outcome.done.complete:
            return  # somebody's replay teaches nothing
        if outcome.done.finish_reason not in _FINISHED or len(response.raw) > self._settings.max_answer_bytes:
            return
        if any(step.optimizer == "fallback" and step.verdict is Verdict.ACCEPTED for step in call.trail):
            return
        found = self._question(call)
        answered = only_text(response.wire, response.raw)
        if found is None or answered is None or _wishes(call, "no-store"):
            return
        (key, question), (text, place) = found, answered
        entry = await self._load(key) or Entry(Family())
        family = learn(_among(entry.family, self._fresh(entry)), question, text, call.id)
        kept = Kept(
            self._clock.now(), response.wire, response.raw, place, outcome.done.usage, outcome.done.finish_reason
        )
        sources = {example.source for example in family.examples}
        answers = {source: old for source, old in entry.answers.items() if source in sources}
        if call.id in sources:
            answers[call.id] = kept
        await self._kv.put(key, encode(key, Entry(family, answers)), ttl_s=self._settings.evidence_s)

    def wants_response(self, call: Call) -> bool:
        return self._question(call) is not None and not _wishes(call, "no-store")

    def _question(self, call: Call) -> tuple[str, Masked] | None:
        """The key of the call's template and the question as it; None for a call without slots or not fit."""
        settings = self._settings
        found = eligible(call.original, sampled=settings.sampled, most_chars=settings.max_question_chars)
        if isinstance(found, str):
            return None
        question = mask(found.text)
        if not question.values:
            return None
        return f"templates/{call.identity.tenant}/{fingerprint(call, found)}/{question.key}", question

    async def _load(self, key: str) -> Entry | None:
        value = await self._kv.get(key)
        return None if value is None else decode(key, value)

    def _fresh(self, entry: Entry) -> Mapping[str, Kept]:
        now = self._clock.now()
        return {
            source: kept
            for source, kept in entry.answers.items()
            if -_CLOCK_SLACK_S <= now - kept.created_at < self._settings.ttl_s
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


_CLOCK_SLACK_S = 60.0  # two machines that share a store may differ by so much


def _among(family: Family, fresh: Mapping[str, Kept]) -> Family:
    """The family with those examples alone. What older ones have proved stays."""
    examples = tuple(example for example in family.examples if example.source in fresh)
    return Family(examples, family.proofs, family.closed, family.shown)


def _drawn(call_id: str) -> float:
    """A number in [0, 1) that is the same whenever this call is looked at."""
    return int.from_bytes(blake2b(b"templates\0" + call_id.encode(), digest_size=8).digest(), "big") / 2**64


def _wishes(call: Call, *directives: str) -> bool:
    """Whether the caller's Cache-Control has one of these (RFC 9111, section 5.2.1)."""
    asked = (call.original.header("cache-control") or "").lower()
    return any(directive in asked for directive in directives)
