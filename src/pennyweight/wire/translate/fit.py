"""Makes a conversation fit what a target accepts: names and ids in its alphabet, results beside their calls."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from .neutral import Ask, Choice, Losses, Memo, Message, Param, Part, Result, Text, Tool, ToolCall

__all__ = [
    "adjacent",
    "as_custom",
    "digest",
    "fit_ids",
    "fit_names",
    "is_openai",
    "json_object",
    "open_envelope",
    "reasons",
    "SEALED",
    "UNSIGNED",
    "seal",
    "strictable",
    "without_custom",
]

_ILLEGAL = re.compile(r"[^a-zA-Z0-9_-]")
CUSTOM_SCHEMA = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}


def digest(*texts: str, size: int = 12) -> str:
    """A short stable name of some texts, `2 * size` hex digits."""
    return hashlib.blake2b("\x00".join(texts).encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()


def legal(name: str, limit: int) -> str:
    """`name` in the alphabet of identifiers and at most `limit` long; different names stay different."""
    clean = _ILLEGAL.sub("_", name)
    if clean == name and 0 < len(name) <= limit:
        return name
    return f"{clean[: limit - 9]}_{digest(name, size=4)}"


def fit_names(ask: Ask, limit: int) -> tuple[Ask, dict[str, str]]:
    """Tool names that the target accepts, and the map from each new name to the caller's."""
    names = {tool.name for tool in ask.tools} | {
        p.name for m in ask.messages for p in m.parts if isinstance(p, ToolCall)
    }
    new = {name: legal(name, limit) for name in names if legal(name, limit) != name}
    if not new:
        return ask, {}

    def rename(part: Part) -> Part:
        if isinstance(part, ToolCall | Result) and part.name in new:
            return msgspec.structs.replace(part, name=new[part.name])
        return part

    params = dict(ask.params)
    if (choice := params.get("choice")) is not None:
        told: Choice = choice.value
        allowed = tuple(new.get(name, name) for name in told.allowed)
        told = Choice(told.kind, new.get(told.name, told.name), allowed)
        params["choice"] = Param(told, choice.at)
    tools = tuple(msgspec.structs.replace(tool, name=new.get(tool.name, tool.name)) for tool in ask.tools)
    asked = msgspec.structs.replace(each_part(ask, rename), tools=tools, params=params)
    return asked, {short: name for name, short in new.items()}


def fit_ids(ask: Ask, limit: int) -> Ask:
    """Call ids that the target accepts; a call and its result keep the same one."""

    def change(part: Part) -> Part:
        if isinstance(part, ToolCall):
            return msgspec.structs.replace(part, id=legal(part.id, limit))
        if isinstance(part, Result):
            return msgspec.structs.replace(part, call_id=legal(part.call_id, limit))
        return part

    return each_part(ask, change)


def without_custom(ask: Ask, losses: Losses) -> tuple[Ask, Memo]:
    """Custom tools and tools in namespaces as plain functions; the memo undoes it in the answer."""
    custom = frozenset(tool.name for tool in ask.tools if tool.custom)
    namespaces = {tool.name: tool.namespace for tool in ask.tools if tool.namespace}

    def plain(tool: Tool) -> Tool:
        if not tool.custom:
            return tool
        if tool.grammar is not None:
            losses.add(f"{tool.at}.format", "a function's argument has no grammar; the tool takes one string, `input`")
        return msgspec.structs.replace(tool, custom=False, schema=CUSTOM_SCHEMA, grammar=None)

    def call(part: Part) -> Part:
        if isinstance(part, ToolCall) and part.custom:
            arguments = msgspec.json.encode({"input": part.arguments}).decode()
            return msgspec.structs.replace(part, custom=False, arguments=arguments)
        return part

    asked = msgspec.structs.replace(each_part(ask, call), tools=tuple(plain(tool) for tool in ask.tools))
    return asked, Memo(custom=custom, namespaces=namespaces)


def custom_input(arguments: str) -> str:
    """The text that a custom tool gets, out of the function arguments that stood for it."""
    value = json_object(arguments)
    text = value.get("input") if value is not None else None
    return text if isinstance(text, str) else arguments


def as_custom(call: ToolCall, memo: Memo) -> ToolCall:
    """The call under the caller's own name, and as a custom tool's where it is one."""

    name = memo.renamed.get(call.name, call.name)
    custom = call.custom or name in memo.custom
    arguments = custom_input(call.arguments) if custom and not call.custom else call.arguments
    return msgspec.structs.replace(
        call, name=name, custom=custom, arguments=arguments, namespace=memo.namespaces.get(name, "")
    )


def each_part(ask: Ask, change: Callable[[Part], Part]) -> Ask:
    messages = tuple(
        msgspec.structs.replace(message, parts=tuple(change(part) for part in message.parts))
        for message in ask.messages
    )
    return msgspec.structs.replace(ask, messages=messages)


def adjacent(messages: Iterable[Message]) -> list[Message]:
    """The results of an assistant turn's calls right behind it: Anthropic and OpenAI refuse anything in between."""
    ordered = list(messages)
    answered: dict[str, tuple[int, Result]] = {}
    for index, message in enumerate(ordered):
        for part in message.parts:
            if isinstance(part, Result):
                answered.setdefault(part.call_id, (index, part))
    out: list[Message] = []
    moved: set[int] = set()
    for index, message in enumerate(ordered):
        if message.role == "tool":
            left = tuple(part for part in message.parts if id(part) not in moved)
            if left:
                out.append(msgspec.structs.replace(message, parts=left))
            continue
        out.append(message)
        wanted = [part.id for part in message.parts if isinstance(part, ToolCall)]
        results = [answered[key] for key in wanted if key in answered and answered[key][0] > index]
        results = [found for found in results if id(found[1]) not in moved]
        if results:
            moved.update(id(part) for _, part in results)
            out.append(Message("tool", tuple(part for _, part in results), at=ordered[results[0][0]].at))
    return out


def json_object(text: str) -> dict[str, Any] | None:
    """The object that a JSON text is; None if it is none. Blank text is the empty object: a call without arguments."""
    if not text.strip():
        return {}
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def is_openai(model: str) -> bool:
    """Whether a model's name is one of OpenAI's own (not its open weights)."""
    name = model.rpartition("/")[2]
    return bool(re.match(r"(gpt-(?!oss)|chatgpt|o\d|codex)", name))


def reasons(model: str) -> bool:
    """Whether OpenAI takes reasoning settings for it; other makers' names are given the benefit of the doubt."""
    return not re.match(r"(gpt-3|gpt-4|chatgpt-4)", model.rpartition("/")[2])


def strictable(schema: Any) -> bool:
    """Whether OpenAI's strict mode takes the schema: every object closed and every property required."""
    if isinstance(schema, list):
        return all(strictable(item) for item in schema)
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        properties = schema.get("properties")
        known = set(properties) if isinstance(properties, dict) else set()
        required = schema.get("required")
        if schema.get("additionalProperties") is not False or known != set(
            required if isinstance(required, list) else ()
        ):
            return False
    return all(strictable(value) for value in schema.values())


def seal(kind: str, **values: str) -> str:
    """Opaque reasoning of one provider, in a form that another protocol hands back; `open_envelope` undoes it."""
    raw = msgspec.json.encode({"k": kind, **values})
    return _SEAL + base64.urlsafe_b64encode(raw).decode()


def open_envelope(text: str, kind: str) -> dict[str, str] | None:
    """What `seal` put in, if the text is one of ours and of that kind."""
    if not text.startswith(_SEAL):
        return None
    try:
        value = msgspec.json.decode(base64.urlsafe_b64decode(text[len(_SEAL) :]), type=dict[str, str])
    except (ValueError, msgspec.DecodeError):
        return None
    return value if value.get("k") == kind else None


_SEAL = "pw1."

SEALED = _SEAL + "eyJrIjoi"
"""How every sealed text begins: the seal, and the start of its JSON."""

UNSIGNED = seal("unsigned")
"""In the place of a signature where reasoning has none, so that it is known for what it is when it comes back."""


def flat(content: Iterable[Text | Any], separator: str = "\n") -> str:
    return separator.join(part.text for part in content if isinstance(part, Text))
