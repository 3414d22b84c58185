"""An OpenClaw session over any protocol, made small: ordinary calls, wakes with another head, a merged message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from pennyweight.call import Call, Optimize, Outcome
from pennyweight.identity import identify
from pennyweight.optimizers.heartbeat.pin import MARKER
from pennyweight.request import Charge, Done, Usage, Wire
from pennyweight.testing.backend import make_call

STAMP = "[Fri 2026-11-20 21:31 UTC]"
MARK = {"type": "ephemeral"}
PATHS = {
    Wire.ANTHROPIC_MESSAGES: "/v1/messages",
    Wire.OPENAI_CHAT: "/v1/chat/completions",
    Wire.OPENAI_RESPONSES: "/v1/responses",
}
RULES = "\n".join(f"Rule {number}: be careful with matter {number}." for number in range(40))
STABLE = (
    "You are a personal assistant running inside OpenClaw.\n## Tooling\n- read: Read files\n{tools}- tool_call\n"
    "### Deferred Tool Schemas\n- ask_user (core): Ask.\n{deferred}## Rules\n" + RULES + "\n{more}"
)
SESSION_SYSTEM = STABLE.format(
    tools="- openclaw: Gateway restart\n",
    deferred="- automations (core): Scheduler.\n- nodes (core): Paired nodes.\n",
    more="Gateway restart: ask `openclaw`.",
)
WAKE_SYSTEM = STABLE.format(tools="", deferred="", more="Gateway restart: leave it alone.")
RUNTIME = "## Runtime\nRuntime: agent=main | session=agent:main:main | sessionId=s1 | host=h"
INTERNAL = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nnone\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>"
WAKE = "Follow the heartbeat monitor scratch context when provided. If nothing needs attention, reply NO_REPLY."


def tool(name: str, says: str = "", **properties: Any) -> dict[str, Any]:
    return {"name": name, "description": says or name, "input_schema": {"type": "object", "properties": properties}}


SESSION_TOOLS = [
    tool("exec", "Run. No sleep loops; use automations."),
    tool("openclaw"),
    tool("read"),
    tool("tool_call"),
]
WAKE_TOOLS = [tool("exec", "Run."), tool("read"), tool("tool_call")]


def said(text: str, *, role: str = "user", mark: bool = False) -> dict[str, Any]:
    block = {"type": "text", "text": text} | ({"cache_control": MARK} if mark else {})
    return {"role": role, "content": [block]}


def merged(text: str) -> dict[str, Any]:
    blocks = [{"type": "text", "text": f"{STAMP} {MARKER}"}, {"type": "text", "text": text}]
    return {"role": "user", "content": blocks}


def body(
    wire: Wire, tools: Sequence[dict[str, Any]], system: str, messages: Sequence[dict[str, Any]], **more: Any
) -> bytes:
    """A request in that protocol, with OpenClaw's marks where it is Anthropic's."""
    if wire is Wire.ANTHROPIC_MESSAGES:
        marked = [*tools[:-1], {**tools[-1], "cache_control": MARK}]
        blocks = [{"type": "text", "text": system, "cache_control": MARK}, {"type": "text", "text": RUNTIME}]
        whole: dict[str, Any] = {"tools": marked, "system": blocks, "messages": list(messages), "max_tokens": 900}
    elif wire is Wire.OPENAI_CHAT:
        functions = [{"type": "function", "function": _as_function(each)} for each in tools]
        head = {"role": "system", "content": f"{system}\n{RUNTIME}"}
        whole = {"tools": functions, "messages": [head, *_unmarked(messages)]}
    else:
        functions = [{"type": "function", **_as_function(each)} for each in tools]
        head = {"role": "developer", "content": f"{system}\n{RUNTIME}"}
        whole = {"tools": functions, "input": [head, *_typed(_unmarked(messages))]}
    return msgspec.json.encode({"model": "m", **whole, **more})


def _as_function(each: dict[str, Any]) -> dict[str, Any]:
    return {"name": each["name"], "description": each["description"], "parameters": each["input_schema"]}


def _unmarked(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    bare = msgspec.json.decode(msgspec.json.encode(list(messages)))
    for message in bare:
        for block in message["content"] if isinstance(message["content"], list) else ():
            block.pop("cache_control", None)
    return list(bare)


def _typed(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for message in messages:
        for block in message["content"]:
            block["type"] = "output_text" if message["role"] == "assistant" else "input_text"
    return messages


def call(raw: bytes, wire: Wire, *, optimize: Optimize = "safe", at: float = 1_700_000_000.0, **more: Any) -> Call:
    made = make_call(raw, wire=wire, path=PATHS[wire], optimize=optimize, at=at, **more)
    identity = identify(made.request, made.identity.tenant)
    return msgspec.structs.replace(made, identity=identity)


def outcome(made: Call, finish_reason: str = "end_turn", *, status: int = 200) -> Outcome:
    usage = Usage(input_tokens=10, output_tokens=3)
    charge = Charge(made.target.provider, made.target.model, usage, made.at)
    return Outcome(made, Done(usage, finish_reason, (charge,)), status, made.target.provider)


class Session:
    """A conversation that grows. Each method gives the request as OpenClaw would send it next."""

    def __init__(self, wire: Wire = Wire.ANTHROPIC_MESSAGES) -> None:
        self.wire = wire
        self.messages: list[dict[str, Any]] = [said(f"{STAMP} Good morning.")]

    def ordinary(self, **more: Any) -> bytes:
        """With a transient message at its end, and a mark on the user's newest one."""
        newest = {**self.messages[-1], "content": said(self.messages[-1]["content"][0]["text"], mark=True)["content"]}
        return body(self.wire, SESSION_TOOLS, SESSION_SYSTEM, [*self.messages[:-1], newest, said(INTERNAL)], **more)

    def wake(self, *steps: dict[str, Any], system: str = WAKE_SYSTEM, **more: Any) -> bytes:
        tools = more.pop("tools", WAKE_TOOLS)
        return body(self.wire, tools, system, [*self.messages, said(WAKE, mark=True), *steps, said(INTERNAL)], **more)

    def answered(self, text: str = "Done.") -> None:
        self.messages.append(said(text, role="assistant"))

    def asks(self, text: str) -> None:
        self.messages.append(said(f"{STAMP} {text}"))

    def merges(self, place: int) -> None:
        """A wake's marker comes into a message that was sent before."""
        text = self.messages[place]["content"][0]["text"].removeprefix(f"{STAMP} ")
        self.messages[place] = merged(text)
