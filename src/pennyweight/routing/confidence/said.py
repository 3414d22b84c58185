"""What a request asks for and what an answer says, in the form that checks and comparisons read."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ...errors import PennyweightError
from ...request import Operation, Request, Wire
from ...wire import translate
from ...wire.translate.neutral import Choice, Format, Refusal, Result, Text, ToolCall

__all__ = ["Asked", "Said", "ToolUse", "acts_at_provider", "read_answer", "read_request"]

_MOST_PROMPT_CHARS = 20_000  # of the newest texts: what arguments are looked up in


class ToolUse(msgspec.Struct, frozen=True):
    """A call in an answer. `arguments`: as JSON values; None where they are no JSON object."""

    name: str
    arguments: dict[str, Any] | None


class Said(msgspec.Struct, frozen=True):
    """An answer. `end`: "cut" by its limit, "refused" or filtered by the provider, or "ended"."""

    text: str = ""
    calls: tuple[ToolUse, ...] = ()
    end: Literal["ended", "cut", "refused"] = "ended"


class Asked(msgspec.Struct, frozen=True):
    """What of a request bears on its answer. `tools`: name to JSON Schema of the arguments, None for free input.

    must_call: a tool has to be called; may_call: one may be. form: "json" for any JSON, or a JSON Schema; None: any
    text. prompt: the newest texts of user and tools, for looking up whether an argument was made up.
    """

    prompt: str = ""
    tools: dict[str, Any] = {}
    must_call: bool = False
    may_call: bool = True
    form: Any = None
    in_loop: bool = False


def read_request(request: Request) -> Asked | None:
    """None for what is no request for an answer, or cannot be read."""
    if request.operation is not Operation.GENERATE:
        return None
    try:
        ask = translate.read_request(request)
    except PennyweightError:
        return None
    tools = {tool.name: None if tool.custom else tool.schema or {} for tool in ask.tools}
    choice = ask.params["choice"].value if "choice" in ask.params else None
    if not isinstance(choice, Choice):
        choice = Choice("auto")
    if choice.kind == "tool":
        tools = {name: schema for name, schema in tools.items() if name == choice.name} or tools
    elif choice.allowed:
        tools = {name: schema for name, schema in tools.items() if name in choice.allowed} or tools
    form = ask.params["format"].value if "format" in ask.params else None
    return Asked(
        prompt=_newest(ask.messages),
        tools=tools,
        must_call=choice.kind in ("required", "tool") and bool(tools),
        may_call=choice.kind != "none" and bool(tools),
        form=_form(form),
        in_loop=any(message.role == "tool" for message in ask.messages[-2:]),
    )


def acts_at_provider(request: Request) -> bool:
    """Whether the provider itself would run something for this request, or continue what it keeps: a search, code, a
    tool on a server, a conversation. Asked of two, it would be done twice."""
    names = [name for name in _ACTING if f'"{name}"'.encode() in request.raw]
    if any(request.body.get(name) not in (None, False, "", [], {}) for name in names):
        return True
    for tool in request.body.get("tools") or ():
        kind = tool.get("type") if isinstance(tool, dict) else None
        if isinstance(kind, str) and kind.startswith(_RUN_THERE):
            return True
    return request.model.endswith(":online")


_ACTING = (
    "background",
    "container",
    "conversation",
    "mcp_servers",
    "plugins",
    "previous_response_id",
    "search_parameters",
    "web_search_options",
)
_RUN_THERE = (
    "browser_search",
    "code_execution",
    "code_interpreter",
    "file_search",
    "image_generation",
    "mcp",
    "openrouter:",
    "web_fetch",
    "web_search",
)


def read_answer(wire: Wire, body: bytes) -> Said:
    """Of a whole answer. Raises ValueError for what is none."""
    try:
        answer = translate.read_answer(body, wire)
    except PennyweightError as error:
        raise ValueError(f"no answer: {type(error).__name__}") from None
    texts = [part.text for part in answer.parts if isinstance(part, Text)]
    calls = tuple(ToolUse(part.name, _object(part)) for part in answer.parts if isinstance(part, ToolCall))
    refused = answer.finish == "content_filter" or any(isinstance(part, Refusal) for part in answer.parts)
    return Said("".join(texts), calls, "refused" if refused else "cut" if answer.finish == "length" else "ended")


def _object(call: ToolCall) -> dict[str, Any] | None:
    if call.custom:
        return {"input": call.arguments}
    try:
        value = msgspec.json.decode(call.arguments or "{}")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return value if isinstance(value, dict) else None


def _form(value: Any) -> Any:
    if not isinstance(value, Format):
        return None
    return value.schema if value.kind == "json_schema" and isinstance(value.schema, dict) else "json"


def _newest(messages: Any) -> str:
    """The texts of all but the model's turns, the newest first."""
    texts: list[str] = []
    room = _MOST_PROMPT_CHARS
    for message in reversed(messages):
        if message.role == "assistant":
            continue
        for part in reversed(message.parts):
            inner = part.content if isinstance(part, Result) else (part,)
            for piece in inner:
                if isinstance(piece, Text) and room > 0:
                    texts.append(piece.text[:room])
                    room -= len(piece.text)
    return "\n".join(texts)
