"""What prompts cost: on a call, on those that will probably follow, and on the bill. All in pico-dollars. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..habits import LATER_S, SOON_S
from ..prefix import Chain
from ..request import Usage
from ..warmth import Forecast
from .foreseen import Foreseen, Rates

__all__ = [
    "baseline",
    "bill",
    "cost_ahead",
    "cost_now",
    "costs",
    "falls_short",
    "growth_tokens",
    "kept",
    "rounding",
    "unwritten",
]

_ALIKE = 1.25
_STEP_TOKENS = 128  # in which some providers count what they read
_USUAL_GROWTH_TOKENS = 300.0  # that a turn adds to a prompt, before anything was seen


def cost_now(forecast: Forecast, rates: Rates) -> float:
    """What the prompt of this call costs, in pico-dollars."""
    return _now(forecast, rates.of(forecast.prompt_tokens))


def costs(forecast: Forecast, seen: Foreseen, growth: float) -> tuple[float, float]:
    """`cost_now` and `cost_ahead` of a prompt of the call."""
    assert seen.rates is not None
    known = seen.rates.of(forecast.prompt_tokens)
    return _now(forecast, known), _ahead(forecast, seen, growth, known)


_Known = tuple[float, float, float, float, float]
"""What `Rates.of` gives."""


def _now(forecast: Forecast, known: _Known) -> float:
    plain, read, write_5m, write_1h, _ = known
    reads, writes_5m, writes_1h = forecast.read_tokens, forecast.write_5m_tokens, forecast.write_1h_tokens
    rest = max(forecast.prompt_tokens - reads - writes_5m - writes_1h, 0.0)
    return rest * plain + reads * read + writes_5m * write_5m + writes_1h * write_1h


def cost_ahead(forecast: Forecast, seen: Foreseen, growth: float) -> float:
    """What this prompt costs in the calls that will probably follow, and what they will add to the cache."""
    assert seen.rates is not None
    return _ahead(forecast, seen, growth, seen.rates.of(forecast.prompt_tokens))


def _ahead(forecast: Forecast, seen: Foreseen, growth: float, known: _Known) -> float:
    calls, in_time = seen.coming
    plain, read, write, write_1h, _ = known
    kind, ttl_s = seen.rules.kind, forecast.lasting_ttl_s
    if ttl_s >= LATER_S:
        in_time, write = 1.0, write_1h
    elif ttl_s > SOON_S:
        in_time = (in_time + 1.0) / 2
    if kind == "automatic":
        write = plain
    lasting = forecast.lasting_tokens
    if seen.repeats_tokens is not None:
        lasting = min(lasting, seen.repeats_tokens)
    rest = write if kind == "marked" else plain  # it is written up to its end, whether that comes again or not
    again = lasting * (in_time * read + (1.0 - in_time) * write) + (forecast.prompt_tokens - lasting) * rest
    # What a turn adds is written where marks stand at the end; from a small beginning they climb if that pays.
    covered = min(lasting / forecast.prompt_tokens, 1.0) if forecast.prompt_tokens else 0.0
    added = growth * (covered * write + (1.0 - covered) * rest)
    return calls * (again + added)


def kept(forecast: Forecast, chain: Chain, seen: Foreseen, marks: Sequence[int]) -> Forecast:
    """Of what an implicit breakpoint at the end of a prompt writes, only what the next call repeats lasts. marks: where
    the chain has some, or is to get them."""
    conversation = seen.conversation
    if seen.rules.kind != "marked" or conversation is None or len(chain) != len(seen.asked):
        return forecast
    if seen.appends:
        comes = len(chain) - seen.gone
    else:
        comes = seen.repeated
    if comes >= len(chain):
        return forecast
    scale = forecast.prompt_tokens / max(chain[-1].upto, 1)
    written = (chain[place].upto * scale for place in marks if place < comes)
    known = forecast.known_tokens if forecast.known_to <= comes else 0.0
    lasting = max((tokens for tokens in written if tokens >= seen.rules.min_tokens), default=0.0)
    return msgspec.structs.replace(forecast, lasting_tokens=max(lasting, known))


def rounding(seen: Foreseen) -> float:
    """What it may cost, in pico-dollars, that a cache which counts in steps rounds another length down further: on this
    call and on a few of those to come."""
    assert seen.rates is not None
    plain, read, *_ = seen.rates.of(seen.forecast.prompt_tokens)
    return (seen.rules.step_tokens - 1) * (plain - read) * min(1.0 + seen.outlook.remaining_later, 4.0)


def growth_tokens(seen: Foreseen) -> float:
    """Tokens that a turn adds to the prompt, on average."""
    conversation = seen.conversation
    if conversation is None or not conversation.asked:
        return 0.0
    return max(seen.asked[-1].upto - conversation.asked[-1].upto, 0.0)


def falls_short(seen: Foreseen, before: Forecast, after: Forecast) -> bool:
    """Whether a prompt, made shorter, is too short to be cached while it soon would have been without that, and may
    cost more so. A whole prompt of the least length is not dearer than reading one ten times as long, at a tenth."""
    if seen.rules.kind == "none" or after.prompt_tokens >= seen.rules.min_tokens or seen.outlook.remaining < 0.5:
        return False
    if seen.rates is not None:
        plain, read, *_ = seen.rates.of(before.prompt_tokens)
        if seen.rules.min_tokens * plain <= before.prompt_tokens * read:
            return False
    growth = growth_tokens(seen) or _USUAL_GROWTH_TOKENS
    return before.prompt_tokens + growth * seen.outlook.remaining >= seen.rules.min_tokens


def unwritten(forecast: Forecast) -> dict[str, float]:
    """Of what would be written, only what lies behind the known prefix."""
    writes = forecast.write_5m_tokens + forecast.write_1h_tokens
    behind = max(forecast.lasting_tokens - forecast.known_tokens, 0.0)
    scale = min(behind / writes, 1.0) if writes else 0.0
    return {
        "write_5m_tokens": forecast.write_5m_tokens * scale,
        "write_1h_tokens": forecast.write_1h_tokens * scale,
    }


def bill(usage: Usage, rates: Rates) -> float:
    plain, read, write_5m, write_1h, _ = rates.of(usage.input_tokens)
    return (
        usage.uncached_tokens * plain
        + usage.cache_read_tokens * read
        + usage.cache_write_5m_tokens * write_5m
        + usage.cache_write_1h_tokens * write_1h
    )


def baseline(usage: Usage, sent: Forecast, would_be: Forecast) -> Usage:
    """The usage of the call as the caller sent it: what was billed, moved by the difference of the two forecasts.

    Where the provider had less in its cache than was foreseen, it would have had that much less of the other, too;
    where it had more, as after a restart of ours, the caller's own marks would have found that as well.
    """
    kept = 1.0
    if sent.read_tokens >= 1.0:
        kept = min(max(usage.cache_read_tokens / sent.read_tokens, 0.0), 1.0)
    elif would_be.read_tokens >= 1.0 and sent.known_to and usage.cache_read_tokens == 0:
        kept = 0.0
    prompt = max(round(usage.input_tokens + would_be.prompt_tokens - sent.prompt_tokens), 0)
    likely = would_be.likely_read_tokens
    read = round(likely * kept)
    if usage.cache_read_tokens > 1.1 * sent.known_tokens + _STEP_TOKENS:
        read = max(read, min(usage.cache_read_tokens, round(would_be.lasting_tokens)))
    read = min(read, prompt)
    room = prompt - read
    writes = would_be.write_5m_tokens + would_be.write_1h_tokens
    marked = likely + writes if would_be.lasting_tokens else 0.0
    lasting = max(would_be.lasting_tokens, marked if writes else 0.0)
    foreseen, billed = (
        sent.write_5m_tokens + sent.write_1h_tokens,
        usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
    )
    if lasting > likely and billed > 0 and foreseen / _ALIKE <= billed <= foreseen * _ALIKE:
        lasting += billed - foreseen  # of what is new, tokens are an estimate, and off alike in both
    lasting = min(round(lasting), prompt)
    written = max(min(lasting - read, room), 0) if writes else 0
    long = round(written * (would_be.write_1h_tokens / writes)) if writes else 0
    return msgspec.structs.replace(
        usage,
        input_tokens=prompt,
        cache_read_tokens=read,
        cache_write_5m_tokens=written - long,
        cache_write_1h_tokens=long,
    )
