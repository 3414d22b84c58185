"""A provider's export as an `Invoice`: finds out what the file is. Each provider's module knows its own fields."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from ...errors import ConfigError
from . import anthropic, openai
from .shape import KINDS, Invoice, Item, Kind, Rates, Tokens

__all__ = ["KINDS", "PROVIDERS", "Invoice", "Item", "Kind", "Rates", "Tokens", "read"]

PROVIDERS = ("openai", "anthropic")

MAX_BYTES = 512 << 20


def read(path: Path, *, provider: str | None = None, rates: Rates | None = None) -> Invoice:
    """The export in that file. Raises ConfigError that says what it expected, for another provider's file too."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_BYTES >> 20} MiB. Export fewer days at a time.")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"Cannot read the export {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text in UTF-8. Export it as CSV or JSON.") from None
    if not text.strip():
        raise ConfigError(f"{path} is empty. Export it again.")
    invoice = _json(text, path.name, rates or {}) if text.lstrip()[0] in "[{" else _csv(text, path.name, rates or {})
    if provider is not None and invoice.provider != provider:
        raise ConfigError(f"{path.name} is an {invoice.form} export, not one of {provider!r}. Leave --provider out.")
    if not invoice.spans:
        raise ConfigError(f"{path.name} covers no span of time. Export it again, with at least one day.")
    return invoice


# --- JSON -------------------------------------------------------------------------------------------------

# Amounts are JSON numbers at OpenAI: as a Decimal each is the digits that were sent.
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


def _json(text: str, name: str, rates: Rates) -> Invoice:
    """One page, an array of pages or of buckets, or one page a line."""
    try:
        values = [_decode(text)]
    except msgspec.DecodeError as whole:
        try:
            values = [_decode(line) for line in text.splitlines() if line.strip()]
        except msgspec.DecodeError:
            raise ConfigError(f"It is no valid JSON: {whole}.", where=name) from None
    pages = [page for value in values for page in (value if isinstance(value, list) else [value])]
    buckets: list[Mapping[str, Any]] = []
    for page in pages:
        inner = page.get("data") if isinstance(page, dict) and "data" in page else [page]
        buckets += [_bucket(bucket, name) for bucket in (inner if isinstance(inner, list) else [None])]
    if not buckets:
        raise ConfigError("It has no buckets (`data` is empty). Ask for a longer span.", where=name)
    by_openai = "start_time" in buckets[0]
    invoice = openai.read_json(buckets, name, rates) if by_openai else anthropic.read_json(buckets, name, rates)
    last = pages[-1]
    if isinstance(last, dict) and last.get("has_more"):
        more = (
            "The export goes on: its last page says has_more. Fetch the other pages into the same file (a JSON array)."
        )
        invoice = msgspec.structs.replace(invoice, incomplete=more)
    return invoice


def _bucket(value: Any, name: str) -> Mapping[str, Any]:
    """Raises ConfigError unless it is a bucket, with results that are objects."""
    results = value.get("results") or value.get("result") or [] if isinstance(value, dict) else None
    times = isinstance(value, dict) and ("start_time" in value or "starting_at" in value)
    if not times or not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
        raise ConfigError(
            "It is no usage or cost export: expected the JSON of OpenAI's /v1/organization/usage/completions or "
            "/costs, or of Anthropic's /v1/organizations/usage_report/messages or /cost_report.",
            where=name,
        )
    assert isinstance(value, dict)
    for result in results:
        for block in ("amount", "cache_creation"):
            if "starting_at" not in value and block == "amount" and not isinstance(result.get(block) or {}, dict):
                raise ConfigError(f"The amount {result[block]!r} has no value and currency.", where=name)
            if block == "cache_creation" and not isinstance(result.get(block) or {}, dict):
                raise ConfigError(f"cache_creation is {result[block]!r}, which is no object.", where=name)
    return value


# --- CSV --------------------------------------------------------------------------------------------------


def _csv(text: str, name: str, rates: Rates) -> Invoice:
    header = text.lstrip().split("\n", 1)[0]
    delimiter = max(",\t;", key=header.count)
    csv.field_size_limit(min(sys.maxsize, 1 << 20))
    rows: list[tuple[str, Mapping[str, Any]]] = []
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, restkey="")
    columns = [column.strip() for column in reader.fieldnames or ()]
    reader.fieldnames = columns
    try:
        for row in reader:
            where = f"{name}, line {reader.line_num}"
            if "" in row or any(value is None for value in row.values()):
                raise ConfigError(f"It does not have the {len(columns)} columns of the header.", where=where)
            rows.append((where, row))
    except csv.Error as error:
        raise ConfigError(f"It is no valid CSV: {error}.", where=f"{name}, line {reader.line_num}") from None
    if "usage_date_utc" in columns:
        return anthropic.read_csv(rows, rates)
    if "start_time" in columns and "end_time" in columns:
        return openai.read_csv(rows, rates)
    raise ConfigError(
        f"It is no usage or cost export: its columns are {', '.join(columns)[:200]!r}. Expected `start_time` and "
        "`end_time` (OpenAI) or `usage_date_utc` (Anthropic).",
        where=name,
    )
