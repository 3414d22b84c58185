"""What the dashboard shows, as plain JSON values from one look at the ledger. Pure but for that look.

Money is text: whole pico-dollars, because a browser's numbers are exact only to 2^53 of them ($9,007). None: not a
matter of dollars, or no price is known. Times are unix seconds; days are UTC days, like the prices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import msgspec

from ...call import Step
from ...ledger.reading import of_session
from ...ledger.rolled import DAY_S, HOUR_S, Figures, Rolled, Span
from ...money import PICO, PicoUSD, format_usd
from .charts import Series, bars, lines

__all__ = ["RANGES", "Range", "breakdown", "caches", "calls", "optimizers", "overview", "sessions"]

Range = Literal["today", "7d", "30d", "90d", "all"]
RANGES: tuple[Range, ...] = get_args(Range)

_DAYS: Mapping[Range, int] = {"today": 1, "7d": 7, "30d": 30, "90d": 90}
_SHOWN = 100
_MOST_STEPS = 100
_RECENT = 1_000  # calls whose latency is told

By = Literal["model", "provider", "agent", "session", "task", "skill", "tenant"]

_trail = msgspec.json.Decoder(tuple[Step, ...])


class Asked(msgspec.Struct, frozen=True):
    """Who asks for what: `tenant` None for the operator, `width` of the chart in pixels."""

    now: float
    tenant: str | None
    range: Range = "7d"
    width: int = 720

    @property
    def today(self) -> int:
        return int(self.now) // DAY_S * DAY_S

    @property
    def span(self) -> Span:
        days = _DAYS.get(self.range)
        return Span(None if days is None else self.today - (days - 1) * DAY_S, self.tenant)


def overview(ledger: Rolled, asked: Asked) -> dict[str, Any]:
    """Spend and saving over time, the sums, and the dearest models and agents."""
    total = ledger.total(asked.span)
    models = ledger.groups(asked.span, "model", 1_000)
    steps = _over_time(ledger, asked)
    return {
        "total": figures(total),
        "chart": _spend_chart(steps, asked),
        "steps": [{"at": at, **figures(found)} for at, found in steps.items()],
        "models": [{"key": key, **figures(found)} for key, found in models[:5]],
        "agents": [{"key": key, **figures(found)} for key, found in ledger.groups(asked.span, "agent", 5)],
        "unpriced": [{"key": key, "calls": found.unpriced_calls} for key, found in models if found.unpriced_calls],
        "latency": _latency(ledger, asked.tenant),
    }


def breakdown(ledger: Rolled, asked: Asked, by: By) -> dict[str, Any]:
    """The dearest groups, and what the others come to together."""
    groups = ledger.groups(asked.span, by, _SHOWN)
    total = ledger.total(asked.span)
    others = _less(total, [found for _, found in groups])
    return {
        "by": by,
        "groups": [{"key": key, **figures(found)} for key, found in groups],
        "others": figures(others) if others.calls else None,
        "total": figures(total),
    }


def sessions(ledger: Rolled, asked: Asked, order: Literal["recent", "cost"]) -> dict[str, Any]:
    """Sessions that were active last, or the dearest, with who and what they are."""
    found = ledger.sessions(asked.span, 200 if order == "recent" else _SHOWN, recent=order == "recent")
    asked_for = msgspec.json.encode([(tenant, session) for tenant, session, _ in found]).decode()
    lasts = {row["place"]: row for row in ledger.select(_LAST_OF_SESSIONS, (asked_for,))}
    rows = []
    for place, (tenant, session, sums) in enumerate(found):
        last = lasts.get(place)
        of_last = {name: last[name] for name in ("at", "agent", "model")} if last is not None else {}
        rows.append({"tenant": tenant, "session": session, **of_last, **figures(sums)})
    if order == "recent":
        rows.sort(key=lambda row: -row.get("at", 0.0))
    return {"order": order, "sessions": rows[:_SHOWN]}


_LAST_OF_SESSIONS = f"""
SELECT w.key AS place, r.at, r.agent, r.model FROM json_each(?) w JOIN receipts r ON r.rowid = (
  SELECT rowid FROM receipts
  WHERE {of_session("json_extract(w.value, '$[0]')", "json_extract(w.value, '$[1]')")}
  ORDER BY run DESC, at DESC LIMIT 1)
"""  # from the newest run on, until one has the session: of calls at the same time, that which ended in a later run


def calls(
    ledger: Rolled, asked: Asked, *, session: tuple[str, str] | None = None, before: tuple[float, str] | None = None
) -> dict[str, Any]:
    """The newest calls with their trails, fifty at a time.

    session: only of that one, as (tenant, session); before: only those older than the call of that (at, call_id).
    """
    plus = "" if session is None else "+"  # keeps SQLite from going through all calls by time for those of a session
    terms: list[tuple[str, tuple[Any, ...] | None]] = [
        (f"{plus}tenant = ?", None if asked.tenant is None else (asked.tenant,)),
        (of_session(), session),
        (f"({plus}at, call_id) < (?, ?)", before),
    ]
    used = [(term, values) for term, values in terms if values is not None]
    where = " AND ".join(term for term, _ in used) or "true"
    sql = f"SELECT {_CALL_COLUMNS} FROM receipts WHERE {where} ORDER BY {plus}at DESC, call_id DESC LIMIT 50"
    rows = ledger.select(sql, [value for _, values in used for value in values])
    return {"calls": [_call(row) for row in rows], "more": len(rows) == 50}


def caches(ledger: Rolled, asked: Asked) -> dict[str, Any]:
    """Hit rates of both kinds over time, and by model."""
    steps = _over_time(ledger, asked)
    prompt = Series("prompt", [prompt_cache_rate(found) for found in steps.values()])
    response = Series("response", [response_cache_rate(found) for found in steps.values()])
    chart = lines(
        list(steps),
        (prompt, response),
        label="Hit rates of the prompt cache and the response cache over time",
        tick=lambda value: f"{value:.0%}",
        width=asked.width,
        height=200,
    )
    return {
        "total": figures(ledger.total(asked.span)),
        "chart": chart,
        "steps": [{"at": at, **figures(found)} for at, found in steps.items()],
        "models": [{"key": key, **figures(found)} for key, found in ledger.groups(asked.span, "model", 25)],
    }


def optimizers(ledger: Rolled, asked: Asked) -> dict[str, dict[str, Any]]:
    """By optimizer: how often it was asked, what became of its proposals, and what those named."""
    told: dict[str, dict[str, Any]] = {}
    for said in ledger.said(asked.span):
        line = told.setdefault(said.optimizer, {"asked": 0, "verdicts": {}, "saving": 0, "shadowed": 0, "spent": 0})
        line["asked"] += said.steps
        line["verdicts"][said.verdict] = said.steps
        line["saving"] += said.saving if said.verdict == "accepted" else 0
        line["shadowed"] += said.saving if said.verdict == "shadowed" else 0
        line["spent"] += said.spent
    return {name: {**line, **{k: str(line[k]) for k in ("saving", "shadowed", "spent")}} for name, line in told.items()}


# --- parts --------------------------------------------------------------------------------------------------------


def figures(found: Figures) -> dict[str, Any]:
    money = {"cost": found.cost, "baseline": found.baseline, "saved": found.saved, "spent": found.spent}
    money |= {"measured": found.measured, "computed": found.computed, "estimated": found.estimated}
    counts = {
        name: getattr(found, name)
        for name in Figures.__struct_fields__
        if name.endswith(("_calls", "_tokens")) or name == "calls"
    }
    return {
        **counts,
        **{name: str(pico) if found.has_money else None for name, pico in money.items()},
        "mean_latency_ms": found.latency_ms // found.calls if found.calls else None,
        "prompt_cache_rate": prompt_cache_rate(found),
        "response_cache_rate": response_cache_rate(found),
    }


def prompt_cache_rate(found: Figures) -> float | None:
    """Input tokens that the provider read from its cache, as a share of all input tokens that it was sent."""
    return min(found.cached_tokens / found.input_tokens, 1.0) if found.input_tokens else None


def response_cache_rate(found: Figures) -> float | None:
    """Calls that a stored or shared answer served, as a share of all calls."""
    return found.replayed_calls / found.calls if found.calls else None


def _over_time(ledger: Rolled, asked: Asked) -> dict[int, Figures]:
    """Every step from the first to today, those without calls too; at most a hundred."""
    span = asked.span
    first = span.since if span.since is not None else ledger.first_day(asked.tenant)
    if first is None:
        return {}
    end = asked.today + DAY_S
    days = (end - first) // DAY_S
    if days <= 2:
        step_s = HOUR_S
    elif days <= 10:
        step_s = 6 * HOUR_S
    else:
        step_s = DAY_S * -(-days // _MOST_STEPS)
    found = ledger.series(span, HOUR_S if step_s < DAY_S else DAY_S)
    steps: dict[int, Figures] = {at: Figures() for at in range(first, end, step_s)}
    for at, more in found.items():
        place = first + (at - first) // step_s * step_s
        if place in steps:  # receipts of the future are in the sums, not in the chart
            steps[place] = _plus(steps[place], more)
    return steps


def _plus(one: Figures, other: Figures) -> Figures:
    return Figures(*(a + b for a, b in zip(msgspec.structs.astuple(one), msgspec.structs.astuple(other), strict=True)))


def _less(total: Figures, parts: list[Figures]) -> Figures:
    sums = [sum(column) for column in zip(*map(msgspec.structs.astuple, parts), strict=True)] if parts else None
    if sums is None:
        return total
    return Figures(*(a - b for a, b in zip(msgspec.structs.astuple(total), sums, strict=True)))


def _spend_chart(steps: dict[int, Figures], asked: Asked) -> str:
    series = tuple(
        Series(name, [_usd(getattr(found, name)) for found in steps.values()])
        for name in ("cost", "measured", "computed", "estimated")
    )
    label = "Money over time: what was paid, and on top of it what was saved"
    return bars(list(steps), series, label=label, tick=_tick, width=asked.width, height=240)


def _usd(pico: PicoUSD) -> float:
    return pico / PICO


def _tick(usd: float) -> str:
    if usd == 0:
        return "$0"
    if usd >= 1_000:
        return f"${usd / 1_000:g}k"
    return format_usd(round(usd * PICO)) if usd < 1 else f"${usd:g}"


def _latency(ledger: Rolled, tenant: str | None) -> dict[str, Any]:
    """What we and the providers took, over the last calls."""
    where, values = ("tenant = ?", (tenant,)) if tenant is not None else ("true", ())
    sql = f"SELECT added_s, ttft_s, latency_s FROM receipts WHERE {where} ORDER BY at DESC LIMIT {_RECENT}"
    rows = ledger.select(sql, values)
    told: dict[str, Any] = {"calls": len(rows)}
    for name in ("added_s", "ttft_s", "latency_s"):
        values_s = sorted(row[name] for row in rows if row[name] is not None)
        for percent in (50, 99):
            rank = -(-len(values_s) * percent // 100) - 1  # nearest rank
            told[f"{name.removesuffix('_s')}_p{percent}_ms"] = round(values_s[rank] * 1000, 3) if values_s else None
    return told


_CALL_COLUMNS = (
    "call_id, at, tenant, session, agent, task, skill, provider, model, target_model, status, pricing, basis, "
    "replayed, answered_by, input_tokens, cache_read_tokens, output_tokens, CAST(cost_pico AS TEXT) AS cost, "
    "CAST(baseline_pico AS TEXT) AS baseline, CAST(saved_pico AS TEXT) AS saved, ttft_s, latency_s, added_s, "
    "finish_reason, error, abandoned, arm, wire, operation, trail"
)


def _call(row: Any) -> dict[str, Any]:
    told = dict(row)
    steps = _trail.decode(told.pop("trail"))
    told["trail"] = [
        {"optimizer": s.optimizer, "verdict": s.verdict.value, "saving": str(s.saving), "spent": str(s.spent)}
        | {"risk": s.risk, "why": s.why, "error": s.error}
        for s in steps
    ]
    return told
