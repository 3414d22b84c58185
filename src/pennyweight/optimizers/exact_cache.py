"""The exact response cache: a call asked before, field by field, gets the answer that it got then.

Under `safe` only calls that ask to be repeatable (temperature 0 or a seed) and carry no tools. The key covers every
field of the body but `NOT_IN_KEY`. It does not know how answers are replayed, whole or as a stream: the pipeline does.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal, Protocol

import msgspec

from ..adaptive import Knob, TtlKnob
from ..call import Answer, Call, Outcome, Proposal, Verdict
from ..errors import BadRequest
from ..money import PicoUSD
from ..protocols import KV, Clock
from ..request import Charge, Done, Operation, Request, Response, Usage, Wire
from ..wire import codec
from ..wire.sameness import origin, repeatable

__all__ = ["NOT_IN_KEY", "STATEFUL", "Book", "ExactCache", "Parts", "Settings", "build", "cache_key"]

NOT_IN_KEY = frozenset({"stream", "stream_options"})
"""Fields that do not enter the key: they say how an answer travels, not what it says. All others do, known or not."""

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

_VERSION = 1  # the first byte of every entry; entries of another version are misses

_FINISHED = frozenset({"stop", "end_turn", "stop_sequence", "completed"})
_CALLED_TOOLS = frozenset({"tool_calls", "tool_use", "function_call"})
"""Ends of an answer worth keeping, in the words of the four wires. Cut (length), filtered and refused ones are not."""


class Settings(msgspec.Struct, frozen=True):
    """ttl_s: how long an answer may be replayed; ttl_min_s, ttl_max_s: how far the adaptive loop may move that.
    max_answer_bytes: longer answers are not kept.

    sampled, tool_calls: under `--optimize max`, also replay answers of calls that do not ask to be repeatable, and of
    calls with tools. Both change what a caller sees, so both are off until switched on.
    """

    ttl_s: float = 3600.0
    ttl_min_s: float = 300.0
    ttl_max_s: float = 86_400.0
    max_answer_bytes: int = 2**20
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


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    created_at: float  # unix seconds
    wire: Wire
    raw: bytes
    usage: Usage | None
    finish_reason: str | None


_entry = msgspec.msgpack.Decoder(_Entry)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def build(settings: Settings, parts: Parts) -> ExactCache:
    return ExactCache(settings, parts)


_CLOCK_SLACK_S = 60.0  # two machines that share a store may differ by so much


class ExactCache:
    """An Optimizer that proposes a stored Answer, and stores answers when calls settle."""

    name = "exact_cache"

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self._settings = settings
        self._kv = parts.kv
        self._clock = parts.clock
        self._book = parts.book
        self._ttl = TtlKnob(f"{self.name}.ttl_s", start=settings.ttl_s, low=settings.ttl_min_s, high=settings.ttl_max_s)
        self._learning = False

    def knobs(self) -> Sequence[Knob]:
        """From now on answers that are asked for again are compared with the ones that expired."""
        self._learning = True
        return (self._ttl,)

    async def propose(self, call: Call) -> Proposal | None:
        """The stored answer, its saving computed as what that usage would cost now. None: not kept, or not allowed."""
        candidate = self._candidate(call)
        if candidate is None:
            return None
        fields, level = candidate
        wishes = _wishes(call.original)
        if wishes.no_cache:
            return None
        entry = _decode(await self._kv.get(cache_key(call, fields)))
        if entry is None:
            return None
        age_s = self._clock.now() - entry.created_at
        if age_s < -_CLOCK_SLACK_S:
            return None  # made by a clock that was set back since: nobody knows how old it is
        age_s = max(age_s, 0.0)
        if age_s >= min(self._ttl.value, wishes.max_age_s) or self._ttl.asks_again(call.id, age_s):
            return None
        usage = entry.usage
        saving = self._book.cost(Charge(call.target.provider, call.target.model, usage, call.at)) if usage else None
        headers = (("x-pennyweight-cache", "hit"), ("age", str(int(age_s))))
        response = Response(entry.wire, entry.raw, Done(usage, entry.finish_reason), headers=headers)
        return Proposal(
            Answer(response),
            saving=saving or 0,
            why=f"asked before, {age_s:.0f} s ago",
            level=level,
            tokens=max(usage.input_tokens, 1) if usage is not None else 1,  # every prompt has a token
        )

    async def settle(self, outcome: Outcome) -> None:
        """Keep a whole, well-ended answer of an eligible call."""
        response = outcome.response
        if response is None or outcome.error or outcome.abandoned or outcome.status != 200:
            return
        done = outcome.done
        if not done.complete or len(response.raw) > self._settings.max_answer_bytes:
            return
        ends = _FINISHED | _CALLED_TOOLS if self._settings.tool_calls else _FINISHED
        if done.finish_reason not in ends or not _replayable(response):
            return
        # An answer that another target gave in need must not speak for this one when it is well again.
        if any(step.optimizer == "fallback" and step.verdict is Verdict.ACCEPTED for step in outcome.call.trail):
            return
        candidate = self._candidate(outcome.call)
        if candidate is None or _wishes(outcome.call.original).no_store:
            return
        entry = _Entry(self._clock.now(), response.wire, response.raw, done.usage, done.finish_reason)
        key = cache_key(outcome.call, candidate[0])
        if self._learning:
            self._compare(_decode(await self._kv.get(key)), entry)
        keep_s = self._ttl.kept_s if self._learning else self._ttl.value
        await self._kv.put(key, bytes([_VERSION]) + msgspec.msgpack.encode(entry), ttl_s=keep_s)

    def _compare(self, old: _Entry | None, new: _Entry) -> None:
        """Whether the answer that was kept says what the fresh one says."""
        if old is None or old.created_at >= new.created_at:  # or the clock was set back
            return
        said, says = _text(old), _text(new)
        if said is not None and says is not None:
            self._ttl.compared(new.created_at - old.created_at, equal=said == says)

    def wants_response(self, call: Call) -> bool:
        """Whether the answer to this call could be kept."""
        return self._candidate(call) is not None and not _wishes(call.original).no_store

    def _candidate(self, call: Call) -> tuple[dict[str, msgspec.Raw], Literal["safe", "max"]] | None:
        """The fields of the body and the level at which it may be replayed; None when it may not."""
        request = call.original
        if request.operation is not Operation.GENERATE:
            return None
        steady = repeatable(request)
        most = call.optimize == "max"
        if not steady and not (most and self._settings.sampled):
            return None
        try:
            has_tools = bool(request.envelope.tools)
            if has_tools and not (most and self._settings.tool_calls):
                return None
            fields = _fields.decode(request.raw)
        except (BadRequest, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return None
        if _leans_outside(request, fields):
            return None
        return fields, "safe" if steady and not has_tools else "max"


def cache_key(call: Call, fields: dict[str, msgspec.Raw]) -> str:
    """The key of a call whose body has these top-level fields.

    Taken from the call as it came, because what later optimizers do to it is not known when this one is asked. Members
    are sorted at the top only: the order of the properties in a JSON schema decides the order in which a model writes
    them, so bodies that differ in it may be answered differently. Values keep their bytes, big numbers included.
    """
    kept = {name: value for name, value in fields.items() if name not in NOT_IN_KEY}
    digest = blake2b(origin(call, call.original), digest_size=32)
    digest.update(call.optimize.encode())  # an answer given under "max" may come from a rewritten prompt
    digest.update(b"\0")
    digest.update(msgspec.json.encode(kept, order="sorted"))
    return f"exact/{call.identity.tenant}/{digest.hexdigest()}"


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


def _replayable(response: Response) -> bool:
    """Whether it can be given again as a stream; a whole body that is odd may not be. Takes time: not for `propose`."""
    try:
        codec(response.wire).unfold(response.raw)
    except Exception:  # noqa: BLE001 - whatever it trips over
        return False
    return True


def _text(entry: _Entry) -> str | None:
    """What an answer says, without its id and time; None for one that cannot be read."""
    wire = codec(entry.wire)
    tap = wire.tap()
    try:
        for chunk in wire.unfold(entry.raw):
            tap.feed(chunk)
        return tap.output_text().strip()
    except Exception:  # noqa: BLE001 - whatever it trips over
        return None


class _Wishes(msgspec.Struct, frozen=True):
    """What the caller's Cache-Control header asks (RFC 9111, section 5.2.1)."""

    no_cache: bool = False
    no_store: bool = False
    max_age_s: float = float("inf")


_NO_WISHES = _Wishes()


def _wishes(request: Request) -> _Wishes:
    header = request.header("cache-control")
    if header is None:
        return _NO_WISHES
    directives = [part.strip().lower() for part in header.split(",")]
    max_age_s = float("inf")
    for directive in directives:
        name, _, value = directive.partition("=")
        if name == "max-age":
            # A limit that we cannot read is taken as the strictest.
            max_age_s = min(max_age_s, float(value.strip('"')) if value.strip('"').isdecimal() else 0.0)
    return _Wishes("no-cache" in directives, "no-store" in directives, max_age_s)


def _decode(value: bytes | None) -> _Entry | None:
    """An entry; None for one that is absent, of another version, or damaged."""
    if value is None or value[:1] != bytes([_VERSION]):
        return None
    try:
        return _entry.decode(memoryview(value)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
