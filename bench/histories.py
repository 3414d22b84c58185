"""Compaction of generated histories in four protocols, sound and damaged: what must hold, and how often it did not.

  python -m bench.histories --count 100000 [--seed 1]

Every history is compacted to a random budget, a second time to the same one, and once more from the start. What is
held against it is read here, apart from the product: which calls and results are there, which texts are JSON.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import msgspec

from pennyweight.errors import BadRequest
from pennyweight.optimizers.context import Compacted, compact
from pennyweight.request import Wire
from pennyweight.text.compression.codecs.json_ import unpacked

from .odd_histories import WIRES, history
from .result import progress, report

__all__ = ["FAULTS", "checked", "main", "trial"]

FAULTS = (
    "broken_pairs",
    "invalid_json",
    "changed_last_user",
    "changed_instructions",
    "changed_calls",
    "out_of_order",
    "longer",
    "not_repeatable",
    "not_idempotent",
    "references_missing",
    "raised",
)
_CHUNK = 500
_KEPT_TURNS = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.histories", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    asked = parser.parse_args()
    started = time.monotonic()
    found: Counter[str] = Counter()
    starts = range(0, asked.count, _CHUNK)
    tasks = [(asked.seed * 1_000_003 + at, min(_CHUNK, asked.count - at)) for at in starts]
    with ProcessPoolExecutor(max_workers=asked.jobs) as pool:
        for number, part in enumerate(pool.map(_run, tasks), 1):
            found.update(part)
            if number % 20 == 0:
                progress(f"{found['histories']}/{asked.count}, {time.monotonic() - started:.0f} s")
    figures: dict[str, float] = {name: found[name] for name in ("histories", "changed", *FAULTS)}
    figures["saving"] = round(1 - found["after"] / max(found["before"], 1), 4)
    return report(
        "histories",
        seed=asked.seed,
        figures=figures,
        targets=dict.fromkeys(FAULTS, "== 0"),
        examples=sorted(key for key in found if key.startswith("seed "))[:20],
    )


def _run(task: tuple[int, int]) -> Counter[str]:
    found: Counter[str] = Counter()
    for seed in range(task[0], task[0] + task[1]):
        found.update(trial(seed))
    return found


def trial(seed: int) -> Counter[str]:
    """One history: what was wrong with it, and its sizes."""
    rng = random.Random(seed)
    wire = rng.choice(WIRES)
    messages = history(seed, wire)
    budget = int(_count(_text(messages)) * rng.random())
    found = Counter({"histories": 1})
    try:
        first = _compacted(messages, budget, wire)
        again = _compacted(messages, budget, wire)
        twice = _compacted(first.messages, budget, wire)
    except BadRequest:
        return found
    except Exception as error:  # noqa: BLE001 - it is what we look for
        progress(f"seed {seed}, {wire}: {type(error).__name__}: {error}")
        found["raised"] += 1
        return found
    faults = set(checked(messages, first, wire))
    if again.messages != first.messages or again.levels != first.levels:
        faults.add("not_repeatable")
    if twice.messages != first.messages:
        faults.add("not_idempotent")
    for fault in faults:
        found[fault] += 1
        found[f"seed {seed}: {fault}"] += 1
    found["changed"] = int(any(level != "verbatim" for level in first.levels))
    found["before"], found["after"] = first.tokens_before, first.tokens_after
    return found


def _compacted(messages: Sequence[Any], budget: int, wire: Wire) -> Compacted:
    return compact(messages, budget, wire=wire, keep_turns=_KEPT_TURNS, count=_count)


def _count(text: str) -> int:
    return (len(text) + 3) // 4


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode("utf-8", "replace")


# --- what must hold --------------------------------------------------------------------------------------------


def checked(before: Sequence[Any], done: Compacted, wire: Wire) -> Iterator[str]:
    """The names of what does not."""
    after = done.messages
    kept = [at for at, level in enumerate(done.levels) if level != "dropped"]
    if len(done.levels) != len(before) or len(kept) != len(after):
        yield "out_of_order"
        return
    if any(_frame(before[old]) != _frame(new) for old, new in zip(kept, after, strict=True)):
        yield "out_of_order"
    if _faults(before, wire) != _faults(after, wire):
        yield "broken_pairs"
    calls = Counter(_text(call) for message in before for call in _calls(message, wire))
    if any(calls[text] < number for text, number in Counter(_text(c) for m in after for c in _calls(m, wire)).items()):
        yield "changed_calls"
    if any(_spoilt(before[old], new, wire) for old, new in zip(kept, after, strict=True)):
        yield "invalid_json"
    if _newest_human(before, wire) != _newest_human(after, wire):
        yield "changed_last_user"
    if _instructions(before) != _instructions(after):
        yield "changed_instructions"
    if done.tokens_after > done.tokens_before or len(_text(after)) > len(_text(before)):
        yield "longer"
    said = _text(after)
    if any(name not in done.references and f'recall(\\"{name}\\")' in said for name in _names(said, before)):
        yield "references_missing"


def _frame(message: Any) -> Any:
    """What of a message must stay: all but the words of results and of the agent."""
    if not isinstance(message, dict):
        return message
    free = message.get("role") in ("tool", "function", "assistant") or str(message.get("type", "")).endswith("_output")
    return {key: _blank(value, free) if key in ("content", "output") else value for key, value in message.items()}


def _blank(value: Any, free: bool) -> Any:
    if isinstance(value, str):
        return "" if free else value
    if isinstance(value, list):
        return [_blank_part(part, free) for part in value]
    return value


def _blank_part(part: Any, free: bool) -> Any:
    if not isinstance(part, dict):
        return part
    if part.get("type") == "tool_result":
        return {**part, "content": _blank(part.get("content"), True)}
    return {**part, "text": ""} if free and isinstance(part.get("text"), str) else part


def _calls(message: Any, wire: Wire) -> Iterator[Any]:
    if not isinstance(message, dict):
        return
    if wire is Wire.OPENAI_RESPONSES:
        if message.get("type") in ("function_call", "custom_tool_call"):
            yield message
        return
    listed = message.get("content" if wire is Wire.ANTHROPIC_MESSAGES else "tool_calls")
    for part in listed if isinstance(listed, list) else ():
        if isinstance(part, dict) and (wire is not Wire.ANTHROPIC_MESSAGES or part.get("type") == "tool_use"):
            yield part


def _results(message: Any, wire: Wire) -> Iterator[tuple[Any, list[Any]]]:
    """(id of the call, texts) of the results in a message."""
    if not isinstance(message, dict):
        return
    match wire:
        case Wire.OPENAI_RESPONSES:
            if message.get("type") in ("function_call_output", "custom_tool_call_output"):
                yield message.get("call_id"), _texts(message.get("output"))
        case Wire.ANTHROPIC_MESSAGES:
            content = message.get("content")
            for part in content if isinstance(content, list) else ():
                if isinstance(part, dict) and part.get("type") == "tool_result":
                    yield part.get("tool_use_id"), _texts(part.get("content"))
        case _:
            if message.get("role") in ("tool", "function"):
                yield message.get("tool_call_id"), _texts(message.get("content"))


def _texts(content: Any) -> list[Any]:
    if isinstance(content, list):
        return [part.get("text") if isinstance(part, dict) else part for part in content]
    return [content]


def _faults(messages: Sequence[Any], wire: Wire) -> Counter[str]:
    """Calls that have no result and results that have no call before them: those that were there stay."""
    found: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    for message in messages:
        if wire is Wire.OLLAMA and not any(_results(message, wire)):  # results have no ids: they follow their calls
            found.update({f"call {id}": number for id, number in waiting.items() if number > 0})
            waiting.clear()
        for id, _ in _results(message, wire):
            if wire is Wire.OLLAMA and not isinstance(id, str):
                id = ""
            if waiting[str(id)] > 0:
                waiting[str(id)] -= 1
            else:
                found[f"result of {id}"] += 1
        for call in _calls(message, wire):
            id = call.get("call_id") if wire is Wire.OPENAI_RESPONSES else call.get("id")
            waiting["" if wire is Wire.OLLAMA and not isinstance(id, str) else str(id)] += 1
    found.update({f"call {id}": number for id, number in waiting.items() if number > 0})
    return found


def _spoilt(old: Any, new: Any, wire: Wire) -> bool:
    """Whether a result that was JSON is none any more, or arguments are not what they were."""
    for (_, were), (_, now) in zip(_results(old, wire), _results(new, wire), strict=False):
        if any(_is_json(a) and not (_is_json(b) or _is_packed(b)) for a, b in zip(were, now, strict=False)):
            return True
    return False


def _is_packed(text: Any) -> bool:
    """Whether it is JSON in the table notation of our codec, which reads back as JSON."""
    try:
        return isinstance(text, str) and _is_json(unpacked(text))
    except (ValueError, RecursionError):
        return False


def _is_json(text: Any) -> bool:
    if not isinstance(text, str) or text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def _newest_human(messages: Sequence[Any], wire: Wire) -> Any:
    for message in reversed(messages):
        if not isinstance(message, dict) or message.get("role") != "user":
            continue
        results = list(_results(message, wire))
        content = message.get("content")
        parts = content if isinstance(content, list) else [content]
        if len(results) < len(parts):
            return message
    return None


def _instructions(messages: Sequence[Any]) -> list[Any]:
    return [m for m in messages if isinstance(m, dict) and m.get("role") in ("system", "developer")]


def _names(said: str, before: Sequence[Any]) -> list[str]:
    """References that stand in what is sent and did not in what was given."""
    given = _text(before)
    return [piece[:11] for piece in said.split('recall(\\"')[1:] if piece[:11] not in given]


if __name__ == "__main__":
    sys.exit(main())
