"""The second act: an agent's day through `auto`, over three tiers, under a daily limit that runs out.

The same OpenClaw session is played again and again, each time as a new session of the same day. First once without a
limit, in a gateway of its own, to learn what it comes to; the limit of the day is about nine of them. So much, because
the limit is never passed: before a call is sent there is room for the worst that it can come to, and that of one call
with a long prompt, had the provider's cache nothing of it, is about what a whole session comes to.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from ...call import Receipt, Verdict
from ...capture.format import Recorded
from ...config import Config, load
from ...gateway.run import Gateway, open_gateway
from ...ledger.reading import receipts
from ...money import PicoUSD, format_usd
from ...replay.demo import demo_session
from ...testing.provider import provider_keys
from .played import DemoFailed, replay_provider, sent

__all__ = ["Ended", "as_object", "play", "show"]

_TOLD = 200  # characters of the refusal that are shown; the rest is a summary of the session
_LIMIT = 8.9  # sessions' worth, of the first one, which writes the cache that the others read
_MOST_SESSIONS = 20

_CONFIG = """
[providers.laptop]
base_url = "{url}/v1"
wires = ["anthropic_messages"]
auth = "none"
usd_per_hour = 0.0

[[tiers]]
name = "local"
targets = ["laptop/qwen3:4b"]

[[tiers]]
name = "middle"
targets = ["anthropic/claude-sonnet-4-5"]

[[tiers]]
name = "frontier"
targets = ["anthropic/claude-opus-4-5"]

[[targets]]
target = "laptop/qwen3:4b"
context_tokens = 32768
tools = true

[[optimizers]]
use = "routing"

[[optimizers]]
use = "prompt_cache"

[budgeting.alerts]
stderr = false
"""
_BUDGET = """
[[budgets]]
scope = "tenant"
per = "day"
usd = "{usd}"
hold = "fit"
"""


class Call(msgspec.Struct, frozen=True):
    """One call: what the budget said in its answer's header, who answered, and what it cost in PicoUSD."""

    session: int
    number: int
    status: int
    event: str  # ok, warn, force; halt: this call would have passed the limit
    spent: float  # of the limit, in [0, 1], after this call
    model: str = ""
    tier: str = ""
    compressed: bool = False
    cost: PicoUSD = 0
    said: str = ""  # the sentence of a refusal


class Ended(msgspec.Struct, frozen=True):
    """Money in PicoUSD. `alone`: what one session comes to without a limit."""

    calls: tuple[Call, ...]
    limit: PicoUSD
    alone: PicoUSD
    cost: PicoUSD
    spent: PicoUSD
    unpriced: int
    invoice: PicoUSD

    @property
    def over(self) -> PicoUSD:
        """By how much the limit was passed."""
        return max(self.cost - self.limit, 0)

    @property
    def balances(self) -> bool:
        return self.cost - self.spent == self.invoice and not self.unpriced


@asynccontextmanager
async def play(folder: Path, *, port: int, optimize: str) -> AsyncIterator[tuple[Ended, Gateway]]:
    """Plays the day. The gateway goes on until the block ends. Raises DemoFailed."""
    session = demo_session()
    async with replay_provider(session) as provider:
        config = _config(folder / "alone", provider.url, optimize, port=0)
        async with open_gateway(lambda: config) as gateway:
            for call in session:
                status, _, answer = await sent(gateway, call, "alone", model="auto")
                if status != 200:
                    told = answer[:300].decode(errors="replace")
                    raise DemoFailed(f"A call for auto was answered {status}: {told}")
        alone = sum(one.cost or 0 for one in receipts(folder / "alone" / "pennyweight.db"))
    limit = _cents(round(alone * _LIMIT))
    async with replay_provider(session) as provider:
        limited = _config(folder / "day", provider.url, optimize, port=port, limit=limit)
        async with open_gateway(lambda: limited) as gateway:
            calls = await _play(gateway, session, folder / "day" / "pennyweight.db")
            kept = list(receipts(folder / "day" / "pennyweight.db"))
            yield (
                Ended(
                    tuple(calls),
                    limit,
                    alone,
                    cost=sum(one.cost or 0 for one in kept),
                    spent=sum(one.spent for one in kept),
                    unpriced=sum(one.pricing == "unpriced" for one in kept),
                    invoice=provider.invoice()[0],
                ),
                gateway,
            )


def _config(folder: Path, url: str, optimize: str, *, port: int, limit: PicoUSD | None = None) -> Config:
    """Only the replay provider's address and keys: whatever keys this machine has stay out of it."""
    folder.mkdir(parents=True, exist_ok=True)
    text = _CONFIG.format(url=url)
    if limit is not None:
        text += _BUDGET.format(usd=f"{limit / 10**12:.2f}")
    file = folder / "pennyweight.toml"
    file.write_text(text, encoding="utf-8")
    return load(file, provider_keys(url), {"port": port, "data_dir": folder, "optimize": optimize, "holdout": 0.0})


def _cents(amount: PicoUSD) -> PicoUSD:
    return max(round(amount / 10**10), 1) * 10**10


async def _play(gateway: Gateway, session: Sequence[Recorded], ledger: Path) -> list[Call]:
    """Call after call and session after session until one is refused. Raises DemoFailed if none is."""
    calls: list[Call] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("a day through auto", total=None)
        for day in range(1, _MOST_SESSIONS + 1):
            for number, call in enumerate(session, 1):
                status, headers, answer = await sent(gateway, call, f"session {day}", model="auto")
                found = next(receipts(ledger, call_id=headers.get("x-pennyweight-call", "")), None)
                calls.append(_told(day, number, status, headers, answer, found))
                progress.advance(task)
                if status != 200:
                    return calls
    raise DemoFailed(f"The limit of the day was not reached in {_MOST_SESSIONS} sessions. Please report this.")


def _told(
    session: int, number: int, status: int, headers: Mapping[str, str], answer: bytes, receipt: Receipt | None
) -> Call:
    said = headers.get("x-pennyweight-budget", "")
    event, _, rest = said.partition(";")
    share = re.search(r"(\d+)%", rest)
    spent = int(share[1]) / 100 if share else 0.0
    if status != 200:
        body = msgspec.json.decode(answer)
        return Call(session, number, status, "halt", spent, said=str(body["error"]["message"]))
    steps = receipt.trail if receipt is not None else ()
    compressed = any(s.optimizer in ("compression", "context") and s.verdict is Verdict.ACCEPTED for s in steps)
    model, tier = headers.get("x-pennyweight-model", ""), headers.get("x-pennyweight-tier", "")
    cost = (receipt.cost or 0) if receipt is not None else 0
    return Call(session, number, status, event or "ok", spent, model, tier, compressed, cost)


# --- shown ------------------------------------------------------------------------------------------------


def as_object(ended: Ended) -> dict[str, Any]:
    """The result as it is printed by --json. Money in US dollars."""
    return {
        "limit_usd": ended.limit / 1e12,
        "session_without_limit_usd": ended.alone / 1e12,
        "cost_usd": ended.cost / 1e12,
        "invoice_usd": ended.invoice / 1e12,
        "over_limit_usd": ended.over / 1e12,
        "ledger_equals_invoice": ended.balances,
        "steps": [_step(calls) for calls in _steps(ended.calls)],
        "calls": [{**msgspec.to_builtins(call), "cost_usd": call.cost / 1e12} for call in ended.calls],
    }


def _steps(calls: Sequence[Call]) -> list[list[Call]]:
    """Calls after each other of one session, with the same event and the same target."""
    return [list(group) for _, group in groupby(calls, key=lambda c: (c.session, c.event, c.tier, c.status))]


def _rows(calls: Sequence[Call]) -> list[list[Call]]:
    """The steps, with whole sessions of which the budget says nothing yet as one."""
    rows: list[list[Call]] = []
    for step in _steps(calls):
        before = rows[-1][-1] if rows else None
        alike = before is not None and (before.event, before.tier) == (step[0].event, step[0].tier) == (
            "ok",
            before.tier,
        )
        if alike:
            rows[-1] += step
        else:
            rows.append(list(step))
    return rows


def _step(calls: Sequence[Call]) -> dict[str, Any]:
    first, last = calls[0], calls[-1]
    return {
        "session": first.session,
        "calls": [first.number, last.number],
        "event": first.event,
        "budget_share": [first.spent, last.spent],
        "status": first.status,
        "model": first.model,
        "tier": first.tier,
        "compressed_calls": sum(call.compressed for call in calls),
        "cost_usd": sum(call.cost for call in calls) / 1e12,
        "said": last.said,
    }


def show(ended: Ended) -> None:
    console = Console()
    limit = format_usd(ended.limit)
    console.print(f"\nAn agent's day through auto, with a limit of {limit}", highlight=False)
    table = Table("session", "calls")
    table.add_column("budget", justify="right", no_wrap=True)
    table.add_column("event")
    table.add_column("answered by", no_wrap=True)
    table.add_column("cost", justify="right", no_wrap=True)
    for calls in _rows(ended.calls):
        first, last = calls[0], calls[-1]
        alike = first.session != last.session
        table.add_row(
            f"{first.session}-{last.session}" if alike else str(first.session),
            str(len(calls)) if alike else f"{first.number}-{last.number}" if len(calls) > 1 else str(first.number),
            f"{first.spent:.0%}-{last.spent:.0%}" if first.spent != last.spent else f"{first.spent:.0%}",
            _event(calls),
            f"{first.tier}: {first.model.partition('/')[2]}" if first.status == 200 else f"nobody: {first.status}",
            format_usd(sum(call.cost for call in calls)),
        )
    console.print(table)
    said = ended.calls[-1].said
    told = said if len(said) <= _TOLD else f"{said[:_TOLD].rstrip()}…"
    console.print(f"What the agent is told: {told}", highlight=False, soft_wrap=True)
    console.print(_NOTE, highlight=False, soft_wrap=True)
    left = format_usd(ended.limit - ended.cost)
    console.print(f"The limit holds: {left} of it are left, and the next call can come to more.", highlight=False)
    if ended.balances:
        amount = format_usd(ended.invoice, exact=True)
        console.print(f"The ledger and the provider's invoice agree to the pico-dollar: {amount}.", highlight=False)


def _event(calls: Sequence[Call]) -> str:
    first = calls[0]
    if first.status != 200:
        return "halted"
    compressed = sum(call.compressed for call in calls)
    said = f"*{compressed}" if compressed else ""
    return {"ok": "", "warn": "warned", "force": "saving"}.get(first.event, first.event) + said


_NOTE = (
    "At 80% answers carry a warning; at 90% prompts are compressed (*6: those of six of these calls) and the next "
    "session begins one tier lower; in the end nothing is asked that could pass the limit, were the provider's cache "
    "empty and the answer as long as may be. A conversation keeps its model inside a tool loop, and leaves the local "
    "one where it outgrows it. Prices: the price book's; what is local costs nothing."
)
