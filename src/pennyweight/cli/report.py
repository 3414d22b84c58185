"""`pennyweight report`: what calls cost, what they would have cost, and who earned the difference."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..call import Receipt
from ..config import find, load
from ..errors import NotFound
from ..ledger.flat import line_json, receipt_json, summary_json
from ..ledger.reading import receipt as read_receipt
from ..ledger.report import BY, By, Earned, Line, Query, Summary, summary
from ..money import format_usd
from ..stores.damage import notes, notice

__all__ = ["FILE", "command", "moment", "tokens", "wide"]

FILE = "pennyweight.db"
EMPTY = (
    "No calls yet. Run `pennyweight serve`, point a client at it with `pennyweight connect`, "
    "or see it work with `pennyweight demo`."
)
BAR = 12  # characters of the longest bar


@click.command()
@click.option("--by", type=click.Choice(BY), default="day", show_default=True, help="What a line stands for.")
@click.option("--since", help="From this moment on: 2026-11-01, an ISO time (UTC), or 24h, 7d, 4w ago.")
@click.option("--until", help="Up to this moment, not included. Same forms.")
@click.option("--tenant", help="Only calls of this virtual key.")
@click.option("--call", "call_id", metavar="ID", help="One receipt whole, with what each optimizer said.")
@click.option("--csv", "as_csv", is_flag=True, help="CSV on stdout: money in USD, and exactly in pico-dollars.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="pennyweight.toml to use.")
@click.option("--data", type=click.Path(path_type=Path), help="Data directory.")
def command(
    by: str,
    since: str | None,
    until: str | None,
    tenant: str | None,
    call_id: str | None,
    as_csv: bool,
    as_json: bool,
    config_path: Path | None,
    data: Path | None,
) -> None:
    """What calls cost, and what was saved. Times are UTC.

    \b
    pennyweight report                         each day
    pennyweight report --by model --since 7d   the models of the last week
    pennyweight report --by skill --csv        for a spreadsheet
    pennyweight report --call ID               one receipt
    """
    path = (data or load(config_path or find(os.environ), os.environ).data_dir) / FILE
    console = wide()
    for damage in notes(path):
        click.secho(notice(damage, path.parent), fg="red", err=True)
    if call_id is not None:
        found = read_receipt(path, call_id)
        if found is None:
            raise NotFound(f"No receipt of call {call_id!r} in {path}; the id is in the answer's x-pennyweight-call.")
        click.echo(json.dumps(receipt_json(found), indent=2)) if as_json else _print_receipt(console, found)
        return
    now = time.time()
    query = Query(by=cast(By, by), since=moment(since, now), until=moment(until, now), tenant=tenant)
    result = summary(path, query)
    if as_json:
        click.echo(json.dumps(summary_json(result), indent=2))
    elif as_csv:
        _write_csv(result)
    elif not result.lines:
        chosen = any(value is not None for value in (since, until, tenant))
        click.echo("No calls in that span." if chosen else EMPTY)
    else:
        _print_summary(console, result)


def wide() -> Console:
    """Into a file or a pipe the table is as wide as it needs; a terminal's width is its own."""
    return Console() if sys.stdout.isatty() else Console(width=160)


def moment(text: str | None, now: float) -> float | None:
    """Unix seconds of a date, an ISO time (UTC unless it says otherwise), or so long before `now`."""
    if text is None:
        return None
    if ago := re.fullmatch(r"(\d{1,5})([hdw])", text):
        unit = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}[ago[2]]
        return now - int(ago[1]) * unit.total_seconds()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no time; write 2026-11-01, 2026-11-01T12:00, 24h, 7d or 4w.") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _write_csv(result: Summary) -> None:
    rows = [{result.query.by: r.pop("key"), **r} for r in map(line_json, result.lines)]
    names = list(rows[0]) if rows else [result.query.by, *list(line_json(result.total))[1:]]
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


# --- for people -------------------------------------------------------------------------------------------


# The columns between a line's name and its bar, and the width of terminal that each needs to be shown.
_COLUMNS = (
    ("calls", 0),
    ("input", 80),
    ("cached", 104),
    ("output", 92),
    ("cost", 0),
    ("untouched", 0),
    ("saved", 0),
    ("how known", 0),
    ("added p50", 116),
    ("p99", 116),
)
_BAR_FROM = 132


def _print_summary(console: Console, result: Summary) -> None:
    dearest = max((line.cost for line in result.lines), default=0)
    shown = [index for index, (_, width) in enumerate(_COLUMNS) if console.width >= width]
    table = Table(box=None, pad_edge=False, header_style="bold", footer_style="bold", show_footer=len(result.lines) > 1)
    table.add_column(result.query.by, footer="total", overflow="fold")
    total = _cells(result.total)
    for index in shown:
        name = _COLUMNS[index][0]
        table.add_column(name, footer=total[index], justify="right", no_wrap=name != "how known")
    if console.width >= _BAR_FROM:
        table.add_column("", no_wrap=True)
    for line in result.lines:
        cells = _cells(line)
        bar = [f"[cyan]{_bar(line.cost, dearest)}[/]"] if console.width >= _BAR_FROM else []
        table.add_row(escape(line.key) or "[dim](none)[/]", *(cells[index] for index in shown), *bar)
    console.print(table)
    for note in _notes(result):
        console.print(note, highlight=False, soft_wrap=True)
    if any(e.accepted or e.shadowed or e.failed for e in result.optimizers):
        console.print()
        console.print(_earned_table(result.optimizers))
        console.print(
            "[dim]Each optimizer's own estimate. Savings of successive rewrites overlap, so they do not add up to "
            "the total; only a holdout measures it.[/]",
            highlight=False,
        )


def _cells(line: Line) -> list[str]:
    """One for each of `_COLUMNS`."""
    cached = f"{line.cached_tokens / line.input_tokens:.0%}" if line.input_tokens else "-"
    return [
        f"{line.calls:,}",
        tokens(line.input_tokens),
        cached,
        tokens(line.output_tokens),
        *_money_cells(line),
        f"{line.added_p50_ms:.2f} ms",
        f"{line.added_p99_ms:.2f} ms",
    ]


def _money_cells(line: Line) -> list[str]:
    """Cost, baseline, saved and how that is known. What has no price is said, never shown as nothing."""
    if not line.has_money:
        return [
            "[yellow]unpriced[/]" if line.unpriced_calls else "plan" if line.subscription_calls else "-",
            "-",
            "-",
            "-",
        ]
    more = "[yellow] + ?[/]" if line.unpriced_calls else ""
    saved = format_usd(line.saved)
    if line.baseline > 0 and line.saved:
        saved += f" ({line.saved / line.baseline:.0%})"
    colour = "green" if line.saved > 0 else "red" if line.saved < 0 else "dim"
    known = line.basis or ("cost of optimizing" if line.saved else "-")
    return [format_usd(line.cost) + more, format_usd(line.baseline) + more, f"[{colour}]{saved}[/]", known]


def _notes(result: Summary) -> list[str]:
    total = result.total
    notes = []
    if total.replayed_calls:
        notes.append(f"{total.replayed_calls:,} answers replayed: {tokens(total.replayed_tokens)} tokens not consumed.")
    if total.spent:
        notes.append(f"Optimizing cost {format_usd(total.spent)}; it is inside the cost, so the saving is net of it.")
    if total.failed_calls:
        notes.append(f"{total.failed_calls:,} calls failed.")
    if total.subscription_calls:
        used = tokens(total.subscription_tokens)
        notes.append(f"{total.subscription_calls:,} calls on a subscription: {used} tokens, not counted in dollars.")
    if result.suspect_calls:
        notes.append(
            f"[yellow]{result.suspect_calls:,} calls have usage that contradicts itself (usage_suspect in SQL): "
            "see docs/ledger.md[/]"
        )
    if result.unpriced:
        notes.append(f"[yellow]{total.unpriced_calls:,} calls are unpriced and not in the money above:[/]")
        for u in result.unpriced:
            spent = f", optimizing cost {format_usd(u.spent)}" if u.spent else ""
            name = escape(f"{u.provider}/{u.model}")
            notes.append(f"  {name}: {u.calls:,} calls, {tokens(u.tokens)} tokens{spent}")
        notes.append("  add a price: see docs/prices.md")
    return notes


def _earned_table(earned: tuple[Earned, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("optimizer")
    for name in (
        "asked",
        "accepted",
        "saving (estimated)",
        "cost of asking",
        "in shadow",
        "would have saved",
        "failed",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for e in earned:
        counts = (f"{e.asked:,}", f"{e.accepted:,}", format_usd(e.saving), format_usd(e.spent))
        table.add_row(escape(e.optimizer), *counts, f"{e.shadowed:,}", format_usd(e.shadow_saving), f"{e.failed:,}")
    return table


def _print_receipt(console: Console, r: Receipt) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _facts(r):
        if value:
            table.add_row(name, escape(value))
    console.print(table)
    if not r.trail:
        console.print("[dim]No optimizer was asked.[/]")
        return
    trail = Table(box=None, pad_edge=False, header_style="bold", title="trail", title_justify="left")
    for name in ("optimizer", "verdict", "saving (estimated)", "spent", "risk", "why"):
        trail.add_column(name)
    for step in r.trail:
        why = step.why + (f" [{step.error}]" if step.error else "")
        money = (format_usd(step.saving), format_usd(step.spent)) if step.saving or step.spent else ("", "")
        trail.add_row(escape(step.optimizer), step.verdict.value, *money, f"{step.risk:g}", escape(why))
    console.print()
    console.print(trail)


def _facts(r: Receipt) -> list[tuple[str, str]]:
    """The receipt in words; empty ones are not shown."""
    sent = f"{r.provider}/{r.target_model}"
    ended = f"{r.status} {r.finish_reason} {r.error}" + (" (the caller left)" if r.abandoned else "")
    facts = [
        ("call", r.call_id),
        ("at", datetime.fromtimestamp(r.at, UTC).isoformat(" ", "milliseconds")),
        ("protocol", f"{r.wire} {r.operation.value}"),
        ("model", r.model if r.model == r.target_model else f"{r.model}, sent as {r.target_model}"),
        ("sent to", "nobody" if r.replayed else sent),
        ("answered by", r.answered_by),
        *((name, getattr(r, name)) for name in ("tenant", "session", "agent", "task", "skill", "housekeeping", "arm")),
        ("ended", ended),
    ]
    if r.usage is not None:
        u = r.usage
        writes = u.cache_write_5m_tokens + u.cache_write_1h_tokens
        told = ", counted by us" if u.counted else ""
        told += ", not consumed" if r.replayed else ""
        facts += [
            ("input", f"{u.input_tokens:,} tokens, {u.cache_read_tokens:,} of them cached, {writes:,} written{told}"),
            ("output", f"{u.output_tokens:,} tokens, {u.reasoning_tokens:,} of them reasoning"),
            ("suspect", u.suspect),
        ]
    if r.cost is None or r.baseline is None:
        facts.append(("cost", "unpriced: add a price, see docs/prices.md" if r.pricing == "unpriced" else r.pricing))
    else:
        facts += [
            ("cost", f"{format_usd(r.cost)} ({r.pricing}; {r.cost} pico-dollars)"),
            ("untouched", format_usd(r.baseline)),
            ("saved", f"{format_usd(r.baseline - r.cost)} {r.basis}"),
        ]
    first = "" if r.ttft_s is None else f"first byte after {r.ttft_s * 1000:.0f} ms, "
    facts.append(("time", f"{first}all after {r.latency_s * 1000:.0f} ms, {r.added_s * 1000:.2f} ms of it ours"))
    return facts


def tokens(count: int) -> str:
    """At most four digits: 999, 12.3k, 4.56M."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}" if count < 999.5 * size else f"{count / size:,.0f}{unit}"
    return str(count)


def _bar(value: int, most: int) -> str:
    """In eighths of a character."""
    eighths = round(value * BAR * 8 / most) if most > 0 and value > 0 else 0
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
