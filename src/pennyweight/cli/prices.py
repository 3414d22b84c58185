"""`pennyweight prices`: list the price book, show a model's price, fetch a newer list."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from ..config import Config, find, load
from ..errors import NotFound
from ..money import Price, Rate, Rates, in_force, whole
from ..prices import LOCAL, PriceBook, Quote, open_book, read_overrides
from ..prices.catalogue import replace_catalogue
from ..prices.spec import moment

__all__ = ["command"]

SHOWN = 60  # models in a table; --json gives all

_config_option = click.option("--config", type=click.Path(path_type=Path), help="Configuration file.")
_data_option = click.option("--data", type=click.Path(path_type=Path), help="Data directory.")
_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON value on stdout.")


@click.group(invoke_without_command=True)
@click.option("--filter", "-f", "text", default="", help="Only models whose provider/name contains this.")
@_json_option
@_config_option
@_data_option
@click.pass_context
def command(ctx: click.Context, text: str, as_json: bool, config: Path | None, data: Path | None) -> None:
    """The price book: list it, look a model up, update it.

    \b
    pennyweight prices                       the providers it knows
    pennyweight prices --filter haiku        models by name
    pennyweight prices show claude-opus-5-5  one model, every rate
    pennyweight prices update                fetch newer list prices
    """
    if ctx.invoked_subcommand is not None:
        return
    book = price_book(_load(config, data))
    if text or as_json:
        _list_models(book, text.lower(), as_json)
    else:
        _list_providers(book)


@command.command(epilog="Try: pennyweight prices show gpt-5.5")
@click.argument("model")
@click.option("--provider", default="", help="Where it is called; by default its maker.")
@click.option("--at", "when", help="A date or ISO time (UTC); by default now.")
@_json_option
@_config_option
@_data_option
def show(model: str, provider: str, when: str | None, as_json: bool, config: Path | None, data: Path | None) -> None:
    """The price of MODEL in force now, or at a date, and where it comes from."""
    book = price_book(_load(config, data))
    try:
        at = datetime.now(UTC).timestamp() if when is None else moment(when)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--at") from None
    found = next(((q, p) for q in book.quotes(provider, model) if (p := in_force(q.periods, at))), None)
    if found is None:
        raise NotFound(_unknown(book, provider, model, when))
    quote, price = found
    if as_json:
        click.echo(json.dumps(_price_json(quote, price, at), indent=2))
    else:
        _print_price(quote, price, at)


@command.command(epilog="Try: pennyweight prices update")
@click.option("--url", help="A mirror of the list, in place of the one that genai-prices publishes.")
@_config_option
@_data_option
def update(url: str | None, config: Path | None, data: Path | None) -> None:
    """Fetch the list prices that the genai-prices project publishes now (the only thing this command ever fetches).

    The list is read whole before it replaces the old one in the data directory. A running gateway takes it up with its
    next configuration (SIGHUP).
    """
    from ..prices import genai  # 0.6 s and 87 MB: only here

    data_dir = _load(config, data).data_dir
    raw = genai.fetch(url) if url else genai.fetch()
    try:
        fetched = replace_catalogue(raw, data_dir)
    except OSError as error:
        raise click.ClickException(
            f"{error.filename or data_dir}: {error.strerror}; the old price list stays."
        ) from None
    models = sum(len(provider.entries) for provider in fetched.providers.values())
    click.echo(f"{models} models of {len(fetched.providers)} providers, as of {fetched.made}, in {data_dir}.")


def _load(config: Path | None, data: Path | None) -> Config:
    path = config if config is not None else find(os.environ)
    return load(path, os.environ, {"data_dir": data})


def price_book(config: Config) -> PriceBook:
    local = [name for name, provider in config.providers.items() if provider.local]
    names = {name: provider.prices for name, provider in config.providers.items()}
    overrides = read_overrides(config.prices)
    return open_book(config.data_dir, overrides=overrides, local={*LOCAL, *local}, names=names)


def _list_providers(book: PriceBook) -> None:
    table = Table("provider", "models", "published at", box=None, pad_edge=False)
    for id, provider in book.catalogue.providers.items():
        table.add_row(id, str(len(provider.entries)), provider.url)
    console = Console()
    console.print(table)
    own = len(book.overrides)
    console.print(f"\n{book.catalogue.source}, as of {book.catalogue.made}; own prices: {own}.", highlight=False)
    console.print("Models: pennyweight prices --filter NAME", highlight=False)


def _list_models(book: PriceBook, text: str, as_json: bool) -> None:
    now = datetime.now(UTC).timestamp()
    found = [
        (quote, price) for quote, price in _current(book, now) if text in f"{quote.provider}/{quote.model}".lower()
    ]
    if as_json:
        click.echo(json.dumps([_price_json(quote, price, now) for quote, price in found], indent=2))
        return
    table = Table("provider", box=None, pad_edge=False)
    table.add_column("model", overflow="fold")
    for column in ("input", "output", "cache read", "write 5m", "write 1h"):
        table.add_column(column, justify="right")
    table.add_column("")
    for quote, price in found[:SHOWN]:
        rates = price.rates
        cells = (rates.input, rates.output, rates.cache_read, rates.cache_write_5m, rates.cache_write_1h)
        table.add_row(quote.provider or "any", quote.model, *map(_per_million, cells), _marks(quote, price))
    console = Console()
    if found:
        console.print(table)
    more = f", {len(found) - SHOWN} more with --json" if len(found) > SHOWN else ""
    console.print(f"\n{len(found)} models{more}. US dollars per million tokens; -: billed as input.", highlight=False)


def _current(book: PriceBook, at: float) -> Iterator[tuple[Quote, Price]]:
    """Every model with the price in force: the operator's own first."""
    for override, price in book.overrides:
        if in_force((price,), at):
            yield Quote(override.provider, override.model, (price,), "override"), price
    for id, provider in book.catalogue.providers.items():
        for entry in provider.entries:
            current = in_force(entry.periods, at)
            if current is not None:
                yield Quote(id, entry.id, entry.periods, "catalogue"), current


def _marks(quote: Quote, price: Price) -> str:
    """What a line of the list leaves out; `show` tells it."""
    marks = [
        (quote.origin, quote.origin != "catalogue"),
        ("bands", bool(price.bands)),
        ("hours", bool(price.time_of_day)),
        ("tiers", bool(price.tiers)),
    ]
    return " ".join(name for name, holds in marks if holds)


def _print_price(quote: Quote, price: Price, at: float) -> None:
    console = Console()
    console.print(
        f"{quote.model} at {quote.provider or 'any provider'} ({quote.origin})", style="bold", highlight=False
    )
    table = Table("", box=None, pad_edge=False)
    for column in ("input", "output", "cache read", "write 5m", "write 1h", "per call"):
        table.add_column(column, justify="right")
    for label, rates in _sheets(price):
        cells = [rates.input, rates.output, rates.cache_read, rates.cache_write_5m, rates.cache_write_1h]
        table.add_row(label, *map(_per_million, cells), f"${_decimal(rates.per_call)}" if rates.per_call else "")
    console.print(table)
    for window in price.time_of_day:
        days = ", ".join(["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"][day] for day in sorted(window.days))
        start, end = (f"{s // 3600:02d}:{s % 3600 // 60:02d}" for s in (window.from_utc_s, window.to_utc_s))
        now = " (now)" if window.holds(at) else ""
        console.print(f"x {float(window.factor):g} on {days} from {start} to {end} UTC{now}", highlight=False)
    span = [f"from {_date(price.since)}"] * (price.since is not None) + [f"until {_date(price.until)}"] * (
        price.until is not None
    )
    console.print(f"US dollars per million tokens; -: billed as input. {' '.join(span)}".rstrip(), highlight=False)
    if price.source:
        console.print(f"Source: {price.source}", highlight=False)


def _sheets(price: Price) -> Iterator[tuple[str, Rates]]:
    yield "standard", price.rates
    for band in price.bands:
        yield f"above {band.above_input_tokens:,} prompt tokens", band.rates
    for tier in price.tiers:
        yield tier.name, tier.rates
        for band in tier.bands:
            yield f"{tier.name} above {band.above_input_tokens:,}", band.rates


def _price_json(quote: Quote, price: Price, at: float) -> dict[str, Any]:
    return {
        "provider": quote.provider,
        "model": quote.model,
        "origin": quote.origin,
        "at": _date(at),
        "from": _date(price.since),
        "until": _date(price.until),
        "usd": _rates_json(price.rates),
        "bands": [{"above_input_tokens": b.above_input_tokens, **_rates_json(b.rates)} for b in price.bands],
        "tiers": {tier.name: _rates_json(tier.rates) for tier in price.tiers},
        "time_of_day": [
            {"days": sorted(w.days), "from_utc_s": w.from_utc_s, "to_utc_s": w.to_utc_s, "factor": float(w.factor)}
            for w in price.time_of_day
        ],
        "source": price.source,
    }


def _rates_json(rates: Rates) -> dict[str, str | None]:
    """US dollars per million tokens, and per call; None: billed as input, or nothing."""
    fields = {name: getattr(rates, name) for name in Rates.__struct_fields__ if name != "per_call"}
    amounts = {name: None if rate is None else _decimal(rate * 10**6) for name, rate in fields.items()}
    return {**amounts, "per_call": None if not rates.per_call else _decimal(rates.per_call)}


def _per_million(rate: Rate | None) -> str:
    return "-" if rate is None else _decimal(rate * 10**6)


def _decimal(pico: Rate) -> str:
    """Dollars in plain digits; beyond a pico-dollar they are rounded."""
    dollars, rest = divmod(whole(pico), 10**12)
    digits = f"{rest:012d}".rstrip("0")
    return f"{dollars}.{digits}" if digits else str(dollars)


def _date(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _unknown(book: PriceBook, provider: str, model: str, when: str | None) -> str:
    where = f" at {provider}" if provider else ""
    name = json.dumps(model, ensure_ascii=False)
    lines = [f"No price is known for {name}{where}{f' on {when}' if when else ''}: its calls are marked unpriced."]
    near = [
        f"{q.provider}/{q.model}" for q, _ in _current(book, datetime.now(UTC).timestamp()) if _near(model, q.model)
    ]
    if near:
        lines.append(f"Known with like names: {', '.join(near[:5])} (see --provider).")
    at_provider = f"provider = {json.dumps(provider)}\n  " if provider else ""
    lines.append(
        "Fetch newer prices with `pennyweight prices update`, or add to pennyweight.toml (US dollars per million):"
    )
    lines.append(
        f'  [[prices]]\n  {at_provider}model = {name}\n  input = "1.25"\n  output = "10"\n  cache_read = "0.125"'
    )
    return "\n".join(lines)


def _near(asked: str, listed: str) -> bool:
    return len(asked) >= 4 and asked.lower().rpartition("/")[2] in listed.lower()
