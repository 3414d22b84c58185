"""Proposes the answer of an earlier question of the same template, with this one's names and numbers in it.

What a template proves and what is in doubt is decided in `pennyweight.text.templates`; here answers are found and kept.
Nothing is served before an earlier answer was foretold exactly, and a share of what could be served is asked anyway:
an answer that is then not as foretold closes its template.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Protocol, TypeVar

import msgspec

from ...call import Answer, Call, Outcome, Proposal, Verdict
from ...errors import ConfigError
from ...money import PicoUSD
from ...protocols import KV, Clock
from ...request import Charge, Done, Response
from ...text.templates.entry import Entry, Gaps, Kept, Question, Recent, decode, encode
from ...text.templates.family import Branch, Family, branch, learn
from ...text.templates.gaps import Gap, gap, through
from ...text.templates.slots import Masked, mask
from ...wire.answers import only_text, with_text
from ...wire.questions import eligible, fingerprint

__all__ = ["RISK", "Parts", "Settings", "Templates", "build"]

T = TypeVar("T", bound=msgspec.Struct)

RISK = 0.002
"""That a branched answer is not the model's own: a bound on what `bench.templates` measures, with its adversary."""

_FINISHED = frozenset({"stop", "end_turn", "stop_sequence", "completed"})
"""Ends of an answer worth keeping, in the words of the four wires."""


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
        if _wishes(call, "no-cache", "no-store", "max-age"):
            return None
        kind, text = found
        question = mask(text)
        if question.values:
            made = await self._branch(call, f"{kind}/{question.key}", question, self._settings.witnesses)
            if made is not None:
                return made
        if self._settings.lower_case:
            for question in await self._through_gaps(kind, text):
                made = await self._branch(call, f"{kind}/{question.key}", question, self._settings.witnesses + 1)
                if made is not None:
                    return made
        return None

    async def _branch(self, call: Call, key: str, question: Masked, witnesses: int) -> Proposal | None:
        entry = await self._load(key, Entry)
        if entry is None:
            return None
        fresh = self._fresh(entry)
        family = _among(entry.family, fresh)
        made = branch(family, question, witnesses=witnesses, doubtful=self._settings.doubtful)
        return None if isinstance(made, str) else self._proposal(call, made, fresh[made.leader.source])

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
        (kind, text), (answer, place) = found, answered
        done = outcome.done
        kept = Kept(self._clock.now(), response.wire, response.raw, place, done.usage, done.finish_reason)
        new = Question(text, answer, call.id, kept)
        question = mask(text)
        if question.values:
            await self._learn(f"{kind}/{question.key}", question, new)
        if self._settings.lower_case:
            await self._learn_gaps(kind, new)

    async def _learn(self, key: str, question: Masked, *new: Question) -> Family:
        """Add these to the examples of a template; `question`: any of them."""
        entry = await self._load(key, Entry) or Entry(Family())
        family, answers = _among(entry.family, self._fresh(entry)), dict(entry.answers)
        for one in new:
            masked = question if one is new[-1] else through(Gap(*question.literals), one.text)
            if masked is not None:
                family = learn(family, masked, one.answer, one.source)
                answers[one.source] = one.kept
        sources = {example.source for example in family.examples}
        answers = {source: kept for source, kept in answers.items() if source in sources}
        await self._kv.put(key, encode(key, Entry(family, answers)), ttl_s=self._settings.evidence_s)
        return family

    async def _learn_gaps(self, kind: str, new: Question) -> None:
        """Look for words in lower case that vary, and learn what their exchange comes to."""
        known = await self._through_gaps(kind, new.text)
        for question in known:
            await self._learn(f"{kind}/{question.key}", question, new)
        key = f"{kind}/recent"
        recent = await self._load(key, Recent) or Recent()
        if not known:
            await self._find_gap(kind, recent, new)
        if len(new.kept.raw) <= _MOST_RECENT_BYTES:
            others = [old for old in recent.questions if old.text != new.text][-(_MOST_RECENT - 1) :]
            await self._kv.put(key, encode(key, Recent((*others, new))), ttl_s=self._settings.ttl_s)

    async def _find_gap(self, kind: str, recent: Recent, new: Question) -> None:
        for old in reversed(recent.questions):
            found = gap(old.text, new.text)
            question = through(found, new.text) if found is not None else None
            if found is None or question is None:
                continue
            family = await self._learn(f"{kind}/{question.key}", question, old, new)
            if family.proofs:
                key = f"{kind}/gaps"
                gaps = (await self._load(key, Gaps) or Gaps()).gaps
                kept = (*[g for g in gaps if g != found][-(_MOST_GAPS - 1) :], found)
                await self._kv.put(key, encode(key, Gaps(kept)), ttl_s=self._settings.evidence_s)
                return

    async def _through_gaps(self, kind: str, text: str) -> list[Masked]:
        known = await self._load(f"{kind}/gaps", Gaps)
        found = [through(around, text) for around in known.gaps] if known is not None else []
        return [question for question in found if question is not None][:_MOST_FITTING]

    def wants_response(self, call: Call) -> bool:
        found = self._question(call)
        if found is None or _wishes(call, "no-store"):
            return False
        return self._settings.lower_case or bool(mask(found[1]).values)

    def _question(self, call: Call) -> tuple[str, str] | None:
        """What the keys of its kind of call begin with, and the newest user text; None for a call that is not fit."""
        settings = self._settings
        found = eligible(call.original, sampled=settings.sampled, most_chars=settings.max_question_chars)
        if isinstance(found, str):
            return None
        return f"templates/{call.identity.tenant}/{fingerprint(call, found)}", found.text

    async def _load(self, key: str, kind: type[T]) -> T | None:
        value = await self._kv.get(key)
        return None if value is None else decode(key, value, kind)

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


_MOST_RECENT, _MOST_RECENT_BYTES = 32, 2**13  # questions in which words that vary are looked for, and their answers
_MOST_GAPS, _MOST_FITTING = 64, 3

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
