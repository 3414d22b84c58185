"""Words of texts, and which of them were needed later: what the word scorer is trained on and measured by.

- Trajectories (`messages`): a word of a message is needed when a later turn of the assistant says it, in an answer,
  a command, an edit or a call's arguments.
- Evidence (`turns`, `questions`): a word is needed when it stands in a turn that answers the question.
- Dialogues with calls (`turns` with roles): as trajectories.
- Sums (`question`, `answer`): a word of the question is needed when the answer uses it.

Words that only hold sentences together are never needed. JSON and other text that is no English prose is left out: the
scorer abstains from it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from pennyweight.text.compression.importance.features import key_of
from pennyweight.text.compression.importance.guards import Word, is_english, words
from pennyweight.text.compression.importance.lists import FUNCTION

__all__ = ["Sample", "digest", "held_out", "read", "samples"]

WINDOW_TURNS, MOST_WORDS = 25, 900


class Sample(NamedTuple):
    group: str  # dialogue or meeting: what a split must not divide
    text: str
    asked: str
    words: list[Word]
    needed: list[bool]


def read(path: Path) -> list[dict[str, Any]]:
    raw = path.read_bytes()
    lines = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode().splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def digest(path: Path) -> str:
    raw = path.read_bytes()
    return hashlib.sha256(gzip.decompress(raw) if path.suffix == ".gz" else raw).hexdigest()


def held_out(group: str) -> bool:
    """A fifth of all dialogues, meetings and questions."""
    return crc32(group.encode()) % 5 == 0


def samples(rows: list[dict[str, Any]], seed: int = 1) -> Iterator[Sample]:
    for number, row in enumerate(rows):
        if "messages" in row:
            yield from _trajectory(str(row.get("id", number)), [_message(m) for m in row["messages"]])
        elif "questions" in row:
            yield from _evidence(row, random.Random(f"{seed} {row['id']}"))
        elif "turns" in row:
            yield from _trajectory(str(row.get("file", number)), [_turn(turn) for turn in row["turns"]])
        elif "answer" in row and "question" in row:
            group = hashlib.sha256(row["question"].encode()).hexdigest()
            yield from _sample(group, row["question"], "", _said(row["answer"]))


def _message(message: Mapping[str, Any]) -> tuple[str, str, str]:
    """Role, text, and what calls say."""
    content = message.get("content") or ""
    if isinstance(content, list):
        content = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    calls = message.get("tool_calls") or []
    return message["role"], content, " ".join(str(call.get("function", {}).get("arguments", "")) for call in calls)


def _turn(turn: Mapping[str, Any]) -> tuple[str, str, str]:
    if turn["role"] == "API":
        return "assistant", "", json.dumps(turn.get("param_dict", {}))
    return ("user" if turn["role"] == "User" else "assistant"), turn.get("text", ""), ""


def _trajectory(group: str, messages: list[tuple[str, str, str]]) -> Iterator[Sample]:
    said: list[frozenset[str]] = []
    for role, text, calls in messages:
        said.append(_said(f"{text}\n{calls}") if role == "assistant" else frozenset())
    later: list[set[str]] = [set()]
    for keys in reversed(said):
        later.append(later[-1] | keys)
    later.reverse()  # later[i + 1]: said after message i
    asked = ""
    for at, (role, text, _) in enumerate(messages):
        if role != "system" and later[at + 1]:
            yield from _sample(group, text, "" if role == "user" else asked, frozenset(later[at + 1]))
        asked = text if role == "user" and len(text) < 2_000 else asked


def _sample(group: str, text: str, asked: str, needed: frozenset[str]) -> Iterator[Sample]:
    if text.lstrip()[:1] in ("{", "[") or not is_english(text):
        return
    found = words(text)[:MOST_WORDS]
    if len(found) >= 5:
        yield Sample(group, text, asked, found, [_telling(word.core) and key_of(word.core) in needed for word in found])


def _evidence(row: Mapping[str, Any], rng: random.Random) -> Iterator[Sample]:
    turns = row["turns"]
    lines = [f"{turn['speaker']}: {turn['text']}" for turn in turns]
    place = {turn["id"]: at for at, turn in enumerate(turns)}
    for question in row["questions"]:
        gold = {place[name] for name in question["evidence"] if name in place}
        if not gold:
            continue
        start = max(rng.choice(sorted(gold)) - rng.randrange(WINDOW_TURNS), 0)
        text, made, needed = "", list[Word](), list[bool]()
        for at in range(start, len(turns)):
            if len(made) >= MOST_WORDS:
                break
            base = len(text)
            text += lines[at] + "\n"
            for word in words(lines[at]):
                made.append(Word(word.start + base, word.end + base, word.core, word.free, word.opens))
                noise = lines[at].startswith("{", word.start)  # {disfmarker}, {vocalsound}
                needed.append(at in gold and _telling(word.core) and not noise)
        yield Sample(row["id"], text, question["query"], made, needed)


_PART = re.compile(r"[^\W_]+")


def _said(text: str) -> frozenset[str]:
    """Keys of all words, of their parts, and of what stands between white space as a whole."""
    whole = (piece.strip(".,;:!?\"'()[]{}<>`*") for piece in text.split())
    keys = {key_of(piece) for piece in whole} | {key_of(part) for part in _PART.findall(text)}
    return frozenset(key for key in keys if _telling(key))


def _telling(core: str) -> bool:
    return core.lower() not in FUNCTION and any(map(str.isalnum, core))
