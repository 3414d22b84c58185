"""The exact cache as an optimizer: which calls it may answer, and which answers it keeps."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol

import msgspec

from ...adaptive import Knob, TtlKnob
from ...call import Answer, Call, Outcome, Proposal, Verdict, abstain
from ...errors import BadRequest, ConfigError
from ...hits import STILL, Audit, CacheRule, Hits, Look, Pair, looked
from ...kept import CLOCK_SLACK_S
from ...money import PicoUSD
from ...protocols import KV, Clock, PromptKeeper
from ...request import Charge, Done, Operation, Request, Response, Wire
from ...wire import codec
from ...wire.answers import FINISHED, replayable
from ...wire.sameness import members, repeatable
from ...wire.wishes import wishes
from .entry import Entry, encoded, entry_of
from .key import cache_key

__all__ = ["STATEFUL", "Book", "ExactCache", "Parts", "Settings", "build"]

STATEFUL = frozenset(
    {
        "background",
        "container",
        "conversation",
        "functions",
        "mcp_servers",
        "plugins",
        "previous_response_id",
        "search_parameters",
        "store",
        "tool_resources",
        "web_search_options",
    }
)
"""Fields that tie an answer to something outside the body: state kept by the provider, searches, code that runs, or
old-style tools. A call that sets one (not null, false or empty) is never answered from the cache."""

_CALLED_TOOLS = frozenset({"tool_calls", "tool_use", "function_call"})
"""Ends of an answer that calls tools, in the words of the four wires: kept only where the user said so."""

_AUDITED, _DAMAGED = "exact_cache_audited", "exact_cache_damaged"  # in a call's facts, for `settle`
_JUDGED, _KEY = "exact_cache_candidate", "exact_cache_key"  # the same, so that a miss is read and hashed once


class Settings(msgspec.Struct, frozen=True):
    """ttl_s: how long an answer may be replayed, unless its route says otherwise; ttl_min_s, ttl_max_s: how far the
    adaptive loop may move that. max_answer_bytes: longer answers are not kept. max_request_bytes: longer requests are
    not looked up, because hashing them would hold up others.

    audit: the share of hits, in [0, 1], that are asked anew and compared, to know how many are wrong. Each costs a
    call.

    sampled, tool_calls: under `--optimize max`, also replay answers of calls that do not ask to be repeatable, and of
    calls with tools. Both change what a caller sees, so both are off until switched on.
    """

    ttl_s: float = 3600.0
    ttl_min_s: float = 300.0
    ttl_max_s: float = 86_400.0
    max_answer_bytes: int = 2**20
    max_request_bytes: int = 8 * 2**20
    audit: float = 0.0
    sampled: bool = False
    tool_calls: bool = False


class Book(Protocol):
    """What this cache needs of a price book."""

    def cost(self, charge: Charge) -> PicoUSD | None:
        """What that bill comes to; None when no price is known."""
        ...


class Parts(Protocol):
    """What this cache needs of the App."""

    @property
    def kv(self) -> KV: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def book(self) -> Book: ...

    @property
    def hits(self) -> Hits: ...

    def rule(self, call: Call) -> CacheRule: ...


class _Candidate(msgspec.Struct, frozen=True):
    """A call that may be answered: the fields of its body, at which level, and for how long its route keeps answers."""

    fields: dict[str, msgspec.Raw]
    level: Literal["safe", "max"]
    rule: CacheRule


class _Still:
    """Protocol: `hits.Still`."""

    __slots__ = ("_cache", "_candidate", "_created_at", "_max_age_s", "_value", "look")

    def __init__(
        self, cache: ExactCache, look: Look, value: bytes, created_at: float, candidate: _Candidate, max_age_s: float
    ) -> None:
        self.look = look
        self._cache = cache
        self._value = value
        self._created_at = created_at
        self._candidate = candidate
        self._max_age_s = max_age_s

    def age_s(self) -> float | None:
        return self._cache._still(
            self.look[2], self._value, self._created_at, self._candidate.rule, max_age_s=self._max_age_s
        )


_Found = Callable[[str], Awaitable[tuple[bytes, str] | None]]


def build(settings: Settings, parts: Parts) -> ExactCache:
    """Raises ConfigError for settings that cannot work."""
    for name in ("ttl_s", "ttl_min_s", "ttl_max_s", "max_answer_bytes", "max_request_bytes"):
        if not getattr(settings, name) > 0:
            raise ConfigError(f"exact_cache: {name} {getattr(settings, name)!r} must be above 0; leave it out.")
    if not 0.0 <= settings.audit <= 1.0:
        raise ConfigError(f"exact_cache: audit {settings.audit!r} is no share of hits. Use 0 to 1; 0.02 is 2%.")
    return ExactCache(settings, parts)


class ExactCache:
    """An Optimizer that proposes a stored Answer, and stores answers when calls settle."""

    name = "exact_cache"

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self._settings = settings
        self._kv = parts.kv
        self._found: _Found = getattr(parts.kv, "found", self._in_some_store)
        self._holds: Callable[[str, bytes], bool] | None = getattr(parts.kv, "holds", None)
        self._clock = parts.clock
        self._book = parts.book
        self._hits = parts.hits
        self._rule = parts.rule
        self._ttl = TtlKnob(f"{self.name}.ttl_s", start=settings.ttl_s, low=settings.ttl_min_s, high=settings.ttl_max_s)
        self._learning = False
        self._audit = int(settings.audit * 2**32)

    def knobs(self) -> Sequence[Knob]:
        """From now on answers that are asked for again are compared with the ones that expired."""
        self._learning = True
        return (self._ttl,)

    def concerns(self, call: Call) -> bool:
        """Calls that may be answered; why others may not, their trail tells."""
        if self._candidate(call) is not None:
            return True
        if call.original.operation is Operation.GENERATE:
            abstain(call, self.name, call.facts[_JUDGED])
        return False

    async def propose(self, call: Call) -> Proposal | None:
        """The stored answer, its saving computed as what that usage would cost now. None: not kept, or not allowed."""
        candidate = self._candidate(call) if self.concerns(call) else None
        if candidate is None:
            return None
        wish = wishes(call.original)
        if wish.no_cache:
            abstain(call, self.name, "the caller wants a fresh answer")
            return None
        key = _key(call, candidate)
        found = await self._found(key)
        entry = entry_of(key, found[0]) if found is not None else None
        if found is None or entry is None:
            if found is not None:
                call.facts[_DAMAGED] = True
            looked(call, self.name)
            abstain(call, self.name, "not asked before" if found is None else "what was kept is damaged")
            return None
        age_s = self._age_s(entry.created_at)
        if age_s is None or age_s >= min(self._ttl_s(candidate.rule), wish.max_age_s):
            looked(call, self.name)
            abstain(call, self.name, "asked before, too long ago")
            return None
        if self._asks_again(call, candidate, age_s):
            abstain(call, self.name, "asked before, and again to compare")
            return None
        looked(call, self.name, found[1], key)
        if self._holds is not None and not self._audit:
            look = (self.name, found[1], key)
            call.facts[STILL] = _Still(self, look, found[0], entry.created_at, candidate, wish.max_age_s)
        usage = entry.usage
        saving = self._book.cost(Charge(call.target.provider, call.target.model, usage, call.at)) if usage else None
        headers = (("x-pennyweight-cache", "hit"), ("age", str(int(age_s))))
        response = Response(entry.wire, entry.raw, Done(usage, entry.finish_reason), headers=headers)
        return Proposal(
            Answer(response),
            saving=saving or 0,
            why=f"asked before, {age_s:.0f} s ago",
            level=candidate.level,
            tokens=max(usage.input_tokens, 1) if usage is not None else 1,  # every prompt has a token
        )

    def learns_from(self, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """Answers that can be kept, and where what was kept is damaged."""
        return [one for one in outcomes if one.response is not None or _DAMAGED in one.call.facts]

    async def settle(self, outcome: Outcome) -> None:
        """Keep a whole, well-ended answer of an eligible call."""
        call = outcome.call
        if outcome.answered_by != call.target.provider:  # a cache's answer: what is kept was given to this very call
            return
        candidate = self._candidate(call)
        if candidate is None:
            return
        wish = wishes(call.original)
        response = outcome.response
        if response is None or wish.no_store or not self._worth_keeping(outcome, response):
            if _DAMAGED in call.facts:
                await self._kv.delete(_key(call, candidate))
            return
        done = outcome.done
        entry = Entry(
            self._clock.now(),
            response.wire,
            call.original.model,
            call.target.provider,
            call.id,
            done.usage,
            done.finish_reason,
            response.raw,
        )
        key = _key(call, candidate)
        if self._learning or _AUDITED in call.facts or wish.no_cache:
            await self._compare(key, entry, candidate, outcome)
        own_s = candidate.rule.ttl_s
        keep_s = own_s if own_s is not None else self._ttl.kept_s if self._learning else self._ttl.value
        value = encoded(key, entry)
        if isinstance(self._kv, PromptKeeper) and self._kv.keeps_prompts:
            await self._kv.put_answer(key, value, prompt=_prompt(call), ttl_s=keep_s)
        else:
            await self._kv.put(key, value, ttl_s=keep_s)

    def wants_response(self, call: Call) -> bool:
        """Whether the answer to this call could be kept."""
        return self._candidate(call) is not None and not wishes(call.original).no_store

    # --- what may be answered and kept ------------------------------------------------------------------------

    def _candidate(self, call: Call) -> _Candidate | None:
        """None when the call may not be answered by an earlier answer; the call's facts then have the reason."""
        judged = call.facts.get(_JUDGED)
        if judged is None:
            judged = call.facts[_JUDGED] = self._judge(call)
        return judged if isinstance(judged, _Candidate) else None

    def _judge(self, call: Call) -> _Candidate | str:
        """The reason in a few words where the call may not be answered by an earlier answer."""
        request = call.original
        if request.operation is not Operation.GENERATE:
            return "no question"
        if len(request.raw) > self._settings.max_request_bytes:
            return "too long to look up"
        steady = repeatable(request)
        most = call.optimize == "max"
        if not steady and not (most and self._settings.sampled):
            return "sampled: neither temperature 0 nor a seed"
        try:
            has_tools = bool(request.envelope.tools)
            if has_tools and not (most and self._settings.tool_calls):
                return "it carries tools"
            rule = self._rule(call)
            if rule.volatile:
                return "its route is volatile"
            # White space between members says nothing, so it goes; numbers and escapes keep their bytes.
            fields = members(msgspec.json.format(request.raw, indent=-1))
        except (BadRequest, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return "its body cannot be read"
        if fields is None:
            return "a field comes twice in its body"
        if _leans_outside(request, fields):
            return "its answer rests on more than its body"
        return _Candidate(fields, "safe" if steady and not has_tools else "max", rule)

    def _worth_keeping(self, outcome: Outcome, response: Response) -> bool:
        done = outcome.done
        if outcome.error or outcome.abandoned or outcome.status != 200 or not done.complete:
            return False
        if len(response.raw) > self._settings.max_answer_bytes:
            return False
        ends = FINISHED | _CALLED_TOOLS if self._settings.tool_calls else FINISHED
        if done.finish_reason not in ends or not replayable(response):
            return False
        for step in outcome.call.trail:
            if step.verdict is Verdict.ACCEPTED:
                # An answer that another target gave in need must not speak for this one when it is well again.
                if step.optimizer == "fallback":
                    return False
                # The answer to another call under way, perhaps with this one's values put in: that call's is kept.
                if step.optimizer == "coalesce" and not done.charges:
                    return False
        return True

    def _ttl_s(self, rule: CacheRule) -> float:
        return rule.ttl_s if rule.ttl_s is not None else self._ttl.value

    def _still(self, key: str, value: bytes, created_at: float, rule: CacheRule, *, max_age_s: float) -> float | None:
        """The age of an answer that was given before and may be given again; None: look anew."""
        age_s = self._age_s(created_at)
        if age_s is None or age_s >= min(self._ttl_s(rule), max_age_s):
            return None
        if rule.ttl_s is None and age_s > self._ttl.start:
            return None  # of these a sample is asked anew, which is drawn by the id of a call
        return age_s if self._holds is not None and self._holds(key, value) else None

    def _age_s(self, created_at: float) -> float | None:
        """None: made by a clock that was set back since, so nobody knows how old it is."""
        age_s = self._clock.now() - created_at
        return None if age_s < -CLOCK_SLACK_S else max(age_s, 0.0)

    async def _in_some_store(self, key: str) -> tuple[bytes, str] | None:
        value = await self._kv.get(key)
        return None if value is None else (value, "store")

    # --- how right the answers are ----------------------------------------------------------------------------

    def _asks_again(self, call: Call, candidate: _Candidate, age_s: float) -> bool:
        """Whether this hit is asked anew, to be compared. The same call gets the same answer."""
        if self._audit and candidate.level == "safe" and zlib.crc32(call.id.encode()) < self._audit:
            call.facts[_AUDITED] = True
            return True
        return candidate.rule.ttl_s is None and self._ttl.asks_again(call.id, age_s)

    async def _compare(self, key: str, new: Entry, candidate: _Candidate, outcome: Outcome) -> None:
        """Whether the answer that was kept says what the fresh one says."""
        value = await self._kv.get(key)
        old = entry_of(key, value) if value is not None else None
        if old is None or old.created_at >= new.created_at:  # or the clock was set back
            return
        said, says = _text(old), _text(new)
        if said is None or says is None:
            return
        if self._learning and candidate.rule.ttl_s is None:
            self._ttl.compared(new.created_at - old.created_at, equal=said == says)
        call = outcome.call
        self._hits.audited(
            Audit(
                self.name,
                valid=said == says,
                tenant=call.identity.tenant,
                route=candidate.rule.name or f"{call.target.provider}/{call.original.model}",
                call_id=call.id,
                source="audit" if _AUDITED in call.facts else "expired",
                pair=Pair(_asked(call), says, said),
            )
        )


def _key(call: Call, candidate: _Candidate) -> str:
    """Where the call goes may change after it was asked about, and then so does its key."""
    known = call.facts.get(_KEY)
    if known is not None and known[0] is call.target:
        return str(known[1])
    key = cache_key(call, candidate.fields)
    call.facts[_KEY] = call.target, key
    return key


_NOTHING = frozenset({b"null", b"false", b'""', b"[]", b"{}"})


def _leans_outside(request: Request, fields: dict[str, msgspec.Raw]) -> bool:
    """Whether the answer depends on more than the body, or there are several answers."""
    if not STATEFUL.isdisjoint(fields) and any(bytes(fields[n]) not in _NOTHING for n in STATEFUL & fields.keys()):
        return True
    if "n" in fields and bytes(fields["n"]) not in (b"null", b"1"):
        return True
    # The Responses API names a prompt kept by the provider here; elsewhere it is the prompt's text.
    if request.wire is Wire.OPENAI_RESPONSES and "prompt" in fields and bytes(fields["prompt"]) not in _NOTHING:
        return True
    return request.model.endswith(":online")  # OpenRouter: with a web search


def _asked(call: Call) -> str:
    """The newest user text; "" for a body that cannot be read."""
    try:
        return codec(call.original.wire).view(call.original).last_user
    except BadRequest:
        return ""


_PROMPT_CHARACTERS = 100_000  # of a prompt that is kept for people to read


def _prompt(call: Call) -> str:
    """The texts that were sent, for an operator who wants them kept."""
    texts = codec(call.original.wire).view(call.original).texts
    return "\n\n".join(texts)[:_PROMPT_CHARACTERS]


def _text(entry: Entry) -> str | None:
    """What an answer says, without its id and time; None for one that cannot be read."""
    wire = codec(entry.wire)
    tap = wire.tap()
    try:
        for chunk in wire.unfold(entry.raw):
            tap.feed(chunk)
        return tap.output_text().strip()
    except Exception:  # noqa: BLE001 - whatever it trips over
        return None
