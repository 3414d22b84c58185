"""The data of the genai-prices project (MIT) as a catalogue. Runs for `pennyweight prices update` and when a release is
made; never in a gateway, because importing that library costs 0.6 s and 87 MB (docs/decisions/0003-prices.md).

What it means there and here: a tier's price holds for the whole request when the prompt is above its start; of the
dated prices the last one begun holds; a price without cache rates bills cached tokens as input; names are matched
first to last. What we cannot bill from a usage block (audio, images, pages, searches) is left out; a model that has no
price for tokens at all is left out too, so that it stays unknown instead of free.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import msgspec
from genai_prices import __version__ as version
from genai_prices import data, types
from genai_prices.update_prices import DEFAULT_UPDATE_URL, UpdatePrices

from ..errors import ConfigError, Unreachable
from .catalogue import FORMAT, Clause
from .spec import BandSpec, PriceSpec, TierSpec, TimeOfDaySpec

__all__ = ["DEFAULT_UPDATE_URL", "bundled", "catalogue_json", "fetch"]

RATES = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_5m_mtok": "cache_write_5m",
    "cache_write_1h_mtok": "cache_write_1h",
}

# The library's windows have no days. DeepSeek's peak hours are Monday to Friday (api-docs.deepseek.com/quick_start/
# pricing; github.com/pydantic/genai-prices/issues/582). Chinese public holidays stay at the peak price: an upper bound.
WEEKDAY_WINDOWS = {("deepseek", "01:00", "04:00"), ("deepseek", "06:00", "10:00")}


def bundled(made: str) -> bytes:
    """The catalogue of the data inside the installed library; `made`: the ISO time of its release."""
    return catalogue_json(data.providers, made=made, source=f"genai-prices {version}")


def fetch(url: str = DEFAULT_UPDATE_URL, *, timeout_s: float = 20.0) -> bytes:
    """The catalogue of the data that the project publishes now. Raises Unreachable, or ConfigError when it is no list
    of prices."""
    try:
        snapshot = UpdatePrices(url=url, request_timeout=httpx2.Timeout(timeout_s)).fetch()
        providers = snapshot.providers if snapshot is not None else []
        made = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return catalogue_json(providers, made=made, source=f"genai-prices {url}")
    except httpx2.HTTPStatusError as error:
        raise Unreachable(f"{url} answered {error.response.status_code}: no prices fetched.") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        reason = str(error) or type(error).__name__
        raise Unreachable(f"{url} cannot be reached ({reason}): no prices fetched.") from None
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:  # pydantic's errors are ValueErrors
        raise ConfigError(f"What {url} answered is no list of prices: {str(error).splitlines()[0]}.") from None


def catalogue_json(providers: Iterable[types.Provider], *, made: str, source: str) -> bytes:
    """One line for each provider, so that a change can be read in a diff."""
    lines = [
        f"{json.dumps(provider.id)}:{msgspec.json.encode(_provider(provider)).decode()}"
        for provider in sorted(providers, key=lambda p: p.id)
    ]
    head = f'{{"format":{FORMAT},"source":{json.dumps(source)},"made":{json.dumps(made)},"providers":{{\n'
    return (head + ",\n".join(lines) + "\n}}\n").encode()


def _provider(provider: types.Provider) -> dict[str, Any]:
    models = []
    for model in provider.models:
        # OpenRouter's free variants are listed without any price; elsewhere that means that none is known.
        free = model.id.endswith(":free") and model.prices == types.ModelPrice()
        prices = [PriceSpec(input="0", output="0")] if free else list(_periods(model, provider.id))
        if prices:
            models.append({"id": model.id, "match": _clause(model.match, model.id), "prices": prices})
    fields = {
        "named": _clause(provider.provider_match),
        "makes": _clause(provider.model_match),
        "fallback": provider.fallback_model_providers,
        "url": (provider.pricing_urls or [""])[0],
    }
    return {**{name: value for name, value in fields.items() if value}, "models": models}


def _clause(match: object, id: str | None = None) -> Clause | None:
    match match:
        case types.ClauseEquals(equals=text):
            return None if id is not None and text.lower() == id.lower() else Clause(equals=text.lower())
        case types.ClauseStartsWith(starts_with=text):
            return Clause(starts_with=text.lower())
        case types.ClauseEndsWith(ends_with=text):
            return Clause(ends_with=text.lower())
        case types.ClauseContains(contains=text):
            return Clause(contains=text.lower())
        case types.ClauseRegex(regex=text):
            return Clause(regex=text)
        case types.ClauseOr(or_=clauses):
            return Clause(any_of=[c for c in map(_clause, clauses) if c is not None])
        case types.ClauseAnd(and_=clauses):
            return Clause(all_of=[c for c in map(_clause, clauses) if c is not None])
    return None


def _periods(model: types.ModelInfo, provider: str) -> Iterator[PriceSpec]:
    """The periods of a model, first to last; nothing when it has no price for tokens."""
    listed = model.prices if isinstance(model.prices, list) else [types.ConditionalPrice(prices=model.prices)]
    dated: list[tuple[date | None, types.ModelPrice, list[tuple[types.TimeOfDateConstraint, types.ModelPrice]]]] = []
    for entry in listed:
        match entry.constraint:
            case types.TimeOfDateConstraint() as window:
                # A window belongs to the dated price it follows: earlier ones had prices of their own.
                if dated:
                    dated[-1][2].append((window, entry.prices))
            case types.StartDateConstraint(start_date=day):
                dated.append((day, entry.prices, []))
            case _:
                dated.append((None, entry.prices, []))
    last = len(dated) - 1
    for number, (since, prices, windows) in enumerate(dated):
        rates = _rates(prices)
        if "input" not in rates and "output" not in rates:
            continue
        variants = model.price_variants or [] if number == last else []
        yield PriceSpec(
            **_flat(rates),
            bands=_bands(rates),
            per_call=_per_call(prices),
            # Before the first date the library uses the first price, and so do we.
            since=since.isoformat() if since is not None and number else None,
            time_of_day=[w for window, at in windows for w in _window(window, rates, _rates(at), provider)],
            tiers=list(_tiers(variants, rates)),
        )


Amounts = dict[str, Decimal | types.TieredPrices]


def _rates(prices: types.ModelPrice) -> Amounts:
    return {RATES[key]: value for key, value in prices.__dict__.items() if key in RATES and value is not None}


def _flat(rates: Amounts) -> dict[str, str]:
    """The rates below every band. A kind of token that is not named costs nothing (an embedding has no output)."""
    base = {
        name: _text(value.base if isinstance(value, types.TieredPrices) else value) for name, value in rates.items()
    }
    return {"input": "0", "output": "0", **base}


def _bands(rates: Amounts) -> list[BandSpec]:
    tiered = {name: value for name, value in rates.items() if isinstance(value, types.TieredPrices)}
    starts = sorted({tier.start for value in tiered.values() for tier in value.tiers})
    return [
        BandSpec(
            above_input_tokens=start,
            **{n: _text(tier.price) for n, value in tiered.items() for tier in value.tiers if tier.start == start},
        )
        for start in starts
    ]


def _tiers(variants: list[types.PriceVariant], standard: Amounts) -> Iterator[TierSpec]:
    """The service tiers; a batch at exactly half of everything needs none."""
    seen: set[str] = set()
    for variant in variants:
        if len(variant.when) != 1:
            continue
        ((key, value),) = variant.when.items()
        own = _rates(variant.prices)
        if key not in ("processing", "service_tier", "speed") or not own or value in seen:
            continue
        seen.add(value)
        rates = {**standard, **own}
        if value == "batch" and all(_is_half(rates[name], standard[name]) for name in standard):
            continue
        if rates != standard:
            yield TierSpec(tier=value, **_flat(rates), bands=_bands(rates))


def _is_half(a: Decimal | types.TieredPrices, b: Decimal | types.TieredPrices) -> bool:
    if isinstance(a, types.TieredPrices) and isinstance(b, types.TieredPrices):
        return a.base * 2 == b.base and [(t.start, t.price * 2) for t in a.tiers] == [
            (t.start, t.price) for t in b.tiers
        ]
    return isinstance(a, Decimal) and isinstance(b, Decimal) and a * 2 == b


def _window(
    window: types.TimeOfDateConstraint, standard: Amounts, rates: Amounts, provider: str
) -> Iterator[TimeOfDaySpec]:
    """The window as a factor on the standard price. Where kinds of tokens rise by different factors the highest is
    used: an upper bound, and only a retired model has such a price."""
    pairs = [(value, standard.get(name)) for name, value in rates.items()]
    factors = [a / b for a, b in pairs if isinstance(a, Decimal) and isinstance(b, Decimal) and b]
    if factors:
        times = [t.replace(tzinfo=t.tzinfo or UTC) for t in (window.start_time, window.end_time)]
        start, end = (datetime.combine(date(1970, 1, 2), t).astimezone(UTC).strftime("%H:%M") for t in times)
        days = "mon-fri" if (provider, start, end) in WEEKDAY_WINDOWS else "daily"
        yield TimeOfDaySpec(start, end, _text(max(factors)), days)


def _per_call(prices: types.ModelPrice) -> str | None:
    per_thousand = prices.__dict__.get("requests_kcount")
    return _text(per_thousand / 1000) if isinstance(per_thousand, Decimal) and per_thousand else None


def _text(amount: Decimal) -> str:
    """Decimal digits without an exponent or idle zeros."""
    text = f"{amount:f}"
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def main(made: str) -> None:
    """Write the catalogue that ships with Pennyweight: `python -m pennyweight.prices.genai 2026-11-10T21:51:42Z`."""
    Path(__file__).with_name("catalogue.json").write_bytes(bundled(made))


if __name__ == "__main__":
    main(sys.argv[1])
