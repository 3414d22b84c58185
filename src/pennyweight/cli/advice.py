"""`pennyweight advice`: what should be changed, what it costs, and the exact setting."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.markup import escape

from ..adaptive import Change
from ..ledger.advice import Finding, Metrics, Window, advise, changes, metrics, read, span_s
from ..money import format_usd
from .offline import loaded
from .prices import price_book
from .report import FILE, tokens

__all__ = ["command"]

_COLOURS = {"critical": "bold red", "warning": "yellow", "info": "cyan"}


@click.command()
@click.option("--window", default="24h", show_default=True, help="How far back to look: 1h, 24h, 7d, 4w.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--config", type=click.Path(path_type=Path), help="Configuration file.")
@click.option("--data", type=click.Path(path_type=Path), help="Data directory.")
def command(window: str, as_json: bool, config: Path | None, data: Path | None) -> None:
    """What should be changed, what it costs, and the exact setting.

    It reads the ledger and changes nothing. Costs are per day and say how they are
    known: computed from receipts, or estimated.

    \b
    pennyweight advice                what the last day's calls say
    pennyweight advice --window 7d    the last week's
    pennyweight advice --json         for a program
    """
    length_s = _seconds(window)
    loaded_config = loaded(config, data, None)
    path = loaded_config.data_dir / FILE
    found = read(path, now=time.time(), length_s=length_s, settings=loaded_config.advice)
    findings = advise(found, price_book(loaded_config), loaded_config.advice)
    done = changes(path)
    if as_json:
        click.echo(json.dumps(_json(found, findings, done), indent=2))
    else:
        _print(found, window, findings, done)


def _seconds(text: str) -> float:
    length_s = span_s(text)
    if length_s is None:
        raise click.BadParameter(f"{text!r} is no span of time; write 1h, 24h, 7d or 4w.", param_hint="--window")
    return length_s


def _json(window: Window, findings: tuple[Finding, ...], done: tuple[Change, ...]) -> dict[str, object]:
    return {
        "window": {
            "until": window.until,
            "asked_s": window.asked_s,
            "covered_s": round(window.covered_s, 1),
            "calls": metrics(window).calls,
            "bounded": window.bounded,
        },
        "metrics": msgspec.to_builtins(metrics(window)),
        "findings": msgspec.to_builtins(findings),
        # JSON has no infinity: null is no limit
        "changes": json.loads(msgspec.json.encode(done)),
    }


# --- for people -------------------------------------------------------------------------------------------

_WIDTH = 80


def _print(window: Window, asked: str, findings: tuple[Finding, ...], done: tuple[Change, ...]) -> None:
    console = Console(width=_WIDTH if not sys.stdout.isatty() else None, highlight=False)
    width = min(console.width, 100)
    told = metrics(window)
    if not told.calls:
        click.echo(f"No calls in the last {asked}.")
    else:
        bounded = f", its newest {told.calls:,} calls" if window.bounded else f", {told.calls:,} calls"
        console.print(f"[bold]The last {asked}{bounded}[/]")
        console.print(_indented(_figures(told), width), soft_wrap=True)
        if not findings:
            console.print("Nothing to advise.")
    for finding in findings:
        _print_finding(console, finding, width)
    if done:
        console.print("\n[bold]What the adaptive loop did[/]")
        for change in done:
            _print_change(console, change, width)


def _figures(m: Metrics) -> str:
    cached = f" ({m.cached_tokens / m.input_tokens:.0%} cached)" if m.input_tokens else ""
    mean = f"{m.mean_s:.1f} s for a mean answer, " if m.mean_s is not None else ""
    hits = f"the response cache answered {m.response_cache_hits:,} of {m.response_cache_asked:,}"
    used = f"{tokens(m.input_tokens)} tokens in{cached}, {tokens(m.output_tokens)} out"
    return f"{mean}{used}, {format_usd(m.cost_pico)}; {hits}; {m.model_switches:,} changes of model."


def _print_finding(console: Console, f: Finding, width: int) -> None:
    money = "" if f.cost is None else f"{format_usd(f.cost)} a day, {f.basis}. "
    head = textwrap.fill(f"{f.severity}: {f.title}", width)
    console.print(f"\n[{_COLOURS[f.severity]}]{escape(head)}[/]", soft_wrap=True)
    console.print(escape(_indented(money + f.detail, width)), soft_wrap=True)
    console.print(escape(_indented(f.remedy, width)), soft_wrap=True)
    for line in f.setting.splitlines():
        console.print(f"[bold]{escape(_indented(line, width, by=4)) if line else ''}[/]", soft_wrap=True)


def _print_change(console: Console, c: Change, width: int) -> None:
    when = datetime.fromtimestamp(c.at, UTC).isoformat(" ", "minutes").removesuffix("+00:00")
    figures = f" {c.figures}." if c.figures else ""
    told = f"{when} {c.knob}: {_value(c.old)} to {_value(c.new)}, {c.outcome}. {c.reason}.{figures}"
    console.print(escape(_indented(told, width)), soft_wrap=True)


def _value(value: float) -> str:
    return f"{value:g}" if value < 10**15 else "none"


def _indented(text: str, width: int, *, by: int = 2) -> str:
    space = " " * by
    return textwrap.fill(text, width, initial_indent=space, subsequent_indent=space, break_on_hyphens=False)
