"""What every protocol's `view` is made with: texts out of content, and the View out of texts.

Wrong types raise BadRequest with the place and what was found there; what is harmless (null content) is skipped.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ..errors import BadRequest
from . import View

__all__ = ["Lens", "compact", "items", "json_type", "part_text", "text_parts"]


class Lens:
    """Gathers a View in the order of the prompt."""

    def __init__(self) -> None:
        self._system: list[str] = []
        self._head: list[str] = []  # system text before the conversation begins
        self._tools: list[str] = []
        self._tool_names: list[str] = []
        self._texts: list[str] = []
        self._users: list[str] = []
        self._called = False

    def system(self, texts: Iterable[str]) -> None:
        said = [text for text in texts if text]
        self._system += said
        (self._texts if self._texts else self._head).extend(said)

    def tool(self, name: Any, definition: Any) -> None:
        if isinstance(name, str) and name:
            self._tool_names.append(name)
        self._tools.append(compact(definition))

    def user(self, texts: Iterable[str]) -> None:
        said = [text for text in texts if text]
        if said:
            self._users.append("\n".join(said) if len(said) > 1 else said[0])
            self._texts += said

    def say(self, texts: Iterable[str]) -> None:
        """Text of anyone else: an assistant's answer or reasoning, a tool's result."""
        self._texts += [text for text in texts if text]

    def call(self, name: Any, arguments: Any) -> None:
        """A tool call in the history."""
        self._called = True
        text = arguments if isinstance(arguments, str) else compact(arguments) if arguments is not None else ""
        self.say((name if isinstance(name, str) else "", text))

    def view(self) -> View:
        return View(
            system="\n\n".join(self._system),
            first_user=self._users[0] if self._users else "",
            last_user=self._users[-1] if self._users else "",
            tool_names=tuple(self._tool_names),
            texts=(*self._head, *self._tools, *self._texts),
            has_tool_calls=self._called,
        )


Place = str | int
"""A step to a place in a body: a key or an index. Put together only when an error has to name it."""


def text_parts(content: Any, *where: Place) -> list[str]:
    """The texts of a string, a list of parts, or nothing; images and the like have none. Raises BadRequest."""
    if isinstance(content, str):
        return [content]
    if content is None:
        return []
    if not isinstance(content, list):
        raise BadRequest(f"{_named(where)} must be a string or a list of parts, not {json_type(content)}.")
    texts = []
    for number, part in enumerate(content):
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, str):
            texts.append(text)
        else:
            texts += part_text(part, *where, number)
    return texts


def part_text(part: Any, *where: Place) -> list[str]:
    """The text of one part, if it has one. Raises BadRequest."""
    if isinstance(part, str):
        return [part]
    if part is None:
        return []
    if not isinstance(part, dict):
        raise BadRequest(f"{_named(where)} must be an object, not {json_type(part)}.")
    for key in ("text", "refusal"):
        value = part.get(key)
        if isinstance(value, str):
            return [value]
        if value is not None:
            raise BadRequest(f"{_named(where)}.{key} must be a string, not {json_type(value)}.")
    return []


def _named(where: tuple[Place, ...]) -> str:
    """messages[3].content"""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in where)
    return "".join(steps).removeprefix(".")


def items(value: Any, *where: Place) -> list[dict[str, Any]]:
    """A list of objects, or nothing. Raises BadRequest."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadRequest(f"{_named(where)} must be a list, not {json_type(value)}.")
    for number, item in enumerate(value):
        if not isinstance(item, dict):
            raise BadRequest(f"{_named(where)}[{number}] must be an object, not {json_type(item)}.")
    return value


def compact(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def json_type(value: Any) -> str:
    """What JSON calls the type of a parsed value."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"
