"""`pennyweight demo`: recorded agent sessions through a real gateway, answered by the replay provider."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from ..app import OPTIMIZERS, App
from ..capture.format import PATHS, Recorded
from ..config import load
from ..errors import PennyweightError
from ..gateway.run import Gateway, open_gateway
from ..identity import identify
from ..ledger.doctor import Group, grouped, pricing
from ..ledger.doctor.shown import as_object as finding_object
from ..ledger.report import Line, Query, summary
from ..money import PicoUSD, format_usd
from ..prices import PriceBook, open_book
from ..prices.caching import CacheBook
from ..replay.demo import DemoSession, demo_sessions
from ..replay.doctor import diagnose
from ..request import Charge, Usage, Wire
from ..testing.http import post
from ..testing.provider import ReplayProvider, provider_keys
from ..text.tokenizers import BpeTokenizer

_PROVIDERS = {Wire.ANTHROPIC_MESSAGES: "anthropic", Wire.OPENAI_CHAT: "openai", Wire.OPENAI_RESPONSES: "openai"}


class DemoFailed(PennyweightError):
    """A recorded call was not answered, or the books do not balance."""


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


@click.command(epilog="Try: pennyweight demo --json --exit")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("--exit", "leave", is_flag=True, help="End when the session is over; else the gateway goes on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the gateway. Default: a free one.")
@click.option("--optimize", type=click.Choice(["off", "safe", "max"]), default="safe", show_default=True)
def command(as_json: bool, leave: bool, port: int, optimize: str) -> None:
    """Play three recorded agent sessions (61 calls) through a gateway, and show the bill before and after.

    Needs no key and no network: a provider on this machine answers as recorded, keeps a model of the provider's prompt
    cache and bills at list prices. The table's figures are the gateway's own ledger, held against that invoice.
    """
    with TemporaryDirectory(prefix="pennyweight-demo-") as folder:
        main = _demo(Path(folder), as_json=as_json, leave=leave, port=port, optimize=optimize)
        if sys.platform == "win32":
            asyncio.run(main)
        else:
            import uvloop

            uvloop.run(main)


async def _demo(folder: Path, *, as_json: bool, leave: bool, port: int, optimize: str) -> None:
    sessions = demo_sessions()
    calls = [call for session in sessions for call in session.calls]
    answered = [(call.wire, call.body, call.answer) for call in calls if call.answer is not None]
    provider = ReplayProvider(answered, count=BpeTokenizer().count, cost=_list_price(open_book()))
    async with provider:
        overrides = {"port": port, "data_dir": folder, "optimize": optimize, "holdout": 0.0}
        # Only the replay provider's address and keys: whatever keys this machine has stay out of it.
        config = load(None, provider_keys(provider.url), overrides)
        async with open_gateway(lambda: config) as gateway:
            result = await _play(sessions, gateway, provider, folder, optimize)
            click.echo(json.dumps(as_object(result)) if as_json else "", nl=as_json)
            if not as_json:
                _print(result)
            if not result.balances:
                raise DemoFailed(
                    f"The ledger says {format_usd(result.total.cost, exact=True)}, the provider's invoice "
                    f"{format_usd(result.invoice, exact=True)}. Please report this."
                )
            if not leave:
                click.echo(f"The gateway goes on at {gateway.url}/ (its dashboard). Ctrl-C ends it.", err=True)
                await _until_told()


def _list_price(book: PriceBook) -> Callable[[Wire, str, Usage, float], PicoUSD | None]:
    def cost(wire: Wire, model: str, usage: Usage, at: float) -> PicoUSD | None:
        return book.cost(Charge(_PROVIDERS.get(wire, "openai"), model, usage, at))

    return cost


async def _play(
    sessions: list[DemoSession], gateway: Gateway, provider: ReplayProvider, folder: Path, optimize: str
) -> Result:
    """Sends each call as its client did, one after the other. Raises DemoFailed for one that was not answered."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("playing", total=sum(len(session.calls) for session in sessions))
        for session in sessions:
            for number, call in enumerate(session.calls, 1):
                await _send(call, session.name, number, gateway)
                progress.advance(task)
    ledger = summary(folder / "pennyweight.db", Query(by="session"))
    order = [session.name for session in sessions]
    lines = sorted(ledger.lines, key=lambda line: order.index(line.key) if line.key in order else len(order))
    findings = _findings(sessions, gateway.app)
    return Result(ledger.total, tuple(lines), provider.invoice()[0], optimize, findings)


def _findings(sessions: list[DemoSession], app: App) -> tuple[Group, ...]:
    """What the cache doctor says of the sessions as their clients sent them, the dearest first."""
    calls = [_named(call, session.name) for session in sessions for call in session.calls]
    found = diagnose(
        calls,
        resolve=app.resolve,
        identify=identify,
        pricing=pricing(app.accounts.price),
        rules=CacheBook().rules,
        count=BpeTokenizer().count,
    )
    return grouped(found.findings, on=(), known=OPTIMIZERS)


def _named(call: Recorded, session: str) -> Recorded:
    return msgspec.structs.replace(call, headers={**call.headers, "x-pennyweight-session": session})


async def _send(call: Recorded, session: str, number: int, gateway: Gateway) -> None:
    """Sends one call and waits for its answer and its receipt: the recording's pauses are longer than that."""
    headers = _named(call, session).headers
    status, _, answer = await post(gateway.url, call.path or PATHS[call.wire], headers, msgspec.json.encode(call.body))
    if status != 200:
        told = answer[:300].decode(errors="replace")
        raise DemoFailed(f"Call {number} of {session} was answered {status}: {told}")
    await gateway.app.clerk.flush()


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


def _print(result: Result) -> None:
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


async def _until_told() -> None:
    """Until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in ("SIGINT", "SIGTERM"):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises KeyboardInterrupt instead
            loop.add_signal_handler(getattr(signal, name), stop.set)
    await stop.wait()
