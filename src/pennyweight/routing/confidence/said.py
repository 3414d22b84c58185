"""What a request asks for and what an answer says, in the form that checks and comparisons read."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ...errors import PennyweightError
from ...request import Edit, Operation, Request, Wire
from ...wire import translate
from ...wire.translate.neutral import Choice, Format, Refusal, Result, Text, ToolCall

__all__ = ["Asked", "Said", "ToolUse", "read_answer", "read_request", "unjudgeable"]

_MOST_PROMPT_CHARS = 20_000  # of the newest texts: what arguments are looked up in
_MOST_MESSAGES = 16


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
        ask = translate.read_request(_recent(request))
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


def _recent(request: Request) -> Request:
    """The request with the end of its conversation: all that is looked at, and long ones take long to read."""
    name = "messages" if request.envelope.messages is not None else "input"
    items = request.items(name)
    if items is None or len(items) <= _MOST_MESSAGES:
        return request
    return request.edit([Edit((name,), list(items[-_MOST_MESSAGES:]))])


def unjudgeable(request: Request) -> str:
    """Why no answer to this request can be judged by holding it against another: several are asked for, or the provider
    itself would run something or continue what it keeps, which is to be done once. "" where nothing is in the way."""
    try:
        top = _top.decode(request.raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return "it cannot be read"
    if top.n not in (None, 1):
        return "it asks for several answers"
    acting = (getattr(top, name) for name in _Top.__struct_fields__ if name not in ("n", "model", "tools"))
    tools = (tool.type for tool in top.tools or ())
    there = any(isinstance(kind, str) and kind.startswith(_RUN_THERE) for kind in tools)
    if there or str(top.model).endswith(":online") or any(bytes(raw) not in _NOTHING for raw in acting):
        return "its provider acts by itself, which is to be done once"
    return ""


class _Tool(msgspec.Struct):
    type: Any = None


_ABSENT = msgspec.Raw(b"null")


class _Top(msgspec.Struct):
    """The members that say so; all others are passed over without being built."""

    n: Any = None
    model: Any = None
    tools: list[_Tool] | None = None
    background: msgspec.Raw = _ABSENT
    container: msgspec.Raw = _ABSENT
    conversation: msgspec.Raw = _ABSENT
    mcp_servers: msgspec.Raw = _ABSENT
    plugins: msgspec.Raw = _ABSENT
    previous_response_id: msgspec.Raw = _ABSENT
    search_parameters: msgspec.Raw = _ABSENT
    web_search_options: msgspec.Raw = _ABSENT


_top = msgspec.json.Decoder(_Top)
_NOTHING = frozenset({b"null", b"false", b'""', b"[]"})
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
