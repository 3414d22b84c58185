"""What a caller is told of a budget: the sentence of a refusal, and the line of the header.

Pure. Clients go by the words of a 402. OpenClaw takes "daily" or "monthly" with "limit" and "reset", or "usage limit"
with "try again", for something that passes, and shows the text; in other words it takes the key for one without credit
and disables it (its classification of failures, openclaw/openclaw, MIT). So the first sentence never changes its shape.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from ...counters import Counter
from .amounts import TOKEN
from .limits import DAILY, Limit, Line

__all__ = ["amount", "header", "plain", "refusal", "safe_to_quote", "spent_of"]


def refusal(line: Line, counter: Counter, *, now: float, needed: int = 0) -> str:
    """Why a call is refused: a sentence for clients and people, and another where something is left, and too little.

    now: unix seconds. needed: what the call can come to, in the unit of the limit.
    """
    limit = line.limit
    reached = _reached(line, counter, now)
    if counter.spent >= limit.most or counter.spent + needed <= limit.most:  # it is spent, or others may give back
        return reached
    what = "A shorter prompt" if limit.hold == "least" else "A smaller output limit"
    return f"{reached} This call can come to {amount(limit, needed)}. {what} may fit."


def _reached(line: Line, counter: Counter, now: float) -> str:
    limit = line.limit
    spent = spent_of(limit, counter)
    whose = _whose(line)
    match limit.per:
        case "day":
            return f"Daily limit reached for {whose}: {spent}, resets {_until(line, now)}."
        case "month":
            return f"Monthly limit reached for {whose}: {spent}, resets {_until(line, now)}."
        case "hour":
            return f"Hourly usage limit reached for {whose}: {spent}, resets {_until(line, now)}; try again then."
    if limit.scope == "session":
        return f"Session usage limit reached for {whose}: {spent}. Try again in a new session."
    if limit.scope == "call":
        return f"Usage limit reached for one call: {spent}. Try again with a shorter prompt or a smaller output limit."
    return f"Usage limit reached for {whose}: {spent}. Try again when the limit has been raised."


def header(line: Line, counter: Counter, *, halted: bool = False) -> str:
    """`warn; 83% of 30,000 tokens spent by session s1`, in ASCII: the header x-pennyweight-budget. halted: it has
    refused a call, which may be before the whole of it is spent."""
    limit = line.limit
    share = int(100 * counter.spent / limit.amount)
    level = "halt" if halted or share >= 100 * limit.rule.halt else ""
    level = level or (
        "force" if share >= 100 * limit.rule.force else "warn" if share >= 100 * limit.rule.warn else "ok"
    )
    text = f"{level}; {share}% of {amount(limit, limit.amount)} {_every(limit)}spent by {_whose(line)}"
    return plain(text + _ADVICE.get(level, ""))


_ADVICE = {
    "warn": "; x-pennyweight-optimize: max would compress what is sent",
    "force": "; tool results are compressed from now on",
}


def plain(text: str) -> str:
    """As a header can carry it."""
    return _UNPRINTABLE.sub("?", text)[:300]


_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


def spent_of(limit: Limit, counter: Counter) -> str:
    """ "$1.00 of $5.00 spent": never more than was spent, so that what is left is not told too small."""
    of = amount(limit, limit.amount)
    if limit.unit == "usd":
        return f"{amount(limit, counter.spent)} of {of} spent"
    return f"{max(counter.spent, 0) // TOKEN:,} of {of} spent"


_SMALL_USD = 10**11
"""Ten cents in pico-dollars: smaller limits are told to the micro-dollar."""


def amount(limit: Limit, value: int) -> str:
    """In the unit of the limit, rounded down."""
    if limit.unit == "usd":
        places = 2 if limit.amount >= _SMALL_USD else 6  # or it would be told as $0.00 of $0.00
        return f"${max(value, 0) // 10 ** (12 - places) / 10**places:,.{places}f}"
    return f"{max(value, 0) // TOKEN:,} {'plain ' if limit.rule.plain else ''}tokens"


def _every(limit: Limit) -> str:
    return {"hour": "an hour ", "day": "a day ", "month": "a month ", None: ""}[limit.per]


def _whose(line: Line) -> str:
    scope = line.limit.scope
    if line.limit.id == DAILY or scope in ("key", "tenant"):
        return f"key {line.subject}"
    if scope == "all":
        return "all calls"
    return f"{scope} {line.subject}" if line.subject else "this call"


def _until(line: Line, now: float) -> str:
    """ "tomorrow 00:00 UTC": when the window ends, by the clock of its time zone."""
    assert line.window is not None
    where = line.limit.where
    end, today = (datetime.fromtimestamp(at, UTC).astimezone(where) for at in (line.window.ends, now))
    name = end.tzname() or line.limit.rule.time_zone
    days = (end.date() - today.date()) // timedelta(days=1)
    day = {0: "today", 1: "tomorrow"}.get(days, f"{end:%Y-%m-%d}")
    return f"{day} {end:%H:%M} {name}"


_TAKEN_FOR_BILLING = re.compile(
    r"insufficient|credit|balance|billing|top up|upgrade|current plan|subscription|quota|payment|api key", re.IGNORECASE
)


def safe_to_quote(text: str) -> bool:
    """Whether a text of the session can stand in a refusal without a client's taking it for one of another kind."""
    return _TAKEN_FOR_BILLING.search(text) is None
