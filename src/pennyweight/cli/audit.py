"""`pennyweight audit`: a provider's usage or cost export against the ledger, line by line."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..config import Config, find, load
from ..errors import ConfigError
from ..ledger.audit import Audit, Cause, Explained, audit
from ..ledger.audit.flat import audit_json
from ..ledger.invoices import PROVIDERS, read
from ..money import format_usd
from ..prices import PriceBook
from ..stores.damage import notes, notice
from .prices import price_book
from .report import FILE, moment, tokens

__all__ = ["command"]

MOST_LINES = 40  # of a table, unless all are asked for


@click.command()
@click.option(
    "--invoice", "files", type=click.Path(path_type=Path), multiple=True, required=True,
    help="An export: CSV from the provider's site or JSON from its API. May be given again.",
)  # fmt: skip
@click.option("--provider", type=click.Choice(PROVIDERS), help="Whose export it is; found out if left out.")
@click.option("--account", "accounts", multiple=True, metavar="NAME",
              help="The configured provider it bills, if not all of that kind. May be given again.")  # fmt: skip
@click.option("--key", "keys", multiple=True, metavar="ID", help="Only the lines of this API key of the export.")
@click.option("--since", help="From this moment on: 2026-11-01, an ISO time (UTC), or 24h, 7d, 4w ago.")
@click.option("--until", help="Up to this moment, not included. Same forms.")
@click.option("--rate", "rates", multiple=True, metavar="EUR=1.08", help="US dollars for one unit of a currency.")
@click.option("--all", "everything", is_flag=True, help="List the lines that agree, too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--data", type=click.Path(path_type=Path), help="Data directory.")
def command(
    files: tuple[Path, ...],
    provider: str | None,
    accounts: tuple[str, ...],
    keys: tuple[str, ...],
    since: str | None,
    until: str | None,
    rates: tuple[str, ...],
    everything: bool,
    as_json: bool,
    data: Path | None,
) -> None:
    """Compare the ledger with what a provider says it will bill.

    Exit code 0 when every difference is explained within rounding, else 1. Times are UTC.

    \b
    pennyweight audit --invoice completions_usage_2026-11.csv
    pennyweight audit --invoice claude_api_cost_2026_11.csv --since 2026-11-01
    pennyweight audit --invoice usage.json --invoice costs.json --json
    """
    config = load(find(os.environ), os.environ, {"data_dir": data})
    book = price_book(config)
    now = time.time()
    span = moment(since, now), moment(until, now)
    for damage in notes(config.data_dir / FILE):
        click.secho(notice(damage, config.data_dir), fg="red", err=True)
    done = [_audited(file, config, book, provider, accounts, keys, span, _rates(rates)) for file in files]
    if as_json:
        click.echo(json.dumps({"ok": all(d.ok for d in done), "audits": [audit_json(d) for d in done]}, indent=2))
    else:
        console = Console() if sys.stdout.isatty() else Console(width=80)
        for file, result in zip(files, done, strict=True):
            _print(console, file, result, everything=everything)
    sys.exit(0 if all(result.ok for result in done) else 1)


def _audited(
    file: Path,
    config: Config,
    book: PriceBook,
    provider: str | None,
    accounts: Sequence[str],
    keys: Sequence[str],
    span: tuple[float | None, float | None],
    rates: dict[str, Decimal],
) -> Audit:
    invoice = read(file, provider=provider, rates=rates)
    return audit(
        config.data_dir / FILE,
        invoice,
        book.price,
        providers=accounts or _accounts(config, invoice.provider),
        closed_at=file.stat().st_mtime,
        since=span[0],
        until=span[1],
        keys=keys,
    )


def _accounts(config: Config, provider: str) -> list[str]:
    """The configured providers that this one's invoice is for."""
    same = [name for name, settings in config.providers.items() if provider in (name, settings.prices)]
    return same or [provider]


def _rates(given: Iterable[str]) -> dict[str, Decimal]:
    rates = {}
    for text in given:
        code, _, number = text.partition("=")
        try:
            rate = Decimal(number)
        except InvalidOperation:
            rate = Decimal(0)
        if len(code) != 3 or not code.isalpha() or not rate.is_finite() or not 0 < rate < 10**6:
            raise ConfigError(f"--rate {text!r} is no rate of exchange. Write it like EUR=1.08 (dollars for one euro).")
        rates[code.upper()] = rate
    return rates


# --- for people -------------------------------------------------------------------------------------------


def _print(console: Console, file: Path, result: Audit, *, everything: bool) -> None:
    invoice = result.invoice
    first, last = invoice.spans[0][0], max(end for _, end in invoice.spans)
    console.print(f"[bold]{escape(file.name)}[/]: {invoice.form}, {_when(first)} to {_when(last)} UTC", highlight=False)
    apart = [explained for explained in result.lines if everything or explained.causes]
    if apart:
        console.print(_lines(result, apart[:MOST_LINES] if not everything else apart))
    if len(apart) > MOST_LINES and not everything:
        console.print(f"[dim]and {len(apart) - MOST_LINES:,} more lines that differ: --all lists them.[/]")
    same = sum(not explained.causes for explained in result.lines)
    console.print(f"{same:,} of {len(result.lines):,} lines agree to the last digit.", highlight=False)
    if result.causes:
        console.print()
        console.print(_summary(result.causes, usage=invoice.measure == "usage"))
    for note in (*result.notes, *([invoice.incomplete] if invoice.incomplete else [])):
        console.print(f"[yellow]{escape(note)}[/]", highlight=False)
    verdict = "[green]Everything is explained.[/]" if result.ok else "[red]Not everything is explained.[/]"
    console.print(verdict, highlight=False)


def _lines(result: Audit, shown: Sequence[Explained]) -> Table:
    usage = result.invoice.measure == "usage"
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    table.add_column("from", no_wrap=True)
    table.add_column("model", overflow="fold", ratio=1)
    for name in ("ledger", "invoice", "difference"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("why", overflow="fold", max_width=20)
    for explained in shown:
        line = explained.line
        ours, theirs = (line.consumed.total, line.invoiced.total) if usage else (line.cost, line.billed)
        amounts = [tokens(ours), tokens(theirs), f"{theirs - ours:+,}"] if usage else [
            format_usd(ours), format_usd(theirs), _signed(theirs - ours)
        ]  # fmt: skip
        why = ", ".join(dict.fromkeys(_coloured(cause) for cause in explained.causes))
        table.add_row(_when(line.start), escape(line.model or "(all)"), *amounts, why)
    return table


def _summary(causes: Sequence[Cause], *, usage: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    for name in ("explanation", "calls", "tokens", "money"):
        table.add_column(
            name, justify="left" if name == "explanation" else "right", ratio=1 if name == "explanation" else None
        )
    for says in dict.fromkeys((cause.name, cause.says) for cause in causes):
        same = [cause for cause in causes if (cause.name, cause.says) == says]
        money = None if any(cause.money is None for cause in same) else sum(cause.money or 0 for cause in same)
        about = "~" if usage else ""
        table.add_row(
            f"{_coloured(same[0])}: {escape(says[1])}",
            _count(sum(cause.calls for cause in same), signed=False),
            _count(sum(cause.tokens for cause in same), signed=usage),
            "-" if money is None else about + _signed(money),
        )
    return table


def _coloured(cause: Cause) -> str:
    return f"[{'red' if cause.open else 'cyan'}]{escape(cause.name)}[/]"


def _signed(pico: int) -> str:
    return format_usd(pico) if pico <= 0 else f"+{format_usd(pico)}"


def _count(count: int, *, signed: bool) -> str:
    """A difference has its sign; the tokens of the calls concerned have none."""
    return f"{count:+,}" if signed and count else f"{count:,}" if count else "-"


def _when(at: float) -> str:
    time = datetime.fromtimestamp(at, UTC)
    return f"{time:%Y-%m-%d}" if at % 86_400 == 0 else f"{time:%Y-%m-%d %H:%M}"
