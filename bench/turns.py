"""Trajectories as requests, turn by turn: under our pipeline, and under simple policies for comparison."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from pennyweight.app import App, build
from pennyweight.call import Call, Identity
from pennyweight.config import OptimizerRule
from pennyweight.config import load as load_config
from pennyweight.references import FACT, NAME_PATTERN
from pennyweight.replay.offline import TapeClock
from pennyweight.request import Request, Usage, Wire
from pennyweight.testing.prefix_cache import PrefixCache
from pennyweight.testing.provider import provider_keys
from pennyweight.text.compression.codecs.json_ import unpacked
from pennyweight.text.compression.repeats import is_note
from pennyweight.text.tokenizers import BpeTokenizer

__all__ = ["POLICIES", "Session", "Told", "judged", "load", "ours"]

MODEL = "gpt-5.6-terra"
READ, WRITTEN, PLAIN, OUTPUT = 0.1, 1.25, 1.0, 6.0
START, TURN_S = 1_790_000_000.0, 8.0
RECALL_TOKENS = 30
"""That a model writes to ask for a text."""

_count = BpeTokenizer().count
_TELLING = re.compile(r"[\w./:@#-]*\w")

Messages = list[dict[str, Any]]
Policy = Callable[[Messages, random.Random], Messages]


class Session(msgspec.Struct, frozen=True):
    """One trajectory: Chat Completions messages; `tools`: the names of those that its class calls."""

    id: str
    source: str
    messages: Messages
    tools: tuple[str, ...] = ()

    def requests(self) -> Iterator[tuple[Messages, dict[str, Any]]]:
        """Before each assistant turn: what was said, and the turn."""
        for index, message in enumerate(self.messages):
            if message["role"] == "assistant" and index:
                yield self.messages[:index], message


class Told(msgspec.Struct, frozen=True):
    """What a session came to, in tokens of plain input. `values` of later calls' arguments that earlier messages hold,
    how many stand in the request as sent, and how many can be had."""

    source: str
    before: float
    after: float
    values: int
    kept: int
    reachable: int
    broken: int

    @property
    def ratio(self) -> float:
        return self.after / self.before if self.before else 1.0


def load(path: Path) -> list[Session]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        found = [json.loads(line) for line in lines]
    calls: dict[str, set[str]] = {}
    for one in found:
        names = {_name(call) for message in one["messages"] for call in message.get("tool_calls") or ()}
        calls.setdefault(one["source"], set()).update(names)
    return [
        Session(
            str(one.get("id")),
            one["source"],
            list(one["messages"]),
            tuple(sorted(calls[one["source"]])) if any(m.get("tool_calls") for m in one["messages"]) else (),
        )
        for one in found
    ]


def _name(call: Mapping[str, Any]) -> str:
    return str((call.get("function") or {}).get("name"))


def body(session: Session, messages: Messages) -> dict[str, Any]:
    """As a client sends it. Tools have no more than their names here: their schemas are not in the files."""
    tools = [{"type": "function", "function": {"name": n, "parameters": {"type": "object"}}} for n in session.tools]
    return {"model": MODEL, "messages": messages, **({"tools": tools} if tools else {})}


def cost(usage: Usage) -> float:
    """In tokens of plain input."""
    return PLAIN * usage.uncached_tokens + READ * usage.cache_read_tokens + WRITTEN * usage.cache_write_5m_tokens


# --- ours ---------------------------------------------------------------------------------------------------


async def ours(sessions: Sequence[Session], settings: Mapping[str, Any]) -> list[Told]:
    with TemporaryDirectory(prefix="pennyweight-bench-") as folder:
        base = load_config(None, provider_keys("http://127.0.0.1:9"), {"data_dir": Path(folder), "holdout": 0.0})
        config = msgspec.structs.replace(
            base,
            optimize="max",
            optimizers=(OptimizerRule("compression", settings={"work_s": 10.0, **settings}),),
            pipeline=msgspec.structs.replace(base.pipeline, propose_s=5.0),
        )
        clock = TapeClock(START)
        async with build(config, clock=clock) as app:
            return [await _played(session, number, app, clock) for number, session in enumerate(sessions)]


async def _played(session: Session, number: int, app: App, clock: TapeClock) -> Told:
    before_cache, after_cache = PrefixCache(_count), PrefixCache(_count)
    before = after = 0.0
    values = kept = reachable = broken = 0
    left_out: dict[str, str] = {}
    clock.wind(clock.now() + 86_400.0)
    for messages, turn in session.requests():
        clock.wind(clock.now() + TURN_S)
        asked = body(session, messages)
        request = Request(Wire.OPENAI_CHAT, msgspec.json.encode(asked), path="/v1/chat/completions")
        target = app.resolve(MODEL, Wire.OPENAI_CHAT)
        call = Call(
            "t", Identity("local", f"s{number}", agent=session.source), request, request, target, clock.now(), "max"
        )
        call, _ = await app.pipeline.consult(call)
        usage = after_cache.account(Wire.OPENAI_CHAT, call.request.body, at=clock.now())
        app.pipeline.follow(call, usage)
        before += cost(before_cache.account(Wire.OPENAI_CHAT, asked, at=clock.now()))
        after += cost(usage)
        left_out |= call.facts.get(FACT, {})
        sent = call.request.body["messages"]
        mine = values_of(turn, messages)
        here = said(sent)
        missing = [value for value in mine if value not in here]
        names = set(re.findall(NAME_PATTERN, here))
        wanted = {name for value in missing for name in names & set(left_out) if value in left_out[name]}
        after += sum(_recall(left_out[name], usage) for name in _fewest(missing, wanted, left_out))
        values += len(mine)
        kept += len(mine) - len(missing)
        reachable += len(mine) - sum(not any(value in left_out[name] for name in wanted) for value in missing)
        broken += _broken(messages, sent)
    return Told(session.source, before, after, values, kept, reachable, broken)


def _fewest(missing: Sequence[str], names: set[str], texts: Mapping[str, str]) -> list[str]:
    """Texts that hold all that is missing, the best first."""
    left, found = set(missing), []
    while left:
        best = max(names, key=lambda name: sum(value in texts[name] for value in left), default="")
        got = {value for value in left if best and value in texts[best]}
        if not got:
            break
        found.append(best)
        left -= got
    return found


def _recall(text: str, usage: Usage) -> float:
    """What asking for a text costs: the prompt is read again, the text is new, and the model writes the call."""
    return READ * usage.input_tokens + WRITTEN * _count(text) + OUTPUT * RECALL_TOKENS


def _broken(asked: Messages, sent: Messages) -> int:
    """Calls without results or results without calls that were none, and JSON that is neither JSON nor a form of it."""
    found = len(_loose(sent) - _loose(asked))
    if len(asked) != len(sent):
        return found
    for ours, theirs in zip(asked, sent, strict=True):
        if ours["role"] == "tool" and ours["content"] != theirs["content"] and _is_json(ours["content"]):
            text = theirs["content"]
            found += not (_is_json(text) or is_note(text) or _reads(text))
    return found


def _is_json(text: Any) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, TypeError, RecursionError):
        return False


def _reads(text: str) -> bool:
    try:
        return bool(unpacked(text))
    except Exception:  # noqa: BLE001 - whatever goes wrong, it cannot be read
        return False


def _loose(messages: Messages) -> set[str]:
    calls = {str(call.get("id")) for message in messages for call in message.get("tool_calls") or ()}
    results = {str(m["tool_call_id"]) for m in messages if m["role"] == "tool" and m.get("tool_call_id")}
    return calls ^ results if results else set()


# --- values of later calls ----------------------------------------------------------------------------------


def values_of(turn: Mapping[str, Any], before: Messages) -> list[str]:
    """What the turn's calls are about, of which earlier messages hold it. Of commands and code, what looks like a path,
    a name or a number."""
    found: list[str] = []
    for call in turn.get("tool_calls") or ():
        try:
            arguments = json.loads((call.get("function") or {}).get("arguments") or "{}")
        except ValueError:
            arguments = {}
        for value in _leaves(arguments):
            found += [value] if len(value) <= _SHORT else _telling(value)
    if not turn.get("tool_calls"):
        for block in re.findall(r"```[^\n]*\n(.*?)```", str(turn.get("content") or ""), re.DOTALL):
            found += _telling(block)
    earlier = said([message for message in before if message["role"] != "system"])
    return [value for value in dict.fromkeys(found) if len(value) >= _LEAST and value in earlier]


_SHORT, _LEAST = 80, 3


def _telling(text: str) -> list[str]:
    return [word for word in _TELLING.findall(text) if any(c.isdigit() or c in "/_." for c in word)]


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield json.dumps(value)


def said(messages: Messages) -> str:
    """All that a model reads of messages, the system's apart."""
    texts: list[str] = []
    for message in messages:
        if message["role"] == "system":
            continue
        content = message.get("content")
        texts.append(content if isinstance(content, str) else json.dumps(content or ""))
        texts += [str((call.get("function") or {}).get("arguments")) for call in message.get("tool_calls") or ()]
    return "\n".join(texts)


# --- other policies -----------------------------------------------------------------------------------------


def judged(session: Session, policy: Policy, seed: int) -> Told:
    """The session under a policy that looks at every request by itself, as a library in a client does."""
    before_cache, after_cache = PrefixCache(_count), PrefixCache(_count)
    before = after = 0.0
    values = kept = broken = 0
    for number, (messages, turn) in enumerate(session.requests()):
        at = START + TURN_S * number
        sent = policy(messages, random.Random(f"{seed} {session.id}"))
        before += cost(before_cache.account(Wire.OPENAI_CHAT, body(session, messages), at=at))
        after += cost(after_cache.account(Wire.OPENAI_CHAT, body(session, sent), at=at))
        mine = values_of(turn, messages)
        here = said(sent)
        values += len(mine)
        kept += sum(value in here for value in mine)
        broken += _broken(messages, sent) + len(_loose(sent) - _loose(messages))
    return Told(session.source, before, after, values, kept, kept, broken)


def _is_result(messages: Messages, index: int) -> bool:
    role = messages[index]["role"]
    after_model = any(message["role"] == "assistant" for message in messages[:index])
    tools = any(message["role"] == "tool" for message in messages)
    return role == "tool" or (role == "user" and after_model and not tools)


def _with(messages: Messages, changed: Callable[[int, str], str]) -> Messages:
    found = []
    for index, message in enumerate(messages):
        content = message.get("content")
        if _is_result(messages, index) and isinstance(content, str):
            message = {**message, "content": changed(index, content)}
        found.append(message)
    return found


def _clear(messages: Messages, _random: random.Random) -> Messages:
    places = [index for index in range(len(messages)) if _is_result(messages, index)]
    old = set(places[:-3])
    return _with(messages, lambda index, text: "[cleared]" if index in old else text)


def _window(messages: Messages, _random: random.Random) -> Messages:
    head = [message for message in messages if message["role"] == "system"]
    first = next((message for message in messages if message["role"] == "user"), None)
    rest = [message for message in messages if message["role"] != "system" and message is not first]
    tail = rest[-10:]
    while tail and tail[0]["role"] == "tool":
        tail = tail[1:]
    return [*head, *([first] if first else []), *tail]


_CUT_CHARS = 2_000  # about 500 tokens


def _ends(messages: Messages, _random: random.Random) -> Messages:
    half = _CUT_CHARS // 2
    return _with(messages, lambda _, text: text if len(text) <= _CUT_CHARS else f"{text[:half]}\n[…]\n{text[-half:]}")


def _by_chance(messages: Messages, rng: random.Random) -> Messages:
    def changed(_index: int, text: str) -> str:
        if len(text) <= _CUT_CHARS:
            return text
        lines = text.split("\n")
        drawn = [line for line in lines if rng.random() < _CUT_CHARS / len(text)]
        return "\n".join(drawn)

    return _with(messages, changed)


POLICIES: Mapping[str, Policy] = {
    "pass-through": lambda messages, _random: messages,
    "clear all but 3": _clear,
    "window of 10": _window,
    "head and tail": _ends,
    "random lines": _by_chance,
}
