"""Crosses every recorded request over all protocol pairs and says what was lost, field by field.

Every string of the request must then be in the translated body or be named as lost, so a loss that nobody
named would be seen [`unnamed`]. `python -m bench.crossing --data PATH…`, files or folders of
recordings as bench/recordings.py reads them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from bench.recordings import files, load
from bench.result import progress, report
from pennyweight.request import Request, Wire
from pennyweight.wire import translate

APIS = {
    "chat": Wire.OPENAI_CHAT,
    "responses": Wire.OPENAI_RESPONSES,
    "anthropic": Wire.ANTHROPIC_MESSAGES,
    "ollama": Wire.OLLAMA,
}
# A model of each maker; which settings a target takes depends on it.
MODELS = {
    Wire.OPENAI_CHAT: "gpt-5.5",
    Wire.OPENAI_RESPONSES: "gpt-5.5",
    Wire.ANTHROPIC_MESSAGES: "claude-sonnet-4-6",
    Wire.OLLAMA: "qwen3:8b",
}
TARGETS = {"unnamed": "== 0", "refused": "== 0"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.crossing", description=__doc__)
    parser.add_argument("--data", nargs="+", required=True, help="recordings: files or folders")
    args = parser.parse_args()
    figures: Counter[str] = Counter({"requests": 0, "crossings": 0, "clean": 0, "refused": 0, "unnamed": 0})
    lost: dict[str, Counter[tuple[str, str]]] = {}
    missing: Counter[str] = Counter()
    for path in files(args.data):
        records = load(path)
        progress(f"{path.name}: {len(records)} requests")
        for record in records:
            figures["requests"] += 1
            cross(record, figures, lost, missing)
    figures["lost_fields"] = len({(pair, path) for pair, counts in lost.items() for path, _ in counts})
    return report(
        "crossing",
        figures=figures,
        targets=TARGETS,
        data=args.data,
        lost={pair: rows(counts) for pair, counts in sorted(lost.items())},
        unnamed=dict(missing.most_common(20)),
    )


def cross(
    record: dict[str, Any],
    figures: Counter[str],
    lost: dict[str, Counter[tuple[str, str]]],
    missing: Counter[str],
) -> None:
    source = APIS[record["api"]]
    raw = json.dumps(record["body"], ensure_ascii=False, separators=(",", ":")).encode()
    request = Request(source, raw, path=record["path"])
    for target in Wire:
        if target is source:
            continue
        figures["crossings"] += 1
        pair = f"{source.value} to {target.value}"
        try:
            there = translate.request(request, target, model=MODELS[target])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a figure here
            figures["refused"] += 1
            missing[f"{pair}: {type(error).__name__}"] += 1
            continue
        counts = lost.setdefault(pair, Counter())
        for loss in there.lost:
            counts[loss.path, loss.reason] += loss.count
        figures["clean"] += not there.lost
        unnamed = unfound(record["body"], there)
        figures["unnamed"] += len(unnamed)
        missing.update(f"{pair}: {place}" for place in unnamed)


def rows(counts: Counter[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"field": path, "reason": reason, "count": n} for (path, reason), n in counts.most_common()]


def unfound(body: dict[str, Any], there: translate.Translated) -> list[str]:
    """Places of strings in the source body that neither the target body has nor a loss names."""
    have = "\n".join(text for _, text in strings(there.request.body))
    named = tuple(loss.path for loss in there.lost)
    out: list[str] = []
    for places, text in strings(body):
        if len(text) < 12 or text in have:  # shorter ones are mostly the protocol's own words
            continue
        if any(place.startswith(named) or place in IMPLIED or place.endswith(".type") for place in places):
            continue
        if f"({text.partition(':')[0]})" not in "".join(named):  # a loss that is named by what the text begins with
            out.append(places[0])
    return out


# The upstream's model is another; ids of items mean nothing elsewhere (calls and results have `call_id`); Anthropic's
# thinking always comes signed, so it need not be asked for.
IMPLIED = {"model", "input[].id", "include[]"}
REASONING = ("thinking", "redacted_thinking")


def strings(value: Any, *places: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every string of a body with its place: list indices left out, and once more with the `type` of each object.

    Arguments in JSON count as what they hold.
    """
    here = places or ("",)
    if isinstance(value, str):
        inner = parsed(value) if here[0].endswith("arguments") else None
        if inner is None:
            yield here, value
        else:
            yield from strings(inner, *here)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from strings(item, *(f"{place}.{key}" if place else key for place in here))
    elif isinstance(value, list):
        for item in value:
            kind = item.get("type") if isinstance(item, dict) else None
            word = "reasoning" if kind in REASONING else kind
            yield from strings(item, *(f"{place}[]" for place in here), *(f"{place}[]({word})" for place in here))


def parsed(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


if __name__ == "__main__":
    sys.exit(main())
