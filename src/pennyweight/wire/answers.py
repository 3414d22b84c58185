"""Whole answers: which are worth keeping, the one text of one, and the answer with another text in its place."""

from __future__ import annotations

from typing import Any

import msgspec

from ..request import Response, Wire, splice
from . import codec

__all__ = ["FINISHED", "Place", "only_text", "replayable", "with_text"]

FINISHED = frozenset({"stop", "end_turn", "stop_sequence", "completed"})
"""Ends of an answer worth keeping, in the words of the four wires. Cut (length), filtered and refused ones are not."""

Place = tuple[str | int, ...]
"""Steps from the root of a body to a text in it."""

_any = msgspec.json.Decoder()
_NOTHING: tuple[Any, ...] = (None, "", [], {}, False)


def replayable(response: Response) -> bool:
    """Whether it can be given again as a stream; a whole body that is odd may not be. Takes time: not before a call is
    answered."""
    try:
        codec(response.wire).unfold(response.raw)
    except Exception:  # noqa: BLE001 - whatever it trips over
        return False
    return True


def only_text(wire: Wire, raw: bytes) -> tuple[str, Place] | None:
    """The text of an answer that consists of one text and nothing else, and where it stands.

    None for an answer with tool calls, reasoning, a refusal, several texts, annotations, probabilities of tokens or
    anything not known here: whoever changes the text would leave those as they were.
    """
    try:
        body = _any.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    if not isinstance(body, dict):
        return None
    match wire:
        case Wire.OPENAI_CHAT:
            place = _chat(body)
        case Wire.ANTHROPIC_MESSAGES:
            place = _alone(body.get("content"), ("content",), {"type": "text"}, {"text", "type"})
        case Wire.OPENAI_RESPONSES:
            place = _responses(body)
        case Wire.OLLAMA:
            place = _ollama(body)
    if place is None:
        return None
    text: Any = body
    for step in place:
        text = text[step]
    return (text, place) if isinstance(text, str) else None


def with_text(raw: bytes, place: Place, text: str) -> bytes:
    """The answer with that text at that place; the rest keeps its bytes."""
    return splice(raw, place, text)


def _chat(body: dict[str, Any]) -> Place | None:
    choices = body.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        return None
    message = choices[0].get("message")
    if choices[0].get("logprobs") not in _NOTHING or not isinstance(message, dict):
        return None
    return ("choices", 0, "message", "content") if _bare(message, {"role", "content"}) else None


def _responses(body: dict[str, Any]) -> Place | None:
    output = body.get("output")
    if not isinstance(output, list) or len(output) != 1 or not isinstance(output[0], dict):
        return None
    item = output[0]
    if item.get("type") != "message" or not _bare(item, {"type", "id", "role", "status", "content", "phase"}):
        return None
    known = {"text", "type"}
    return _alone(item.get("content"), ("output", 0, "content"), {"type": "output_text"}, known)


def _ollama(body: dict[str, Any]) -> Place | None:
    if isinstance(body.get("message"), dict):
        return ("message", "content") if _bare(body["message"], {"role", "content"}) else None
    if body.get("thinking") not in _NOTHING:
        return None
    return ("response",) if "response" in body else None


def _alone(content: Any, place: Place, marked: dict[str, str], known: set[str]) -> Place | None:
    """The text of the only part of a list of parts."""
    if not isinstance(content, list) or len(content) != 1 or not isinstance(content[0], dict):
        return None
    part = content[0]
    if any(part.get(name) != value for name, value in marked.items()) or "text" not in part or not _bare(part, known):
        return None
    return (*place, 0, "text")


def _bare(members: dict[str, Any], known: set[str]) -> bool:
    """Whether there is nothing in it but what is known."""
    return all(name in known or value in _NOTHING for name, value in members.items())
