"""What kind of task a request is and how hard it looks: from structure first, then from the newest intent's words.

Rules with documented weights, no training and no library. How hard a text looks says little about how hard it is (see
docs/learned-router.md): the type chooses a row of the table of what is known, and the rest is a tie-break.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from xxhash import xxh3_128_digest

from ..call import Housekeeping
from ..errors import BadRequest
from ..request import Request, Wire
from .intent import Intent, Intents
from .reading import TYPES, Reading, TaskType, best, read

__all__ = ["TYPES", "Task", "TaskType", "Tasks", "Urgency", "classify", "of_text"]

Urgency = Literal["leisure", "normal", "urgent"]


class Task(msgspec.Struct, frozen=True):
    """certainty: of the type, in [0, 1]; below 0.5 the type is "general". complexity, reasoning_depth: in [0, 1].

    context_tokens: of the whole request, from its bytes (four to a token). expected_output_tokens: a guess by type and
    by what the text says. expertise: a trade such as "medicine", "" for none. topic: the type that the words alone
    tell, also where `type` is "tools". loop: tool calls were made since a human spoke. structured: an output schema is
    asked for. follow_up: the newest text was one such as "yes", and what is told here is of the text before it.
    """

    type: TaskType = "general"
    certainty: float = 0.0
    complexity: float = 0.0
    reasoning_depth: float = 0.0
    context_tokens: int = 0
    expected_output_tokens: int = 0
    expertise: str = ""
    urgency: Urgency = "normal"
    topic: TaskType = "general"
    tools: bool = False
    loop: bool = False
    images: bool = False
    structured: bool = False
    follow_up: bool = False


def classify(request: Request, *, housekeeping: Housekeeping | None = None) -> Task:
    """The task of one request. Who classifies many keeps a `Tasks`, which remembers. Never raises."""
    return Tasks().of(request, housekeeping=housekeeping)


class Tasks:
    """Classifies requests, and remembers what the newest texts told."""

    def __init__(self, *, texts: int = 2_048) -> None:
        self._intents = Intents()
        self._known: OrderedDict[bytes, Reading] = OrderedDict()
        self._limit = texts

    def of(self, request: Request, *, housekeeping: Housekeeping | None = None) -> Task:
        """Never raises. housekeeping: which chore of its client the call is, as `identity` tells."""
        return self.told(request, housekeeping=housekeeping)[0]

    def told(self, request: Request, *, housekeeping: Housekeeping | None = None) -> tuple[Task, str]:
        """The task, and the text of the human that it was read off."""
        intent = self._intents.of(request)
        return _task(request, intent, self._reading(intent.text), housekeeping), intent.text

    def _reading(self, text: str) -> Reading:
        key = xxh3_128_digest(text.encode("utf-8", "replace"))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = read(text)
            if len(self._known) > self._limit:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return known


def of_text(text: str) -> Task:
    """The task of a bare prompt."""
    reading = read(text)
    topic, certainty = best(reading.scores)
    return Task(
        topic,
        certainty,
        reading.complexity,
        reading.depth,
        len(text) // 4,
        _output(topic, reading, None),
        reading.expertise,
        topic=topic,
    )


# --- structure ---------------------------------------------------------------------------------------------------


class _Asked(msgspec.Struct):
    """Members that say what form the answer must have; what is not of the expected shape is taken as absent."""

    response_format: Any = None
    text: Any = None  # Responses: text.format
    format: Any = None  # Ollama: "json" or a schema
    output_config: Any = None  # Messages
    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    service_tier: Any = None
    reasoning_effort: Any = None
    reasoning: Any = None


_asked = msgspec.json.Decoder(_Asked)


def _task(request: Request, intent: Intent, reading: Reading, housekeeping: Housekeeping | None) -> Task:
    asked, offers, none_allowed = _structure(request)
    schema = _schema(asked, request.wire)
    scores = dict(reading.scores)
    if schema is not None:
        kind: TaskType = "classification" if _chooses(schema) else "extraction"
        scores[kind] = scores.get(kind, 0.0) + (4.0 if kind == "classification" else 2.0)
    topic, sure = best(scores)
    kind, certainty = topic, sure
    if housekeeping is not None:
        kind, certainty = "side", 1.0
    elif offers and intent.loop:
        kind, certainty = "tools", 0.95
    elif offers and not none_allowed and (topic in ("code", "general", "extraction") or sure < _SURE_WITH_TOOLS):
        # Tools are there and the text asks for something to be done, or does not say what.
        kind, certainty = "tools", 0.7
    return Task(
        kind,
        certainty,
        _up(reading.complexity, intent, offers),
        max(reading.depth, _effort(asked)),
        len(request.raw) // 4,
        _output(kind, reading, _limit(asked)),
        reading.expertise,
        _urgency(reading, asked, housekeeping),
        topic,
        bool(offers),
        intent.loop,
        intent.images,
        schema is not None,
        intent.follow_ups > 0,
    )


_SURE_WITH_TOOLS = 0.75


def _structure(request: Request) -> tuple[_Asked, int, bool]:
    """What form is asked for, how many tools are offered, and whether none may be called."""
    try:
        envelope = request.envelope
        asked = _asked.decode(request.raw) if _may_ask(request.raw) else _Asked()
    except (BadRequest, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return _Asked(), 0, False
    choice = bytes(memoryview(envelope.tool_choice)[:24]) if envelope.tool_choice is not None else b""
    return asked, len(envelope.tools or ()), choice.startswith(b'"none"') or b'"none"' in choice


def _may_ask(raw: bytes) -> bool:
    """Going over a body once more costs as much as reading it, so its ends are looked at: the fields stand there."""
    ends = raw if len(raw) <= 8_192 else raw[:4_096] + raw[-4_096:]
    return any(name in ends for name in _MEMBERS)


_MEMBERS = (b'"response_format"', b'"format"', b'"output_config"', b'_tokens"', b'"service_tier"', b'"reasoning')


def _schema(asked: _Asked, wire: Wire) -> Any:
    """What says that the answer must be JSON, a schema where there is one; None without."""
    places: tuple[Any, ...] = (asked.response_format,)
    if isinstance(asked.text, dict):
        places = (*places, asked.text.get("format"))
    if isinstance(asked.output_config, dict):
        places = (*places, asked.output_config.get("format"))
    for place in places:
        if isinstance(place, dict) and place.get("type") in ("json_schema", "json_object"):
            return place
    return asked.format if wire is Wire.OLLAMA and asked.format else None


def _chooses(schema: Any) -> bool:
    """Whether a schema leaves a choice among few values and nothing else to fill in."""
    found = [schema]
    enums = fields = 0
    for _ in range(64):
        if not found:
            break
        node = found.pop()
        if not isinstance(node, dict):
            continue
        if isinstance(properties := node.get("properties"), dict):
            for value in properties.values():
                fields += 1
                enums += isinstance(value, dict) and ("enum" in value or value.get("type") == "boolean")
                found.append(value)
        found.extend(node.get(name) for name in ("schema", "json_schema", "format", "items"))
    return 0 < fields <= 3 and enums * 2 >= fields


def _limit(asked: _Asked) -> int | None:
    limits = (asked.max_tokens, asked.max_completion_tokens, asked.max_output_tokens)
    return min((limit for limit in limits if type(limit) is int and limit > 0), default=None)


def _effort(asked: _Asked) -> float:
    effort = asked.reasoning_effort
    if isinstance(asked.reasoning, dict):
        effort = asked.reasoning.get("effort", effort)
    return {"medium": 0.4, "high": 0.8, "xhigh": 1.0, "max": 1.0}.get(effort, 0.0) if isinstance(effort, str) else 0.0


def _urgency(reading: Reading, asked: _Asked, housekeeping: Housekeeping | None) -> Urgency:
    if asked.service_tier == "priority":
        return "urgent"
    if housekeeping is not None or asked.service_tier in ("flex", "batch"):
        return "leisure"
    return "urgent" if reading.urgent else "normal"


def _up(complexity: float, intent: Intent, offers: int) -> float:
    """A text that came with much pasted below it, or with many tools, is somewhat more than its words."""
    pasted = 0.1 * min(max(math.log10(max(intent.chars, 1) / 4_000), 0.0), 1.0)
    return min(complexity + pasted + (0.05 if offers > 20 else 0.0), 1.0)


_OUTPUT_TOKENS: Mapping[TaskType, int] = {
    "general": 250,
    "code": 700,
    "maths": 350,
    "reasoning": 800,
    "extraction": 200,
    "classification": 15,
    "summary": 200,
    "translation": 250,
    "creative": 600,
    "question": 300,
    "tools": 150,
    "side": 60,
}
"""What is usual; an order of magnitude, not a promise."""


def _output(kind: TaskType, reading: Reading, limit: int | None) -> int:
    guess = reading.output_tokens or _OUTPUT_TOKENS[kind]
    return min(guess, limit) if limit is not None else guess
