"""`pennyweight local`: what local servers have loaded, what fits beside it, and what a lower precision costs."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..app.local import machine_of, watched
from ..backends.local import Machine, State
from ..backends.local.perplexity import Measured, compare, measure
from ..backends.local.servers import LlamaServer, LlamaSwap
from ..backends.local.told import kind, told
from ..clock import SystemClock
from ..config import Config, Provider
from ..errors import ConfigError, Unreachable
from ..routing.resources import MB, used_bytes
from .offline import loaded

__all__ = ["command"]

_config_option = click.option("--config", type=click.Path(path_type=Path), help="Configuration file.")
_data_option = click.option("--data", type=click.Path(path_type=Path), help="Data directory.")
_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


@click.group(invoke_without_command=True)
@_json_option
@_config_option
@_data_option
@click.pass_context
def command(context: click.Context, as_json: bool, config: Path | None, data: Path | None) -> None:
    """What local servers have loaded, what that takes, and what would be unloaded for what.

    \b
    pennyweight local                    ask Ollama, llama-swap and llama-server now
    pennyweight local --json             for a program
    pennyweight local perplexity --text FILE llama/q8_0 llama/q4_k_m
    """
    if context.invoked_subcommand is not None:
        return
    settings = loaded(config, data, None)
    asyncio.run(_show(settings, as_json))


async def _show(settings: Config, as_json: bool) -> None:
    machine = machine_of(
        msgspec.structs.replace(settings, resources=msgspec.structs.replace(settings.resources, unload=False)),
        SystemClock(),
        _asked(settings),
    )
    try:
        await machine.look()
    finally:
        await machine.aclose()
    machine.settings = msgspec.structs.replace(machine.settings, unload=settings.resources.unload)
    if as_json:
        click.echo(json.dumps(told(machine), indent=2))
    else:
        _print(machine)


def _asked(settings: Config) -> tuple[Provider, ...]:
    """Who is asked by the gateway; where that is nobody, every local provider."""
    return watched(settings) or tuple(p for p in settings.providers.values() if p.local)


# --- for people -------------------------------------------------------------------------------------------

_WIDTH = 100
_BAR = 24
_KNOWN = {
    "told": "told by its server",
    "process": "memory of its process",
    "file": "at least, by its file",
    "parameters": "its weights alone",
    "set": "as configured",
    "": "not known yet",
}


def _print(machine: Machine) -> None:
    console = Console(width=_WIDTH if not sys.stdout.isatty() else None, highlight=False)
    if not machine.places:
        click.echo("No local server is configured. Ollama is found by OLLAMA_HOST; others by [providers.NAME].")
        return
    for place in machine.places.values():
        address = place.ask.root.authority
        console.print(f"[bold]{escape(place.name)}[/] at {escape(address)}: {escape(kind(place))}")
    budget, used = machine.settings.memory_mb, used_bytes(map(machine.model, machine.states()))
    if budget is not None:
        share = used / (budget * MB)
        colour = "red" if share > 1 else "yellow" if share > machine.settings.unload_at else "green"
        filled = f"[{colour}]{'█' * _filled(share)}[/]{'░' * (_BAR - _filled(share))}"
        console.print(
            f"memory {filled} {used / MB:,.0f} of {budget:,} MB, unloading from {machine.settings.unload_at:.0%}"
        )
    else:
        console.print(f"memory {used / MB:,.0f} MB loaded; no budget is set ([bold]resources.memory_mb[/])")
    states = sorted(machine.states(), key=lambda state: (not state.seen.loaded, state.key))
    if states:
        console.print(_table(machine, states))


def _table(machine: Machine, states: list[State]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", overflow="fold")
    table.add_column("MB", justify="right", no_wrap=True)
    table.add_column("how known")
    table.add_column("now", no_wrap=True)
    table.add_column("if it is asked", overflow="fold")
    for state in states:
        size = "" if state.size_bytes is None else f"{state.size_bytes / MB:,.0f}"
        plan = machine.plan(state)
        fate = "" if state.seen.loaded else plan.why or ("fits" if plan.fits else "does not fit")
        table.add_row(escape("/".join(state.key)), size, _KNOWN[state.known], _now(state), escape(fate))
    return table


def _now(state: State) -> str:
    if not state.seen.loaded:
        return ""
    busy = f", {state.seen.busy} of {state.seen.slots} slots busy" if state.seen.slots else ""
    return f"[green]loaded[/]{busy}"


def _filled(share: float) -> int:
    return min(round(share * _BAR), _BAR)


# --- perplexity -------------------------------------------------------------------------------------------


@command.command()
@click.argument("rungs", nargs=-1, required=True, metavar="PROVIDER/MODEL...")
@click.option(
    "--text", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True, help="What to read."
)
@click.option("--tokens", default=1000, show_default=True, help="Of the text, at most.")
@click.option("--window", default=512, show_default=True, help="Tokens that are read in one context.")
@_json_option
@_config_option
@_data_option
def perplexity(
    rungs: tuple[str, ...],
    text: Path,
    tokens: int,
    window: int,
    as_json: bool,
    config: Path | None,
    data: Path | None,
) -> None:
    """Measure what a lower precision costs: the perplexity of each model on the same text.

    Only llama-server can be asked, alone or behind llama-swap. Use a text like those that the
    models will read, of a thousand tokens or more; name the most precise model first.
    """
    settings = loaded(config, data, None)
    if tokens < 2 or window < 2:
        raise click.BadParameter("--tokens and --window must be 2 or more.")
    content = text.read_text(encoding="utf-8", errors="replace")
    found = asyncio.run(_measure(settings, rungs, content, tokens, window))
    first = next(iter(found.values()))
    rows = [
        {
            "model": name,
            "perplexity": round(one.perplexity, 4),
            "tokens": len(one.logprobs),
            "loss": None if (gap := compare(first, one)) is None else round(gap[0], 6),
            "loss_error": None if gap is None else round(gap[1], 6),
        }
        for name, one in found.items()
    ]
    if as_json:
        click.echo(json.dumps({"text": text.name, "models": rows}, indent=2))
        return
    for row in rows:
        loss = "" if row["loss"] is None or row is rows[0] else f"  {row['loss']:+.2%} ± {row['loss_error']:.2%}"
        click.echo(f"{row['model']}: perplexity {row['perplexity']:.3f} over {row['tokens']:,} tokens{loss}")
    if len(rows) > 1:
        click.echo("\nFor [[optimizers.settings.ladders]] of the optimizer `parameters`:")
        click.echo(f"rungs = {json.dumps([row['model'] for row in rows])}")
        click.echo(f"perplexity = {json.dumps([row['perplexity'] for row in rows])}")


async def _measure(
    settings: Config, rungs: tuple[str, ...], text: str, tokens: int, window: int
) -> dict[str, Measured]:
    providers = dict.fromkeys(rung.partition("/")[0] for rung in rungs)
    for name in providers:
        if name not in settings.providers:
            raise ConfigError(f"There is no provider {name!r}. Known: {', '.join(sorted(settings.providers))}.")
    machine = machine_of(settings, SystemClock(), [settings.providers[name] for name in providers])
    machine.settings = msgspec.structs.replace(machine.settings, unload=False)
    try:
        await machine.look()
        return {rung: await _one(machine, rung, text, tokens, window) for rung in rungs}
    finally:
        await machine.aclose()


async def _one(machine: Machine, rung: str, text: str, tokens: int, window: int) -> Measured:
    provider, _, model = rung.partition("/")
    place = machine.places[provider]
    if place.silent:
        raise Unreachable(f"{provider} at {place.ask.root.authority} does not answer. Is it running?")
    match place.server:
        case LlamaServer():
            at = ""
        case LlamaSwap():
            at = f"/upstream/{model}"
        case _:
            remedy = "Serve the model by llama-server, from the same GGUF file, and name that."
            raise ConfigError(f"{provider} ({kind(place)}) tells no probabilities of a given text. {remedy}")

    def progress(done: int) -> None:
        if done % 100 == 0:
            click.echo(f"\r{rung}: {done:,} tokens", nl=False, err=True)

    found = await measure(place.ask, text, at=at, tokens=tokens, window=window, progress=progress)
    click.echo(f"\r{rung}: {len(found.logprobs):,} tokens", err=True)
    return found
