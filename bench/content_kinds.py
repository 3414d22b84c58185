"""What every kind of tool result becomes, and whether what later calls of the session need is still in it.

A value is needed that a later call's arguments hold, that stands in the result, and that neither the newest human text
nor the result's own call had said: a path, an identifier, a number of three digits or more; the numbers of a file's
lines are none. Whether it is still there is asked of the form without loss, of the shorter form at each room, and of
four other ways to the same size: the first and the last lines, the last, lines at random, and all of it. Takes
trajectories, recorded sessions, JSON lists of `{content}` and plain files (the last two have no later calls).

  python -m bench.content_kinds --data recordings/ trajectories.jsonl.gz [--rooms 500,1000]
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pennyweight.text.compression import Ask, compress, detect
from pennyweight.text.compression.codecs.code import source
from pennyweight.text.tokenizers import BpeTokenizer

from .recorded import files, load
from .result import progress, report

__all__ = ["Given", "by_kind", "given", "of_sessions"]

ROOMS = (500, 1_000, 2_000)
LEAST_TOKENS = 200
"""Shorter results are not counted: nothing would be done to them."""
SEED = 7
_VALUE = re.compile(r"[\w@~][\w@.~/\-]*[\w/]")
_COMMAND = re.compile(r"```\w*\n(.*?)\n?```", re.DOTALL)


class Given(NamedTuple):
    """A tool result, once in its session. `needed`: values in it that later calls' arguments hold."""

    ask: Ask
    text: str
    needed: frozenset[str]


class _Turn(NamedTuple):
    kind: str  # "user", "call" or "result"
    text: str
    call_id: str = ""


def given(paths: Sequence[Path]) -> list[Given]:
    """The tool results of the files, each once in its session."""
    found: list[Given] = []
    for path in files(paths):
        for session in _sessions(path):
            found += _results(session)
    return found


def of_sessions(paths: Sequence[Path], rooms: Sequence[int] = (1_000,)) -> list[dict[str, Any]]:
    """The rows of `by_kind` for those of the files that hold sessions; none where no file does."""
    sessions = [path for path in files(paths) if _holds_sessions(path)]
    return by_kind(given(sessions), BpeTokenizer().count, rooms) if sessions else []


def by_kind(
    results: Sequence[Given], count: Callable[[str], int], rooms: Sequence[int] = ROOMS
) -> list[dict[str, Any]]:
    """A row for each kind and room: tokens, savings, the share of needed values that are kept, and of other ways.

    The shares of ways other than ours are at the size that our form has, text by text.
    """
    rows: dict[tuple[str, int], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for at, result in enumerate(results):
        before = count(result.text)
        if before < LEAST_TOKENS:
            continue
        kind = detect(result.text)
        lossless = compress(result.text, count=count, ask=result.ask)
        for room in rooms:
            began = time.process_time()
            made = compress(result.text, count=count, ask=result.ask, room_tokens=room, reference="r1a2b3c4d5e6")
            spent = time.process_time() - began
            for name in (kind, "all"):
                row = rows[name, room]
                row["texts"] += 1
                row["tokens"] += before
                row["lossless"] += lossless.tokens_after
                row["reduced"] += made.tokens_after
                row["longest_ms"] = max(row["longest_ms"], 1_000 * spent)
                row["needed"] += len(result.needed)
                row["kept_lossless"] += _kept(lossless.text, result.needed)
                row["kept"] += _kept(made.text, result.needed)
                for way, form in _others(result.text, len(made.text), random.Random(SEED + at)).items():
                    row[way] += _kept(form, result.needed)
    ordered = sorted(rows, key=lambda key: (key[0] == "all", key[0], key[1]))
    return [_row(kind, room, rows[kind, room]) for kind, room in ordered]


def _row(kind: str, room: int, row: dict[str, float]) -> dict[str, Any]:
    needed = row["needed"]
    shares = {
        f"values_{name}": round(row[key] / needed, 4) if needed else None
        for name, key in (
            ("kept_lossless", "kept_lossless"),
            ("kept", "kept"),
            ("head_tail", "head_tail"),
            ("recent", "recent"),
            ("random", "random"),
            ("pass_through", "pass_through"),
        )
    }
    return {
        "kind": kind,
        "room": room,
        "texts": int(row["texts"]),
        "tokens": int(row["tokens"]),
        "saving_lossless": round(1 - row["lossless"] / row["tokens"], 4),
        "saving_reduced": round(1 - row["reduced"] / row["tokens"], 4),
        "longest_ms": round(row["longest_ms"], 1),
        "needed": int(needed),
        **shares,
    }


def _kept(form: str, needed: frozenset[str]) -> int:
    """How many are in a form: as words of their own, or as a folder and a name that stands under it."""
    if not needed:
        return 0
    there = set(_values(form))
    names = {value.rpartition("/")[2] for value in there} | set(form.split())
    return sum(
        value in there or ("/" in value and value.rpartition("/")[2] in names and value.rpartition("/")[0] in form)
        for value in needed
    )


def _others(text: str, size: int, rng: random.Random) -> dict[str, str]:
    """The same number of characters in other ways."""
    if size >= len(text):
        return dict.fromkeys(("head_tail", "recent", "random", "pass_through"), text)
    lines = text.split("\n")
    order = rng.sample(range(len(lines)), len(lines))
    taken: list[int] = []
    left = size
    for at in order:
        if len(lines[at]) + 1 <= left:
            taken.append(at)
            left -= len(lines[at]) + 1
    return {
        "head_tail": f"{text[: size // 2]}\n{text[len(text) - size // 2 :]}",
        "recent": text[len(text) - size :],
        "random": "\n".join(lines[at] for at in sorted(taken)),
        "pass_through": text,
    }


def _holds_sessions(path: Path) -> bool:
    if not path.name.removesuffix(".gz").endswith(".jsonl"):
        return False
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        try:
            first = json.loads(lines.readline() or "{}")
        except ValueError:
            return False
    return isinstance(first, dict) and ("messages" in first or "body" in first or "delta" in first)


def _sessions(path: Path) -> Iterator[list[_Turn]]:
    """The turns of each session of a file; a file that holds none is one result, or one a line or an item."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text = raw.decode("utf-8-sig", "replace")
    name = path.name.removesuffix(".gz")
    lines = [line for line in text.split("\n") if line.strip()] if name.endswith(".jsonl") else []
    if _holds_sessions(path) and "messages" in json.loads(lines[0]):
        yield from (list(_turns(json.loads(line))) for line in lines)
    elif _holds_sessions(path):
        yield list(_recorded(path))
    elif lines:
        yield from ([_Turn("result", line)] for line in lines)
    elif name.endswith(".json") and (items := _contents(text)):
        yield from ([_Turn("result", item)] for item in items)
    else:
        yield [_Turn("result", text)]


def _contents(text: str) -> list[str]:
    listed = json.loads(text)
    items = listed if isinstance(listed, list) else []
    return [item["content"] for item in items if isinstance(item, dict) and isinstance(item.get("content"), str)]


def _recorded(path: Path) -> Iterator[_Turn]:
    """A recorded session's turns, in the order in which they first appear in its requests."""
    seen: set[_Turn] = set()
    for record in load(path):
        for turn in _turns(record["body"]):
            if turn not in seen:
                seen.add(turn)
                yield turn


def _turns(body: dict[str, Any]) -> Iterator[_Turn]:
    """The turns of a conversation of any protocol; of one without tools: commands in fences, and their answers."""
    messages = [item for item in [*body.get("messages", ()), *_items(body)] if isinstance(item, dict)]
    plain = not any(_has_tools(message) for message in messages)
    for at, message in enumerate(messages):
        role, kind = message.get("role"), message.get("type")
        if kind in ("function_call", "custom_tool_call"):
            yield _Turn("call", str(message.get("arguments") or message.get("input") or ""), message["call_id"])
        elif kind in ("function_call_output", "custom_tool_call_output"):
            yield _Turn("result", _text(message.get("output")), message["call_id"])
        elif role == "tool":
            yield _Turn("result", _text(message.get("content")), message.get("tool_call_id", ""))
        elif role == "assistant":
            for call in message.get("tool_calls") or ():
                yield _Turn("call", call["function"]["arguments"], call["id"])
            if plain and (said := _COMMAND.findall(_text(message.get("content")))):
                yield _Turn("call", said[-1], str(at))
        elif role == "user" and plain and at > 1 and messages[at - 1].get("role") == "assistant":
            yield _Turn("result", _text(message.get("content")), str(at - 1))
        elif role == "user" and (said := _text(message.get("content"))):
            yield _Turn("user", said)
        if isinstance(message.get("content"), list):
            yield from _blocks(message["content"])


def _items(body: dict[str, Any]) -> Sequence[Any]:
    items = body.get("input")
    return items if isinstance(items, list) else ()


def _has_tools(message: dict[str, Any]) -> bool:
    content = message.get("content")
    blocks = content if isinstance(content, list) else ()
    return (
        bool(message.get("tool_calls"))
        or message.get("role") == "tool"
        or "call_id" in message
        or any(isinstance(block, dict) and block.get("type") in ("tool_use", "tool_result") for block in blocks)
    )


def _blocks(content: Sequence[Any]) -> Iterator[_Turn]:
    for block in content:
        if isinstance(block, dict) and block.get("type") == "tool_use":
            yield _Turn("call", json.dumps(block["input"], ensure_ascii=False), block["id"])
        elif isinstance(block, dict) and block.get("type") == "tool_result":
            yield _Turn("result", _text(block.get("content")), block["tool_use_id"])


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    return "\n".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


def _results(session: Sequence[_Turn]) -> Iterator[Given]:
    """Each result with what was asked before it and what is needed of it after it."""
    calls = {turn.call_id: turn.text for turn in session if turn.kind == "call"}
    query = ""
    for at, turn in enumerate(session):
        if turn.kind == "user":
            query = turn.text
        elif turn.kind == "result" and turn.text:
            arguments = calls.get(turn.call_id, "")
            said = set(_values(f"{query}\n{arguments}"))
            later = {value for after in session[at + 1 :] if after.kind == "call" for value in _values(after.text)}
            needed = (later - said) & set(_values("\n".join(source(turn.text).bare)))
            yield Given(Ask(query, arguments), turn.text, frozenset(needed))


def _values(said: str) -> Iterator[str]:
    """Numbers of three digits and more, and words that are no plain ones: with a digit, a sign or a capital inside."""
    for found in _VALUE.findall(said.replace("\\n", "\n").replace("\\t", "\t")):
        word = found.strip("./-")
        plain = word.isalpha() and word[1:] == word[1:].lower()
        if 2 < len(word) < 200 and not plain:
            yield word


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.content_kinds", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", type=Path, required=True, metavar="PATH")
    parser.add_argument("--rooms", default=",".join(map(str, ROOMS)), help="tokens that a shorter form may take")
    options = parser.parse_args()
    rooms = [int(room) for room in options.rooms.split(",")]
    rows = by_kind(given(options.data), BpeTokenizer().count, rooms)
    for row in rows:
        progress("  ".join(f"{name} {value}" for name, value in row.items()))
    figures = {
        f"{name}_{row['room']}": float(row[name])
        for row in rows
        if row["kind"] == "all"
        for name in ("saving_lossless", "saving_reduced", "values_kept", "values_head_tail", "values_recent")
        if row[name] is not None
    }
    return report("content_kinds", figures=figures, data=[str(path) for path in options.data], seed=SEED, by_kind=rows)


if __name__ == "__main__":
    sys.exit(main())
