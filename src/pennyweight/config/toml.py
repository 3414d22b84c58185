"""Where in a TOML text a setting stands, and what is wrong with a table: `tomllib` gives values, but no lines."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

__all__ = ["Path", "Problem", "line_of", "similar", "table"]

Path = tuple[str | int, ...]
"""Of a setting: ("providers", "openai", "api_key"), ("routes", 0, "model")."""

T = TypeVar("T")


class Problem(msgspec.Struct, frozen=True):
    """Something to fix. `where` is `file:line`; `line` the line itself, secrets masked."""

    message: str
    remedy: str
    severity: str = "error"  # or "warning"
    where: str = ""
    line: str = ""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        quoted = f"\n    {self.line}" if self.line else ""
        return f"{place}{self.message} {self.remedy}{quoted}"


def line_of(text: str, path: Path) -> int | None:
    """The 1-based line where `path` is set, or the nearest thing around it; None when nothing of it is there."""
    best, best_depth = None, 0
    for number, place in _places(text):
        depth = _common(place, path)
        if depth > best_depth and depth == len(place[: len(path)]):
            best, best_depth = number, depth
    return best


def _common(place: Path, path: Path) -> int:
    depth = 0
    for a, b in zip(place, path, strict=False):
        if a != b:
            break
        depth += 1
    return depth


_HEADER = re.compile(r"^\s*(\[\[|\[)\s*(.+?)\s*\]\]?\s*(?:#.*)?$")
_SETTING = re.compile(
    r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


def _places(text: str) -> Iterator[tuple[int, Path]]:
    """Each line that opens a table or sets a key, with its full path. Texts in triple quotes are skipped."""
    table: Path = ()
    counts: dict[Path, int] = {}
    quote: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if quote is not None:
            if quote in line:
                quote = None
            continue
        if header := _HEADER.match(line):
            keys: Path = ()
            parts = _keys(header[2])
            for position, key in enumerate(parts):
                keys = (*keys, key)
                if header[1] == "[[" and position == len(parts) - 1:
                    counts[keys] = counts.get(keys, -1) + 1
                if keys in counts:
                    keys = (*keys, counts[keys])
            table = keys
            yield number, table
        elif setting := _SETTING.match(line):
            yield number, (*table, *_keys(setting[1]))
        for mark in ('"""', "'''"):
            if line.count(mark) % 2:
                quote = mark


def _keys(dotted: str) -> tuple[str, ...]:
    return tuple(key.strip("\"'") for key in _KEY.findall(dotted))


def table(kind: type[T], value: Any, path: Path) -> tuple[T | None, list[tuple[Path, str, str]]]:
    """`value` as a struct of that kind, and its problems as (path, message, remedy).

    All unknown keys are named at once; of wrong types the first. Quotes the value, but never one of an `api_key`.
    """
    if not isinstance(value, Mapping):
        return None, [(path, f"{dotted(path)} must be a table, not {value!r}.", "Write it as a section.")]
    fields = [field.encode_name for field in msgspec.structs.fields(kind)]  # type: ignore[arg-type]
    problems = [
        ((*path, key), f"{dotted((*path, key))} is no setting.", similar(key, fields))
        for key in value
        if key not in fields
    ]
    try:
        made = msgspec.convert({k: v for k, v in value.items() if k in fields}, kind, strict=True)
    except msgspec.ValidationError as error:
        return None, [*problems, _invalid(error, kind, value, path)]
    return (None if problems else made), problems


def _invalid(error: msgspec.ValidationError, kind: Any, value: Any, path: Path) -> tuple[Path, str, str]:
    message, _, at = str(error).partition(" - at `$")
    inner = _inner(at.rstrip("`"))
    for key in inner:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            break
    whole = (*path, *inner)
    shown = "" if any("key" in str(k) for k in whole) or isinstance(value, dict) else f" {value!r}"
    choices = _choices(kind, inner) if message.startswith("Invalid enum value") else []
    if choices:
        return whole, f"{dotted(whole)}{shown} is not known.", similar(str(value), choices)
    return whole, f"{dotted(whole)}{shown}: {message.rstrip('.')}.", "See docs/configuration.md."


def _choices(kind: Any, inner: Path) -> list[str]:
    """The words that may stand at that place, where its type names them; else none."""
    found = _choosable(inspect.type_info(kind))
    for key in inner:
        fields = [f.type for t in found if isinstance(t, inspect.StructType) for f in t.fields if f.encode_name == key]
        items = [item for t in found for item in _items(t)] if isinstance(key, int) else []
        found = [known for t in (fields or items) for known in _choosable(t)]
    literals = [word for t in found if isinstance(t, inspect.LiteralType) for word in t.values]
    enums = [member.value for t in found if isinstance(t, inspect.EnumType) for member in t.cls]
    return [str(word) for word in (*literals, *enums)]


def _choosable(kind: inspect.Type) -> list[inspect.Type]:
    return list(kind.types) if isinstance(kind, inspect.UnionType) else [kind]


def _items(kind: inspect.Type) -> list[inspect.Type]:
    return [kind.item_type] if isinstance(kind, inspect.VarTupleType | inspect.ListType) else []


def _inner(at: str) -> Path:
    """The path in a msgspec message: ".server.port", "[0].model"; "[...]" (any value of a dict) ends it."""
    found = re.findall(r"\.([^.\[\]]+)|\[(\d+)\]|(\[\.\.\.\])", at)
    inner: list[str | int] = []
    for name, index, rest in found:
        if rest:
            break
        inner.append(int(index) if index else name)
    return tuple(inner)


def dotted(path: Path) -> str:
    """As TOML would name it: providers.openai.base_url, routes[0].model."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else (f".{key}" if text else key)
    return text


def similar(word: str, known: list[str]) -> str:
    """A remedy for a name that is not known: the nearest one, else all of them."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(sorted(known))}."
