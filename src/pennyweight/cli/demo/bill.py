"""The first act: three recorded sessions as their clients sent them, and the bill before and after."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from ...app import OPTIMIZERS, App
from ...config import load
from ...gateway.run import Gateway, open_gateway
from ...identity import identify
from ...ledger.doctor import Group, grouped, pricing
from ...ledger.doctor.shown import as_object as finding_object
from ...ledger.report import Line, Query, summary
from ...money import PicoUSD, format_usd
from ...prices.caching import CacheBook
from ...replay.demo import DemoSession, demo_sessions
from ...replay.doctor import diagnose
from ...testing.provider import ReplayProvider, provider_keys
from ...text.tokenizers import BpeTokenizer
from .played import answered, named, replay_provider

__all__ = ["Result", "as_object", "play", "show"]


class Result(msgspec.Struct, frozen=True):
    """What the gateway's ledger says of the sessions, and what the provider charges for them."""

    total: Line
    sessions: tuple[Line, ...]
    invoice: PicoUSD
    optimize: str
    findings: tuple[Group, ...] = ()  # of the cache doctor, of the sessions as their clients sent them

    @property
    def balances(self) -> bool:
        """Whether ledger and invoice agree to the pico-dollar. What optimizers spent is not the provider's to bill."""
        return self.total.cost - self.total.spent == self.invoice and not self.total.unpriced_calls


@asynccontextmanager
async def play(folder: Path, *, port: int, optimize: str) -> AsyncIterator[tuple[Result, Gateway]]:
    """Plays the sessions. The gateway goes on until the block ends. Raises DemoFailed."""
    sessions = demo_sessions()
    calls = [call for session in sessions for call in session.calls]
    async with replay_provider(calls) as provider:
        overrides = {"port": port, "data_dir": folder, "optimize": optimize, "holdout": 0.0}
        # Only the replay provider's address and keys: whatever keys this machine has stay out of it.
        config = load(None, provider_keys(provider.url), overrides)
        async with open_gateway(lambda: config) as gateway:
            yield await _play(sessions, gateway, provider, folder, optimize), gateway


async def _play(
    sessions: list[DemoSession], gateway: Gateway, provider: ReplayProvider, folder: Path, optimize: str
) -> Result:
    """Sends each call as its client did, one after the other. Raises DemoFailed for one that was not answered."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("playing", total=sum(len(session.calls) for session in sessions))
        for session in sessions:
            for number, call in enumerate(session.calls, 1):
                await answered(gateway, call, session.name, number)
                progress.advance(task)
    ledger = summary(folder / "pennyweight.db", Query(by="session"))
    order = [session.name for session in sessions]
    lines = sorted(ledger.lines, key=lambda line: order.index(line.key) if line.key in order else len(order))
    findings = _findings(sessions, gateway.app)
    return Result(ledger.total, tuple(lines), provider.invoice()[0], optimize, findings)


def _findings(sessions: list[DemoSession], app: App) -> tuple[Group, ...]:
    """What the cache doctor says of the sessions as their clients sent them, the dearest first."""
    calls = [named(call, session.name) for session in sessions for call in session.calls]
    found = diagnose(
        calls,
        resolve=app.resolve,
        identify=identify,
        pricing=pricing(app.accounts.price),
        rules=CacheBook().rules,
        count=BpeTokenizer().count,
    )
    return grouped(found.findings, on=(), known=OPTIMIZERS)


def as_object(result: Result) -> dict[str, Any]:
    """The result as it is printed by --json. Money in US dollars."""
    sessions = [{"session": line.key, **_figures(line)} for line in result.sessions]
    return {
        **_figures(result.total),
        "optimize": result.optimize,
        "invoice_usd": result.invoice / 1e12,
        "ledger_equals_invoice": result.balances,
        "sessions": sessions,
        "findings": [finding_object(group) for group in result.findings],
    }


def _figures(line: Line) -> dict[str, Any]:
    return {
        "calls": line.calls,
        "input_tokens": line.input_tokens,
        "cached_tokens": line.cached_tokens,
        "output_tokens": line.output_tokens,
        "baseline_usd": line.baseline / 1e12,
        "cost_usd": line.cost / 1e12,
        "saved_usd": line.saved / 1e12,
        "saved_basis": line.basis,
        "added_ms_p50": line.added_p50_ms,
        "added_ms_p99": line.added_p99_ms,
    }


def show(result: Result) -> None:
    lines = result.sessions if len(result.sessions) == 1 else (*result.sessions, result.total)
    table = Table()
    table.add_column("session")
    for line in lines:
        table.add_column(line.key, justify="right")
    for name, shown in _ROWS:
        table.add_row(name, *(shown(line) for line in lines))
    console = Console()
    console.print(f"Recorded sessions through this gateway, --optimize {result.optimize}", highlight=False)
    console.print(table)
    for session in demo_sessions():
        console.print(f"{session.name}: {session.about}.", highlight=False, soft_wrap=True)
    _print_findings(result.findings, console)
    if result.balances:
        amount = format_usd(result.invoice, exact=True)
        console.print(f"The ledger and the provider's invoice agree to the pico-dollar: {amount}.", highlight=False)
    note = "Answers were scripted when the session was recorded: the figures show that the books are right, not what"
    console.print(f"{note} you will save. Source and licence: {_licence()}", highlight=False, soft_wrap=True)


def _print_findings(findings: tuple[Group, ...], console: Console) -> None:
    if not findings:
        return
    console.print("What pennyweight doctor says of them as their clients sent them:")
    for group in findings:
        cost = "" if group.cost is None else f"{format_usd(group.cost)}  "
        console.print(f"  {cost}{', '.join(group.sessions)}: {group.title}", highlight=False, soft_wrap=True)
        console.print(f"    Fix: {group.fix}", highlight=False, soft_wrap=True)


_ROWS: tuple[tuple[str, Callable[[Line], str]], ...] = (
    ("calls", lambda line: f"{line.calls:,}"),
    ("input tokens", lambda line: f"{line.input_tokens:,}"),
    ("cached tokens", lambda line: f"{line.cached_tokens:,}"),
    ("output tokens", lambda line: f"{line.output_tokens:,}"),
    ("cost before", lambda line: format_usd(line.baseline, exact=True)),
    ("cost after", lambda line: format_usd(line.cost, exact=True)),
    ("saved", lambda line: f"{format_usd(line.saved, exact=True)} {line.basis}".strip()),
    ("added latency p50", lambda line: f"{line.added_p50_ms:.2f} ms"),
    ("added latency p99", lambda line: f"{line.added_p99_ms:.2f} ms"),
)


def _licence() -> str:
    return str(files("pennyweight.replay") / "data" / "README.md")
