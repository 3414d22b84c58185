"""A catalogue of list prices as a file: providers, what their models are called, and each model's periods.

The file is JSON, made by `pennyweight.prices.genai` from the data of the genai-prices project. It is read in layers:
opening it decodes the providers' names, the first look at a provider its models, and the first use of a model its
prices, so a gateway that uses five models pays for five.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from functools import cached_property
from importlib.resources import files
from pathlib import Path

import msgspec

from ..errors import ConfigError
from ..money import Price
from .spec import PriceSpec, compile_price

__all__ = ["Catalogue", "Clause", "ModelEntry", "Provider", "read_catalogue", "replace_catalogue"]

FORMAT = 1
FILE_NAME = "prices.json"  # in the data directory, written by `pennyweight prices update`


class Clause(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rule on a name; exactly one field is set. All but `regex` disregard case (names are compared in lower case)."""

    equals: str | None = None
    starts_with: str | None = None
    ends_with: str | None = None
    contains: str | None = None
    regex: str | None = None
    any_of: list[Clause] | None = None
    all_of: list[Clause] | None = None

    def matches(self, name: str) -> bool:
        """name: in lower case."""
        match self:
            case Clause(equals=str(text)):
                return name == text
            case Clause(starts_with=str(text)):
                return name.startswith(text)
            case Clause(ends_with=str(text)):
                return name.endswith(text)
            case Clause(contains=str(text)):
                return text in name
            case Clause(regex=str(text)):
                return re.search(text, name) is not None
            case Clause(any_of=list(clauses)):
                return any(clause.matches(name) for clause in clauses)
            case Clause(all_of=list(clauses)):
                return all(clause.matches(name) for clause in clauses)
        return False


class ModelEntry(msgspec.Struct, frozen=True, omit_defaults=True, dict=True):
    """A model as its provider calls it. `match` None: by its id only."""

    id: str
    prices: msgspec.Raw
    match: Clause | None = None

    @cached_property
    def specs(self) -> list[PriceSpec]:
        return msgspec.json.decode(self.prices, type=list[PriceSpec])

    @cached_property
    def periods(self) -> tuple[Price, ...]:
        return tuple(compile_price(spec) for spec in self.specs)

    def called(self, name: str) -> bool:
        return name == self.id.lower() if self.match is None else self.match.matches(name)


class Provider(msgspec.Struct, frozen=True, omit_defaults=True, dict=True):
    """`named`: other names of the provider; `makes`: names of models that are its own; `fallback`: providers whose
    models it sells at their prices; `url`: where it publishes its prices."""

    models: msgspec.Raw
    named: Clause | None = None
    makes: Clause | None = None
    fallback: list[str] = []
    url: str = ""

    @cached_property
    def entries(self) -> list[ModelEntry]:
        return msgspec.json.decode(self.models, type=list[ModelEntry])

    def find(self, name: str) -> ModelEntry | None:
        """The first entry that goes by `name` (lower case), as it is or with its date dashed (20251211)."""
        dashed = re.sub(r"(?<=-)(20\d\d)(0[1-9]|1[0-2])([0-2]\d|3[01])$", r"\1-\2-\3", name)
        for form in (name,) if dashed == name else (name, dashed):
            for entry in self.entries:
                if entry.called(form):
                    return entry
        return None


class Catalogue(msgspec.Struct, frozen=True, dict=True):
    """`made`: ISO time (UTC) at which the data was fetched or released; `source`: whose it is."""

    format: int
    source: str
    made: str
    providers: dict[str, Provider]

    def provider(self, name: str) -> str | None:
        """The id of the provider that goes by `name`."""
        name = name.strip().lower()
        if name in self.providers:
            return name
        return next((id for id, p in self.providers.items() if p.named and p.named.matches(name)), None)

    def find(self, provider: str, model: str) -> tuple[str, ModelEntry] | None:
        """The entry of `model` at the provider of that id, or at one whose models it sells; and whose entry it is."""
        name = model.lower()
        for id in (provider, *self.providers[provider].fallback):
            at = self.providers.get(id)
            entry = at.find(name) if at is not None else None
            if entry is not None:
                return id, entry
        return None

    def maker(self, model: str) -> tuple[str, ModelEntry] | None:
        """The entry of `model` at the provider whose own it is by its name; None: nobody's."""
        name = model.lower()
        for id, provider in self.providers.items():
            if provider.makes is not None and provider.makes.matches(name):
                entry = provider.find(name)
                if entry is not None:
                    return id, entry
        return None

    def check(self) -> Mapping[str, int]:
        """Reads everything, and gives the number of models by provider. Raises ConfigError on the first bad entry."""
        for id, provider in self.providers.items():
            try:
                for entry in provider.entries:
                    entry.called("")
                    if not entry.periods:
                        raise ValueError("it has no price")
            except (ValueError, re.error) as error:
                raise ConfigError(f"The price list is damaged at provider {id!r}: {error}.") from None
        return {id: len(provider.entries) for id, provider in self.providers.items()}


def read_catalogue(data_dir: Path | None = None) -> Catalogue:
    """The newer of the catalogue that ships with Pennyweight and the one `prices update` left in `data_dir`.

    Raises ConfigError when the file in `data_dir` cannot be read: prices are never quietly older than they look.
    """
    shipped = decode(files(__package__).joinpath("catalogue.json").read_bytes())
    path = None if data_dir is None else data_dir / FILE_NAME
    if path is None or not path.exists():
        return shipped
    try:
        updated = decode(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} is no price list of this version ({error}); delete it or run `pennyweight prices update`."
        ) from None
    return updated if updated.made > shipped.made else shipped


def replace_catalogue(raw: bytes, data_dir: Path) -> Catalogue:
    """Puts `raw` in `data_dir` in place of an older catalogue, all at once, after every price in it has been read.

    Raises ConfigError when it is damaged or has lost most of the models of the one that ships with Pennyweight, and
    OSError; the old file stays then.
    """
    try:
        fetched = decode(raw)
    except ValueError as error:
        raise ConfigError(f"The new price list cannot be read ({error}); the old one stays.") from None
    models, before = sum(fetched.check().values()), sum(read_catalogue().check().values())
    if models < before // 2:
        raise ConfigError(f"The new price list has {models} models, {before} were known; the old one stays.")
    data_dir.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=data_dir, prefix=f".{FILE_NAME}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(data_dir / FILE_NAME)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return fetched


def decode(raw: bytes) -> Catalogue:
    """Raises ValueError."""
    catalogue = msgspec.json.decode(raw, type=Catalogue)
    if catalogue.format != FORMAT:
        raise ValueError(f"its format is {catalogue.format}, not {FORMAT}")
    return catalogue
