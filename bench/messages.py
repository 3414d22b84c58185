"""The classes of messages against labels: accuracy on the test part, beside two baselines; agreement of labels.

  python -m bench.messages [--data labelled.jsonl.gz …]

Files are as tests/data/messages/README.md says. Files without a `part` are all test.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pennyweight.request import Request, Wire
from pennyweight.text.messages import CLASSES, Class, Classifier
from pennyweight.wire.blocks import Message, Reader

from .result import report

__all__ = ["LETTERS", "figures", "main"]

OWN = Path(__file__).resolve().parent.parent / "tests" / "data" / "messages" / "labelled.jsonl.gz"
LETTERS: dict[str, Class] = dict(zip("idaftrco", CLASSES, strict=True))
TARGETS = {"accuracy": ">= 0.8", "agreement": ">= 0.8", "ms_per_message": "<= 1"}

Said = tuple[Class, Class, str, int]
"""(label, class found, role, place in the conversation)."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.messages", description=__doc__)
    parser.add_argument("--data", nargs="+", type=Path, metavar="FILE", default=[OWN])
    asked = parser.parse_args()
    found, table = figures(asked.data)
    targets = {name: target for name, target in TARGETS.items() if name in found}
    return report("messages", data=[str(path) for path in asked.data], figures=found, targets=targets, confusions=table)


def figures(paths: Sequence[Path]) -> tuple[dict[str, float], dict[str, int]]:
    rows = [row for path in paths for row in _rows(path)]
    test = [pair for row in rows if row.get("part", "test") == "test" for pair in _told(row)]
    train = [pair for row in rows if row.get("part") == "train" for pair in _told(row)]
    known = Counter(label for label, *_ in train or test)
    roles = {role: _most([pair for pair in train or test if pair[2] == role]) for role in {pair[2] for pair in test}}
    most = known.most_common(1)[0][0]
    found: dict[str, float] = {"messages": len(test) + len(train), "test_messages": len(test)}
    found["accuracy"] = _share([label == told for label, told, *_ in test])
    if train:
        found["accuracy_train"] = _share([label == told for label, told, *_ in train])
    found["majority"] = _share([label == most for label, *_ in test])
    found["role_only"] = _share([label == roles[role] for label, _, role, _ in test])
    for name in CLASSES:
        of = [pair for pair in test if pair[0] == name]
        called = [pair for pair in test if pair[1] == name]
        found[f"recall_{name}"] = _share([told == name for _, told, *_ in of])
        found[f"precision_{name}"] = _share([label == name for label, *_ in called])
    found["ms_per_message"] = _speed(rows)
    found.update(_agreement(rows))
    table = Counter(f"{label} taken for {told}" for label, told, *_ in test if label != told)
    return {name: round(value, 4) for name, value in found.items()}, dict(table.most_common())


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    yield from map(json.loads, raw.decode().splitlines())


def _messages(row: dict[str, Any]) -> tuple[Message, ...]:
    return Reader().read(Request(Wire.OPENAI_CHAT, msgspec.json.encode({"messages": row["messages"]}))).messages


def _told(row: dict[str, Any]) -> list[Said]:
    messages = _messages(row)
    classes = Classifier().classify(messages)
    said = [(at, message) for at, message in enumerate(messages) if message.role != "system"]
    return [
        (LETTERS[letter], classes[at], message.role, at)
        for letter, (at, message) in zip(row["labels"], said, strict=True)
    ]


def _most(pairs: Sequence[Said]) -> Class:
    return Counter(label for label, *_ in pairs).most_common(1)[0][0] if pairs else "fact"


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits) if hits else 1.0


def _speed(rows: Sequence[dict[str, Any]]) -> float:
    """CPU for a new message at the end of its conversation, in milliseconds: the mean over all."""
    spent, number = 0.0, 0
    for row in rows:
        messages, classifier = _messages(row), Classifier()
        for length in range(1, len(messages) + 1):
            started = time.process_time()
            classifier.classify(messages[:length])
            spent += time.process_time() - started
            number += 1
    return 1_000 * spent / max(number, 1)


def _agreement(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Of the two passes: the share of equal labels, and Cohen's kappa."""
    pairs = [pair for row in rows if "first" in row for pair in zip(row["first"], row["second"], strict=True)]
    if not pairs:
        return {}
    same = _share([a == b for a, b in pairs])
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    chance = sum(first[letter] * second[letter] for letter in first) / len(pairs) ** 2
    return {"agreement": same, "kappa": (same - chance) / (1 - chance)}


if __name__ == "__main__":
    sys.exit(main())
