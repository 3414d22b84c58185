"""The JSON and table part of `bench.content`: how much shorter, and whether every value comes back.

Measured one by one: a JSON or CSV file, each line of a JSONL file, and of trajectories and recorded sessions each tool
result once. What comes back is compared by a decoder of the bench's own: numbers as text, members as pairs in order.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pennyweight.text.compression import detect
from pennyweight.text.compression.codecs import json_, table
from pennyweight.text.tokenizers import BpeTokenizer

from .recorded import load
from .result import progress

__all__ = ["Figures", "json_figures"]

JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
TABLE_SUFFIXES = (".csv", ".tsv")


class Figures(NamedTuple):
    """`figures`: by name. `tables`: further members of the bench's object."""

    figures: dict[str, float]
    tables: dict[str, Any]


class Sizes:
    """Tokens of the texts of one file: as given, as JSON without spaces and as Python writes it, packed."""

    def __init__(self) -> None:
        self.texts = self.given = self.packed = self.compact = self.python = self.exact = 0

    def saving(self, over: int) -> float:
        return round(1 - self.packed / over, 4) if over else 0.0


def json_figures(paths: Sequence[Path]) -> Figures:
    """`json_saving`, `json_exact`, `table_saving` and `table_exact` of the files that hold JSON or tables."""
    count = BpeTokenizer(remembered=1).count
    values = {str(path): _json_sizes(path, count) for path in paths if _suffix(path) in JSON_SUFFIXES}
    tables = {str(path): _table_sizes(path, count) for path in paths if _suffix(path) in TABLE_SUFFIXES}
    figures = _summary("json", values) | _summary("table", tables)
    return Figures(
        figures, {"by_file": {name: _row(sizes) for name, sizes in {**values, **tables}.items() if sizes.texts}}
    )


def _summary(kind: str, files: dict[str, Sizes]) -> dict[str, float]:
    """A file's saving is over the sum of its tokens; files count alike, lest a long one is all that is seen."""
    held = [sizes for sizes in files.values() if sizes.texts]
    if not held:
        return {}
    texts = sum(sizes.texts for sizes in held)
    given, packed = sum(sizes.given for sizes in held), sum(sizes.packed for sizes in held)
    made = {
        f"{kind}_saving": round(sum(sizes.saving(sizes.given) for sizes in held) / len(held), 4),
        f"{kind}_saving_all_tokens": round(1 - packed / given, 4),
        f"{kind}_exact": sum(sizes.exact for sizes in held) / texts,
        f"{kind}_texts": texts,
    }
    if kind == "json":
        made["json_saving_over_compact"] = round(sum(sizes.saving(sizes.compact) for sizes in held) / len(held), 4)
        made["json_saving_over_python"] = round(sum(sizes.saving(sizes.python) for sizes in held) / len(held), 4)
    return made


def _row(sizes: Sizes) -> dict[str, float]:
    row = {"texts": sizes.texts, "tokens": sizes.given, "saving": sizes.saving(sizes.given)}
    if sizes.compact:
        row |= {"over_compact": sizes.saving(sizes.compact), "over_python": sizes.saving(sizes.python)}
    return row


def _json_sizes(path: Path, count: Any) -> Sizes:
    sizes = Sizes()
    for text in _texts(path):
        values = _values(text)
        if values is None:
            continue
        form = json_.packed(text) or text
        sizes.texts += 1
        sizes.given += count(text)
        sizes.packed += min(count(form), count(text))
        sizes.compact += count("\n".join(_as_text(value, (",", ":")) for value in values))
        sizes.python += count("\n".join(_as_text(value, (", ", ": ")) for value in values))
        sizes.exact += _values(json_.unpacked(form)) == values
    progress(f"{path}: {sizes.texts} JSON texts, {sizes.given:,} tokens, saving {sizes.saving(sizes.given)}")
    return sizes


def _table_sizes(path: Path, count: Any) -> Sizes:
    text = _read(path)
    form = table.packed(text) or text
    sizes = Sizes()
    sizes.texts, sizes.given, sizes.packed = 1, count(text), min(count(form), count(text))
    sizes.exact = list(csv.reader(io.StringIO(table.unpacked(form)))) == list(csv.reader(io.StringIO(text)))
    progress(f"{path}: {detect(text)}, {sizes.given:,} tokens, saving {sizes.saving(sizes.given)}")
    return sizes


def _texts(path: Path) -> Iterator[str]:
    """The payloads of a file: of conversations every tool result, once."""
    text = _read(path)
    if _suffix(path) == ".json":
        yield text
        return
    lines = [line for line in text.split("\n") if line.strip()]
    first = json.loads(lines[0]) if lines else None
    if isinstance(first, dict) and ("body" in first or "delta" in first):
        yield from dict.fromkeys(found for record in load(path) for found in _results(record["body"]))
    elif isinstance(first, dict) and isinstance(first.get("messages"), list):
        yield from (found for line in lines for found in _results(json.loads(line)))
    else:
        yield from lines


def _results(body: Any) -> Iterator[str]:
    """Texts of the tool results of a conversation, whatever its protocol."""
    for message in [*body.get("messages", ()), *body.get("input", ())]:
        if not isinstance(message, dict):
            continue
        if message.get("role") == "tool" or message.get("type") == "function_call_output":
            yield from _strings(message.get("content", message.get("output")))
        elif isinstance(message.get("content"), list):
            for block in message["content"]:
                if isinstance(block, dict) and block.get("type") == "tool_result":
                    yield from _strings(block.get("content"))


def _strings(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        yield from (
            block["text"] for block in content if isinstance(block, dict) and isinstance(block.get("text"), str)
        )


class _Object(tuple[Any, ...]):
    """An object as its pairs: in order, and a key twice is there twice."""

    __slots__ = ()


class _Number(str):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Number) and str.__eq__(self, other)

    __hash__ = str.__hash__


_decoder = json.JSONDecoder(object_pairs_hook=_Object, parse_int=_Number, parse_float=_Number, parse_constant=_Number)


def _values(text: str) -> list[Any] | None:
    """The values of a text that is an object or a list, or lines of them; None for any other."""
    values, at, text = [], 0, text.strip()
    while at < len(text):
        try:
            value, at = _decoder.raw_decode(text, at)
        except ValueError:
            return None
        values.append(value)
        at += len(text[at:]) - len(text[at:].lstrip()) if at < len(text) else 0
    return values if values and all(isinstance(value, _Object | list) for value in values) else None


def _as_text(value: Any, separators: tuple[str, str]) -> str:
    if isinstance(value, _Object):
        members = (
            f"{json.dumps(key, ensure_ascii=False)}{separators[1]}{_as_text(one, separators)}" for key, one in value
        )
        return "{" + separators[0].join(members) + "}"
    if isinstance(value, list):
        return "[" + separators[0].join(_as_text(one, separators) for one in value) + "]"
    return value if isinstance(value, _Number) else json.dumps(value, ensure_ascii=False)


def _suffix(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def _read(path: Path) -> str:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return raw.decode("utf-8-sig", "replace")
