"""What another model costs a conversation: on this call, on those to come, and on the way back. Pure.

Two questions. Does it pay: as far as can be foreseen, with the cache that each model has of it? And may it be done:
is all that it could cost covered, whatever follows? A switch leaves the reference's cache to lapse, and the next hard
turn writes there anew what it would have read. So a conversation goes away from its reference only if that is covered
by what routing has saved in its session and what this call saves surely, be its answer ever so short. Then a session
costs at no time more than it would have at its reference alone.
"""

from __future__ import annotations

import re

import msgspec

from ..habits import LATER_S
from ..money import BATCH
from ..prefix import items
from ..request import DELETE, Edit, Request, Usage, Wire
from ..warmth import Forecast
from .foreseen import Elsewhere, Foreseen, Rates, Worth
from .journeys import Journey
from .pricing import cost_ahead, cost_now, growth_tokens
from .stakes import takes_mark

__all__ = [
    "Home",
    "apart",
    "binds",
    "elsewhere",
    "foreseen_saving",
    "home",
    "lapses_s",
    "missing_mark",
    "owed",
    "same_state",
    "same_tokens",
    "switch",
    "switch_refused",
    "usual_output",
]

_USUAL_OUTPUT_TOKENS = 400.0
_RETURNS = 0.5  # of switches: what is done elsewhere is read by the reference later on
_LONG_S = 12 * 3_600.0
_SHORTEST_TOKENS = 10.0  # of an answer: a call of a tool, a sentence


class Home(msgspec.Struct, frozen=True):
    """What a call comes to at its reference, for all targets that it is weighed against. Pico-dollars, but for tokens.

    now, ahead: of the prompt, on this call and those that follow. answer: of a token of the answer. back: what the way
    back will probably cost. stays, stays_answer: of the prompt and of a token of the answer, had no call ever gone
    elsewhere. owes: what the way back could cost at most. saved: what routing has saved in the session, less what its
    other conversations owe.
    """

    output_tokens: float  # of an answer
    growth_tokens: float
    now: float
    ahead: float
    answer: float
    back: float
    stays: float
    stays_answer: float
    owes: float
    saved: float


def home(seen: Foreseen, would_be: Forecast, journey: Journey | None, *, at: float) -> Home:
    """would_be: what the reference would have of the prompt, had no call ever gone elsewhere."""
    assert seen.rates is not None
    here, growth = seen.forecast, growth_tokens(seen)
    _, read, write = _cache_rates(seen.rules.kind, here, seen.rates)
    back = max(here.lasting_tokens - here.read_tokens, 0.0) * (write - read)
    return Home(
        output_tokens=usual_output(seen),
        growth_tokens=growth,
        now=cost_now(here, seen.rates),
        ahead=cost_ahead(here, seen, growth),
        answer=_answer(seen.rates, here),
        back=_RETURNS * min(seen.outlook.remaining_later, 1.0) * back,
        stays=cost_now(would_be, seen.rates),
        stays_answer=_answer(seen.rates, would_be),
        owes=owed(would_be, here, seen.rules.kind, seen.rates),
        saved=journey.saved - journey.owed_beside(seen.key, at) if journey is not None else 0.0,
    )


def switch(seen: Foreseen, home: Home, there: Foreseen, prompt: float, answer: float) -> Worth:
    """What it is probably worth to make the call there and not at its reference, in pico-dollars. prompt: what that
    costs there; answer: a token of it."""
    answers = home.output_tokens * (home.answer - answer)
    now = home.now - prompt + answers
    ahead = home.ahead + answers * seen.outlook.remaining_later
    if there.rates is not None:
        ahead -= cost_ahead(there.forecast, there, home.growth_tokens)
    return Worth(now, ahead - home.back)


def switch_refused(home: Home, prompt: float, answer: float) -> str:
    """Why the call must not be made where its prompt, and a token of its answer, cost that; "": whatever follows, its
    session will not cost more for it."""
    surely = home.stays - prompt + _SHORTEST_TOKENS * (home.stays_answer - answer)
    if home.saved + surely < home.owes:
        return "what has been saved in this session does not cover what the way back may cost"
    return ""


def owed(would_be: Forecast, there: Forecast, kind: str, rates: Rates | None) -> float:
    """What it could cost, in pico-dollars, to go on at the reference after a call that it was not sent: to write again
    all that it would have in its cache after that. there: what it has of the prompt, which lapses before the other
    would, unless it is kept for a day: then it counts."""
    if rates is None:
        return 0.0
    _, read, write = _cache_rates(kind, would_be, rates)
    kept = there.read_tokens if there.ttl_s >= _LONG_S else 0.0
    return max(would_be.lasting_tokens - kept, 0.0) * max(write - read, 0.0)


def lapses_s(reference: Elsewhere | Foreseen, would_be: Forecast) -> float:
    """After how many seconds nothing of the prompt is in its reference's cache, whoever had it written."""
    return would_be.lasting_ttl_s * (_AUTOMATIC_LIVES if reference.rules.kind == "automatic" else 1.05)


_AUTOMATIC_LIVES = 4.0  # some providers keep prefixes for longer than they promise


def foreseen_saving(seen: Foreseen, would_be: Forecast) -> float:
    """What the prompt of a call that is sent as `seen` costs less than at its reference, as far as is foreseen."""
    rates = seen.rates if seen.reference is None else seen.reference.rates
    if rates is None or seen.rates is None:
        return 0.0
    return cost_now(would_be, rates) - cost_now(seen.forecast, seen.rates)


def same_state(seen: Foreseen, would_be: Forecast) -> bool:
    """Whether the reference is asked, and has in its cache what it would have had, had no call ever been changed."""
    sent = seen.forecast
    alike = sent.known_to == would_be.known_to and abs(sent.idle_s - would_be.idle_s) < 1.0
    return seen.reference is None and alike


def missing_mark(request: Request, seen: Foreseen, would_be: Forecast) -> tuple[Edit, ...]:
    """The breakpoint at which this prompt would have been read, had its conversation stayed at its reference. Writing
    there costs nothing, since all of the prompt is written anyway; a later prompt that parts from this one behind it
    finds it, as it would have."""
    place, marks = would_be.known_to - 1, seen.chain.marks
    if seen.rules.kind != "explicit" or would_be.warm < 0.5 or place < seen.forecast.known_to:
        return ()
    if place in marks or len(marks) >= seen.rules.max_marks or not takes_mark(seen.chain[place]):
        return ()
    segment = seen.chain[place]
    if segment.kind != "message" or segment.tokens == 0:
        return ()
    ttl = next((seen.chain[mark].mark for mark in marks if mark > place), "5m")  # longer ones come first
    control = {"type": "ephemeral"} if ttl == "5m" else {"type": "ephemeral", "ttl": ttl}
    content = msgspec.json.decode(items(request)[segment.index]).get("content")
    path = ("messages", segment.index, "content")
    if isinstance(content, str):
        return (Edit(path, [{"type": "text", "text": content, "cache_control": control}]),)
    return (Edit((*path, segment.part, "cache_control"), control),)


def elsewhere(usage: Usage, seen: Foreseen, would_be: Forecast, *, alike: bool) -> Usage:
    """What would have been billed at the reference for the call as the caller sent it; `usage` is what was billed for
    it where it went. Its answer is taken to have as many tokens. alike: both count tokens alike."""
    rules = seen.rules if seen.reference is None else seen.reference.rules
    prompt = round(would_be.prompt_tokens)
    if alike or not prompt:
        prompt = round(usage.input_tokens * seen.asked[-1].upto / max(seen.chain[-1].upto, 1))
    scale = prompt / would_be.prompt_tokens if would_be.prompt_tokens else 1.0
    read = int(would_be.likely_read_tokens * scale) // rules.step_tokens * rules.step_tokens
    writes = would_be.write_5m_tokens + would_be.write_1h_tokens
    lasting = min(round(would_be.lasting_tokens * scale), prompt)
    written = max(lasting - read, 0) if writes else 0
    long = round(written * would_be.write_1h_tokens / writes) if writes else 0
    return msgspec.structs.replace(
        usage,
        tier="standard" if usage.tier == BATCH else usage.tier,  # nobody else would have sent it there
        input_tokens=prompt,
        cache_read_tokens=min(read, prompt),
        cache_write_5m_tokens=written - long,
        cache_write_1h_tokens=long,
    )


def usual_output(seen: Foreseen) -> float:
    """Tokens of an answer in this conversation, on average."""
    known = seen.conversation.output_tokens if seen.conversation is not None else 0.0
    return known or _USUAL_OUTPUT_TOKENS


def same_tokens(one: str, other: str) -> bool:
    """Whether two models count the same tokens for the same text, as far as their names tell."""
    return one == other or (_tokenizer(one) != "" and _tokenizer(one) == _tokenizer(other))


def _tokenizer(model: str) -> str:
    """The tokenizer of a model by its name; "": not known. OpenAI: the tables of tiktoken's model.py; Anthropic says
    that Opus 4.7 was the first with a new one."""
    name = model.lower().rpartition("/")[2]
    if name.startswith("claude"):
        version = _VERSION.search(name)
        return "claude 4.7" if version and (int(version[1]), int(version[2] or 0)) >= (4, 7) else "claude"
    return next((tokenizer for pattern, tokenizer in _TOKENIZERS if pattern.search(name)), "")


_VERSION = re.compile(r"-(\d)(?:[-.](\d)(?!\d))?(?!\d)")
_TOKENIZERS = (
    (re.compile(r"^(?:chat)?gpt-(?:4o|4\.1|4\.5|5)|^o[134](?:-|$)"), "o200k"),
    (re.compile(r"^gpt-(?:4|3\.5)(?:-|$)"), "cl100k"),
)


def binds(request: Request) -> bool:
    """Whether the answer will hold signed reasoning, which its conversation carries along and no other model reads; of
    Messages that is not so once `apart` has been done."""
    asked = request.envelope.include
    return request.wire is Wire.OPENAI_RESPONSES and isinstance(asked, list) and "reasoning.encrypted_content" in asked


def apart(request: Request) -> tuple[Edit, ...]:
    """What has to change for another model than the caller set its request up for: no thinking that only it could
    read again, so that the conversation can come back; and no effort or clearing of thoughts, which go with it and
    which not every model of that protocol takes."""
    if request.wire is not Wire.ANTHROPIC_MESSAGES:
        return ()
    envelope = request.envelope
    found = []
    if envelope.thinking is not None and b'"disabled"' not in bytes(envelope.thinking):
        found.append(Edit(("thinking",), DELETE))
        if b'"clear_thinking' in request.raw:
            found.append(Edit(("context_management",), DELETE))
    if b'"output_config"' in request.raw and "effort" in (request.body.get("output_config") or {}):
        found.append(Edit(("output_config", "effort"), DELETE))
    return tuple(found)


def _answer(rates: Rates | None, forecast: Forecast) -> float:
    return rates.of(forecast.prompt_tokens)[4] if rates is not None else 0.0


def _cache_rates(kind: str, forecast: Forecast, rates: Rates) -> tuple[float, float, float]:
    """(plain, read, write) of a cache of that kind."""
    plain, read, write_5m, write_1h, _ = rates.of(forecast.prompt_tokens)
    if kind == "automatic":
        return plain, read, plain
    return plain, read, write_1h if forecast.lasting_ttl_s >= LATER_S else write_5m
